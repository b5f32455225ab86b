"From an executed notebook to the notebook that MyST-NB renders, and to the plain Markdown beside each page."

import ast
import base64
import os
import re
import struct
from html import escape
from pathlib import Path, PurePosixPath

from docs.contents import Page, Site, page_name
from docs.execute import ROOT, python_of
from docs.notebooks import CALLOUTS, Cell, Notebook, Refused, prose_parts
from docs.symbols import Parameter, Symbol, read_symbols

WIDE = 1.4  # times the height: figures of two panels and more
LINK = re.compile(r"(\[(?:[^\[\]]|\[[^\]]*\])*\])\(([^)\s]+)((?:\s+\"[^\"]*\")?)\)")
CALLOUT = re.compile(rf"^:::+\s*\{{\.callout-({'|'.join(CALLOUTS)})([^}}]*)\}}\s*$")
MERMAID = re.compile(r"^```mermaid\n(?P<head>[^\n]+)\n(?P<body>.*?)^```[ \t]*$", flags=re.M | re.S)
DETAILS = re.compile(r"<details>\s*<summary>(.*?)</summary>\s*(.*?)\s*</details>", flags=re.S)


# Markdown


def resolve_link(target: str, notebook: str, site: Site) -> str | None:
    "A link as the page needs it: to another page, to a file beside it, or to the repository; None if it leads nowhere."
    if re.match(r"[a-z]+:|#", target):
        return target
    path, mark, anchor = target.partition("#")
    place = os.path.normpath(PurePosixPath("nbs", notebook).parent / path)
    if not (ROOT / place).exists():
        return None
    if not place.startswith("nbs/"):
        kind = "tree" if (ROOT / place).is_dir() else "blob"
        return f"{site.repository}/{kind}/{site.branch}/{place}{mark}{anchor}"
    if not place.endswith(".ipynb"):
        return target
    listed = {page.source: page.name for page in site.pages()}
    name = listed.get(place.removeprefix("nbs/"))
    return (
        name
        and os.path.relpath(f"{name}.ipynb", PurePosixPath(page_name(notebook)).parent)
        + mark
        + anchor
    )


def rewrite_links(text: str, cell: int, notebook: str, site: Site) -> str:
    "All links of some prose, as the page needs them. Raises `Refused` for one that leads nowhere."

    def rewrite(match):
        target = resolve_link(match[2], notebook, site)
        if target is None:
            raise Refused(notebook, cell, f"the link to {match[2]!r} leads nowhere")
        label = LINK.sub(rewrite, match[1])  # an image in a link
        return f"{label}({target}{match[3]})"

    return "".join(part if code else LINK.sub(rewrite, part) for part, code in prose_parts(text))


def to_myst(text: str) -> str:
    "Callouts as admonitions, and folded answers whose text is Markdown."
    lines = []
    for line in text.split("\n"):
        if match := CALLOUT.match(line):
            title = re.search(r'title="([^"]*)"', match[2])
            line = (
                f":::{{admonition}} {title[1] if title else match[1].title()}\n:class: {match[1]}\n"
            )
        lines.append(line)
    return DETAILS.sub(
        r'<details class="answer"><summary>\1</summary>\n\n\2\n\n</details>', "\n".join(lines)
    )


def diagrams(text: str, heading: str) -> str:
    """Diagrams in Mermaid as text that a script of the site draws, and that stays readable without it.

    A diagram without `accTitle` is called by the heading above it, for those who do not see it.
    """

    plain = re.sub(r"[`$*]|\]\([^)]*\)|\[", "", heading)

    def draw(match):
        body = match["body"]
        title = "" if "accTitle" in body else f"    accTitle: {plain}\n"
        source = escape(f"{match['head']}\n{title}{body}".rstrip())
        return f'<pre class="mermaid">{source}</pre>'

    return MERMAID.sub(draw, text)


# Symbols


