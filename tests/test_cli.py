"The `clfnb` command as a user meets it: exit codes, messages, completion, a small lesson from beginning to end."

import importlib.metadata
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import click
import house
import nbformat
import numpy as np
import pandas as pd
import pytest
import wfdb
from PIL import Image

import clfnb as clfnb_package
from clfnb.cli import cli, main
from clfnb.console import OutputFile, finish_prediction, parameter_names
from clfnb.files import write_json
from clfnb.runs.plan import plan_run, read_lesson

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
    deadline = time.monotonic() + 300
    while (
        time.monotonic() < deadline
        and job.poll() is None
        and not list((course / "runs").rglob("began"))
    ):
        time.sleep(0.2)
    time.sleep(1)
    os.killpg(job.pid, signal.SIGINT)
    _, error = job.communicate(timeout=300)
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


def commands(group, path=()):
    "All commands below a group, with the words that call them."
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def test_a_file_to_write_may_be_standard_output_in_every_command(clfnb):
    "The help says so, and in none of them is - a name, or a word of its own."
    written = {}
    for words, command in commands(cli):
        options = [one for one in command.params if isinstance(one.type, OutputFile)]
        written |= {(*words, one.opts[0]): one for one in options}
        shown = " ".join(clfnb(*words, "--help")[1].split())
        for option in options:
            assert re.search(rf"{option.opts[0]} (\[FILE\S*\|-\]|FILE\|-)", shown), (words, option)
            assert option.type.convert("-", option, None) == "/dev/stdout"
    assert {name[-1] for name in written if name[0] == "predict"} == {
        *("--csv", "--answer", "--points", "--lead-table", "--json", "--pdf", "--html")
    }
    assert {name for name in written if name[0] != "predict"} == {
        ("doctor", "--report"),
        *(("results", f"--{kind}") for kind in ("json", "csv", "html", "latex", "report")),
    }


def test_results_go_to_standard_output_or_into_a_file(course, clfnb):
    assert clfnb("sweep", "tiny", "-p", "steps=2,3", "--name", "pair")[0] == 0
    code, table, _ = clfnb("results", "pair", "--csv")
    assert code == 0 and len(table.splitlines()) == 3
    assert clfnb("results", "pair", "--csv", "-") == (0, table, "")
    code, out, _ = clfnb("results", "pair", "--csv", course / "t.csv")
    assert code == 0 and out == f"{course / 't.csv'}\n"
    assert (course / "t.csv").read_text() == table
    code, out, error = clfnb("results", "--csv", "pair")
    assert code == 2 and not out and "'pair'" in error and not (course / "pair").exists()
    (course / "noted.json").mkdir()
    code, _, error = clfnb("results", "pair", "--json", course / "noted.json")
    assert code == 2 and "directory" in error


@pytest.mark.parametrize(
    "words, code, said",
    [
        ("runs --lesson tinny", 2, "no lesson 'tinny': did you mean 'tiny'?"),
        ("runs --lesson tiny", 0, "No runs of tiny in"),
        ("runs --runs-dir none", 2, "'none' does not exist"),
        ("show last --runs-dir none", 2, "'none' does not exist"),
        ("report last --runs-dir none", 2, "'none' does not exist"),
        ("watch --runs-dir none", 2, "'none' does not exist"),
        ("run tiny --timeout soon", 2, "expected a time such as 90, 30m or 2h, found 'soon'"),
        ("run tiny --timeout 0", 2, "expected a time such as 90, 30m or 2h, found '0'"),
        ("run mine", 2, "no lesson 'mine': did you mean 'mine.ipynb'?"),
        ("run tiny -p outdir=x", 2, "no such parameter (expected one of data, steps, "),
        ("run tiny -p out_dir=x", 2, "out_dir: a headless run has a folder of its own"),
        ("run tiny --device tpu", 2, "Error: argument: device: expected one of auto, cpu"),
        ("run calibration -p data=qtdb", 2, "expected simulated, a table of predictions, or a run"),
        ("predict plankton . --run=", 1, "expected the name of a run"),
        ("predict plankton .", 2, "clfnb run plankton_imbalance -p data=FOLDER"),
        ("predict volleyball .", 2, "clfnb run volleyball_activity -p data=FOLDER"),
        ("predict chest_xray . --csv t.parquet", 2, "what is written is .csv, found 't.parquet'"),
        ("predict ecg . --pdf t.csv", 2, "what is written is .pdf, found 't.csv'"),
        ("doctor --json --report -", 2, "--json and --report -: two outputs"),
    ],
)
def test_what_is_typed_wrong_is_said_in_its_own_words(course, clfnb, words, code, said):
    shipped = house.NBS / "lessons" / "06_calibration.ipynb"
    shutil.copy(shipped, course / "nbs" / "lessons")
    shutil.copy(shipped, course / "mine.ipynb")
    found, out, error = clfnb(*words.split())
    assert found == code and said in out + error, (found, out, error)
    assert "out_dir" not in error or "out_dir=x" in words
    assert not list(course.glob("*.parquet")) and not (course / "runs").exists()


