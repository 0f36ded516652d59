"""A row of the bad-input table: something made in a folder of its own, tried, and what comes of it (`faults.HEAD`)."""

import contextlib
import os
import re
import tempfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from PIL import Image

from entr_utils.util import UserError

FATAL, LEFT_OUT, REPORTED, READ = "fatal", "left out", "reported", "read"
Attempt = Callable[[Path], tuple[str, str]]


class Case(NamedTuple):
    """A row: what is fed, what happens, what the line on that must hold (a file, a value, the reason in a word), and
    what makes it in an empty folder, tries it, and returns what happened and the line."""

    name: str
    happens: str
    names: str
    attempt: Attempt


def of_path(function: Callable[..., Any]) -> Callable[..., Callable[[Path], Any]]:
    """Decorator: called without its first argument, a function waits for it. So rows are written as data."""
    return lambda *values, **named: lambda path: function(path, *values, **named)


def run(case: Case) -> tuple[bool, str]:
    """Whether what the table says happens and nothing is written elsewhere; what happened, and the line on it."""
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
        alone = os.listdir(outer) == ["work"]
    line = re.sub(r"127\.0\.0\.1:\d+", "{server}", text.replace(str(folder), "{folder}"))
    return happened == case.happens and case.names in line and "\n" not in line and alone, f"{happened}: {line}"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """One bit of a file is another."""
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 4
    path.write_bytes(content)


def noise(name: str, size: int = 40) -> Image.Image:
    """A square image like no other of another name."""
    rng = np.random.default_rng(zlib.crc32(os.fsencode(name)))
    return Image.fromarray(rng.integers(0, 256, (size, size, 3), np.uint8))


def write(folder: Path, contents: Mapping[str, Any]) -> None:
    """Files by their names: bytes, what a function of the path makes, or for None an image of noise."""
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            (content or noise(name).save)(path)
