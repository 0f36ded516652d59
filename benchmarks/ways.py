"""Three ways to train a ResNet18 on the same images from scratch: ours, and fastai's and torchvision's as users do.

folder/train/<class>/ holds the images, folder/valid/<class>/ those that are judged.
"""

import multiprocessing
import time
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastai.callback.core import Callback
from fastai.vision import all as vision
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.models import resnet18
from torchvision.transforms import v2

from benchmarks import loops
from entr_utils import machine
from entr_utils.data import store
from entr_utils.data.augment import IMAGENET_MEAN, IMAGENET_STD
from entr_utils.data.folder import class_of, look_at
from entr_utils.data.pixels import decode
from entr_utils.settings import DROPOUT
from entr_utils.training import step
from entr_utils.training.books import Seconds

BATCH, LR, WORKERS = 32, 1e-2, 2


class Ours:
    """Decoded once, then this project's loop."""

    def __init__(self, folder: Path, size: int, batch: int, epochs: int = 1, precision: str = ""):
        (photos, labels), self.judged = self._decoded(folder / "train", size), self._decoded(folder / "valid", size)
        self.network = loops.build(precision=precision, classes=int(labels.max()) + 1)
        self.batches = loops.batches(photos, batch, labels, epochs)
        self.batch, self.images = batch, len(self.batches) * batch

    @staticmethod
    def _decoded(folder: Path, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        paths = look_at(folder).files
        pixels = np.empty((len(paths), size, size, 3), np.uint8)
        decode(paths, pixels)
        labels = np.unique([*map(class_of, paths)], return_inverse=True)[1]
        return store.place(pixels, np.arange(len(pixels))), torch.from_numpy(labels).to(machine.device())

    def train(self, epochs: int, lr: float, *callbacks: Callback) -> None:
        loops.fit(self.network, self.batches, callbacks, epochs, lr)

    def accuracy(self) -> float:
        guessed = step.predict(self.network, self.judged[0], self.batch).argmax(1)
        return (guessed == self.judged[1]).float().mean().item()


class Fastai:
    """As fastai's documentation has it, with torch's SGD (fastai's own optimisers step in Python and are slower)."""

    def __init__(self, folder: Path, size: int, batch: int, **_):
        augment = vision.aug_transforms(flip_vert=True, max_rotate=0.0, max_lighting=0.0, max_zoom=1.1, max_warp=0.2)
        options = {"item_tfms": vision.Resize(size), "num_workers": WORKERS if torch.cuda.is_available() else 0}
        options |= {"batch_tfms": [*augment, vision.Normalize.from_stats(*vision.imagenet_stats)]}
        loaders = vision.ImageDataLoaders.from_folder(folder, bs=batch, device=machine.device(), **options)
        sgd = partial(vision.OptimWrapper, opt=partial(torch.optim.SGD, momentum=0.9))
        self.learner = vision.vision_learner(loaders, resnet18, pretrained=False, ps=[DROPOUT] * 2, opt_func=sgd)
        self.images = len(loaders.train) * batch

    def train(self, epochs: int, lr: float, *callbacks: Callback) -> None:
        with self.learner.no_bar(), self.learner.no_logging():
            self.learner.fit(epochs, lr, cbs=[loops.TrainOnly(), *callbacks])

    def accuracy(self) -> float:
        with self.learner.no_bar():
            guessed, truth = self.learner.get_preds(dl=self.learner.dls.valid)
        return (guessed.argmax(1) == truth).float().mean().item()


class Torchvision:
    """ImageFolder, transforms in the loader's processes, and a plain loop: float32, channels first."""

    def __init__(self, folder: Path, size: int, batch: int):
        flips = [v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()]
        warps = [v2.RandomPerspective(0.2, p=0.75), v2.RandomAffine(0, scale=(1.0, 1.1))]
        floats = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
        transform = v2.Compose([v2.ToImage(), v2.Resize((size, size)), *flips, *warps, *floats])
        dataset, self.device = ImageFolder(folder / "train", transform), machine.device()
        pinned = self.device.type == "cuda"
        self.loader = DataLoader(dataset, batch, True, num_workers=WORKERS, drop_last=True, pin_memory=pinned)
        self.network = resnet18(num_classes=len(dataset.classes)).to(self.device).train()
        self.optimiser = torch.optim.SGD(self.network.parameters(), LR, momentum=0.9)
        self.images = len(self.loader) * batch

    def train(self, epochs: int, lr: float) -> None:
        for inputs, labels in self.loader:
            self.optimiser.zero_grad()
            loss = functional.cross_entropy(self.network(inputs.to(self.device)), labels.to(self.device))
            loss.backward()
            self.optimiser.step()


WAYS: dict[str, Any] = {"ours": Ours, "fastai": Fastai, "torchvision": Torchvision}


def fork_as_usual() -> None:
    """In a process that was spawned: loaders fork their workers all the same, as they do for a user of Linux."""
    multiprocessing.set_start_method("fork", force=True)


@cache
def built(name: str, folder: Path, size: int) -> tuple[Any, float]:
    """A way with the images in folder/<size>/, and the seconds of setting it up."""
    began = time.perf_counter()
    return WAYS[name](folder / str(size), size, BATCH), time.perf_counter() - began


def epoch(name: str, folder: Path, size: int) -> tuple[float, float]:
    """Train an epoch: milliseconds of an image, and the seconds of setting up."""
    way, prepared = built(name, folder, size)
    return ms_an_image(way), prepared


def ms_an_image(way: Any, *callbacks: Callback) -> float:
    """Milliseconds of an image in an epoch of a way."""
    clock = Seconds()
    clock.start()
    way.train(1, LR, *callbacks)
    return 1e3 * clock.stop("epoch") / way.images
