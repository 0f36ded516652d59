"""Schedules of image size by others: what each source leaves open is said, and no result is called a reproduction."""

from dataclasses import replace
from functools import lru_cache
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from entr_utils.regimes.base import BatchSpec, Regime, Share, ShareOrZero, Step, chance, register
from entr_utils.settings import DROPOUT


@register
class Decrement(Regime):
    """Small in some whole epochs, drawn at random, full size in the others (after Xie et al. 2021, arXiv 2112.00954).

    Exactly round(share x epochs) epochs are small, by a permutation that follows from the seed. Known from its abstract
    alone: that a draw is of an epoch follows from its FLOPs; the draw, how images are made small, learning rates, the
    last epochs and batch-norm are open. Here: bilinear with antialiasing, one batch-norm, the phases' learning rates.

    Options:
        share, scale: of the epochs that are small (.9 and .5 there), of the size that they show (112 of 224 px there).
        last: how many of the last epochs are at full size; as many as there are full ones where that is fewer.
    """

    claim = "ImageNet, ResNet50: +1.9 points at 63% of the FLOPs (share .5), +1.4 at 33% (share .9)"
    share: Share = 0.5
    scale: Share = 0.5
    last: NonNegativeInt = 1

    def spec(self, step: Step) -> BatchSpec:
        small = round(self.share * step.epochs)
        early = step.epochs - min(self.last, step.epochs - small)
        draw = chance("decrement", step.seed)
        drawn = sorted((draw.random(), epoch) for epoch in range(early))[:small]
        return step.at(self.scale if step.epoch in {epoch for _, epoch in drawn} else 1.0)


@register
class Ramp(Regime):
    """Grows in a straight line, batch by batch (after Composer's ProgressiveResizing, whose defaults these are).

    Theirs is made small without antialiasing, ours with it; theirs ends at the nearest multiple, ours at full size.

    Options:
        initial: size as a share of the largest.
        delay, finetune: shares of all images, before the line begins and after it ends.
        increment: pixels; sizes are multiples of it.
    """

    claim = "ImageNet, ResNet50: part of a recipe that trains seven times faster; alone, nothing is reported"
    initial: Share = 0.5
    delay: ShareOrZero = 0.5
    finetune: ShareOrZero = 0.2
    increment: PositiveInt = 4

    def __post_init__(self) -> None:
        if self.delay + self.finetune >= 1:
            raise ValueError(f"delay={self.delay:g}, finetune={self.finetune:g}: allowed: together below 1")

    def spec(self, step: Step) -> BatchSpec:
        grown = (step.progress - self.delay) / (1 - self.finetune - self.delay)
        size = (self.initial + (1 - self.initial) * min(1.0, max(0.0, grown))) * step.full
        nearest = max(1, round(size / self.increment)) * self.increment
        return step.at(1.0 if size >= step.full else min(step.full, nearest) / step.full)


@register
class Progressive(Regime):
    """Grows in four stages, and augmentation and dropout with it (after EfficientNetV2, Tan & Le 2021, 2104.00298).

    Stages are equal in epochs; size and strength grow in a straight line, dropout in the head is strength x the usual
    one. Theirs is RandAugment, ours zoom and warp: magnitude 5 to 15 and dropout .1 to .3 there both begin at a third.
    Their code has dropout constant, and begins a step above the paper's 128 px: `first` is as in the code.

    Options:
        first: size of the first stage as a share of the largest (M and L: 192 of 384 px; S: .57).
        weakest: strength in the first stage.
    """

    claim = "ImageNet: EfficientNetV2 trains 5 to 11 times faster than others as accurate; growth alone loses accuracy"
    first: Share = 0.5
    weakest: ShareOrZero = 0.33
    stages: Annotated[int, Field(ge=2)] = 4

    def spec(self, step: Step) -> BatchSpec:
        grown = step.epoch * self.stages // step.epochs / (self.stages - 1)
        strength = round(self.weakest + (1 - self.weakest) * grown, 2)
        return replace(step.at(self.first + (1 - self.first) * grown), strength=strength)

    def forward(self, network, inputs, spec):
        from torch.nn import Dropout

        for part in network.modules():
            if isinstance(part, Dropout):
                part.p = DROPOUT * spec.strength
        return network(inputs)


@register
class RandomSize(Regime):
    """Each batch at a size of its own, drawn at random: the control of all schedules, without any order.

    Sizes are equally probable: full size, and the multiples below it from a least one on, which brings the mean of
    (size / full size)^2 nearest to `share`. FLOPs go with pixels to some per cent: maps' sides are rounded up.

    Options:
        share: pixels as a share of the control's. Gradual takes .78 in the paper's phases, weighted by the FLOPs of
            what trains, .64 from scratch.
        multiple: pixels; sizes are multiples of it.
    """

    share: Share = 0.78
    multiple: PositiveInt = 32

    def spec(self, step: Step) -> BatchSpec:
        sizes = _sizes(self.share, self.multiple, step.full)
        draw = chance("random_size", step.seed, step.epoch, step.batch).random()
        return step.at(sizes[int(draw * len(sizes))] / step.full)


@lru_cache
def _sizes(share: float, multiple: int, full: int) -> list[int]:
    every = [*range(multiple, full, multiple), full]

    def beside(least: int) -> float:
        return abs(sum((size / full) ** 2 for size in every[least:]) / len(every[least:]) - share)

    return every[min(range(len(every)), key=beside) :]
