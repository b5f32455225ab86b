"""The trainer in processes of its own: killed and started again, and in two processes at once."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from nbclient import NotebookClient
from timm.utils import ModelEmaV3
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
)

from clfnb.data.balance import balanced_sampler
from clfnb.data.images.datasets import SizeBatchSampler
from clfnb.training import checkpoints
from clfnb.training.averaging import EMA, SWA, ema_decay
from clfnb.training.batches import epoch_batches, read_batches
from clfnb.training.callbacks import HOOKS, Callback
from clfnb.training.inference import infer
from clfnb.training.logs import GradientNorm
from clfnb.training.losses import LossNotFinite, accuracy, cross_entropy
from clfnb.training.trainer import Trainer

sys.path.insert(0, str(Path(__file__).parent))
import train_small  # noqa: E402

PROGRAM = Path(__file__).with_name("train_small.py")
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "MASTER_ADDR": "127.0.0.1",
    "GLOO_SOCKET_IFNAME": "lo",
    "PYTHONPATH": os.pathsep.join([str(PROGRAM.parent.parent), str(PROGRAM.parent)]),
}
SCRIPT = """
import sys
import torch
from torch.utils.data import DataLoader, Dataset
from clfnb.training.losses import accuracy, cross_entropy
from clfnb.training.trainer import Trainer
import train_small

class Bad(Dataset):
    "Defined in the main program, which has no guard; one example is not a number."
    def __len__(self):
        return 32
    def __getitem__(self, index):
        return torch.full((2,), torch.nan if index == 21 else index / 32), index % 3

torch.set_num_threads(2)
torch.cuda.is_available()
torch.nn.Linear(512, 512)(torch.ones(512, 512)).sum().backward()     # this process has threads, and has looked for a GPU
train_small.main([sys.argv[1], "--exact", "--batch", "4", "--devices", "2", "--callback", "shared"])
model = torch.nn.Linear(2, 3)
bad = Trainer(model, cross_entropy, torch.optim.SGD(model.parameters(), 0.1), device="cpu", devices=2, progress="none")
try:
    bad.fit(DataLoader(Bad(), 4, num_workers=1), epochs=1)
except ValueError as error:
    print(type(error).__name__, error)
