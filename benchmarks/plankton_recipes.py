"""Networks and recipes for lesson 2, compared on a validation split of real images; the test split is left alone.

    python benchmarks/plankton_recipes.py FOLDER --log FILE.jsonl [--names before aug ...] [--seeds 1] [--device cuda]

Each training is one line of the log, and a second call goes on where the first was stopped. `minutes` is what one takes on a graphics card or a
processor; the plans are meant to cost equal time on two cores. A tenth of the images is the test split of `clfnb run plankton_imbalance -p seed=19`
and is not used; 15 % of the rest is for validation. The temperature is fitted on the images it is judged on, for all alike.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax

from clfnb.data.balance import adjust_logits, balanced_sampler, log_prior
from clfnb.data.images.augment import ImageInput
from clfnb.data.images.datasets import loader
from clfnb.evaluation.calibration import Temperature
from clfnb.models.chest_xray import load_grey_body, make_grey_body
from clfnb.settings import load_settings
from clfnb.tracks.plankton.examples import assign_splits, read_examples
from clfnb.tracks.plankton.network import RECIPES, PlanktonNet, build_model, build_optimizer
from clfnb.training.trainer import Trainer
from clfnb.vision.predictor import probability_metrics
from clfnb.vision.recipe import fit_stages, parse_plan, trapezoid
from clfnb.vision.views import predict_logits

WIDE = {"widths": (48, 96, 192, 384), "blocks": (1, 1, 2, 1), "size": 64, "augment": {}}
PLAIN = {"augment": {"antialias": True}}
RECIPE = RECIPES["hour"]
VARIANTS = {
    "before": WIDE | {"plan": "32x8 48x10 64x22"},
    "before, longer": WIDE | {"plan": "32x8 48x12 64x36"},
    "two wide stages, 64 px": PLAIN
    | {"widths": (32, 128, 256), "blocks": (1, 2, 2), "plan": "48x12 64x50"},
    "deeper, 96 px": PLAIN,
    "deeper, 96 px, batches of 256": PLAIN | {"batch": 256, "lr": 0.01},
    "deeper, 96 px, decay 0.3": PLAIN | {"decay": 0.3},
    "deeper, 96 px, rare drawn more often": PLAIN | {"power": 0.5},
    "varied more": {},
    "varied more, rate 0.012": {"lr": 0.012},
    "varied more, dropout 0.5": {"dropout": 0.5, "fall": 0.6},
    "varied more, half as long": {"plan": "48x8 64x15 96x9"},
    "varied more, no 48 px": {"plan": "64x20 96x30"},
    "EfficientNet-Lite0, ImageNet": {"body": "imagenet", "plan": "96x25", "lr": 1e-3, "fall": 1.0},
    "EfficientNet-Lite0, random": {"body": "random", "plan": "96x25", "lr": 1e-3, "fall": 1.0},
}


class LiteNet(torch.nn.Module):
    "EfficientNet-Lite0 for grey images, with the sizes beside its last vector."

    def __init__(self, classes, weights, dropout):
        super().__init__()
        name = "tf_efficientnet_lite0"
        self.body = make_grey_body(name)
        if weights == "imagenet":
            load_grey_body(self.body, name, weights)
        layers = [torch.nn.Linear(2, 32), torch.nn.ReLU(), torch.nn.Linear(32, 32), torch.nn.ReLU()]
        self.size = torch.nn.Sequential(*layers)
        self.head = torch.nn.Sequential(torch.nn.Dropout(dropout), torch.nn.Linear(1312, classes))

    def forward(self, images, sizes):
        return self.head(torch.cat([self.body(images), self.size(sizes)], dim=1))


def build(how, classes, px):
    "The model of a variant, and its optimizer."
    augment = {"px": px} | how["augment"]
    if how["body"]:
        net = LiteNet(classes, how["body"], how["dropout"])
        model = PlanktonNet(ImageInput(**augment), net)
        matrices = [value for value in model.parameters() if value.ndim > 1]
        vectors = [value for value in model.parameters() if value.ndim < 2]
        groups = [{"params": matrices, "weight_decay": 0.05}]
        groups += [{"params": vectors, "weight_decay": 0.0}]
        return model, torch.optim.AdamW(groups, lr=how["lr"])
    shape = {name: how[name] for name in ("widths", "blocks", "dropout")}
    model = build_model(classes, **shape, **augment)
    return model, build_optimizer(model, how["lr"], how["decay"])


def train(examples, split, how, seed, options):
    "One training; figures on the validation split."
    defaults = {"decay": 0.1, "dropout": 0.2, "fall": 0.4, "power": 0.0, "body": ""}
    how = RECIPE | defaults | how
    code, classes = examples.table.code.to_numpy(), len(examples.classes)
    sets = {name: examples.squares(split == name, how["size"]) for name in ("train", "val")}
    stages = parse_plan(options.plan or how["plan"])
    torch.manual_seed(seed)
    model, optimizer = build(how, classes, stages[-1][0])
    y, rows = code[split == "train"], np.full((split == "train").sum(), "train")
    sampler = balanced_sampler(y, rows, how["power"]) if how["power"] else None
    batches = loader(sets["train"], how["batch"], shuffle=sampler is None, sampler=sampler)
    factor = trapezoid(len(batches) * sum(n for _, n in stages), len(batches), how["fall"])
    trainer = Trainer(
        model,
        torch.nn.CrossEntropyLoss(label_smoothing=0.05),
        optimizer,
        torch.optim.lr_scheduler.LambdaLR(optimizer, factor),
        schedule_per="step",
        device=options.device,
        precision=options.precision,
        seed=seed,
        progress="none",
    )
    started = time.monotonic()
    fit_stages(trainer, batches, None, stages)
    minutes = (time.monotonic() - started) / 60
    logits = predict_logits(model, sets["val"], device=str(trainer.fabric.device))
    prior = log_prior(y, rows, classes).numpy()
    return judge(logits + how["power"] * prior, code[split == "val"], prior) | {"minutes": minutes}


def judge(logits, y, prior):
    "Figures after a temperature, and with three quarters of the frequencies taken out."
    scale = Temperature().fit(logits, y)
    probs = scale.transform(logits)
    named = probability_metrics(probs, y).value
    even = softmax(adjust_logits(np.log(np.clip(probs, 1e-12, 1)), prior, 0.75), axis=1)
    rare = probability_metrics(even, y).value
    return {
        "accuracy": float(named["accuracy"]),
        "log_loss": float(named["log_loss"]),
        "balanced": float(named["balanced_accuracy"]),
        "balanced_tau": float(rare["balanced_accuracy"]),
        "temperature": float(scale.temperature),
        "n": len(y),
    }


def exploration_split(examples):
    "Train and val within all but the test split of seed 19."
    whole = assign_splits(examples, {"train": 0.85, "val": 0.05, "test": 0.1}, seed=19)
    code, split, rng = examples.table.code.to_numpy(), np.array(whole), np.random.default_rng(7)
    split[whole != "test"] = "train"
    for one in np.unique(code):
        rows = rng.permutation(np.flatnonzero((whole != "test") & (code == one)))
        split[rows[: max(1, round(0.15 * len(rows)))]] = "val"
    return split


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="of classes, as for the lesson")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--names", nargs="*", default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--plan", default="", help="another plan for all, to try the script")
    options = parser.parse_args()
    if unknown := set(options.names) - set(VARIANTS):
        parser.error(f"names: expected some of {list(VARIANTS)}, found {sorted(unknown)}")
    examples = read_examples(options.folder, load_settings().cache_dir)
    split = exploration_split(examples)
    text = options.log.read_text() if options.log.exists() else ""
    done = {(row["name"], row["seed"]) for row in map(json.loads, text.splitlines())}
    for seed in range(options.seeds):
        for name in options.names:
            if (name, seed) in done:
                continue
            row = {"name": name, "seed": seed}
            row |= train(examples, split, VARIANTS[name], seed, options)
            with open(options.log, "a") as out:
                out.write(json.dumps(row) + "\n")
            print(row, flush=True)


if __name__ == "__main__":
    main()
