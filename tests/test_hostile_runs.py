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

from clfnb.data.images.files import class_table
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
    done = subprocess.run(call, capture_output=True, text=True, timeout=300)
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


@pytest.mark.parametrize(
    "entry, said",
    [
        ({"headline": "total"}, "expected 'headline' to be a list, found 'total'"),
        ({"versions": [1]}, "expected 'versions' to be a mapping, found [1]"),
        ({"error": {"a": 1}}, "expected 'error' to be text, found {'a': 1}"),
        ({"failed_cell": "x"}, "expected 'failed_cell' to be a number, found 'x'"),
        ({"attempts": 5}, "expected 'attempts' to be a list, found 5"),
        ({"resumed": "x"}, "expected 'resumed' to be a number, found 'x'"),
        ({"notebook": 5}, "expected 'notebook' to be text, found 5"),
        ({"host": 5}, "expected 'host' to be text, found 5"),
        ({"seconds": "long"}, "expected 'seconds' to be a number, found 'long'"),
    ],
)
def test_entries_of_another_type(course, clfnb, entry, said):  # noqa: F811
    "Each ended every listing, or the report and the resuming of its run, with an error of Python."
    a_run(course, "good")
    file = a_run(course, "odd", **entry) / "run.json"
    code, out, error = clfnb("runs")
    assert code == 0 and "good" in out and "broken" in out
    assert one_line(error) == f"broken: {file}: not a run's record: {said}"
    for words in (["show", "odd"], ["report", "odd"], ["run", "--resume", "odd"]):
        code, _, error = clfnb(*words)
        assert code == 1 and f"{file}: not a run's record: {said}" in one_line(error)


def test_a_headline_of_anything(course, clfnb):  # noqa: F811
    folder = a_run(course, headline=[{"a": 1}, [2], 3, "total"])
    (folder / "metrics.json").write_text('{"share": 0.5, "total": 7}')
    code, out, error = clfnb("runs")
    assert code == 0 and "total=7" in out and "share" not in out and error == ""


def test_a_metric_that_nothing_can_calculate_with(runs, clfnb):  # noqa: F811
    "A whole number of 401 digits is valid JSON, and too large for every mean."
    file = runs / "toy" / f"{1:012x}" / "metrics.json"
    file.write_text(json.dumps({"accuracy": 10**400}))
    said = f"{file}: metric 'accuracy': expected a number, found one of 401 digits"
    for words in (["results"], ["results", "--csv"], ["results", "--report", "page.html"]):
        code, _, error = clfnb(*words)
        assert code == 0 and one_line(error) == f"left out: {said}"


