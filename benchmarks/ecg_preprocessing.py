"""Baseline removal beside scipy's medfilt, and the simulator beside real time, in one run on one core.

    OMP_NUM_THREADS=1 python benchmarks/ecg_preprocessing.py
    OMP_NUM_THREADS=1 python benchmarks/ecg_preprocessing.py --medfilt-python OTHER/bin/python

Since version 1.15, SciPy's medfilt stands on the running median that clfnb uses. The second command times the medfilt of another
environment, such as one with `scipy<1.15`, on the same signal.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from clfnb.preprocessing.ecg.signal import baseline_windows, remove_baseline
from clfnb.simulate.ecg.records import simulate

FS, SAMPLES, REPEATS = 250, 225_000, 5
PEER = """
import sys, time
import numpy as np, scipy
from scipy.signal import medfilt
short, long, repeats = map(int, sys.argv[2:])
signal, spent = np.load(sys.argv[1]), []
for _ in range(repeats):
    start = time.process_time()
    result = signal - np.stack([medfilt(medfilt(lead, short), long) for lead in signal.T], axis=1)
    spent.append(time.process_time() - start)
np.save(sys.argv[1], result)
print(scipy.__version__, min(spent))
"""


def seconds_of(call) -> float:
    "The least processor time of some repeats, in seconds."
    spent = []
    for _ in range(REPEATS):
        start = time.process_time()
        call()
        spent.append(time.process_time() - start)
    return min(spent)


def by_medfilt(signal: np.ndarray, python: str, folder: Path) -> tuple[str, float, np.ndarray]:
    "SciPy's version, seconds and result of the original's way: two zero-padded medians, lead by lead, in a process of its own."
    file = folder / "signal.npy"
    np.save(file, signal)
    done = subprocess.run(
        [python, "-c", PEER, str(file), *map(str, baseline_windows(FS)), str(REPEATS)],
        capture_output=True,
        text=True,
        check=True,
    )
    version, spent = done.stdout.split()
    return version, float(spent), np.load(file)


def main() -> None:
    "Print one line a measurement."
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--medfilt-python",
        default=sys.executable,
        help="the interpreter whose SciPy is the peer; default: this one",
    )
    python = parser.parse_args().medfilt_python
    duration = SAMPLES / FS
    signal = simulate(duration, FS, seed=0)[0]
    edge = sum(baseline_windows(FS))
    for kind in (np.float32, np.float64):
        data = signal.astype(kind)
        ours, own = (
            seconds_of(lambda data=data: remove_baseline(data, FS)),
            remove_baseline(data, FS),
        )
        with tempfile.TemporaryDirectory() as folder:
            version, theirs, other = by_medfilt(data, python, Path(folder))
        same = np.array_equal(own[edge:-edge], other[edge:-edge])
        print(
            f"baseline, {SAMPLES} x 2 {kind.__name__}: ours {ours:.3f} s, medfilt of SciPy {version} {theirs:.3f} s, "
            f"ratio {theirs / ours:.1f}, equal inside: {same}"
        )
    spent = seconds_of(lambda: simulate(duration, FS, seed=0))
    print(
        f"simulator, two leads at {FS} Hz: {duration:.0f} s of signal in {spent:.3f} s, {duration / spent:.0f} x real time"
    )


if __name__ == "__main__":
    main()
