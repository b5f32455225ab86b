"""The choices of lesson 5 on real images, each evaluated twice: on random patients, and on the lowest block of serial numbers.

    OMP_NUM_THREADS=1 python benchmarks/chest_xray_choices.py WHAT --data FOLDER --weights FILE --log FILE.jsonl [--seeds 3] [--device cuda --jobs 14]

WHAT is one or more of `augment` (the named augmentations), `single` (each component of `strong` alone), `models` (the study's four
and a small residual network, from scratch), `patients` (increasing numbers of them), `variants` (which weights, which loss) and
`backbones` (pretrained or random). Each training is one line of the log, and a second call continues where the first stopped;
`--show` prints the tables of a log, `--out` writes them. Without `--data` it runs on simulated chests. Networks are trained on four fifths of the patients
and evaluated on the fifth. `wider` is the specificity on the same healthy images as if their originals had been wider by 1/0.8, at
the threshold with a sensitivity of 95 %.
"""

import argparse
import json
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tables import write_table

from clfnb.evaluation.comparison import auc_interval
from clfnb.simulate.chest_xray.folder import write
from clfnb.tracks.chest_xray.augment import AUGMENTATIONS
from clfnb.tracks.chest_xray.examples import RadiographData, load, load_squares
from clfnb.tracks.chest_xray.network import build_model
from clfnb.tracks.chest_xray.recipe import class_loss, predict_logits, train_member
from clfnb.tracks.chest_xray.splits import block_folds, patient_folds, widen

COMPONENTS = {
    "flip": {"flip": 0.5},
    "rotation": {"rotation": 10.0},
    "shear and zoom": {"area": (0.64, 1.0), "shear": 0.2},
    "brightness, contrast": {"tone": 0.3},
    "gamma": {"gamma": 0.45},
    "blur": {"blur": 0.5},
    "noise": {"noise": 0.03},
}
WHAT = ("augment", "single", "models", "patients", "variants", "backbones")
SHARED = []  # what forked processes inherit: images, table, folds, options
SMALL = {"backbone": "small", "widths": (24, 48, 96, 192), "lr": 3e-3}


def trials(what, options):
    "(name, seed, split, options) of every training of a comparison."
    squeeze = {"backbone": "squeezenet1_1", "weights": options.weights, "lr": 7e-4}
    both, seeds = ("patients", "block"), range(options.seeds)
    strong = squeeze | {"augment": "strong"}
    if what == "augment":
        names = ("study", "strong", "none", "gentle", "crop", "tone")
        configs = {name: squeeze | {"augment": name} for name in names}
    elif what == "single":
        configs = {name: squeeze | {"augment": name} for name in ("none", *COMPONENTS)}
    elif what == "models":
        study = {"lr": 5e-4, "augment": "study", "epochs": 6}
        configs = {f"study{k}": study | {"backbone": f"study{k}"} for k in (1, 2, 3, 4)}
        configs["small residual"] = study | {
            "backbone": "small",
            "widths": (12, 24, 48),
            "lr": 4e-3,
        }
    elif what == "patients":
        shares = (0.03, 0.06, 0.125, 0.25, 0.5, 1.0)
        configs = {f"pretrained, {share:.1%}": strong | {"share": share} for share in shares}
        configs |= {f"from scratch, {share:.1%}": SMALL | {"share": share} for share in shares}
        both = ("block",)
    elif what == "variants":
        configs = {
            "balanced loss": strong | {"all_weights": True},
            "unweighted loss": strong | {"loss": {"balance": False}},
            "focal loss": strong | {"loss": {"gamma": 2.0}},
            "two phases, head first": strong | {"head_epochs": 1},
        }
    else:
        lite = {"backbone": "tf_efficientnet_lite0", "weights": "imagenet", "lr": 1e-3}
        configs = {"small, random": SMALL, "squeezenet1_1, random": strong | {"weights": ""}}
        configs |= {"squeezenet1_1, ImageNet": strong, "tf_efficientnet_lite0, ImageNet": lite}
    for seed in seeds:
        for name, config in configs.items():
            for split in both:
                yield f"{what}: {name}", seed, split, config


def evaluate(score, wider, codes):
    "Metrics of one network on its held-out patients."
    threshold = np.quantile(score[codes == 1], 0.05)
    positive = score > 0
    return {
        "auc": auc_interval(codes, score)[0],
        "specificity": float(np.mean(score[codes == 0] < threshold)),
        "wider": float(np.mean(wider < threshold)),
        "threshold": float(threshold),
        "accuracy": float(np.mean(positive == codes)),
        "sensitivity_at_0": float(np.mean(positive[codes == 1])),
        "specificity_at_0": float(np.mean(~positive[codes == 0])),
        "n": len(codes),
    }


