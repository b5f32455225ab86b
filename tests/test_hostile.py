"""What must not be believed, waited for or answered with a traceback: model folders, records, images and settings
of unknown origin. Small ones of each kind are made here; those of `cases/runs` beside the data folder are read too."""

import json
import os
import shutil
import stat
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pytest
import torch
import wfdb
from PIL import Image
from safetensors.torch import load_file, save_file

from clfnb.cli import main
from clfnb.data.images.cache import load_images
from clfnb.data.images.decode import decode
from clfnb.data.images.files import class_table
from clfnb.models.shipped import shipped_weights
from clfnb.registry import track
from clfnb.runs.record import open_run, update_record
from clfnb.runs.report import write_report
from clfnb.settings import SettingsError, load_settings
from clfnb.tracks.ecg.delineator import Predictor as EcgPredictor
from clfnb.tracks.ecg.delineator import build_model as ecg_model
from clfnb.tracks.ecg.delineator import model_config as ecg_config
from clfnb.tracks.ecg.examples import read_signal
from clfnb.tracks.ecg.wfdb_files import parse_header
from clfnb.tracks.plankton.network import Predictor, build_model
from clfnb.training.checkpoints import save_model
from clfnb.training.digests import stamp

CASES = Path(os.environ.get("CLFNB_DATA", ".")).parent / "cases" / "runs"
ARGUMENTS = {"widths": [8], "blocks": [1], "px": 32}
CONFIG = {
    "track": "plankton",
    "arguments": ARGUMENTS,
    "classes": ["a", "b", "c"],
    "size": 32,
    "temperature": 1.5,
    "energy": [0.0, 1.0, 2.0],
}
PIPES = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of Unix")


def cases(pattern):
    "Files or folders of the shared cases; one that stands for none where they are not here."
    found = sorted(CASES.glob(pattern)) if CASES.is_dir() else []
    missing = pytest.mark.skip(reason=f"no {pattern} in cases/runs beside CLFNB_DATA")
    return found or [pytest.param(None, marks=missing)]


@pytest.fixture
def clfnb(capsys, monkeypatch, tmp_path):
    "Call the command in this process: exit code, output, error output."
    monkeypatch.chdir(tmp_path)
    for name in ("CLFNB_RUNS", "CLFNB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("CLFNB_DEBUG", raising=False)

    def call(*words):
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return call


def one_line(text):
    "The text of an error that must be a single line without a traceback."
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) == 1 and "Traceback" not in text, text
    return lines[0]


@pytest.fixture
def model(tmp_path):
    "A small model folder that works."
    torch.manual_seed(0)
    return save_model(tmp_path / "model", build_model(3, **ARGUMENTS), CONFIG, "# A model")


def image_folder(folder, count=3, size=(20, 30)):
    "A folder of small images."
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        noise = rng.integers(0, 256, size, dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    return folder


def change_weights(folder, change):
    "Save changed weights, as somebody would who knows of no digest."
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")
    change_config(folder, weights_sha256=..., config_sha256=...)


def change_config(folder, **changes):
    "Edit a description as a text editor would; the entries that are `...` are removed."
    config = json.loads((folder / "config.json").read_text()) | changes
    config = {name: value for name, value in config.items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(config))


def fill(value):
    return lambda state: next(v for v in state.values() if v.is_floating_point()).fill_(value)


@pytest.mark.parametrize(
    "change, said",
    [
        (fill(float("nan")), "model.safetensors: expected finite weights, found NaN or infinity"),
        (fill(float("inf")), "model.safetensors: expected finite weights, found NaN or infinity"),
        (lambda state: state.pop(next(iter(state))), "found None"),
        (lambda state: state.update(more=torch.zeros(1)), "more: config.json asks for None"),
        (
            lambda state: state.update({k: v[..., None] for k, v in [next(iter(state.items()))]}),
            "config.json asks for",
        ),
    ],
)
def test_weights_that_are_none(model, tmp_path, clfnb, change, said):
    change_weights(model, change)
    code, out, error = clfnb("predict", "plankton", image_folder(tmp_path / "new"), "--run", model)
    assert code == 1 and out == "" and said in one_line(error) and str(model) in error


@pytest.mark.parametrize(
    "entries, said",
    [
        ({"temperature": 0}, "temperature: expected a number above 0, found 0"),
        ({"temperature": float("nan")}, "temperature: expected a number above 0"),
        ({"temperature": None}, "temperature: expected a number above 0"),
        ({"temperature": "1"}, "temperature: expected a number above 0"),
        ({"temperature": 1e9}, "temperature: expected a number from 0.0005 to 2000, found 1"),
        ({"temperature": 1e-9}, "temperature: expected a number from 0.0005 to 2000, found 1e-09"),
        ({"prior": [0.0, 0.0]}, "prior: expected a number for each class, found [0.0, 0.0]"),
        ({"classes": ["a", "b"]}, "config.json asks for [2"),
        ({"classes": ["a", "b", "c", "d"]}, "config.json asks for [4"),
        ({"energy": []}, "energy: expected rising numbers, found []"),
        ({"energy": [1, 0]}, "energy: expected rising numbers"),
        ({"energy": "x"}, "energy: expected rising numbers"),
        ({"energy": ...}, "expected an entry 'energy', found none"),
        ({"arguments": ...}, "expected an entry 'arguments', found none"),
        ({"classes": ...}, "expected an entry 'classes', found none"),
        ({"classes": ["a", "b", 3]}, "classes: expected different names"),
        ({"classes": "abc"}, "classes: expected different names"),
        ({"size": 10**9}, "size: expected pixels"),
        ({"size": -1}, "size: expected pixels"),
        ({"arguments": {"widths": [10**12], "blocks": [1], "px": 32}}, "arguments: expected no"),
        ({"arguments": {"widths": [8], "blocks": [10**9], "px": 32}}, "arguments: expected no"),
        ({"arguments": {"widths": [4096], "blocks": [9], "px": 32}}, "config.json asks for"),
        ({"arguments": {"widths": "8", "blocks": [1]}}, "not the description of a model"),
        ({"arguments": {"px": [[[[[[[[[[1]]]]]]]]]]}}, "arguments: expected no"),
        ({"arguments": []}, "arguments: expected a mapping"),
    ],
)
@pytest.mark.parametrize("stamped", [False, True])
def test_descriptions_that_no_model_has(model, tmp_path, clfnb, entries, said, stamped):
    change_config(model, **entries)
    if stamped and not any(value != value for value in entries.values()):  # NaN is no JSON
        stamp(model)  # a digest does not make them right
    code, out, error = clfnb("predict", "plankton", image_folder(tmp_path / "new"), "--run", model)
    assert code == 1 and out == "" and said in one_line(error)
    assert str(model / "config.json") in error or str(model / "model.safetensors") in error


@pytest.mark.parametrize("text", ['{"a":' * 100_000, "[]", "", "nan", '{"track": '])
def test_descriptions_that_are_no_json(model, tmp_path, clfnb, text):
    (model / "config.json").write_text(text)
    code, _, error = clfnb("predict", "plankton", image_folder(tmp_path / "new"), "--run", model)
    assert code == 1 and f"{model / 'config.json'}: " in one_line(error)


def test_weights_of_another_training(model, tmp_path, clfnb):
    "Two halves of two models fit each other in every shape; the digest tells them apart."
    torch.manual_seed(1)
    other = save_model(tmp_path / "other", build_model(3, **ARGUMENTS), CONFIG, "# Another")
    (model / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    code, _, error = clfnb("predict", "plankton", image_folder(tmp_path / "new"), "--run", model)
    assert code == 1 and "expected weights of SHA-256" in one_line(error)


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": ["c", "b", "a"]},
        {"size": 7},
        {"temperature": 30.0},
        {"energy": [0.0, 0.1, 0.2]},
        {"prior": [0.0, 1.0, 2.0]},
        {"config_sha256": "0" * 64},
        {"weights_sha256": ...},
        {"more": 1},
    ],
)
def test_an_edited_description_is_refused_until_it_is_stamped(model, tmp_path, clfnb, changes):
    "Class names in another order fit the weights, and every answer would be wrong with confidence."
    words = ["predict", "plankton", image_folder(tmp_path / "new"), "--run", model]
    change_config(model, **changes)
    code, out, error = clfnb(*words)
    assert code == 1 and out == ""
    assert f"{model / 'config.json'}: changed since the model was saved" in one_line(error)
    call = error[error.index("from clfnb") : error.rindex('"')]
    assert call == f"from clfnb.training.digests import stamp; stamp({str(model)!r})"
    exec(call)
    code, out, error = clfnb(*words)
    assert (code, error) == (0, "") and len(out.splitlines()) == 4


