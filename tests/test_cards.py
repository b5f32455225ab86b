"What the pages of results and the cards claim can be held to: commands that exist, tables that they write, weights that are the ones described."

import ast
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from test_guides import command_problem, shell_problem

from clfnb.data.cards import measured, model_card
from clfnb.data.catalog import DATASETS
from clfnb.runs.parameters import read_parameters

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from docs import results, tables  # noqa: E402

REFERENCE = ROOT / "nbs" / "reference"
COMMANDS = [command for page in results.PAGES for command in results.commands(page)]
TABLES = [table for page in results.PAGES for table in results.tables(page)]


def options(script):
    "The options that a script defines, or a module of ours that it takes them from."
    text = script.read_text(encoding="utf-8")
    found = set(re.findall(r"add_argument\(\s*\"(--[\w-]+)\"", text))
    for name in re.findall(r"^from (\w+) import", text, flags=re.M):
        beside = script.with_name(f"{name}.py")
        found |= options(beside) if beside.is_file() else set()
    return found


def problem(text):
    "Why a command of the results could not be carried out, or nothing."
    if wrong := shell_problem(text):
        return wrong
    for part in re.split(r"; (?:do |done)?|\n", text.removeprefix("for fold in 0 1 2 3 4; do ")):
        words = [word for word in shlex.split(part) if not re.match(r"[A-Z_]+=", word)]
        if words[:1] == ["clfnb"]:
            named = [re.sub(r"^[A-Z]+$", ".", re.sub(r"\$\w+", "0", word)) for word in words[1:]]
            if wrong := command_problem(named):
                return wrong
        elif words[:1] == ["python"]:
            script = ROOT / words[1]
            if not script.is_file():
                return f"no script {words[1]}"
            unknown = {word for word in words if word.startswith("--")} - options(script)
            if unknown:
                return f"{words[1]} has no option {sorted(unknown)}"
        elif words[:1] == ["papermill"]:
            names = {words[place + 1] for place, word in enumerate(words) if word == "-p"}
            if unknown := names - set(read_parameters(ROOT / words[1])):
                return f"{words[1]} has no parameter {sorted(unknown)}"
    return None


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.file.stem)
def test_a_command_of_the_results_can_be_typed(command):
    assert problem(command.text) is None


def test_the_judge_finds():
    "What is held above would be seen if it were wrong."
    assert len(COMMANDS) > 20
    assert "no script" in problem("python benchmarks/barcode.py")
    assert "no option" in problem("OMP_NUM_THREADS=1 python benchmarks/barcodes.py --trails 3")
    assert "no parameter" in problem("papermill nbs/reference/train_chest_xray.ipynb o -p pix 3")
    assert problem("for fold in 0 1 2 3 4; do clfnb run ecg_delineation -p flod=$fold; done")
    assert (
        problem("for fold in 0 1 2 3 4; do clfnb run ecg_delineation -p fold=$fold; done") is None
    )


def test_places_are_filled_and_asked_for(tmp_path):
    text = "python benchmarks/temperature.py FOLDER --data $CLFNB_DATA/plankton"
    assert results.obstacle(text, tmp_path) == "say what FOLDER is, as in FOLDER=..."
    text = results.filled(text, {"FOLDER": "images"})
    assert results.obstacle(text, tmp_path) == "not in $CLFNB_DATA: plankton"
    (tmp_path / "plankton").mkdir()
    assert results.obstacle(text, tmp_path) == "" and " images --data" in text
    asked = "clfnb run volleyball_activity -p data=TRAIN"
    assert results.obstacle(asked, tmp_path) == "say what TRAIN is, as in TRAIN=..."
    for named in ("clfnb run x -p data=qtdb -p fold=0", "papermill x.ipynb y -p data qtdb"):
        assert results.obstacle(named, tmp_path) == "not in $CLFNB_DATA: qtdb"
    weights = "python benchmarks/chest_xray_choices.py models --weights no_such.npz"
    assert results.obstacle(weights, tmp_path) == "no file of weights here: no_such.npz"


def test_every_section_of_results_has_a_command():
    told = {command.section for command in COMMANDS}
    for page in results.PAGES:
        cells = json.loads((REFERENCE / f"{page}.ipynb").read_text("utf-8"))["cells"]
        text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
        assert set(re.findall(r"^## (.+)", text, flags=re.M)) <= told, page


def test_output_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(results, "ROOT", tmp_path)
    command = results.Command("A section: one", 2, "python -c 'print(6 * 7)'")
    assert results.run(command, command.text) == 0 and "42" in capsys.readouterr().out
    kept = tmp_path / "build" / "results" / "a-section-one-2.txt"
    assert kept.read_text("utf-8").splitlines() == ["$ " + command.text, "42"]


# The tables


