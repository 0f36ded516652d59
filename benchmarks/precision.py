"""The reduced precision against float32: speed, and what it costs in accuracy.

The reduced precision is the one a run takes by itself (`timing.precision`). Where that is float32 the processor has
no other; then bfloat16 is measured all the same, emulated, to show why runs do not take it there.
"""

import numpy as np
import torch

from benchmarks import small
from benchmarks.growth import batch_size, in_turns
from benchmarks.told import Told
from entr_utils import forecast, images, locks, networks, timing
from entr_utils.augmentation import make_augment

ROUNDS = 3
SIZES = {"cpu": 100, "cuda": 250}  # pixels at which speed is measured


def reduced() -> tuple[str, bool]:
    """The precision to compare with float32, and whether it is emulated here."""
    own = timing.precision()
    return (own, False) if own != "float32" else ("bfloat16", True)


def measure() -> dict:
    """Rows of speed, and the accuracies by seed."""
    with locks.device():
        other, emulated = reduced()
        return {"reduced": other, "emulated": emulated, "speed": speed(other), "accuracy": accuracy(other)}


def speed(other: str, size: int = 0, rounds: int = ROUNDS, seconds: float = 1.0, steps: int = 2) -> list[dict]:
    """A row for each precision: images/s of the loop, all layers of a ResNet18 training, the two taking turns."""
    size, batch = size or SIZES[timing.device().type], batch_size()
    photos = torch.randint(0, 256, (2 * batch, size, size, 3), dtype=torch.uint8).to(timing.device())
    labels = torch.zeros(len(photos), dtype=torch.long, device=photos.device)
    batches = images.Batches(photos, labels, batch, 0, make_augment("eight"))
    names = ("float32", other)
    built = {name: networks.build("resnet18", "none", 20, 0.5, name).to(timing.device()) for name in names}

    def action(name: str) -> float:
        return batch / float(np.mean(forecast.pace(built[name], batches, seconds, steps)))

    found = in_turns(dict.fromkeys(names, 1.0), action, rounds, "{}: {:.1f} images/s")
    ratios = found / found[:, [0]]
    return [{"precision": name, "size": size, "batch": batch, "rounds": rounds,
             "images_per_second": float(np.median(found[:, i])), "low": float(found[:, i].min()),
             "high": float(found[:, i].max()), "ratio": float(np.median(ratios[:, i]))}
            for i, name in enumerate(names)]  # fmt: skip


def accuracy(other: str, seeds: tuple[int, ...] = small.SEEDS, epochs: int = small.EPOCHS) -> dict:
    """The reduced precision against float32 on the small problem, seed by seed."""
    told, first, second = Told([1.0] * len(seeds)), [], []
    for seed in seeds:
        first.append(small.ours(seed, other, epochs))
        second.append(small.ours(seed, "float32", epochs))
        told(f"accuracy, seed {seed}: {other} {first[-1]:.3f}, float32 {second[-1]:.3f}")
    return small.compare(first, second)
