"""A day of twelve leads through `clfnb predict ecg`: memory, time, beats, and whether the cuts between pieces show.

    python benchmarks/ecg_day.py [--hours 24] [--leads 12] [--scratch FOLDER] [--out FOLDER]

The record is a simulated patient, written as WFDB hour by hour: each lead is a direction in the plane of the two simulated leads with its own
wander and noise, whose level is another in each hour. In each hour a lead has a spike of 100 mV; in the first and each sixth one after it a
lead is flat for ten minutes, all leads are lost for one minute, and a burst of noise of 2 mV covers all leads for twenty seconds. Beats inside
the lost minute, the burst and two seconds around them are not counted, nor those within two seconds of a full hour, where the simulated
hearts of two hours meet. A beat is found if an R is within 100 ms. Memory is the largest resident set of the process, less that of a process that only imports torch. The first
hour is delineated again in pieces of other lengths.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
from tables import write_table

from clfnb.simulate.ecg.records import heart, patient
from clfnb.tracks.ecg.delineator import Predictor
from clfnb.tracks.ecg.readers import open_recording
from clfnb.tracks.ecg.streams import delineate_recording

FS, HOUR, LOST = 250, 3600, -32768  # Hz; seconds; the stored value of a sample that is not there
GAP, BURST = (1200, 1260), (2400, 2420)  # seconds of an hour
PIECES_S = (47, 60, 333, HOUR)
NAMES = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
# A process inherits the peak of the one that starts it, so a small one stands between.
LAUNCH = """import json, resource, subprocess, sys, time
begun = time.perf_counter()
status = subprocess.call(sys.argv[2:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
numbers = time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss
open(sys.argv[1], "w").write(json.dumps(numbers))
sys.exit(status)
"""


def hour_of_leads(who, leads, seconds, number, seed):
    "Stored samples (samples, leads) int16 of one hour, and its R peaks in seconds."
    rng = np.random.default_rng([seed, number])
    two, beats = heart(who, seconds, FS, rng)
    angles = np.arange(leads) * np.pi / leads
    time_s = np.arange(len(two))[:, None] / FS
    signal = two @ np.stack([np.cos(angles), np.sin(angles)])
    signal += 0.2 * np.sin(2 * np.pi * (rng.uniform(0.1, 0.4, leads) * time_s + rng.random(leads)))
    signal += rng.uniform(0.005, 0.06) * rng.standard_normal(signal.shape)
    signal[rng.integers(len(signal)), number % leads] += 100
    if number % 6 == 0:
        signal[FS * 600 : FS * 1200, number % leads] = 0.3
        burst = signal[FS * BURST[0] : FS * BURST[1]]
        burst += 2 * rng.standard_normal(burst.shape)
    stored = np.round(300 * signal).clip(LOST + 1, -LOST - 1).astype("<i2")
    if number % 6 == 0:
        stored[FS * GAP[0] : FS * GAP[1]] = LOST
    return stored, beats.r_peak[beats.r_peak >= 0].to_numpy() / FS


def write_record(path, hours, leads, seed=0):
    "Write the record; its R peaks in seconds, and the spans (from, to) that are not counted."
    who, peaks, spans = patient(np.random.default_rng(seed)), [], []
    total = round(hours * HOUR)
    with path.with_suffix(".dat").open("wb") as file:
        for number, first in enumerate(range(0, total, HOUR)):
            stored, r = hour_of_leads(who, leads, min(HOUR, total - first), number, seed)
            file.write(stored.tobytes())
            peaks.append(r + first)
            spans.append((first - 2, first + 2))
            if number % 6 == 0:
                spans += [(first + a - 2, first + b + 2) for a, b in (GAP, BURST)]
    spans.append((total - 2, total + 2))
    lines = [f"{path.name} {leads} {FS} {total * FS}"]
    lines += [f"{path.name}.dat 16 300/mV 16 0 0 0 0 {name}" for name in NAMES[:leads]]
    path.with_suffix(".hea").write_text("\n".join(lines) + "\n")
    return np.concatenate(peaks), np.array(spans)


def run(words, folder):
    "Run a process of Python: wall seconds, processor seconds, largest resident set in MB."
    told = folder / "used.json"
    command = [sys.executable, *map(str, words)]
    subprocess.run([sys.executable, "-c", LAUNCH, str(told), *command], check=True)
    wall, cpu, most = json.loads(told.read_text())
    return wall, cpu, most / (2**20 if sys.platform == "darwin" else 2**10)


def counted(seconds, spans):
    "The times outside all spans."
    inside = (seconds[:, None] >= spans[:, 0]) & (seconds[:, None] < spans[:, 1])
    return seconds[~inside.any(axis=1)]


def most_moved(path):
    "How far any mark of the first hour moves when it is cut at other places, in samples; and its marks."
    predictor, found = Predictor.load(), []
    for piece_s in PIECES_S:
        with open_recording(path) as recording:
            found.append(delineate_recording(predictor, recording, piece_s=piece_s).points)
    counts = [{name: len(at) for name, at in points.items()} for points in found]
    if any(count != counts[0] for count in counts):
        return np.inf, counts
    moved = [np.abs(points[name] - found[0][name]).max() for points in found for name in points]
    return max(moved), sum(counts[0].values())


HEAD = ["measure", "value"]


def measure(options, folder):
    "The rows of the table."
    path, first = folder / "day", folder / "hour"
    truth, spans = write_record(path, options.hours, options.leads)
    write_record(first, min(options.hours, 1), options.leads)
    _, _, torch_mb = run(["-c", "import torch"], folder)
    beats, summary = folder / "beats.csv", folder / "summary.json"
    words = ["-m", "clfnb", "predict", "ecg", path, "--out", folder, "--csv", beats]
    wall, cpu, mb = run([*words, "--json", summary], folder)
    found = counted(pd.read_csv(beats).seconds.to_numpy(), spans)
    truth = counted(truth, spans)
    near = np.abs(truth[np.searchsorted(truth[:-1], found).clip(1) - np.array([[1], [0]])] - found)
    right = int((near.min(axis=0) <= 0.1).sum())
    moved, marks = most_moved(first)
    pieces = ", ".join(str(seconds) for seconds in PIECES_S)
    return [
        ["record", f"{options.hours:g} h, {options.leads} leads, {FS} Hz"],
        ["peak memory beyond `import torch`, MB", f"{mb - torch_mb:.0f}"],
        ["peak memory in all, MB", f"{mb:.0f}"],
        ["time, min", f"{wall / 60:.1f}"],
        ["processor time, min", f"{cpu / 60:.1f}"],
        ["values a second of processor time, millions", f"{options.hours * HOUR * FS * options.leads / cpu / 1e6:.2f}"],
        ["beats simulated", f"{len(truth):,}"],
        ["beats found", f"{right:,}"],
        ["beats that are none", f"{len(found) - right:,}"],
        [f"marks of the first hour in pieces of {pieces} s", f"{marks:,}"],
        ["samples by which a mark moves, at most", f"{moved:g}"],
    ]  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--hours", type=float, default=24, help="length of the record")
    parser.add_argument(
        "--leads", type=int, default=12, choices=range(1, 13), help="number of leads"
    )
    parser.add_argument("--scratch", type=Path, help="folder for the record, 520 MB for a day")
    parser.add_argument("--out", type=Path, help="folder for the table; it is printed too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        rows = measure(options, Path(folder))
    for name, value in rows:
        print(f"{name}: {value}")
    write_table(options.out, "day", HEAD, rows)


if __name__ == "__main__":
    main()