def test_form_is_no_change(model, tmp_path, clfnb):
    "Git may convert line ends, an editor may indent: the values count."
    words = ["predict", "plankton", image_folder(tmp_path / "new"), "--run", model]
    before = clfnb(*words)
    values = json.loads((model / "config.json").read_text())
    text = json.dumps(dict(reversed(values.items())), indent=8).replace("\n", "\r\n")
    (model / "config.json").write_bytes(text.encode())
    assert clfnb(*words) == before


@pytest.mark.parametrize(
    "name, owner", [("barcode_lines", "barcodes"), ("chest_xray", "chest_xray"), ("ecg", "ecg")]
)
def test_shipped_weights_are_checked(name, owner, tmp_path, monkeypatch):
    "The package's own folders too, also by the barcode reader, which reads them without torch."
    folder = shutil.copytree(shipped_weights(name), tmp_path / "weights" / name)
    monkeypatch.setattr("clfnb.__file__", str(tmp_path / "__init__.py"))
    predictor = track(owner).part("predictor")
    predictor.load()
    change_config(folder, notes="edited")
    with pytest.raises(ValueError, match="config.json: changed since the model was saved"):
        predictor.load()
    change_config(folder, notes=..., weights_sha256="0")
    with pytest.raises(ValueError, match="model.safetensors: expected weights of SHA-256 0, found"):
        predictor.load()


def test_a_chest_model_has_two_classes(tmp_path):
    folder = shutil.copytree(shipped_weights("chest_xray"), tmp_path / "model")
    for names in (["NORMAL"], ["NORMAL", "BACTERIA", "VIRUS"]):
        change_config(folder, classes=names)
        stamp(folder)
        with pytest.raises(ValueError, match="config.json: .*expected two classes, found"):
            track("chest_xray").part("predictor").load(folder)
    change_config(folder, classes=["PNEUMONIA", "NORMAL"])
    with pytest.raises(ValueError, match="changed since the model was saved"):
        track("chest_xray").part("predictor").load(folder)
    stamp(folder)
    with pytest.raises(ValueError, match=r"config.json: expected the classes \['NORMAL', 'PNEU"):
        track("chest_xray").part("predictor").load(folder)


def test_a_volleyball_model_of_another_edition(tmp_path):
    from clfnb.tracks.volleyball.players import PlayersModel
    from clfnb.tracks.volleyball.predictor import Predictor, VolleyballModel, save_volleyball

    boxes = PlayersModel(False, 1, model={"width": 8, "layers": 1, "heads": 2})
    folder = save_volleyball(tmp_path / "model", VolleyballModel(boxes=boxes), "# Boxes")
    assert Predictor.load(folder).model.boxes
    parts = json.loads((folder / "config.json").read_text())["parts"]
    older = {name: value for name, value in parts["boxes"].items() if name != "tree_share"}
    change_config(folder, parts={"boxes": older | {"share": 0.25}}, config_sha256=...)
    with pytest.raises(ValueError) as bad:
        Predictor.load(folder)
    said = "saved by another edition of clfnb: PlayersModel.__init__() got an unexpected keyword"
    assert f"{folder / 'config.json'}: " in str(bad.value) and said in str(bad.value)
    assert "train it again: clfnb run volleyball_activity -p data=FOLDER" in str(bad.value)
    change_weights(folder, lambda state: state.update(more=torch.zeros(1)))
    change_config(folder, parts=parts)
    with pytest.raises(ValueError, match="a model of another edition must be trained again"):
        Predictor.load(folder)
    change_config(folder, classes=["l_set"])
    with pytest.raises(ValueError, match="expected the classes"):
        Predictor.load(folder)


def stamped(folder, change=lambda config: None, weights=None):
    "Change a model folder as somebody would who knows of the digests."
    if weights:
        change_weights(folder, weights)
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    stamp(folder)
    return folder


def entry(*path):
    "A change of one entry of a description: the keys that lead to it, and its value."
    *keys, last, value = path

    def change(config):
        for key in keys:
            config = config[key]
        config[last] = value

    return change


