"""Plankton beyond what its notebooks test: interrupted workers, the command line, the simulation's difficulty, and real images.

Tests with real data need CLFNB_DATA/plankton; the test of pretrained weights also needs CLFNB_WEIGHTS, a folder with squeezenet1_1_imagenet.npz.
"""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset

from clfnb.cli import main
from clfnb.data.images.augment import ImageInput
from clfnb.data.images.cache import load_images
from clfnb.data.images.datasets import NativeSizeDataset, SizeBatchSampler, SquareDataset, loader
from clfnb.data.images.duplicates import near_identical
from clfnb.data.images.files import class_table
from clfnb.data.splits import LeakError, check
from clfnb.models.convolutional import ResidualNet
from clfnb.models.pretrained import Transfer
from clfnb.preprocessing.images import UnreadableImage, crop_or_pad, fit, read_image
from clfnb.simulate.plankton.folder import write
from clfnb.tracks.plankton.examples import assign_splits, read_examples
from clfnb.tracks.plankton.network import Predictor, build_model, model_config
from clfnb.tracks.plankton.transfer import train_two_phases
from clfnb.training.callbacks import Callback
from clfnb.training.checkpoints import save_model
from clfnb.training.trainer import Trainer
from clfnb.vision.recipe import fit_stages, parse_plan
from clfnb.vision.views import predict_embeddings, predict_logits

