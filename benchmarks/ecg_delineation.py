"""ECG delineation beside NeuroKit2 on the QT Database, by one protocol in one run.

    python benchmarks/ecg_delineation.py --data FOLDER [--run RUN | --shipped] [--leads 0 1] [--records sel100 ...]

Each record is cut to its annotated parts, ten seconds more on either side, and every delineator gets the same pieces. The tables come from
`clfnb.evaluation.delineation`. Give --run to add a trained model; records that it was trained on make its figures look better than they
are, so name its test records with --records. The nine records without usable P waves are left out unless --all is given. With --run the speed
of the whole path is measured too: whole records, all leads at once, from samples in memory to points.
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import wfdb

from clfnb.evaluation.delineation import (
    best_lead_per_point,
    compare_with_martinez,
    delineation_errors,
    delineation_table,
)
from clfnb.preprocessing.ecg.beats import (
    EXCLUDED_RECORDS,
    MISSING,
    POINTS,
    annotated_spans,
    read_beats,
)

NEUROKIT_NAMES = {
    "p_on": "ECG_P_Onsets",
    "p_peak": "ECG_P_Peaks",
    "p_end": "ECG_P_Offsets",
    "qrs_on": "ECG_R_Onsets",
    "qrs_end": "ECG_R_Offsets",
    "t_on": "ECG_T_Onsets",
    "t_peak": "ECG_T_Peaks",
    "t_end": "ECG_T_Offsets",
}


def pieces(beats, n_samples, fs, margin_s=10):
    "Begin and end of the annotated parts of a record, widened by `margin_s` and joined where they touch."
    joined = []
    for first, last in annotated_spans(beats):
        begin, end = max(0, int(first - margin_s * fs)), min(n_samples, int(last + margin_s * fs))
        if joined and begin <= joined[-1][1]:
            joined[-1][1] = end
        else:
            joined.append([begin, end])
    return joined


def neurokit(signal, fs, method="dwt"):
    "Points of one lead by NeuroKit2; a piece on which it fails gives no points."
    import neurokit2 as nk

    found = {name: np.array([], np.int64) for name in [*NEUROKIT_NAMES, "r_peak"]}
    try:
        clean = nk.ecg_clean(signal, sampling_rate=fs)
        _, info = nk.ecg_peaks(clean, sampling_rate=fs)
        found["r_peak"] = np.asarray(info["ECG_R_Peaks"], np.int64)
        _, waves = nk.ecg_delineate(clean, info["ECG_R_Peaks"], sampling_rate=fs, method=method)
    except Exception as error:
        print(
            f"NeuroKit2 failed on a piece of {len(signal)} samples: {type(error).__name__}: {error}",
            file=sys.stderr,
        )
        return found
    for name, key in NEUROKIT_NAMES.items():
        values = np.asarray(waves.get(key, []), float)
        found[name] = np.unique(values[np.isfinite(values)].astype(np.int64))
    return found


def model_delineator(run):
    "A function like `neurokit` of a trained model."
    from clfnb.tracks.ecg.delineator import Predictor

    predictor = Predictor.load(run)
    return lambda signal, fs: predictor.delineate(signal[:, None].astype(np.float32), fs)


def delineate(delineator, record, signal, fs, beats, leads):
    "Entries for `delineation_errors` of one record, and the samples and seconds that they took."
    reference = {name: beats[name].to_numpy()[beats[name] != MISSING] for name in POINTS}
    entries, samples, seconds = [], 0, 0.0
    for lead in leads:
        found = []
        for begin, end in pieces(beats, len(signal), fs):
            start = time.perf_counter()
            points = delineator(np.ascontiguousarray(signal[begin:end, lead]), fs)
            seconds, samples = seconds + time.perf_counter() - start, samples + end - begin
            found.append({name: values + begin for name, values in points.items()})
        predicted = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
        entries.append(
            dict(
                record=record,
                lead=lead,
                predicted=predicted,
                reference=reference,
                spans=annotated_spans(beats),
                fs=fs,
            )
        )
    return entries, samples, seconds


def whole_path(run, signals, average_beats):
    "Samples of all leads a second of processor time, on one thread, from whole signals (samples, leads) with their rates to points."
    import torch

    from clfnb.tracks.ecg.delineator import Predictor

    predictor, samples, seconds = Predictor.load(run), 0, 0.0
    predictor.average_beats &= average_beats
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for number, (signal, fs) in enumerate([signals[0], *signals]):  # the first is warming up
        start = time.process_time()
        predictor.delineate(signal.astype(np.float32), fs)
        if number:
            samples, seconds = samples + signal.size, seconds + time.process_time() - start
    torch.set_num_threads(threads)
    return samples / seconds


def report(name, entries, samples, seconds):
    "Print speed and the tables of one delineator, a lead at a time and best of two."
    errors = delineation_errors(entries)
    views = {f"lead {lead}": part for lead, part in errors.groupby("lead")}
    views |= {"best of two leads": best_lead_per_point(errors)} if len(views) > 1 else {}
    print(
        f"\n## {name}: {samples / seconds / 1e3:,.0f} k samples/s ({samples:,} samples in {seconds:.1f} s)"
    )
    for view, part in views.items():
        table = delineation_table(part)
        columns = [
            "n",
            "records",
            "se",
            "ppv",
            "f1",
            "f1_low",
            "f1_high",
            "mean_ms",
            "sd_ms",
            "sd_ms_low",
            "sd_ms_high",
            "sd_within_ms",
            "inside_cse",
        ]
        print(
            f"\n{name}, {view} (intervals: 95 %, bootstrap over records)\n{table[columns].round(3).to_string()}"
        )
        print(
            f"\nbeside Martinez 2004 (best of two leads, published)\n{compare_with_martinez(table).round(3).to_string()}"
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder with the records of the QT Database and RECORDS",
    )
    parser.add_argument(
        "--run", help="run or model folder of a trained clfnb model, compared in the same run"
    )
    parser.add_argument(
        "--shipped",
        action="store_true",
        help="the weights that come with clfnb, which have seen the QT Database: for their speed",
    )
    parser.add_argument(
        "--leads",
        type=int,
        nargs="+",
        default=[0],
        help="leads to delineate, each alone (0 1 adds best of two)",
    )
    parser.add_argument("--records", nargs="+", help="only these records")
    parser.add_argument(
        "--all", action="store_true", help="also the nine records without usable P waves"
    )
    options = parser.parse_args()
    listing = options.data / "RECORDS"
    if not listing.exists():
        parser.error(
            f"{listing}: no such file; --data takes a folder in the layout of the QT Database"
        )
    names = options.records or [
        name for name in listing.read_text().split() if options.all or name not in EXCLUDED_RECORDS
    ]
    measured = options.run or options.shipped
    delineators = {"NeuroKit2 dwt": neurokit} | (
        {"clfnb": model_delineator(options.run)} if measured else {}
    )
    warnings.simplefilter("ignore")
    entries = {name: [] for name in delineators}
    cost = pd.DataFrame(0.0, index=list(delineators), columns=["samples", "seconds"])
    signals = []
    for record in names:
        signal = wfdb.rdrecord(str(options.data / record))
        beats, _ = read_beats(options.data / record)
        for name, delineator in delineators.items():
            new, *spent = delineate(
                delineator, record, signal.p_signal, signal.fs, beats, options.leads
            )
            entries[name] += new
            cost.loc[name] += spent
        signals = [*signals, (signal.p_signal, signal.fs)][:5]
    for name in delineators:
        report(name, entries[name], int(cost.samples[name]), cost.seconds[name])
    for average in (True, False) if measured else ():
        speed = whole_path(options.run, signals, average) / 1e6
        print(
            f"\nclfnb, whole records of all leads{'' if average else ', without averaged beats'}: {speed:.2f} M samples/s of one core's time ({len(signals)} records)"
        )


if __name__ == "__main__":
    main()
