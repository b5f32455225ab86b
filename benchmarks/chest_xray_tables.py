"""The table of the members of lesson 5, each on the block that its training has not seen.

    python benchmarks/chest_xray_tables.py CROSS_FITTED.csv [--out FOLDER]

The file is written by `nbs/reference/train_chest_xray.ipynb`, a row for each image. Intervals over patients: DeLong's for the AUC, Wilson's for shares.
"""

import argparse
from pathlib import Path

import pandas as pd
from tables import share, write_records, write_table

from clfnb.tracks.chest_xray.recipe import evaluate

HEAD = ["images", "n", "AUC", "accuracy", "sensitivity", "specificity"]
BLOCKS = {3: ("lowest", "middle", "highest")}


def row(name: str, predictions: pd.DataFrame, intervals: bool) -> list[str]:
    "One row; blocks are given without intervals."
    found, cells = evaluate(predictions).set_index("metric"), []
    for metric in ("auc", "accuracy", "sensitivity", "specificity"):
        value, low, high = found.loc[metric, ["value", "low", "high"]]
        cell = share(value, 4 if metric == "auc" else 3)
        cells.append(f"{cell} ({share(low)}–{share(high)})" if intervals else cell)
    return [name, f"{len(predictions):,}", *cells]


def main() -> None:
    "Print the table, and write it into a folder."
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("predictions", type=Path, help="cross_fitted.csv of a training")
    parser.add_argument("--out", type=Path, help="folder for the table")
    options = parser.parse_args()
    table = pd.read_csv(options.predictions)
    blocks = sorted(table.block.unique())
    names = BLOCKS.get(len(blocks), blocks)
    rows = [row(f"all {'three' if len(blocks) == 3 else len(blocks)} blocks", table, True)]
    for block, name in zip(blocks, names, strict=True):
        rows.append(row(f"{name} block", table[table.block == block], False))
    print(pd.DataFrame(rows, columns=HEAD).to_string(index=False))
    write_table(options.out, "cross_fitted", HEAD, rows)
    files = [f"{row.label}/{Path(row.id).name}" for row in table.itertuples()]
    write_records(options.out, files, "cross_fitted.records.txt")


if __name__ == "__main__":
    main()
