"""What the trainer costs beside a bare PyTorch loop and Lightning's own Trainer. Run: python benchmarks/trainer.py [repetitions]

The repetitions are interleaved (bare, ours, Lightning, bare, ...), so that a slow moment of the machine meets all three; what is printed is
the median over the repetitions of the ratio to the bare loop of the same repetition. Each run trains a new model with the same data, in one
thread. Two clocks are read: the wall's, and the processor's, which other programs on the machine disturb less; the verdict goes by the latter."""

import logging
import statistics
import sys
import time
import warnings

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from clfnb.models.recurrent import BiLSTMSegmenter
from clfnb.training.losses import cross_entropy
from clfnb.training.trainer import Trainer


def tiny_mlp():
    "A model so small that the loop around it shows: 20 inputs, 32 hidden units, 3 classes, batches of 64."
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 3))
    return model, TensorDataset(torch.randn(6400, 20), torch.randint(3, (6400,))), 64, 8


def lstm():
    "The segmenter of lesson 1 on beats of 300 samples, batches of 32."
    return (
        BiLSTMSegmenter(),
        TensorDataset(torch.randn(96, 300, 2), torch.randint(5, (96, 300))),
        32,
        2,
    )


def small_cnn():
    "A network for images of 64 by 64 grey values: four convolutions, ten classes, batches of 32."
    layers, channels = [], 1
    for width in (16, 32, 64, 64):
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))
    return model, TensorDataset(torch.randn(320, 1, 64, 64), torch.randint(10, (320,))), 32, 2


def bare(model, optimizer, data, batch_size, epochs):
    "The loop that everybody writes, with the running loss that everybody prints."
    loader = DataLoader(data, batch_size, shuffle=True)
    for _ in range(epochs):
        model.train()
        total = 0.0
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = cross_entropy(model(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(inputs)


def ours(model, optimizer, data, batch_size, epochs):
    "The same with clfnb."
    Trainer(model, cross_entropy, optimizer, device="cpu", progress="none").fit(
        DataLoader(data, batch_size, shuffle=True), epochs=epochs
    )


class Module(lightning.LightningModule):
    "The same for Lightning."

    def __init__(self, model, optimizer):
        super().__init__()
        self.model, self.optimizer = model, optimizer

    def training_step(self, batch):
        loss = cross_entropy(self.model(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch[0]))
        return loss

    def configure_optimizers(self):
        return self.optimizer


def peer(model, optimizer, data, batch_size, epochs):
    "The same with Lightning's Trainer, with everything switched off that can be."
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(model, optimizer), DataLoader(data, batch_size, shuffle=True))


def seconds(way, make):
    "How long one way takes to train one model, by the wall clock and in processor time."
    torch.manual_seed(0)
    model, data, batch_size, epochs = make()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    wall, processor = time.perf_counter(), time.process_time()
    way(model, optimizer, data, batch_size, epochs)
    return time.perf_counter() - wall, time.process_time() - processor


def main(repetitions=11):
    torch.set_num_threads(1)
    for name in (
        "lightning.pytorch",
        "lightning.pytorch.utilities.rank_zero",
        "lightning.fabric.utilities.rank_zero",
    ):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    print(
        f"ratio to a bare loop, median of {repetitions}\n{'model':10} {'clock':10} {'bare s':>8} {'clfnb':>8} {'Lightning':>10} {'allowed':>8}"
    )
    for make, allowed in ((lstm, 1.03), (tiny_mlp, 1.10), (small_cnn, 1.03)):
        ways = (bare, ours, peer)
        for way in ways:
            seconds(way, make)
        runs = [[seconds(way, make) for way in ways] for _ in range(repetitions)]
        for clock, name in enumerate(("wall", "processor")):
            ratios = [
                statistics.median(run[k][clock] / run[0][clock] for run in runs) for k in (1, 2)
            ]
            verdict = (
                ("kept" if ratios[0] <= allowed and ratios[0] < ratios[1] else "MISSED")
                if name == "processor"
                else ""
            )
            base = statistics.median(run[0][clock] for run in runs)
            print(
                f"{make.__name__:10} {name:10} {base:8.3f} {ratios[0]:8.3f} {ratios[1]:10.3f} {allowed:8.2f}   {verdict}",
                flush=True,
            )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
