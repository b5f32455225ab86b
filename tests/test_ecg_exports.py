"""ECG tables of laboratory programs: exports of LabChart, AcqKnowledge and OpenSignals, headers of several rows, dates in words, offsets from UTC. Every value is that of the heart that was written."""

import datetime
import json
import zoneinfo

import numpy as np
import pandas as pd
import pytest

from clfnb.files import InputError
from clfnb.simulate.ecg.records import simulate
from clfnb.tracks.ecg.readers import open_recording

HEART = simulate(10, 1000, seed=1)[0]
MILLISECONDS = np.arange(len(HEART))
BREATH = np.sin(MILLISECONDS / 1000)
LABCHART = [
    "Interval=\t0.001 s",
    "ExcelDateTime=\t4.5352416666666667e+04\t3/1/2024 10:00:00.000000",
    "TimeFormat=\tStartOfBlock",
    "DateFormat=\t",
    "ChannelTitle=\tLead I\tFinger",
    "Range=\t10.000 mV\t2.000 V",
]
ACQKNOWLEDGE = [
    "S:\\Students\\monday.acq",
    "1 msec/sample",
    "2 channels",
    "ECG (.5 - 35 Hz), RSPEC-R",
    "mV",
    "Clench force",
    "kg",
]
COUNTS = f"{len(HEART)}\t{len(HEART)}\t"


def rows(*columns, separator="\t", end="", decimal="."):
    """The rows of a table, six digits each."""
    words = [[x if isinstance(x, str) else f"{x:.6g}" for x in row] for row in zip(*columns, strict=True)]  # fmt: skip
    return [separator.join(row).replace(".", decimal) + end for row in words]


def chart(times=None, scale=1.0, **options):
    """The rows of an export with a lead and another signal."""
    columns = ([] if times is None else [times]) + [scale * HEART[:, 0], BREATH]
    return rows(*columns, **options)


def seconds(factor=1.0):
    """Times as six digits, which a program writes."""
    return [f"{factor * at / 1000:.6g}" for at in MILLISECONDS]


def read(folder, lines, fs=None, name="a.txt", encoding="utf-8"):
    """Names, rate, values and notes of a recording, whose signals beside the leads are left out."""
    path = folder / name
    path.write_bytes("\n".join(lines).encode(encoding))
    with open_recording(path, fs) as record:
        return record.names, record.fs, record.read(), record.notes


@pytest.mark.parametrize(
    "lines, options",
    [
        (LABCHART + chart(seconds()), {}),
        (LABCHART + chart(seconds(), end="\r"), {}),
        (LABCHART + chart(seconds()), {"encoding": "utf-16"}),
        (LABCHART + chart(), {}),
        ([line.replace(".", ",") for line in LABCHART] + chart(seconds(), decimal=","), {}),
        (["Interval=\t1 ms", *LABCHART[4:], *chart(seconds())], {}),
        (LABCHART[1:] + chart(seconds()), {}),
        ([*LABCHART, "UnitName=\tuV\tmmHg", "TopValue=\t*\t*", *chart(seconds(), 1000)], {}),
        (LABCHART + rows(seconds(), ["3/1/2024"] * len(HEART), HEART[:, 0], BREATH), {}),
        (LABCHART + rows(["3/1/2024"] * len(HEART), seconds(), HEART[:, 0], BREATH), {}),
        (LABCHART + chart([f"10:00:{at / 1000:06.3f}" for at in MILLISECONDS]), {}),
        ([line.replace("\t", ",") for line in LABCHART + chart(seconds())], {"name": "a.csv"}),
    ],
)
def test_exports_of_labchart(tmp_path, lines, options):
    names, rate, values, notes = read(tmp_path, lines, **options)
    assert (names, rate, notes) == (["Lead I"], 1000, {})
    np.testing.assert_allclose(values[:, 0], HEART[:, 0], atol=1e-5)


