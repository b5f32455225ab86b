"""How often a point is right, by its confidence, on records that its fold has not seen.

    python benchmarks/ecg_confidence.py --data FOLDER --models FOLD0 FOLD1 ... [--threshold 0.7]

Models as for `ecg_tables.py`. A point is right if the expert marked one of its kind within 150 ms. The leads are taken together (joint), and
the threshold of the decision on P waves is that of the shipped weights. Intervals: 95 %, bootstrap over records.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from clfnb.preprocessing.ecg.beats import WAVE_POINTS
from clfnb.tracks.ecg import examples
from clfnb.tracks.ecg.delineator import Predictor, predict_records, prediction_rows

EDGES = (0, 0.6, 0.7, 0.75, 0.8, 1)


def interval(points, rng, replicates=1000):
    "Bootstrap interval of the share of right points, over records."
    counts = points.groupby("record").right.agg(["sum", "size"]).to_numpy()
    drawn = counts[rng.integers(len(counts), size=(replicates, len(counts)))].sum(axis=1)
    return np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])


def reliability(rows):
    "A row per wave and range of confidence."
    rng, found = np.random.default_rng(0), rows[rows.kind != "fn"]
    lines = []
    for wave, names in WAVE_POINTS.items():
        own = found[found.point.isin(names)]
        for part, points in own.groupby(pd.cut(own.confidence, EDGES), observed=True):
            low, high = interval(points, rng)
            lines.append((wave, str(part), len(points), points.record.nunique(), points.confidence.mean(), points.right.mean(), low, high))  # fmt: skip
    names = ["wave", "confidence", "points", "records", "mean", "right", "low", "high"]
    return pd.DataFrame(lines, columns=names)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of annotated records")
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="model folders")
    parser.add_argument("--threshold", type=float, default=0.7, help="of the decision on P waves")
    options = parser.parse_args()
    table, entries, seen = examples.load(options.data, exclude=()), [], set()
    for folder in options.models:
        trained = set(json.loads((folder / "config.json").read_text())["records"])
        rows = table[~table.record.isin(trained | seen)]
        seen |= set(rows.record)
        predictor = Predictor.load(folder)
        if predictor.decision:
            predictor.decision = replace(predictor.decision, threshold=options.threshold)
        entries += [e for e in predict_records(predictor, rows) if e["lead"] == "joint"]
    print(reliability(prediction_rows(entries)).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
