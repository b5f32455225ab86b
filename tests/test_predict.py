"""`clfnb predict` of every track alike: interrupted, into standard output, and on folders of all kinds."""

import errno
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import wfdb
from PIL import Image

from clfnb.cli import main
from clfnb.simulate.barcodes.photographs import write as write_barcodes
from clfnb.simulate.chest_xray.anatomy import FIRST, anatomy, radiograph
from clfnb.simulate.ecg.records import write as write_ecg
from clfnb.simulate.volleyball.folder import write as write_volleyball
from clfnb.tracks.barcodes.predictor import Predictor as BarcodePredictor
from clfnb.tracks.chest_xray import predictor as chest_xray
from clfnb.tracks.ecg import jobs
from clfnb.tracks.plankton.network import build_model, model_config
from clfnb.tracks.volleyball import predictor as volleyball
from clfnb.tracks.volleyball.players import PlayersModel
from clfnb.training.checkpoints import save_model
from clfnb.vision import predictor as vision

TRACKS = ("plankton", "chest_xray", "volleyball", "barcodes", "ecg")
IMAGES = ("plankton", "chest_xray", "barcodes")
posix = pytest.mark.skipif(os.name != "posix", reason="signals, pipes and links")


def x_rays(folder):
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(6):
        image = radiograph("normal", anatomy(rng), FIRST, rng, 224)
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "A folder with the inputs of each track, and untrained models for those that ship none."
    root = tmp_path_factory.mktemp("place")
    (root / "plankton").mkdir()
    for number, image in enumerate(np.random.default_rng(0).integers(0, 256, (6, 20, 30))):
        Image.fromarray(image.astype(np.uint8)).save(root / "plankton" / f"{number}.png")
    x_rays(root / "chest_xray")
    write_volleyball(root / "volleyball", videos=3, frames=6, images=False)
    write_barcodes(root / "barcodes", images=6, seed=3, difficulty=0.2)
    write_ecg(root / "ecg", records=6, seconds=10)
    (root / "ecg" / "RECORDS").unlink()
    torch.manual_seed(0)
    classes = [f"class {number}" for number in range(3)]
    options = dict(px=24, widths=(8, 16), blocks=(1, 1))
    config = model_config(classes, 1.0, np.zeros((4, 3)), size=24, **options)
    save_model(root / "models" / "plankton", build_model(3, **options), config, "# Untrained")
    parts = {name: PlayersModel(name == "actions", nets=1) for name in ("actions", "boxes")}
    model = volleyball.VolleyballModel(**parts)
    volleyball.save_volleyball(root / "models" / "volleyball", model, "# Untrained")
    return root


@pytest.fixture
def words(place, tmp_path):
    "The words of a command: a track, what to predict, options."

    def command(track, *more, folder=None):
        model = place / "models" / track
        run = ["--run", model] if model.is_dir() else []
        out = ["--out", tmp_path / "marks"] if track == "ecg" else []
        return list(map(str, ["predict", track, folder or place / track, *run, *out, *more]))

    return command


def stop_at(monkeypatch, track, number, stop):
    "Raise a signal in the `stop`-th batch of four (plankton, X-rays, frames), image or recording."
    module = {"plankton": vision, "chest_xray": chest_xray, "volleyball": volleyball}.get(track)
    counted = itertools.count(1)

    def stopped(function):
        def call(*args, **options):
            if next(counted) == stop:
                signal.raise_signal(number)
            return function(*args, **options)

        return call

    if module:
        plain = module.each_batch

        def in_fours(predict, items, *_, **options):
            return plain(stopped(predict), items, 4, **options)

        monkeypatch.setattr(module, "each_batch", in_fours)
    elif track == "barcodes":
        monkeypatch.setattr(BarcodePredictor, "read", stopped(BarcodePredictor.read))
    else:
        monkeypatch.setattr(jobs, "run_job", stopped(jobs.run_job))