def test_remarks_in_an_export_of_labchart(tmp_path):
    """They stand behind the values of a row, also far below the first thousand rows."""
    lines = chart(seconds())
    remarks = "#* begin", '"#* a mark that is open', "#1 cough\tand more", "#* end"
    for row, remark in zip((0, 20, 5000, 9999), remarks, strict=True):
        lines[row] += f"\t{remark}"
    names, rate, values, _ = read(tmp_path, LABCHART + lines)
    assert (names, rate) == (["Lead I"], 1000)
    np.testing.assert_allclose(values[:, 0], HEART[:, 0], atol=1e-5)


@pytest.mark.parametrize(
    "head, body, names",
    [
        ([*ACQKNOWLEDGE, "min\tCH1\tCH2\t", f"\t{COUNTS}"], chart(seconds(1 / 60), end="\t"), None),
        ([*ACQKNOWLEDGE, "milliSec\tCH1\tCH2\t", f"\t{COUNTS}"], chart(seconds(1000), end="\t"), None),
        ([*ACQKNOWLEDGE, "CH1\tCH40\t", COUNTS], chart(end="\t"), None),
        ([*ACQKNOWLEDGE, COUNTS], chart(end="\t"), None),
        ([*ACQKNOWLEDGE, f"\t{COUNTS}"], chart(seconds()), None),
        (ACQKNOWLEDGE, chart(), None),
        (ACQKNOWLEDGE, chart(seconds(1 / 60)), None),
        ([ACQKNOWLEDGE[0], "Recording on: 2025-02-21 11:05:38.634", *ACQKNOWLEDGE[1:]], chart(), None),
        ([*ACQKNOWLEDGE[:3], "ECG", "uV", "RSP", "Volts", "CH1\tCH2", COUNTS], chart(scale=1000), ["ECG"]),
        ([*ACQKNOWLEDGE[:3], "ECG\tForce", "Volts\tkg", COUNTS], chart(scale=1e-3), ["ECG"]),
        (["a.acq", "1 msec/sample", "1 channels", "ECG", "mV", "CH1", "10000"], rows(HEART[:, 0]), ["ECG"]),
    ],
)  # fmt: skip
def test_exports_of_acqknowledge(tmp_path, head, body, names):
    found, rate, values, notes = read(tmp_path, head + body)
    assert (found, rate, notes) == (names or ["ECG (.5 - 35 Hz), RSPEC-R"], 1000, {})
    np.testing.assert_allclose(values[:, 0], HEART[:, 0], atol=1e-5)


def test_exports_of_opensignals(tmp_path):
    """Columns of a BITalino: a number that starts anew after 15, digital inputs, counts of 10 bits."""
    device = {"column": ["nSeq", "I1", "A2"], "label": ["A2"], "sensor": ["ECG"]}
    head = {"20:16:02:26:60:88": device | {"sampling rate": 1000, "resolution": [4, 1, 10]}}
    lines = ["# OpenSignals Text File Format", f"# {json.dumps(head)}", "# EndOfHeader"]
    counts = [str(round(512 + 100 * value)) for value in HEART[:, 0]]
    numbers = [str(at % 16) for at in MILLISECONDS]
    lines += rows(numbers, ["1"] * len(counts), counts, end="\t")
    names, rate, values, _ = read(tmp_path, lines)
    assert (names, rate) == (["ECG A2"], 1000)
    np.testing.assert_array_equal(values[:, 0], np.array(counts, float))
    with pytest.raises(InputError, match="row 2 says 1000 Hz, --fs says 500 Hz"):
        read(tmp_path, lines, 500)
    notes = read(tmp_path, lines[:103] + lines[108:5003] + lines[5019:])[-1]["ECG A2"]
    assert "packets are missing before row 104 (nSeq): marks behind it are too early" in notes


@pytest.mark.parametrize("scale", [["CH1\tCH40"], []])
@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("end", ["", "\r"])
def test_whole_samples_under_a_header_of_acqknowledge(tmp_path, scale, counts, end):
    """The first of them is no number of samples: it was left out, and all marks came a sample early."""
    whole = np.round(2048 + 500 * HEART[:, 0])
    body = rows(whole, np.full(len(whole), 10))
    above = [*ACQKNOWLEDGE, *scale, *[COUNTS.strip()] * counts]
    lines = above + body if not end else [end.join(above + body)]
    np.testing.assert_array_equal(read(tmp_path, lines)[2][:, 0], whole)


