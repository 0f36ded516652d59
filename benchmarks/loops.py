"""What takes turns, so that all share the machine's ups and downs; the training loop; the parts `ceiling` and `growth`.

The loop is fastai's as a run trains in it, on images that mean nothing, but for the callback that follows the plan and
keeps the books: a few operations on numbers a step.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from fastai.callback.core import Callback, CancelFitException, CancelValidException
from fastai.learner import Recorder
from torch import Tensor

from entr_utils import machine, networks
from entr_utils.data import store
from entr_utils.data.augment import make_augment
from entr_utils.regimes.base import BatchSpec
from entr_utils.regimes.plan import by_epoch, first_steps, make_plan
from entr_utils.regimes.sizes import NoIncrease
from entr_utils.results.compare import posterior
from entr_utils.settings import Phase
from entr_utils.training import loop, step
from entr_utils.training.books import Seconds

CLASSES = 20  # any number: the last layer's work is nothing beside the rest
NETWORKS, SIZES, TRAINS = ("resnet18", "resnet50"), (100, 150, 200, 250), ("head", "all")  # of the ceiling
LAUNCHES = 0.9  # of a step's time: where the host needs that to enqueue it, the device waits for the host
NEAR = 0.95  # the ratio from which on the arithmetic binds where no other is required
FLAT = 0.05  # over the number of images the time of one may differ by so much
PLACES = ("device", "host", "disk")


def in_turns(
    name: str, actions: Mapping[Any, Callable[[], float]], rounds: int, skipped: int = 0, **about: object
) -> list[dict]:
    """A row for each action, called so under `name`: median, least and largest of its results over rounds, in which all
    take turns, and `ratios` to the first action's. `skipped` more rounds come first; `about` is in every row."""
    found: dict[Any, list[float]] = {one: [] for one in actions}
    for _ in range(skipped + rounds):
        for one, action in actions.items():
            found[one].append(action())
            print(f"  {one}: {found[one][-1]:.3g}", flush=True)
    kept = {one: np.array(values[skipped:]) for one, values in found.items()}
    first = next(iter(kept.values()))
    rows = []
    for one, values in kept.items():
        of = {"median": float(np.median(values)), "low": float(values.min()), "high": float(values.max())}
        rows.append({**about, name: one} | of | ratios(values, first))
    return rows


def ms(action: Callable[[], object], repeats: int = 1, done: bool = True) -> float:
    """Mean milliseconds of an action until the device has done it; or else until the host has enqueued it."""
    machine.synchronise()
    began = time.perf_counter()
    for _ in range(repeats):
        action()
    if done:
        machine.synchronise()
    return 1e3 * (time.perf_counter() - began) / repeats


def ratios(values: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Median, least and largest ratio of values to a reference of the same round."""
    found = values / reference
    return {"ratio": float(np.median(found)), "ratio_low": float(found.min()), "ratio_high": float(found.max())}


def judged(what: str, value: float, least: float | None, most: float = math.inf) -> list[dict]:
    """Whether a figure is as required, a list of one; where nothing is, `least` is None and the list is empty."""
    if least is None:
        return []
    required = f"at least {least:g}" + (f", at most {most:g}" if most < math.inf else "")
    return [{"what": what, "measured": value, "required": required, "met": bool(least <= value <= most)}]


def flat(rows: list[dict], within: float) -> list[dict]:
    """Rows by number of images, judged: the time of one may differ from the first row's by a share of it."""
    for row in rows:
        what = f"an image's time, {row['images']} images to {rows[0]['images']}"
        row["judged"] = judged(what, row["ratio"], 1 - within, 1 + within) if row is not rows[0] else []
    return rows


def points(first: Sequence[float], second: Sequence[float], share: float = 0.0) -> dict[str, float]:
    """The mean difference of paired accuracies in points, with its 95% interval; `share` is n_val / n_train."""
    found = posterior(100 * np.subtract(first, second), share)  # type: ignore[arg-type]
    low, high = found.interval()
    return {"points": found.mean, "low": low, "high": high}


def on_cuda() -> bool:
    return machine.device().type == "cuda"


def batch_size() -> int:
    """The paper profile's on a GPU; on a CPU the time of an image hardly depends on it."""
    return 64 if on_cuda() else 16


def random_images(count: int, size: int) -> Tensor:
    """(count, size, size, 3) uint8 on the device."""
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8).to(machine.device())