"""
pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"),
    reason="processes are forked, killed and joined over the loopback device: on Linux",
)


def start(folder, *options):
    "Run the program in a forked process, which need not import torch again; returns its exit status."
    child = multiprocessing.get_context("fork").Process(
        target=train_small.main, args=([str(folder), *map(str, options)],)
    )
    child.start()
    child.join(300)
    return child.exitcode


def result(folder, *options):
    "Run the program to its end and read what it found."
    assert start(folder, *options) == 0
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    "The result of a run that nobody killed."
    return result(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize(
    "event",
    ["step 1", "step 5", "step 12", "write 1", "write 4", "rotate 3", "rotate 4", "epoch 2"],
)
def test_killed_run_ends_the_same(tmp_path, undisturbed, event):
    assert start(tmp_path, "--kill", *event.split()) == -signal.SIGKILL
    assert result(tmp_path) == undisturbed
    assert len(pd.read_csv(tmp_path / "history.csv")) == 3


def test_killed_again_and_again(tmp_path, undisturbed):
    for _ in range(3):
        assert start(tmp_path, "--kill", "step", "4") == -signal.SIGKILL
    assert result(tmp_path) == undisturbed


@pytest.mark.parametrize("callback", ["ema", "swa", "top", "mix", "norm", "all", "metrics"])
def test_killed_run_ends_the_same_with_callbacks(tmp_path, callback):
    whole = result(tmp_path / "whole", "--callback", callback)
    for event in ("step 4", "write 3", "step 5", "rotate 4", "epoch 1"):
        start(tmp_path / "killed", "--callback", callback, "--kill", *event.split())
    assert result(tmp_path / "killed", "--callback", callback) == whole
    columns = set(whole["history"][0])
    assert {"norm": "grad_norm", "all": "grad_norm", "metrics": "val_auroc"}.get(
        callback, "val_loss"
    ) in columns
    if callback == "top":
        order = sorted(whole["history"], key=lambda row: row["val_loss"])[:2]
        files = sorted(path.stem for path in (tmp_path / "killed").glob("epoch-*.ckpt"))
        assert files == sorted(f"epoch-{row['epoch']}" for row in order)
    if callback == "metrics":
        assert whole["best"][0]["score"] == max(row["val_auroc"] for row in whole["history"])


def test_killed_run_logs_the_same(tmp_path):
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    result(tmp_path / "whole", "--callback", "logs")
    for event in ("step 9", "epoch 1", "step 5"):
        killed = start(tmp_path / "killed", "--callback", "logs", "--kill", *event.split())
        assert killed == -signal.SIGKILL
    result(tmp_path / "killed", "--callback", "logs")
    tables = [
        pd.read_csv(tmp_path / name / "csv" / "metrics.csv").drop(columns="seconds")
        for name in ("whole", "killed")
    ]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    assert tables[0].step.tolist() == [0, 1, 2]
    drawn = []
    for name in ("whole", "killed"):
        events = event_accumulator.EventAccumulator(str(tmp_path / name / "tensorboard")).Reload()
        drawn.append([(event.step, event.value) for event in events.Scalars("val_loss")])
    assert drawn[0] == drawn[1] and [step for step, _ in drawn[0]] == [0, 1, 2]


def test_interrupted_while_averaged_weights_are_measured(tmp_path):
    whole, loader = build(tmp_path / "whole", callbacks=[EMA(0.9)])
    expected = whole.fit(loader, loader, epochs=3).drop(columns="seconds")
    trainer, _ = build(tmp_path / "cut", callbacks=[EMA(0.9)])
    trainer.loss = lambda outputs, targets: (
        (trainer.epoch, trainer.step, outputs.requires_grad) == (1, 8, False)
        and not trainer.interrupted
        and signal.raise_signal(signal.SIGINT)
        or cross_entropy(outputs, targets)
    )
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(loader, loader, epochs=3)
    for again in (trainer, build(tmp_path / "cut", callbacks=[EMA(0.9)])[0]):
        again.loss = cross_entropy
        found = again.fit(loader, loader, epochs=3).drop(columns="seconds")
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
        assert torch.equal(again.model.weight, whole.model.weight)
        again.restore_best()
        assert torch.equal(again.model.weight, whole.best_weights["weight"])


class CtrlC(Callback):
    "One Ctrl-C at a hook of an epoch."

    def __init__(self, hook, epoch):
        self.epoch, self.pressed = epoch, False
        setattr(self, hook, self.press)

    def press(self, trainer, *arguments):
        if trainer.epoch == self.epoch and not self.pressed:
            self.pressed = True
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("new_program", [False, True])
def test_interrupted_in_validation_an_epoch_counts_once_in_the_mean(tmp_path, new_program):
    ends = []

    class Ends(Callback):
        def on_train_epoch_end(self, trainer, row):
            ends.append(trainer.model.weight.detach().clone())

    whole, loader = build(callbacks=[SWA(0, evaluate=False), Ends()])
    whole.fit(loader, loader, epochs=3)
    expected = torch.stack(ends).mean(0)  # of three epochs
    swa = SWA(0, evaluate=False)
    trainer, _ = build(tmp_path, callbacks=[swa, CtrlC("on_validation_start", 1)])
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(loader, loader, epochs=3)
    if new_program:
        swa = SWA(0, evaluate=False)
        trainer, _ = build(tmp_path, callbacks=[swa])
    trainer.fit(loader, loader, epochs=3)
    assert int(swa.average.n_averaged) == 3
    assert torch.allclose(swa.average.module.weight, expected, atol=1e-6)


def test_average_is_that_of_timm():
    """An independent implementation, fed by a bare loop: timm's ModelEmaV3, whose decay is set to ours before each update."""
    ema = EMA(0.7)
    trainer, loader = build(callbacks=[ema])
    trainer.fit(loader, epochs=4)
    bare, _ = build()
    other, steps = None, 0
    for epoch in range(4):
        for chosen in epoch_batches(loader, 0, epoch):
            points, targets = loader.dataset[chosen]
            bare.optimizer.zero_grad()
            cross_entropy(bare.model(points), targets).backward()
            bare.optimizer.step()
            if other is None:
                other = ModelEmaV3(bare.model)
            else:
                other.decay = min(0.7, (1 + steps) / (10 + steps))
                other.update(bare.model)
            steps += 1
    expected = other.module.state_dict()
    assert ema_decay(0.7, steps) == 0.7 and ema_decay(0.7, 3) < 0.7
    for name, value in ema.average.module.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-7)


def test_another_choice_of_a_callback_is_another_run(tmp_path):
    trainer, loader = build(tmp_path, callbacks=[EMA(0.9)])
    trainer.fit(loader, epochs=1)
    for callbacks in ([EMA(0.5)], []):
        with pytest.raises(ValueError, match=r"callbacks: .*the checkpoint has .*0.9"):
            build(tmp_path, callbacks=callbacks)[0].fit(loader, epochs=2)


def test_gradient_norm_is_that_of_the_gradient():
    norms = []

    class Watch(Callback):
        def on_before_optimizer_step(self, trainer):
            norms.append(float(trainer.model.weight.grad.norm(dtype=torch.float64)) ** 2)
            norms[-1] = (norms[-1] + float(trainer.model.bias.grad.square().sum())) ** 0.5

    trainer, loader = build(callbacks=[GradientNorm(), Watch()])
    history = trainer.fit(loader, epochs=1)
    assert history.grad_norm[0] == pytest.approx(np.mean(norms), rel=1e-6)
    assert history.grad_norm_max[0] == pytest.approx(max(norms), rel=1e-6)
    plain, _ = build()
    plain.fit(loader, epochs=1)
    assert torch.equal(plain.model.weight, trainer.model.weight), "measuring changes nothing"


