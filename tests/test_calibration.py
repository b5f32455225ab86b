"""Calibration beside other libraries, which take long to import, and at the size of real test sets."""

import json
import os
import re
import subprocess
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr, softmax

from clfnb.cli import main
from clfnb.evaluation.calibration import (
    Temperature,
    brier,
    calibration_table,
    classwise_ece,
    debiased_ece,
    ece,
    metric_interval,
    nll,
    noise_floor,
    prediction_table,
    read_predictions,
    reliability_curve,
    reliability_diagram,
    smooth_ece,
    verdict,
)


def model(n, classes, boast=1.0, seed=0):
    """Probabilities that exaggerate by the factor `boast` in the logits, and labels that follow the honest ones."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(0, 2, (n, classes))
    y = (rng.random((n, 1)) > softmax(honest, axis=1).cumsum(1)).sum(1).clip(max=classes - 1)
    return softmax(boast * honest, axis=1), y


@pytest.mark.parametrize("norm", [1, 2, "max"])
@pytest.mark.parametrize("n_bins", [1, 10, 15, 50])
def test_torchmetrics(n_bins, norm):
    """The same error, top-label and for each class. It computes the multi-class one in single precision."""
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("torchmetrics.functional.classification")
    probs, y = model(20_000, 12, 1.5)
    name = f"l{norm}" if norm != "max" else "max"
    found = theirs.multiclass_calibration_error(
        torch.tensor(probs), torch.tensor(y), 12, n_bins, name
    )
    assert ece(probs, y, n_bins, norm) == pytest.approx(float(found), abs=2e-5)
    columns = [
        theirs.binary_calibration_error(
            torch.tensor(probs[:, k]), torch.tensor((y == k).astype(int)), n_bins, name
        )
        for k in range(12)
    ]
    assert classwise_ece(probs, y, n_bins, norm, per_class=True) == pytest.approx(
        [float(c) for c in columns], abs=1e-9
    )


def test_torchmetrics_hides_certainty():
    """Its extra bin for a confidence of exactly 1 is the one known difference."""
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("torchmetrics.functional.classification").binary_calibration_error
    assert float(
        theirs(torch.tensor([0.95, 1.0]), torch.tensor([1, 0]), n_bins=10)
    ) == pytest.approx(0.525)
    assert ece(torch.tensor([0.95, 1.0]), torch.tensor([1, 0]), n_bins=10) == pytest.approx(0.475)


def test_torchmetrics_debiased():
    """Its private correction for the L2 norm is Kumar's."""
    torch = pytest.importorskip("torch")
    module = pytest.importorskip("torchmetrics.functional.classification.calibration_error")
    probs, y = model(5000, 6, 1.5)
    confidence, outcome = probs.max(1), (probs.argmax(1) == y).astype(float)
    found = module._ce_compute(
        torch.tensor(confidence), torch.tensor(outcome), 15, "l2", debias=True
    )
    assert debiased_ece(probs, y) == pytest.approx(float(found), abs=1e-9)


@pytest.mark.parametrize("bins", ["width", "mass"])
def test_netcal(bins):
    """Its definitions of ECE and MCE; it is installed with the extra `bench`."""
    metrics = pytest.importorskip("netcal.metrics", reason="netcal comes with the extra 'bench'")
    probs, y = model(20_000, 12, 1.5)
    for n_bins in (10, 15):
        assert ece(probs, y, n_bins, bins=bins) == pytest.approx(
            metrics.ECE(n_bins, equal_intervals=bins == "width").measure(probs, y), abs=1e-9
        )
        assert ece(probs, y, n_bins, "max", bins) == pytest.approx(
            metrics.MCE(n_bins, equal_intervals=bins == "width").measure(probs, y), abs=1e-9
        )


