"""The choices of lesson 5 on real images, each judged twice: on random patients, and on the lowest block of running numbers.

    OMP_NUM_THREADS=1 python benchmarks/chest_xray_choices.py WHAT --data FOLDER --weights FILE --log FILE.jsonl [--seeds 3]

WHAT is one or more of `augment` (the named augmentations), `single` (each part of the strong one alone), `models` (the study's four
and a small residual network, from scratch), `patients` (more and more of them), `ways` (which weights, which loss) and `bodies` (pretrained
or not). Each training is one line of the log, and a second call goes on where the first was stopped; `--show` prints the tables of a log.
Without `--data` it shows on drawn chests how it works. Networks learn from four fifths of the patients and are judged on the fifth. `wider` is the specificity on the same healthy images when
they look as if their originals had been wider by 1/0.8, at the threshold that finds 95 % of the ill ones.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from clfnb.evaluation.comparison import auc_interval
from clfnb.simulate.chest_xray.folder import write
from clfnb.tracks.chest_xray.examples import RadiographData, load, squares_of
from clfnb.tracks.chest_xray.network import build_model
from clfnb.tracks.chest_xray.parts import block_folds, patient_folds, seen_wider
from clfnb.tracks.chest_xray.recipe import class_loss, logits_of, train_member
from clfnb.tracks.chest_xray.views import AUGMENTATIONS

PARTS = {
    "flip": {"flip": 0.5},
    "turn": {"turn": 10.0},
    "shear and zoom": {"area": (0.64, 1.0), "shear": 0.2},
    "brightness, contrast": {"tone": 0.3},
    "grey curve": {"gamma": 0.45},
    "blur": {"blur": 0.5},
    "noise": {"noise": 0.03},
}
SMALL = {"backbone": "small", "widths": (24, 48, 96, 192), "lr": 3e-3}


def trials(what, options):
    "(name, seed, split, how) of every training of a comparison."
    squeeze = {"backbone": "squeezenet1_1", "weights": options.weights, "lr": 7e-4}
    both, seeds = ("patients", "block"), range(options.seeds)
    strong = squeeze | {"augment": "strong"}
    if what == "augment":
        names = ("study", "strong", "none", "gentle", "crop", "tone")
        ways = {name: squeeze | {"augment": name} for name in names}
    elif what == "single":
        ways = {name: squeeze | {"augment": name} for name in ("none", *PARTS)}
    elif what == "models":
        study = {"lr": 5e-4, "augment": "study", "px": 40, "epochs": 6}
        ways = {f"study{k}": study | {"backbone": f"study{k}"} for k in (1, 2, 3, 4)}
        ways["small residual"] = study | {"backbone": "small", "widths": (12, 24, 48), "lr": 4e-3}
    elif what == "patients":
        shares = (0.03, 0.06, 0.125, 0.25, 0.5, 1.0)
        ways = {f"pretrained, {share:.1%}": strong | {"share": share} for share in shares}
        ways |= {f"from scratch, {share:.1%}": SMALL | {"share": share} for share in shares}
        both = ("block",)
    elif what == "ways":
        ways = {
            "both classes count the same": strong | {"every": True},
            "each image counts the same": strong | {"loss": {"balance": False}},
            "focal loss": strong | {"loss": {"focus": 2.0}},
            "two phases, head first": strong | {"head_epochs": 1},
        }
    else:
        lite = {"backbone": "tf_efficientnet_lite0", "weights": "imagenet", "lr": 1e-3}
        ways = {"small, random": SMALL, "squeezenet1_1, random": strong | {"weights": ""}}
        ways |= {"squeezenet1_1, ImageNet": strong, "tf_efficientnet_lite0, ImageNet": lite}
    for seed in seeds:
        for name, how in ways.items():
            for split in both:
                yield f"{what}: {name}", seed, split, how


def judge(score, wider, codes):
    "Figures of one network on its part."
    threshold = np.quantile(score[codes == 1], 0.05)
    found = score > 0
    return {
        "auc": auc_interval(codes, score)[0],
        "specificity": float(np.mean(score[codes == 0] < threshold)),
        "wider": float(np.mean(wider < threshold)),
        "threshold": float(threshold),
        "accuracy": float(np.mean(found == codes)),
        "sensitivity_at_0": float(np.mean(found[codes == 1])),
        "specificity_at_0": float(np.mean(~found[codes == 0])),
        "n": len(codes),
    }


def train_one(images, table, fold, seed, how, options):
    "Train on all folds but the first; figures for each set of weights that is asked for."
    codes, held = table.code.to_numpy(), fold == 0
    learn, share = np.flatnonzero(~held), how.get("share", 1.0)
    if share < 1:
        names = np.random.default_rng(seed).permutation(np.unique(table.group.to_numpy()[learn]))
        chosen = names[: round(share * len(names))]
        learn = learn[np.isin(table.group.to_numpy()[learn], chosen)]
    px, epochs = how.get("px", options.px), how.get("epochs", options.epochs)
    if share < 1:  # as many steps as with a quarter of the patients, at least
        epochs = round(epochs * max(1, 0.25 / share))
    torch.manual_seed(seed)
    net = build_model(
        how["backbone"], px, how.get("augment", "strong"), how.get("weights", ""),
        widths=how.get("widths", ()),
    )  # fmt: skip
    parameters, kept = sum(w.numel() for w in net.parameters()), {} if how.get("every") else None
    started = time.process_time()
    mean, _ = train_member(
        net, RadiographData(images[learn], codes[learn]),
        RadiographData(images[held], codes[held]) if how.get("every") else None,
        epochs=epochs, head_epochs=how.get("head_epochs", 0), batch=64, lr=how["lr"], seed=seed,
        loss=class_loss(codes[learn], **how.get("loss", {})), device=options.device, kept=kept,
    )  # fmt: skip
    seconds = time.process_time() - started
    more = {"parameters": parameters, "seconds": seconds, "images": len(learn)}
    more["patients"] = int(table.group.iloc[learn].nunique())
    well = held & (codes == 0)
    wide = RadiographData(seen_wider(images[well], 0.8), codes[well])
    held_data = RadiographData(images[held], codes[held])
    found = {}
    for name, one in {"": mean, **{f", {k} weights": v for k, v in (kept or {}).items()}}.items():
        score, wider = logits_of(one, held_data), logits_of(one, wide)
        found[name] = judge(score, wider, codes[held]) | more
    if how.get("every"):
        score, wider = (logits_of(mean, d, mirrored=False) for d in (held_data, wide))
        found[", one view"] = judge(score, wider, codes[held]) | more
    return found


def show(log):
    "The tables of a log: mean over the seeds, lowest to highest."
    rows = pd.DataFrame([json.loads(line) for line in log.read_text().splitlines()])

    def cell(values):
        values = values.dropna()
        if not len(values):
            return ""
        spread = f" ({values.min():.3f}–{values.max():.3f})" if len(values) > 1 else ""
        return f"{values.mean():.3f}{spread}"

    figures = ("auc", "accuracy", "specificity", "wider", "threshold", "seconds", "parameters")
    for what, part in rows.groupby(rows.name.str.split(":").str[0], sort=False):
        print(f"\n### {what}, n = {part.groupby('split').n.first().to_dict()}\n")
        for figure in figures:
            table = part.pivot_table(index="name", columns="split", values=figure, aggfunc=cell, sort=False)  # fmt: skip
            print(f"{figure}\n{table.to_string()}\n")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", default=["augment"])
    parser.add_argument("--data", help="a folder with train/CLASS/*; by default simulated images")
    parser.add_argument("--weights", default="", help="of SqueezeNet 1.1: a file, or imagenet")
    parser.add_argument("--log", type=Path, help="one line a training; goes on where it ends")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--px", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--show", action="store_true", help="only print the tables of the log")
    options = parser.parse_args()
    if options.show:
        return show(options.log)
    with tempfile.TemporaryDirectory() as place:
        options.log = options.log or Path(place, "log.jsonl")
        options.data = options.data or write(Path(place, "chests"), images=300, test=0, size=96)
        compare(options)
        show(options.log)


def compare(options):
    "All trainings that the log does not have yet."
    AUGMENTATIONS.update({name: AUGMENTATIONS["none"] | part for name, part in PARTS.items()})
    table = load(options.data)
    table = table[table.split != "test"].reset_index(drop=True)
    images = squares_of(table)
    folds = {"patients": patient_folds(table, 5, 0), "block": block_folds(table, 5)}
    text = options.log.read_text() if options.log.exists() else ""
    done = {(r["key"], r["seed"], r["split"]) for r in map(json.loads, text.splitlines())}
    for what in options.what:
        for name, seed, split, how in trials(what, options):
            if (name, seed, split) in done:
                continue
            found = train_one(images, table, folds[split], seed, how, options)
            with open(options.log, "a") as out:
                for tail, figures in found.items():
                    row = {"key": name, "name": name + tail, "seed": seed, "split": split}
                    out.write(json.dumps(row | figures) + "\n")
            first = found[""]
            print(f"{name}, seed {seed}, {split}: AUC {first['auc']:.4f}, wider {first['wider']:.3f}, {first['seconds']:.0f} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
