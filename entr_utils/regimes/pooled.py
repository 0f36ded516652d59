"""Small images and small filters on some batches, one network (after Poulos, Nouri & Moshovos 2019, 1910.06548)."""

import contextlib
from collections.abc import Iterator
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
        from torch.func import functional_call
        from torch.nn.functional import avg_pool2d

        filters = wide(network)
        pooled = {f"{name}.weight": avg_pool2d(one.weight, 2, stride=1) for name, one in filters.items()}
        with _padded([*filters.values()]), _normalised_by_itself(network):
            return functional_call(network, pooled, (inputs,))


def wide(network: "nn.Module") -> dict[str, "nn.Conv2d"]:
    """The convolutions that are pooled, by name: those with filters larger than 1 x 1."""
    from torch import nn

    parts = network.named_modules()
    return {name: part for name, part in parts if isinstance(part, nn.Conv2d) and part.kernel_size[0] > 1}


@contextlib.contextmanager
def _padded(convolutions: "list[nn.Conv2d]") -> Iterator[None]:
    """Convolutions pad p pixels on one side and p - 1 on the other, in turn, as filters smaller by one need it."""
    from torch.nn.functional import pad

    before, hooks = [one.padding for one in convolutions], []
    for i, (one, full) in enumerate(zip(convolutions, before, strict=True)):
        rows, columns = int(full[0]), int(full[1])
        sides = (columns - 1, columns, rows - 1, rows) if i % 2 else (columns, columns - 1, rows, rows - 1)
        hooks.append(one.register_forward_pre_hook(lambda _, given, sides=sides: (pad(given[0], sides),)))
        one.padding = (0, 0)
    try:
        yield
    finally:
        for one, full, hook in zip(convolutions, before, hooks, strict=True):
            hook.remove()
            one.padding = full


@contextlib.contextmanager
def _normalised_by_itself(network: "nn.Module") -> Iterator[None]:
    """Batch-norm takes the statistics of the batch in hand and keeps its own, frozen or not."""
    from torch.nn.modules.batchnorm import _BatchNorm

    norms = [part for part in network.modules() if isinstance(part, _BatchNorm)]
    before = [(norm.training, norm.track_running_stats) for norm in norms]
    for norm in norms:
        norm.training, norm.track_running_stats = True, False
    try:
        yield
    finally:
        for norm, usual in zip(norms, before, strict=True):
            norm.training, norm.track_running_stats = usual
