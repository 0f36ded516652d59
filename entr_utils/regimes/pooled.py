"""Small images and small filters on some batches, one network (after Poulos, Nouri & Moshovos 2019, 1910.06548)."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from entr_utils.regimes.base import BatchSpec, Regime, Step, chance, check_share, register

if TYPE_CHECKING:
    from torch import Tensor, nn

    from entr_utils.networks import Network

MODE = "pooled"
ORDERS = ("random", "every", "blocks")


@register
@dataclass(frozen=True)
class Pooled(Regime):
    """Some batches at half the size, through average-pooled filters; the gradient goes through the pooling.

    On these batches every k x k convolution, k > 1, runs with its filter pooled to (k - 1) x (k - 1): windows of 2 x 2,
    stride 1; 1 x 1 convolutions stay. Known from the abstract alone: the kind of pooling, the layers, padding, schedule
    and batch-norm are open. Here maps keep their grid: a pooled filter lacks a row and a column of padding, in turn
    after and before the image, so that the two of a block hardly shift anything. A gain of k^2 / (k - 1)^2 would cancel
    in the batch-norm behind every filter, so there is none. Batch-norm is apart by mode: a pooled batch is normalised
    by itself and leaves the running statistics, those of full batches, as they are; nothing is ever evaluated in this
    mode. So it is where the body is frozen, too: its statistics do not fit pooled filters.

    Options:
        order: which batches are pooled: "random", each with probability `share`; "every", the last of each `n` of an
            epoch; "blocks", the first `n`, then `n` full ones, in turn.
        share: probability that a batch is pooled, in order "random".
        n: batches, in the orders "every" and "blocks".
        last: how many of the last epochs are full throughout.
    """

    claim = "CIFAR-10, residual networks: up to 23% less training time at up to 2.9% (relative) more error"
    order: str = "random"
    share: float = 0.5
    n: int = 2
    last: int = 1

    def __post_init__(self) -> None:
        check_share("share", self.share)
        if self.order not in ORDERS:
            raise ValueError(f"order={self.order!r}: allowed: {', '.join(ORDERS)}")
        if self.n < 1 or self.last < 0:
            raise ValueError(f"n={self.n}, last={self.last}: allowed: 1 or more; 0 or more")

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

    def forward(self, network: "Network", inputs: "Tensor", spec: BatchSpec) -> "Tensor":
        if spec.mode != MODE:
            return network(inputs)
        from torch import nn
        from torch.nn.modules.batchnorm import _BatchNorm

        parts = [*network.modules()]
        by_itself = {"training": True, "track_running_stats": False}  # the batch's statistics; its own stay
        changes: list[tuple[nn.Module, dict]] = [(part, by_itself) for part in parts if isinstance(part, _BatchNorm)]
        pooled = [part for part in parts if isinstance(part, nn.Conv2d) and part.kernel_size[0] > 1]
        changes += [(one, {"forward": _small(one, i % 2)}) for i, one in enumerate(pooled)]
        with _changed(changes):
            return network(inputs)


def _small(one: "nn.Conv2d", before: int) -> "Callable[[Tensor], Tensor]":
    """What a convolution does with its filter averaged over windows of 2 x 2: it pads a row and a column less, after
    the image or `before` it."""
    from torch.nn.functional import avg_pool2d, conv2d, pad

    rows, columns = (int(each) for each in one.padding)
    sides = (columns - before, columns - 1 + before, rows - before, rows - 1 + before)
    return lambda maps: conv2d(pad(maps, sides), avg_pool2d(one.weight, 2, stride=1), one.bias, one.stride)


@contextlib.contextmanager
def _changed(parts: "list[tuple[nn.Module, dict]]") -> Iterator[None]:
    """Parts of a network with other attributes for a while."""
    before = [dict(vars(part)) for part, _ in parts]
    for part, other in parts:
        vars(part).update(other)
    try:
        yield
    finally:
        for (part, _), usual in zip(parts, before, strict=True):
            vars(part).clear()
            vars(part).update(usual)
