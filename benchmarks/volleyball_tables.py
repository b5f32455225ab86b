"""The table of a run of lesson 4 on annotated videos that its training has not seen: with the players' actions, and from their boxes alone.

    python benchmarks/volleyball_tables.py FOLDER [--run RUN] [--out FOLDER]

RUN is a folder, the beginning of a name, or "last"; it was trained with `-p final=true` on other videos. Intervals are over videos.
"""

import argparse
from pathlib import Path

from tables import with_interval, write_records, write_table

from clfnb.runs.record import find_run
from clfnb.settings import load_settings
from clfnb.tracks.volleyball.examples import load
from clfnb.tracks.volleyball.predictor import Predictor
from clfnb.tracks.volleyball.scores import evaluate

HEAD = ["input", "accuracy %", "teams merged %", "team %"]
METRICS = ["accuracy", "merged_accuracy", "team_accuracy"]


def row(name: str, predictor: Predictor, table, actions: bool) -> list[str]:
    "Metrics in percent on labelled frames. Raises `SystemExit` if a frame was predicted twice or not at all."
    answers, _ = predictor.predict(table.attrs["folder"], actions)
    answers["id"] = answers.video.astype(str) + "/" + answers.frame.astype(str)
    joined = answers.merge(table[["id", "group", "label"]], on="id", validate="one_to_one")
    if len(joined) != len(table):
        raise SystemExit(f"{len(table)} labelled frames, but {len(joined)} predictions of them")
    found = evaluate(joined).set_index("metric").loc[METRICS, ["value", "low", "high"]]
    return [name, *(with_interval(*(100 * found.loc[key]), ".1f") for key in METRICS)]


def main() -> None:
    "Print the table, and write it into a folder."
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of annotated videos, as for the lesson")
    parser.add_argument("--run", default="last", help="folder, name or last")
    parser.add_argument("--out", type=Path, help="folder for the table")
    options = parser.parse_args()
    predictor = Predictor.load(find_run(options.run, load_settings().runs_dir).folder)
    table = load(options.folder, images=False)
    table.attrs["folder"] = options.folder
    rows = [row("boxes and actions", predictor, table, True), row("boxes alone", predictor, table, False)]  # fmt: skip
    print(f"{len(table)} frames of {table.group.nunique()} videos")
    for line in [HEAD, *rows]:
        print("   ".join(f"{cell:20}" for cell in line))
    write_table(options.out, "official_split", HEAD, rows)
    write_records(options.out, [f"video {number}" for number in sorted(set(table.group), key=int)])


if __name__ == "__main__":
    main()
