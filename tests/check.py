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
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from docs.execute import heed_interrupts, run_notebook  # noqa: E402 (the site's builder finds the outputs that are made here)
from docs.notebooks import Refused  # noqa: E402

NOTEBOOK_PROCESSES = 2
SHOWN = 10


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
        NOTEBOOK_PROCESSES,
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


def check_tests(words: list[str]) -> Counter:
    "Pytest on the files of this folder, those that need a browser beside the others."
    files = [path for path in sorted((ROOT / "tests").glob("test_*.py")) if wanted(path, words)]
    browser = [path for path in files if "\nimport browser\n" in path.read_text(encoding="utf-8")]
    groups = [group for group in (sorted({*files} - {*browser}), browser) if group]
    counts = Counter()
    with tempfile.TemporaryDirectory() as folder:
        started = [start_pytest(group, Path(folder, str(k))) for k, group in enumerate(groups)]
        for process, place in zip(started, sorted(Path(folder).iterdir()), strict=True):
            counts += finish_pytest(process, place)
    return counts


def start_pytest(files: list[Path], folder: Path) -> subprocess.Popen:
    "Pytest on some files; its output and its report go into a new folder."
    folder.mkdir()
    command = [sys.executable, "-m", "pytest", "-rs", f"--junitxml={folder / 'report.xml'}"]
    with open(folder / "output.txt", "w") as output:
        return subprocess.Popen([*command, *map(str, files)], cwd=ROOT, stdout=output)


def finish_pytest(process: subprocess.Popen, folder: Path) -> Counter:
    "Show the output of a pytest as it comes, and count from its report."
    with open(folder / "output.txt", encoding="utf-8", errors="replace") as output:
        while (code := process.poll()) is None:
            print(output.read(), end="", flush=True)
            time.sleep(0.5)
        print(output.read(), flush=True)
    file = folder / "report.xml"
    suite = ElementTree.parse(file).getroot().find("testsuite") if file.is_file() else None
    if suite is None:
        return Counter(failed=1)
    total, skipped = int(suite.get("tests")), int(suite.get("skipped"))
    failed = max(int(suite.get("failures")) + int(suite.get("errors")), int(code != 0))
    return Counter(passed=max(total - skipped - failed, 0), failed=failed, skipped=skipped)


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
        counts += check_tests(words)
    if times:
        print("\nslowest notebooks:")
    for seconds, name in times[:SHOWN]:
        print(f"{seconds:7.1f} s  {name}")
    print(f"\n{time.monotonic() - began:.0f} s in all")
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
