"""Tables of labels as other programs write them: rows longer or shorter than the header, texts beside them, broken ones."""

import os

import numpy as np
import pytest
from PIL import Image

from clfnb.data.images.folders import image_table
from clfnb.tracks.chest_xray import examples

LABELS = {"0.png": "a", "1.png": "b", "2.png": "a", "3.png": "b"}
PLAIN = "path,label\n" + "".join(f"{name},{label}\n" for name, label in LABELS.items())
WRITTEN = {
    "a separator at the end of each row": PLAIN.replace("a\n", "a,\n").replace("b\n", "b,\n"),
    "two of them, from semicolons": PLAIN.replace("a\n", "a,,\n").replace("b\n", "b,,\n").replace(",", ";"),
    "names of rows, as R writes them": "path label\n1 0.png a\n2 1.png b\n3 2.png a\n4 3.png b\n".replace(" ", "\t"),
    "named rows, as R writes them": 'path,label\n"w",0.png,a\n"x",1.png,b\n"y",2.png,a\n"z",3.png,b\n',
    "numbered rows, as pandas writes them": ",path,label\n0,0.png,a\n1,1.png,b\n2,2.png,a\n3,3.png,b\n",
    "a missing cell at the end": PLAIN.replace("label", "label,remark").replace("0.png,a", "0.png,a,x"),
    "blanks behind the commas": PLAIN.replace(",", ", "),
    "a separator at the end of some rows": PLAIN.replace("2.png,a", "2.png,a,,"),
    "an empty cell at the end of rows with names, as R writes them": "path,label,split\n1,0.png,a,\n2,1.png,b,train\n3,2.png,a,\n4,3.png,b,val\n",
    "commas in quotation marks behind blanks": 'path, label, "a, b", c\n' + "".join(f'{name}, {label}, "x, y", z\n' for name, label in LABELS.items()),
    "what tells Excel the separator": "sep=;\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n"),
    "empty lines above semicolons": "\n  \n" + PLAIN.replace(",", ";"),
    "more commas than semicolons": "path;label;size, in mm, or none, or both\n" + "".join(f"{name};{label};1,5\n" for name, label in LABELS.items()),
    "a separator of lines in a name": "re\u2028mark,path,label\n" + "".join(f"x\x0by,{name},{label}\n" for name, label in LABELS.items()),
    "the same, named rows": "path,label,remark\n" + "".join(f"{name[0]},{name},{label},a\x85b\n" for name, label in LABELS.items()),
    "long values": "path,label,report\n" + "".join(f"{name[0]},{name},{label},{'x' * 200_000}\n" for name, label in LABELS.items()),
    "many columns": "path,label," + ",".join(map(str, range(20_000))) + "\n" + "".join(f"{name[0]},{name},{label}{',0' * 20_000}\n" for name, label in LABELS.items()),
    "another column twice": PLAIN.replace("label", "label,score,score").replace("a\n", "a,1,2\n").replace("b\n", "b,1,2\n"),
    "a column called as one without a name": "unnamed 2,,path,label\n" + "".join(f"u,v,{name},{label}\n" for name, label in LABELS.items()),
    "two byte order marks": "\ufeff\ufeff" + PLAIN,
}  # fmt: skip
BROKEN = {
    PLAIN.replace("1.png,b", "1.png,b,c"): "line 3: expected 2 values, as in the header, found 3",
    PLAIN.replace("1.png", '"1.png'): "line 3: expected a closing quotation mark, found none",
    "path,label\nx,0.png,a\nx,1.png,b\n": "line 2: expected 2 values, as in the header, found 3",
    PLAIN.replace("0.png,a", "0.png,a,c"): "line 2: expected 2 values, as in the header, found 3",
    PLAIN.replace("1.png,b", '\n1.png,"b\n",c'): "line 4: expected 2 values, as in the header, found 3",
    "path,label\n" + "".join(f"{i},{i}.png,a\n" for i in range(9999)) + "9,0.png,a,b\n": "line 10001: expected 3 values, as in the rows above, found 4",
    PLAIN.replace("2.png", "2\0.png"): "line 4: expected a table of UTF-8 or UTF-16 text, found bytes of value 0",
    PLAIN.replace("2.png,a", "2.png,\udce9"): "line 4: expected a table of UTF-8 or UTF-16 text, found the byte 0xe9; save it as UTF-8",
    PLAIN.replace("0.png,a\n", "0.png,a\n" + "a.png,a\n" * 40_000 + "\0\n"): "line 40003: expected a table of UTF-8",
    "path,label,path\n0.png,a,1.png\n": "found column path twice",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in LABELS:
        Image.fromarray(rng.integers(0, 256, (40, 40), np.uint8)).save(tmp_path / name)
    return tmp_path


def plankton(folder):
    table = image_table(folder)
    return dict(zip(table.file, table.label, strict=True))


def chest_xray(folder):
    table = examples.load(folder, size=32, cache_dir=folder / "cache")
    return dict(zip(map(os.path.basename, table.path), table.label, strict=True))


@pytest.mark.parametrize("read", [plankton, chest_xray])
@pytest.mark.parametrize("habit", WRITTEN)
def test_habits_of_programs(folder, read, habit):
    """A separator at the end of each row, or names of rows, moved all names by one column."""
    (folder / "labels.csv").write_text(WRITTEN[habit], "utf-8", newline="")
    assert read(folder) == LABELS


@pytest.mark.parametrize("read", [plankton, chest_xray])
@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_table_is_one_line(folder, read, text):
    (folder / "labels.csv").write_text(text, "utf-8", "surrogateescape")
    with pytest.raises(ValueError) as error:
        read(folder)
    said = str(error.value)
    assert said.startswith(str(folder / "labels.csv")) and BROKEN[text] in said
    assert "\n" not in said and "tokenizing" not in said


def test_a_text_about_the_images_is_no_table(folder):
    (folder / "labels.csv").write_text(PLAIN)
    (folder / "README.txt").write_text('Our images\nfrom here, there, and "elsewhere\n')
    assert plankton(folder) == LABELS