@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("track", TRACKS)
def test_an_interrupt_keeps_the_rows_before_it(
    track, number, code, words, tmp_path, monkeypatch, capfd
):
    "They are the first of the whole table, and the message has their number."
    assert main(words(track, "--csv", tmp_path / "whole.csv")) == 0
    monkeypatch.setattr("clfnb.runs.process.STOP_SIGNALS", [number])
    stop_at(
        monkeypatch, track, number, 2 if track in ("plankton", "chest_xray", "volleyball") else 5
    )
    capfd.readouterr()
    assert main(words(track, "--csv", tmp_path / "part.csv")) == code
    said = capfd.readouterr().err
    what = {"ecg": "recordings", "volleyball": "frames"}.get(track, "images")
    assert f"4 {what} were read before the interrupt" in said
    whole, part = (pd.read_csv(tmp_path / name, dtype=str) for name in ("whole.csv", "part.csv"))
    names = {"ecg": ["record"], "volleyball": ["video", "frame"]}.get(track, ["path"])
    assert len(part[names].drop_duplicates()) == 4
    pd.testing.assert_frame_equal(part, whole[: len(part)])
    assert len(part) < len(whole)


@posix
@pytest.mark.parametrize("track", TRACKS)
def test_an_interrupt_before_the_first_row_leaves_an_old_table(
    track, words, tmp_path, monkeypatch, capfd
):
    (tmp_path / "t.csv").write_text("old\n")
    stop_at(monkeypatch, track, signal.SIGINT, 1)
    assert main(words(track, "--csv", tmp_path / "t.csv")) == 130
    assert (tmp_path / "t.csv").read_text() == "old\n"
    assert capfd.readouterr().err.rstrip().endswith("Interrupted.")


@posix
def test_workers_that_are_stopped_keep_what_they_finished(words, tmp_path):
    "Of a recording of hours and three of seconds, the three; whatever their order."
    write_ecg(tmp_path / "in", records=3, seconds=10)
    (tmp_path / "in" / "RECORDS").unlink()
    long = np.tile(wfdb.rdrecord(str(tmp_path / "in" / "sim000")).p_signal, (2500, 1))
    wfdb.wrsamp("a", 250, ["mV"] * 2, ["I", "II"], long, fmt=["16"] * 2, write_dir=str(tmp_path / "in"))  # fmt: skip
    script = "import sys, torch; from clfnb.cli import main; sys.exit(main())"
    tables = ["--csv", tmp_path / "t.csv", "--json", tmp_path / "t.json", "--workers", 2]
    command = words("ecg", *tables, folder=tmp_path / "in")
    job = subprocess.Popen(
        [sys.executable, "-c", script, *command], stderr=subprocess.PIPE, text=True
    )
    limit = time.monotonic() + 300
    while len(list((tmp_path / "marks").glob("sim*.clf"))) < 3 and time.monotonic() < limit:
        time.sleep(0.1)
    time.sleep(1)
    job.send_signal(signal.SIGTERM)
    said = job.communicate(timeout=120)[1]
    assert job.returncode == 143 and "3 recordings were read before the interrupt" in said
    assert set(pd.read_csv(tmp_path / "t.csv").record) == {"sim000", "sim001", "sim002"}
    records = json.loads((tmp_path / "t.json").read_text())["records"]
    assert [one["record"] for one in records] == ["sim000", "sim001", "sim002"]


@posix
@pytest.mark.parametrize("track", TRACKS)
def test_a_dash_is_standard_output(track, words, tmp_path, capfd):
    "The same bytes as in a file, and nothing else."
    assert main(words(track, "--csv", tmp_path / "t.csv")) == 0
    capfd.readouterr()
    assert main(words(track, "--csv", "-")) == 0
    out, error = capfd.readouterr()
    assert out == (tmp_path / "t.csv").read_text()
    assert "0 left out" in error or "6 of 6 records annotated" in error
    assert not Path("-").exists()


