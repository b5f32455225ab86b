"""Calibration errors beside torchmetrics, netcal, scikit-learn and relplot, in one run on one core; and the whole diagram.

OMP_NUM_THREADS=1 python benchmarks/calibration.py [--out FOLDER]
"""

import argparse
import io
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.calibration import calibration_curve
from tables import write_table
from torchmetrics.functional.classification import multiclass_calibration_error

from clfnb.evaluation.calibration import (
    calibration_table,
    ece,
    events,
    noise_floor,
    reliability_curve,
    reliability_diagram,
    smooth_ece,
)

REPEATS = 7


def seconds_of(*calls) -> list[float]:
    "The shortest of some repeats of each call, in processor seconds; the calls take turns, so that a busy machine troubles all alike."
    spent = [[] for _ in calls]
    for _ in range(REPEATS):
        for call, times in zip(calls, spent, strict=True):
            start = time.process_time()
            call()
            times.append(time.process_time() - start)
    return [min(times) for times in spent]


def examples(n: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    "Single-precision probabilities of an over-confident model, and labels."
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (n, classes))
    powers = np.exp(logits - logits.max(1, keepdims=True))
    chances = powers / powers.sum(1, keepdims=True)
    y = (rng.random((n, 1)) > chances.cumsum(1)).sum(1).clip(max=classes - 1)
    sharp = chances**1.5
    return (sharp / sharp.sum(1, keepdims=True)).astype(np.float32), y


def compare(what: str, ours, theirs: dict) -> None:
    "One line for each peer: times, ratio, and how far the values differ."
    mine, *others = seconds_of(ours, *theirs.values())
    for (name, call), spent in zip(theirs.items(), others, strict=True):
        print(
            f"{what}: ours {1000 * mine:.1f} ms, {name} {1000 * spent:.1f} ms, ratio {spent / mine:.1f}, values differ by {abs(float(call()) - ours()):.1e}"
        )


HEAD = ["probabilities", "torchmetrics' ECE", "both bands, 200 draws", "the diagram", "all eight measures, 200 draws"]  # fmt: skip


def large(n: int, classes: int) -> list[str]:
    """Both bands of 200 draws, and the whole table of measures, once each, beside the bare error of a peer.

    A row of the table of times.
    """
    probs, y = examples(n, classes)
    tensors = torch.tensor(probs), torch.tensor(y)
    calls = {
        "torchmetrics' ECE": lambda: multiclass_calibration_error(*tensors, classes, 15),
        "both bands, 200 draws": lambda: reliability_curve(probs, y, draws=200),
        "diagram": lambda: reliability_diagram(probs, y, draws=200),
        "table of 8 measures, 200 draws": lambda: calibration_table(probs, y, draws=200),
    }
    spent = {}
    for name, call in calls.items():
        start = time.process_time()
        call()
        spent[name] = time.process_time() - start
    peer = spent["torchmetrics' ECE"]
    told = (f"{name} {s:.2f} s (ratio {s / peer:.1f})" for name, s in spent.items())
    print(f"{n} x {classes}: {', '.join(told)}", flush=True)
    bare, bands, diagram, measures = spent.values()
    cells = [f"{bare:.2f} s", f"{bands:.2f} s ({bands / bare:.1f} times)", f"{diagram:.2f} s"]
    return [f"{n:,} × {classes:,}", *cells, f"{measures:.1f} s"]


def main() -> None:
    "Print one line a measurement."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder for the table of times")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"numpy {np.__version__}, torch {torch.__version__}; best of {REPEATS}, processor time of this process"
    )
    probs, y = examples(200_000, 40)
    tensors = torch.tensor(probs), torch.tensor(y)
    theirs = {"torchmetrics": lambda: multiclass_calibration_error(*tensors, 40, 15)}
    try:
        from netcal.metrics import ECE

        theirs["netcal"] = lambda: ECE(15).measure(probs, y)
    except ImportError:
        print("netcal is not installed (extra 'bench')")
    compare("ECE, 200000 x 40", lambda: ece(probs, y), theirs)
    confidence, outcome = events(probs, y)
    numbers = outcome.astype(int)
    mine, curve = seconds_of(
        lambda: ece(confidence, numbers), lambda: calibration_curve(outcome, confidence, n_bins=15)
    )
    print(
        f"ECE of two classes, 200000: ours {1000 * mine:.1f} ms, scikit-learn's curve {1000 * curve:.1f} ms, ratio {curve / mine:.1f}"
    )
    try:
        import relplot

        compare(
            "smooth ECE, 200000",
            lambda: smooth_ece(confidence, numbers),
            {"relplot": lambda: relplot.smECE(confidence, outcome.astype(float))},
        )
    except ImportError:
        print("relplot is not installed (extra 'bench')")
    rows = [large(n, classes) for n, classes in ((1_000_000, 10), (20_000, 1000))]
    write_table(options.out, "times", HEAD, rows)
    probs, y = examples(20_000, 10)
    curve, drawn, floor = seconds_of(lambda: reliability_curve(probs, y), lambda: reliability_diagram(probs, y).figure.savefig(io.BytesIO(), dpi=120),
                                     lambda: noise_floor(probs))  # fmt: skip
    print(
        f"20000 x 10, 1000 draws each: numbers of both bands {curve:.3f} s, diagram drawn and written as PNG {drawn:.3f} s, noise floor {floor:.3f} s"
    )


if __name__ == "__main__":
    main()
