"""Chest X-rays beyond the notebooks: independent implementations as oracles, DICOM from a real scanner, bad files, the installed command, and real images where available.

Tests with real data need CLFNB_DATA/chest_xray or CLFNB_DATA/pneumoniamnist; DICOM files come from pydicom-data.
"""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from clfnb.contract import contract_problems, prediction_problem
from clfnb.evaluation.comparison import compare_auc, delong
from clfnb.preprocessing.radiographs import UnreadableRadiograph, read_dicom, read_radiograph
from clfnb.registry import track
from clfnb.simulate.chest_xray.folder import write
from clfnb.tracks.chest_xray.examples import load, load_squares
from clfnb.tracks.chest_xray.splits import add_patients, block_folds, patient_folds
from clfnb.tracks.chest_xray.store import cached_squares

DATA = Path(os.environ.get("CLFNB_DATA", ""))
KERMANY, MEDMNIST = DATA / "chest_xray", DATA / "pneumoniamnist"
needs_images = pytest.mark.skipif(
    not (KERMANY / "train").is_dir(), reason="needs CLFNB_DATA/chest_xray/train"
)


def dicom_file(name):
    "A file of the package pydicom-data; skips where it is not installed."
    pytest.importorskip("pydicom")
    store = pytest.importorskip("data_store")
    found = sorted(Path(store.__file__).parent.rglob(name))
    if not found:
        pytest.skip(f"pydicom-data has no {name} here")
    return found[0]


@pytest.fixture(scope="module")
def chests(tmp_path_factory):
    "A simulated folder in the real layout, and the cache of its images."
    folder = tmp_path_factory.mktemp("chests")
    return write(folder / "data", images=120, test=40, size=64), folder / "cache"


def test_the_track_keeps_the_contract():
    assert contract_problems(track("chest_xray")) == []


@pytest.mark.parametrize("n, seed", [(60, 0), (400, 1), (1500, 2)])
def test_delong_is_what_mlstatkit_computes(n, seed):
    MLstatkit = pytest.importorskip("MLstatkit")
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.6).astype(int)
    first, second = y + rng.normal(0, 1, n), np.round(y + rng.normal(0, 1.3, n), 1)  # with ties
    areas, covariance = delong(y, [first, second])
    z, p, _, _, one, two, *_ = MLstatkit.Delong_test(y, first, second)
    assert np.allclose(areas, [one, two], atol=1e-9)
    ours = compare_auc(y, first, second)
    spread = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert abs(abs(ours["difference"] / spread) - abs(z)) < 1e-6 and abs(ours["p"] - p) < 1e-6


@pytest.mark.parametrize("name", ["RG1_UNCR.dcm", "RG1_J2KR.dcm"])
def test_a_real_chest_in_dicom_is_right_way_round(name):
    "CR CHEST, MONOCHROME1, 15 bits: air must come out dark, so the lungs darker than the middle."
    pytest.importorskip("openjpeg") if "J2K" in name else None
    image = read_dicom(dicom_file(name))
    assert image.dtype == np.uint8 and image.shape == (1955, 1841)
    square = read_radiograph(dicom_file(name), 128)
    spine, lungs = square[40:80, 58:70].mean(), square[40:80, [30, 31, 32, 95, 96, 97]].mean()
    assert spine > lungs + 15


def test_dicom_header_stays_inside(tmp_path):
    "Neither the predictor's table nor an error carries a patient's name."
    pydicom = pytest.importorskip("pydicom")
    dataset = pydicom.dcmread(dicom_file("RG1_UNCR.dcm"))
    dataset.PatientName = "Doe^Jane"
    del dataset.PixelData
    path = tmp_path / "scan.dcm"
    dataset.save_as(path)
    with pytest.raises(UnreadableRadiograph, match="scan.dcm: DICOM without pixels") as caught:
        read_radiograph(path)
    assert "Doe" not in str(caught.value)


