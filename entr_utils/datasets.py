"""Which images: the paper's three datasets, where they come from, how they are split.

Steel and Bees were never published, so they are read from folders; UC Merced is downloaded (`downloads`).
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

import numpy as np

from entr_utils import UserError
from entr_utils.folders import list_images, shown

VALIDATION_SHARE = 0.1  # the paper's random 90/10 split
ALONE = "alone: "  # begins the group of an image that belongs to none
HELD = (0.08, 0.15)  # share of the images in validation where whole groups must stand there
SPLIT_DRAWS = 100  # groups of unequal size rarely add up to 10%: the best of so many draws is taken


@dataclass(frozen=True)
class Dataset:
    """A row of the paper's Table 1 and what is needed to train on it.

    Attributes:
        name, title: for parameters and for people.
        images, classes: as in the paper.
        look: what synthetic images of it look like (`synthetic.LOOKS`).
        orientations: "eight" where up means nothing (micrographs, aerial images), "two" for left-right flips only.
        dropout: both dropouts of the head; the paper says 0.4-0.6, constant within dataset x network.
        where: what to put where when the images are missing.
    """

    name: str
    title: str
    images: int
    classes: int
    look: str
    orientations: str
    dropout: float
    where: str


DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset("steel", "Steel micrographs", 1460, 7, "micrographs", "eight", 0.5,
                "never published: put one sub-folder of micrographs a class into {folder}/ (a public stand-in: "
                "entr_utils.downloads.import_uhcsdb on UHCSDB's files), or name its parent with DATA=folder"),
        Dataset("ucm", "UC Merced aerial scenes", 2100, 21, "aerial", "eight", 0.5,
                "downloaded by itself where there is a network; else unpack UCMerced_LandUse.zip and put its "
                "class folders into {folder}/, or name its parent with DATA=folder"),
        Dataset("bees", "Bees", 3128, 22, "insects", "two", 0.5,
                "never published: put one sub-folder of photographs a species into {folder}/, "
                "or name its parent with DATA=folder"),
    )
}  # fmt: skip

# What is known about image folders met so far, by their checksum (`images.folder_checksum`).
KNOWN_IMAGES = {
    "3abaed925a1930335e7e88424d1b8f3d6e1a32a2f39542a7cd0c63a7456910d6":
        "UHCSDB micrographs of ultra-high-carbon steel (Hecht et al. 2017), shorter side 256 px, JPEG",
    "268d1c5e1feecc78a2d22c9b989db669648e38b23a27a6f3a3c3e3e8043eeaab":
        "UC Merced Land Use (Yang & Newsam 2010), recoded from TIFF to JPEG q88",
    "799937689b4504f09f8b986e2980c97f793cf19e5dde2ebff43d0af2c3825337":
        "photographs of European bumblebees, cropped, shorter side at most 256 px",
}  # fmt: skip


def class_folder(dataset: str, data: str) -> Path:
    """The folder that holds one sub-folder a class: `data/<dataset>`."""
    return Path(data) / dataset


def status(dataset: str, data: str) -> tuple[str, str]:
    """("synthetic" | "found" | "downloadable" | "missing", one line for people) of a dataset under `data`."""
    known = DATASETS[dataset]
    folder = class_folder(dataset, data)
    if data.startswith("synthetic"):
        return "synthetic", f"{dataset}: synthetic images drawn by formula ({known.look})"
    if folder.is_dir():
        paths = list_images(folder)
        classes = len({path.parent for path in paths})
        return "found", f"{dataset}: found, {len(paths)} images in {classes} classes in {folder}/"
    if dataset == "ucm":
        return "downloadable", f"{dataset}: not in {folder}/, will be downloaded there (318 MB)"
    return "missing", f"{dataset}: missing; {known.where.format(folder=folder)}"


def read_groups(csv_file: Path, names: list[str]) -> tuple[list[str], list[str]]:
    """The group of each image of `names` ("class/file.jpg"), read from a CSV with columns file and group.

    Images of one group (a specimen, a sample, a scene) never stand on both sides of the split. An image that the file
    does not name, or names without a group, is a group of its own. Letters may be encoded either way (NFC or NFD).
    Returns the groups, and the names in the file that are none of `names`, sorted. Raises UserError on a file that is
    no CSV in UTF-8, on other columns, an image in two groups, or no match.
    """
    rows, wanted = _read_csv(csv_file), [normalize("NFC", name) for name in names]
    group_of: dict[str, str] = {}
    for name, group in rows:
        if group and group_of.setdefault(name, group) != group:
            raise UserError(f"groups={csv_file}: {name} stands in two groups, {group_of[name]} and {group}; "
                            "an image has one")  # fmt: skip
    named = {name for name, _ in rows}
    if not named & {*wanted}:
        raise UserError(f"groups={csv_file}: names none of the images; its file column should read like {names[0]}")
    return [group_of.get(name, f"{ALONE}{name}") for name in wanted], sorted(named - {*wanted})


def _read_csv(csv_file: Path) -> list[tuple[str, str]]:
    """(file, group) of each row that names a file, in NFC; a missing group is ""."""
    try:
        with open(csv_file, newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            columns = [shown(str(column)) for column in table.fieldnames or ()]
            rows = [(normalize("NFC", row.get("file") or ""), row.get("group") or "") for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else getattr(error, "strerror", 0) or error
        raise UserError(f"groups={csv_file}: cannot be read ({reason}); it should be a CSV file in UTF-8 with the "
                        "columns file and group") from error  # fmt: skip
    if not {"file", "group"} <= {*columns}:
        raise UserError(f"groups={csv_file}: columns {', '.join(columns)[:80] or 'none'}; it needs the columns file "
                        "and group")  # fmt: skip
    return [(name, group) for name, group in rows if name]


def of_known_group(labels: list[str], groups: list[str]) -> tuple[list[int], list[str]]:
    """Indices of the images whose group is known, and the classes left out of them.

    Left out are classes with images of fewer than two groups: they cannot stand on both sides of a split by group.
    """
    known = [i for i, group in enumerate(groups) if not group.startswith(ALONE)]
    of_class: dict[str, set[str]] = {label: set() for label in labels}
    for i in known:
        of_class[labels[i]].add(groups[i])
    dropped = sorted(label for label, found in of_class.items() if len(found) < 2)
    return [i for i in known if labels[i] not in dropped], dropped


def check_share(share: float, seed: int) -> None:
    """Raises UserError where the share of images in validation is not within HELD."""
    if not HELD[0] <= share <= HELD[1]:
        raise UserError(f"groups='known': the best split of seed {seed} holds out {share:.1%} of the images; allowed: "
                        f"{HELD[0]:.0%} to {HELD[1]:.0%}; take another seed")  # fmt: skip


def split(labels: np.ndarray, seed: int, groups: list[str] | None = None,
          copies: Iterable[list[int]] = (), classes: Sequence[str] = ()) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Training and validation indices: seeded, stratified by class, 90/10, groups and copies kept on one side.

    Args:
        labels: (n,) class of each image, images sorted by path.
        seed: the run's seed; one seed is one split, for all regimes.
        groups: (n,) group names; none means that every image stands alone.
        copies: sets of indices of identical images. A split that happens to keep each set on one side stands; else it
            is drawn with each set as one group.
        classes: their names, for people.
    Returns: two sorted index arrays with every class on both sides.
    Raises UserError where groups and copies allow no such split.
    """
    training, validation = _split(labels, seed, groups, classes)
    inside = np.isin(np.arange(len(labels)), validation)
    if all(inside[same].all() or not inside[same].any() for same in copies):
        return training, validation
    return _split(labels, seed, joined(len(labels), groups, copies), classes)


