"""How an image file becomes pixels, of whatever kind it is. No torch.

Only the kinds of FORMATS are decoded, by what is in a file, whatever it is called: other decoders of Pillow start
programs. They become upright RGB: what is transparent is laid on white; of several pages or frames the first; turned as
EXIF asks, where that can be read. Files of more than 8 bits share one `brightness`, that of their folder; 8 bits stay
as they are. More than MAX_PIXELS are refused: a decompression bomb, or a mosaic to be cut into tiles. What reads a file
raises UnreadableImage where it cannot be decoded, UserError where it is the machine that cannot.
"""

import contextlib
import errno
import hashlib
import os
import stat
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps, PngImagePlugin, UnidentifiedImageError

from entr_utils.util import UserError, track

Image.init()  # all of Pillow's plugins are known from here on
FORMATS = tuple(name for name in ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "GIF", "TIFF") if name in Image.OPEN)
MAX_PIXELS = 400_000_000  # 20000 x 20000; Pillow holds one in 1.6 GB
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # where Pillow warns; at twice this it refuses
# Errors of a file; others are of the machine, and may pass.
OF_THE_FILE = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY  # 64 MB of text in one chunk of a PNG, too
SAMPLE, TAKEN, ROBUST = 48, 20_000, (0.1, 99.9)  # files and pixels of each that brightness is of; in per cent

Brightness = tuple[float, float]  # the values that become black and white
ALL_16_BITS: Brightness = (0, 65535)


class UnreadableImage(UserError):
    """An image file that cannot be decoded, for a `reason` in a few words."""

    def __init__(self, path: Path, reason: str) -> None:
        self.reason = " ".join(reason.split())
        super().__init__(f"{path}: cannot be read as an image ({reason}); repair it or take it out")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns what goes wrong with a file into UnreadableImage; into a plain UserError where the image may be whole: want
    of memory, a drive that hiccups, too many open files. Left out for that, the run would be another."""
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
        raise UnreadableImage(path, f"not a {', '.join(FORMATS)} image") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImage(path, f"more than {MAX_PIXELS // 10**6} million pixels") from error
    except Exception as error:  # Pillow's decoders raise many types; all mean the same to the user
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, MemoryError) or getattr(error, "errno", None) not in (None, *OF_THE_FILE):
            raise UserError(f"{path}: cannot be read now ({reason}); try again, or take it out") from error
        raise UnreadableImage(path, reason) from error


def sha256_of(path: Path) -> bytes:
    """sha256 of a file's bytes."""
    with _reading(path), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def header(path: Path) -> tuple[tuple[int, int], str]:
    """(width, height) and Pillow's mode of an image, nothing decoded."""
    return _opened(path, lambda image: (image.size, image.mode))


def is_deep(mode: str) -> bool:
    """Whether images of this mode have more than 8 bits, in one channel: Pillow makes 8 bits of all others."""
    return mode in ("I", "F") or mode.startswith("I;16")


def open_image(path: Path, brightness: Brightness = ALL_16_BITS) -> Image.Image:
    """An upright RGB image (see above)."""
    return _opened(path, lambda image: _rgb(_upright(image), brightness))


def _rgb(image: Image.Image, brightness: Brightness) -> Image.Image:
    if is_deep(image.mode):  # Pillow would clip to white
        (low, high), values = brightness, np.asarray(image, np.float64)
        finite = np.nan_to_num(values, nan=low, posinf=low, neginf=low)  # what is no finite number becomes black
        grey = ((finite - low) * (255 / (high - low))).round().clip(0, 255)
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode.endswith(("A", "a")) or "transparency" in image.info:
        seen = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _opened(path: Path, read: Callable[[Image.Image], Any]) -> Any:
    """What `read` makes of an open image; what only describes the pixels of a PNG need not be readable."""
    with _reading(path), warnings.catch_warnings(action="ignore"):
        ImageFile.LOAD_TRUNCATED_IMAGES = True  # passes over spoilt chunks of a PNG; pixels are read without it
        try:
            opened = Image.open(path, formats=FORMATS)
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False
        with opened as image:
            return read(image)


def _upright(image: Image.Image) -> Image.Image:
    """The whole image in its own mode, turned where its orientation can be read."""
    image.load()
    if is_deep(image.mode) and not np.isfinite(np.asarray(image)).any():
        raise ValueError("no finite number in it")
    with contextlib.suppress(Exception):  # as many types as there are ways to spoil EXIF
        ImageOps.exif_transpose(image, in_place=True)  # turns before it writes EXIF anew
    return image


def read_each(paths: Mapping[str, Path], read: Callable[[Path], Any], text: str) -> tuple[dict, dict[str, str]]:
    """What `read` makes of each file, and the reason of each that cannot be read, both by name; `text` for progress."""
    results, reasons = {}, {}
    for name, path in track(paths.items(), text):
        try:
            results[name] = read(path)
        except UnreadableImage as error:
            reasons[name] = error.reason
    return results, reasons


def brightness(paths: Mapping[str, Path]) -> Brightness | None:
    """The values that become black and white in files of more than 8 bits: ROBUST percentiles over a sample of them.

    One for a whole folder, whoever is judged, so that equal values become equal greys. Where nearly all pixels have
    one value: the smallest of the usual ranges (0-1, 0-255, 0-65535) that holds all, else from the least to the most.
    """
    heads = read_each(paths, header, "reading sizes")[0]
    if not (deep := [paths[name] for name, (_, mode) in heads.items() if is_deep(mode)]):
        return None
    taken = []
    for path in deep[:: -(-len(deep) // SAMPLE)]:
        with contextlib.suppress(UnreadableImage):
            values = np.asarray(_opened(path, _upright), np.float64).ravel()
            values = values[:: -(-len(values) // TAKEN)]
            taken.append(values[np.isfinite(values)])
    values = np.concatenate(taken or [np.zeros(1)])
    low, high = map(float, np.percentile(values, ROBUST))
    if low < high:
        return low, high
    least, most = float(values.min()), float(values.max())
    whole = bool((values == values.round()).all()) and most > 1
    usual = [top for top in (1.0, 255.0, 65535.0)[whole:] if least >= 0 and most <= top]
    return (0.0, usual[0]) if usual else (least, max(most, least + 1))


def decode(paths: Mapping[str, Path], room: np.ndarray, light: Brightness | None = None, square: str = "crop") -> dict:
    """Fill `room`, (len(paths), size, size, 3) uint8, with the readable images made square, one after the other.

    `light` is of files of more than 8 bits (`brightness`). "crop" takes the middle, "pad" adds black, "squash" changes
    the proportions; bicubic with antialiasing. Returns the reason of each image that is left out, by its name.
    """
    squares: dict[str, Callable] = {"crop": ImageOps.fit, "pad": ImageOps.pad, "squash": Image.Image.resize}
    rows = iter(room)

    def put(path: Path) -> None:
        image = open_image(path, light or ALL_16_BITS)
        next(rows)[:] = np.asarray(squares[square](image, room.shape[1:3], Image.Resampling.BICUBIC))

    return read_each(paths, put, "decoding images, once")[1]
