"""What is trained, at which size, how fast: the schedule as data and a pure function of the step.

After Wanger & Frohn 2018 (arXiv 1807.11583), Figure 3, and the fast.ai 0.7 recipe it modified. The paper gives the
step order and the sizes; epoch counts and batch size are not known, so they are ours and written here once.
Plain Python: a laptop without torch can read and draw a schedule.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

from entr_utils import UserError

PROTOCOL = 2  # raised whenever numbers or the meaning of T change; records of different protocols are never compared

REGIMES = ("no_increase", "gradual", "stepwise")  # the paper's
CONTROLS = ("small", "reversed", "short", "blurred", "cropped")  # what else could explain its result, see `sizes`
MECHANISM = ("no_increase", "small", "gradual", "stepwise", "reversed", "blurred", "cropped")  # what takes it apart
STEPS = ("SGDR", "CLRS", "CMult", "RPL", "TTA")
SMALLEST_SIZE = 32  # pixels: below it a ResNet's last feature map is a single cell


@dataclass(frozen=True)
class Stage:
    """One step of the paper at one image size.

    Attributes:
        name: SGDR, CLRS, CMult, RPL or TTA.
        size: share of the largest image size, above 0, at most 1.
        cycles, cycle_len, cycle_mult: cosine cycles; the first lasts `cycle_len` epochs, each next `cycle_mult` times
            as long (fast.ai 0.7 `fit(lr, cycles, cycle_len, cycle_mult)`). No cycles: the stage only evaluates.
        trains: "head" (the body is frozen, batch-norm included) or "all".
        lr: factor on the run's learning rate for the groups (conv1..layer2, layer3-4, head).
        view: how `size` is reached. "resized": the whole image made small. "blurred": made small and large again, so
            that its detail is small and its pixels are not. "cropped": a window of that size, at full detail.
        share: of the batches of an epoch that are trained on, above 0, at most 1 (see `Regime.batches`).
    """

    name: str
    size: float
    cycles: int
    cycle_len: int
    cycle_mult: int
    trains: str
    lr: tuple[float, float, float]
    view: str = "resized"
    share: float = 1.0

    def fed(self, largest: int) -> int:
        """Pixels of the images the network gets: those of `size`, but all of them where they are only blurred."""
        return largest if self.view == "blurred" else pixels(self.size, largest)

    @property
    def cycle_epochs(self) -> tuple[int, ...]:
        """Epochs of each cosine cycle, e.g. (1, 2, 4)."""
        return tuple(self.cycle_len * self.cycle_mult**i for i in range(self.cycles))

    @property
    def epochs(self) -> int:
        """Epochs of the whole stage."""
        return sum(self.cycle_epochs)


@dataclass(frozen=True)
class Moment:
    """What holds at one training step; see `Regime.lookup`."""

    stage: Stage
    cycle: int  # within the stage, from 0
    lr_factor: float  # cosine factor in (0, 1], times each group's `stage.lr`


@dataclass(frozen=True)
class Regime:
    """A named tuple of stages: the whole schedule of a run."""

    name: str
    stages: tuple[Stage, ...]

    @property
    def epochs(self) -> int:
        """Training epochs of the whole run."""
        return sum(stage.epochs for stage in self.stages)

    def lookup(self, epoch: int, batch: int = 0, batches_per_epoch: int = 1) -> Moment:
        """What holds at `batch` of `epoch` (both from 0): a pure function, so a run can start anywhere.

        The rate follows 1/2 (1 + cos(pi i / n)) over the n batches of a cycle (SGDR, Loshchilov & Hutter 2017).
        Raises IndexError beyond the last epoch.
        """
        first = 0  # epoch at which the cycle under consideration begins
        for stage in self.stages:
            for cycle, length in enumerate(stage.cycle_epochs):
                if epoch < first + length:
                    done = ((epoch - first) * batches_per_epoch + batch) / (length * batches_per_epoch)
                    return Moment(stage, cycle, (1 + math.cos(math.pi * done)) / 2)
                first += length
        raise IndexError(f"epoch {epoch} is beyond the {self.epochs} epochs of {self.name}")

    def batches(self, epoch: int, whole: int) -> int:
        """How many of the `whole` batches of `epoch` are trained on: all, or a share of them.

        The share is the same in every epoch, up to whole batches: after e epochs there were round(e x share x whole).
        A cycle then is shorter in batches, and as its cosine runs over epochs it still completes.
        """
        each = self.lookup(epoch).stage.share * whole
        return math.floor((epoch + 1) * each + 0.5) - math.floor(epoch * each + 0.5)

    def done(self, cost: Callable[[Stage], float], whole: int, beside: float = 0.0) -> list[float]:
        """Shares of the run's work that are done after 0, 1, ... epochs.

        Args:
            cost: of a batch in a stage, in any unit.
            whole: batches of an epoch, as in `batches`.
            beside: what every epoch costs beside them.
        """
        each = [cost(self.lookup(epoch).stage) * self.batches(epoch, whole) + beside for epoch in range(self.epochs)]
        spent = [*accumulate(each, initial=0.0)]
        return [share / spent[-1] for share in spent]


@dataclass(frozen=True)
class Profile:
    """How large an experiment is: pixels, batch, cycles as {step: (cycles, cycle_len, cycle_mult)}, default inputs.

    Attributes beside those:
        classes: of synthetic images; 0 is as many as the paper's dataset has.
        smallest: pixels below which no stage may train.
        distorts: whether augmentation zooms and warps, which resamples the finest detail away, or only flips.
    """

    name: str
    size: int
    batch: int
    cycles: dict[str, tuple[int, int, int]]
    weights: str
    data: str
    purpose: str
    classes: int = 0
    smallest: int = SMALLEST_SIZE
    distorts: bool = True


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("tiny", 80, 16, {"SGDR": (1, 1, 1), "CLRS": (1, 1, 1), "CMult": (1, 1, 2), "RPL": (1, 1, 2)},
                "none", "synthetic", "what the tests run; its numbers mean nothing"),
        Profile("quick", 80, 16, {"SGDR": (1, 1, 1), "CLRS": (1, 1, 1), "CMult": (1, 1, 2), "RPL": (2, 1, 2)},
                "none", "synthetic", "a demonstration on images drawn by formula, not evidence", classes=6),
        Profile("paper", 250, 64, {"SGDR": (3, 1, 1), "CLRS": (2, 2, 1), "CMult": (3, 1, 2), "RPL": (3, 1, 2)},
                "imagenet", "data", "the paper's experiment on real images"),
        # 64 px, so gradual begins at 26 px: five classes, since the sixth's coarse pattern (11 cycles) is lost there.
        # Tried on no_increase, seed 0, alone: batch 32, 90 images a class, 8 epochs, lr .005 (fine .93, coarse .87) and
        # .02 (.91, .80), at twice the cost; then this, lr .005 (fine .97, coarse .60). Chance is .20.
        Profile("mechanism", 64, 16, {"SGDR": (1, 1, 1), "CLRS": (1, 1, 1), "CMult": (1, 2, 1), "RPL": (1, 2, 1)},
                "none", "synthetic", "which detail is learnt when: images drawn by formula, not evidence on real ones",
                classes=5, smallest=24, distorts=False),
    )
}  # fmt: skip

_GROWING = {"SGDR": 0.4, "CLRS": 0.6, "CMult": 0.8, "RPL": 1.0, "TTA": 1.0}
_SIZES = {
    "no_increase": dict.fromkeys(STEPS, 1.0),
    "gradual": _GROWING,
    "small": dict.fromkeys(STEPS, 0.4) | {"TTA": 1.0},
    "reversed": {"SGDR": 1.0, "CLRS": 0.8, "CMult": 0.6, "RPL": 0.4, "TTA": 1.0},
    "short": dict.fromkeys(STEPS, 1.0),
    "blurred": _GROWING,
    "cropped": _GROWING,
}
_HEAD_ONLY = (0.0, 0.0, 1.0)
_ALL_EQUAL = (1.0, 1.0, 1.0)
_EARLIER_SLOWER = (0.01, 0.1, 1.0)


def sizes(regime: str, switch: str = "CMult") -> dict[str, float]:
    """Figure 3: the share of the largest size at each step; and that of the controls, which the paper does not have.

    small: never grows. reversed: shrinks, and is tested at full size as all are. short: no_increase for as many batches
    as make its T that of gradual (`matching`). blurred, cropped: gradual's detail without its saving, and gradual's
    saving at full detail (`Stage.view`).
    `switch` is the step at which stepwise goes to full size. The paper's figure lost its columns; CMult is our reading
    of "for a couple of epochs before" re-training. Raises UserError on an unknown name.
    """
    if switch not in STEPS[1:]:
        raise UserError(f"switch={switch!r}: not a step; allowed: {', '.join(STEPS[1:])}")
    if regime == "stepwise":
        return {step: 0.4 if STEPS.index(step) < STEPS.index(switch) else 1.0 for step in STEPS}
    if regime not in _SIZES:
        raise UserError(f"regime={regime!r}: unknown; allowed: {', '.join((*REGIMES, *CONTROLS))}")
    return _SIZES[regime]


def make_regime(name: str, profile: Profile, pretrained: bool = True, switch: str = "CMult",
                share: float = 1.0) -> Regime:  # fmt: skip
    """The schedule of regime `name` in `profile`; `share` is that of short's batches.

    Without pretrained weights there is nothing to freeze: all layers train in every stage at the full rate.
    """
    stages = []
    for step, size in sizes(name, switch).items():
        cycles, cycle_len, cycle_mult = profile.cycles.get(step, (0, 1, 1))
        trains = "head" if pretrained and step != "RPL" else "all"
        lr = _ALL_EQUAL if not pretrained else _EARLIER_SLOWER if step == "RPL" else _HEAD_ONLY
        view = name if name in ("blurred", "cropped") and size < 1 else "resized"
        seen = share if name == "short" and cycles else 1.0
        stages.append(Stage(step, size, cycles, cycle_len, cycle_mult, trains, lr, view, seen))
    return Regime(name, tuple(stages))


def rotated(regimes: list[str], seed: int) -> list[str]:
    """The order in which the regimes of a seed run: it rotates with the seed, so that none is always first."""
    turn = seed % len(regimes)
    return regimes[turn:] + regimes[:turn]


def pixels(share: float, largest: int) -> int:
    """Image size in pixels: round(share x largest)."""
    return round(share * largest)