def dicom_of(path, values, **more):
    "A small DICOM file with these values."
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = (
        ExplicitVRLittleEndian,
        SecondaryCaptureImageStorage,
    )
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID = (
        meta.MediaStorageSOPClassUID,
        meta.MediaStorageSOPInstanceUID,
    )
    dataset.Rows, dataset.Columns = values.shape[-2:]
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PhotometricInterpretation, dataset.Modality = "MONOCHROME2", "CR"
    for name, value in more.items():
        setattr(dataset, name, value)
    dataset.PixelData = values.astype(np.uint16).tobytes()
    dataset.save_as(path)
    return path


def test_dicom_window_rescale_and_inversion(tmp_path):
    pytest.importorskip("pydicom")
    ramp = np.tile(np.arange(0, 4096, 16), (64, 1))
    plain = read_dicom(dicom_of(tmp_path / "a.dcm", ramp))
    window = {
        "WindowCenter": 1024,
        "WindowWidth": 1024,
        "RescaleSlope": 0.5,
        "RescaleIntercept": 0,
    }
    seen = read_dicom(dicom_of(tmp_path / "b.dcm", ramp, **window))
    turned = read_dicom(dicom_of(tmp_path / "c.dcm", ramp, PhotometricInterpretation="MONOCHROME1"))
    assert np.all(np.diff(plain[0].astype(int)) >= 0) and plain[0, -1] == 255
    assert (
        seen[0, 50] == 0 and seen[0, -40] == 255 and 100 < seen[0, 128] < 155
    )  # 512..1536 of the rescaled
    assert np.abs(turned.astype(int) - (255 - plain.astype(int))).max() <= 1


def test_a_file_that_can_be_read_now_is_not_broken_for_ever(tmp_path, monkeypatch):
    "pydicom was missing when the squares were made, and is installed now."
    pytest.importorskip("pydicom")
    ramp = np.arange(256).reshape(16, 16)
    paths = [tmp_path / "a.png", dicom_of(tmp_path / "b.dcm", ramp), tmp_path / "c.png"]
    cv2.imwrite(str(paths[0]), np.full((16, 16), 90, np.uint8))
    paths[2].write_bytes(b"no image")
    with monkeypatch.context() as bare:
        bare.setitem(sys.modules, "pydicom", None)
        for _ in range(2):
            old, read, errors = cached_squares(paths, tmp_path / "cache", 16)
            assert read.tolist() == [True, False, False]
            assert "pip install" in errors[0] and "c.png" in errors[1]
    changed = None
    for _ in range(2):
        file, read, errors = cached_squares(paths, tmp_path / "cache", 16)
        assert read.tolist() == [True, True, False] and len(errors) == 1 and "c.png" in errors[0]
        expected = [read_radiograph(path, 16) for path in paths[:2]]
        assert np.array_equal(np.load(file), expected)
        assert changed in (None, file.stat().st_mtime_ns)  # made again once
        changed = file.stat().st_mtime_ns
    assert np.array_equal(np.load(old), expected[:1])  # of a table that was read before


def test_dicom_of_several_frames_is_refused(tmp_path):
    pytest.importorskip("pydicom")
    path = dicom_of(tmp_path / "film.dcm", np.zeros((3, 16, 16)), NumberOfFrames=3)
    with pytest.raises(UnreadableRadiograph, match="film.dcm: DICOM with 3 frames"):
        read_radiograph(path)


def memory_of(path):
    "Kilobytes that reading a file of its own process costs at most, and the shape that came out."
    script = (
        "import resource, sys\nfrom clfnb.preprocessing.radiographs import read_radiograph\nimport cv2\n"
        "try: import pydicom.pixels\nexcept ImportError: pass\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "image = read_radiograph(sys.argv[1], 224)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, image.shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[0]), done.stdout


