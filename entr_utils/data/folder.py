"""A folder of images, one sub-folder a class: what is in it, and how one of its files becomes pixels. No torch.

Taken are class/image.jpg and the like, by IMAGE_SUFFIXES in either case; hidden files, hidden folders and LITTER are
passed over in silence; other files, deeper folders and what cannot be decoded are left out with a reason. Names stay as
the disk has them. Only the kinds of FORMATS are decoded, whatever a file is called: other decoders of Pillow start
programs. They become upright RGB: what is transparent is laid on white; 16 bits become 8; in 32-bit whole numbers
and floats the smallest of the usual ranges that holds all values (0-1 for floats, 0-255, 0-65535), else the image's own
range, becomes 0 to 255, NaN and infinity 0; of several pages or frames the first; turned as EXIF asks. More than
MAX_PIXELS are refused: a decompression bomb, or a mosaic to be cut into tiles.
"""

import contextlib
import errno
import hashlib
import os
import stat
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from entr_utils.util import UserError, track

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
LITTER = ("thumbs.db", "desktop.ini", "__macosx")  # whatever the case
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP")
MAX_PIXELS = 400_000_000  # 20000 x 20000; Pillow holds one in 1.6 GB
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # where Pillow warns; at twice this it refuses
# Errors of a file; others are of the machine, and may pass.
OF_THE_FILE = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)


class UnreadableImage(UserError):
    """An image file that cannot be decoded, for a `reason` in a few words."""

    def __init__(self, path: Path, reason: str) -> None:
        self.reason = " ".join(reason.split())
        super().__init__(f"{path}: cannot be read as an image ({reason}); repair it or take it out")


def list_folder(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """Image files in the class folders of `folder`, sorted by path, and the reason of each name left out.

    Raises UserError where a folder cannot be read, or two classes have names that look the same or are no text.
    """
    paths: list[Path] = []
    left_out: dict[str, str] = {}
    for entry in visible(folder):
        reasons = {path: _unfit(path) for path in (visible(entry) if os.path.isdir(entry) else ())}
        left_out |= {name_of(path): reason for path, reason in reasons.items() if reason}
        if "" not in reasons.values():
            left_out[shown(entry.name)] = "no class folder with images"
        paths += [path for path, reason in reasons.items() if not reason]
    for name, count in Counter(normalize("NFC", name) for name in {path.parent.name for path in paths}).items():
        if count > 1 or shown(name) != name:
            raise UserError(f"{folder}: {count} class folders look like {shown(name)}, or it is no UTF-8; rename them")
    return sorted(paths), left_out


def visible(folder: Path) -> list[Path]:
    """What is in a folder but hidden things and LITTER. Raises UserError where it cannot be read."""
    try:
        return [path for path in folder.iterdir() if path.name[0] != "." and path.name.lower() not in LITTER]
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}); make it readable or take it out") from error


def _unfit(path: Path) -> str:
    """The reason that something in a class folder is left out, or nothing."""
    if shown(path.name) != path.name:
        return "a name that is no UTF-8"
    if os.path.isdir(path):
        return "a folder in a class folder"
    return "" if path.suffix.lower() in IMAGE_SUFFIXES else "no image by its suffix"


def shown(name: str) -> str:
    """A file's name as it can be printed, whatever its bytes are."""
    return name.encode("utf-8", "backslashreplace").decode()


def name_of(path: Path) -> str:
    """ "class/file": what an image is called in records and groups files."""
    return shown(f"{path.parent.name}/{path.name}")


def class_of(name: str) -> str:
    """The class of the image called `name`."""
    return name.partition("/")[0]


