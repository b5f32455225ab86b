"""What the scripts share whose tables the pages of results show: a CSV file a table, and a list of the records that were measured.

Without a folder nothing is written. `python -m docs.results SECTION --compare` says how what is written here differs from what a page shows.
"""

import csv
import hashlib
from pathlib import Path

MOST = 200  # records that are listed by name; more are told by a digest


def write_table(folder: Path | None, name: str, head: list, rows: list) -> None:
    "Write a table of texts as FOLDER/NAME.csv."
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])
    print(f"→ {folder / f'{name}.csv'}", flush=True)


def write_records(folder: Path | None, names: list[str], file: str = "records.txt") -> None:
    "Write which records were measured: their names, or how many and the SHA-256 of the sorted names, a line each."
    if folder is None:
        return
    text = "".join(f"{name}\n" for name in sorted(names))
    if len(names) > MOST:
        digest = hashlib.sha256(text.encode()).hexdigest()
        text = f"{len(names)} records, SHA-256 of their sorted names, a line each: {digest}\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(text, encoding="utf-8")


def share(value: float, digits: int = 3) -> str:
    "A share between 0 and 1 as the pages write it: .957, 1.000."
    return f"{value:.{digits}f}".removeprefix("0")


def with_interval(value: float, low: float, high: float, form: str = ".3f") -> str:
    "0.790 (0.773–0.806)."
    return f"{value:{form}} ({low:{form}}–{high:{form}})"
