"""The tracks: each keeps to the contract, nothing lists them by hand, and one from outside comes by an entry point."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import house
import numpy as np
import pandas as pd
import pytest
import yaml

from clfnb.contract import contract_problems, prediction_problem
from clfnb.data.catalog import DATASETS
from clfnb.evaluation.calibration import read_predictions
from clfnb.registry import BUILT_IN, layout_problem, track
from clfnb.runs.plan import find_lessons

SMALL = {
    "ecg": {"records": 3, "seconds": 20},
    "plankton": {"images": 130},
    "barcodes": {"images": 4},
    "volleyball": {"videos": 3, "frames": 3},
    "chest_xray": {"images": 24, "test": 8, "size": 64},
}
NAMES = [entry.name for entry in BUILT_IN]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder in each track's layout, written by its own simulator."""
    place = tmp_path_factory.mktemp("tracks")
    write = {entry.name: entry.part("simulate") for entry in BUILT_IN}
    return {name: write[name](place / name, **SMALL.get(name, {})) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_contract(name):
    assert contract_problems(track(name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_simulated_folder_is_loaded_and_becomes_a_data_set(name, folders):
    entry = track(name)
    assert layout_problem(folders[name], entry) is None
    table = entry.part("load")(folders[name])
    assert isinstance(table, pd.DataFrame) and len(table)
    assert {"path", "record"} & set(table) and table.group.notna().all()
    assert len(entry.part("dataset")(table, False))


@pytest.mark.parametrize("name", NAMES)
def test_no_weights_means_a_command_or_a_model(name):
    """Without a run a predictor has weights of its own, or says how to train them."""
    entry = track(name)
    try:
        predictor = entry.part("predictor").load(None)
    except FileNotFoundError as error:
        assert f"clfnb run {entry.lesson}" in str(error)
    else:
        assert callable(predictor.predict)


def test_catalogue_and_registry_name_the_same_data_sets():
    listed = {name: entry.name for entry in BUILT_IN for name in entry.datasets}
    assert listed == {name: dataset.track for name, dataset in DATASETS.items()}


def test_sidebar_and_registry_agree():
    """Each track has its lesson and its pages in the sidebar, and each package of pages is a track."""
    sidebar = yaml.safe_load((house.ROOT / "_quarto.yml").read_text("utf-8"))["website"]["sidebar"]
    pages = list(house.sidebar(sidebar["contents"]))
    lessons = {Path(page).stem.partition("_")[2] for page in pages if page.startswith("lessons/")}
    assert {entry.lesson for entry in BUILT_IN} <= lessons
    assert {Path(page).parts[2] for page in pages if page.startswith("lib/tracks/")} == set(NAMES)
    assert set(find_lessons(house.ROOT)) == lessons


def confidences(n=200):
    """Predictions of a track whose answer is no class; a fifth of them silent."""
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, n)
    table = pd.DataFrame({"id": range(n), "group": np.arange(n) // 4, "split": "test"})
    table = table.assign(label="4006381333931", confidence=sure, right=rng.uniform(size=n) < sure)
    table.loc[::5, ["confidence", "right"]] = [np.nan, False]
    return table


def test_silence_is_left_out_of_calibration_and_counted(tmp_path):
    table = confidences()
    assert prediction_problem(table) is None
    table.to_parquet(tmp_path / "predictions.parquet")
    found = read_predictions(tmp_path)
    assert (len(found.y), found.left_out, found.names) == (160, 40, ["wrong", "right"])
    assert np.allclose(found.probs[:, 1], table.confidence.dropna())
    assert np.array_equal(found.y, table.right[table.confidence.notna()].astype(int))


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The guide "Add a track", followed to the letter: its module, its wheel, unpacked as pip does it."""
    guide, project = house.NBS / "guides" / "add_track.ipynb", tmp_path_factory.mktemp("my-track")
    text = "\n".join(map(house.source_of, json.loads(guide.read_text("utf-8"))["cells"]))
    blocks = {name: re.search(rf"^```{name}\n(.*?)^```", text, re.M | re.S)[1] for name in ("toml", "python")}  # fmt: skip
    (project / "stripes").mkdir()
    (project / "runs" / "stripes").mkdir(parents=True)  # what `clfnb run` leaves beside it
    (project / "stripes" / "stripes.ipynb").write_bytes(guide.read_bytes())
    (project / "pyproject.toml").write_text(blocks["toml"])
    (project / "make_module.py").write_text(blocks["python"])
    build = "import setuptools.build_meta as backend; backend.build_wheel('.')"
    for words in (["make_module.py"], ["-c", build]):
        done = subprocess.run([sys.executable, *words], cwd=project, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    (wheel,) = project.glob("stripes-1.0-*.whl")
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def test_a_track_from_outside(package, tmp_path):
    """Simulated, trained headless in a kernel's process, listed, calibrated, and applied to new files."""
    paths = os.pathsep.join([str(package), str(house.ROOT)])
    folders = {"CLFNB_RUNS": str(tmp_path / "runs"), "CLFNB_CACHE": str(tmp_path / "cache")}
    environment = {**os.environ, **folders, "PYTHONPATH": paths, "MPLBACKEND": "agg"}
    program = "import sys; from clfnb.cli import main; sys.exit(main(sys.argv[1:]))"

    def clfnb(*words):
        done = subprocess.run(
            [sys.executable, "-c", program, *words],
            capture_output=True,
            text=True,
            env=environment,
            cwd=house.ROOT,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    check = (
        "from clfnb import registry, contract as c\nfrom clfnb.cli import main\n"
        "print(c.contract_problems(registry.track('stripes')))\n"
        "for words in (['predict', '--help'], ['lessons']):\n    print(main(words))"
    )
    found = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, env=environment
    )
    problems, *rest = found.stdout.splitlines()
    assert problems == "[]" and rest.count("0") == 2, found.stderr
    helped, listed = "\n".join(rest).split("\n0\n", 1)
    assert "stripes" in helped and "stripes" in listed
    folder = clfnb("data", "simulate", "stripes", "--images", "80", "--seed", "3").strip()
    assert len(list(Path(folder).rglob("*.png"))) == 80
    clfnb("run", "stripes", "-p", f"data={folder}", "-p", "epochs=4")
    (run,) = (tmp_path / "runs" / "stripes").iterdir()
    assert json.loads((run / "run.json").read_text())["status"] == "finished"
    (Path(folder) / "lying" / "broken.png").write_bytes(b"\x89PNG")
    csv = tmp_path / "answers.csv"
    with pytest.raises(AssertionError, match=r"broken\.png"):  # named, and the exit code is 1
        clfnb("predict", "stripes", folder, "--run", "last", "--csv", str(csv))
    answers = pd.read_csv(csv)
    truth = answers.path.map(lambda path: Path(path).parent.name)
    assert len(answers) == 80 and (answers["class"] == truth).mean() > 0.8
    clfnb("run", "calibration", "-p", f"data={run.name}")
    clfnb("sweep", "stripes", "-p", "seed=0,1", "-p", "epochs=1", "--workers", "1")
    assert "2 finished" in clfnb("results")  # the poor runs of one epoch count, too


def test_any_run_can_be_calibrated(tmp_path, monkeypatch):
    """A run of a track whose answer is no class, named by its folder, through lesson 6 in a kernel."""
    from clfnb.runs.execute import run_lesson
    from clfnb.runs.plan import plan_run
    from clfnb.runs.record import read_run

    confidences(600).to_parquet(tmp_path / "predictions.parquet")
    values = {"data": str(tmp_path)}
    lesson = find_lessons(house.ROOT)["calibration"]
    done = run_lesson(plan_run(lesson, values, runs_dir=tmp_path / "runs"), progress=False)
    assert read_run(done).status == "finished"


def test_a_track_that_cannot_be_used_is_left_out_and_named(package):
    """A second track of a name would hide the first; the others stay usable."""
    script = "import clfnb.registry as r; r.BUILT_IN += (r.Track('stripes', *['x'] * 2, ('*',), *['x'] * 6),); print(len(r.tracks()) == len(r.BUILT_IN))"
    paths = os.pathsep.join([str(package), str(house.ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0 and done.stdout.strip() == "True", done.stderr
    assert "left out: there is a track 'stripes' already" in done.stderr
