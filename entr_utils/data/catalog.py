"""Which images there are: the paper's three datasets, folders of a user's own, images drawn by formula. No torch."""

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from entr_utils.data import synthetic
from entr_utils.data.download import unpack
from entr_utils.data.folder import Found, check_classes, class_of, look_at
from entr_utils.settings import PROFILES, Cell
from entr_utils.util import Missing, UserError, cache_folder, checksum, lock, one_of, slug, where

KNOWN_GROUPS = ("known", "known-by-image")  # values of `Cell.groups` that take only images of known group


@dataclass(frozen=True)
class Dataset:
    """A row of the paper's Table 1 (`images`, `classes`) and what is needed to train on it.

    Attributes:
        look: what drawn images of it look like (`synthetic.LOOKS`).
        orientations: "eight" where up means nothing (micrographs, aerial images), "two" for left-right flips only.
        where: what to put where when the images are missing.
    """

    name: str
    title: str
    images: int
    classes: int
    look: str
    orientations: str
    where: str


_PUT = "put one sub-folder a class into {folder}/, or name its parent with DATA=folder"
_STEEL = "never published (a public stand-in: entr_utils.data.download.import_uhcsdb on UHCSDB's files)"
_UCM = "downloaded by itself where there is a network; else unpack UCMerced_LandUse.zip"
DATASETS = {
    "steel": Dataset("steel", "Steel micrographs", 1460, 7, "micrographs", "eight", f"{_STEEL}: {_PUT}"),
    "ucm": Dataset("ucm", "UC Merced aerial scenes", 2100, 21, "aerial", "eight", f"{_UCM}: {_PUT}"),
    "bees": Dataset("bees", "Bees", 3128, 22, "insects", "two", f"never published: {_PUT}"),
}
STANDARD = {  # large sets that come split, for what the paper left to others
    "imagenette": Dataset("imagenette", "Imagenette, 160 px", 13394, 10, "insects", "two", _PUT),
    "cifar10": Dataset("cifar10", "CIFAR-10", 60000, 10, "insects", "two", _PUT),
}
MEGABYTES = {"ucm": 318, "imagenette": 99, "cifar10": 170}  # of what `standard.fetch` downloads
# What is known about folders of images met so far, by the first 16 digits of `store.Images.contents`.
KNOWN_IMAGES = {
    "3abaed925a193033": "UHCSDB micrographs of ultra-high-carbon steel (Hecht et al. 2017), shorter side 256 px, JPEG",
    "268d1c5e1feecc78": "UC Merced Land Use (Yang & Newsam 2010), recoded from TIFF to JPEG q88",
    "799937689b4504f0": "photographs of European bumblebees, cropped, shorter side at most 256 px",
}


def dataset(name: str) -> Dataset:
    """A dataset that is known, or one of the user's: of that nothing is known, and left-right flips are safe."""
    unknown = replace(DATASETS["ucm"], name=name, title=name, images=0, orientations="two", where=_PUT)
    return (DATASETS | STANDARD).get(name, unknown)


def placed(text: str) -> dict[str, str]:
    """The fields of a `Cell` of a known dataset, or by "name:folder" of one that lies anywhere. Raises UserError."""
    name, colon, _ = text.partition(":")
    if not colon or name in DATASETS | STANDARD:
        one_of("DATASETS", text, (*DATASETS, *STANDARD, "name:folder"))
    return {"dataset": name} | ({"data": text} if colon else {})


def class_folder(name: str, data: str) -> Path:
    """The folder with one sub-folder a class: `data/<name>`; for "own", or "<name>:folder", itself (`own_folder`)."""
    itself = data.removeprefix(f"{name}:")
    return own_folder(itself) if name == "own" or itself != data else Path(data) / name


def found(cell: Cell) -> Found:
    """What lies in the folder of a checked cell's images. Raises Missing, and UserError where it cannot be used."""
    folder = class_folder(cell.dataset, cell.data)
    if not folder.is_dir():
        raise Missing(f"{cell.dataset}: missing; {dataset(cell.dataset).where.format(folder=folder)}")
    return look_at(folder, cell.classes)


