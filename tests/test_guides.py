"""What the guides tell a reader to type: every block of code is parsed, every command of clfnb is one that there is."""

import ast
import configparser
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from clfnb.cli import cli
from clfnb.runs.parameters import check_values, read_parameters
from clfnb.runs.plan import find_lessons

ROOT = Path(__file__).parents[1]
PAGES = sorted(ROOT.glob("nbs/guides/*.ipynb")) + [ROOT / "nbs" / "index.ipynb"]
FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", re.M | re.S)


def blocks():
    "(page, language, text) of every block in a guide."
    for page in PAGES:
        for cell in json.loads(page.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                for language, text in FENCE.findall("".join(cell["source"])):
                    yield pytest.param(language, text, id=f"{page.stem}-{text.split()[-1][:20]}")


def shell_problem(text):
    "Why a shell would refuse a script, or Slurm."
    if "#SBATCH" in text and not text.startswith("#!/bin/"):
        return f"a batch script begins with #!/bin/bash, found {text.splitlines()[0]!r}"
    if "#SBATCH --cpus-per-task" in text and "\nsrun" in text and "SRUN_CPUS_PER_TASK" not in text:
        return "since Slurm 22.05 srun does not take over --cpus-per-task of the job"
    script = "\n".join(line.removeprefix("!") for line in text.splitlines())  # of a notebook
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    return done.stderr or None


def commands(text):
    "The words after `clfnb` in each line of a script that calls it."
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] and words[0] in ("cd", "docker", "git", "pip", "pipx"):
            continue  # here it names a package, a folder or an image
        for place, word in enumerate(words):
            if word == "clfnb" or (word.endswith("/clfnb") and "://" not in word):
                yield words[place + 1 :]


def command_problem(words):
    "Why clfnb would refuse a command, without carrying it out."
    command, context = cli, None
    try:
        while True:
            context = command.make_context(command.name, list(words), parent=context)
            if not isinstance(command, click.Group):
                break
            rest = [*context.protected_args, *context.args]
            _, command, words = command.resolve_command(context, rest)
        lesson = context.params.get("lesson") if command.name == "run" else None
        if lesson and lesson.lower() == lesson and not lesson.endswith(".ipynb"):
            rules = read_parameters(find_lessons(ROOT)[lesson].path)
            pairs = dict(pair.split("=", 1) for pair in context.params["pairs"])
            check_values(rules, {name: v for name, v in pairs.items() if "$" not in v})
    except (click.ClickException, ValueError, KeyError) as error:
        return f"{type(error).__name__}: {getattr(error, 'message', error)}"


def install_problem(text):
    "An extra that clfnb does not have, or a make target that is not there."
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]  # fmt: skip
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.M)
    asked = [name for group in re.findall(r"(?:clfnb|\.)\[([\w,-]+)\]", text) for name in group.split(",")]  # fmt: skip
    made = re.findall(r"(?:^|\s)make ([a-z-]+)(?=\s|$)", "\n".join(re.sub("#.*", "", line) for line in text.splitlines()))  # fmt: skip
    return [name for name in asked if name not in extras] + [n for n in made if n not in targets]


WIDEST = 92  # columns of code on the site's page
PARSERS = {
    "python": ast.parse,
    "yaml": lambda text: list(yaml.safe_load_all(text)),
    "json": json.loads,
    "toml": tomllib.loads,
    "ini": lambda text: configparser.ConfigParser().read_string(text),
}


@pytest.mark.parametrize("language, text", blocks())
def test_a_block_can_be_typed(language, text):
    if language in PARSERS:
        PARSERS[language](text)
    if language in ("sh", "bash"):
        if shutil.which("bash"):
            assert not shell_problem(text)
        for words in commands(text):
            # those of the track that a guide builds are carried out in test_tracks.py
            assert "stripes" in words or not command_problem(words), words
        assert not install_problem(text)


