"""Steps of the training loop and bare steps of the same network in turn, inside one fit: their times in pairs.

What else a machine does changes from second to second; neighbours share it, so the ratio of a pair is steadier than
either of its times.
"""

from collections.abc import Callable

import numpy as np
from fastai.callback.core import Callback, CancelFitException

from entr_utils import images, learning, networks, timing


class Pairs(Callback):
    """After `block` steps of the loop stops its clock, takes as many bare steps, times them, and starts it again.

    The first pair warms up and is not kept. The fit ends once there are `least` pairs that took `seconds` in all.
    took: (seconds of a step of the loop, seconds of a bare step) of each pair.
    """

    order = 90  # after every other callback's part of the loop

    def __init__(self, bare: Callable[[], object], seconds: float, least: int, block: int = 1):
        self.bare, self.seconds, self.least, self.block = bare, seconds, least, block
        self.clock, self.steps, self.warm = timing.Clock(), 0, False
        self.took: list[tuple[float, float]] = []

    def before_fit(self):
        self.clock.start()

    def after_batch(self):
        self.steps += 1
        if self.steps % self.block:
            return
        loop = self.clock.stop("loop")
        self.clock.start()
        for _ in range(self.block):
            self.bare()
        bare = self.clock.stop("bare")
        if self.warm:
            self.took.append((loop / self.block, bare / self.block))
        self.warm = True
        if len(self.took) >= self.least and self.block * np.sum(self.took) >= self.seconds:
            raise CancelFitException
        self.clock.start()


def alternate(network: networks.Network, batches: images.Batches, bare: Callable[[], object], seconds: float,
              least: int, block: int = 1) -> np.ndarray:  # fmt: skip
    """(pairs, 2) seconds of a step of fastai's loop on these batches, learning rate 0, and of a bare step."""
    pairs = Pairs(bare, seconds, least, block)
    learner = learning.make_learner(network, batches, [pairs])
    with learner.no_bar(), learner.no_logging():
        learner.fit(1_000_000, lr=0.0)
    return np.array(pairs.took)