LAUGHS = "[&a [1,1,1,1,1,1,1,1,1,1]" + "".join(
    f", &{new} [{','.join([f'*{old}'] * 10)}]"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "value, said",
    [
        (f"{LAUGHS}]", "expected at most 1,000,000 values with all aliases written out"),
        ("&a [*a]", "a value that contains itself"),
        ("{a: 1, a: 2}", "a: given twice"),
    ],
)
def test_yaml_that_multiplies(course, clfnb, value, said):  # noqa: F811
    "A few hundred bytes became a thousand million values."
    cell = nbformat.v4.new_code_cell("sizes = [1]", metadata={"tags": ["parameters"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), course / "own.ipynb")
    (course / "values.yaml").write_text(f"sizes: {value}\n")
    (course / "sweep.yaml").write_text(f"lesson: own.ipynb\nparameters:\n  sizes: {value}\n")
    for words in (
        ["run", "own.ipynb", "--params", "values.yaml"],
        ["run", "own.ipynb", "--set", f"sizes={value}"],
        ["sweep", "sweep.yaml", "--dry-run"],
    ):
        code, _, error = clfnb(*words)
        assert code == 2 and said in one_line(error) and len(error) < 1000, words


def test_a_value_of_five_thousand_digits(course, clfnb):  # noqa: F811
    code, _, error = clfnb("run", "tiny", "-p", f"steps={'9' * 5000}")
    assert code == 2 and "steps: expected int 1..100, found '999" in one_line(error)
    assert len(error) < 400


def test_more_random_combinations_than_anybody_means(course, clfnb):  # noqa: F811
    for count in ("100000", "1000000000"):
        words = ["sweep", "tiny", "--dry-run", "-p", "wait=0..1", "--random", count]
        code, _, error = clfnb(*words)
        assert code == 2 and "more than 10,000: if that is intended, add --yes" in one_line(error)


@pytest.mark.parametrize(
    "line, said",
    [
        ("workers: [1]", "workers: expected a single value, found [1]"),
        ("table: [1]", "table: expected a single value, found [1]"),
        ("name: {a: 1}", "name: expected a single value, found {'a': 1}"),
        ("timeout: -5", "timeout: expected a time such as 90, 30m or 2h, found -5"),
        ("retries: x", "retries: 'x' is not a valid integer"),
    ],
)
def test_options_of_a_sweep_file(course, clfnb, line, said):  # noqa: F811
    (course / "sweep.yaml").write_text(f"lesson: tiny\n{line}\nparameters: {{steps: 1}}\n")
    code, _, error = clfnb("sweep", "sweep.yaml", "--dry-run")
    assert code == 2 and f"sweep.yaml: {said}" in one_line(error)


def own_notebook(course, *sources, **metadata):  # noqa: F811
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    (course / "own.ipynb").write_text(json.dumps(notebook | {"metadata": metadata}))
    return "own.ipynb"


def test_a_message_of_ten_megabytes(course, clfnb):  # noqa: F811
    "The terminal and the record get its beginning."
    code, _, error = clfnb("run", own_notebook(course, "raise ValueError('x' * 10_000_000)"))
    assert code == 1 and "ValueError: xxx" in error and len(error) < 5000
    assert (next((course / "runs" / "own").iterdir()) / "run.json").stat().st_size < 10_000


def test_a_notebook_without_a_possible_report(course, clfnb):  # noqa: F811
    "It is refused before its first cell, not after its last."
    name = own_notebook(course, "open('began', 'w')", kernelspec=5)
    code, _, error = clfnb("run", name)
    said = error.splitlines()
    assert code == 1 and said[0].startswith(f"Error: {course / name}: not a notebook (")
    assert not list((course / "runs").rglob("began"))


def test_an_output_that_no_notebook_may_hold(course, clfnb):  # noqa: F811
    source = "from IPython.display import display\ndisplay({'image/svg+xml': 5}, raw=True)"
    code, _, error = clfnb("run", own_notebook(course, source))
    (line,) = (line for line in error.splitlines() if line.startswith("Error: "))
    assert code == 1 and "5 is not valid under any of the given schemas" in line
    assert "kept in" in line and "Traceback" not in error


def test_a_time_limit_beyond_all_clocks(course):  # noqa: F811
    "Its thread ended with a traceback, and without any limit."
    words = [sys.executable, "-m", "clfnb", "run", "tiny", "--timeout", "9" * 20]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="another system keeps a working folder")
@pytest.mark.parametrize(
    "words", [["runs"], ["lessons"], ["results"], ["run", "x.ipynb"], ["calibrate", "x.csv"]]
)
def test_a_working_folder_that_was_deleted(course, clfnb, monkeypatch, words):  # noqa: F811
    (course / "gone").mkdir()
    monkeypatch.chdir(course / "gone")
    (course / "gone").rmdir()
    code, _, error = clfnb(*words)
    monkeypatch.chdir(course)
    assert code == 1
    assert one_line(error) == "Error: the working folder was deleted; go to another one"


def test_weights_whose_sum_is_infinite(clfnb, tmp_path, monkeypatch):  # noqa: F811
    "Equal weights of any size are equal weights."
    monkeypatch.chdir(tmp_path)
    labels = np.array(["a", "b"] * 30)
    table = pd.DataFrame({"id": range(60), "label": labels, "p_a": np.linspace(0.1, 0.9, 60)})
    table = table.assign(p_b=1 - table.p_a)
    found = []
    for weight in (1.0, 1e308):
        table.assign(weight=weight).to_csv("table.csv", index=False)
        code, out, _ = clfnb("calibrate", "table.csv", "--draws", "20", "--force", "--json")
        assert code == 0
        found.append([row["value"] for row in json.loads(out)["table"]])
    assert found[0] == pytest.approx(found[1])


def test_probabilities_that_overflow(tmp_path):
    "One line, without the warnings of NumPy."
    for value in ("inf", "1e308"):
        (tmp_path / "t.csv").write_text("label,p_a,p_b\n" + f"a,{value},1e308\nb,1,0\n" * 20)
        words = [sys.executable, "-m", "clfnb", "calibrate", str(tmp_path / "t.csv")]
        done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 1 and "line 2: expected a sum of 1" in one_line(done.stderr)


