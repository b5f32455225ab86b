"What a reader sees of the lessons: outputs of each, executed in a Jupyter kernel, judged cell by cell."

import ast
import json
import sys

import house
import pytest

sys.path.insert(0, str(house.ROOT))

from docs import execute  # noqa: E402

LESSONS = house.notebooks("lessons")


def texts(output):
    "All that an output says in words."
    data = output.get("data", {})
    return [output.get("text", ""), *(data.get(kind, "") for kind in ("text/plain", "text/html"))]


def output_offences(cells):
    "What no reader should see, in (source, outputs) of cells: empty tables, figures missing or as text, paths, errors."
    found = []
    for number, (source, outputs) in enumerate(cells):
        images = [output for output in outputs if "image/png" in output.get("data", {})]
        if "run.save_figure(" in source and not images:
            found.append(f"code cell {number}: a figure is saved and none is shown")
        for output in outputs:
            said = "\n".join("".join(text) for text in texts(output))
            if "Empty DataFrame" in said:
                found.append(f"code cell {number}: a table without rows")
            if "Figure size" in said and output not in images:
                found.append(f"code cell {number}: a figure as text: {said.strip()[:60]}")
            if house.MACHINE_PATH.search(said):
                found.append(f"code cell {number}: a path of this machine: {said.strip()[:90]}")
            if output["output_type"] == "error":
                found.append(f"code cell {number}: {output['ename']}")
    return found


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_shows_what_it_saves(path):
    "Executed only if nobody has since it changed: `make test` and `make docs` keep the outputs."
    execute.execute_all([path], say=lambda text: None)
    notebook = execute.executed_notebook(path, path.name)
    cells = [(cell.source, cell.outputs) for cell in notebook.cells if cell.kind == "code"]
    assert output_offences(cells) == []
    assert sum("image/png" in o.get("data", {}) for _, outputs in cells for o in outputs) >= 3


def shown(text, kind="text/plain", **more):
    return {"output_type": "execute_result", "data": {kind: text} | more}


@pytest.mark.parametrize("source, output, word", [
    ("leak", shown("Empty DataFrame\nColumns: [n]\nIndex: []", **{"text/html": "<table></table>"}), "without rows"),
    ("run.save_figure(ax.figure, 'a')", shown("Path('a.png')"), "none is shown"),
    ("ax.figure", shown("<OwnFigure size 700x320 with 2 Axes>"), "figure as text"),
    ("print(figure)", {"output_type": "stream", "text": "<Figure size 8x3 with 1 Axes>\n"}, "figure as text"),
    ("1 / 0", {"output_type": "error", "ename": "ZeroDivisionError"}, "ZeroDivisionError"),
    ("run.save_figure(ax.figure, 'a')", shown("<Figure size 8x3 with 1 Axes>", **{"image/png": "iVBORw"}), None),
    ("run.finish()", shown("PosixPath('/ho" "me/me/runs/1')"), "path of this machine"),
    ("table", shown("   n\n0  1"), None),
])  # fmt: skip
def test_the_judge_of_outputs_finds(source, output, word):
    found = output_offences([(source, [output])])
    assert found == [] if word is None else len(found) == 1 and word in found[0]


@pytest.mark.parametrize("page", ["lib/evaluation/plots.ipynb", "lib/evaluation/calibration/diagram.ipynb"])  # fmt: skip
def test_the_first_figure_in_a_fresh_kernel_is_an_image(page, tmp_path):
    "Library pages whose figures are made outside pyplot, as JupyterLab runs them."
    path = house.NBS / page
    passed, _, error = execute.run_notebook(path, tmp_path, kernel=True)
    assert passed, error
    notebook = execute.executed_notebook(path, path.name, tmp_path)
    cells = [(cell.source, cell.outputs) for cell in notebook.cells if cell.kind == "code"]
    assert output_offences(cells) == []
    assert any("image/png" in o.get("data", {}) for _, outputs in cells for o in outputs)


RESOLVED = {"device", "precision", "workers", "recipe"}  # "auto" becomes what it stands for


def overwritten_parameters(cells):
    "Parameters of a lesson to which a later cell assigns at top level; cells are (source, tags)."
    names, found = set(), []
    for source, tags in cells:
        nodes = ast.parse(source).body
        if "parameters" in tags:
            names |= {node.target.id for node in nodes if isinstance(node, ast.AnnAssign)}
            continue
        while nodes:
            node = nodes.pop()
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in names:
                found.append(node.id)
            inner = (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.ListComp, ast.SetComp)
            if not isinstance(node, (*inner, ast.DictComp, ast.GeneratorExp)):
                nodes += ast.iter_child_nodes(node)
    return set(found) - RESOLVED


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_no_lesson_overwrites_its_parameters(path):
    "In lesson 2 a loop of the introduction once took the name of the parameter `loss`."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    pairs = [("".join(c["source"]), c["metadata"].get("tags", [])) for c in code]
    assert any("parameters" in tags for _, tags in pairs)
    assert overwritten_parameters(pairs) == set()


def test_overwritten_parameters_are_found():
    cells = [
        ("loss: str = 'a'\nsize: int = 1", ["parameters"]),
        ("for x in (1,):\n    loss = x", []),
    ]
    assert overwritten_parameters(cells) == {"loss"}
    inside = ("def f():\n    size = 2\nresult = [size for size in (1, 2)]", [])
    assert overwritten_parameters([cells[0], inside]) == set()
