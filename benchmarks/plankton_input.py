"""Images a second from files to batches, beside the way of the study, and class weights from a million labels; one run, one core.

    OMP_NUM_THREADS=1 python benchmarks/plankton_input.py [FOLDER OF CLASSES] [--out FOLDER]

The study's way is written out here: an image at a time with a generic reader (scikit-image where it is installed, else its PNG and JPEG
plugin's library, imageio or Pillow), cut or padded to a square, batches of floats stretched to 0..1. It is measured at the study's 299 pixels and
at the 64 pixels that the library's network sees, so that the size alone does not decide. Without a folder, simulated plankton is used.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from tables import write_table

from clfnb.data.balance import class_weights
from clfnb.data.images.augment import ImageInput
from clfnb.data.images.cache import load_images
from clfnb.data.images.datasets import SquareDataset, loader, squares
from clfnb.data.images.decode import decode
from clfnb.data.images.files import class_table
from clfnb.preprocessing.images import crop_or_pad
from clfnb.simulate.plankton.folder import write

REPEATS, BATCH, MOST = 3, 64, 3000

try:
    from skimage.io import imread

    READER = "scikit-image"
except ImportError:
    from PIL import Image

    READER = "Pillow, in place of scikit-image"

    def imread(path):
        "What skimage.io.imread returns for a file: its array."
        with Image.open(path) as image:
            return np.asarray(image)


def study(paths: list[str], size: int) -> int:
    "One epoch in the study's way; number of images."
    rng, done = np.random.default_rng(0), 0
    for start in range(0, len(paths), BATCH):
        batch = []
        for path in paths[start : start + BATCH]:
            image = imread(path)
            image = image if image.ndim == 3 else np.stack([image] * 3, axis=-1)
            batch.append(crop_or_pad(image, size, rng=rng))
        values = np.stack(batch).astype(np.float32)
        values = (values - values.min()) / max(values.max() - values.min(), 1)
        done += len(torch.from_numpy(values).permute(0, 3, 1, 2).contiguous())
    return done


def epoch_of(data: SquareDataset, look: ImageInput) -> int:
    "One epoch of turned, mirrored and scaled batches from memory; number of images."
    return sum(len(look(*inputs)[0]) for inputs, _ in loader(data, BATCH, shuffle=True))


def rate(call) -> float:
    "Images a second, the best of some repeats."
    best = 0.0
    for _ in range(REPEATS):
        start = time.perf_counter()
        done = call()
        best = max(best, done / (time.perf_counter() - start))
    return best


def main(folder: Path, out: Path | None = None) -> None:
    "Print one line a measurement."
    paths = (
        class_table(folder / "imgs" if (folder / "imgs").is_dir() else folder)
        .path.sample(frac=1, random_state=0)
        .tolist()[:MOST]
    )
    look = ImageInput(64).train()

    def cold() -> int:
        images, _, _ = decode(paths, progress=False)
        return epoch_of(
            SquareDataset(squares(images, 64), images.shapes, np.zeros(len(images))), look
        )

    with tempfile.TemporaryDirectory() as cache:
        images, _, _ = load_images(paths, cache, progress=False)
        mapped = rate(lambda: len(load_images(paths, cache, progress=False)[0]))
        data = SquareDataset(squares(images, 64), images.shapes, np.zeros(len(images)))
    rates = {
        "study, 299 px": rate(lambda: study(paths, 299)),
        "study, 64 px": rate(lambda: study(paths, 64)),
        "first epoch, decoding included": rate(cold),
        "every later epoch, varied": rate(lambda: epoch_of(data, look)),
        "opening the cache": mapped,
    }
    print(
        f"{len(paths)} images of {folder.name}, median {int(np.median(images.shapes))} px; reader of the study: {READER}; best of {REPEATS}"
    )
    for name, value in rates.items():
        print(
            f"{name:32s} {value:10.0f} images/s   {value / rates['study, 299 px']:8.1f} x study at 299 px   {value / rates['study, 64 px']:8.1f} x at 64 px"
        )
    whole, small = rates["study, 299 px"], rates["study, 64 px"]
    head = ["", "images/s", "against the study at 299 px", "against the study at 64 px"]
    shown = [(name, value) for name, value in rates.items() if name != "opening the cache"]
    rows = [[name, f"{v:,.0f}", f"{v / whole:.1f}", f"{v / small:.1f}"] for name, v in shown]
    write_table(out, "reading", head, rows)
    labels = np.random.default_rng(0).integers(0, 121, 1_000_000)
    part = np.repeat("train", len(labels))
    print(
        f"class weights of a million labels: {1000 / rate(lambda: class_weights(labels, part, 121) is not None):.0f} ms"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="of classes; default: simulated ones")
    parser.add_argument("--out", type=Path, help="folder for the table")
    options = parser.parse_args()
    if options.folder:
        main(options.folder, options.out)
    else:
        with tempfile.TemporaryDirectory() as place:
            main(write(Path(place) / "plankton", images=1500), options.out)