def test_times_are_typed_alike_in_run_and_sweep(course, clfnb):
    assert clfnb("run", "tiny", "--timeout", "2h", "--cell-timeout", "90")[0] == 0
    record = next((course / "runs").rglob("run.json"))
    kept = json.loads(record.read_text())
    assert (kept["timeout"], kept["cell_timeout"]) == (7200, 90)


def test_calibrate_takes_a_run_by_its_name(course, clfnb):
    folder = course / "runs" / "toy" / "20260101-000000-abcdef"
    record = {"lesson": "toy", "status": "finished", "started": "2026-01-01T00:00:00+00:00"}
    write_json(folder / "run.json", record)
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.95, 400)
    label = np.where(rng.random(400) < p, "a", "b")
    table = pd.DataFrame({"id": range(400), "label": label, "p_a": p, "p_b": 1 - p})
    table.to_parquet(folder / "predictions.parquet")
    by_name = clfnb("calibrate", "20260101", "--out", course / "named", "--json")
    by_folder = clfnb("calibrate", folder, "--out", course / "other", "--json")
    assert by_name[0] == by_folder[0] == 0, (by_name, by_folder)
    numbers = [json.loads(out)["table"] for _, out, _ in (by_name, by_folder)]
    assert numbers[0] == numbers[1]
    assert clfnb("calibrate", "absent")[0] == 1


def test_no_summary_of_a_command_is_cut_short(clfnb):
    for words in ((), ("data",), ("predict",)):
        assert "..." not in clfnb(*words, "--help")[1].partition("Commands:")[2]


@pytest.mark.skipif(sys.platform != "linux", reason="folders as Linux has them")
def test_a_home_that_cannot_be_written_needs_no_words_of_matplotlib(course, tmp_path):
    "Not in the terminal, not in the notebook of a run; nothing stays in the folder of temporary files."
    (tmp_path / "closed").touch()
    own = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import matplotlib.pyplot")])
    nbformat.write(own, course / "own.ipynb")
    (tmp_path / "scratch").mkdir()
    home = {"HOME": str(tmp_path / "closed" / "home"), "TMPDIR": str(tmp_path / "scratch")}
    environment = {k: v for k, v in os.environ.items() if k not in ("MPLCONFIGDIR", "IPYTHONDIR")}
    words = [*COMMAND, "run", str(course / "own.ipynb"), "--runs-dir", str(course / "runs")]
    done = subprocess.run(words, env=environment | home, capture_output=True, text=True)
    assert done.returncode == 0 and "atplotlib created" not in done.stderr, done.stderr
    kept = next((course / "runs").rglob("notebook.ipynb")).read_text()
    assert "import matplotlib.pyplot" in kept and "atplotlib created" not in kept
    assert not [path for path in (tmp_path / "scratch").iterdir() if "matplotlib" in path.name]


def test_completion_offers_what_the_help_of_a_lesson_shows(course, clfnb):
    offered = parameter_names(SimpleNamespace(params={"lesson": "tiny"}, args=[]))
    shown = clfnb("run", "tiny", "--help")[1].partition("Parameters of tiny")[2]
    named = [line.split()[0] + "=" for line in shown.splitlines()[3:]]
    assert offered == named and "steps=" in offered and "out_dir=" not in offered


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
    code, _, error = clfnb("doctor", "--report", course / "none" / "report.md")
    assert code == 2 and f"no such folder: {course / 'none'}" in one_line(error)
    assert not (course / "none").exists()


