"""The house rules as functions: each takes a notebook or a module and lists its offences as text, empty when all is well."""

import ast
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBS, LIB = ROOT / "nbs", ROOT / "clfnb"

FLOORS = {
    "settings": 0, "exercises": 0, "files": 0,
    "preprocessing": 1, "models": 1, "training": 1, "evaluation": 1,
    "simulate": 2,
    "data": 3, "runs": 3,
    "tracks": 4,
    "console": 5, "doctor": 5,
    "cli": 6,
}  # fmt: skip
CELL_LINES, MODULE_LINES, LINE_WIDTH = 25, 400, 160
WORDS_PER_LINE = {"lib": 2, "lessons": 4}
HEAVY = ("torch", "pandas", "matplotlib", "wfdb", "papermill")
PERMITTED = {
    "clfnb.runs.engine": {"papermill"}
}  # is an engine of papermill, and imported only when a run starts
LIGHT_MODULES = ("settings", "files", "data.catalog", "data.download", "runs", "cli", "doctor")
MACHINE_PATH = re.compile(r"(?<![\w.\-/}])/(?:work|tmp|home|root|Users)/\w")


def notebooks(folder="."):
    """All notebooks below a folder of nbs/, without what tools leave there."""
    return sorted(
        p
        for p in (NBS / folder).rglob("*.ipynb")
        if not any(part.startswith((".", "_")) for part in p.relative_to(NBS).parts)
    )


def modules():
    """All modules of the library that a notebook must have made."""
    return sorted(p for p in LIB.rglob("*.py") if p.name not in ("__init__.py", "_modidx.py"))


def label(path):
    """A path as a person would say it, for test names and messages."""
    return path.relative_to(ROOT).as_posix()


def source_of(cell):
    return cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])


def cells(path, kind="code"):
    """(number, source) of a notebook's cells of one kind, counted from 0 over all cells."""
    every = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [(i, source_of(cell)) for i, cell in enumerate(every) if cell["cell_type"] == kind]


def directives(source):
    return [
        line.removeprefix("#|").split() for line in source.splitlines() if line.startswith("#|")
    ]


def is_exported(source):
    return any(words[:1] in (["export"], ["exporti"], ["exports"]) for words in directives(source))


def code_lines(source):
    return [line for line in source.splitlines() if line.strip() and not line.startswith("#|")]


def parse(source):
    """The syntax tree of a cell, its magics taken for comments."""
    return ast.parse(
        "\n".join("pass" if line.startswith(("%", "!")) else line for line in source.splitlines())
    )


def default_exp(path):
    """The module that a notebook says it makes, or None."""
    return next(
        (
            words[1]
            for _, source in cells(path)
            for words in directives(source)
            if words[:1] == ["default_exp"]
        ),
        None,
    )


# Floors


def room(module):
    """The room of a dotted module name inside clfnb: its first part."""
    return module.split(".")[0]


