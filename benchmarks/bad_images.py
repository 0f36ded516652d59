"""Rows of the bad-input table: image files of every kind, what lies in folders of them, and files of groups."""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
from PIL import Image

from benchmarks.cases import FATAL, LEFT_OUT, READ, REPORTED, Attempt, Case, noise, of_path, truncate, write
from entr_utils.data.pixels import brightness, decode, open_image
from entr_utils.settings import Cell
from entr_utils.training.run import prepare

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


GOOD: dict[str, Any] = {f"{name}/{i}.png": None for name in ("lake", "wood") for i in range(4)}


def use(folder: Path) -> tuple[str, str]:
    """Prepare a run on folder/photos, twice: the second time the images come from the cache, and the same comes of it.
    The line names what was left out, what is the same, or else the classes."""
    cell = Cell("own", data=str(folder / "photos"), profile="tiny")
    (first,), (again,) = prepare(cell), prepare(Cell("own", data=cell.data, profile="tiny", groups="none"))
    source = first.images.source
    if not first.images.groups and again.images.source != source:
        raise AssertionError("read from the cache, it is something else")
    texts = [f"{name}: {reason}" for name, reason in source.left_out.items()] + [" = ".join(c) for c in source.copies]
    happened = LEFT_OUT if source.n_left_out else REPORTED if source.n_copies else READ
    return happened, "; ".join(texts or source.classes)


@of_path
def only(folder: Path, contents: Mapping) -> tuple[str, str]:
    """A folder of these files alone."""
    (folder / "photos").mkdir()
    write(folder / "photos", contents)
    return use(folder)


def also(contents: dict[str, Any]) -> Attempt:
    """A good folder and these files."""
    return only(GOOD | contents)


def pond(*contents: object) -> Attempt:
    """A good folder and a third class of these files."""
    return also({f"pond/{i}.png": content for i, content in enumerate(contents)})


def classes(*names: str) -> Attempt:
    """A good folder and more classes of two images each."""
    return also({f"{name}/{i}.png": None for name in names for i in range(2)})


def groups(content: bytes) -> Attempt:
    """A good folder and a file of groups beside it."""
    return also({"../photos_groups.csv": content})


@of_path
def same(folder: Path, name: str) -> tuple[str, str]:
    """lake/0.png once more: whatever the seed, both are on one side of the split."""
    write(folder / "photos", GOOD | {name: noise("lake/0.png").save})
    for run in prepare(Cell("own", data=str(folder / "photos"), profile="tiny", seeds=tuple(range(10)))):
        sides = {run.images.names.index(one) in run.split.validation for one in ("lake/0.png", name)}
        if len(sides) > 1:
            return REPORTED, f"on both sides of the split with seed {run.spec.seed}"
    return use(folder)


def half(path: Path) -> None:
    noise("half", 64).save(path)
    truncate(path)


CLEAR = palette(transparency=1)
WIDE = (30_000).to_bytes(2, "little") * 2
BOMB = b"GIF89a" + WIDE + bytes(3) + b"," + bytes(4) + WIDE + b"\0\x02\x01\0\0;"
LINK = partial(os.symlink, "nowhere")
WALD, LAKE = "W\u00e4lder", "\u6e56"
LITTER = ("lake/Thumbs.db", "lake/.DS_Store", "wood/._0.png", "wood/desktop.ini", ".git/0.png", "__MACOSX/x")
SCRIPT, TABLE = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"file,group\nlake/0.png,1\n"
STRANGE, ALIKE = ("deep lake", WALD, LAKE, "$a$|b"), (WALD, normalize("NFD", WALD))
FOUND = "; ".join(sorted((*STRANGE, "lake", "wood")))
WHOLE_LAKE = TABLE + b"".join(b"lake/%d.png,1\n" % i for i in range(1, 4))

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
    Case("an empty folder", FATAL, "0 class folders", only({})),
    Case("no sub-folders", FATAL, "0 class folders", only({"0.png": None, "1.png": None})),
    Case("one class", FATAL, "1 class folders", only({"lake/0.png": None, "lake/1.png": None})),
    Case("a class with 1 image", FATAL, "pond", pond(None)),
    Case("a class with 1 readable image", FATAL, "pond/1.png (an empty file)", pond(None, b"")),
    Case("a class without a readable image", FATAL, "pond/0.png (an empty file)", pond(b"", b"words")),
    Case("two classes whose names look the same", FATAL, f"look like {WALD}", classes(*ALIKE)),
    Case("a class whose name is no UTF-8", FATAL, "b\\udcff", classes(os.fsdecode(b"b\xff"))),
    Case("class names with spaces, unicode, $ and |", READ, FOUND, classes(*STRANGE)),
    Case("class names with leading dots: hidden", READ, "lake; wood", classes(".pond")),
    Case("hidden files, Thumbs.db, .DS_Store", READ, "lake; wood", also(dict.fromkeys(LITTER, b"x"))),
    Case("a PDF", LEFT_OUT, "lake/x.pdf: ", also({"lake/x.pdf": b"%PDF-1.7"})),
    Case("an image in no class folder", LEFT_OUT, "x.png: ", also({"x.png": b""})),
    Case("a folder in a class folder: read", LEFT_OUT, "lake/x.jpg/0.png: an empty", also({"lake/x.jpg/0.png": b""})),
    Case("a class folder without images", LEFT_OUT, "pond: ", also({"pond": Path.mkdir})),
    Case("a zero-byte JPEG", LEFT_OUT, "lake/x.jpg: an empty file", also({"lake/x.jpg": b""})),
    Case("a truncated JPEG", LEFT_OUT, "lake/x.jpg: image file is truncated", also({"lake/x.jpg": half})),
    Case("a text file named .jpg", LEFT_OUT, "lake/x.jpg: not a JPEG", also({"lake/x.jpg": b"these are words"})),
    Case("PostScript named .jpg: never run", LEFT_OUT, "lake/x.jpg: not a JPEG", also({"lake/x.jpg": SCRIPT})),
    Case("a decompression bomb", LEFT_OUT, "lake/x.png: more than", also({"lake/x.png": BOMB})),
    Case("an unreadable file: a link to nowhere", LEFT_OUT, "lake/x.jpg: ", also({"lake/x.jpg": LINK})),
    Case("an unreadable file: a pipe", LEFT_OUT, "lake/x.jpg: not a file", also({"lake/x.jpg": os.mkfifo})),
    Case("the same image in two classes", REPORTED, "lake/0.png = wood/copy.png", same("wood/copy.png")),
    Case("exact duplicates: on one side of the split", REPORTED, "lake/0.png = lake/copy.png", same("lake/copy.png")),
    Case("a groups file with unknown names", LEFT_OUT, "lake/9.png: ", groups(TABLE + b"lake/9.png,1\n")),
    Case("a groups file with no known name", FATAL, "lake/0.png", groups(b"file,group\n0.png,1\n")),
    Case("a groups file with one image in two groups", FATAL, "1 and 2", groups(TABLE + b"lake/0.png,2\n")),
    Case("a groups file with other columns", FATAL, "columns", groups(b"image,sample\nlake/0.png,1\n")),
    Case("an empty groups file", FATAL, "columns", groups(b"")),
    Case("a groups file that is not UTF-8", FATAL, "UTF-8", groups(TABLE + b"lake/\xff.png,1\n")),
    Case("groups that allow no split", FATAL, "GROUPS=none", groups(WHOLE_LAKE)),
]
