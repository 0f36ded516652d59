"""What lies in a folder of images: one sub-folder a class, and much else that systems and people leave there.

    class/image.jpg ...                   taken, by the suffixes of IMAGE_SUFFIXES in either case
    hidden files and folders, LITTER      passed over in silence
    other files, deeper folders           left out, named in the record and the notebook
    images that cannot be decoded         left out, named in the record and the notebook (`decoding`)

Names stay as the disk has them; two classes whose names differ only in how letters are encoded (NFC, NFD) are refused.
"""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from unicodedata import normalize

from entr_utils import UserError

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp"}
LITTER = {"thumbs.db", "desktop.ini", "__macosx"}  # whatever the case


def list_images(folder: Path) -> list[Path]:
    """Image files in the class sub-folders of `folder`, sorted by path.

    Raises UserError where there are fewer than two classes with images, or a class with a single image.
    """
    paths, _ = list_folder(folder)
    check_classes(folder, map(name_of, paths))
    return paths


def list_folder(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """Image files in the class sub-folders of `folder`, sorted by path, and the reason of each name left out.

    Hidden files and folders and LITTER are passed over in silence. Raises UserError where a folder cannot be read, or
    where two classes have names that look the same.
    """
    paths: list[Path] = []
    left_out: dict[str, str] = {}
    for entry in _visible(folder):
        if not os.path.isdir(entry):
            left_out[shown(entry.name)] = "not in a class folder"
            continue
        inside = _visible(entry)
        reasons = {path: _why_not(path) for path in inside}
        found = [path for path, reason in reasons.items() if not reason]
        left_out |= {name_of(path): reason for path, reason in reasons.items() if reason}
        if not found:
            left_out[shown(entry.name)] = "a folder without images"
        paths += found
    _check_names(folder, {path.parent.name for path in paths})
    return sorted(paths), left_out


def _check_names(folder: Path, classes: set[str]) -> None:
    for name, count in Counter(normalize("NFC", name) for name in classes).items():
        if count > 1:
            raise UserError(f"{folder}: {count} class folders look like {name}, in different encodings of its letters; "
                            "make them one")  # fmt: skip
        if not _is_text(name):
            raise UserError(f"{folder}: the name of class folder {shown(name)} is no UTF-8; rename it")


def _visible(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir()
                if not path.name.startswith(".") and path.name.lower() not in LITTER]  # fmt: skip
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}); make it readable or take it out") from error


def _why_not(path: Path) -> str:
    """Why something in a class folder is left out, or nothing."""
    if not _is_text(path.name):
        return "a name that is no UTF-8"
    if os.path.isdir(path):
        return "a folder in a class folder"
    return "" if path.suffix.lower() in IMAGE_SUFFIXES else "no image by its suffix"


def _is_text(name: str) -> bool:
    return shown(name) == name


def shown(name: str) -> str:
    """A file's name as it can be printed, whatever its bytes are."""
    return name.encode("utf-8", "backslashreplace").decode()


def name_of(path: Path) -> str:
    """ "class/file": what an image is called in records and groups files."""
    return shown(f"{path.parent.name}/{path.name}")


def check_classes(folder: Path, names: Iterable[str], unreadable: dict[str, str] | None = None) -> None:
    """Whether "class/file" `names` can be trained on and tested.

    Args:
        unreadable: reason of each image that cannot be read, by name.
    Raises UserError where there are fewer than two classes, a class with a single image, or one that lost all.
    """
    counts, unreadable = Counter(name.partition("/")[0] for name in names), unreadable or {}
    readable = " that can be read" if unreadable else ""
    for name, reason in unreadable.items():
        if not counts[name.partition("/")[0]]:
            raise UserError(f"{folder}: no image in {name.partition('/')[0]} can be read ({name}: {reason}); "
                            "repair them or take the folder out")  # fmt: skip
    if len(counts) < 2:
        raise UserError(f"{folder}: {len(counts)} class folders with images; put one sub-folder a class there, "
                        f"at least two, with {', '.join(sorted(IMAGE_SUFFIXES))} files")  # fmt: skip
    alone = sorted(name for name, count in counts.items() if count < 2)
    if alone:
        raise UserError(f"{folder}: a single image{readable} in {', '.join(alone)}; "
                        "a class needs one to train and one to test")  # fmt: skip
