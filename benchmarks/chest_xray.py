"""Chest X-rays, side by side with what one would write with torchvision, in processor time of one thread.

1. From files to batches of 112 pixels, second epoch (files in the page cache), as they are and augmented alike:
   ImageFolder + DataLoader with torchvision's transforms, against the store of decoded squares and the network's input layer.
2. One epoch of training of the same network on the same batches: a bare loop, against the Trainer.

python benchmarks/chest_xray.py [--images 600] [--data FOLDER]
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from torch import nn
from torchvision import datasets, transforms

from clfnb.data.images.datasets import loader
from clfnb.simulate.chest_xray.folder import write
from clfnb.tracks.chest_xray.augment import RadiographInput
from clfnb.tracks.chest_xray.examples import RadiographData, load, load_squares
from clfnb.tracks.chest_xray.network import build_model
from clfnb.tracks.chest_xray.recipe import class_loss
from clfnb.training.trainer import Trainer


def seconds(work):
    "Processor seconds of a piece of work."
    start = time.process_time()
    work()
    return time.process_time() - start


def torchvision_batches(folder, px, augmented):
    "What one would write with torchvision."
    plain = [transforms.Resize((px, px))]
    varied = [
        transforms.RandomResizedCrop(px, (0.08, 1.0), (1 / 1.5, 1.5)),
        transforms.RandomHorizontalFlip(),
        transforms.RandomRotation(10),
        transforms.ColorJitter(0.3, 0.3),
        transforms.RandomApply([transforms.GaussianBlur(7, (0.3, 1.8))], 0.5),
    ]
    last = [transforms.ToTensor(), transforms.Normalize([0.449], [0.226])]
    steps = [transforms.Grayscale(), *(varied if augmented else plain), *last]
    data = datasets.ImageFolder(folder, transforms.Compose(steps))
    return torch.utils.data.DataLoader(data, 64, shuffle=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--data", help="a folder with train/CLASS/*; by default simulated images")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = options.data or write(Path(place, "chests"), images=options.images, test=0)
        table = load(folder, cache_dir=Path(place, "cache"), threads=1)
        table = table[table.split == "train"].reset_index(drop=True)

        def read(batches, transform=None):
            return lambda: [transform(images) if transform else images for images, _ in batches]

        start = time.process_time()
        data = RadiographData(load_squares(table), table.code)
        print(
            f"{len(table)} images; opening the store takes {time.process_time() - start:.2f} s once"
        )
        for augmented in (False, True):
            transform = RadiographInput(112, "strong").train(augmented)
            theirs = torchvision_batches(Path(folder, "train"), 112, augmented)
            ways = {
                "torchvision": (theirs, None),
                "clfnb": (loader(data, 64, shuffle=True), transform),
            }
            times = {}
            for name, way in ways.items():
                read(*way)()  # warm
                times[name] = min(seconds(read(*way)) for _ in range(3))
                speed = len(table) / times[name]
                what = "augmented" if augmented else "as it is"
                print(
                    f"files to batches, {what}, {name:12} {speed:8.0f} images a second of processor time"
                )
            print(f"ratio {times['torchvision'] / times['clfnb']:.1f}")
        train(data, table)


def train(data, table):
    "One epoch with the bare loop and with the Trainer, from the same weights."
    loss, batches, times = class_loss(table.code), loader(data, 64, shuffle=True), {}

    def network():
        torch.manual_seed(0)
        net = build_model(px=56, widths=(16, 32, 64))
        return net, torch.optim.AdamW(net.parameters(), 1e-3)

    net, optimizer = network()

    def bare():
        net.train()
        for images, targets in batches:
            optimizer.zero_grad()
            loss(net(images), targets).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 2.0)
            optimizer.step()

    bare()
    times["bare loop"] = seconds(bare)
    net, optimizer = network()
    trainer = Trainer(net, loss, optimizer, clip=2.0, device="cpu", precision="32-true", progress="none")  # fmt: skip
    trainer.fit(batches, epochs=1)
    times["Trainer"] = seconds(lambda: trainer.fit(batches, epochs=2))
    for name, took in times.items():
        print(f"one epoch, {name:10} {took:6.2f} s of processor time")


if __name__ == "__main__":
    main()
