"Exported code read without importing it: signatures, docments and lines. A page needs nothing more, and torch stays asleep."

import ast
import io
import tokenize
from dataclasses import dataclass, field

SIGNATURE = 90  # characters up to which parameters are shown with their types


@dataclass(frozen=True)
class Parameter:
    "One row of an argument table; several names if they share a comment."

    name: str
    kind: str = ""
    default: str = ""
    meaning: str = ""


@dataclass(frozen=True)
class Symbol:
    "A function, class, method or constant. `signature` is as written, on one line; `members` are a class's methods."

    name: str
    kind: str
    signature: str = ""
    doc: str = ""
    parameters: tuple = ()
    returns: Parameter | None = None
    decorators: tuple = ()
    members: list = field(default_factory=list)


def comments(source: str) -> dict[int, str]:
    "Line number → comment at its end, without the mark."
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokens
        if token.type == tokenize.COMMENT
    }


def _text(node) -> str:
    return ast.unparse(node) if node else ""


def _arguments(function) -> list[tuple]:
    "(line, name, kind, default) of all parameters but self and cls, in order; a bare * has line 0."
    spec, rows = function.args, []
    plain = [*spec.posonlyargs, *spec.args]
    first = bool(plain) and plain[0].arg in ("self", "cls")
    defaults = [None] * (len(plain) - len(spec.defaults)) + spec.defaults
    rows += [(arg, arg.arg, default) for arg, default in zip(plain, defaults, strict=True)][first:]
    rows += [(spec.vararg, f"*{spec.vararg.arg}", None)] if spec.vararg else []
    rows += [(None, "*", None)] if spec.kwonlyargs and not spec.vararg else []
    rows += [
        (arg, arg.arg, default)
        for arg, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
    ]
    rows += [(spec.kwarg, f"**{spec.kwarg.arg}", None)] if spec.kwarg else []
    return [
        (
            (default or arg).end_lineno if arg else 0,
            name,
            _text(arg and arg.annotation),
            _text(default),
        )
        for arg, name, default in rows
    ]


def parameters(function, notes: dict[int, str]) -> tuple[Parameter, ...]:
    "Argument table of a function; names on one line share its comment and a row."
    grouped = {}
    for line, name, kind, default in _arguments(function):
        if line:
            grouped.setdefault(line if line in notes else (line, name), []).append(
                (name, kind, default)
            )
    rows = []
    for line, members in grouped.items():
        names, kinds, defaults = zip(*members, strict=True)
        kinds, defaults = dict.fromkeys(filter(None, kinds)), dict.fromkeys(filter(None, defaults))
        rows.append(
            Parameter(", ".join(names), ", ".join(kinds), ", ".join(defaults), notes.get(line, ""))
        )
    return tuple(rows)


def signature(function) -> str:
    "`(a: int, b=1) -> float`, without self and cls; without types, which the argument table has, if it would be long."
    typed, bare = [], []
    for _, name, kind, default in _arguments(function):
        typed.append(
            name
            + (f": {kind}" if kind else "")
            + (f" = {default}" if kind and default else f"={default}" if default else "")
        )
        bare.append(name + (f"={default}" if default else ""))
    parts = typed if len(", ".join(typed)) <= SIGNATURE else bare
    return f"({', '.join(parts)})" + (f" -> {_text(function.returns)}" if function.returns else "")


def read_function(node, notes: dict[int, str], name: str = "") -> Symbol:
    "A function or method with its argument table."
    returns = None
    if node.returns and _text(node.returns) != "None":
        line = node.returns.end_lineno
        shared = any(line == other for other, *_ in _arguments(node))
        returns = Parameter(
            "returns", _text(node.returns), "", "" if shared else notes.get(line, "")
        )
    doc, decorators = (
        ast.get_docstring(node) or "",
        tuple(_text(decorator) for decorator in node.decorator_list),
    )
    return Symbol(
        name or node.name,
        "function",
        signature(node),
        doc,
        parameters(node, notes),
        returns,
        decorators,
    )


