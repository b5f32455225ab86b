"README.md is what nbs/index.ipynb says, and everything it points to is there."

import importlib.util
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
spec = importlib.util.spec_from_file_location("readme", ROOT / "docs" / "readme.py")
readme = importlib.util.module_from_spec(spec)
spec.loader.exec_module(readme)
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_equals_the_front_page():
    index = json.loads((ROOT / "nbs" / "index.ipynb").read_text(encoding="utf-8"))
    assert readme.render(index) == TEXT, "run: python docs/readme.py"


def test_links_lead_somewhere():
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", TEXT)]
    local = [link for link in links if link and not re.match(r"[a-z]+:", link)]
    assert local
    assert [link for link in local if not (ROOT / link).exists()] == []


def test_every_lesson_is_in_the_table():
    lessons = [path.stem.partition("_")[2] for path in (ROOT / "nbs" / "lessons").glob("*.ipynb")]
    assert [name for name in lessons if f"`{name}`" not in TEXT] == []


def test_paths_are_moved_and_hidden_cells_left_out():
    cells = [
        ("markdown", "![a](images/a.png) [b](https://b.org) [c](#c)"),
        ("code", "#| hide\nimport x"),
        ("code", "1 + 1"),
    ]
    text = readme.render(
        {"cells": [{"cell_type": kind, "source": [source]} for kind, source in cells]}
    )
    assert "![a](nbs/images/a.png) [b](https://b.org) [c](#c)" in text
    assert "import x" not in text and "```python\n1 + 1\n```" in text
