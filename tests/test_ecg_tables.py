"""The same heart in tables and MATLAB files of many writers: the values in mV, the rate and the names, or one line that says why not."""

import datetime

import numpy as np
import pydicom
import pytest
import scipy.io

from clfnb.files import InputError
from clfnb.simulate.ecg.records import simulate
from clfnb.tracks.ecg.readers import open_recording

HEART = simulate(10, 250, seed=1)[0]
SECONDS = np.arange(len(HEART)) / 250
STEPS = np.round(200 * HEART).astype(np.int16)


def lines_of(values=HEART, times=None, separator=",", digits=5, decimal=".", end=""):
    """The rows of a table."""
    rows = [[f"{value:.{digits}f}".replace(".", decimal) for value in row] for row in values]
    if times is not None:
        rows = [[time, *row] for time, row in zip(times, rows, strict=True)]
    return [separator.join(row) + end for row in rows]


def table(folder, head, encoding="utf-8", **options):
    """A table with lines above its rows, and its path."""
    path = folder / "a.csv"
    path.write_bytes("\n".join([*head, *lines_of(**options)]).encode(encoding))
    return path


def read(path, fs=None):
    """Names, rate and values of a recording."""
    with open_recording(path, fs) as record:
        return record.names, record.fs, record.read()


def scaled(unit, digits=0):
    """Seconds in another unit, as text."""
    return [f"{second / unit:.{digits}f}" for second in SECONDS]


def stamps(form, start="2023-12-31 23:59:55"):
    """Times of the clock across midnight, to a millisecond."""
    first = datetime.datetime.fromisoformat(start)
    times = [first + datetime.timedelta(milliseconds=4 * at) for at in range(len(HEART))]
    return [time.strftime(form.replace("%f", f"{time.microsecond // 1000:03d}")) for time in times]


@pytest.mark.parametrize(
    "head, options",
    [
        (["t (min),I,II"], {"times": scaled(60, 8)}),
        (["t,I,II", "min,mV,mV"], {"times": scaled(60, 8)}),
        (["time (us),I,II"], {"times": scaled(1e-6)}),
        (["Time in ms,I,II"], {"times": scaled(1e-3)}),
        (["timestamp_ms,I,II"], {"times": [f"{1.7e12 + 4 * at:.0f}" for at in range(len(HEART))]}),
        (["Zeit [s];I;II"], {"times": scaled(1, 3), "separator": ";", "decimal": ","}),
        (["hours,I,II"], {"times": scaled(3600, 10)}),
        (["time,I,II"], {"times": stamps("%H:%M:%S.%f")}),
        (["time,I,II"], {"times": stamps("%Y-%m-%dT%H:%M:%S.%fZ")}),
        (["time,I,II"], {"times": stamps("%Y-%m-%d %H:%M:%S.%f+01:00")}),
        (["Date/Time,I,II"], {"times": stamps("%d.%m.%Y %H:%M:%S.%f")}),
        (["time,I,II"], {"times": stamps("%I:%M:%S.%f %p")}),
        (["date,time,I,II"], {"times": stamps("%Y-%m-%d,%H:%M:%S.%f")}),
        (["# exported", "# Sampling rate: 250 Hz", "I,II"], {}),
        (["# time,I,II"], {"times": scaled(1, 3)}),
        (["Name,A", "Sample Rate,250.0 hertz", "", "I,II"], {}),
        (["time,I,II,event"], {"times": scaled(1, 3), "end": ",N"}),
    ],
)
def test_the_rate_that_a_table_tells(tmp_path, head, options):
    """In any unit, across midnight, or above the header; words in a column of events are no fault."""
    names, rate, values = read(table(tmp_path, head, **options))
    assert names == ["I", "II"] and rate == pytest.approx(250, rel=1e-6)
    np.testing.assert_allclose(values, HEART, atol=1e-4)


@pytest.mark.parametrize(
    "head, options",
    [
        (["I_uV,II_uV"], {"values": 1000 * HEART}),
        (["I in µV,II in µV"], {"values": 1000 * HEART, "encoding": "latin-1"}),
        (["I {µV},II <uV>"], {"values": 1000 * HEART, "encoding": "utf-16"}),
        (["I/V,II/V"], {"values": 1e-3 * HEART, "digits": 8}),
        (["I,II"], {"encoding": "utf-16-le"}),
        (["Unit: uV", "I,II"], {"values": 1000 * HEART}),
        (["I\tII"], {"separator": "\t", "decimal": ","}),
        (["I II"], {"separator": " ", "decimal": ","}),
        (["I|II"], {"separator": "|"}),
        (["sep=;", "I;II"], {"separator": ";", "decimal": ","}),
        (["ECG export", "", "I,II"], {}),
        (["% I,II"], {}),
    ],
)
def test_units_and_dialects(tmp_path, head, options):
    names, _, values = read(table(tmp_path, head, **options), 250)
    assert names == ["I", "II"]
    np.testing.assert_allclose(values, HEART, atol=1e-4)


