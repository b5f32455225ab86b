"""Render README.md from nbs/index.ipynb: the prose as it is, code cells as fenced blocks. Needs nothing but the standard library.

python docs/readme.py          writes README.md
python docs/readme.py --check  exits with 1 if it is not what the notebook says
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE, TARGET = ROOT / "nbs" / "index.ipynb", ROOT / "README.md"
NOTE = "<!-- Written by docs/readme.py from nbs/index.ipynb; change that. -->"


def prose(text: str) -> str:
    "Markdown of a cell with the paths of links and pictures as seen from the top of the repository."

    def move(match):
        target = match[2]
        if re.match(r"[a-z]+:|[#/]", target):
            return match[0]
        path = (SOURCE.parent / target.partition("#")[0]).resolve().relative_to(ROOT).as_posix()
        return f"{match[1]}({path}{''.join(target.partition('#')[1:])})"

    return re.sub(r"(\[[^\]]*\])\(([^)\s]+)\)", move, text)


def code(text: str) -> str:
    "A code cell as a fenced block; nothing if the cell is hidden."
    lines = text.splitlines()
    if any(re.match(r"#\|\s*(hide|default_exp)\b", line) for line in lines):
        return ""
    body = "\n".join(line for line in lines if not line.startswith("#|")).strip()
    language, body = ("sh", body.partition("\n")[2]) if body.startswith("%%") else ("python", body)
    return f"```{language}\n{body}\n```" if body else ""


def render(notebook: dict) -> str:
    "The whole file."
    parts = [NOTE]
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        parts.append(prose(text).strip() if cell["cell_type"] == "markdown" else code(text) if cell["cell_type"] == "code" else "")
    return "\n\n".join(part for part in parts if part) + "\n"


def main() -> int:
    text = render(json.loads(SOURCE.read_text(encoding="utf-8")))
    if "--check" not in sys.argv:
        TARGET.write_text(text, encoding="utf-8", newline="\n")
        return 0
    same = TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text
    if not same:
        print("README.md is not what nbs/index.ipynb says: run python docs/readme.py", file=sys.stderr)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
