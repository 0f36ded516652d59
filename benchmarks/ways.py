"""Three ways to train the same images for one epoch: this project's, fastai's and torchvision's, as users write them.

    python -m benchmarks.ways fastai FOLDER

A process for each way, that trains an epoch at the size (pixels) it reads as a line, answers with one line of JSON
(seconds, images, prepare), and waits for the next: so the ways can take turns without sharing a process's settings.
FOLDER/<size>/train/<class>/ holds the images, FOLDER/<size>/valid/ what fastai needs to be there.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from fastai.callback.core import Callback, CancelValidException
from torch.nn import functional

from entr_utils import datasets, images, learning, networks, timing
from entr_utils.augmentation import IMAGENET_MEAN, IMAGENET_STD, make_augment

BATCH, LR, DROPOUT, WORKERS = 32, 1e-2, 0.5, 2
Epoch = Callable[[], tuple[float, int]]  # trains one; its seconds and images


class TrainingTime(Callback):
    """Seconds of the last epoch's training; nothing is validated."""

    def __init__(self) -> None:
        self.clock = timing.Clock()

    def before_train(self):
        self.clock.start()

    def after_train(self):
        self.took = self.clock.stop("train")

    def before_validate(self):
        raise CancelValidException


def ours(folder: Path, size: int) -> Epoch:
    """Decoded once, then this project's loop."""
    paths = datasets.list_images(folder / "train")
    classes = sorted({path.parent.name for path in paths})
    photos = images.place(images.decode(paths, size)[0], np.arange(len(paths)))
    labels = torch.tensor([classes.index(path.parent.name) for path in paths]).to(timing.device())
    network = networks.build("resnet18", "none", len(classes), DROPOUT, timing.precision()).to(timing.device())
    batches = images.Batches(photos, labels, BATCH, 0, make_augment("eight"))
    return _epochs_of(learning.make_learner(network, batches, []), len(batches) * batches.batch)


def _epochs_of(learner, seen: int) -> Epoch:
    """Epochs of a fastai Learner."""
    timed = TrainingTime()
    learner.add_cb(timed)

    def epoch() -> tuple[float, int]:
        with learner.no_bar(), learner.no_logging():
            learner.fit(1, lr=LR)
        return timed.took, seen

    return epoch


def fastai_loaders(folder: Path, size: int, batch: int, **options):
    """fastai's loaders with the augmentation of a run, from folder/train and folder/valid."""
    from fastai.vision.all import ImageDataLoaders, Normalize, Resize, aug_transforms, imagenet_stats

    augment = aug_transforms(flip_vert=True, max_rotate=0.0, max_lighting=0.0, max_zoom=1.1, max_warp=0.2)
    return ImageDataLoaders.from_folder(
        folder, item_tfms=Resize(size), batch_tfms=[*augment, Normalize.from_stats(*imagenet_stats)], bs=batch,
        device=timing.device(), **options)  # fmt: skip


def fastai(folder: Path, size: int) -> Epoch:
    """As fastai's documentation has it, with torch's SGD (fastai's own optimisers step in Python and are slower)."""
    from fastai.vision.all import OptimWrapper, resnet18, vision_learner

    options = {"num_workers": WORKERS} if torch.cuda.is_available() else {}
    loaders = fastai_loaders(folder, size, BATCH, **options)
    sgd = partial(OptimWrapper, opt=partial(torch.optim.SGD, momentum=0.9))
    learner = vision_learner(loaders, resnet18, pretrained=False, ps=[DROPOUT, DROPOUT], opt_func=sgd)
    return _epochs_of(learner, len(loaders.train) * BATCH)


def torchvision(folder: Path, size: int) -> Epoch:
    """ImageFolder, transforms in the loader's processes, and a plain loop: float32, channels first."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.models import resnet18
    from torchvision.transforms import v2

    transform = v2.Compose([
        v2.ToImage(), v2.Resize((size, size)), v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(),
        v2.RandomPerspective(0.2, p=0.75), v2.RandomAffine(0, scale=(1.0, 1.1)), v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
    ])  # fmt: skip
    dataset, device = ImageFolder(folder / "train", transform), timing.device()
    loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=WORKERS, drop_last=True,
                        pin_memory=device.type == "cuda")  # fmt: skip
    network = resnet18(num_classes=len(dataset.classes)).to(device).train()
    optimiser, clock = torch.optim.SGD(network.parameters(), LR, momentum=0.9), timing.Clock()

    def epoch() -> tuple[float, int]:
        clock.start()
        for inputs, labels in loader:
            optimiser.zero_grad()
            loss = functional.cross_entropy(network(inputs.to(device)), labels.to(device))
            loss.backward()
            optimiser.step()
        return clock.stop("train"), len(loader) * BATCH

    return epoch


WAYS = {"ours": ours, "fastai": fastai, "torchvision": torchvision}


def main(way: str, folder: str) -> None:
    """Answer each line of the standard input until it ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is not an answer
    built: dict[int, tuple[Epoch, float]] = {}
    for size in map(int, sys.stdin):
        if size not in built:
            began = time.perf_counter()
            built[size] = WAYS[way](Path(folder) / str(size), size), time.perf_counter() - began
        epoch, prepare = built[size]
        seconds, seen = epoch()
        print(json.dumps({"seconds": seconds, "images": seen, "prepare": prepare}), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