def _code(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`" if text else ""


def _row(row: Parameter) -> str:
    name = "**returns**" if row.name == "returns" else _code(row.name)
    kind = _code(row.kind) + (f" = {_code(row.default)}" if row.default else "")
    return (
        "| "
        + " | ".join(re.sub(r"(?<!\\)\|", r"\\|", cell) for cell in (name, kind, row.meaning))
        + " |"
    )


def argument_table(symbol: Symbol) -> str:
    "What goes in and what comes out, as a table; nothing if nobody said anything about it."
    rows = [*symbol.parameters, *([symbol.returns] if symbol.returns else [])]
    if not any(row.meaning for row in rows):
        return ""
    return "\n".join(["| argument | type | meaning |", "|---|---|---|", *map(_row, rows)])


def describe(symbol: Symbol, module: str, depth: int = 5) -> str:
    "A symbol as a Sphinx object: signature, docstring, argument table, members."
    fence = ":" * depth
    if symbol.kind == "data":
        return f"{fence}{{py:data}} {symbol.name}\n:module: {module}\n:no-typesetting:\n{fence}"
    members = [
        describe(Symbol(**{**member.__dict__, "kind": "method"}), module, depth - 1)
        for member in symbol.members
    ]
    body = [symbol.doc, argument_table(symbol), *members]
    head = f"{fence}{{py:{symbol.kind}}} {symbol.name}{symbol.signature}\n:module: {module}\n"
    return "\n\n".join([head, *(part for part in body if part), fence])


# Cells


def _markdown(text: str) -> dict:
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def _code_cell(source: str, tags=(), mystnb: dict | None = None, outputs=(), count=None) -> dict:
    metadata = {"tags": list(tags)} | ({"mystnb": mystnb} if mystnb else {})
    return {
        "cell_type": "code",
        "metadata": metadata,
        "source": source,
        "outputs": list(outputs),
        "execution_count": count,
    }


def _only_imports(source: str) -> bool:
    lines = [
        line
        for line in source.splitlines()
        if line.strip() and not line.startswith(("#", " ", ")"))
    ]
    return bool(lines) and all(line.startswith(("import ", "from ")) for line in lines)


def _only_tests(source: str) -> bool:
    "Whether a cell only asserts, which most readers skip."
    try:
        body = ast.parse(python_of(source)).body
    except SyntaxError:
        return False
    calls = [node.value for node in body if isinstance(node, ast.Expr)]
    names = {
        call.func.id
        for call in calls
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
    }
    tests = sum(isinstance(node, ast.Assert) for node in body) + sum(
        name.startswith("test_") for name in names
    )
    return tests > 0 and not isinstance(body[0], (ast.FunctionDef, ast.ClassDef))


def fold_epochs(
    text: str,  # of a stream, or of a result
    shown: int = 3,  # lines at either end
    max_lines: int = 10,  # a longer run of epoch lines is shortened
) -> str:
    "Lines of many epochs, shortened to the first and the last ones with the count of the others between."
    lines, out, run = text.split("\n"), [], []
    for line in [*lines, None]:
        if line is not None and re.match(r"\s*epoch\s+\d+", line):
            run.append(line)
            continue
        if len(run) > max_lines:
            run = [*run[:shown], f"… {len(run) - 2 * shown} more lines …", *run[-shown:]]
        out += run + ([line] if line is not None else [])
        run = []
    return "\n".join(out)


def clean_output(output: dict) -> dict | None:
    "An output without what only a notebook interface or the building machine needs; None if nothing is left."
    if output["output_type"] == "stream":
        return (
            output | {"text": fold_epochs(output["text"])}
            if output["name"] == "stdout" or "Warning" in output["text"]
            else None
        )
    if "data" in output:
        data = dict(output["data"])
        if "text/html" in data:
            data["text/html"] = re.sub(
                r"<style scoped>.*?</style>", "", data["text/html"], flags=re.S
            ).replace(' border="1"', "")
        return output | {"data": data}
    return output


def exported_cells(cell: Cell, module: str) -> list[dict]:
    "An exported cell: what it defines as documentation, and its source, folded if that says it all."
    if _only_imports(cell.source):
        return []
    symbols = read_symbols(cell.source)
    functions = [symbol for symbol in symbols if symbol.kind != "data"]
    here = f":::{{py:currentmodule}} {module}\n:::"  # a name in a signature means this module's own, if others have it too
    described = (
        "\n\n".join([here, *(describe(symbol, module) for symbol in symbols)]) if symbols else ""
    )
    if not functions and symbols:
        return [_markdown(described), _code_cell(cell.source)]
    hidden = re.findall(r"^(?:def|class) (_\w+)", cell.source, flags=re.M)
    label = "Source" if functions else f"Source of {', '.join(hidden)}" if hidden else "Source"
    folded = {"code_prompt_show": label, "code_prompt_hide": label}
    return ([_markdown(described)] if described else []) + [
        _code_cell(cell.source, ["hide-input"], folded)
    ]


def is_wide(outputs: list[dict]) -> bool:
    "Whether one of the images is so wide that a phone would shrink it beyond reading."
    for output in outputs:
        if png := output.get("data", {}).get("image/png"):
            width, height = struct.unpack(">II", base64.b64decode(png[:44])[16:24])
            if width > WIDE * height:
                return True
    return False


def shown_cell(cell: Cell, heading: str) -> dict:
    "A code cell with its outputs; images have their size and a text for those who cannot see them."
    tags = ["remove-input"] if cell.directives.get("echo") == "false" else []
    tags += ["remove-output"] if cell.directives.get("output") == "false" else []
    outputs = [output for output in map(clean_output, cell.outputs) if output]
    mystnb = {}
    images = [o for o in outputs if any(kind.startswith("image/") for kind in o.get("data", {}))]
    if images:
        widths = [
            meta["width"]
            for o in images
            for meta in o.get("metadata", {}).values()
            if isinstance(meta, dict) and "width" in meta
        ]
        mystnb["image"] = {"alt": cell.directives.get("fig-alt") or f"Figure: {heading}"} | (
            {"width": f"{max(widths)}px"} if widths else {}
        )
        mystnb["image"] |= {"classes": "wide"} if is_wide(images) else {}
    if "fig-cap" in cell.directives:
        mystnb["figure"] = {"caption": cell.directives["fig-cap"]}
    if _only_imports(cell.source) and not outputs:
        tags.append("hide-input")
        mystnb |= {"code_prompt_show": "Imports", "code_prompt_hide": "Imports"}
    elif _only_tests(cell.source) and not outputs:
        tags.append("hide-input")
        mystnb |= {"code_prompt_show": "Tests", "code_prompt_hide": "Tests"}
    return _code_cell(cell.source, tags, mystnb, outputs, cell.count)


def parameter_cells(cell: Cell) -> list[dict]:
    "A lesson's parameters: those above the line `# all parameters`, and the others folded."
    text = cell.source.removeprefix("# fmt: off\n")
    few, _, others = text.partition("\n# all parameters\n")
    folded = {"code_prompt_show": "All parameters", "code_prompt_hide": "All parameters"}
    rest = [_code_cell(others, ["hide-input"], folded)] if others else []
    return [_code_cell(few), *rest]


def code_cells(cell: Cell, heading: str, module: str) -> list[dict]:
    "What the site shows of a code cell; nothing of an empty one."
    if cell.exported:
        return exported_cells(cell, f"clfnb.{module}")
    if "parameters" in cell.tags:
        return parameter_cells(cell)
    return [shown_cell(cell, heading)] if cell.source.strip() else []


def first_cell(notebook: Notebook, text: str, title: str, below: str) -> str:
    "The first Markdown cell with the site's title, the subtitle as a lead, and what the builder puts below."
    rest = re.sub(r"\A# .+\n+> .+\n?", "", text)
    name = f"clfnb.{notebook.module}" if notebook.module else title
    module = "" if name == title else f"Module `{name}`\n\n"
    lead = f":::{{container}} lead\n{notebook.subtitle}\n:::"
    return f"# {title}\n\n{lead}\n\n{module}{below}\n\n{rest}"


def page_title(page: Page, notebook: Notebook) -> str:
    "What stands at the top of a page: its title, a lesson with its number, a module's full name if its page is called as the file is."
    number = re.match(r"lessons/0*(\d+)", page.source)
    if notebook.module and re.fullmatch(r"[a-z0-9_]+", notebook.title):
        return f"clfnb.{notebook.module}"
    return f"{number[1]}. {notebook.title}" if number else notebook.title


def stage(
    page: Page, notebook: Notebook, site: Site, below: str = "", fill=lambda text: text
) -> tuple[dict, list]:
    "The notebook that MyST-NB renders, and for each of its cells the number of the source's cell. `fill` writes what is generated."
    cells, origins, heading = [], [], notebook.title
    for cell in notebook.cells:
        if cell.kind == "raw" or cell.hidden:
            continue
        if cell.kind == "markdown":
            text = fill(rewrite_links(to_myst(cell.source), cell.number, notebook.name, site))
            if not cells:
                text = first_cell(notebook, text, page_title(page, notebook), below)
            headings = re.findall(r"^#+ (.+)$", text, flags=re.M)
            heading = headings[-1] if headings else heading
            new = [_markdown(diagrams(text, heading))]
        else:
            new = code_cells(cell, heading, notebook.module)
        cells += new
        origins += [cell.number] * len(new)
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    language = {"name": "python", "pygments_lexer": "ipython3"}
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "python3", "language": "python"},
        "language_info": language,
    }
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}, origins


