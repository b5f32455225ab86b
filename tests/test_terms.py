"""The project's terms: old words in names and in prose, found by the list in the contributing guide."""

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GUIDE = ROOT / "nbs" / "guides" / "contributing.ipynb"
MARKER = "<!-- terms -->"
# how a word of the guide's last column is looked for; one that is not here, in names and in prose
HOW = {
    "stated": "names",  # in prose it is plain English
    "happened": "names",
    "honest": "names",
    "place": "parameters",  # a place on an axis or in a code is no path
    "found": "parameters",  # as a variable it is what a function is about to return
    "said": "parameters",
    "asked": "parameters",
    "most": "limits",  # `most_rows` or a parameter `most`
    "least": "limits",
    "calm": "names",
    "habit": "names",
    # English words that the library needs in other senses; a reader has to find these
    **dict.fromkeys(("part", "side", "look", "vary", "notes", "carried", "memory", "bar"), ""),
}
# file -> name or word -> why it may stand there
EXCEPTIONS = {
    "nbs/guides/contributing.ipynb": {"*": "the list itself"},
    "clfnb/course/many_runs.py": {"place": "a folder of runs, within a check"},
}


def terms(page=None) -> list[tuple[str, str, str]]:
    "(old word, how it is looked for, the project's term) of each word in the last column of the guide's table."
    cells = json.loads((page or GUIDE).read_text(encoding="utf-8"))["cells"]
    tables = ["".join(cell["source"]).partition(MARKER)[2] for cell in cells]
    rows = [line for line in "".join(tables).splitlines() if line.startswith("|")]
    found = []
    for row in rows[2:]:
        new, *_, old = (field.strip() for field in row.strip("|").split("|"))
        words = [word.strip(" `…_=") for word in old.split(",")]
        found += [(word, HOW.get(word, "names and prose"), new.replace("`", "")) for word in words]
    return [term for term in found if term[0] and term[1]]


def names_of(path):
    "(line, kind, name) of all names that a module defines: functions, classes, parameters, variables, fields."
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.lineno, "name", node.name
            if isinstance(node, ast.ClassDef) or (node.name[0] == "_" and node.name != "__init__"):
                continue
            args = node.args
            for arg in [*args.posonlyargs, *args.args, *args.kwonlyargs]:
                yield arg.lineno, "parameter", arg.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, "name", node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, "name", node.attr


def name_offences(path, wanted) -> list[tuple[int, str, str]]:
    "(line, name, term) of the names in a module that hold an old word, alone or between underscores."
    found = set()
    for line, kind, name in names_of(path):
        parts = name.lower().strip("_").split("_")
        for word, where, new in wanted:
            whole = kind == "parameter" and name == word and where in ("parameters", "limits")
            inside = "names" in where and {word, f"{word}s"} & set(parts)
            if whole or inside or (where == "limits" and parts[0] == word and len(parts) > 1):
                found.add((line, name, new))
    return sorted(found)


def prose_of(path):
    "(line in the file, text) of a notebook's Markdown, without code, formulas and addresses."
    lines = path.read_text(encoding="utf-8").splitlines()
    markdown = False
    for number, line in enumerate(lines, 1):
        if '"cell_type":' in line:
            markdown = '"markdown"' in line
        elif markdown and (text := re.fullmatch(r'\s*"(.*)",?', line)) and '":' not in line[:20]:
            yield number, re.sub(r"`[^`]*`|\$[^$]*\$|\]\([^)]*\)|https?://\S+", " ", text[1])


def prose_offences(path, wanted) -> list[tuple[int, str, str]]:
    "(line, old word, term) of the Markdown of a notebook."
    words = {word: new for word, where, new in wanted if "prose" in where}
    if not words:
        return []
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, words))})s?\b", re.I)
    return [
        (line, hit[0], words[hit[1].lower()])
        for line, text in prose_of(path)
        for hit in pattern.finditer(text)
    ]


def offences(root=ROOT, wanted=None) -> list[str]:
    "One line for each old word that no exception allows: file, line, word, and the project's term."
    wanted, found = wanted or terms(), []
    for path in sorted((root / "clfnb").rglob("*.py")):
        if path.name != "_modidx.py":
            found += [(path, *offence) for offence in name_offences(path, wanted)]
    for path in sorted((root / "nbs").rglob("*.ipynb")):
        found += [(path, *offence) for offence in prose_offences(path, wanted)]
    lines = []
    for path, line, word, new in found:
        file = path.relative_to(root).as_posix()
        if not {"*", word, word.lower()} & set(EXCEPTIONS.get(file, {})):
            lines.append(f"{file}:{line}: {word}: the project's term is {new!r}")
    return lines


def test_old_words_are_gone():
    """Names of the library and prose of the notebooks use the terms of the contributing guide."""
    wanted = terms()
    if not wanted:
        pytest.skip(f"{GUIDE.name} has no table after {MARKER}")
    found = offences(wanted=wanted)
    assert not found, "\n  " + "\n  ".join(found)


def test_exceptions_are_needed(monkeypatch):
    """An exception has a reason, its file is there, and without it the old word is found."""
    for file, words in EXCEPTIONS.items():
        assert (ROOT / file).is_file(), file
        assert all(len(reason) > 5 for reason in words.values()), file
    kept = {file: dict(words) for file, words in EXCEPTIONS.items()}
    for file in kept:
        monkeypatch.setitem(EXCEPTIONS, file, {})
        assert any(line.startswith(file) for line in offences(wanted=terms())), file
        monkeypatch.setitem(EXCEPTIONS, file, kept[file])


TABLE = f"""{MARKER}
| we write | for | not |
|---|---|---|
| image | what a camera makes | picture |
| path | where a file lies | `place` |
| `max_…` | a limit | most, least |
| (what it holds) | a parameter | found |
"""


def wanted_terms(folder):
    "The terms of the table above, read from a page."
    page = folder / "page.ipynb"
    page.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": [TABLE]}]}))
    return terms(page)


@pytest.mark.parametrize(
    "source, found",
    [
        ("def load(pictures):\n    pass", ["pictures"]),
        ("x.picture_count = 1", ["picture_count"]),
        ("def f(found, place):\n    pass\ndef _g(found):\n    pass", ["found", "place"]),
        ("most_rows = utmost = most = 3", ["most_rows"]),
        ("def f(least):\n    found = place = 3", ["least"]),
        ("placement, replace, pictured = 1, 2, 3", []),
    ],
)
def test_finds_names(tmp_path, source, found):
    """Whole words between underscores; some words only as parameters of public functions or in front of others."""
    wanted = wanted_terms(tmp_path)
    (tmp_path / "module.py").write_text(source)
    assert [hit[1] for hit in name_offences(tmp_path / "module.py", wanted)] == found


def test_finds_prose(tmp_path):
    """In Markdown, with its line in the file; not in code, formulas and addresses."""
    text = ["A picture of `picture`, most of it found.\n", "$picture$ and [a](picture.html)."]
    cells = [
        {"cell_type": "markdown", "source": text},
        {"cell_type": "code", "source": ["picture"]},
    ]
    page = tmp_path / "a.ipynb"
    page.write_text(json.dumps({"cells": cells}, indent=1))
    hits = prose_offences(page, wanted_terms(tmp_path))
    assert [hit[1:] for hit in hits] == [("picture", "image")]
    assert "A picture of" in page.read_text().splitlines()[hits[0][0] - 1]
