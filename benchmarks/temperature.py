"""How far a temperature fitted on few images goes, on repeated splits of real predictions.

OMP_NUM_THREADS=1 python benchmarks/temperature.py FOLDER_OF_PLANKTON [SPLITS] [--out FOLDER]
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from tables import share, write_table

from clfnb.data.images.cache import load_images
from clfnb.data.images.duplicates import near_identical
from clfnb.data.images.folders import image_table
from clfnb.data.splits import split
from clfnb.evaluation.calibration import Temperature
from clfnb.settings import load_settings

FITTED, CAUTION = 1204, (0.0, 1.0, 2.0)


def predictions(folder) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    "Logits, labels and groups of half of the images, by a timid linear model of thumbnails."
    table = image_table(folder)
    images, read, _ = load_images(table.path, load_settings().cache_dir)
    y = pd.factorize(table.label[read], sort=True)[0]
    thumbs = [cv2.resize(p, (12, 12), interpolation=cv2.INTER_AREA).ravel() for p in images]
    x = np.hstack([1 - np.array(thumbs) / 255, np.log2(images.shapes / 64)])
    groups = near_identical(images)
    part = split(len(y), {"train": 0.5, "rest": 0.5}, groups=groups, stratify=y, seed=0)
    model = LogisticRegression(C=0.02, max_iter=60).fit(x[part == "train"], y[part == "train"])
    rest = (part == "rest") & np.isin(y, model.classes_)
    places = np.searchsorted(model.classes_, y[rest])
    return model.decision_function(x[rest]), places, groups[rest]


HEAD = ["standard errors short of the optimum", "mean temperature", "mean gap, points", "over-confident", "by a point or more", "root mean square gap", "log loss"]  # fmt: skip


def cells(found: pd.DataFrame, splits: int) -> list[list[str]]:
    "The means as rows of texts."
    return [
        [f"{caution:g}", share(row.temperature), f"{row.gap:+.2f}".replace("-", "−"), f"{splits * row['over-confident']:.0f} of {splits}",
         f"{splits * row['by a point']:.0f} of {splits}", f"{row['root mean square']:.2f}", f"{row['log loss']:.4f}"]
        for caution, row in found.iterrows()
    ]  # fmt: skip


def main(folder: str, splits: int, out: Path | None) -> None:
    "Print, for each caution, how far the temperature goes."
    logits, y, groups = predictions(folder)
    rows = []
    for seed in range(splits):
        share = FITTED / len(y)
        part = split(len(y), {"fit": share, "judge": 1 - share}, groups=groups, seed=seed)
        fit, judge = part == "fit", part == "judge"
        right = np.mean(logits[judge].argmax(1) == y[judge])
        one = Temperature().fit(logits[fit], y[fit], groups=groups[fit])
        for caution in CAUTION:
            log_t, error = np.log(one.temperature), one.log_error
            t = np.exp(np.sign(log_t) * max(abs(log_t) - caution * error, 0))
            p = softmax(logits[judge] / t, axis=1)
            gap = 100 * (p.max(1).mean() - right)
            rows.append((caution, t, gap, -np.log(p[np.arange(len(p)), y[judge]]).mean()))
    raw = 100 * (softmax(logits, axis=1).max(1).mean() - np.mean(logits.argmax(1) == y))
    print(f"{len(y)} images, {FITTED} fitted, {splits} splits; gap as trained {raw:+.2f} points")
    table = pd.DataFrame(rows, columns=["caution", "temperature", "gap", "log loss"])
    table["over-confident"] = table.gap > 0
    table["by a point"] = table.gap > 1
    table["square"] = table.gap**2
    found = table.groupby("caution").mean()
    found["root mean square"] = np.sqrt(found.pop("square"))
    print(found.round(4).to_string())
    write_table(out, "temperature", HEAD, cells(found, splits))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="of classes of plankton")
    parser.add_argument("splits", nargs="?", type=int, default=100)
    parser.add_argument("--out", type=Path, help="folder for the table")
    main(**vars(parser.parse_args()))
