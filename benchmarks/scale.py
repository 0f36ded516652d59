"""What a set of ImageNet's size would take: images from a large mapped file, JPEG decoded per batch, hours of training.

The arithmetic is `imagenet`; docs/SCALE.md names its assumptions.
"""

import io
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from PIL import Image

from benchmarks import loops
from benchmarks.loops import flat, in_turns, judged
from entr_utils.data import store, synthetic
from entr_utils.machine import of_kernel
from entr_utils.regimes import parse
from entr_utils.regimes.plan import cost, first_steps, make_plan
from entr_utils.settings import PROFILES
from entr_utils.training.run import counter

BATCH, JPEG_SIZE, QUALITY = 64, 256, 88
FLAT, ANONYMOUS = 0.10, 2.0  # the time of one may differ by so much; GiB of memory that no file stands behind
IMAGES, JUDGED, PIXELS = 1_281_167, 50_000, 224  # ImageNet (ILSVRC 2012)


def measure_scale(asked: dict[str, str]) -> dict:
    """Rows by number of images, by where they come from, by network and number of GPUs."""
    mapped, loaded = by_count(), by_source()
    batch = loops.batch_size()
    shown = loops.batches(loops.random_images(4 * batch, PIXELS), batch)
    steps = {name: loops.ms_per_image(loops.build(name), shown, 2.0, 3) for name in ("resnet18", "resnet50")}
    return {"mapped": mapped, "sources": loaded, "imagenet": imagenet(steps, loaded)}


def by_count(counts: tuple = (10_000, 100_000), size: int = 96, rounds: int = 5, batches: int = 50) -> list[dict]:
    """Batches in random order out of mapped files that the system keeps in memory: milliseconds of an image."""
    rows = flat(in_turns("images", {n: _mapped(n, size, batches) for n in counts}, rounds, 1, size=size), FLAT)
    held = int(of_kernel("/proc/self/status", "RssAnon").split()[0]) / 2**20
    rows[-1]["judged"] += judged("GiB that no file stands behind", held, 0.0, ANONYMOUS)
    return [row | {"anonymous": held} for row in rows]


def by_source(count: int = 256, size: int = PIXELS, rounds: int = 5, batches: int = 4) -> list[dict]:
    """A batch from a mapped file, and from JPEG bytes in memory, decoded and resized by one thread."""
    packed = [io.BytesIO() for _ in range(count)]
    for file, pixels in zip(packed, synthetic.draw("insects", 22, -(-count // 22), JPEG_SIZE), strict=False):
        Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY)

    def decode(chosen: np.ndarray) -> None:
        for i in chosen:
            np.asarray(Image.open(packed[i]).resize((size, size), Image.Resampling.BICUBIC))

    actions: dict[str, Callable[[], float]] = {"mapped array": _mapped(count, size, batches)}
    actions["JPEG in memory"] = partial(_ms, decode, count, batches)
    mapped, jpeg = in_turns("source", actions, rounds, 1)
    held = sum(len(file.getbuffer()) for file in packed) / count
    return [mapped | {"kB": size * size * 3 / 1e3}, jpeg | {"kB": held / 1e3}]


def _mapped(n: int, size: int, batches: int) -> Callable[[], float]:
    """Times batches out of a mapped file of n random images that has been read once."""
    pool = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3), np.uint8)

    def fill(room: np.ndarray) -> None:
        for begin in range(0, n, BATCH):
            room[begin : begin + BATCH] = pool[: n - begin]

    file, _ = store.cached(f"scale-{n}-{size}", n, size, fill)
    file.sum()
    return partial(_ms, lambda chosen: store.on_device(torch.from_numpy(file[chosen])), n, batches)


def _ms(load: Callable[[np.ndarray], object], n: int, batches: int) -> float:
    """Milliseconds of an image in batches of n images at random, those of a batch in order."""
    rng = np.random.default_rng()
    return loops.ms(lambda: load(np.sort(rng.integers(0, n, BATCH))), batches) / BATCH


def imagenet(steps: dict[str, float], loaded: list[dict]) -> list[dict]:
    """A row for each network and number of GPUs, each of which trains a run of its own on the same file: the hours of
    profile scratch's 40 epochs, gradual's by its plan's FLOPs over the control's. `steps`: milliseconds of an image of
    each network where all layers train; `loaded`: `by_source`."""
    phases, rows = PROFILES["scratch"].phases(False), []
    epochs, (mapped, jpeg) = sum(phase.epochs for phase in phases), [row["median"] for row in loaded]
    first = first_steps(phases, IMAGES, PIXELS, 256, 0)
    for name, ms in steps.items():
        spent = [cost(make_plan(one, first), counter(name, one)) for one in map(parse, ("no_increase", "gradual"))]
        for gpus in (1, 8):
            row = {"network": name, "gpus": gpus, "hours": max(ms, mapped) * IMAGES * epochs / 3.6e6}
            row |= {"gradual": row["hours"] * spent[1] / spent[0], "disk": (IMAGES + JUDGED) * PIXELS**2 * 3 / 1e9}
            row |= {"read": gpus * PIXELS**2 * 3 / 1e6 / (ms / 1e3), "cores": gpus * jpeg / ms}
            rows.append(row | {"binds": "loading" if mapped > ms else "training"})
    return rows
