"Headless runs as they end: well, with an error, killed, too late, interrupted, and continued."

import json
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import psutil
import pytest

from clfnb.runs.execute import RunFailed, resume_run, run_lesson
from clfnb.runs.parameters import ParameterError, check_values, read_parameters
from clfnb.runs.plan import find_lessons, plan_run, plan_runs, read_lesson
from clfnb.runs.process import RunLocked
from clfnb.runs.record import (
    find_run,
    fingerprint,
    headline,
    list_runs,
    open_run,
    read_run,
    update_record,
)

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
from clfnb.runs.execute import run_lesson
from clfnb.runs.plan import find_lessons, plan_run
run_lesson(plan_run(find_lessons()["tiny"], {"do": "sleep"}, runs_dir=sys.argv[1]))"""

RESUME = "import sys; from clfnb.runs.execute import resume_run; resume_run(sys.argv[1])"


def write_lesson(place, *sources, name="01_tiny"):
    "Write a notebook whose first source is its parameters cell, and find it as a lesson."
    cell = nbformat.v4.new_code_cell
    cells = [
        nbformat.v4.new_markdown_cell("# A tiny lesson\n> Counting"),
        cell(sources[0], metadata={"tags": ["parameters"]}),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(metadata=kernel, cells=[*cells, *map(cell, sources[1:])])
    folder = place / "nbs" / "lessons"
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return find_lessons(place)[name.partition("_")[2]]


@pytest.fixture
def lesson(tmp_path, monkeypatch):
    "A small lesson that behaves as it is told to."
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLFNB_RUNS", str(tmp_path / "runs"))
    for name in ("CLFNB_DEVICE", "CLFNB_PRECISION", "CLFNB_WORKERS"):
        monkeypatch.delenv(name, raising=False)
    return write_lesson(tmp_path, PARAMETERS, IMPORTS, OPEN, BODY, END)


def planned_run(lesson, values=None, **options):
    "Plan a run and execute it."
    return run_lesson(plan_run(lesson, values, **options))


def notebook_of(folder):
    "The executed notebook of a run."
    return nbformat.read(Path(folder) / "notebook.ipynb", as_version=4)


def wait_for(found, seconds=300):
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
    folder = planned_run(lesson, {"steps": 7}, runs_dir=tmp_path / "runs")
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
        planned_run(lesson, values, runs_dir=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_failing_cell_is_named_and_kept(lesson, tmp_path):
    with pytest.raises(RunFailed, match="the third wheel came off"):
        planned_run(lesson, {"do": "raise"}, runs_dir=tmp_path / "runs")
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
        planned_run(lesson, {"do": "die"}, runs_dir=tmp_path / "runs")
    run = find_run("last", tmp_path / "runs")
    assert run.status == "failed" and run.error and (run.folder / "notebook.ipynb").is_file()
    assert run.metrics == {"before": 0, "total": 3}
    assert run.failed_cell == 6  # the text, the parameters, the values given, imports, opening
    assert (
        "exit code 3" in run.error
        and str(run.folder / "kernel.log") in run.error
        and (run.folder / "kernel.log").is_file()
    )


@pytest.mark.parametrize("limits, said", [({"timeout": 5}, "5 s"), ({"cell_timeout": 2}, "2")])
def test_time_limits_end_the_kernel(lesson, tmp_path, limits, said):
    before = psutil.Process().children()
    with pytest.raises(RunFailed, match=said):
        planned_run(lesson, {"do": "sleep"}, runs_dir=tmp_path / "runs", **limits)
    run = find_run("last", tmp_path / "runs")
    assert run.status == "failed" and said in run.error and run.failed_cell == 6
    started = set(psutil.Process().children()) - set(before)
    wait_for(lambda: all(gone(child.pid) for child in started))


@pytest.mark.skipif(not POSIX, reason="signals are sent, which Windows has no equal of")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_told_to_stop(lesson, tmp_path, name):
    "The run is recorded as interrupted, can be resumed, and the exit code names the signal."
    number = getattr(signal, name)
    words = [sys.executable, "-m", "clfnb", "run", "tiny", "-p", "do=sleep"]
    job = subprocess.Popen(
        words,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            number, signal.SIG_DFL
        ),  # else SIGHUP is ignored under nohup
    )
    runs = tmp_path / "runs"
    pids = wait_for(lambda: "".join(f.read_text() for f in runs.glob("*/*/kernel.pid")))
    job.send_signal(number)
    error = job.communicate(timeout=300)[1]
    assert job.returncode == 128 + number and "Traceback" not in error, error
    *_, hint, last = filter(None, error.splitlines())
    assert last == ("Interrupted." if name == "SIGINT" else "Stopped.")
    run = find_run("last", runs)
    assert run.status == "interrupted" and hint == f"to resume it: clfnb run --resume {run.name}"
    wait_for(lambda: gone(int(pids)))


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
    error = job.communicate(timeout=300)[1]
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
    with pytest.raises(RunLocked, match=f"{pid_file.parent.name}: .* process {job.pid} on "):
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
    errors = [job.communicate(timeout=300)[1] for job in both]
    assert sorted(job.returncode for job in both) == [0, 1], errors
    refused = next(error for job, error in zip(both, errors, strict=True) if job.returncode)
    assert "RunLocked" in refused or "this one is finished" in refused
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


COMPUTING = """data: str = "simulated"  # "simulated", a name from "clfnb data list", or a folder
out_dir: str = ""  # folder of the run
device: str = "auto"  # where to compute, one of auto|cpu|cuda|cuda:N|mps
precision: str = "auto"  # number format, one of auto|32-true|bf16-mixed|16-mixed
workers: int = 0  # processes that load data beside the main one, 0..256"""
LOADING = """class Pids(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, number):
        return os.getpid()


device, precision, workers = run_settings(device, precision, workers)
run = open_run("loading", out_dir, dict(device=device, precision=precision, workers=workers))
loader = torch.utils.data.DataLoader(Pids(), batch_size=1, num_workers=workers)
pids = {int(pid) for pid in loader}
run.save_metrics({"processes": len(pids), "beside": int(os.getpid() not in pids)})"""


