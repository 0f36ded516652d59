"""Which images there are: the paper's three datasets, folders of a user's own, images drawn by formula. No torch."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from entr_utils.data import synthetic
from entr_utils.data.download import ARCHIVES, Archive, unpack
from entr_utils.data.folder import Found, class_of, look_at
from entr_utils.settings import PROFILES, Cell
from entr_utils.util import Missing, UserError, cache_folder, checksum, lock, one_of, slug, where

KNOWN_GROUPS = ("known", "known-by-image")  # values of `Cell.groups` that take only images of known group


class Source(BaseModel, frozen=True, extra="forbid"):
    """What a record keeps of the images."""

    kind: Literal["formula", "folder"]
    title: str
    carries: Literal["", "both", "coarse", "fine", "conflict"] = ""  # the class of drawn images
    stand_in: bool = False  # for the paper's, which were never published
    contents: str  # sha256 over names and contents of the images used
    classes: tuple[str, ...]
    left_out: dict[str, str] = {}  # reason by file, the first hundred
    n_left_out: int = 0
    copies: tuple[tuple[str, ...], ...] = ()  # sets of identical files, the first hundred
    n_copies: int = 0
    brightness: tuple[float, float] | None = None  # black and white in files of more than 8 bits, where there are such


@dataclass(frozen=True)
class Dataset:
    """A row of the paper's Table 1, or a larger set."""

    images: int
    classes: int
    look: str  # of drawn images (`synthetic.LOOKS`)
    orientations: str = "two"  # left-right flips; "eight" where up means nothing
    note: str = ""  # for who has no images of it


_STAND_IN = "a public stand-in: entr_utils.data.download.import_uhcsdb on UHCSDB's files"
DATASETS = {
    "steel": Dataset(1460, 7, "micrographs", "eight", f"never published ({_STAND_IN}): "),
    "ucm": Dataset(2100, 21, "aerial", "eight"),
    "bees": Dataset(3128, 22, "insects", "two", "never published: "),
}
# Large sets that come split, for what the paper left to others.
STANDARD = {"imagenette": Dataset(13394, 10, "insects"), "cifar10": Dataset(60000, 10, "insects")}
# What is known about folders of images met so far, by the first 16 digits of `Source.contents` of the whole folder.
KNOWN_IMAGES = {
    "3abaed925a193033": "UHCSDB micrographs of ultra-high-carbon steel (Hecht et al. 2017), shorter side 256 px, JPEG",
    "268d1c5e1feecc78": "UC Merced Land Use (Yang & Newsam 2010), recoded from TIFF to JPEG q88",
    "799937689b4504f0": "photographs of European bumblebees, cropped, shorter side at most 256 px",
}


def dataset(name: str) -> Dataset:
    """A dataset that is known, or one of the user's: of that nothing is known, and left-right flips are safe."""
    return (DATASETS | STANDARD).get(name, Dataset(0, 21, "aerial"))


def placed(text: str) -> dict[str, str]:
    """The fields of a `Cell` of a known dataset, or by "name:folder" of one that lies anywhere. Raises UserError."""
    name, colon, _ = text.partition(":")
    if not colon or name in DATASETS | STANDARD:
        one_of("DATASETS", text, (*DATASETS, *STANDARD, "name:folder"))
    return {"dataset": name} | ({"data": text} if colon else {})


def class_folder(cell: Cell) -> Path:
    """The folder with one sub-folder a class: data/<dataset>; of "own", or "<dataset>:folder", `own_folder` of it."""
    itself = cell.data.removeprefix(f"{cell.dataset}:")
    return own_folder(itself) if cell.dataset == "own" or itself != cell.data else Path(cell.data) / cell.dataset


def found(cell: Cell) -> Found:
    """What lies in the folder of a checked cell's images. Raises Missing, and UserError where it cannot be used."""
    folder = class_folder(cell)
    if not folder.is_dir():
        put = f"put one sub-folder a class into {folder}/, or name its parent with DATA=folder"
        raise Missing(f"images missing; {dataset(cell.dataset).note}{put}")
    return look_at(folder, cell.classes)


