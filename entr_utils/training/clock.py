"""The clock of a machine: seconds of a training step of every kind, measured side by side and quiet. No fastai.

A run on a shared machine is timed with whatever else the machine does, so T is plan x clock instead. A clock measures
every kind of work in turn: one untimed step, then a block of a second and at least five steps (fewer where steps are
long), or of thirty steps, synchronised at its ends. The order rotates; the first of eight rounds is thrown away. A
round in which other processes used more than 5% of a core is tried three times; then nothing is written.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from entr_utils import machine, networks
from entr_utils.data import catalog, store
from entr_utils.data.augment import make_augment
from entr_utils.regimes import Regime, parse
from entr_utils.regimes.base import BatchSpec
from entr_utils.regimes.plan import Work, first_steps
from entr_utils.results import record, studies, times
from entr_utils.settings import Cell, Phase
from entr_utils.training import step
from entr_utils.training.run import Planned, Run, planned
from entr_utils.util import Progress, UserError, cache_folder, lock, now, read_json, slug, write_json

ROUNDS, TRIES = 8, 3
BLOCK_SECONDS, LONGEST_BLOCK = 1.0, 2.0
BLOCK_STEPS, ENOUGH_STEPS = 5, 30
QUIET = 0.05  # cores that other processes may use
SETTLE = 60.0  # seconds in which trainings of ours come to their pause
MOST_SIZES = 8  # of otherwise equal work that are timed; the seconds of the others are interpolated over pixels
POOL, CLASSES = 4, 20  # batches of random images that a step takes its own from; outputs of the network

Piece = Callable[[], object]
Need = Run | Planned | record.Record


def path_of(results: str | Path) -> Path:
    """The file of this device's clock."""
    return Path(results) / "clocks" / f"{slug(machine.device_model())}.json"


def take(works: Iterable[Work], regimes: dict[str, Regime], network: str, precision: str, augmentation: str,
         rounds: int = ROUNDS, patience: float = SETTLE) -> dict:  # fmt: skip
    """Measure works on this device, each key once; the entry of a clock's file (see `results.times`).

    `regimes`: by the mode of a work the one that knows it; in mode "" every network is called as it is. Raises
    UserError where the machine is busy: others have `patience` seconds to come to rest.
    """
    groups: dict[Work, list[Work]] = {}  # those that differ in size alone, by size
    for work in sorted({work.key: work for work in works}.values(), key=lambda work: work.size):
        made_small = work.stored not in (0, work.size)
        groups.setdefault(replace(work, phase="", n=0, size=0, stored=int(made_small)), []).append(work)
    timed: list[Work] = []
    for group in groups.values():  # evenly spread, the first and the last among them
        spread_out = np.linspace(0, len(group) - 1, min(len(group), MOST_SIZES)).round().astype(int)
        timed += [group[i] for i in spread_out]
    with measuring():
        _while_quiet(1 + round(patience), time.sleep, 1)  # trainings of ours stop at their next step
        bench = _Bench(network, precision, augmentation)
        pieces = {work.key: bench.piece(work, regimes.get(work.mode, Regime())) for work in timed}
        blocks, first = _rounds({key: piece for key, (piece, _) in pieces.items()}, rounds)
    middle = {key: median(values) for key, values in blocks.items()}
    seconds = {key: value / pieces[key][1] for key, value in middle.items()}
    spread = {key: (max(values) - min(values)) / middle[key] for key, values in blocks.items()}
    beyond = {key: max(0.0, first[key] - value) for key, value in middle.items()}
    for found, group in product((seconds, beyond), groups.values()):
        known = {work.size**2: found[work.key] for work in group if work.key in found}
        others = [work for work in group if work.key not in found]
        found |= {work.key: float(np.interp(work.size**2, [*known], [*known.values()])) for work in others}
    about = {"taken": now(), "network": network, "precision": precision, "augmentation": augmentation}
    return about | {"seconds": seconds, "first": beyond, "spread": spread, "rounds": rounds - 1}


def keep(entry: dict, results: str | Path) -> Path:
    """Add an entry to this device's clock. Raises UserError where the file is damaged or cannot be written."""
    path = path_of(results)
    with lock(path.parent / ".locks" / path.stem, f"waiting: another process writes {path}"):
        clock = read_json(path) if path.exists() else {"takes": []}
        clock |= {"device": machine.device_model(), "threads": torch.get_num_threads(), "torch": torch.__version__}
        write_json(clock | {"takes": [*clock["takes"], entry]}, path)
    return path


def take_for(cells: Iterable[Cell], results: str, again: bool = False) -> None:
    """Measure what the runs of these cells need; without cells, what the records of this device need. What is there is
    not measured again, unless `again` adds another take. Raises UserError where the machine is busy."""
    here, checked = machine.device_model(), [cell.checked() for cell in cells]
    needs: list[Need] = [planned(cell, catalog.count(cell)) for cell in checked]
    needs = needs or [one for one in record.load(results) if one.environment.device == here]
    if not needs:
        raise UserError(f"RESULTS={results}: no record of this device ({here}); name a PROFILE")
    taken = take_missing(needs, results, again)
    added = f"{taken} takes added" if taken else "nothing is missing (AGAIN=1 adds a take)"
    print(f"  {path_of(results)}: {added}")


def ensure(runs: Iterable[Run], results: str) -> None:
    """As `take_for` of prepared runs, at once or not at all: where the machine is busy a line is printed, and T stays
    unknown. The variable ENTR_CLOCK=off leaves it to `make clock`."""
    if os.environ.get("ENTR_CLOCK") == "off":
        return
    try:
        take_missing(runs, results, patience=3)
    except UserError as error:
        print(f"T stays unknown: {error}", flush=True)


