"""The clock of a machine: seconds of a training step of every kind, measured side by side and quiet. Torch alone.

A run on a shared machine is timed with whatever else the machine does, so T is plan x clock instead. A clock measures
every kind of work in turn: one untimed step, then a block of a second and at least five steps (fewer where steps are
long), or of thirty steps, synchronised at its ends. The order rotates; the first of eight rounds is thrown away. A
round in which other processes used more than 5% of a core is thrown away, too, and tried three times; then nothing is
written.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from entr_utils import machine, networks
from entr_utils.data import store
from entr_utils.data.augment import make_augment
from entr_utils.regimes import Regime
from entr_utils.regimes.base import BatchSpec
from entr_utils.regimes.plan import Work, first_steps
from entr_utils.settings import ALL_EQUAL, Phase
from entr_utils.training import interpolate, step
from entr_utils.util import Progress, UserError, cache_folder, lock, now, read_json, slug, write_json

ROUNDS, TRIES = 8, 3
BLOCK_SECONDS, LONGEST_BLOCK = 1.0, 2.0
BLOCK_STEPS, ENOUGH_STEPS = 5, 30
QUIET = 0.05  # cores that other processes may use
SETTLE = 60.0  # seconds in which trainings of ours come to their pause
POOL = 4  # batches of random images that a step takes its own from

Piece = Callable[[], object]


def path_of(results: str | Path) -> Path:
    """The file of this device's clock."""
    return Path(results) / "clocks" / f"{slug(machine.device_model())}.json"


def take(
    works: Iterable[Work],
    regimes: dict[str, Regime],
    network: str,
    precision: str,
    augmentation: str,
    rounds: int = ROUNDS,
    patience: float = SETTLE,
) -> dict:
    """Measure works on this device; the entry of a clock's file (see `results.times`).

    Args:
        works: what a plan holds; equal keys are measured once.
        regimes: by the mode of a work, the regime that knows it; in mode "" every network is called as it is.
        network, precision, augmentation: names; the head has 20 outputs, whatever the images' classes are.
        patience: seconds in which others may come to rest.
    Raises UserError where the machine is busy.
    """
    wanted = {work.key: work for work in works}
    timed = {key: wanted[key] for key in interpolate.timed(wanted)}
    with measuring():
        _settle(patience)
        bench = _Bench(network, precision, augmentation, max(work.stored or work.size for work in wanted.values()))
        pieces = {key: bench.piece(work, regimes.get(work.mode, Regime())) for key, work in timed.items()}
        blocks, first = _rounds(pieces, rounds)
    seconds = {key: median(values) / bench.units(timed[key]) for key, values in blocks.items()}
    spread = {key: (max(values) - min(values)) / median(values) for key, values in blocks.items()}
    beyond = {key: max(0.0, first[key] - median(blocks[key])) for key in blocks}
    about = {"taken": now(), "network": network, "precision": precision, "augmentation": augmentation}
    found = {"seconds": interpolate.filled(seconds, wanted), "first": interpolate.filled(beyond, wanted)}
    return about | found | {"spread": spread, "rounds": rounds - 1}


def keep(entry: dict, results: str | Path) -> Path:
    """Add an entry to this device's clock. Raises UserError where the file is damaged or cannot be written."""
    path = path_of(results)
    with lock(path.parent / ".locks" / path.stem, f"waiting: another process writes {path}"):
        clock = read_json(path) if path.exists() else {"takes": []}
        clock |= {"device": machine.device_model(), "threads": torch.get_num_threads(), "torch": torch.__version__}
        write_json(clock | {"takes": [*clock["takes"], entry]}, path)
    return path