@pytest.mark.parametrize(
    "lines, fs, what",
    [
        (LABCHART + chart(seconds()), 500, "row 1 says 1000 Hz, --fs says 500 Hz"),
        (["Interval=\t0.002 s", *LABCHART[1:], *chart(seconds())], None, "column time .s. says 1000 Hz, row 1 says 500 Hz"),
        (["Interval=\tfast", *LABCHART[1:], *chart()], None, "row 1: expected a sampling interval such as 0.001 s, found 'fast'"),
        (LABCHART + chart()[:50] + LABCHART + chart(), None, "row 57: expected one block of samples"),
        (LABCHART + chart()[:5000] + LABCHART + chart(), None, "row 5007: expected one block of samples"),
        (LABCHART + rows(HEART[:, 0]), None, "row 7: expected 2 channels as in the header, perhaps with a time before them, found rows of 1"),
        (LABCHART + rows(seconds(), HEART[:, 0]), None, "row 7: expected the times and 2 channels as in the header, found rows of 2"),
        (LABCHART + chart(seconds())[:5000] + ["5\t0.1\t0.2\t0.3"], None, "row 5007: expected 3 values, found 4"),
        (LABCHART + rows(BREATH, HEART[:, 0], BREATH, BREATH), None, "row 7: expected 2 channels as in the header, .* found rows of 4"),
        (LABCHART, None, "expected samples behind the header, found none"),
        (ACQKNOWLEDGE + chart(), 500, "row 2 says 1000 Hz, --fs says 500 Hz"),
        (["a.acq", "1 msec/sample", "3 channels", *ACQKNOWLEDGE[3:], *chart()], None, "row 3: expected a line with the name and one with the unit of each of 3 channels"),
        ([*ACQKNOWLEDGE, "sec\tCH1\tCH2\tCH3", *chart(seconds())], None, "row 8: expected 2 channels as in the lines above, found 3"),
        ([*ACQKNOWLEDGE, "sec\tCH1\tCH2", *chart()], None, "found rows of 2"),
    ],
)  # fmt: skip
def test_exports_that_are_refused(tmp_path, lines, fs, what):
    with pytest.raises(InputError, match=what) as error:
        read(tmp_path, lines, fs)
    assert "\n" not in str(error.value)


def test_headers_that_pandas_writes(tmp_path):
    """Columns of two and three levels, with and without names of the levels and of the index."""
    time = pd.Index(MILLISECONDS / 1000, name="time (s)")
    for levels in (
        [("ECG", "I"), ("ECG", "II")],
        [("I", "mV"), ("II", "mV")],
        [("p1", "I", "mV"), ("p1", "II", "mV")],
        [("I", "raw"), ("II", "raw")],
    ):
        for named in (False, True):
            labels = [f"level {i}" for i in range(len(levels[0]))] if named else None
            columns = pd.MultiIndex.from_tuples(levels, names=labels)
            table = pd.DataFrame(HEART, columns=columns, index=time)
            for options in ({}, {"sep": ";", "decimal": ","}):
                table.to_csv(tmp_path / "a.csv", **options)
                with open_recording(tmp_path / "a.csv") as record:
                    assert (record.names, record.fs) == (["I", "II"], 1000), (levels, named)
                    np.testing.assert_allclose(record.read(), HEART, atol=1e-6)
            table.to_csv(tmp_path / "a.csv", index=False)
            with open_recording(tmp_path / "a.csv", 1000) as record:
                assert record.names == ["I", "II"]