@pytest.mark.parametrize("head", [",0,1", "0,1", "1,2"])
def test_numbers_of_columns_are_no_sample(tmp_path, head):
    """Once the numbers that pandas writes above its columns were the first sample, and all marks one late."""
    times = range(len(HEART)) if head[0] == "," else None
    path = table(tmp_path, [head], times=None if times is None else [str(at) for at in times])
    np.testing.assert_allclose(read(path, 250)[2], HEART, atol=1e-4)
    path.write_text(path.read_text().replace(f"{HEART[4, 1]:.5f}", "NaN", 1))
    assert len(read(path, 250)[2]) == len(HEART)


def test_names_that_occur_twice_and_codes_of_missing_samples(tmp_path):
    rows = lines_of()
    rows[100:104] = ["--,0.5", "#NV,0.5", "-32768,0.5", "inf,0.5"]
    (tmp_path / "a.csv").write_text("\n".join(["II,II", *rows]))
    names, _, values = read(tmp_path / "a.csv", 250)
    assert names == ["II", "II (2)"]
    assert np.argwhere(np.isnan(values)).tolist() == [[at, 0] for at in range(100, 104)]


@pytest.mark.parametrize(
    "head, options, fs, what",
    [
        (["t,I,II"], {"times": scaled(60, 8)}, None, "column t has no unit: 15000 Hz in s or 250 Hz in min"),
        (["time,I,II"], {"times": scaled(1e-3)}, None, "has no unit: 250 Hz in ms"),
        (["time,I,II"], {"times": scaled(1e-3)}, 500, "column time says 250 Hz, --fs says 500 Hz"),
        (["time (s),I,II"], {"times": scaled(1e-3)}, 250, "column time .s. says 0.25 Hz"),
        (["# fs = 500 Hz", "I,II"], {}, 250, "row 1 says 500 Hz, --fs says 250 Hz"),
        (["# fs 250", "# sampling rate 500 Hz", "I,II"], {}, None, "found 250 and 500 Hz"),
        (["time,I,II", "s,uV,uV", "float,float,float"], {"times": scaled(1, 3)}, None, "row 3: expected one header|row 1: expected one header"),
        (["I"], {"decimal": ",", "values": HEART[:, :1]}, 250, "row 1: expected 2 names, one a column, found 1"),
        ([], {"decimal": ",", "values": HEART[:, :1]}, 250, "behind a decimal comma"),
        (["I\tII"], {"separator": "\t", "values": np.full((500, 2), 47.25), "decimal": ",", "digits": 3}, 250, "row 2, column I: expected a number, found '47,250'"),
        (["I,II"], {"end": ",x"}, 250, "row 1: expected 3 names, one a column, found 2"),
        (["# fs = 500 Hz", "time (s),I,II"], {"times": scaled(1, 3)}, None, "column time .s. says 250 Hz, row 1 says 500 Hz"),
        (["I,II"], {"values": HEART[:0]}, 250, "row 1: expected a row of numbers, found 'I,II'"),
        (["I,II", "0.1,0.2\0"], {}, 250, "row 2: expected text, found a byte 0, as in binary files"),
        (["I,II", "0.1,\u22120.2"], {}, 250, "row 2: expected names of columns or numbers alone, found '\u22120.2'"),
        (["I,II"], {"values": HEART.T[:, :1000].reshape(1, -1)}, 250, "row 1: expected 2000 names"),
        ([], {"values": HEART.T}, 250, "column 0: its name .* and 2492 more"),
    ],
)  # fmt: skip
def test_tables_that_are_refused(tmp_path, head, options, fs, what):
    with pytest.raises(InputError, match=what) as error:
        read(table(tmp_path, head, **options), fs)
    assert "\n" not in str(error.value)


def test_times_without_a_unit_fit_the_rate_that_is_given(tmp_path):
    for times in (scaled(60, 8), scaled(1e-3), scaled(86400, 12)):
        assert read(table(tmp_path, ["t,I,II"], times=times), 250)[1] == 250


def cells(*entries):
    """A cell of MATLAB."""
    content = np.empty((1, len(entries)), object)
    content[0] = [np.asarray(entry) for entry in entries]
    return content


