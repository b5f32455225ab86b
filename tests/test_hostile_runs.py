"""Runs and their folders when somebody types contradictions, kills what writes, or names classes as no program expects."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_cli import a_run, clfnb, course, one_line  # noqa: F401 (two fixtures)
from test_results import runs  # noqa: F401 (a fixture)

from clfnb.evaluation.calibration.diagram import reliability_grid
from clfnb.evaluation.calibration.predictions import read_predictions
from clfnb.evaluation.plots import plot_confusion
from clfnb.text import printable

PIPES = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of Unix")


@pytest.mark.parametrize(
    "words, said",
    [
        (["-p", "steps=1", "-p", "steps=2"], "steps: given twice, by -p steps=1 and -p steps=2"),
        (["--set", "steps=1", "-p", "steps=2"], "by -p steps=2 and --set steps=1"),
        (["--set", "steps=1", "--set", "steps = 2"], "by --set steps=1 and --set steps = 2"),
        (["-p", "scheme=up", "-p", "scheme=a\nb\x1b[2J"], r"and -p scheme=a\x0ab\x1b[2J"),
    ],
)
def test_two_values_of_one_parameter(course, clfnb, words, said):  # noqa: F811
    code, _, error = clfnb("run", "tiny", *words)
    assert code == 2 and said in one_line(error)
    assert not (course / "runs").exists()


def test_one_value_typed_twice(course, clfnb):  # noqa: F811
    "A script may add what was there already; a file gives way to what is typed."
    (course / "values.yaml").write_text("steps: 9\nscheme: down\n")
    words = ["--params", "values.yaml", "-p", "steps=4", "-p", "steps=4", "--set", "steps=4"]
    assert clfnb("run", "tiny", *words)[0] == 0
    found = json.loads(clfnb("show", "last", "--json")[1])
    assert found["metrics"]["total"] == -4


def add_device(course):  # noqa: F811
    "The lesson with a device among its parameters."
    path = course / "nbs" / "lessons" / "01_tiny.ipynb"
    line = 'device: str = \\"auto\\"  # one of auto|cpu|cuda|cuda:N|mps\\n'
    text = path.read_text().replace("steps: int", f"{line}steps: int")
    path.write_text(text)


def test_an_option_and_a_parameter(course, clfnb):  # noqa: F811
    "The parameters of an earlier run hold a device, too; the option that is typed now counts."
    add_device(course)
    code, _, error = clfnb("run", "tiny", "--device", "cpu", "-p", "device=auto")
    assert code == 2
    assert "device: given twice, by --device cpu and -p device=auto" in one_line(error)
    (course / "values.json").write_text('{"device": "auto"}')
    assert clfnb("run", "tiny", "--params", "values.json", "--device", "cpu")[0] == 0
    assert json.loads(clfnb("show", "last", "--json")[1])["parameters"]["device"] == "cpu"


def test_an_option_and_a_parameter_of_a_sweep(course, clfnb):  # noqa: F811
    add_device(course)
    (course / "table.csv").write_text("device,steps\nauto,1\n")
    words = ["sweep", "tiny", "--dry-run", "--device", "cpu"]
    for more in (["-p", "device=auto"], ["--table", "table.csv"]):
        code, _, error = clfnb(*words, *more)
        assert code == 2 and "device: given twice, by --device" in one_line(error)
    (course / "sweep.yaml").write_text("lesson: tiny\nparameters: {device: auto, steps: [1, 2]}\n")
    code, out, _ = clfnb("sweep", "sweep.yaml", "--dry-run", "--device", "cpu", "--json")
    assert code == 0 and [run.get("device") for run in json.loads(out)] == [None, None]
    code, _, error = clfnb("sweep", "tiny", "--dry-run", "-p", "steps=1,2", "--set", "steps=3")
    assert code == 2 and "steps: given twice" in one_line(error)


@PIPES
def test_a_record_that_is_a_pipe_is_unreadable(runs, clfnb):  # noqa: F811
    "It was counted as a run that has not begun, in a sweep for ever."
    record = runs / "toy" / f"{1:012x}" / "run.json"
    record.unlink()
    os.mkfifo(record)
    said = f"{record}: expected an ordinary file, found a pipe or a device"
    code, out, error = clfnb("results")
    assert code == 0 and one_line(error) == f"left out: {said}"
    assert "1 broken" in out and "new" not in out and "0.910" in out
    code, out, error = clfnb("runs")
    assert code == 0 and out.count("finished") == 5 and one_line(error) == f"broken: {said}"
    code, out, _ = clfnb("watch", "first", "--once")
    assert code == 1 and "1 broken" in out and f"failed: toy/{1:012x}: {said}" in out
    for words in (["show", f"{1:012x}"], ["report", record.parent], ["results", record.parent]):
        code, _, error = clfnb(*words)
        assert code == 1 and said in one_line(error), words


KILLED = """import os, signal, sys
replace, name, left = os.replace, sys.argv[1], int(sys.argv[2])
def count_and_replace(source, target):
    global left
    left -= os.path.basename(target) == name
    if os.path.basename(target) == name and not left:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = count_and_replace