@pytest.mark.parametrize(
    "head, options, names",
    [
        (["time,I,II", "s,mV,mV"], {}, ["I", "II"]),
        (["time,I,II", "s,,"], {}, ["I", "II"]),
        (["time,I,II", "s,adu,adu"], {}, ["I", "II"]),
        (["time,I,II", "ms,uV,uV"], {"factor": 1000, "scale": 1000}, ["I", "II"]),
        (["# time,I,II", "# s,mV,mV"], {}, ["I", "II"]),
        (["time,II,V", "s,mV,mV"], {}, ["II", "V"]),
        ([",I,II", "s,mV,mV"], {}, ["I", "II"]),
        ([",ECG,", "time,I,II", "s,mV,mV"], {}, ["I", "II"]),
        (["time,I,II", "s,mV,mV"], {"end": ","}, ["I", "II"]),
        (["time,ECG,ECG", ",I,II"], {}, ["I", "II"]),
        (["time,1,2", "s,mV,mV"], {}, ["1", "2"]),
    ],
)
def test_rows_of_units_and_levels(tmp_path, head, options, names):
    factor, scale = options.get("factor", 1), options.get("scale", 1)
    body = rows(
        seconds(factor),
        scale * HEART[:, 0],
        scale * HEART[:, 1],
        separator=",",
        end=options.get("end", ""),
    )
    found, rate, values, notes = read(tmp_path, head + body, name="a.csv")
    assert (found, rate, notes) == (names, 1000, {})
    np.testing.assert_allclose(values, HEART, atol=1e-5)


@pytest.mark.parametrize("unit", ["0.1uV", "x10 uV", "mV/div", "kV", "mm"])
@pytest.mark.parametrize("other", ["mV", ""])
def test_a_unit_of_unknown_size_leaves_a_signal_out(tmp_path, unit, other):
    """Its numbers were taken for millivolts, without a word."""
    body = rows(seconds(), HEART[:, 0], HEART[:, 1], separator=",")
    head = ["time,I,II", f"s,{unit},{other or unit}"]
    if not other:
        with pytest.raises(InputError, match=f"its unit is {unit}"):
            read(tmp_path, head + body, name="a.csv")
        return
    names, _, _, notes = read(tmp_path, head + body, name="a.csv")
    assert names == ["II"], notes


@pytest.mark.parametrize(
    "line, rate",
    [
        ("Sampling rate of channel 12: 1000 Hz", 1000),
        ("Sampling rate of channel 12, 1000 Hz", 1000),
        ("Sampling rate for lead 2 1000 Hz", 1000),
        ("Sampling rate (12 leads) = 1000", 1000),
        ("Sampling rate (kHz): 1", 1000),
        ("Sampling rate 1000 Hz, began: 12.03.2024", 1000),
        ("Fs 1000 on 12: 30", 1000),
        ("Sampling rate: 10,000 Hz", None),
    ],
)
def test_the_rate_among_other_numbers(tmp_path, line, rate):
    """The twelve of twelve leads is no rate, and ten thousand is not ten."""
    lines = [line, "I;II", *rows(*HEART.T, separator=";")]
    if rate is None:
        with pytest.raises(InputError, match="row 1: .*separator of thousands, found '10,000'"):
            read(tmp_path, lines, name="a.csv")
    else:
        assert read(tmp_path, lines, name="a.csv")[1] == rate


def test_one_lead_with_a_row_for_its_unit(tmp_path):
    """The unit is alone in its row, as the name of an index is in that of pandas."""
    names, _, values, _ = read(tmp_path, ["I", "uV", *rows(1000 * HEART[:, 0])], 1000, "a.csv")
    assert names == ["I"]
    np.testing.assert_allclose(values[:, 0], HEART[:, 0], atol=1e-5)


@pytest.mark.parametrize(
    "head, what",
    [
        ([",I,II", ",V1,V2"], "row 1: expected one header above the numbers, found 'I II'"),
        (["time,I,II", "s,mV,mV", "a,b,c"], "row 1: expected one header above the numbers"),
        (["time,I (mV),II", "s,uV,uV"], r"row 2, column I \(mV\): expected mV, found uV"),
        (
            ["Unit,mV", "time,I,II", "s,uV,uV"],
            "row 3, column I: expected uV, found mV in the lines above",
        ),
        (["time,I,II", "s,uV,uV", "s,mV,mV"], "row 1: expected one header above the numbers"),
        (["n,I,II", "5,waiting,waiting"], "row 2: expected names|expected one header"),
    ],
)
def test_headers_that_are_refused(tmp_path, head, what):
    body = rows(seconds(), HEART[:, 0], HEART[:, 1], separator=",")
    with pytest.raises(InputError, match=what):
        read(tmp_path, head + body, name="a.csv")