@pytest.mark.parametrize(
    "variables",
    [
        {"val": STEPS.T, "gain": 200},
        {"val": STEPS.T, "adc_gain": [0.005, 0.005]},
        {"val": STEPS.T * np.int16([[1], [2]]), "gain": [200, 400]},
        {"val": (STEPS + 100).T, "Gain": 200, "baseline": 100},
        {"s": {"signal": STEPS.T, "gain": 200_000, "units": "V"}},
        {"val": np.round(1000 * HEART).astype(np.int32).T, "gain": 5000, "units": "uV"},
        {"ecg": cells(HEART[:, 0], HEART[:, :1].T * 0 + HEART[:, 1])},
        {"ecg": cells(HEART)},
        {"d": cells({"ecg": HEART})},
        {"I": HEART[:, :1], "II": HEART[:, 1:]},
        {"ecg": HEART * [1, 1000], "units": cells("mV", "uV")},
        {"ecg_uV": 1000 * HEART},
        {"data": HEART, "labels": cells("I", "II")},
    ],
)
def test_matlab_files_of_one_heart(tmp_path, variables):
    """Gains of both senses, cells, leads apart, units of each lead."""
    scipy.io.savemat(tmp_path / "a.mat", {**variables, "SamplingRate": "250 Hz"})
    names, rate, values = read(tmp_path / "a.mat")
    assert rate == 250 and (names == ["I", "II"] or not {"I", "labels"} & {*variables})
    np.testing.assert_allclose(values, HEART, atol=0.003)


@pytest.mark.parametrize(
    "variables, what",
    [
        ({"val": STEPS.T, "gain": 7}, "variable gain: expected one meaning"),
        ({"val": STEPS.T, "gain": 0.2, "units": "uV"}, "gain: expected one meaning .* .as they are."),
        ({"val": STEPS.T, "gain": "200/mV"}, "variable gain: expected a number, or 2, found '200/mV'"),
        ({"ecg": cells(HEART[:, 0], HEART[:9, 1])}, "variable ecg: .* cells of 9 and 2500 samples"),
        ({"raw": HEART, "filtered": 2 * HEART}, "found raw and filtered: name one of them ecg"),
        ({"ecg": HEART, "t": SECONDS / 2}, "variable t says 500 Hz, --fs says 250 Hz"),
        ({"ecg": HEART, "unit": "mV", "units": cells("uV")}, "expected one unit"),
    ],
)  # fmt: skip
def test_matlab_files_that_are_refused(tmp_path, variables, what):
    scipy.io.savemat(tmp_path / "a.mat", {**variables, "fs": 250})
    with pytest.raises(InputError, match=what) as error:
        read(tmp_path / "a.mat")
    assert "\n" not in str(error.value)


def test_the_times_and_the_missing_samples_of_a_matlab_file(tmp_path):
    steps = STEPS.copy()
    steps[50, 1] = -32768
    scipy.io.savemat(tmp_path / "a.mat", {"val": steps.T, "gain": 200, "tm": SECONDS})
    _, rate, values = read(tmp_path / "a.mat")
    assert rate == 250 and np.argwhere(np.isnan(values)).tolist() == [[50, 1]]


def test_gains_of_wfdb_with_an_exponent(tmp_path):
    """wfdb reads 2.0E+2 as 2, so all amplitudes were a hundred times too large."""
    (tmp_path / "a.dat").write_bytes(STEPS.astype("<i2").tobytes())
    for gain in ("2E2", "2.0E+2", "2e2"):
        lines = [f"a.dat 16 {gain}/mV 16 0 0 0 0 {name}" for name in ("I", "II")]
        (tmp_path / "a.hea").write_text("\n".join([f"a 2 250 {len(STEPS)}", *lines]))
        np.testing.assert_allclose(read(tmp_path / "a")[2], STEPS / 200, atol=1e-5)
    (tmp_path / "a.hea").write_text(f"a 1 250 {len(STEPS)}\na.dat 16 0x10/mV 16 0 0 0 0 I")
    with pytest.raises(InputError, match="expected a number as gain of .I., found .0x10."):
        read(tmp_path / "a")


def test_rows_without_a_sample_count_as_time(tmp_path):
    """Rows of separators below the header are missing samples; once they could be taken for lines above it."""
    (tmp_path / "a.csv").write_text("\n".join(["I,II", *[","] * 20, *lines_of()]))
    values = read(tmp_path / "a.csv", 250)[2]
    assert np.isnan(values[:20]).all()
    np.testing.assert_allclose(values[20:], HEART, atol=1e-4)


