"""How often a mark is right, by its confidence, on records that its fold has not seen; and the map from scores to probabilities.

    python benchmarks/ecg_confidence.py --data FOLDER --models FOLD0 FOLD1 ... [--into MODEL] [--out FOLDER]

Models as for `ecg_tables.py`. The records are delineated as `clfnb predict ecg` does it, with all leads together and with each lead alone. A
mark is right if the expert marked one of its kind within 150 ms. The scores become probabilities by `tracks.ecg.confidence`: in the tables the
map of each fold was fitted on the records of the others; MODEL gets the map of all. Calibration errors are of ten bins of equal mass.
Intervals: 95 %, bootstrap over records.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
from tables import with_interval, write_records, write_table

from clfnb.evaluation.calibration.diagram import reliability_curve
from clfnb.preprocessing.ecg.beats import WAVE_POINTS, annotated_spans, read_beats
from clfnb.tracks.ecg import examples
from clfnb.tracks.ecg.confidence import crossfit_confidence, fit_confidence
from clfnb.tracks.ecg.delineator import Predictor, prediction_rows
from clfnb.tracks.ecg.readers import open_recording
from clfnb.tracks.ecg.streams import delineate_recording
from clfnb.training.digests import stamp

EDGES = (0, 0.6, 0.7, 0.75, 0.8, 1)
ALL = "all"  # leads together
NAMES = {
    "p_on": "P onset", "p_peak": "P peak", "p_end": "P end",
    "qrs_on": "QRS onset", "r_peak": "R peak", "qrs_end": "QRS end",
    "t_on": "T onset", "t_peak": "T peak", "t_end": "T end",
}  # fmt: skip


def entries_of(predictor, row):
    "Entries of one record for `prediction_rows`: all leads together, and each alone."
    with open_recording(row.path) as recording:
        names = list(recording.names)
    found = []
    for view, leads in ((ALL, None), *((name, [name]) for name in names)):
        with open_recording(row.path, leads=leads) as recording:
            marks = delineate_recording(predictor, recording)
        beats, _ = read_beats(row.path, row.annotator, marks.fs)
        truth = {name: at[at >= 0].to_numpy() for name, at in beats.drop(columns="symbol").items()}
        shared = dict(record=row.record, reference=truth, spans=annotated_spans(beats), fs=marks.fs)
        found.append(shared | dict(lead=view, predicted=marks.points, confidence=marks.confidence))
    return found


def held_out_marks(options):
    "Rows of all marks with scores, each by the network that has not seen its record, and the records."
    table, seen, parts = examples.load(options.data, exclude=()), set(), []
    for fold, folder in enumerate(options.models):
        trained = set(json.loads((folder / "config.json").read_text())["records"])
        rows = table[~table.record.isin(trained | seen)]
        seen |= set(rows.record)
        predictor = Predictor.load(folder)
        predictor.confidence_map = None
        entries = [entry for row in rows.itertuples() for entry in entries_of(predictor, row)]
        parts.append(prediction_rows(entries).assign(fold=fold))
    marks = pd.concat(parts, ignore_index=True)
    return marks[marks.kind != "fn"].reset_index(drop=True), seen


def interval(points, rng, replicates=1000):
    "Bootstrap interval of the share of right points, over records."
    counts = points.groupby("record").right.agg(["sum", "size"]).to_numpy()
    drawn = counts[rng.integers(len(counts), size=(replicates, len(counts)))].sum(axis=1)
    return np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])


RELIABILITY = ["score", "marks", "records", "mean score", "mean probability", "right %"]


def reliability(marks):
    "A row of texts per wave and range of scores, all leads together."
    rng, lines = np.random.default_rng(0), []
    for wave, names in WAVE_POINTS.items():
        own = marks[marks.label.isin(names) & (marks.lead == ALL)]
        for part, points in own.groupby(pd.cut(own.confidence, EDGES), observed=True):
            label = f"{wave.upper()}, {part.left:g} to {part.right:g}"
            means = f"{points.confidence.mean():.3f}", f"{points.probability.mean():.3f}"
            share = with_interval(100 * points.right.mean(), *100 * interval(points, rng), ".1f")
            records = f"{points.record.nunique()}"
            lines.append([label, f"{len(points)}", records, *means, share])
    return lines


CALIBRATION = ["marks of", "n", "wrong", "records with a wrong one", "error of the score", "error of the probability", "if calibrated", "log loss of the score", "of the probability", "of a constant"]  # fmt: skip


def log_loss(values, right):
    "Mean negative logarithm of the probability of what happened."
    return -np.log(np.where(right, values, 1 - values).clip(1e-6)).mean()


def calibration_row(name, points):
    "Errors of scores and of probabilities."
    right, wrong = points.right.to_numpy(bool), points[~points.right]
    curves = [
        reliability_curve(
            points[column].to_numpy(), right.astype(int), n_bins=10, bins="mass", groups=points.record.to_numpy()
        )
        for column in ("confidence", "probability")
    ]  # fmt: skip
    errors = [with_interval(*curve.ece) for curve in curves]
    losses = [log_loss(points[column], right) for column in ("confidence", "probability", "constant")]  # fmt: skip
    records = f"{wrong.record.nunique()} of {points.record.nunique()}"
    floor = f"{curves[1].floor.mean:.3f}"
    return [name, f"{len(points)}", f"{len(wrong)}", records, *errors, floor, *(f"{loss:.3f}" for loss in losses)]  # fmt: skip


def calibration(marks):
    "A row of texts per point with all leads together, and per wave with one lead."
    together, alone = marks[marks.lead == ALL], marks[marks.lead != ALL]
    waves = [
        (f"{wave.upper()}, {what}", part[part.label.isin(names)])
        for what, part in (("both leads", together), ("one lead", alone))
        for wave, names in WAVE_POINTS.items()
    ]
    points = [(name, together[together.label == label]) for label, name in NAMES.items()]
    return [calibration_row(name, part) for name, part in waves + points]


def constant(marks):
    "The share of right marks of the wave in the other folds, (right + 1) / (n + 2)."
    wave = marks.label.map({name: wave for wave, names in WAVE_POINTS.items() for name in names})
    counts = marks.groupby([wave, "fold"]).right.agg(["sum", "size"])
    others = counts.groupby(level=0).transform("sum") - counts
    share = (others["sum"] + 1) / (others["size"] + 2)
    return [share[key] for key in zip(wave, marks.fold, strict=True)]


def write_map(folder, marks):
    "Fit the map on all marks and write it into a model's configuration."
    fitted = fit_confidence(marks).config()
    path = folder / "config.json"
    config = json.loads(path.read_text()) | {"confidence": fitted}
    path.write_text(json.dumps(config, indent=2) + "\n")
    stamp(folder)
    print(folder, fitted)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of annotated records")
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="model folders")
    parser.add_argument("--into", type=Path, help="model folder that gets the map")
    parser.add_argument("--out", type=Path, help="folder for the tables; they are printed too")
    options = parser.parse_args()
    marks, seen = held_out_marks(options)
    marks["probability"] = crossfit_confidence(marks, marks.fold)
    marks["constant"] = constant(marks)
    write_records(options.out, list(seen))
    tables = ("reliability", RELIABILITY, reliability(marks)), ("calibration", CALIBRATION, calibration(marks))  # fmt: skip
    for name, head, rows in tables:
        print(pd.DataFrame(rows, columns=head).to_string(index=False))
        write_table(options.out, name, head, rows)
    if options.into:
        write_map(options.into, marks)


if __name__ == "__main__":
    main()