def test_damaged_checkpoint(tmp_path, undisturbed):
    start(tmp_path, "--kill", "step", "8")
    content = (tmp_path / "last.ckpt").read_bytes()
    (tmp_path / "last.ckpt").write_bytes(content[: len(content) // 2])
    assert result(tmp_path) == undisturbed
    assert (tmp_path / "damaged.ckpt").exists()


def test_workers_that_are_new_interpreters():
    class Noise(Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, index):
            return index + torch.rand(())

    drawn = []
    for method in ("fork", "forkserver"):
        loader = DataLoader(
            Noise(),
            2,
            num_workers=1,
            multiprocessing_context=method,
            collate_fn=lambda rows: torch.stack(rows).tolist(),
        )
        drawn.append(list(read_batches(loader, epoch_batches(loader, 0), seed=3)))
    assert drawn[0] == drawn[1] and len(drawn[0]) == 4


def test_killed_with_workers(tmp_path):
    whole = result(tmp_path / "whole", "--workers", 1)
    start(tmp_path / "killed", "--workers", 1, "--kill", "step", "5")
    assert result(tmp_path / "killed", "--workers", 1) == whole


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    "One process with batches of 8, to be compared with two processes with batches of 4."
    folder = tmp_path_factory.mktemp("single")
    return result(folder, "--exact", "--batch", 8, "--callback", "shared")


def same(found, expected):
    "Weights, predictions and history agree to rounding."
    for name, value in expected["weights"].items():
        np.testing.assert_allclose(found["weights"][name], value, atol=2e-5)
        np.testing.assert_allclose(found["best"][1][name], expected["best"][1][name], atol=2e-5)
    assert {"val_f1", "val_auroc", "grad_norm"} <= set(found["history"][0])
    np.testing.assert_allclose(found["predictions"], expected["predictions"], atol=1e-4)
    np.testing.assert_allclose(
        pd.DataFrame(found["history"]), pd.DataFrame(expected["history"]), atol=1e-5
    )


def run_program(*command):
    "Run a program of several processes in a session of its own; returns what it said. None of them outlives the time limit."
    program = subprocess.Popen(
        [sys.executable, *map(str, command)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = program.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, signal.SIGKILL)
        pytest.fail(f"not finished after 300 s: {program.communicate()[0]}")
    assert program.returncode == 0, said
    return said


def test_two_processes_started_by_the_trainer(tmp_path, single):
    (tmp_path / "script.py").write_text(SCRIPT)
    said = run_program(tmp_path / "script.py", tmp_path)
    same(json.loads((tmp_path / "result.json").read_text()), single)
    assert "LossNotFinite epoch 0, step 2: the loss is nan" in said


def test_two_processes_under_torchrun(tmp_path, single):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    launcher = (
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-addr",
        "127.0.0.1",
        "--master-port",
        port,
    )
    options = ("--exact", "--batch", 4, "--devices", 2, "--callback", "shared")
    run_program(*launcher, PROGRAM, tmp_path, *options)
    same(json.loads((tmp_path / "result.json").read_text()), single)


def build(folder=None, **choices):
    "A trainer of a linear model, and 30 examples of three classes in batches of 4."
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 3)
    points = torch.rand(30, 2, generator=torch.Generator().manual_seed(1))
    trainer = Trainer(
        model,
        cross_entropy,
        torch.optim.SGD(model.parameters(), 0.1),
        folder=folder,
        device="cpu",
        progress="none",
        **choices,
    )
    return trainer, DataLoader(TensorDataset(points, (points[:, 0] * 3).long()), 4, shuffle=True)


def test_batch_larger_than_the_data():
    trainer, loader = build()
    history = trainer.fit(DataLoader(loader.dataset, 1000, shuffle=True), loader, epochs=2)
    assert len(history) == 2 and history["val_loss"].iloc[1] < history["val_loss"].iloc[0]


@pytest.mark.parametrize("options", [{"batch_size": 4}, {"batch_size": 1000, "drop_last": True}])
def test_no_batches(options):
    trainer, loader = build()
    data = (
        loader.dataset
        if "drop_last" in options
        else TensorDataset(torch.empty(0, 2), torch.empty(0, dtype=torch.long))
    )
    empty = DataLoader(data, **options)
    with pytest.raises(
        ValueError,
        match=rf"train_loader: expected at least one batch, found none of {len(data)} examples",
    ):
        trainer.fit(empty, loader)
    with pytest.raises(ValueError, match="val_loader: expected at least one batch"):
        trainer.fit(loader, empty)
    with pytest.raises(ValueError, match="loader: expected at least one batch"):
        trainer.evaluate(empty)
    with pytest.raises(ValueError, match="loader: expected at least one batch"):
        trainer.predict(empty)
    assert not trainer.history


def test_other_number_of_processes(tmp_path):
    trainer, loader = build(tmp_path)
    trainer.fit(loader, epochs=1)
    state = checkpoints.load_checkpoint(tmp_path)
    checkpoints.save_checkpoint(tmp_path, {**state, "config": {**state["config"], "processes": 2}})
    with pytest.raises(
        ValueError, match="processes: the checkpoint has 2, this run has 1.*resume=False"
    ):
        build(tmp_path)[0].fit(loader, epochs=2)
    with pytest.raises(ValueError, match="nodes: 2 hosts need a program on each"):
        build(nodes=2)


def test_loss_that_is_not_a_number(tmp_path):
    trainer, loader = build(tmp_path)
    trainer.fit(loader, epochs=1)
    good = checkpoints.load_checkpoint(tmp_path)["model"]["weight"]
    trainer.loss = lambda outputs, targets: (
        cross_entropy(outputs, targets) * (torch.nan if trainer.step == 3 else 1)
    )
    with pytest.raises(LossNotFinite, match="epoch 1, step 3: the loss is nan"):
        trainer.fit(loader, epochs=3)
    assert torch.equal(checkpoints.load_checkpoint(tmp_path)["model"]["weight"], good)
    again, _ = build(tmp_path)
    assert len(again.fit(loader, epochs=3)) == 3


def test_epochs_share_the_time(tmp_path):
    trainer, loader = build(tmp_path)
    start = time.monotonic()
    history = trainer.fit(loader, epochs=6)
    assert 0 < history.seconds.sum() <= time.monotonic() - start, (
        "an epoch was charged with the time of another"
    )


def test_ctrl_c_keeps_a_checkpoint(tmp_path):
    whole, loader = build(tmp_path / "whole")
    expected = whole.fit(loader, epochs=3).drop(columns="seconds")
    trainer, _ = build(tmp_path / "cut")
    trainer.loss = lambda outputs, targets: (
        (trainer.epoch, trainer.step) == (1, 4)
        and signal.raise_signal(signal.SIGINT)
        or cross_entropy(outputs, targets)
    )
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(loader, epochs=3)
    state = checkpoints.load_checkpoint(tmp_path / "cut")
    assert (state["epoch"], state["step"]) == (1, 5)
    again, _ = build(tmp_path / "cut")
    pd.testing.assert_frame_equal(
        again.fit(loader, epochs=3).drop(columns="seconds"), expected, check_exact=True
    )
    assert torch.equal(again.model.weight, whole.model.weight)


@pytest.mark.parametrize("hook", ["on_validation_end", "on_epoch_end"])
def test_ctrl_c_at_the_end_of_the_last_epoch_is_raised(tmp_path, hook):
    epoch = 1 if hook == "on_validation_end" else 2  # at `on_epoch_end` the next one is counted
    trainer, loader = build(tmp_path, callbacks=[CtrlC(hook, epoch)])
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(loader, loader, epochs=2)
    state = checkpoints.load_checkpoint(tmp_path)
    assert (state["epoch"], state["step"], len(state["history"])) == (2, 0, 2)
    whole, _ = build()
    whole.fit(loader, loader, epochs=2)
    assert torch.equal(state["model"]["weight"], whole.model.weight)
    assert len(trainer.fit(loader, loader, epochs=2)) == 2  # and nothing is left to do


def test_disk_full(tmp_path, monkeypatch):
    whole, loader = build(tmp_path / "whole")
    whole.fit(loader, epochs=3)
    trainer, _ = build(tmp_path / "full")
    trainer.fit(loader, epochs=1)

    def half(state, path):
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device", str(path))

    with (
        monkeypatch.context() as patch,
        pytest.raises(OSError, match=r"last.ckpt.*No space left|No space left.*last.ckpt"),
    ):
        patch.setattr(checkpoints.torch, "save", half)
        trainer.fit(
            loader, epochs=3, monitor="train_loss", mode="max"
        )  # no new best weights: it is last.ckpt that does not fit
    assert sorted(path.name for path in (tmp_path / "full").iterdir()) == [
        "best-copy.ckpt",
        "best.ckpt",
        "history.csv",
        "last.ckpt",
        "previous.ckpt",
    ]
    again, _ = build(tmp_path / "full")
    again.fit(loader, epochs=3)
    assert torch.equal(again.model.weight, whole.model.weight)


def test_patience():
    trainer, loader = build()
    with pytest.raises(ValueError, match="patience: expected at least 1, found 0"):
        trainer.fit(loader, epochs=3, patience=0)
    assert not trainer.history


@pytest.mark.parametrize("patience", [None, 5])
def test_patience_does_not_cancel_the_stop_of_a_callback(patience):
    class Stop(Callback):
        def on_validation_end(self, trainer, row):
            trainer.stop = trainer.epoch == 1

    trainer, loader = build(callbacks=[Stop()])
    assert len(trainer.fit(loader, loader, epochs=6, patience=patience)) == 2


def test_best_weights_only(tmp_path):
    trainer, loader = build(tmp_path)
    trainer.optimizer.param_groups[0]["lr"] = -0.5  # every epoch is worse than the one before
    trainer.fit(loader, loader, epochs=3)
    last = trainer.model.weight.clone()
    fresh, _ = build(tmp_path)
    fresh.restore_best()  # a new program that only wants the best weights
    assert trainer.best_epoch == 0 and not torch.equal(fresh.model.weight, last)
    assert fresh.evaluate(loader)["loss"] == pytest.approx(trainer.history[0]["val_loss"], rel=1e-6)
    assert fresh.best_epoch == 0
    with pytest.raises(ValueError, match="no epoch has ended"):
        build()[0].restore_best()


# Rules of going on


def other(**choices):
    "A trainer as `build` makes it, with one choice of the optimizer, the schedule or the batches changed."
    trainer, loader = build(choices.pop("folder", None), identity=choices.pop("identity", None))
    kind = choices.pop("optimizer", torch.optim.SGD)
    optimizer = kind(trainer.model.parameters(), choices.pop("lr", 0.1), **choices.pop("more", {}))
    schedule = choices.pop("schedule", lambda optimizer: None)(optimizer)
    size = choices.pop("batch_size", 4)
    made = Trainer(
        trainer.model,
        choices.pop("loss", cross_entropy),
        optimizer,
        schedule,
        folder=trainer.folder,
        device="cpu",
        progress="none",
        identity=trainer.identity,
        **choices,
    )
    return made, DataLoader(loader.dataset, size, shuffle=True)


def step_down(optimizer):
    "Halves the learning rate every second epoch."
    return torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)


def plateau(optimizer):
    "Halves it whenever an epoch is no better."
    return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", factor=0.5, patience=0)


def smoothed(outputs, targets):
    return torch.nn.functional.cross_entropy(outputs, targets, label_smoothing=0.1)


@pytest.mark.parametrize(
    "changed, name",
    [
        ({"lr": 0.2}, "lr: the checkpoint has 0.1, this run has 0.2"),
        ({"more": {"weight_decay": 0.1}}, "weight_decay: the checkpoint has 0, this run has 0.1"),
        ({"loss": smoothed}, r"loss: the checkpoint has \['cross_entropy'\], this run has \['smoothed'\]"),
        ({"loss": torch.nn.CrossEntropyLoss(torch.ones(3))}, "loss: .*CrossEntropyLoss"),
        ({"schedule": step_down}, "schedule: the checkpoint has None, this run has .*StepLR"),
        ({"batch_size": 5}, "batch_size: the checkpoint has 4, this run has 5"),
        ({"clip": 1.0}, "clip: the checkpoint has None, this run has 1.0"),
        ({"identity": {"data_fingerprint": "b"}}, "data_fingerprint: the checkpoint has 'a', this run has 'b'"),
        ({"freeze": [(0, ["bias"])]}, "callbacks: "),
    ],
)  # fmt: skip
def test_other_values_are_another_run(tmp_path, changed, name):
    identity = {"identity": {"data_fingerprint": "a"}}
    trainer, loader = other(folder=tmp_path, **identity)
    trainer.fit(loader, epochs=1)
    again, loader = other(folder=tmp_path, **(identity | changed))
    with pytest.raises(ValueError, match=name):
        again.fit(loader, epochs=2)
    assert not again.history


def test_two_loss_weights_are_two_runs(tmp_path):
    for weight, fits in ((1.0, True), (2.0, False), (1.0, True)):
        loss = torch.nn.CrossEntropyLoss(torch.tensor([weight, 1.0, 1.0]))
        trainer, loader = other(folder=tmp_path, loss=loss)
        if fits:
            trainer.fit(loader, epochs=1)
        else:
            with pytest.raises(ValueError, match="loss: weight: the checkpoint has"):
                trainer.fit(loader, epochs=2)


@pytest.mark.parametrize("schedule", [None, step_down, plateau])
def test_more_epochs_go_on(tmp_path, schedule):
    choices = {"schedule": schedule} if schedule else {}
    whole, loader = other(**choices)
    expected = whole.fit(loader, loader, epochs=10).drop(columns="seconds")
    for epochs in (5, 10):
        trainer, _ = other(folder=tmp_path, **choices)
        found = trainer.fit(loader, loader, epochs=epochs).drop(columns="seconds")
        # the same trainer too, whose optimizer has moved on
        found = trainer.fit(loader, loader, epochs=epochs + 1 if epochs == 5 else 10)
    pd.testing.assert_frame_equal(found.drop(columns="seconds"), expected, check_exact=True)
    assert torch.equal(trainer.model.weight, whole.model.weight)
    assert schedule is None or expected.lr.nunique() > 1


def test_one_cycle_within_an_epoch(tmp_path):
    def cycle(optimizer):
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, total_steps=24)

    options = {
        "schedule": cycle,
        "schedule_per": "step",
        "every_steps": 3,
        "more": {"momentum": 0.9},
    }
    whole, loader = other(**options)
    whole.fit(loader, epochs=3)
    trainer, _ = other(folder=tmp_path, **options)
    trainer.loss = lambda outputs, targets: (
        (trainer.epoch, trainer.step) == (1, 4)
        and signal.raise_signal(signal.SIGINT)
        or cross_entropy(outputs, targets)
    )
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(loader, epochs=3)
    again, _ = other(folder=tmp_path, **options)
    again.fit(loader, epochs=3)
    assert torch.equal(again.model.weight, whole.model.weight)
    longer, _ = other(
        folder=tmp_path,
        **options
        | {"schedule": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.5, total_steps=32)},
    )
    with pytest.raises(ValueError, match="schedule: .*24.*32"):
        longer.fit(loader, epochs=4)


