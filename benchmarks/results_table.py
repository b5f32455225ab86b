"""The table of many runs: how long `clfnb results` takes over 1,000 of them. Run: python benchmarks/results_table.py [--runs N] [--repeats N]

The runs are written into a folder of their own, each with a record, parameters, 63 metrics and a history of ten epochs. Each repeat is a new process, as from a terminal:
its start and imports count. The report page with curves, parallel coordinates and importances is timed beside it.
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
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GRID = [
    (lr, width, kind)
    for kind in ("adam", "sgd")
    for width in (16, 32, 64, 128, 256)
    for lr in (0.1, 0.01, 0.001, 0.0001)
]
FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def write_run(folder, number, rng):
    "One run: settings in the order of the grid, every 97th failed. Gives its parameters."
    lr, width, kind = GRID[number % len(GRID)]
    values = {"lr": lr, "width": width, "optimizer": kind, "seed": number // len(GRID)}
    failed = number % 97 == 5
    top = 0.6 + {0.1: 0.1, 0.01: 0.25, 0.001: 0.24}.get(lr, 0) + 0.03 * (kind == "adam")
    top += rng.gauss(0, 0.01)
    record = {"lesson": "toy", "status": "failed" if failed else "finished", "seconds": 12}
    record |= {"started": (FIRST + timedelta(seconds=number)).isoformat()}
    record |= {"headline": ["test_accuracy", "test_log_loss"], "error": "a" if failed else None}
    metrics = {f"part.{n}": rng.random() for n in range(60)}
    metrics |= {"test_accuracy": top, "test_log_loss": 1 - top, "epochs": 10}
    curve = [f"{n},{1 - top * n / 9},{top * n / 9}" for n in range(10)]
    files = {
        "run.json": json.dumps(record, indent=2),
        "params.json": json.dumps(values | {"data": "simulated"}, indent=2),
        "metrics.json": json.dumps({} if failed else metrics, indent=2),
        "history.csv": "\n".join(["epoch,val_loss,val_accuracy", *curve]),
    }
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return values


def write_sweep(root, runs):
    "A sweep of so many runs."
    rng, members = random.Random(0), []
    for number in range(runs):
        run = f"toy/{number:012x}"
        values = write_run(root / run, number, rng)
        members.append({"identity": f"{number:012x}", "parameters": values, "run": run})
    columns = zip(*(member["parameters"].values() for member in members), strict=True)
    levels = [list(dict.fromkeys(column)) for column in columns]
    varied = dict(zip(members[0]["parameters"], levels, strict=True))
    sweep = {"name": "many", "lesson": "toy", "notebook": None, "created": FIRST.isoformat()}
    (root / "sweeps" / "many").mkdir(parents=True)
    text = json.dumps(sweep | {"parameters": varied, "options": {}, "runs": members})
    (root / "sweeps" / "many" / "sweep.json").write_text(text)


def seconds(words, repeats):
    "How long a command takes, each time in a new process."
    paths = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        command = [sys.executable, "-m", "clfnb", *words]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        times.append(time.perf_counter() - begin)
    return times


def main():
    "Print one line a command."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_sweep(Path(folder), options.runs)
        where, page = ("--runs-dir", folder), str(Path(folder) / "report.html")
        commands = {"table": (), "page": ("--report", page)}
        for name, words in commands.items():
            times = seconds(("results", *where, *words), options.repeats)
            spread = f"{min(times):.2f}..{max(times):.2f} s, n={len(times)}"
            print(
                f"{name} of {options.runs} runs: median {statistics.median(times):.2f} s ({spread})"
            )


if __name__ == "__main__":
    main()