@pytest.fixture
def computing(lesson, tmp_path):
    "A lesson that takes a device, a precision and loading processes."
    imports = (
        "import os\n\nimport torch\n\nfrom clfnb.runs.plan import run_settings\n"
        "from clfnb.runs.record import open_run"
    )
    return write_lesson(tmp_path, COMPUTING, imports, LOADING, name="02_loading")


def gpus(number):
    "What stands in for the answer of PyTorch on a machine with so many GPUs."
    return lambda: ["cpu", *(f"cuda:{i}" for i in range(number))]


def test_the_nearest_word_counts(computing, tmp_path, monkeypatch):
    "-p, then the option, then the environment, then settings.ini, then the lesson's default."
    monkeypatch.setattr("clfnb.runs.plan.available_devices", gpus(4))

    def device(values=None, **options):
        plan = plan_run(computing, values, **options)
        assert plan.settings.device == plan.values["device"]
        return plan.values["device"]

    assert device() == "auto"
    (tmp_path / "settings.ini").write_text("[clfnb]\ndevice = cuda:3\nworkers = 2\n")
    assert device() == "cuda:3"
    monkeypatch.setenv("CLFNB_DEVICE", "cuda:2")
    assert device() == "cuda:2"
    assert device(device="cuda:1") == "cuda:1"
    assert device({"device": "cuda:0"}, device="cuda:1") == "cuda:0"
    assert device({"device": "auto"}) == "auto"
    assert plan_run(computing).values["workers"] == 2
    assert plan_run(computing, precision="bf16-mixed").values["precision"] == "bf16-mixed"


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_a_device_that_is_not_there(computing, tmp_path, monkeypatch, device):
    monkeypatch.setattr("clfnb.runs.plan.available_devices", gpus(device == "cuda:1"))
    with pytest.raises(ParameterError, match=f"'{device}' is not on this machine; there is cpu"):
        plan_run(computing, {"device": device})
    with pytest.raises(ParameterError, match="CLFNB_DEVICE"):
        monkeypatch.setenv("CLFNB_DEVICE", device)
        plan_run(computing)
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(
    multiprocessing.get_start_method() != "fork", reason="a class of a notebook cannot be spawned"
)
def test_workers_of_the_settings_load_the_data(computing, tmp_path):
    (tmp_path / "settings.ini").write_text("[clfnb]\nworkers = 2\nprecision = 32-true\n")
    found = read_run(run_lesson(plan_run(computing), progress=False))
    assert found.metrics == {"processes": 2, "beside": 1}
    for record in (found.parameters, found.record):
        assert (record["device"], record["precision"], record["workers"]) == ("auto", "32-true", 2)