def train_one(images, table, fold, seed, config, options):
    "Train on all folds but the first; metrics for each set of weights."
    codes, held = table.code.to_numpy(), fold == 0
    rows, share = np.flatnonzero(~held), config.get("share", 1.0)
    if share < 1:
        names = np.random.default_rng(seed).permutation(np.unique(table.group.to_numpy()[rows]))
        chosen = names[: round(share * len(names))]
        rows = rows[np.isin(table.group.to_numpy()[rows], chosen)]
    px, epochs = config.get("px", options.px), config.get("epochs", options.epochs)
    if share < 1:  # as many steps as with a quarter of the patients, at least
        epochs = round(epochs * max(1, 0.25 / share))
    torch.manual_seed(seed)
    net = build_model(
        config["backbone"], px, config.get("augment", "strong"), config.get("weights", ""),
        widths=config.get("widths", ()),
    )  # fmt: skip
    parameters, variants = (
        sum(w.numel() for w in net.parameters()),
        {} if config.get("all_weights") else None,
    )
    started = time.process_time()
    mean, _ = train_member(
        net, RadiographData(images[rows], codes[rows]),
        RadiographData(images[held], codes[held]) if config.get("all_weights") else None,
        epochs=epochs, head_epochs=config.get("head_epochs", 0), batch=64, lr=config["lr"], seed=seed,
        loss=class_loss(codes[rows], **config.get("loss", {})), device=options.device, variants=variants,
    )  # fmt: skip
    seconds = time.process_time() - started
    more = {"parameters": parameters, "seconds": seconds, "images": len(rows)}
    more["patients"] = int(table.group.iloc[rows].nunique())
    healthy = held & (codes == 0)
    wide = RadiographData(widen(images[healthy], 0.8), codes[healthy])
    held_data = RadiographData(images[held], codes[held])
    metrics = {}
    for name, one in {
        "": mean,
        **{f", {k} weights": v for k, v in (variants or {}).items()},
    }.items():
        one = one.to(options.device)
        score, wider = (predict_logits(one, d, options.device) for d in (held_data, wide))
        metrics[name] = evaluate(score, wider, codes[held]) | more
    if config.get("all_weights"):
        score, wider = (predict_logits(mean, d, options.device, False) for d in (held_data, wide))
        metrics[", one view"] = evaluate(score, wider, codes[held]) | more
    return metrics


def show(options):
    "The tables of a log in Markdown: random patients / lowest block, each the mean over the seeds (lowest–highest)."
    rows = pd.DataFrame([json.loads(line) for line in options.log.read_text().splitlines()])
    order = [name for what in WHAT for name, *_ in trials(what, options)]  # processes log at random
    rows = rows.sort_values("key", key=lambda keys: keys.map(order.index), kind="stable")
    what, names = rows.name.str.split(": ", n=1, expand=True).T.to_numpy()
    rows = rows.assign(what=what, name=names)

    def cell(group, column):
        cells = []
        for split in ("patients", "block"):
            values = group[group.split == split][column]
            text = f"{values.mean():.3f} ({values.min():.3f}–{values.max():.3f})"
            cells += [text.replace("0.", ".")] if len(values) else []
        return " / ".join(cells)

    columns = {
        "AUC": "auc",
        "accuracy at 0": "accuracy",
        "specificity at .95": "specificity",
        "widened": "wider",
    }
    for what, comparison in rows.groupby("what", sort=False):
        table = []
        n = comparison.groupby("split").n.first().to_dict()
        print(f"\n### {what}, n = {n}, seeds: {comparison.seed.nunique()}\n")
        print(
            f"| {what} | parameters | {' | '.join(columns)} |\n|---|{'---|' * (1 + len(columns))}"
        )
        for name, group in comparison.groupby("name", sort=False):
            cells = [f"{group.parameters.iloc[0]:,}"] + [
                cell(group, key) for key in columns.values()
            ]
            table.append([name, *cells])
            print(f"| {name} | {' | '.join(cells)} |")
        write_table(options.out, what, [what, "parameters", *columns], table)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", default=["augment"])
    parser.add_argument("--data", help="a folder with train/CLASS/*; by default simulated images")
    parser.add_argument("--weights", default="", help="of SqueezeNet 1.1: a file, or imagenet")
    parser.add_argument(
        "--log", type=Path, help="one line per training; continued by a second call"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--px", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--out", type=Path, help="folder for the tables")
    parser.add_argument("--show", action="store_true", help="print the tables of the log")
    options = parser.parse_args()
    if unknown := set(options.what) - set(WHAT):
        parser.error(
            f"what: expected some of {', '.join(WHAT)}, found {', '.join(sorted(unknown))}"
        )
    if options.show:
        return show(options)
    with tempfile.TemporaryDirectory() as folder:
        options.log = options.log or Path(folder, "log.jsonl")
        options.data = options.data or write(Path(folder, "chests"), images=300, test=0, size=96)
        compare(options)
        show(options)


def log_one(trial):
    "Train one network and append its lines to the log."
    name, seed, split, config = trial
    images, table, folds, options = SHARED
    AUGMENTATIONS.update({name: AUGMENTATIONS["none"] | part for name, part in COMPONENTS.items()})
    results = train_one(images, table, folds[split], seed, config, options)
    shared = {"key": name, "seed": seed, "split": split, "px": config.get("px", options.px)}
    with open(options.log, "a") as out:
        for suffix, metrics in results.items():
            out.write(json.dumps(shared | {"name": name + suffix} | metrics) + "\n")
    first = results[""]
    print(f"{name}, seed {seed}, {split}: AUC {first['auc']:.4f}, wider {first['wider']:.3f}, {first['seconds']:.0f} s", flush=True)  # fmt: skip


def compare(options):
    "Run all trainings that the log does not have yet."
    table = load(options.data)
    table = table[table.split != "test"].reset_index(drop=True)
    images = load_squares(table)
    folds = {"patients": patient_folds(table, 5, 0), "block": block_folds(table, 5)}
    text = options.log.read_text() if options.log.exists() else ""
    done = {(r["key"], r["seed"], r["split"]) for r in map(json.loads, text.splitlines())}
    todo = [one for what in options.what for one in trials(what, options) if one[:3] not in done]
    SHARED[:] = images, table, folds, options
    if options.jobs == 1:
        return list(map(log_one, todo))
    with ProcessPoolExecutor(options.jobs, get_context("fork")) as pool:
        return list(pool.map(log_one, todo))


if __name__ == "__main__":
    main()