def test_checkpoint_of_the_version_before(tmp_path):
    whole, loader = other(schedule=step_down)
    whole.fit(loader, epochs=4)
    trainer, _ = other(folder=tmp_path, schedule=step_down)
    trainer.fit(loader, epochs=2)
    state = checkpoints.load_checkpoint(tmp_path)
    del state["config"]["given"], state["callbacks"]
    torch.save(state, tmp_path / "last.ckpt")
    again, _ = other(folder=tmp_path, schedule=step_down)
    again.fit(loader, epochs=4)
    assert torch.equal(again.model.weight, whole.model.weight)
    assert "given" in checkpoints.load_checkpoint(tmp_path)["config"]


def test_other_values_train_anew_beside(tmp_path, capsys):
    for lr in (0.1, 0.2, 0.1, 0.2):
        trainer, loader = other(folder=tmp_path / "training", lr=lr)
        trainer.fit(loader, epochs=2, resume="or_restart")
        alone, _ = other(lr=lr)
        alone.fit(loader, epochs=2)
        assert torch.equal(trainer.model.weight, alone.model.weight)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 and said[0] == said[1]
    assert "lr: the checkpoint has 0.1, this run has 0.2): training anew in training-" in said[0]
    assert len(list(tmp_path.iterdir())) == 2