def test_a_huge_scan_costs_little_memory(tmp_path):
    "A JPEG of 12,000 × 12,000 pixels is shrunk while it is decoded."
    path = tmp_path / "scan.jpg"
    cv2.imwrite(str(path), np.tile(np.linspace(0, 255, 12000).astype(np.uint8), (12000, 1)))
    kilobytes, said = memory_of(path)
    assert kilobytes < 120_000 and "(224, 224)" in said


@pytest.mark.parametrize("suffix, copies", [("png", 1.6), ("tif", 2.6), ("dcm", 2.6)])
def test_a_huge_deep_scan_costs_little_more_than_its_pixels(tmp_path, suffix, copies):
    "16-bit files of 64 million pixels: never a copy of them as floating-point numbers."
    path, side = tmp_path / f"scan.{suffix}", 8000
    ramp = np.tile(np.linspace(0, 4000, side).astype(np.uint16), (side, 1))
    if suffix == "dcm":
        pytest.importorskip("pydicom")
        dicom_of(path, ramp, RescaleSlope=1, RescaleIntercept=-5, WindowCenter=2000, WindowWidth=4000)  # fmt: skip
    else:
        cv2.imwrite(str(path), ramp)
    kilobytes, said = memory_of(path)
    assert kilobytes < copies * ramp.nbytes / 1024 and "(224, 224)" in said
    row = read_radiograph(path, 224)[100].astype(float)
    white = 4000 if suffix == "dcm" else 4095  # the window's, or that of 12 bits
    ramp = 255 * 4000 / white * np.linspace(0, 1, 224)
    assert np.abs(row - ramp).max() < 4


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda p: p.write_bytes(b""), "empty"),
        (lambda p: p.write_bytes(b"\xff\xd8\xff\xe0 cut"), "not a readable image"),
        (
            lambda p: cv2.imwrite(
                str(p), np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
            ),
            "colour image",
        ),
    ],
)
def test_bad_images_are_named(tmp_path, make, message):
    path = tmp_path / "bad.png"
    make(path)
    with pytest.raises(UnreadableRadiograph, match=message) as caught:
        read_radiograph(path)
    assert "bad.png" in str(caught.value)


@pytest.mark.parametrize("side", [1, 3, 15])
def test_an_image_of_a_few_pixels_is_refused(tmp_path, side):
    "In every format: a network would otherwise answer for interpolated pixels."
    values = np.full((side, 40), 100, np.uint8)
    for name in ("a.png", "a.tif", "a.jpg"):
        cv2.imwrite(str(tmp_path / name), values)
        with pytest.raises(UnreadableRadiograph, match=f"{name}: 40 × {side} pixels, expected"):
            read_radiograph(tmp_path / name)
    np.savez(tmp_path / "a.npz", test_images=values[None], test_labels=[[1]])
    with pytest.raises(ValueError, match=f"a.npz: test: 40 × {side} pixels, expected"):
        load(tmp_path / "a.npz")


def test_a_dicom_of_a_few_pixels_is_refused(tmp_path):
    pytest.importorskip("pydicom")
    with pytest.raises(UnreadableRadiograph, match="dot.dcm: 1 × 1 pixels, expected at least"):
        read_radiograph(dicom_of(tmp_path / "dot.dcm", np.zeros((1, 1))))


def test_grey_of_any_depth_and_packing_reads_alike(tmp_path):
    grey = np.tile(np.linspace(0, 255, 200).astype(np.uint8), (150, 1))
    files = {
        "a.png": grey,
        "b.png": grey.astype(np.uint16) * 257,
        "c.jpg": np.dstack([grey] * 3),
        "d.tif": grey,
    }
    for name, values in files.items():
        cv2.imwrite(str(tmp_path / name), values)
    images = [read_radiograph(tmp_path / name, 64).astype(int) for name in files]
    assert max(np.abs(images[0] - other).mean() for other in images[1:]) < 3


