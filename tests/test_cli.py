"The `clfnb` command as a user meets it: exit codes, messages, completion, a small lesson from beginning to end."

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
import wfdb

from clfnb.cli import main

POSIX = os.name == "posix"
COMMAND = [sys.executable, "-c", "import sys; from clfnb.cli import main; sys.exit(main())"]
PARAMETERS = """data: str = "simulated"  # "simulated", a name from "clfnb data list", or a folder
out_dir: str = ""  # folder of the run
steps: int = 3  # how far to count, 1..100
scheme: str = "up"  # direction, one of up|down
fail: bool = False  # end with an error
wait: float = 0.0  # seconds to sleep"""
BODY = """run = open_run("tiny", out_dir, dict(data=data, steps=steps, scheme=scheme, fail=fail, wait=wait))
if fail:
    raise ValueError("the third wheel came off")
(run.folder / "began").touch()
time.sleep(wait)
run.save_metrics({"total": steps * (1 if scheme == "up" else -1), "share": 0.25})
run.finish()"""


@pytest.fixture
def course(tmp_path, monkeypatch):
    "A folder with one small lesson, as the working directory; data and runs beside it."
    folder = tmp_path / "nbs" / "lessons"
    folder.mkdir(parents=True)
    cell = nbformat.v4.new_code_cell
    notebook = nbformat.v4.new_notebook(
        metadata={
            "kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}
        }
    )
    notebook.cells = [
        nbformat.v4.new_markdown_cell("# A tiny lesson\n> Counting"),
        cell(PARAMETERS, metadata={"tags": ["parameters"]}),
        cell("import time\n\nfrom clfnb.runs.record import open_run"),
        cell(BODY),
    ]
    nbformat.write(notebook, folder / "01_tiny.ipynb")
    monkeypatch.chdir(tmp_path)
    for name in ("CLFNB_DEVICE", "CLFNB_PRECISION", "CLFNB_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLFNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CLFNB_DATA", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def clfnb(capsys):
    "Call the command in this process: exit code, output, error output."

    def call(*words):
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return call


def one_line(text: str) -> str:
    "The text of an error that must be a single line without a traceback."
    assert "Traceback" not in text
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) == 1, text
    return lines[0]


def test_help_imports_nothing_heavy():
    heavy = (
        "torch",
        "pandas",
        "papermill",
        "wfdb",
        "scipy",
        "matplotlib",
        "numpy",
        "IPython",
        "nbformat",
    )
    script = f"import sys; from clfnb.cli import main; main(['--help']); print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert "lessons" in done.stdout


def test_the_installed_command_answers():
    done = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and re.search(r"\d+\.\d+\.\d+", done.stdout)


@pytest.mark.parametrize(
    "words",
    [["sing"], ["runs", "--loud"], ["data", "get"], ["run", "tiny", "--timeout", "soon"], ["show"]],
)
def test_wrong_words_are_usage_errors(course, clfnb, words):
    code, _, error = clfnb(*words)
    assert code == 2
    assert "Error:" in error and "Traceback" not in error


def test_lessons_are_listed(course, clfnb):
    code, out, _ = clfnb("lessons")
    assert code == 0
    assert "tiny" in out and "A tiny lesson" in out


@pytest.mark.parametrize(
    "words, said",
    [
        (["run", "tinny"], "did you mean 'tiny'"),
        (["run"], "clfnb lessons"),
        (["run", "tiny", "-p", "step=3"], "steps"),
        (["run", "tiny", "-p", "steps=many"], "steps"),
        (["run", "tiny", "-p", "steps=1000"], "100"),
        (["run", "tiny", "-p", "scheme=sideways"], "up"),
        (["run", "tiny", "-p", "steps"], "name=value"),
        (["run", "tiny", "--device", "abacus"], "abacus"),
        (["data", "get", "qtbd"], "did you mean 'qtdb'"),
    ],
)
def test_nothing_starts_after_a_typing_mistake(course, clfnb, words, said):
    code, _, error = clfnb(*words)
    assert code == 2
    assert said in one_line(error)
    assert not (course / "runs").exists() or not any((course / "runs").rglob("notebook.ipynb"))


