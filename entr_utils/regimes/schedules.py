"""Schedules of image size by others: what each source leaves open is said, and no result is called a reproduction."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from entr_utils.regimes.base import BatchSpec, Regime, Step, chance, check_share, register
from entr_utils.settings import DROPOUT

if TYPE_CHECKING:
    from torch import Tensor

    from entr_utils.networks import Network


def nearest(size: float, multiple: int, full: int) -> int:
    """The multiple nearest to a size in pixels, at most `full`; from `full` on that itself, multiple or not."""
    return full if size >= full else min(full, max(1, round(size / multiple)) * multiple)


@register
@dataclass(frozen=True)
class Decrement(Regime):
    """Small in some whole epochs, drawn at random, full size in the others (after Xie et al. 2021, arXiv 2112.00954).

    Exactly round(share x epochs) epochs are small, by a permutation that follows from the seed. Known from its abstract
    alone: that a draw is of an epoch follows from the FLOPs it reports; how images are made small, the rule for the
    last epochs and the place of batch-norm are open. Here: bilinear with antialiasing, one batch-norm for all sizes,
    the phases' learning rates as they are.

    Options:
        share: of the epochs that are small. The paper has .9 and .5.
        scale: the small size as a share of the largest: 112 of 224 px there.
        last: how many of the last epochs are at full size; as many as there are full ones where that is fewer.
    """

    claim = "ImageNet, ResNet50: +1.9 points at 63% of the FLOPs (share .5), +1.4 at 33% (share .9)"
    share: float = 0.5
    scale: float = 0.5
    last: int = 1

    def __post_init__(self) -> None:
        check_share("share", self.share)
        check_share("scale", self.scale)
        if self.last < 0:
            raise ValueError(f"last={self.last}: allowed: 0 or more")

    def spec(self, step: Step) -> BatchSpec:
        small = round(self.share * step.epochs)
        early = step.epochs - min(self.last, step.epochs - small)
        draw = chance("decrement", step.seed)
        drawn = sorted((draw.random(), epoch) for epoch in range(early))[:small]
        return step.at(self.scale if step.epoch in {epoch for _, epoch in drawn} else 1.0)


@register
@dataclass(frozen=True)
class Ramp(Regime):
    """Grows in a straight line, batch by batch (after Composer's ProgressiveResizing, whose defaults these are).

    Theirs is made small without antialiasing, ours with it; theirs ends at the nearest multiple, ours at full size.

    Options:
        initial: size as a share of the largest, until a share `delay` of all images has been seen.
        delay, finetune: the line begins after the first share and is at full size for the last.
        increment: pixels; sizes are multiples of it.
    """

    claim = "ImageNet, ResNet50: part of a recipe that trains seven times faster; alone, nothing is reported"
    initial: float = 0.5
    delay: float = 0.5
    finetune: float = 0.2
    increment: int = 4

    def __post_init__(self) -> None:
        check_share("initial", self.initial)
        if self.delay < 0 or self.finetune < 0 or not self.delay + self.finetune < 1:
            raise ValueError(f"delay={self.delay:g}, finetune={self.finetune:g}: allowed: 0 or more, together below 1")
        if self.increment < 1:
            raise ValueError(f"increment={self.increment}: allowed: 1 or more")

    def spec(self, step: Step) -> BatchSpec:
        grown = (step.progress - self.delay) / (1 - self.finetune - self.delay)
        share = self.initial + (1 - self.initial) * min(1.0, max(0.0, grown))
        return step.at(nearest(share * step.full, self.increment, step.full) / step.full)


@register
@dataclass(frozen=True)
class Progressive(Regime):
    """Grows in four stages, and augmentation and dropout with it (after EfficientNetV2, Tan & Le 2021, 2104.00298).

    Stages are equal in epochs. Size and strength grow in a straight line from the first stage to the last; dropout in
    the head is strength x the usual one. Theirs is RandAugment, ours zoom and warp: magnitude 5 to 15 and dropout .1 to
    .3 there both begin at a third. Their released code has dropout constant, and begins a step above the 128 px of the
    paper: `first` is as in the code.

    Options:
        first: size of the first stage as a share of the largest (M and L: 192 of 384 px; S: .57).
        weakest: strength in the first stage, from 0 to 1.
        stages: how many there are.
    """

    claim = "ImageNet: EfficientNetV2 trains 5 to 11 times faster than others as accurate; growth alone loses accuracy"
    first: float = 0.5
    weakest: float = 0.33
    stages: int = 4

    def __post_init__(self) -> None:
        check_share("first", self.first)
        if not 0 <= self.weakest <= 1 or self.stages < 2:
            raise ValueError(f"weakest={self.weakest:g}, stages={self.stages}: allowed: 0 to 1; 2 or more")

    def spec(self, step: Step) -> BatchSpec:
        grown = step.epoch * self.stages // step.epochs / (self.stages - 1)
        strength = round(self.weakest + (1 - self.weakest) * grown, 2)
        return replace(step.at(self.first + (1 - self.first) * grown), strength=strength)

    def forward(self, network: "Network", inputs: "Tensor", spec: BatchSpec) -> "Tensor":
        from torch.nn import Dropout

        for part in network.modules():
            if isinstance(part, Dropout):
                part.p = DROPOUT * spec.strength
        return network(inputs)


@register
@dataclass(frozen=True)
class RandomSize(Regime):
    """Each batch at a size of its own, drawn at random: the control of all schedules, without any order.

    Sizes are equally probable: the multiples from a least one on that are below full size, and full size. The least is
    the one that brings the mean of (size / full size)^2 nearest to `share`. FLOPs are taken to go with pixels: a
    network rounds the sides of its maps up, which moves the ratio of two schedules by some per cent.

    Options:
        share: pixels as a share of the control's. Gradual takes .78, weighted by the FLOPs of what trains, in the
            paper's phases, .64 from scratch.
        multiple: pixels; sizes are multiples of it. Where full size is small a smaller one leaves more sizes.
    """

    share: float = 0.78
    multiple: int = 32

    def __post_init__(self) -> None:
        check_share("share", self.share)
        if self.multiple < 1:
            raise ValueError(f"multiple={self.multiple}: allowed: 1 or more")

    def spec(self, step: Step) -> BatchSpec:
        sizes = _sizes(self.share, self.multiple, step.full)
        draw = chance("random_size", step.seed, step.epoch, step.batch).random()
        return step.at(sizes[int(draw * len(sizes))] / step.full)


@lru_cache
def _sizes(share: float, multiple: int, full: int) -> list[int]:
    """The sizes that are drawn, in pixels, the smallest first."""
    every = [*range(multiple, full, multiple), full]

    def beside(least: int) -> float:
        return abs(sum((size / full) ** 2 for size in every[least:]) / len(every[least:]) - share)

    return every[min(range(len(every)), key=beside) :]