def read_class(node, notes: dict[int, str]) -> Symbol:
    "A class: fields of a dataclass or the parameters of `__init__`, and the public methods that say something."
    functions = [
        child for child in node.body if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    init = next((child for child in functions if child.name == "__init__"), None)
    fields = [child for child in node.body if isinstance(child, ast.AnnAssign)]
    if init:
        rows, text = parameters(init, notes), signature(init).partition(" -> ")[0]
    else:
        rows = tuple(
            Parameter(
                _text(f.target), _text(f.annotation), _text(f.value), notes.get(f.end_lineno, "")
            )
            for f in fields
        )
        text = (
            f"({', '.join(row.name + (f'={row.default}' if row.default else '') for row in rows)})"
            if rows
            else ""
        )
    members = [
        read_function(child, notes, f"{node.name}.{child.name}")
        for child in functions
        if not child.name.startswith("_")
    ]
    decorators = tuple(_text(decorator) for decorator in node.decorator_list)
    return Symbol(
        node.name, "class", text, ast.get_docstring(node) or "", rows, None, decorators, members
    )


def _patched_class(node) -> str:
    "The class that fastcore's `patch` adds a function to, or nothing."
    decorators = {_text(decorator).partition("(")[0] for decorator in node.decorator_list}
    first = node.args.args[0] if node.args.args else None
    return (
        _text(first.annotation).strip("'\"")
        if "patch" in decorators and first is not None and first.annotation
        else ""
    )


def _assignments(node) -> list[tuple]:
    "(target, value) pairs of an assignment; tuples are taken apart."
    pairs = []
    for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
        parts = target.elts if isinstance(target, ast.Tuple) else [target]
        values = (
            node.value.elts
            if isinstance(node.value, ast.Tuple) and len(parts) > 1
            else [node.value] * len(parts)
        )
        pairs += list(zip(parts, values, strict=False))
    return pairs


def _assigned(node, functions: dict, notes: dict[int, str]) -> list[Symbol]:
    "Constants, and methods that a class is given as `Class.method = _function`."
    assigned = []
    for target, value in _assignments(node):
        if isinstance(target, ast.Name) and not target.id.startswith("_"):
            assigned.append(Symbol(target.id, "data"))
        elif (
            isinstance(target, ast.Attribute)
            and isinstance(value, ast.Name)
            and value.id in functions
            and not target.attr.startswith("_")
        ):
            symbol = read_function(functions[value.id], notes, _text(target))
            assigned.append(Symbol(**{**symbol.__dict__, "kind": "method"}))
    return assigned


def read_symbols(source: str) -> list[Symbol]:
    "What an exported cell defines at its top level: public functions, classes, methods given to a class, and constants."
    notes, symbols, body = comments(source), [], ast.parse(source).body
    functions = {
        node.name: node
        for node in body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            owner = _patched_class(node)
            if not node.name.startswith("_"):
                symbol = read_function(node, notes, f"{owner}.{node.name}" if owner else "")
                symbols.append(
                    Symbol(**{**symbol.__dict__, "kind": "method" if owner else "function"})
                )
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            symbols.append(read_class(node, notes))
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            symbols += _assigned(node, functions, notes)
    return symbols


def lines_of(source: str) -> dict[str, tuple[int, int]]:
    "Name → first and last line in a module, for links to the source; a patched method is under `Class.method`."
    spans = {}
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            owner = "" if isinstance(node, ast.ClassDef) else _patched_class(node)
            spans[f"{owner}.{node.name}" if owner else node.name] = (node.lineno, node.end_lineno)
            for child in node.body if isinstance(node, ast.ClassDef) else []:
                if isinstance(child, ast.FunctionDef):
                    spans[f"{node.name}.{child.name}"] = (child.lineno, child.end_lineno)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            for target, value in _assignments(node):
                lines = spans.get(value.id) if isinstance(value, ast.Name) else None
                spans[_text(target)] = lines or (node.lineno, node.end_lineno)
    return spans