@pytest.mark.skipif(os.name != "posix", reason="names of Unix")
def test_two_folders_that_are_shown_alike(tmp_path):
    r"Bytes that are no text are shown as \xe9, which a folder may be called too."
    for name in ("caf\udce9", r"caf\xe9", "other"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / name / "a.png")
    with pytest.raises(ValueError, match=r"both shown as 'caf\\\\xe9'; rename one"):
        class_table(tmp_path)


def test_a_settings_file_with_a_null_byte(clfnb, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLFNB_RUNS", raising=False)
    (tmp_path / "settings.ini").write_bytes(b"[clfnb]\nruns_dir = a\0b\n")
    code, _, error = clfnb("runs")
    assert code == 1 and "settings.ini, line 2: runs_dir: expected a folder" in one_line(error)


SWEEP = {"name": "odd", "lesson": "toy", "notebook": "x", "created": "2026", "parameters": {}}
MEMBER = {"identity": "1", "parameters": {}, "run": "toy/1"}


@pytest.mark.parametrize(
    "entries, said",
    [
        ({"created": 5}, "an entry has the wrong type"),
        ({"runs": [MEMBER | {"run": 5}]}, "an entry has the wrong type"),
        ({"runs": [MEMBER | {"identity": None}]}, "an entry has the wrong type"),
        ({"runs": [MEMBER | {"run": "../../x"}]}, "'../../x' is not in the folder of runs"),
        ({"runs": [MEMBER | {"run": "/etc/x"}]}, "'/etc/x' is not in the folder of runs"),
    ],
)
def test_sweeps_of_another_type(runs, clfnb, entries, said):  # noqa: F811
    "One ended `clfnb results` for all; now it is named, and the others are shown."
    file = runs / "sweeps" / "odd" / "sweep.json"
    file.parent.mkdir()
    file.write_text(json.dumps(SWEEP | {"options": {}, "runs": []} | entries))
    code, out, _ = clfnb("results")
    assert code == 0 and "first" in out and "0.910" in out
    for words in (["results", "odd"], ["watch", "odd", "--once"]):
        code, _, error = clfnb(*words)
        assert code == 1
        assert one_line(error).startswith(f"Error: {file}: not the file of a sweep (")
        assert said in error


@PIPES
def test_a_sweep_that_is_a_pipe(runs, clfnb):  # noqa: F811
    file = runs / "sweeps" / "odd" / "sweep.json"
    file.parent.mkdir()
    os.mkfifo(file)
    assert clfnb("results")[0] == 0
    for words in (["results", "odd"], ["watch", "odd", "--once"]):
        code, _, error = clfnb(*words)
        assert code == 1 and f"{file}: expected an ordinary file, found a pipe" in one_line(error)


def failed_run(course, clfnb):  # noqa: F811
    assert clfnb("run", "tiny", "-p", "fail=true")[0] == 1
    return next((course / "runs" / "tiny").iterdir())


@PIPES
def test_a_log_that_is_a_pipe(course, clfnb):  # noqa: F811
    "The run waited for somebody to read it."
    folder = failed_run(course, clfnb)
    (folder / "kernel.log").unlink(missing_ok=True)
    os.mkfifo(folder / "kernel.log")
    code, _, error = clfnb("run", "--resume", folder.name)
    assert code == 1 and f"{folder / 'kernel.log'}: expected an ordinary file" in error


def test_a_thousand_attempts(course, clfnb):  # noqa: F811
    folder = failed_run(course, clfnb)
    for number in range(1, 1000):
        (folder / f"notebook-{number}.ipynb").touch()
    code, _, error = clfnb("run", "--resume", folder.name)
    assert code == 1 and "the third wheel came off" in error
    assert (folder / "notebook-1000.ipynb").stat().st_size


def test_a_file_in_place_of_the_claims(runs, clfnb):  # noqa: F811
    (runs / "toy" / f"{1:012x}" / ".claims").write_text("no folder")
    for words in (["gc"], ["results"], ["watch", "first", "--once"]):
        code, _, error = clfnb(*words)
        assert code == 0 and error == "", words
