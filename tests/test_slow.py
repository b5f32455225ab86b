"What `make test-slow` runs and `make test` does not: each lesson as an impatient reader runs it."

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
