"""Rows of the bad-input table: image files of every kind, and what else lies in folders of them."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from unicodedata import normalize

import numpy as np
from PIL import Image

from benchmarks.cases import FATAL, LEFT_OUT, READ, REPORTED, Case, noise, photos, use
from entr_utils import decoding, experiment, folders

SUFFIXES = ", ".join(sorted(folders.IMAGE_SUFFIXES))
NO_CLASSES = ("{{folder}}/photos: {} class folders with images; put one sub-folder a class there, at least two, with "
              "{} files")  # fmt: skip
RED, BLUE = (255, 0, 0), (0, 0, 255)


def _png(width: int, height: int, rows: bytes) -> bytes:
    """A 1-bit PNG written by hand; `rows` may be less than the header says."""
    parts = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)), (b"IDAT", zlib.compress(rows, 1)),
             (b"IEND", b""))  # fmt: skip
    packed = (struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
              for name, body in parts)  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def _read(make: Callable[[Path], object], suffix: str = "tif", at: str = "middle") -> Callable[[Path], tuple[str, str]]:
    """Decode one image; what is said is the colour of its middle, or of the middles of its upper and lower half."""

    def attempt(folder: Path) -> tuple[str, str]:
        path = folder / f"x.{suffix}"
        make(path)
        pixels, reasons = decoding.decode([path], 32)
        if reasons:
            return LEFT_OUT, reasons[0]
        places = ((16, 16),) if at == "middle" else ((8, 16), (24, 16))
        return READ, " over ".join(str(tuple(pixels[0][place].tolist())) for place in places)

    return attempt


def _new(mode: str, value: object, size: tuple[int, int] = (40, 40), **options) -> Callable[[Path], object]:
    return lambda path: Image.new(mode, size, value).save(path, **options)  # type: ignore[arg-type]


def _palette(path: Path) -> None:
    image = Image.new("P", (40, 40), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.save(path)


def _clear_palette(path: Path) -> None:
    image = Image.new("P", (40, 40), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.save(path, transparency=1)


def _floats(*values: float) -> Callable[[Path], object]:
    """A float TIFF with the first of the values in its middle and the others at its rim."""

    def make(path: Path) -> None:
        pixels = np.full((40, 40), values[0], np.float32)
        pixels[0, : len(values)] = values
        Image.fromarray(pixels).save(path)

    return make


def _frames(path: Path) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in (RED, BLUE)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def _turned(path: Path) -> None:
    """Red left, blue right, and a camera that was held so that left is up."""
    image, exif = Image.new("RGB", (40, 40), RED), Image.Exif()
    image.paste(BLUE, (20, 0, 40, 40))
    exif[0x0112] = 6
    image.save(path, exif=exif)


def _huge(folder: Path) -> tuple[str, str]:
    """Opened alone: making it small takes seconds."""
    (folder / "x.png").write_bytes(_png(20_000, 20_000, (b"\0" + b"\xff" * 2500) * 20_000))
    image = decoding.open_image(folder / "x.png")
    return READ, str(image.getpixel((10_000, 10_000)))


IMAGES = [
    Case("CMYK", READ, "(255, 0, 0)", _read(_new("CMYK", (0, 255, 255, 0)))),
    Case("palette", READ, "(10, 200, 30)", _read(_palette, "png")),
    Case("palette with a transparent entry: on white", READ, "(255, 255, 255)", _read(_clear_palette, "png")),
    Case("RGBA, half transparent: on white", READ, "(255, 127, 127)", _read(_new("RGBA", (255, 0, 0, 128)), "png")),
    Case("grey with transparency: on white", READ, "(155, 155, 155)", _read(_new("LA", (55, 128)), "png")),
    Case("1-bit", READ, "(255, 255, 255)", _read(_new("1", 1))),
    Case("greyscale", READ, "(90, 90, 90)", _read(_new("L", 90))),
    Case("16-bit PNG", READ, "(128, 128, 128)", _read(_new("I;16", 128 * 257), "png")),
    Case("16-bit TIFF", READ, "(128, 128, 128)", _read(_new("I;16", 128 * 257))),
    Case("32-bit TIFF that holds 16 bits", READ, "(128, 128, 128)", _read(_new("I", 128 * 257))),
    Case("float TIFF, 0 to 1", READ, "(128, 128, 128)", _read(_floats(0.5, 0.0, 1.0))),
    Case("float TIFF, -1 to 3", READ, "(64, 64, 64)", _read(_floats(0.0, -1.0, 3.0))),
    Case("float TIFF, NaN and infinity in it", READ, "(0, 0, 0)", _read(_floats(np.nan, np.inf, 1.0))),
    Case("float TIFF, nothing but NaN", LEFT_OUT, "no finite number in it", _read(_floats(np.nan))),
    Case("multi-page TIFF: the first page", READ, "(255, 0, 0)", _read(_frames)),
    Case("animated GIF: the first frame", READ, "(255, 0, 0)", _read(_frames, "gif")),
    Case("EXIF-rotated photo: upright", READ, "(255, 0, 0) over (0, 0, 255)", _read(_turned, "png", "halves")),
    Case("1 x 1 pixels", READ, "(255, 0, 0)", _read(_new("RGB", RED, (1, 1)), "png")),
    Case("20000 x 20000 pixels", READ, "(255, 255, 255)", _huge),
    Case("20000 x 1 pixels", READ, "(255, 0, 0)", _read(_new("RGB", RED, (20_000, 1)), "png")),
]  # fmt: skip


def _with(name: str, content: bytes) -> Callable[[Path], tuple[str, str]]:
    """A good folder and one more file."""

    def attempt(folder: Path) -> tuple[str, str]:
        path = photos(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return use(folder / "photos")

    return attempt


def _litter(folder: Path) -> tuple[str, str]:
    photos(folder)
    for name in ("lake/Thumbs.db", "lake/.DS_Store", "wood/._0.png", "wood/desktop.ini", ".git/0.png", "__MACOSX/x"):
        path = folder / "photos" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"litter")
    return use(folder / "photos")


def _truncated(folder: Path) -> tuple[str, str]:
    path = photos(folder) / "lake" / "x.jpg"
    noise((64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    return use(folder / "photos")


def _special(make: Callable[[Path], object]) -> Callable[[Path], tuple[str, str]]:
    """A good folder and lake/x.jpg, which is no ordinary file."""

    def attempt(folder: Path) -> tuple[str, str]:
        make(photos(folder) / "lake" / "x.jpg")
        return use(folder / "photos")

    return attempt


def _same(name: str) -> Callable[[Path], tuple[str, str]]:
    """lake/0.png once more; whatever the seed, both stand on one side of the split."""

    def attempt(folder: Path) -> tuple[str, str]:
        path = photos(folder) / name
        path.write_bytes((folder / "photos" / "lake" / "0.png").read_bytes())
        for seed in range(10):
            run = experiment.prepare("own", data=str(folder / "photos"), profile="tiny", seed=seed)
            sides = {run.images.names.index(one) in run.validation for one in ("lake/0.png", name)}
            if len(sides) > 1:
                return REPORTED, f"on both sides of the split with seed {seed}"
        return use(folder / "photos")

    return attempt


def _classes(*names: str) -> Callable[[Path], tuple[str, str]]:
    """More classes of two images, whatever they are called; they are found under their names."""

    def attempt(folder: Path) -> tuple[str, str]:
        loaded = experiment.prepare("own", data=str(photos(folder, *names)), profile="tiny").images
        if loaded.classes != sorted({"lake", "wood", *(name for name in names if not name.startswith("."))}):
            return READ, f"classes {loaded.classes}"
        return use(folder / "photos")

    return attempt


def _third(name: str, *contents: bytes | None) -> Callable[[Path], tuple[str, str]]:
    """A third class of these files; None is a good image."""

    def attempt(folder: Path) -> tuple[str, str]:
        (photos(folder) / name).mkdir()
        for i, content in enumerate(contents):
            path = folder / "photos" / name / f"{i}.png"
            noise(seed=7 + i).save(path) if content is None else path.write_bytes(content)
        return use(folder / "photos")

    return attempt


def _only(*names: str) -> Callable[[Path], tuple[str, str]]:
    """A folder of these files alone."""

    def attempt(folder: Path) -> tuple[str, str]:
        (folder / "photos").mkdir()
        for i, name in enumerate(names):
            (folder / "photos" / name).parent.mkdir(exist_ok=True)
            noise(seed=i).save(folder / "photos" / name)
        return use(folder / "photos")

    return attempt


def _groups(content: bytes) -> Callable[[Path], tuple[str, str]]:
    """A good folder and photos_groups.csv beside it."""

    def attempt(folder: Path) -> tuple[str, str]:
        (folder / "photos_groups.csv").write_bytes(content)
        return use(photos(folder))

    return attempt


WALD = "W\u00e4lder"
PHOTOS, GROUPS = "{folder}/photos", "groups={folder}/photos_groups.csv"
CSV = "it should be a CSV file in UTF-8 with the columns file and group"

FOLDERS = [
    Case("an empty folder", FATAL, NO_CLASSES.format(0, SUFFIXES), _only()),
    Case("no sub-folders", FATAL, NO_CLASSES.format(0, SUFFIXES), _only("0.png", "1.png")),
    Case("one class", FATAL, NO_CLASSES.format(1, SUFFIXES), _only("lake/0.png", "lake/1.png")),
    Case("a class with 1 image", FATAL, f"{PHOTOS}: a single image in pond; a class needs one to train and one to test",
         _third("pond", None)),
    Case("a class with 1 readable image", FATAL,
         f"{PHOTOS}: a single image that can be read in pond; a class needs one to train and one to test",
         _third("pond", None, b"")),
    Case("a class without a readable image", FATAL,
         f"{PHOTOS}: no image in pond can be read (pond/0.png: an empty file); repair them or take the folder out",
         _third("pond", b"", b"words")),
    Case("two classes whose names look the same", FATAL,
         f"{PHOTOS}: 2 class folders look like {WALD}, in different encodings of its letters; make them one",
         _classes(WALD, normalize("NFD", WALD))),
    Case("a class whose name is no UTF-8", FATAL,
         f"{PHOTOS}: the name of class folder b\\udcff is no UTF-8; rename it", _classes(os.fsdecode(b"b\xff"))),
    Case("class names with spaces, unicode, $ and |", READ, "", _classes("deep lake", WALD, "\u6e56", "$a$|b")),
    Case("class names with leading dots: hidden", READ, "", _classes(".pond")),
    Case("hidden files, Thumbs.db, .DS_Store", READ, "", _litter),
    Case("a PDF", LEFT_OUT, "lake/x.pdf: no image by its suffix", _with("lake/x.pdf", b"%PDF-1.7")),
    Case("an image in no class folder", LEFT_OUT, "x.png: not in a class folder", _with("x.png", b"")),
    Case("a folder in a class folder", LEFT_OUT, "lake/x.jpg: a folder in a class folder",
         _with("lake/x.jpg/0.png", b"")),
    Case("a class folder without images", LEFT_OUT, "pond: a folder without images", _third("pond")),
    Case("a zero-byte JPEG", LEFT_OUT, "lake/x.jpg: an empty file", _with("lake/x.jpg", b"")),
    Case("a truncated JPEG", LEFT_OUT, "lake/x.jpg: image file is truncated (150 bytes not processed)", _truncated),
    Case("a text file named .jpg", LEFT_OUT, "lake/x.jpg: not a JPEG, PNG, TIFF, BMP, GIF or WebP image",
         _with("lake/x.jpg", b"these are words")),
    Case("PostScript named .jpg: never run", LEFT_OUT, "lake/x.jpg: not a JPEG, PNG, TIFF, BMP, GIF or WebP image",
         _with("lake/x.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")),
    Case("a decompression bomb", LEFT_OUT, "lake/x.png: more than 400 million pixels",
         _with("lake/x.png", _png(30_000, 30_000, b""))),
    Case("an unreadable file: a link to nowhere", LEFT_OUT, "lake/x.jpg: No such file or directory",
         _special(lambda path: path.symlink_to("nowhere"))),
    Case("an unreadable file: a pipe", LEFT_OUT, "lake/x.jpg: not a file", _special(os.mkfifo)),
    Case("the same image in two classes", REPORTED, "lake/0.png = wood/copy.png (in several classes)",
         _same("wood/copy.png")),
    Case("exact duplicates: on one side of the split", REPORTED, "lake/0.png = lake/copy.png", _same("lake/copy.png")),
    Case("a groups file with unknown names", LEFT_OUT, "lake/9.png: named in photos_groups.csv, but no image here",
         _groups(b"file,group\nlake/0.png,1\nlake/9.png,1\n")),
    Case("a groups file with no known name", FATAL,
         f"{GROUPS}: names none of the images; its file column should read like lake/0.png",
         _groups(b"file,group\n0.png,1\n")),
    Case("a groups file with one image in two groups", FATAL,
         f"{GROUPS}: lake/0.png stands in two groups, 1 and 2; an image has one",
         _groups(b"file,group\nlake/0.png,1\nlake/0.png,2\n")),
    Case("a groups file with other columns", FATAL,
         f"{GROUPS}: columns image, sample; it needs the columns file and group",
         _groups(b"image,sample\nlake/0.png,1\n")),
    Case("an empty groups file", FATAL, f"{GROUPS}: columns none; it needs the columns file and group", _groups(b"")),
    Case("a groups file that is not UTF-8", FATAL, f"{GROUPS}: cannot be read (not UTF-8); {CSV}",
         _groups(b"file,group\nlake/\xff.png,1\n")),
    Case("groups that allow no split", FATAL,
         "groups: lake: cannot stand on both sides of the split, being one group or copies of one image; add images, "
         "or with a groups file take groups=none",
         _groups(b"file,group\n" + b"".join(b"lake/%d.png,1\n" % i for i in range(4)))),
]  # fmt: skip
