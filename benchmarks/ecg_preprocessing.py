"""Baseline removal beside scipy's medfilt, and the simulator beside real time, in one run on one core.

    OMP_NUM_THREADS=1 python benchmarks/ecg_preprocessing.py
"""

import time

import numpy as np
import scipy
from scipy.signal import medfilt

from clfnb.preprocessing.ecg import baseline_windows, remove_baseline
from clfnb.simulate.ecg import simulate

FS, SAMPLES, REPEATS = 250, 225_000, 5


def seconds_of(call) -> float:
    "The shortest of some repeats, in seconds."
    spent = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        spent.append(time.perf_counter() - start)
    return min(spent)


def with_medfilt(signal: np.ndarray) -> np.ndarray:
    "The original's way: two zero-padded medians of scipy.signal, lead by lead."
    short, long = baseline_windows(FS)
    return signal - np.stack([medfilt(medfilt(lead, short), long) for lead in signal.T], axis=1)


def main() -> None:
    "Print one line a measurement."
    duration = SAMPLES / FS
    print(f"numpy {np.__version__}, scipy {scipy.__version__}; best of {REPEATS}")
    signal = simulate(duration, FS, seed=0)[0]
    for kind in (np.float32, np.float64):
        data = signal.astype(kind)
        ours, theirs = seconds_of(lambda data=data: remove_baseline(data, FS)), seconds_of(lambda data=data: with_medfilt(data))
        edge = sum(baseline_windows(FS))
        same = np.array_equal(remove_baseline(data, FS)[edge:-edge], with_medfilt(data)[edge:-edge])
        print(f"baseline, {SAMPLES} x 2 {kind.__name__}: ours {ours:.3f} s, medfilt {theirs:.3f} s, ratio {theirs / ours:.1f}, equal inside: {same}")
    spent = seconds_of(lambda: simulate(duration, FS, seed=0))
    print(f"simulator, two leads at {FS} Hz: {duration:.0f} s of signal in {spent:.3f} s, {duration / spent:.0f} x real time")


if __name__ == "__main__":
    main()
