"What the pages of results and the cards claim can be held to: commands that exist, weights that are the ones described."

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
from docs import results  # noqa: E402

REFERENCE = ROOT / "nbs" / "reference"
COMMANDS = [command for page in results.PAGES for command in results.commands(page)]


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


def code(page):
    cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def test_every_data_set_and_all_weights_have_a_card():
    pages = "\n".join(map(code, REFERENCE.glob("*.ipynb")))
    lacking = [name for name in DATASETS if f'data_card("{name}")' not in pages]
    weights = [folder.name for folder in (ROOT / "clfnb" / "weights").iterdir()]
    lacking += [name for name in weights if f'shipped_weights("{name}")' not in pages]
    assert len(weights) >= 3 and lacking == []


@pytest.mark.parametrize(
    "folder", sorted((ROOT / "clfnb" / "weights").iterdir()), ids=lambda p: p.name
)
def test_weights_are_those_that_their_config_names(folder):
    assert (folder / "README.md").is_file() and "SHA-256" in model_card(folder)


@pytest.mark.parametrize("page", sorted(REFERENCE.glob("model_*.ipynb")), ids=lambda p: p.stem)
def test_a_card_shows_a_table_of_the_results(page):
    for source, name in re.findall(r"measured\(\"(.+?)\", \"(.+?)\"\)", code(page)):
        assert len(measured(REFERENCE / source, name).splitlines()) > 3