def filled(pattern, value):
    "A change of all weights whose name holds a pattern."

    def change(state):
        for name, tensor in state.items():
            if pattern in name:
                tensor.fill_(value)

    return change


def kinds(dtype):
    return lambda state: state.update({name: value.to(dtype) for name, value in state.items()})


@pytest.fixture
def chest(tmp_path):
    "A copy of the shipped chest X-ray model, and a folder of two images."
    image_folder(tmp_path / "xr", 2, (40, 50))
    return shutil.copytree(shipped_weights("chest_xray"), tmp_path / "chest")


@pytest.mark.parametrize(
    "change, said",
    [
        (entry("members", 10**9), "config.json: members: expected no number above 4096, found 1"),
        (entry("members", 4096), "config.json: expected a network of 160 tensors"),
        (entry("size", 1), "config.json: not the description of a model (size: expected at least"),
        (entry("size", 224.5), "config.json: size: expected pixels in 1..4096, found 224.5"),
        (entry("arguments", "px", 4096), "config.json: arguments: expected px of 1..1024 whole"),
        (entry("arguments", "px", 112.5), "config.json: arguments: expected px of 1..1024 whole"),
        (entry("threshold", 1.5), "config.json: threshold: expected a number in 0..1, found 1.5"),
    ],
)
def test_chest_descriptions_that_take_forever_or_fail_late(chest, tmp_path, clfnb, change, said):
    stamped(chest, change)
    code, out, error = clfnb("predict", "chest_xray", tmp_path / "xr", "--run", chest)
    assert code == 1 and out == "" and said in one_line(error) and str(chest) in error


def test_a_chest_description_fetches_nothing(chest, tmp_path, clfnb, monkeypatch):
    "The weights are those of the folder, whatever weights its description names."
    before = clfnb("predict", "chest_xray", tmp_path / "xr")
    monkeypatch.setattr("clfnb.tracks.chest_xray.network.load_grey_body", None)
    stamped(chest, entry("arguments", "weights", "imagenet"))
    assert clfnb("predict", "chest_xray", tmp_path / "xr", "--run", chest) == before


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64])
def test_weights_of_another_kind(chest, tmp_path, clfnb, dtype):
    "Rounded to 0 and 1 they fit every shape, and the answer is 0.5 or 1 for every image."
    stamped(chest, weights=kinds(dtype))
    code, out, error = clfnb("predict", "chest_xray", tmp_path / "xr", "--run", chest)
    assert code == 1 and out == "" and "config.json asks for numbers of the kind" in one_line(error)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_weights_of_another_precision(chest, tmp_path, clfnb, dtype):
    stamped(chest, weights=kinds(dtype))
    code, out, _ = clfnb("predict", "chest_xray", tmp_path / "xr", "--run", chest)
    assert code == 0 and len(out.splitlines()) == 3


@pytest.mark.parametrize(
    "weights", [filled("familiar.spread", 0), filled("head.1.weight", 3e38)], ids=["spread", "head"]
)
def test_answers_that_are_no_numbers(chest, tmp_path, clfnb, weights):
    "NaN is below every threshold: it was the class NORMAL, with an empty probability."
    stamped(chest, weights=lambda state: [kinds(torch.float32)(state), weights(state)])
    code, out, error = clfnb("predict", "chest_xray", tmp_path / "xr", "--run", chest)
    assert code == 1 and len(out.splitlines()) == 1
    said = f"left out: {tmp_path / 'xr' / '0.png'}: the network of {chest} answers with NaN"
    assert said in error and "Traceback" not in error


def test_plankton_answers_that_are_no_numbers(model, tmp_path, clfnb):
    new = image_folder(tmp_path / "new")
    stamped(model, weights=filled("head.1.weight", 3e38))
    code, out, error = clfnb("predict", "plankton", new, "--run", model)
    assert code == 1 and len(out.splitlines()) == 1 and error.count("answers with NaN") == 3
    stamped(model, weights=filled("running_var", -1))
    code, out, error = clfnb("predict", "plankton", new, "--run", model)
    assert code == 1 and out == "" and "expected variances of at least 0" in one_line(error)


@pytest.mark.parametrize(
    "change, said",
    [
        (entry("arguments", "px", 0), "arguments: expected px of 1..1024 whole pixels"),
        (entry("arguments", "px", 4096), "arguments: expected px of 1..1024 whole pixels"),
        (entry("size", 32.5), "size: expected pixels in 1..4096, found 32.5"),
        (entry("tau", "x"), "tau: expected a number in 0..2, found 'x'"),
        (entry("arguments", "blocks", [4000]), "expected a network of"),
    ],
)
def test_plankton_descriptions_that_take_forever_or_fail_late(model, tmp_path, clfnb, change, said):
    stamped(model, change)
    words = ["--run", model, "--tau", "balanced"]
    code, out, error = clfnb("predict", "plankton", image_folder(tmp_path / "new"), *words)
    assert code == 1 and out == "" and f"{model / 'config.json'}: {said}" in one_line(error)


def test_a_description_with_a_byte_order_mark(model, tmp_path, clfnb):
    "An editor of Windows writes one."
    words = ["predict", "plankton", image_folder(tmp_path / "new"), "--run", model]
    before = clfnb(*words)
    file = model / "config.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert before[0] == 0 and clfnb(*words) == before


@PIPES
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_pipe_in_a_model_folder(model, tmp_path, clfnb, name):
    (model / name).unlink()
    os.mkfifo(model / name)
    code, _, error = clfnb("predict", "plankton", image_folder(tmp_path / "new"), "--run", model)
    said = f"{model / name}: expected an ordinary file, found a pipe or a device"
    assert code == 1 and said in one_line(error)


@pytest.fixture
def volleyball(tmp_path):
    "A small volleyball model of all parts, and a folder with one annotated frame and an image."
    from clfnb.tracks.volleyball.frames import FrameNet
    from clfnb.tracks.volleyball.players import PlayersModel
    from clfnb.tracks.volleyball.predictor import VolleyballModel, save_volleyball

    frame, small = {"backbone": "small", "px": 48}, {"width": 8, "layers": 1, "heads": 2}
    boxes = PlayersModel(False, 1, (8, 2, 3), model=small)
    boxes.trees.left[:], boxes.trees.right[:], boxes.trees.is_leaf[..., 1:] = 1, 2, True
    both = VolleyballModel(boxes=boxes, frame=FrameNet(**frame))
    place = tmp_path / "match" / "videos" / "3"
    place.mkdir(parents=True)
    players = " ".join(f"{100 * k} 300 40 110 standing" for k in range(1, 8))
    (place / "annotations.txt").write_text(f"10.jpg l-pass {players}\n")
    image_folder(tmp_path / "frames", 1, (90, 160))
    return save_volleyball(tmp_path / "vb", both, "# A model", frame | {"height": 64})


