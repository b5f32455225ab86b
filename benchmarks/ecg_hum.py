"""Waves that are lost and invented under mains hum, with and without its subtraction.

    python benchmarks/ecg_hum.py --data FOLDER [--run RUN] [--seconds 60] [--seed 4] [--out FOLDER]

The first minute of each record is delineated as it is, which is the reference, and with hum added
to both leads, 50 or 60 Hz by chance, off by a normal error of 0.1 Hz, of a phase of its own on each
lead and with a tenth of its third harmonic. A peak without one of the same kind within 50 ms is
lost or invented. The change of a duration is the median over the records of the difference of the
medians of a record.
"""

import argparse
from pathlib import Path

import numpy as np
from ecg_ends import unmatched
from tables import write_records, write_table
from tqdm import tqdm

from clfnb.tracks.ecg import examples
from clfnb.tracks.ecg.delineator import Predictor

HEIGHTS_MV, TOLERANCE_S = (0.05, 0.1, 0.3, 1.0), 0.05
PEAKS = {"P": "p_peak", "QRS": "r_peak", "T": "t_peak"}
WAVES = [
    "P",
    "P lost",
    "P invented",
    "QRS",
    "QRS lost",
    "QRS invented",
    "T",
    "T lost",
    "T invented",
]
HEAD = ["hum", *WAVES, "QRS duration, ms"]


def hum_of(shape, fs, rng):
    "Hum of an amplitude of one, (samples, leads)."
    hertz, phases = rng.choice([50, 60]) + 0.1 * rng.standard_normal(), rng.uniform(0, 1, shape[1])
    turns = hertz * np.arange(shape[0])[:, None] / fs + phases
    return np.sin(2 * np.pi * turns) + 0.1 * np.sin(6 * np.pi * turns)


def qrs_ms(found, fs):
    "The median duration of the QRS complexes; NaN without one."
    durations = (found["qrs_end"] - found["qrs_on"]) / fs * 1000
    return np.median(durations) if len(durations) else np.nan


def count(found, reference, fs):
    "Waves of the reference, lost and invented ones, for each kind; the change of the duration."
    numbers: list = []
    for name in PEAKS.values():
        here, there, tolerance = found[name], reference[name], TOLERANCE_S * fs
        lost, invented = unmatched(there, here, tolerance), unmatched(here, there, tolerance)
        numbers += [len(there), len(lost), len(invented)]
    return [*numbers, qrs_ms(found, fs) - qrs_ms(reference, fs)]


def measure(predictor, table, height, seconds, seed):
    "The sums over all records, and the median change of the duration."
    rng, rows = np.random.default_rng(seed), []
    for row in tqdm(table.itertuples(), total=len(table), disable=None):
        signal, fs = examples.read_signal(row.path)
        signal = signal[: round(seconds * fs)]
        hum = height * hum_of(signal.shape, fs, rng)
        found = predictor.delineate((signal + hum).astype(np.float32), fs)
        rows.append(count(found, predictor.delineate(signal, fs), fs))
    rows = np.array(rows, float)
    return [*rows[:, :-1].sum(axis=0).astype(int), f"{np.nanmedian(rows[:, -1]):+.0f}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of records")
    parser.add_argument("--run", type=Path, help="a run or model folder; the shipped weights")
    parser.add_argument("--seconds", type=float, default=60, help="of each record")
    parser.add_argument("--seed", type=int, default=4, help="of frequencies and phases")
    parser.add_argument("--out", type=Path, help="folder for the table")
    options = parser.parse_args()
    predictor, table = Predictor.load(options.run), examples.load(options.data, exclude=())
    subtracted, rows = examples.mains_hum, []
    for height in HEIGHTS_MV:
        for name, examples.mains_hum in (("left", lambda *_: 0), ("subtracted", subtracted)):
            sums = measure(predictor, table, height, options.seconds, options.seed)
            rows.append([f"{height:g} mV, {name}", *sums])
            print(
                *(f"{name}: {value}" for name, value in zip(HEAD, rows[-1], strict=True)), sep=", "
            )
    write_records(options.out, list(table.record))
    write_table(options.out, "hum", HEAD, rows)


if __name__ == "__main__":
    main()