@pytest.mark.parametrize(
    "words, said",
    [
        (["run", "tiny", "--params", "none.json"], "none.json"),
        (["show", "yesterday"], "yesterday"),
        (["run", "--resume", "yesterday"], "yesterday"),
        (["predict", "ecg", "--run", "last", "nowhere"], "nowhere"),
        (["predict", "ecg", "--run", "last", "."], "no WFDB records"),
    ],
)
def test_what_is_not_there_is_one_line(course, clfnb, words, said):
    code, _, error = clfnb(*words)
    assert code in (1, 2)
    assert said in one_line(error)


NO_GPU = pytest.mark.skipif(
    bool(shutil.which("nvidia-smi")), reason="needs a machine without a GPU"
)


@NO_GPU
@pytest.mark.parametrize(
    "words, variable",
    [(["--device", "cuda"], ""), (["-p", "device=cuda:1"], "cpu"), ([], "cuda"), ([], "mps")],
)
def test_a_device_that_is_not_there_is_refused_first(course, clfnb, monkeypatch, words, variable):
    "The real lesson and the real PyTorch; nothing is simulated, no run folder is made."
    monkeypatch.chdir(Path(__file__).parent)
    monkeypatch.setenv("CLFNB_DEVICE", variable)
    monkeypatch.setenv("CLFNB_CACHE", str(course / "cache"))
    if variable == "mps" and sys.platform == "darwin":
        pytest.skip("there may be one")
    code, _, error = clfnb("run", "ecg_delineation", *words)
    assert code == 2
    assert "is not on this machine; there is cpu" in one_line(error)
    assert not (course / "runs").exists() and not (course / "cache").exists()


def test_options_that_a_lesson_or_a_resumed_run_does_not_take(course, clfnb):
    code, _, error = clfnb("run", "tiny", "--workers", "2")
    assert code == 2 and "workers: no such parameter" in one_line(error)
    code, _, error = clfnb("run", "--resume", "last", "--device", "cpu")
    assert code == 2 and "give it alone" in one_line(error)


def test_published_weights_that_cannot_be_had(course, monkeypatch):
    "A run that names ImageNet in its results does not begin with random weights."
    environment = os.environ | {
        "CLFNB_CACHE": str(course / "cache"),
        "TORCH_HOME": str(course / "torch"),
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
    }
    words = ["run", "plankton_imbalance", "-p", "backbone=squeezenet1_1"]
    place = {"cwd": Path(__file__).parent, "env": environment}
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, **place)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert str(course / "torch") in done.stderr and "weights=FILE" in done.stderr
    assert not (course / "cache").exists()


def test_debug_shows_the_traceback(course, monkeypatch):
    with pytest.raises((ValueError, OSError)):
        main(["--debug", "show", "yesterday"])
    monkeypatch.setenv("CLFNB_DEBUG", "1")
    with pytest.raises((ValueError, OSError)):
        main(["show", "yesterday"])


def test_help_of_a_lesson_shows_its_parameters(course, clfnb):
    code, out, _ = clfnb("run", "tiny", "--help")
    assert code == 0
    for word in ("--resume", "steps", "int", "how far to count", "1..100", "up, down"):
        assert word in out
    assert clfnb("run", "--help")[0] == 0
    assert clfnb("run", "tinny", "--help")[0] == 2


