"""A run before it starts: images and split at hand, its plan, and the specification that names it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from entr_utils import networks
from entr_utils.data import catalog, split, store
from entr_utils.machine import device_model, precision
from entr_utils.regimes import Regime, parse
from entr_utils.regimes.base import BatchSpec
from entr_utils.regimes.plan import Block, Work, by_epoch, check_sizes, cost, first_steps, make_plan, work_of
from entr_utils.results import record, times
from entr_utils.settings import PAPER_REGIMES, PROFILES, Cell, RunSpec
from entr_utils.training import step
from entr_utils.util import UserError, bring_back, where

CLASSES = 20  # of a network whose FLOPs are counted before its images are known: the last layer's work is nothing
HALF_AN_HOUR = 1800.0  # seconds


@dataclass(frozen=True)
class Run:
    """One run, ready to be trained.

    Attributes:
        spec, cell: what names it, and what the user asked for.
        images: all of the dataset, decoded; split: index arrays of those trained on and those judged.
        regime, plan: what the network sees, and all of it written down; `share` of every epoch's batches is trained on.
        prepare_seconds: what fetching, decoding or finding the images took.
    """

    spec: RunSpec
    cell: Cell
    images: store.Images
    split: split.Split
    regime: Regime
    plan: tuple[Block, ...]
    share: float = 1.0
    prepare_seconds: float = 0.0

    @property
    def path(self) -> Path:
        """Where the record goes."""
        return self.cell.folder / f"{self.spec.name}.json"

    @property
    def work(self) -> tuple[Work, ...]:
        """All that is on the clock."""
        return work_of(self.plan, len(self.split.training), len(self.split.validation), step.hooks(self.regime))

    @cached_property
    def epochs(self) -> list[list[Block]]:
        """The plan's blocks of each epoch."""
        return by_epoch(self.plan)

    @property
    def subtotal(self) -> str:
        """Name of the phase at whose end the sub-total is taken."""
        return next(phase.name for phase in self.spec.phases if phase.subtotal)

    @property
    def classes(self) -> int:
        """Outputs of the network."""
        return len(self.images.classes)

    def finished(self) -> record.Record | None:
        """The record, where the run is done; one that waits is put in its place. One that is damaged, or of images that
        have changed, is put aside."""
        bring_back(self.path)
        if not self.path.exists():
            return None
        try:
            found = record.read(self.path)
        except record.Damaged as error:
            record.put_aside(self.path, str(error))
            return None
        if found.key != self.spec.key:
            record.put_aside(self.path, f"{self.path}: the record of another run")
            return None
        if found.source.contents != self.images.source.contents:
            record.put_aside(self.path, f"{self.path}: the images have changed since")
            return None
        return found

    def forecast(self) -> float | None:
        """Seconds of T by plan x clock; None where this device has no clock of this work."""
        return _by_clock(self.spec, self.work, self.cell.results)


def _by_clock(spec: RunSpec, work: tuple[Work, ...], results: str) -> float | None:
    clocks, setting = times.read_clocks(results), (spec.network, spec.precision)
    found = times.of_work(work, clocks, device_model(), *setting)
    return found.total if found else None


def costs(cell: Cell, images: int) -> tuple[float | None, float]:
    """T in seconds of a run of a checked cell with so many images (None without a clock), and FLOPs of its training.

    Nothing is trained; no images or weights are needed.
    """
    spec, work = planned(cell, images)
    plan, _ = plan_of(spec, images - round(images / 10))
    return _by_clock(spec, work, cell.results), cost(plan, counter(spec.network, parse(spec.regime)))


def planned(cell: Cell, images: int) -> tuple[RunSpec, tuple[Work, ...]]:
    """The specification and the work of a checked cell's first run with so many images, a tenth of them judged."""
    spec, n_val = draft(cell), round(images / 10)
    plan, _ = plan_of(spec, images - n_val)
    return spec, work_of(plan, images - n_val, n_val, step.hooks(parse(spec.regime)))


def draft(cell: Cell) -> RunSpec:
    """The specification of a checked cell's first run as far as it is known without images and weights."""
    profile, label = PROFILES[cell.profile], Path(cell.weights).name
    turned = cell.orientations or catalog.dataset(cell.dataset).orientations
    return RunSpec(
        dataset=cell.dataset,
        network=cell.network,
        regime=parse(cell.regime).text,
        seed=cell.seeds[0],
        profile=cell.profile,
        size=cell.size,
        batch=cell.batch,
        lr=cell.lr or networks.learning_rate(cell.dataset, cell.network, label),
        weights=label,
        precision=precision(cell.precision or profile.precision),
        augmentation=turned if profile.distorts else f"{turned} only",
        groups=cell.groups if cell.groups in ("none", "known", "known-by-image") else "",
        square=cell.square or "crop",
    )


