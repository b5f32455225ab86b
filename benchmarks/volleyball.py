"""Images per second of the whole-frame training beside a bare PyTorch loop; frames per second of the renderer; and the errors of two recipes.

    OMP_NUM_THREADS=1 python benchmarks/volleyball.py [speed] [--backbone resnet50 --px 224 --batch 32 --compile]
    OMP_NUM_THREADS=1 python benchmarks/volleyball.py render
    OMP_NUM_THREADS=1 python benchmarks/volleyball.py errors [--data FOLDER --frames 20 --epochs 30 --seeds 3]

`speed` trains the same network on the same decoded frames twice, through the library's trainer and by a loop of five lines, in turn, and compares the
medians; on a GPU both use bfloat16 and channels-last. `errors` renders the formations of an annotation folder (by default simulated ones) and
trains the study's recipe and the one that keeps the court with the same number of steps.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from clfnb.data.images.datasets import loader
from clfnb.evaluation.intervals import bootstrap
from clfnb.preprocessing.volleyball.annotations import read_annotations
from clfnb.simulate.volleyball.court import Camera, random_style
from clfnb.simulate.volleyball.folder import write, write_rendered
from clfnb.simulate.volleyball.formations import simulate_frame
from clfnb.simulate.volleyball.scene import render
from clfnb.tracks.volleyball.examples import load, video_folders
from clfnb.tracks.volleyball.frames import FrameData, FrameNet, frame_probabilities, train_frames
from clfnb.training.trainer import Trainer

ACCELERATOR = torch.cuda.is_available()


def timed(function, clock=time.perf_counter):
    "Seconds of a call, including the accelerator."
    started = clock()
    function()
    if ACCELERATOR:
        torch.cuda.synchronize()
    return clock() - started


def network(options):
    torch.manual_seed(0)
    return FrameNet(options.backbone, px=options.px, compile=options.compile)


def with_trainer(options, data):
    "A function that trains one more epoch with the library."
    net = network(options)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    trainer = Trainer(net, nn.CrossEntropyLoss(), optimizer, progress="none")
    batches, epochs = loader(data, options.batch, shuffle=True), iter(range(1, 1000))
    return lambda: trainer.fit(batches, epochs=next(epochs))


def by_hand(options, data):
    "A function that trains one more epoch in a bare loop."
    device = "cuda" if ACCELERATOR else "cpu"
    net = network(options).to(device).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    batches = loader(data, options.batch, shuffle=True)

    def epoch():
        for images, labels in batches:
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16, enabled=ACCELERATOR):
                outputs = net(images.to(device))
                loss = nn.functional.cross_entropy(outputs, labels.to(device))
            loss.backward()
            optimizer.step()

    return epoch


def speed(options):
    "Images per second of both loops, in turn."
    with tempfile.TemporaryDirectory() as scratch:
        data = FrameData(load(write(Path(scratch) / "v", videos=4, frames=options.frames)), 256)
    ways = {"trainer": with_trainer(options, data), "bare loop": by_hand(options, data)}
    seconds = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(options.repeats):
        for name, way in ways.items():
            seconds[name].append(timed(way))
    rates = {name: len(data) / statistics.median(values) for name, values in seconds.items()}
    for name, rate in rates.items():
        print(f"{name:10} {rate:8.1f} images/s ({options.backbone}, {options.px} px, n = {len(data)} x {options.repeats})")  # fmt: skip
    ratios = [b / a for a, b in zip(seconds["trainer"], seconds["bare loop"], strict=True)]
    print(
        f"the trainer reaches {statistics.median(ratios):.1%} of the bare loop's images per second"
    )


def rendering(options):
    "Frames of 1280 x 720 per second and core, with and without JPEG encoding."
    import cv2

    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    style = random_style(rng)
    frames = [simulate_frame(rng, "l_set", Camera(), number, "1") for number in range(200)]
    drawn = []
    clock = time.process_time  # of this process alone, whatever else the machine does
    bare = timed(lambda: drawn.extend(render(frame, style, rng) for frame in frames), clock)
    coded = timed(lambda: [cv2.imencode(".jpg", image) for image in drawn], clock)
    print(
        f"{200 / bare:.0f} frames per second and core rendered, {200 / (bare + coded):.0f} with their JPEG"
    )


def errors(options):
    "Errors of both recipes on held-out videos, with the same number of steps, over several seeds."
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "v"
        if options.data:
            count = sum(len(read_annotations(v / "annotations.txt")[0]) for v in video_folders(options.data))  # fmt: skip
            write_rendered(folder, options.data, limit=options.frames)
            print(f"formations of {count} real frames, {options.frames} of each video rendered")
        else:
            write(folder, videos=20, frames=options.frames)
        table = load(folder)
        split = "test" if (table.split == "test").any() else "val"
        height = round(options.px * 256 / 224)
        train, test = (FrameData(t, height) for t in (table[table.split == "train"], table[table.split == split]))  # fmt: skip
    y, groups, wrong = test.labels.numpy(), test.table.group.to_numpy(), {}
    for recipe in ("study", "court"):
        answers = []
        for seed in range(options.seeds):
            model = {"backbone": options.backbone, "px": options.px, "recipe": recipe, "average_mirror": recipe == "court"}  # fmt: skip
            started = time.process_time()
            net, _ = train_frames(train, None, options.epochs, 3e-3, options.batch, weighted=False, seed=seed, model=model, progress="none")  # fmt: skip
            answers.append(frame_probabilities(net, test).argmax(1))
            spent = time.process_time() - started
            print(f"{recipe}, seed {seed}: accuracy {np.mean(answers[-1] == y):.3f}, merged {np.mean(answers[-1] % 4 == y % 4):.3f}, {spent:.0f} s", flush=True)  # fmt: skip
        wrong[recipe] = np.mean([a != y for a in answers], axis=0)
    ratio, low, high = bootstrap(lambda rows: wrong["court"][rows].mean() / wrong["study"][rows].mean(), len(y), groups)  # fmt: skip
    print(f"errors: study {wrong['study'].mean():.3f}, court {wrong['court'].mean():.3f}; {ratio:.0%} ({low:.0%} to {high:.0%}) on {len(y)} frames of {len(set(groups))} held-out videos, {len(train)} training frames")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", default="speed", choices=["speed", "render", "errors"])
    parser.add_argument("--backbone", default="resnet50" if ACCELERATOR else "small")
    parser.add_argument("--px", type=int, default=224 if ACCELERATOR else 80)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", default="")
    parser.add_argument("--compile", action="store_true")
    chosen = parser.parse_args()
    {"speed": speed, "render": rendering, "errors": errors}[chosen.what](chosen)