def test_layouts_that_cannot_be_are_refused(tmp_path):
    (tmp_path / "one" / "NORMAL").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "one" / "NORMAL" / "a.png"), np.zeros((20, 20), np.uint8))
    with pytest.raises(ValueError, match="two classes"):
        load(tmp_path / "one", cache_dir=tmp_path)
    (tmp_path / "one" / "PNEUMONIA").mkdir()
    with pytest.raises(ValueError, match="PNEUMONIA: a class without an image"):
        load(tmp_path / "one", cache_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load(tmp_path / "nowhere", cache_dir=tmp_path)


def test_a_table_of_your_own(tmp_path):
    for name in "abcd":
        cv2.imwrite(
            str(tmp_path / f"{name}.png"), np.full((20, 20), 10 * ord(name) % 250, np.uint8)
        )
    (tmp_path / "labels.csv").write_text(
        "path,label,patient\na.png,0,P1\nb.png,1,P1\nc.png,1,P2\nd.png,0,P3\nlost.png,1,P4\n"
    )
    table = load(tmp_path, size=16, cache_dir=tmp_path / "cache")
    assert (
        table.group.tolist() == ["P1", "P1", "P2", "P3"]
        and table.attrs["errors"][0].count("lost.png") == 1
    )
    assert table.code.tolist() == [0, 1, 1, 0] and load_squares(table).shape == (4, 16, 16)


@pytest.mark.parametrize("sign, encoding", [(";", "utf-8-sig"), ("\t", "utf-16"), (",", "utf-8")])
def test_a_table_as_spreadsheets_write_it(tmp_path, sign, encoding):
    "Other separators, blanks, capitals and Windows paths: the same patients and the same test set."
    (tmp_path / "scans").mkdir()
    grey = np.random.default_rng(0).integers(0, 255, (5, 20, 20)).astype(np.uint8)
    for number, image in enumerate(grey):
        cv2.imwrite(str(tmp_path / "scans" / f"scan {number}.png"), image)
    rows = [("Path", "Label", "Patient ", "Split"), (r"scans\scan 0.png", "None", "P1", "Train")]
    rows += [("scans/scan 1.png", "None ", "P1 ", "TEST"), ("scans/scan 2.png", "ill", "P2", "")]
    rows += [("scans/scan 3.png", " ill", "P3", "Validation"), ("scans/scan 4.png", "ill", "", "")]
    text = "\r\n".join(sign.join(row) for row in rows) + "\r\n"
    (tmp_path / "labels.csv").write_bytes(text.encode(encoding))
    table = load(tmp_path, size=16, cache_dir=tmp_path / "cache")
    assert table.attrs["errors"] == [] and table.label.tolist() == ["None", "None", *["ill"] * 3]
    assert table.split.tolist() == ["train", "test", "", "val", ""]
    assert table.group.tolist()[:4] == ["P1", "P1", "P2", "P3"] and table.group.nunique() == 4
    (note,) = table.attrs["notes"]
    assert note.startswith("patients both in the test split and outside it: 1, such as P1;")
    (tmp_path / "labels.csv").write_text("path,label,split\nscans/scan 0.png,ill,hold-out\n")
    with pytest.raises(ValueError, match=r"labels.csv, row 2: split 'hold-out', expected train"):
        load(tmp_path, cache_dir=tmp_path / "cache")
    (tmp_path / "labels.csv").write_text("path,label,Label\nscans/scan 0.png,ill,well\n")
    with pytest.raises(ValueError, match="labels.csv: expected one column label, found 2"):
        load(tmp_path, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("missing", ["NA", "nan", "NULL", ""])
def test_a_missing_patient_is_no_patient(tmp_path, missing):
    "R writes NA: taken for a name, all images without a patient would be one patient."
    lines = ["path,label,patient,split"]
    for number, label in enumerate(["well", "ill", "well", "ill"]):
        grey = np.random.default_rng(number).integers(0, 255, (20, 20)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), grey)
        known = number < 2
        patient, split = (f"P{number}", "train") if known else (missing, missing)
        lines.append(f"{number}.png,{label},{patient},{split}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    table = load(tmp_path, size=16, cache_dir=tmp_path / "cache")
    assert table.group.nunique() == 4 and table.split.tolist() == ["train", "train", "", ""]


def test_an_unpacked_archive_is_found_inside_its_folder(tmp_path):
    "The parts two folders down, what macOS adds, names of the third version and copies."
    inside = tmp_path / "archive" / "chest_xray" / "chest_xray"
    names = {"NORMAL": ["NORMAL-7-0001", "IM-0115-0001 (1)"], "PNEUMONIA": ["VIRUS-7-0001", "BACTERIA-9-0001"]}  # fmt: skip
    for part in ("train", "validation"):
        for label, stems in names.items():
            (inside / part / label).mkdir(parents=True)
            for stem in stems:
                image = np.random.default_rng(abs(hash((part, stem)))).integers(0, 256, (20, 20))
                cv2.imwrite(str(inside / part / label / f"{stem}.jpeg"), image.astype(np.uint8))
                (inside / part / label / f"._{stem}.jpeg").write_bytes(b"resource")
    shadow = tmp_path / "archive" / "__MACOSX" / "chest_xray" / "train" / "NORMAL"
    shadow.mkdir(parents=True)
    (shadow / "IM-1-1.jpeg").write_bytes(b"resource")
    table = load(tmp_path / "archive", size=16, cache_dir=tmp_path / "cache")
    assert table.attrs["errors"] == [] and table.attrs["notes"] == []
    assert table.split.value_counts().to_dict() == {"train": 4, "val": 4}
    assert set(table.group) == {"v3-7", "IM-115", "v3-9"}


def test_an_empty_split_of_an_npz_is_an_error_that_is_told(tmp_path):
    some, rng = tmp_path / "some.npz", np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 28, 28)).astype(np.uint8)
    empty = {"test_images": images[:0], "test_labels": np.zeros((0, 1), int)}
    np.savez(some, train_images=images, train_labels=np.array([[0], [1], [0], [1]]), **empty)
    table = load(some)
    assert len(table) == 4 and "the split test has no image" in table.attrs["errors"][0]
    np.savez(some, **empty)
    done = command("predict", "chest_xray", some, "--device", "cpu", "--csv", tmp_path / "out.csv")
    assert done.returncode == 1 and "the split test has no image" in done.stderr