def build(name: str = "resnet18", trains: str = "all", precision: str = "", classes: int = CLASSES) -> networks.Network:
    """A network on the device, from scratch; "" is the device's own precision."""
    network = networks.build(name, "none", classes, machine.precision(precision)).to(machine.device())
    network.set_trains(trains)
    return network


def batches(photos: Tensor, batch: int, labels: Tensor | None = None, epochs: int = 1) -> step.Batches:
    """A run's batches of these images, all at their own size; without labels any."""
    labels = torch.arange(len(photos), device=machine.device()) % CLASSES if labels is None else labels
    first = first_steps((Phase("RPL", (epochs,)),), len(labels), photos.shape[1], batch, seed=0)
    return step.Batches(photos, labels, by_epoch(make_plan(NoIncrease(), first)), make_augment("eight"))


class TrainOnly(Callback):
    """Nothing is validated. Of our batches every epoch has an order of its own; after the plan's end the last again."""

    def __init__(self, shown: step.Batches | None = None):
        self.shown = shown

    def before_epoch(self):
        if self.shown:
            self.shown.begin(min(self.epoch, len(self.shown.epochs) - 1))

    def before_validate(self):
        raise CancelValidException


def fit(network: networks.Network, shown: step.Batches, callbacks: Iterable[Callback], epochs: int, lr: float) -> None:
    """Train a network on batches as a run does, but for its callback."""
    learner = loop.make_learner(network, NoIncrease(), shown, [TrainOnly(shown), *callbacks])
    learner.remove_cb(Recorder)
    with learner.no_bar(), learner.no_logging():
        learner.fit(epochs, lr=lr)


class Pairs(Callback):
    """After `block` steps of the loop stops its clock, does `bare` as often, times that, and starts the clock again.

    The first pair warms up; the fit ends once the others are `least` or more and took `seconds` in all.
    took: (milliseconds of a step of the loop, of a bare step) of each pair.
    """

    order = 90  # after every other callback's part of the loop

    def __init__(self, bare: Callable[[], object], seconds: float, least: int, block: int = 1):
        self.bare, self.wanted, self.least, self.block = bare, 1e3 * seconds, least, block
        self.clock, self.steps = Seconds(), 0
        self.took: list[tuple[float, float]] = []

    def before_fit(self):
        self.clock.start()

    def after_batch(self):
        self.steps += 1
        if self.steps % self.block:
            return
        self.took.append((1e3 * self.clock.stop("loop") / self.block, ms(self.bare, self.block)))
        if len(self.took) > self.least and self.block * np.sum(self.took[1:]) >= self.wanted:
            raise CancelFitException
        self.clock.start()


def alternate(network: networks.Network, shown: step.Batches, pairs: Pairs) -> np.ndarray:
    """(pairs, 2) milliseconds of a step of the loop on these batches, learning rate 0, and of a bare step."""
    fit(network, shown, [pairs], 1_000_000, 0.0)
    return np.array(pairs.took[1:])


def ms_per_image(network: networks.Network, shown: step.Batches, seconds: float, least: int) -> float:
    """Milliseconds of an image in the loop: the mean over `least` steps or more, and `seconds` of them."""
    took = alternate(network, shown, Pairs(lambda: None, seconds, least))
    return float(took[:, 0].mean()) / shown.spec.batch


def measure_ceiling(asked: dict[str, str]) -> dict:
    """How near the loop comes to what the network's arithmetic allows: a row for each network, size and what trains."""
    rows = []
    for name, size, trains in product(NETWORKS, SIZES, TRAINS):
        rows.append(ceiling(name, size, trains))
        print(f"  {name}, {size} px, {trains}: {rows[-1]['ratio']:.2f}", flush=True)
    return {"loop": rows}


