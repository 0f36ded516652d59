"""Training speed and accuracy against what a user would write with fastai or with torchvision.

All layers of a ResNet18 train from scratch at batch 32 on the same JPEG files. Each way works in a process of its own:
ours with the settings a run has, the others as a user would start them, in their own precision and memory format.
"""

import contextlib
import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from unittest.mock import patch

from PIL import Image

from benchmarks import small, ways
from benchmarks.cases import write
from benchmarks.loops import on_cuda
from benchmarks.turns import figures, in_turns, judged
from entr_utils import machine
from entr_utils.data import synthetic
from entr_utils.notebook import KERNEL_ENVIRONMENT

IMAGES, ROUNDS = {250: 64, 100: 128}, 2  # images an epoch by size in pixels
CUDA_IMAGES = 2048
DRAWN, CLASSES, LARGEST = 128, 8, 256  # files beyond DRAWN repeat the same pixels


def required(size: int) -> float | None:
    """How many times as fast as fastai's way ours has to be, or None: for a CPU without bfloat16 none was set."""
    if on_cuda():
        return {100: 5.0}.get(size)
    return {250: 3.5, 100: 3.0}.get(size) if machine.precision() == "bfloat16" else None


def environment(way: str) -> dict[str, str]:
    """Ours has a run's settings of the allocator; the others are started as a user would."""
    kept = {name: value for name, value in os.environ.items() if name not in KERNEL_ENVIRONMENT}
    return kept | {"PYTHONWARNINGS": "ignore"} | (KERNEL_ENVIRONMENT if way == "ours" else {})


@contextlib.contextmanager
def workers(names: Sequence[str]) -> Iterator[dict[str, ProcessPoolExecutor]]:
    """A process for each way, by its name."""
    spawn, started = multiprocessing.get_context("spawn"), {}
    with contextlib.ExitStack() as stack:
        for name in names:
            started[name] = stack.enter_context(ProcessPoolExecutor(1, spawn))
            with patch.dict(os.environ, environment(name), clear=True):
                started[name].submit(ways.fork_as_usual).result()  # it starts, and keeps this environment
        yield started


def write_images(folder: Path, counts: dict[int, int], largest: int = LARGEST) -> None:
    """folder/<size>/train/<class>/<i>.jpg, so many for each size, and one image a class in valid."""
    each = min(DRAWN, max(counts.values())) // CLASSES
    drawn = [Image.fromarray(pixels) for pixels in synthetic.draw("micrographs", CLASSES, each, largest)]
    for size, count in counts.items():
        for part, number in (("train", count), ("valid", CLASSES)):
            chosen = [drawn[i % CLASSES * each + i // CLASSES % each] for i in range(number)]
            names = [f"{size}/{part}/{i % CLASSES}/{i:04d}.jpg" for i in range(number)]
            write(folder, {name: partial(image.save, quality=90) for name, image in zip(names, chosen, strict=True)})


def measure(asked: dict[str, str]) -> dict:
    """Rows of speed, and of accuracy."""
    counts = dict.fromkeys(IMAGES, CUDA_IMAGES) if on_cuda() else IMAGES
    return {"speed": speed(counts), "accuracy": [small.compare("ours, fastai", (ways.Ours, {}), (ways.Fastai, {}))]}


def speed(counts: dict[int, int], rounds: int = ROUNDS, names: Sequence[str] = tuple(ways.WAYS)) -> list[dict]:
    """A row for each size and way: milliseconds of an image, `ratio` to ours; the first epoch is not counted."""
    rows = []
    with tempfile.TemporaryDirectory() as name, workers(names) as started:
        write_images(folder := Path(name), counts)
        for size, count in counts.items():
            prepared: dict[str, float] = {}

            def action(way: str, size: int, prepared: dict[str, float]) -> float:
                milliseconds, prepared[way] = started[way].submit(ways.epoch, way, folder, size).result()
                return milliseconds

            found = in_turns({way: partial(action, way, size, prepared) for way in names}, rounds, skipped=1)
            for way, values in found.items():
                row: dict = {"size": size, "way": way, "images": count, "prepared": prepared[way]}
                row |= figures(values, found["ours"])
                least = required(size) if way == "fastai" else None
                rows.append(row | {"judged": judged(f"{way}'s time to ours, {size} px", row["ratio"], least)})
    return rows
