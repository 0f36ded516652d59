"""A regime is a pure function of where a run is: what the network sees next. This is the extension point.

A new size regime is one class with a `spec` in a file of this folder, marked with `@register`, and nothing else. No
torch outside functions.
"""

import dataclasses
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Annotated, ClassVar, TypeVar, dataclass_transform

from pydantic import Field, TypeAdapter, ValidationError

from entr_utils.settings import Phase
from entr_utils.util import UserError, one_of

if TYPE_CHECKING:
    from torch import Tensor

    from entr_utils.networks import Network

Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]  # types of options, which `parse` checks
ShareOrZero = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


@dataclass(frozen=True)
class BatchSpec:
    """What one batch shows the network.

    Attributes:
        size, batch: pixels a side of what the network gets, images.
        view: "resized", the whole image made small; "blurred", made small (to `detail` pixels, else 0) and large again;
            "cropped", a window of `size` pixels at full detail.
        strength: of the augmentation, from 0 to 1.
        mode: of the network, for regimes whose `forward` knows several.
    """

    size: int
    batch: int
    view: str = "resized"
    detail: int = 0
    strength: float = 1.0
    mode: str = ""


@dataclass(frozen=True)
class Step:
    """Where a run is, before a training step.

    Attributes:
        cycle: of the phase, from 0; its cosine begins at epoch `begins` of the run and lasts `lasts` epochs.
        epoch, epochs: of the run, from 0, and how many there are.
        batch, seen, images: of the epoch: batches and images before this one, and images in all.
        full, usual: largest image size in pixels; images of a batch, where a regime does not say otherwise.
    """

    phase: Phase
    cycle: int
    begins: int
    lasts: int
    epoch: int
    epochs: int
    batch: int
    seen: int
    images: int
    full: int
    usual: int
    seed: int

    @property
    def progress(self) -> float:
        """Share of the run's images seen so far, from 0 to below 1."""
        return (self.epoch + self.seen / self.images) / self.epochs

    @property
    def lr_factor(self) -> float:
        """1/2 (1 + cos(pi i / n)) over the n images of a cycle (SGDR, Loshchilov & Hutter 2017)."""
        done = (self.epoch - self.begins) * self.images + self.seen
        return (1 + math.cos(math.pi * (done / (self.lasts * self.images)))) / 2

    def at(self, share: float, view: str = "resized") -> BatchSpec:
        """A batch of the usual number of images at round(share x full) pixels, in a view."""
        size = round(share * self.full)
        if size == self.full:
            return BatchSpec(size, self.usual)
        return BatchSpec(self.full if view == "blurred" else size, self.usual, view, size if view == "blurred" else 0)


class Regime:
    """What a run shows the network. Subclasses are frozen dataclasses (`register`); their fields are the options.

    The docstring's first line is what people read of it. All hooks are on the clock.
    """

    name: ClassVar[str]
    claim: ClassVar[str] = ""  # what its source reports of it, in the source's own setting
    budget: str | float = ""  # where less than all is trained on: a share, or the regime whose FLOPs it takes

    def spec(self, step: Step) -> BatchSpec:
        """What the network sees next: pure, so a run can start anywhere."""
        raise NotImplementedError

    def prepare(self, network: "Network", images: object) -> "Network":
        """The network to train, made once before the first step; the same or another object."""
        return network

    def forward(self, network: "Network", inputs: "Tensor", spec: BatchSpec) -> "Tensor":
        """(n, 3, s, s) inputs to (n, classes) logits, in every training step."""
        return network(inputs)

    def after_epoch(self, network: "Network", step: Step) -> None:
        """What is done after each epoch; `step` is the epoch's last."""

    def finish(self, network: "Network", batches: Iterable) -> None:
        """What is done before the last evaluation; `batches` yields the training batches once more."""

    @property
    def text(self) -> str:
        """The regime as it is written: its name, and the options that are not the defaults."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        given = {field.name: getattr(self, field.name) for field in fields}
        words = [f"{field.name}={given[field.name]}" for field in fields if given[field.name] != field.default]
        return ":".join(filter(None, [self.name, ",".join(words)]))


REGIMES: dict[str, type[Regime]] = {}
Kind = TypeVar("Kind", bound=type[Regime])
options_of = cache(TypeAdapter)


@dataclass_transform(frozen_default=True)
def register(kind: Kind) -> Kind:
    """Class decorator: a frozen dataclass, known by the class's name in snake case."""
    if "__dataclass_fields__" not in vars(kind):
        dataclass(frozen=True)(kind)
    kind.name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()
    REGIMES[kind.name] = kind
    return kind


def parse(text: str) -> Regime:
    """The regime written as "name" or "name:option=value,option=value". Raises UserError naming what is allowed."""
    name, _, options = text.partition(":")
    one_of("regime", name, REGIMES)
    known = [field.name for field in dataclasses.fields(REGIMES[name])]  # type: ignore[arg-type]
    given = dict(word.partition("=")[::2] for word in options.split(",") if word)
    for option in given.keys() - known:
        raise UserError(f"regime={text!r}: {name} has no option {option!r}; allowed: {', '.join(known) or 'none'}")
    try:
        return options_of(REGIMES[name]).validate_strings(given)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]  # of the class's own __post_init__ where it is of no option
        wrong = "".join(f"{option}={first['input']!r}: " for option in first["loc"])
        allowed = first["msg"].replace("Input should be", "allowed:").removeprefix("Value error, ")
        raise UserError(f"regime={text!r}: {wrong}{allowed}") from None


def chance(*of: object) -> Random:
    """Random numbers that follow from `of` alone; on every machine the same, which Python promises of `random()`."""
    return Random(" ".join(map(str, of)))
