"""What becomes of the time of an image when there are more of them, and when they do not fit the memory."""

from functools import partial
from unittest.mock import patch

import numpy as np

from benchmarks import loops
from benchmarks.turns import figures, in_turns, judged
from entr_utils.data import store
from entr_utils.machine import free_memory

COUNTS, COUNT_SIZE = (128, 512, 2048), 64  # images; pixels
PLACED, PLACED_SIZE = 256, 128
PLACES = {"device": ("device", "host", "disk"), "host": ("host", "disk"), "disk": ("disk",)}  # where room is left
ROUNDS = 2
FLAT = 0.05  # over the number of images the time of one may differ by so much


def measure(asked: dict[str, str]) -> dict:
    """Rows by number of images and by place: milliseconds of an image in the loop."""
    return {"images": by_count(), "places": by_place()}


def by_count(counts: tuple[int, ...] = COUNTS, size: int = COUNT_SIZE, rounds: int = ROUNDS) -> list[dict]:
    """All layers training: a whole epoch of each number of images, its start included."""
    network, batch, photos = loops.build(), loops.batch_size(), loops.random_images(max(counts), size)
    shown = {n: loops.batches(photos[:n], batch) for n in counts}
    found = in_turns({n: partial(loops.ms_per_image, network, shown[n], 0.0, n // batch) for n in counts}, rounds)
    rows = []
    for n, values in found.items():
        row: dict = {"images": n} | figures(values, found[counts[0]])
        checks = judged(f"an image's time, {n} images to {counts[0]}", row["ratio"], 1 - FLAT, 1 + FLAT)
        rows.append(row | {"judged": checks if n != counts[0] else []})
    return rows


def by_place(count: int = PLACED, size: int = PLACED_SIZE, rounds: int = ROUNDS, seconds: float = 1.0) -> list[dict]:
    """The images in each place, the head training: where loading weighs the most."""
    network, pixels, actions = loops.build(trains="head"), loops.random_images(count, size).cpu().numpy(), {}
    for name in PLACES if loops.on_cuda() else ("device", "disk"):  # a CPU's device is the host
        room = partial(lambda places, place: free_memory(place) if place in places else 0, PLACES[name])
        with patch.object(store, "free_memory", room):  # as if no other place had room
            placed = loops.batches(store.place(pixels, np.arange(count)), loops.batch_size())
        actions[name] = partial(loops.ms_per_image, network, placed, seconds, 3)
    found, about = in_turns(actions, rounds), {"images": count, "size": size}
    return [about | {"place": name} | figures(values, found["device"]) for name, values in found.items()]
