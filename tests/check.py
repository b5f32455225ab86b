"""What `make test` does: style, every notebook from top to bottom, then the tests of this folder.

python tests/check.py            everything
python tests/check.py cli ecg    only notebooks and test files with one of these words in their path
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from docs.execute import heed_interrupts, run_notebook  # noqa: E402 (the site's builder finds the outputs that are made here)
from docs.notebooks import Refused  # noqa: E402

PROCESSES = 2
SHOWN = 15
NO_TESTS = 5  # pytest's exit code where all tests of a file are slow ones
LONG = {
    "site": 300,
    "sweep": 125,
    "chest_xray": 95,
    "ecg_files": 75,
    "tracks": 70,
    "trainer": 65,
    "plankton": 60,
    "lab": 55,
    "runs": 50,
}  # test files that take long, with about how many seconds on two cores
SHORT = 15  # seconds of another file


def wanted(path: Path, words: list[str]) -> bool:
    "Whether a path has one of the words in it; every path if there are none."
    return not words or any(word in path.relative_to(ROOT).as_posix() for word in words)


def check_style() -> Counter:
    "Ruff on everything, notebooks too, and its formatter on all that is written by hand."
    places = [
        name
        for name in ("nbs", "tests", "docs", "benchmarks", "clfnb")
        if any((ROOT / name).rglob("*.*"))
    ]
    ruff, counts = [sys.executable, "-m", "ruff"], Counter()
    for command in (
        ["check", "-q", "--output-format=concise", *places],
        ["format", "--check", "-q", *(name for name in places if name != "clfnb")],
    ):
        fine = subprocess.run([*ruff, *command], cwd=ROOT).returncode == 0
        print(f"style, ruff {command[0]}: {'fine' if fine else 'FAILED (see above)'}", flush=True)
        counts["passed" if fine else "failed"] += 1
    return counts


def notebooks(words: list[str]) -> list[Path]:
    "The notebooks to run, lessons first because they take longest."
    found = [
        path
        for path in sorted((ROOT / "nbs").rglob("*.ipynb"))
        if not any(part.startswith((".", "_")) for part in path.relative_to(ROOT).parts)
    ]
    return sorted(
        (path for path in found if wanted(path, words)),
        key=lambda path: "lessons" not in path.parts,
    )


def check_notebooks(paths: list[Path]) -> tuple[Counter, list[tuple[float, str]]]:
    "Run the notebooks in a few processes that are used again, so that torch is imported once in each."
    counts, times = Counter(), []
    usual = (
        multiprocessing.get_start_method()
    )  # a spawned process would spawn its own children too, which a user's kernel does not
    with ProcessPoolExecutor(
        PROCESSES,
        multiprocessing.get_context("spawn"),
        multiprocessing.set_start_method,
        (usual, True),
    ) as pool:
        jobs = {
            pool.submit(run_notebook, path): path.relative_to(ROOT).as_posix() for path in paths
        }
        for job in as_completed(jobs):
            try:
                passed, seconds, error = job.result()
            except BrokenProcessPool:
                passed, seconds, error = (
                    False,
                    0.0,
                    "The process died while this notebook, or one beside it, was running.\n",
                )
            except Refused as refused:
                passed, seconds, error = False, 0.0, f"{refused}\n"
            counts["passed" if passed else "failed"] += 1
            times.append((seconds, jobs[job]))
            print(
                f"{jobs[job]}: {seconds:.1f} s"
                if passed
                else f"{jobs[job]}: FAILED after {seconds:.1f} s\n{error}",
                flush=True,
            )
    return counts, sorted(times, reverse=True)


def test_groups(files: list[Path]) -> list[list[Path]]:
    "Files that one pytest runs, the longest first: those of `LONG` alone, all others together."
    seconds = {path: LONG.get(path.stem.removeprefix("test_"), SHORT) for path in files}
    groups = [[path] for path in files if seconds[path] > SHORT]
    groups += [[path for path in files if seconds[path] == SHORT]]
    groups.sort(key=lambda group: -sum(seconds[path] for path in group))
    return [group for group in groups if group]


def check_tests(words: list[str]) -> tuple[Counter, list[tuple[float, str]]]:
    "Pytest on the files of this folder; a group starts when one of a few processes has ended."
    files = [path for path in sorted((ROOT / "tests").glob("test_*.py")) if wanted(path, words)]
    counts, times = Counter(), []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(PROCESSES) as pool:
        jobs = [
            pool.submit(run_pytest, group, Path(folder, f"{k}.xml"))
            for k, group in enumerate(test_groups(files))
        ]
        try:
            for job in as_completed(jobs):
                found, seconds, name, said = job.result()
                print(f"{name}: {seconds:.1f} s\n{said}", flush=True)
                counts += found
                times.append((seconds, name))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return counts, times


def run_pytest(files: list[Path], report: Path) -> tuple[Counter, float, str, str]:
    "Pytest on some files: counts from its report, seconds, what was run, and what it printed."
    began, names = time.monotonic(), [path.relative_to(ROOT).as_posix() for path in files]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", f"--junitxml={report}", *names],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    seconds = time.monotonic() - began
    name = names[0] if len(names) == 1 else f"{len(names)} files of tests/"
    suite = ElementTree.parse(report).getroot().find("testsuite") if report.is_file() else None
    if suite is None:
        return Counter(failed=1), seconds, name, done.stdout
    total, skipped = int(suite.get("tests")), int(suite.get("skipped"))
    failed = int(suite.get("failures")) + int(suite.get("errors"))
    failed = max(failed, int(done.returncode not in (0, NO_TESTS)))
    counts = Counter(passed=max(total - skipped - failed, 0), failed=failed, skipped=skipped)
    return counts, seconds, name, done.stdout


def main() -> int:
    "Run all checks; 0 if nothing failed."
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", help="run only what has one of these words in its path")
    words, began = parser.parse_args().words, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="clfnb-test-", ignore_cleanup_errors=True) as runs:
        os.environ |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "CLFNB_RUNS": runs}
        os.environ["CLFNB_CACHE"] = str(Path(runs) / "cache")
        os.environ.pop(
            "PYTHONDONTWRITEBYTECODE", None
        )  # compiling torch anew takes 20 s in each of many processes
        heed_interrupts()
        counts = check_style()
        found, times = check_notebooks(notebooks(words))
        counts += found
        found, took = check_tests(words)
        counts, times = counts + found, times + took
    print("\nslowest:" if times else "")
    for seconds, name in sorted(times, reverse=True)[:SHOWN]:
        print(f"{seconds:7.1f} s  {name}")
    print(f"\n{time.monotonic() - began:.0f} s in all")
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
