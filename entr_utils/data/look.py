"""What would be taken of a folder of images, in lines for people, within seconds: nothing is decoded. No torch."""

import os
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from entr_utils.data import catalog, split
from entr_utils.data.folder import check_classes, class_of, some
from entr_utils.data.pixels import header, is_deep, read_each, sha256_of
from entr_utils.settings import Cell
from entr_utils.util import where

SHOWN, FEW, UNEQUAL = 40, 10, 10  # classes listed; images that are few; times as many as another class


def lines(images: str, classes: str = "", groups: str = "") -> Iterator[str]:
    """What is found in the folder or archive `images`: classes, sides, groups, sizes, copies, what is left out, and
    what always naming the largest class would score. Arguments as in `settings.Cell`.

    Raises UserError, after what there is to show, where it cannot be trained on.
    """
    if isinstance(images, str) and images.startswith("synthetic"):
        yield f"{images}: images will be drawn by formula."
        return
    cell = Cell(
        "own", data=str(catalog.own_folder(images)), groups=groups and str(where(groups)), classes=classes
    ).checked()
    read = catalog.found(cell)
    heads, unreadable = read_each(read.files, header, "looking at images")
    file, left_out = catalog.groups_file(cell, read.root), read.left_out | unreadable
    group_of, unknown = split.read_groups(file, list(heads)) if file else ({}, [])
    left_out |= split.of_unknown_group(group_of) if groups in catalog.KNOWN_GROUPS else {}
    names = [name for name in heads if name not in left_out]
    if len({*map(class_of, names)}) < 2:
        check_classes(read.root, names, unreadable)
    found, labels = np.unique([*map(class_of, names)], return_inverse=True)
    counts, sides = Counter(map(class_of, names)), [read.sides[name] for name in names] if read.sides else None
    yield f"{read.root}: {len(names)} images in {len(counts)} classes"
    yield from (f"  {name}: {count}" for name, count in list(counts.items())[:SHOWN])
    yield from [f"  and {len(counts) - SHOWN} classes more"] if len(counts) > SHOWN else []
    yield from read.reading
    if few := [f"{name} ({count})" for name, count in counts.items() if count < FEW]:
        yield f"Few images: {', '.join(few[:SHOWN])}."
    (most, many), (least, little) = counts.most_common()[0], counts.most_common()[-1]
    if many > UNEQUAL * little:
        yield f"Very unequal: {many} images of {most}, {little} of {least}."
    yield from _pixels([heads[name] for name in names])
    if left_out:
        yield f"Left out, {len(left_out)} in all: {some((f'{name} ({why})' for name, why in left_out.items()), '; ')}."
    if file:
        known = {group_of[name] for name in names if not group_of[name].startswith(split.ALONE)}
        yield f"Groups, kept on one side: {len(known)}, from {file} ({len(unknown)} names in it are no image)."
    if copies := _copies(read.files, names):
        same = (" = ".join(names[i] for i in one) for one in copies)
        yield f"Identical, kept on one side, {len(copies)} sets: {some(same, '; ')}."
    check_classes(read.root, names, unreadable)
    grouped = [group_of[name] for name in names] if group_of and groups != "known-by-image" else None
    of_all: Any = SimpleNamespace(
        names=names, labels=labels, classes=[*found], groups=grouped, copies=copies, sides=sides
    )
    judged = split.assign(of_all, 0)
    share = np.bincount(labels[judged.validation]).max() / len(judged.validation)
    yield f"A run trains on {len(judged.training)} and judges {len(judged.validation)}."
    yield f"Always naming the largest class would score {share:.1%}."


def _pixels(heads: list[tuple[tuple[int, int], str]]) -> Iterator[str]:
    """Lines on the sizes and bits of images, from (size, mode) of each."""
    sides = sorted(min(size) for size, _ in heads)
    yield f"Shorter sides: {sides[0]} to {sides[-1]} px, half of them up to {sides[len(sides) // 2]}."
    if deep := sum(is_deep(mode) for _, mode in heads):
        yield f"More than 8 bits: {deep} images, in one range of brightness; 8 bits: {len(heads) - deep}."


def _copies(files: dict, names: list[str]) -> list[list[int]]:
    """Sets of indices of identical files: only files of equal size are read."""
    of_size = Counter(sizes := [os.path.getsize(files[name]) for name in names])
    contents = [sha256_of(files[name]) if of_size[size] > 1 else name for name, size in zip(names, sizes, strict=True)]
    return split.alike(contents)
