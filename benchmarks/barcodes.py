"""Barcode readers side by side, and the preparation of images beside the original study's way, in one run on one core.

    OMP_NUM_THREADS=1 python benchmarks/barcodes.py [FOLDER_OF_PHOTO_SETS] [--simulated N] [--trials N] [--out FOLDER]

Without a folder `$CLFNB_DATA/barcodes/zxing` is used if it is there; each set is a folder of N.png or N.jpg with the code in N.txt.
With --trials only the trials are counted.
"""

import argparse
import os
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from tables import write_records, write_table

from clfnb.evaluation.intervals import wilson
from clfnb.preprocessing.barcodes.crop import join_strips, photo_features
from clfnb.simulate.barcodes.photographs import Camera, light, simulate, take
from clfnb.simulate.barcodes.trials import KINDS, trial
from clfnb.tracks.barcodes.examples import load, read_photograph
from clfnb.tracks.barcodes.predictor import Predictor, read_zxing


def zbar(image: np.ndarray) -> list[str]:
    "ZBar's answers."
    from pyzbar import pyzbar

    symbols = [pyzbar.ZBarSymbol.EAN13, pyzbar.ZBarSymbol.UPCA]
    return [answer.data.decode().zfill(13) for answer in pyzbar.decode(image, symbols=symbols)]


def opencv(image: np.ndarray) -> list[str]:
    "OpenCV's answers of thirteen or twelve digits."
    answers = cv2.barcode.BarcodeDetector().detectAndDecodeWithType(
        cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    )[1]
    return [answer.zfill(13) for answer in answers if len(answer) >= 12]


def readers() -> dict:
    "Name -> function from a grey image to codes, of all readers that are installed."
    found = {}
    found["zxing"] = lambda image: [reading.code for reading in read_zxing(image)]
    for name in ("network", "cascade"):
        predictor = Predictor.load(reader=name)
        found[name] = lambda image, predictor=predictor: [
            reading.code for reading in predictor.read(image)
        ]
    for name, call in (("zbar", zbar), ("opencv", opencv)):
        try:
            call(np.full((64, 64), 255, np.uint8))
            found[name] = call
        except ImportError as error:
            print(f"{name} left out: {error}")
    return found


def compare(name: str, photographs: list, calls: dict) -> list[str]:
    """Print one line a reader, and one for the union of the peers. A photograph has an image and the
    set of its codes: it is right if one of them is read, wrong if anything else is.

    The row of the table that the page of results shows.
    """
    right, told = {reader: [] for reader in calls}, {}
    for reader, call in calls.items():
        wrong, spent = 0, []
        call(photographs[0][0])
        for image, codes in photographs:
            start = time.process_time()
            answers = set(call(image))
            spent.append(1000 * (time.process_time() - start))
            right[reader].append(bool(answers & codes))
            wrong += bool(answers - codes)
        n, k = len(photographs), sum(right[reader])
        low, high = wilson(k, n)
        middle, late = np.median(spent), np.percentile(spent, 90)
        told[reader] = (
            k,
            f"{k} ({low:.2f}–{high:.2f})",
            str(wrong),
            f"{middle:.1f}",
            milliseconds(late),
        )
        print(
            f"{name:>14} {reader:>8}: {k:4d} of {n} ({low:.2f}-{high:.2f}), wrong {wrong}, processor time {middle:.1f} ms (90th percentile {late:.1f})",
            flush=True,
        )
    union = np.any(
        [right[reader] for reader in ("zxing", "zbar", "opencv") if reader in right], axis=0
    )
    print(f"{name:>14}    union of the peers: {union.sum()}")
    _, exact, wrong, middle, late = told["cascade"]
    peer = told["zxing"]
    return [name, str(len(photographs)), exact, wrong, f"{middle}, {late}", f"{peer[0]}, {peer[3]}"]


HEAD = ["set", "n", "cascade", "wrong", "ms, median and 90th percentile", "zxing-cpp: exact, ms"]


def milliseconds(value: float) -> str:
    "Two digits: 7.4, 53."
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


TRIALS = ["kind", "n", "zxing-cpp: exact, wrong", "cascade: exact, wrong"]


def trials(numbers: range, calls: dict) -> list[list[str]]:
    """Right and wrong answers on photographs of each kind of `simulate.barcodes.trials`, a line each;
    the rows of the table that the page of results shows.
    """
    rows = {kind: [kind, str(len(numbers))] for kind in (*KINDS, "all")}
    for reader, call in calls.items():
        total = wrong = exact = 0
        for kind in KINDS:
            right, off, spent = 0, 0, []
            for number in numbers:
                image, truth = trial(kind, number)
                start = time.process_time()
                answers = set(call(image))
                spent.append(1000 * (time.process_time() - start))
                codes = {code for code, _ in truth}
                right += bool(answers & codes)
                off += bool(answers - codes)
            total, wrong, exact = total + len(numbers), wrong + off, exact + right
            rows[kind].append(f"{right}, {off}")
            print(
                f"{kind:>14} {reader:>8}: {right:4d} of {len(numbers)}, wrong {off}, {np.median(spent):.1f} ms",
                flush=True,
            )
        rows["all"][1:] = [str(total), *rows["all"][2:], f"{exact}, {wrong}"]
        print(
            f"     all kinds {reader:>8}: wrong {wrong} of {total}, at most {wilson(wrong, total)[1]:.5f}"
        )
    return list(rows.values())


