"""What a run leaves behind: one JSON file of typed fields. What follows from others is checked on reading. No torch."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, ValidationError

from entr_utils.data.catalog import Source
from entr_utils.regimes.plan import Work
from entr_utils.settings import RunSpec
from entr_utils.util import Damaged, checksum, read_json, write_json

Share = Field(ge=0, le=1)
LATE = ("RPL", "TTA")  # phases after the sub-total
FOLLOW = ["accuracy_subtotal", "accuracy_rpl", "accuracy_total"]  # from other fields
FOLLOW += ["seconds_subtotal", "seconds_total", "flops_subtotal", "flops_total"]


class Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Split(Row):
    """Who is trained on and who is judged.

    Attributes:
        by: "fold" (fold seed % folds of a k-fold split), "random" (90/10), "official" (the images came split).
        groups: how many groups are kept whole, 0 where images are split one by one.
        kept: units that hold a class's only training images: never judged.
    """

    by: Literal["fold", "random", "official"]
    folds: int = 0
    groups: int = 0
    n_train: int
    n_val: int
    kept: tuple[str, ...] = ()
    checksum: str


class PhaseRow(Row):
    """One phase as it went; `seconds` are those of the run itself, on a machine that may do other things too."""

    name: str
    size: int
    epochs: int
    trains: str
    lr: tuple[float, ...]
    images: int
    seconds: PositiveFloat
    eval_seconds: NonNegativeFloat
    accuracy_full: float = Share
    accuracy_own: float = Share
    peak_memory: int


class EpochRow(Row):
    """One epoch as it went; `size` is that of its last batch."""

    epoch: int
    phase: str
    cycle: int
    size: int
    loss: float
    seconds: PositiveFloat
    resize_seconds: NonNegativeFloat
    images: int
    accuracy: float = Share
    eval_seconds: NonNegativeFloat


class Predictions(Row):
    """Names of the judged images, their classes, and those predicted after CMult, after RPL and after TTA."""

    image: tuple[str, ...]
    truth: tuple[int, ...]
    subtotal: tuple[int, ...]
    rpl: tuple[int, ...]
    total: tuple[int, ...]


class Environment(Row):
    """Where a run began; `at_once`: how many notebooks the command made at once."""

    device: str
    processor: str
    threads: int
    python: str
    torch: str
    torchvision: str
    fastai: str
    commit: str
    started: str
    load: float
    at_once: int = 1


class Attempt(Row):
    """Where a stopped run went on, and after which epoch."""

    epoch: int
    device: str
    commit: str
    started: str
    load: float


class Costs(Row):
    """Seconds beside training, and the forecast of T made before the first step. Energy is not counted any more."""

    wall: PositiveFloat
    prepare: NonNegativeFloat
    warmup: NonNegativeFloat
    checkpoint: NonNegativeFloat
    energy_joules: float | None = None
    forecast: float | None = None


class Record(Row):
    """One run, trained and evaluated.

    Attributes:
        share: of every epoch's batches that was trained on (`Regime.budget`).
        work: what was on the clock; flops: of one image of each step, by `Work.key`, and of "tta", one pass.
        parameters: of the network as trained.
    """

    schema_version: Literal[2] = 2
    spec: RunSpec
    key: str
    source: Source
    split: Split
    weights_note: str = ""
    share: float = Field(default=1.0, gt=0, le=1)
    work: tuple[Work, ...]
    flops: dict[str, float]
    parameters: int
    phases: tuple[PhaseRow, ...]
    epochs: tuple[EpochRow, ...]
    predictions: Predictions
    costs: Costs
    environment: Environment
    attempts: tuple[Attempt, ...] = ()
    accuracy_subtotal: float = Share
    accuracy_rpl: float = Share
    accuracy_total: float = Share
    seconds_subtotal: PositiveFloat
    seconds_total: PositiveFloat
    flops_subtotal: PositiveFloat
    flops_total: PositiveFloat
    checksum: str


def make(**fields) -> Record:
    """The record of these fields; what follows from them is computed."""
    made = Record(**fields | dict.fromkeys(FOLLOW, 1.0), key=fields["spec"].key, checksum="")
    made = made.model_copy(update=_derived(made))
    return made.model_copy(update={"checksum": checksum(made.model_dump(mode="json", exclude={"checksum"}))})


def _derived(record: Record) -> dict[str, float]:
    kept, phases = record.predictions, {phase.name: phase.seconds for phase in record.phases}
    found = [sum(map(int.__eq__, kept.truth, each)) / len(kept.truth) for each in (kept.subtotal, kept.rpl, kept.total)]
    for costs in (phases, flops_by_phase(record)):
        found += [sum(cost for phase, cost in costs.items() if phase not in LATE), sum(costs.values())]
    return dict(zip(FOLLOW, found, strict=True))


def flops_by_phase(record: Record) -> dict[str, float]:
    """FLOPs of training steps, and of the five passes of TTA: one plain and four augmented."""
    found = {phase.name: 0.0 for phase in record.phases}
    for work in record.work:
        if work.kind == "step":
            found[work.phase] += work.n * work.batch * record.flops[work.key]
        elif work.kind == "tta":
            found[work.phase] += work.n * 5 * record.flops["tta"]
    return found


def write(record: Record, path: Path, put: Callable[[object, Path], None] = write_json) -> None:
    """Write a record whole or not at all, as `put` does: its file is the only sign that a run is done."""
    put(record.model_dump(mode="json"), path)


def read(path: Path) -> Record:
    """A checked record. Raises Damaged naming the file and what is wrong with it, UserError where it cannot be read."""
    raw = read_json(path)
    try:
        record = Record.model_validate(raw)
        derived = _derived(record)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Damaged(f"{path}: {where}: {first['msg']}; delete it and run again") from error
    except (KeyError, ArithmeticError) as error:
        raise Damaged(f"{path}: {type(error).__name__} ({error}); delete it and run again") from error
    lengths = {len(values) for _, values in record.predictions}
    wrong = [name for name, value in derived.items() if not math.isclose(getattr(record, name), value, rel_tol=1e-9)]
    wrong += ["key"] if record.key != record.spec.key else []
    wrong += ["predictions"] if lengths != {record.split.n_val} else []
    wrong += ["checksum"] if not wrong and raw.pop("checksum") != checksum(raw) else []
    if wrong:
        raise Damaged(f"{path}: {', '.join(wrong)} does not follow from the rest; delete it and run again")
    return record


def load(folder: str | Path) -> list[Record]:
    """All records under `folder`, checked, in the order of their file names."""
    return [read(path) for path in sorted(Path(folder).rglob("*-s[0-9]*-*.json"))]


def repeatable(record: Record) -> dict:
    """All that does not depend on speed: the same bits whenever a run is made again on the same processor with as many
    threads, however often it was stopped."""
    left = {"costs", "environment", "attempts", "checksum", "phases", "epochs", "seconds_subtotal", "seconds_total"}
    measured = {"seconds", "eval_seconds", "resize_seconds", "peak_memory"}
    parts = {name: [row.model_dump(exclude=measured) for row in getattr(record, name)] for name in ("phases", "epochs")}
    return record.model_dump(exclude=left) | parts


def efficiency(accuracy: float, seconds: float) -> float:
    """As = sqrt(A / T): A a fraction, T in minutes (the paper's efficiency; its unit of T is not known)."""
    return math.sqrt(accuracy / (seconds / 60))
