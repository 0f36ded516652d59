"""The study `learner`: GrowImages in fastai's own recipe, against full size, and against fewer epochs at full size.

    python -m benchmarks.learner DATA=folder WEIGHTS=path DATASETS="bees steel" SEEDS="0 1 2 3 4"

`vision_learner(...).fine_tune(10)` in three arms: no_increase; gradual, its two fits as one course; short, at full size
for as many epochs as have gradual's pixels. Folds, images and size are those of PROFILE (compact). Every run is kept in
results/learner.json as it ends; what is there is not done again.
"""

import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
from fastai.vision import all as vision
from torchvision.models import resnet18

from benchmarks.bench import read
from benchmarks.loops import points
from entr_utils import cli, machine, networks
from entr_utils.data import split, store
from entr_utils.grow import GrowImages, share
from entr_utils.regimes import parse
from entr_utils.settings import Cell
from entr_utils.util import write_json

EPOCHS, FROZEN, BATCH = 10, 1, 64
ARMS = ("no_increase", "gradual", "short")
USUAL = {"PROFILE": "compact", "DATASETS": "bees steel", "NETWORKS": "resnet18", "SEEDS": "0 1 2 3 4"}


def short_epochs(epochs: int = EPOCHS) -> int:
    """Epochs at full size, beside the frozen one, that see as many pixels as gradual does in all of its own."""
    seen = [share(parse("gradual"), (i + 0.5) / 1000) ** 2 for i in range(1000)]
    return max(1, round(float(np.mean(seen)) * (epochs + FROZEN)) - FROZEN)


def run(cell: Cell, arm: str, seed: int, epochs: int = EPOCHS) -> dict:
    """One training of a checked cell's images: its row in learner.json."""
    images = store.load(cell)
    fold = split.assign(images, seed)
    vision.set_seed(seed, reproducible=True)
    block = vision.DataBlock(
        blocks=(vision.ImageBlock, vision.CategoryBlock(vocab=images.classes)),
        get_x=lambda i: images.pixels[i],
        get_y=lambda i: images.classes[images.labels[i]],
        splitter=vision.IndexSplitter(fold.validation.tolist()),
        batch_tfms=vision.aug_transforms(),
    )
    loaders = block.dataloaders(range(len(images.names)), bs=BATCH, num_workers=0)
    learn = vision.vision_learner(loaders, resnet18, pretrained=False, metrics=vision.accuracy)
    body = networks.build("resnet18", cell.weights, len(images.classes), "float32").body
    learn.model[0].load_state_dict(body.state_dict())
    epochs = short_epochs(epochs) if arm == "short" else epochs
    grow = [GrowImages("gradual", epochs=epochs + FROZEN)] if arm == "gradual" else []
    began = time.perf_counter()
    with learn.no_bar(), learn.no_logging():
        learn.fine_tune(epochs, freeze_epochs=FROZEN, cbs=grow)
        right = float(learn.validate()[1])
    row = {"dataset": cell.dataset, "arm": arm, "seed": seed, "epochs": epochs, "accuracy": right}
    row |= {"n_train": len(fold.training), "n_val": len(fold.validation), "contents": images.source.contents}
    row |= {"seconds": time.perf_counter() - began, "sizes": grow[0].sizes if grow else []}
    return row | {"environment": machine.environment(), "weights": Path(cell.weights).name}


def differences(rows: Sequence[dict], dataset: str, arm: str, against: str) -> dict:
    """Points of an arm against another on the folds that both have, with the corrected interval (`compare`)."""
    by = {(row["arm"], row["seed"]): row for row in rows if row["dataset"] == dataset}
    pairs = [(by[arm, seed], by[against, seed]) for name, seed in by if name == arm and (against, seed) in by]
    if len(pairs) < 2:
        return {"n": len(pairs)}
    first, second = zip(*([one["accuracy"] for one in pair] for pair in pairs), strict=True)
    return {"n": len(pairs)} | points(first, second, np.mean([one["n_val"] / one["n_train"] for one, _ in pairs]))


def command(words: Sequence[str]) -> int:
    cells = [one.checked() for one in cli.matrix({**USUAL, **cli.read(words, cli.MATRIX), "REGIMES": "no_increase"})]
    folder = Path(cells[0].results)
    known = {"runs": []} | read(folder, "learner.json")
    done = {(row["dataset"], row["arm"], row["seed"]) for row in known["runs"]}
    for seed, cell, arm in product(cells[0].seeds, cells, ARMS):
        if (cell.dataset, arm, seed) not in done:
            known["runs"].append(row := run(cell, arm, seed))
            write_json(known, folder / "learner.json")
            print(f"  {cell.dataset}, {arm}, fold {seed}: {row['accuracy']:.3f}", flush=True)
    pairs = (("gradual", "no_increase"), ("short", "no_increase"), ("gradual", "short"))
    for cell, (arm, against) in product(cells, pairs):
        print(f"  {cell.dataset}, {arm} against {against}: {differences(known['runs'], cell.dataset, arm, against)}")
    return 0


if __name__ == "__main__":
    cli.start("benchmarks.learner", command)
