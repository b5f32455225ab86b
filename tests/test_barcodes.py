"""Barcodes where a notebook cannot look: peers as oracles, the installed command, bad files, and real photographs if they are there."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from clfnb.preprocessing.barcodes.ean13 import best_codes, check_digit, encode, is_valid
from clfnb.preprocessing.barcodes.markup import (
    MarkupError,
    missing_pictures,
    read_markup,
    write_markup,
)
from clfnb.simulate.barcodes.photographs import simulate, write
from clfnb.tracks.barcodes.examples import load, pictures_in, read_picture
from clfnb.tracks.barcodes.predictor import Predictor, code_rates

DATA = Path(os.environ.get("CLFNB_DATA", "nowhere")) / "barcodes"


def drawn(code, scale=4):
    """A clean symbol as a picture."""
    row = np.repeat(255 * (1 - np.pad(encode(code), 12)), scale).astype(np.uint8)
    return cv2.copyMakeBorder(
        np.repeat(row[None], 120, 0), 20, 20, 0, 0, cv2.BORDER_CONSTANT, value=255
    )


@pytest.fixture(scope="module")
def network():
    return Predictor.load(reader="network")


def command(*words):
    return subprocess.run([sys.executable, "-c", "import sys; from clfnb.cli import main; sys.exit(main())",
                          "predict", "barcodes", *map(str, words)], capture_output=True, text=True)  # fmt: skip


@pytest.mark.parametrize("seed", range(10))
def test_encoding_is_what_zxing_reads(seed):
    """An independent reader must read what we draw, each first digit once."""
    zxingcpp = pytest.importorskip("zxingcpp")
    twelve = str(seed) + "".join(map(str, np.random.default_rng(seed).integers(0, 10, 11)))
    code = twelve + check_digit(twelve)
    answers = zxingcpp.read_barcodes(
        drawn(code), formats=[zxingcpp.BarcodeFormat.EAN13, zxingcpp.BarcodeFormat.UPCA]
    )
    assert [answer.text.zfill(13) for answer in answers] == [code]


@pytest.mark.parametrize("turns", range(4))
def test_network_reads_a_clean_code_any_way_up(network, turns):
    picture = cv2.copyMakeBorder(
        drawn("4006381333931", 2), 60, 60, 60, 60, cv2.BORDER_CONSTANT, value=200
    )
    answers = network.read(np.ascontiguousarray(np.rot90(picture, turns)))
    assert [answer.code for answer in answers] == ["4006381333931"]
    assert answers[0].confidence > 0.97 and answers[0].corners.shape == (4, 2)


@pytest.mark.parametrize("blur", [0.0, 2.0])
def test_cascade_reads_a_second_label_that_the_quick_path_does_not_see(blur):
    """Two labels in one picture, the second too blurred for zxing: neither hides the other."""
    pytest.importorskip("zxingcpp")
    sharp, other = (
        drawn("4006381333931", 3),
        cv2.GaussianBlur(drawn("9780201379624", 3), (0, 0), blur)
        if blur
        else drawn("9780201379624", 3),
    )
    picture = cv2.copyMakeBorder(
        np.concatenate([sharp, other]), 40, 40, 40, 40, cv2.BORDER_CONSTANT, value=255
    )
    answers = Predictor.load(reader="cascade").read(picture)
    assert sorted(answer.code for answer in answers) == ["4006381333931", "9780201379624"]


def test_markup_takes_commas_quotes_and_corners_in_any_order(tmp_path):
    """What spreadsheets write is read, and what is written is read again."""
    corners = [[10, 12], [90, 20], [86, 52], [7, 44]]
    shuffled = ",".join(str(value) for k in (2, 0, 3, 1) for value in corners[k])
    file = tmp_path / "markup.csv"
    file.write_text(f'"a, b.png","4006381333931",{shuffled}\n', encoding="utf-16")
    table = read_markup(file)
    assert table.path.tolist() == ["a, b.png"] and table.code.tolist() == ["4006381333931"]
    assert (
        table[["x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4"]].to_numpy().reshape(4, 2).tolist()
        == corners
    )
    assert read_markup(write_markup(table, tmp_path / "again.csv")).equals(
        table.assign(modules="".join(map(str, encode("4006381333931"))))
    )
    file.write_bytes("a.png,4006381333931".encode("utf-16-le"))
    with pytest.raises(MarkupError, match="byte order mark"):
        read_markup(file)


def test_only_valid_codes_come_out():
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert all(
            is_valid(code)
            for code, _ in best_codes(rng.normal(0, 5, (6, 20)), rng.normal(0, 5, (6, 10)), n=5)
        )


def test_silent_without_a_code(network):
    """Scenes without a code, with stripes and text in some of them: no answer."""
    for seed in range(15):
        picture, truth = simulate([77, seed], (240, 320), codes=0)
        assert truth == [] and network.read(picture) == []


def test_simulated_photographs(network):
    """At the original's difficulty most codes are read, and none is wrong."""
    pairs = [simulate([78, seed], (480, 640), difficulty=0.25) for seed in range(12)]
    answers = [network.read(picture) for picture, _ in pairs]
    codes = [truth[0][0] for _, truth in pairs]
    measured = code_rates(codes, [a[0].code if a else None for a in answers])
    assert measured["right"] >= 10 and measured["wrong"] == 0