def test_best_epoch_by_another_column(tmp_path):
    trainer, loader = build(tmp_path, metrics={"accuracy": accuracy})
    trainer.fit(loader, loader, epochs=2)
    again, _ = build(tmp_path, metrics={"accuracy": accuracy})
    with pytest.warns(UserWarning, match="now chosen by val_accuracy"):
        again.fit(loader, loader, epochs=4, monitor="val_accuracy", mode="max")
    assert again.best["score"] == max(row["val_accuracy"] for row in again.history[2:])


def test_no_best_weights_of_another_choice_or_training(tmp_path):
    trainer, loader = build(tmp_path, metrics={"accuracy": accuracy})
    trainer.fit(loader, loader, epochs=2)
    with pytest.warns(UserWarning, match="now chosen by val_accuracy"):
        trainer.fit(loader, loader, epochs=2, monitor="val_accuracy", mode="max")
    last = trainer.model.weight.clone()
    with pytest.raises(ValueError, match="best by val_accuracy, found none of 2"):
        trainer.restore_best()
    fresh, _ = build(tmp_path, metrics={"no": lambda outputs, targets: (torch.nan, 1)})
    fresh.fit(loader, loader, epochs=2, monitor="val_no", resume=False)  # none of its scores counts
    with pytest.raises(ValueError, match="best by val_no, found none of 2"):
        fresh.restore_best()
    assert torch.equal(fresh.model.weight, last) and fresh.best is None  # both as they were trained
    again, _ = build(tmp_path)
    again.fit(loader, loader, epochs=2, resume=False)
    again.restore_best()
    assert again.best_epoch == again.history.index(min(again.history, key=lambda r: r["val_loss"]))


