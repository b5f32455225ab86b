"""How often the interval of a calibration error holds the true error, near zero and away from it.

OMP_NUM_THREADS=1 python benchmarks/calibration_coverage.py [ece|smooth|classwise [STUDIES]] [--out FOLDER]
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from tables import share, write_table

from clfnb.evaluation.calibration import classwise_ece, ece, metric_interval, smooth_ece
from clfnb.evaluation.calibration.errors import bin_edges, bin_numbers
from clfnb.evaluation.calibration.smooth import smooth_error

SIZES, DRAWS, CLASSES = (100, 1000, 10_000), 200, 5


def confident(rng, n):
    "Confidences of a good classifier, most of them near 1."
    return 0.5 + 0.5 * rng.beta(4, 1.2, n)


def even(rng, n):
    "Confidences spread evenly from 0.5 to 1."
    return rng.uniform(0.5, 1, n)


def sharp(rng, n):
    "Probabilities of several classes, most of them near 0 or 1."
    return rng.dirichlet(np.full(CLASSES, 0.3), n)


def flat(rng, n):
    "Probabilities of several classes, all mixtures equally likely."
    return rng.dirichlet(np.ones(CLASSES), n)


# how probabilities are drawn, and by how much the truth differs from them at strength 1
BINARY = {
    "confident, too sure": (confident, lambda p: -(p - 0.45)),
    "even, too sure": (even, lambda p: -(p - 0.45)),
    "even, to both sides": (even, lambda p: 0.3 * np.sin(6 * np.pi * p)),
}
SEVERAL = {
    "five classes, sharp, too sure": (sharp, lambda p: 1 / CLASSES - p),
    "five classes, flat, too sure": (flat, lambda p: 1 / CLASSES - p),
}


def binned(p, truth) -> float:
    "The expected calibration error of a large sample, from the probabilities themselves."
    return float(np.abs(np.bincount(bin_numbers(p, bin_edges(p)), truth - p, 15)).sum() / len(p))


def smooth(p, truth) -> float:
    "The smooth calibration error of a large sample, from the probabilities themselves."
    return smooth_error(p, truth)[0]


def by_class(p, truth) -> float:
    "The class-wise calibration error of a large sample, from the probabilities themselves."
    return float(np.mean([binned(p[:, k], truth[:, k]) for k in range(CLASSES)]))


MEASURES = {
    "ece": (ece, binned, BINARY, (0, 0.02, 0.05, 0.1, 0.3)),
    "smooth": (smooth_ece, smooth, BINARY, (0, 0.05, 0.3)),
    "classwise": (classwise_ece, by_class, SEVERAL, (0, 0.05, 0.3)),
}


def labels(rng, truth):
    "Labels drawn from the true probabilities."
    if truth.ndim == 1:
        return (rng.random(len(truth)) < truth).astype(int)
    return (rng.random((len(truth), 1)) > truth.cumsum(1)).sum(1).clip(max=CLASSES - 1)


HEADS = {
    "ece": ["n", "combinations", "lowest coverage", "mean coverage"],
    "classwise": ["n", "combinations", "lowest", "mean"],
    "smooth": ["n", "combinations", "lowest", "mean"],
}


def summary(measure: str, table: pd.DataFrame) -> list[list[str]]:
    "A row for each size: combinations of world and strength, and the lowest and the mean share of intervals that held."
    rows = []
    for n, covered in table.groupby("n").covered:
        low, mean = covered.min(), covered.mean()
        cells = [f"{low:.3f}", f"{mean:.3f}"] if measure == "ece" else [share(low, 2), share(mean)]
        rows.append([f"{n:,}" if n > 999 else str(n), str(len(covered)), *cells])
    return rows


def main(measure: str, studies: int, out: Path | None) -> None:
    "Print a row for each world, strength of the error and size, and write the table of sizes."
    metric, true_error, worlds, strengths = MEASURES[measure]
    rows = []
    for name, (draw, shape) in worlds.items():
        for strength in strengths:
            truth = lambda p, t=strength, s=shape: np.clip(p + t * s(p), 0, 1)  # noqa: E731
            large = draw(np.random.default_rng(9), 2_000_000)
            wanted = true_error(large, truth(large))
            for n in SIZES:
                held = []
                for study in range(studies):
                    rng = np.random.default_rng((study, n))
                    p = draw(rng, n)
                    y = labels(rng, truth(p))
                    _, low, high = metric_interval(metric, p, y, draws=DRAWS, seed=study)
                    held.append((wanted < low - 1e-9, wanted > high, high - low))
                below, above, width = np.mean(held, axis=0)
                rows.append((name, n, wanted, below, above, 1 - below - above, width))
                print(*rows[-1], sep="\t", flush=True)
    columns = ["world", "n", "true", "below", "above", "covered", "width"]
    table = pd.DataFrame(rows, columns=columns)
    near = np.where(table.true < 0.01, "true error below .01", "other")
    print(table.groupby("n").covered.agg(["min", "mean", "max"]).round(3))
    print(table.groupby([near, "n"]).covered.agg(["min", "mean", "max"]).round(3))
    write_table(out, measure, HEADS[measure], summary(measure, table))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("measure", nargs="?", default="ece", choices=list(MEASURES))
    parser.add_argument("studies", nargs="?", type=int, default=300, help="test sets of each kind")
    parser.add_argument("--out", type=Path, help="folder for the table of sizes")
    main(**vars(parser.parse_args()))
