"""A folder of images as people have it: which files are images, of which class, on which side of a split. No torch.

In this order: folders called train and test (or val; SIDES) are a split, and what is in them classes; else one goes
down while a single folder holds all images; else the top folders are the classes, and images count for them at any
depth. Hidden things, LITTER and SIDECARS are passed over in silence; all else that is not used is left out with a
reason. What is an image is seen by its suffix or, where that is unknown, by its header; nothing is decoded.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from entr_utils.data.pixels import FORMATS, UnreadableImage, header
from entr_utils.util import UserError

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp", ".avif", ".jfif", ".jpe", ".jfi")
RAW = (".dng", ".nef", ".cr2", ".arw", ".orf", ".rw2", ".pef", ".srw")  # begin as TIFF does, with a thumbnail
_DESCRIBE = "xmp json txt csv tsv db ini md xml html htm css js yaml yml log mat npy npz py ipynb xls xlsx doc docx aae"
SIDECARS = tuple(f".{suffix}" for suffix in _DESCRIBE.split())
LITTER = ("thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "lost+found", "system volume information")
SIDES = dict.fromkeys(("train", "training"), "train") | dict.fromkeys(("test", "testing"), "test")
SIDES |= dict.fromkeys(("val", "valid", "validation"), "val")
FILLERS = r"[^a-z]|set|images?|imgs?|data|photos?|pictures?|files?|split|seg"  # of the names of a split's folders
EMPTY = "a folder without images"

Place = tuple[str, ...]  # a path below a folder: the folders that a file is in, and its name


@dataclass(frozen=True)
class Found:
    """What a folder of images holds, in the reading taken."""

    root: Path  # holds the classes, or the folders of the split
    files: dict[str, Path]  # by the image's name, "class/file" with all folders between, in the order of both
    sides: dict[str, str]  # "train" or "test" by name, where the images come split
    left_out: dict[str, str]  # reason of each file or folder that is not used, by its path from root
    reading: tuple[str, ...]  # how folders were read, and how else they can be: lines for people


def look_at(folder: Path, classes: str = "") -> Found:
    """What `folder` holds; with `classes` "inner" the folders in its top folders are classes. Raises UserError where it
    cannot be read or used."""
    every, inner = dict(_walk(folder)), int(classes == "inner")
    above = _down([place for place, reason in every.items() if not reason])
    root, n = folder.joinpath(*above), len(above)
    below = {place[n:]: reason for place, reason in every.items() if place[:n] == above}
    images = [place for place, reason in below.items() if not reason]
    sides, side_at, at = _layout(root, images, inner)
    side = {place: sides.get(place[side_at]) if sides else "train" for place in below if len(place) > at + 1}
    held = {one: {place[at] for place in images if side.get(place) == one} for one in ("train", "test", "val")}
    lost = {place[at]: place for place in below if below[place] not in ("", EMPTY) and side.get(place) == "train"}
    _check(root, images, held["train"], lost, inner)
    judged = next((one for one in ("test", "val") if held[one] & held["train"]), "")
    taken = {place for place in images if side.get(place) in ("train", judged) and place[at] in held["train"]}
    named = sorted(((place[at], *place[:at], *place[at + 1 :]), place) for place in taken)
    of_side = {one: some(top for top, of in sides.items() if of == one) for one in ("train", "test", "val")}
    lines = [
        f"Classes are looked for in {root}." if above else "",
        f"They come split: {of_side['train']} is trained on, {of_side[judged]} is judged." if judged else "",
        f"Only {of_side['train']} has classes: folds of it are judged." if sides and not judged else "",
        _other_reading(images, at - inner, inner) if side_at == 0 else "",
    ]
    return Found(
        root=root,
        files={shown("/".join(name)): root.joinpath(*place) for name, place in named},
        sides={shown("/".join(name)): "train" if side[place] == "train" else "test" for name, place in named if judged},
        left_out=_left_out({p: every[p] for p in every.keys() - {(*above, *p) for p in taken}}, above, bool(sides)),
        reading=tuple(filter(None, lines)),
    )


def _walk(folder: Path, above: Place = ()) -> Iterator[tuple[Place, str]]:
    """All that lies below a folder but hidden things, LITTER and SIDECARS, and the reason to leave it out, or nothing;
    a folder with nothing in it is named itself."""
    try:
        with os.scandir(folder) as listed:
            entries = [one for one in listed if one.name[0] != "." and one.name.rstrip("\r").lower() not in LITTER]
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}); make it readable or take it out") from error
    for entry in entries:
        place, path = (*above, entry.name), folder / entry.name
        if not entry.is_dir():
            if not entry.name.lower().endswith(SIDECARS):
                yield place, "a name that is no UTF-8" if shown(entry.name) != entry.name else _unfit(path)
        elif entry.is_symlink() and folder.resolve().is_relative_to(path.resolve()):
            yield place, "a link to a folder that holds it"
        else:
            yield from [*_walk(path, place)] or [(place, EMPTY)]


def _unfit(path: Path) -> str:
    """The reason that a file is no image, or nothing."""
    if (suffix := path.suffix.lower()) in (*IMAGE_SUFFIXES, *RAW):
        return "a camera's raw file" if suffix in RAW else ""
    try:
        header(path)
    except UnreadableImage as error:
        return error.reason
    return ""


def _down(images: Sequence[Place], above: Place = ()) -> Place:
    """The folders from `above` down to where images are in several, or in one without folders."""
    n = len(above)
    inside = [place[n:] for place in images if place[:n] == above and len(place) > n + 1]
    only = {place[0] for place in inside}
    return _down(images, (*above, *only)) if len(only) == 1 and any(len(place) > 2 for place in inside) else above


def _side(name: str) -> str:
    return SIDES.get(re.sub(FILLERS, "", name.lower()), "")


def _layout(root: Path, images: Sequence[Place], inner: int) -> tuple[dict[str, str], int, int]:
    """The side of each folder that is one, and at which place of a path the folders of sides and of classes are."""
    in_each_class = bool(images) and all(len(place) > 2 and _side(place[1]) for place in images)
    for at in range(1 + in_each_class):
        tops = {place[at] for place in images if len(place) > at + 1}
        sides = {top: side for top in sorted(tops) if (side := _side(top))}
        if train := next((top for top, side in sides.items() if side == "train"), ""):
            if len({*sides.values()}) > 1:  # alone it may be a class of vehicles
                return sides, at, 2 * inner if at else len(_down(images, (train,))) + inner
        elif len(tops) > 1 and (lone := [top for top in sides if top.lower() != "valid"]):
            raise UserError(
                f"{root}: {lone[0]} beside {some(tops - {lone[0]})} looks like one side of a split; needed: folders "
                "train and test (or val), with a sub-folder for each class in both; if it is a class, give it another "
                "name"
            )
    return {}, 0, inner


def _other_reading(images: Iterable[Place], at: int, inner: int) -> str:
    """A line where folders of the same name recur in the class folders: then they may be meant. Else nothing."""
    pairs = {place[at : at + 2] for place in images if len(place) > at + 2}
    again = [name for name, count in Counter(name for _, name in pairs).items() if count > 1]
    both = f"the top folders ({some({top for top, _ in pairs})})", f"the folders in them ({some(again)})"
    taken, other = both[inner], both[1 - inner]
    how = "without CLASSES=inner (classes) they are" if inner else "with CLASSES=inner (classes) they are"
    return f"Classes are {taken}; {how} {other}." if again else ""


def _check(root: Path, images: Sequence[Place], found: set[str], lost: Mapping[str, Place], inner: int) -> None:
    """Raises UserError where the class folders found cannot be used, or those `lost` have files and no image."""
    for name in sorted(lost.keys() - found):
        raise UserError(
            f"{root}: class folder {shown(name)} has files and no image ({shown('/'.join(lost[name]))} for one); make "
            f"{', '.join(FORMATS[:2])} files of them, or take the folder out"
        )
    if len(found) < 2:
        lie = Counter(shown("/".join(place[:-1])) or "it" for place in images).most_common(3)
        held = ", ".join(f"{name} holds {count} images" for name, count in lie) or "it holds no image"
        raise UserError(
            f"{root}: {len(found)} class folders with images ({held}); needed: one for each of two classes or more, in "
            f"train and in test where they come split{'; or take CLASSES=inner (classes) away' * inner}"
        )
    for name, count in Counter(normalize("NFC", name) for name in found).items():
        if count > 1 or shown(name) != name:
            raise UserError(f"{root}: {count} class folders look like {shown(name)}, or it is no UTF-8; rename them")


def _left_out(left: Mapping[Place, str], above: Place, split: bool) -> dict[str, str]:
    """The reason of all that is not taken, by its path; images of a split in a line for each of its folders."""
    reasons, unused = {}, Counter[str]()
    for place, reason in left.items():
        below = place[len(above) :] if place[: len(above)] == above else place
        if split and not reason and len(below) > 1:
            unused[shown(below[0])] += 1
        else:
            reasons[shown("/".join(below))] = reason or "in no class folder"
    return reasons | {name: f"{count} images, not used with this split" for name, count in unused.items()}


def some(names: Iterable[str], between: str = ", ") -> str:
    """Some of these names, as they can be printed."""
    every = sorted(map(shown, names))
    return between.join(every if len(every) < 7 else [*every[:5], "..."])


def shown(name: str) -> str:
    """A file's name as it can be printed, whatever its bytes are."""
    return name.encode("utf-8", "backslashreplace").decode()


def class_of(name: str) -> str:
    return name.partition("/")[0]


def check_classes(folder: Path, names: Iterable[str], unreadable: Mapping[str, str]) -> None:
    """Raises UserError where images of these names have fewer than two classes, or a class has a single one or none:
    all of it may be in `unreadable`, reasons by name."""
    counts = Counter(map(class_of, names))
    counts.update(dict.fromkeys(map(class_of, unreadable), 0))
    few = [name for name, count in counts.items() if count < 2]
    if len(counts) < 2 or few:
        reasons = [f"{name} ({reason})" for name, reason in unreadable.items() if class_of(name) in few]
        raise UserError(
            f"{folder}: {len(counts)} classes with images, {len(few)} of them with fewer than two that can be read: "
            f"{', '.join([*few, *reasons][:9]) or 'none'}; needed: a sub-folder for each of at least two classes, with "
            f"two {', '.join(FORMATS)} images each"
        )
