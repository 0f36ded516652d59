"""Small images and small filters on some batches, one network (after Poulos, Nouri & Moshovos 2019, 1910.06548)."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveInt

from entr_utils.regimes.base import BatchSpec, Regime, Share, Step, chance, register

MODE = "pooled"


@register
class Pooled(Regime):
    """Some batches at half the size, through average-pooled filters; the gradient goes through the pooling.

    On these batches every k x k convolution, k > 1, runs with its filter pooled to (k - 1) x (k - 1): windows of 2 x 2,
    stride 1. Known from the abstract alone: sizes, pooling, layers, padding, schedule and batch-norm are open.
    Here maps keep their grid: a pooled filter lacks a row and a column of padding, in turn after and before the image,
    so that the two of a block hardly shift anything. A gain of k^2 / (k - 1)^2 would cancel in the batch-norm behind
    every filter, so there is none. A pooled batch is normalised by itself, where the body is frozen, too, and leaves
    the running statistics as they are: nothing is evaluated in this mode, whose filters they do not fit.

    Options:
        order: which batches are pooled: "random", each with probability `share`; "every", the last of each `n` of an
            epoch; "blocks", the first `n`, then `n` full ones, in turn.
        share: probability that a batch is pooled, in order "random".
        n: batches, in the orders "every" and "blocks".
        last: how many of the last epochs are full throughout.
    """

    claim = "CIFAR-10, residual networks: up to 23% less training time at up to 2.9% (relative) more error"
    order: Literal["random", "every", "blocks"] = "random"
    share: Share = 0.5
    n: PositiveInt = 2
    last: NonNegativeInt = 1

    def spec(self, step: Step) -> BatchSpec:
        if step.epoch >= step.epochs - self.last or not self._pools(step):
            return step.at(1.0)
        return replace(step.at(0.5), mode=MODE)

    def _pools(self, step: Step) -> bool:
        if self.order == "random":
            return chance("pooled", step.seed, step.epoch, step.batch).random() < self.share
        if self.order == "every":
            return step.batch % self.n == self.n - 1
        return step.batch // self.n % 2 == 0

    def forward(self, network, inputs, spec):
        if spec.mode != MODE:
            return network(inputs)
        from unittest.mock import patch

        from torch import nn
        from torch.nn.modules.batchnorm import _BatchNorm

        norms = [part for part in network.modules() if isinstance(part, _BatchNorm)]
        filters = [part for part in network.modules() if isinstance(part, nn.Conv2d) and part.kernel_size[0] > 1]
        with ExitStack() as changed:  # attributes, for this batch
            for norm in norms:  # the batch's statistics; its own stay
                changed.enter_context(patch.dict(vars(norm), training=True, track_running_stats=False))
            for i, one in enumerate(filters):
                changed.enter_context(patch.dict(vars(one), forward=_small(one, i % 2)))
            return network(inputs)


def _small(one: Any, before: int) -> Callable:
    """What a convolution does with its filter averaged over windows of 2 x 2: it pads a row and a column less, after
    the image or `before` it."""
    from torch.nn.functional import avg_pool2d, conv2d, pad

    rows, columns = (int(each) for each in one.padding)
    sides = (columns - before, columns - 1 + before, rows - before, rows - 1 + before)
    return lambda maps: conv2d(pad(maps, sides), avg_pool2d(one.weight, 2, stride=1), one.bias, one.stride)
