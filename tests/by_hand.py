"""Whole records and clocks made by hand, for all that reads them: no training, no torch, every number is chosen."""

import json
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from entr_utils import regimes
from entr_utils.regimes.plan import Work, first_steps, make_plan, work_of
from entr_utils.results import record as records
from entr_utils.results.record import Environment, EpochRow, PhaseRow, Predictions, Record, Source, Split
from entr_utils.results.times import Clocks, read_clocks
from entr_utils.settings import PAPER_DATASETS, PAPER_REGIMES, PROFILES, RunSpec
from entr_utils.util import checksum

Row = dict[str, Any]
SPEED = 2e11  # FLOPs a second of the device
DEVICE = "Abacus, 9 threads"
BESIDE = {"first": 1.0, "spread": 0.01}  # of every key of a clock


def flops(work: Work) -> float:
    """Of one image: a forward pass, thrice that where all layers train."""
    return (3.0 if work.trains == "all" else 1.0) * 1e5 * work.size**2


def record(
    regime: str = "no_increase",
    seed: int = 0,
    dataset: str = "steel",
    accuracy: float = 0.8,
    accuracy_subtotal: float = 0.7,
    *,
    seconds: float = 1.0,
    n_val: int = 100,
    n_train: int = 900,
    shift: int = 0,
    classes: int = 7,
    by: Any = "fold",
    carries: Any = "",
    kind: Any = "",
    stand_in: bool = True,
    share: float = 1.0,
    device: str = DEVICE,
    processor: str = "",
    started: str = "",
    moved_to: str = "",
    accuracy_own: float = -1.0,
    **spec: Any,
) -> Record:
    """A record that `results.record.read` takes.

    Args:
        accuracy, accuracy_subtotal: after and before re-training; rounded to whole judged images.
        seconds: factor on what each phase took in the run itself.
        shift: of how many images the right ones are moved on, for flips both ways.
        accuracy_own: at the size last trained at; that at full size where it is not given.
    """
    profile = PROFILES[spec.pop("profile", "paper")]
    given: Row = {"network": "resnet18", "lr": 0.02, "weights": "small.pt", "precision": "float32"}
    given |= {"augmentation": "two", "fingerprint": f"{dataset} {carries} {n_val}", "profile": profile.name}
    given |= {"size": profile.size, "batch": profile.batch, "dataset": dataset, "regime": regime, "seed": seed}
    made = RunSpec(**given | spec)
    work = _work(regimes.parse(regime), made.phases, n_train, n_val, made.size, made.batch, seed, share)
    ends = (0.5 * accuracy_subtotal, 0.8 * accuracy_subtotal, accuracy_subtotal, accuracy, accuracy)
    phases, epochs = _course(made, work, seconds, ends, accuracy_own)
    images = tuple(f"{0 if by == 'official' else seed % 10}/{i}.png" for i in range(n_val))
    truth = tuple(i % classes for i in range(n_val))
    guessed = {"subtotal": accuracy_subtotal, "rpl": accuracy, "total": accuracy}
    source: Row = {"kind": kind or ("formula" if carries else "folder"), "title": f"{dataset} by hand"}
    source |= {"stand_in": stand_in, "contents": checksum(dataset), "carries": carries}
    source["classes"] = [f"class {i}" for i in range(classes)]
    place: Row = {"device": device, "processor": processor or device.split(",")[0], "threads": 9, "commit": "c" * 40}
    place |= dict.fromkeys(("python", "torch", "torchvision", "fastai"), "2")
    place |= {"started": started or _started(regime, seed), "load": 0.0}
    moved: Row = {"epoch": 1, "device": moved_to, "commit": "c", "started": "later", "load": 0.0}
    return records.make(
        spec=made,
        source=Source(**source),
        split=Split(by=by, folds=10 if by == "fold" else 0, n_train=n_train, n_val=n_val, checksum=f"{by} {seed}"),
        share=share,
        work=work,
        flops={one.key: flops(one) for one in work if one.kind == "step"} | {"tta": flops(work[-1])},
        parameters=11_000_000,
        phases=phases,
        epochs=epochs,
        predictions=Predictions(
            image=images, truth=truth, **{name: _guesses(truth, share, shift) for name, share in guessed.items()}
        ),
        costs=records.Costs(wall=100.0, prepare=1.0, warmup=1.0, checkpoint=1.0),
        environment=Environment(**place),
        attempts=(records.Attempt(**moved),) if moved_to else (),
    )


