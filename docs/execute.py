"""Outputs of executed notebooks, kept by content: a notebook is executed again only if its code, a module that it imports, or a version has changed.

A few processes execute them, each used again for many notebooks, so that torch is imported once in each. Lessons run in a Jupyter kernel of their own,
as their readers run them. `run_notebook` is the one step that `make test` needs too: what one of the two has executed, the other finds.
"""

import ast
import atexit
import ctypes
import hashlib
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import chdir, contextmanager
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import psutil

from docs.notebooks import Notebook, Refused, joined_output, read_notebook, refuse

ROOT = Path(__file__).resolve().parent.parent
NBS, LIB = ROOT / "nbs", ROOT / "clfnb"
KEPT = ROOT / "build" / "executed"
PROCESSES = 2
CELL_SECONDS = 300  # of CPU time; CLFNB_CELL_SECONDS sets another limit
WAITING = 4  # times as many seconds may pass on the clock: a cell may share its cores, not hang
VERSION = 3  # of this module's way to execute; another one makes all that was kept stale
PACKAGES = (
    "ipython",
    "execnb",
    "ipykernel",
    "matplotlib",
    "numpy",
    "pandas",
    "scikit-learn",
    "scipy",
    "torch",
    "wfdb",
)
SIMULATOR = re.compile(r"^(clfnb\.simulate\.[\w.]+):\w+$")  # as the registry names it
READS_LESSONS = "runs.plan"  # a module that reads the lessons themselves
READS_WEIGHTS = "models.shipped"  # a module that finds the weights that come with clfnb
BESIDE = re.compile(r"\"([\w/-]+\.(?:ipynb|csv))\"")  # a notebook or table that its code names


class CellError(RuntimeError):
    "A notebook whose cell failed; the message names both."


class GivenUp(RuntimeError):
    "Raised in a cell that has used up its time."


# What a notebook depends on


@cache
def module_path(name: str) -> Path | None:
    "The file of a dotted module name inside clfnb, or None if there is none."
    path = LIB.joinpath(*name.split("."))
    return next(
        (file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None
    )


def imported_modules(source: str, package: tuple = ()) -> set[str]:
    "Dotted names inside clfnb that some code imports, also inside functions, and simulators that it names; `package` is where the code stands."
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ["clfnb", *package[: len(package) - node.level + 1]] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names |= set(SIMULATOR.findall(node.value))
    inside = {name.removeprefix("clfnb.") for name in names if name.startswith("clfnb.")}
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
    reached, queue = set(), list(names)
    while queue:
        name = queue.pop()
        if name not in reached:
            reached.add(name)
            queue += module_imports(name)
    return reached


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
    weights = sorted((LIB / "weights").glob("*/*")) if READS_WEIGHTS in modules else []
    named = {path.parent / name for source in sources for name in BESIDE.findall(source)}
    named |= {file.with_name("about.json") for file in named if file.suffix == ".csv"}
    read = [*weights, *lessons, *sorted(file for file in named if file.is_file())]
    modules_read = [module_path(name) for name in sorted(modules)]
    return modules_read + [file for file in read if file != path]


@cache
def file_digest(path: Path, changed: int) -> bytes:
    "The digest of a file, read once as long as it does not change."
    return hashlib.sha256(path.read_bytes()).digest()


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
        digest.update(file_digest(file, file.stat().st_mtime_ns))
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


def heed_interrupts() -> None:
    "A job in the background ignores SIGINT, and so would every process started here: notebooks that test Ctrl-C would fail."
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def cpu_seconds(process: psutil.Process) -> float:
    "CPU time of a process and of all that it has started, ended or not."
    used = 0.0
    for one in (process, *process.children(recursive=True)):
        try:
            used += sum(one.cpu_times()[:4])  # user, system, and the same of children that ended
        except psutil.NoSuchProcess:
            continue
    return used


def end_children(process: psutil.Process) -> None:
    "Kill all that a process has started."
    for child in process.children(recursive=True):
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue


class Watch:
    "Gives up a cell that has used too much CPU time, or that hangs: its children are ended, then `give_up` is called."

    def __init__(self, process: psutil.Process, give_up):
        self.process, self.give_up, self.reason = process, give_up, ""
        self.limit = float(os.environ.get("CLFNB_CELL_SECONDS", CELL_SECONDS))
        self.done, self.cell = threading.Event(), None
        self.thread = threading.Thread(target=self._look, daemon=True)

    def begin(self) -> None:
        "A cell begins."
        self.cell = cpu_seconds(self.process), time.monotonic()

    def _look(self) -> None:
        while not self.done.wait(min(0.5, self.limit / 4)):
            if self.cell:
                try:
                    used = cpu_seconds(self.process) - self.cell[0]
                except psutil.NoSuchProcess:
                    return
                waited = time.monotonic() - self.cell[1]
                if used > self.limit or waited > WAITING * self.limit:
                    self.reason = f"given up after {used:.0f} s of CPU time in {waited:.0f} s (limit: {self.limit:g} s, CLFNB_CELL_SECONDS)"
                    end_children(self.process)
                    self.give_up()
                    return

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


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
            if engine := sys.modules.get("clfnb.runs.engine"):  # its notebook registers its own
                engine.papermill_engines.register("clfnb", engine.LimitedEngine)


def _failed_cell(raw) -> int | None:
    "The number of the first cell with an error among its outputs."
    for number, cell in enumerate(raw.cells):
        if any(output["output_type"] == "error" for output in cell.get("outputs", [])):
            return number
    return None


@contextmanager
def _own_exits(names: dict):
    "What a notebook's functions register for the end of the process is done at the end of the notebook: later their names are gone."
    register, own = atexit.register, []

    def note(function, *args, **kwargs):
        if getattr(function, "__globals__", None) is not names:
            return register(function, *args, **kwargs)
        own.append((function, args, kwargs))
        return function

    atexit.register = note
    try:
        yield
    finally:
        atexit.register = register
        for function, args, kwargs in reversed(own):
            function(*args, **kwargs)


def execute_cells(path: Path):
    "A notebook after all its cells were executed, and the number of the cell that failed or None with its traceback."
    from execnb.shell import CaptureShell
    from fastcore.nbio import read_nb

    raw, cells = read_nb(path), read_notebook(path, path.name).cells
    main = sys.modules["__main__"]  # the shell puts a module of its own in this place
    shell = CaptureShell(path)

    def give_up():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(shell._thread.ident), ctypes.py_object(GivenUp)
        )

    def begin(cell):
        watch.begin()
        return not cells[cell.idx_].executed

    with Watch(psutil.Process(), give_up) as watch:
        try:
            with _own_exits(shell.user_global_ns):
                shell.run_all(
                    raw, exc_stop=True, preproc=begin, cell_timeout=(WAITING + 1) * watch.limit
                )
        except Exception as error:
            trace = shell.prettytb(fname=path) or repr(error)
            return raw, _failed_cell(raw), f"{trace}\n{watch.reason}".rstrip()
        finally:
            shell.close()
            atexit.unregister(shell.atexit_operations)
            shell.atexit_operations()  # now: a process that ends after a hundred notebooks would clear them one by one
            sys.modules["__main__"] = main
    return raw, None, ""