@posix
def test_other_tables_into_standard_output(words, capfdbinary):
    assert main(words("barcodes", "--answer", "-")) == 0
    assert len(capfdbinary.readouterr().out.decode("utf-16").splitlines()) == 6
    assert main(words("ecg", "--json", "-")) == 0
    assert len(json.loads(capfdbinary.readouterr().out)["records"]) == 6
    assert main(words("ecg", "--pdf", "-")) == 0
    assert capfdbinary.readouterr().out.startswith(b"%PDF")
    assert main(words("ecg", "--csv", "-", "--points", "-")) == 1
    assert b"named for two outputs" in capfdbinary.readouterr().err


@posix
def test_a_file_named_dash(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words("barcodes", "--csv", "./-")) == 0
    assert len(pd.read_csv(tmp_path / "-")) == 6


@posix
def test_a_report_of_the_doctor_into_standard_output(capfd):
    main(["doctor", "--report", "-"])
    out, error = capfd.readouterr()
    assert out.startswith("#") and "python" in error and not Path("-").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("track", TRACKS)
@pytest.mark.parametrize("folder", ["/proc", "/proc/self", "/sys"])
def test_folders_of_the_system_hold_no_data(track, folder, words, capfd):
    start = time.monotonic()
    assert main(words(track, folder=folder)) == 1
    said = capfd.readouterr().err
    assert time.monotonic() - start < 20 and "Traceback" not in said
    assert f"{folder}: " in said.splitlines()[-1] and len(said.splitlines()) <= 2


@posix
@pytest.mark.parametrize("track", IMAGES)
def test_links_in_circles_end(track, words, place, tmp_path, capfd):
    "Twelve folders, each with links to all twelve: half a billion ways through them."
    rings = [tmp_path / "in" / f"{number}" for number in range(12)]
    for ring in rings:
        ring.mkdir(parents=True)
        for other in rings:
            (ring / f"to {other.name}").symlink_to(other)
    image = next(path for path in (place / track).rglob("*") if path.suffix in (".png", ".jpg"))
    (rings[3] / image.name).write_bytes(image.read_bytes())
    for number in range(2000):
        (tmp_path / "in" / f"empty {number}").mkdir()
    start = time.monotonic()
    assert main(words(track, "--csv", tmp_path / "t.csv", folder=tmp_path / "in")) == 0
    assert time.monotonic() - start < 60
    assert "a link to a folder above it, not followed" in capfd.readouterr().err
    paths = [os.path.join(tmp_path / "in", path) for path in pd.read_csv(tmp_path / "t.csv").path]
    assert str(rings[3] / image.name) in paths


@posix
@pytest.mark.parametrize("track", [*IMAGES, "ecg"])
def test_an_unreadable_subfolder_is_named(track, words, place, tmp_path, monkeypatch, capfd):
    plain = os.scandir

    def refused(path):
        if os.path.basename(path) == "shut":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return plain(path)

    (tmp_path / "all" / "shut").mkdir(parents=True)
    (tmp_path / "all" / "in").symlink_to(place / track)
    monkeypatch.setattr(os, "scandir", refused)
    assert main(words(track, folder=tmp_path / "all")) == 0
    assert "all/shut: not readable (Permission denied), left out" in capfd.readouterr().err


@posix
@pytest.mark.parametrize("track", IMAGES)
def test_pipes_and_devices_among_the_images_are_left_out(track, words, place, tmp_path, capfd):
    folder = tmp_path / "in"
    folder.mkdir()
    image = next(path for path in (place / track).rglob("*") if path.suffix in (".png", ".jpg"))
    (folder / f"a{image.suffix}").write_bytes(image.read_bytes())
    os.mkfifo(folder / f"b{image.suffix}")
    os.mkfifo(folder / "c")
    (folder / f"d{image.suffix}").symlink_to("/dev/zero")
    assert main(words(track, "--csv", "-", folder=folder)) == 1
    out, error = capfd.readouterr()
    assert len(pd.read_csv(io.StringIO(out))) == 1
    assert error.count("left out: ") == 2 and "pipe or a device" in error
