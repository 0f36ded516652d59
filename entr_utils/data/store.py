"""Images decoded once into a checked array of the cache; placed, resized and shown from there.

Then T measures training, not JPEG decoding, which on two CPU cores would hide what the image size changes.
"""

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as resizing

from entr_utils.data import catalog, split, synthetic
from entr_utils.data.download import fetch
from entr_utils.data.folder import check_classes, class_of
from entr_utils.data.pixels import brightness, decode, read_each, sha256_of
from entr_utils.machine import device, free_memory
from entr_utils.regimes.base import BatchSpec
from entr_utils.settings import CONFLICT, Cell
from entr_utils.util import UserError, cache_folder, checksum, lock, temporary, write_json

CHUNK = 256  # images copied or resized at once
MOST_NAMED = 100  # files that a record names; the rest are counted
SHARE = 0.5  # of the memory that is free may go to one block of images: what trains needs the rest
ROOM = "free some, or name another folder with ENTR_CACHE=folder"


@dataclass(frozen=True, kw_only=True)
class Images(split.Listed):
    """A decoded dataset: `pixels` are (n, size, size, 3) uint8, RGB, read-only, read from disk as they are indexed."""

    pixels: np.ndarray
    source: catalog.Source
    reading: tuple[str, ...] = ()


def load(cell: Cell) -> Images:
    """The images of a checked cell that can be read, downloaded and decoded where they are not yet. Raises UserError
    where there are too few."""
    if archive := catalog.to_download(cell):
        fetch(archive, catalog.class_folder(cell))
    decide = ("dataset", "data", "size", "groups", "profile", "classes", "square")
    return _load(Cell(**{name: getattr(cell, name) for name in decide}), checksum(catalog.seen(cell)))


def _drawn(how: dict) -> Images:
    look, scale, classes, each = how["look"], how["scale"], how["classes"], how["per_class"]
    stem = f"synthetic{synthetic.VERSION}-{look}-{scale}-{classes}x{each}-{how['size']}"
    parts = {"": how} if scale != CONFLICT else {"": how | {"scale": "both"}, "conflict ": how | {"seed": 1}}

    def fill(room: np.ndarray) -> None:
        np.concatenate([synthetic.draw(**one) for one in parts.values()], out=room)

    names = [f"class {label:02d}/{part}{i:03d}" for part in parts for label in range(classes) for i in range(each)]
    pixels, _ = cached(stem, len(names), how["size"], fill)
    sides = {name: "test" if "conflict" in name else "train" for name in names if len(parts) > 1}
    source = catalog.Source(
        kind="formula",
        title=f"{look} drawn by formula",
        carries=scale,
        contents=hashlib.sha256(pixels.data).hexdigest(),
        classes=tuple(f"class {label:02d}" for label in range(classes)),
    )
    return Images(names, {}, sides, {}, pixels=pixels, source=source)


@lru_cache(maxsize=8)  # one answer for all regimes, networks and seeds, until a file changes
def _load(cell: Cell, seen: str) -> Images:
    if how := catalog.drawn_as(cell):
        return _drawn(how)
    read, square = catalog.found(cell), cell.square or "crop"
    groups_file = catalog.groups_file(cell, read.root)
    check_classes(read.root, read.files, {})
    groups, unknown = split.read_groups(groups_file, [*read.files]) if groups_file else ({}, [])
    hashes, unreadable = read_each(read.files, sha256_of, "reading images")
    of_known = cell.groups in catalog.KNOWN_GROUPS
    unused = split.of_unknown_group({name: groups[name] for name in hashes}) if of_known else {}
    wanted = {name: read.files[name] for name in hashes if name not in unused}
    light = brightness(wanted)
    stem = f"{read.root.name[:40]}-{cell.size}-{_checksum({name: hashes[name] for name in wanted})[:12]}"
    stem += f"-{light[0]:g}-{light[1]:g}" if light else ""
    stem += f"-{square}" if square != "crop" else ""
    pixels, undecoded = cached(stem, len(wanted), cell.size, lambda room: decode(wanted, room, light, square))
    names, unreadable = [name for name in wanted if name not in undecoded], unreadable | undecoded
    dropped = {*map(class_of, unused)} - {*map(class_of, wanted)}
    lost = {name: reason for name, reason in unreadable.items() if class_of(name) not in dropped}
    check_classes(read.root, names, lost)
    readable = {name: value for name, value in hashes.items() if name not in undecoded}
    counts, paper = (len(readable), len({*map(class_of, readable)})), catalog.DATASETS.get(cell.dataset)
    left_out = read.left_out | unreadable | unused | dict.fromkeys(unknown, "in the groups file, but no image here")
    listed = names, groups if cell.groups != "known-by-image" else {}, read.sides, hashes
    known = split.Listed(*listed)
    source = catalog.Source(
        kind="folder",
        title=catalog.KNOWN_IMAGES.get(_checksum(readable)[:16], "a folder of images"),
        stand_in=paper is not None and counts != (paper.images, paper.classes),
        contents=_checksum({name: hashes[name] for name in names}),
        classes=tuple(known.classes),
        left_out=dict(sorted(left_out.items())[:MOST_NAMED]),
        n_left_out=len(left_out),
        copies=tuple(tuple(names[i] for i in same) for same in known.copies[:MOST_NAMED]),
        n_copies=len(known.copies),
        brightness=light,
    )
    return Images(*listed, pixels=pixels[: len(names)], source=source, reading=read.reading)


def _checksum(hashes: Mapping[str, bytes]) -> str:
    return hashlib.sha256(b"".join(f"{name}\n".encode() + value for name, value in hashes.items())).hexdigest()


