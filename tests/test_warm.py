"Kernels forked from a warm process: as good as fresh ones, and none left behind."

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import papermill
import psutil
import pytest
from test_runs import gone, lesson, wait_for  # noqa: F401 (a fixture)

from clfnb.runs import provisioner
from clfnb.runs.execute import RunFailed, run_lesson
from clfnb.runs.plan import plan_run
from clfnb.runs.record import read_run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def warm(monkeypatch):
    "Every kernel from a warm process that imports little."
    monkeypatch.setenv("JUPYTER_DEFAULT_PROVISIONER_NAME", provisioner.PROVISIONER)
    monkeypatch.setenv("CLFNB_WARM_MODULES", "numpy,matplotlib.pyplot")
    provisioner.KernelProvisionerFactory.clear_instance()
    yield
    provisioner.KernelProvisionerFactory.clear_instance()


@pytest.fixture(scope="module", autouse=True)
def close_warm_processes():
    "The tests share a warm process where their modules and variables are equal."
    yield
    provisioner.close_all()
    assert not warm_processes()


def notebook_of(*sources):
    "A notebook of these cells."
    kernel = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    return nbformat.v4.new_notebook(metadata=kernel, cells=cells)


def executed(*sources, folder=".", **options):
    "The outputs of cells executed by nbclient: the value or the printed text of each."
    notebook = notebook_of(*sources)
    place = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, resources=place, **options).execute()
    found = []
    for cell in notebook.cells:
        said = [
            output.get("data", {}).get("text/plain", output.get("text")) for output in cell.outputs
        ]
        found.append(said[-1] if said else None)
    return found


def warm_processes():
    "The warm processes of this process."
    children = [p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE]
    return [p for p in children if "clfnb.runs.warm" in p.cmdline()]


def with_path(folder):
    "PYTHONPATH with a folder before what it holds."
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))


FACTS = """import json, os, sys, random, signal
import numpy as np
json.dumps(dict(parent=os.getppid(), group=os.getpgid(0) == os.getpid(), cwd=os.getcwd(), main=__name__,
    argv=len(sys.argv), draws=[random.random(), np.random.rand()], path=sys.path[:3], word=os.environ.get("WORD"),
    child=str(signal.getsignal(signal.SIGCHLD)), alone=os.listdir("/proc/self/fd").__len__() if os.path.isdir("/proc") else 0))"""


def facts(**options):
    "What a kernel says of itself."
    return json.loads(executed(FACTS, **options)[0].strip("'"))


def test_a_forked_kernel_is_as_a_fresh_one(warm, tmp_path, monkeypatch):
    monkeypatch.setenv("WORD", "one")
    first = facts(folder=tmp_path)
    monkeypatch.setenv("WORD", "two")
    second = facts(folder=ROOT)
    monkeypatch.delenv("JUPYTER_DEFAULT_PROVISIONER_NAME")
    provisioner.KernelProvisionerFactory.clear_instance()
    fresh = facts(folder=ROOT)
    (process,) = warm_processes()
    assert first["parent"] == second["parent"] == process.pid and fresh["parent"] == os.getpid()
    assert first["cwd"] == str(tmp_path) and second["cwd"] == fresh["cwd"] == str(ROOT)
    assert (first["word"], second["word"]) == ("one", "two")
    for name in ("group", "main", "path", "child"):
        assert second[name] == fresh[name], name
    draws = [*first["draws"], *second["draws"], *fresh["draws"]]
    assert len(set(draws)) == len(draws)  # every kernel draws its own
    assert not process.children()  # all collected


def test_figures_and_what_other_programs_print(warm, monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)
    cells = (
        "import matplotlib.pyplot as plt\nplt.plot([0, 1])\nplt.show()",
        "import os\ncode = os.system('echo from below')",
        "print('from here')",
        "import sys\nprint('a complaint', file=sys.stderr)",
    )

    def outputs():
        notebook = notebook_of(*cells)
        nbclient.NotebookClient(notebook).execute()
        kinds = ("output_type", "name", "text")
        return [
            [({k: o.get(k) for k in kinds}, sorted(o.get("data", ()))) for o in cell.outputs]
            for cell in notebook.cells
        ]

    forked = outputs()
    monkeypatch.delenv("JUPYTER_DEFAULT_PROVISIONER_NAME")
    provisioner.KernelProvisionerFactory.clear_instance()
    assert forked == outputs() and "image/png" in forked[0][-1][1]


def test_an_interrupt_reaches_the_cell_and_its_children(warm):
    cells = (
        "import subprocess, time\nchild = subprocess.Popen(['sleep', '100'])\ntry:\n    time.sleep(100)\n"
        "except KeyboardInterrupt:\n    code = child.wait()",
        "code",
    )
    options = {"timeout": 3, "interrupt_on_timeout": True, "allow_errors": True}
    assert executed(*cells, **options)[1] == str(-signal.SIGINT)


def test_papermill_uses_it(warm, tmp_path):
    for number in range(2):
        nbformat.write(notebook_of("import os\nos.getppid()"), tmp_path / "in.ipynb")
        done = papermill.execute_notebook(
            tmp_path / "in.ipynb", tmp_path / f"out{number}.ipynb", progress_bar=False
        )
        assert done.cells[-1].outputs[0]["data"]["text/plain"] == str(warm_processes()[0].pid)