DATA = Path(os.environ.get("CLFNB_DATA", "")) / "plankton"
WEIGHTS = Path(os.environ.get("CLFNB_WEIGHTS", "")) / "squeezenet1_1_imagenet.npz"
real = pytest.mark.skipif(
    not (DATA / "imgs").is_dir(),
    reason="needs CLFNB_DATA/plankton/imgs, the images of the National Data Science Bowl",
)
pretrained = pytest.mark.skipif(
    not WEIGHTS.is_file(), reason="needs CLFNB_WEIGHTS/squeezenet1_1_imagenet.npz"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of simulated plankton in the real layout."""
    return write(tmp_path_factory.mktemp("sim") / "plankton", images=400)


@pytest.fixture(scope="module")
def examples(folder):
    return read_examples(folder, progress=False)


# The simulation


def test_a_linear_model_on_thumbnails_stays_below_70_percent(tmp_path):
    """As the issue asks: on the folder as it is written, long tail and all, trained and tested on different images."""
    images = read_examples(write(tmp_path / "more", images=1600, seed=3), progress=False)
    small = [
        cv2.resize(images.images[i], (8, 8), interpolation=cv2.INTER_AREA).ravel() / 255
        for i in range(len(images))
    ]
    part, y = assign_splits(images, {"train": 0.7, "test": 0.3}), images.table.code.to_numpy()
    x, train = np.array(small), part == "train"
    scores = []
    for c in (0.01, 0.1, 1.0):
        linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, C=c)).fit(
            x[train], y[train]
        )
        scores.append(linear.score(x[~train], y[~train]))
    assert max(scores) < 0.70
    assert max(scores) > np.bincount(y).max() / len(y)


def test_same_seed_same_bytes_other_seed_other_images(tmp_path):
    a, b, c = (
        write(tmp_path / name, images=200, seed=seed)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    files = sorted(p.relative_to(a) for p in a.rglob("*.jpg"))
    assert all((a / f).read_bytes() == (b / f).read_bytes() for f in files)
    assert (a / files[0]).read_bytes() != (c / files[0]).read_bytes()


# Reading and splitting


def test_two_files_of_one_image_stay_on_one_side(tmp_path, folder):
    """The same image in two classes, once re-compressed, as in the real data."""
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    first = sorted((copy / "imgs" / "copepod").iterdir())[:20]
    for path in first:
        Image.open(path).save(copy / "imgs" / "egg" / f"twin_{path.name}", quality=80)
    found = read_examples(copy, progress=False)
    by_file = found.table.set_index("file").group
    assert all(
        by_file[f"copepod/{path.name}"] == by_file[f"egg/twin_{path.name}"] for path in first
    )
    for seed in range(5):
        part = pd.Series(assign_splits(found, seed=seed), index=found.table.file)
        assert all(part[f"copepod/{path.name}"] == part[f"egg/twin_{path.name}"] for path in first)
    apart = np.where(found.table.file.str.contains("twin"), "test", "train")
    with pytest.raises(LeakError):
        check(apart, groups=found.table.group)


def test_every_class_stands_in_every_part(examples):
    counts = pd.crosstab(
        examples.table.label, assign_splits(examples, {"train": 0.7, "val": 0.15, "test": 0.15})
    )
    assert (counts >= 1).all().all()


def test_the_cache_is_read_without_the_images_being_opened(tmp_path, folder, monkeypatch):
    paths = class_table(folder / "imgs").path
    first, _, _ = load_images(paths, tmp_path, progress=False)
    monkeypatch.setattr(
        "clfnb.data.images.decode.read_image", lambda path: pytest.fail(f"decoded {path} again")
    )
    again, _, _ = load_images(paths, tmp_path, progress=False)
    assert np.array_equal(first.data, again.data) and isinstance(again.data, np.memmap)


def test_images_that_can_be_read_now_are_not_broken_for_ever(tmp_path, folder, monkeypatch):
    "The computer had too many open files; the cache was made at that time."
    (broken := tmp_path / "broken.png").write_bytes(b"no image")
    paths = [*class_table(folder / "imgs").path[:5], broken]

    def refuse(path, **options):
        if str(path) in map(str, paths[1:3]):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))
        return read_image(path, **options)

    with monkeypatch.context() as crowded:
        crowded.setattr("clfnb.data.images.decode.read_image", refuse)
        for _ in range(2):
            images, read, errors = load_images(paths, tmp_path, progress=False)
            assert read.tolist() == [True, False, False, True, True, False] and len(images) == 3
            assert len(errors) == 3 and "Too many open files" in errors[0]
    for _ in range(2):
        with pytest.raises(UnreadableImage, match=r"broken\.png"):
            load_images(paths, tmp_path, "raise", progress=False)
        images, read, errors = load_images(paths, tmp_path, progress=False)
        assert read.tolist() == [True] * 5 + [False]
        assert len(errors) == 1 and str(broken) in errors[0]
        for image, path in zip(images, paths[:5], strict=True):
            assert np.array_equal(image, read_image(path))


# Training


def test_images_of_any_size_train_in_batches_of_similar_size(examples):
    """Spatial pyramid pooling end to end with the trainer: two classes that a small network can tell apart."""
    rows = np.flatnonzero(examples.table.label.isin(["pellet", "diatom_chain"]))
    images = [examples.images[i] for i in rows]
    from clfnb.data.images.datasets import identity_collate
    from clfnb.data.images.decode import pack

    data = NativeSizeDataset(
        pack(images), (examples.table.label[rows] == "pellet").to_numpy().astype(int), max_side=96
    )

    class AnySize(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = ResidualNet(2, (8, 16), (1, 1), pyramid=(1, 2))

        def forward(self, inputs):
            return self.net((255 - inputs[0]).float() / 128, inputs[1])

    torch.manual_seed(0)
    model = AnySize()
    batches = SizeBatchSampler(data.images.shapes, 8, shuffle=True)
    train = torch.utils.data.DataLoader(data, batch_sampler=batches, collate_fn=identity_collate)
    trainer = Trainer(
        model,
        torch.nn.functional.cross_entropy,
        torch.optim.Adam(model.parameters(), lr=3e-3),
        progress="none",
        device="cpu",
    )
    history = trainer.fit(train, epochs=8)
    assert history.train_loss.iloc[-1] < 0.4 < history.train_loss.iloc[0]
    shapes = {tuple(data.__getitems__(batch)[0][0].shape[2:]) for batch in batches}
    assert len(shapes) > 3


def test_torchvision_transforms_follow_the_input_layer(examples):
    """Any v2 transform of a batch, in training only, and seeded like the rest."""
    from torchvision.transforms import v2

    transform = ImageInput(
        32, more=v2.Compose([v2.GaussianBlur(5, sigma=2.0), v2.RandomErasing(p=1.0, value=9.0)])
    )
    (shown, sizes), _ = examples.squares(np.arange(6)).__getitems__(range(6))
    torch.manual_seed(0)
    first = transform.train()(shown, sizes)[0]
    torch.manual_seed(0)
    assert torch.equal(first, transform(shown, sizes)[0])
    assert (first == 9).any() and not (transform.eval()(shown, sizes)[0] == 9).any()


@pytest.mark.parametrize("folder", [None, "a"])
def test_stages_that_start_anew_train_each_epoch_once(tmp_path, folder):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2))
    model.transform = SimpleNamespace(px=0)
    seen = []

    class Count(Callback):
        def on_train_batch_end(self, trainer, batches):
            seen.append((model.transform.px, trainer.epoch))

    inputs = torch.rand(16, 3, generator=torch.Generator().manual_seed(0))
    batches = DataLoader(TensorDataset(inputs, (inputs[:, 0] > 0.5).long()), 8)
    trainer = Trainer(
        model,
        torch.nn.functional.cross_entropy,
        torch.optim.SGD(model.parameters(), 0.1),
        folder=folder and tmp_path / folder,
        callbacks=[Count()],
        progress="none",
        device="cpu",
    )
    for _ in range(2):  # the second training starts anew, too
        history = fit_stages(trainer, batches, None, parse_plan("32x2 48x2"), resume=False)
        assert seen == [
            (px, epoch) for px, epoch in ((32, 0), (32, 1), (48, 2), (48, 3)) for _ in "ab"
        ]
        assert history.epoch.tolist() == [0, 1, 2, 3]
        seen.clear()


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path, examples, precision):
    """The stages of growing resolution are resumed bit for bit, in either precision, and the weights are single precision."""

    def trainer(folder):
        torch.manual_seed(0)
        model = build_model(len(examples.classes), px=24, widths=(8, 16), blocks=(1, 1))
        optimizer = torch.optim.SGD(model.parameters(), 0.05)
        return Trainer(
            model,
            torch.nn.functional.cross_entropy,
            optimizer,
            folder=folder,
            progress="none",
            device="cpu",
            precision=precision,
        )

    rows = np.arange(128)
    train = loader(examples.squares(rows, size=32), 32, shuffle=True)
    whole = trainer(tmp_path / "a")
    fit_stages(whole, train, None, parse_plan("16x2 24x2"))
    fit_stages(trainer(tmp_path / "b"), train, None, parse_plan("16x2 24x1"))
    resumed = trainer(tmp_path / "b")
    history = fit_stages(resumed, train, None, parse_plan("16x2 24x2"))
    assert history.epoch.tolist() == [0, 1, 2, 3] and resumed.model.transform.px == 24
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            whole.model.state_dict().values(), resumed.model.state_dict().values(), strict=True
        )
    )
    assert {value.dtype for value in resumed.model.state_dict().values()} == {
        torch.float32,
        torch.int64,
    }


def test_bfloat16_training_validates_in_single_precision_and_agrees_with_it(examples):
    """Sums of losses are not rounded to eight bits, and the same weights answer alike in single precision."""
    torch.manual_seed(0)
    rows = np.arange(len(examples))
    train, val = (
        examples.squares(rows[::2], size=32),
        examples.squares(rows[1::2], size=32),
    )
    model = build_model(len(examples.classes), px=24, widths=(8, 16), blocks=(1, 1))

    def log_loss(logits, targets):
        assert logits.dtype == torch.float32
        return torch.nn.functional.cross_entropy(logits, targets, reduction="sum"), len(targets)

    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    trainer = Trainer(
        model,
        torch.nn.functional.cross_entropy,
        optimizer,
        metrics={"log_loss": log_loss},
        progress="none",
        device="cpu",
        precision="bf16-mixed",
    )
    history = trainer.fit(loader(train, 32, shuffle=True), loader(val, 64), epochs=3)
    outputs = trainer.predict(loader(val, 64))
    np.testing.assert_allclose(
        history.val_log_loss.iloc[-1],
        torch.nn.functional.cross_entropy(outputs, val.labels).item(),
        rtol=1e-5,
    )
    single = torch.from_numpy(predict_logits(model, val, views=None))
    assert 1e-6 < (single - outputs).abs().max() < 0.1
    assert (
        abs(
            torch.nn.functional.cross_entropy(single, val.labels).item()
            - history.val_log_loss.iloc[-1]
        )
        < 0.005
    )


@pytest.mark.skipif(
    sys.platform == "win32", reason="sends the signal that a terminal sends on Ctrl-C"
)
def test_workers_end_silently_on_an_interrupt():
    """Ctrl-C reaches every process of the group; only the main one may say anything."""
    script = """
        import numpy as np, sys, time
        from clfnb.data.images.datasets import SquareDataset, loader

        class Slow(SquareDataset):
            def __getitems__(self, rows):
                time.sleep(0.2)
                return super().__getitems__(rows)

        def work():
            data = Slow(np.zeros((4000, 8, 8), np.uint8), np.full((4000, 2), 8), np.zeros(4000, int))
            try:
                for number, batch in enumerate(loader(data, 4, workers=2)):
                    print("batch", number, flush=True)
            except KeyboardInterrupt:
                print("interrupted", flush=True)
                sys.exit(130)

        if __name__ == "__main__":
            work()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline().startswith("batch 0")
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    said, complained = process.communicate(timeout=300)
    assert process.returncode == 130 and said.rstrip().endswith("interrupted")
    assert "Traceback" not in complained, complained


# The command line


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory, examples):
    torch.manual_seed(0)
    arguments = dict(px=16, widths=(8, 16), blocks=(1, 1))
    model = build_model(len(examples.classes), **arguments)
    logits = predict_logits(model, examples.squares(np.arange(40)))
    return save_model(
        tmp_path_factory.mktemp("run") / "model",
        model,
        model_config(examples.classes, 1.3, logits, **arguments),
        "# untrained",
    )