# Files


def test_no_flipped_bit_loads_wrong(tmp_path):
    state = {"weights": torch.arange(8.0), "epoch": 3, "history": [{"loss": 0.5}]}
    path = checkpoints.save_checkpoint(tmp_path, state, "one")
    content = path.read_bytes()
    refused = 0
    for bit in range(0, 8 * len(content), 3):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            found = checkpoints.load_checkpoint(tmp_path, "one")
        except ValueError as error:
            refused += "not a readable checkpoint" in str(error)
            continue
        assert torch.equal(found.pop("weights"), state["weights"]), bit
        assert found == {"epoch": 3, "history": [{"loss": 0.5}]}, bit
    assert refused > 0.9 * 8 * len(content) / 3


@pytest.mark.parametrize("error", [AttributeError, TypeError, OSError(5, "Input/output error")])
def test_damage_of_any_kind_goes_back_one(tmp_path, monkeypatch, error):
    for epoch in (1, 2):
        checkpoints.save_checkpoint(tmp_path, {"epoch": epoch})
    real, failed = torch.load, []

    def load(*args, **kwargs):
        if not failed:
            failed.append(True)
            raise error
        return real(*args, **kwargs)

    monkeypatch.setattr(checkpoints.torch, "load", load)
    with pytest.warns(UserWarning, match="going on from .*previous.ckpt"):
        assert checkpoints.load_checkpoint(tmp_path)["epoch"] == 1


