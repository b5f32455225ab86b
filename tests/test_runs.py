"Headless runs as they end: well, with an error, killed, too late, interrupted, and continued."

import json
import os
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import psutil
import pytest

from clfnb.runs.execute import RunFailed, find_lessons, resume_run, run_lesson
from clfnb.runs.parameters import ParameterError
from clfnb.runs.process import RunHeld
from clfnb.runs.record import find_run, list_runs, read_run

POSIX = os.name == "posix"
PARAMETERS = """data: str = "simulated"  # "simulated", a name from "clfnb data list", or a folder
out_dir: str = ""  # folder of the run
steps: int = 3  # how far to count, 1..100
do: str = "nothing"  # what happens, one of nothing|raise|die|sleep"""
IMPORTS = "import os\nimport sys\nimport time\nfrom pathlib import Path\n\nfrom clfnb.runs.record import open_run"
OPEN = """run = open_run("tiny", out_dir, dict(data=data, steps=steps, do=do))
checkpoint = run.folder / "last.ckpt"
before = int(checkpoint.read_text()) if checkpoint.exists() else 0
checkpoint.write_text(str(before + steps))
run.save_metrics({"before": before, "total": before + steps})"""
BODY = """if do == "raise":
    raise ValueError("the third wheel came off")
if do == "die":
    os._exit(3)
if do == "sleep" and before == 0:
    (run.folder / "kernel.pid").write_text(str(os.getpid()))
    time.sleep(60)"""
END = "run.finish()\nsys.executable"
SCRIPT = """import sys
from clfnb.runs.execute import find_lessons, run_lesson
run_lesson(find_lessons()["tiny"], {"do": "sleep"}, runs_dir=sys.argv[1])"""

RESUME = "import sys; from clfnb.runs.execute import resume_run; resume_run(sys.argv[1])"


@pytest.fixture
def lesson(tmp_path, monkeypatch):
    "A small lesson that behaves as it is told to."
    cell = nbformat.v4.new_code_cell
    cells = [
        nbformat.v4.new_markdown_cell("# A tiny lesson\n> Counting"),
        cell(PARAMETERS, metadata={"tags": ["parameters"]}),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(
        metadata=kernel, cells=[*cells, *map(cell, (IMPORTS, OPEN, BODY, END))]
    )
    folder = tmp_path / "nbs" / "lessons"
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / "01_tiny.ipynb")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLFNB_RUNS", str(tmp_path / "runs"))
    return find_lessons()["tiny"]


def notebook_of(folder):
    "The executed notebook of a run."
    return nbformat.read(Path(folder) / "notebook.ipynb", as_version=4)


def wait_for(found, seconds=40):
    "Look for something until it is there."
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.1)
    return answer


def gone(pid):
    "Whether a process has ended; one that only waits to be collected has."
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


class Fetched(HTMLParser):
    "What a browser would fetch from another host, or execute."

    found = ()

    def handle_starttag(self, tag, attrs):
        self.found += tuple(
            v
            for k, v in attrs
            if tag in ("script", "link", "img", "iframe")
            and k in ("src", "href")
            and not v.startswith("data:")
        )


def test_a_run_that_goes_well(lesson, tmp_path):
    folder = run_lesson(lesson, {"steps": 7}, runs_dir=tmp_path / "runs")
    run = read_run(folder)
    assert (run.status, run.metrics, run.parameters["steps"]) == (
        "finished",
        {"before": 0, "total": 7},
        7,
    )
    assert run.folder.is_relative_to(tmp_path / "runs" / "tiny")
    assert repr(sys.executable) in notebook_of(folder).cells[-1].outputs[0]["data"]["text/plain"]
    reader = Fetched()
    reader.feed((folder / "report.html").read_text(encoding="utf-8"))
    assert reader.found == ()