def test_predict_plankton_writes_a_row_a_image(tmp_path, folder, model_folder, examples, capsys):
    assert (
        main(
            [
                "predict",
                "plankton",
                str(folder / "imgs"),
                "--run",
                str(model_folder),
                "--csv",
                str(tmp_path / "names.csv"),
                "--probs",
            ]
        )
        == 0
    )
    table = pd.read_csv(tmp_path / "names.csv", keep_default_na=False)
    assert list(table.columns[:6]) == [
        "path",
        "class",
        "probability",
        "second",
        "third",
        "unknown_score",
    ]
    assert list(table.columns[6:]) == [f"p_{name}" for name in examples.classes]
    assert len(table) == len(examples) and set(table["class"]) <= set(examples.classes)
    probs = table[[f"p_{name}" for name in examples.classes]].to_numpy()
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-4)
    np.testing.assert_allclose(probs.max(1), table.probability, atol=1e-6)
    assert f"{len(examples)} images named, 0 left out" in capsys.readouterr().out


def test_predict_plankton_takes_frequencies_out(tmp_path, folder, examples, capsys):
    """With --tau the ratio of two columns changes by the ratio of their frequencies to that power."""
    torch.manual_seed(0)
    arguments = dict(px=16, widths=(8, 16), blocks=(1, 1))
    model = build_model(len(examples.classes), **arguments)
    logits = predict_logits(model, examples.squares(np.arange(40)))
    counts = np.bincount(examples.table.code)
    prior = np.log(counts / counts.sum())
    config = model_config(examples.classes, 1.3, logits, prior=prior, tau=0.5, **arguments)
    kept = save_model(tmp_path / "model", model, config, "# untrained")
    words = ["predict", "plankton", str(folder / "imgs"), "--run", str(kept), "--probs"]
    tables = {}
    for tau in ("0", "balanced", "1"):
        assert main([*words, "--tau", tau, "--csv", str(tmp_path / "t.csv")]) == 0
        said = capsys.readouterr().err
        assert ("answers for counting" in said) == (tau == "0")
        tables[tau] = pd.read_csv(tmp_path / "t.csv", keep_default_na=False)
    first, second = (f"p_{name}" for name in examples.classes[:2])
    ratio = {tau: np.log(t[first] / t[second]) for tau, t in tables.items()}
    for tau, power in (("balanced", 0.5), ("1", 1.0)):
        np.testing.assert_allclose(
            ratio["0"] - ratio[tau], power * (prior[0] - prior[1]), atol=1e-3
        )
    assert main([*words, "--tau", "3"]) == 2