def check_classes(folder: Path, names: Iterable[str], unreadable: Mapping[str, str]) -> None:
    """Whether images of these names can be trained on and tested.

    Args:
        unreadable: the reason of each image that cannot be read, by name.
    Raises UserError where there are fewer than two classes, or a class has a single readable image or none.
    """
    counts = Counter(map(class_of, names))
    counts.update(dict.fromkeys(map(class_of, unreadable), 0))
    few = [name for name, count in counts.items() if count < 2]
    if len(counts) < 2 or few:
        reasons = [f"{name} ({reason})" for name, reason in unreadable.items() if class_of(name) in few]
        raise UserError(
            f"{folder}: {len(counts)} classes with images, {len(few)} of them with fewer than two that can be read: "
            f"{', '.join([*few, *reasons][:9]) or 'none'}; needed: a sub-folder for each of at least two classes, with "
            f"two {', '.join(IMAGE_SUFFIXES)} files each"
        )


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns whatever goes wrong with an image file into UnreadableImage; into a plain UserError where the image may be
    whole: want of memory, a drive that hiccups, too many open files. Left out for that, the run would be another."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise UnreadableImage(path, "not a file")
        if not status.st_size:
            raise UnreadableImage(path, "an empty file")
        yield
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImage(path, "not a JPEG, PNG, TIFF, BMP, GIF or WebP image") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImage(path, f"more than {MAX_PIXELS // 10**6} million pixels") from error
    except Exception as error:  # Pillow's decoders raise many types; all mean the same to the user
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, MemoryError) or getattr(error, "errno", None) not in (None, *OF_THE_FILE):
            raise UserError(f"{path}: cannot be read now ({reason}); try again, or take it out") from error
        raise UnreadableImage(path, reason) from error


def sha256_of(path: Path) -> bytes:
    """sha256 of an image file's bytes. Raises as `open_image` does."""
    with _reading(path), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def open_image(path: Path) -> Image.Image:
    """An upright RGB image (see above).

    Raises UnreadableImage where the file cannot be decoded, UserError where it is the machine that cannot now.
    """
    with _reading(path), warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as image:
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I;16"):  # Pillow would clip 16 bits to white
            return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
        if image.mode in ("I", "F"):
            return Image.fromarray(_eight_bits(np.asarray(image), image.mode == "F")).convert("RGB")
        if image.mode.endswith(("A", "a")) or "transparency" in image.info:
            seen = image.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
        return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(values: np.ndarray, floats: bool) -> np.ndarray:
    """(h, w) of any numbers to uint8, by the smallest of the usual ranges that holds them all."""
    known = values[np.isfinite(values)]
    if not known.size:
        raise ValueError("no finite number in it")
    least, most = float(known.min()), float(known.max())
    usual = [top for top in ((1, 255, 65535) if floats else (255, 65535)) if least >= 0 and most <= top]
    low, high = (0.0, float(usual[0])) if usual else (least, most)
    scaled = (np.nan_to_num(values, nan=low, posinf=low, neginf=low) - low) * (255 / ((high - low) or 1.0))
    return scaled.round().clip(0, 255).astype(np.uint8)


def read_each(
    paths: Mapping[str, Path], read: Callable[[Path], Any], text: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """What `read` makes of each image, and the reason of each that cannot be read, both by name; `text` for progress.

    Raises UserError as `open_image` does.
    """
    results, reasons = {}, {}
    for name, path in track(paths.items(), text):
        try:
            results[name] = read(path)
        except UnreadableImage as error:
            reasons[name] = error.reason
    return results, reasons


def decode(paths: Mapping[str, Path], room: np.ndarray) -> dict[str, str]:
    """Fill `room` with the central squares of the readable images, one after the other.

    Args:
        room: (len(paths), size, size, 3) uint8. Shorter sides become `size`, bicubic with antialiasing.
    Returns: the reason of each image that is left out, by its name. Raises UserError as `open_image` does.
    """
    rows = iter(room)

    def put(path: Path) -> None:
        square = ImageOps.fit(open_image(path), room.shape[1:3], Image.Resampling.BICUBIC)
        next(rows)[:] = np.asarray(square)

    return read_each(paths, put, "decoding images, once")[1]
