"""fastai's loop as a run trains in it, on images that mean nothing, with bare steps in turn inside one fit.

The callback that follows a run's plan and keeps its books is not in it: a few operations on numbers a step.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from fastai.callback.core import Callback, CancelFitException, CancelValidException
from fastai.learner import Recorder
from torch import Tensor

from entr_utils import machine, networks
from entr_utils.data.augment import make_augment
from entr_utils.regimes.plan import by_epoch, first_steps, make_plan
from entr_utils.regimes.sizes import NoIncrease
from entr_utils.settings import ALL_EQUAL, Phase
from entr_utils.training import loop, step
from entr_utils.training.books import Seconds

CLASSES = 20  # any number: the last layer's work is nothing beside the rest


def on_cuda() -> bool:
    """Whether the device is a GPU."""
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
    phase = Phase("RPL", (epochs,), "all", ALL_EQUAL)
    first = first_steps((phase,), len(labels), photos.shape[1], batch, seed=0)
    return step.Batches(photos, labels, by_epoch(make_plan(NoIncrease(), first)), make_augment("eight"))


class TrainOnly(Callback):
    """Nothing is validated."""

    def before_validate(self):
        raise CancelValidException


class NextOrder(Callback):
    """Every epoch of the plan has an order of its own, as in a run; those beyond it repeat the last."""

    def __init__(self, shown: step.Batches):
        self.shown = shown

    def before_epoch(self):
        self.shown.begin(min(self.epoch, len(self.shown.epochs) - 1))


def fit(network: networks.Network, shown: step.Batches, callbacks: Iterable[Callback], epochs: int, lr: float) -> None:
    """Train a network on batches as a run does, but for its callback."""
    learner = loop.make_learner(network, NoIncrease(), shown, [TrainOnly(), NextOrder(shown), *callbacks])
    learner.remove_cb(Recorder)
    with learner.no_bar(), learner.no_logging():
        learner.fit(epochs, lr=lr)


class Pairs(Callback):
    """After `block` steps of the loop stops its clock, does `bare` as often, times that, and starts the clock again.

    The first pair warms up and is not kept. The fit ends once there are `least` pairs that took `seconds` in all.
    took: (seconds of a step of the loop, seconds of a bare step) of each pair.
    """

    order = 90  # after every other callback's part of the loop

    def __init__(self, bare: Callable[[], object], seconds: float, least: int, block: int = 1):
        self.bare, self.wanted, self.least, self.block = bare, seconds, least, block
        self.clock, self.steps = Seconds(), 0
        self.took: list[tuple[float, float]] = []

    def before_fit(self):
        self.clock.start()

    def after_batch(self):
        self.steps += 1
        if self.steps % self.block:
            return
        loop_seconds = self.clock.stop("loop")
        self.clock.start()
        for _ in range(self.block):
            self.bare()
        pair = loop_seconds / self.block, self.clock.stop("bare") / self.block
        self.took += [pair] if self.steps > self.block else []
        if len(self.took) >= self.least and self.block * np.sum(self.took) >= self.wanted:
            raise CancelFitException
        self.clock.start()


def alternate(network: networks.Network, shown: step.Batches, pairs: Pairs) -> np.ndarray:
    """(pairs, 2) seconds of a step of the loop on these batches, learning rate 0, and of a bare step."""
    fit(network, shown, [pairs], 1_000_000, 0.0)
    return np.array(pairs.took)


def ms_per_image(network: networks.Network, shown: step.Batches, seconds: float, least: int) -> float:
    """Milliseconds of an image in the loop: the mean over `least` steps or more, and `seconds` of them."""
    took = alternate(network, shown, Pairs(lambda: None, seconds, least))
    return 1e3 * float(took[:, 0].mean()) / shown.spec.batch