def to_download(cell: Cell) -> Archive | None:
    """What has to be downloaded first for a checked cell (`download.fetch`), and can be."""
    drawn = cell.data.startswith("synthetic")
    return ARCHIVES.get(cell.dataset) if not drawn and not class_folder(cell).is_dir() else None


def described(cell: Cell) -> str:
    """A line for people on a checked cell's images. Raises as `found`."""
    if how := drawn_as(cell):
        return f"{cell.dataset}: images drawn by formula ({how['look']})"
    if archive := to_download(cell):
        return f"{cell.dataset}: not in {cell.data}/{cell.dataset}/, will be downloaded ({archive.megabytes} MB)"
    read = found(cell)
    held = f"{len(read.files)} images in {len({*map(class_of, read.files)})} classes"
    return " ".join([f"{cell.dataset}: found, {held} in {read.root}/", *read.reading])


def drawn_as(cell: Cell) -> dict | None:
    """The arguments of `synthetic.draw`, or None where a checked cell's images come from files."""
    if not cell.data.startswith("synthetic"):
        return None
    paper = dataset(cell.dataset)
    classes, each = PROFILES[cell.profile].classes or paper.classes, synthetic.PER_CLASS[cell.profile][paper.look]
    scale = cell.data.partition("-")[2] or "both"
    return {"look": paper.look, "classes": classes, "per_class": each, "size": cell.size, "scale": scale}


def groups_file(cell: Cell, root: Path) -> Path | None:
    """The CSV file that names the group of each image, where groups count: the one named, or one beside the folder of
    the classes, `root`, or beside that of the cell. Raises UserError where it is asked for and cannot be read."""
    beside = [one.parent / f"{one.name}_groups.csv" for one in (root, class_folder(cell))]
    path = next(filter(Path.is_file, beside), beside[0]) if cell.groups in ("", *KNOWN_GROUPS) else Path(cell.groups)
    if cell.groups == "none" or (not cell.groups and not path.is_file()):
        return None
    if not os.access(path, os.R_OK) or not path.is_file():
        raise UserError(f"groups={cell.groups!r}: cannot read {path}; needed: a CSV file with columns file and group")
    return path


def seen(cell: Cell) -> dict:
    """What can be seen of a checked cell's images without reading them, by file (bytes, time of change); as `found`."""
    if how := drawn_as(cell):
        return how | {"formula": synthetic.VERSION, "files": {}}
    read = found(cell)
    content = groups.read_bytes() if (groups := groups_file(cell, read.root)) else b""
    files = {name: _bytes_and_time(path) for name, path in read.files.items()}
    return {"groups": hashlib.sha256(content).hexdigest(), "files": files}


def _bytes_and_time(path: Path) -> tuple[int, int]:
    try:
        return (found := path.stat()).st_size, found.st_mtime_ns
    except OSError:  # left out when it is read
        return 0, 0


def fingerprint(cell: Cell) -> str:
    """sha256 over names and bytes of a checked cell's images and the content of the groups file; of drawn images over
    the formula's version and its arguments. Raises UserError where there are none."""
    what = seen(cell)
    return checksum(what | {"files": {name: size for name, (size, _) in what["files"].items()}})


def count(cell: Cell) -> int:
    """How many images a checked cell has, or as many as the paper's dataset where there are none."""
    how = drawn_as(cell)
    try:
        return how["classes"] * how["per_class"] if how else len(seen(cell)["files"])
    except Missing:
        return dataset(cell.dataset).images


def own_folder(images: str) -> Path:
    """The folder `images`, or that of the cache in which this archive is unpacked, once. Raises UserError."""
    path = where(images) if isinstance(images, str) and images.strip() else None
    if path and os.path.isfile(path):
        mark = checksum([str(path.resolve()), *_bytes_and_time(path)])[:8]
        target = cache_folder() / "archives" / f"{slug(path.name.partition('.')[0])[:40]}-{mark}"
        with lock(target.with_suffix(".lock"), f"{path}: another process unpacks it; waiting"):
            if not target.is_dir():
                unpack(path, target)
        path = target
    if not path or not os.path.isdir(path):
        raise UserError(
            f"images={images!r}: no such folder or archive ({os.path.abspath(path or '')}); allowed: a folder with one "
            "sub-folder a class, a .zip or .tar of one, or synthetic"
        )
    return path
