"""The trainer in processes of its own: killed and started again, and in two processes at once."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import train_small  # noqa: E402

PROGRAM = Path(__file__).with_name("train_small.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo",
               "PYTHONPATH": str(PROGRAM.parent.parent)}
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked, killed and joined over the loopback device: on Linux")


def start(folder, *options):
    "Run the program in a forked process, which need not import torch again; returns its exit status."
    child = multiprocessing.get_context("fork").Process(target=train_small.main, args=([str(folder), *map(str, options)],))
    child.start()
    child.join(120)
    return child.exitcode


def result(folder, *options):
    "Run the program to its end and read what it found."
    assert start(folder, *options) == 0
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    "The result of a run that nobody killed."
    return result(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("event", ["step 1", "step 5", "step 12", "write 1", "write 4", "rotate 3", "rotate 4", "epoch 2"])
def test_killed_run_ends_the_same(tmp_path, undisturbed, event):
    assert start(tmp_path, "--kill", *event.split()) == -signal.SIGKILL
    assert result(tmp_path) == undisturbed
    assert len(pd.read_csv(tmp_path / "history.csv")) == 3


def test_killed_again_and_again(tmp_path, undisturbed):
    for _ in range(3):
        assert start(tmp_path, "--kill", "step", "4") == -signal.SIGKILL
    assert result(tmp_path) == undisturbed


def test_damaged_checkpoint(tmp_path, undisturbed):
    start(tmp_path, "--kill", "step", "8")
    content = (tmp_path / "last.ckpt").read_bytes()
    (tmp_path / "last.ckpt").write_bytes(content[: len(content) // 2])
    assert result(tmp_path) == undisturbed
    assert (tmp_path / "damaged.ckpt").exists()


def test_killed_with_workers(tmp_path):
    whole = result(tmp_path / "whole", "--workers", 1)
    start(tmp_path / "killed", "--workers", 1, "--kill", "step", "5")
    assert result(tmp_path / "killed", "--workers", 1) == whole


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    "One process with batches of 8, to be compared with two processes with batches of 4."
    return result(tmp_path_factory.mktemp("single"), "--exact", "--batch", 8)


def same(found, expected):
    "Weights, predictions and history agree to rounding."
    for name, value in expected["weights"].items():
        np.testing.assert_allclose(found["weights"][name], value, atol=2e-5)
    np.testing.assert_allclose(found["predictions"], expected["predictions"], atol=1e-4)
    np.testing.assert_allclose(pd.DataFrame(found["history"]), pd.DataFrame(expected["history"]), atol=1e-5)


@pytest.mark.xfail(strict=False, reason="Fabric refuses to fork after other tests have touched torch.cuda; passes on its own")
def test_two_forked_processes(tmp_path, single):
    same(result(tmp_path, "--exact", "--batch", 4, "--devices", 2), single)


def test_two_processes_under_torchrun(tmp_path, single):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1", "--master-port", port)
    command = [sys.executable, *launcher, str(PROGRAM), str(tmp_path), "--exact", "--batch", "4", "--devices", "2"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    same(json.loads((tmp_path / "result.json").read_text()), single)
