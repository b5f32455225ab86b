"""Marks of a DICOM recording beside those of the electrocardiograph that made it.

    python benchmarks/ecg_device.py [--file FILE] [--run RUN] [--out FOLDER]

Without a file the example of pydicom is measured: twelve leads of ten seconds at 1000 Hz, whose
ten beats a Mortara ELI 250 has marked. A row gives the difference between the two programs' marks.
Neither is a reference: no person has corrected the device's.
"""

import argparse
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
from tables import write_table

from clfnb.evaluation.delineation import TOLERANCE_MS, match
from clfnb.tracks.ecg.delineator import Predictor

POINTS = {  # concepts of SCP-ECG in DICOM (PS3.16, context group 3335)
    "5.10.3-1": "p_on",
    "5.10.3-2": "p_end",
    "5.10.3-3": "qrs_on",
    "5.7.1-3": "r_peak",
    "5.10.3-4": "qrs_end",
    "5.10.3-5": "t_end",
}
FIRST = 100  # number of the first beat's marks; those of the median beat have a lower one
HEAD = ["point", "marks of the device", "found", "difference, ms", "SD, ms", "largest, ms"]


def device_marks(file: Path) -> dict:
    "Point -> marks (n,) in ms of the device, beat by beat."
    data, marks = pydicom.dcmread(file), {}
    rate = float(data.WaveformSequence[0].SamplingFrequency)
    for mark in data.get("WaveformAnnotationSequence", []):
        concepts = mark.get("ConceptNameCodeSequence", [])  # a text has none
        point = POINTS.get(concepts[0].CodeValue) if concepts else None
        if point and mark.AnnotationGroupNumber >= FIRST:
            samples = np.ravel(mark.ReferencedSamplePositions)
            marks.setdefault(point, []).extend(1000 * samples / rate)
    return {point: np.array(marks.get(point, [])) for point in POINTS.values()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--file", type=Path, help="a DICOM recording with marks")
    parser.add_argument("--run", type=Path, help="a run or model folder; the shipped weights")
    parser.add_argument("--out", type=Path, help="folder for the table")
    options = parser.parse_args()
    file = options.file or Path(pydicom.data.get_testdata_file("waveform_ecg.dcm"))
    found, errors = Predictor.load(options.run).predict([file])
    if errors:
        parser.error(errors[0])
    rows = []
    for point, marks in device_marks(file).items():
        own = 1000 * found.loc[found["point"] == point, "seconds"].to_numpy()
        pairs = match(own, marks, TOLERANCE_MS)
        near = own[pairs[:, 0]] - marks[pairs[:, 1]]
        sizes = f"{near.mean():+.1f}", f"{near.std(ddof=1):.1f}", f"{np.abs(near).max():.0f}"
        rows.append([point, str(len(marks)), str(len(near)), *sizes])
        print(*rows[-1], sep="\t")
    write_table(options.out, "device", HEAD, rows)


if __name__ == "__main__":
    main()