@cache
def _work(regime: regimes.Regime, phases, n_train: int, n_val: int, size: int, batch: int, seed: int, share: float):
    return work_of(make_plan(regime, first_steps(phases, n_train, size, batch, seed, share)), n_train, n_val)


def _started(regime: str, seed: int) -> str:
    """A day a seed, regimes in the order of the alphabet of their first letters."""
    return f"2026-01-{1 + seed:02d}T00:{ord(regime[0]) % 60:02d}:00+00:00"


def _guesses(truth: tuple[int, ...], accuracy: float, shift: int) -> tuple[int, ...]:
    """As many right as the accuracy says."""
    right = {(i + shift) % len(truth) for i in range(round(accuracy * len(truth)))}
    return tuple(label if i in right else label + 1 for i, label in enumerate(truth))


def _course(spec: RunSpec, work: tuple[Work, ...], factor: float, ends, accuracy_own: float):
    """Phases and epochs; the accuracy of a phase's epochs is that at its end."""
    phases: list[PhaseRow] = []
    epochs: list[EpochRow] = []
    for phase, end in zip((*spec.phases, None), ends, strict=True):
        name = phase.name if phase else "TTA"
        steps = [one for one in work if one.phase == name and one.kind != "resize"]
        images = sum(one.n * (one.batch or 5) for one in steps)
        took = factor * sum(one.n * (one.batch or 5) * flops(one) for one in steps) / SPEED
        count, size = phase.epochs if phase else 0, steps[-1].size
        row: Row = {"name": name, "size": size, "epochs": count, "trains": phase.trains if phase else "nothing"}
        row |= {"lr": (0.0, 0.0, spec.lr), "images": images, "seconds": took, "eval_seconds": took / 10}
        row |= {"accuracy_full": end, "accuracy_own": accuracy_own if accuracy_own >= 0 else end}
        phases.append(PhaseRow(**row, peak_memory=1_000_000 * size))
        for _ in range(count):
            epoch: Row = {"epoch": len(epochs), "phase": name, "cycle": 0, "size": size, "images": images // count}
            epoch |= {"loss": 1.0, "seconds": took / count, "resize_seconds": 0.0, "accuracy": end, "eval_seconds": 0.0}
            epochs.append(EpochRow(**epoch))
    return tuple(phases), tuple(epochs)


def folds(regime: str, accuracies: Iterable[float], **fields) -> list[Record]:
    """A record for each accuracy, of seeds from 0."""
    return [record(regime, seed, accuracy=accuracy, **fields) for seed, accuracy in enumerate(accuracies)]


def matrix(
    seeds: int = 3, datasets=PAPER_DATASETS, networks=("resnet18",), regimes=PAPER_REGIMES, **fields
) -> list[Record]:
    """Records of every cell; each regime gains a point over the one before it, a fold differs from the next by one."""
    return [
        record(regime, seed, dataset, **{"network": network, "accuracy": 0.8 + 0.01 * (seed + rank)} | fields)
        for dataset in datasets
        for network in networks
        for rank, regime in enumerate(regimes)
        for seed in range(seeds)
    ]


def clocks(
    folder: Path,
    loaded: Iterable[Record],
    takes: Iterable[Callable[[Work], float]] = (lambda work: 1.0,) * 3,
    device: str = DEVICE,
) -> Clocks:
    """The clock of a device, as `training.clock` leaves it in results/clocks/, read again.

    Args:
        loaded: the records whose work is clocked.
        takes: for each take the factor on the seconds of a piece of work.
    """
    rows = []
    for number, factor in enumerate(takes):
        for place in sorted(set(map(_place, loaded))):
            here = [one for one in loaded if _place(one) == place]
            works = {work.key: work for one in here for work in one.work}.values()
            row: Row = dict(zip(("network", "precision"), place, strict=True))
            row |= {"taken": f"2026-02-0{1 + number}T00:00:00+00:00", "rounds": 7}
            row |= {"seconds": {one.key: factor(one) * seconds_of(one) for one in works}}
            rows.append(row | {name: {one.key: value for one in works} for name, value in BESIDE.items()})
    path = folder / "clocks" / f"{checksum(device)[:6]}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"device": device, "threads": 9, "torch": "2", "takes": rows}))
    return read_clocks(folder)


def _place(one: Record) -> tuple[str, str]:
    return one.spec.network, one.spec.precision


def seconds_of(work: Work) -> float:
    """What a unit takes on the clock: 1 ms an image resized; a step, or an image judged five times, by its FLOPs."""
    return 0.001 if work.kind == "resize" else (work.batch or 5) * flops(work) / SPEED
