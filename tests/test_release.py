"What an installer meets: the sdist and the wheel in a fresh environment, without the repository; and commands that start without PyTorch."

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import house
import pytest

SHIPPED = ("clfnb", "nbs", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "constraints.txt", "settings.ini")  # fmt: skip
KINDS = ("lessons", "exercises", "solutions")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    "A wheel that is built from the sdist, in a copy of the repository."
    if find_spec("build") is None:
        pytest.skip("build is not installed (pip install -e '.[dev]')")
    copy = tmp_path_factory.mktemp("source")
    skip = shutil.ignore_patterns("__pycache__", ".*")
    for name in SHIPPED:
        place = house.ROOT / name
        (shutil.copytree if place.is_dir() else shutil.copy)(
            place, copy / name, **({"ignore": skip} if place.is_dir() else {})
        )
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", copy / "dist", copy],
        capture_output=True,
        text=True,
        cwd=copy,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return next((copy / "dist").glob("*.whl"))


def caller(python, place, **settings):
    "A function that calls this interpreter in an empty folder below `place`, without what is set for clfnb here."
    surroundings = {k: v for k, v in os.environ.items() if not k.startswith(("CLFNB", "PYTHONPATH"))}  # fmt: skip
    surroundings |= {"HOME": str(place), "CLFNB_RUNS": str(place / "runs"), "CLFNB_CACHE": str(place / "cache")} | settings  # fmt: skip
    empty = place / "empty"
    empty.mkdir()

    def call(*words, cwd=empty):
        done = subprocess.run(
            [python, *words], cwd=cwd, env=surroundings, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    call.folder = empty
    return call


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    "A function that calls clfnb in an empty folder, in an environment that has the wheel and, below it, our dependencies."
    if os.name == "nt":
        pytest.skip("written for environments with bin/python")
    place = tmp_path_factory.mktemp("environment")
    venv.create(place / "venv", symlinks=True)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(place / "venv")}))
    zipfile.ZipFile(wheel).extractall(site)
    (site / "below.pth").write_text(sysconfig.get_path("purelib") + "\n")
    templates = Path(sys.prefix) / "share" / "jupyter"  # nbconvert's, which are in no site-packages
    return caller(place / "venv" / "bin" / "python", place, JUPYTER_PATH=str(templates))


@pytest.fixture(scope="module")
def fresh(wheel, tmp_path_factory):
    "The same in an environment that has the wheel with the extra `lab` and what they ask the package index for, and nothing else."
    beside = Path(sys.executable).with_name("uv")
    uv = beside if beside.exists() else shutil.which("uv")
    if not uv or os.name == "nt":
        pytest.skip("needs uv, and is written for environments with bin/python")
    place = tmp_path_factory.mktemp("fresh")
    python = place / "venv" / "bin" / "python"
    install = ["pip", "install", "-q", "--python", python, "-c", house.ROOT / "constraints.txt", f"clfnb[lab] @ {wheel.as_uri()}"]  # fmt: skip
    for words in (["venv", "-q", "--python", sys.executable, place / "venv"], install):
        done = subprocess.run([uv, *words], capture_output=True, text=True, cwd=place)
        if "Failed to fetch" in done.stderr or "error sending request" in done.stderr:
            pytest.skip("the package index cannot be reached")
        assert done.returncode == 0, done.stderr
    return caller(python, place)