def test_a_run_keeps_its_device_when_it_goes_on(computing, monkeypatch, tmp_path):
    "Resumed on a machine without that device it is refused, and stays as it was."
    monkeypatch.setattr("clfnb.runs.plan.available_devices", gpus(1))
    monkeypatch.setattr("clfnb.runs.execute._papermill", lambda *_, **__: 1 / 0)
    with pytest.raises(RunFailed):
        planned_run(computing, {"device": "cuda"}, timeout=50)
    before = find_run("last", tmp_path / "runs")
    monkeypatch.setattr("clfnb.runs.plan.available_devices", gpus(0))
    with pytest.raises(ParameterError, match="'cuda' is not on this machine"):
        resume_run(before)
    assert find_run("last", tmp_path / "runs").record == before.record
    monkeypatch.setattr("clfnb.runs.plan.available_devices", gpus(2))
    with pytest.raises(RunFailed):
        resume_run(before, cell_timeout=5)
    record = find_run("last", tmp_path / "runs").record
    assert (record["resumed"], record["timeout"], record["cell_timeout"]) == (1, 50, 5)
    (first,) = record["attempts"]
    assert first["status"] in ("running", "failed", "interrupted") and first["versions"]
    assert first["started"] <= record["started"] and "git_commit" in first


def test_only_simulated_data_need_the_cache(tmp_path, monkeypatch):
    "A cache that cannot be written, as on some clusters, keeps nobody from data that is there."
    (tmp_path / "file").touch()
    (tmp_path / "a.hea").write_text("a 1 250 1000")
    monkeypatch.setenv("CLFNB_CACHE", str(tmp_path / "file" / "cache"))
    lesson = find_lessons(Path(__file__).parent)["ecg_delineation"]
    with pytest.raises(NotADirectoryError, match="found a file, so no simulated data can be made"):
        plan_run(lesson)
    assert plan_run(lesson, {"data": str(tmp_path)}).data == tmp_path
    monkeypatch.setenv("CLFNB_CACHE", str(tmp_path / "cache"))
    access = os.access
    monkeypatch.setattr(
        "os.access", lambda path, mode: Path(path) != tmp_path and access(path, mode)
    )
    with pytest.raises(PermissionError, match="not writable, so no simulated data can be made"):
        plan_run(lesson)
    assert plan_run(lesson, {"data": str(tmp_path)}).data == tmp_path


