"""Calibration beside other libraries, which take long to import, and at the size of real test sets."""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from scipy.special import ndtr

from clfnb.evaluation.calibration import (
    Temperature,
    calibration_table,
    classwise_ece,
    debiased_ece,
    ece,
    metric_interval,
    noise_floor,
    prediction_table,
    read_predictions,
    reliability_curve,
    reliability_diagram,
    smooth_ece,
    softmax,
    verdict,
)


def model(n, classes, boast=1.0, seed=0):
    """Probabilities that exaggerate by the factor `boast` in the logits, and labels that follow the honest ones."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(0, 2, (n, classes))
    y = (rng.random((n, 1)) > softmax(honest).cumsum(1)).sum(1).clip(max=classes - 1)
    return softmax(boast * honest), y


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
    stated, happened = probs.max(1), (probs.argmax(1) == y).astype(float)
    found = module._ce_compute(torch.tensor(stated), torch.tensor(happened), 15, "l2", debias=True)
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
    stated, gap = {
        "uniform": (rng.uniform(0, 1, n), 0.0),
        "over": (rng.uniform(0.5, 1, n), 0.1),
        "high": (rng.beta(30, 1, n), 0.0),
        "certain": (np.ones(n), 0.3),
        "ties": (rng.choice([0, 0.1, 0.5, 0.9, 1], n), 0.05),
        "slight": (rng.uniform(0.5, 1, n), 0.01),
        "single": (rng.uniform(0.2, 1, n).astype(np.float32).astype(float), 0.02),
    }[kind]
    y = (rng.random(n) < stated - gap).astype(int)
    assert smooth_ece(stated, y, return_sigma=True) == pytest.approx(
        relplot.smECE(stated, y.astype(float), return_width=True), abs=1e-6
    )


def test_relplot_every_bandwidth():
    """Even grids, where their kernel lies half a step beside the middle, too."""
    theirs = pytest.importorskip("relplot.metrics").smooth_ece
    rng = np.random.default_rng(0)
    stated = rng.uniform(0, 1, 3000)
    y = rng.random(3000) < stated - 0.1
    for sigma in np.array([2, 3, 5, 7, 8, 10, 12, 100, 500, 1024]) / 1024:
        assert smooth_ece(stated, y, sigma=sigma) == pytest.approx(
            theirs(stated, y.astype(float), sigma), abs=1e-6
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
    stated, shared, own = (
        rng.uniform(0.5, 1, len(group)),
        rng.normal(size=groups),
        rng.normal(size=len(group)),
    )
    luck = ndtr(np.sqrt(together) * shared[group] + np.sqrt(1 - together) * own)
    return np.stack([1 - stated, stated], 1), (luck < stated).astype(int), group


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
    stated, y = np.tile([0.9, 0.6], 2000), (rng.random(4000) < 0.75).astype(int)
    two = np.stack([1 - stated, stated], 1)
    for groups in (None, np.arange(4000) // 4):
        found = verdict(two, y, groups)
        assert found.answer == "over- and under-confident" and found.ece_p_value < 0.01
    far = np.clip(stated + 0.08, 0, 1)  # and a mean that is off, by groups of forty
    assert verdict(far, y, np.arange(4000) // 40).answer == "over-confident"


@pytest.mark.parametrize("metric", [ece, debiased_ece, smooth_ece, classwise_ece])
def test_a_measure_keeps_its_interval(metric):
    """Given by itself, in a partial or in a lambda, a distance from a calibrated model has an interval from 0 on."""
    rng = np.random.default_rng(0)
    stated = rng.uniform(0.55, 1, 300)
    y = (rng.random(300) < stated).astype(int)
    found = [
        metric_interval(way, stated, y, draws=200)
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
        stated = rng.uniform(0.55, 1, 1000)
        y = (rng.random(1000) < stated - gap).astype(int)
        _, low, high = metric_interval(metric, stated, y, draws=200, seed=study)
        held += low <= gap <= high
    assert held / 200 > 0.904


def test_one_event_everywhere():
    """Of (n,) probabilities verdict, table, curve and error speak of class 1."""
    stated, y = np.full(1000, 0.1), (np.arange(1000) < 200).astype(int)
    said, table = verdict(stated, y), calibration_table(stated, y, draws=50)
    curve = reliability_curve(stated, y, draws=50)
    assert said.answer == "under-confident" and said.event == "class 1"
    assert said.gap == pytest.approx(curve.gap) == pytest.approx(table.value["accuracy gap"])
    assert said.ece == pytest.approx(curve.ece.value) == pytest.approx(table.value["ECE"])
    names = [
        text.get_text()
        for text in reliability_diagram(stated, y, draws=50).get_legend().get_texts()
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


def test_light_to_import():
    """Calibration without torch in the process, with tensors only by their methods."""
    script = "import sys, clfnb.evaluation.calibration; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_picture_keeps_its_room(tmp_path):
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
