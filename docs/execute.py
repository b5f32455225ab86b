"""Outputs of executed notebooks, kept by content: a notebook is executed again only if its code, a module that it imports, or a version has changed.

A few processes execute them, each used again for many notebooks, so that torch is imported once in each. `run_notebook` is the one step that
`make test` needs too: what one of the two has executed, the other finds.
"""

import ast
import hashlib
import importlib.metadata
import json
import os
import re
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import chdir, contextmanager
from functools import cache
from multiprocessing import get_context
from pathlib import Path

from docs.notebooks import Notebook, Refused, joined_output, read_notebook, refuse

ROOT = Path(__file__).resolve().parent.parent
NBS, LIB = ROOT / "nbs", ROOT / "clfnb"
KEPT = ROOT / "build" / "executed"
PROCESSES, CELL_SECONDS = 2, 300
VERSION = 1  # of this module's way to execute; another one makes all that was kept stale
PACKAGES = (
    "ipython",
    "execnb",
    "matplotlib",
    "numpy",
    "pandas",
    "scikit-learn",
    "scipy",
    "torch",
    "wfdb",
)
READS_LESSONS = "runs.execute"  # a module that reads the lessons themselves


class CellError(RuntimeError):
    "A notebook whose cell failed; the message names both."


# What a notebook depends on


@cache
def module_path(name: str) -> Path | None:
    "The file of a dotted module name inside clfnb, or None if there is none."
    path = LIB.joinpath(*name.split("."))
    return next(
        (file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None
    )


def imported_modules(source: str, package: tuple = ()) -> set[str]:
    "Dotted names inside clfnb that some code imports, also inside functions; `package` is where the code stands."
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ["clfnb", *package[: len(package) - node.level + 1]] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    inside = {name.removeprefix("clfnb.") for name in found if name.startswith("clfnb.")}
    return {name for name in inside if module_path(name)}


@cache
def module_imports(name: str) -> frozenset[str]:
    "The modules inside clfnb that a module imports itself."
    path = module_path(name)
    return frozenset(
        imported_modules(path.read_text(encoding="utf-8"), path.relative_to(LIB).parts[:-1])
    )


def all_imports(names: set[str]) -> set[str]:
    "These modules and all that they lead to."
    found, queue = set(), list(names)
    while queue:
        name = queue.pop()
        if name not in found:
            found.add(name)
            queue += module_imports(name)
    return found


def python_of(source: str) -> str:
    "A cell as Python that `ast` reads: magics are left out."
    return (
        ""
        if source.startswith("%%")
        else "\n".join("pass" if re.match(r"[%!]", line) else line for line in source.splitlines())
    )


def dependencies(path: Path) -> list[Path]:
    "The files that decide what a notebook's outputs are, besides its own."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = [python_of("".join(cell["source"])) for cell in cells if cell["cell_type"] == "code"]
    modules = all_imports(
        set().union(*(imported_modules(source) for source in sources)) if sources else set()
    )
    lessons = sorted((NBS / "lessons").glob("*.ipynb")) if READS_LESSONS in modules else []
    return [module_path(name) for name in sorted(modules)] + [
        lesson for lesson in lessons if lesson != path
    ]


@cache
def versions() -> tuple:
    "Versions of what could change an output."
    return (VERSION, sys.version_info[:2], *(importlib.metadata.version(name) for name in PACKAGES))


def content_key(path: Path) -> str:
    "A hash of the notebook's code, of what it depends on, and of the versions. Prose is not part of it."
    digest = hashlib.sha256(repr(versions()).encode())
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    digest.update(
        json.dumps(
            ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        ).encode()
    )
    for file in dependencies(path):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def kept_path(path: Path, kept: Path = KEPT) -> Path:
    "Where the outputs of a notebook are kept, whether they are there or not."
    name = (
        path.relative_to(NBS).with_suffix("").as_posix().replace("/", ".")
        if path.is_relative_to(NBS)
        else path.stem
    )
    return kept / f"{name}-{content_key(path)}.json"


# Executing


@contextmanager
def _quiet_surroundings(path: Path):
    "The notebook's own folder as working directory, this project importable, runs in a temporary folder, and all figures closed at the end."
    before = dict(os.environ)
    with (
        tempfile.TemporaryDirectory(prefix="clfnb-docs-", ignore_cleanup_errors=True) as runs,
        chdir(path.parent),
    ):
        os.environ |= {"OMP_NUM_THREADS": "1", "CLFNB_RUNS": os.environ.get("CLFNB_RUNS", runs)}
        if str(ROOT) not in sys.path:
            sys.path.insert(0, str(ROOT))
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)
            if "matplotlib.pyplot" in sys.modules:
                sys.modules["matplotlib.pyplot"].close("all")


