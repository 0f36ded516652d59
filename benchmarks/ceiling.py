"""How near the training loop comes to what the network's own arithmetic allows, and what keeps it from there.

A is a step of the loop a run trains in: indexing the images, augmentation, fastai's Learner, and the step.
B is `step.take_step` on one batch that lies ready on the device: same network, precision, memory format, optimiser.
Their ratio B / A is 1 where nothing but the arithmetic takes time.
"""

import time
from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
import torch

from benchmarks import loops
from benchmarks.turns import figures, judged
from entr_utils import machine
from entr_utils.data import store
from entr_utils.regimes.base import BatchSpec
from entr_utils.regimes.sizes import NoIncrease
from entr_utils.training import step

NETWORKS, SIZES, TRAINS = ("resnet18", "resnet50"), (100, 150, 200, 250), ("head", "all")
LAUNCHES = 0.9  # of a step's time: where the host needs that to enqueue it, the device waits for the host
NEAR = 0.95  # the ratio from which on the arithmetic binds where no other is required


def required(size: int, trains: str) -> float | None:
    """The ratio that was promised, or None."""
    if loops.on_cuda():
        return 0.9 if size >= 200 else None
    return {"all": 0.88, "head": 0.75}[trains]


def measure(asked: dict[str, str]) -> dict:
    """A row for each network, size and what trains."""
    rows = []
    for name, size, trains in product(NETWORKS, SIZES, TRAINS):
        rows.append({"network": name, "size": size, "trains": trains} | cell(name, size, trains))
        print(f"  {name}, {size} px, {trains}: {rows[-1]['ratio']:.2f}", flush=True)
    return {"loop": rows}


def cell(name: str, size: int, trains: str, seconds: float = 2.0, least: int = 4) -> dict:
    """Milliseconds of A and B over `least` pairs and `seconds` or more, their ratio, and what takes the difference."""
    network, batch, regime = loops.build(name, trains), loops.batch_size(), NoIncrease()
    kept = 16 if loops.on_cuda() else 2  # batches of images: a GPU would else begin an epoch every other step
    batches, spec = loops.batches(loops.random_images(kept * batch, size), batch), BatchSpec(size, batch)
    ready = batches.augment(batches.photos[:batch]), batches.labels[:batch]
    gflop = batch * step.flops_per_image(network, regime, spec, trains) / 1e9
    bare = partial(step.take_step, network, regime, spec, step.SGD(network.parameters(), lr=0.0), *ready)
    block = 8 if loops.on_cuda() else 1  # a GPU works on while the host prepares: only a row of steps shows that
    took = 1e3 * loops.alternate(network, batches, loops.Pairs(bare, seconds, least, block))
    loop_ms, bare_ms = np.median(took, 0).tolist()
    row = {"pairs": len(took), "loop_ms": loop_ms, "bare_ms": bare_ms, "gflops": 1e3 * gflop / bare_ms}
    row |= figures(took[:, 1], took[:, 0]) | alone(batches, bare)
    row["rest_ms"] = loop_ms - bare_ms - row["loading_ms"] - row["augmentation_ms"]
    checks = judged(f"bare step to the loop's: {name}, {trains}, {size} px", row["ratio"], required(size, trains))
    return row | {"binds": binds(row, required(size, trains)), "judged": checks}


def alone(batches: step.Batches, bare: Callable[[], object]) -> dict:
    """What indexing and augmenting a batch take by themselves; on a GPU the share of a bare step that launches it."""
    chosen = torch.randperm(len(batches.labels))[: batches.spec.batch]
    rows, of_labels = chosen.to(batches.pixels.device), chosen.to(batches.labels.device)
    loaded = store.on_device(batches.pixels[rows])
    loading = _ms(lambda: (store.on_device(batches.pixels[rows]), batches.labels[of_labels]))
    found = {"loading_ms": loading[1], "augmentation_ms": _ms(lambda: batches.augment(loaded))[1]}
    if loops.on_cuda():
        enqueued, done = _ms(bare)
        found["launch_share"] = enqueued / done
    return found


def _ms(action: Callable[[], object], repeats: int = 7) -> tuple[float, float]:
    """Median milliseconds until the host has enqueued an action, and until the device has done it; the first is left
    out."""
    took = []
    for _ in range(repeats):
        machine.synchronise()
        began = time.perf_counter()
        action()
        enqueued = time.perf_counter() - began
        machine.synchronise()
        took.append((1e3 * enqueued, 1e3 * (time.perf_counter() - began)))
    first, second = np.median(took[1:], 0)
    return float(first), float(second)


def binds(row: dict, wanted: float | None) -> str:
    """What a faster loop would have to be faster at, from a row's measurements.

    "arithmetic" where the bare step is the largest share and the ratio is as wanted (else: near 1); but "launches"
    where the host needs all of a bare step's time to enqueue it. Otherwise the largest of what is added to the step.
    """
    added = {"augmentation": row["augmentation_ms"], "loading": row["loading_ms"], "callbacks": row["rest_ms"]}
    launches = row.get("launch_share", 0) >= LAUNCHES
    if row["ratio"] >= (wanted or NEAR) and row["bare_ms"] >= max(added.values()):
        return "launches" if launches else "arithmetic"
    added |= {"launches": row["bare_ms"]} if launches else {}
    return max(added, key=lambda name: added[name])
