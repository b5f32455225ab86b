"""The tables of a run of lesson 2: its figures on the test split, their calibration, and the treatments of imbalance.

    python benchmarks/plankton_tables.py [--run RUN] [--imbalance] [--out FOLDER]

RUN is a folder, the beginning of a name, or "last". The predictions of the run hold the probabilities with temperature; the model folder has the
temperature, the class frequencies and tau. With --imbalance the run's comparison of treatments is shown in place of the rest.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from tables import with_interval, write_records, write_table

from clfnb.data.balance import adjust_logits
from clfnb.evaluation.calibration import calibration_table, ece, verdict
from clfnb.evaluation.calibration.predictions import read_predictions
from clfnb.runs.record import find_run
from clfnb.settings import load_settings
from clfnb.vision.predictor import probability_metrics

METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "kappa": "Cohen's kappa",
    "mcc": "Matthews coefficient",
    "log_loss": "log loss",
}
TREATMENTS = {"accuracy": ".3f", "balanced_accuracy": ".3f", "macro_f1": ".3f", "log_loss": ".3f", "ece": ".3f"}  # fmt: skip
MEASURES = {  # of the calibration, with their digits
    "ECE": ("ECE, 15 bins", 3),
    "debiased ECE (L2)": ("debiased ECE (L2)", 3),
    "smooth ECE": ("smooth ECE", 3),
    "class-wise ECE": ("class-wise ECE", 4),
}


def metric_rows(probs: np.ndarray, even: np.ndarray, y: np.ndarray, seed: int) -> list[list[str]]:
    "Metrics as trained, and with the class frequencies removed."
    columns = [probability_metrics(p, y, seed) for p in (probs, even)]
    return [
        [text, *(with_interval(*table.loc[name, ["value", "low", "high"]]) for table in columns)]
        for name, text in METRICS.items()
    ]


def calibration_rows(
    probs: np.ndarray, raw: np.ndarray, y: np.ndarray, seed: int
) -> list[list[str]]:
    "Calibration errors with their intervals, beside a perfectly calibrated model."
    table = calibration_table(probs, y, draws=200, seed=seed)
    gap, said = table.loc["accuracy gap"], verdict(probs, y, seed=seed)
    first = f"{gap.value:.3f} ({gap.low:.3f}–{gap.high:.3f}), p = {said.p_value:.2f}".replace(
        "-", "−"
    )
    rows = [["mean confidence less accuracy", first, f"{abs(gap.floor):.3f}, {gap.floor_p95:.3f}"]]
    for name, (text, digits) in MEASURES.items():
        row = table.loc[name]
        low = "0" if row.low == 0 else f"{row.low:.{digits}f}"
        cell = f"{row.value:.{digits}f} ({low}–{row.high:.{digits}f})"
        cell += f"; raw {ece(raw, y):.3f}" if name == "ECE" else ""
        rows.append([text, cell, f"{row.floor:.{digits}f}, {row.floor_p95:.{digits}f}"])
    return rows


def treatment_rows(metrics: dict) -> list[list[str]]:
    "The comparison of treatments, from the metrics of a run. Raises `SystemExit` if it made none."
    names = [key.removesuffix(".balanced_accuracy") for key in metrics if key.endswith(".balanced_accuracy")]  # fmt: skip
    if not names:
        raise SystemExit("this run compared no treatments: it needs -p compare=true")
    return [[name, *(f"{metrics[f'{name}.{key}']:{form}}" for key, form in TREATMENTS.items())] for name in names]  # fmt: skip


def show(out: Path | None, name: str, head: list[str], rows: list[list[str]]) -> None:
    "Print a table and write it."
    print(pd.DataFrame(rows, columns=head).to_string(index=False), end="\n\n")
    write_table(out, name, head, rows)


def main() -> None:
    "Print the tables, and write them into a folder."
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", default="last", help="folder, name or last")
    parser.add_argument("--imbalance", action="store_true", help="the comparison of treatments")
    parser.add_argument("--out", type=Path, help="folder for the tables")
    options = parser.parse_args()
    folder = find_run(options.run, load_settings().runs_dir).folder
    seed = json.loads((folder / "params.json").read_text())["seed"]
    table = pd.read_parquet(folder / "predictions.parquet")
    part = "val" if options.imbalance else "test"
    rows = table[table.split == part]
    named = [f"{row.label}/{Path(row.id).name}" for row in rows.itertuples()]
    write_records(options.out, named, f"{part}_split.records.txt")
    if options.imbalance:
        head = ["", "accuracy", "balanced accuracy", "macro-F1", "log loss", "ECE"]
        metrics = json.loads((folder / "metrics.json").read_text())
        return show(options.out, "imbalance", head, treatment_rows(metrics))
    read = read_predictions(rows)
    config = json.loads((folder / "model" / "config.json").read_text())
    logs = np.log(np.clip(read.probs, 1e-12, 1))
    even = np.exp(adjust_logits(logs, np.array(config["prior"]), config["tau"]))
    sharp = logs * config["temperature"]
    raw = np.exp(sharp - np.logaddexp.reduce(sharp, axis=1, keepdims=True))
    even /= even.sum(axis=1, keepdims=True)
    head = [f"test split, n = {len(rows)}", "as trained, with temperature", f"class frequencies removed, $\\tau$ = {config['tau']}"]  # fmt: skip
    show(options.out, "test_split", head, metric_rows(read.probs, even, read.y, seed))
    head = ["calibration, with temperature", "value", "a perfectly calibrated model: mean, 95th percentile"]  # fmt: skip
    show(options.out, "calibration", head, calibration_rows(read.probs, raw, read.y, seed))


if __name__ == "__main__":
    main()