def test_a_run_from_beginning_to_end(course, clfnb):
    (course / "values.json").write_text('{"steps": 50, "scheme": "down"}')
    code, out, error = clfnb("run", "tiny", "--params", "values.json", "-p", "steps=7")
    assert code == 0, error
    assert re.search(r"total\s+-7\b", out) and re.search(r"share\s+0\.25", out)
    folder = Path(re.search(r"^folder\s+(.+)$", out, flags=re.M)[1])
    assert folder.is_dir() and (folder / "notebook.ipynb").is_file()
    assert json.loads((folder / "metrics.json").read_text()) == {"total": -7, "share": 0.25}
    code, out, _ = clfnb("runs")
    assert code == 0 and folder.name in out and "finished" in out and "total=-7" in out
    code, out, _ = clfnb("show", "last")
    assert code == 0 and re.search(r"steps\s+7", out) and re.search(r"total\s+-7", out)
    code, _, error = clfnb("predict", "ecg", "--run", "last", "nowhere")
    assert code == 1 and "nowhere" in one_line(error)
    wfdb.wrsamp(
        "r1",
        fs=250,
        units=["mV"],
        sig_name=["I"],
        p_signal=np.zeros((500, 1)),
        fmt=["16"],
        write_dir=str(course),
    )
    code, _, error = clfnb("predict", "ecg", "--run", "last", "r1")
    assert code == 1 and "has no model" in one_line(error)


def test_a_failing_cell_is_shown_and_its_notebook_kept(course, clfnb):
    code, out, error = clfnb("run", "tiny", "-p", "fail=true")
    assert code == 1
    assert "the third wheel came off" in error
    assert "Traceback" not in error
    assert list((course / "runs").rglob("notebook.ipynb"))
    code, out, _ = clfnb("show", "last")
    assert code == 0 and "the third wheel came off" in out and "failed" in out
    name = next((course / "runs" / "tiny").iterdir()).name
    assert f"clfnb run --resume {name}" in error and f"clfnb run --resume {name}" in out


def test_broken_records_do_not_hide_the_others(course, clfnb):
    for name, text in (("a", "[]"), ("b", '{"lesson"'), ("c", '{"status": "finished"}')):
        (course / "runs" / "tiny" / name).mkdir(parents=True)
        (course / "runs" / "tiny" / name / "run.json").write_text(text)
    (course / "runs" / "tiny" / "good").mkdir()
    (course / "runs" / "tiny" / "good" / "run.json").write_text(
        '{"lesson": "tiny", "status": "finished", "started": "2026-01-01T00:00:00+00:00"}'
    )
    code, out, error = clfnb("runs")
    assert code == 0 and out.count("broken") == 3 and "finished" in out
    for name in "abc":
        assert str(course / "runs" / "tiny" / name / "run.json") in error
        code, _, said = clfnb("show", name)
        assert code == 1 and str(course / "runs" / "tiny" / name / "run.json") in one_line(said)


def test_a_name_that_is_no_text_in_a_file(course, clfnb):
    (course / "values.yaml").write_text("3: 4\n")
    code, _, error = clfnb("run", "tiny", "--params", "values.yaml")
    assert code == 2 and "values.yaml: expected names of parameters, found 3" in one_line(error)


