"Notebooks as the builder sees them: cells with their directives, a title, front matter, and a refusal of what cannot be rendered."

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

DIRECTIVES = {
    "default_exp",
    "export",
    "exporti",
    "exports",
    "hide",
    "eval",
    "echo",
    "output",
    "fig-cap",
    "fig-alt",
}
HIDDEN = {"default_exp", "hide"}
EXPORTS = {"export", "exporti", "exports"}
LESSON_KEYS = ("level", "time", "device", "data", "prerequisites")
CALLOUTS = ("note", "tip", "warning", "important", "caution")
RENDERED = (
    "image/png",
    "image/jpeg",
    "image/svg+xml",
    "text/html",
    "text/markdown",
    "text/latex",
    "text/plain",
)
REFUSED = {
    r"^:::+\s*\{(?!\.callout-(?:note|tip|warning|important|caution)\b)": "a fenced div that is no callout",
    r"\{\{<": "a Quarto shortcode",
    r"^```\{(?!=)": "a directive or an executable block in Markdown",
    r"^```\{=": "a raw block",
    r"(?<![\w`@/.])@(?:sec|fig|tbl|eq)-\w": "a Quarto cross-reference",
    r"<(?:script|style|iframe|video|object|form|input)\b": "an HTML element that the site does not carry",
    r"\[\^[^\]]+\]": "a footnote",
}


class Refused(ValueError):
    "A notebook that cannot be rendered; says which one, which cell (counted from 0, over all cells), and why."

    def __init__(self, notebook, cell: int | None, why: str):
        where = f"{notebook}" + ("" if cell is None else f", cell {cell}")
        super().__init__(f"{where}: {why}")


@dataclass
class Cell:
    "A cell; `source` is without the directives, `number` counts from 0 over all cells."

    number: int
    kind: str
    source: str
    directives: dict = field(default_factory=dict)
    tags: tuple = ()
    outputs: list = field(default_factory=list)
    count: int | None = None

    @property
    def hidden(self) -> bool:
        "Whether the reader is not to see it."
        return bool(HIDDEN & self.directives.keys())

    @property
    def exported(self) -> bool:
        "Whether it becomes part of a module."
        return bool(EXPORTS & self.directives.keys())

    @property
    def executed(self) -> bool:
        "Whether it is to be executed."
        return self.kind == "code" and self.directives.get("eval", "").lower() != "false"


@dataclass
class Notebook:
    "A notebook; `name` is its path below `nbs/`."

    name: str
    cells: list
    title: str
    subtitle: str
    front: dict
    module: str = ""
    executed: dict = field(default_factory=dict)


def split_directives(source: str) -> tuple[dict, str]:
    "The `#| key: value` lines at the top of a code cell, and the rest."
    directives, lines = {}, source.splitlines()
    while lines and (match := re.match(r"^#\|\s*([\w-]+)\s*:?\s*(.*)$", lines[0].strip())):
        directives[match[1]] = match[2].strip().strip("\"'")
        lines.pop(0)
    return directives, "\n".join(lines)


def prose_parts(text: str) -> list[tuple[str, bool]]:
    "Markdown cut into (part, whether it is code): fenced and indented blocks and inline code are code."
    pattern = r"(^(?P<fence>```+|~~~+).*?^(?P=fence)\s*$|(?:(?<=\n\n)|\A)(?:(?: {4}|\t).*(?:\n|\Z))+|(?P<tick>`+)(?!`).+?(?<!`)(?P=tick)(?!`))"
    parts, end = [], 0
    for match in re.finditer(pattern, text, flags=re.M | re.S):
        parts += [(text[end : match.start()], False), (match[0], True)]
        end = match.end()
    return [part for part in [*parts, (text[end:], False)] if part[0]]


def refuse(name: str, cell: Cell) -> None:
    "Raises `Refused` for a construct that the site would show wrongly."
    if cell.kind == "code":
        unknown = set(cell.directives) - DIRECTIVES
        if unknown:
            raise Refused(
                name,
                cell.number,
                f"unknown directive {sorted(unknown)}; known are {sorted(DIRECTIVES)}",
            )
        for output in cell.outputs:
            if "data" in output and not set(output["data"]) & set(RENDERED):
                raise Refused(
                    name,
                    cell.number,
                    f"an output that cannot be rendered: {sorted(output['data'])}; known are {list(RENDERED)}",
                )
    elif cell.kind == "markdown":
        prose = "".join(
            part if not code or part.startswith("```") else ""
            for part, code in prose_parts(cell.source)
        )
        for pattern, why in REFUSED.items():
            if match := re.search(pattern, prose, flags=re.M):
                line = prose[match.start() :].lstrip("\n").splitlines()[0]
                raise Refused(name, cell.number, f"{why}: {line[:60]!r}")


def read_front_matter(name: str, cell: Cell) -> dict:
    "The YAML of a raw cell that begins and ends with ---. Raises `Refused` for other raw cells."
    match = re.fullmatch(r"---\n(.*)\n---", cell.source.strip(), flags=re.S)
    if not match or cell.number:
        raise Refused(
            name,
            cell.number,
            "a raw cell must be the first one and hold front matter between --- lines",
        )
    try:
        front = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        raise Refused(name, cell.number, f"front matter is no YAML: {error}") from error
    if not isinstance(front, dict):
        raise Refused(
            name,
            cell.number,
            f"front matter must be 'key: value' lines, found {type(front).__name__}",
        )
    return front


def check_front_matter(name: str, front: dict) -> None:
    "Raises `Refused` if a lesson's front matter lacks a key, or has one that nobody reads."
    if front and name.startswith("lessons/") and set(front) != set(LESSON_KEYS):
        raise Refused(
            name, 0, f"front matter has {sorted(front)}, a lesson needs {list(LESSON_KEYS)}"
        )


def read_cell(number: int, raw: dict) -> Cell:
    "A cell from its JSON, with text in one piece."
    source = "".join(raw["source"])
    directives, source = split_directives(source) if raw["cell_type"] == "code" else ({}, source)
    return Cell(
        number, raw["cell_type"], source, directives, tuple(raw["metadata"].get("tags", ()))
    )


def joined_output(output: dict) -> dict:
    "An output whose lists of lines are one text."
    output = dict(output)
    if "text" in output:
        output["text"] = "".join(output["text"])
    if "data" in output:
        output["data"] = {
            kind: "".join(value) if isinstance(value, list) else value
            for kind, value in output["data"].items()
        }
    return output


def read_notebook(path: Path, name: str) -> Notebook:
    "A notebook, checked. Raises `Refused` naming notebook and cell."
    raw = json.loads(path.read_text(encoding="utf-8"))
    cells = [read_cell(number, cell) for number, cell in enumerate(raw["cells"])]
    front = {}
    for cell in cells:
        if cell.kind == "raw":
            front = read_front_matter(name, cell)
        refuse(name, cell)
    check_front_matter(name, front)
    first = next((cell for cell in cells if cell.kind == "markdown"), None)
    head = re.match(r"# (.+)\n+> (.+)", first.source) if first else None
    if not head:
        raise Refused(
            name,
            first.number if first else None,
            "the first Markdown cell must begin with '# title' and '> subtitle'",
        )
    module = next(
        (cell.directives["default_exp"] for cell in cells if "default_exp" in cell.directives), ""
    )
    return Notebook(name, cells, head[1].strip(), head[2].strip(), front, module)
