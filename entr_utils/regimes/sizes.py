"""Regimes that change image size alone: the paper's three, its controls, and those that take the mechanism apart.

Sizes are shares of the largest, by phase (the paper's Figure 3): SGDR, CLRS, CMult and RPL.
"""

from typing import Literal

from entr_utils.regimes.base import BatchSpec, Regime, ShareOrZero, Step, register

GROWING = {"SGDR": 0.4, "CLRS": 0.6, "CMult": 0.8}
SMALL = 0.4


@register
class NoIncrease(Regime):
    """Full size throughout: the control."""

    def spec(self, step: Step) -> BatchSpec:
        return step.at(1.0)


@register
class Gradual(Regime):
    """Grows in three strokes: 40, 60 and 80% of the size while the head trains, then full size (the paper)."""

    def spec(self, step: Step) -> BatchSpec:
        return step.at(GROWING.get(step.phase.name, 1.0))


@register
class Stepwise(Regime):
    """Grows at one stroke: 40% of the size, full size from one phase on (the paper).

    The paper's figure lost its columns; CMult is our reading of "for a couple of epochs before" re-training.
    """

    switch: Literal["CLRS", "CMult", "RPL"] = "CMult"

    def spec(self, step: Step) -> BatchSpec:
        order = ("SGDR", "CLRS", "CMult", "RPL")
        return step.at(SMALL if order.index(step.phase.name) < order.index(self.switch) else 1.0)


@register
class Small(Regime):
    """Small throughout, tested at full size: what never growing costs."""

    def spec(self, step: Step) -> BatchSpec:
        return step.at(SMALL)


@register
class Reversed(Regime):
    """Shrinks: 100, 80, 60, then 40% of the size; as cheap as growing, in the wrong order."""

    def spec(self, step: Step) -> BatchSpec:
        return step.at({"CLRS": 0.8, "CMult": 0.6, "RPL": 0.4}.get(step.phase.name, 1.0))


@register
class Short(NoIncrease):
    """Full size on fewer images: as many FLOPs as another regime takes, or (not 0) a share of every epoch by hand."""

    of: str = "gradual"
    share: ShareOrZero = 0.0

    @property
    def budget(self) -> str | float:  # type: ignore[override]
        return self.share or self.of


@register
class Blurred(Regime):
    """Gradual's detail without its saving: images made small and large again."""

    def spec(self, step: Step) -> BatchSpec:
        return step.at(GROWING.get(step.phase.name, 1.0), "blurred")


@register
class Cropped(Regime):
    """Gradual's saving without losing detail: windows of gradual's sizes, anywhere in the image."""

    def spec(self, step: Step) -> BatchSpec:
        return step.at(GROWING.get(step.phase.name, 1.0), "cropped")