def status(name: str, data: str, classes: str = "") -> tuple[str, str]:
    """("synthetic" | "found" | "downloadable" | "missing", one line for people) of a dataset under `data`.

    Raises UserError where what is found cannot be used.
    """
    if data.startswith("synthetic"):
        return "synthetic", f"{name}: images drawn by formula ({dataset(name).look})"
    folder = class_folder(name, data)
    if folder.is_dir():
        names = (read := look_at(folder, classes)).files
        check_classes(folder, names, {})
        line = f"{name}: found, {len(names)} images in {len({*map(class_of, names)})} classes in {read.root}/"
        return "found", " ".join([line, *read.reading])
    if name in MEGABYTES:
        return "downloadable", f"{name}: not in {folder}/, will be downloaded ({MEGABYTES[name]} MB)"
    return "missing", f"{name}: missing; {dataset(name).where.format(folder=folder)}"


def drawn_as(cell: Cell) -> dict | None:
    """The arguments of `synthetic.draw`, or None where a checked cell's images come from files."""
    if not cell.data.startswith("synthetic"):
        return None
    paper = dataset(cell.dataset)
    classes, each = PROFILES[cell.profile].classes or paper.classes, synthetic.PER_CLASS[cell.profile][paper.look]
    scale = cell.data.partition("-")[2] or "both"
    return {"look": paper.look, "classes": classes, "per_class": each, "size": cell.size, "scale": scale}


def groups_file(cell: Cell, root: Path) -> Path | None:
    """The CSV file that names the group of each image, or None; looked for beside the folder of the classes, `root`,
    and beside the one that was named. Raises UserError where a named one is missing."""
    beside = [one.parent / f"{one.name}_groups.csv" for one in (root, class_folder(cell.dataset, cell.data))]
    path = next(filter(Path.is_file, beside), beside[0]) if cell.groups in ("", *KNOWN_GROUPS) else Path(cell.groups)
    if cell.groups == "none" or (not cell.groups and not path.is_file()):
        return None
    if not os.access(path, os.R_OK) or not path.is_file():
        raise UserError(f"groups={cell.groups!r}: cannot read {path}; needed: a CSV file with columns file and group")
    return path


def seen(cell: Cell) -> dict:
    """What can be seen of a checked cell's images without reading them: bytes and time of change of each file.

    Raises UserError where there are none.
    """
    if how := drawn_as(cell):
        return how | {"formula": synthetic.VERSION, "files": {}}
    read = found(cell)
    content = groups.read_bytes() if (groups := groups_file(cell, read.root)) else b""
    files = {name: _bytes_and_time(path) for name, path in read.files.items()}
    return {"groups": hashlib.sha256(content).hexdigest(), "files": files}


def count(cell: Cell) -> int:
    """How many images a checked cell has: drawn or found, or as many as the paper's dataset where there are none."""
    if how := drawn_as(cell):
        return how["classes"] * how["per_class"]
    try:
        return len(seen(cell)["files"])
    except Missing:
        return dataset(cell.dataset).images


def _bytes_and_time(path: Path) -> tuple[int, int]:
    try:
        return (found := path.stat()).st_size, found.st_mtime_ns
    except OSError:  # left out when it is read
        return 0, 0


def fingerprint(cell: Cell) -> str:
    """sha256 over names and bytes of a checked cell's images and the content of the groups file; nothing is decoded.

    Of drawn images over the formula's version and its arguments. Raises UserError where there are none.
    """
    what = seen(cell)
    return checksum(what | {"files": {name: size for name, (size, _) in what["files"].items()}})


def own_folder(images: str) -> Path:
    """The folder of a user's own images that has one sub-folder a class; an archive is unpacked in the cache, once.

    Raises UserError where `images` is neither.
    """
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