from clfnb.cli import main
sys.exit(main(sys.argv[3:]))"""


def killed(name, number, *words):
    "Call the command in a process that is killed before a file gets its name for the n-th time."
    call = [sys.executable, "-c", KILLED, name, str(number), *map(str, words)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is sent")
@pytest.mark.parametrize(
    "name, number, status",
    [
        ("run.json", 2, "killed"),  # when the kernel has begun
        ("notebook.ipynb", 2, "killed"),
        ("run.json", 3, "killed"),  # when all cells are done
        ("report.html", 1, "finished"),
    ],
)
def test_killed_while_it_writes(course, clfnb, name, number, status):  # noqa: F811
    "What there is is whole; the report can be made, the run resumed, the rest swept away."
    killed(name, number, "run", "tiny")
    (folder,) = (course / "runs" / "tiny").iterdir()
    code, out, error = clfnb("runs")
    assert code == 0 and status in out and folder.name in out and error == ""
    assert not (folder / "report.html").exists()
    (part,) = folder.glob(f".{name}.*.part")
    code, out, error = clfnb("report", folder.name)
    assert code == 0, error
    page = (folder / "report.html").read_text()
    assert f"{status}, started" in page and page.endswith("</body></html>\n")
    assert clfnb("gc", "--yes")[0] == 0 and part.exists()  # somebody may be writing it
    os.utime(part, (0, 0))
    assert clfnb("gc", "--yes")[0] == 0 and not part.exists()
    if status == "killed":
        assert clfnb("run", "--resume", folder.name)[0] == 0
        assert "finished, started" in (folder / "report.html").read_text()
        assert "killed, started" in (folder / "report-1.html").read_text()


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is sent")
def test_a_report_that_is_there_stays_whole(course, clfnb):  # noqa: F811
    folder = a_run(course)
    shutil.copy(course / "nbs" / "lessons" / "01_tiny.ipynb", folder / "notebook.ipynb")
    assert clfnb("report", "one")[0] == 0
    before = (folder / "report.html").read_bytes()
    killed("report.html", 1, "report", "one")
    assert (folder / "report.html").read_bytes() == before
    assert clfnb("report", "one")[0] == 0


def test_a_saved_notebook_is_whole_at_any_moment(course):  # noqa: F811
    "It is saved around each cell, and a kill in the middle of that left half of it, without a report."
    path = course / "large.ipynb"
    cells = [nbformat.v4.new_code_cell("'x' * 20_000_000") for _ in range(3)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    job = subprocess.Popen(
        [sys.executable, "-m", "clfnb", "run", path],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    ends = set()
    while job.poll() is None:
        for file in (course / "runs").glob("large/*/notebook.ipynb"):
            with open(file, "rb") as now:
                now.seek(-2, os.SEEK_END) if file.stat().st_size > 2 else None
                ends.add(now.read().strip())
    assert job.returncode == 0 and ends == {b"}"}


NAMES = ["$", "$x_^$", "<b>", "_", "%", "=SUM(A1)", "long_" + "x" * 245, "nan", "1", "1.0"]
UNIX_NAMES = ["\x1b[2Jred", "a\tb\x07", "new\nline", "right\u200fmark\u202eabc", "caf\udce9"]


@pytest.fixture(scope="module")
def odd_run(tmp_path_factory):
    "A run of the lesson on plankton whose classes have such names; the folder of images is beside it."
    place = tmp_path_factory.mktemp("odd")
    rng = np.random.default_rng(0)
    for name in NAMES + UNIX_NAMES * (os.name == "posix"):
        (place / "images" / name).mkdir(parents=True)
        for number in range(10):
            image = Image.fromarray(rng.integers(0, 256, (24, 30), dtype=np.uint8))
            image.save(place / "images" / name / f"{number}.png")
    parameters = f"data={place / 'images'}", "compare=false", "plan=16x1", "batch_size=64"
    words = [sys.executable, "-m", "clfnb", "run", "plankton_imbalance"]
    words += [word for pair in parameters for word in ("-p", pair)]
    places = {"CLFNB_RUNS": str(place / "runs"), "CLFNB_CACHE": str(place / "cache")}
    here = {"cwd": Path(__file__).parent, "env": os.environ | places}
    done = subprocess.run(words, capture_output=True, **here)
    assert done.returncode == 0 and b"\x1b" not in done.stdout + done.stderr, done.stderr
    return next((place / "runs" / "plankton_imbalance").iterdir())


SHOWN = [printable(name) for name in NAMES + UNIX_NAMES * (os.name == "posix")]
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200f\u202e\ud800-\udfff]")


def test_files_of_a_run_with_odd_classes(odd_run, clfnb):  # noqa: F811
    "No program obeys a name, and no name is lost."
    for name in ("report.html", "notebook.ipynb", "confusion.csv", "metrics.json"):
        assert not OBEYED.search((odd_run / name).read_text(encoding="utf-8")), name
    page = (odd_run / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;" in page and "<b>" not in page
    before = (odd_run / "report.html").read_bytes()
    assert clfnb("report", odd_run)[0] == 0 and (odd_run / "report.html").read_bytes() == before
    table = pd.read_csv(odd_run / "confusion.csv", dtype=str, keep_default_na=False)
    names = [name.replace("=SUM", "'=SUM") for name in sorted(SHOWN)]
    assert list(table)[1:-1] == names and table.iloc[:-1, 0].tolist() == names
    predictions = pd.read_parquet(odd_run / "predictions.parquet")
    assert set(predictions.label) == set(SHOWN)


def test_predictions_of_odd_classes(odd_run, clfnb, tmp_path):  # noqa: F811
    images = odd_run.parents[2] / "images"
    words = ["predict", "plankton", images, "--run", odd_run]
    code, out, error = clfnb(*words)
    assert code == 0 and not OBEYED.search(out) and len(out.splitlines()) == 1 + 10 * len(SHOWN)
    assert clfnb(*words, "--csv", tmp_path / "all.csv")[0] == 0
    table = pd.read_csv(tmp_path / "all.csv", dtype=str, keep_default_na=False)
    assert {name.removeprefix("'") for name in table["class"]} <= set(SHOWN)
    assert not OBEYED.search((tmp_path / "all.csv").read_text(encoding="utf-8"))


def test_calibration_of_odd_classes(odd_run, clfnb, tmp_path, monkeypatch):  # noqa: F811
    "The recalibrated table holds no formula, and is read again with the same classes and labels."
    monkeypatch.chdir(tmp_path)
    assert clfnb("calibrate", odd_run, "--draws", "20", "--out", "made")[0] == 0
    file = tmp_path / "made" / "recalibrated.csv"
    cells = pd.read_csv(file, dtype=str, keep_default_na=False)
    assert "'=SUM(A1)" in set(cells.label) and not OBEYED.search(file.read_text(encoding="utf-8"))
    assert not any(text.startswith(("=", "+", "@")) for name in cells for text in cells[name])
    before, after = read_predictions(odd_run), read_predictions(file)
    assert after.names == before.names and after.y.tolist() == before.y.tolist()


def test_long_names_leave_room_for_the_figure(tmp_path):
    "A class of 250 characters collapsed the axes, and lay across those beside it."
    names = ["long_" + "x" * 245, "new\nline", "$x$", "copepod"]
    ax = plot_confusion(np.eye(4, dtype=int), names)
    ax.figure.canvas.draw()
    grid = reliability_grid(np.full((40, 4), 0.25), np.arange(40) % 4, names, draws=20)
    grid[0].figure.canvas.draw()
    for axes in (ax, *grid):
        room, whole = axes.get_window_extent(), axes.figure.bbox
        assert room.width > 0.15 * whole.width and room.height > 0.2 * whole.height
        for text in [*axes.get_xticklabels(), *axes.get_yticklabels(), axes._left_title]:
            place = text.get_window_extent()
            assert whole.x0 <= place.x0 and place.x1 <= whole.x1 and whole.y0 <= place.y0
    labels = [text.get_text() for text in ax.get_xticklabels()]
    assert labels[0] == "long_xxxxxxx…xxxxxxxxxxx" and labels[1:] == [r"new\x0aline", *names[2:]]
