"""A regime is a pure function of where a run is: what the network sees next. This is the extension point.

A new size regime is one class with a `spec` in a file of this folder, marked with `@register`, and nothing else. No
torch outside functions.
"""

import dataclasses
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, ClassVar, TypeVar

from entr_utils.settings import Phase
from entr_utils.util import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from entr_utils.networks import Network


@dataclass(frozen=True)
class BatchSpec:
    """What one batch shows the network.

    Attributes:
        size: pixels a side of what the network gets.
        batch: images.
        view: "resized", the whole image made small; "blurred", made small (`detail`) and large again; "cropped", a
            window of `size` pixels at full detail.
        detail: of a blurred view, the size it was made small to; else 0.
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
        phase: what trains and at which rate.
        cycle: of the phase, from 0; its cosine begins at epoch `begins` of the run and lasts `lasts` epochs.
        epoch, epochs: of the run, from 0, and how many there are.
        batch: of the epoch, from 0.
        seen, images: of the epoch: images before this batch, and in all.
        full: largest image size in pixels.
        usual: images of a batch, where a regime does not say otherwise.
        seed: of the run.
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
        size = pixels(share, self.full)
        if size == self.full:
            return BatchSpec(size, self.usual)
        return BatchSpec(self.full if view == "blurred" else size, self.usual, view, size if view == "blurred" else 0)


@dataclass(frozen=True)
class Budget:
    """How much of every epoch is trained on: so that FLOPs equal those of regime `of`, or a `share` by hand."""

    of: str = ""
    share: float = 1.0


class Regime:
    """What a run shows the network. Subclasses are frozen dataclasses; their fields are the regime's options.

    The docstring's first line is what people read of it. All hooks are on the clock.

    Attributes:
        claim: what its source reports of it, in the source's own setting.
    """

    name: ClassVar[str]
    claim: ClassVar[str] = ""
    budget: Budget | None = None

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
        given = [f"{field.name}={value!r}" if isinstance(value, float) else f"{field.name}={value}"
                 for field in fields if (value := getattr(self, field.name)) != field.default]  # fmt: skip
        return ":".join([self.name, ",".join(given)]) if given else self.name


Kind = TypeVar("Kind", bound=type[Regime])
REGIMES: dict[str, type[Regime]] = {}


def register(kind: Kind) -> Kind:
    """Class decorator: the regime is known by its class's name in snake case."""
    kind.name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()
    REGIMES[kind.name] = kind
    return kind


def parse(text: str) -> Regime:
    """The regime written as "name" or "name:option=value,option=value". Raises UserError naming what is allowed."""
    name, _, options = text.partition(":")
    if name not in REGIMES:
        raise UserError(f"regime={text!r}: unknown; allowed: {', '.join(REGIMES)}")
    kind, given = REGIMES[name], {}
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for word in filter(None, options.split(",")):
        option, _, value = word.partition("=")
        if option not in fields:
            raise UserError(f"regime={text!r}: {name} has no option {option!r}; allowed: {', '.join(fields) or 'none'}")
        try:
            given[option] = _typed(fields[option].default, value)
        except ValueError:
            wanted = type(fields[option].default).__name__
            raise UserError(f"regime={text!r}: {option}={value!r} is not of type {wanted}") from None
    try:
        return kind(**given)
    except ValueError as error:  # of the class's own __post_init__
        raise UserError(f"regime={text!r}: {error}") from None


def _typed(default: object, value: str) -> object:
    """A value of the default's type. Raises ValueError."""
    if isinstance(default, bool):
        if value not in ("True", "False"):
            raise ValueError(value)
        return value == "True"
    return type(default)(value)  # type: ignore[call-arg]


def chance(*of: object) -> Random:
    """Random numbers that follow from `of` alone; on every machine the same, which Python promises of `random()`."""
    return Random(" ".join(map(str, of)))


def check_share(name: str, share: float) -> None:
    """Raises ValueError where an option is no share above 0."""
    if not 0 < share <= 1:
        raise ValueError(f"{name}={share:g}: allowed: above 0, at most 1")


def pixels(share: float, full: int) -> int:
    """Image size in pixels: round(share x full)."""
    return round(share * full)
