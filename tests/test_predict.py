"""`clfnb predict` of every track alike: interrupted, into standard output, and on folders of all kinds."""

import errno
import io
import itertools
import json
import os
import shutil
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

from clfnb import files
from clfnb.cli import main
from clfnb.preprocessing.images import UnreadableImage, _from_lab, read_image
from clfnb.preprocessing.radiographs import UnreadableRadiograph, read_radiograph
from clfnb.simulate.barcodes.photographs import write as write_barcodes
from clfnb.simulate.chest_xray.anatomy import FIRST, anatomy, radiograph
from clfnb.simulate.ecg.records import write as write_ecg
from clfnb.simulate.volleyball.folder import write as write_volleyball
from clfnb.tracks.barcodes.predictor import Predictor as BarcodePredictor
from clfnb.tracks.chest_xray import predictor as chest_xray
from clfnb.tracks.ecg import jobs
from clfnb.tracks.ecg import predict as ecg_predict
from clfnb.tracks.plankton.network import build_model, model_config
from clfnb.tracks.volleyball import predictor as volleyball
from clfnb.tracks.volleyball.frames import read_frame
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
    long = np.tile(wfdb.rdrecord(str(tmp_path / "in" / "sim000")).p_signal, (6000, 1))
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
    said = job.communicate(timeout=300)[1]
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
    assert main(words(track, folder=folder)) == 1
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert f"{folder}: " in said.splitlines()[-1] and len(said.splitlines()) <= 2


@posix
@pytest.mark.parametrize("track", IMAGES)
def test_links_in_circles_end(track, words, place, tmp_path, monkeypatch, capfd):
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
    plain, searched = os.scandir, []
    monkeypatch.setattr(os, "scandir", lambda path: searched.append(path) or plain(path))
    assert main(words(track, "--csv", tmp_path / "t.csv", folder=tmp_path / "in")) == 0
    assert 2000 < len(searched) < 10_000, len(searched)
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


@posix
@pytest.mark.parametrize("track", TRACKS)
def test_a_signal_while_the_table_is_written_waits(track, words, tmp_path, monkeypatch, capfd):
    "The first one loses nothing and still ends the command; a second one stops the writing."
    assert main(words(track, "--csv", tmp_path / "whole.csv")) == 0
    times = 1

    def stopped(path, write):
        def slow(scratch):
            for _ in range(times):
                signal.raise_signal(signal.SIGTERM)
            write(scratch)

        return plain(path, slow)

    plain = files.write_atomic
    for module in (files, ecg_predict):
        monkeypatch.setattr(module, "write_atomic", stopped)
    monkeypatch.setattr("clfnb.tracks.ecg.jobs.write_annotations", lambda *_: None)
    assert main(words(track, "--csv", tmp_path / "t.csv")) == 143
    assert (tmp_path / "t.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert "writing the results" in capfd.readouterr().err
    times = 2
    assert main(words(track, "--csv", tmp_path / "none.csv")) == 143
    assert not (tmp_path / "none.csv").exists() and not list(tmp_path.glob(".*"))


@posix
@pytest.mark.parametrize("track", TRACKS)
def test_impatience_does_not_lose_what_was_read(track, words, tmp_path, monkeypatch, capfd):
    "A second signal, while the rows before the first one are written."
    stop_at(monkeypatch, track, signal.SIGINT, 2)
    plain = files.os.replace

    def stopped(*paths):
        signal.raise_signal(signal.SIGINT)
        plain(*paths)

    monkeypatch.setattr("clfnb.files.os.replace", stopped)
    monkeypatch.setattr("clfnb.tracks.ecg.jobs.write_annotations", lambda *_: None)
    assert main(words(track, "--csv", tmp_path / "t.csv")) == 130
    assert len(pd.read_csv(tmp_path / "t.csv"))
    assert " were read before the interrupt" in capfd.readouterr().err


@posix
@pytest.mark.parametrize("track", ("chest_xray", "ecg"))
def test_a_pipe_that_nobody_reads_can_be_interrupted_at_once(track, words, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "scratch").mkdir()
    script = "import sys; from clfnb.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", script, *words(track, "--csv", tmp_path / "pipe")]
    place = os.environ | {"TMPDIR": str(tmp_path / "scratch")}
    job = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=place)
    limit = time.monotonic() + 300
    while not list((tmp_path / "scratch").glob(".pipe.*")) and time.monotonic() < limit:
        time.sleep(0.1)
    time.sleep(1)  # the table is there, and waits for a reader
    job.send_signal(signal.SIGTERM)
    assert "Stopped." in job.communicate(timeout=300)[1] and job.returncode == 143
    assert not list((tmp_path / "scratch").glob(".pipe.*"))


@posix
@pytest.mark.parametrize("track", ("plankton", "chest_xray", "volleyball"))
def test_a_table_that_cannot_be_written_is_printed(track, words, tmp_path, monkeypatch, capfd):
    assert main(words(track, "--csv", tmp_path / "t.csv")) == 0
    capfd.readouterr()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("clfnb.files.os.replace", full)
    assert main(words(track, "--csv", tmp_path / "full.csv")) == 1
    out, error = capfd.readouterr()
    assert out == (tmp_path / "t.csv").read_text()
    assert f"not written: {tmp_path / 'full.csv'}: No space left on device; " in error