def specs(cell: Cell) -> list[RunSpec]:
    """The specifications of a cell's runs, one a seed. No image is decoded.

    Raises UserError where parameters, images or weights cannot be used.
    """
    cell = cell.checked()
    inputs = {
        "fingerprint": catalog.fingerprint(cell),
        "weights_sha256": networks.weights_sha256(cell.network, cell.weights),
    }
    return [draft(cell).model_copy(update=inputs | {"seed": seed}) for seed in cell.seeds]


def prepare(cell: Cell) -> list[Run]:
    """A cell's runs, one a seed: fetches images where needed, decodes and splits them.

    Raises UserError, one line, on anything the user can put right.
    """
    began, cell = time.perf_counter(), cell.checked()
    found = store.load(cell)
    runs = []
    for spec in specs(cell):
        parts = split.assign(found, spec.seed)
        plan, share = plan_of(spec, len(parts.training))
        runs.append(Run(spec, cell, found, parts, parse(spec.regime), plan, share, time.perf_counter() - began))
    return runs


def prepare_own(images: str, seeds: tuple[int, ...], **fields) -> list[Run]:
    """All of the paper's regimes and seeds for a user's own images, in the order they are run.

    Args:
        images: folder with one sub-folder a class, an archive of one, or "synthetic" for a demonstration.
        fields: of `settings.Cell`; profile "" is paper for images and quick for the demonstration.
    """
    drawn = isinstance(images, str) and images.startswith("synthetic")
    fields["data"] = images if drawn else str(catalog.own_folder(images))
    fields |= {name: str(where(fields[name])) for name in ("groups", "weights") if fields.get(name)}
    fields["profile"] = fields.get("profile") or ("quick" if drawn else "paper")
    by_regime = [prepare(Cell("own", regime=regime, seeds=seeds, **fields)) for regime in PAPER_REGIMES]
    return [rotated(of_seed, of_seed[0].spec.seed)[i] for of_seed in zip(*by_regime, strict=True) for i in range(3)]


def affordable(runs: Sequence[Run]) -> tuple[int, ...]:
    """Seeds of five folds where they take at most half an hour by the clock, else of three, else of one.

    Without a clock three. `runs` are of one fold, one a regime.
    """
    seconds, most = [run.forecast() for run in runs], runs[0].split.folds or 1
    known = sum(one or 0.0 for one in seconds)
    count = 3 if None in seconds else next((n for n in (5, 3) if n * known <= HALF_AN_HOUR), 1)
    return tuple(range(min(count, most)))


def rotated(items: tuple, seed: int) -> list:
    """The order in which the regimes of a seed run: it rotates with the seed, so that none is always first."""
    turn = seed % len(items)
    return [*items[turn:], *items[:turn]]


def plan_of(spec: RunSpec, n_train: int) -> tuple[tuple[Block, ...], float]:
    """The plan of a run on `n_train` images, and the share of every epoch that it trains on.

    Raises UserError where a batch would be smaller than the profile allows, or a budget leaves less than a batch.
    """
    regime = parse(spec.regime)
    share = _share(regime, spec, n_train)
    plan = make_plan(regime, first_steps(spec.phases, n_train, spec.size, spec.batch, spec.seed, share))
    check_sizes(plan, PROFILES[spec.profile].least(spec.network), spec.regime, spec.size)
    return plan, share


def _share(regime: Regime, spec: RunSpec, n_train: int) -> float:
    """The share of a regime's budget: by hand, or the FLOPs of another regime's plan over those of its whole own."""
    if not regime.budget:
        return 1.0
    share, whole = regime.budget.share, n_train // min(spec.batch, n_train)
    if regime.budget.of:
        first = first_steps(spec.phases, n_train, spec.size, spec.batch, spec.seed)
        of, mine = (
            cost(make_plan(one, first), counter(spec.network, one)) for one in (parse(regime.budget.of), regime)
        )
        share = min(1.0, round(of / mine, 4))
    if share * whole < 1:
        raise UserError(
            f"regime={spec.regime!r}: a share of {share:g} is less than one of an epoch's {whole} batches; try "
            f"BATCH={max(2, spec.batch // 2)} (batch), or more of it"
        )
    return share


def counter(network: str, regime: Regime) -> Callable[[BatchSpec, str], float]:
    """A function of (spec, what trains) to FLOPs of a batch, counted once for each size and mode."""
    kept: dict[tuple, float] = {}
    with torch.device("meta"):
        model = regime.prepare(networks.build(network, "none", CLASSES, "float32"), None)

    def each(spec: BatchSpec, trains: str) -> float:
        name = step.flops_name(spec, trains)
        if name not in kept:
            kept[name] = step.flops_per_image(model, regime, spec, trains)
        return spec.batch * kept[name]

    return each