def test_every_block_of_code_says_its_language_and_fits_the_page():
    "A block that is merely indented is neither coloured nor judged here; a wide one is cut off."
    fenced, faults = re.compile(r"^( *)```.*?^\1```", re.M | re.S), []
    for page in PAGES:
        for cell in json.loads(page.read_text(encoding="utf-8"))["cells"]:
            text = "".join(cell["source"])
            if cell["cell_type"] != "markdown":
                continue
            fences = [fence[0] for fence in fenced.finditer(text)]
            faults += [f"{page.stem}: no language" for fence in fences if fence.startswith("```\n")]
            lines = [line for fence in fences for line in fence.splitlines()]
            faults += [f"{page.stem}: {line}" for line in lines if len(line) > WIDEST]
            found = re.findall(r"\n\n {4}(\S.*)", fenced.sub("", text))
            faults += [f"{page.stem}: indented: {line}" for line in found]
    assert faults == []


def test_the_lines_that_own_data_shows_are_read(tmp_path):
    "Two photographs with their corners, and two frames with their players."
    from clfnb.preprocessing.barcodes.markup import read_markup
    from clfnb.preprocessing.volleyball.annotations import read_annotations

    cells = json.loads((ROOT / "nbs" / "guides" / "own_data.ipynb").read_text("utf-8"))["cells"]
    prose = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    markup, frames = (text for language, text in FENCE.findall(prose) if language == "text")
    (tmp_path / "markup.csv").write_text(markup)
    assert read_markup(tmp_path / "markup.csv").code.tolist() == ["4006381333931", "4006381333948"]
    (tmp_path / "annotations.txt").write_text(frames)
    read, faults = read_annotations(tmp_path / "annotations.txt")
    assert [(frame.activity, len(frame.boxes)) for frame in read] == [("l-pass", 3), ("r_set", 3)]
    assert {fault.kind for fault in faults} <= {"spelling", "players"}  # three of twelve are shown


def groups(command):
    "A group of commands and those inside it."
    if isinstance(command, click.Group):
        yield command
        for name in command.list_commands(click.Context(command)):
            yield from groups(command.get_command(click.Context(command), name))


def test_a_list_of_commands_says_each_in_full():
    "At 80 columns, click cuts what does not fit."
    for group in groups(cli):
        context = click.Context(group, info_name="clfnb", terminal_width=80)
        told = group.get_help(context).partition("Commands:")[2]
        assert told and "..." not in told, told


def test_the_judges_find():
    "What is held above would be seen if it were wrong."
    assert shell_problem("!/bin/bash\n#SBATCH --time=1\n") and shell_problem("#SBATCH -n 1\nls")
    assert not shell_problem("#!/bin/bash\n#SBATCH -n 1\nls\n")
    assert shell_problem("#!/bin/bash\n#SBATCH --cpus-per-task=2\nsrun ls\n")
    if shutil.which("bash"):
        assert shell_problem("if true; then\n")
    assert list(commands("srun .venv/bin/clfnb runs --json  # all\nls")) == [["runs", "--json"]]
    assert install_problem('pip install "clfnb[lob]"\nmake cake  # well') == ["lob", "cake"]
    assert not install_problem(
        'pip install -e ".[dev,lab]"\nmake run  # or make cake\nmake test ARGS=x'
    )
    good = ["run ecg_delineation -p epochs=2", "runs --json", "run --resume RUN --force"]
    bad = [
        "run ecg_delineation -p epoch=2",
        "runs --jason",
        "sing",
        "run plankton_imbalance -p px=0",
    ]
    assert not any(command_problem(line.split()) for line in good)
    assert all(command_problem(line.split()) for line in bad)


def test_the_messages_that_are_explained_are_still_said():
    "A heading of the FAQ that is code is part of a message of the library."
    cells = json.loads((ROOT / "nbs" / "guides" / "faq.ipynb").read_text("utf-8"))["cells"]
    prose = "\n".join("".join(cell["source"]) for cell in cells)
    said = re.findall(r"^### `(.+)`$", prose, re.M)
    library = "\n".join(path.read_text("utf-8") for path in (ROOT / "clfnb").rglob("*.py"))
    assert len(said) >= 8 and [words for words in said if words not in library] == []


def test_every_extra_is_in_the_table():
    cells = json.loads((ROOT / "nbs" / "guides" / "installation.ipynb").read_text("utf-8"))["cells"]
    rows = re.findall(r"^\| (`.+?) \|", "\n".join("".join(c["source"]) for c in cells), re.M)
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]  # fmt: skip
    assert listed == set(extras) - {"bench"}  # that one is for the peers in benchmarks/