def test_the_wheel_has_notebooks_and_weights(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for kind in KINDS:
        there = {p.relative_to(house.ROOT).as_posix() for p in house.notebooks(kind)}
        assert {n.removeprefix("clfnb/") for n in names if f"/nbs/{kind}/" in n} == there
    weights = {p.relative_to(house.ROOT).as_posix() for p in (house.LIB / "weights").rglob("*.*")}
    assert weights and weights <= set(names)
    assert not [n for n in names if n.startswith(("tests", "docs", "nbs"))]


def test_the_wheel_is_as_large_as_the_page_says(wheel):
    text = (house.NBS / "guides" / "installation.ipynb").read_text("utf-8")
    packed, unpacked = re.search(
        r"\| the wheel of clfnb .*? \| (\d+) MB \| (\d+) MB \|", text
    ).groups()
    sizes = [item.file_size for item in zipfile.ZipFile(wheel).infolist()]
    assert abs(wheel.stat().st_size / 1e6 - int(packed)) <= 1
    assert abs(sum(sizes) / 1e6 - int(unpacked)) <= 1


def test_lab_is_all_that_a_learner_needs():
    "What lessons and exercises import, and what the commands in them import, comes with the extra of the quick start."
    project = tomllib.loads((house.ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert "clfnb[sweep]" in extras["lab"], "lesson 7 sweeps"
    brought = project["dependencies"] + extras["lab"] + extras["sweep"]
    have = {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in brought}
    have |= {"ipython", "nbformat"}  # of ipykernel and nbconvert
    packages = packages_distributions()
    for path in (path for kind in KINDS for path in house.notebooks(kind)):
        for _, source in house.cells(path):
            for name in imported(source) - {"clfnb", *sys.stdlib_module_names}:
                names = {one.lower().replace("_", "-") for one in packages.get(name, [name])}
                assert names & have, (path.name, name)


def imported(source):
    "The first words of the modules that a cell imports."
    nodes = list(ast.walk(ast.parse(re.sub(r"^[%!].*", "", source, flags=re.M))))
    names = [a.name for node in nodes if isinstance(node, ast.Import) for a in node.names]
    names += [n.module for n in nodes if isinstance(n, ast.ImportFrom) and not n.level]
    return {name.partition(".")[0] for name in names}


def test_an_installed_clfnb_teaches_in_an_empty_folder(installed):
    code = "import clfnb; print(clfnb.__file__)"
    assert "venv" in installed("-c", code) and str(house.ROOT) not in installed("-c", code)
    listed = installed("-m", "clfnb", "lessons")
    assert all(path.stem.partition("_")[2] in listed for path in house.notebooks("lessons"))
    installed("-m", "clfnb", "start", "mine", "--no-lab")
    mine = installed.folder / "mine"
    assert len(list(mine.glob("lessons/*.ipynb"))) == len(house.notebooks("lessons"))
    solve = (
        "from clfnb.course.barcode_reading import check\n"
        "from clfnb.preprocessing.barcodes.ean13 import check_digit\n"
        "print(check('3.1', check_digit))"
    )
    assert "right" in installed("-c", solve, cwd=mine / "exercises")
    assert "barcode_reading 1/" in installed("-m", "clfnb", "progress", "mine")


def test_an_installed_clfnb_reads_a_barcode(installed):
    folder = installed("-m", "clfnb", "data", "simulate", "barcodes", "--images", "2").strip()
    assert "of 2 images" in installed("-m", "clfnb", "predict", "barcodes", folder)


@pytest.mark.slow
def test_an_installed_clfnb_runs_a_lesson(installed):
    out = installed("-m", "clfnb", "run", "calibration")
    assert "accuracy" in out and "report" in out


@pytest.mark.slow
def test_a_wheel_names_all_that_it_needs(fresh):
    "Data are simulated and read, and lessons run; lesson 7 sweeps."
    found = fresh("-c", "import sys, clfnb; print(clfnb.__file__, *sys.path, sep='\\n')")
    assert str(house.ROOT) not in found and sysconfig.get_path("purelib") not in found
    assert "ecg_delineation" in fresh("-m", "clfnb", "lessons")
    folder = fresh("-m", "clfnb", "data", "simulate", "barcodes", "--images", "2").strip()
    assert "of 2 images" in fresh("-m", "clfnb", "predict", "barcodes", folder)
    for lesson in ("calibration", "many_runs"):
        out = fresh("-m", "clfnb", "run", lesson)
        assert "accuracy" in out and "report" in out


LIGHT = (["lessons"], ["runs"], ["data", "list"], ["predict", "--help"], ["start", "{}", "--no-lab"], ["progress", "{}"], ["update", "{}"])  # fmt: skip


def test_these_commands_load_no_torch(tmp_path):
    "In one process, one after the other: none may bring it in."
    words = [[word.format(tmp_path / "mine") for word in line] for line in LIGHT]
    script = (
        "import sys\nfrom clfnb.cli import main\n"
        f"for words in {words!r}:\n    assert main(words) == 0, words\n"
        "    assert 'torch' not in sys.modules, words\n"
    )
    place = os.environ | {"CLFNB_RUNS": str(tmp_path / "runs")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=house.ROOT, env=place)  # fmt: skip
    assert done.returncode == 0, done.stderr