def test_damaged_best_weights(tmp_path):
    trainer, loader = build(tmp_path)
    trainer.fit(loader, loader, epochs=2)
    content = bytearray((tmp_path / "best.ckpt").read_bytes())
    content[len(content) // 2] ^= 4
    (tmp_path / "best.ckpt").write_bytes(content)
    fresh, _ = build(tmp_path)
    with pytest.warns(UserWarning, match="wrong digest; going on from .*best-copy.ckpt"):
        fresh.restore_best()
    assert torch.equal(fresh.model.weight, trainer.best_weights["weight"])


# Reading, and hardware


def test_workers_stay(tmp_path):
    class Told(Dataset):
        def __len__(self):
            return 16

        def __getitem__(self, index):
            return torch.rand(2), index % 3

    def note(number):
        with open(tmp_path / "started", "a") as file:
            file.write(f"{os.getpid()}\n")

    weights = []
    for stay in (False, True):
        trainer, _ = build()
        loader = DataLoader(
            Told(), 4, shuffle=True, num_workers=1, persistent_workers=stay, worker_init_fn=note
        )
        trainer.fit(loader, epochs=3)
        weights.append(trainer.model.weight.clone())
    assert torch.equal(*weights)
    assert len(set((tmp_path / "started").read_text().split())) == 3 + 1


def test_order_is_built_once(monkeypatch):
    built = []

    class Counted(RandomSampler):
        def __iter__(self):
            built.append(1)
            return super().__iter__()

    trainer, loader = build()
    counted = DataLoader(loader.dataset, 4, sampler=Counted(loader.dataset))
    trainer.fit(counted, epochs=3)
    assert len(built) == 3


def test_stream_is_refused():
    class Stream(IterableDataset):
        def __iter__(self):
            yield from ((torch.rand(2), 0) for _ in range(8))

    trainer, _ = build()
    with pytest.raises(ValueError, match="whose order is known; found one over Stream"):
        trainer.fit(DataLoader(Stream(), 4))


@pytest.mark.parametrize("kind", ["balanced", "by size", "subset", "one by one"])
def test_outputs_in_an_order_that_is_drawn_are_refused(kind):
    trainer, loader = build()
    data, n = loader.dataset, len(loader.dataset)
    labels = data.tensors[1].numpy()
    shapes = np.random.default_rng(0).integers(5, 90, (n, 2))
    options = {
        "balanced": {"batch_size": 4, "sampler": balanced_sampler(labels, ["train"] * n)},
        "by size": {"batch_sampler": SizeBatchSampler(shapes, 4, shuffle=True)},
        "subset": {"batch_size": 4, "sampler": SubsetRandomSampler(range(n))},
        "one by one": {"batch_size": None, "shuffle": True},
    }[kind]
    drawn = DataLoader(data, **options)
    before = torch.get_rng_state()
    for ask in (trainer.predict, lambda loader: infer(trainer.model, loader)):
        with pytest.raises(ValueError, match="expected a loader with shuffle=False"):
            ask(drawn)
    assert torch.equal(before, torch.get_rng_state())
    ordered = SizeBatchSampler(shapes, 4)
    found = trainer.predict(DataLoader(data, batch_sampler=ordered))
    with torch.no_grad():
        expected = trainer.model(data.tensors[0][sum(ordered, [])])
    assert torch.allclose(found, expected, atol=1e-6)


def test_batch_without_targets_weighs_nothing():
    points, targets = torch.rand(12, 2), torch.rand(12, 3)
    targets[4:8] = torch.nan

    def masked(outputs, targets):
        known = ~targets.isnan()
        return ((outputs - targets.nan_to_num()) ** 2 * known).sum() / known.sum()

    for accumulate in (1, 3):
        trainer, _ = build(count=lambda targets: (~targets.isnan()).sum(), accumulate=accumulate)
        trainer.loss = masked
        history = trainer.fit(DataLoader(TensorDataset(points, targets), 4), epochs=2)
        assert trainer.model.weight.isfinite().all() and history.train_loss.notna().all()
    bare, _ = build()
    for _ in range(2):
        bare.optimizer.zero_grad()
        known = torch.cat([points[:4], points[8:]]), torch.cat([targets[:4], targets[8:]])
        masked(bare.model(known[0]), known[1]).backward()
        bare.optimizer.step()
    torch.testing.assert_close(trainer.model.weight, bare.model.weight)


def test_three_in_a_batch():
    trainer, loader = build()
    points, targets = loader.dataset.tensors
    triples = DataLoader(TensorDataset(points, targets, torch.ones(30)), 4)
    with pytest.raises(ValueError, match="found a list of 3; pass forward_batch"):
        trainer.fit(triples)
    weighted, _ = build(forward_batch=lambda model, batch: (model(batch[0]), tuple(batch[1:])))
    weighted.count = lambda targets: len(targets[0])
    weighted.loss = lambda outputs, targets: (
        torch.nn.functional.cross_entropy(outputs, targets[0], reduction="none") * targets[1]
    ).mean()
    weighted.fit(triples, triples, epochs=2)
    plain, _ = build()
    pairs = DataLoader(TensorDataset(points, targets), 4)
    plain.fit(pairs, pairs, epochs=2)
    torch.testing.assert_close(weighted.model.weight, plain.model.weight)
    torch.testing.assert_close(weighted.predict(triples), plain.predict(pairs))


CXX = any(map(shutil.which, ("g++", "clang++", "cl")))


@pytest.mark.skipif(not CXX, reason="torch.compile needs a C++ compiler")
def test_compiled_model_is_the_same_model(tmp_path):
    whole, loader = build()
    whole.fit(loader, loader, epochs=2)
    compiled, _ = build(tmp_path, compile=True, deterministic=True, tf32=False)
    before = torch.are_deterministic_algorithms_enabled()
    compiled.fit(loader, loader, epochs=1)
    again, _ = build(tmp_path)
    wrapped = torch.compile(again.model)
    optimizer = torch.optim.SGD(wrapped.parameters(), 0.1)
    given = Trainer(
        wrapped,
        cross_entropy,
        optimizer,
        folder=tmp_path,
        device="cpu",
        progress="none",
        freeze=[(5, ["bias"])],
    )
    assert list(given.model.state_dict()) == ["weight", "bias"]
    again.fit(loader, loader, epochs=2)
    torch.testing.assert_close(again.model.weight, whole.model.weight)
    assert torch.are_deterministic_algorithms_enabled() == before


def test_diagram_names_every_hook():
    """The flowchart of the trainer's page shows each hook but those of creation and of failure."""
    page = PROGRAM.parent.parent / "nbs" / "lib" / "training" / "trainer.ipynb"
    first = "".join(json.loads(page.read_text("utf-8"))["cells"][2]["source"])
    chart = first.partition("```mermaid")[2].partition("```")[0]
    assert set(re.findall(r"\bon_\w+", chart)) == set(HOOKS) - {"on_init", "on_exception"}


LIVE = """
import torch
from torch.utils.data import DataLoader, TensorDataset
from clfnb.evaluation.plots import plot_history
from clfnb.training.trainer import Trainer

def trainer_of():
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Trainer(model, torch.nn.functional.cross_entropy, optimizer, device="cpu")

x = torch.arange(24.0).reshape(12, 2) / 24
batches = DataLoader(TensorDataset(x, (x[:, 0] > 0.5).long()), 6)
"""


def test_a_notebook_shows_one_curve_of_a_training():
    "In a kernel: stages share one figure, the final one takes its place, another cell has its own."
    cells = [
        LIVE,
        "trainer = trainer_of()\nfor end in (2, 4):\n    trainer.fit(batches, epochs=end)",
        "trainer = trainer_of()\nhistory = trainer.fit(batches, epochs=2)\n"
        "print('said')\nfigure = plot_history(history).figure\ntrainer.show(figure)",
        "from IPython.core.pylabtools import print_figure\nfrom IPython.display import Image\n"
        "Image(print_figure(figure))",
        "history = trainer.fit(batches, epochs=3)",
        "finished = trainer_of()\nfinished.show(figure)",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    environment = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"}  # as JupyterLab has it
    done = NotebookClient(book, timeout=300).execute(env=environment)
    shown = [[out for out in cell.outputs if "data" in out] for cell in done.cells]
    images = [[out.data["image/png"] for out in some if "image/png" in out.data] for some in shown]
    assert list(map(len, images)) == [0, 1, 1, 1, 1, 1]
    final = images[3][0]
    assert images[2] == [final] and images[5] == [final] and images[1] != [final] != images[4]
    assert any(out.get("text") == "said\n" for out in done.cells[2].outputs)
