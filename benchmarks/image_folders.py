"""Reading a folder of classes: table and pixels from a warm cache, and the groups of near-identical images; processor seconds of one thread.

    OMP_NUM_THREADS=1 python benchmarks/image_folders.py [FOLDER OF CLASSES]

Without a folder, 1,500 simulated plankton images are written and read.
"""

import sys
import tempfile
import time
from pathlib import Path

from clfnb.data.images.cache import load_images
from clfnb.data.images.duplicates import near_identical
from clfnb.data.images.folders import image_table
from clfnb.simulate.plankton.folder import write

REPEATS = 3


def main(folder: Path) -> None:
    "Print both times, the best of three."
    with tempfile.TemporaryDirectory() as cache:
        load_images(image_table(folder).path, cache, progress=False)
        reading, grouping = [], []
        for _ in range(REPEATS):
            began = time.process_time()
            table = image_table(folder)
            images, _, _ = load_images(table.path, cache, progress=False)
            reading.append(time.process_time() - began)
            groups = near_identical(images)
            grouping.append(time.process_time() - began)
    classes = table.label.nunique()
    print(
        f"{len(images)} images of {classes} classes, {len(set(groups))} groups, best of {REPEATS}"
    )
    for what, taken in (("table and pixels", reading), ("with the groups", grouping)):
        print(f"{what:18s} {min(taken):6.2f} s {len(images) / min(taken):10.0f} images/s")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as place:
            main(write(Path(place) / "plankton", images=1500))
