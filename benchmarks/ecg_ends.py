"""False and missed QRS complexes where a recording begins and ends in mid-beat.

    python benchmarks/ecg_ends.py --data FOLDER [--run RUN] [--cuts 24] [--seed 5] [--out FOLDER]

Pieces of ten seconds are cut at random from the first four minutes of each record, every second
one with a single lead, and delineated alone. The QRS onsets of the whole record, from the same
model, are the reference: a mark further than 150 ms from all of them is false, and one of them
without a mark is missed if it lies 20 ms after the begin or later and 160 ms before the end or
earlier. A row counts the marks within 0.6 s of the begin, of the end, and all; with and without
the rules that leave out doubtful and impossible complexes near an end.
"""

import argparse
from pathlib import Path

import numpy as np
from tables import write_records, write_table
from tqdm import tqdm

from clfnb.tracks.ecg import examples, waves
from clfnb.tracks.ecg.delineator import Predictor

LENGTH_S, WHOLE_S, NEAR_S, TOLERANCE_S = 10, 240, 0.6, 0.15
HEAD = ["leads", "pieces", "QRS", "false, begin", "false, end", "false", "missed"]


def unmatched(marks, others, tolerance):
    "Marks that are further than the tolerance, in samples, from all others."
    if not len(marks) or not len(others):
        return marks
    return marks[np.abs(marks[:, None] - others).min(axis=1) > tolerance]


def count(predictor, signal, fs, whole, begin, leads):
    "The numbers of one piece: QRS, false near the begin, near the end and in all, missed."
    length = round(LENGTH_S * fs)
    piece = signal[begin : begin + length, leads]
    found = predictor.delineate(piece, fs)["qrs_on"]
    reference = whole - begin
    false = unmatched(found, reference, TOLERANCE_S * fs)
    seen = reference[(reference >= 0.02 * fs) & (reference < length - 0.16 * fs)]
    near = NEAR_S * fs
    return np.array(
        [
            len(seen),
            (false < near).sum(),
            (false >= length - near).sum(),
            len(false),
            len(unmatched(seen, found, TOLERANCE_S * fs)),
        ]
    )


def measure(predictor, table, cuts, seed):
    "The sums over all records: a row for one lead, and one for two."
    rng, sums = np.random.default_rng(seed), np.zeros((2, 6), int)
    for row in tqdm(table.itertuples(), total=len(table), disable=None):
        signal, fs = examples.read_signal(row.path)
        signal = signal[: round(WHOLE_S * fs)]
        whole = predictor.delineate(signal, fs)["qrs_on"]
        for number in range(cuts):
            last = len(signal) - round((LENGTH_S + NEAR_S) * fs)
            begin = int(rng.integers(round(NEAR_S * fs), last))
            leads = [[number // 2 % 2], [0, 1]][number % 2]
            sums[number % 2] += [1, *count(predictor, signal, fs, whole, begin, leads)]
    return sums


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of records")
    parser.add_argument("--run", type=Path, help="a run or model folder; the shipped weights")
    parser.add_argument("--cuts", type=int, default=24, help="pieces of each record")
    parser.add_argument("--seed", type=int, default=5, help="of the places of the cuts")
    parser.add_argument("--out", type=Path, help="folder for the table")
    options = parser.parse_args()
    predictor, table = Predictor.load(options.run), examples.load(options.data, exclude=())
    rules = {
        "without rules": (0.0, 0.0, np.inf),
        "with rules": (waves.END_SHARE, waves.EARLY_SHARE, waves.WIDE),
    }
    rows: list = []
    for rule, (waves.END_SHARE, waves.EARLY_SHARE, waves.WIDE) in rules.items():
        sums = measure(predictor, table, options.cuts, options.seed)
        rows += [[f"{leads}, {rule}", *sums[leads - 1]] for leads in (1, 2)]
    for row in rows:
        print(*(f"{name}: {value}" for name, value in zip(HEAD, row, strict=True)), sep=", ")
    write_records(options.out, list(table.record))
    write_table(options.out, "ends", HEAD, rows)


if __name__ == "__main__":
    main()