def execute_cells(path: Path):
    "A notebook after all its cells were executed, and the number of the cell that failed or None with its traceback."
    from execnb.shell import CaptureShell
    from fastcore.nbio import read_nb

    raw, cells = read_nb(path), read_notebook(path, path.name).cells
    shell = CaptureShell(path)
    try:
        shell.run_all(
            raw,
            exc_stop=True,
            preproc=lambda cell: not cells[cell.idx_].executed,
            cell_timeout=CELL_SECONDS,
        )
    except Exception as error:
        failed = next(
            (
                cell.idx_
                for cell in raw.cells
                if any(o.output_type == "error" for o in cell.get("outputs", []))
            ),
            None,
        )
        return raw, failed, shell.prettytb(fname=path) or repr(error)
    finally:
        shell.close()
    return raw, None, ""


def _write(raw, path: Path, kept: Path, seconds: float) -> None:
    "Keep the outputs of the code cells, and only the newest of this notebook."
    target = kept_path(path, kept)
    kept.mkdir(parents=True, exist_ok=True)
    cells = [
        {"outputs": cell.get("outputs", []), "count": cell.get("execution_count")}
        for cell in raw.cells
        if cell.cell_type == "code"
    ]
    executed = {"seconds": round(seconds, 2), "when": time.strftime("%Y-%m-%d"), "cells": cells}
    aside = target.with_suffix(f".{os.getpid()}.part")
    aside.write_text(json.dumps(executed, indent=1), encoding="utf-8")
    for old in kept.glob(f"{target.name.rpartition('-')[0]}-{'[0-9a-f]' * 16}.json"):
        old.unlink(missing_ok=True)
    os.replace(aside, target)


def executed_notebook(path: Path, name: str, kept: Path = KEPT) -> Notebook:
    "A notebook with the outputs that were kept. Raises `Refused` for an output that cannot be rendered."
    notebook = read_notebook(path, name)
    executed = json.loads(kept_path(path, kept).read_text(encoding="utf-8"))
    for cell, found in zip(
        [cell for cell in notebook.cells if cell.kind == "code"], executed.pop("cells"), strict=True
    ):
        cell.outputs, cell.count = (
            [joined_output(output) for output in found["outputs"]],
            found["count"],
        )
        refuse(name, cell)
    notebook.executed = executed
    return notebook


def run_notebook(path: Path, kept: Path | None = KEPT) -> tuple[bool, float, str]:
    "Execute a notebook from top to bottom and keep its outputs: whether it passed, seconds, and the error with its cell."
    path, began = Path(path).absolute(), time.monotonic()
    with _quiet_surroundings(path):
        raw, failed, error = execute_cells(path)
    seconds = time.monotonic() - began
    if error:
        where = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path
        return False, seconds, f"{where}, cell {failed}:\n{error}\n"
    if kept:
        _write(raw, path, kept, seconds)
    return True, seconds, ""


def execute_all(paths: list[Path], kept: Path = KEPT, say=print) -> None:
    "Execute those of the notebooks that are not kept yet, the lessons first. Raises `CellError` with every failure."
    missing = sorted(
        (path for path in paths if not kept_path(path, kept).is_file()),
        key=lambda path: ("lessons" not in path.parts, path),
    )
    failures = []
    if missing:
        with ProcessPoolExecutor(
            min(PROCESSES, len(missing)), mp_context=get_context("spawn")
        ) as pool:
            jobs = {
                pool.submit(run_notebook, path, kept): path.relative_to(NBS).as_posix()
                for path in missing
            }
            for number, job in enumerate(as_completed(jobs), 1):
                try:
                    _, seconds, error = job.result()
                except (BrokenProcessPool, Refused) as broken:
                    seconds, error = 0.0, f"{jobs[job]}: {broken}\n"
                failures += [error] if error else []
                say(
                    f"[{number:2}/{len(missing)}] {seconds:6.1f} s  {jobs[job]}{'  FAILED' if error else ''}"
                )
    if failures:
        raise CellError("\n".join(failures))