def imported(tree, package):
    """(line, dotted name inside clfnb) of every import of the library, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("clfnb."):
                    yield node.lineno, alias.name.removeprefix("clfnb.")
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(
                    ["clfnb", *package[: len(package) - node.level + 1], *([base] if base else [])]
                )
            if base == "clfnb":
                yield from (
                    (node.lineno, alias.name)
                    for alias in node.names
                    if not alias.name.startswith("__")
                )
            elif base.startswith("clfnb."):
                yield node.lineno, base.removeprefix("clfnb.")


def floor_offences(path, root=LIB):
    """Imports from the same floor (another room) or from above."""
    parts = path.relative_to(root).with_suffix("").parts
    own = parts[0]
    if own not in FLOORS:
        return [f"the room {own!r} has no floor; known are {sorted(FLOORS)}"]
    found = []
    for line, name in imported(ast.parse(path.read_text(encoding="utf-8")), parts[:-1]):
        other = room(name)
        if other not in FLOORS:
            found.append(f"line {line}: clfnb.{name} is in no known room")
        elif other != own and FLOORS[other] >= FLOORS[own]:
            found.append(
                f"line {line}: {own} (floor {FLOORS[own]}) imports clfnb.{name} (floor {FLOORS[other]})"
            )
    return found


# Budgets


def cell_budget_offences(path):
    """Exported cells that are too long, and code lines that are too wide."""
    found = []
    for number, source in cells(path):
        lines = code_lines(source)
        if is_exported(source) and len(lines) > CELL_LINES:
            found.append(
                f"cell {number} ({lines[0][:50]}): {len(lines)} lines, at most {CELL_LINES}"
            )
        found += [
            f"cell {number}: a line of {len(line)} characters, at most {LINE_WIDTH}: {line[:50]}"
            for line in lines
            if len(line) > LINE_WIDTH
        ]
    return found


def prose_offences(path):
    """Too few words for the code there is."""
    least = WORDS_PER_LINE.get(path.relative_to(NBS).parts[0])
    words = sum(len(source.split()) for _, source in cells(path, "markdown"))
    lines = sum(len(code_lines(source)) for _, source in cells(path))
    return (
        [f"{words} words for {lines} code lines: {words / lines:.2f} a line, at least {least}"]
        if least and words < least * lines
        else []
    )


def module_budget_offences(path):
    n = len(path.read_text(encoding="utf-8").splitlines())
    return [f"{n} lines, at most {MODULE_LINES}: split it by subject"] if n > MODULE_LINES else []


# Notebooks


def clean_offences(path):
    """Outputs, counts, missing ids, another kernel."""
    notebook, found, seen = json.loads(path.read_text(encoding="utf-8")), [], set()
    if notebook["metadata"].get("kernelspec", {}).get("name") != "python3":
        found.append(f"kernel {notebook['metadata'].get('kernelspec')}, expected python3")
    for i, cell in enumerate(notebook["cells"]):
        if cell.get("outputs") or cell.get("execution_count") is not None:
            found.append(f"cell {i}: has outputs or an execution count (nbdev-clean)")
        if not cell.get("id") or cell["id"] in seen:
            found.append(f"cell {i}: id missing or used twice: {cell.get('id')}")
        seen.add(cell.get("id"))
        if set(cell["metadata"]) - {"tags"}:
            found.append(f"cell {i}: metadata {sorted(cell['metadata'])}, only tags are kept")
    return found


def import_offences(path):
    """Cells that mix imports with other statements: they pass nbdev-test and break the site."""
    found = []
    for number, source in cells(path):
        kinds = {isinstance(node, (ast.Import, ast.ImportFrom)) for node in parse(source).body}
        if len(kinds) == 2:
            found.append(
                f"cell {number} mixes imports with other statements: {code_lines(source)[0][:60]}"
            )
    return found


def title_offences(path):
    first = next(iter(cells(path, "markdown")), (0, ""))[1].strip().splitlines()
    good = (
        len(first) > 1
        and first[0].startswith("# ")
        and any(line.startswith("> ") for line in first[1:3])
    )
    return [] if good else ["the first cell must be '# title' and '> subtitle'"]


def mirror_offences(path):
    """A library notebook must make the module at its own path."""
    expected = ".".join(path.relative_to(NBS / "lib").with_suffix("").parts)
    return (
        []
        if default_exp(path) == expected
        else [f"default_exp is {default_exp(path)}, expected {expected}"]
    )


def lesson_offences(path):
    """One cell tagged `parameters` that begins with `data: str = "simulated"`."""
    tagged = [
        c
        for c in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if "parameters" in c["metadata"].get("tags", [])
    ]
    if len(tagged) != 1:
        return [f"{len(tagged)} cells tagged 'parameters', expected one"]
    first = parse(source_of(tagged[0])).body[:1]
    text = ast.unparse(first[0]) if first else ""
    return (
        []
        if text == "data: str = 'simulated'"
        else [f'the first parameter is {text!r}, expected data: str = "simulated"']
    )


# Documentation


def _is_command(function):
    """Click commands are documented by their options."""
    text = " ".join(ast.unparse(decorator) for decorator in function.decorator_list)
    return any(word in text for word in ("command", "group", "option", "argument"))


def _methods_above(node, tree):
    """Names that a class inherits from classes of the same module: documented there once."""
    bases = {ast.unparse(base) for base in node.bases}
    return {
        m.name
        for c in tree.body
        if isinstance(c, ast.ClassDef) and c.name in bases
        for m in c.body
        if isinstance(m, ast.FunctionDef)
    }


def _public_functions(tree):
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield (
                node.name,
                node,
                1 if any("patch" in ast.unparse(d) for d in node.decorator_list) else 0,
            )
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            above = _methods_above(node, tree) - {"__init__"}
            for method in (m for m in node.body if getattr(m, "name", "") not in above):
                static = isinstance(method, ast.FunctionDef) and any(
                    ast.unparse(d) == "staticmethod" for d in method.decorator_list
                )
                if isinstance(method, ast.FunctionDef) and (
                    method.name == "__init__" or not method.name.startswith("_")
                ):
                    yield f"{node.name}.{method.name}", method, 0 if static else 1


def docs_offences(path):
    """Public functions without a docstring, and parameters without a comment of their own."""
    text = path.read_text(encoding="utf-8")
    tree, lines, found = ast.parse(text), text.splitlines(), []
    found += [
        f"class {n.name} has no docstring"
        for n in tree.body
        if isinstance(n, ast.ClassDef) and n.name[0] != "_" and not ast.get_docstring(n)
    ]
    for name, function, skip in _public_functions(tree):
        if not ast.get_docstring(function) and function.name != "__init__":
            found.append(f"{name} has no docstring")
        arguments = function.args.posonlyargs + function.args.args
        arguments = (
            arguments[skip:]
            + function.args.kwonlyargs
            + [a for a in (function.args.vararg, function.args.kwarg) if a]
        )
        bare = (
            []
            if _is_command(function)
            else [a.arg for a in arguments if "#" not in lines[a.end_lineno - 1]]
        )
        if bare:
            found.append(f"{name}: no docment for {', '.join(bare)}")
    return found


# Safety


# These two send a program's own objects to the processes that it starts itself, through pipes and a private folder.
PICKLES_FOR_OWN_CHILDREN = {"training/batches", "training/processes"}


def unsafe_calls(tree, allowed=frozenset()):
    """Pickle, shells, and loading that could run code; `allowed`: modules that may be imported all the same."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            if names == ["UnpicklingError", "pickle"]:
                continue  # the error alone, to catch it
            if {"pickle", "dill", "cloudpickle", "joblib"} & {
                name.split(".")[0] for name in names
            } - allowed:
                yield f"line {node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.Call):
            given = {k.arg: ast.unparse(k.value) for k in node.keywords}
            name = ast.unparse(node.func)
            bad = [
                f"{k}={v}"
                for k, v in given.items()
                if (k, v)
                in {("shell", "True"), ("weights_only", "False"), ("allow_pickle", "True")}
            ]
            if name == "torch.load" and given.get("weights_only") != "True":
                bad.append("torch.load without weights_only=True")
            if name in ("plt.show", "os.system", "eval", "exec"):
                bad.append(name)
            yield from (f"line {node.lineno}: {text}" for text in bad)


def safety_offences(path):
    """Unsafe calls and paths of one machine, in a notebook or a Python file."""
    found = []
    parts = (
        [("", path.read_text(encoding="utf-8"))]
        if path.suffix == ".py"
        else [(f"cell {i}, ", s) for i, s in cells(path)]
    )
    own = (
        {"cloudpickle"}
        if "/".join(path.with_suffix("").parts[-2:]) in PICKLES_FOR_OWN_CHILDREN
        else set()
    )
    for where, source in parts:
        found += [where + text for text in unsafe_calls(parse(source), own)]
    text = path.read_text(encoding="utf-8")
    return found + [
        f"a path of one machine: ...{text[max(0, m.start() - 20) : m.end() + 20]!r}"
        for m in MACHINE_PATH.finditer(text)
    ]


# The table of contents


def sidebar(contents):
    """All notebook paths in a Quarto sidebar, in order."""
    for entry in contents:
        if isinstance(entry, str):
            yield entry
        else:
            yield from ([entry["href"]] if "href" in entry else [])
            yield from sidebar(entry.get("contents", []))
