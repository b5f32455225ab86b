"""The house rules, held on every notebook and module. Each failure lists what to mend and where."""

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
PYTHON = [
    *MODULES,
    *sorted((house.ROOT / "benchmarks").rglob("*.py")),
    *sorted((house.ROOT / "docs").rglob("*.py")),
]


def none_of(offences):
    assert not offences, "\n  " + "\n  ".join(offences)


HOUSE_RULES = {
    house.floor_offences: MODULES, house.module_budget_offences: MODULES, house.docs_offences: MODULES,
    house.clean_offences: ALL, house.title_offences: ALL, house.import_offences: ALL, house.cell_budget_offences: ALL, house.prose_offences: ALL,
    house.mirror_offences: LIBRARY, house.lesson_offences: LESSONS,
    house.safety_offences: [*ALL, *PYTHON],
}  # fmt: skip


@pytest.mark.parametrize(
    "rule", HOUSE_RULES, ids=lambda rule: rule.__name__.removesuffix("_offences")
)
def test_house_rule(rule):
    none_of(
        [f"{house.label(path)}: {offence}" for path in HOUSE_RULES[rule] for offence in rule(path)]
    )


def test_every_module_has_its_notebook():
    made = {path.relative_to(house.NBS / "lib").with_suffix("") for path in LIBRARY}
    none_of(
        [
            f"{house.label(p)} has no notebook"
            for p in MODULES
            if p.relative_to(house.LIB).with_suffix("") not in made
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
        if p.name not in ("_modidx.py", "__init__.py")
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


@pytest.mark.parametrize("source, floor_word", [
    ("def f():\n    from clfnb.data.splits import split", "floor 3"),
    ("import clfnb.training.trainer", "floor 1"),
    ("from clfnb import tracks", "floor 4"),
    ("from ..runs import record", "floor 3"),
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
