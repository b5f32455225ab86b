"""The decision on P waves, fitted on records that the networks have not seen.

    python benchmarks/ecg_decision.py --data FOLDER --models FOLD0 FOLD1 ... [--into MODEL] [--threshold 0.74]

Models as for `ecg_tables.py`. On its own training records a network is surer of its P waves than on others, so the notebook that trains it
fits the decision on too easy candidates. Here the candidates are those of each fold's network on its held-out records, lead by lead and
jointly, and on simulated hearts of all rhythms, others for each fold. The decision of each fold is fitted on the candidates of the others
and replaces the one in its config.json, so that the tables stay honest; the decision of MODEL is fitted on all of them.
"""

import argparse
import json
from pathlib import Path

import pandas as pd

from clfnb.tracks.ecg import examples, recipe, variants
from clfnb.tracks.ecg.delineator import Predictor
from clfnb.tracks.ecg.waves import P_FEATURES, fit_decision
from clfnb.training.digests import stamp


def fold_candidates(folder, rows, hearts, number):
    "The candidates of one fold."
    predictor = Predictor.load(folder)
    found = [
        recipe.p_candidates(predictor, variants.record_pieces(row), row.record)
        for row in rows.itertuples()
    ]
    for heart, (pieces,) in enumerate(recipe.simulated_pool(hearts, 30, seed=300 + number)):
        found.append(recipe.p_candidates(predictor, pieces, f"simulated {number} {heart}"))
    return pd.concat(found).assign(fold=number)


def write_decision(folder, table, threshold):
    "Fit the decision, each heart with the same weight, and write it into a model's configuration."
    weight = 100 / table.groupby("heart").heart.transform("size")
    decision = fit_decision(table[list(P_FEATURES)], table.true, threshold, weight=weight)
    path = folder / "config.json"
    config = json.loads(path.read_text()) | {"decision": decision.config()}
    path.write_text(json.dumps(config, indent=2) + "\n")
    stamp(folder)
    print(folder, decision.config())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of annotated records")
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="model folders")
    parser.add_argument("--into", type=Path, help="model folder whose decision is replaced too")
    parser.add_argument("--threshold", type=float, default=0.74, help="lowest accepted probability")
    parser.add_argument("--hearts", type=int, default=40, help="simulated hearts per model")
    options = parser.parse_args()
    table, seen, found = examples.load(options.data, exclude=()), set(), []
    for number, folder in enumerate(options.models):
        trained = set(json.loads((folder / "config.json").read_text())["records"])
        rows = table[~table.record.isin(trained | seen)]
        seen |= set(rows.record)
        found.append(fold_candidates(folder, rows, options.hearts, number))
    found = pd.concat(found)
    for number, folder in enumerate(options.models):
        write_decision(folder, found[found.fold != number], options.threshold)
    if options.into:
        write_decision(options.into, found, options.threshold)


if __name__ == "__main__":
    main()
