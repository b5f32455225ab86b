"""The house rules, held on every notebook and module. Each failure lists what to mend and where."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import house
import pytest
import yaml

ALL, LIBRARY, LESSONS, MODULES = (
    house.notebooks(),
    house.notebooks("lib"),
    house.notebooks("lessons"),
    house.modules(),
)
DOCS = sorted((house.ROOT / "docs").rglob("*.py"))
PYTHON = [*MODULES, *sorted((house.ROOT / "benchmarks").rglob("*.py")), *DOCS]


def none_of(offences):
    assert not offences, "\n  " + "\n  ".join(offences)


HOUSE_RULES = {
    house.floor_offences: MODULES, house.module_budget_offences: MODULES, house.docs_offences: MODULES, house.annotation_offences: MODULES,
    house.clean_offences: ALL, house.title_offences: ALL, house.import_offences: ALL, house.cell_budget_offences: ALL, house.prose_offences: ALL,
    house.mirror_offences: LIBRARY, house.lesson_offences: LESSONS,
    house.function_budget_offences: [*ALL, *DOCS],
    house.safety_offences: [*ALL, *PYTHON],
}  # fmt: skip


@pytest.mark.parametrize(
    "rule", HOUSE_RULES, ids=lambda rule: rule.__name__.removesuffix("_offences")
)
def test_house_rule(rule):
    none_of(
        [f"{house.label(path)}: {offence}" for path in HOUSE_RULES[rule] for offence in rule(path)]
    )


def test_exported_cells_are_run_soon():
    rows = {house.label(path) for path in LIBRARY if house.row_offences(path)}
    none_of([f"{name}: more than three exported cells in a row" for name in sorted(rows)])


def test_every_module_has_its_notebook():
    made = {house.made_by(path) for path in LIBRARY}
    none_of(
        [
            f"{house.label(p)} has no notebook"
            for p in MODULES
            if ".".join(p.relative_to(house.LIB).with_suffix("").parts) not in made
        ]
    )


def test_exported(tmp_path):
    """Exporting everything into a copy changes nothing."""
    skip = shutil.ignore_patterns(".*", "_proc", "__pycache__")
    for name in ("nbs", "clfnb"):
        shutil.copytree(house.ROOT / name, tmp_path / name, ignore=skip)
    for name in ("pyproject.toml", "settings.ini"):
        shutil.copy(house.ROOT / name, tmp_path / name)
    export = (
        "from nbdev.export import nb_export\nimport sys\nfor path in sys.argv[1:]: nb_export(path)"
    )
    copies = [str(tmp_path / path.relative_to(house.ROOT)) for path in LIBRARY]
    subprocess.run([sys.executable, "-c", export, *copies], cwd=tmp_path, check=True)
    modules = {
        p.relative_to(tmp_path)
        for p in (tmp_path / "clfnb").rglob("*.py")
        if p.name != "_modidx.py"
    }
    none_of([f"{p.as_posix()} is not what its notebook exports (nbdev-export)" for p in sorted(modules)
             if not (house.ROOT / p).exists() or (house.ROOT / p).read_text("utf-8") != (tmp_path / p).read_text("utf-8")])  # fmt: skip


def test_light_modules_import_nothing_heavy():
    """`clfnb --help` must answer at once: what it imports must not pull in torch and its like."""
    dotted = [".".join(p.relative_to(house.ROOT).with_suffix("").parts) for p in MODULES]
    light = ["clfnb"] + [
        name for name in dotted if name.removeprefix("clfnb.").startswith(house.LIGHT_MODULES)
    ]
    light.sort(
        key=lambda name: name in house.PERMITTED
    )  # the permitted last: what they bring in must not hide others
    script = (
        f"import importlib, sys\nseen, permitted = set(), {house.PERMITTED!r}\n"
        f"for name in {light!r}:\n    importlib.import_module(name)\n    new = {set(house.HEAVY)!r} & set(sys.modules) - seen\n"
        "    seen |= new\n    if new - permitted.get(name, set()): print(name, 'imports', *sorted(new))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=house.ROOT
    )
    assert done.returncode == 0, done.stderr
    none_of(done.stdout.splitlines())


def test_nbdev_and_quarto_read_the_same_settings():
    "nbdev looks for them in nbs/: a link, as a copy would age."
    tracked = ["git", "ls-files", "-s", "nbs/_quarto.yml"]
    listed = subprocess.run(tracked, capture_output=True, text=True, cwd=house.ROOT).stdout
    if not listed:
        pytest.skip("not a checkout of git")
    assert listed.startswith("120000 "), listed
    assert (house.NBS / "_quarto.yml").read_text("utf-8").strip() in (
        "../_quarto.yml",  # how a checkout without links shows one
        (house.ROOT / "_quarto.yml").read_text("utf-8").strip(),
    )


def test_sidebar_lists_every_notebook():
    listed = list(
        house.sidebar(
            yaml.safe_load((house.ROOT / "_quarto.yml").read_text("utf-8"))["website"]["sidebar"][
                "contents"
            ]
        )
    )
    there = {path.relative_to(house.NBS).as_posix() for path in ALL}
    none_of([f"{name} is not in the sidebar" for name in sorted(there - set(listed))]
            + [f"{name} is in the sidebar and not in nbs/" for name in sorted(set(listed) - there)]
            + [f"{name} is listed twice" for name in sorted({n for n in listed if listed.count(n) > 1})])  # fmt: skip


def test_types():
    """mypy finds nothing in the library; `[tool.mypy]` says what it looks at."""
    pytest.importorskip("mypy", reason="mypy is in the extra [dev]")
    done = subprocess.run(
        [sys.executable, "-m", "mypy"], capture_output=True, text=True, cwd=house.ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("source, floor_word", [
    ("def f():\n    from clfnb.data.splits import split", "floor 3"),
    ("import clfnb.training.trainer", "floor 1"),
    ("from clfnb import tracks", "floor 6"),
    ("from ..runs import record", "floor 4"),
    ("from clfnb.garage import car", "no known room"),
])  # fmt: skip
def test_floors_test_finds(tmp_path, source, floor_word):
    """The judge is judged: each way to import from the wrong floor is seen, inside functions too."""
    module = tmp_path / "models" / "new.py"
    module.parent.mkdir()
    module.write_text(source)
    assert floor_word in house.floor_offences(module, tmp_path)[0]
    module.write_text(
        "import numpy\nfrom clfnb.models.other import x\nfrom .third import y\nfrom clfnb.settings import load_settings"
    )
    assert house.floor_offences(module, tmp_path) == []


def test_floors_test_knows_tracks(tmp_path):
    """A track imports from itself, never from another; what lies below both is free to both."""
    module = tmp_path / "tracks" / "ecg" / "new.py"
    module.parent.mkdir(parents=True)
    module.write_text(
        "from .examples import load\nfrom clfnb.tracks.ecg import other\nfrom clfnb.vision import views"
    )
    assert house.floor_offences(module, tmp_path) == []
    for source in ("from ..plankton import network", "import clfnb.tracks.plankton.network"):
        module.write_text(source)
        assert len(house.floor_offences(module, tmp_path)) == 1


def notebook_of(path, *found):
    """A notebook of (kind, source) cells."""
    found = [{"cell_type": kind, "metadata": {}, "source": text} for kind, text in found]
    path.write_text(json.dumps({"cells": found}), encoding="utf-8")
    return path


def test_budget_tests_find(tmp_path, monkeypatch):
    """Each budget has its edge where it is said to be, however the lines are broken."""
    path, export = tmp_path / "a.ipynb", "#| export\n"
    for lines, offences in ((house.CELL_LINES, 0), (house.CELL_LINES + 1, 1)):
        notebook_of(path, ("code", export + "x = 1\n\n" * lines))
        assert len(house.cell_budget_offences(path)) == offences
    for lines, offences in ((house.FUNCTION_LINES, 0), (house.FUNCTION_LINES + 1, 1)):
        notebook_of(path, ("code", "@a\n@b\ndef f():\n" + "    x = 1\n\n" * (lines - 1)))
        assert len(house.function_budget_offences(path)) == offences
    wide = "x" * house.LINE_WIDTH
    for source, offences in ((f"{wide}x", 1), (f'f("{wide}")', 0), (f"a,  # {wide}", 0)):
        notebook_of(path, ("code", source))
        assert len(house.cell_budget_offences(path)) == offences

    monkeypatch.setattr(house, "NBS", tmp_path)
    (tmp_path / "lib").mkdir()
    one, broken = "f(a, b)\ng = 1", "f(\n    a,\n    b,\n)\ng = 1"
    for words, offences in ((2 * house.WORDS_PER_STATEMENT["lib"], 0), (3, 1)):
        for source in (one, broken):
            path = notebook_of(tmp_path / "lib" / "a.ipynb", ("markdown", "word " * words), ("code", source))  # fmt: skip
            assert len(house.prose_offences(path)) == offences


def test_row_test_finds(tmp_path):
    defined, run = ("code", "#| export\nx = 1"), ("code", "x")
    imports, prose = ("code", "#| export\nimport os"), ("markdown", "Why")
    path = tmp_path / "a.ipynb"
    for found, offences in (
        ([imports, defined, defined, prose, defined, run, defined], 0),
        ([defined, defined, prose, defined, defined, defined, run], 1),
        ([defined, defined, defined, run, *[defined] * 4], 1),
    ):
        assert len(house.row_offences(notebook_of(path, *found))) == offences


def test_safety_test_finds(tmp_path):
    module = Path(tmp_path) / "a.py"
    module.write_text(
        "import pickle\ntorch.load(f)\nrun('x', shell=True)\nnp.load(f, allow_pickle=True)\nfolder = '/ho' 'me/x'\n"
    )
    assert len(house.safety_offences(module)) == 4
    module.write_text("torch.load(f, weights_only=True)\nfolder = '" + "/ho" + "me/someone'\n")
    assert len(house.safety_offences(module)) == 1


def test_documentation_test_finds(tmp_path):
    module = Path(tmp_path) / "a.py"
    module.write_text("def f(\n    a,  # fine\n    b,\n):\n    pass\n")
    assert house.docs_offences(module) == ["f has no docstring", "f: no docment for b"]


def test_annotation_test_finds(tmp_path):
    module = Path(tmp_path) / "a.py"
    module.write_text(
        "def f(a, b: int, *rest, c=1, **options): pass\nclass A:\n    def g(self, d): pass\n"
        "    def on_end(self, trainer): pass\n@click.command()\ndef h(e): pass\ndef _i(j): pass\n"
    )
    assert house.annotation_offences(module) == ["f: no type for a, c", "A.g: no type for d"]