def test_blocks_and_folds_keep_patients_whole(chests):
    folder, cache = chests
    table = load(folder, size=32, cache_dir=cache)
    for fold in (patient_folds(table, 4), block_folds(table, 4)):
        assert pd.Series(fold).groupby(table.group).nunique().max() == 1 and set(fold) == {
            0,
            1,
            2,
            3,
        }


def command(*words, **environment):
    script = "import sys; from clfnb.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, words)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )


@pytest.fixture(scope="module")
def shipped_answers(chests, tmp_path_factory):
    "The output of the installed command with the shipped weights for simulated chests, noise, a single pixel and a broken file."
    folder, _ = chests
    mixed = tmp_path_factory.mktemp("mixed")
    for path in sorted((folder / "test").rglob("*.jpeg"))[:4]:
        (mixed / path.name).write_bytes(path.read_bytes())
    cv2.imwrite(
        str(mixed / "noise.png"), np.random.default_rng(0).integers(0, 256, (224, 224), np.uint8)
    )
    (mixed / "broken.jpeg").write_bytes(b"no image")
    cv2.imwrite(str(mixed / "dot.png"), np.zeros((1, 1), np.uint8))
    done = command("predict", "chest_xray", mixed, "--device", "cpu", "--csv", mixed / "out.csv")
    return done, pd.read_csv(mixed / "out.csv")