def joined(n: int, groups: list[str] | None, copies: Iterable[list[int]]) -> list[str]:
    """(n,) group names: groups that share identical images become one."""
    merged, into = list(groups or map(str, range(n))), dict[str, str]()

    def last(group: str) -> str:
        while group in into:
            group = into[group]
        return group

    for same in copies:
        first, *others = sorted({last(merged[i]) for i in same})
        into |= dict.fromkeys(others, first)
    return [last(group) for group in merged]


def _split(labels: np.ndarray, seed: int, groups: list[str] | None,
           classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    rng = np.random.default_rng(seed)
    _, group_of = np.unique(groups if groups is not None else np.arange(len(labels)).astype(str), return_inverse=True)
    sizes = np.zeros((group_of.max() + 1, int(labels.max()) + 1), int)  # images of each class in each group
    np.add.at(sizes, (group_of, labels), 1)
    total = sizes.sum(0)
    target = np.maximum(1, np.round(VALIDATION_SHARE * total)).astype(int)
    draws = (_draw_groups(sizes, total, target, rng) for _ in range(SPLIT_DRAWS if groups else 1))
    validation = min(draws, key=lambda chosen: abs(sizes[chosen].sum(0) - target).sum())
    held = sizes[validation].sum(0)
    if not ((held > 0) & (held < total)).all():
        wrong = [shown(classes[i]) if len(classes) else f"class {i}"
                 for i in np.flatnonzero((held == 0) | (held == total)).tolist()]  # fmt: skip
        raise UserError(f"groups: {', '.join(wrong)}: cannot stand on both sides of the split, being one group or "
                        "copies of one image; add images, or with a groups file take groups=none")  # fmt: skip
    in_validation = validation[group_of]
    return np.flatnonzero(~in_validation), np.flatnonzero(in_validation)


def _draw_groups(sizes: np.ndarray, total: np.ndarray, target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(groups,) bool: groups in random order, each taken where it brings the class counts nearer to `target`."""
    chosen, held = np.zeros(len(sizes), bool), np.zeros_like(total)
    for group in rng.permutation(len(sizes)):
        if abs(held + sizes[group] - target).sum() < abs(held - target).sum():
            chosen[group], held = True, held + sizes[group]
    for label in np.flatnonzero(held == 0):  # its groups are all too large: take the one that does least harm
        distance = abs(held + sizes - target).sum(1).astype(float)
        distance[chosen | (sizes[:, label] == 0) | (held + sizes >= total).any(1)] = np.inf
        if np.isfinite(distance).any():
            chosen[distance.argmin()], held = True, held + sizes[distance.argmin()]
    return chosen
