"""The tables of the delineator on records that its folds have not seen.

    python benchmarks/ecg_tables.py --data FOLDER --models FOLD0 FOLD1 ... [--out FOLDER] [--neurokit] [--short]

Each model is a folder that `nbs/reference/train_ecg_delineator.ipynb` wrote with `-p fold=0` and so on; its config.json lists the records of
its training, and it is measured on all others of FOLDER that no earlier model has measured. Views: each lead alone, the better of both per
beat and point, the better of both per record and point, and both together (joint). With --neurokit the method `dwt` of NeuroKit2 is measured
on the same pieces, lead by lead. With --short the annotated parts are also cut into recordings of ten seconds, each delineated alone; of each the
marks of the middle eight count. Intervals: 95 %, bootstrap over records. The last table counts beats without P wave that were left so.
With --out each table is a CSV file, and records.txt lists the records.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from ecg_delineation import delineate, neurokit
from tables import with_interval, write_records, write_table

from clfnb.evaluation.delineation import (
    CSE_LIMITS_MS,
    MARTINEZ,
    best_lead_per_point,
    best_lead_per_record,
    delineation_errors,
    delineation_table,
)
from clfnb.simulate.ecg.varied import simulate_rhythm
from clfnb.tracks.ecg import examples
from clfnb.tracks.ecg.delineator import Predictor, predict_records

NO_P = ("sel35", "sel36", "sel37", "sel50", "sel104", "sel221", "sel232", "sel310")
QUIET = ("fibrillation", "flutter", "junctional")


def views(errors):
    "Errors by view."
    leads = errors[errors.lead.isin(["0", "1"])]
    found = {f"lead {lead}": part for lead, part in leads.groupby("lead")}
    found["best of two per beat and point"] = best_lead_per_point(leads)
    found["best of two per record and point"] = best_lead_per_record(leads)
    joint = errors[errors.lead == "joint"]
    return found | ({"joint, without the expert's choice": joint} if len(joint) else {})


HEAD = ["point", "n", "Se %", "PPV %", "F1 %", "mean ms", "SD ms, pooled", "SD ms, mean of records", "CSE 2σ", "inside %", "Martinez 2004"]  # fmt: skip


def cells(table):
    "One view as rows of texts."
    rows = []
    for point, row in table.iterrows():
        limit, other = CSE_LIMITS_MS.get(point), MARTINEZ.get(point)
        rows.append([
            point, f"{row.n:.0f}", f"{100 * row.se:.1f}", f"{100 * row.ppv:.1f}",
            with_interval(100 * row.f1, 100 * row.f1_low, 100 * row.f1_high, ".1f"),
            f"{row.mean_ms:+.1f} ({row.mean_ms_low:+.1f} to {row.mean_ms_high:+.1f})",
            with_interval(row.sd_ms, row.sd_ms_low, row.sd_ms_high, ".1f"),
            with_interval(row.sd_within_ms, row.sd_within_ms_low, row.sd_within_ms_high, ".1f"),
            f"{limit or '–'}", f"{100 * row.inside_cse:.1f}" if limit else "–",
            f"{other[0]:+.1f} ± {other[1]}" if other else "–",
        ])  # fmt: skip
    return rows


def side_by_side(ours, theirs):
    "F1, mean and SDs of two delineators, one lead and best of two: rows of texts."
    chosen = ("lead 0", "best of two per beat and point")

    def cell(table, point):
        row = table.loc[point]
        return f"{100 * row.f1:.1f}, {row.mean_ms:+.1f} ± {row.sd_ms:.1f} ({row.sd_within_ms:.1f})"

    rows = []
    for point in ours[chosen[0]].index:
        rows.append([point, *(cell(who[view], point) for view in chosen for who in (ours, theirs))])
    return rows


def markdown(head, rows):
    "A table in Markdown."
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def left_alone(predicted, beats):
    "Beats annotated without a P wave, and how many of them have none within 300 ms before the QRS."
    bare = beats[(beats.p_peak < 0) & (beats.qrs_on >= 0)]
    before = bare.qrs_on.to_numpy()[:, None] - predicted
    return len(bare), int((~((before > 0) & (before < 75)).any(axis=1)).sum())


def simulated_quiet(predictors, hearts=6):
    "The same on simulated rhythms without P waves, other hearts for each fold."
    rows = []
    for kind in QUIET:
        counts = np.zeros(2, int)
        for fold, predictor in enumerate(predictors):
            for number in range(hearts):
                signal, beats, _ = simulate_rhythm(kind, 30, seed=[900, fold * hearts + number])
                counts += left_alone(predictor.delineate(signal)["p_peak"], beats)
        rows.append((f"simulated {kind}, {hearts * len(predictors)} hearts of 30 s", *counts))
    return rows


def neurokit_entries(row):
    "Entries of NeuroKit2 for one record."
    signal, fs = examples.read_signal(row.path)
    beats, _ = examples.read_beats(row.path, row.annotator)
    entries, *_ = delineate(neurokit, row.record, signal, int(fs), beats, [0, 1])
    return [entry | dict(lead=str(entry["lead"])) for entry in entries]


SHORT_S, MARGIN_S = 10, 1  # length of a short recording, and what is left out on each side of it


def short_entry(predictor, entry, signal, fs):
    "An entry of `predict_records` for the same record and view, from short recordings."
    leads = list(range(signal.shape[1])) if entry["lead"] == "joint" else [int(entry["lead"])]
    length, margin = round(SHORT_S * fs), round(MARGIN_S * fs)
    first, last = int(np.min(entry["spans"])) - margin, int(np.max(entry["spans"])) + margin
    marks = {name: [] for name in entry["predicted"]}
    for begin in range(first, last, length - 2 * margin):
        start = max(0, min(begin - margin, len(signal) - length))
        piece = signal[start : start + length, leads]
        for name, at in predictor.delineate(piece, fs).items():
            at = at + start
            marks[name].append(at[(at >= begin) & (at < begin + length - 2 * margin)])
    return entry | {"predicted": {name: np.concatenate(at) for name, at in marks.items()}}


def short_table(whole, short):
    "F1 of whole records and of short recordings, lead by lead: rows of texts."
    chosen = ("lead 0", "lead 1", "joint, without the expert's choice")
    columns = [of[view] for view in chosen for of in (whole, short)]

    def cell(row):
        return with_interval(100 * row.f1, 100 * row.f1_low, 100 * row.f1_high, ".1f")

    return [[point, *(cell(table.loc[point]) for table in columns)] for point in columns[0].index]


def measure(options):
    "Entries of ours, short ones and NeuroKit2's, beats without P by record, records, predictors."
    table = examples.load(options.data, exclude=())
    found, short, peer, quiet, seen, predictors = [], [], [], [], set(), []
    for folder in options.models:
        trained = set(json.loads((folder / "config.json").read_text())["records"])
        rows = table[~table.record.isin(trained | seen)]
        seen |= set(rows.record)
        predictors.append(Predictor.load(folder))
        entries = predict_records(predictors[-1], rows)
        found += entries
        for row in rows.itertuples():
            peer += neurokit_entries(row) if options.neurokit else []
            if options.short:
                signal, fs = examples.read_signal(row.path)
                own = [entry for entry in entries if entry["record"] == row.record]
                short += [short_entry(predictors[-1], entry, signal, fs) for entry in own]
            if row.record in NO_P:
                points = next(
                    e for e in entries if e["record"] == row.record and e["lead"] == "joint"
                )
                beats, _ = examples.read_beats(row.path, row.annotator)
                quiet.append((row.record, *left_alone(points["predicted"]["p_peak"], beats)))
    return found, short, peer, quiet, seen, predictors


FILES = {
    "lead 0": "lead_0",
    "lead 1": "lead_1",
    "best of two per beat and point": "best_of_two_per_beat",
    "best of two per record and point": "best_of_two_per_record",
    "joint, without the expert's choice": "joint",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of annotated records")
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="model folders")
    parser.add_argument("--out", type=Path, help="folder for the tables; they are printed too")
    parser.add_argument("--neurokit", action="store_true", help="measure NeuroKit2 beside it")
    parser.add_argument("--short", action="store_true", help="cut into ten seconds too")
    options = parser.parse_args()
    found, short, peer, quiet, seen, predictors = measure(options)
    print(f"{len(seen)} records: {', '.join(sorted(seen))}")
    write_records(options.out, list(seen))

    def show(title, name, head, rows):
        print(f"\n### {title}\n\n{markdown(head, rows)}")
        write_table(options.out, name, head, rows)

    ours = {name: delineation_table(e) for name, e in views(delineation_errors(found)).items()}
    for name, table in ours.items():
        show(name, FILES[name], HEAD, cells(table))
    head = ["record or rhythm", "beats without P", "left so"]
    show("No P wave where there is none", "no_p_wave", head, quiet + simulated_quiet(predictors))
    if short:
        cut = {name: delineation_table(e) for name, e in views(delineation_errors(short)).items()}
        who = [f"{view}{how}" for view in ("lead 0", "lead 1", "joint") for how in ("", ", 10 s")]
        show("Recordings of ten seconds", "short", ["point", *who], short_table(ours, cut))
    if peer:
        theirs = {name: delineation_table(e) for name, e in views(delineation_errors(peer)).items()}
        who = [f"{name}, {view}" for view in ("lead 0", "best of two") for name in ("clfnb", "NeuroKit2")]  # fmt: skip
        show("Beside NeuroKit2", "neurokit2", ["point", *who], side_by_side(ours, theirs))


if __name__ == "__main__":
    main()
