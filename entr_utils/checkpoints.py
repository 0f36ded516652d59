"""Stop anywhere, go on from there: the whole state of a run at an epoch's end, in a file that is whole or not there.

The file: a line with the sha256 of all that follows; a line of JSON (key, epoch, epochs, saved in Unix time); then
torch's own format, read with `weights_only`, so that nothing in it is ever executed. It stands beside the record, or
in `checkpoint_dir`, which may be a mounted drive: where that cannot be written or is no longer there, a run says so and
goes on locally.
"""

import hashlib
import io
import json
import os
import random
import time
from pathlib import Path

import numpy as np
import torch
from fastai.callback.core import Callback

from entr_utils import UserError, files
from entr_utils.experiment import Experiment

EVERY = 30.0  # seconds between checkpoints, at least: they come at the end of an epoch
EVERY_ON_A_MOUNT = 300.0  # where they go to another file system than the results, such as a mounted drive
SECONDS = "ENTR_CHECKPOINT_SECONDS"  # overrides both: for the fault campaign and the tests


class Store:
    """Where the checkpoints of one run are kept."""

    def __init__(self, experiment: Experiment):
        self.experiment = experiment
        self.local = experiment.path.with_suffix(".checkpoint")
        wanted = experiment.parameters.checkpoint_dir
        self.path = Path(os.path.expanduser(wanted)) / self.local.name if wanted else self.local
        self.device = _device(self.path.parent)
        on_a_mount = self.path != self.local and self.device != _device(self.local.parent)
        self.every = float(os.environ.get(SECONDS) or (EVERY_ON_A_MOUNT if on_a_mount else EVERY))
        self.last = time.monotonic()

    def newest(self) -> dict | None:
        """The state with most epochs done of those there are, or None. Says which file it goes on from, or which is
        damaged and left out. Raises UserError for a checkpoint of another run."""
        found = []
        for path in dict.fromkeys((self.path, self.local)):
            try:
                if path.exists():
                    found.append((path, read(path, self.experiment.key)))
            except (OSError, files.Damaged) as error:
                print(f"checkpoint {path}: {error}; it is left out")
        if not found:
            return None
        path, state = max(found, key=lambda pair: pair[1]["epoch"])
        print(f"going on after epoch {state['epoch']} of {self.experiment.regime.epochs}, from {path}")
        return state

    def due(self) -> bool:
        """Whether it is time for another checkpoint."""
        return time.monotonic() - self.last >= self.every

    def save(self, state: dict) -> None:
        """Write a checkpoint whole. Where that fails a run says so, goes to local files, and trains on."""
        content = pack(state, self.experiment)
        try:
            self._check_mount()
            files.write_whole(self.path, *content)
        except UserError as error:
            print(f"checkpoint: {error}; training goes on")
            if self.path != self.local:
                self.path, self.every = self.local, min(self.every, EVERY)
                self.save(state)
        self.last = time.monotonic()

    def _check_mount(self) -> None:
        """A drive that was unmounted leaves an empty folder or none: nothing may be written in its place."""
        if self.path != self.local and (self.device is None or _device(self.path.parent) != self.device):
            raise UserError(f"{self.path}: cannot be written (the folder or what was mounted there is gone)")

    def remove(self) -> None:
        """The record is there: the checkpoints have done their work, and so has what a kill left of one."""
        for path in dict.fromkeys((self.path, self.local)):
            try:
                for one in (path, *path.parent.glob(f"{path.name}.*.partial")):
                    one.unlink(missing_ok=True)
            except OSError as error:
                print(f"checkpoint {path}: cannot be removed ({error.strerror})")


def _device(folder: Path) -> int | None:
    """The file system of a folder, None where there is no such folder."""
    try:
        return folder.stat().st_dev
    except OSError:
        return None


