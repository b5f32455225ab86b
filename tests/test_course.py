"The exercises, what is made from their masters, and a learner's folder from start to update."

import importlib.util
import json
import re
import shutil
import sys

import house
import pytest

from clfnb import exercises
from clfnb.cli import main
from clfnb.course import folder as course
from clfnb.exercises import COURSE, PROGRESS, Exercises, Verdict

sys.path.insert(0, str(house.ROOT))
spec = importlib.util.spec_from_file_location("making", house.ROOT / "docs" / "exercises.py")
making = importlib.util.module_from_spec(spec)
spec.loader.exec_module(making)
MASTERS = making.masters()
CHECK = re.compile(r'check\("(\d+\.\d+)"')


def carried_out(path, monkeypatch):
    "What the checks of a notebook say, cell by cell: (number, verdict) in the order in which they were asked."
    said, names = [], {"__name__": "__main__"}
    monkeypatch.setattr(exercises, "record", lambda number, verdict: said.append((number, verdict)))
    for _, source in house.cells(path):
        exec(compile(source, str(path), "exec"), names)
    return said


def notebook_of(master, kind):
    return house.NBS / kind / making.lesson_of(master)[0].name


def test_every_lesson_has_exercises():
    lessons = {path.stem.partition("_")[2] for path in house.notebooks("lessons")}
    assert {path.stem for path in MASTERS} == lessons


def test_the_notebooks_are_what_the_masters_make():
    assert making.differing() == [], "run: python docs/exercises.py"


@pytest.mark.parametrize("master", MASTERS, ids=lambda path: path.stem)
def test_a_set_of_exercises_is_whole(master):
    "A warm-up, two of the core, one open-ended with a rubric; each is asked and checked, and the numbers have no gaps."
    lesson, _ = making.lesson_of(master)
    number = int(lesson.name.partition("_")[0])
    path = notebook_of(master, "exercises")
    prose = "\n".join(text for _, text in house.cells(path, "markdown"))
    asked = re.findall(
        r"^## Exercise (\S+): .+\n\n\*\*(Warm-up|Core|Open-ended)\.\*\*", prose, re.M
    )
    assert [n for n, _ in asked] == [f"{number}.{k}" for k in range(1, len(asked) + 1)]
    kinds = [kind for _, kind in asked]
    assert kinds[0] == "Warm-up" and kinds.count("Core") >= 2 and kinds[-1] == "Open-ended"
    assert "| points |" in prose
    code = "\n".join(source for _, source in house.cells(path))
    assert CHECK.findall(code) == [n for n, _ in asked]
    assert "yield" not in code and "SOLUTION" not in code and ".right" not in code


@pytest.mark.parametrize("master", MASTERS, ids=lambda path: path.stem)
def test_unsolved_exercises_run(master, monkeypatch):
    said = carried_out(notebook_of(master, "exercises"), monkeypatch)
    assert said and [str(v) for _, v in said if v.answered] == []


@pytest.mark.parametrize("master", MASTERS, ids=lambda path: path.stem)
def test_solutions_pass(master, monkeypatch):
    said = carried_out(notebook_of(master, "solutions"), monkeypatch)
    assert len(said) >= 4 and [str(v) for _, v in said if not v.right] == []


@pytest.mark.parametrize("master", MASTERS, ids=lambda path: path.stem)
def test_wrong_answers_are_refused_with_a_hint(master, monkeypatch):
    "The master asserts which hint; here is held that each check has met a right answer and several wrong ones."
    said = carried_out(master, monkeypatch)
    hints = {}
    for number, verdict in said:
        hints.setdefault(number, set()).add(str(verdict))
    prose = "\n".join(text for _, text in house.cells(master, "markdown"))
    numbers = set(re.findall(r"^## Exercise (\S+):", prose, re.M))
    assert set(hints) == numbers
    for number, verdicts in hints.items():
        refused = {v for v in verdicts if not Verdict(v).right}
        assert refused != verdicts and len(refused) >= 3, (number, verdicts)
        assert all(len(v.partition("not yet. ")[2]) > 12 for v in refused), refused


