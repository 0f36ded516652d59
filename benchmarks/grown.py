"""What GrowImages does to the time of an epoch in a fastai Learner, where its loader binds and where computing does."""

import tempfile
from functools import partial
from pathlib import Path

from benchmarks import versus, ways
from benchmarks.turns import figures, in_turns
from entr_utils.grow import GrowImages

CASES = {"loader": (64, True), "computing": (160, False)}  # what binds: pixels, whether the body is frozen
IMAGES, ROUNDS = 224, 3  # seven steps an epoch: gradual shows all of its sizes
FULL, REGIMES = "full size", ("gradual", "stepwise")


def measure(asked: dict[str, str]) -> dict:
    """Rows by what binds and by regime: milliseconds of an image, JPEG files read and decoded included."""
    return {"learner": [row for case in CASES for row in rows(case)]}


def rows(case: str, images: int = IMAGES, rounds: int = ROUNDS) -> list[dict]:
    """A row for full size and for each regime, whole epochs in turn; an epoch is a course of its own."""
    size, frozen = CASES[case]
    with tempfile.TemporaryDirectory() as name:
        versus.write_images(Path(name), {size: images})
        way = ways.Fastai(Path(name, str(size)), size, ways.BATCH)
        if frozen:
            way.learner.freeze()
        actions = {FULL: partial(ways.ms_an_image, way)}
        actions |= {regime: partial(ways.ms_an_image, way, GrowImages(regime)) for regime in REGIMES}
        found = in_turns(actions, rounds, skipped=1)
    about = {"binds": case, "size": size, "images": images}
    return [about | {"regime": regime} | figures(values, found[FULL]) for regime, values in found.items()]
