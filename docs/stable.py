"""Outputs without what changes from one execution to the next, so that two builds of the site are equal.

A result never changes here. What does: a day and a time, a place in a temporary folder, an address in memory, the number of a process, and how long
something took. An ellipsis stands for it. Runs that end side by side are listed in the order of their parameters.
"""

import re
import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path

from docs.notebooks import Notebook

ROOT = Path(__file__).resolve().parent.parent
TIMED = {
    "epoch",
    "train_loss",
    "parameters",
}  # a table with one of these columns times what it lists
TEMPORARY = re.escape(tempfile.gettempdir())
PLACES = (
    (r"[^\s'\"(]*/clfnb-(?:docs|test)-\w+", "runs"),  # CLFNB_RUNS of an execution
    (rf"{TEMPORARY}/ipykernel_\d+/\d+\.py", "the cell"),
    (r"\btmp[a-z0-9_]{8}(?![a-z0-9_])", "…"),
    (r"\b0x[0-9a-f]{8,16}\b", "0x…"),
    (r"(['\"](?:pid|host|started|heartbeat|seconds)['\"]: )(?:'[^']*'|\d{4,}(?:\.\d+)?|\d+\.\d{3,})", r"\1…"),
    (r"(?m)^(\w+_seconds +)[\d.]+$", r"\1…"),  # of a table of metrics
    (r"(<th>\w+_seconds</th>\s*<td>)[^<]*", r"\1…"),
)  # fmt: skip
PRINTED = (
    (r"(?m)^(epoch +\d+ .* seconds) [\d.]+$", r"\1 …"),
    (r"\babout [\d.]+ (?:s|min|h) left", "about … left"),
    (r"(?m)^(.*[:,;] |)[\d.]+ (?:s|min|h)$", r"\1… s"),
    (r"\b(in|took) [\d.]+ m?s\b", r"\1 … s"),
    (r"\b\d+ s ago\b", "… s ago"),
    (r"\b[0-9a-f]{16} now\b", "… now"),  # the fingerprint of a folder, with the times of its files
)
ENDED = re.compile(r"(finished|failed)  (.+?)(  \(\d+ of \d+ done\b.*\))")


def without_day(text: str, day: str) -> str:
    "Text with the names of runs and the times of a day (as 2026-01-31), and of the days beside it, as patterns. The day on which a table was measured stays."
    for shift in (-1, 0, 1):
        near = (date.fromisoformat(day) + timedelta(days=shift)).isoformat()
        text = re.sub(rf"\b{near.replace('-', '')}-\d{{6}}(?=-)", "YYYYMMDD-HHMMSS", text)
        text = re.sub(rf"\b{near}([T ])\d\d:\d\d(?::\d\d(?:\.\d+)?)?", r"YYYY-MM-DD\1HH:MM", text)
        text = re.sub(rf"(?<!measured on )\b{near}\b", "YYYY-MM-DD", text)
    return text


def in_order(lines: list[str]) -> list[str]:
    "Lines of progress; those that follow each other tell of runs in the order of their parameters."
    out, run = [], []
    for line in [*lines, None]:
        if line is not None and (match := ENDED.fullmatch(line)):
            run.append(match)
            continue
        heads = sorted((match[1], match[2]) for match in run)
        out += [f"{a}  {b}{m[3]}" for (a, b), m in zip(heads, run, strict=True)]
        out, run = out + ([line] if line is not None else []), []
    return out


def untimed_table(text: str) -> str:
    "A table as text whose last column says how long each row took."
    head, *rows = text.split("\n")
    if head.split()[-1:] != ["seconds"] or not TIMED & set(head.split()):
        return text
    rows = [re.sub(r"\s+[\d.]+$", "  …", row) for row in rows]
    return "\n".join([re.sub(r"\s+seconds$", "  seconds", head), *rows])


def untimed_html(text: str) -> str:
    "The same of a table in HTML."
    rows = re.findall(r"<tr.*?</tr>", text, flags=re.S)
    names = re.findall(r"<th>(.*?)</th>", rows[0]) if rows else []
    if "seconds" not in names or not TIMED & set(names):
        return text
    at = names.index("seconds")

    def untimed(row):
        cells = iter(range(len(names)))
        return re.sub(
            r"<(t[hd])>(.*?)</t[hd]>",
            lambda cell: f"<{cell[1]}>…</{cell[1]}>" if next(cells) == at else cell[0],
            row[0],
        )

    head, body, rest = text.partition("<tbody>")
    return head + body + re.sub(r"<tr.*?</tr>", untimed, rest, flags=re.S)


def stable_text(text: str, day: str, printed: bool = False) -> str:
    "Text without places, times and addresses; `printed` also without how long something took."
    for place, name in ((sys.prefix, ".venv"), (ROOT, "clfnb"), (Path.home(), "~")):
        text = re.sub(rf"{re.escape(str(place))}(?![\w.-])", name, text)
    for pattern, instead in PLACES + (PRINTED if printed else ()):
        text = re.sub(pattern, instead, text)
    text = without_day(text, day)
    return "\n".join(in_order(text.split("\n"))) if printed else text


def stable_output(output: dict, day: str) -> dict:
    "An output of an execution on a day; images and plots are as they were."
    if output["output_type"] == "stream":
        return output | {"text": stable_text(output["text"], day, printed=True)}
    if "data" not in output:
        return output
    data = {
        kind: stable_text(text, day) if kind.startswith("text/") else text
        for kind, text in output["data"].items()
    }
    if "text/html" in data:
        data["text/html"] = untimed_html(data["text/html"])
        data |= {"text/plain": untimed_table(data.get("text/plain", ""))}
    shown = output | {"data": data}
    if "line" in (metadata := output.get("metadata", {})):  # of a live curve, for a terminal
        shown["metadata"] = {name: value for name, value in metadata.items() if name != "line"}
    return shown


def joined_streams(outputs: list[dict]) -> list[dict]:
    "Outputs in which what was printed without a break is one: a kernel sends it in parts, by its clock."
    joined: list[dict] = []
    for output in outputs:
        last = joined[-1] if joined else {}
        if output["output_type"] == "stream" and last.get("name") == output["name"]:
            joined[-1] = last | {"text": last["text"] + output["text"]}
        else:
            joined.append(output)
    return joined


def stable_notebook(notebook: Notebook) -> Notebook:
    "An executed notebook with outputs as another execution would give them."
    for cell in notebook.cells:
        outputs = joined_streams(cell.outputs)
        cell.outputs = [stable_output(out, notebook.executed["when"]) for out in outputs]
    return notebook
