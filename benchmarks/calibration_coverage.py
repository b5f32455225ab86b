"""How often the interval of a calibration error holds the true error, near zero and away from it.

OMP_NUM_THREADS=1 python benchmarks/calibration_coverage.py [STUDIES]
"""

import sys

import numpy as np
import pandas as pd

from clfnb.evaluation.calibration import ece, metric_interval
from clfnb.evaluation.calibration.errors import bin_edges, bin_numbers

SIZES, DRAWS = (100, 1000, 10_000), 200


def confident(rng, n):
    "Confidences of a good classifier, most of them near 1."
    return 0.5 + 0.5 * rng.beta(4, 1.2, n)


def even(rng, n):
    "Confidences of every height alike."
    return rng.uniform(0.5, 1, n)


# how stated probabilities are drawn, and by how much the truth differs from them
WORLDS = {
    "confident, too sure": (confident, lambda p: -(p - 0.45)),
    "even, too sure": (even, lambda p: -(p - 0.45)),
    "even, to both sides": (even, lambda p: 0.3 * np.sin(6 * np.pi * p)),
}


def true_error(draw, truth) -> float:
    "The expected calibration error of two million examples, from the probabilities themselves."
    p = draw(np.random.default_rng(9), 2_000_000)
    gaps = np.bincount(bin_numbers(p, bin_edges(p)), truth(p) - p, 15)
    return float(np.abs(gaps).sum() / len(p))


def main(studies: int = 300) -> None:
    "Print a row for each world, strength of the error and size."
    rows = []
    for name, (draw, shape) in WORLDS.items():
        for strength in (0, 0.02, 0.05, 0.1, 0.3):
            truth = lambda p, t=strength, s=shape: np.clip(p + t * s(p), 0, 1)  # noqa: E731
            wanted = true_error(draw, truth)
            for n in SIZES:
                held = []
                for study in range(studies):
                    rng = np.random.default_rng((study, n))
                    p = draw(rng, n)
                    y = (rng.random(n) < truth(p)).astype(int)
                    _, low, high = metric_interval(ece, p, y, draws=DRAWS, seed=study)
                    held.append((wanted < low - 1e-9, wanted > high, high - low))
                below, above, width = np.mean(held, axis=0)
                rows.append((name, n, wanted, below, above, 1 - below - above, width))
                print(*rows[-1], flush=True)
    columns = ["world", "n", "true", "below", "above", "covered", "width"]
    table = pd.DataFrame(rows, columns=columns)
    print(table.groupby("n").covered.agg(["min", "mean", "max"]).round(3))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
