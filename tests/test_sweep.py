"""Sweeps as they are used: two commands over one folder of runs, kills of every kind, a scheduler with workers of its own, refusals."""

import importlib.util
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import nbformat
import psutil
import pytest
import test_runs

pytest.importorskip("distributed", reason="needs the extra clfnb[sweep]")

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("runs_benchmark", ROOT / "benchmarks" / "runs.py")
bench = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(bench)
POSIX = os.name == "posix"
pytestmark = pytest.mark.skipif(not POSIX, reason="sends signals of POSIX")


def sweep(notebook, runs, *words, check=None, **environment):
    "A whole `clfnb sweep`; its exit code is compared if `check` says with what."
    done = subprocess.run(
        bench.command(notebook, runs, *words),
        env=bench.environment() | environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    if check is not None:
        assert done.returncode == check, done.stdout + done.stderr
    return done


wait_for = partial(test_runs.wait_for, seconds=240)  # a sweep begins with a cluster


def records(runs):
    "The records of all runs below a folder, by the values they were given."
    found = [json.loads(file.read_text()) for file in runs.glob("count/*/run.json")]
    return {json.dumps(record["given"], sort_keys=True): record for record in found}


@pytest.fixture(autouse=True)
def few_imports(monkeypatch):
    "These notebooks need no PyTorch, and a warm process that imports it takes longer than their runs."
    monkeypatch.setenv("CLFNB_WARM_MODULES", "clfnb.runs.record")


@pytest.fixture
def notebook(tmp_path):
    "A notebook that counts, with a checkpoint after each step."
    return bench.write_notebook(tmp_path / "count.ipynb", bench.COUNT)


def test_two_sweeps_under_fire_lose_nothing_and_do_nothing_twice(tmp_path):
    found = bench.disturbed(
        tmp_path, 8, random.Random(3), rates=(0.1, 0.2), seeds=range(3), pause=(1, 8)
    )
    hits, lost, twice, differ = found
    log = (tmp_path / "log.txt").read_text()
    assert hits and (lost, twice, differ) == ([], [], []), log


def test_two_sweeps_share_the_work(tmp_path, notebook):
    """Started at the same moment, each run is executed by one of them, and both end well."""
    runs, words = tmp_path / "runs", ["-p", "seed=0..5", "--workers", "1", "--name", "shared"]
    both = [
        subprocess.Popen(
            bench.command(notebook, runs, *words),
            env=bench.environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=500)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert len(records(runs)) == 6
    assert all(r["status"] == "finished" and "attempts" not in r for r in records(runs).values())
    assert not list(runs.glob("count/*/overlap")) and not list(runs.glob("count/*/claim.json"))
    kept = json.loads((runs / "sweeps" / "shared" / "sweep.json").read_text())
    assert len(kept["runs"]) == 6 and kept["parameters"] == {"seed": [0, 1, 2, 3, 4, 5]}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_goes_on(tmp_path, number):
    slow = [source.replace("time.sleep(0.2)", "time.sleep(0.6)") for source in bench.COUNT]
    notebook = bench.write_notebook(tmp_path / "count.ipynb", slow)
    runs, words = tmp_path / "runs", ["-p", "seed=0..1", "--workers", "1"]
    sweeping = subprocess.Popen(
        bench.command(notebook, runs, *words),
        env=bench.environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: list(runs.glob("count/*/last.json")))
    sweeping.send_signal(number)
    said = sweeping.communicate(timeout=300)[1]
    assert sweeping.returncode == 128 + number, said
    assert "stopping" in said and "the same command again" in said
    assert "interrupted" in {record["status"] for record in records(runs).values()}
    assert not list((runs / "sweeps").glob("*/.stop-*"))
    sweep(notebook, runs, *words, check=0)
    resumed = [record.get("resumed", 0) for record in records(runs).values()]
    assert sorted(resumed) == [0, 1] or sum(resumed) == 1
    assert bench.faults(runs, {}) == ([], [], [])


def test_failures_retries_and_the_end_of_a_sweep(tmp_path):
    sources = ["n: int = 1  # which, 0..9\nout_dir: str = ''  # run folder"]
    sources += ["from pathlib import Path\ntries = Path(out_dir) / 'tries'"]
    sources += ["before = len(tries.read_text()) if tries.exists() else 0"]
    sources += [
        "tries.write_text('x' * (before + 1))\nassert n < 3 or (n == 3 and before), 'a wall'"
    ]
    notebook, runs = bench.write_notebook(tmp_path / "walls.ipynb", sources), tmp_path / "runs"
    words = ["-p", "n=2..4", "--workers", "1", "--name", "walls"]
    done = sweep(notebook, runs, *words, "--retries", "1", check=1)
    assert "failed: n=4: cell 5" in done.stderr and "a wall" in done.stderr
    assert "3 runs: 2 done, 1 failed" in done.stderr and "clfnb results walls" in done.stderr
    done = sweep(notebook, runs, *words, "--dry-run", check=0)
    assert "3 runs: 2 done, 1 will resume" in done.stdout
    done = sweep(notebook, runs, "-p", "n=4..9", "--workers", "1", "--fail-fast", check=1)
    assert "not started" in done.stderr and "1 failed" in done.stderr
    # the notebook is mended: finished runs are kept until they are asked for
    bench.write_notebook(tmp_path / "walls.ipynb", sources[:2])
    done = sweep(notebook, runs, *words, "--dry-run", check=0)
    assert "3 runs: 2 changed: notebook, 1 new" in done.stdout
    done = sweep(notebook, runs, *words, check=0)
    assert "--rerun changed" in done.stderr and "1 done, 2 changed and kept" in done.stderr
    done = sweep(notebook, runs, *words, "--rerun", "changed", check=0)
    assert "3 runs: 3 done" in done.stderr
    given = [json.loads(file.read_text())["given"]["n"] for file in runs.glob("walls/*/run.json")]
    assert sorted(n for n in given if n < 5) == [
        2,
        2,
        3,
        3,
        4,
        4,
    ]  # of the old notebook and the new


@pytest.mark.parametrize(
    "words, said",
    [
        (["-p", "seed=0", "-p", "seed=1"], "seed: given twice"),
        (["-p", "seed=0..20000"], "20,001 combinations, more than 10,000"),
        (["-p", "seed=0,x"], "seed: expected int, found 'x'"),
        (["-p", "seed=0", "--gpus", "77"], "GPU 77: there is"),
        (["-p", "seed=0", "--scheduler", "tcp://127.0.0.1:9"], "no scheduler can be reached there"),
        (
            ["-p", "seed=0", "--scheduler", "node1"],
            "node1: no scheduler can be reached there (expec",
        ),
        (["-p", "seed=0", "--scheduler", "http://localhost:9"], "(expected HOST:PORT, such as"),
        (
            ["-p", "seed=0", "--scheduler", ""],
            "--scheduler: no scheduler can be reached there (exp",
        ),
        (["-p", "seed=0", "--scheduler", "none.json"], "none.json: no such scheduler file"),
        (["-p", "seed=0", "--timeout", "soon"], "expected a time such as 90, 30m or 2h"),
        (["-p", "seed=0", "--name", "../x"], "in the name of a sweep"),
        (["--search", "3", "-p", "lr"], "--maximize METRIC or --minimize METRIC"),
        (["-p", "seed=0", "--runs-dir", "/proc/1/runs"], "not writable"),
    ],
)
def test_refused_before_anything_begins(tmp_path, notebook, words, said):
    runs = tmp_path / "runs"
    done = sweep(notebook, runs, *words)
    assert done.returncode in (1, 2) and said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert not list(runs.glob("count/*")) and not list(runs.glob("sweeps/*"))


def start(place, *words, **environment):
    "A process of a cluster, as a batch script starts it."
    return subprocess.Popen(
        [sys.executable, "-m", "distributed.cli." + words[0], *map(str, words[1:])],
        env=bench.environment() | environment,
        cwd=place,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def end(process):
    "End a process and its children."
    if process.poll() is not None:
        return
    for one in [*psutil.Process(process.pid).children(recursive=True), process]:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()


def guide_script(word, place, notebook):
    "A batch script of the guide to clusters, for this machine and a small notebook."
    guide = json.loads((ROOT / "nbs" / "guides" / "cluster.ipynb").read_text())
    text = "\n".join("".join(cell["source"]) for cell in guide["cells"])
    (script,) = (s for s in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S) if word in s)
    script = script.replace("srun ", "").replace(".venv/bin/", "").replace("/shared", str(place))
    return re.sub(
        r"sweep ecg_delineation .*? --sch", f"sweep {notebook} -p seed=0..3 --sch", script
    )


def test_the_scripts_of_the_guide(tmp_path, notebook):
    """The two batch scripts as processes of this machine: two workers, one of which is killed."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "clfnb"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m clfnb "$@"\n')
    command.chmod(0o755)
    runs, scripts = tmp_path / "runs", {}
    for word in ("--array=0-7", "dask scheduler"):
        scripts[word] = tmp_path / f"{len(scripts)}.sh"
        scripts[word].write_text(guide_script(word, tmp_path, notebook))
    path = [str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    slurm = {"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "1"}
    names = {"PATH": os.pathsep.join(path), "SCHEDULER": str(tmp_path / "scheduler-7.json")}
    options = {
        "env": bench.environment() | slurm | names,
        "cwd": tmp_path,
        "start_new_session": True,
        "stderr": subprocess.STDOUT,
    }
    options["env"].pop("CLFNB_RUNS", None)
    with open(tmp_path / "sweep.log", "wb") as log, open(tmp_path / "workers.log", "wb") as other:
        sweeping = subprocess.Popen(["bash", scripts["dask scheduler"]], stdout=log, **options)
        workers = []
        try:
            start = ["bash", scripts["--array=0-7"]]
            workers += [subprocess.Popen(start, stdout=other, **options) for _ in range(2)]
            wait_for(lambda: list(runs.glob("count/*/last.json")))
            end(workers.pop())
            code = sweeping.wait(400)
        finally:
            for process in [sweeping, *workers]:
                end(process)
    said = (tmp_path / "sweep.log").read_text() + (tmp_path / "workers.log").read_text()
    assert code == 0, said
    assert bench.faults(runs, {}) == ([], [], []) and len(records(runs)) == 4
    assert {record["status"] for record in records(runs).values()} == {"finished"}


def test_a_worker_with_another_state_of_the_library_is_refused(tmp_path, notebook):
    runs, file, other = tmp_path / "runs", tmp_path / "scheduler.json", tmp_path / "other"
    shutil.copytree(ROOT / "clfnb", other / "clfnb", ignore=shutil.ignore_patterns("__pycache__"))
    with open(other / "clfnb" / "files.py", "a") as source:
        source.write("\nLARGEST = 2**20\n")
    scheduler = [
        "dask_scheduler",
        "--scheduler-file",
        file,
        "--host",
        "127.0.0.1",
        "--no-dashboard",
    ]
    worker = ["dask_worker", "--scheduler-file", file, "--nthreads", 1, "--no-dashboard"]
    cluster = [start(tmp_path, *scheduler)]
    try:
        wait_for(file.exists)
        cluster += [start(other, *worker, PYTHONPATH=str(other))]
        wait_for(lambda: _workers(file) == 1)
        done = sweep(notebook, runs, "-p", "seed=7", "--scheduler", str(file))
    finally:
        for process in cluster:
            end(process)
    assert done.returncode and "another state of the library" in done.stderr, done.stderr
    assert not records(runs)


def _workers(file):
    "How many workers a scheduler has."
    from distributed import Client

    with Client(scheduler_file=str(file), set_as_default=False) as client:
        return len(client.scheduler_info(n_workers=-1)["workers"])


def test_a_notebook_that_knows_nothing_of_clfnb(tmp_path):
    """Any notebook with a parameters cell, or none of clfnb in it; typed values by --set."""
    cell = nbformat.v4.new_code_cell
    cells = [cell("sizes = [1]\nname = 'a'\nlimit = None", metadata={"tags": ["parameters"]})]
    cells += [cell("from pathlib import Path\nPath('seen').write_text(repr((sizes, name, limit)))")]
    path = tmp_path / "mine.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    words = ["-p", "sizes=[1, 2],[3]", "--set", "name='1, x'", "--set", "limit=-0.5"]
    sweep(path, tmp_path / "runs", *words, "--workers", "1", check=0)
    seen = sorted(file.read_text() for file in (tmp_path / "runs").glob("mine/*/seen"))
    assert seen == ["([1, 2], '1, x', -0.5)", "([3], '1, x', -0.5)"]
    words = [
        sys.executable,
        "-m",
        "clfnb",
        "run",
        str(path),
        "--set",
        "sizes=[]",
        "--set",
        "limit=null",
    ]
    done = subprocess.run(
        words,
        env=bench.environment() | {"CLFNB_RUNS": str(tmp_path / "one")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (seen,) = (tmp_path / "one").glob("mine/*/seen")
    assert seen.read_text() == "([], 'a', None)"