@pytest.mark.parametrize("head", [["I,HR"], []])
def test_words_in_the_first_rows_are_no_lines_above_a_header(tmp_path, head):
    rows = [f"{i:.4f},{'waiting' if at < 500 else 72}" for at, i in enumerate(HEART[:, 0])]
    (tmp_path / "a.csv").write_text("\n".join([*head, *rows]))
    with pytest.raises(
        InputError, match="expected names|expected numbers alone|expected one header"
    ):
        read(tmp_path / "a.csv", 250)


def waveforms(path, *groups):
    """A DICOM file with groups of (steps of 5 uV, names, rate, offset in ms), padded with -32768."""
    data = pydicom.Dataset()
    data.SOPClassUID = data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.9.1.1"
    data.WaveformSequence = []
    for steps, names, rate, offset in groups:
        group = pydicom.Dataset()
        group.MultiplexGroupTimeOffset, group.SamplingFrequency = offset, rate
        group.NumberOfWaveformSamples, group.NumberOfWaveformChannels = steps.shape
        group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
        group.WaveformPaddingValue = np.int16(-32768).tobytes()
        group.WaveformData = steps.astype("<i2").tobytes()
        group.ChannelDefinitionSequence = []
        for name in names:
            channel, unit = pydicom.Dataset(), pydicom.Dataset()
            channel.ChannelLabel, channel.ChannelSensitivity = name, "5"
            channel.ChannelBaseline, channel.ChannelSensitivityCorrectionFactor = "0", "1"
            unit.CodeValue = "uV"
            channel.ChannelSensitivityUnitsSequence = [unit]
            group.ChannelDefinitionSequence.append(channel)
        data.WaveformSequence.append(group)
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.save_as(path, enforce_file_format=True)
    return path


def test_groups_padding_and_labels_of_dicom(tmp_path):
    """Groups of the same seconds are one recording, longer than an average of beats at a high rate."""
    steps = STEPS.copy()
    steps[50, 1] = -32768
    average = np.repeat(STEPS[:300], 10, axis=0), ["I", "II"], 2500, 0
    halves = (steps[:, :1], ["I"], 250, 0), (steps[:, 1:], ["II"], 250, 0)
    names, rate, values = read(waveforms(tmp_path / "a.dcm", average, *halves))
    assert (names, rate) == (["I", "II"], 250)
    assert np.argwhere(np.isnan(values)).tolist() == [[50, 1]]
    np.testing.assert_allclose(
        np.nan_to_num(values), np.where(steps > -32768, STEPS / 200, 0), atol=1e-5
    )


@pytest.mark.parametrize(
    "absent, note",
    [
        ("ChannelSensitivity", "its file gives no ChannelSensitivity, so 1 uV per step is assumed"),
        ("ChannelSensitivityUnitsSequence", "its file gives no unit, so mV is assumed"),
    ],
)
def test_a_dicom_channel_without_its_unit_is_noted(tmp_path, absent, note):
    """Its samples are in arbitrary units (PS3.3, C.10.9); once they were taken for microvolts without a word."""
    data = pydicom.dcmread(waveforms(tmp_path / "a.dcm", (STEPS, ["I", "II"], 250, 0)))
    delattr(data.WaveformSequence[0].ChannelDefinitionSequence[1], absent)
    data.save_as(tmp_path / "b.dcm")
    with open_recording(tmp_path / "b.dcm", leads=["I", "II"]) as record:
        assert record.notes["II"].startswith(note) and "I" not in record.notes
        factor = 1e-3 if absent == "ChannelSensitivity" else 5
        np.testing.assert_allclose(record.read(), STEPS * [0.005, factor], rtol=1e-5)


@pytest.mark.parametrize(
    "separator, mark", [(";", "."), (";", ","), ("\t", "."), ("\t", ","), (",", ".")]
)
def test_separators_of_thousands(tmp_path, separator, mark):
    """1.234 µV beside 567 µV once was a thousandth: the R peaks were cut out. Decimals of all other forms are read."""
    rows = [[f"{round(3000 * value):,}".replace(",", mark) for value in row] for row in HEART]
    head = separator.join(["I (uV)", "II (uV)"])
    path = tmp_path / "a.csv"
    path.write_text("\n".join([head, *map(separator.join, rows)]))
    with pytest.raises(InputError, match="without a separator of thousands, found '-?1[.,]"):
        read(path, 250)
    shortest = [[f"{value:.3f}".rstrip("0").rstrip(".") for value in 1000 * row] for row in HEART]
    words = [[word.replace(".", mark) for word in row] for row in shortest]
    path.write_text("\n".join([head, *map(separator.join, words)]))
    np.testing.assert_allclose(read(path, 250)[2], HEART, atol=1e-5)


