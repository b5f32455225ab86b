"Many runs as a table and a page, watched while they run, and what is swept away behind them."

import json
import os
import subprocess
import sys
import time

import pytest
from test_runs import Fetched

from clfnb.cli import main
from clfnb.files import write_json
from clfnb.runs.process import process_identity, run_lock
from clfnb.runs.sweep.files import Member, Sweep, write_sweep

COMMAND = [sys.executable, "-m", "clfnb"]


def write_run(folder, values, metrics, **record):
    "A run as it lies on disk."
    known = {"lesson": "toy", "status": "finished", "started": "2026-01-01T00:00:00+00:00"}
    write_json(folder / "run.json", known | {"seconds": 20} | record)
    write_json(folder / "params.json", values)
    write_json(folder / "metrics.json", metrics)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    "A sweep of two rates and three seeds."
    monkeypatch.setenv("CLFNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CLFNB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    root, members = tmp_path / "runs", []
    for number, (rate, seed) in enumerate((r, s) for r in (0.1, 0.01) for s in range(3)):
        run, values = f"toy/{number:012x}", {"rate": rate, "seed": seed}
        write_run(root / run, values, {"accuracy": 0.7 + 2 * (rate == 0.01) / 10 + seed / 100})
        members.append(Member(f"{number:012x}", values, run))
    varied = {"rate": [0.1, 0.01], "seed": [0, 1, 2]}
    write_sweep(Sweep("first", "toy", None, "", varied, {}, members), root)
    return root


def clfnb(*words):
    return main([str(word) for word in words])


def test_mean_and_deviation_over_seeds(runs, capsys):
    assert clfnb("results") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["0.01", "3", "0.910", "±", "0.010", "*"]
    assert lines[2].split() == ["0.1", "3", "0.710", "±", "0.010"]
    assert clfnb("results", "toy", "--by", "seed", "--sort", "-seed", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["seed"] for row in rows] == [2, 1, 0] and rows[0]["n"] == 2


def test_one_corrupt_record_is_named_and_the_others_stay(runs, capsys):
    (runs / "toy" / f"{1:012x}" / "run.json").write_text('{"lesson": "toy"')
    (runs / "toy" / f"{4:012x}" / "metrics.json").write_text("[1]")
    assert clfnb("results", "first") == 0
    said = capsys.readouterr()
    assert f"{1:012x}" in said.err and f"{4:012x}" in said.err and said.err.count("left out") == 2
    assert "2 broken, 4 finished" in said.out


@pytest.mark.parametrize("words, said", [
    (("--metric", "acuracy"), "no metric 'acuracy': did you mean 'accuracy'?"),
    (("--by", "rat"), "no parameter 'rat': did you mean 'rate'?"),
    (("--sort", "loss"), "no column 'loss' to sort by"),
    (("--metric", "accuracy,accuracy:max"), "metric 'accuracy' is given twice"),
    (("second",), "no sweep, lesson or run 'second'"),
])  # fmt: skip
def test_a_wrong_name_is_refused_with_a_proposal(runs, capsys, words, said):
    assert clfnb("results", *words) in (1, 2)
    assert said in capsys.readouterr().err


def test_the_proposals_of_a_search_are_no_repetitions_of_one_run(runs, capsys):
    "A search records ranges, not values; runs of different rates are not averaged."
    members = []
    for number, rate in enumerate((0.3, 0.02, 0.11)):
        run, values = f"toy/proposed{number}", {"rate": rate, "depth": 4, "seed": 0}
        write_run(runs / run, values, {"accuracy": 0.5 + rate})
        members.append(Member(f"proposed{number}", values, run))
    options = {"search": 3, "maximize": "accuracy"}
    write_sweep(Sweep("looked", "toy", None, "", {}, options, members), runs)
    assert clfnb("results", "looked", "--csv", "--metric", "accuracy") == 0
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    assert [row[:3] for row in rows] == [
        ["rate", "n", "accuracy.mean"],
        *(["0.02", "1", "0.52"], ["0.11", "1", "0.61"], ["0.3", "1", "0.8"]),
    ]


def test_a_name_that_there_is_not_is_a_mistake_of_the_user(runs, capsys, tmp_path):
    assert clfnb("results", "second") == 2
    assert clfnb("results", "--runs-dir", tmp_path / "none") == 2
    assert "does not exist" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert clfnb("results", "--runs-dir", tmp_path / "empty") == 2
    assert "no sweep in" in capsys.readouterr().err


def test_runs_without_metrics_are_counted(runs, capsys):
    for number in range(3):
        file = runs / "toy" / f"{number:012x}" / "run.json"
        write_json(file, json.loads(file.read_text()) | {"notebook": "/home/me/mine.ipynb"})
        write_json(file.with_name("metrics.json"), {})
    assert clfnb("results", "first") == 0
    assert (
        "no metric was recorded by 3 of 6 finished runs: mine.ipynb (3)" in capsys.readouterr().out
    )
    for number in range(3, 6):
        write_json(runs / "toy" / f"{number:012x}" / "metrics.json", {})
    assert clfnb("results", "first", "--metric", "accuracy") == 2
    assert "no finished run recorded a metric" in capsys.readouterr().err


def test_nothing_heavy_is_imported_for_the_table(runs):
    script = "import sys; from clfnb.cli import main; main(['results']); print(sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "0.910" in done.stdout
    for name in ("torch", "pandas", "matplotlib", "scipy"):
        assert f"'{name}'" not in done.stdout


def test_the_page_of_a_sweep_needs_nothing_else(runs, capsys):
    (runs / "toy" / f"{0:012x}" / "history.csv").write_text("epoch,val_loss\n0,1\n1,0.5\n")
    file = runs / "sweeps" / "first" / "report.html"
    assert clfnb("results", "first", "--report", file) == 0
    page, fetched = file.read_text(encoding="utf-8"), Fetched()
    fetched.feed(page)
    assert not fetched.found and page.count("<svg") == 3 and "<script" not in page
    assert f'href="../../toy/{0:012x}/report.html"' in page


def test_a_hostile_name_stays_text(runs, capsys):
    bad = "<script>alert(1)</script>\x1b[31m"
    write_run(runs / "toy" / f"{0:012x}", {"rate": bad, "seed": 0}, {"accuracy": 0.5})
    for form in ("--html", "--latex", "--json", "--csv"):
        assert clfnb("results", "first", form) == 0
        said = capsys.readouterr().out
        assert "\x1b" not in said and (form != "--html" or "<script>" not in said)


def test_watch_ends_with_the_last_run(runs):
    slow = runs / "toy" / f"{5:012x}"
    write_run(slow, {"rate": 0.01, "seed": 2}, {}, status="running", **process_identity())
    watch = [*COMMAND, "watch", "--every", "0.2"]
    process = subprocess.Popen(watch, stdout=subprocess.PIPE, text=True)
    first = process.stdout.readline()
    assert first == "first: 5 of 6 done · 1 running · about 20 s left\n"
    write_run(slow, {"rate": 0.01, "seed": 2}, {}, status="failed", error="ValueError: too fast")
    rest, _ = process.communicate(timeout=300)
    assert rest.splitlines()[-1] == "first: 5 of 6 done · 1 failed"
    assert "ValueError: too fast" in rest and process.returncode == 1


def test_gc_leaves_what_a_live_run_needs(runs, tmp_path, capsys):
    done, live = (runs / "toy" / f"{n:012x}" for n in (0, 1))
    for folder in (done, live):
        (folder / "last.ckpt").write_bytes(b"0" * 100)
    data = tmp_path / "cache" / "simulated" / "toy-1"
    data.mkdir(parents=True)
    (data / "record").write_bytes(b"0" * 50)
    write_run(live, {}, {}, status="running", **process_identity())
    assert clfnb("gc") == 0
    said = capsys.readouterr().out
    assert str(done / "last.ckpt") in said and str(live) not in said and str(data) not in said
    assert (done / "last.ckpt").exists()  # listed only
    with run_lock(done):  # somebody has it
        assert clfnb("gc", "--yes") == 0
    assert (done / "last.ckpt").exists() and "in use since" in capsys.readouterr().err
    assert clfnb("gc", "--yes") == 0
    assert not (done / "last.ckpt").exists() and (live / "last.ckpt").exists() and data.exists()
    write_run(live, {}, {}, status="failed")
    capsys.readouterr()
    assert clfnb("gc", "--runs-dir", tmp_path / "none") == 2
    assert f"'{tmp_path / 'none'}' does not exist" in capsys.readouterr().err
    assert clfnb("gc", "--yes") == 0
    assert (live / "last.ckpt").exists() and not data.exists()  # a failed run can go on


def test_runs_and_show_for_programs(runs, capsys):
    assert clfnb("runs", "--json") == 0
    assert {row["status"] for row in json.loads(capsys.readouterr().out)} == {"finished"}
    assert clfnb("show", f"{2:012x}", "--json") == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["accuracy"] == pytest.approx(0.72)


def test_a_run_that_is_held_by_a_dead_process_is_no_live_one(runs, capsys):
    folder = runs / "toy" / f"{3:012x}"
    gone = subprocess.Popen([sys.executable, "-c", "1"])
    begun = time.time()
    gone.wait()
    dead = {"pid": gone.pid, "pid_created": begun, "host": process_identity()["host"]}
    write_run(folder, {"rate": 0.01, "seed": 0}, {}, status="running", **dead)
    assert clfnb("results", "first") == 0
    assert "5 finished, 1 killed" in capsys.readouterr().out
    assert os.path.isdir(folder)