def test_many_plans_read_everything_once(computing, tmp_path, monkeypatch):
    "What a sweep needs: the parameters cell, the data and the device are asked for once."
    from clfnb.runs import plan

    asked = []
    for name in ("read_parameters", "fingerprint", "available_devices"):
        real = getattr(plan, name)
        monkeypatch.setattr(
            plan, name, lambda *given, name=name, real=real: asked.append(name) or real(*given)
        )
    monkeypatch.setattr(
        plan, "available_devices", lambda: asked.append("device") or ["cpu", "cuda:0"]
    )
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "a.txt").write_text("one")
    sweep = [{"data": "records", "workers": i % 200} for i in range(1000)]
    plans = plan_runs(computing, sweep, device="cuda")
    assert [p.values["workers"] for p in plans] == [i % 200 for i in range(1000)]
    assert {p.values["data"] for p in plans} == {str(tmp_path / "records")}
    assert len({p.fingerprint for p in plans}) == 1 and plans[0].fingerprint
    assert sorted(asked) == ["device", "fingerprint", "read_parameters"]
    with pytest.raises(ParameterError, match="0..256"):
        plan_runs(computing, [*sweep, {"workers": 999}])


def test_every_lesson_says_where_it_computes():
    "And its loaders get the processes that load data."
    lessons = find_lessons(Path(__file__).parent)
    assert len(lessons) >= 4
    for lesson in lessons.values():
        rules = read_parameters(lesson.path)
        assert {"device", "precision", "workers"} <= set(rules), lesson.name
        assert (rules["device"].default, rules["workers"].default) == ("auto", 0), lesson.name
        source = lesson.path.read_text(encoding="utf-8")
        if "cuda" in rules["device"].choices:
            assert "cuda:N" in rules["device"].choices, lesson.name
            assert "run_settings(device, precision, workers)" in source, lesson.name
            assert "workers=workers" in source or 'workers\\": workers' in source, lesson.name


def test_a_shared_data_folder_is_only_read(lesson, tmp_path, monkeypatch):
    "Simulated data and decoded images lie in the cache; in a folder for all there may be no right to write."
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o555)
    monkeypatch.setenv("CLFNB_DATA", str(shared))
    monkeypatch.setenv("CLFNB_CACHE", str(tmp_path / "cache"))
    body = (
        "from clfnb.data.catalog import resolve\nfrom clfnb.data.images.cache import load_images\n"
        "from clfnb.data.images.files import class_table\nfrom clfnb.runs.record import open_run\n"
        "from clfnb.settings import load_settings",
        'run = open_run("tiny", out_dir, {})\nfolder = resolve("simulated", "plankton", images=300)\n'
        'run.record_data(folder)\npaths = class_table(folder / "imgs").path\n'
        "images, _, _ = load_images(paths, load_settings().cache_dir)\n"
        'run.save_metrics({"images": len(images.shapes)})',
    )
    quick = write_lesson(tmp_path, COMPUTING, *body, name="03_quick")
    found = read_run(run_lesson(plan_run(quick), progress=False))
    assert found.metrics["images"] > 200
    assert Path(found.record["data_folder"]).is_relative_to(tmp_path / "cache")
    assert list((tmp_path / "cache").glob("images-*")) and list(shared.iterdir()) == []
    shared.chmod(0o755)


ODD = [
    "print('rank', os.environ.get('SLURM_NTASKS'), os.environ.get('WORLD_SIZE'))\nopen('here.txt', 'w').close()",
    "raise ValueError('meant to be shown')",
    "import beside\nfrom IPython.display import display\ndisplay('a curve', metadata={'line': 'epoch 1  loss 0.5'})",
]