def noise_image(path, high=20):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(abs(hash(path.name)) % 2**32)
    Image.fromarray(rng.integers(0, 256, (high, 30), dtype=np.uint8)).save(path)


def test_folders_with_all_that_people_leave_in_them(tmp_path):
    """Links, loops, hidden folders, dangling links, unread formats, one image in two classes."""
    for name in ("a", "b"):
        for i in range(4):
            noise_image(tmp_path / "d" / name / f"{name}{i}.png")
    for name in ("__MACOSX", ".ipynb_checkpoints"):
        noise_image(tmp_path / "d" / name / "x.png")
    (tmp_path / "d" / ".DS_Store").touch()
    (tmp_path / "d" / "empty").mkdir()
    (tmp_path / "d" / "a" / "photo.heic").touch()
    noise_image(tmp_path / "elsewhere" / "c0.png")
    (tmp_path / "d" / "c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "d" / "b" / "loop").symlink_to(tmp_path / "d")
    (tmp_path / "d" / "b" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "d" / "b" / "twin.png").write_bytes((tmp_path / "d" / "a" / "a0.png").read_bytes())
    found = read_examples(tmp_path / "d")
    assert found.classes == ["a", "b", "c"] and len(found) == 10
    assert len(found.errors) == 1 and "gone.png: a link to nowhere" in found.errors[0]
    said = "; ".join(found.notes)
    for word in ("1 .heic", "empty", "loop: a link to a folder above it", "stands in two classes"):
        assert word in said, said


def test_twelve_bits_in_sixteen(tmp_path):
    """A camera's 12 bits use the whole scale; true 16 bits are left as they are."""
    ramp = np.arange(0, 4096, 16, dtype=np.uint16)[None].repeat(4, 0)
    Image.fromarray(ramp).save(tmp_path / "twelve.png")
    Image.fromarray(ramp * 16).save(tmp_path / "sixteen.png")
    with pytest.warns(UserWarning, match="read as 12 bits"):
        twelve = read_image(tmp_path / "twelve.png")
    assert abs(twelve.astype(int) - read_image(tmp_path / "sixteen.png")).max() <= 1
    assert twelve.max() > 250


def test_regions_of_an_ifcb_bin_are_named(tmp_path, model_folder, capsys, monkeypatch):
    monkeypatch.setenv("CLFNB_CACHE", str(tmp_path / "cache"))
    shapes, data, lines = [(12, 20), (0, 0), (30, 9)], b"", []
    for high, wide in shapes:
        lines.append(",".join(["0"] * 15 + [str(wide), str(high), str(len(data)), "0"]))
        data += bytes(range(256)) * 2 if high else b""
        data = data[: sum(h * w for h, w in shapes[: len(lines)])]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "D20130526T095207_IFCB013.adc").write_text("\n".join(lines))
    (tmp_path / "bin" / "D20130526T095207_IFCB013.roi").write_bytes(data)
    words = ["predict", "plankton", str(tmp_path / "bin"), "--run", str(model_folder)]
    assert main([*words, "--csv", str(tmp_path / "t.csv")]) == 0
    names = [Path(path).name for path in pd.read_csv(tmp_path / "t.csv").path]
    assert names == [f"D20130526T095207_IFCB013_0000{k}.png" for k in (1, 3)]