def stamps(zone, first, form):
    """Times of a place, a millisecond apart, from a time in UTC on."""
    start = datetime.datetime.fromisoformat(first).replace(tzinfo=datetime.UTC)
    there = zoneinfo.ZoneInfo(zone)
    times = [(start + datetime.timedelta(milliseconds=int(at))).astimezone(there) for at in MILLISECONDS]  # fmt: skip
    return [t.strftime(form.replace("%f", f"{t.microsecond // 1000:03d}")) for t in times]


SPRING, AUTUMN = "2024-03-31 00:59:55", "2024-10-27 00:59:55"  # five seconds before the change


@pytest.mark.parametrize(
    "times",
    [
        stamps("UTC", "2024-03-01 10:00:00", "%d-%b-%Y %H:%M:%S.%f"),
        stamps("UTC", "2024-02-29 23:59:55", "%d-%b-%Y %H:%M:%S.%f"),
        stamps("UTC", "2024-12-31 11:59:55", "%b %d, %Y %I:%M:%S.%f %p"),
        [text.upper() for text in stamps("UTC", "2024-03-01 10:00:00", "%d%b%Y:%H:%M:%S.%f")],
        stamps("Europe/Berlin", SPRING, "%Y-%m-%dT%H:%M:%S.%f%z"),
        stamps("Europe/Berlin", AUTUMN, "%Y-%m-%d %H:%M:%S.%f%z"),
        stamps("America/New_York", "2024-11-03 05:59:55", "%d %B %Y %H:%M:%S.%f %z"),
    ],
    ids=lambda times: times[0],
)
def test_dates_in_words_and_offsets_from_utc(tmp_path, times):
    """Through midnight, the end of a year, and the begin and end of daylight-saving time."""
    body = rows(times, HEART[:, 0], HEART[:, 1], separator=";")
    names, rate, values, notes = read(tmp_path, ["time;I;II", *body], name="a.csv")
    assert (names, rate, notes) == (["I", "II"], 1000, {})
    np.testing.assert_allclose(values, HEART, atol=1e-5)


@pytest.mark.parametrize(("first", "step"), [(SPRING, "3600"), (AUTUMN, "-3600")])
def test_an_hour_that_daylight_saving_time_takes_is_named(tmp_path, first, step):
    """Without the offset it may as well be a pause, so the rate is not told; with --fs a note says so."""
    times = stamps("Europe/Berlin", first, "%Y-%m-%d %H:%M:%S.%f")
    lines = ["time,I,II", *rows(times, HEART[:, 0], HEART[:, 1], separator=",")]
    what = (
        f"a step of {step} s before row 5002 .an hour, as where daylight-saving time begins or ends"
    )
    with pytest.raises(InputError, match=what):
        read(tmp_path, lines, name="a.csv")
    assert "daylight-saving time" in read(tmp_path, lines, 1000, name="a.csv")[3]["I"]


@pytest.mark.parametrize(("late", "fine"), [("1.234 1.235 1.236", False), ("1.23 1.235 1.24 0.125", True), ("1.234 1.5 12.5", True)])  # fmt: skip
@pytest.mark.parametrize("mark", [".", ","])
def test_separators_of_thousands_behind_the_first_rows(tmp_path, late, fine, mark):
    """A quiet begin once hid them, and 1.234 µV beside 567 µV was read as a thousandth."""
    words = [*["567", "-12"] * 1500, *late.replace(".", mark).split()]
    lines = ["I (uV);II (uV)", *(f"{word};0{mark}5" for word in words)]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    if fine:
        with open_recording(tmp_path / "a.csv", 250, ["I", "II"]) as record:
            expected = [float(word.replace(",", ".")) / 1000 for word in words]
            np.testing.assert_allclose(record.read()[:, 0], expected, atol=1e-6)
    else:
        with pytest.raises(InputError, match="row 3002, column I .uV.: .* found '1.234'"):
            open_recording(tmp_path / "a.csv", 250, ["I", "II"])


def test_a_text_of_another_kind_is_refused_by_name(tmp_path):
    with pytest.raises(
        InputError, match="row 1: expected a row of numbers, found 'Dear colleague'"
    ):
        read(tmp_path, ["Dear colleague"], 250)
