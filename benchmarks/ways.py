"""Three ways to train a ResNet18 on the same images from scratch: ours, and fastai's and torchvision's as users do; the
parts `versus`, `grown` and `precision`.

folder/train/<class>/ holds the images, folder/valid/<class>/ those that are judged. Accuracies are compared on a small
problem, which trains in seconds and on which a network is neither right nor wrong throughout: images drawn by formula,
seed by seed. A seed fixes the images and starts every random choice, so a difference is the way's and chance's.
"""

import contextlib
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from fastai.callback.core import Callback
from fastai.torch_core import set_seed
from fastai.vision import all as vision
from PIL import Image
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.models import resnet18
from torchvision.transforms import v2

from benchmarks import loops
from benchmarks.loops import in_turns, judged, points
from entr_utils import machine
from entr_utils.data import store, synthetic
from entr_utils.data.augment import IMAGENET_MEAN, IMAGENET_STD
from entr_utils.data.folder import class_of, look_at
from entr_utils.data.pixels import decode
from entr_utils.grow import GrowImages
from entr_utils.notebook import KERNEL_ENVIRONMENT
from entr_utils.settings import DROPOUT
from entr_utils.training import step

BATCH, LR, WORKERS = 32, 1e-2, 2
LARGEST = 256  # pixels of the files
GROWN = {"loader": (64, True), "computing": (160, False)}  # what binds: pixels, whether the body is frozen
FULL, REGIMES = "full size", ("gradual", "stepwise")
SEEDS, SMALL_LR, SMALL_BATCH = (0, 1, 2, 3, 4), 5e-3, 16  # of the small problem
CLASSES, TRAIN, TEST, SIZE = 7, 24, 40, 64  # images a class, pixels


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


def write_images(folder: Path, classes: int, train: int, valid: int, size: int, suffix: str, seed: int = 0) -> None:
    """folder/train/<class>/<i>.<suffix> and folder/valid/...: so many images a class, drawn at `size` pixels."""
    for i, pixels in enumerate(synthetic.draw("micrographs", classes, train + valid, size, seed=seed)):
        label, number = divmod(i, train + valid)
        path = folder / ("train" if number < train else "valid") / str(label) / f"{number:04d}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=90)


def ms_an_image(way: Any, *callbacks: Callback) -> float:
    """Milliseconds of an image in an epoch of a way."""
    return loops.ms(partial(way.train, 1, LR, *callbacks)) / way.images


@cache
def built(name: str, folder: Path, size: int) -> tuple[Any, float]:
    """A way, and the seconds of setting it up."""
    began = time.perf_counter()
    return WAYS[name](folder, size, BATCH), time.perf_counter() - began


def epoch(name: str, folder: Path, size: int) -> tuple[float, float]:
    """Train an epoch of a way that is set up once: milliseconds of an image, and the seconds of setting up."""
    way, seconds = built(name, folder, size)
    return ms_an_image(way), seconds


def fork_as_usual() -> None:
    """In a process that was spawned: loaders fork their workers all the same, as they do for a user of Linux."""
    multiprocessing.set_start_method("fork", force=True)


def worker(way: str) -> ProcessPoolExecutor:
    """A process of its own; ours has a run's settings of the allocator, the others are started as a user would."""
    kept = {name: value for name, value in os.environ.items() if name not in KERNEL_ENVIRONMENT}
    kept |= {"PYTHONWARNINGS": "ignore"} | (KERNEL_ENVIRONMENT if way == "ours" else {})
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), fork_as_usual)
    with patch.dict(os.environ, kept, clear=True):
        pool.submit(os.getpid).result()  # it starts, and keeps this environment
    return pool


