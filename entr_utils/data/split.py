"""Who is trained on and who is judged: the split that images come with, else stratified folds of groups. No torch."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from entr_utils.data.folder import class_of
from entr_utils.util import UserError

MOST_FOLDS, FEWEST_FOLDS = 10, 3  # ten judge 10% each, as the paper's split does
ALONE = "alone: "  # begins the group of an image that belongs to none


@dataclass(frozen=True)
class Listed:
    """Images, and what is known of them by their names, where it is."""

    names: list[str]  # "class/file"
    groups: Mapping[str, str]  # as of `read_groups`
    sides: Mapping[str, str]  # as of `folder.Found`
    hashes: Mapping[str, Hashable]  # of the files

    @cached_property
    def classes(self) -> list[str]:
        """Their names, sorted."""
        return sorted({*map(class_of, self.names)})

    @cached_property
    def labels(self) -> np.ndarray:
        """(n,) int64 class of each image, an index of `classes`."""
        return np.unique([*map(class_of, self.names)], return_inverse=True)[1]

    @cached_property
    def copies(self) -> list[list[int]]:
        """Sets of the indices of images whose files are the same, byte for byte."""
        same: dict[Hashable, list[int]] = defaultdict(list)
        for i, name in enumerate(self.names):
            same[self.hashes.get(name, name)].append(i)
        return [indices for indices in same.values() if len(indices) > 1]

    @property
    def n_groups(self) -> int:
        """Groups that were named."""
        return len({group for name in self.names if not (group := self.groups.get(name, ALONE)).startswith(ALONE)})


@dataclass(frozen=True)
class Split:
    """A fold, or an official split: sorted indices of images; the rest as in `results.record.Split`."""

    training: np.ndarray
    validation: np.ndarray
    by: str
    folds: int
    groups: int
    kept: tuple[str, ...]


def assign(images: Listed, seed: int) -> Split:
    """Fold seed % k of a k-fold split shuffled by seed // k, k = min(10, units, images of the largest class).

    A unit is a group, or one image, together with all that hold a copy of it. A unit that holds a class's only training
    images is trained on in every fold, never judged, and named in `kept`. Images that come split stay so, whatever the
    seed; of a unit that is judged nothing is trained on. Raises UserError where there is no such split.
    """
    labels = images.labels
    names, units = np.unique([images.groups.get(name, name) for name in images.names], return_inverse=True)
    for same in images.copies:
        units[np.isin(units, units[same])] = units[same].min()
    if images.sides:
        return _official(images, units)
    holds = np.zeros((len(names), len(images.classes)), int)  # images of each class in each unit
    np.add.at(holds, (units, labels), 1)
    kept = np.asarray(holds[:, (holds > 0).sum(0) == 1].any(1))
    free, judged = holds[~kept].any(1).sum(), holds[~kept].any(0).sum()
    k = int(min(MOST_FOLDS, free, holds[~kept].sum(0).max(initial=0)))
    if k < FEWEST_FOLDS or judged < 2:
        raise UserError(
            f"groups: {free} groups or single images of {judged} classes can be judged, in {k} folds; needed: two "
            "classes of several groups each, and 3 folds; add images, or with a groups file take GROUPS=none (groups)"
        )
    if images.groups and seed >= k:
        raise UserError(f"seed={seed}: these groups make {k} folds; name SEEDS (seeds) from 0 to {k - 1}")
    folds = np.where(kept[units], -1, 0)  # -1: judged in none
    folds[folds == 0] = _folds(labels[folds == 0].tobytes(), units[folds == 0].tobytes(), k, seed // k)
    for label in range(len(images.classes)):
        if len(found := {*folds[labels == label].tolist()}) == 1 and found != {-1}:
            kept[largest := holds[:, label].argmax()] = True
            folds[units == largest] = -1
    inside = folds == seed % k
    if not inside.any():
        raise UserError(f"seed={seed}: its fold of these groups judges no image; name other SEEDS (seeds)")
    kept_names = tuple(map(str, names[kept]))
    return Split(np.flatnonzero(~inside), np.flatnonzero(inside), "fold", k, images.n_groups, kept_names)


def _official(images: Listed, units: np.ndarray) -> Split:
    labels, judged = images.labels, np.array([images.sides[name] == "test" for name in images.names])
    trained = ~judged & ~np.isin(units, units[judged])
    lost = [name for i, name in enumerate(images.classes) if not trained[labels == i].any()]
    if lost or len({*labels[judged].tolist()}) < 2:
        raise UserError(
            f"split: {', '.join(lost[:5]) or 'fewer than two classes'} cannot be trained or judged, once copies and "
            "groups of judged images are not trained on; needed: train and test folders of two classes, of other images"
        )
    return Split(np.flatnonzero(trained), np.flatnonzero(judged), "official", 0, images.n_groups, ())


@cache  # with groups it takes seconds on many images
def _folds(labels: bytes, units: bytes, k: int, shuffle: int) -> np.ndarray:
    """(n,) fold of each image, from (n,) int64 labels and units."""
    of_class, of_unit = np.frombuffer(labels, np.int64), np.frombuffer(units, np.int64)
    kind = StratifiedKFold if len(np.unique(of_unit)) == len(of_unit) else StratifiedGroupKFold
    folds = np.empty(len(of_class), int)
    with warnings.catch_warnings(action="ignore"):  # a class of fewer than k images is judged in fewer folds
        for i, (_, judged) in enumerate(kind(k, shuffle=True, random_state=shuffle).split(folds, of_class, of_unit)):
            folds[judged] = i
    return folds


def read_groups(path: Path, names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The group of each image, by name, from a CSV file with columns file and group; and its names of no image, sorted.
    An image without one is a group of its own. Letters may be encoded either way (NFC or NFD). Raises UserError."""
    try:
        usual = {"dtype": str, "keep_default_na": False, "index_col": False, "encoding": "utf-8-sig"}
        table = pd.read_csv(path, usecols=["file", "group"], **usual).fillna("")
    except (OSError, ValueError) as error:
        needed = "a CSV file in UTF-8 with columns file and group"
        raise UserError(f"groups={path}: cannot be read ({error}); needed: {needed}") from error
    rows = [(normalize("NFC", file), group) for file, group in zip(table["file"], table["group"], strict=True)]
    group_of: dict[str, str] = {}
    for file, group in rows:
        if group and group_of.setdefault(file, group) != group:
            raise UserError(f"groups={path}: {file} is in two groups, {group_of[file]} and {group}; an image has one")
    wanted = {name: normalize("NFC", name) for name in names}
    named = {file for file, _ in rows if file}
    if not named & {*wanted.values()}:
        raise UserError(f"groups={path}: names none of the images; its file column should read like {names[0]}")
    groups = {name: group_of.get(file, ALONE + file) for name, file in wanted.items()}
    return groups, sorted(named - {*wanted.values()})


def of_unknown_group(group_of: Mapping[str, str]) -> dict[str, str]:
    """The reason of each image that a split of known groups leaves out, by name."""
    alone = {name: "of no known group" for name, group in group_of.items() if group.startswith(ALONE)}
    known = {(class_of(name), group) for name, group in group_of.items() if name not in alone}
    groups, few = Counter(label for label, _ in known), "of a class with fewer than two known groups"
    return {name: alone.get(name, few) for name in group_of if name in alone or groups[class_of(name)] < 2}
