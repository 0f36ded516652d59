"""Arrays of images in the cache: made once, written whole, checked whenever a process first reads them.

Beside each `<name>.npy` stands `<name>.json` with what was found while making it and one sha256 over both. What does
not agree with it (cut short, a flipped bit, another program's file) is said and made again. Hashing takes about half a
second for 400 MB.
"""

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from entr_utils import UserError, files, memory
from entr_utils.keys import key_of


def images(name: str, n: int, size: int, fill: Callable[[np.ndarray], dict]) -> tuple[np.ndarray, dict]:
    """The (n, size, size, 3) uint8 array `name` of the cache, read-only and memory-mapped, and what `fill` found.

    Args:
        fill: fills the array, where it is not there yet or damaged, and returns a dictionary of JSON's types.
    Memory-mapped all the way: it need not fit the memory. Raises UserError where it does not fit the disk.
    """
    array, notes = memory.CACHE / f"{name}.npy", memory.CACHE / f"{name}.json"
    trouble = _trouble(array, notes)
    if trouble and array.exists():
        print(f"{array}: {trouble}; made again", file=sys.stderr)
    if trouble:
        notes.unlink(missing_ok=True)
        found = _make(array, (n, size, size, 3), fill)
        files.write_json({"found": found, "sha256": _sha256(array, found)}, notes)
    return np.load(array, mmap_mode="r"), json.loads(notes.read_text())["found"]


def _trouble(array: Path, notes: Path) -> str:
    """Why these files cannot be used, or nothing."""
    if not notes.exists():
        return "no checksum beside it"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        said = json.loads(notes.read_text())
        if said["sha256"] == _sha256(array, said["found"]):
            return ""
    return "damaged"


def _sha256(array: Path, found: dict) -> str:
    with open(array, "rb") as file:
        return key_of({"array": hashlib.file_digest(file, "sha256").hexdigest(), "found": found})


def _make(array: Path, shape: tuple[int, ...], fill: Callable[[np.ndarray], dict]) -> dict:
    """Fill a new array under a temporary name and give it its own when it is on the disk."""
    temporary = array.with_suffix(f".{os.getpid()}.tmp")
    try:
        memory.CACHE.mkdir(parents=True, exist_ok=True)
        room = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
        with open(temporary, "rb+") as file:
            # Takes the room now: writing into a map of a full disk kills the process.
            os.posix_fallocate(file.fileno(), 0, os.path.getsize(temporary))
            found = fill(room)
            room.flush()
            os.fsync(file.fileno())
        os.replace(temporary, array)
    except OSError as error:
        raise UserError(f"{array}: cannot be written ({error.strerror}), {np.prod(shape) / 1e6:.0f} MB are needed; "
                        "free some, or name another folder with ENTR_CACHE=folder") from error  # fmt: skip
    finally:
        temporary.unlink(missing_ok=True)
    return found