@pytest.mark.parametrize("n", [1, 2, 10, 500, 20_000])
@pytest.mark.parametrize("kind", ["uniform", "over", "high", "certain", "ties", "slight", "single"])
def test_relplot(n, kind):
    """The authors' smooth error and bandwidth, to a millionth."""
    relplot = pytest.importorskip("relplot")
    rng = np.random.default_rng(n)
    confidence, gap = {
        "uniform": (rng.uniform(0, 1, n), 0.0),
        "over": (rng.uniform(0.5, 1, n), 0.1),
        "high": (rng.beta(30, 1, n), 0.0),
        "certain": (np.ones(n), 0.3),
        "ties": (rng.choice([0, 0.1, 0.5, 0.9, 1], n), 0.05),
        "slight": (rng.uniform(0.5, 1, n), 0.01),
        "single": (rng.uniform(0.2, 1, n).astype(np.float32).astype(float), 0.02),
    }[kind]
    y = (rng.random(n) < confidence - gap).astype(int)
    assert smooth_ece(confidence, y, return_sigma=True) == pytest.approx(
        relplot.smECE(confidence, y.astype(float), return_width=True), abs=1e-6
    )


def test_relplot_every_bandwidth():
    """Even grids, where their kernel lies half a step beside the middle, too."""
    theirs = pytest.importorskip("relplot.metrics").smooth_ece
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0, 1, 3000)
    y = rng.random(3000) < confidence - 0.1
    for sigma in np.array([2, 3, 5, 7, 8, 10, 12, 100, 500, 1024]) / 1024:
        assert smooth_ece(confidence, y, sigma=sigma) == pytest.approx(
            theirs(confidence, y.astype(float), sigma), abs=1e-6
        )


def test_large():
    """200,000 x 40 in half, single and double precision agree, and the floor lies below the error of a boastful model."""
    probs, y = model(200_000, 40, 1.6)
    value = ece(probs, y)
    assert ece(probs.astype(np.float32), y) == pytest.approx(value, abs=1e-4)
    assert ece(probs.astype(np.float16), y) == pytest.approx(value, abs=2e-3)
    assert noise_floor(probs, draws=50).p95 < 0.01 < value
    assert verdict(probs, y, draws=50).answer == "over-confident"
    temperature = Temperature().fit(np.log(probs[:20_000]), y[:20_000]).temperature
    assert temperature == pytest.approx(1.6, rel=0.03)


def test_consistency_band_covers():
    """The points of a calibrated model lie in the grey band about 95 times out of 100."""
    inside = []
    for seed in range(60):
        probs, y = model(1500, 5, seed=seed)
        table = reliability_curve(probs, y, n_bins=10, draws=300, seed=seed).table.query("n >= 20")
        inside += (
            (table.share >= table.consistent_low) & (table.share <= table.consistent_high)
        ).tolist()
    assert 0.92 < np.mean(inside) < 0.98


def clustered(rng, groups, size, together):
    """A calibrated model whose answers in a group share their luck: a normal copula of that correlation."""
    group = np.repeat(np.arange(groups), size)
    confidence, shared, own = (
        rng.uniform(0.5, 1, len(group)),
        rng.normal(size=groups),
        rng.normal(size=len(group)),
    )
    luck = ndtr(np.sqrt(together) * shared[group] + np.sqrt(1 - together) * own)
    return np.stack([1 - confidence, confidence], 1), (luck < confidence).astype(int), group


@pytest.mark.parametrize("groups, size, together", [(50, 8, 0.3), (40, 5, 1.0)])
def test_a_thousand_calibrated_clustered_sets(groups, size, together):
    """With groups at most 5 % of them are accused; kept quiet, the groups make many look dishonest."""
    rng, told, quiet = np.random.default_rng(0), 0, 0
    for study in range(1000):
        probs, y, group = clustered(rng, groups, size, together)
        told += verdict(probs, y, group, draws=200, seed=study).answer[:5] != "indis"
        if study < 200:
            quiet += verdict(probs, y, draws=200, seed=study).answer[:5] != "indis"
    assert told <= 50 and quiet / 200 > 0.1


