"""Write the table of lessons into nbs/index.ipynb from the lessons' front matter, and README.md from nbs/index.ipynb: the prose as it is, code cells
as fenced blocks. Hidden cells, cells with `echo: false` and what stands between `<!-- site -->` marks are left out. Needs nothing but the
standard library.

python docs/readme.py          writes both
python docs/readme.py --check  exits with 1 if one of them is not what it should be
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE, TARGET, LESSONS = ROOT / "nbs" / "index.ipynb", ROOT / "README.md", ROOT / "nbs" / "lessons"
NOTE = "<!-- Written by docs/readme.py from nbs/index.ipynb; change that. -->"
PLACE = re.compile(r"(<!-- lessons\b.*?-->\n)(.*?)(<!-- /lessons -->)", flags=re.S)
SITE_ONLY = re.compile(r"<!-- site -->\n.*?<!-- /site -->\n?", flags=re.S)  # beside a figure
FACTS = ("level", "time", "device", "data")


def prose(text: str) -> str:
    "Markdown of a cell with the paths of links and images as seen from the top of the repository."

    def move(match):
        target = match[2]
        if re.match(r"[a-z]+:|[#/]", target):
            return match[0]
        path = (SOURCE.parent / target.partition("#")[0]).resolve().relative_to(ROOT).as_posix()
        return f"{match[1]}({path}{''.join(target.partition('#')[1:])})"

    return re.sub(r"(\[[^\]]*\])\(([^)\s]+)\)", move, SITE_ONLY.sub("", text))


def code(text: str) -> str:
    "A code cell as a fenced block; nothing if the cell is hidden."
    lines = text.splitlines()
    if any(re.match(r"#\|\s*(hide|default_exp|echo: false)\b", line) for line in lines):
        return ""
    body = "\n".join(line for line in lines if not line.startswith("#|")).strip()
    language, body = ("sh", body.partition("\n")[2]) if body.startswith("%%") else ("python", body)
    return f"```{language}\n{body}\n```" if body else ""


def render(notebook: dict) -> str:
    "The whole file."
    parts = [NOTE]
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        parts.append(
            prose(text).strip()
            if cell["cell_type"] == "markdown"
            else code(text)
            if cell["cell_type"] == "code"
            else ""
        )
    return "\n\n".join(part for part in parts if part) + "\n"


def lesson_row(path: Path) -> str:
    "A lesson's row of the table: name, subtitle, and what its front matter says."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    head = "".join(next(cell["source"] for cell in cells if cell["cell_type"] == "markdown"))
    front = "".join(cells[0]["source"]) if cells[0]["cell_type"] == "raw" else ""
    facts = {
        key: value.strip("\"'")
        for key, value in re.findall(r"^(\w+): *(.+?) *$", front, flags=re.M)
    }
    subtitle = re.search(r"^> (.+)$", head, flags=re.M)[1]
    row = [
        f"[`{path.stem.partition('_')[2]}`](lessons/{path.name})",
        subtitle,
        *(facts.get(name, "") for name in FACTS),
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def lesson_table() -> str:
    "All lessons, in the order of their numbers."
    head = ["| lesson | question | " + " | ".join(FACTS) + " |", "|---" * (len(FACTS) + 2) + "|"]
    return (
        "\n".join([*head, *(lesson_row(path) for path in sorted(LESSONS.glob("[0-9]*.ipynb")))])
        + "\n"
    )


def with_table(notebook: dict) -> dict:
    "The notebook with the lessons of today in its place for them."
    cells = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        new = (
            PLACE.sub(lambda place: place[1] + lesson_table() + place[3], text)
            if cell["cell_type"] == "markdown"
            else text
        )
        cells.append(cell | {"source": new.splitlines(keepends=True)} if new != text else cell)
    return notebook | {"cells": cells}


def main() -> int:
    old = json.loads(SOURCE.read_text(encoding="utf-8"))
    notebook = with_table(old)
    text = render(notebook)
    if "--check" not in sys.argv:
        if notebook != old:
            SOURCE.write_text(
                json.dumps(notebook, indent=1, ensure_ascii=False) + "\n",
                encoding="utf-8",
                newline="\n",
            )
        TARGET.write_text(text, encoding="utf-8", newline="\n")
        return 0
    same = notebook == old and TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text
    if not same:
        print(
            "README.md and nbs/index.ipynb are not what the notebooks say: run python docs/readme.py",
            file=sys.stderr,
        )
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
