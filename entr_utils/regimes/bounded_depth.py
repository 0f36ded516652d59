"""A network no deeper than the images' entropy allows, and broader for it (after EBCLE, Gowdra et al., 2106.14190)."""

import copy
import math
from bisect import bisect_left
from dataclasses import replace
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field

from entr_utils.regimes.base import BatchSpec, Regime, Step, register
from entr_utils.regimes.entropy import BOUNDS, entropy
from entr_utils.util import UserError

CLOSE = 0.05  # nats: the same images, decoded otherwise
GRID, CHANNELS, WIDEST = 64, 4, 8  # steps of the factor on widths from 1 to 2; widths are multiples; largest factor


@register
class BoundedDepth(Regime):
    """Full size, on a shallower, broader ResNet: its depth is bounded by the entropy of the images. From scratch only.

    Gowdra et al. 2021 (EBCLE). The entropy is measured as their script does it, over all images, without labels. **The
    bound is ours**: their formula, its rounding and their rule for widths are open. Every layer keeps a block at least;
    blocks go in proportion, and all widths grow by one factor. A network within the bound stays as it is.

    Options:
        nats: entropy of the images. A run that is given none, or one wrong by more than .05, is refused and names it.
        bound: "block_a_bit", at most a residual block for each bit of entropy; "layer_a_bit", half of that.
        equal: what the new network has as much of as the old one, "flops" or "parameters".
    """

    claim = "CIFAR, STL-10, MNIST, ImageNet32: 25 to 79% less training time, as accurate or more"
    nats: Annotated[float, Field(ge=0, le=math.log(256), allow_inf_nan=False)] = 0.0  # at most what a byte can hold
    bound: Literal["block_a_bit", "layer_a_bit"] = "block_a_bit"
    equal: Literal["flops", "parameters"] = "flops"

    @property
    def blocks(self) -> int:
        return BOUNDS[self.bound](self.nats)

    def spec(self, step: Step) -> BatchSpec:
        """Raises UserError where a body is frozen: no pretrained weights fit the network."""
        if step.phase.trains == "head":
            raise UserError(f"regime={self.text!r}: no pretrained weights fit its network; allowed: weights=none")
        return replace(step.at(1.0), mode=f"blocks={self.blocks} equal={self.equal}")

    def prepare(self, network: Any, images: Any) -> Any:
        """Raises UserError where the entropy of the images is another than the one named."""
        measured = round(entropy(images.pixels), 2) if images else self.nats
        if abs(measured - self.nats) > CLOSE or not self.nats:
            wanted = replace(self, nats=measured).text if images else f"{self.name}:nats=..., which a run names"
            raise UserError(f"regime={self.text!r}: these images have another entropy; name it {wanted}")
        return bounded(network, self.blocks, self.equal)


def kept_blocks(has: list[int], most: int) -> list[int]:
    """How many of its blocks each layer keeps: `most` in all, one at least, in proportion, earlier layers first."""
    kept = [1] * len(has)
    while sum(kept) < min(most, sum(has)):
        kept[min(range(len(has)), key=lambda i: kept[i] / has[i])] += 1
    return kept


def bounded(network: Any, most: int, equal: str) -> Any:
    """A network with `most` residual blocks, or itself; so broad that FLOPs or parameters come nearest to its own."""
    from torch import nn

    old = copy.deepcopy(network).to("meta")
    layers = [part for part in old.body if isinstance(part, nn.Sequential)]
    has = [len(layer) for layer in layers]
    kept = kept_blocks(has, most)
    if kept == has:
        return network
    goal, device = _cost(old, equal), next(network.parameters()).device
    for layer, number in zip(layers, kept, strict=True):
        del layer[number:]
    costs = cache(lambda i: _cost(_broader(old, i / GRID, "meta"), equal))
    found = range(GRID, WIDEST * GRID)
    at = bisect_left(found, goal, key=costs)
    nearest = min(found[max(0, at - 1) : at + 1], key=lambda i: abs(costs(i) - goal))
    return _broader(old, nearest / GRID, device)


def _broader(network: Any, factor: float, device: object) -> Any:
    """A fresh network with as many blocks, all widths times a factor; initial values are torchvision's."""
    import torch
    from torch import nn

    from entr_utils import networks

    def wide(channels: int) -> int:
        return channels if channels == 3 else max(CHANNELS, round(channels * factor / CHANNELS) * CHANNELS)

    body = copy.deepcopy(network.body)
    with torch.device(device):  # type: ignore[call-overload]
        for part in body.modules():  # each is made anew in its place
            if isinstance(part, nn.Conv2d):
                shape: Any = (part.kernel_size, part.stride, part.padding)
                part.__init__(wide(part.in_channels), wide(part.out_channels), *shape, bias=False)  # type: ignore[misc]
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(part, nn.BatchNorm2d):
                part.__init__(wide(part.num_features))  # type: ignore[misc]
        inner, last = (part for part in network.head if isinstance(part, nn.Linear))
        head = networks.make_head(wide(inner.in_features // 2), last.out_features)
    return networks.Network(body, head, network.dtype).to(memory_format=torch.channels_last)


def _cost(network: Any, equal: str) -> float:
    """Parameters, or FLOPs of an image forward; their ratios hardly depend on its size, which is 224 px."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    if equal == "parameters":
        return sum(value.numel() for value in network.parameters())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(1, 3, 224, 224, device="meta"))
    return counter.get_total_flops()
