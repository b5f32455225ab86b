"One notebook from top to bottom, for the processes of check.py: a notebook takes the place of their `__main__`, so this stands in a module."

import io
import sys
from pathlib import Path

from nbdev.test import test_nb

ROOT = Path(__file__).resolve().parent.parent
CELL_SECONDS = 300


def run_notebook(path: Path) -> tuple[bool, float, str]:
    "Run every cell of a notebook in a shell of its own: whether it passed, seconds, and the error with its cell."
    said, real = io.StringIO(), sys.__stderr__
    sys.__stderr__ = said
    try:
        passed, seconds = test_nb(path, basepath=ROOT, cell_timeout=CELL_SECONDS)
    finally:
        sys.__stderr__ = real
    return passed, seconds, said.getvalue()