def master_of(path, *cells):
    "A master of (kind, source, tags) cells."
    found = [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# x\n> y"}]
    for number, (kind, source, *tags) in enumerate(cells):
        more = {"outputs": [], "execution_count": None} if kind == "code" else {}
        cell = {"cell_type": kind, "id": f"c{number}", "source": source, "metadata": {"tags": tags}}
        found.append(cell | more)
    path.write_text(
        json.dumps({"cells": found, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    )
    return path


@pytest.mark.parametrize("master", MASTERS, ids=lambda path: path.stem)
def test_solutions_hold_no_placeholders(master):
    for number, source in house.cells(notebook_of(master, "solutions")):
        assert not re.search(r"^\s*(\S+ = )?\.\.\.$", source, re.M), (number, source)


def test_what_a_master_becomes(tmp_path):
    master = master_of(
        tmp_path / "calibration.ipynb",
        ("markdown", "Asked of all"),
        ("markdown", "Why it is so", "solution"),
        ("markdown", "For us", "master"),
        ("code", "#| export\nsecret = 1"),
        ("code", "x = 17  # SOLUTION\ntable['a'] = 18  # SOLUTION\ngiven = 3"),
        ("code", "def f(n):\n    # BEGIN SOLUTION\n    return n + 19\n    # END SOLUTION"),
        ("code", "rows = ...\n# BEGIN SOLUTION\nrows = [20]\n# END SOLUTION"),
        ("code", "assert f(1)", "master"),
    )
    texts = {kind: [making.text_of(c) for c in making.derived(master, kind)["cells"]] for kind in making.KINDS}  # fmt: skip
    student, solution = texts["exercises"][1:], texts["solutions"][1:]
    assert student == ["Asked of all", "x = ...\ntable['a'] = ...\ngiven = 3", "def f(n):\n    ...", "rows = ..."]  # fmt: skip
    assert solution[:2] == ["Asked of all", "Why it is so"]
    assert solution[2:] == ["x = 17\ntable['a'] = 18\ngiven = 3", "def f(n):\n    return n + 19", "rows = [20]"]  # fmt: skip
    assert "Exercises 6" in texts["exercises"][0] and "Solutions 6" in texts["solutions"][0]
    broken = master_of(tmp_path / "calibration.ipynb", ("code", "# BEGIN SOLUTION\nx = 1"))
    with pytest.raises(making.BadMaster, match="mark was not understood"):
        making.derived(broken, "exercises")
    with pytest.raises(making.BadMaster, match="expected one lesson 'singing'"):
        making.lesson_of(tmp_path / "singing.ipynb")


# A learner's folder


@pytest.fixture
def mine(tmp_path, monkeypatch):
    "A course folder, and the working directory in it."
    assert main(["start", str(tmp_path / "mine"), "--no-lab"]) == 0
    monkeypatch.chdir(tmp_path / "mine" / "exercises")
    return tmp_path / "mine"


def test_start_copies_and_never_overwrites(mine, capsys):
    first = mine / "exercises" / "01_ecg_delineation.ipynb"
    assert sorted(p.name for p in mine.iterdir()) == [COURSE, "exercises", "lessons"]
    assert len(list(mine.glob("lessons/*.ipynb"))) == len(house.notebooks("lessons"))
    first.write_text("mine")
    (mine / "notes.txt").write_text("mine too")
    assert main(["start", str(mine), "--no-lab", "--solutions"]) == 0
    said = capsys.readouterr().out
    assert "14 already there" in said and f"clfnb start {mine}" in said
    assert first.read_text() == "mine" and (mine / "notes.txt").read_text() == "mine too"
    assert len(list(mine.glob("solutions/*.ipynb"))) == len(MASTERS)


def test_start_says_where_it_cannot(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["start", str(tmp_path / "file" / "x"), "--no-lab"]) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_start_without_jupyterlab_names_the_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("clfnb.course.commands.find_spec", lambda name: None)
    assert main(["start", str(tmp_path / "new")]) == 1
    assert 'pip install "clfnb[lab]"' in capsys.readouterr().err
    assert list((tmp_path / "new").glob("lessons/*.ipynb"))


def test_start_opens_jupyterlab_on_the_folder(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr("clfnb.course.commands.run_lab", lambda words: started.append(words) or 0)
    monkeypatch.setattr("clfnb.course.commands.find_spec", lambda name: True)
    assert main(["start", str(tmp_path / "new"), "--no-browser"]) == 0
    assert started[0][1:3] == ["-m", "jupyterlab"] and "--no-browser" in started[0]
    assert f"--notebook-dir={tmp_path / 'new'}" in started[0] and "--allow-root" not in started[0]
    assert main(["start", str(tmp_path / "new"), "--allow-root"]) == 0
    assert "--allow-root" in started[1]


def test_no_link_of_a_new_course_is_dead(mine):
    for path in mine.glob("*/*.ipynb"):
        text = "\n".join(source for _, source in house.cells(path, "markdown"))
        for target in re.findall(r"\]\((\.\./[^)#\s]+\.ipynb)", text):
            kind = target.split("/")[1]
            there = (path.parent / target).is_file()
            assert there or kind not in ("lessons", "exercises", "solutions"), (path.name, target)


def test_checks_leave_their_record_in_the_folder(mine, capsys):
    check = Exercises("ecg_delineation")
    check.of("1.1")(lambda answer: iter([(answer == 3, "It is more.")]))
    for answer in (..., 2, 3):
        check("1.1", answer)
    assert json.loads((mine / PROGRESS).read_text())["1.1"]["attempts"] == 2
    capsys.readouterr()
    assert main(["progress", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["state"] == "right" and rows[0]["attempts"] == 2 and rows[1]["state"] == "-"
    assert main(["progress", str(mine)]) == 0
    assert "ecg_delineation 1/" in capsys.readouterr().out


def test_no_record_outside_a_course_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check = Exercises("none")
    check.of("1.1")(lambda answer: iter([(True, "")]))
    assert check("1.1", 1).right and list(tmp_path.iterdir()) == []


def test_progress_outside_a_course_folder_says_what_makes_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["progress"]) == 1 and main(["update"]) == 1
    assert "clfnb start FOLDER" in capsys.readouterr().err


def test_update_keeps_what_was_edited(mine, monkeypatch, capsys):
    old, edition = course.edition(), {}
    for name, content in old.items():
        edition[name] = content + b"\n"  # every notebook has a new edition
    edited = mine / "lessons" / "01_ecg_delineation.ipynb"
    edited.write_text("mine")
    monkeypatch.setattr(course, "edition", lambda kinds=(): edition)
    assert main(["update"]) == 0
    said = capsys.readouterr().out
    assert "beside: lessons/new_01_ecg_delineation.ipynb" in said and edited.read_text() == "mine"
    assert (mine / "lessons" / "new_01_ecg_delineation.ipynb").read_bytes().endswith(b"}\n\n")
    assert said.count("replaced: ") == len(old) - 1
    assert main(["update"]) == 0 and "Nothing new" in capsys.readouterr().out


def test_a_lesson_that_was_changed_is_the_one_that_runs(mine):
    from clfnb.runs.plan import find_lessons

    found = find_lessons(mine / "exercises")
    assert found["calibration"].path.is_relative_to(mine) and not found["calibration"].own
    shutil.copy(mine / "lessons" / "06_calibration.ipynb", mine / "lessons" / "new_06_calibration.ipynb")  # fmt: skip
    assert list(find_lessons(mine)) == list(found)
