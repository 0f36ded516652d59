"""What a set of ImageNet's size would take: images from a large mapped file, JPEG decoded per batch, hours of training.

The arithmetic is `imagenet`; docs/SCALE.md names its assumptions.
"""

import io
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from PIL import Image

from benchmarks import loops
from benchmarks.turns import figures, in_turns, judged
from entr_utils.data import store, synthetic
from entr_utils.machine import of_kernel
from entr_utils.regimes import parse
from entr_utils.regimes.plan import cost, first_steps, make_plan
from entr_utils.settings import PROFILES
from entr_utils.training.run import counter

COUNTS, SIZE, BATCH = (10_000, 100_000), 96, 64  # images, pixels
FLAT, ANONYMOUS = 0.10, 2.0  # the time of one may differ by so much; GiB of memory that no file stands behind
JPEGS, JPEG_SIZE, QUALITY = 256, 256, 88
IMAGES, JUDGED, PIXELS, STEPS = 1_281_167, 50_000, 224, ("resnet18", "resnet50")  # ImageNet (ILSVRC 2012)
GPUS = (1, 8)
ROUNDS = 5


def measure(asked: dict[str, str]) -> dict:
    """Rows by number of images, by where they come from, by network and number of GPUs."""
    mapped, loaded = by_count(), by_source()
    batch = loops.batch_size()
    shown = loops.batches(loops.random_images(4 * batch, PIXELS), batch)
    steps = {name: loops.ms_per_image(loops.build(name), shown, 2.0, 3) for name in STEPS}
    return {"mapped": mapped, "sources": loaded, "imagenet": imagenet(steps, loaded)}


def by_count(counts: tuple[int, ...] = COUNTS, size: int = SIZE, rounds: int = ROUNDS, batches: int = 50) -> list[dict]:
    """Batches in random order out of mapped files that the system keeps in memory: milliseconds of an image."""
    pool = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3), np.uint8)

    def fill(room: np.ndarray) -> None:
        for begin in range(0, len(room), BATCH):
            room[begin : begin + BATCH] = pool[: len(room) - begin]

    files = {n: store.cached(f"scale-{n}-{size}", n, size, fill)[0] for n in counts}
    for file in files.values():
        file.sum()  # read once: cached
    rng = np.random.default_rng(0)
    found = in_turns({n: partial(_ms, partial(_mapped, file, rng), batches) for n, file in files.items()}, rounds, 1)
    rows = []
    for n, values in found.items():
        row: dict = {"images": n, "size": size, "anonymous": anonymous()} | figures(values, found[counts[0]])
        same = judged(f"an image's time, {n} images to {counts[0]}", row["ratio"], 1 - FLAT, 1 + FLAT)
        checks = [*judged("GiB that no file stands behind", row["anonymous"], 0.0, ANONYMOUS), *same]
        rows.append(row | {"judged": checks if n != counts[0] else []})
    return rows


def by_source(count: int = JPEGS, size: int = PIXELS, rounds: int = ROUNDS, batches: int = 4) -> list[dict]:
    """A batch from a mapped file, and from JPEG bytes in memory, decoded and resized by one thread."""
    drawn = synthetic.draw("insects", 22, -(-count // 22), JPEG_SIZE)[:count]
    packed = [_jpeg(pixels) for pixels in drawn]
    file, _ = store.cached(f"scale-jpeg-{count}-{size}", count, size, partial(_shrink, drawn))
    rng = np.random.default_rng(0)

    def decode() -> None:
        for i in rng.integers(0, count, BATCH):
            np.asarray(Image.open(io.BytesIO(packed[i])).resize((size, size), Image.Resampling.BICUBIC))

    ways: dict[str, Callable[[], None]] = {"mapped array": partial(_mapped, file, rng), "JPEG in memory": decode}
    found = in_turns({name: partial(_ms, way, batches) for name, way in ways.items()}, rounds, 1)
    held = {"mapped array": size * size * 3 / 1e3, "JPEG in memory": sum(map(len, packed)) / count / 1e3}
    return [
        {"source": name, "kB": held[name]} | figures(values, found["mapped array"]) for name, values in found.items()
    ]


def imagenet(steps: dict[str, float], loaded: list[dict]) -> list[dict]:
    """A row for each network and number of GPUs, each of which trains a run of its own on the same file.

    Args:
        steps: milliseconds of an image of each network where all layers train; loaded: `by_source`.
    Hours are those of profile scratch's 40 epochs; gradual's by its plan's FLOPs over the control's.
    """
    phases, rows = PROFILES["scratch"].phases(False), []
    epochs, (mapped, jpeg) = sum(phase.epochs for phase in phases), [row["median"] for row in loaded]
    first = first_steps(phases, IMAGES, PIXELS, 256, 0)
    for name, ms in steps.items():
        spent = [cost(make_plan(one, first), counter(name, one)) for one in map(parse, ("no_increase", "gradual"))]
        for gpus in GPUS:
            row = {"network": name, "gpus": gpus, "hours": max(ms, mapped) * IMAGES * epochs / 3.6e6}
            row |= {"gradual": row["hours"] * spent[1] / spent[0], "disk": (IMAGES + JUDGED) * PIXELS**2 * 3 / 1e9}
            row |= {"read": gpus * PIXELS**2 * 3 / 1e6 / (ms / 1e3), "cores": gpus * jpeg / ms}
            rows.append(row | {"binds": "loading" if mapped > ms else "training"})
    return rows


def anonymous() -> float:
    """GiB of this process's memory that no file stands behind (RssAnon)."""
    return int(of_kernel("/proc/self/status", "RssAnon").split()[0]) / 2**20


def _ms(load: Callable[[], None], batches: int) -> float:
    began = time.perf_counter()
    for _ in range(batches):
        load()
    return 1e3 * (time.perf_counter() - began) / batches / BATCH


def _mapped(file: np.ndarray, rng: np.random.Generator) -> None:
    store.on_device(torch.from_numpy(file[np.sort(rng.integers(0, len(file), BATCH))]))


def _jpeg(pixels: np.ndarray) -> bytes:
    Image.fromarray(pixels).save(packed := io.BytesIO(), "JPEG", quality=QUALITY)
    return packed.getvalue()


def _shrink(drawn: np.ndarray, room: np.ndarray) -> None:
    for i, pixels in enumerate(drawn):
        room[i] = np.asarray(Image.fromarray(pixels).resize(room.shape[1:3]))