def test_predict_plankton_names_broken_images(tmp_path, folder, model_folder, capsys):
    some = tmp_path / "some"
    some.mkdir()
    good = next((folder / "imgs" / "egg").iterdir())
    (some / "good.jpg").write_bytes(good.read_bytes())
    (some / "cut.jpg").write_bytes(good.read_bytes()[:-300])
    assert main(["predict", "plankton", str(some), "--run", str(model_folder)]) == 1
    shown = capsys.readouterr()
    assert "cut.jpg: not a readable image" in shown.err and "good.jpg" in shown.out


@pytest.mark.parametrize("words, message", [
    (["absent", "--run", "MODEL"], "absent: no such folder or image"),
    (["EMPTY", "--run", "MODEL"], "expected images"),
    (["EMPTY", "--run", "nowhere"], "no run of that name"),
])  # fmt: skip
def test_predict_plankton_refuses(tmp_path, model_folder, capsys, monkeypatch, words, message):
    monkeypatch.setenv("CLFNB_RUNS", str(tmp_path / "runs"))
    (tmp_path / "empty").mkdir()
    known = {"MODEL": str(model_folder), "EMPTY": str(tmp_path / "empty")}
    assert main(["predict", "plankton", *[known.get(word, word) for word in words]]) == 1
    assert message in capsys.readouterr().err