def pack(state: dict, experiment: Experiment) -> tuple[bytes, memoryview]:
    """A checkpoint's bytes in two parts, its two lines and torch's; the second is large and never copied."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    about = {"key": experiment.key, "epoch": state["epoch"], "epochs": experiment.regime.epochs, "saved": time.time()}
    line, content = json.dumps(about).encode() + b"\n", buffer.getbuffer()
    return _checksum(line, content) + b"\n" + line, content


def _checksum(line: bytes, content: bytes | memoryview) -> bytes:
    both = hashlib.sha256(line)
    both.update(content)
    return both.hexdigest().encode()


def about(path: Path) -> dict:
    """What a checkpoint says of itself, unchecked: key, epoch, epochs, saved; {} where there is none."""
    try:
        with open(path, "rb") as file:
            file.readline()
            return json.loads(file.readline())
    except (OSError, ValueError):
        return {}


def read(path: Path, key: str) -> dict:
    """The state in a checkpoint, with `saved`, when it was written.

    Raises `files.Damaged` where it is not what was written, UserError where it is of another run than `key`.
    """
    with open(path, "rb") as file:
        checksum, line, content = file.readline().rstrip(b"\n"), file.readline(), file.read()
    if _checksum(line, content) != checksum:
        raise files.Damaged("damaged, its checksum does not fit")
    head = json.loads(line)
    if head["key"] != key:
        raise UserError(f"{path}: a checkpoint of another run (key {head['key'][:12]}, this run's is {key[:12]}); "
                        "move it away")  # fmt: skip
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True) | {"saved": head["saved"]}
    except Exception as error:  # torch raises many types for what it will not read
        raise files.Damaged(f"cannot be read ({str(error).splitlines()[0]})") from error


def random_states() -> dict:
    """Every random state there is, in types that can be read without executing anything."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": random.getstate(), "numpy": [kind, torch.from_numpy(np.asarray(keys, np.int64)), *rest],
    }  # fmt: skip


def set_random_states(states: dict) -> None:
    """Put back what `random_states` gave."""
    torch.set_rng_state(states["torch"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
    random.setstate(states["python"])
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002


class Attempts:
    """Counts the seconds of work that a stopped run has to do twice.

    A small file beside the record holds when this attempt began and what earlier ones lost; it is touched about once
    a second. A run killed without warning so leaves behind how long it had gone on after its last checkpoint.
    """

    def __init__(self, path: Path):
        self.path, self.touched = path.with_suffix(".alive"), 0.0
        self.repeated, self.began = 0.0, time.time()

    def begin(self, saved: float | None, repeated: float = 0.0) -> None:
        """Begin an attempt; the checkpoint it goes on from was written at `saved`, when so much had been `repeated`:
        all that is known on a machine that has the checkpoint alone."""
        self.repeated = repeated
        try:
            before = json.loads(self.path.read_text())
            since = max(before["began"], saved or 0.0)
            self.repeated = max(repeated, before["repeated"]) + max(0.0, self.path.stat().st_mtime - since)
        except (OSError, ValueError, KeyError, TypeError):
            pass  # the first attempt here, or a file that says nothing: no more is known to be lost
        self._write()

    def again(self, seconds: float) -> None:
        """Count work of this attempt that an earlier one had done: placing images, warming up."""
        self.repeated += seconds
        self._write()

    def touch(self) -> None:
        """A sign of life, at most once a second."""
        if (now := time.monotonic()) - self.touched > 1:
            self.touched = now
            try:
                os.utime(self.path)
            except OSError:
                self.touched = float("inf")  # it is gone, or may not be written: the count is not worth a run

    def end(self) -> None:
        """The run is done."""
        self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        files.write_whole(self.path, json.dumps({"began": self.began, "repeated": self.repeated}).encode())


class KeepCheckpoints(Callback):
    """Stands a learner where a run stopped, and keeps its state at the end of epochs, off the clock."""

    order = 73  # after `training.FollowRegime` and `training.KeepLedger`

    def __init__(self, store: Store, attempts: Attempts, run, state: dict | None):
        self.store, self.attempts, self.run, self.state = store, attempts, run, state
        self.first = state["epoch"] if state else 0

    def before_fit(self):
        if not self.state:
            return
        self.model.load_state_dict(self.state["network"])
        self.opt.load_state_dict(self.state["optimiser"])
        if self.state["scaler"]:
            self.learn.scaler.load_state_dict(self.state["scaler"])
        self.run.stand(self.state)
        set_random_states(self.state["random"])

    def after_batch(self):
        self.attempts.touch()

    def after_epoch(self):
        if self.epoch >= self.first and self.store.due():
            with self.run.clock("checkpoint"):
                self.store.save(self._now())

    def _now(self) -> dict:
        scaler = getattr(self.learn, "scaler", None)
        return {
            "epoch": self.epoch + 1, "network": self.model.state_dict(), "optimiser": self.opt.state_dict(),
            "scaler": scaler.state_dict() if scaler else {}, "random": random_states(),
            "repeated": self.attempts.repeated, **self.run.state(),
        }  # fmt: skip
