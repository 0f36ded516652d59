"""How near the training loop comes to what the network's own arithmetic allows, and what keeps it from there.

A is a step of the loop a run trains in: indexing the images, augmentation, fastai's Learner, and the step. The
callbacks that keep a run's schedule, clock and loss are not in it: a few operations on numbers a step.
B is `learning.step` on one batch that lies ready on the device: same network, precision, memory format, optimiser.
Their ratio B / A is 1 where nothing but the arithmetic takes time.
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from benchmarks.pairs import alternate
from benchmarks.told import Told
from entr_utils import images, learning, locks, networks, timing
from entr_utils.augmentation import make_augment
from entr_utils.regimes import PROFILES

SIZES, NETWORKS, TRAINS = (100, 150, 200, 250), ("resnet18", "resnet50"), ("head", "all")
CPU_BATCH = 16  # the time of an image hardly depends on it there
CLASSES = 20  # any number: the last layer's work is nothing beside the rest
COST = {"resnet18": 1.0, "resnet50": 2.2, "head": 1.0, "all": 3.0}  # relative, for the time left
LAUNCHES = 0.9  # of a step's time: where the host needs that to enqueue it, the device waits for the host
NEAR = 0.95  # the ratio from which on the arithmetic binds where no other is required


def on_cuda() -> bool:
    """Whether the device is a GPU."""
    return timing.device().type == "cuda"


def required(size: int, trains: str) -> float | None:
    """The ratio that was promised, or None."""
    if on_cuda():
        return 0.9 if size >= 200 else None
    return {"all": 0.88, "head": 0.75}[trains]


def measure(sizes: tuple[int, ...] = SIZES, names: tuple[str, ...] = NETWORKS, batch: int = 0, seconds: float = 2.0,
            least: int = 4) -> list[dict]:  # fmt: skip
    """A row for each network, size and what trains: at least `least` pairs and `seconds` of them."""
    batch = batch or (PROFILES["paper"].batch if on_cuda() else CPU_BATCH)
    cells = [(name, size, trains) for name in names for size in sizes for trains in TRAINS]
    told = Told([size**2 * COST[name] * COST[trains] for name, size, trains in cells])
    built = {name: _build(name) for name in names}
    rows = []
    with locks.device():
        for name, size, trains in cells:
            built[name].set_trains(trains)
            row = {"network": name, "size": size, "trains": trains} | cell(built[name], size, batch, seconds, least)
            told(f"{name}, {size} px, {trains}: ratio {row['ratio']:.2f}, {row['images_per_second']:.1f} images/s")
            rows.append(row)
    return rows


def _build(name: str) -> networks.Network:
    return networks.build(name, "none", CLASSES, 0.5, timing.precision()).to(timing.device())


def cell(network: networks.Network, size: int, batch: int, seconds: float, least: int) -> dict:
    """One row: milliseconds of A and B, their ratio with its spread, what takes the difference, and what binds."""
    kept = 16 if on_cuda() else 2  # batches of images: a GPU would else begin an epoch every other step
    pixels = torch.randint(0, 256, (kept * batch, size, size, 3), dtype=torch.uint8).to(timing.device())
    labels = torch.randint(0, CLASSES, (len(pixels),)).to(pixels.device)
    batches = images.Batches(pixels, labels, batch, 0, make_augment("eight"))
    optimiser = learning.SGD(learning.trained(network), lr=0.0)
    bare = partial(learning.step, network, optimiser, batches.augment(pixels[:batch]), labels[:batch])
    block = 8 if on_cuda() else 1  # a GPU works on while the host prepares: only a row of steps shows that
    took = alternate(network, batches, bare, seconds, least, block)
    (loop, step), ratios = np.median(took, 0), took[:, 1] / took[:, 0]
    row = {
        "precision": timing.precision(), "batch": batch, "pairs": len(took), "block": block,
        "loop_ms": 1e3 * loop, "bare_ms": 1e3 * step, "ratio": float(np.median(ratios)),
        "ratio_low": float(ratios.min()), "ratio_high": float(ratios.max()), "images_per_second": batch / loop,
        "required": required(size, network.trains), **_alone(batches, bare),
    }  # fmt: skip
    row["rest_ms"] = row["loop_ms"] - row["bare_ms"] - row["loading_ms"] - row["augmentation_ms"]
    row["met"] = None if row["required"] is None else row["ratio"] >= row["required"]
    return row | {"binds": binds(row)}


def _alone(batches: images.Batches, bare: Callable[[], object]) -> dict:
    """What indexing and augmenting a batch take by themselves, and the share of a bare step that is launching it."""
    chosen = torch.randperm(len(batches.labels))[: batches.batch]
    rows, of_labels = chosen.to(batches.pixels.device), chosen.to(batches.labels.device)
    loaded = images.on_device(batches.pixels[rows])
    return {
        "loading_ms": 1e3 * _seconds(lambda: (images.on_device(batches.pixels[rows]), batches.labels[of_labels])),
        "augmentation_ms": 1e3 * _seconds(lambda: batches.augment(loaded)),
        "launch_share": _launch_share(bare) if on_cuda() else None,
    }


def _seconds(action: Callable[[], object], repeats: int = 7) -> float:
    """Median, the first left out."""
    clock, took = timing.Clock(), []
    for _ in range(repeats):
        clock.start()
        action()
        took.append(clock.stop("alone"))
    return float(np.median(took[1:]))


def _launch_share(bare: Callable[[], object], repeats: int = 7) -> float:
    """Time until the host has enqueued a step over the time until the device has done it."""
    shares = []
    for _ in range(repeats):
        timing.synchronise()
        began = time.perf_counter()
        bare()
        enqueued = time.perf_counter() - began
        timing.synchronise()
        shares.append(enqueued / (time.perf_counter() - began))
    return float(np.median(shares[1:]))


def binds(row: dict) -> str:
    """What a faster loop would have to be faster at, from a row's measurements.

    "arithmetic" where the bare step is the largest share and the ratio is as required (else: near 1); but "launches"
    where the host needs all of a bare step's time to enqueue it. Otherwise the largest of what is added to the step.
    """
    added = {"augmentation": row["augmentation_ms"], "loading": row["loading_ms"], "callbacks": row["rest_ms"]}
    launches = (row["launch_share"] or 0) >= LAUNCHES
    enough = row["ratio"] >= (row["required"] or NEAR)
    if enough and row["bare_ms"] >= max(added.values()):
        return "launches" if launches else "arithmetic"
    if launches:
        added["launches"] = row["bare_ms"]
    return max(added, key=lambda name: added[name])
