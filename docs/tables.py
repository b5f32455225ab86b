"""The tables of the pages of results: CSV files in nbs/reference/results/, and how new ones that a command has written differ from them.

Rows are told apart by their first cell, columns by their heading. `about.json` beside the files says what each table is. Needs nothing but the standard library.
"""

import csv
import json
import os
import re
import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path

NUMBER = re.compile(r"[-+−]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d*\.\d+|\d+)")
NAMED = re.compile(r"measured\(\"results/([\w/]+)\.csv\"\)")


@dataclass(frozen=True)
class Table:
    "A table of a page; `name` is FOLDER/NAME, `root` the folder of all tables."

    section: str
    name: str
    root: Path

    @property
    def file(self) -> Path:
        "Where it is kept."
        return self.root / f"{self.name}.csv"

    @property
    def folder(self) -> str:
        "The folder's name, one for a section or a few."
        return self.name.partition("/")[0]

    @property
    def about(self) -> dict:
        "What about.json says of it: caption, n, date, and perhaps command, mark, kept and records."
        beside = self.file.with_name("about.json")
        return json.loads(beside.read_text(encoding="utf-8"))[self.file.stem]


def read_rows(file: Path) -> list[list[str]]:
    "Head and rows of a CSV file."
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.reader(lines))


def by_place(rows: list[list[str]]) -> dict[tuple[str, str], str]:
    "(Label of the row, heading of the column) → cell."
    head, *body = rows
    cells = [(row[0], zip(head[1:], row[1:], strict=True)) for row in body]
    return {(label, name): cell for label, rest in cells for name, cell in rest}


def change(old: str, new: str) -> str:
    "By how much the numbers of a cell have changed, in their order; nothing if they cannot be paired."
    pairs = [
        [float(n.replace(",", "").replace("−", "-")) for n in NUMBER.findall(t)] for t in (old, new)
    ]
    if len(pairs[0]) != len(pairs[1]) or not pairs[0]:
        return ""
    return " (" + ", ".join(f"{b - a:+.4g}" for a, b in zip(*pairs, strict=True)) + ")"


def differences(
    old: list[list[str]],  # head and rows of the table that is kept
    new: list[list[str]],  # of the one that a command has written
    kept: list[str] = (),  # columns that no command writes
) -> list[str]:  # a line for each cell that is another one, or is there in one table only
    "How two tables differ. Raises `ValueError` for a row that is longer or shorter than the head."
    was, now = by_place(old), by_place(new)
    lines = []
    for place in dict.fromkeys([*was, *now]):
        label, column = place
        if column in kept or was.get(place) == now.get(place):
            continue
        before, after = was.get(place, "(none)"), now.get(place, "(none)")
        lines.append(f"{label} · {column}: {before} → {after}{change(before, after)}")
    return lines


def compare(table: Table, folder: Path) -> list[str]:
    "A line that says how a table stands to its new version in a folder, and a line for each cell that differs."
    new = folder / f"{table.name}.csv"
    if not new.is_file():
        mark = table.about.get("mark")
        return [
            f"{table.name}: {f'kept: {mark}' if mark else 'no new table: its command has not written one'}"
        ]
    lines = differences(read_rows(table.file), read_rows(new), table.about.get("kept", []))
    cells = sum(len(row) - 1 for row in read_rows(new)[1:])
    said = f"{len(lines)} of {cells} cells differ" if lines else f"all {cells} cells are equal"
    return [f"{table.name}: {said}", *(f"    {line}" for line in lines)]


def merged(old: list[list[str]], new: list[list[str]], kept: list[str]) -> list[list[str]]:
    "The new table, with the columns that only the old one has."
    was, now = by_place(old), by_place(new)
    head = old[0] if set(new[0]) | set(kept) == set(old[0]) else [*new[0], *kept]
    body = [
        [row[0], *(now.get((row[0], name), was.get((row[0], name), "")) for name in head[1:])]
        for row in new[1:]
    ]
    return [head, *body]


def write_rows(file: Path, rows: list[list[str]]) -> None:
    "Write a table, in one step."
    aside = file.with_suffix(".part")
    with aside.open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines, lineterminator="\n").writerows(rows)
    os.replace(aside, file)


def replace(table: Table, folder: Path) -> bool:
    "Put the new table and its list of records in the place of the old, with the day on which it was written."
    new = folder / f"{table.name}.csv"
    if not new.is_file():
        return False
    about = table.about
    write_rows(table.file, merged(read_rows(table.file), read_rows(new), about.get("kept", [])))
    records = new.with_name(about.get("records", "?"))
    if records.is_file():
        shutil.copy2(records, table.file.with_name(records.name))
    beside = table.file.with_name("about.json")
    all_of_them = json.loads(beside.read_text(encoding="utf-8"))
    all_of_them[table.file.stem]["date"] = date.fromtimestamp(new.stat().st_mtime).isoformat()
    beside.write_text(
        json.dumps(all_of_them, ensure_ascii=False, indent=2) + "\n", encoding="utf-8"
    )
    return True