def own_notebook(place, *sources, tags=(), parameters=None):
    "A notebook of somebody's own, outside any course; every cell but the first under a heading."
    cells = [nbformat.v4.new_markdown_cell("# My own")]
    if parameters:
        cells.append(nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    for number, source in enumerate(sources):
        cells.append(nbformat.v4.new_markdown_cell(f"## Part *{number}*"))
        cells.append(nbformat.v4.new_code_cell(source))
        if number in tags:
            cells[-1].metadata["tags"] = ["raises-exception"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(metadata=kernel, cells=cells), place)
    return read_lesson(place)


def test_a_notebook_of_ones_own(lesson, tmp_path, monkeypatch, capsys):
    """It runs by its path, in its run folder, beside its modules, as one process whatever the
    cluster says; a cell may raise where it is tagged so; sections and epochs reach the terminal.
    """
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("WORLD_SIZE", "4")
    (tmp_path / "beside.py").write_text("")
    own = own_notebook(tmp_path / "own.ipynb", "import os", *ODD, tags=[2])
    folder = planned_run(own)
    assert read_run(folder).status == "finished"
    said = capsys.readouterr().err
    assert "rank None None" in said and "epoch 1  loss 0.5" in said
    assert "Part 3" in said and said.index("Part 3") < said.index("epoch 1")
    assert (folder / "here.txt").is_file() and not (tmp_path / "here.txt").exists()
    assert "meant to be shown" in (folder / "report.html").read_text(encoding="utf-8")
    assert os.environ["SLURM_NTASKS"] == "4"


def test_what_a_cell_said_before_it_failed(lesson, tmp_path):
    "An unknown magic raises without an error; what it wrote to the error output is the reason."
    (tmp_path / "elsewhere").mkdir()
    own = own_notebook(tmp_path / "own.ipynb", "open('x', 'w').close()", "%nonsense")
    with pytest.raises(RunFailed, match="magic function `%nonsense` not found") as failed:
        planned_run(own, cwd=tmp_path / "elsewhere")
    assert "Part 1" in str(failed.value) and failed.value.cell == 5
    assert (tmp_path / "elsewhere" / "x").is_file()


def test_parameters_of_ones_own_notebook(tmp_path):
    "Types are read off the values; a cell that computes something is left alone."
    cell = "a = 1\nb = 0.5\nlst = [1, 2]\nnone = None\nflag = True\nc = a + 1\nimport os"
    own = own_notebook(tmp_path / "own.ipynb", "a", parameters=cell)
    rules = read_parameters(own.path, own=True)
    assert list(rules) == ["a", "b", "lst", "none", "flag"]
    values = check_values(rules, {"a": "3", "lst": "[7]", "none": "word", "flag": "no"})
    assert values == {"a": 3, "b": 0.5, "lst": [7], "none": "word", "flag": False}
    for wrong in ({"a": "x"}, {"lst": "{}"}, {"lst": "x"}, {"c": 1}):
        with pytest.raises(ParameterError):
            check_values(rules, wrong)
    assert read_parameters(own_notebook(tmp_path / "none.ipynb", "1").path, own=True) == {}
    with pytest.raises(ParameterError, match="expected 'name: type = value"):
        read_parameters(own.path)  # a lesson says its types


def test_a_run_folder_that_is_deleted(lesson, tmp_path):
    "The run ends, says so, and does not bring the folder back."
    sources = "import shutil\nshutil.rmtree(out_dir)", "1 + 1", "2 + 2"
    own = own_notebook(tmp_path / "own.ipynb", *sources, parameters='out_dir = ""')
    with pytest.raises(RunFailed, match="folder was deleted while it was running") as failed:
        planned_run(own)
    assert not failed.value.folder.exists()


def test_a_run_folder_that_is_deleted_within_a_cell(lesson, tmp_path, monkeypatch):
    "A long cell is not computed to its end for nobody."
    monkeypatch.setattr("clfnb.runs.process.HEARTBEAT_SECONDS", 0.2)
    source = "import shutil, time\nshutil.rmtree(out_dir)\ntime.sleep(300)"
    own = own_notebook(tmp_path / "own.ipynb", source, parameters='out_dir = ""')
    with pytest.raises(RunFailed, match="folder was deleted while it was running"):
        planned_run(own, timeout=250)


@pytest.fixture
def broken(lesson, tmp_path, monkeypatch):
    "A run that failed, over a data folder; whatever it executes fails at once."
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "a.dat").write_bytes(bytes(200_000))
    monkeypatch.setattr("clfnb.runs.execute._papermill", lambda *_, **__: 1 / 0)
    with pytest.raises(RunFailed):
        planned_run(lesson, {"data": "records"})
    return find_run("last", tmp_path / "runs")