def test_shipped_weights_answer_out_of_the_box(shipped_answers):
    done, table = shipped_answers
    assert done.returncode == 1 and "broken.jpeg" in done.stderr  # two files are left out
    assert "dot.png: 1 × 1 pixels, expected at least 16 × 16" in done.stderr
    assert "Not a medical device" in done.stderr and table.not_a_medical_device.all()
    assert list(table)[:3] == ["path", "probability", "class"] and len(table) == 5
    assert table.probability.between(0, 1).all() and set(table["class"]) <= {
        "NORMAL",
        "PNEUMONIA",
    }
    scores = table.set_index(table.path.map(lambda path: Path(path).name)).unknown_score
    assert scores["noise.png"] > 0.5 and scores.idxmax() == "noise.png"


def test_an_extremity_is_unlike_a_chest(tmp_path):
    from clfnb.tracks.chest_xray.predictor import Predictor

    chest, hand = dicom_file("RG1_UNCR.dcm"), dicom_file("RG3_UNCR.dcm")
    table, errors = Predictor.load().predict([chest, hand])
    assert errors == [] and table.unknown_score[1] > 0.75
    assert table.unknown_score[0] < table.unknown_score[1] - 0.05


def test_a_run_trains_and_its_model_predicts(chests, tmp_path):
    "The lesson on a folder of its own, final, then the command on an .npz."
    folder, _ = chests
    words = "-p recipe=quick -p epochs=2 -p compare=false -p final=true -p size=64 -p device=cpu"
    done = command(
        "run",
        "chest_xray_pneumonia",
        "-p",
        f"data={folder}",
        *words.split(),
        CLFNB_RUNS=str(tmp_path / "runs"),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    run = next((tmp_path / "runs" / "chest_xray_pneumonia").iterdir())
    predictions = pd.read_parquet(run / "predictions.parquet")
    assert prediction_problem(predictions.columns) is None and (predictions.split == "val").all()
    table = load(folder, size=64, cache_dir=tmp_path / "cache")
    np.savez(
        tmp_path / "test.npz",
        test_images=load_squares(table)[:6],
        test_labels=table.code.to_numpy()[:6],
    )
    done = command(
        "predict",
        "chest_xray",
        tmp_path / "test.npz",
        "--run",
        run,
        "--csv",
        tmp_path / "out.csv",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(pd.read_csv(tmp_path / "out.csv")) == 6


@needs_images
def test_real_names_and_patients(tmp_path):
    table = load(KERMANY, size=32, cache_dir=tmp_path)
    train = table[table.split == "train"]
    assert (train.number >= 0).all() and table.attrs["errors"] == []
    assert set(train.series) == {"IM", "NORMAL2-IM", "bacteria", "virus"}
    sizes = train.groupby("group").size()
    assert (sizes > 1).sum() == 643 and sizes.max() == 30


@needs_images
@pytest.mark.skipif(
    not MEDMNIST.is_dir(), reason="needs CLFNB_DATA/pneumoniamnist beside the images"
)
def test_real_thumbnails_find_their_files(tmp_path):
    "A sample of PneumoniaMNIST among all large images: nearly all found, and with the right class."
    named = load(KERMANY, size=96, cache_dir=tmp_path)
    small = load(MEDMNIST).sample(150, random_state=0).reset_index(drop=True)
    table, share = add_patients(small, load_squares(small), named, load_squares(named))
    assert share > 0.9
    found = table[table.number >= 0]
    kind = np.where(found.series.isin(["bacteria", "virus"]), "PNEUMONIA", "NORMAL")
    assert (kind == found.label).all()


@needs_images
def test_shipped_weights_know_real_images():
    "Not a test of quality (these images were in the training): a test that weights and code belong together."
    from clfnb.evaluation.comparison import auc_interval
    from clfnb.tracks.chest_xray.predictor import Predictor

    table = load(KERMANY).groupby("code").sample(40, random_state=0).reset_index(drop=True)
    p, unknown = Predictor.load().score_images(load_squares(table))
    assert auc_interval(table.code, p)[0] > 0.97 and np.median(unknown) < 0.8