def markdown(page):
    cells = json.loads((REFERENCE / f"{page}.ipynb").read_text("utf-8"))["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def test_every_table_of_the_results_is_a_file_that_a_page_shows():
    for page in results.PAGES:
        assert not re.search(r"^\|", markdown(page), flags=re.M), f"{page}: a table in Markdown"
    shown = [table.file for table in TABLES]
    assert len(shown) > 30 and len(set(shown)) == len(shown)
    assert set(shown) == set((REFERENCE / "results").glob("*/*.csv"))
    described = {
        about.with_name(f"{name}.csv")
        for about in (REFERENCE / "results").glob("*/about.json")
        for name in json.loads(about.read_text("utf-8"))
    }
    assert described == set(shown)


def pattern(cell):
    "What a cell of a list in a script may hold: any text stands for what is computed."
    if isinstance(cell, ast.JoinedStr):
        return "".join(map(pattern, cell.values))
    if isinstance(cell, ast.Constant):
        return re.escape(str(cell.value))
    return ".+" if isinstance(cell, ast.Starred) else "[^|]+"


def writes(script, head):
    "Whether a script has a list that could be this head of a table."
    lists = [n for n in ast.walk(ast.parse(script.read_text("utf-8"))) if isinstance(n, ast.List)]
    heads = [n.elts for n in lists if n.elts and isinstance(n.elts[0], (ast.Constant, ast.JoinedStr))]  # fmt: skip
    return any(re.fullmatch(r"\|".join(map(pattern, cells)), "|".join(head)) for cells in heads)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_can_be_shown_and_written_again_unless_it_says_why_not(table):
    about, head = table.about, tables.read_rows(table.file)[0]
    assert measured(table.file).count("\n") > 3
    assert len({row[0] for row in tables.read_rows(table.file)}) == len(
        tables.read_rows(table.file)
    )
    assert set(about.get("kept", [])) < set(head)
    if records := about.get("records"):
        listed = table.file.with_name(records).read_text("utf-8").split("\n")
        assert len(listed) > 1 and not any(line.startswith(("/", "~")) for line in listed)
    told = {command.text for command in COMMANDS if command.section == table.section}
    assert about.get("command") in {None, *told}
    if not about.get("mark"):
        script = re.search(r"python (benchmarks/\w+\.py) ", about["command"])[1]
        assert about["command"].endswith(f"--out build/results/{table.folder}")
        assert f'"{table.file.stem}"' in (ROOT / script).read_text("utf-8")
        written = [name for name in head if name not in about.get("kept", [])]
        assert writes(ROOT / script, written) and not writes(
            ROOT / script, ["neither", *written[1:]]
        )


def test_a_caption_names_the_version_that_its_section_names():
    versions = re.compile(r"\b([A-Z]\w+2?) (\d+\.\d+\.\d+)")
    for table in TABLES:
        page = next(name for name in results.PAGES if table.section in results.sections(name))
        told = set(versions.findall(results.sections(page)[table.section][0]))
        assert set(versions.findall(table.about["caption"])) <= told, table.name


def test_the_summary_of_the_results_is_read_from_their_tables():
    "The first table of the page types no result: its figures stand between braces or are file names."
    (summary,) = re.findall(r"^rows = \[.*?^\]", code(REFERENCE / "results.ipynb"), re.M | re.S)
    typed = re.findall(r"\d*\.\d+|\d+ %", re.sub(r"\{[^{}]*\}", "", summary))
    assert typed == [] and summary.count("value(") >= 8


OLD = [["set", "n", "read", "ms"], ["upca", "1,021", "55 (0.93–1.00)", "8.7"], ["ean", "34", "34", "9.3"]]  # fmt: skip


def test_differences_name_the_cell_and_by_how_much():
    assert tables.differences(OLD, OLD) == []
    new = [["set", "read", "n"], ["upca", "53 (0.90–0.99)", "1,000"], ["qr", "3", "4"]]
    assert tables.differences(OLD, new, kept=["ms"]) == [
        "upca · n: 1,021 → 1,000 (-21)",
        "upca · read: 55 (0.93–1.00) → 53 (0.90–0.99) (-2, -0.03, -0.01)",
        "ean · n: 34 → (none)",
        "ean · read: 34 → (none)",
        "qr · read: (none) → 3",
        "qr · n: (none) → 4",
    ]
    assert tables.change(".957", "−.5") == " (-1.457)" and tables.change("a", "b") == ""


PAGE = """## Sums

    python write.py --out build/results/sums

## Others

No command writes this one.
"""


@pytest.fixture
def page(tmp_path, monkeypatch):
    "A page with two tables and a script that writes one of them."
    monkeypatch.setattr(results, "ROOT", tmp_path)
    monkeypatch.setattr(results, "PAGES", ("toy",))
    first, second = PAGE.split("## Others")
    cells = [
        ("markdown", first),
        ("code", '#| echo: false\nMarkdown(measured("results/sums/a.csv"))'),
    ]
    cells += [("markdown", f"## Others{second}"), ("code", 'measured("results/others/b.csv")')]
    (tmp_path / "nbs" / "reference").mkdir(parents=True)
    book = {"cells": [{"cell_type": kind, "source": [text]} for kind, text in cells]}
    (tmp_path / "nbs" / "reference" / "toy.ipynb").write_text(json.dumps(book))
    said = {"caption": "Sums", "n": "2", "date": "2026-01-31"}
    for name, more in (
        ("sums/a", {"command": "python write.py --out build/results/sums", "kept": ["then"], "records": "records.txt"}),
        ("others/b", {"mark": "an earlier one."}),
    ):  # fmt: skip
        file = tmp_path / "nbs" / "reference" / "results" / f"{name}.csv"
        file.parent.mkdir(parents=True)
        file.write_text("of,sum,then\n1 + 1,2.5,1\n", encoding="utf-8")
        file.with_name("about.json").write_text(json.dumps({file.stem: said | more}))
    script = "from pathlib import Path\nplace = Path('build/results/sums')\nplace.mkdir()\n"
    script += "(place / 'a.csv').write_text('of,sum\\n1 + 1,2\\n')\n(place / 'records.txt').write_text('x\\n')"
    (tmp_path / "write.py").write_text(script)
    return tmp_path / "nbs" / "reference" / "results"


def test_a_section_is_run_compared_and_written(page, capsys):
    assert results.main(["neither"]) == 1 and "'neither'" in capsys.readouterr().err
    assert results.main(["--compare"]) == 0
    said = capsys.readouterr().out
    assert "sums/a: no new table: its command has not written one" in said
    assert "others/b: kept: an earlier one." in said
    assert results.main(["sums"]) == 0
    said = capsys.readouterr().out
    assert "sums/a: 1 of 1 cells differ\n    1 + 1 · sum: 2.5 → 2 (-0.5)" in said
    assert tables.read_rows(page / "sums" / "a.csv")[1] == ["1 + 1", "2.5", "1"]
    assert results.main(["sums", "--compare", "--write"]) == 0
    assert tables.read_rows(page / "sums" / "a.csv") == [["of", "sum", "then"], ["1 + 1", "2", "1"]]
    assert (page / "sums" / "records.txt").read_text() == "x\n"
    about = json.loads((page / "sums" / "about.json").read_text())["a"]
    assert about["date"] > "2026-01-31" and about["caption"] == "Sums"
    capsys.readouterr()
    assert results.main(["sums", "--compare"]) == 0
    assert "sums/a: all 1 cells are equal" in capsys.readouterr().out
    assert results.main(["sums", "--wirte"]) == 2


def test_a_table_of_yesterday_does_not_pass_for_a_new_one(page, capsys):
    old = page.parents[2] / "build" / "results" / "sums" / "a.csv"
    old.parent.mkdir(parents=True)
    old.write_text("of,sum\n1 + 1,2.5\n")
    (page.parents[2] / "write.py").write_text("raise SystemExit(1)")
    assert results.main(["sums"]) == 1
    assert "no new table" in capsys.readouterr().out and not old.exists()


# The cards


def code(page):
    cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def test_every_data_set_and_all_weights_have_a_card():
    pages = "\n".join(map(code, REFERENCE.glob("*.ipynb")))
    lacking = [name for name in DATASETS if f'data_card("{name}")' not in pages]
    weights = [folder.name for folder in (ROOT / "clfnb" / "weights").iterdir()]
    lacking += [name for name in weights if f'shipped_weights("{name}")' not in pages]
    assert len(weights) >= 3 and lacking == []


def test_a_card_reads_its_weights_once(monkeypatch):
    """The digest that a card shows is that of the bytes whose tensors it counts."""
    read, files = Path.read_bytes, []
    monkeypatch.setattr(Path, "read_bytes", lambda path: files.append(path.name) or read(path))
    assert "SHA-256" in model_card(ROOT / "clfnb" / "weights" / "ecg")
    assert files.count("model.safetensors") == 1


@pytest.mark.parametrize(
    "folder", sorted((ROOT / "clfnb" / "weights").iterdir()), ids=lambda p: p.name
)
def test_weights_are_those_that_their_config_names(folder):
    assert (folder / "README.md").is_file() and "SHA-256" in model_card(folder)


@pytest.mark.parametrize("name", ["model_ecg", "model_barcode_lines"])
def test_a_card_shows_a_table_of_the_results(name):
    shown = re.findall(r"measured\(\"(.+?)\"\)", code(REFERENCE / f"{name}.ipynb"))
    assert shown and {REFERENCE / file for file in shown} <= {table.file for table in TABLES}
    for file in shown:
        assert len(measured(REFERENCE / file).splitlines()) > 3