def test_groups_do_not_hide_an_error():
    """Too much promised at the top, too little at the bottom: found with and without groups of four."""
    rng = np.random.default_rng(0)
    confidence, y = np.tile([0.9, 0.6], 2000), (rng.random(4000) < 0.75).astype(int)
    two = np.stack([1 - confidence, confidence], 1)
    for groups in (None, np.arange(4000) // 4):
        found = verdict(two, y, groups)
        assert found.answer == "over- and under-confident" and found.ece_p_value < 0.01
    far = np.clip(confidence + 0.08, 0, 1)  # and a mean that is off, by groups of forty
    assert verdict(far, y, np.arange(4000) // 40).answer == "over-confident"


@pytest.mark.parametrize("metric", [ece, debiased_ece, smooth_ece, classwise_ece])
def test_a_measure_keeps_its_interval(metric):
    """Given by itself, in a partial or in a lambda, a distance from a calibrated model has an interval from 0 on."""
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.55, 1, 300)
    y = (rng.random(300) < confidence).astype(int)
    found = [
        metric_interval(way, confidence, y, draws=200)
        for way in (metric, partial(metric), lambda p, y: metric(p, y))
    ]
    assert found[0] == found[1] and found[2] == pytest.approx(found[0], abs=0.02)
    assert [one.low for one in found] == [0, 0, 0]


@pytest.mark.parametrize("metric", [ece, debiased_ece])
@pytest.mark.parametrize("gap", [0.0, 0.02, 0.1])
def test_intervals_cover(metric, gap):
    """Of 200 studies with a thousand examples and a known error, 95 of 100 intervals hold it; 3 standard errors allowed."""
    rng, held = np.random.default_rng(7), 0
    for study in range(200):
        confidence = rng.uniform(0.55, 1, 1000)
        y = (rng.random(1000) < confidence - gap).astype(int)
        _, low, high = metric_interval(metric, confidence, y, draws=200, seed=study)
        held += low <= gap <= high
    assert held / 200 > 0.904


def test_one_event_everywhere():
    """Of (n,) probabilities verdict, table, curve and error speak of class 1."""
    confidence, y = np.full(1000, 0.1), (np.arange(1000) < 200).astype(int)
    said, table = verdict(confidence, y), calibration_table(confidence, y, draws=50)
    curve = reliability_curve(confidence, y, draws=50)
    assert said.answer == "under-confident" and said.event == "class 1"
    assert said.gap == pytest.approx(curve.gap) == pytest.approx(table.value["accuracy gap"])
    assert said.ece == pytest.approx(curve.ece.value) == pytest.approx(table.value["ECE"])
    names = [
        text.get_text()
        for text in reliability_diagram(confidence, y, draws=50).get_legend().get_texts()
    ]
    assert "under-confident" in names and "over-confident" not in names


@pytest.mark.parametrize("form", ["tsv", "utf-16", "semicolons"])
def test_tables_from_elsewhere(form, tmp_path):
    """Whatever wrote the file, classes called NA and None keep their rows, and a split called valid is known."""
    rng = np.random.default_rng(0)
    probs, names = rng.dirichlet([1, 1, 1], 600), ["NA", "None", "diatom"]
    table = prediction_table(probs, rng.integers(0, 3, 600), names, split=["valid", "test"] * 300)
    write = {
        "tsv": {"sep": "\t"},
        "utf-16": {"encoding": "utf-16"},
        "semicolons": {"sep": ";", "decimal": ","},
    }
    file = tmp_path / ("a.tsv" if form == "tsv" else "a.csv")
    table.to_csv(file, index=False, **write[form])
    found = read_predictions(file)
    assert found.probs == pytest.approx(probs) and found.names == names and found.left_out == 0
    assert (found.table.split == np.tile(["val", "test"], 300)).all()
    assert found.notes == ["split 'valid' is read as 'val'"]


@pytest.mark.parametrize("t", [0.02, 0.1])
def test_intervals_cover_where_gaps_are_as_large_as_their_noise(t):
    """A world in which reversed bootstrap intervals begin too high: gaps grow with the confidence."""
    rng, held, low_missed = np.random.default_rng(3), 0, 0
    large = rng.uniform(0.5, 1, 400_000)
    edges = np.linspace(0, 1, 16)
    gaps = np.histogram(large, edges, weights=t * (large - 0.45))[0]
    true = np.abs(gaps).sum() / len(large)
    for study in range(150):
        confidence = rng.uniform(0.5, 1, 1000)
        y = (rng.random(1000) < confidence - t * (confidence - 0.45)).astype(int)
        _, low, high = metric_interval(ece, confidence, y, draws=150, seed=study)
        held, low_missed = held + (low <= true <= high), low_missed + (true < low)
    assert held / 150 > 0.9 and low_missed / 150 < 0.06


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_every_measure_takes_short_numbers(dtype):
    """Rows of half precision sum to 1 within their rounding, and all measures know it."""
    torch = pytest.importorskip("torch")
    probs, y = model(300, 40, 1.5)
    short, labels = torch.tensor(probs).to(getattr(torch, dtype)), torch.tensor(y)
    for metric in (ece, debiased_ece, classwise_ece, smooth_ece, brier, nll):
        assert metric(short, labels) == pytest.approx(metric(probs, y), rel=0.05, abs=5e-3)
    assert verdict(short, labels, draws=50).answer == verdict(probs, y, draws=50).answer
    assert len(calibration_table(short, labels, draws=20)) == 8
    assert reliability_curve(short, labels, draws=20).table.n.sum() == 300
    assert noise_floor(short, draws=20).mean > 0
    names = [str(k) for k in range(40)]
    assert read_predictions(prediction_table(short, labels, names)).probs.shape == (300, 40)


def test_weights_against_netcal_and_scikit_learn():
    """Weighted scores are those of scikit-learn, and a weighted curve is that of repeated examples."""
    metrics = pytest.importorskip("sklearn.metrics")
    probs, y = model(2000, 5, 1.5)
    times = np.random.default_rng(1).integers(1, 5, 2000)
    copies = np.repeat(np.arange(2000), times)
    assert nll(probs, y, times) == pytest.approx(metrics.log_loss(y, probs, sample_weight=times))
    netcal = pytest.importorskip("netcal.metrics")
    assert ece(probs, y, weights=times) == pytest.approx(
        netcal.ECE(15).measure(probs[copies], y[copies]), abs=1e-6
    )
    one = reliability_curve(probs, y, weights=times, draws=50).table
    other = reliability_curve(probs[copies], y[copies], draws=50).table
    for column in ("confidence", "share", "weight"):
        np.testing.assert_allclose(one[column], other[column])
    assert one.n.sum() == 2000
    grouped = verdict(probs, y, np.arange(2000) // 2, weights=times)
    assert grouped.gap == pytest.approx(verdict(probs[copies], y[copies]).gap)
    logits = np.log(probs)
    assert Temperature().fit(logits, y, weights=times).temperature == pytest.approx(
        Temperature().fit(logits[copies], y[copies]).temperature, rel=1e-4
    )


def test_curves_of_another_event_do_not_share_axes():
    confidence, y = np.full(100, 0.3), np.arange(100) % 2
    ax = reliability_diagram(confidence, y, draws=20)
    reliability_diagram(confidence, y, draws=20, ax=ax)
    with pytest.raises(ValueError, match="expected the same event for all curves"):
        reliability_diagram(np.stack([1 - confidence, confidence], 1), y, draws=20, ax=ax)
    with pytest.raises(ValueError, match="expected the same event for all curves"):
        reliability_diagram(
            {"a": confidence, "b": np.stack([1 - confidence, confidence], 1)}, y, draws=20
        )


@pytest.mark.parametrize("form", ["probabilities", "logits", "one column", "parquet"])
def test_calibrate_command(form, tmp_path, capsys, monkeypatch):
    """One's own predictions: verdicts, table, diagram, temperature, recalibrated file."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 1.5, (600, 3))
    y = (rng.random((600, 1)) > softmax(honest, axis=1).cumsum(1)).sum(1).clip(max=2)
    names = ["NA", "None", "diatom"]
    table = prediction_table(
        softmax(2 * honest, axis=1), y, names, group=np.arange(600) // 2, depth=1
    )
    if form == "logits":
        table = table.drop(columns=[f"p_{name}" for name in names])
        table = table.assign(**{f"logit_{name}": 2 * honest[:, k] for k, name in enumerate(names)})
    if form == "one column":
        table = table.drop(columns=["p_None", "p_diatom"])
        table["label"] = np.where(y == 0, "NA", "other")
    file = tmp_path / ("mine.parquet" if form == "parquet" else "mine.csv")
    table.to_parquet(file) if form == "parquet" else table.to_csv(file, index=False)
    assert main(["calibrate", str(file), "--draws", "30"]) == 0
    said = capsys.readouterr().out
    assert "note: columns that are not used: depth" in said
    assert (
        "no column split: each fifth is evaluated" in said and "600 examples in 300 groups" in said
    )
    assert ("the event is the class 'NA'" in said) == (form == "one column")
    made = tmp_path / "mine-calibration"
    assert sorted(path.name for path in made.iterdir()) == [
        "diagram.png", "recalibrated.csv", "table.csv", "temperature.json"
    ]  # fmt: skip
    back = read_predictions(made / "recalibrated.csv")
    assert len(back.y) == 600 and set(back.names) >= {"NA"}
    if form != "one column":
        assert back.names == names and "over-confident" in said
        assert ece(back.probs, back.y) < 0.6 * ece(softmax(2 * honest, axis=1), y)


def test_calibrate_command_refuses(tmp_path, capsys):
    """Every message names the file, and the line as an editor counts it: the header is line 1."""
    table = pd.DataFrame({"label": ["a", "b"] * 20, "p_a": 0.4, "p_b": 0.6, "group": [None] * 40})
    whole, gap = {"group": range(40)}, {"label": [None, *["a", "b"] * 19, "a"]}
    for change, option, said in (
        ({}, [], "a.csv, line 2: column 'group': expected a group, found none (40 of 40 are missing)"),
        ({**gap}, [], "a.csv, line 3: column 'group': expected a group"),
        ({"p_a": 3.0}, [], "a.csv, line 2: expected a sum of 1, found 3.6 in 3, 0.6 (40 such rows); apply"),
        ({"p_a": [0.4] * 39 + ["x"]}, [], "a.csv, line 41: expected a number in 'p_a', found 'x'"),
        ({"group": 1}, [], "a.csv: expected at least 10 groups for 5 folds, found 1"),
        ({**whole, "weight": -1}, [], "a.csv, line 2: column 'weight': expected a number of at least"),
        ({**whole}, ["--logits"], "a.csv: expected logits, found probabilities"),
        ({**whole, "label": "b"}, [], "a.csv: expected labels of at least two classes, found only 'b'"),
    ):  # fmt: skip
        table.assign(**change).to_csv(tmp_path / "a.csv", index=False)
        call = ["calibrate", str(tmp_path / "a.csv"), "--out", str(tmp_path / "out"), *option]
        assert main(call) == 1
        message = capsys.readouterr().err
        assert said in message and "np." not in message
        assert not (tmp_path / "out").exists()


def test_tables_with_rounded_decimals_or_a_column_twice(tmp_path, capsys):
    """Rounding alone is no error; percentages, scores and columns of one name get advice that fits."""
    rows = 20 * "a,0.33,0.33,0.33\nb,0.1,0.8,0.1\nc,0.17,0.17,0.67\n"
    call = ["calibrate", str(tmp_path / "a.csv"), "--out", str(tmp_path / "out"), "--force"]
    for head, text, said in (
        ("label,p_a,p_b,p_c", rows, "40 rows sum to 1 but for the rounding to 2 decimals"),
        ("label,p_a,p_b,p_b", rows, "a.csv: expected different columns, found column p_b twice"),
        ("label,p_a,p_b,p_c", "a,20,30,50\n", "divide by 100 if these are percentages"),
        ("label,p_a,p_b,p_c", "a,0.9,0.2,0.1\n", "has each class a yes-or-no score of its own?"),
        ("", "", "a.csv: expected a table of UTF-8 or UTF-16 text, found an empty file"),
    ):
        (tmp_path / "a.csv").write_text(f"{head}\n{text}" if head else "")
        code = main(call)
        said_now = capsys.readouterr()
        assert said in said_now.out + said_now.err, said_now
        assert (code == 0) == ("rounding" in said)


def test_tables_as_other_programs_write_them(tmp_path):
    """Blanks before quotation marks and decimal commas beside a word moved values, or named the wrong line."""
    file, right = tmp_path / "a.csv", [[0.25, 0.75], [1, 0], [0.00125, 0.99875]]
    rows = 'y, "x, q", 0.25, 0.75\nx, "z", 1, 0\ny, "x, q", 1.25e-3, 0.99875\n'
    semicolons = rows.replace(", q", "+q").replace(",", ";").replace(".", ",")
    texts = {
        "blanks": "label, id, p_x, p_y\n" + rows,
        "sep": "sep=;\nlabel;id;p_x;p_y\n" + semicolons,
        "blank lines": "\n \nlabel;id;p_x;p_y\n" + semicolons,
        "separators of lines": "re\u2028mark;label;id;p_x;p_y\n"
        + "\n".join(f"\x0c1;{row}" for row in semicolons.splitlines()),
        "some trailing": "label;id;p_x;p_y\n" + semicolons.replace("; 0\n", "; 0;;\n"),
        "commas in names": "label;id;p_x;p_y;size, in, mm, or, so\n" + semicolons,
    }
    for name, text in texts.items():
        file.write_text(text, "utf-8")
        found = read_predictions(file)
        assert np.allclose(found.probs, right) and found.y.tolist() == [1, 0, 1], name
    file.write_text("label;p_x;p_y\n" + "x;1;0\n" * 20_000 + "y;0,25;0,75\n")
    assert read_predictions(file).probs[-1].tolist() == [0.25, 0.75]  # first seen far below
    for text, line in (
        (
            "label;p_x;p_y\nx;0,5;0,5\n \n\nx;?;0,5\n",
            "line 5: expected a number in 'p_x', found '?'",
        ),
        (
            "sep=;\nlabel;p_x;p_y\nx;0,5;0,5\nx;0,5;o,5\n",
            "line 4: expected a number in 'p_y', found 'o,5'",
        ),
        (
            'label;p_x;p_y;b\nx;0,5;0,5;"\n"\nx;1;2;3;4\n',
            "line 4: expected 4 values, as in the header, found 5",
        ),
        (
            'label;p_x;p_y;b\nx;0,5;0,5;"\n"\n\nx;"1;2\n',
            "line 5: expected a closing quotation mark",
        ),
        ('label;p_x;"p_y\nx;1;2\n', "line 1: expected a closing quotation mark"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=re.escape(f"{file}, {line}")):
            read_predictions(file)


def test_calibrate_command_keeps_what_is_there(tmp_path, capsys):
    """An earlier calibration is replaced only on request, and nothing is computed before."""
    table = pd.DataFrame({"label": ["1.0", "0.0"] * 20, "p_1": 0.4})
    table.to_csv(tmp_path / "a.csv", index=False)
    call = ["calibrate", str(tmp_path / "a.csv"), "--out", str(tmp_path / "out"), "--draws", "20"]
    assert main(call) == 0
    assert "the event is the class '1'" in capsys.readouterr().out
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (tmp_path / "a.csv").write_text("no table")
    assert main(call) == 1
    said = capsys.readouterr().err
    assert "diagram.png: is there already" in said and "--force" in said
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    table.assign(p_1=0.6).to_csv(tmp_path / "a.csv", index=False)
    assert main([*call, "--force"]) == 0
    assert (tmp_path / "out" / "table.csv").read_bytes() != before["table.csv"]


def test_ids_in_several_rows(tmp_path, capsys):
    """Two files joined into one: a warning names ids and lines, and folds and intervals keep an id together."""
    probs, y = model(300, 3, 1.0)
    table = prediction_table(probs, y, ["a", "b", "c"], id=[f"i{k}" for k in range(300)])
    call = ["calibrate", str(tmp_path / "a.csv"), "--out", str(tmp_path / "out"), "--draws", "20"]
    table.to_csv(tmp_path / "a.csv", index=False)
    assert main(call) == 0 and not capsys.readouterr().err
    joined = pd.concat([table, table[:5].assign(**{"p_a": 0.2, "p_b": 0.3, "p_c": 0.5})])
    joined.to_csv(tmp_path / "a.csv", index=False)
    assert main([*call, "--force"]) == 0
    said = capsys.readouterr()
    assert (
        "warning: 5 ids in several rows (10 of 305 rows, 0 of them equal): 'i0' (line 2, line 302), 'i1'"
        in said.err
    )
    assert said.err.endswith("all are kept, and rows of one id count as one group\n")
    assert "305 examples in 300 groups" in said.out
    assert main([*call, "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"][0].startswith("5 ids in several rows")
    assert len(pd.read_csv(tmp_path / "out" / "recalibrated.csv")) == 305


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("a.csv", "label,a,b\na,.2,.8\n", "found ['label', 'a', 'b']; is 'a' the probability of a class? Call"),
        ("a.csv", "Label,p_a,p_b\na,.2,.8\n", "is 'Label' the column 'label'?"),
        ("a.csv", "label,p_a\na,20\nb,80\n", "line 2: expected values between 0 and 1, found 20 in 'p_a'; divide"),
        ("a.csv", "label,p_a,p_b\na,-2,3\n", "apply softmax if these are logits, or say --logits"),
        ("a.csv", "label,p_a,p_b\na,.2,.8\nb,.3,.7,1\n", "line 3: expected 3 values, as in the header, found 4"),
        ("a.csv", "label,p_a,p_b\na,.2,.8\nlabel,p_a,p_b\n", "line 3: expected a label, found the header again"),
        ("a.csv", "label,p_a,p_b\n", "expected labels, found no row below the header"),
        ("a.csv", "\r\n\r\n", "found only empty lines"),
        ("a.csv", "label,p_a\n\0,1\n", "found bytes of value 0; UTF-16 needs a byte order mark"),
        ("a.csv.gz", "", "expected a .parquet, .csv, .tsv or .txt file; unpack it first"),
        ("a.xlsx", "", "expected a .parquet, .csv, .tsv or .txt file; save it as CSV first"),
    ],
)  # fmt: skip
def test_tables_that_are_refused(name, content, said, tmp_path, capsys):
    (tmp_path / name).write_text(content)
    assert main(["calibrate", str(tmp_path / name), "--out", str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"Error: {tmp_path / name}") and said in line
    assert not (tmp_path / "out").exists()


def test_standard_input_and_pipes_are_no_tables(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.csv")
    for name, said in (
        ("-", "-: no such file or folder; standard input is not read"),
        (str(tmp_path / "pipe.csv"), "pipe.csv: expected an ordinary file, found a pipe"),
    ):
        assert main(["calibrate", name, "--out", str(tmp_path / "out")]) == 1
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "label , p_a, p_b\n a, .25, .75\n b, .5, .5\n",
        "label,p_a,p_b\na,.25,.75,\nb,.5,.5,\n",
        "label,p_a,p_b,\na,.25,.75,\nb,.5,.5,\n",
        '"label","p_a","p_b"\n"1","a",.25,.75\n"2","b",.5,.5\n',
        "label\tp_a\tp_b\na\t.25\t.75\n\nb\t.5\t.5\n",
        "\nlabel,p_a,p_b\r\na,.25,.75\r\n\r\nb,.5,.5",
    ],
)
def test_tables_that_are_read(text, tmp_path):
    """Blanks, separators at the end of rows, names of rows, empty lines: the same table."""
    (tmp_path / "a.csv").write_bytes(text.encode())
    found = read_predictions(tmp_path / "a.csv")
    assert found.probs.tolist() == [[0.25, 0.75], [0.5, 0.5]] and found.y.tolist() == [0, 1]
    assert found.names == ["a", "b"] and not found.notes


def test_light_to_import():
    """Calibration without torch in the process, with tensors only by their methods."""
    script = "import sys, clfnb.evaluation.calibration; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_image_keeps_its_room(tmp_path):
    """Nothing of the diagram is cut off at the edges of the figure it makes, with and without title, curves laid over each other, in print size."""
    probs, y = model(800, 4, 1.8)
    for given, title in (
        (probs, ""),
        (probs, "A title"),
        ({"before": probs, "after": probs, "third": probs}, "A title"),
    ):
        ax = reliability_diagram(given, y, title=title, draws=50)
        figure = ax.figure
        figure.savefig(tmp_path / "a.png", dpi=200)
        box = figure.get_tightbbox()
        assert (
            box.x0 > 0
            and box.y0 > 0
            and box.x1 < figure.get_figwidth()
            and box.y1 < figure.get_figheight()
        )
