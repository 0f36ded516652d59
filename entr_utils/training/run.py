"""A run before it starts: images and split at hand, its plan, and the specification that names it."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch

from entr_utils import networks
from entr_utils.data import catalog, split, store
from entr_utils.machine import device_model, precision
from entr_utils.regimes import Regime, parse
from entr_utils.regimes.plan import Block, Work, by_epoch, check_sizes, cost, first_steps, make_plan, work_of
from entr_utils.results import record, studies, times
from entr_utils.settings import PAPER_REGIMES, PROFILES, Cell, RunSpec
from entr_utils.training import step
from entr_utils.util import Damaged, UserError, bring_back, where

CLASSES = 20  # of a network whose FLOPs are counted before its images are known: the last layer's work is nothing
HALF_AN_HOUR = 1800.0  # seconds


@dataclass(frozen=True)
class Run:
    """One run, ready to be trained: what names it, what was asked for, all of the dataset, and the plan, which takes a
    `share` of every epoch's batches. `prepare_seconds`: what fetching, decoding or finding the images took."""

    spec: RunSpec
    cell: Cell
    images: store.Images
    split: split.Split
    plan: tuple[Block, ...]
    share: float
    prepare_seconds: float

    @property
    def path(self) -> Path:
        return self.cell.folder / f"{self.spec.name}.json"

    @cached_property
    def regime(self) -> Regime:
        return parse(self.spec.regime)

    @cached_property
    def work(self) -> tuple[Work, ...]:
        return work_of(self.plan, len(self.split.training), len(self.split.validation), step.hooks(self.regime))

    @cached_property
    def epochs(self) -> list[list[Block]]:
        return by_epoch(self.plan)

    def finished(self) -> record.Record | None:
        """The record, where the run is done: one that waits is put in its place, one that does not count put aside."""
        bring_back(self.path)
        if not self.path.exists():
            return None
        try:
            found = record.read(self.path)
            if found.key != self.spec.key:
                raise Damaged(f"{self.path}: the record of another run")
            if found.source.contents != self.images.source.contents:
                raise Damaged(f"{self.path}: the images have changed since")
            return found
        except Damaged as error:
            with suppress(FileNotFoundError):  # another process was faster
                self.path.replace(f"{self.path}.aside")
            print(f"  {error} - it is kept as {self.path.name}.aside and the run made again")
            return None

    def forecast(self) -> float | None:
        """Seconds of T by plan x clock; None as in `by_clock`."""
        found = by_clock(self, self.cell.results)
        return found.total if found else None


class Planned(NamedTuple):
    """What is known of a run without images and weights."""

    spec: RunSpec
    plan: tuple[Block, ...]
    work: tuple[Work, ...]


def planned(cell: Cell, images: int) -> Planned:
    """A checked cell's first run with so many images, a tenth of them judged."""
    spec, n_val = draft(cell), round(images / 10)
    plan, _ = plan_of(spec, images - n_val)
    return Planned(spec, plan, work_of(plan, images - n_val, n_val, step.hooks(parse(spec.regime))))


def by_clock(run: Run | Planned, results: str) -> times.Times | None:
    """T by plan x clock; None where this device has no clock of this work."""
    clocks, setting = times.read_clocks(results), (run.spec.network, run.spec.precision)
    return times.of_work(run.work, clocks, device_model(), *setting)


def costs(cell: Cell, images: int) -> tuple[float | None, float]:
    """T in seconds of a run of a checked cell with so many images (None without a clock), and FLOPs of its training."""
    run = planned(cell, images)
    found = by_clock(run, cell.results)
    return found.total if found else None, cost(run.plan, counter(cell.network, parse(run.spec.regime)))


