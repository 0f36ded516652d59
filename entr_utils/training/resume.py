"""Stop anywhere, go on from there: the whole state of a run at an epoch's end, in a file that is whole or not there.

The file: a line with the sha256 of all that follows; a line of JSON (key, epoch, epochs); then torch's own format, of
which nothing is executed. It lies beside the record or in `checkpoint_dir`, which may be a mounted drive: where that
cannot be written any more, a run prints a line and goes on locally.
"""

import hashlib
import io
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from entr_utils.training.run import Run
from entr_utils.util import Damaged, UserError, file_system, is_away, on_drive, write_whole

EVERY, EVERY_ON_A_MOUNT = 30.0, 300.0  # seconds between checkpoints, at least: they come at the end of an epoch
SECONDS = "ENTR_CHECKPOINT_SECONDS"  # overrides both: for the fault campaign and the tests


class Store:
    """Where the checkpoints of one run are kept."""

    def __init__(self, run: Run):
        self.key, self.epochs, self.local = run.spec.key, len(run.epochs), run.path.with_suffix(".checkpoint")
        wanted = run.cell.checkpoint_dir
        self.path = Path(os.path.expanduser(wanted)) / self.local.name if wanted else self.local
        self.places = dict.fromkeys((self.path, self.local))
        self.file_system, self.last = file_system(self.path.parent), time.monotonic()

    @property
    def reached(self) -> int:
        """The epoch after which the run would go on; 0 without a checkpoint."""
        return max(about(path).get("epoch", 0) for path in self.places)

    def newest(self) -> dict | None:
        """The state with most epochs done of those that can be read, or None; a line names what it goes on from. Raises
        UserError for a checkpoint of another run."""
        found = {}
        for path in self.places:
            try:
                if path.exists():
                    found[path] = read(path, self.key)
            except (OSError, Damaged) as error:
                print(f"checkpoint {path}: {error}; it is left out")
        if not found:
            return None
        path, state = max(found.items(), key=lambda pair: pair[1]["epoch"])
        print(f"going on after epoch {state['epoch']} of {self.epochs}, from {path}")
        return state

    def due(self) -> bool:
        away = is_away(file_system(self.path.parent)) or on_drive(self.path)
        every = float(os.environ.get(SECONDS) or (EVERY_ON_A_MOUNT if away else EVERY))
        return time.monotonic() - self.last >= every

    def save(self, state: dict) -> None:
        """Write a checkpoint whole. Where that fails a line is printed, and training goes on with local files."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        head = {"key": self.key, "epoch": state["epoch"], "epochs": self.epochs}
        line, content = json.dumps(head).encode() + b"\n", buffer.getbuffer()  # large, so never copied
        try:  # a drive that was unmounted leaves an empty folder or none: nothing may be written in its place
            if self.path != self.local and (not self.file_system or file_system(self.path.parent) != self.file_system):
                raise UserError(f"{self.path}: cannot be written (the folder or what was mounted there is gone)")
            write_whole(self.path, _checksum(line, content), b"\n", line, content)
        except UserError as error:
            print(f"checkpoint: {error}; training goes on")
            if self.path != self.local:
                self.path = self.local
                self.save(state)
        self.last = time.monotonic()

    def remove(self) -> None:
        for path in self.places:
            try:
                for one in (path, *path.parent.glob(f"{path.name}.*.partial")):
                    one.unlink(missing_ok=True)
            except OSError as error:
                print(f"checkpoint {path}: cannot be removed ({error.strerror})")


def _checksum(line: bytes, content: bytes | memoryview) -> bytes:
    both = hashlib.sha256(line)
    both.update(content)
    return both.hexdigest().encode()


def about(path: Path) -> dict:
    """The second line of a checkpoint, unchecked; {} where there is none."""
    try:
        with open(path, "rb") as file:
            file.readline()
            return json.loads(file.readline())
    except (OSError, ValueError):
        return {}


def read(path: Path, key: str) -> dict:
    """The state in a checkpoint. Raises Damaged where it is not what was written, UserError for another run's."""
    with open(path, "rb") as file:
        checksum, line, content = file.readline().rstrip(b"\n"), file.readline(), file.read()
    if _checksum(line, content) != checksum:
        raise Damaged("damaged, its checksum does not fit")
    head = json.loads(line)
    if head["key"] != key:
        raise UserError(f"{path}: a checkpoint of another run ({head['key'][:12]}, not {key[:12]}); move it away")
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for what it will not read
        raise Damaged(f"cannot be read ({str(error).splitlines()[0]})") from error


def state_of(learner: Any) -> dict:
    """Network, optimiser, loss scaling and every random state, in types that can be read without executing anything."""
    scaler, (kind, keys, *rest) = getattr(learner, "scaler", None), np.random.get_state()  # noqa: NPY002
    return {
        "network": learner.model.state_dict(),
        "optimiser": learner.opt.state_dict(),
        "scaler": scaler.state_dict() if scaler else {},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "python": random.getstate(),
        "numpy": [kind, torch.from_numpy(np.asarray(keys, np.int64)), *rest],
    }


def put_back(learner: Any, state: dict) -> None:
    """Put back what `state_of` gave; prints a line where the device is of another kind."""
    learner.model.load_state_dict(state["network"])
    learner.opt.load_state_dict(state["optimiser"])
    if state["scaler"]:
        learner.scaler.load_state_dict(state["scaler"])
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"])
    elif torch.cuda.is_available() or state["cuda"] is not None:
        print("the checkpoint is of another kind of device: the run goes on, its random numbers will differ")
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
