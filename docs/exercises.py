"""Write the notebooks of exercises and of their solutions from one master a lesson, nbs/lib/course/LESSON.ipynb.

python docs/exercises.py          writes nbs/exercises/NN_LESSON.ipynb and nbs/solutions/NN_LESSON.ipynb
python docs/exercises.py --check  exits with 1 if one of them is not what its master makes

In a master, `x = 3  # SOLUTION` and the lines between `# BEGIN SOLUTION` and `# END SOLUTION` become `...` for the learner (lines that are not indented just go); a line such as `rows = ...` right
above such lines stands only in the exercises, a cell tagged `solution` only in the solutions, one tagged `master` in neither, and so do cells with the directives export, hide and default_exp.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT / "nbs"
HIDDEN = re.compile(r"^#\|\s*(export|exporti|exports|hide|default_exp)\b", flags=re.M)
BLOCK = re.compile(r"^( *)# BEGIN SOLUTION\n(.*?)^ *# END SOLUTION$", flags=re.M | re.S)
PLACEHOLDER = re.compile(r"^\w+ = \.\.\.\n+(?=# BEGIN SOLUTION$)", flags=re.M)
LINE = re.compile(r"^( *[\w.\[\]\"']+ = ).+  # SOLUTION$", flags=re.M)
KINDS = {"exercises": "Exercises", "solutions": "Solutions"}
HOW = """{other} {links}.

Replace each `...` and run the cell below it: `check` looks at your own object and says what is off. It does not say what the answer is. An exercise that you
have not begun is no mistake; go through them in any order. The exercises with a rubric have no single right answer: judge yourself by it, or let somebody else do so."""


class BadMaster(ValueError):
    "A master from which no notebook can be made."


def text_of(cell: dict) -> str:
    return "".join(cell["source"])


def without(source: str) -> str:
    "A cell with `...` in place of its solutions."
    source = BLOCK.sub(lambda block: f"{block[1]}..." if block[1] else "", source)
    return LINE.sub(r"\1...", source).strip()


def solved(source: str) -> str:
    "A cell with its solutions, without the marks around them and what stands for them in the exercises."
    lines = PLACEHOLDER.sub("", source).splitlines()
    kept = [line for line in lines if line.strip() not in ("# BEGIN SOLUTION", "# END SOLUTION")]
    return "\n".join(line.removesuffix("  # SOLUTION") for line in kept)


def lesson_of(master: Path) -> tuple[Path, str]:
    "The lesson's notebook and title."
    matches = sorted((NBS / "lessons").glob(f"[0-9]*_{master.stem}.ipynb"))
    if len(matches) != 1:
        raise BadMaster(f"{master.name}: expected one lesson {master.stem!r}, found {len(matches)}")
    cells = json.loads(matches[0].read_text(encoding="utf-8"))["cells"]
    text = next(text_of(cell) for cell in cells if cell["cell_type"] == "markdown")
    return matches[0], re.search(r"^# (.+)$", text, flags=re.M)[1]


def heading(master: Path, kind: str) -> str:
    "Title and introduction of a notebook that is made from a master."
    lesson, title = lesson_of(master)
    number = int(lesson.name.partition("_")[0])
    beside = f"[exercises](../exercises/{lesson.name})"
    beside = beside if kind == "solutions" else "solutions (`clfnb start --solutions` copies them)"
    links = f"[lesson](../lessons/{lesson.name}) and the {beside}"
    other = "Beside this notebook there are the"
    subtitle = "What to do yourself" if kind == "exercises" else "One answer to each exercise"
    how = HOW if kind == "exercises" else "{other} {links}."
    text = how.format(other=other, links=links)
    return f"# {KINDS[kind]} {number}: {title}\n> {subtitle}\n\n{text}"


def derived(master: Path, kind: str) -> dict:
    "The notebook of one kind. Raises `BadMaster` for a mark that is not understood."
    notebook = json.loads(master.read_text(encoding="utf-8"))
    cells = []
    for number, cell in enumerate(notebook["cells"]):
        tags, text = cell["metadata"].get("tags", []), text_of(cell)
        if number == 0:
            text = heading(master, kind)
        elif "master" in tags or (cell["cell_type"] == "code" and HIDDEN.search(text)):
            continue
        elif "solution" in tags and kind == "exercises":
            continue
        elif cell["cell_type"] == "code":
            text = (without if kind == "exercises" else solved)(text)
        cells.append(cell | {"metadata": {}, "source": text.splitlines(keepends=True)})
    if marked := [text for text in map(text_of, cells) if "SOLUTION" in text]:
        raise BadMaster(f"{master.name}: a mark was not understood in {marked[0]!r}")
    return notebook | {"cells": cells}


def masters() -> list[Path]:
    "The masters: notebooks of nbs/lib/course with the name of a lesson."
    names = {path.stem.partition("_")[2] for path in (NBS / "lessons").glob("[0-9]*.ipynb")}
    return [path for path in sorted((NBS / "lib" / "course").glob("*.ipynb")) if path.stem in names]


def write_all(target: Path) -> list[Path]:
    "Write all notebooks below a folder, formatted. Raises `BadMaster`."
    written = []
    for kind in KINDS:
        (target / kind).mkdir(parents=True, exist_ok=True)
        for master in masters():
            path = target / kind / lesson_of(master)[0].name
            text = json.dumps(derived(master, kind), indent=1, ensure_ascii=False, sort_keys=True)
            path.write_text(text + "\n", encoding="utf-8", newline="\n")
            written.append(path)
    config = ["--config", str(ROOT / "pyproject.toml"), "--line-length", "88"]
    command = [sys.executable, "-m", "ruff", "format", "-q", *config, *map(str, written)]
    if written:
        subprocess.run(command, check=True, cwd=target)
    return written


def differing() -> list[str]:
    "Notebooks that are not what their masters make, those that have none, and those that are missing."
    with tempfile.TemporaryDirectory() as folder:
        made = {p.relative_to(folder).as_posix(): p.read_bytes() for p in write_all(Path(folder))}
    there = {
        path.relative_to(NBS).as_posix(): path.read_bytes()
        for kind in KINDS
        for path in (NBS / kind).glob("*.ipynb")
    }
    return sorted(name for name in made | there if made.get(name) != there.get(name))


def main() -> int:
    if "--check" not in sys.argv:
        write_all(NBS)
        return 0
    if changed := differing():
        print(f"run python docs/exercises.py: {', '.join(changed)}", file=sys.stderr)
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