def blurred(seed: int, shape: tuple = (480, 640)) -> tuple[np.ndarray, str]:
    "A photograph out of focus by 2 to 4 modules, as a phone without a focus takes it, and its code."
    for number in range(100):
        sharp, truth = simulate(
            [13, seed, number], (2 * shape[0], 2 * shape[1]), difficulty=0.0, turn=0.1
        )
        if truth:
            break
    code, corners = truth[0]
    rng, module = (
        np.random.default_rng([14, seed]),
        np.linalg.norm(corners[1] - corners[0]) / 95 / 2,
    )
    scene = cv2.resize(sharp, shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    scene = light(scene**2.0, corners / 2, rng, 0.7)
    return take(
        scene,
        Camera(
            disc=module * rng.uniform(2.0, 4.0),
            exposure=rng.uniform(0.5, 1.2),
            noise=float(np.exp(rng.uniform(np.log(0.003), np.log(0.02)))),
            gamma=rng.uniform(0.42, 0.6),
            sharpen=rng.uniform(0, 1.2) * (rng.random() < 0.5),
            quality=int(rng.integers(60, 95)),
        ),
        rng,
    ), code


def original_features(image: np.ndarray, corners: np.ndarray) -> np.ndarray:
    "The study's way: crop at full size, resize to 1200 x 1000, threshold, ten strips column by column (its bug mended)."
    length = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
    width, height = int(max(length[0], length[2])), int(max(length[1], length[3]))
    target = np.float32([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]])
    crop = cv2.warpPerspective(
        image, cv2.getPerspectiveTransform(np.float32(corners), target), (width, height)
    )
    dark = cv2.resize(crop, (1200, 1000)) < 50
    strips = np.split(dark, 10)
    return np.array(
        [
            [1 if strip[:, column].sum() > 50 else 0 for column in range(1200)]
            for strip in strips[3:7]
        ]
    )


def preparation() -> None:
    "Images a second, ours and the original's way, and the simulator's."
    image, truth = simulate(1, (1200, 1600), difficulty=0.25)
    corners = truth[0][1]

    def rate(call, seconds=1.5):
        call()
        start, count = time.process_time(), 0
        while time.process_time() - start < seconds:
            call()
            count += 1
        return count / (time.process_time() - start)

    ours, theirs = (
        rate(lambda: join_strips(photo_features(image, corners, 240))),
        rate(lambda: original_features(image, corners)),
    )
    print(
        f"warp and strips of a 1600 x 1200 photograph: ours (240) {ours:.0f} a second, the original's way (1200) {theirs:.1f}, ratio {ours / theirs:.0f}"
    )
    numbers = iter(range(10**6))
    print(
        f"simulator, 320 x 240: {rate(lambda: simulate([9, next(numbers)])):.0f} photographs a second"
    )


def main() -> None:
    "Print all tables."
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folder",
        nargs="?",
        default=Path(os.environ.get("CLFNB_DATA", ""), "barcodes", "zxing"),
        type=Path,
    )
    parser.add_argument("--simulated", type=int, default=40, help="photographs of each difficulty")
    parser.add_argument("--trials", type=int, default=0, help="photographs of each kind of trial")
    parser.add_argument("--out", type=Path, help="folder for the table of readers")
    parser.add_argument("--first", type=int, default=0, help="number of the first trial")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    calls = readers()
    if options.trials:
        judged = {name: calls[name] for name in ("zxing", "cascade")}
        table = trials(range(options.first, options.first + options.trials), judged)
        write_table(options.out, "trials", TRIALS, table)
        return
    preparation()
    rows, files = [], []
    for place in sorted(path for path in options.folder.glob("*") if path.is_dir()):
        table: pd.DataFrame = load(place, skip_bad=True)
        found = [(p, set(codes)) for p, codes in table.groupby("path")["label"]]
        files += [f"{place.name}/{Path(path).name}" for path, _ in found]
        rows.append(compare(place.name, [(read_photograph(p)[0], c) for p, c in found], calls))
    hazy = [blurred(k) for k in range(2 * options.simulated)]
    rows.append(compare("blurred, simulated", [(image, {code}) for image, code in hazy], calls))
    for difficulty in (0.25, 1.0):
        made = [simulate([11, k], (480, 640), difficulty=difficulty) for k in range(options.simulated)]  # fmt: skip
        pairs = [(image, {code for code, _ in truth}) for image, truth in made if truth]
        rows.append(compare(f"simulated, difficulty {difficulty:g}", pairs, calls))
    write_table(options.out, "shipped", HEAD, rows)
    write_records(options.out, files)


if __name__ == "__main__":
    main()
