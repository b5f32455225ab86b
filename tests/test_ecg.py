"""The delineator that ships: what it weighs, what it survives, and that it keeps quiet where there is no P wave."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clfnb.models.shipped import shipped_weights
from clfnb.simulate.ecg.records import simulate
from clfnb.simulate.ecg.varied import simulate_rhythm
from clfnb.tracks.ecg.delineator import NETWORK_CONTEXT_S, Predictor
from clfnb.tracks.ecg.readers import ArrayRecord, Recording
from clfnb.tracks.ecg.streams import delineate_recording

CASES = Path(os.environ.get("CLFNB_DATA", "no-data")).parent / "cases" / "ecg"


@pytest.fixture(scope="module")
def predictor():
    return Predictor.load()


@pytest.fixture(scope="module")
def sinus():
    return simulate_rhythm("sinus", 60, seed=[4, 1], level=0.5)


def found_share(found, true, samples=10):
    """The share of true points with a found one within some samples."""
    return (np.abs(np.asarray(true)[:, None] - found).min(axis=1) <= samples).mean()


def test_the_weights_are_small_and_their_card_names_the_data():
    folder = shipped_weights("ecg")
    assert (folder / "model.safetensors").stat().st_size < 3e6
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "QT Database" in card and "ODC-By" in card and "not a medical device" in card


def test_fast_leaves_out_the_averages_and_finds_the_same_complexes(predictor, sinus):
    fast = Predictor.load(fast=True)
    assert predictor.average_beats and not fast.average_beats
    found, complexes = fast.delineate(sinus[0])["r_peak"], sinus[1].r_peak
    assert len(found) == len(complexes) and found_share(found, complexes, 3) > 0.98


def test_a_simulated_patient_is_delineated(predictor, sinus):
    signal, beats, _ = sinus
    found = predictor.delineate(signal)
    for point in ("p_peak", "qrs_on", "r_peak", "t_end"):
        true = beats[point][beats[point] >= 0]
        assert found_share(found[point], true, 15) > 0.95, point
    for wave in ("p", "t"):
        assert len({len(found[f"{wave}_{end}"]) for end in ("on", "peak", "end")}) == 1


@pytest.mark.parametrize("kind", ["fibrillation", "flutter", "junctional"])
def test_no_p_wave_where_there_is_none(predictor, kind):
    alone = total = 0
    for number in range(3):
        signal, beats, _ = simulate_rhythm(kind, 30, seed=[4, 2, number])
        before = beats.qrs_on.to_numpy()[:, None] - predictor.delineate(signal)["p_on"]
        alone += (~((before > 0) & (before < 75)).any(axis=1)).sum()
        total += len(beats)
    assert alone / total > 0.85, f"{alone} of {total} beats were left without a P wave"


def invented_p_waves(predictor, seed):
    """A sinus rhythm in which every fourth P wave is a straight line: lines, those with a P wave, other P waves found."""
    signal, beats, _ = simulate_rhythm("sinus", 40, seed=seed)
    signal, rng = signal.copy(), np.random.default_rng(0)
    chosen = beats[["p_on", "p_end"]].to_numpy()[5:-5:4] + [-3, 3]
    for on, end in chosen:
        line = np.linspace(signal[on], signal[end], end + 1 - on)
        signal[on : end + 1] = line + rng.normal(0, 0.01, line.shape)
    p = predictor.delineate(signal)["p_peak"]
    invented = ((p >= chosen[:, :1] - 5) & (p <= chosen[:, 1:] + 5)).any(axis=1).sum()
    return np.array([len(chosen), invented, (len(p) - invented) / (len(beats) - len(chosen))])


def test_a_beat_seldom_gets_a_p_wave_from_its_neighbours(predictor):
    seeds = (0, 3, 6, 8, 11, 15, 18, 19, 23, 26)
    alone, averaged = (
        np.array(
            [invented_p_waves(replace(predictor, average_beats=average), seed) for seed in seeds]
        )
        for average in (False, True)
    )
    for counts in (alone, averaged):
        lines, invented = counts[:, :2].sum(axis=0)
        assert invented <= 0.4 * lines, f"{invented:.0f} of {lines:.0f}"
        assert counts[:, 2].mean() > 0.95
    assert averaged[:, 1].sum() <= alone[:, 1].sum() + 2, "averaging adds P waves"


@pytest.mark.parametrize("seed", [19, 26])
def test_nothing_is_found_in_a_pause(predictor, seed):
    signal, beats, _ = simulate_rhythm("sinus", 40, seed=seed)
    places = (beats.t_end.to_numpy()[5:-5:6] + beats.p_on.to_numpy()[6:-4:6]) // 2
    rng, parts = np.random.default_rng(0), np.split(signal, places)
    for number, part in enumerate(parts[:-1]):  # two seconds without a beat after every sixth
        parts[number] = np.concatenate([part, part[-1] + rng.normal(0, 0.01, (500, 2))])
    paused = np.concatenate(parts).astype(np.float32)
    begins = np.cumsum([len(part) for part in parts[:-1]]) - 500
    r = predictor.delineate(paused)["r_peak"]
    inside = (r >= begins[:, None] + 10) & (r < begins[:, None] + 490)
    assert not inside.any(), f"{inside.sum()} beats in {len(begins)} pauses"
    assert abs(len(r) - len(beats)) <= 1


@pytest.mark.parametrize("harm", ["spike of 100 mV", "dead lead", "lead of noise"])
def test_one_bad_thing_does_not_destroy_the_record(predictor, sinus, harm):
    signal = sinus[0].copy()
    if harm == "spike of 100 mV":
        signal[7000, 0] += 100
    elif harm == "dead lead":
        signal[:, 1] = 3.5
    else:
        signal[:, 1] = np.random.default_rng(0).normal(0, 1, len(signal))
    clean, harmed = predictor.delineate(sinus[0]), predictor.delineate(signal)
    far = clean["r_peak"][np.abs(clean["r_peak"] - 7000) > 500]
    assert found_share(harmed["r_peak"], far) > 0.98
    assert found_share(harmed["t_end"], far + 60, 60) > 0.9


def test_hum_does_not_hide_the_waves(predictor):
    """The marks of a heart are those of the same heart with 0.05 to 1 mV of hum."""
    heart = simulate_rhythm("sinus", 30, 500, seed=[4, 1], level=0.5)[0]
    seconds = np.arange(len(heart))[:, None] / 500
    clean = predictor.delineate(heart, 500)
    for hertz, height in ((50.03, 0.05), (59.8, 0.3), (50, 1.0)):
        hum = height * np.sin(2 * np.pi * hertz * seconds + [0, 1])
        found = predictor.delineate(heart + hum.astype(np.float32), 500)
        for point in ("p_on", "p_peak", "qrs_on", "qrs_end", "t_peak"):
            assert abs(len(found[point]) - len(clean[point])) <= 1, (hertz, point)
            near = found_share(found[point], clean[point], 15)  # 30 ms
            assert near > 0.95, (hertz, height, point, near)


def test_the_answer_does_not_depend_on_where_the_record_was_cut(predictor, sinus):
    signal = sinus[0].copy()
    signal[9000, 0] += 100
    whole = predictor.delineate(signal)
    for cut, points in (
        (4000, list(whole)),
        (4007, ["p_on", "p_end", "qrs_on", "r_peak", "qrs_end"]),
    ):
        part = predictor.delineate(signal[cut:])
        for point in points:
            inside = whole[point][whole[point] > cut + NETWORK_CONTEXT_S * 250]
            share = found_share(part[point] + cut, inside, 0 if cut % 16 == 0 else 1)
            assert share > (0.999 if cut % 16 == 0 else 0.9), (cut, point, share)


def in_pieces(predictor, signal, seconds):
    "The points of a recording that is read in pieces of some seconds."
    names = [f"L{i}" for i in range(signal.shape[1])]
    source = ArrayRecord(signal, names, ["mV"] * len(names), 250)
    recording = Recording(
        path=Path("heart"),
        fs=250,
        samples=len(signal),
        names=names,
        units=source.units,
        left_out={},
        notes={},
        source=source,
        channels=list(range(len(names))),
    )
    return delineate_recording(predictor, recording, piece_s=seconds).points


@pytest.mark.parametrize("failed", [False, True])
def test_pieces_have_the_points_of_the_whole_recording(predictor, failed):
    """All of them, except a few that move by up to two samples where a lead fails."""
    heart = simulate(180, 250, seed=2)[0].astype(np.float32)
    if failed:
        heart[20000:, 1] = np.nan
    whole, parts = (in_pieces(predictor, heart, seconds) for seconds in (1000, 24))
    assert len(whole["r_peak"]) == 180
    moved = [parts[name] - whole[name] for name in whole]  # fails for another number of points
    assert max(np.abs(each).max() for each in moved) <= (2 if failed else 0)
    assert np.mean(np.concatenate(moved) != 0) < 0.2


@pytest.mark.skipif(not CASES.is_dir(), reason="no folder cases/ecg beside CLFNB_DATA")
@pytest.mark.parametrize(("name", "beats"), [("hr140", 0), ("hr180", 0), ("af", 0)])
def test_cases(predictor, name, beats):
    import wfdb

    record = wfdb.rdrecord(str(CASES / name / name))
    found = predictor.delineate(record.p_signal.astype(np.float32), record.fs)
    rate = 60 * len(found["r_peak"]) / (record.sig_len / record.fs)
    expected = {"hr140": 140, "hr180": 180}.get(name)
    assert expected is None or abs(rate - expected) <= 5
    if name == "af":
        assert len(found["p_peak"]) <= 0.05 * len(found["r_peak"])


@pytest.mark.parametrize("fs", [100, 128, 250, 360, 1000])
def test_no_mark_lies_outside_of_a_recording(predictor, fs):
    heart = simulate_rhythm("sinus", 12, fs, seed=[4, 1], level=0.5)[0]
    marks = 0
    for end in np.arange(6 * fs, 7.2 * fs, 0.06 * fs).astype(int):  # within each part of a beat
        found = predictor.delineate(heart[2 * fs : end], fs)
        assert all((at >= 0).all() and (at < end - 2 * fs).all() for at in found.values()), end
        marks += len(found["t_end"])
    assert marks > 50  # waves that reach the end are kept


@pytest.mark.parametrize("fs", [100, 250, 1000])
def test_a_sample_or_two_hold_no_wave(predictor, fs):
    for samples in (1, 2):
        found = predictor.delineate(np.ones((samples, 2), np.float32), fs)
        assert not any(len(at) for at in found.values())


@pytest.mark.parametrize("rate", [35, 40])
@pytest.mark.parametrize("fs", [250, 500])
def test_a_recording_that_begins_before_a_t_wave_begins_without_a_qrs_complex(predictor, rate, fs):
    heart, beats, _ = simulate_rhythm("bradycardia", 10, fs, seed=11, level=0.5, rate=rate)
    found = predictor.delineate(heart, fs)
    assert beats.r_peak[0] > 1.2 * fs  # its T wave lies at 0.4 s
    for point in ("qrs_on", "r_peak", "qrs_end"):
        assert (found[point] > 1.1 * fs).all(), (point, found[point].min() / fs)
    true = beats.r_peak[beats.r_peak >= 0]
    assert found_share(found["r_peak"], true, 0.03 * fs) == 1


def test_marks_beside_those_of_an_electrocardiograph(predictor):
    """Twelve leads at 1000 Hz, measured by the device that recorded them."""
    data = pytest.importorskip("pydicom.data")
    found, errors = predictor.predict([Path(data.get_testdata_file("waveform_ecg.dcm"))])
    assert not errors
    at = {point: 1000 * own.to_numpy() for point, own in found.groupby("point")["seconds"]}
    median = {
        "RR": np.median(np.diff(at["r_peak"])),
        "PR": np.median(at["qrs_on"] - at["p_on"]),
        "QRS": np.median(at["qrs_end"] - at["qrs_on"]),
        "QT": np.median(at["t_end"] - at["qrs_on"]),
    }
    device = {"RR": 982, "PR": 161, "QRS": 75, "QT": 368}  # ms, in the file
    largest = {"RR": 3, "PR": 10, "QRS": 10, "QT": 25}
    assert all(abs(median[name] - device[name]) <= largest[name] for name in device), median
