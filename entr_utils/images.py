"""Decode once: images as one checked, cached uint8 array at the largest size; placed, resized and batched from there.

Then T measures training, not JPEG decoding, which on two CPU cores would hide what the image size changes.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as resizing

from entr_utils import UserError, cached, datasets, folders, memory, synthetic
from entr_utils.augmentation import Augment
from entr_utils.decoding import UnreadableImage, decode, sha256_of
from entr_utils.parameters import KNOWN_GROUPS, Parameters
from entr_utils.progress import track
from entr_utils.timing import device

CHUNK = 256  # images copied or resized at once: bounds the memory that takes


@dataclass(frozen=True)
class Images:
    """A decoded dataset.

    Attributes:
        pixels: (n, size, size, 3) uint8, RGB, read-only, read from disk as it is indexed.
        labels: (n,) int64 class of each image.
        names: "class/file" of each image, sorted.
        classes: class names, sorted.
        groups: group name of each image, or None.
        source: for people: what these images are.
        sha256: of the files read, or of the pixels drawn.
        left_out: reason of each file or name that is not used, by its name.
        copies: sets of indices of images whose files are the same, byte for byte.
    """

    pixels: np.ndarray
    labels: np.ndarray
    names: list[str]
    classes: list[str]
    groups: list[str] | None
    source: str
    sha256: str
    left_out: dict[str, str] = field(default_factory=dict)
    copies: list[list[int]] = field(default_factory=list)


def load(parameters: Parameters) -> Images:
    """The images of a run, from the cache where they were decoded before; what cannot be read is left out.

    Raises UserError where the dataset is missing or has too few images that can be read.
    """
    made_of = {name: getattr(parameters, name) for name in ("dataset", "data", "size", "groups", "profile")}
    return _load(Parameters(**made_of))


@cache  # one answer for all regimes, networks and seeds; the pixels stay on disk until they are indexed
def _load(parameters: Parameters) -> Images:
    if parameters.data.startswith("synthetic"):
        return _load_synthetic(parameters)
    own = parameters.dataset == "own"
    folder = Path(parameters.data) if own else datasets.class_folder(parameters.dataset, parameters.data)
    if not folder.is_dir():
        raise UserError(f"data={parameters.data!r}: no such folder; it should hold one sub-folder a class" if own
                        else datasets.status(parameters.dataset, parameters.data)[1])  # fmt: skip
    paths, left_out = folders.list_folder(folder)
    folders.check_classes(folder, map(folders.name_of, paths))
    group_of, unknown = _groups(parameters, folder, list(map(folders.name_of, paths)))
    hashes, unreadable = _hashes(paths)
    wanted, dropped = _of_known_group(hashes, group_of) if parameters.groups in KNOWN_GROUPS else (list(hashes), [])
    pixels, undecoded = _decoded(folder, paths, {name: hashes[name] for name in wanted}, parameters.size)
    unreadable |= undecoded
    hashes = {name: value for name, value in hashes.items() if name not in undecoded}
    used = {name: hashes[name] for name in wanted if name in hashes}
    names = list(used)
    folders.check_classes(folder, names, {name: unreadable[name] for name in unreadable if _class(name) not in dropped})
    classes = sorted(set(map(_class, names)))
    labels = np.array([classes.index(_class(name)) for name in names])
    source = "the user's own images" if own else _describe(parameters.dataset, hashes)
    if parameters.groups in KNOWN_GROUPS:
        source = f"{source}; of these the {len(names)} of known group, {', '.join(dropped) or 'no class'} dropped"
    groups = [group_of[name] for name in names] if group_of and parameters.groups != "known-by-image" else None
    return Images(pixels, labels, names, classes, groups, source, folder_checksum(used),
                  left_out | unreadable | unknown, _copies(used))  # fmt: skip


def _class(name: str) -> str:
    return name.partition("/")[0]


def _of_known_group(names: Iterable[str], group_of: dict[str, str] | None) -> tuple[list[str], list[str]]:
    """The images whose group is known, and the classes left out of them (see `datasets.of_known_group`)."""
    known, listed = group_of or {}, list(names)
    kept, dropped = datasets.of_known_group(list(map(_class, listed)), [known[name] for name in listed])
    return [listed[i] for i in kept], dropped


def _hashes(paths: list[Path]) -> tuple[dict[str, bytes], dict[str, str]]:
    """sha256 of the contents of each file, and the reason of each that cannot be read, both by name."""
    hashes: dict[str, bytes] = {}
    unreadable: dict[str, str] = {}
    for path in track(paths, "reading images"):
        try:
            hashes[folders.name_of(path)] = sha256_of(path)
        except UnreadableImage as error:
            unreadable[folders.name_of(path)] = error.reason
    return hashes, unreadable


def _decoded(folder: Path, paths: list[Path], hashes: dict[str, bytes], size: int) -> tuple[np.ndarray, dict[str, str]]:
    """(n, size, size, 3) uint8 of the images that can be decoded, and the reason of each that cannot, by name.

    Both stand in the cache, under a name made of the contents of all: what cannot be decoded is known there, too.
    """

    def fill(room: np.ndarray) -> dict[str, str]:
        names, path_of = list(hashes), {folders.name_of(path): path for path in paths}
        _, reasons = decode([path_of[name] for name in names], size, room)
        return {names[i]: reason for i, reason in reasons.items()}

    if not hashes:  # an array of nothing cannot be mapped
        return np.empty((0, size, size, 3), np.uint8), {}
    stem = f"{folder.name[:40]}-{size}-{folder_checksum(hashes)[:12]}"
    pixels, undecoded = cached.images(stem, len(hashes), size, fill)
    return pixels[: len(hashes) - len(undecoded)], undecoded


def _copies(hashes: dict[str, bytes]) -> list[list[int]]:
    same: dict[bytes, list[int]] = {}
    for i, value in enumerate(hashes.values()):
        same.setdefault(value, []).append(i)
    return [indices for indices in same.values() if len(indices) > 1]


def _describe(dataset: str, hashes: dict[str, bytes]) -> str:
    """What a folder holds, and whether it can be what the paper used."""
    paper, images, classes = datasets.DATASETS[dataset], len(hashes), len(set(map(_class, hashes)))
    known = datasets.KNOWN_IMAGES.get(folder_checksum(hashes), "a folder of images")
    if (images, classes) == (paper.images, paper.classes):
        return f"{known}: {images} images, {classes} classes, as many as the paper's {paper.title}"
    return (f"{known}: {images} images, {classes} classes, a stand-in for the paper's {paper.title} "
            f"({paper.images} images, {paper.classes} classes)")  # fmt: skip


def _groups(parameters: Parameters, folder: Path, names: list[str]) -> tuple[dict | None, dict[str, str]]:
    """The group of each image, or None; and the reason of each name in the groups file that is no image."""
    beside = folder.parent / f"{folder.name}_groups.csv"
    if parameters.groups == "none" or (not parameters.groups and not os.path.isfile(beside)):
        return None, {}
    named = parameters.groups and parameters.groups not in KNOWN_GROUPS
    csv_file = Path(parameters.groups) if named else beside
    if not os.path.isfile(csv_file):
        raise UserError(f"groups={parameters.groups!r}: {csv_file} is missing; it names the group of each image")
    groups, unknown = datasets.read_groups(csv_file, names)
    return dict(zip(names, groups, strict=True)), dict.fromkeys(unknown, f"named in {csv_file.name}, but no image here")


def _load_synthetic(parameters: Parameters) -> Images:
    paper = datasets.DATASETS["ucm" if parameters.dataset == "own" else parameters.dataset]
    scale = parameters.data.partition("-")[2] or "both"
    number, per_class = parameters.made_of.classes or paper.classes, synthetic.PER_CLASS[parameters.profile][paper.look]
    stem = f"synthetic{synthetic.VERSION}-{paper.look}-{scale}-{number}x{per_class}-{parameters.size}"
    drawn = partial(synthetic.draw, paper.look, number, per_class, parameters.size, scale)

    def fill(room: np.ndarray) -> dict:
        np.copyto(room, drawn())
        return {}

    pixels, _ = cached.images(stem, number * per_class, parameters.size, fill)
    labels = np.repeat(np.arange(number), per_class)
    classes = [f"class {label:02d}" for label in range(number)]
    names = [f"{classes[label]}/{i % per_class:03d}" for i, label in enumerate(labels)]
    source = f"synthetic {paper.look}, class carried by {scale} detail, {len(labels)} images, {number} classes"
    return Images(pixels, labels, names, classes, None, source, hashlib.sha256(pixels.data).hexdigest())


def folder_checksum(hashes: dict[str, bytes]) -> str:
    """sha256 over the names of image files and the sha256 of their contents, in order."""
    total = hashlib.sha256()
    for name, value in hashes.items():
        total.update(f"{name}\n".encode())
        total.update(value)
    return total.hexdigest()


def place(pixels: np.ndarray, chosen: np.ndarray) -> Tensor:
    """The chosen images as an (n, s, s, 3) uint8 tensor where they fit: device, host or disk (see `memory`)."""
    placed = memory.empty_images(len(chosen), pixels.shape[1])
    for begin in range(0, len(chosen), CHUNK):
        rows = chosen[begin : begin + CHUNK]
        placed[begin : begin + len(rows)] = torch.from_numpy(pixels[rows])
    return placed


def resize(pixels: Tensor, size: int) -> Tensor:
    """(n, s, s, 3) uint8 to (n, size, size, 3) uint8, bilinear with antialiasing, in chunks to bound memory.

    Computed on the device; the result is placed where it fits, as `place` does.
    """
    if pixels.shape[1] == size:
        return pixels
    resized = memory.empty_images(len(pixels), size)
    for begin in range(0, len(pixels), CHUNK):
        channels_first = on_device(pixels[begin : begin + CHUNK]).permute(0, 3, 1, 2)
        small = resizing.resize(channels_first, [size, size], antialias=True)
        resized[begin : begin + CHUNK] = small.permute(0, 2, 3, 1)
    return resized


def on_device(pixels: Tensor) -> Tensor:
    """Some images, on the device wherever they were; pinned on the way to a GPU, so that it need not wait."""
    if device().type == "cpu" or pixels.device.type != "cpu":
        return pixels
    return pixels.pin_memory().to(device(), non_blocking=True)


class Batches:
    """Shuffled, augmented training batches from images wherever they are; an iterable for fastai's Learner.

    The labels are on the device. `pixels` may be replaced between epochs (another size) without rebuilding anything.
    Yields (images (batch, 3, s, s) float32, labels (batch,) int64). The last incomplete batch is left out: batch-norm
    cannot train on a single image. The order comes from (seed, epoch) alone, so it is the same for every regime.
    """

    def __init__(self, pixels: Tensor, labels: Tensor, batch: int, seed: int, augment: Augment):
        self.pixels, self.labels = pixels, labels
        self.batch, self.seed, self.augment = min(batch, len(labels)), seed, augment
        self.epoch, self.length = 0, self.whole

    @property
    def whole(self) -> int:
        """Batches of all the images; `length` may be set to fewer, for the epoch that comes."""
        return len(self.labels) // self.batch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        order = torch.randperm(len(self.labels), generator=generator)
        rows, of_labels = order.to(self.pixels.device), order.to(self.labels.device)
        for begin in range(0, len(self) * self.batch, self.batch):
            chosen = slice(begin, begin + self.batch)
            yield self.augment(on_device(self.pixels[rows[chosen]])), self.labels[of_labels[chosen]]
