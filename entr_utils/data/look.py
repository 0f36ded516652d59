"""What would be taken of a folder of images, in lines for people, within seconds: nothing is decoded. No torch."""

import os
from collections import Counter
from collections.abc import Iterator

import numpy as np

from entr_utils.data import catalog, split
from entr_utils.data.folder import check_classes, class_of, some
from entr_utils.data.pixels import header, is_deep, read_each, sha256_of
from entr_utils.settings import Cell
from entr_utils.util import where

SHOWN, FEW, UNEQUAL = 40, 10, 10  # classes listed; images that are few; times as many as another class


def lines(images: str, classes: str = "", groups: str = "") -> Iterator[str]:
    """What is found in the folder or archive `images`, arguments as in `settings.Cell`. Raises UserError, after what
    there is to show, where it cannot be trained on."""
    if isinstance(images, str) and images.startswith("synthetic"):
        yield f"{images}: images will be drawn by formula."
        return
    data, named = str(catalog.own_folder(images)), groups and str(where(groups))
    cell = Cell("own", data=data, groups=named, classes=classes).checked()
    read = catalog.found(cell)
    heads, unreadable = read_each(read.files, header, "looking at images")
    file, left_out = catalog.groups_file(cell, read.root), read.left_out | unreadable
    group_of, unknown = split.read_groups(file, [*read.files]) if file else ({}, [])
    if groups in catalog.KNOWN_GROUPS:
        left_out |= split.of_unknown_group({name: group_of[name] for name in heads})
    names = [name for name in heads if name not in left_out]
    counts = Counter(map(class_of, names))
    if len(counts) < 2:
        check_classes(read.root, names, unreadable)
    yield f"{read.root}: {len(names)} images in {len(counts)} classes"
    yield from (f"  {name}: {count}" for name, count in list(counts.items())[:SHOWN])
    yield from [f"  and {len(counts) - SHOWN} classes more"] if len(counts) > SHOWN else []
    yield from read.reading
    if few := [f"{name} ({count})" for name, count in counts.items() if count < FEW]:
        yield f"Few images: {', '.join(few[:SHOWN])}."
    (most, many), (least, little) = counts.most_common()[0], counts.most_common()[-1]
    if many > UNEQUAL * little:
        yield f"Very unequal: {many} images of {most}, {little} of {least}."
    sides = sorted(min(heads[name][0]) for name in names)
    yield f"Shorter sides: {sides[0]} to {sides[-1]} px, half of them up to {sides[len(sides) // 2]}."
    if deep := sum(is_deep(heads[name][1]) for name in names):
        yield f"More than 8 bits: {deep} images, in one range of brightness; 8 bits: {len(names) - deep}."
    if left_out:
        yield f"Left out, {len(left_out)} in all: {some((f'{name} ({why})' for name, why in left_out.items()), '; ')}."
    sizes = {name: os.path.getsize(read.files[name]) for name in names}
    of_size = Counter(sizes.values())
    hashes = {name: sha256_of(read.files[name]) for name, size in sizes.items() if of_size[size] > 1}
    listed = split.Listed(names, group_of if groups != "known-by-image" else {}, read.sides, hashes)
    if listed.groups:
        yield f"Groups, kept on one side: {listed.n_groups}, from {file} ({len(unknown)} names in it are no image)."
    if listed.copies:
        same = (" = ".join(names[i] for i in one) for one in listed.copies)
        yield f"Identical, kept on one side, {len(listed.copies)} sets: {some(same, '; ')}."
    check_classes(read.root, names, unreadable)
    judged = split.assign(listed, 0)
    share = np.bincount(listed.labels[judged.validation]).max() / len(judged.validation)
    yield f"A run trains on {len(judged.training)} and judges {len(judged.validation)}."
    yield f"Always naming the largest class would score {share:.1%}."
