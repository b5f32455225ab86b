"""Beats, labels and errors on the real QT Database; skipped where it is absent."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import wfdb

from clfnb.evaluation.delineation import POINT_NAMES, delineation_errors, delineation_table
from clfnb.preprocessing.ecg.beats import (
    BEAT_SYMBOLS,
    EXCLUDED_RECORDS,
    MISSING,
    POINTS,
    WAVE_POINTS,
    annotated_spans,
    complete_beats,
    read_beats,
)
from clfnb.preprocessing.ecg.labels import UNKNOWN, labels_from_beats, points_from_labels
from clfnb.preprocessing.ecg.quality import signal_kind
from clfnb.tracks.ecg.readers import open_recording

FOLDER = Path(os.environ.get("CLFNB_DATA", "no-data")) / "qtdb"
SAMPLES = 225_000
NAMES = (FOLDER / "RECORDS").read_text().split() if (FOLDER / "RECORDS").exists() else []
pytestmark = pytest.mark.skipif(
    not NAMES, reason="CLFNB_DATA/qtdb/RECORDS not found: the real QT Database is not at hand"
)


@pytest.fixture(scope="module")
def real():
    "Marks, beats and what was left out, of every record."
    return {
        name: (wfdb.rdann(str(FOLDER / name), "q1c"), *read_beats(FOLDER / name)) for name in NAMES
    }


def points(beats):
    return beats[list(POINTS)].to_numpy()


def test_every_mark_is_used_once_or_left_out_with_a_reason(real):
    for name, (marks, beats, left_out) in real.items():
        used = points(beats).ravel()
        assert sorted([*used[used != MISSING], *left_out["sample"]]) == sorted(marks.sample), name
        assert left_out.reason.str.len().gt(0).all(), name


def test_totals_equal_the_symbols(real):
    for name, (marks, beats, left_out) in real.items():
        symbols = Counter(marks.symbol) - Counter(left_out.symbol)
        assert len(beats) == sum(n for symbol, n in symbols.items() if symbol in BEAT_SYMBOLS), name
        assert (beats.p_peak != MISSING).sum() == symbols["p"], name
        assert (beats.t_peak != MISSING).sum() == symbols["t"], name
        assert (beats[["p_on", "qrs_on", "t_on"]] != MISSING).sum().sum() == symbols["("], name
        assert (beats[["p_end", "qrs_end", "t_end"]] != MISSING).sum().sum() == symbols[")"], name


def test_points_are_in_order_within_and_between_beats(real):
    for name, (_, beats, _) in real.items():
        known = points(beats).ravel()
        assert (np.diff(known[known != MISSING]) >= 0).all(), name
        assert (beats.r_peak != MISSING).all() and not (beats.r_peak.diff() <= 0).any(), name


def test_only_u_waves_are_left_out(real):
    reasons = {reason for _, _, left_out in real.values() for reason in left_out.reason}
    assert reasons == {"U wave"}


def test_known_oddities(real):
    if "sel232" in real:
        assert set(real["sel232"][1].symbol) == {"A"}
    for name in {"sel35", "sel37"} & set(real):
        assert (real[name][1][["p_peak", "t_peak"]] == MISSING).all(axis=None), name
    for name in set(real) - set(EXCLUDED_RECORDS):
        assert (real[name][1].p_peak != MISSING).mean() > 0.5, name
    for name in set(EXCLUDED_RECORDS) & set(real):
        assert (real[name][1].p_peak != MISSING).mean() < 0.5, name


def test_every_lead_passes_for_one():
    """What is refused as no ECG by its shape is none of 20-second pieces of these leads."""
    for name in NAMES:
        with open_recording(FOLDER / name) as record:
            doubts = [note for note in record.notes.values() if "gain" not in note]
            assert not record.left_out and not doubts and len(record.names) == 2, name
            for first in (0, 100_000, 200_000):
                piece = record.read(first, first + 5000)
                kinds = [signal_kind(lead, record.fs)[0] for lead in piece.T]
                assert kinds == ["ecg", "ecg"], (name, first, kinds)


def test_counts_of_the_eighty_records(real):
    if len(real) != 80:
        pytest.skip(f"counted for a set of 80 records, found {len(real)}")
    beats = [beats for _, beats, _ in real.values()]
    assert sum(map(len, beats)) == 2767
    assert sum((b.p_peak != MISSING).sum() for b in beats) == 2365
    assert sum((b.t_peak != MISSING).sum() for b in beats) == 2686
    assert sum((left_out.symbol == "u").sum() for _, _, left_out in real.values()) == 665
    kept, reasons = zip(
        *(
            complete_beats(
                b, ["p_on", "p_peak", "p_end", "qrs_on", "r_peak", "qrs_end", "t_peak", "t_end"]
            )
            for b in beats
        ),
        strict=True,
    )
    assert sum(map(len, kept)) + sum(sum(r.values()) for r in reasons) == 2767


def test_stretches_hold_all_points_and_do_not_overlap(real):
    for name, (_, beats, _) in real.items():
        spans = annotated_spans(beats)
        known = points(beats)[points(beats) != MISSING]
        inside = (known[:, None] >= spans[:, 0]) & (known[:, None] <= spans[:, 1])
        assert (inside.sum(axis=1) == 1).all(), name
        assert (spans[1:, 0] > spans[:-1, 1]).all() and (spans[:, 1] > spans[:, 0]).all(), name


@pytest.mark.parametrize("scheme", ["half", "points"])
def test_labels_bring_every_point_back(real, scheme):
    for name, (_, beats, _) in real.items():
        labels = labels_from_beats(beats, SAMPLES, scheme)
        assert (labels == UNKNOWN).sum() >= SAMPLES - (np.diff(annotated_spans(beats)) + 1).sum(), (
            name
        )
        back = points_from_labels(
            labels, scheme, min_ms=0
        )  # one half P wave of the database lasts less than the default 20 ms
        for wave, (on, peak, end) in WAVE_POINTS.items():
            needed = [p for p in (on, peak, end) if p in back]
            whole = beats[(beats[needed] != MISSING).all(axis=1)]
            for point in needed:
                missing = np.setdiff1d(whole[point], back[point])
                assert not len(missing), f"{name}, {wave}: {point} at {missing} did not come back"


def test_the_expert_agrees_with_himself(real):
    entries = []
    for name, (_, beats, _) in real.items():
        marked = {point: beats[point].to_numpy()[beats[point] != MISSING] for point in POINTS}
        entries.append(
            dict(
                record=name,
                lead=0,
                predicted=marked,
                reference=marked,
                spans=annotated_spans(beats),
                fs=250,
            )
        )
    table = delineation_table(delineation_errors(entries), replicates=50)
    assert list(table.index) == list(POINT_NAMES) and table.n["r_peak"] == sum(
        len(beats) for _, beats, _ in real.values()
    )
    assert (table[["se", "ppv", "f1"]] == 1).all(axis=None) and (
        table[["mean_ms", "sd_ms"]] == 0
    ).all(axis=None)
