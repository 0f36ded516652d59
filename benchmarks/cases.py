"""A row of the bad-input table: something made in a folder of its own, tried, and what comes of it.

"fatal" is a UserError: one line, exit code 2, nothing trained. "left out" is not used, named in the record and the
notebook, and the rest goes on. "reported" is used, and named there too. "read" is used.
"""

import contextlib
import os
import re
import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

from entr_utils.settings import Cell
from entr_utils.training.run import prepare
from entr_utils.util import UserError

FATAL, LEFT_OUT, REPORTED, READ = "fatal", "left out", "reported", "read"
Attempt = Callable[[Path], tuple[str, str]]


@dataclass(frozen=True)
class Case:
    """A row: what is fed, what happens, what the line on that must hold (a file, a value, the reason in a word), and
    what makes it in an empty folder, tries it, and returns what happened and the line."""

    name: str
    happens: str
    names: str
    attempt: Attempt


def of_path(function: Callable[..., Any]) -> Callable[..., Callable[[Path], Any]]:
    """Decorator: called without its first argument, a function waits for it. So rows are written as data."""
    return lambda *values, **named: lambda path: function(path, *values, **named)


def run(case: Case) -> dict:
    """A row with what really happened: `as_expected` where that is in the table, and nothing was written elsewhere."""
    with tempfile.TemporaryDirectory() as outer:
        folder = Path(outer).resolve() / "work"
        folder.mkdir()
        with contextlib.chdir(folder), patch.dict(os.environ, ENTR_CACHE=str(folder / "cache")):
            try:
                happened, text = case.attempt(folder)
            except UserError as error:
                happened, text = FATAL, str(error)
            except Exception as error:  # what must never be seen
                happened, text = "a traceback", f"{type(error).__name__}: {error}"
        alone = [path.name for path in Path(outer).iterdir()] == ["work"]
    line = re.sub(r"127\.0\.0\.1:\d+", "{server}", text.replace(str(folder), "{folder}"))
    expected = happened == case.happens and case.names in line and "\n" not in line and alone
    return {"case": case.name, "what happens": happened, "message": line, "as_expected": expected}


def truncate(path: Path) -> None:
    """Half of a file is lost."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """One bit of a file is another."""
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 4
    path.write_bytes(content)


def noise(name: str, size: tuple[int, int] = (40, 40)) -> Image.Image:
    """An image like no other of another name."""
    rng = np.random.default_rng(zlib.crc32(os.fsencode(name)))
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))


def write(folder: Path, contents: Mapping[str, Any]) -> None:
    """Files by their names: bytes, what a function of the path makes, or for None an image of noise."""
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            noise(name).save(path)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content(path)


GOOD: dict[str, Any] = {f"photos/{name}/{i}.png": None for name in ("lake", "wood") for i in range(4)}


def use(folder: Path) -> tuple[str, str]:
    """Prepare a run on folder/photos; the line names what was left out, what is the same, or else the classes.

    The same comes of it when the images are read from the cache.
    """
    cell = Cell("own", data=str(folder / "photos"), profile="tiny")
    (first,), (again,) = prepare(cell), prepare(Cell("own", data=cell.data, profile="tiny", groups="none"))
    source = first.images.source
    if not first.images.groups and again.images.source != source:
        raise AssertionError("read from the cache, it is something else")
    texts = [f"{name}: {reason}" for name, reason in source.left_out.items()] + [" = ".join(c) for c in source.copies]
    happened = LEFT_OUT if source.n_left_out else REPORTED if source.n_copies else READ
    return happened, "; ".join(texts or source.classes)
