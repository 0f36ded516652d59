"""A row of the bad-input table: something made in a folder of its own, tried, and what is said of it."""

import contextlib
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from entr_utils import UserError, experiment, reports

FATAL, LEFT_OUT, REPORTED, READ = "fatal", "left out", "reported", "read"


@dataclass(frozen=True)
class Case:
    """A row.

    Attributes:
        name: what is fed.
        happens: FATAL (a UserError, exit code 2), LEFT_OUT (the rest is used), REPORTED (used, and said) or READ.
        message: the exact line, with {folder} for the folder and {server} for the address of the server.
        attempt: makes it in an empty folder, tries it, and returns what happened and what was said.
    """

    name: str
    happens: str
    message: str
    attempt: Callable[[Path], tuple[str, str]]


def run(case: Case) -> dict:
    """A row with what really happened: `as_said` where it is what the table says, and nothing was written elsewhere."""
    with tempfile.TemporaryDirectory() as outer:
        folder = Path(outer).resolve() / "work"
        folder.mkdir()
        with contextlib.chdir(folder):
            try:
                happened, text = case.attempt(folder)
            except UserError as error:
                happened, text = FATAL, str(error)
            except Exception as error:  # what must never be seen
                happened, text = "a traceback", f"{type(error).__name__}: {error}"
        alone = [path.name for path in Path(outer).iterdir()] == ["work"]
    said = re.sub(r"127\.0\.0\.1:\d+", "{server}", text.replace(str(folder), "{folder}"))
    as_said = (happened, said) == (case.happens, case.message) and alone
    return {"case": case.name, "what happens": happened, "message": said, "as_said": as_said}


def noise(size: tuple[int, int] = (40, 40), seed: int = 0) -> Image.Image:
    """An image like no other of another seed."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8))


def photos(folder: Path, *more: str, each: int = 4) -> Path:
    """`folder/photos` with the classes lake and wood, four images each, and two of each class in `more`."""
    counts = {"lake": each, "wood": each, **dict.fromkeys(more, 2)}
    for label, (name, count) in enumerate(counts.items()):
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(count):
            noise(seed=100 * label + i).save(folder / "photos" / name / f"{i}.png")
    return folder / "photos"


def use(folder: Path, **parameters) -> tuple[str, str]:
    """Prepare a run on a folder, as notebooks do; what its record says of files left out and identical images.

    The same is read from the cache the second time, and stands in the notebook.
    """
    given = {"data": str(folder), "profile": "tiny", **parameters}
    first, again = (experiment.prepare("own", **given, **other) for other in ({}, {"groups": "none"}))
    about = first.about
    if "groups" not in parameters and not first.images.groups and again.about != about:
        raise AssertionError("read from the cache, it is something else")
    texts = [*about["left_out"], *about["copies"]]
    if sum(text.partition(": ")[0] in reports.not_used(about) for text in texts) < len(texts):
        raise AssertionError("not in the notebook")
    happened = LEFT_OUT if about["n_left_out"] else REPORTED if about["n_copies"] else READ
    return happened, "; ".join(texts)
