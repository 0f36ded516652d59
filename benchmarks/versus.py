"""Training speed and accuracy against what a user would write with fastai or with torchvision.

All layers of a ResNet18 train from scratch at batch 32 on the same JPEG files. Each way works in a process of its own:
ours with the settings a run has, the others as a user would start them, in their own precision and memory format.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import small
from benchmarks.told import Told
from entr_utils import locks, synthetic, timing
from entr_utils.execution import KERNEL_ENVIRONMENT

WAYS = ("ours", "fastai", "torchvision")
IMAGES, ROUNDS = {250: 64, 100: 128}, 2  # images an epoch by size in pixels; the first epoch is not counted
CUDA_IMAGES = 2048
DRAWN, CLASSES, LARGEST = 128, 8, 256  # files beyond DRAWN repeat the same pixels


def bfloat16() -> bool:
    """Whether this is a CPU that computes in bfloat16."""
    return timing.device().type == "cpu" and timing.precision() == "bfloat16"


def required(size: int) -> float | None:
    """How many times as fast as fastai's way ours has to be, or None: for other CPUs none was set."""
    if timing.device().type == "cuda":
        return {100: 5.0}.get(size)
    return {250: 3.5, 100: 3.0}.get(size) if bfloat16() else None


class Worker:
    """A process that trains one way; see `ways`."""

    def __init__(self, way: str, folder: Path):
        self.way, self.errors = way, tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.ways", way, str(folder)], env=environment(way), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors)  # fmt: skip

    def epoch(self, size: int) -> dict:
        """Seconds, images, prepare of one epoch at `size`. Raises RuntimeError where the process died."""
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write(f"{size}\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, ValueError):
            self.process.wait()
            self.errors.seek(0)
            lines = [line for line in self.errors.read().splitlines() if line.strip()]
            raise RuntimeError(f"{self.way}: {lines[-1] if lines else 'the process ended'}") from None

    def end(self) -> None:
        """Let it go."""
        self.process.kill()
        self.process.communicate()
        self.errors.close()


def environment(way: str) -> dict[str, str]:
    """Ours has a run's settings of the allocator; the others are started as a user would."""
    kept = {name: value for name, value in os.environ.items() if name not in KERNEL_ENVIRONMENT}
    package = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), kept.get("PYTHONPATH"))))
    kept |= {"PYTHONPATH": package, "PYTHONWARNINGS": "ignore"}
    return kept | KERNEL_ENVIRONMENT if way == "ours" else kept


def write_images(folder: Path, counts: dict[int, int], largest: int = LARGEST) -> None:
    """folder/<size>/train/<class>/<i>.jpg, so many for each size, and one image a class in valid."""
    each = min(DRAWN, max(counts.values())) // CLASSES
    drawn = synthetic.draw("micrographs", CLASSES, each, largest)
    for size, count in counts.items():
        for i in range(count):
            _save(drawn[i % CLASSES * each + i // CLASSES % each], folder / str(size) / "train", i)
        for label in range(CLASSES):
            _save(drawn[label * each], folder / str(size) / "valid", label)


def _save(pixels: np.ndarray, folder: Path, i: int) -> None:
    place = folder / f"class {i % CLASSES}"
    place.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(place / f"{i:04d}.jpg", quality=90)


def measure() -> dict:
    """Rows of speed, and the accuracies by seed."""
    counts = dict.fromkeys(IMAGES, CUDA_IMAGES) if timing.device().type == "cuda" else IMAGES
    with locks.device():
        return {"speed": speed(counts), "accuracy": accuracy()}


def speed(counts: dict[int, int], rounds: int = ROUNDS, ways: tuple[str, ...] = WAYS) -> list[dict]:
    """A row for each size and way: images/s of a training epoch, the ways taking turns."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), counts)
        workers = [Worker(way, Path(folder)) for way in ways]
        told = Told([size**2 * count for size, count in counts.items() for _ in range((1 + rounds) * len(ways))])
        try:
            for size in counts:
                epochs = [[_epoch(worker, size, told) for worker in workers] for _ in range(1 + rounds)]
                rows += [row(size, way, epochs, i) for i, way in enumerate(ways)]
        finally:
            for worker in workers:
                worker.end()
    return rows


def _epoch(worker: Worker, size: int, told: Told) -> dict:
    epoch = worker.epoch(size)
    told(f"{worker.way}, {size} px: {epoch['images'] / epoch['seconds']:.1f} images/s")
    return epoch


def row(size: int, way: str, epochs: list[list[dict]], i: int) -> dict:
    """Of the i-th way; ours is the first. Epochs by round, then way; the first round is left out."""
    rates = np.array([[epoch["images"] / epoch["seconds"] for epoch in turn] for turn in epochs[1:]])
    ratios, wanted = rates[:, 0] / rates[:, i], required(size) if way == "fastai" else None
    return {
        "size": size, "way": way, "images": epochs[0][i]["images"], "images_per_second": float(np.median(rates[:, i])),
        "low": float(rates[:, i].min()), "high": float(rates[:, i].max()), "ratio": float(np.median(ratios)),
        "ratio_low": float(ratios.min()), "ratio_high": float(ratios.max()), "rounds": len(rates),
        "prepare_seconds": epochs[0][i]["prepare"], "required": wanted,
        "met": None if wanted is None else bool(np.median(ratios) >= wanted),
    }  # fmt: skip


def accuracy(seeds: tuple[int, ...] = small.SEEDS, epochs: int = small.EPOCHS) -> dict:
    """Ours against fastai's way on the small problem, seed by seed."""
    told, first, second = Told([1.0] * len(seeds)), [], []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            first.append(small.ours(seed, epochs=epochs))
            second.append(small.of_fastai(seed, Path(folder), epochs))
        told(f"accuracy, seed {seed}: ours {first[-1]:.3f}, fastai {second[-1]:.3f}")
    return {"precision": timing.precision(), **small.compare(first, second)}
