"""The memory a training takes, against the memory said beforehand: in a fresh process, as a run's kernel is one.

    python -m benchmarks.held probe 64 128        counts what a step holds at these sizes, into the cache
    python -m benchmarks.held train 64 128 3      forecast; then 64 px, 128 images, 3 steps; prints one line of JSON

The training places its images, builds the network, takes a few steps of the loop with all layers training, then
predicts 16 images plainly and augmented, as a run does at its end. More steps would hold nothing more.
"""

import json
import sys

import numpy as np
import torch

from entr_utils import forecast, images, learning, locks, memory, networks, timing
from entr_utils.augmentation import make_augment
from entr_utils.parameters import Parameters

CPU_BATCH, TESTED = 16, 16  # images of a step; images that are predicted


def parameters(size: int) -> Parameters:
    """A run at one size, all layers training from scratch."""
    batch = 64 if timing.device().type == "cuda" else CPU_BATCH
    return Parameters("steel", profile="quick", size=size, weights="none", batch=batch).checked()


def train(size: int, count: int, steps: int) -> dict:
    """`before`: bytes held before; `forecast` and `used`: the largest memory until the end, what was held included."""
    p, peak = parameters(size), memory.PeakMemory()
    before = memory.taken()
    predicted = forecast.forecast(p, count, TESTED)["memory"]
    peak.reset()
    with locks.device():
        pixels = np.random.default_rng(0).integers(0, 256, (CHUNK, size, size, 3), np.uint8)
        photos, tested = (images.place(pixels, np.arange(n) % len(pixels)) for n in (count, TESTED))
        labels = torch.zeros(count, dtype=torch.long, device=timing.device())
        network = networks.build(p.network, "none", forecast.CLASSES, 0.5, timing.precision()).to(timing.device())
        batches = images.Batches(photos, labels, p.batch, 0, make_augment(p.orientations))
        forecast.pace(network, batches, 0.0, steps)
        for augment in (None, batches.augment):
            learning.predict(network, tested, p.batch, augment)
        return {"size": size, "batch": p.batch, "images": count, "steps": steps, "before": before,
                "forecast": predicted, "used": peak.read()}  # fmt: skip


CHUNK = 16  # images that are there before they are placed: a run reads its own from disk


if __name__ == "__main__":
    command, *numbers = sys.argv[1:]
    if command == "probe":
        print(json.dumps({number: len(forecast.rates(parameters(int(number)))) for number in numbers}))
    else:
        print(json.dumps(train(*map(int, numbers))))