def execute_in_kernel(path: Path):
    "The same in a Jupyter kernel of its own, where figures, progress and errors look as they do to a reader."
    import nbformat
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    from clfnb.runs.engine import OwnKernelClient

    raw = nbformat.read(path, as_version=4)
    for cell, known in zip(raw.cells, read_notebook(path, path.name).cells, strict=True):
        if cell.cell_type == "code" and not known.executed:
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "skip-execution"]
    os.environ.pop("MPLBACKEND", None)  # the kernel takes its own, which shows figures
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    )

    client = OwnKernelClient(raw, timeout=None)
    watch, running = None, None

    def begin(cell, cell_index):
        nonlocal watch, running
        if watch is None:
            kernel = psutil.Process(client.km.provisioner.process.pid)
            watch = Watch(kernel, kernel.kill).__enter__()
        running = cell_index
        watch.begin()

    client.on_cell_start = begin
    try:
        client.execute(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except (CellExecutionError, DeadKernelError) as error:
        plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
        return raw, running, f"{plain}\n{watch.reason if watch else ''}".rstrip()
    finally:
        if watch:
            watch.__exit__()
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
    for cell, saved in zip(
        [cell for cell in notebook.cells if cell.kind == "code"], executed.pop("cells"), strict=True
    ):
        cell.outputs, cell.count = (
            [joined_output(output) for output in saved["outputs"]],
            saved["count"],
        )
        refuse(name, cell)
    notebook.executed = executed
    return notebook


def run_notebook(
    path: Path, kept: Path | None = KEPT, kernel: bool | None = None
) -> tuple[bool, float, str]:
    """Execute a notebook from top to bottom and keep its outputs: whether it passed, seconds, and the error with its cell.

    `kernel` says whether in a Jupyter kernel of its own; by default lessons are.
    """
    path, began = Path(path).absolute(), time.monotonic()
    in_kernel = path.is_relative_to(NBS / "lessons") if kernel is None else kernel
    with _quiet_surroundings(path):
        raw, failed, error = (execute_in_kernel if in_kernel else execute_cells)(path)
    seconds = time.monotonic() - began
    if error:
        where = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path
        return False, seconds, f"{where}, cell {failed}:\n{error}\n"
    if kept:
        _write(raw, path, kept, seconds)
    return True, seconds, ""


def execute_all(paths: list[Path], kept: Path = KEPT, say=print) -> None:
    "Execute those of the notebooks that are not kept yet, the lessons first. Raises `CellError` with every failure."
    heed_interrupts()
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