def test_changed_data_end_no_training(broken, tmp_path):
    "Half of the training on one data set and half on another is nobody's result."
    with pytest.raises(RunFailed):
        resume_run(broken)
    file = tmp_path / "records" / "a.dat"
    file.write_bytes(bytes(100_000) + b"x" + bytes(99_999))  # as long as it was
    before, now = broken.record["data_fingerprint"], fingerprint(tmp_path / "records")
    with pytest.raises(ValueError, match=f"fingerprint {before} when it began, {now} now"):
        resume_run(broken)
    file.write_bytes(bytes(200_000))
    with pytest.raises(RunFailed):
        resume_run(broken)


def test_a_run_on_another_host(broken):
    "Its sign of life says whether it is alive; who knows better says so."
    update_record(broken.folder, status="running", host="another", pid=1)
    (broken.folder / ".heartbeat").touch()
    with pytest.raises(ValueError, match="running on another, last heartbeat 0 s ago.*--force"):
        resume_run(broken.folder)
    with pytest.raises(RunFailed):
        resume_run(broken.folder, force=True)
    assert read_run(broken.folder).record["host"] == socket.gethostname()
    update_record(broken.folder, status="running", host="another", pid=1)
    os.utime(broken.folder / ".heartbeat", (1, 1))
    assert read_run(broken.folder).status == "killed"
    with pytest.raises(RunFailed):
        resume_run(broken.folder)
    update_record(broken.folder, status="running", pid=os.getpid(), host=socket.gethostname())
    with pytest.raises(ValueError, match="this one is running"):
        resume_run(broken.folder, force=True)


def test_headline(tmp_path):
    "A lesson names the figures that are shown; of an older run the first five are."
    run = open_run("tiny", tmp_path / "a", {})
    run.save_metrics({f"m{i}": i for i in range(9)})
    assert list(headline(read_run(run.folder))) == ["m0", "m1", "m2", "m3", "m4"]
    run.save_metrics({"f1": 0.5})
    run.finish(headline=("f1", "m7", "absent"))
    assert headline(read_run(run.folder)) == {"f1": 0.5, "m7": 7}


def test_each_lesson_names_its_headline():
    "Five figures, in its last cell; which of them there are is seen when it runs."
    for lesson in find_lessons(Path(__file__).parent).values():
        sources = [cell.source for cell in nbformat.read(lesson.path, as_version=4).cells]
        last = [source for source in sources if "run.finish(" in source][-1]
        named = re.search(r"^headline = \((.*?)\)$", last, re.M | re.S)
        assert named and "run.finish(headline)" in last, lesson.name
        assert len(re.findall(r'"[\w.]+"', named[1])) == 5, lesson.name


@pytest.mark.skipif(sys.platform != "linux", reason="limits of open files as Linux has them")
@pytest.mark.parametrize("number", [12, 32, 48, 100])
def test_too_few_open_files_are_told_before_a_kernel_starts(lesson, tmp_path, number):
    "No abort in a library, no kernel that never answers, no run."
    shell = f"ulimit -c 0; ulimit -n {number}; exec {sys.executable} -m clfnb run {lesson.path}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=300)
    said = f"Error: a run needs 128 open files, this process may open {number}: "
    assert done.returncode == 1 and done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "runs").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="limits of open files as Linux has them")
def test_a_low_limit_of_open_files_is_raised_for_the_kernel(tmp_path, monkeypatch):
    "As far as a run needs, not beyond the hard limit."
    monkeypatch.setenv("CLFNB_RUNS", str(tmp_path / "runs"))
    shown = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    lesson = write_lesson(tmp_path, PARAMETERS, shown)
    run = f"exec {sys.executable} -m clfnb run {lesson.path}"
    shell = f"ulimit -Sn 24; ulimit -Hn 2000; {run}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "(1024, 2000)" in done.stderr, done.stderr