def test_unknown_score_is_high_for_what_was_never_seen(examples):
    """A network trained for a moment finds noise less familiar than plankton, in the median."""
    torch.manual_seed(0)
    rows = np.arange(len(examples))[::2]
    train = loader(examples.squares(rows, size=32), 32, shuffle=True)
    model = build_model(len(examples.classes), px=24, widths=(16, 32), blocks=(1, 1))
    Trainer(
        model,
        torch.nn.functional.cross_entropy,
        torch.optim.Adam(model.parameters(), 3e-3),
        progress="none",
        device="cpu",
    ).fit(train, epochs=6)
    known = examples.squares(np.arange(len(examples))[1::2], size=32)
    logits = predict_logits(model, known)
    config = model_config(examples.classes, 1.0, logits, size=32)
    predictor = Predictor(model, examples.classes, 32, 1.0, np.array(config["energy"]))
    scores = predictor.table(logits, range(len(logits))).unknown_score
    assert 0.4 < scores.median() < 0.6
    blank = np.random.default_rng(0).normal(235, 8, (40, 32, 32)).clip(0, 255).astype(np.uint8)
    empty = SquareDataset(blank, np.full((40, 2), 60), np.zeros(40))
    assert predictor.table(predict_logits(model, empty), range(40)).unknown_score.median() > 0.6


# Real images


def some_real(classes, each, square):
    """The first images of the most frequent classes in squares, and which of them are for training: two of three."""
    table = class_table(DATA / "imgs")
    names = table.label.value_counts().index[:classes]
    table = pd.concat([table[table.label == name].iloc[:each] for name in names], ignore_index=True)
    images, _, _ = load_images(table.path, progress=False)
    data = SquareDataset(
        np.stack([square(images[i]) for i in range(len(images))]),
        images.shapes,
        pd.factorize(table.label)[0],
    )
    return data, np.arange(len(table)) % each < 2 * each // 3


@real
def test_real_folder_is_read_whole_and_split_without_leaks(tmp_path):
    found = read_examples(DATA, progress=False)
    assert len(found.classes) == 121 and len(found) == len(found.images) and not found.errors
    same = found.table.groupby("group").size()
    assert (
        2 <= (same > 1).sum() < 200 and same.max() < 10
    )  # a few twins, no chains of unlike images
    part = assign_splits(found)
    counts = pd.crosstab(found.table.label, part)
    assert (counts[["train", "val", "test"]] >= 1).all().all()
    share = counts.div(counts.sum(axis=1), axis=0)
    np.testing.assert_allclose(share[counts.sum(axis=1) > 100].mean(), [0.1, 0.8, 0.1], atol=0.01)


