"""Decode once: images as one checked, cached uint8 array at the largest size; resize, augment and batch from there.

Then T measures training, not JPEG decoding, which on two CPU cores would hide what the image size changes.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from fastai.torch_core import TensorImage
from fastai.vision.augment import aug_transforms, setup_aug_tfms
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import functional as resizing

from entr_utils import UserError, datasets, synthetic
from entr_utils.parameters import Parameters
from entr_utils.progress import track

Augment = Callable[[Tensor], Tensor]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CACHE = Path(os.environ.get("ENTR_CACHE", "data/cache"))


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
    checksum = folder_checksum(paths, names)
    pixels = _cached(f"{folder.name}-{parameters.size}-{checksum[:12]}", lambda: decode(paths, parameters.size))
    classes = sorted({path.parent.name for path in paths})
    labels = np.array([classes.index(path.parent.name) for path in paths])
    source = "the user's own images" if own else _describe(parameters.dataset, len(paths), len(classes), checksum)
    return Images(pixels, labels, names, classes, _groups(parameters, folder, names), source, checksum)


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
    return datasets.read_groups(Path(parameters.groups) if parameters.groups else beside, names)


def _load_synthetic(parameters: Parameters) -> Images:
    paper = datasets.DATASETS["ucm" if parameters.dataset == "own" else parameters.dataset]
    scale = parameters.data.partition("-")[2] or "both"
    per_class = synthetic.PER_CLASS[parameters.profile][paper.look]
    stem = f"synthetic{synthetic.VERSION}-{paper.look}-{scale}-{paper.classes}x{per_class}-{parameters.size}"
    pixels = _cached(stem, lambda: synthetic.draw(paper.look, paper.classes, per_class, parameters.size, scale))
    labels = np.repeat(np.arange(paper.classes), per_class)
    classes = [f"class {label:02d}" for label in range(paper.classes)]
    names = [f"{classes[label]}/{i % per_class:03d}" for i, label in enumerate(labels)]
    source = f"synthetic {paper.look}, class carried by {scale} detail, {len(labels)} images, {paper.classes} classes"
    return Images(pixels, labels, names, classes, None, source, hashlib.sha256(pixels.tobytes()).hexdigest())


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


def decode(paths: list[Path], size: int) -> np.ndarray:
    """(n, size, size, 3) uint8: shorter side to `size`, antialiased, centre crop to a square."""
    pixels = np.empty((len(paths), size, size, 3), np.uint8)
    for i, path in enumerate(track(paths, len(paths), "decoding images, once")):
        pixels[i] = np.asarray(ImageOps.fit(open_image(path), (size, size), Image.Resampling.BICUBIC))
    return pixels


def _cached(stem: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array `CACHE/stem.npy`, made and written whole (temporary file, then renamed) where it is not there yet."""
    path = CACHE / f"{stem}.npy"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        with open(temporary, "wb") as file:
            np.save(file, make())
        os.replace(temporary, path)
    return np.load(path, mmap_mode="r")


def resize(pixels: Tensor, size: int) -> Tensor:
    """(n, s, s, 3) uint8 to (n, size, size, 3) uint8, bilinear with antialiasing, in chunks to bound memory."""
    if pixels.shape[1] == size:
        return pixels
    channels_first = pixels.permute(0, 3, 1, 2)
    chunks = [resizing.resize(chunk, [size, size], antialias=True) for chunk in channels_first.split(256)]
    return torch.cat(chunks).permute(0, 2, 3, 1).contiguous()


def normalise(pixels: Tensor) -> Tensor:
    """(n, s, s, 3) uint8 to (n, 3, s, s) float32 in channels-last memory, with ImageNet's mean and deviation."""
    mean = torch.tensor(IMAGENET_MEAN, device=pixels.device)
    std = torch.tensor(IMAGENET_STD, device=pixels.device)
    return (pixels.float() / 255 - mean).div_(std).permute(0, 3, 1, 2)


def make_augment(orientations: str) -> Augment:
    """Augmentation per image, on the device: (n, 3, s, s) to the same. Draws from torch's global random state.

    The paper: "vertical flips, zooming and distortion". Here flips or all eight orientations with probability .5, zoom
    to 1.1 and warp .2 with probability .75 each, composed into one resampling by fastai; no rotation, no lighting.
    """
    steps = setup_aug_tfms(aug_transforms(flip_vert=orientations == "eight", max_rotate=0, max_lighting=0,
                                          max_zoom=1.1, max_warp=0.2))  # fmt: skip

    def augment(batch: Tensor) -> Tensor:
        batch = TensorImage(batch)
        for step in steps:
            batch = step(batch, split_idx=0)
        return batch.as_subclass(Tensor).contiguous(memory_format=torch.channels_last)

    return augment


class Batches:
    """Shuffled, augmented training batches from images that stay on the device; an iterable for fastai's Learner.

    `pixels` may be replaced between epochs (another size) without rebuilding anything.
    Yields (images (batch, 3, s, s) float32, labels (batch,) int64). The last incomplete batch is left out: batch-norm
    cannot train on a single image. The order comes from (seed, epoch) alone, so it is the same for every regime.
    """

    def __init__(self, pixels: Tensor, labels: Tensor, batch: int, seed: int, augment: Augment):
        self.pixels, self.labels = pixels, labels
        self.batch, self.seed, self.augment = min(batch, len(labels)), seed, augment
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.labels) // self.batch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        order = torch.randperm(len(self.labels), generator=generator).to(self.labels.device)
        for i in range(len(self)):
            chosen = order[i * self.batch : (i + 1) * self.batch]
            yield self.augment(normalise(self.pixels[chosen])), self.labels[chosen]
