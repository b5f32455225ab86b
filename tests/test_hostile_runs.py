"""Runs and their folders when somebody types contradictions, kills what writes, or names classes as no program expects."""

import json
import os

import pytest
from test_cli import a_run, clfnb, course, one_line  # noqa: F401 (two fixtures)
from test_results import runs, write_run  # noqa: F401 (a fixture)

PIPES = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of Unix")


@pytest.mark.parametrize(
    "words, said",
    [
        (["-p", "steps=1", "-p", "steps=2"], "steps: given twice, by -p steps=1 and -p steps=2"),
        (["--set", "steps=1", "-p", "steps=2"], "by -p steps=2 and --set steps=1"),
        (["--set", "steps=1", "--set", "steps = 2"], "by --set steps=1 and --set steps = 2"),
        (["-p", "scheme=up", "-p", "scheme=a\nb\x1b[2J"], r"and -p scheme=a\x0ab\x1b[2J"),
    ],
)
def test_two_values_of_one_parameter(course, clfnb, words, said):  # noqa: F811
    code, _, error = clfnb("run", "tiny", *words)
    assert code == 2 and said in one_line(error)
    assert not (course / "runs").exists()


def test_one_value_typed_twice(course, clfnb):  # noqa: F811
    "A script may add what was there already; a file gives way to what is typed."
    (course / "values.yaml").write_text("steps: 9\nscheme: down\n")
    words = ["--params", "values.yaml", "-p", "steps=4", "-p", "steps=4", "--set", "steps=4"]
    assert clfnb("run", "tiny", *words)[0] == 0
    found = json.loads(clfnb("show", "last", "--json")[1])
    assert found["metrics"]["total"] == -4


def add_device(course):  # noqa: F811
    "The lesson with a device among its parameters."
    path = course / "nbs" / "lessons" / "01_tiny.ipynb"
    line = 'device: str = \\"auto\\"  # one of auto|cpu|cuda|cuda:N|mps\\n'
    text = path.read_text().replace("steps: int", f"{line}steps: int")
    path.write_text(text)


def test_an_option_and_a_parameter(course, clfnb):  # noqa: F811
    "The parameters of an earlier run hold a device, too; the option that is typed now counts."
    add_device(course)
    code, _, error = clfnb("run", "tiny", "--device", "cpu", "-p", "device=auto")
    assert code == 2
    assert "device: given twice, by --device cpu and -p device=auto" in one_line(error)
    (course / "values.json").write_text('{"device": "auto"}')
    assert clfnb("run", "tiny", "--params", "values.json", "--device", "cpu")[0] == 0
    assert json.loads(clfnb("show", "last", "--json")[1])["parameters"]["device"] == "cpu"


def test_an_option_and_a_parameter_of_a_sweep(course, clfnb):  # noqa: F811
    add_device(course)
    (course / "table.csv").write_text("device,steps\nauto,1\n")
    words = ["sweep", "tiny", "--dry-run", "--device", "cpu"]
    for more in (["-p", "device=auto"], ["--table", "table.csv"]):
        code, _, error = clfnb(*words, *more)
        assert code == 2 and "device: given twice, by --device" in one_line(error)
    (course / "sweep.yaml").write_text("lesson: tiny\nparameters: {device: auto, steps: [1, 2]}\n")
    code, out, _ = clfnb("sweep", "sweep.yaml", "--dry-run", "--device", "cpu", "--json")
    assert code == 0 and [run.get("device") for run in json.loads(out)] == [None, None]
    code, _, error = clfnb("sweep", "tiny", "--dry-run", "-p", "steps=1,2", "--set", "steps=3")
    assert code == 2 and "steps: given twice" in one_line(error)


@PIPES
def test_a_record_that_is_a_pipe_is_unreadable(runs, clfnb):  # noqa: F811
    "It was counted as a run that has not begun, in a sweep for ever."
    record = runs / "toy" / f"{1:012x}" / "run.json"
    record.unlink()
    os.mkfifo(record)
    said = f"{record}: expected an ordinary file, found a pipe or a device"
    code, out, error = clfnb("results")
    assert code == 0 and one_line(error) == f"left out: {said}"
    assert "1 broken" in out and "new" not in out and "0.910" in out
    code, out, error = clfnb("runs")
    assert code == 0 and out.count("finished") == 5 and one_line(error) == f"broken: {said}"
    code, out, _ = clfnb("watch", "first", "--once")
    assert code == 1 and "1 broken" in out and f"failed: toy/{1:012x}: {said}" in out
    for words in (["show", f"{1:012x}"], ["report", record.parent], ["results", record.parent]):
        code, _, error = clfnb(*words)
        assert code == 1 and said in one_line(error), words