VOLLEYBALL = [
    (entry("parts", "boxes", "nets", 4096), None, "config.json: expected a network of"),
    (entry("parts", "boxes", "nets", 10**9), None, "config.json: parts: expected no number above"),
    (entry("parts", "boxes", "tree_share", 7), None, "tree_share: expected a number in 0..1"),
    (entry("parts", "boxes", "tree_share", "1"), None, "tree_share: expected a number in 0..1"),
    (entry("parts", "frame", "height", "64"), None, "parts: expected height of 1..1024 whole"),
    (entry("parts", "frame", "height", 0), None, "parts: expected height of 1..1024 whole"),
    (entry("parts", "frame", "px", 48.5), None, "parts: expected px of 1..1024 whole pixels"),
    (entry("parts", "frame", "backbone", "timm/hf-hub:a/b"), None, "which would be fetched"),
    (None, filled("left", 0), "trees: expected children after their parents"),
    (None, filled("right", 3), "trees: expected children after their parents"),
    (None, filled("left", -1), "trees: expected children after their parents"),
    (None, filled("feature_idx", -1), "trees: expected columns 0.."),
    (None, filled("feature_idx", 9999), "trees: expected columns 0.."),
]


@pytest.mark.parametrize("change, weights, said", VOLLEYBALL)
def test_volleyball_models_that_take_forever_or_fail_late(
    volleyball, tmp_path, clfnb, change, weights, said
):
    "A tree whose child is its parent was climbed for ever."
    words = ["predict", "volleyball", tmp_path / "match", tmp_path / "frames", "--run", volleyball]
    code, out, error = clfnb(*words)
    assert code == 0 and len(out.splitlines()) == 3 and error == ""
    stamped(volleyball, change or (lambda config: None), weights)
    code, out, error = clfnb(*words)
    assert code == 1 and out == "" and said in one_line(error) and str(volleyball) in error


def test_volleyball_answers_that_are_no_numbers(volleyball, tmp_path, clfnb):
    words = ["predict", "volleyball", tmp_path / "match", tmp_path / "frames", "--run", volleyball]
    stamped(volleyball, weights=filled("head", 3e38))
    code, out, error = clfnb(*words)
    assert code == 1 and len(out.splitlines()) == 1 and error.count("answers with NaN") == 2


@pytest.mark.parametrize(
    "change, said",
    [
        (entry("preprocessing", []), "not the description of an ECG model"),
        (entry("decision", "weights", [1]), "decision: expected 5 weights, a bias and a threshold"),
        (entry("decision", "threshold", 7), "decision: expected 5 weights, a bias and a threshold"),
        (entry("decision", "bias", "x"), "not the description of an ECG model"),
    ],
)
def test_ecg_descriptions_that_fail_late(tmp_path, change, said):
    folder = shutil.copytree(shipped_weights("ecg"), tmp_path / "run" / "model")
    stamped(folder, change)
    for given in (folder, folder.parent):  # a model folder, the run that it belongs to
        with pytest.raises(ValueError) as bad:
            EcgPredictor.load(given)
        assert f"{folder / 'config.json'}: " in str(bad.value) and said in str(bad.value)


def test_a_good_model_answers(model, tmp_path, clfnb):
    code, out, error = clfnb("predict", "plankton", image_folder(tmp_path / "new"), "--run", model)
    assert code == 0 and error == "" and len(out.splitlines()) == 4
    change_weights(model, lambda state: None)  # one from before the digests
    code, again, note = clfnb("predict", "plankton", tmp_path / "new", "--run", model)
    assert (code, again) == (0, out)
    assert f"note: {model / 'config.json'}: has no digest of its values" in one_line(note)
    stamp(model)
    assert clfnb("predict", "plankton", tmp_path / "new", "--run", model) == (0, out, "")


def test_an_ecg_model_is_checked_too(tmp_path):
    arguments = {"scheme": "points", "input_leads": 1}
    model = ecg_model(**arguments)
    old = save_model(tmp_path / "old", model, {"track": "ecg", "arguments": arguments}, "")
    with pytest.raises(ValueError, match="scaled by running amplitude, found None; train it again"):
        EcgPredictor.load(old)
    folder = save_model(tmp_path / "m", model, ecg_config(**arguments), "")
    assert EcgPredictor.load(folder).scheme == "points"
    change_weights(folder, fill(float("nan")))
    with pytest.raises(ValueError, match="expected finite weights"):
        EcgPredictor.load(folder)
    with pytest.raises(ValueError, match="expected a model of the track 'plankton'"):
        Predictor.load(folder)


@pytest.mark.parametrize("folder", cases("plankton_model_*"), ids=lambda p: p and p.name)
def test_model_folders_of_the_cases(folder, tmp_path, clfnb):
    code, out, error = clfnb("predict", "plankton", image_folder(tmp_path / "new"), "--run", folder)
    assert code == 1 and out == "" and str(folder) in one_line(error)


def record(folder, rate=250, seconds=4):
    "A WFDB record of one lead whose header says another rate."
    folder.mkdir(exist_ok=True)
    beat = np.exp(-(((np.arange(200) - 100) / 4) ** 2))  # a sine would be refused as no ECG
    signal = np.resize(beat, 250 * seconds)[:, None]
    named = {"units": ["mV"], "sig_name": ["I"], "fmt": ["16"], "write_dir": str(folder)}
    wfdb.wrsamp("r", fs=250, p_signal=signal, **named)
    header = (folder / "r.hea").read_text().replace("r 1 250", f"r 1 {rate}")
    (folder / "r.hea").write_text(header)
    return folder / "r"


@pytest.mark.parametrize(
    "rate", ["abc", "1e12", "0.001", "-250", "nan", "inf", "0", "0x10", "25O", "1e3"]
)
def test_rates_that_cannot_be(tmp_path, rate):
    "wfdb reads what is no number as 250 Hz, and every interval would be wrong in silence."
    path = record(tmp_path / "records", rate)
    for read in (parse_header, read_signal):
        with pytest.raises(ValueError, match="expected a sampling rate of 10 to 100000 Hz") as bad:
            read(path)
        assert f"{path}.hea" in str(bad.value) and repr(rate) in str(bad.value)


