"""A plan: all that a run shows the network, written down before the first step. No torch.

Schedule figure, warm-up, FLOPs, forecast, record and resume all read it.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from entr_utils.regimes.base import BatchSpec, Regime, Step
from entr_utils.settings import Phase
from entr_utils.util import UserError


@dataclass(frozen=True)
class Block:
    """`steps` equal steps of one epoch: the first of them, and what they all show."""

    step: Step
    spec: BatchSpec
    steps: int


def steps_of_epoch(regime: Regime, step: Step) -> Iterator[tuple[Step, BatchSpec]]:
    """Every step of an epoch that begins with `step`. A last batch may be smaller; one of a single image is left out,
    since batch-norm cannot train on it."""
    while step.images - step.seen > 1:
        spec = regime.spec(step)
        if spec.batch < 1:
            raise ValueError(f"{regime.text}: a batch of {spec.batch} images at step {step.batch}")
        spec = dataclasses.replace(spec, batch=min(spec.batch, step.images - step.seen))
        yield step, spec
        step = dataclasses.replace(step, batch=step.batch + 1, seen=step.seen + spec.batch)


def first_steps(
    phases: tuple[Phase, ...], images: int, full: int, batch: int, seed: int, share: float = 1.0
) -> list[Step]:
    """The first step of every epoch of a run.

    Args:
        images: of the training set. An epoch takes as many as fill batches of `batch`, or a `share` of these batches:
            after e epochs there were round(e x share x whole).
    """
    batch = min(batch, images)
    whole, epochs = images // batch, sum(phase.epochs for phase in phases)
    found: list[Step] = []
    for phase in phases:
        for cycle, lasts in enumerate(phase.cycle_epochs):
            begins = len(found)
            for epoch in range(begins, begins + lasts):
                each = share * whole
                batches = math.floor((epoch + 1) * each + 0.5) - math.floor(epoch * each + 0.5)
                cosine = (0, epochs) if phase.part else (begins, lasts)
                found.append(Step(phase, cycle, *cosine, epoch, epochs, 0, 0, batches * batch, full, batch, seed))
    return found


def make_plan(regime: Regime, first: Iterable[Step]) -> tuple[Block, ...]:
    """The plan of a run: its steps run-length coded, epoch by epoch.

    Args:
        first: from `first_steps`.
    """
    blocks: list[Block] = []
    for start in first:
        for step, spec in steps_of_epoch(regime, start):
            last = blocks[-1] if blocks else None
            if last and last.spec == spec and last.step.epoch == step.epoch:
                blocks[-1] = dataclasses.replace(last, steps=last.steps + 1)
            else:
                blocks.append(Block(step, spec, 1))
    return tuple(blocks)


def check_sizes(plan: Iterable[Block], smallest: int, regime: str, full: int) -> None:
    """Raises UserError where a plan of a regime at `full` pixels shows fewer than `smallest` pixels a side."""
    least = min((min(block.spec.size, block.spec.detail or block.spec.size) for block in plan), default=smallest)
    if least < smallest:
        raise UserError(
            f"size={full}: {regime} would train at {least} px; allowed: at least {smallest} px, so size from "
            f"{math.ceil(full * smallest / max(least - 0.5, 0.5))}"
        )


def cost(plan: Iterable[Block], each: Callable[[BatchSpec, str], float]) -> float:
    """Sum over a plan of steps x each(spec, what trains)."""
    return sum(block.steps * each(block.spec, block.step.phase.trains) for block in plan)


@dataclass(frozen=True)
class Work:
    """`n` equal pieces of work of a phase, as a clock knows them: a key without phase and n.

    Attributes:
        kind: "step", a training step; "resize", one image of the whole set made small before an epoch; "tta", one
            image predicted with test-time augmentation; "hook", one call of a regime's `after_epoch`, or one batch that
            its `finish` is given.
        trains, size, batch, view, detail, strength, mode: as in `Phase` and `BatchSpec`.
        stored: pixels of the images that a batch is taken from; another size is made of it batch by batch.
    """

    kind: str
    phase: str
    n: int
    size: int
    trains: str = ""
    batch: int = 0
    view: str = "resized"
    detail: int = 0
    strength: float = 1.0
    mode: str = ""
    stored: int = 0

    @property
    def key(self) -> str:
        """What a clock calls it: "step head 100 b64"."""
        words = [self.kind, self.trains, str(self.size), f"b{self.batch}" if self.batch else ""]
        words += [f"stored={self.stored}"] if self.stored not in (0, self.size) else []
        words += [f"{self.view}={self.detail}" if self.detail else self.view] if self.view != "resized" else []
        words += [f"strength={self.strength:g}"] if self.strength != 1 else []
        return " ".join(filter(None, [*words, self.mode]))


def held(spec: BatchSpec) -> tuple[str, int, int]:
    """What decides which pixels a batch shows: batches with the same can be taken from one resized set."""
    return spec.view, spec.size, spec.detail


def stored_for(blocks: Iterable[Block], full: int) -> BatchSpec | None:
    """What the whole set is resized to before an epoch of these blocks: where one size holds throughout; else None."""
    shown = {held(block.spec) for block in blocks}
    spec = next(iter(blocks)).spec
    return spec if len(shown) == 1 and held(spec) != ("resized", full, 0) else None


def stored_shows(spec: BatchSpec | None, epoch: int) -> tuple:
    """What a set resized to `spec` shows in an epoch, () where it is not resized: crops are new in every epoch."""
    return (*held(spec), epoch if spec.view == "cropped" else 0) if spec else ()


def by_epoch(plan: Iterable[Block]) -> list[list[Block]]:
    """The blocks of each epoch."""
    return [list(blocks) for _, blocks in itertools.groupby(plan, key=lambda block: block.step.epoch)]


def work_of(plan: Iterable[Block], n_train: int, n_val: int, hooks: Iterable[str] = ()) -> tuple[Work, ...]:
    """All that is on the clock in a run: steps, resizes of the set, the regime's `hooks`, test-time augmentation."""
    found: dict[Work, int] = {}
    shown: tuple = ()
    for blocks in by_epoch(plan):
        step = blocks[0].step
        name, full, spec = step.phase.name, step.full, stored_for(blocks, step.full)
        if spec and stored_shows(spec, step.epoch) != shown:
            one = Work("resize", name, 0, spec.size, view=spec.view, detail=spec.detail, stored=full)
            found[one] = found.get(one, 0) + n_train
        shown = stored_shows(spec, step.epoch)
        for block in blocks:
            seen = block.spec
            one = Work("step", name, 0, seen.size, step.phase.trains, seen.batch, "resized" if spec else seen.view,
                       0 if spec else seen.detail, seen.strength, seen.mode, seen.size if spec else full)  # fmt: skip
            found[one] = found.get(one, 0) + block.steps
        for hook in hooks:
            one, last = Work("hook", name, 0, step.full, batch=step.usual, mode=hook), step.epoch == step.epochs - 1
            if hook == "after_epoch" or last:
                found[one] = found.get(one, 0) + (1 if hook == "after_epoch" else sum(block.steps for block in blocks))
    found[Work("tta", "TTA", 0, step.full)] = n_val
    return tuple(dataclasses.replace(one, n=n) for one, n in found.items())