def measure_versus(asked: dict[str, str]) -> dict:
    """Rows of speed and of accuracy, against what a user would write. Each way works in a process of its own, with its
    own precision and memory format; its first epoch is not counted."""
    images, least = 128, {250: 3.5, 100: 3.0} if machine.precision() == "bfloat16" else {}  # by size in pixels
    if loops.on_cuda():
        images, least = 2048, {100: 5.0}
    rows, set_up = [], {}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        write_images(folder := Path(name), 8, images // 8, 1, LARGEST, "jpg")
        pools = {way: stack.enter_context(worker(way)) for way in WAYS}

        def there(way: str, size: int) -> float:
            milliseconds, set_up[way] = pools[way].submit(epoch, way, folder, size).result()
            return milliseconds

        for size in (250, 100):
            actions = {way: partial(there, way, size) for way in pools}
            for row in in_turns("way", actions, 2, skipped=1, size=size, images=images):
                way, required = row["way"], least.get(size) if row["way"] == "fastai" else None
                checks = judged(f"{way}'s time to ours, {size} px", row["ratio"], required)
                rows.append(row | {"set_up_s": set_up[way], "judged": checks})
    return {"speed": rows, "accuracy": [compare("ours, fastai", (Ours, {}), (Fastai, {}))]}


def measure_grown(asked: dict[str, str]) -> dict:
    """GrowImages in a fastai Learner, by what binds and by regime: milliseconds of an image, JPEG files decoded."""
    return {"learner": [row for case in GROWN for row in grown(case)]}


def grown(case: str, images: int = 224, rounds: int = 3) -> list[dict]:
    """A row for full size and for each regime, whole epochs in turn; an epoch is a course of its own, and in the seven
    steps of 224 images gradual shows all of its sizes."""
    size, frozen = GROWN[case]
    with tempfile.TemporaryDirectory() as name:
        write_images(Path(name), 8, images // 8, 1, LARGEST, "jpg")
        way = Fastai(Path(name), size, BATCH)
        if frozen:
            way.learner.freeze()
        actions = {FULL: partial(ms_an_image, way)}
        actions |= {regime: partial(ms_an_image, way, GrowImages(regime)) for regime in REGIMES}
        return in_turns("regime", actions, rounds, skipped=1, binds=case, size=size, images=images)


def measure_precision(asked: dict[str, str]) -> dict:
    """The precision that a run takes by itself against float32: rows of speed, and of accuracy. Where it is float32 the
    processor has no other; then bfloat16 is measured, emulated: what runs are spared there."""
    usual = machine.precision()
    other = "bfloat16" if usual == "float32" else usual
    first, second = ((Ours, {"precision": name}) for name in (other, "float32"))
    return {"speed": precisions(other), "accuracy": [compare(f"{other}, float32", first, second)]}


def precisions(other: str, size: int = 0, rounds: int = 3, seconds: float = 1.0) -> list[dict]:
    """A row for each precision: milliseconds of an image, all layers of a ResNet18 training."""
    size, batch = size or (250 if loops.on_cuda() else 100), loops.batch_size()
    shown = loops.batches(loops.random_images(2 * batch, size), batch)
    networks = {name: loops.build(precision=name) for name in ("float32", other)}
    actions = {name: partial(loops.ms_per_image, network, shown, seconds, 2) for name, network in networks.items()}
    rows, real = in_turns("precision", actions, rounds, size=size, batch=batch), ("float32", machine.precision())
    return [row | {"emulated": row["precision"] not in real} for row in rows]


class Cosine(Callback):
    """The learning rate of all groups falls to 0 along a cosine: the same for every way of training."""

    def before_batch(self):
        self.opt.set_hyper("lr", SMALL_LR * (1 + math.cos(math.pi * self.pct_train)) / 2)


def accuracy(way: Callable, seed: int, epochs: int = 6, **options) -> float:
    """Of the test images of the small problem after training in a way; `options` are the way's."""
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), CLASSES, TRAIN, TEST, SIZE, "png", seed)
        set_seed(seed)
        trained = way(Path(folder), SIZE, SMALL_BATCH, epochs=epochs, **options)
        trained.train(epochs, SMALL_LR, Cosine())
        return trained.accuracy()


def compare(name: str, first: tuple, second: tuple) -> dict:
    """The accuracies of two ways, each with its options, seed by seed, and `points`."""
    one, other = ([accuracy(way, seed, **options) for seed in SEEDS] for way, options in (first, second))
    about = {"ways": name, "seeds": len(SEEDS), "judged_images": CLASSES * TEST, "chance": 1 / CLASSES}
    about |= {"first": float(np.mean(one)), "second": float(np.mean(other)), "all": [one, other]}
    return about | points(one, other)
