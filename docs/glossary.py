"""The glossary's terms and the bibliography's entries, read from their notebooks.

A term is a heading, a line of other names if there are any, and a definition; an entry is a list item that begins with **Name year.**
"""

import re

from docs.contents import slug
from docs.notebooks import Notebook

ENTRY = re.compile(
    r"^### (?P<term>.+)\n+(?:\*Also:\* (?P<also>.+)\n+)?(?P<text>(?:(?!#).+\n?)+)", flags=re.M
)


def read_glossary(notebook: Notebook) -> list[list[str]]:
    "[a way to say it, anchor, first sentence of the definition] for every term. Raises `ValueError` if one is said twice."
    entries = []
    for cell in notebook.cells:
        for entry in ENTRY.finditer(cell.source) if cell.kind == "markdown" else ():
            names = [
                entry["term"],
                *(entry["also"].rstrip(".").split(", ") if entry["also"] else []),
            ]
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*$]", r"\1", " ".join(entry["text"].split()))
            sentence = re.match(r".+?(?<![ .]\w)\.(?= |$)|.+", plain)[0]
            entries += [[name.strip(), slug(entry["term"]), sentence] for name in names]
    said = [name.lower() for name, _, _ in entries]
    twice = sorted({name for name in said if said.count(name) > 1})
    if twice:
        raise ValueError(f"nbs/{notebook.name}: said twice: {twice}")
    return entries


def read_bibliography(notebook: Notebook) -> list[list[str]]:
    "[first author, year, anchor, entry as plain text] for every entry. Raises `ValueError` if one stands there twice."
    prose = "\n".join(cell.source for cell in notebook.cells if cell.kind == "markdown")
    entries = []
    for names, year, text in re.findall(r"^- \*\*(.+?) (\d{4})\.\*\* (.+)$", prose, flags=re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)|[*<>]", r"\1", text)
        entries.append([names.partition(" and ")[0], year, slug(f"{names} {year}"), plain])
    keys = [(name, year) for name, year, _, _ in entries]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"nbs/{notebook.name}: two entries: {twice}")
    return entries


def with_anchors(text: str) -> str:
    "The bibliography's Markdown with a place to jump to before each entry."
    return re.sub(
        r"^- \*\*(.+? \d{4})\.\*\*",
        lambda entry: f'- <span id="{slug(entry[1])}"></span>**{entry[1]}.**',
        text,
        flags=re.M,
    )