@pytest.mark.parametrize("rate", ["250", "360.5", "500/1000(0)", "250/0.5"])
def test_rates_that_can_be(tmp_path, rate):
    assert read_signal(record(tmp_path / "records", rate))[1] == float(rate.split("/")[0])


@pytest.mark.parametrize("folder", cases("wfdb_*"), ids=lambda p: p and p.name)
def test_records_of_the_cases(folder):
    with pytest.raises(ValueError, match="expected a sampling rate"):
        read_signal(folder / "r")


@pytest.mark.parametrize(
    "text", ["", "\x00" * 50, "r 99999999999 250 1\n", "r -1 250\n", "r" * 9999]
)
def test_headers_that_are_none(tmp_path, text):
    path = record(tmp_path / "records")
    path.with_suffix(".hea").write_text(text)
    with pytest.raises(ValueError) as bad:
        read_signal(path)
    assert str(path) in str(bad.value) and len(str(bad.value)) < 1000


@PIPES
def test_pipes_and_devices_are_not_waited_for(model, tmp_path, clfnb):
    "A folder may hold what is read without end, or never answers."
    new = image_folder(tmp_path / "new")
    os.mkfifo(new / "pipe.png")
    (new / "zero.png").symlink_to("/dev/zero")
    code, out, error = clfnb("predict", "plankton", new, "--run", model)
    assert code == 1 and len(out.splitlines()) == 4
    assert error.count("expected an ordinary file, found a pipe or a device") == 2
    path = record(tmp_path / "records")
    path.with_suffix(".dat").unlink()
    os.mkfifo(path.with_suffix(".dat"))
    with pytest.raises(ValueError, match="r.dat: expected an ordinary file"):
        read_signal(path)
    path.with_suffix(".hea").unlink()
    os.mkfifo(path.with_suffix(".hea"))
    with pytest.raises(ValueError, match="r.hea: expected an ordinary file"):
        read_signal(path)
    for name in ("config.json", "model.safetensors"):
        (model / name).rename(model / "kept")
        os.mkfifo(model / name)
        assert str(model / name) in one_line(clfnb("predict", "plankton", new, "--run", model)[2])
        (model / name).unlink()
        (model / "kept").rename(model / name)
    os.mkfifo(tmp_path / "values.yaml")
    folder = tmp_path / "nbs" / "lessons"
    folder.mkdir(parents=True)
    (folder / "01_tiny.ipynb").write_text('{"cells": []}')
    code, _, error = clfnb("run", "tiny", "--params", tmp_path / "values.yaml")
    assert code == 2 and "found a pipe or a device" in one_line(error)