def take_missing(runs: Iterable[Need], results: str, again: bool = False, patience: float = SETTLE) -> int:
    """How many takes were added: one for each network and precision of which something is missing. What an augmentation
    draws does not matter: its resampling takes the same time."""
    groups: dict[tuple[str, str], tuple[list[Work], dict[str, Regime], str]] = {}
    for one in runs:
        setting = one.spec.network, one.spec.precision
        works, regimes, _ = groups.setdefault(setting, ([], {}, one.spec.augmentation))
        works += one.work
        regimes |= {work.mode: parse(one.spec.regime) for work in one.work if work.mode}
    clocks, taken = times.read_clocks(results), 0
    for setting, (works, regimes, augmentation) in groups.items():
        if again or not times.of_work(works, clocks, machine.device_model(), *setting):
            keep(take(works, regimes, *setting, augmentation, patience=patience), results)
            taken += 1
    return taken


def _rounds(pieces: dict[str, Piece], rounds: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of a piece in every round but the first, and of the very first piece of each kind."""
    first = {key: _seconds(piece) for key, piece in pieces.items()}
    blocks: dict[str, list[float]] = {key: [] for key in pieces}
    progress = Progress("taking the clock of this machine")

    def block_each(keys: list[str]) -> dict[str, float]:
        return {key: _block(pieces[key]) for key in keys}

    for i in range(1, rounds):
        for key, seconds in _while_quiet(TRIES, block_each, studies.rotated([*pieces], i)).items():
            blocks[key].append(seconds)
        progress.update(i / (rounds - 1))
    progress.close()
    return blocks, first


def _while_quiet(tries: int, do: Callable, given: object) -> Any:
    """What `do` gives once others are quiet meanwhile. Raises UserError where they are not in any of so many tries."""
    for _ in range(tries):
        began, before = time.perf_counter(), machine.busy_seconds_of_others()
        found = do(given)
        used, passed = machine.busy_seconds_of_others() - before, time.perf_counter() - began
        if used <= QUIET * passed:
            return found
    raise UserError(f"machine busy: others use {used / passed:.2f} of a core; stop them, then make clock")


def _block(piece: Piece) -> float:
    """Mean seconds of a piece: one untimed where pieces are short, then a block."""
    if _seconds(piece) > BLOCK_SECONDS:
        return _seconds(piece)
    pieces, passed, began = 0, 0.0, time.perf_counter()
    while pieces < ENOUGH_STEPS and passed < (LONGEST_BLOCK if pieces < BLOCK_STEPS else BLOCK_SECONDS):
        piece()
        pieces += 1
        passed = time.perf_counter() - began
    machine.synchronise()
    return (time.perf_counter() - began) / pieces


def _seconds(piece: Piece) -> float:
    machine.synchronise()
    began = time.perf_counter()
    piece()
    machine.synchronise()
    return time.perf_counter() - began


class _Bench:
    def __init__(self, network: str, precision: str, augmentation: str):
        self.network = networks.build(network, "none", CLASSES, precision).to(machine.device())
        self.augment, self.scaler = make_augment(augmentation), torch.amp.GradScaler(enabled=precision == "float16")
        self.random = cache(_random)

    def piece(self, work: Work, regime: Regime) -> tuple[Piece, int]:
        """A function that does one piece of a kind of work, and how many units that is."""
        images = work.batch or (64 if machine.device().type == "cuda" else 16)
        spec = BatchSpec(work.size, images, work.view, work.detail, work.strength, work.mode)
        photos = self.random(work.stored or work.size, images)
        some = photos[:images]
        if work.kind == "resize":
            return lambda: store.show(some, spec), images
        if work.kind == "tta":
            return lambda: step.predict_averaged(self.network, some, images, self.augment), images
        network = regime.prepare(self.network, None)
        labels = torch.arange(images, device=machine.device()) % CLASSES
        if work.kind == "hook" and work.mode == "after_epoch":
            last = first_steps((Phase("RPL", (1,)),), 1, spec.size, 1, 0)[0]
            return lambda: regime.after_epoch(network, last), 1
        if work.kind == "hook":
            batches = photos.split(images)
            return lambda: regime.finish(network, ((self._input(part, spec), labels) for part in batches)), POOL
        optimiser = step.SGD(network.parameters(), lr=1e-6)

        def train() -> None:
            if network.trains != work.trains:
                network.set_trains(work.trains)
            chosen = torch.randperm(len(photos))[:images].to(photos.device)
            inputs = self._input(photos[chosen], spec)
            step.take_step(network, regime, spec, optimiser, inputs, labels, self.scaler)

        return train, 1

    def _input(self, pixels: Tensor, spec: BatchSpec) -> Tensor:
        return self.augment(store.show(store.on_device(pixels), spec), spec.strength)


def _random(size: int, batch: int) -> Tensor:
    return torch.randint(0, 256, (POOL * batch, size, size, 3), dtype=torch.uint8).to(machine.device())


def _flag() -> Path:
    """Is there while this device is measured; without its suffix, the lock that is held meanwhile."""
    return cache_folder() / "locks" / f"clock-{machine.device_id()}.measuring"


@contextlib.contextmanager
def measuring() -> Iterator[None]:
    """Hold the clock of this device; trainings of ours pause meanwhile."""
    with lock(_flag().with_suffix(""), "waiting: another process takes the clock of this device"):
        _flag().touch()
        try:
            yield
        finally:
            _flag().unlink(missing_ok=True)


def wait_while_measuring() -> None:
    """Wait until no other process takes the clock of this device: a training calls it before every step."""
    if (flag := _flag()).exists():
        with lock(flag.with_suffix(""), "waiting while the clock of this device is taken"):
            flag.unlink(missing_ok=True)  # of a process that died