def _rounds(pieces: dict[str, Piece], rounds: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of a piece in every round but the first, and of the very first piece of each kind."""
    first = {key: _seconds(piece) for key, piece in pieces.items()}
    blocks: dict[str, list[float]] = {key: [] for key in pieces}
    order, progress = list(pieces), Progress("taking the clock of this machine")
    for i in range(1, rounds):
        turn = i % len(order)
        for key, seconds in _quiet_round({key: pieces[key] for key in order[turn:] + order[:turn]}).items():
            blocks[key].append(seconds)
        progress.update(i / (rounds - 1))
    progress.close()
    return blocks, first


def _quiet_round(pieces: dict[str, Piece]) -> dict[str, float]:
    """Seconds of a piece of each kind. Raises UserError where others kept the machine busy in all tries."""
    for _ in range(TRIES):
        began, before = time.perf_counter(), machine.busy_seconds_of_others()
        found = {key: _block(piece) for key, piece in pieces.items()}
        cores = (machine.busy_seconds_of_others() - before) / (time.perf_counter() - began)
        if cores <= QUIET:
            return found
    raise _busy(cores)


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
    """What work is done on: a network, random images, an optimiser."""

    def __init__(self, network: str, precision: str, augmentation: str, full: int):
        self.name, self.precision, self.full = network, precision, full
        self.network = networks.build(network, "none", 20, precision).to(machine.device())
        self.augment = make_augment(augmentation)
        self.photos: dict[tuple, Tensor] = {}
        self.scaler = torch.amp.GradScaler() if precision == "float16" else None

    def units(self, work: Work) -> int:
        """How many units a piece of this work is."""
        return {"step": 1, "hook": POOL if work.mode == "finish" else 1}.get(work.kind, self._images(work))

    def _images(self, work: Work) -> int:
        return work.batch or (64 if machine.device().type == "cuda" else 16)

    def piece(self, work: Work, regime: Regime) -> Piece:
        """A function that does one piece of a kind of work."""
        spec = BatchSpec(work.size, self._images(work), work.view, work.detail, work.strength, work.mode)
        photos = self._random(work.stored or work.size, spec.batch)
        some = photos[: spec.batch]
        if work.kind == "resize":
            return lambda: store.show(some, spec)
        if work.kind == "tta":
            return lambda: step.predict_averaged(self.network, some, spec.batch, self.augment)
        network = regime.prepare(self.network, None)
        if work.kind == "hook":
            return partial(self._call_hook, regime, work, network, spec)
        labels = torch.arange(spec.batch, device=machine.device()) % 20
        state: dict[str, torch.optim.Optimizer] = {}

        def train() -> None:
            if network.trains != work.trains or "optimiser" not in state:
                network.set_trains(work.trains)
                state["optimiser"] = step.SGD(step.trained(network), lr=1e-6)
            pixels = store.on_device(photos[torch.randperm(len(photos))[: spec.batch].to(photos.device)])
            if work.stored != work.size or work.view != "resized":
                pixels = store.show(pixels, spec)
            inputs = self.augment(pixels, spec.strength)
            step.take_step(network, regime, spec, state["optimiser"], inputs, labels, self.scaler)

        return train

    def _call_hook(self, regime: Regime, work: Work, network: networks.Network, spec: BatchSpec) -> None:
        """One call after an epoch, or the last one with POOL batches."""
        if work.mode == "after_epoch":
            regime.after_epoch(network, first_steps((Phase("RPL", (1,), "all", ALL_EQUAL),), 1, spec.size, 1, 0)[0])
            return
        batches = self._random(spec.size, spec.batch).split(spec.batch)
        labels = torch.zeros(spec.batch, dtype=torch.long, device=machine.device())
        regime.finish(network, ((self.augment(store.on_device(batch), 1.0), labels) for batch in batches))

    def _random(self, size: int, batch: int) -> Tensor:
        if (size, batch) not in self.photos:
            shape = (POOL * batch, size, size, 3)
            self.photos[size, batch] = torch.randint(0, 256, shape, dtype=torch.uint8).to(machine.device())
        return self.photos[size, batch]


def _paths() -> tuple[Path, Path]:
    folder = cache_folder() / "locks"
    return folder / f"clock-{machine.device_id()}", folder / f"clock-{machine.device_id()}.measuring"


@contextlib.contextmanager
def measuring() -> Iterator[None]:
    """Hold the clock of this device; trainings of ours pause meanwhile."""
    path, flag = _paths()
    with lock(path, "waiting: another process takes the clock of this device"):
        flag.touch()
        try:
            yield
        finally:
            flag.unlink(missing_ok=True)


def wait_while_measuring() -> None:
    """Wait until no other process takes the clock of this device: a training calls it before every step."""
    path, flag = _paths()
    if flag.exists():
        with lock(path, "waiting while the clock of this device is taken"):
            flag.unlink(missing_ok=True)  # of a process that died


def _settle(patience: float) -> None:
    """Wait until others are quiet: trainings of ours stop at their next step. Raises UserError where they are not."""
    began = time.perf_counter()
    while True:
        before = machine.busy_seconds_of_others()
        time.sleep(1)
        cores = machine.busy_seconds_of_others() - before
        if cores <= QUIET:
            return
        if time.perf_counter() - began > patience:
            raise _busy(cores)


def _busy(cores: float) -> UserError:
    return UserError(f"machine busy: others use {cores:.2f} of a core; stop them, then make clock")
