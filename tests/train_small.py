"""A small training run as a program of its own, for test_trainer: train_small.py FOLDER [--devices N] [--batch N] [--callback NAME] [--kill EVENT NUMBER].

EVENT is where the process kills itself with SIGKILL, at its NUMBER-th occurrence: "step" (within an epoch), "write" (a checkpoint is written under its
temporary name), "rotate" (between the two renames), "epoch" (an epoch has been saved, the history file not)."""

import argparse
import json
import os
import signal
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from clfnb.training import checkpoints
from clfnb.training.averaging import EMA, SWA
from clfnb.training.callbacks import BestWeights, Mix
from clfnb.training.logs import GradientNorm, HistoryFile, make_logger
from clfnb.training.losses import accuracy, cross_entropy
from clfnb.training.trainer import Trainer


class Noisy(Dataset):
    "Points of three classes, each reading with fresh noise; every seventh has no label."

    def __len__(self):
        return 50

    def __getitem__(self, index):
        point = torch.tensor([index % 5, index % 3], dtype=torch.float32) + 0.1 * torch.randn(2)
        return point, -100 if index % 7 == 0 else index % 3


class Exact(Dataset):
    "The same without noise, so that processes can be compared."

    def __len__(self):
        return 50

    def __getitem__(self, index):
        return torch.tensor(
            [index % 5, index % 3], dtype=torch.float32
        ), -100 if index % 7 == 0 else index % 3


class Images(Dataset):
    "Tiny noisy images, each with a class, for mixing."

    def __len__(self):
        return 50

    def __getitem__(self, index):
        return torch.rand(2, 2, 2) + torch.tensor([index % 5, index % 3]).view(2, 1, 1), index % 3


CALLBACKS = {
    "ema": lambda: [EMA(0.9)],
    "swa": lambda: [SWA(1)],
    "top": lambda: [BestWeights(top_k=2)],
    "mix": lambda: [Mix(3, probability=0.7)],
    "norm": lambda: [GradientNorm()],
    "shared": lambda: [EMA(0.9), GradientNorm()],
    "all": lambda: [EMA(0.9), Mix(3), GradientNorm()],
}


def kill_at(event, number):
    "Arrange for a SIGKILL at the `number`-th occurrence of `event`."
    seen = 0

    def strike(name):
        nonlocal seen
        seen += name == event
        if seen == number and name == event:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap(owner, attribute, name, after=True):
        original = getattr(owner, attribute)

        def wrapped(*args, **kwargs):
            if not after:
                strike(name)
            result = original(*args, **kwargs)
            if after:
                strike(name)
            return result

        setattr(owner, attribute, wrapped)

    wrap(Trainer, "_train_step", "step")
    wrap(torch, "save", "write")
    wrap(checkpoints.os, "replace", "rotate")
    wrap(HistoryFile, "on_epoch_end", "epoch", after=False)


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--callback", choices=[*CALLBACKS, "logs", "metrics"])
    parser.add_argument("--kill", nargs=2)
    options = parser.parse_args(arguments)
    if options.kill:
        kill_at(options.kill[0], int(options.kill[1]))
    torch.manual_seed(0)
    images = options.callback in ("mix", "all")
    model = nn.Sequential(
        nn.Linear(2, 8) if not images else nn.Sequential(nn.Flatten(), nn.Linear(8, 8)),
        nn.BatchNorm1d(8) if not options.exact else nn.Identity(),
        nn.ReLU(),
        nn.Dropout(0.0 if options.exact else 0.3),
        nn.Linear(8, 3),
    )
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-2, total_steps=200)
    metrics, loggers = {"accuracy": accuracy}, None
    if options.callback in ("metrics", "shared"):
        from torchmetrics.classification import MulticlassAUROC, MulticlassF1Score

        metrics |= {"f1": MulticlassF1Score(3, average="macro"), "auroc": MulticlassAUROC(3)}
    if options.callback == "logs":
        loggers = [make_logger(kind, options.folder / kind) for kind in ("csv", "tensorboard")]
    trainer = Trainer(
        model,
        cross_entropy,
        optimizer,
        schedule,
        metrics=metrics,
        callbacks=CALLBACKS.get(options.callback, list)(),
        loggers=loggers,
        folder=options.folder,
        device="cpu",
        devices=options.devices,
        accumulate=2 if not options.exact else 1,
        clip=1.0,
        schedule_per="step",
        every_steps=3,
        progress="none",
    )
    data = Images() if images else Exact() if options.exact else Noisy()
    held = Images() if images else Exact()
    loader = DataLoader(data, options.batch, shuffle=True, num_workers=options.workers)
    chosen = (
        ("val_auroc", "max") if options.callback in ("metrics", "shared") else ("val_loss", "min")
    )
    torch.manual_seed(3)  # noise of the images that are held back
    history = trainer.fit(loader, DataLoader(held, 8), 3, *chosen)
    predictions = trainer.predict(DataLoader(Exact(), 3)) if not images else torch.zeros(())
    if trainer.fabric.is_global_zero:
        result = {
            "history": history.drop(columns="seconds").to_dict("records"),
            "predictions": predictions.tolist(),
            "weights": {name: value.tolist() for name, value in model.state_dict().items()},
            "evaluation": trainer.evaluate(DataLoader(Exact(), 7))
            if options.devices == 1 and not images
            else None,
            "best": [trainer.best, {k: v.tolist() for k, v in trainer.best_weights.items()}],
        }
        (options.folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