def ceiling(name: str, size: int, trains: str, seconds: float = 2.0, least: int = 4) -> dict:
    """Milliseconds of A and B over `least` pairs and `seconds` or more, their ratio, and what takes the difference.

    A is a step of the loop a run trains in: indexing the images, augmentation, fastai's Learner, and the step. B is
    `step.take_step` on one batch that lies ready on the device: same network, precision, memory format, optimiser.
    Their ratio B / A is 1 where nothing but the arithmetic takes time.
    """
    network, batch, regime, gpu = build(name, trains), batch_size(), NoIncrease(), on_cuda()
    kept = 16 if gpu else 2  # batches of images: a GPU would else begin an epoch every other step
    shown, spec = batches(random_images(kept * batch, size), batch), BatchSpec(size, batch)
    photos, labels = shown.photos, shown.labels
    ready = shown.augment(photos[:batch]), labels[:batch]
    gflop = batch * step.flops_per_image(network, regime, spec, trains) / 1e9
    bare = partial(step.take_step, network, regime, spec, step.SGD(network.parameters(), lr=0.0), *ready)
    block = 8 if gpu else 1  # a GPU works on while the host prepares: only a row of steps shows that
    took = alternate(network, shown, Pairs(bare, seconds, least, block))
    loop_ms, bare_ms = np.median(took, 0).tolist()
    row: dict = {"network": name, "size": size, "trains": trains, "pairs": len(took), "loop_ms": loop_ms}
    row |= {"bare_ms": bare_ms, "gflops": 1e3 * gflop / bare_ms} | ratios(took[:, 1], took[:, 0])
    chosen = torch.randperm(len(labels))[:batch].to(labels.device)
    row["loading_ms"] = ms(lambda: (photos[chosen], labels[chosen]), 6)
    row["augmentation_ms"] = ms(lambda: shown.augment(photos[:batch]), 6)
    row["rest_ms"] = loop_ms - bare_ms - row["loading_ms"] - row["augmentation_ms"]
    if gpu:
        row["launch_share"] = ms(bare, 6, done=False) / ms(bare, 6)
    required = (0.9 if size >= 200 else None) if gpu else {"all": 0.88, "head": 0.75}[trains]
    checks = judged(f"bare step to the loop's: {name}, {trains}, {size} px", row["ratio"], required)
    return row | {"binds": binds(row, required), "judged": checks}


def binds(row: dict, required: float | None) -> str:
    """What a faster loop would have to be faster at: "arithmetic" where the bare step has the largest share and its
    ratio is as required (else: near 1), but "launches" where the host needs all of a bare step's time to enqueue it;
    otherwise the largest of what is added to the step."""
    added = {"augmentation": row["augmentation_ms"], "loading": row["loading_ms"], "callbacks": row["rest_ms"]}
    launches = row.get("launch_share", 0) >= LAUNCHES
    if row["ratio"] >= (required or NEAR) and row["bare_ms"] >= max(added.values()):
        return "launches" if launches else "arithmetic"
    added |= {"launches": row["bare_ms"]} if launches else {}
    return max(added, key=lambda name: added[name])


def measure_growth(asked: dict[str, str]) -> dict:
    """Milliseconds of an image where there are more of them, and where they do not fit the memory."""
    return {"images": by_count(), "places": by_place()}


def by_count(counts: tuple[int, ...] = (128, 512, 2048), size: int = 64, rounds: int = 2) -> list[dict]:
    """All layers training: a whole epoch of each number of images, its start included."""
    network, batch, photos = build(), batch_size(), random_images(max(counts), size)
    shown = {n: batches(photos[:n], batch) for n in counts}
    actions = {n: partial(ms_per_image, network, shown[n], 0.0, n // batch) for n in counts}
    return flat(in_turns("images", actions, rounds), FLAT)


def by_place(count: int = 256, size: int = 128, rounds: int = 2, seconds: float = 1.0) -> list[dict]:
    """The images in each place, the head training: where loading weighs the most."""
    network, pixels, actions = build(trains="head"), random_images(count, size).cpu().numpy(), {}
    for name in PLACES if on_cuda() else ("device", "disk"):  # a CPU's device is the host
        full = PLACES[: PLACES.index(name)]
        room = {place: 0.0 if place in full else machine.free_memory(place) for place in PLACES}
        with patch.object(store, "free_memory", room.get):
            placed = batches(store.place(pixels, np.arange(count)), batch_size())
        actions[name] = partial(ms_per_image, network, placed, seconds, 3)
    return in_turns("place", actions, rounds, images=count, size=size)
