"""Many runs: what a sweep costs, and what it loses when it is killed. Run: python benchmarks/runs.py [kills|plan|overhead|workers …] [--kills N]

kills     SIGKILL at random moments for kernels, workers, whole sweeps and all of them, over sweeps that two commands share: runs that were
          lost, done twice, or whose table differs from that of an undisturbed sweep
plan      1,000 combinations checked and listed, beside 1,000 runs on disk
overhead  12 short runs with torch, one worker, beside a plain loop over papermill: seconds a run from the second on
workers   the same runs with two workers and with one
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import psutil

ROOT = Path(__file__).resolve().parents[1]
STEPS = 5
COUNT = [
    "lr: float = 0.1  # rate, 0..1\nseed: int = 0  # start\nout_dir: str = ''  # run folder",
    "import json, os, time\nimport psutil\nfrom clfnb.runs.record import open_run\n"
    "run = open_run('count', out_dir, dict(lr=lr, seed=seed))\nme = psutil.Process()",
    # a kernel of an earlier attempt that still lives would be a second writer
    "mark = run.folder / 'kernels.json'\nbefore = json.loads(mark.read_text()) if mark.exists() else []\n"
    "for pid, born in before:\n    try:\n        other = psutil.Process(pid)\n"
    "        if other.create_time() == born and other.status() != 'zombie' and pid != me.pid:\n"
    "            (run.folder / 'overlap').touch()\n    except psutil.NoSuchProcess:\n        pass\n"
    "mark.write_text(json.dumps([*before, [me.pid, me.create_time()]]))",
    "kept = run.folder / 'last.json'\nstep, value = json.loads(kept.read_text()) if kept.exists() else (0, seed)\n"
    f"while step < {STEPS}:\n    time.sleep(0.2)\n    step, value = step + 1, value * 1.5 + lr\n"
    "    (run.folder / 'next.json').write_text(json.dumps([step, value]))\n"
    "    os.replace(run.folder / 'next.json', kept)",
    "run.save_metrics({'value': value})\nrun.finish()",
]
TRAIN = [
    "seed: int = 0  # start\nout_dir: str = ''  # run folder",
    "import torch\nfrom torch import nn\nfrom torch.utils.data import DataLoader, TensorDataset",
    "torch.manual_seed(seed)\nx = torch.randn(256, 20)\ny = (x.sum(1) > 0).long()\n"
    "model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 2))\n"
    "optimizer = torch.optim.Adam(model.parameters(), 0.01)",
    "for _ in range(20):\n    for inputs, targets in DataLoader(TensorDataset(x, y), 32, shuffle=True):\n"
    "        optimizer.zero_grad()\n        loss = nn.functional.cross_entropy(model(inputs), targets)\n"
    "        loss.backward()\n        optimizer.step()\nfloat(loss)",
]


def write_notebook(path, sources):
    "A notebook whose first source is its parameters cell."
    cell = nbformat.v4.new_code_cell
    cells = [cell(sources[0], metadata={"tags": ["parameters"]}), *map(cell, sources[1:])]
    kernel = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


def command(notebook, runs, *words):
    "The words that start a sweep."
    return [sys.executable, "-m", "clfnb", "sweep", str(notebook), "--runs-dir", str(runs), *words]


def environment():
    "This library, one thread."
    paths = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


class Sweeps:
    "Commands that share a sweep, and are started again when they are killed."

    def __init__(self, words, number, log):
        self.words, self.log, self.running = words, log, [None] * number

    def keep_going(self):
        "Start what has ended before everything was done. Whether one of them has seen the end."
        ended = False
        for i, process in enumerate(self.running):
            if process is None or process.poll() is not None:
                ended = ended or (process is not None and process.returncode == 0)
                self.running[i] = subprocess.Popen(
                    self.words,
                    env=environment(),
                    stdout=self.log,
                    stderr=self.log,
                    start_new_session=True,
                )
        return ended

    def family(self, process):
        "A command, its workers, and their kernels."
        try:
            return [
                psutil.Process(process.pid),
                *psutil.Process(process.pid).children(recursive=True),
            ]
        except psutil.NoSuchProcess:
            return []

    def kill(self, source):
        "SIGKILL for one process, or for all of them. What was hit."
        families = [self.family(process) for process in self.running]
        if source.random() < 0.1:
            hit, what = [one for family in families for one in family], "everything"
        else:
            family = source.choice(families)
            if not family:
                return "nothing"
            kind = source.random()
            hit, what = (
                ([family[0]], "a sweep") if kind < 0.3 else ([source.choice(family)], "a process")
            )
        for one in hit:
            try:
                one.kill()
            except psutil.NoSuchProcess:
                what = "nothing"
        return what

    def end(self):
        "End all that is left."
        for process in self.running:
            for one in self.family(process) if process else []:
                try:
                    one.kill()
                except psutil.NoSuchProcess:
                    continue
            if process:
                process.wait()


def faults(runs, expected):
    "What went wrong in a sweep: runs lost, runs done twice, runs with another result."
    lost, twice, differ = [], [], []
    folders = {}
    for file in runs.glob("count/*/run.json"):
        record = json.loads(file.read_text())
        folders.setdefault(json.dumps(record["given"], sort_keys=True), []).append(file.parent)
    for given, value in expected.items():
        found = folders.get(given, [])
        if not found:
            lost.append(given)
            continue
        record = json.loads((found[0] / "run.json").read_text())
        metrics = found[0] / "metrics.json"
        if record["status"] != "finished":
            lost.append(given)
        elif json.loads(metrics.read_text()) != {"value": value}:
            differ.append(given)
        again = any(attempt["status"] == "finished" for attempt in record.get("attempts", []))
        if len(found) > 1 or again or (found[0] / "overlap").exists():
            twice.append(given)
    return lost, twice, differ


def expected_values(rates, seeds):
    "What an undisturbed run measures."
    found = {}
    for lr in rates:
        for seed in seeds:
            value = seed
            for _ in range(STEPS):
                value = value * 1.5 + lr
            found[json.dumps({"lr": lr, "seed": seed}, sort_keys=True)] = value
    return found


def disturbed(place, kills, source, rates=(0.1, 0.2), seeds=range(4), pause=(0.2, 5.0), workers=1):
    "A sweep by two commands under fire, brought to its end. Kills that hit, and the faults."
    notebook, runs = write_notebook(place / "count.ipynb", COUNT), place / "runs"
    words = ["-p", f"lr={','.join(map(str, rates))}", "-p", f"seed=0..{max(seeds)}"]
    words += ["--workers", str(workers), "--name", "kills"]
    hits = []
    with open(place / "log.txt", "ab") as log:
        sweeps = Sweeps(command(notebook, runs, *words), 2, log)
        try:
            sweeps.keep_going()
            while len(hits) < kills:
                time.sleep(source.uniform(*pause))
                if (what := sweeps.kill(source)) != "nothing":
                    hits.append(what)
                if sweeps.keep_going():
                    break
        finally:
            sweeps.end()
        done = subprocess.run(sweeps.words, env=environment(), stdout=log, stderr=log, timeout=900)
    lost, twice, differ = faults(runs, expected_values(rates, seeds))
    if done.returncode:
        lost.append(f"exit code {done.returncode}")
    if lost or twice or differ:
        print((place / "log.txt").read_text()[-3000:], flush=True)
    return hits, lost, twice, differ


def measure_kills(kills):
    "200 kills, over as many sweeps as that takes."
    source, hits, wrong, sweeps = random.Random(0), [], [[], [], []], 0
    while len(hits) < kills:
        with tempfile.TemporaryDirectory() as folder:
            found, *faulty = disturbed(Path(folder), min(25, kills - len(hits)), source)
            hits, sweeps = hits + found, sweeps + 1
            for all_of_them, new in zip(wrong, faulty, strict=True):
                all_of_them += new
        counts = ", ".join(f"{hits.count(kind)} of {kind}" for kind in sorted(set(hits)))
        said = [len(one) for one in wrong]
        print(
            f"{len(hits)} kills ({counts}) in {sweeps} sweeps of 8 runs: {said[0]} lost, "
            f"{said[1]} done twice, {said[2]} with another table",
            flush=True,
        )
    return not any(wrong)


def measure_plan():
    "1,000 combinations listed, with as many runs on disk."
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        notebook, runs = write_notebook(place / "count.ipynb", COUNT), place / "runs"
        for number in range(1000):
            run = runs / "count" / f"20260101-000000-{number:06}"
            run.mkdir(parents=True)
            record = {
                "lesson": "count",
                "status": "finished",
                "started": "2026-01-01T00:00:00+00:00",
            }
            record |= {"identity": f"{number:012x}", "given": {"lr": number / 1000}}
            (run / "run.json").write_text(json.dumps(record))
        words = command(notebook, runs, "-p", "seed=0..999", "--dry-run")
        began = time.monotonic()
        done = subprocess.run(words, env=environment(), capture_output=True, text=True)
        took = time.monotonic() - began
    lines = done.stdout.splitlines()
    print(f"1,000 combinations beside 1,000 runs: {took:.2f} s ({lines[-1]})")
    return done.returncode == 0 and took < 5


LOOP = """import sys, time
import papermill
for seed in range(int(sys.argv[2])):
    began = time.monotonic()
    papermill.execute_notebook(sys.argv[1], f"{sys.argv[1]}-{seed}.ipynb", {"seed": seed}, progress_bar=False)
    print(time.monotonic() - began, flush=True)
