"""What becomes of the time of an image when there are more of them, when they are larger, when they do not fit.

Also whether the memory said beforehand is the memory that is used. What is compared takes turns; the ratios are of
the same round.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from benchmarks.told import Told
from entr_utils import forecast, images, locks, memory, networks, timing
from entr_utils.augmentation import make_augment
from entr_utils.execution import KERNEL_ENVIRONMENT

COUNTS, COUNT_SIZE = (128, 512, 2048), 64  # images; pixels
SIZES, REFERENCE = (64, 100, 150, 250, 350, 512), 250  # pixels
MEMORY_SIZES = (64, 128, 250)
PLACED, PLACED_SIZE = 256, 128
PLACES = {"device": ("device", "host", "disk"), "host": ("host", "disk"), "disk": ("disk",)}  # where room is left
CLASSES, ROUNDS, CPU_BATCH = 7, 2, 16
Cell = TypeVar("Cell")


def batch_size() -> int:
    """The paper profile's on a GPU; on a CPU the time of an image hardly depends on it."""
    return 64 if timing.device().type == "cuda" else CPU_BATCH


def measure() -> dict:
    """Rows by number of images, by size, by place; and of memory."""
    with locks.device():
        found = {"images": by_count(), "sizes": by_size(), "placement": by_place()}
    return found | {"memory": by_memory()}  # its processes take the lock themselves


def _network(trains: str) -> networks.Network:
    network = networks.build("resnet18", "none", CLASSES, 0.5, timing.precision()).to(timing.device())
    network.set_trains(trains)
    return network


def _random(count: int, size: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8)


def _ms(network: networks.Network, photos: torch.Tensor, batch: int, seconds: float, steps: int) -> float:
    """Milliseconds of an image in the loop."""
    labels = torch.zeros(len(photos), dtype=torch.long, device=timing.device())
    batches = images.Batches(photos, labels, batch, 0, make_augment("eight"))
    return 1e3 * float(np.mean(forecast.pace(network, batches, seconds, steps))) / batches.batch


def in_turns(costs: dict[Cell, float], action: Callable[[Cell], float], rounds: int, text: str) -> np.ndarray:
    """(rounds, cells) results of an action on each cell in turn; `costs` are relative, `text` takes cell and result."""
    told = Told([cost for _ in range(rounds) for cost in costs.values()])
    found = np.empty((rounds, len(costs)))
    for turn in found:
        for i, cell in enumerate(costs):
            turn[i] = action(cell)
            told(text.format(cell, turn[i]))
    return found


def _spread(values: np.ndarray, name: str) -> dict:
    return {name: float(np.median(values)), "low": float(values.min()), "high": float(values.max())}


def by_count(counts: tuple[int, ...] = COUNTS, size: int = COUNT_SIZE, rounds: int = ROUNDS) -> list[dict]:
    """Milliseconds of an image, all layers training: a whole epoch of each number of images, its start included."""
    network, batch = _network("all"), batch_size()
    photos = _random(max(counts), size).to(timing.device())

    def action(n: int) -> float:
        return _ms(network, photos[:n], batch, 0.0, n // batch)

    found = in_turns({n: float(n) for n in counts}, action, rounds, "{} images: {:.1f} ms an image")
    return [{"images": n, "size": size, "batch": batch, "rounds": rounds, **_spread(found[:, i], "ms_per_image"),
             "ratio": float(np.median(found[:, i] / found[:, 0]))} for i, n in enumerate(counts)]  # fmt: skip


def by_size(sizes: tuple[int, ...] = SIZES, reference: int = REFERENCE, rounds: int = ROUNDS, steps: int = 2,
            seconds: float = 1.0) -> list[dict]:  # fmt: skip
    """Milliseconds and GFLOP of an image, the head training; their quotient relative to the reference size."""
    network, batch = _network("head"), batch_size()
    flops = [timing.flops_per_image(network, size, train=True) / 1e9 for size in sizes]
    network.zero_grad(set_to_none=True)

    def action(size: int) -> float:
        return _ms(network, _random(2 * batch, size).to(timing.device()), batch, seconds, steps)

    costs = {size: max(size**2, 2e4) for size in sizes}  # the small ones take their least number of seconds
    found = in_turns(costs, action, rounds, "{} px: {:.1f} ms an image")
    each = found / np.array(flops)
    relative = np.median(each / each[:, [sizes.index(reference)]], 0)
    return [{"size": size, "batch": batch, "rounds": rounds, **_spread(found[:, i], "ms_per_image"), "gflop": flops[i],
             "relative": float(relative[i]), "reference": reference} for i, size in enumerate(sizes)]  # fmt: skip


@contextlib.contextmanager
def room_left(places: tuple[str, ...]) -> Iterator[None]:
    """As if only these places had room."""
    free = memory.free
    memory.free = lambda place: free(place) if place in places else 0
    try:
        yield
    finally:
        memory.free = free


def by_place(count: int = PLACED, size: int = PLACED_SIZE, rounds: int = ROUNDS, seconds: float = 1.0) -> list[dict]:
    """Images/s with the images in each place, the head training: where loading weighs the most."""
    network, batch, pixels = _network("head"), batch_size(), _random(count, size).numpy()
    names = list(PLACES) if timing.device().type == "cuda" else ["device", "disk"]  # a CPU's device is the host
    placed = {}
    for name in names:
        with room_left(PLACES[name]):
            placed[name] = images.place(pixels, np.arange(count))

    def action(name: str) -> float:
        return 1e3 / _ms(network, placed[name], batch, seconds, 3)

    found = in_turns(dict.fromkeys(names, 1.0), action, rounds, "images on the {}: {:.1f} images/s")
    return [{"place": name, "images": count, "size": size, "rounds": rounds,
             **_spread(found[:, i], "images_per_second"), "ratio": float(np.median(found[:, i] / found[:, 0]))}
            for i, name in enumerate(names)]  # fmt: skip


def by_memory(sizes: tuple[int, ...] = MEMORY_SIZES, images_: int = 128, steps: int = 3) -> list[dict]:
    """Memory forecast and used, in bytes, by size; see `held`. Raises RuntimeError where a process failed."""
    told = Told([1.0] * (1 + len(sizes)))
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        _held(cache, "probe", *sizes)
        told("memory: activations counted")
        for size in sizes:
            row = _held(cache, "train", size, images_, steps)
            told(f"memory, {size} px: forecast {row['forecast'] / 2**20:.0f} MiB, used {row['used'] / 2**20:.0f} MiB")
            rows.append(row | {"error": row["forecast"] / row["used"] - 1})
    return rows


def _held(cache: str, *words: object) -> dict:
    package = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
    environment = os.environ | KERNEL_ENVIRONMENT | {"ENTR_CACHE": cache, "PYTHONPATH": package}
    command = [sys.executable, "-m", "benchmarks.held", *map(str, words)]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True)
    if answer.returncode:
        raise RuntimeError(f"held {words[0]}: {(answer.stderr.strip().splitlines() or ['failed'])[-1]}")
    return json.loads(answer.stdout.splitlines()[-1])