@PIPES
def test_outputs_into_pipes_and_devices(model, tmp_path, clfnb):
    "A device or pipe that is named as an output is written, and stays what it is."
    image_folder(tmp_path / "images")
    words = ["predict", "plankton", tmp_path / "images", "--run", model, "--csv"]
    os.mkfifo(tmp_path / "table.fifo")
    with subprocess.Popen(["cat", tmp_path / "table.fifo"], stdout=subprocess.PIPE) as reader:
        code, out, _ = clfnb(*words, tmp_path / "table.fifo")
        assert (code, reader.communicate(timeout=300)[0][:5]) == (0, b"path,")
    assert "3 images named, 0 left out, in " in out and (tmp_path / "table.fifo").is_fifo()
    call = [sys.executable, "-m", "clfnb", *map(str, words), "/dev/stdout"]
    with open(tmp_path / "all.txt", "wb") as all_text:
        done = subprocess.run(call, stdout=all_text, stderr=subprocess.PIPE, timeout=300)
    lines = (tmp_path / "all.txt").read_text().splitlines()
    assert (done.returncode, len(lines), lines[0][:5]) == (0, 4, "path,"), done.stderr
    assert b"3 images named" in done.stderr


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="root makes a device")
def test_a_device_is_not_replaced(model, tmp_path, clfnb):
    image_folder(tmp_path / "images")
    device = tmp_path / "null.csv"
    try:
        os.mknod(device, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        device.write_bytes(b"")
    except OSError as error:
        pytest.skip(f"no device can be made here: {error}")
    assert (
        clfnb("predict", "plankton", tmp_path / "images", "--run", model, "--csv", device)[0] == 0
    )
    assert device.is_char_device()


def test_folders_of_classes(tmp_path):
    "Names of any kind become text; links are followed, hidden folders are none, loops end."
    for name in ("egg", "price_$5_to_$9", ".ipynb_checkpoints"):
        image_folder(tmp_path / name)
    if os.name == "posix":
        image_folder(tmp_path / os.fsdecode(b"caf\xe9\x1b[2J"))
        (tmp_path / "linked").symlink_to(tmp_path / "egg")
        (tmp_path / "egg" / "up").symlink_to(tmp_path)
    table = class_table(tmp_path)
    names = {r"caf\xe9\x1b[2J", "linked"} if os.name == "posix" else set()
    assert set(table.label) == {"egg", "price_$5_to_$9"} | names
    images, read, errors = load_images(table.path, tmp_path / "cache")
    assert read.all() and not errors and len(images) == len(table)
    assert table.drop(columns="path").to_parquet()


def test_large_images_are_read_small(tmp_path, model):
    "A hundred photographs of twelve megapixels are no gigabyte."
    photograph = np.tile(np.linspace(0, 255, 4000).astype(np.uint8), (3000, 1))
    Image.fromarray(photograph).save(tmp_path / "large.jpg")
    images, _, _ = decode([tmp_path / "large.jpg"] * 3)
    assert images.data.size == 3 * 768 * 1024
    table, errors = Predictor.load(model).predict([tmp_path / "large.jpg"] * 5, chunk=2)
    assert len(table) == 5 and not errors


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read as Linux counts it")
def test_memory_of_many_large_images(tmp_path):
    "What a process took at most, with 40 photographs of twelve megapixels beside one."
    noise = np.random.default_rng(0).integers(0, 256, (3000, 4000), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.jpg", quality=60)
    program = (
        "import resource, sys\nfrom clfnb.data.images.decode import decode\n"
        "decode([sys.argv[1]] * int(sys.argv[2]), threads=2, progress=False)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "large.jpg")]
    one, many = (
        int(subprocess.run([*words, n], capture_output=True, text=True, check=True).stdout)
        for n in ("2", "40")
    )
    assert many - one < 150, "MiB; in full they would be 480"


BROKEN = {
    "a.png": b"\x89PNG\r\n\x1a\n" + b"\x00" * 99,
    "b.jpg": b"\xff\xd8\xff\xe0" + b"\x00" * 99,
    "c.tif": b"II*\x00\xff\xff\xff\xff",
    "d.gif": b"GIF89a\xff\xff\xff\xff",
    "e.webp": b"RIFF\xff\xff\xff\xffWEBPVP8 ",
    "f.bmp": b"BM" + b"\xff" * 60,
    "g.pgm": b"P5 99999 99999 255\n",
    "h.png": b"",
}


def test_every_broken_image_is_named(tmp_path):
    for name, content in BROKEN.items():
        (tmp_path / name).write_bytes(content)
    good = image_folder(tmp_path / "good", 1)
    images, read, errors = decode([tmp_path / name for name in BROKEN] + [good / "0.png"])
    assert len(images) == 1 and read.tolist() == [False] * 8 + [True]
    for name, error in zip(BROKEN, errors, strict=True):
        assert str(tmp_path / name) in error


def test_settings_of_an_unknown_user(tmp_path, monkeypatch, clfnb):
    monkeypatch.delenv("CLFNB_RUNS")
    (tmp_path / "settings.ini").write_text("[clfnb]\nruns_dir = ~no-such-user/runs\n")
    with pytest.raises(SettingsError, match="settings.ini, line 2: runs_dir: .*no-such-user"):
        load_settings(tmp_path)
    code, _, error = clfnb("runs")
    assert code == 1 and "settings.ini, line 2" in one_line(error)


@pytest.mark.parametrize("file", cases("settings_*.ini"), ids=lambda p: p and p.name)
def test_settings_of_the_cases(file, tmp_path, monkeypatch, clfnb):
    monkeypatch.delenv("CLFNB_RUNS")
    (tmp_path / "settings.ini").write_text(file.read_text())
    code, _, error = clfnb("runs")
    assert code == 1 and "settings.ini, line" in one_line(error)


@pytest.mark.parametrize("file", cases("*.yaml"), ids=lambda p: p and p.name)
def test_parameter_files_of_the_cases(file, clfnb):
    code, _, error = clfnb("run", "ecg_delineation", "--params", file)
    assert code == 2 and str(file) in one_line(error)


@pytest.mark.parametrize("file", cases("*.ckpt"), ids=lambda p: p and p.name)
def test_checkpoints_of_the_cases(file, tmp_path):
    from clfnb.training.checkpoints import load_checkpoint

    (tmp_path / "last.ckpt").write_bytes(file.read_bytes())
    with pytest.raises(ValueError, match="last.ckpt: not a readable checkpoint"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("file", cases("*.ipynb"), ids=lambda p: p and p.name)
def test_notebooks_of_the_cases(file, clfnb):
    "They run by their path; one that kills its kernel names the cell; a flood does not flood."
    code, out, error = clfnb("run", file)
    assert "Traceback" not in error and len(error.splitlines()) < 40
    if file.stem == "die":
        assert code == 1 and "in cell 1" in error and "SIGKILL" in error
    else:
        assert code == 0 and "report" in out


def test_names_in_a_report(tmp_path):
    "A class, a parameter or an error may hold what a browser would obey."
    bad = "<script>alert(1)</script>\x1b[2J$x$caf\udce9"
    run = open_run("lesson", tmp_path / "one", {"data": bad, bad: 1})
    run.save_metrics({bad: 0.5})
    update_record(run.folder, status="failed", error=bad, failed_cell=1)
    output = nbformat.v4.new_output("stream", text=bad.encode("utf-8", "replace").decode())
    cell = nbformat.v4.new_code_cell("1", outputs=[output])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), run.folder / "notebook.ipynb")
    page = write_report(run.folder).read_text(encoding="utf-8")
    assert "<script" not in page and "\x1b" not in page
    assert page.count(r"&lt;script&gt;alert(1)&lt;/script&gt;\x1b[2J$x$caf\xe9") == 4


def test_names_in_figures(tmp_path):
    from clfnb.evaluation.plots import plot_confusion

    names = ["price_$5_to_$9", "$x_^$", "<b>", "\x1b[2J"]
    ax = plot_confusion(np.eye(4, dtype=int), names)
    run = open_run("lesson", tmp_path / "one", {})
    assert run.save_figure(ax.figure, "confusion").stat().st_size > 1000
    assert ax.figure._repr_png_()


def animated(path, frames=3, mode="L"):
    "A file of several images: the first is white, the others are not."
    images = [Image.new(mode, (40, 30), 255 - 60 * number) for number in range(frames)]
    images[0].save(path, save_all=True, append_images=images[1:])
    return path


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif"])
def test_files_of_several_images_are_refused(name, model, tmp_path, clfnb):
    "The first frame alone would be an answer about a part of the file."
    from clfnb.preprocessing.radiographs import UnreadableRadiograph, read_radiograph
    from clfnb.tracks.volleyball.crops import crop_players
    from clfnb.tracks.volleyball.frames import read_frame

    new = image_folder(tmp_path / "new")
    path = animated(new / name)
    code, out, error = clfnb("predict", "plankton", new, "--run", model)
    assert code == 1 and len(out.splitlines()) == 4
    assert f"left out: {path}: 3 frames or pages, expected a single image" in error
    with pytest.raises(UnreadableRadiograph, match=f"{name}: 3 frames, expected a single image"):
        read_radiograph(path)
    for read in (read_frame, lambda path: crop_players(path, np.zeros((0, 4)))):
        with pytest.raises(ValueError, match=f"{name}: 3 frames or pages, expected a single"):
            read(path)


def test_previews_are_no_further_images(tmp_path):
    "A telephone's JPEG with a second picture, and a TIFF whose first page is a thumbnail."
    from PIL import TiffImagePlugin

    from clfnb.preprocessing.images import read_image
    from clfnb.preprocessing.radiographs import read_radiograph

    large, small = (np.full(shape, 99, np.uint8) for shape in ((60, 80), (30, 40)))
    with TiffImagePlugin.AppendingTiffWriter(str(tmp_path / "a.tif"), True) as file:
        for pixels, kind in ((small, 1), (large, 0)):
            Image.fromarray(pixels).save(file, format="TIFF", tiffinfo={254: kind})
            file.newFrame()
    first, second = (Image.fromarray(pixels).convert("RGB") for pixels in (large, small))
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    for name in ("a.tif", "a.jpg"):
        assert read_image(tmp_path / name).shape == (60, 80)
        assert read_radiograph(tmp_path / name, 0).shape == (60, 80)


def test_pages_of_barcodes_are_read_one_by_one(tmp_path, clfnb):
    from clfnb.preprocessing.barcodes.ean13 import encode

    codes = ["4006381333931", "9780201379624", None]
    pages = []
    for code in codes:
        page = np.full((200, 320), 255, np.uint8)
        if code:
            page[60:140, 60:250] = np.repeat(255 * (1 - encode(code)), 2)[None]
        pages.append(Image.fromarray(page))
    new = tmp_path / "new"
    new.mkdir()
    pages[0].save(new / "scan.tif", save_all=True, append_images=pages[1:])
    animated(new / "moving.gif")
    words = ["predict", "barcodes", new, "--reader", "network", "--csv", tmp_path / "all.csv"]
    code, out, error = clfnb(*words)
    assert code == 1 and "2 codes in 2 of 4 images, 1 left out" in out
    assert "moving.gif: 3 frames or pages, expected a single image" in one_line(error)
    rows = [line.split(",")[:2] for line in (tmp_path / "all.csv").read_text().splitlines()[1:]]
    names = [f"scan.tif#{number}" for number in (1, 2, 3)]
    assert rows == [[name, code or ""] for name, code in zip(names, codes, strict=True)]


@pytest.mark.skipif(os.name != "posix", reason="names of Unix")
def test_names_with_line_breaks(model, tmp_path, clfnb):
    "A row is a line in the terminal; in a CSV file the name stands in quotes and stays whole."
    import pandas as pd

    new = image_folder(tmp_path / "new", 1)
    name = 'a\nb "c", 4006381333931\x1b[2J.png'
    (new / "0.png").rename(new / name)
    (new / "broken\nb.png").write_bytes(b"no image")
    code, out, error = clfnb("predict", "plankton", new, "--run", model)
    assert code == 1 and len(out.splitlines()) == 2 and "\x1b" not in out + error
    assert r"a\x0ab" in out and r"broken\x0ab.png" in error
    clfnb("predict", "plankton", new, "--run", model, "--csv", tmp_path / "all.csv")
    table = pd.read_csv(tmp_path / "all.csv")
    assert table.path.tolist() == [str(new / name).replace("\x1b", r"\x1b")]
    code, out, error = clfnb("predict", "barcodes", new, "--reader", "network")
    assert len(out.splitlines()) == 2 and r"a\x0ab" in out and len(error.splitlines()) == 1


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("step", [1, 256, 257])
def test_eight_bits_in_sixteen_are_the_same_x_ray(step, suffix, tmp_path):
    "A dark image, too, which a stretched range would brighten: the same pixels, the same answer."
    from clfnb.preprocessing.radiographs import read_radiograph

    rng = np.random.default_rng(0)
    grey = cv2.resize(rng.integers(10, 150, (9, 12), dtype=np.uint8), (300, 200))
    Image.fromarray(grey).save(tmp_path / "a.png")
    Image.fromarray(grey.astype(np.uint16) * step).save(tmp_path / f"deep.{suffix}")
    assert (
        read_radiograph(tmp_path / f"deep.{suffix}") == read_radiograph(tmp_path / "a.png")
    ).all()


def test_a_fine_x_ray_answers_as_its_coarse_copy(tmp_path):
    "Sixteen bits that were scaled for display, beside the same image rounded to eight."
    from clfnb.tracks.chest_xray.predictor import Predictor

    fine = cv2.resize(np.random.default_rng(0).random((7, 7)), (300, 280)) ** 1.5
    fine = (fine - fine.min()) / np.ptp(fine)
    Image.fromarray(np.rint(fine * 65535).astype(np.uint16)).save(tmp_path / "fine.png")
    Image.fromarray(np.rint(fine * 255).astype(np.uint8)).save(tmp_path / "coarse.png")
    table, errors = Predictor.load().predict(tmp_path)
    assert not errors and abs(np.diff(table.probability)[0]) <= 0.001


def test_reports_of_the_doctor(tmp_path, clfnb):
    "The name of the wanted file, also where nothing can be written; and the extras, each with its line."
    target = Path("/proc/x.md") if sys.platform == "linux" else tmp_path / "none" / "x.md"
    code, out, error = clfnb("doctor", "--report", target)
    assert code == 2 and out == "" and f"--report {target}: " in one_line(error)
    code, out, _ = clfnb("doctor")
    for extra in metadata("clfnb").get_all("Provides-Extra"):
        assert f"[{extra}]" in out
        assert f"[{extra}]: pip install 'clfnb[{extra}]'" in out or "installed" in out


def test_garbage_without_a_folder_of_runs(tmp_path, monkeypatch, clfnb):
    "A mistyped CLFNB_RUNS must not make all simulated data garbage."
    cache = tmp_path / "CLFNB_CACHE" / "simulated" / "ecg-0123456789ab"
    cache.mkdir(parents=True)
    (cache / "x.dat").write_bytes(b"x" * 1000)
    code, out, error = clfnb("gc", "--yes")
    assert code == 0 and cache.is_dir() and "removed: 0 items" in out
    assert f"{tmp_path / 'CLFNB_RUNS'}: no such folder of runs" in one_line(error)
    (tmp_path / "CLFNB_RUNS").mkdir()
    assert clfnb("gc", "--yes")[0] == 0 and not cache.exists()


@pytest.mark.parametrize("kind", ["folder", pytest.param("pipe", marks=PIPES)])
def test_nothing_is_garbage_beside_a_record_that_is_no_file(tmp_path, clfnb, kind):
    "It stopped `clfnb gc` for all runs; its data are unknown, so all simulated data stay."
    cache = tmp_path / "CLFNB_CACHE" / "simulated" / "ecg-0123456789ab"
    cache.mkdir(parents=True)
    (cache / "x.dat").write_bytes(b"x" * 1000)
    record = tmp_path / "CLFNB_RUNS" / "tiny" / "strange" / "run.json"
    record.parent.mkdir(parents=True)
    os.mkfifo(record) if kind == "pipe" else record.mkdir()
    code, _, error = clfnb("gc", "--yes")
    assert code == 0 and error == "" and cache.is_dir()


@pytest.mark.parametrize("suffix", ["gif", "tif", "jpg", "png"])
def test_decoders_do_not_print(tmp_path, suffix):
    "A broken image is one line on the terminal, without those of OpenCV and Pillow."
    Image.fromarray(np.arange(4000, dtype=np.uint32).astype(np.uint8).reshape(50, 80)).save(
        tmp_path / f"whole.{suffix}"
    )
    whole = (tmp_path / f"whole.{suffix}").read_bytes()
    (tmp_path / f"cut.{suffix}").write_bytes(whole[: len(whole) * 2 // 3])
    words = [sys.executable, "-m", "clfnb", "predict", "barcodes", str(tmp_path / f"cut.{suffix}")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["left out"]


def test_images_named_twice_count_once(model, tmp_path, clfnb):
    "Patterns of a shell overlap: by another spelling, or within a folder that is named too."
    new = image_folder(tmp_path / "Süd 1", 3)
    (tmp_path / "linked").symlink_to(new)
    again = [new / "0.png", f"{new}/../Süd 1/0.png", tmp_path / "linked" / "0.png"]
    for words, count in ((again, 1), ([*again, new], 3), ([new, tmp_path / "linked"], 3)):
        code, out, _ = clfnb("predict", "plankton", *words, "--run", model)
        assert code == 0 and len(out.splitlines()) == count + 1, out
        code, out, _ = clfnb("predict", "barcodes", *words)
        assert code == 0 and out.splitlines()[-1].startswith(f"0 codes in 0 of {count} images")
    rows, errors = Predictor.load(model).predict([new / "0.png", new / "0.png"])
    assert len(rows) == 2 and not errors  # of the library: a row for each path


def test_a_link_to_nowhere_is_named(model, tmp_path, clfnb):
    new = image_folder(tmp_path / "new", 1)
    (new / "lost.png").symlink_to(tmp_path / "nowhere")
    code, _, error = clfnb("predict", "plankton", new, "--run", model)
    assert code == 1 and f"left out: {new / 'lost.png'}: No such file or directory" in error


def test_a_link_to_itself_hides_no_image(model, tmp_path, clfnb):
    "Its folder was left out as a whole; in a folder of classes, the class."
    new = image_folder(tmp_path / "new", 2)
    (new / "loop.png").symlink_to(new / "loop.png")
    code, out, error = clfnb("predict", "plankton", new, "--run", model)
    assert code == 1 and len(out.splitlines()) == 3 and f"left out: {new / 'loop.png'}" in error
    image_folder(tmp_path / "other", 1)
    assert sorted(class_table(tmp_path).label) == ["new"] * 3 + ["other"]


@PIPES
def test_a_table_that_is_a_pipe(tmp_path):
    (tmp_path / "classes").mkdir()
    image_folder(tmp_path / "classes" / "a", 2)
    os.mkfifo(tmp_path / "classes" / "labels.csv")
    with pytest.raises(ValueError, match="labels.csv: expected an ordinary file, found a pipe"):
        track("plankton").part("load")(tmp_path / "classes")


@PIPES
def test_a_report_of_a_pipe(tmp_path, clfnb):
    folder = tmp_path / "CLFNB_RUNS" / "tiny" / "one"
    folder.mkdir(parents=True)
    record = {"lesson": "tiny", "status": "finished", "started": "2026-01-01T00:00:00+00:00"}
    (folder / "run.json").write_text(json.dumps(record))
    os.mkfifo(folder / "notebook.ipynb")
    code, _, error = clfnb("report", "one")
    assert code == 1
    assert f"{folder / 'notebook.ipynb'}: expected an ordinary file, found a pipe" in one_line(
        error
    )


def test_a_file_in_place_of_the_runs(tmp_path, monkeypatch, clfnb):
    (tmp_path / "CLFNB_RUNS").write_text("no folder")
    code, _, error = clfnb("runs")
    assert code == 1 and f"{tmp_path / 'CLFNB_RUNS'}: expected the folder of all runs" in one_line(
        error
    )


def test_a_message_of_several_lines_is_one(tmp_path, clfnb):
    "The parser of YAML draws a picture of the place; a terminal gets its words, without escapes."
    (tmp_path / "sweep.yaml").write_text("{")
    code, _, error = clfnb("sweep", tmp_path / "sweep.yaml", "--dry-run")
    assert code == 2 and "\\x0a" not in error and "while parsing a flow node expected" in error


@pytest.mark.parametrize("words", [["gc"], ["gc", "--yes"], ["results"], ["watch"], ["watch", "x"]])
def test_a_file_in_place_of_the_runs_for_every_command(words, tmp_path, clfnb):
    (tmp_path / "CLFNB_RUNS").write_text("no folder")
    code, _, error = clfnb(*words)
    assert code == 1
    assert f"{tmp_path / 'CLFNB_RUNS'}: expected the folder of all runs, found a file" in one_line(
        error
    )


@pytest.mark.parametrize("text", ["{}", "[]", '{"files": []}', '{"files": {"a": 1}}', "{"])
def test_a_course_file_of_another_program(text, tmp_path, clfnb):
    "Neither update nor start writes a notebook beside it."
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "course.json").write_text(text)
    for command in ("update", "start"):
        code, _, error = clfnb(command, tmp_path / "mine")
        assert code == 1 and "course.json" in one_line(error)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["course.json"]


@PIPES
def test_x_rays_that_never_end(tmp_path, clfnb):
    "A pipe, a device, a loop of links and a broken .npz are named; the X-ray beside them is read."
    new = image_folder(tmp_path / "new", 1, (40, 50))
    os.mkfifo(new / "pipe.png")
    (new / "device.png").symlink_to("/dev/zero")
    (new / "loop.png").symlink_to(new / "loop.png")
    (new / "x.npz").write_bytes(b"no arrays")
    os.mkfifo(new / "y.npz")
    code, out, error = clfnb("predict", "chest_xray", new)
    assert code == 1 and "Traceback" not in error
    assert f"{new / '0.png'}," in out and len(out.splitlines()) == 2
    for name in ("pipe.png", "device.png", "y.npz"):
        assert (
            f"left out: {new / name}: expected an ordinary file, found a pipe or a device" in error
        )
    assert f"left out: {new / 'x.npz'}: not a readable .npz" in error and "loop.png" in error
