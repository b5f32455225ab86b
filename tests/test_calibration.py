"""Calibration beside other libraries, which take long to import, and at the size of real test sets."""

import subprocess
import sys

import numpy as np
import pytest

from clfnb.evaluation.calibration import (
    Temperature,
    classwise_ece,
    debiased_ece,
    ece,
    noise_floor,
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
