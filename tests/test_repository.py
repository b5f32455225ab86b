"What surrounds the package: forms and workflows that keep to their schemas, one version everywhere."

import json
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from test_guides import command_problem

import clfnb

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SCHEMAS = {
    ".github/workflows/*.yml": "vendor.github-workflows",
    ".github/dependabot.yml": "vendor.dependabot",
    ".github/ISSUE_TEMPLATE/[!c]*.yml": "vendor.github-issue-forms",
    ".github/ISSUE_TEMPLATE/config.yml": "vendor.github-issue-config",
    "CITATION.cff": "vendor.citation-file-format",
}


@pytest.mark.parametrize("pattern", SCHEMAS)
def test_files_for_services_keep_to_their_schema(pattern):
    files = sorted(map(str, ROOT.glob(pattern)))
    assert files
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[pattern]]
    options = ["--default-filetype", "yaml", "--disable-formats", "regex"]
    found = subprocess.run([*command, *options, *files], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_one_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == clfnb.__version__
    headings = re.findall(r"^## \[?(.+?)\]?(?: - .+)?$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0] == "Unreleased" and set(headings[1:]) <= {clfnb.__version__}


def test_the_image_copies_what_is_there():
    copied = re.findall(r"^COPY (?!\. \.)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    names = " ".join(copied).split()
    assert {"clfnb", "nbs", "pyproject.toml"} <= set(names)
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_the_image_installs_extras_that_there_are_and_runs_commands_that_there_are():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    extras = re.search(r"-e \"\.\[([\w,]+)\]\"", text)[1].split(",")
    assert set(extras) <= set(PROJECT["optional-dependencies"])
    command = json.loads(re.search(r"^CMD (.+)$", text, re.M)[1])
    assert command[0] == "clfnb" and command_problem(command[1:]) is None
    shown = re.findall(r"^# docker run .*? clfnb clfnb (.+?)(?:  .*)?$", text, re.M)
    assert len(shown) == 2 and [line for line in shown if command_problem(line.split())] == []


CONDA_NAMES = {
    "lightning-fabric": "pytorch-lightning",
    "matplotlib": "matplotlib-base",
    "opencv-python-headless": "py-opencv",
    "torch": "pytorch",
    "xgboost-cpu": "py-xgboost",
}


def test_the_image_takes_all_packages_in_the_versions_that_were_tested():
    "A build of PyTorch that is newer than the one in constraints.txt would be replaced by the next line."
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    installs = re.findall(r"pip install [^;&]+", text)
    assert len(installs) == 3 and all("-c constraints.txt" in line for line in installs)


def bootstrapped(text):
    "Name of a target of the Makefile → the extras that its environment has."
    made = dict(re.findall(r"^(\.venv/\S+): EXTRA = (\S+)$", text, re.M))
    return {n: made[p] for n, p in re.findall(r"^([a-z-]+): (\.venv/\S+)  ##", text, re.M)}


def test_workflows_install_what_the_makefile_installs():
    "A step that does what a target does needs the same extras: building the site executes notebooks of all extras."
    makefile, seen = (ROOT / "Makefile").read_text(encoding="utf-8"), set()
    extras = bootstrapped(makefile)
    does = {"test": "python tests/check.py", "docs": "python -m docs"}
    for target, command in does.items():
        assert re.search(rf"^{target}:.*\n\t@\$\(BIN\)/{re.escape(command)} ", makefile, re.M)
    for file in sorted(ROOT.glob(".github/workflows/*.yml")):
        for name, job in yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"].items():
            steps = [step.get("run", "").strip() for step in job["steps"]]
            installed = re.findall(r'-e "\.\[(.+)\]"', "\n".join(steps))
            for target in (t for t, command in does.items() if command in steps):
                assert installed == [extras[target]], (file.name, name)
                seen.add((file.stem, target))
    assert seen == {("ci", "test"), ("docs", "docs"), ("release", "test")}


WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))
ELSEWHERE = {"git", "quarto", "test", "touch"}  # commands of the machine, or of a step before


def commands(text):
    "The commands of a script of the shell, as words."
    return [shlex.split(line) for line in text.splitlines() if line.strip()]


def missing_program(words, installed=()):
    "What a command calls that is not in this repository, its environment or installed before, or None."
    name, *rest = words
    if name in ELSEWHERE:
        return None
    if Path(name).name != "python":
        return None if Path(sys.executable).with_name(name).exists() else name
    if rest[0] == "-m":
        there = rest[1] in {"pip", *installed} or find_spec(rest[1])  # uv makes one without pip
        return None if there else f"module {rest[1]}"
    return None if (ROOT / rest[0]).is_file() else rest[0]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_calls_what_there_is(file, monkeypatch):
    "What the schema does not say: programs, folders, patterns of files, jobs, artifacts and outputs of steps."
    monkeypatch.syspath_prepend(ROOT)
    jobs = yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"]
    problems, uploaded = [], {}
    for name, job in jobs.items():
        before = job.get("needs", [])
        before = [before] if isinstance(before, str) else before
        problems += [f"{name}: needs {other}" for other in before if other not in uploaded]
        brought = {one for other in before for one in uploaded.get(other, ())}
        uploaded[name], downloaded, ids, installed = set(), set(), set(), set()
        for step in job["steps"]:
            options, uses = step.get("with", {}), step.get("uses", "")
            assert bool(uses) != ("run" in step)
            assert not uses or re.fullmatch(r"[\w-]+/[\w/-]+@(v\d+|release/v\d+)", uses)
            for words in commands(step.get("run", "")):
                if missing := missing_program(words, installed):
                    problems.append(f"{name}: {missing}")
                if words[1:4] == ["-m", "pip", "install"]:
                    installed |= {*words[4:]}
            place = step.get("working-directory", ".")
            if not (ROOT / place).is_dir() and place not in downloaded:
                problems.append(f"{name}: {place} is no folder")
            for pattern in re.findall(r"'([^']+)'", str(options.get("key", ""))):
                if not any(ROOT.glob(pattern)):
                    problems.append(f"{name}: nothing is {pattern}")
            if uses.startswith("actions/upload-artifact@"):
                uploaded[name].add(options["name"])
            if uses.startswith("actions/download-artifact@"):
                downloaded.add(options["path"].rstrip("/"))
                if options["name"] not in brought:
                    problems.append(f"{name}: no artifact {options['name']}")
            ids.add(step.get("id"))
        for step_id in re.findall(r"steps\.([\w-]+)\.outputs", json.dumps(job)):
            if step_id not in ids:
                problems.append(f"{name}: no step {step_id}")
    assert problems == []


def test_workflows_publish_what_the_builder_makes(monkeypatch):
    "The folder of the site, and in it the notebooks for Colab."
    monkeypatch.syspath_prepend(ROOT)
    from docs.execute import KEPT
    from docs.generated import COLAB

    text = (ROOT / ".github/workflows/docs.yml").read_text(encoding="utf-8")
    default = re.search(r'"(_docs)"', (ROOT / "docs/__main__.py").read_text(encoding="utf-8"))[1]
    assert re.findall(r"^ +path: (_\S+)$", text, re.M) == [default, f"{default}/{COLAB}"]
    kept = KEPT.relative_to(ROOT).as_posix()
    assert f"path: {kept}\n" in text


@pytest.mark.parametrize("words, missing", [
    ("python tests/check.py", None), ("python tests/checks.py", "tests/checks.py"), ("python -m docs", None),
    ("python -m documents", "module documents"), ("ruff check .", None), ("rufus check .", "rufus"),
])  # fmt: skip
def test_a_missing_program_is_found(words, missing, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    assert missing_program(words.split()) == missing


def test_makefile_and_hooks_call_what_there_is(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    lines = re.findall(r"^\t@\$\(BIN\)/(.+)$", (ROOT / "Makefile").read_text("utf-8"), re.M)
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"][0]
    called = lines + [hook["entry"] for hook in hooks["hooks"]]
    assert len(lines) >= 6 and len(called) > len(lines)
    assert [m for line in called if (m := missing_program(line.split()))] == []


def test_the_conda_recipe_asks_for_what_the_package_asks_for():
    text = (ROOT / "conda" / "meta.yaml").read_text(encoding="utf-8")
    values = dict(re.findall(r'^{% set (\w+) = "(.+)" %}$', text, re.M)) | {"PYTHON": "python"}
    plain = re.sub(
        r"{{ (\w+) }}", lambda name: values[name[1]], re.sub(r"^{%.*$", "", text, flags=re.M)
    )
    recipe = yaml.safe_load(plain)
    assert recipe["package"] == {"name": "clfnb", "version": clfnb.__version__}
    wanted = {f"python {PROJECT['requires-python']}"}
    for line in PROJECT["dependencies"]:
        name, limits = re.fullmatch(r"([\w-]+)(.*)", line).groups()
        wanted.add(f"{CONDA_NAMES.get(name, name)} {limits}".strip())
    assert set(recipe["requirements"]["run"]) == wanted
    assert recipe["build"]["entry_points"] == [
        f"{name} = {target}" for name, target in PROJECT["scripts"].items()
    ]
    for command in recipe["test"]["commands"]:
        words = command.split()[1:]
        assert words == ["--help"] or command_problem(words) is None


def test_the_versions_of_python_are_the_same_everywhere():
    low, high = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()
    versions = [f"3.{minor}" for minor in range(int(low), int(high))]
    named = [line for line in PROJECT["classifiers"] if "Python :: 3." in line]
    assert named == [f"Programming Language :: Python :: {version}" for version in versions]
    ci = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    assert ci["jobs"]["test"]["strategy"]["matrix"]["python"] == versions


def test_the_issue_form_asks_for_the_report_that_doctor_writes():
    form = (ROOT / ".github/ISSUE_TEMPLATE/problem.yml").read_text(encoding="utf-8")
    assert "clfnb doctor --report" in form and "clfnb-report.md" in form


def test_types_are_published():
    assert (Path(clfnb.__file__).parent / "py.typed").exists()
