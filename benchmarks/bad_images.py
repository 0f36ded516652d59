"""Rows of the bad-input table: image files of every kind."""

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.cases import LEFT_OUT, READ, Case, of_path
from entr_utils.data.pixels import brightness, decode, open_image

RED, BLUE = (255, 0, 0), (0, 0, 255)
MIDDLE, HALVES = ((16, 16),), ((8, 16), (24, 16))  # places (row, column) of an image of 32 x 32


@of_path
def decoded(folder: Path, make, suffix: str = "tif", places: tuple = MIDDLE) -> tuple[str, str]:
    """Decode one image; the line is the colour of some places."""
    path, pixels = folder / f"x.{suffix}", np.empty((1, 32, 32, 3), np.uint8)
    make(path)
    if reasons := decode({"x": path}, pixels, brightness({"x": path})):
        return LEFT_OUT, reasons["x"]
    return READ, " over ".join(str(tuple(pixels[0][place].tolist())) for place in places)


@of_path
def plain(path: Path, mode: str, value: int | tuple[int, ...], size: tuple[int, int] = (40, 40)) -> None:
    Image.new(mode, size, value).save(path)


@of_path
def palette(path: Path, **options) -> None:
    image = Image.new("P", (40, 40), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.save(path, **options)


@of_path
def floats(path: Path, *values: float) -> None:
    """A float TIFF with the first of the values in its middle and the others at its rim."""
    pixels = np.full((40, 40), values[0], np.float32)
    pixels[0, : len(values)] = values
    Image.fromarray(pixels).save(path)


def frames(path: Path) -> None:
    first, second = (Image.new("RGB", (40, 40), colour) for colour in (RED, BLUE))
    first.save(path, save_all=True, append_images=[second])


def turned(path: Path) -> None:
    """Red left, blue right, and a camera that was held so that left is up."""
    image, exif = Image.new("RGB", (40, 40), RED), Image.Exif()
    image.paste(BLUE, (20, 0, 40, 40))
    exif[0x0112] = 6
    image.save(path, exif=exif)


def huge(folder: Path) -> tuple[str, str]:
    """Opened alone: making it small takes seconds."""
    plain("1", 1, (20_000, 20_000))(folder / "x.png")
    return READ, str(open_image(folder / "x.png").getpixel((10_000, 10_000)))


CLEAR = palette(transparency=1)
IMAGES = [
    Case("CMYK", READ, "(255, 0, 0)", decoded(plain("CMYK", (0, 255, 255, 0)))),
    Case("palette", READ, "(10, 200, 30)", decoded(palette(), "png")),
    Case("palette with a transparent entry: on white", READ, "(255, 255, 255)", decoded(CLEAR, "png")),
    Case("RGBA, half transparent: on white", READ, "(255, 127, 127)", decoded(plain("RGBA", (255, 0, 0, 128)), "png")),
    Case("grey with transparency: on white", READ, "(155, 155, 155)", decoded(plain("LA", (55, 128)), "png")),
    Case("1-bit", READ, "(255, 255, 255)", decoded(plain("1", 1))),
    Case("greyscale", READ, "(90, 90, 90)", decoded(plain("L", 90))),
    Case("16-bit PNG", READ, "(128, 128, 128)", decoded(plain("I;16", 128 * 257), "png")),
    Case("16-bit TIFF", READ, "(128, 128, 128)", decoded(plain("I;16", 128 * 257))),
    Case("32-bit TIFF that holds 16 bits", READ, "(128, 128, 128)", decoded(plain("I", 128 * 257))),
    Case("float TIFF, 0 to 1", READ, "(128, 128, 128)", decoded(floats(0.5, 0.0, 1.0))),
    Case("float TIFF, -1 to 3", READ, "(64, 64, 64)", decoded(floats(0.0, -1.0, 3.0))),
    Case("float TIFF, NaN and infinity in it", READ, "(0, 0, 0)", decoded(floats(np.nan, np.inf, 1.0))),
    Case("float TIFF, nothing but NaN", LEFT_OUT, "finite", decoded(floats(np.nan))),
    Case("multi-page TIFF: the first page", READ, "(255, 0, 0)", decoded(frames)),
    Case("animated GIF: the first frame", READ, "(255, 0, 0)", decoded(frames, "gif")),
    Case("EXIF-rotated photo: upright", READ, "(255, 0, 0) over (0, 0, 255)", decoded(turned, "png", HALVES)),
    Case("1 x 1 pixels", READ, "(255, 0, 0)", decoded(plain("RGB", RED, (1, 1)), "png")),
    Case("20000 x 20000 pixels", READ, "(255, 255, 255)", huge),
    Case("20000 x 1 pixels", READ, "(255, 0, 0)", decoded(plain("RGB", RED, (20_000, 1)), "png")),
]