def cached(name: str, n: int, size: int, fill: Callable[[np.ndarray], dict | None]) -> tuple[np.ndarray, dict]:
    """The (n, size, size, 3) uint8 array `name` of the cache, read-only and memory-mapped, and what `fill` found.

    `fill` fills it, where it is not there or damaged, and returns a dictionary of JSON's types, which lies beside it
    with one sha256 over both. Raises UserError where it does not fit the disk.
    """
    array, notes = cache_folder() / f"{name}.npy", cache_folder() / f"{name}.json"
    if not n:  # cannot be mapped
        return np.empty((0, size, size, 3), np.uint8), {}
    with lock(array.with_suffix(".lock"), f"{array}: another process makes it; waiting"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            written = json.loads(notes.read_text())
            if written["sha256"] == _sha256(array, written["found"]):
                return np.load(array, mmap_mode="r"), written["found"]
        if array.exists():
            print(f"{array}: damaged; made again", file=sys.stderr)
        found = _make(array, (n, size, size, 3), fill)
        write_json({"found": found, "sha256": _sha256(array, found)}, notes)
    return np.load(array, mmap_mode="r"), found


def _sha256(array: Path, found: dict) -> str:
    with open(array, "rb") as file:
        return checksum({"array": hashlib.file_digest(file, "sha256").hexdigest(), "found": found})


def _make(array: Path, shape: tuple[int, ...], fill: Callable[[np.ndarray], dict | None]) -> dict:
    partial = temporary(array)
    try:
        room = np.lib.format.open_memmap(partial, "w+", np.uint8, shape)
        with open(partial, "rb+") as file:
            # Takes the room now: writing into a map of a full disk kills the process.
            os.posix_fallocate(file.fileno(), 0, os.path.getsize(partial))
            found = fill(room) or {}
            room.flush()
            os.fsync(file.fileno())
        os.replace(partial, array)
    except OSError as error:
        raise UserError(f"{array}: no room for {np.prod(shape) / 1e6:.0f} MB ({error.strerror}); {ROOM}") from error
    finally:
        partial.unlink(missing_ok=True)
    return found


def empty_images(n: int, size: int) -> Tensor:
    """Room for (n, size, size, 3) uint8 images where it fits: on the device, in the host's memory (pinned), or in a
    file of the cache that goes with the tensor. Raises UserError where the disk is full."""
    shape, folder = (n, size, size, 3), cache_folder()
    if (wanted := n * size * size * 3) <= SHARE * free_memory("device"):
        return torch.empty(shape, dtype=torch.uint8, device=device())
    if wanted <= SHARE * free_memory("host"):
        return torch.empty(shape, dtype=torch.uint8, pin_memory=device().type == "cuda")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:  # unlinked: the map alone keeps it
            os.posix_fallocate(file.fileno(), 0, wanted)
            return torch.from_numpy(np.memmap(file, np.uint8, "w+", shape=shape))
    except OSError as error:
        raise UserError(f"{folder}: no room for {wanted / 1e6:.0f} MB ({error.strerror}); {ROOM}") from error


def _fill(n: int, size: int, make: Callable[[slice], Tensor]) -> Tensor:
    """(n, size, size, 3) uint8 images placed where they fit, made chunk by chunk: bounds the memory that takes."""
    filled = empty_images(n, size)
    for begin in range(0, n, CHUNK):
        filled[begin : begin + CHUNK] = make(slice(begin, begin + CHUNK))
    return filled


def place(pixels: np.ndarray, chosen: np.ndarray) -> Tensor:
    """The chosen images as an (n, s, s, 3) uint8 tensor where they fit."""
    return _fill(len(chosen), pixels.shape[1], lambda part: torch.from_numpy(pixels[chosen[part]]))


def on_device(pixels: Tensor) -> Tensor:
    """Some images, on the device wherever they were; pinned on the way to a GPU, so that it need not wait."""
    if device().type == "cpu" or pixels.device.type != "cpu":
        return pixels
    return pixels.pin_memory().to(device(), non_blocking=True)


def resize(pixels: Tensor, size: int) -> Tensor:
    """(n, s, s, 3) to (n, size, size, 3) uint8, bilinear with antialiasing: on the device, placed where they fit."""

    def small(part: slice) -> Tensor:
        channels_first = on_device(pixels[part]).permute(0, 3, 1, 2)
        return resizing.resize(channels_first, [size, size], antialias=True).permute(0, 2, 3, 1)

    return pixels if pixels.shape[1] == size else _fill(len(pixels), size, small)


def show(pixels: Tensor, spec: BatchSpec, seed: int = 0, epoch: int = -1) -> Tensor:
    """(n, s, s, 3) uint8 images as a batch of `spec` shows them: resized, blurred or cropped, (n, size, size, 3).

    Crops are one window an image, anywhere in it, drawn from seed and epoch, so that over the epochs all of it is
    seen, as it is at full size; the middle where no epoch is given (evaluation, warm-up).
    """
    if spec.view != "cropped":
        return resize(resize(pixels, spec.detail) if spec.view == "blurred" else pixels, spec.size)
    n, room = len(pixels), pixels.shape[1] - spec.size
    corners = np.random.default_rng((seed, max(epoch, 0))).integers(0, room + 1, (n, 2)).tolist()
    cropped = empty_images(n, spec.size)
    for i, (row, column) in enumerate(corners if epoch >= 0 else [(room // 2, room // 2)] * n):
        cropped[i] = pixels[i, row : row + spec.size, column : column + spec.size]
    return cropped