@pytest.mark.parametrize("first, lost", [(1000, 0.04), (1000, 3600), (100, -7200)])
def test_a_gap_in_the_times_is_noted(tmp_path, first, lost):
    """With --fs the rows are counted, so a note says that times after a gap are others."""
    times = [f"{second + lost * (at >= first):.3f}" for at, second in enumerate(SECONDS)]
    path = table(tmp_path, ["time (s),I,II"], times=times)
    with pytest.raises(InputError, match=f"a step of {lost + 0.004:g} s before row {first + 2}"):
        read(path)
    with open_recording(path, 250) as record:
        assert f"step of {lost + 0.004:g} s before row {first + 2}" in record.notes["I"]
    even = table(tmp_path, ["time (s),I,II"], times=[f"{int(at)}" for at in SECONDS])
    with open_recording(even, 250) as record:
        assert not record.notes


def test_a_lead_that_begins_late(tmp_path):
    """Once a column was dropped without a word if it was empty throughout the first part of the table."""
    rows = np.tile(lines_of(HEART[:, :1]), 81)
    late = np.tile(HEART[:, 1], 81)
    late[:200_001] = np.nan
    lines = [f"{row},{'' if np.isnan(x) else x}" for row, x in zip(rows, late, strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(["I,II", *lines]))
    names, _, values = read(tmp_path / "a.csv", 250)
    assert names == ["I", "II"]
    np.testing.assert_allclose(values[:, 1], late, atol=1e-4)
    (tmp_path / "a.csv").write_text("\n".join(lines))
    with pytest.raises(InputError, match="row 200002, column 1: expected a name of the column"):
        read(tmp_path / "a.csv", 250)


def test_remarks_of_octave_and_codes_far_beyond_any_voltage(tmp_path):
    rows = lines_of(separator=" ")
    rows[100] = "9.9e37 -1e300"
    (tmp_path / "a.csv").write_text("\n".join(["# name: x", "# fs: 250", "# columns: 2", *rows]))
    names, rate, values = read(tmp_path / "a.csv")
    assert names == ["column 0", "column 1"] and rate == 250
    assert np.argwhere(np.isnan(values)).tolist() == [[100, 0], [100, 1]]


@pytest.mark.parametrize(
    "text, what",
    [
        ("II\n" + "0.5\n" * 1000 + "\n" * 1000 + "0.25\n" * 1000, "row 1002: expected a number, found an empty line"),
        ("0.5\n" * 9 + "\n" + "0.25\n" * 9, "row 10: expected a number, found an empty line"),
        ("I,II\n" + "1.5,2.5\n" * 5 + "\n1,2,3\n", "row 6: expected 3 names, one a column, found 2"),
        ("I,II\n" + "1.5,2.5\n" * 2000 + "\n\n3,x\n", "row 2004, column II: expected a number, found 'x'"),
    ],
)  # fmt: skip
def test_empty_lines(tmp_path, text, what):
    """Missing samples of a single column vanished; the rows of messages were counted without empty lines."""
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=what):
        open_recording(tmp_path / "a.csv", 250)


@pytest.mark.parametrize(
    "text",
    ["II\n\n" + "{}\n\n" * 2500, "II\n" + "{}\n" * 2500 + "\n\n\n", "\n\nII\n" + "{}\n" * 2500],
)
def test_empty_lines_that_are_no_samples(tmp_path, text):
    """Line ends of two systems, and lines before and after the values."""
    heart = simulate(10, 250, seed=1)[0][:, 0]
    (tmp_path / "a.csv").write_text(text.format(*heart))
    with open_recording(tmp_path / "a.csv", 250) as record:
        np.testing.assert_allclose(record.read()[:, 0], heart, atol=1e-6)


def test_a_late_value_without_a_name(tmp_path, monkeypatch):
    """Below the first rows, which are read at once; empty lines count in the line, not in the cells."""
    monkeypatch.setattr("clfnb.tracks.ecg.tables.CHUNK_ROWS", 3)
    (tmp_path / "a.csv").write_text("I,II,\n" + "1,2,\n" * 5 + "\n\n1,2,3\n")
    with pytest.raises(InputError, match="row 9, column 2: .*found none, and 5 empty cells"):
        open_recording(tmp_path / "a.csv", 250)
