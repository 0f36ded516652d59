"""A problem that trains in seconds and on which a network is neither right nor wrong throughout: accuracies to compare.

Images drawn by formula, networks from scratch. Two ways of training it are compared seed by seed: a seed fixes the
images, and it starts every random choice, so a difference is the way's and chance's, not the images'.
"""

import math
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from fastai.callback.core import Callback
from PIL import Image

from entr_utils import images, learning, networks, synthetic, timing
from entr_utils.augmentation import make_augment
from entr_utils.statistics import t_interval

SEEDS = (0, 1, 2, 3, 4)
LOOK, CLASSES, TRAIN, TEST, SIZE = "micrographs", 7, 24, 40, 64  # images a class, pixels
EPOCHS, BATCH, LR, DROPOUT = 6, 16, 5e-3, 0.25


class Cosine(Callback):
    """The learning rate of all groups falls from LR to 0 along a cosine: the same for every way of training."""

    def before_batch(self):
        self.opt.set_hyper("lr", LR * (1 + math.cos(math.pi * self.pct_train)) / 2)


@cache
def problem(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images (n, SIZE, SIZE, 3) uint8, labels (n,), and which of them train (n,) bool."""
    each = TRAIN + TEST
    pixels = synthetic.draw(LOOK, CLASSES, each, SIZE, seed=seed)
    return pixels, np.repeat(np.arange(CLASSES), each), np.arange(len(pixels)) % each < TRAIN


def write(seed: int, folder: Path) -> Path:
    """The images of a seed as files: folder/train/<class>/<i>.png and folder/valid/<class>/<i>.png."""
    for i, (pixels, label, trains) in enumerate(zip(*problem(seed), strict=True)):
        place = folder / ("train" if trains else "valid") / f"class {label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{i:03d}.png")
    return folder


def ours(seed: int, precision: str = "", epochs: int = EPOCHS) -> float:
    """Accuracy of the test images after training with this project's loop; "" is the device's own precision."""
    pixels, labels, trains = problem(seed)
    photos, truth = (torch.from_numpy(values).to(timing.device()) for values in (pixels, labels))
    split = torch.from_numpy(trains).to(timing.device())
    torch.manual_seed(seed)
    network = networks.build("resnet18", "none", CLASSES, DROPOUT, timing.precision(precision)).to(timing.device())
    batches = images.Batches(photos[split], truth[split], BATCH, seed, make_augment("eight"))
    learner = learning.make_learner(network, batches, [Cosine(), NextOrder(batches)])
    with learner.no_bar(), learner.no_logging():
        learner.fit(epochs)
    guessed = learning.predict(network, photos[~split], BATCH).argmax(1)
    return (guessed == truth[~split]).float().mean().item()


class NextOrder(Callback):
    """Every epoch has an order of its own, as in a run."""

    def __init__(self, batches: images.Batches):
        self.batches = batches

    def before_epoch(self):
        self.batches.epoch = self.epoch


def of_fastai(seed: int, folder: Path, epochs: int = EPOCHS) -> float:
    """The same problem from its files, as a user of fastai would train it: fastai's loaders, learner and precision."""
    from fastai.torch_core import set_seed
    from fastai.vision.all import OptimWrapper, resnet18, vision_learner

    from benchmarks.ways import fastai_loaders

    set_seed(seed)
    loaders = fastai_loaders(write(seed, folder), SIZE, BATCH, num_workers=0)
    sgd = partial(OptimWrapper, opt=partial(torch.optim.SGD, momentum=0.9))
    learner = vision_learner(loaders, resnet18, pretrained=False, opt_func=sgd, ps=[DROPOUT, DROPOUT], cbs=[Cosine()])
    with learner.no_bar(), learner.no_logging():
        learner.fit(epochs, LR)
        guessed, truth = learner.get_preds(dl=loaders.valid)
    return (guessed.argmax(1) == truth).float().mean().item()


def compare(first: list[float], second: list[float]) -> dict:
    """Accuracies by seed, their means, and the mean of the paired differences first - second with its 95% interval."""
    differences = np.array(first) - np.array(second)
    low, high = t_interval(differences)
    return {
        "first": first, "second": second, "first_mean": float(np.mean(first)), "second_mean": float(np.mean(second)),
        "difference": float(differences.mean()), "low": low, "high": high, "n": len(differences),
        "n_test": CLASSES * TEST, "chance": 1 / CLASSES,
    }  # fmt: skip