@pytest.mark.parametrize(
    "values, said",
    [
        ({"step": 3}, "did you mean 'steps'"),
        ({"steps": "1.5"}, "int"),
        ({"steps": 101}, "1..100"),
        ({"do": "dance"}, "nothing"),
    ],
)
def test_nothing_is_made_for_wrong_values(lesson, tmp_path, values, said):
    with pytest.raises(ParameterError, match=said.replace(".", r"\.")):
        run_lesson(lesson, values, runs_dir=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_failing_cell_is_named_and_kept(lesson, tmp_path):
    with pytest.raises(RunFailed, match="the third wheel came off"):
        run_lesson(lesson, {"do": "raise"}, runs_dir=tmp_path / "runs")
    run = find_run("last", tmp_path / "runs")
    assert (
        run.status == "failed" and "third wheel" in run.error and isinstance(run.failed_cell, int)
    )
    assert any(
        output.output_type == "error"
        for cell in notebook_of(run.folder).cells
        for output in cell.get("outputs", [])
    )
    assert "third wheel" in (run.folder / "report.html").read_text(encoding="utf-8")


def test_a_kernel_that_dies(lesson, tmp_path):
    with pytest.raises(RunFailed):
        run_lesson(lesson, {"do": "die"}, runs_dir=tmp_path / "runs")
    run = find_run("last", tmp_path / "runs")
    assert run.status == "failed" and run.error and (run.folder / "notebook.ipynb").is_file()
    assert run.metrics == {"before": 0, "total": 3}
    assert (
        "exit code 3" in run.error
        and str(run.folder / "kernel.log") in run.error
        and (run.folder / "kernel.log").is_file()
    )


@pytest.mark.parametrize("limits, said", [({"timeout": 5}, "5 s"), ({"cell_timeout": 2}, "2")])
def test_time_limits_end_the_kernel(lesson, tmp_path, limits, said):
    with pytest.raises(RunFailed, match=said):
        run_lesson(lesson, {"do": "sleep"}, runs_dir=tmp_path / "runs", **limits)
    run = find_run("last", tmp_path / "runs")
    assert run.status == "failed" and said in run.error
    wait_for(lambda: all(gone(child.pid) for child in psutil.Process().children()))


@pytest.mark.skipif(not POSIX, reason="signals are sent, which Windows has no equal of")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop(lesson, tmp_path, number):
    job = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "runs")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    pid = int(
        wait_for(
            lambda: "".join(file.read_text() for file in (tmp_path / "runs").glob("*/*/kernel.pid"))
        )
    )
    job.send_signal(number)
    assert job.wait(40) != 0
    assert find_run("last", tmp_path / "runs").status == "interrupted"
    wait_for(lambda: gone(pid))


@pytest.mark.skipif(not POSIX, reason="signals are sent, which Windows has no equal of")
@pytest.mark.parametrize("delay", [0, 0.3])
def test_told_to_stop_before_the_first_cell(lesson, tmp_path, delay):
    "papermill and its like take seconds to import, which is when people notice a mistake."
    job = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "runs")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: list((tmp_path / "runs").glob("*/*/run.json")))
    time.sleep(delay)
    job.send_signal(signal.SIGINT)
    error = job.communicate(timeout=40)[1]
    assert "RunInterrupted" in error
    run = find_run("last", tmp_path / "runs")
    assert (run.status, run.failed_cell) == ("interrupted", None)
    assert not list(run.folder.glob("began")) and not (run.folder / "last.ckpt").exists()


@pytest.mark.skipif(not POSIX, reason="SIGKILL is sent")
def test_a_killed_run_is_seen_and_goes_on(lesson, tmp_path):
    job = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "runs")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    pid_file = wait_for(lambda: next((tmp_path / "runs").glob("*/*/kernel.pid"), None))
    assert list_runs(tmp_path / "runs")[0].status == "running"
    with pytest.raises(RunHeld, match=f"{pid_file.parent.name}: .* process {job.pid} on "):
        resume_run(list_runs(tmp_path / "runs")[0])
    job.kill()
    job.wait()
    run = list_runs(tmp_path / "runs")[0]
    assert run.status == "killed"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", RESUME, str(run.folder)], stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    errors = [job.communicate(timeout=90)[1] for job in both]
    assert sorted(job.returncode for job in both) == [0, 1], errors
    refused = next(error for job, error in zip(both, errors, strict=True) if job.returncode)
    assert "RunHeld" in refused or "this one is finished" in refused
    folder = run.folder
    assert folder == run.folder == pid_file.parent
    after = read_run(folder)
    assert (after.status, after.parameters, after.metrics) == (
        "finished",
        run.parameters,
        {"before": 3, "total": 6},
    )
    assert len(list_runs(tmp_path / "runs")) == 1
    json.loads((folder / "run.json").read_text(encoding="utf-8"))
    wait_for(lambda: gone(int(pid_file.read_text())))
