"""P waves at fast rates and with long PR intervals, on simulated hearts and on records that the folds have not seen.

    python benchmarks/ecg_fast.py --data FOLDER --models FOLD0 FOLD1 ... [--out FOLDER]

Models as for `ecg_tables.py`. Simulated: hearts with a P wave before each beat, and hearts without, other hearts for each model, 20 s each.
Records: the annotated beats of each held-out record with 15 s around them, played faster by a factor (all waves shrink); or with diastole, QT
and PR shortened to a given rate, so that P comes to lie on T (`tracks.ecg.variants.quicken`); or with P waves moved away from the QRS
(`lengthen_pr`); or with every fifth P wave replaced by a straight line. Both leads together. A wave is found if a point of its kind is within 75 ms of the true peak. P wrong, simulated: beats
without P wave that have one within 300 ms before the QRS and after the QRS before; in records: found P waves that nobody marked, or of the
replaced ones those that are found all the same. Intervals: 95 %, bootstrap over hearts or records.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
from tables import write_records, write_table

from clfnb.preprocessing.ecg.beats import annotated_spans, read_beats
from clfnb.preprocessing.ecg.labels import UNKNOWN, targets_from_beats
from clfnb.simulate.ecg.varied import simulate_rhythm
from clfnb.tracks.ecg import examples
from clfnb.tracks.ecg.delineator import Predictor
from clfnb.tracks.ecg.variants import UNMARKED, Piece, lengthen_pr, quicken

RATES, FACTORS = (109, 133, 150, 167, 182, 200, 222), (1.0, 1.3, 1.6, 2.0)
QUICK, LONGER_MS = (110, 140, 170, 200), (40, 80, 120, 160)
HEAD = ["hearts or records", "n", "P waves", "P found %", "P wrong %", "QRS found %", "T found %"]
COUNTS = ["P", "P found", "P marked", "P wrong", "QRS", "QRS found", "T", "T found"]


def near(points, others, samples):
    "For each point whether one of the others is within some samples."
    return (np.abs(points[:, None] - np.append(others, -(10**6))) <= samples).any(axis=1)


def count(found, beats, fs, known=None):
    "The numbers of `COUNTS`; `known`: where an unmarked P wave is wrong, or None."
    numbers, close = {}, 0.075 * fs
    for wave, peak in (("P", "p_peak"), ("QRS", "r_peak"), ("T", "t_peak")):
        true = beats[peak].to_numpy()[beats[peak] >= 0]
        numbers |= {wave: len(true), f"{wave} found": int(near(true, found[peak], close).sum())}
    p = found["p_peak"]
    p = p[known[p.clip(0, len(known) - 1)]] if known is not None else p
    true = beats.p_peak.to_numpy()[beats.p_peak >= 0]
    return numbers | {"P marked": len(p), "P wrong": int((~near(p, true, close)).sum())}


def simulated(predictor, number, hearts):
    "A row per heart."
    for rate in RATES:
        for heart in range(hearts):
            seed = [18, number * hearts + heart]
            signal, beats, _ = simulate_rhythm("tachycardia", 20, seed=seed, rate=rate)
            own = count(predictor.delineate(signal), beats[beats.p_peak >= 0], 250)
            signal, beats, _ = simulate_rhythm("junctional", 20, seed=[19, *seed], rate=rate)
            p, qrs = predictor.delineate(signal)["p_peak"], beats.qrs_on.to_numpy()
            back = np.minimum(np.diff(qrs, prepend=-1000) - 20, 75)
            before = qrs[:, None] - np.append(p, 10**6)
            wrong = ((before > 0) & (before < back[:, None])).any(axis=1)
            own |= {"P marked": len(beats), "P wrong": int(wrong.sum())}
            yield {"group": f"simulated, {rate}/min", "heart": str(seed), **own}


def record_parts(row):
    "The annotated stretches of a record with their surroundings: signal, beats, known samples."
    signal, fs = examples.read_signal(row.path)
    beats, _ = read_beats(row.path, row.annotator)
    for first, last in annotated_spans(beats):
        start, stop = max(0, first - int(15 * fs)), min(len(signal), last + int(15 * fs))
        part = beats[beats.r_peak.between(first, last)].reset_index(drop=True)
        marks = part.drop(columns="symbol")
        part[marks.columns] = marks.where(marks < 0, marks - start)
        targets = targets_from_beats(part, stop - start, fs, row.record not in UNMARKED)
        yield Piece(signal[start:stop].astype(np.float32), part, targets), fs


def without_some(predictor, piece, fs):
    "The numbers of `COUNTS` where every fifth P wave is replaced by a straight line."
    signal, beats = piece.signal.copy(), piece.beats.copy()
    gone = beats.index[(beats.p_on >= 0) & (beats.p_end >= 0)][2::5]
    for first, last in beats.loc[gone, ["p_on", "p_end"]].to_numpy():
        signal[first : last + 1] = np.linspace(signal[first], signal[last], last + 1 - first)
    found, peaks = predictor.delineate(signal, fs), beats.loc[gone, "p_peak"].to_numpy()
    wrong = int(near(peaks, found["p_peak"], 0.075 * fs).sum())
    beats.loc[gone, "p_peak"] = -1
    return count(found, beats, fs) | {"P marked": len(gone), "P wrong": wrong}


def records(predictor, rows):
    "A row per record, way and rate."
    for row in rows.itertuples():
        for piece, fs in record_parts(row):
            for factor in FACTORS:
                found = predictor.delineate(piece.signal, fs * factor)
                own = count(found, piece.beats, fs * factor, piece.targets != UNKNOWN)
                yield {"group": f"records, {factor:.1f} times as fast", "heart": row.record, **own}
            own = without_some(predictor, piece, fs)
            yield {"group": "records, every fifth P wave replaced", "heart": row.record, **own}
            changed = {}
            if fs == 250:
                changed = {f"shorter pauses, {rate}/min": quicken(piece, rate) for rate in QUICK}
                changed |= {f"PR {ms} ms longer": lengthen_pr(piece, ms / 1000) for ms in LONGER_MS}
            for name, other in changed.items():
                if other is not piece:
                    found, known = predictor.delineate(other.signal, fs), other.targets != UNKNOWN
                    own = count(found, other.beats, fs, known)
                    yield {"group": f"records, {name}", "heart": row.record, **own}


def table(rows, replicates=1000):
    "A line per group: shares in per cent with their intervals."
    rng, lines = np.random.default_rng(0), []
    pairs = {"P found %": ("P found", "P"), "P wrong %": ("P wrong", "P marked")}
    pairs |= {"QRS found %": ("QRS found", "QRS"), "T found %": ("T found", "T")}
    for group, own in pd.DataFrame(rows).groupby("group", sort=False):
        hearts = own.groupby("heart")[COUNTS].sum()
        drawn = hearts.to_numpy()[rng.integers(len(hearts), size=(replicates, len(hearts)))].sum(1)
        drawn, line = (
            pd.DataFrame(drawn, columns=COUNTS),
            {"n": len(hearts), "P waves": hearts.P.sum()},
        )
        for name, (part, whole) in pairs.items():
            share = 100 * drawn[part] / drawn[whole].clip(lower=1)
            low, high = share.quantile([0.025, 0.975])
            value = 100 * hearts[part].sum() / max(hearts[whole].sum(), 1)
            line[name] = f"{value:.1f} ({low:.1f}–{high:.1f})"
        lines.append({"hearts or records": group} | line)
    return pd.DataFrame(lines)[HEAD]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of annotated records")
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="model folders")
    parser.add_argument("--hearts", type=int, default=6, help="simulated hearts per model and rate")
    parser.add_argument("--out", type=Path, help="folder for the table; it is printed too")
    options = parser.parse_args()
    examples_table, rows, seen = examples.load(options.data, exclude=()), [], set()
    for number, folder in enumerate(options.models):
        trained = set(json.loads((folder / "config.json").read_text())["records"])
        own = examples_table[~examples_table.record.isin(trained | seen)]
        seen |= set(own.record)
        predictor = Predictor.load(folder)
        rows += [*simulated(predictor, number, options.hearts), *records(predictor, own)]
    lines = table(rows)
    print(lines.to_string(index=False))
    write_records(options.out, list(seen))
    write_table(options.out, "fast_rates", HEAD, lines.to_numpy().tolist())


if __name__ == "__main__":
    main()