def warm_run(lesson, timeout=None, **values):  # noqa: F811
    "A run whose kernel is forked."
    return run_lesson(plan_run(lesson, values, timeout=timeout), progress=False, warm=True)


def test_a_killed_kernel_and_a_killed_warm_process(lesson, tmp_path, warm):  # noqa: F811
    with pytest.raises(RunFailed, match=r"exit code 3"):
        warm_run(lesson, do="die")
    (first,) = warm_processes()
    assert not first.children()
    first.kill()
    first.wait()
    folder = warm_run(lesson)
    assert read_run(folder).status == "finished"
    (second,) = warm_processes()
    assert read_run(folder).record["kernel_pid"] not in (first.pid, second.pid)


def test_a_time_limit_ends_it(lesson, warm):  # noqa: F811
    warm_run(lesson)
    with pytest.raises(RunFailed, match="time limit of 3 s for the whole notebook"):
        warm_run(lesson, 3, do="sleep")
    assert not warm_processes()[0].children()


OWNER = """import os, subprocess, sys, nbclient, nbformat
import clfnb.runs.provisioner
child = "import os, subprocess\\nsleep = subprocess.Popen(['sleep', '100'])\\nopen(%r, 'w').write(f'{os.getppid()} {os.getpid()} {sleep.pid}')"
last = "import time\\ntime.sleep(100)"
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in (child % sys.argv[1], last)])
nbclient.NotebookClient(notebook).execute()"""


@pytest.mark.parametrize("victim", ["owner", "warm process"])
def test_nothing_is_left_of_it(warm, tmp_path, victim):
    file = tmp_path / "pids"
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(file)], stderr=subprocess.DEVNULL)
    pids = wait_for(lambda: file.exists() and [int(pid) for pid in file.read_text().split()])
    assert len(pids) == 3
    os.kill(owner.pid if victim == "owner" else pids[0], signal.SIGKILL)
    wait_for(lambda: all(gone(pid) for pid in pids[: 3 if victim == "owner" else 2]))
    assert owner.wait(300) != 0


def test_other_early_variables_need_another_one(warm, monkeypatch):
    before = facts()["parent"]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert facts()["parent"] != before
    assert len(warm_processes()) == 1  # the first was ended: it had nothing to do


def test_changed_code_is_not_run_from_memory(warm, tmp_path, monkeypatch):
    (tmp_path / "wheel.py").write_text("spokes = 3")
    monkeypatch.setenv("PYTHONPATH", with_path(tmp_path))
    monkeypatch.setenv("CLFNB_WARM_MODULES", "wheel")
    ask = "import os, wheel\n(os.getppid(), wheel.spokes)"
    before = executed(ask)[0]
    assert executed(ask)[0] == before
    (tmp_path / "wheel.py").write_text("spokes = 1234")
    after = executed(ask)[0]
    assert after.endswith("1234)") and after.split(",")[0] != before.split(",")[0]


def test_another_interpreter_and_a_busy_thread_get_the_usual_kernel(
    warm, tmp_path, monkeypatch, caplog
):
    threaded = "import threading, time\nthreading.Thread(target=time.sleep, args=(100,), daemon=True, name='heron').start()"
    (tmp_path / "threaded.py").write_text(threaded)
    monkeypatch.setenv("PYTHONPATH", with_path(tmp_path))
    monkeypatch.setenv("CLFNB_WARM_MODULES", "threaded")
    with pytest.raises(provisioner.CannotFork, match="not ipykernel of this interpreter"):
        provisioner.warm_kernel(["perl", "-e", "1"], dict(os.environ))
    with caplog.at_level(logging.WARNING):
        assert executed("import os\nos.getppid()")[0] == str(os.getpid())
    assert "no warm kernel: the warm process has another thread: heron" in caplog.text


TORCH = """import os, threading, torch
from torch.utils.data import DataLoader, TensorDataset
torch.set_num_threads(2)
seed = torch.initial_seed()
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.LazyLinear(2))
y = torch.arange(64) % 2
x = torch.rand(64, 3, 32, 32) + y[:, None, None, None]
optimizer, losses = torch.optim.Adam(net.parameters(), 1e-3), []
for epoch in range(5):
    for images, labels in DataLoader(TensorDataset(x, y), 16, num_workers=1):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
(os.getppid(), seed, sum(losses[-4:]) < sum(losses[:4]), torch.cuda._is_in_bad_fork())"""


def test_pytorch_trains_in_forked_kernels(warm, monkeypatch):
    monkeypatch.setenv("CLFNB_WARM_MODULES", "torch,torch._dynamo,pandas,clfnb.training.trainer")
    answers = [executed(TORCH)[0].strip("()").split(", ") for _ in range(2)]
    assert answers[0][0] == answers[1][0] == str(warm_processes()[0].pid)
    assert answers[0][1] != answers[1][1]  # seeds of their own
    assert [answer[2:] for answer in answers] == [["True", "False"]] * 2