def draft(cell: Cell) -> RunSpec:
    """The specification of a checked cell's first run, but for fingerprints of images and weights."""
    profile, label = PROFILES[cell.profile], Path(cell.weights).name
    turned = cell.orientations or catalog.dataset(cell.dataset).orientations
    given = {name: getattr(cell, name) for name in ("dataset", "network", "profile", "size", "batch")}
    given |= {"regime": parse(cell.regime).text, "seed": cell.seeds[0], "weights": label}
    given["square"] = cell.square or "crop"
    given["lr"] = cell.lr or networks.learning_rate(cell.dataset, cell.network, label)
    given["precision"] = precision(cell.precision or profile.precision)
    given["augmentation"] = turned if profile.distorts else f"{turned} only"
    given["groups"] = cell.groups if cell.groups in ("none", "known", "known-by-image") else ""
    return RunSpec(**given)


def prepare(cell: Cell) -> list[Run]:
    """A cell's runs, one a seed: fetches images where needed, decodes and splits them. Raises UserError."""
    began, cell = time.perf_counter(), cell.checked()
    found, weights = store.load(cell), networks.weights_sha256(cell.network, cell.weights)
    inputs = {"fingerprint": catalog.fingerprint(cell), "weights_sha256": weights}
    first, runs = draft(cell).model_copy(update=inputs), []
    for seed in cell.seeds:
        spec, parts = first.model_copy(update={"seed": seed}), split.assign(found, seed)
        plan, share = plan_of(spec, len(parts.training))
        runs.append(Run(spec, cell, found, parts, plan, share, time.perf_counter() - began))
    return runs


def prepare_own(images: str, seeds: tuple[int, ...], **fields) -> list[Run]:
    """All of the paper's regimes and seeds for a user's own images, in the order they are run. `images`: a folder or an
    archive as in `Cell.data`, or "synthetic"; `fields`: of `Cell`; profile "" is paper, or quick for drawn images."""
    drawn = isinstance(images, str) and images.startswith("synthetic")
    fields["data"] = images if drawn else str(catalog.own_folder(images))
    fields |= {name: str(where(fields[name])) for name in ("groups", "weights") if fields.get(name)}
    fields["profile"] = fields.get("profile") or ("quick" if drawn else "paper")
    by_regime = [prepare(Cell("own", regime=regime, seeds=seeds, **fields)) for regime in PAPER_REGIMES]
    return [run for same in zip(*by_regime, strict=True) for run in studies.rotated(same, same[0].spec.seed)]


def affordable(runs: Sequence[Run]) -> tuple[int, ...]:
    """Seeds of five folds where they take at most half an hour by the clock, else of three, else of one. Without a
    clock three. `runs`: of one fold, one a regime."""
    seconds, most = [run.forecast() for run in runs], runs[0].split.folds or 1
    known = sum(one or 0.0 for one in seconds)
    count = 3 if None in seconds else next((n for n in (5, 3) if n * known <= HALF_AN_HOUR), 1)
    return tuple(range(min(count, most)))


def plan_of(spec: RunSpec, n_train: int) -> tuple[tuple[Block, ...], float]:
    """The plan of a run on `n_train` images, and the share of every epoch that it trains on: by hand, or the FLOPs of
    another regime's plan over those of its whole own. Raises UserError where images would be smaller than the profile
    allows, or a budget leaves less than a batch."""
    regime, given = parse(spec.regime), (spec.phases, n_train, spec.size, spec.batch, spec.seed)
    share, whole = regime.budget or 1.0, n_train // min(spec.batch, n_train)
    if isinstance(share, str):
        first = first_steps(*given)
        of, mine = (cost(make_plan(one, first), counter(spec.network, one)) for one in (parse(share), regime))
        share = min(1.0, round(of / mine, 4))
    if share * whole < 1:
        advice = f"try BATCH={max(2, spec.batch // 2)} (batch), or more of it"
        less = f"a share of {share:g} is less than one of an epoch's {whole} batches"
        raise UserError(f"regime={spec.regime!r}: {less}; {advice}")
    plan = make_plan(regime, first_steps(*given, share))
    check_sizes(plan, PROFILES[spec.profile].least(spec.network), spec.regime, spec.size)
    return plan, share


def counter(network: str, regime: Regime) -> step.Flops:
    """The `flops_counter` of a network before images and weights are known."""
    with torch.device("meta"):
        return step.flops_counter(regime.prepare(networks.build(network, "none", CLASSES, "float32"), None), regime)
