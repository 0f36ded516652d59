"""The study `learner`: GrowImages in fastai's own recipe, against full size, and against fewer epochs at full size.

    python -m benchmarks.learner DATA=folder WEIGHTS=path DATASETS="bees steel" SEEDS="0 1 2 3 4"

`vision_learner(...).fine_tune(10)` in three arms: no_increase; gradual, its two fits as one course; short, at full size
for as many epochs as have gradual's pixels. Folds, images and size are those of PROFILE (compact). Every run is kept in
results/learner.json as it ends; what is there is not done again.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fastai.callback import progress, schedule  # noqa: F401 - give a Learner no_bar and fine_tune
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import IndexSplitter
from fastai.metrics import accuracy
from fastai.torch_core import set_seed
from fastai.vision.augment import aug_transforms
from fastai.vision.data import ImageBlock
from fastai.vision.learner import vision_learner
from torchvision.models import resnet18

from entr_utils import cli, machine, networks
from entr_utils.data import split, store
from entr_utils.grow import GrowImages, share
from entr_utils.regimes import parse
from entr_utils.results.compare import posterior
from entr_utils.settings import Cell
from entr_utils.util import read_json, write_json

EPOCHS, FROZEN, BATCH = 10, 1, 64
ARMS = ("no_increase", "gradual", "short")


def short_epochs(epochs: int = EPOCHS) -> int:
    """Epochs at full size, beside the frozen one, that see as many pixels as gradual does in all of its own."""
    seen = [share(parse("gradual"), (i + 0.5) / 1000) ** 2 for i in range(1000)]
    return max(1, round(float(np.mean(seen)) * (epochs + FROZEN)) - FROZEN)


def run(cell: Cell, arm: str, seed: int, epochs: int = EPOCHS) -> dict:
    """One training of a checked cell's images; accuracy on the judged ones and what GrowImages did."""
    images = store.load(cell)
    fold = split.assign(images, seed)
    set_seed(seed, reproducible=True)
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock(vocab=images.classes)),
        get_x=lambda i: images.pixels[i],
        get_y=lambda i: images.classes[images.labels[i]],
        splitter=IndexSplitter(fold.validation.tolist()),
        batch_tfms=aug_transforms(),
    )
    loaders = block.dataloaders(range(len(images.names)), bs=BATCH, num_workers=0)
    learn = vision_learner(loaders, resnet18, pretrained=False, metrics=accuracy)
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
    return row | {"seconds": time.perf_counter() - began, "sizes": grow[0].sizes if grow else []}


def differences(rows: Sequence[dict], dataset: str, arm: str, against: str) -> dict:
    """Points of an arm against another on the folds that both have, with the corrected interval (`compare`)."""
    by = {(row["arm"], row["seed"]): row for row in rows if row["dataset"] == dataset}
    pairs = [(by[arm, seed], by[against, seed]) for name, seed in by if name == arm and (against, seed) in by]
    values = [100 * (one["accuracy"] - other["accuracy"]) for one, other in pairs]
    if len(values) < 2:
        return {"n": len(values)}
    found = posterior(values, float(np.mean([one["n_val"] / one["n_train"] for one, _ in pairs])))
    low, high = found.interval()
    return {"n": len(values), "points": found.mean, "low": low, "high": high}


def command(words: Sequence[str]) -> int:
    """Train what is missing, fold by fold, and print what there is."""
    usual = {"PROFILE": "compact", "DATASETS": "bees steel", "NETWORKS": "resnet18", "SEEDS": "0 1 2 3 4"}
    cells = cli.matrix({**usual, **cli.read(words, cli.MATRIX), "REGIMES": "no_increase"})
    path = Path(cells[0].results) / "learner.json"
    known = read_json(path) if path.exists() else {"runs": []}
    for seed in cells[0].seeds:
        for cell in (one.checked() for one in cells):
            for arm in ARMS:
                done = {(row["dataset"], row["arm"], row["seed"]) for row in known["runs"]}
                if (cell.dataset, arm, seed) not in done:
                    row = run(cell, arm, seed) | {"environment": machine.environment()}
                    known["runs"].append(row | {"weights": Path(cell.weights).name})
                    write_json(known, path)
                    print(f"  {cell.dataset}, {arm}, fold {seed}: {row['accuracy']:.3f}", flush=True)
    for cell in cells:
        for arm, against in (("gradual", "no_increase"), ("short", "no_increase"), ("gradual", "short")):
            print(
                f"  {cell.dataset}, {arm} against {against}: {differences(known['runs'], cell.dataset, arm, against)}"
            )
    return 0


if __name__ == "__main__":
    cli.start("benchmarks.learner", command)