@pytest.mark.skipif(not POSIX, reason="Ctrl-C is sent as a signal, which Windows has no equal of")
def test_an_interrupt_ends_with_130(course, clfnb):
    job = subprocess.Popen(
        [*COMMAND, "run", "tiny", "-p", "wait=60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 40
    while (
        time.monotonic() < deadline
        and job.poll() is None
        and not list((course / "runs").rglob("began"))
    ):
        time.sleep(0.2)
    time.sleep(1)
    os.killpg(job.pid, signal.SIGINT)
    _, error = job.communicate(timeout=40)
    assert job.returncode == 130, error
    assert error.rstrip().splitlines()[-1] == "Interrupted."
    assert "interrupted" in clfnb("runs")[1]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(clfnb, shell):
    code, out, _ = clfnb("completion", shell)
    assert code == 0 and "_CLFNB_COMPLETE" in out


@pytest.mark.parametrize(
    "line, offered",
    [
        ("run ti", "tiny"),
        ("run tiny -p st", "steps="),
        ("data get qt", "qtdb"),
        ("comp", "completion"),
    ],
)
def test_names_are_completed(course, line, offered):
    words = ["clfnb", *line.split()]
    environment = os.environ | {
        "_CLFNB_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(COMMAND, env=environment, capture_output=True, text=True)
    assert f"plain,{offered}" in done.stdout.split()


def test_doctor_names_what_mends(course, clfnb, monkeypatch):
    code, out, _ = clfnb("doctor")
    assert code == 0, out
    assert "torch" in out and "clfnb data get qtdb" in out and str(course / "runs") in out
    assert re.search(r"^.*cache_dir", out, flags=re.M)
    (course / "taken").touch()
    monkeypatch.setenv("CLFNB_RUNS", str(course / "taken" / "runs"))
    code, out, _ = clfnb("doctor")
    assert code == 1 and "MISSING" in out and "export CLFNB_RUNS=" in out
    monkeypatch.setenv("CLFNB_WORKERS", "several")
    code, out, _ = clfnb("doctor")
    assert code == 1 and "CLFNB_WORKERS" in out


def test_simulated_data_are_made_once(course, clfnb):
    words = "data", "simulate", "ecg", "--records", "2", "--seconds", "20"
    code, out, error = clfnb(*words)
    assert code == 0, error
    folder = Path(out.strip())
    assert len(list(folder.glob("*.hea"))) == 2
    written = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert clfnb(*words)[1] == out
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == written


def test_barcodes_are_simulated_too(course, clfnb):
    code, out, error = clfnb(
        "data", "simulate", "barcodes", "--pictures", "3", "--side", "160", "--difficulty", "0.5"
    )
    assert code == 0, error
    assert sorted(path.name for path in Path(out.strip()).iterdir()) == [
        "00000.png",
        "00001.png",
        "00002.png",
        "markup.csv",
    ]
    assert clfnb("data", "simulate", "barcodes", "--records", "3")[0] != 0


def test_verify_names_what_is_not_as_published(course, clfnb):
    code, _, error = clfnb("data", "verify", "qtdb")
    assert code == 1 and "clfnb data get qtdb" in error
    assert clfnb("data", "list")[0] == 0


class Fake:
    "Stands for a trained model, so that this file needs none."

    def annotate(self, record, folder):
        import pandas as pd

        header = wfdb.rdheader(str(record))
        (folder / f"{record.name}.clf").touch()
        return pd.DataFrame(
            {"record": [record.name], "point": ["r_peak"], "sample": [header.sig_len // 2]}
        )


def test_a_broken_record_is_named_and_the_others_go_on(course, clfnb, monkeypatch):
    from clfnb.runs import record
    from clfnb.tracks.ecg import delineator as ecg

    monkeypatch.setattr(ecg.Predictor, "load", lambda *_: Fake())
    monkeypatch.setattr(record, "model_of", lambda run, track: course)
    place = course / "records"
    place.mkdir()
    for name in ("a", "c"):
        wfdb.wrsamp(
            name,
            fs=250,
            units=["mV"],
            sig_name=["I"],
            p_signal=np.zeros((500, 1)),
            fmt=["16"],
            write_dir=str(place),
        )
    (place / "b.hea").write_text("this is no header\n")
    code, out, error = clfnb(
        "predict",
        "ecg",
        "--run",
        "any",
        place,
        "--out",
        course / "new",
        "--csv",
        course / "points.csv",
    )
    assert code == 1
    assert one_line(error).startswith(f"left out: {place / 'b'}")
    assert "2 of 3 records" in out
    assert sorted(path.name for path in (course / "new").iterdir()) == ["a.clf", "c.clf"]
    assert (course / "points.csv").read_text().splitlines() == [
        "record,point,sample",
        "a,r_peak,250",
        "c,r_peak,250",
    ]
    (course / "taken").touch()
    code, _, error = clfnb(
        "predict", "ecg", "--run", "any", place, "--out", course / "taken" / "out"
    )
    assert code == 1 and "cannot write here" in one_line(error)
