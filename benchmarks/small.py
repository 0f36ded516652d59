"""A problem that trains in seconds and on which a network is neither right nor wrong throughout: accuracies to compare.

Images drawn by formula, networks from scratch. Ways of training it are compared seed by seed: a seed fixes the images,
and it starts every random choice, so a difference is the way's and chance's, not the images'.
"""

import math
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from fastai.callback.core import Callback
from fastai.torch_core import set_seed
from PIL import Image

from benchmarks.cases import write
from benchmarks.turns import paired
from entr_utils.data import synthetic

SEEDS = (0, 1, 2, 3, 4)
LOOK, CLASSES, TRAIN, TEST, SIZE = "micrographs", 7, 24, 40, 64  # images a class, pixels
EPOCHS, BATCH, LR = 6, 16, 5e-3


class Cosine(Callback):
    """The learning rate of all groups falls from LR to 0 along a cosine: the same for every way of training."""

    def before_batch(self):
        self.opt.set_hyper("lr", LR * (1 + math.cos(math.pi * self.pct_train)) / 2)


@cache
def problem(seed: int) -> dict[str, np.ndarray]:
    """(SIZE, SIZE, 3) uint8 images by their file names, train/<class>/<i>.png and valid/<class>/<i>.png."""
    each = TRAIN + TEST
    drawn = enumerate(synthetic.draw(LOOK, CLASSES, each, SIZE, seed=seed))
    return {f"{'train' if i % each < TRAIN else 'valid'}/{i // each}/{i:03d}.png": pixels for i, pixels in drawn}


def accuracy(way: Callable, seed: int, epochs: int = EPOCHS, **options) -> float:
    """Of the test images after training in a way; `options` are the way's."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), {name: Image.fromarray(pixels).save for name, pixels in problem(seed).items()})
        set_seed(seed)
        trained = way(Path(folder), SIZE, BATCH, epochs=epochs, **options)
        trained.train(epochs, LR, Cosine())
        return trained.accuracy()


def compare(name: str, first: tuple, second: tuple, seeds: tuple[int, ...] = SEEDS, epochs: int = EPOCHS) -> dict:
    """Two ways, each with its options, seed by seed; see `turns.paired`."""
    found = [[accuracy(way, seed, epochs, **options) for seed in seeds] for way, options in (first, second)]
    return {"ways": name, "judged_images": CLASSES * TEST, "chance": 1 / CLASSES} | paired(*found)
