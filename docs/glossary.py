"The glossary's terms, read from its notebook: a heading, a line of other names if there are any, and a definition."

import re

from docs.contents import slug
from docs.notebooks import Notebook

ENTRY = re.compile(
    r"^### (?P<term>.+)\n+(?:\*Also:\* (?P<also>.+)\n+)?(?P<text>(?:(?!#).+\n?)+)", flags=re.M
)


def read_glossary(notebook: Notebook) -> list[list[str]]:
    "[a way to say it, anchor, first sentence of the definition] for every term. Raises `ValueError` if one is said twice."
    found = []
    for cell in notebook.cells:
        for entry in ENTRY.finditer(cell.source) if cell.kind == "markdown" else ():
            names = [
                entry["term"],
                *(entry["also"].rstrip(".").split(", ") if entry["also"] else []),
            ]
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*$]", r"\1", " ".join(entry["text"].split()))
            sentence = re.match(r".+?(?<![ .]\w)\.(?= |$)|.+", plain)[0]
            found += [[name.strip(), slug(entry["term"]), sentence] for name in names]
    said = [name.lower() for name, _, _ in found]
    twice = sorted({name for name in said if said.count(name) > 1})
    if twice:
        raise ValueError(f"nbs/{notebook.name}: said twice: {twice}")
    return found