def test_run_and_sweep_explain_parameters_alike(clfnb):
    helps = [" ".join(clfnb(word, "--help")[1].split()) for word in ("run", "sweep")]
    for text in helps:
        assert "A parameter and one value in YAML: lists, null, quotes; repeatable." in text
        assert "A parameter and its value" in text


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
        "data", "simulate", "barcodes", "--images", "3", "--side", "160", "--difficulty", "0.5"
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
    "Stands for a trained model, so that this file needs none: a QRS complex in the middle."

    def prepare(self, signal):
        return signal

    def fused(self, prepared, shares, weights=None):
        return np.zeros((len(prepared), 2), np.float32)

    def points(self, probs, trace):
        points = {"r_peak": np.array([len(probs) // 2])}
        return points, {"r_peak": np.array([0.9])}


def test_a_broken_record_is_named_and_the_others_go_on(course, clfnb, monkeypatch):
    from clfnb.runs import record
    from clfnb.tracks.ecg import delineator as ecg

    monkeypatch.setattr(ecg.Predictor, "load", lambda *_: Fake())
    monkeypatch.setattr(record, "find_model", lambda run, track: course)
    place = course / "records"
    place.mkdir()
    for name in ("a", "c"):
        wfdb.wrsamp(
            name,
            fs=250,
            units=["mV"],
            sig_name=["I"],
            p_signal=np.sin(np.arange(500) / 9)[:, None],
            fmt=["16"],
            write_dir=str(place),
        )
    (place / "b.hea").write_text("this is no header\n")
    words = "predict", "ecg", "--run", "any", place
    code, out, error = clfnb(*words, "--out", course / "new", "--points", course / "points.csv")
    assert code == 1
    assert one_line(error).startswith(f"left out: {place / 'b'}")
    assert "2 of 3 records" in out
    assert sorted(path.name for path in (course / "new").iterdir()) == ["a.clf", "c.clf"]
    assert (course / "points.csv").read_text().splitlines() == [
        "record,sample,seconds,point,symbol",
        "a,250,1.0,r_peak,N",
        "c,250,1.0,r_peak,N",
    ]
    (course / "taken").touch()
    code, _, error = clfnb(*words, "--out", course / "taken" / "out")
    assert code == 1 and "cannot write here" in one_line(error)


def test_python_m_is_the_command():
    done = subprocess.run([sys.executable, "-m", "clfnb", "--version"], capture_output=True)
    assert done.returncode == 0 and done.stdout.startswith(b"clfnb")
    scripts = importlib.metadata.entry_points(group="console_scripts", name="clfnb")
    assert {script.value for script in scripts} == {"clfnb.__main__:main"}


def test_interrupt_while_loading(tmp_path):
    "Ctrl-C may come before the command has set its handlers, while Python imports it."
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")
    done = subprocess.run(
        [sys.executable, "-m", "clfnb", "--version"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert (done.returncode, done.stderr) == (130, "Interrupted.\n")


@pytest.mark.skipif(not POSIX, reason="a pipe is closed at its reading end")
def test_no_print_ends_a_run(course, clfnb):
    "Somebody looks at the first line and goes; the run goes on to its end."
    read, write = os.pipe()
    words = [*COMMAND, "run", "tiny"]
    job = subprocess.Popen(words, stdout=write, stderr=write)
    os.close(write)
    assert os.read(read, 1)
    os.close(read)
    assert job.wait(300) == 0
    assert "finished" in clfnb("runs")[1]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_no_full_log_ends_a_run(course, clfnb):
    with open("/dev/full", "w") as full:
        words = [*COMMAND, "run", "tiny"]
        assert subprocess.run(words, stdout=full, stderr=full, timeout=300).returncode == 0
    assert "finished" in clfnb("runs")[1]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("words", [["runs"], ["runs", "--json"], ["lessons"], ["data", "list"]])
def test_a_table_that_a_full_disk_lost_is_no_success(course, words):
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, *words], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert one_line(done.stderr) == "Error: standard output: No space left on device"


@pytest.mark.skipif(not POSIX, reason="a pipe is closed at its reading end")
@pytest.mark.parametrize("words", [["--help"], ["data", "list"], ["runs"], ["sing"]])
def test_no_listing_fails_on_a_closed_pipe(course, words):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*COMMAND, *words], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr
    assert done.returncode == (2 if words == ["sing"] else 0)


def a_run(course, name="one", **more):
    "A run folder as a runner leaves it."
    folder = course / "runs" / "tiny" / name
    folder.mkdir(parents=True)
    record = {"lesson": "tiny", "status": "finished", "started": "2026-01-01T00:00:00+00:00"}
    (folder / "run.json").write_text(json.dumps(record | more), encoding="utf-8")
    return folder


def test_a_report_can_be_made_afterwards(course, clfnb):
    "A run may be killed in the moment in which its report is written."
    folder = a_run(course)
    code, _, error = clfnb("report", "one")
    assert code == 1 and str(folder / "notebook.ipynb") in one_line(error)
    shutil.copy(course / "nbs" / "lessons" / "01_tiny.ipynb", folder / "notebook.ipynb")
    code, out, _ = clfnb("report", "one")
    assert code == 0 and out.strip() == str(folder / "report.html")
    assert "A tiny lesson" in (folder / "report.html").read_text(encoding="utf-8")


def test_what_an_extreme_record_does_not_hide(course, clfnb):
    "JSON without end, wrong types, sizes and processes: named, and the good ones are listed."
    a_run(course)
    bad = {
        "deep": '{"lesson":' * 100_000,
        "when": '{"lesson": "a", "status": "finished", "started": "soon"}',
        "digits": '{"lesson": "a", "status": "running", "started": "2026-01-01", "pid": 1e400}',
    }
    for name, text in bad.items():
        (a_run(course, name) / "run.json").write_text(text)
    for name, metrics in (("nested", {"a": {"b": [1]}}), ("text", {"a": "\x1b[2J"})):
        (a_run(course, name) / "metrics.json").write_text(json.dumps(metrics))
    a_run(course, "pid", status="running", pid=10**30, host=socket.gethostname())
    code, out, error = clfnb("runs")
    assert code == 0 and "one" in out and "\x1b" not in out + error and "killed" in out
    assert str(course / "runs" / "tiny" / "deep" / "run.json") in error
    for name in ("deep", "when", "nested", "text", "pid", "digits"):
        assert "Traceback" not in clfnb("show", name)[2]
    found = json.loads(clfnb("runs", "--json")[1])
    assert {run["run"] for run in found} == {"one", "nested", "text", "pid", *bad}


def test_every_listing_as_json(course, clfnb):
    a_run(course)
    for words, key in (
        (["lessons"], "name"),
        (["runs"], "run"),
        (["data", "list"], "here"),
        (["doctor"], "name"),
    ):
        code, out, _ = clfnb(*words, "--json")
        assert code in (0, 1) and json.loads(out)[0][key] != "", words
    found = json.loads(clfnb("show", "one", "--json")[1])
    assert (found["name"], found["status"], found["metrics"]) == ("one", "finished", {})
    assert json.loads(clfnb("runs", "--json", "--lesson", "none")[1]) == []


@pytest.mark.skipif(not POSIX, reason="needs a terminal of Unix")
def test_tables_fit_the_terminal(course):
    import pty

    a_run(course, "20260101-000000-" + "x" * 100)
    here, there = pty.openpty()
    environment = os.environ | {"COLUMNS": "60"}
    subprocess.run([*COMMAND, "runs"], stdout=there, env=environment, check=True, timeout=300)
    lines = os.read(here, 10_000).decode().splitlines()
    assert len(lines) == 2 and max(map(len, lines)) <= 60 and "…" in lines[1]
    whole = subprocess.run([*COMMAND, "runs"], capture_output=True, text=True, check=True)
    assert "x" * 100 in whole.stdout  # a pipe gets everything


def test_lessons_that_cannot_be_read_do_not_hide_the_others(course, clfnb):
    folder = course / "nbs" / "lessons"
    (folder / "02_empty.ipynb").write_text("")
    (folder / "03_nothing.ipynb").write_text("{}")
    shutil.copy(folder / "01_tiny.ipynb", folder / "04_tiny.ipynb")
    code, out, error = clfnb("lessons")
    assert code == 0 and "A tiny lesson" in out
    for name in ("02_empty.ipynb", "03_nothing.ipynb", "04_tiny.ipynb"):
        assert name in error
    assert "Traceback" not in error


def test_parameters_from_the_input(course, clfnb, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("steps: 1000\n"))
    code, _, error = clfnb("run", "tiny", "--params", "-")
    assert code == 2 and "steps: expected int 1..100, found 1000" in one_line(error)


def test_a_parameter_that_a_file_gives_twice(course, clfnb, monkeypatch):
    "YAML and JSON would keep the last one in silence; a merged mapping may be overridden."
    for text in ("steps: 5\nsteps: 6\n", '{"steps": 5, "steps": 6}'):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        code, _, error = clfnb("run", "tiny", "--params", "-")
        assert code == 2 and "steps: given twice" in one_line(error)
    assert not (course / "runs").exists()


def test_a_value_that_is_no_yaml_names_its_parameter(course, clfnb):
    for command in ("run", "sweep"):
        code, _, error = clfnb(command, "tiny", "--set", "steps=[1")
        assert code == 2 and "steps: expected a value in YAML syntax, found '[1'" in one_line(error)


@pytest.mark.parametrize(
    "words", [["-p", "data=~nobody-of-this-name/a"], ["--cwd", "~nobody-of-this-name"]]
)
def test_the_home_of_nobody(course, clfnb, words):
    code, _, error = clfnb("run", "tiny", *words)
    assert code and "~nobody-of-this-name" in one_line(error) and "clfnb --debug" not in error


def test_the_home_folder_in_data(course, clfnb, monkeypatch):
    "`~` is what a shell leaves alone in -p data=~/x."
    monkeypatch.setenv("HOME", str(course))
    monkeypatch.setenv("USERPROFILE", str(course))
    (course / "mine").mkdir()
    plan = plan_run(read_lesson(course / "nbs" / "lessons" / "01_tiny.ipynb"), {"data": "~/mine"})
    assert plan.values["data"] == str(course / "mine")


@pytest.mark.parametrize(
    "error, said",
    [
        (KeyError("lost"), "KeyError: 'lost'"),
        (RecursionError("too deep"), "RecursionError: too deep"),
        (MemoryError(), "MemoryError"),
        (RuntimeError("one\ntwo"), "RuntimeError: one two"),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), "can't decode byte"),
        (OSError(5, "Input/output error", "a\x1b[2Jb"), r"a\x1b[2Jb: Input/output error"),
    ],
)
def test_no_error_reaches_a_user_as_a_traceback(course, clfnb, monkeypatch, error, said):
    "One boundary: whatever a command raises is one line, and --debug shows where."

    def fail(*_):
        raise error

    monkeypatch.setattr("clfnb.runs.record.list_runs", fail)
    code, _, shown = clfnb("runs")
    assert code == 1 and said in one_line(shown)
    with pytest.raises(type(error)):
        main(["--debug", "runs"])


def test_typed_control_characters_are_shown(course, clfnb):
    for words in (["sing\x1b[2J"], ["run", "\x1b]0;x\x07"], ["show", "a\udcff\x1b[31m"]):
        code, out, error = clfnb(*words)
        assert code in (1, 2) and "\x1b" not in out + error and r"\x1b" in error
        assert error.encode()


def test_names_in_tables_of_answers(tmp_path, clfnb, capsys):
    "A class or a file may be called anything; a spreadsheet must not compute it."
    import pandas as pd

    names = ["=SUM(A1)", "+1+2", "@x", "-a", "caf\udce9", "\x1b[2J", "price_$5", "<b>", "-5"]
    table = pd.DataFrame({"path": names, "probability": 0.5})
    finish_prediction([(table, ["a\x1b[2J.png: broken"])], str(tmp_path / "t.csv"), "rows")
    out, error = capsys.readouterr()
    assert "\x1b" not in out + error
    read = pd.read_csv(tmp_path / "t.csv", dtype=str).path.tolist()
    assert read[:4] == ["'=SUM(A1)", "'+1+2", "'@x", "'-a"]
    assert read[4:] == [r"caf\xe9", r"\x1b[2J", "price_$5", "<b>", "-5"]
    finish_prediction([(table, [])], None, "rows")
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.skipif(os.name != "posix", reason="homes of users as POSIX has them")
def test_a_user_without_a_home_folder(course, clfnb, monkeypatch, tmp_path):
    "As in a container that runs as a number: what reads goes on, the doctor says why folders are odd."
    import pwd

    def unknown(_):
        raise KeyError

    for name in (
        "HOME",
        "CLFNB_RUNS",
        "CLFNB_CACHE",
        "CLFNB_DATA",
        "XDG_DATA_HOME",
        "XDG_CACHE_HOME",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    code, out, error = clfnb("runs")
    assert (code, out.strip()) == (0, "No runs in /clfnb/runs.") and not error
    assert clfnb("data", "list")[0] == 0
    out = clfnb("doctor", "--report", str(tmp_path / "r.md"))[1]
    assert "/clfnb/cache" in out and "default without a home folder: set HOME" in out
    monkeypatch.setenv("CLFNB_RUNS", str(tmp_path / "runs"))
    assert clfnb("runs")[1].strip() == f"No runs in {tmp_path / 'runs'}."


@pytest.mark.skipif(os.name != "posix", reason="rights of folders")
def test_read_only_places(tmp_path):
    "A user who may write in one folder alone gets an answer there, and one line everywhere else."
    drop = shutil.which("setpriv") if os.geteuid() == 0 else ""
    if drop is None:
        pytest.skip("root may write everywhere, and setpriv is not there")
    words = [drop, "--bounding-set=-all", "--inh-caps=-all"] if drop else []
    package = Path(clfnb_package.__file__).parents[1]
    shut, free = tmp_path / "shut", tmp_path / "free"
    for folder in (shut, free, shut / "images"):
        folder.mkdir()
    Image.new("L", (60, 60)).save(shut / "images" / "a.png")
    for folder in (shut / "images", shut):
        folder.chmod(0o555)

    def run(*more):
        command = [*words, sys.executable, "-m", "clfnb", *map(str, more)]
        outside = {**os.environ, "HOME": str(shut), "PYTHONPATH": str(package)}
        for name in ("CLFNB_RUNS", "CLFNB_CACHE", "CLFNB_DATA"):
            outside.pop(name, None)
        done = subprocess.run(command, cwd=shut, env=outside, capture_output=True, text=True)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    for command in ("--help", "lessons", "runs", "data list"):
        assert run(*command.split())[::2] == (0, "")
    assert "MISSING" in run("doctor")[1]
    assert run("predict", "barcodes", "images", "--csv", free / "t.csv")[0] == 0
    assert len((free / "t.csv").read_text().splitlines()) == 2
    refused = {
        "predict barcodes images --csv t.csv": f"{shut}: cannot write here",
        "start x --no-lab": f"{shut}/x: cannot write here",
    }
    refused |= {"data simulate barcodes": f"{shut}/.cache: Permission denied"}
    for command, said in refused.items():
        code, _, error = run(*command.split())
        assert code == 1 and error.startswith(f"Error: {said}") and len(error.splitlines()) == 1


def test_a_warning_of_a_command_is_one_line(monkeypatch):
    "It showed a place in the code and a line of it; one for programmers still does."
    shown = []

    def called(args):
        for kind in (UserWarning, RuntimeWarning):
            shown.append(warnings.formatwarning("read as 12 bits", kind, "place.py", 3, "read()"))
        return 0

    usual = warnings.formatwarning
    monkeypatch.setattr("clfnb.cli._called", called)
    assert main([]) == 0 and warnings.formatwarning is usual
    assert shown[0] == "note: read as 12 bits\n" and shown[1].startswith("place.py:3: Runtime")
