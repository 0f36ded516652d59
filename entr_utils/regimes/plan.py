"""A plan: all that a run shows the network, written down before the first step, for all that reads it. No torch."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter

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
        spec = replace(spec, batch=min(spec.batch, step.images - step.seen))
        yield step, spec
        step = replace(step, batch=step.batch + 1, seen=step.seen + spec.batch)


def first_steps(
    phases: tuple[Phase, ...], images: int, full: int, batch: int, seed: int, share: float = 1.0
) -> list[Step]:
    """The first step of every epoch of a run on so many images.

    An epoch takes as many as fill batches of `batch`, or a `share` of these batches: after e epochs there were
    round(e x share x whole).
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
    """The plan of a run, whose epochs begin with the steps `first`: all its steps, run-length coded."""
    blocks = []
    for start in first:
        for spec, alike in groupby(steps_of_epoch(regime, start), key=itemgetter(1)):
            steps = [step for step, _ in alike]
            blocks.append(Block(steps[0], spec, len(steps)))
    return tuple(blocks)


def check_sizes(plan: Iterable[Block], smallest: int, regime: str, full: int) -> None:
    """Raises UserError where a plan of a regime at `full` pixels shows fewer than `smallest` pixels a side."""
    least = min((min(block.spec.size, block.spec.detail or block.spec.size) for block in plan), default=smallest)
    if least < smallest:
        enough = math.ceil(full * smallest / max(least - 0.5, 0.5))
        allowed = f"allowed: at least {smallest} px, so size from {enough}"
        raise UserError(f"size={full}: {regime} would train at {least} px; {allowed}")


def cost(plan: Iterable[Block], each: Callable[[int, str, str], float]) -> float:
    """Sum over a plan's images of each(size, mode, what trains)."""
    return sum(one.steps * one.spec.batch * each(one.spec.size, one.spec.mode, one.step.phase.trains) for one in plan)


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


def resized_to(blocks: list[Block]) -> tuple:
    """What the whole set is resized to before an epoch of these blocks: view, size, detail, and the epoch of crops,
    which are new in every epoch. () where it stays as it is: at full size, or where sizes change within the epoch."""
    step, shown = blocks[0].step, {(block.spec.view, block.spec.size, block.spec.detail) for block in blocks}
    view, size, detail = shown.pop()
    if shown or (view, size) == ("resized", step.full):
        return ()
    return view, size, detail, step.epoch if view == "cropped" else 0


def by_epoch(plan: Iterable[Block]) -> list[list[Block]]:
    return [list(blocks) for _, blocks in groupby(plan, key=lambda block: block.step.epoch)]


def work_of(plan: Iterable[Block], n_train: int, n_val: int, hooks: Iterable[str] = ()) -> tuple[Work, ...]:
    """All that is on the clock in a run: steps, resizes of the set, the regime's `hooks`, test-time augmentation."""
    found: Counter[Work] = Counter()
    shown: tuple = ()
    for blocks in by_epoch(plan):
        step, before, shown = blocks[0].step, shown, resized_to(blocks)
        name, full = step.phase.name, step.full
        if shown and shown != before:
            view, size, detail, _ = shown
            found[Work("resize", name, 0, size, view=view, detail=detail, stored=full)] += n_train
        for block in blocks:
            spec = block.spec if not shown else replace(block.spec, view="resized", detail=0)
            seen = Work("step", name, 0, spec.size, step.phase.trains, spec.batch, spec.view, spec.detail)
            stored = spec.size if shown else full
            found[replace(seen, strength=spec.strength, mode=spec.mode, stored=stored)] += block.steps
        if "after_epoch" in hooks:
            found[Work("hook", name, 0, full, batch=step.usual, mode="after_epoch")] += 1
    if "finish" in hooks:
        found[Work("hook", name, 0, full, batch=step.usual, mode="finish")] = sum(block.steps for block in blocks)
    found[Work("tta", "TTA", 0, full)] = n_val
    return tuple(replace(one, n=n) for one, n in found.items())
