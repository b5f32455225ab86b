"What `make test-slow` runs and `make test` does not: each lesson as an impatient reader runs it."

import os
import subprocess
import sys

import house
import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

pytestmark = pytest.mark.slow
PLACES = ["lessons", "exercises", "solutions"]
NOTEBOOKS = [path for place in PLACES for path in house.notebooks(place)]


def twice(notebook):
    "Every code cell is run, and run again, before the next one."
    cells = []
    for cell in notebook.cells:
        again = nbformat.from_dict(cell | {"id": f"{cell.id}-2"})
        cells += [cell, again] if cell.cell_type == "code" else [cell]
    return nbformat.from_dict(notebook | {"cells": cells})


def whole_twice(notebook):
    "All cells from top to bottom, and then all of them again in the same kernel."
    again = [nbformat.from_dict(cell | {"id": f"{cell.id}-2"}) for cell in notebook.cells]
    return nbformat.from_dict(notebook | {"cells": [*notebook.cells, *again]})


@pytest.mark.parametrize("order", [twice, whole_twice])
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_running_a_cell_again_is_safe(path, order, tmp_path, monkeypatch):
    if order is whole_twice and path.parent.name != "lessons":
        pytest.skip("the cells one by one are enough for exercises")
    monkeypatch.setenv("CLFNB_RUNS", str(tmp_path / "runs"))
    notebook = order(nbformat.read(path, 4))
    client = NotebookClient(notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}})  # fmt: skip
    try:
        client.execute()
    except CellExecutionError as error:
        pytest.fail(str(error)[-1500:])


@pytest.mark.parametrize("order", [twice, whole_twice])
def test_the_orders_run_everything_two_times(order):
    code, text = nbformat.v4.new_code_cell("a"), nbformat.v4.new_markdown_cell("b")
    notebook = nbformat.v4.new_notebook(cells=[code, text, nbformat.v4.new_code_cell("c")])
    made = [cell.source for cell in order(notebook).cells if cell.cell_type == "code"]
    assert made == (["a", "a", "c", "c"] if order is twice else ["a", "c", "a", "c"])
    assert len({cell.id for cell in order(notebook).cells}) == len(order(notebook).cells)


BUILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from docs.site import build
if __name__ == "__main__":
    build(Path(sys.argv[2]) / "_docs", build_folder=Path(sys.argv[2]) / "build")
"""


def test_two_builds_of_the_site_are_equal(tmp_path):
    "From the same executed notebooks, in fresh folders and with another order of every set."
    script = tmp_path / "build.py"
    script.write_text(BUILD)
    made = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        environment = os.environ | {"PYTHONHASHSEED": seed}
        command = [sys.executable, str(script), str(house.ROOT), str(folder)]
        subprocess.run(command, env=environment, cwd=house.ROOT, check=True)
        files = [path for path in (folder / "_docs").rglob("*") if path.is_file()]
        made.append({path.relative_to(folder): path.read_bytes() for path in files})
    first, second = made
    assert len(first) > 400 and first.keys() == second.keys()
    assert [str(name) for name in first if first[name] != second[name]] == []