def test_command(tmp_path):
    folder = write(tmp_path / "labels", pictures=3, seed=11, difficulty=0.2)
    (folder / "zero.png").write_bytes(b"")
    (folder / "words.jpg").write_text("these are words")
    cv2.imwrite(str(folder / "dot.png"), np.zeros((1, 1), np.uint8))
    done = command(
        folder,
        "--csv",
        tmp_path / "out.csv",
        "--answer",
        tmp_path / "answer.csv",
        "--reader",
        "network",
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert (
        "zero.png: an empty file" in done.stderr
        and "words.jpg: not a picture" in done.stderr
        and "none found" in done.stdout
    )
    table = pd.read_csv(tmp_path / "out.csv", dtype={"code": str})
    assert list(table.columns) == [
        "path",
        "code",
        "confidence",
        *(f"{axis}{k}" for k in range(1, 5) for axis in "xy"),
        "reader",
    ]
    truth = read_markup(folder / "markup.csv").set_index("path").code
    assert len(table) >= 2 and (table.code.to_numpy() == truth[table.path].to_numpy()).all()
    assert read_markup(tmp_path / "answer.csv").code.tolist() == table.code.tolist()


def test_command_says_what_is_wrong(tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((300, 300), 128, np.uint8))
    empty = command(tmp_path / "grey.png", "--reader", "network")
    assert (empty.returncode, "none found" in empty.stdout) == (0, True)
    for words, said in (
        ((tmp_path / "none.png",), "no such file"),
        ((tmp_path, "--threshold", "3"), "threshold"),
        ((tmp_path, "--reader", "eye"), "eye"),
    ):
        done = command(*words)
        assert done.returncode in (1, 2) and said in done.stderr and "Traceback" not in done.stderr


def test_hundred_megapixels(tmp_path, network):
    """A large scan is reduced, and its corners come back in its own pixels."""
    small = cv2.copyMakeBorder(
        drawn("4006381333931", 2), 100, 100, 100, 100, cv2.BORDER_CONSTANT, value=200
    )
    large = cv2.resize(
        small, (10000, 10000 * small.shape[0] // small.shape[1]), interpolation=cv2.INTER_NEAREST
    )
    cv2.imwrite(str(tmp_path / "large.jpg"), large)
    image, factor = read_picture(tmp_path / "large.jpg")
    assert max(image.shape) == 4000 and factor == 2.5
    table, failed = network.predict([tmp_path / "large.jpg"])
    assert not failed and table.code.tolist() == ["4006381333931"] and table.x3.item() > 5000


def test_markup_with_bad_rows_names_them(tmp_path):
    folder = write(tmp_path / "labels", pictures=2, seed=1)
    text = (
        (folder / "markup.csv").read_text(encoding="utf-16")
        + "x.png,5901234123450,0,0,9,0,9,4,0,4\n"
        + "y.png,5901234123457,0,0,95,0,95,40,0,40\n"
    )
    (folder / "markup.csv").write_text(text, encoding="utf-16")
    with pytest.raises(MarkupError, match="row 3: wrong check digit"):
        read_markup(folder / "markup.csv")
    good, bad = read_markup(folder / "markup.csv", skip_bad=True)
    assert len(good) == 3 and len(bad) == 1 and missing_pictures(good, folder) == ["y.png"]
    with pytest.raises(ValueError, match="y.png: in markup.csv, but no such picture"):
        load(folder)


def test_wheel_has_the_weights():
    from clfnb.models.shipped import shipped

    folder = shipped("barcode_lines")
    assert (folder / "model.safetensors").stat().st_size <= 4_000_000
    assert {"config.json", "README.md", "model.safetensors"} <= {
        path.name for path in folder.iterdir()
    }


def test_real_markup(tmp_path):
    """The study's own table: every line comes back byte for byte but the one whose check digit is wrong, which is named."""
    file = DATA / "course_ocr_task3" / "markup.csv"
    if not file.is_file():
        pytest.skip(f"no {file}")
    table, bad = read_markup(file, skip_bad=True)
    assert len(table) == 99 and len(bad) == 1 and "row 31: wrong check digit" in bad[0]
    lines = file.read_text(encoding="utf-16").splitlines()
    assert (
        write_markup(table, tmp_path / "again.csv").read_text(encoding="utf-16").splitlines()
        == lines[:30] + lines[31:]
    )


@pytest.mark.parametrize("name, least", [("ean13-3", 54), ("upca-3", 17)])
def test_real_photographs(network, name, least):
    """Real photographs: most read, none wrong."""
    if not (DATA / "zxing" / name).is_dir():
        pytest.skip(f"no {DATA / 'zxing' / name}")
    table = load(DATA / "zxing" / name)
    answers = [network.read(read_picture(path)[0]) for path in table["path"]]
    measured = code_rates(table["label"], [a[0].code if a else None for a in answers])
    assert measured["right"] >= least and measured["wrong"] == 0


def test_folder_without_pictures(tmp_path):
    with pytest.raises(FileNotFoundError, match="no pictures in this folder"):
        pictures_in(tmp_path)