# Beside the page


def as_markdown(notebook: Notebook, site: Site) -> str:
    "The page as plain Markdown: prose, code, and outputs that are text."
    parts = []
    for cell in notebook.cells:
        if cell.kind == "markdown":
            text = rewrite_links(cell.source, cell.number, notebook.name, site)
            parts.append(re.sub(r"(\]\((?![a-z]+:)[^)\s#]+)\.ipynb(?=[)#])", r"\1.html.md", text))
        elif cell.kind == "code" and not cell.hidden and cell.source.strip():
            shown = cell.directives.get("echo") != "false"
            parts += [f"```python\n{cell.source}\n```"] if shown else []
            for output in filter(None, map(clean_output, cell.outputs)):
                data = output.get("data", {})
                text = output.get("text") or data.get("text/plain", "")
                if "text/markdown" in data:
                    parts.append(data["text/markdown"].rstrip())
                else:
                    parts += [f"```text\n{text.rstrip()}\n```"] if text.strip() else []
    return "\n\n".join(parts) + "\n"


def page_imports(notebook: Notebook) -> dict[str, str]:
    "Name in the notebook's code → full name inside clfnb, for links of names in backticks."
    imports = {}
    for cell in notebook.cells:
        if cell.kind == "code":
            for module, names in re.findall(
                r"^from (clfnb[\w.]*) import ([^(\n]+|\([^)]*\))",
                python_of(cell.source),
                flags=re.M,
            ):
                for name in re.sub(r"#.*|[()]", "", names).split(","):
                    full, _, alias = name.strip().partition(" as ")
                    if full:
                        imports[alias.strip() or full] = f"{module}.{full.strip()}"
    return imports


def assets(folder: Path) -> list[Path]:
    "Files below `nbs/` that pages point to: all but notebooks, settings and what tools leave there."
    files = (
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in (".ipynb", ".yml", ".yaml")
    )
    return [
        path
        for path in files
        if not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
    ]