"""


def started_and_ended(runs):
    "Seconds between the ends of the runs of a sweep, in their order."
    ends = []
    for file in runs.glob("*/*/run.json"):
        ends.append(file.stat().st_mtime)
    return sorted(ends)


def sweep_seconds(place, number, workers):
    "Seconds of a whole sweep, and between its first end and its last, a run."
    runs = Path(tempfile.mkdtemp(dir=place))
    words = command(
        place / "train.ipynb", runs, "-p", f"seed=0..{number - 1}", "--workers", str(workers)
    )
    began = time.monotonic()
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ends = started_and_ended(runs)
    return time.monotonic() - began, (ends[-1] - ends[0]) / (len(ends) - 1)


def measure_overhead(number=12):
    "A sweep with one worker beside a loop over papermill."
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        notebook = write_notebook(place / "train.ipynb", TRAIN)
        words = [sys.executable, "-c", LOOP, str(notebook), str(number)]
        done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=True)
        loop = [float(line) for line in done.stdout.split()]
        whole, each = sweep_seconds(place, number, 1)
    plain = statistics.fmean(loop[1:])
    print(
        f"{number} runs with torch: papermill alone {plain:.2f} s a run from the second on, a sweep "
        f"{each:.2f} s ({each / plain - 1:+.0%}); in all {sum(loop):.1f} s and {whole:.1f} s"
    )
    return each <= 1.1 * plain


def measure_workers(number=12):
    "A sweep with two workers beside one with one."
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_notebook(place / "train.ipynb", TRAIN)
        (one, each_one), (two, each_two) = (sweep_seconds(place, number, n) for n in (1, 2))
    print(
        f"{number} runs: {each_one:.2f} s a run with one worker, {each_two:.2f} s with two "
        f"({each_one / each_two:.2f} times as fast); in all {one:.1f} s and {two:.1f} s"
    )
    return each_one / each_two >= 1.7


def main():
    "All measurements, or those that are named."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["plan", "overhead", "workers", "kills"])
    parser.add_argument("--kills", type=int, default=200)
    given = parser.parse_args()
    todo = {
        "plan": measure_plan,
        "overhead": measure_overhead,
        "workers": measure_workers,
        "kills": lambda: measure_kills(given.kills),
    }
    return 0 if all([todo[part]() for part in given.parts]) else 1


if __name__ == "__main__":
    sys.exit(main())
