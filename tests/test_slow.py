"What `make test-slow` runs and `make test` does not: each notebook as an impatient reader runs it, and all of it twice from nothing."

import os
import re
import subprocess
import sys
from pathlib import Path

import house
import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

sys.path.insert(0, str(house.ROOT))

from clfnb.runs.engine import OwnKernelClient  # noqa: E402
from docs import contents, execute, pages, stable  # noqa: E402

pytestmark = pytest.mark.slow
PLACES = ["lessons", "exercises", "solutions"]
NOTEBOOKS = [path for place in PLACES for path in house.notebooks(place)]
PAGES = [page.source for page in contents.read_contents(house.ROOT / "_quarto.yml").pages()]
SEEDS = ("1", "2")  # of two builds: another order of every set


def notebook_of(notebook, cells):
    "A notebook with other cells, any of them more than once."
    numbered = [nbformat.from_dict(cell | {"id": f"cell-{n}"}) for n, cell in enumerate(cells)]
    return nbformat.from_dict(notebook | {"cells": numbered})


def twice(notebook):
    "Every code cell is run, and run again, before the next one."
    return notebook_of(notebook, [cell for one in notebook.cells for cell in (one, one)])


def from_every_heading(notebook):
    "All cells; then from the last heading to the first, in the same kernel: run all above, then the section."
    cells = notebook.cells
    starts = [n for n, cell in enumerate(cells) if re.search(r"^## ", cell.source, re.M)]
    ends = [*starts[1:], len(cells)]
    sections = [
        (start, end)
        for start, end in zip(starts, ends, strict=True)
        if any(cell.cell_type == "code" for cell in cells[start:end])
    ]
    passes = [cells, *(cells[:end] for _, end in reversed(sections))]
    return notebook_of(notebook, [cell for run in passes for cell in run])


AGAIN = [(path, twice) for path in NOTEBOOKS]  # enough for exercises
AGAIN += [(path, from_every_heading) for path in house.notebooks("lessons")]


@pytest.mark.parametrize(
    "path, order", AGAIN, ids=[f"{p.parent.name}-{p.stem}-{o.__name__}" for p, o in AGAIN]
)
def test_running_a_cell_again_is_safe(path, order, tmp_path, monkeypatch):
    monkeypatch.setenv("CLFNB_RUNS", str(tmp_path / "runs"))
    notebook = order(nbformat.read(path, 4))
    place = {"metadata": {"path": str(path.parent)}}
    client = OwnKernelClient(notebook, timeout=1200, resources=place)
    try:
        client.execute()
    except CellExecutionError as error:
        pytest.fail(str(error)[-1500:])


@pytest.mark.parametrize(
    "order, expected",
    [(twice, "aabbcc"), (from_every_heading, "abcabcab")],
)
def test_the_orders_run_everything_again(order, expected):
    code, text = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell
    sections = [text("# T"), code("a"), text("## 1"), code("b"), text("## 2"), code("c")]
    made = order(nbformat.v4.new_notebook(cells=[*sections, text("## Read on")])).cells
    assert "".join(cell.source for cell in made if cell.cell_type == "code") == expected
    assert len({cell.id for cell in made}) == len(made)


# Two builds from nothing


EXECUTE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from docs.execute import NBS, execute_all
if __name__ == "__main__":
    execute_all([NBS / name for name in sys.argv[3:]], Path(sys.argv[2]) / "executed")
"""
BUILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from docs.site import build
if __name__ == "__main__":
    folder = Path(sys.argv[2])
    build(folder / "_docs", kept=folder / "executed", build_folder=folder / "build")
"""


def run_script(text, folder, *words):
    "Run a script in processes of its own, whose sets have the order that the folder's name gives."
    script = folder.with_suffix(".py")
    script.write_text(text)
    environment = os.environ | {"PYTHONHASHSEED": folder.name}
    command = [sys.executable, str(script), str(house.ROOT), str(folder), *words]
    done = subprocess.run(command, env=environment, cwd=house.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


@pytest.fixture(scope="module")
def executions(request, tmp_path_factory):
    "Two folders with the outputs of the selected pages, each made from nothing."
    place = tmp_path_factory.mktemp("builds")
    here = [item for item in request.session.items if item.path == Path(__file__)]
    parameters = [item.callspec.params for item in here if hasattr(item, "callspec")]
    chosen = [values["page"] for values in parameters if "page" in values]
    for seed in SEEDS:
        run_script(EXECUTE, place / seed, *chosen)
    return [place / seed for seed in SEEDS]


def shown_outputs(page, kept):
    "What the site shows of each cell's outputs."
    executed = execute.executed_notebook(house.NBS / page, page, kept)
    for cell in stable.stable_notebook(executed).cells:
        yield cell.number, cell.source, [pages.clean_output(output) for output in cell.outputs]


def without_images(outputs):
    "Outputs for a message: an image by the length of its text."
    return [
        {k: len(v) if k.startswith("image/") else v[-400:] for k, v in out.get("data", out).items()}
        for out in outputs
        if out
    ]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_the_same_again(page, executions):
    first, second = (shown_outputs(page, folder / "executed") for folder in executions)
    differ = [
        f"cell {number}:\n{without_images(one)}\n{without_images(other)}"
        for (number, _, one), (_, _, other) in zip(first, second, strict=True)
        if one != other
    ]
    assert not differ, "\n".join(differ)


def test_two_builds_of_the_site_are_equal(executions):
    "From nothing, in fresh folders; notebooks that were executed for the tests above are not executed again."
    made = []
    for folder in executions:
        run_script(BUILD, folder)
        files = [path for path in (folder / "_docs").rglob("*") if path.is_file()]
        made.append({path.relative_to(folder): path.read_bytes() for path in files})
    first, second = made
    assert len(first) > 400 and first.keys() == second.keys()
    assert [str(name) for name in first if first[name] != second[name]] == []


# What nbdev itself runs


ROOMS = sorted({path.relative_to(house.NBS).parts[0] for path in house.notebooks()})


@pytest.mark.parametrize("room", ROOMS)
def test_nbdev_test_passes(room, tmp_path):
    "Plain `nbdev-test`, exercises that nobody has solved included."
    place = house.NBS / room
    environment = os.environ | {"CLFNB_RUNS": str(tmp_path), "PYTHONPATH": str(house.ROOT)}
    done = subprocess.run(
        [Path(sys.executable).with_name("nbdev-test"), "--do-print", "--n-workers", "2", place],
        cwd=house.ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    found = house.notebooks(room) if place.is_dir() else [place]
    assert found and all(f"Starting {path}" in said for path in found)