@posix
def test_one_full_disk_does_not_lose_the_other_table(words, tmp_path, capfd):
    assert main(words("barcodes", "--csv", "/dev/full", "--answer", tmp_path / "a.csv")) == 1
    out, error = capfd.readouterr()
    assert "not written: /dev/full: No space left on device" in error
    assert len((tmp_path / "a.csv").read_text("utf-16").splitlines()) == 6
    assert "6 codes in 6 of 6 images" in out


@posix
def test_the_annotations_of_a_video_are_no_table_to_write(words, place, tmp_path, capfd):
    shutil.copytree(place / "volleyball", tmp_path / "games")
    file = next((tmp_path / "games").rglob("annotations.txt"))
    before = file.read_text()
    for folder in (tmp_path / "games", file):
        assert main(words("volleyball", "--csv", file, folder=folder)) == 1
        assert f"{file}: this file is read" in capfd.readouterr().err
    assert file.read_text() == before


@posix
def test_a_terminated_worker_costs_its_recording_alone(tmp_path):
    jobs_ = [jobs.Job(Path(f"{number}"), f"{number}", None) for number in range(4)]
    outcomes = list(jobs.run_jobs(terminated_at_2, (), jobs_, 2))
    assert len(outcomes) == 4
    said = {one.job.name: one.error for one in outcomes}
    assert said["2"] == "2: not delineated, since a worker process died"
    assert all("no such" in said[name] for name in "013")


def terminated_at_2():
    "Loads a predictor in a worker, whose second recording is interrupted by a signal."
    plain = jobs.run_job

    def run(predictor, job):
        if job.name == "2":
            signal.raise_signal(signal.SIGTERM)
        return plain(predictor, job)

    jobs.run_job = run


def test_a_broken_dicom_is_one_line(words, tmp_path):
    "The reader's own warnings stay away."
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 50)
    (tmp_path / "in" / "b.png").symlink_to(tmp_path / "nowhere")
    script = "import sys; from clfnb.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", script, *words("chest_xray", folder=tmp_path / "in")]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stderr.splitlines()
    assert done.returncode == 1
    assert [line.split(": ")[0] for line in lines[:-2]] == ["left out"] * 2
    assert lines[1] == f"left out: {tmp_path / 'in' / 'b.png'}: No such file or directory"


def lab_page(grey, a=0, b=0):
    "A page in CIE Lab: what printers and scanners write. Lightness of a grey value under D50, in 255ths."
    linear = np.where(grey <= 10, grey / 255 / 12.92, ((grey / 255 + 0.055) / 1.055) ** 2.4)
    lightness = np.where(linear > 0.008856, 116 * np.cbrt(linear) - 16, 903.3 * linear)
    planes = [np.rint(lightness * 2.55), np.full(grey.shape, a % 256), np.full(grey.shape, b % 256)]
    pixels = np.stack(planes, -1).astype(np.uint8)
    return Image.frombytes("LAB", grey.shape[::-1], pixels.tobytes())


def test_pages_in_cie_lab_are_read_as_others_are(place, tmp_path):
    photo = next((place / "barcodes").glob("*.png"))
    grey = np.asarray(Image.open(photo).convert("L")).astype(float)
    lab_page(grey).save(tmp_path / "one.tif")
    pages = [lab_page(grey), Image.fromarray(grey.astype(np.uint8))]
    pages[0].save(tmp_path / "two.tif", save_all=True, append_images=pages[1:])
    reader = BarcodePredictor.load()
    table, errors = reader.predict([tmp_path / "one.tif", tmp_path / "two.tif", photo])
    assert not errors and table.code.nunique() == 1 and len(table) == 4

    x_ray = np.asarray(Image.open(place / "chest_xray" / "0.png").convert("L")).astype(float)
    lab_page(x_ray).save(tmp_path / "x-ray.tif")
    assert np.abs(read_radiograph(tmp_path / "x-ray.tif", 0) - x_ray).max() <= 2
    lab_page(x_ray, a=40).save(tmp_path / "red.tif")
    with pytest.raises(UnreadableRadiograph, match="red.tif: a colour image"):
        read_radiograph(tmp_path / "red.tif", 0)

    lab_page(np.full((90, 160), 118.0)).save(tmp_path / "frame.tif")
    assert np.abs(read_frame(tmp_path / "frame.tif", 32).astype(int) - 118).max() <= 1


def test_a_pillow_without_colour_management_is_named(tmp_path, monkeypatch):
    lab_page(np.full((90, 160), 118.0)).save(tmp_path / "frame.tif")
    monkeypatch.setattr("clfnb.preprocessing.images.features.check", lambda name: False)
    _from_lab.cache_clear()
    with pytest.raises(UnreadableImage, match="frame.tif: .*CIE Lab, and this Pillow lacks Litt"):
        read_image(tmp_path / "frame.tif")
