"""The one door to image files: `open_image` gives an upright RGB image, or one error with path and reason.

What becomes of what is not plain RGB:

    grey, 1-bit, palette, CMYK, LAB   converted as Pillow does
    transparent                       laid on white (RGBA, LA, a transparent palette entry or colour)
    16-bit whole numbers              0 to 65535 become 0 to 255
    32-bit whole numbers, floats      the smallest of the usual ranges that holds all values (0-1 for floats, 0-255,
                                      0-65535) becomes 0 to 255; where none does, the image's own; NaN and infinity: 0
    several pages or frames           the first
    EXIF orientation                  turned upright
    more than MAX_PIXELS              refused: a decompression bomb, or a mosaic to be cut into tiles

Only the kinds of FORMATS are tried, whatever a file is called: other decoders of Pillow start programs.
"""

import errno
import hashlib
import os
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from entr_utils import UserError
from entr_utils.progress import track

OF_THE_FILE = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP")
MAX_PIXELS = 400_000_000  # 20000 x 20000; Pillow holds one in 1.6 GB
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # where Pillow warns; at twice this it refuses


class UnreadableImage(UserError):
    """An image file that cannot be decoded.

    Attributes:
        path: the file.
        reason: why, in a few words.
    """

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, " ".join(reason.split())
        super().__init__(f"{path}: cannot be read as an image ({reason}); repair it or take it out")


def open_image(path: Path) -> Image.Image:
    """An upright RGB image (see the table above).

    Raises UnreadableImage where the file cannot be decoded, UserError where it is the machine that cannot now (see
    `_refusal`).
    """
    _look(path)
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as image:
            ImageOps.exif_transpose(image, in_place=True)
            return _rgb(image)
    except UnidentifiedImageError as error:
        raise UnreadableImage(path, "not a JPEG, PNG, TIFF, BMP, GIF or WebP image") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImage(path, f"more than {MAX_PIXELS // 10**6} million pixels") from error
    except Exception as error:  # Pillow's decoders raise many types; all mean the same to the user
        raise _refusal(path, error) from error


def sha256_of(path: Path) -> bytes:
    """sha256 of an image file's bytes. Raises as `open_image` does."""
    _look(path)
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise _refusal(path, error) from error


def _refusal(path: Path, error: Exception) -> UserError:
    """UnreadableImage, or a plain UserError for what says nothing of the image and may pass: want of memory, a drive
    that hiccups, too many open files. A run that left the image out for that would be another run."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) not in (None, *OF_THE_FILE):
        return UserError(f"{path}: cannot be read now ({_reason(error)}); try again, or take it out")
    return UnreadableImage(path, _reason(error))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _look(path: Path) -> None:
    """Raises as `open_image` does for what a look from outside tells: opening a pipe would wait for ever."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise _refusal(path, error) from error
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableImage(path, "a folder")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImage(path, "not a file")
    if not status.st_size:
        raise UnreadableImage(path, "an empty file")


def _rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB."""
    if image.mode.startswith("I;16"):  # Pillow would clip 16 bits to white
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        image = Image.fromarray(_eight_bits(np.asarray(image), image.mode == "F"))
    elif image.mode.endswith(("A", "a")) or "transparency" in image.info:
        seen = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
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


def decode(paths: list[Path], size: int, room: np.ndarray | None = None) -> tuple[np.ndarray, dict[int, str]]:
    """Shorter side to `size`, antialiased, centre crop to a square.

    Args:
        room: (len(paths), size, size, 3) uint8 to fill; none means that it is made.
    Returns: the readable images one after the other, (readable, size, size, 3) uint8, and the reason of each image that
    is left out, by its place in `paths`.
    """
    pixels = np.empty((len(paths), size, size, 3), np.uint8) if room is None else room
    reasons: dict[int, str] = {}
    for i, path in enumerate(track(paths, "decoding images, once")):
        try:
            pixels[i - len(reasons)] = square(open_image(path), size)
        except UnreadableImage as error:
            reasons[i] = error.reason
    return pixels[: len(paths) - len(reasons)], reasons


def square(image: Image.Image, size: int) -> np.ndarray:
    """(size, size, 3) uint8: the central square of an RGB image."""
    return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC))
