"""Decode once: images as one checked, cached uint8 array at the largest size; placed, resized and batched from there.

Then T measures training, not JPEG decoding, which on two CPU cores would hide what the image size changes.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import functional as resizing

from entr_utils import UserError, datasets, memory, synthetic
from entr_utils.augmentation import Augment
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
    """

    pixels: np.ndarray
    labels: np.ndarray
    names: list[str]
    classes: list[str]
    groups: list[str] | None
    source: str
    sha256: str


def load(parameters: Parameters) -> Images:
    """The images of a run, from the cache where they were decoded before.

    Raises UserError where the dataset is missing or has too few images.
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
        raise UserError(datasets.status(parameters.dataset, parameters.data)[1])
    paths = datasets.list_images(folder)
    names = [f"{path.parent.name}/{path.name}" for path in paths]
    groups, checksum = _groups(parameters, folder, names), folder_checksum(paths, names)
    classes = sorted({path.parent.name for path in paths})
    source = "the user's own images" if own else _describe(parameters.dataset, len(paths), len(classes), checksum)
    if parameters.groups in KNOWN_GROUPS:
        kept, dropped = datasets.of_known_group([path.parent.name for path in paths], groups or [])
        paths, names, groups = [paths[i] for i in kept], [names[i] for i in kept], [(groups or [])[i] for i in kept]
        classes, checksum = [name for name in classes if name not in dropped], folder_checksum(paths, names)
        source = f"{source}; of these the {len(kept)} of known group, {', '.join(dropped) or 'no class'} dropped"
    size = parameters.size
    stem = f"{folder.name}-{size}-{checksum[:12]}"
    pixels = _cached(stem, len(paths), size, lambda room: decode(paths, size, room))
    labels = np.array([classes.index(path.parent.name) for path in paths])
    return Images(pixels, labels, names, classes, groups if parameters.groups != "known-by-image" else None, source,
                  checksum)  # fmt: skip


def _describe(dataset: str, images: int, classes: int, checksum: str) -> str:
    """What a folder holds, and whether it can be what the paper used."""
    paper = datasets.DATASETS[dataset]
    known = datasets.KNOWN_IMAGES.get(checksum, "a folder of images")
    if (images, classes) == (paper.images, paper.classes):
        return f"{known}: {images} images, {classes} classes, as many as the paper's {paper.title}"
    return (f"{known}: {images} images, {classes} classes, a stand-in for the paper's {paper.title} "
            f"({paper.images} images, {paper.classes} classes)")  # fmt: skip


def _groups(parameters: Parameters, folder: Path, names: list[str]) -> list[str] | None:
    beside = folder.parent / f"{folder.name}_groups.csv"
    if parameters.groups == "none" or (not parameters.groups and not beside.is_file()):
        return None
    named = parameters.groups and parameters.groups not in KNOWN_GROUPS
    if not named and not beside.is_file():
        raise UserError(f"groups={parameters.groups!r}: {beside} is missing; it names the group of each image")
    return datasets.read_groups(Path(parameters.groups) if named else beside, names)


def _load_synthetic(parameters: Parameters) -> Images:
    paper = datasets.DATASETS["ucm" if parameters.dataset == "own" else parameters.dataset]
    scale = parameters.data.partition("-")[2] or "both"
    number, per_class = parameters.made_of.classes or paper.classes, synthetic.PER_CLASS[parameters.profile][paper.look]
    stem = f"synthetic{synthetic.VERSION}-{paper.look}-{scale}-{number}x{per_class}-{parameters.size}"
    drawn = partial(synthetic.draw, paper.look, number, per_class, parameters.size, scale)
    pixels = _cached(stem, number * per_class, parameters.size, lambda room: np.copyto(room, drawn()))
    labels = np.repeat(np.arange(number), per_class)
    classes = [f"class {label:02d}" for label in range(number)]
    names = [f"{classes[label]}/{i % per_class:03d}" for i, label in enumerate(labels)]
    source = f"synthetic {paper.look}, class carried by {scale} detail, {len(labels)} images, {number} classes"
    return Images(pixels, labels, names, classes, None, source, hashlib.sha256(pixels.data).hexdigest())


def folder_checksum(paths: list[Path], names: list[str]) -> str:
    """sha256 over the names and contents of image files, in order."""
    total = hashlib.sha256()
    for path, name in zip(paths, names, strict=True):
        total.update(f"{name}\n".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def open_image(path: Path) -> Image.Image:
    """An upright RGB image. Raises UserError with path and reason where the file cannot be decoded."""
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16"):  # Pillow would clip 16 bits to white
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            return upright.convert("RGB")
    except Exception as error:  # Pillow's decoders raise many types; all mean the same to the user
        raise UserError(f"{path}: cannot be read as an image ({error}); repair it or take it out") from error


def decode(paths: list[Path], size: int, room: np.ndarray | None = None) -> np.ndarray:
    """(n, size, size, 3) uint8: shorter side to `size`, antialiased, centre crop to a square; into `room` if given."""
    pixels = np.empty((len(paths), size, size, 3), np.uint8) if room is None else room
    for i, path in enumerate(track(paths, len(paths), "decoding images, once")):
        pixels[i] = np.asarray(ImageOps.fit(open_image(path), (size, size), Image.Resampling.BICUBIC))
    return pixels


def _cached(stem: str, n: int, size: int, fill: Callable[[np.ndarray], object]) -> np.ndarray:
    """The (n, size, size, 3) array `CACHE/stem.npy`, filled and written whole (temporary file, then renamed) where it
    is not there yet. Memory-mapped all the way: it need not fit the memory."""
    path = memory.CACHE / f"{stem}.npy"
    if not path.exists():
        memory.CACHE.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        room = np.lib.format.open_memmap(temporary, "w+", np.uint8, (n, size, size, 3))
        try:
            fill(room)
            room.flush()
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r")


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