@real
def test_real_twins_show_the_same(tmp_path):
    paths = [
        path
        for name in ("chaetognath_other", "chaetognath_non_sagitta")
        for path in sorted((DATA / "imgs" / name).glob("*.jpg"))
    ]
    images, _, _ = load_images(paths, progress=False)
    groups = near_identical(images)
    twins = [np.flatnonzero(groups == g) for g in np.flatnonzero(np.bincount(groups) > 1)]
    assert twins
    for rows in twins:
        small = [cv2.resize(images[i], (32, 32)).astype(float) for i in rows]
        assert all(np.corrcoef(small[0].ravel(), other.ravel())[0, 1] > 0.98 for other in small[1:])


@real
@pretrained
def test_pretrained_weights_are_worth_something_on_real_plankton():
    """The same head on the same frozen body: ImageNet's weights against random ones, on images that neither has seen."""
    data, train = some_real(classes=12, each=60, square=lambda image: fit(image, 96))
    codes = data.labels.numpy()
    scores = {}
    for kind, weights in {"random": None, "imagenet": WEIGHTS}.items():
        torch.manual_seed(0)
        vectors = predict_embeddings(
            Transfer("squeezenet1_1", 12, weights=weights, hidden=(), px=96), data
        )
        head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300, C=0.01)).fit(
            vectors[train], codes[train]
        )
        scores[kind] = head.score(vectors[~train], codes[~train])
    print(scores)
    assert scores["imagenet"] > scores["random"] + 0.1


@real
def test_inception_trains_in_the_two_phases_of_the_study():
    """InceptionV3 on real images at 299 pixels, padded with white: the head, then the top two blocks, and nothing else moves."""
    data, train = some_real(classes=4, each=12, square=lambda image: crop_or_pad(image, 299))
    torch.manual_seed(0)
    model = Transfer("inception_v3", 4, px=299)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batches = (
        loader(data, 8, sampler=torch.utils.data.SubsetRandomSampler(np.flatnonzero(train))),
        loader(torch.utils.data.Subset(data, np.flatnonzero(~train)), 16),
    )
    history = train_two_phases(
        model, *batches, top="Mixed_7b", epochs=(1, 1), progress="none", device="cpu"
    )
    print(history)
    assert history.phase.tolist() == ["head", "top"] and history.lr.tolist() == [0.01, 0.0001]
    assert np.isfinite(history[["train_loss", "val_loss"]].to_numpy()).all()
    changed = {
        name for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert {".".join(name.split(".")[:2]) for name in changed if name.startswith("body")} == {
        "body.Mixed_7b",
        "body.Mixed_7c",
    }
    assert any(name.startswith("head") for name in changed)


@real
@pretrained
def test_two_phases_from_imagenet_weights_on_real_plankton():
    """SqueezeNet as the study trained its network: the second phase begins with the best of the first and must not lose it."""
    data, train = some_real(classes=12, each=60, square=lambda image: fit(image, 96))
    torch.manual_seed(0)
    model = Transfer("squeezenet1_1", 12, weights=WEIGHTS, hidden=(256,), px=96)
    batches = (
        loader(data, 32, sampler=torch.utils.data.SubsetRandomSampler(np.flatnonzero(train))),
        loader(torch.utils.data.Subset(data, np.flatnonzero(~train)), 64),
    )
    history = train_two_phases(
        model, *batches, top="features.9", epochs=(15, 15), progress="none", device="cpu"
    )
    print(history.to_string())
    best = history.groupby("phase").val_loss.min()
    assert history[history.phase == "head"].val_accuracy.max() > 0.6
    assert best["top"] < best["head"]
