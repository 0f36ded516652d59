"""Rows of the bad-input table: what lies in folders of images, and files of groups."""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from unicodedata import normalize

from benchmarks.cases import FATAL, GOOD, LEFT_OUT, READ, REPORTED, Attempt, Case, noise, of_path, truncate, use, write
from entr_utils.settings import Cell
from entr_utils.training.run import prepare


@of_path
def only(folder: Path, contents: Mapping) -> tuple[str, str]:
    """A folder of these files alone."""
    (folder / "photos").mkdir()
    write(folder, contents)
    return use(folder)


def also(contents: Mapping) -> Attempt:
    """A good folder and these files."""
    return only(GOOD | dict(contents))


def lake(name: str, content: object) -> Attempt:
    """A good folder and one more file in a class."""
    return also({f"photos/lake/{name}": content})


def pond(*contents: object) -> Attempt:
    """A good folder and a third class of these files."""
    return also({f"photos/pond/{i}.png": content for i, content in enumerate(contents)})


def classes(*names: str) -> Attempt:
    """A good folder and more classes of two images each."""
    return also({f"photos/{name}/{i}.png": None for name in names for i in range(2)})


def groups(content: bytes) -> Attempt:
    """A good folder and a file of groups beside it."""
    return also({"photos_groups.csv": content})


@of_path
def same(folder: Path, name: str) -> tuple[str, str]:
    """lake/0.png once more: whatever the seed, both are on one side of the split."""
    write(folder, GOOD | {f"photos/{name}": noise("photos/lake/0.png").save})
    for run in prepare(Cell("own", data=str(folder / "photos"), profile="tiny", seeds=tuple(range(10)))):
        sides = {run.images.names.index(one) in run.split.validation for one in ("lake/0.png", name)}
        if len(sides) > 1:
            return REPORTED, f"on both sides of the split with seed {run.spec.seed}"
    return use(folder)


def half(path: Path) -> None:
    noise("half", (64, 64)).save(path)
    truncate(path)


WIDE = (30_000).to_bytes(2, "little") * 2
BOMB = b"GIF89a" + WIDE + bytes(3) + b"," + bytes(4) + WIDE + b"\0\x02\x01\0\0;"
LINK = partial(os.symlink, "nowhere")
WALD, LAKE = "W\u00e4lder", "\u6e56"
LITTER = ("lake/Thumbs.db", "lake/.DS_Store", "wood/._0.png", "wood/desktop.ini", ".git/0.png", "__MACOSX/x")
HIDDEN = also({f"photos/{name}": b"x" for name in LITTER})
SCRIPT, TABLE = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"file,group\nlake/0.png,1\n"
STRANGE, ALIKE = ("deep lake", WALD, LAKE, "$a$|b"), (WALD, normalize("NFD", WALD))
FOUND = "; ".join(sorted((*STRANGE, "lake", "wood")))
WHOLE_LAKE = TABLE + b"".join(b"lake/%d.png,1\n" % i for i in range(1, 4))


FOLDERS = [
    Case("an empty folder", FATAL, "0 class folders", only({})),
    Case("no sub-folders", FATAL, "0 class folders", only({"photos/0.png": None, "photos/1.png": None})),
    Case("one class", FATAL, "1 class folders", only({"photos/lake/0.png": None, "photos/lake/1.png": None})),
    Case("a class with 1 image", FATAL, "pond", pond(None)),
    Case("a class with 1 readable image", FATAL, "pond/1.png (an empty file)", pond(None, b"")),
    Case("a class without a readable image", FATAL, "pond/0.png (an empty file)", pond(b"", b"words")),
    Case("two classes whose names look the same", FATAL, f"look like {WALD}", classes(*ALIKE)),
    Case("a class whose name is no UTF-8", FATAL, "b\\udcff", classes(os.fsdecode(b"b\xff"))),
    Case("class names with spaces, unicode, $ and |", READ, FOUND, classes(*STRANGE)),
    Case("class names with leading dots: hidden", READ, "lake; wood", classes(".pond")),
    Case("hidden files, Thumbs.db, .DS_Store", READ, "lake; wood", HIDDEN),
    Case("a PDF", LEFT_OUT, "lake/x.pdf: ", lake("x.pdf", b"%PDF-1.7")),
    Case("an image in no class folder", LEFT_OUT, "x.png: ", also({"photos/x.png": b""})),
    Case("a folder in a class folder: read", LEFT_OUT, "lake/x.jpg/0.png: an empty", lake("x.jpg/0.png", b"")),
    Case("a class folder without images", LEFT_OUT, "pond: ", also({"photos/pond": Path.mkdir})),
    Case("a zero-byte JPEG", LEFT_OUT, "lake/x.jpg: an empty file", lake("x.jpg", b"")),
    Case("a truncated JPEG", LEFT_OUT, "lake/x.jpg: image file is truncated", lake("x.jpg", half)),
    Case("a text file named .jpg", LEFT_OUT, "lake/x.jpg: not a JPEG", lake("x.jpg", b"these are words")),
    Case("PostScript named .jpg: never run", LEFT_OUT, "lake/x.jpg: not a JPEG", lake("x.jpg", SCRIPT)),
    Case("a decompression bomb", LEFT_OUT, "lake/x.png: more than", lake("x.png", BOMB)),
    Case("an unreadable file: a link to nowhere", LEFT_OUT, "lake/x.jpg: ", lake("x.jpg", LINK)),
    Case("an unreadable file: a pipe", LEFT_OUT, "lake/x.jpg: not a file", lake("x.jpg", os.mkfifo)),
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
