"""The bench: measure the parts asked for, keep each as it is done, draw the notebook.

    python -m benchmarks.bench PARTS="clock ceiling" PROFILE=quick RESULTS=results

PROFILE and what else chooses runs (DATASETS, DATA, WEIGHTS, ...) are of the part `clock`. A part run again replaces its
entry of bench.json and nothing else. Exit codes: 0 all measured, 1 a part or the notebook failed, 2 a wrong word.
"""

import time
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path

from entr_utils import cli
from entr_utils.notebook import ROOT, execute
from entr_utils.util import UserError, one_of, read_json, write_json

PARTS = ("ceiling", "versus", "grown", "growth", "precision", "scale", "clock")


def parts_of(given: cli.Given, allowed: Iterable[str]) -> list[str]:
    """The parts asked for, in their order; all where none is. Raises UserError on an unknown one."""
    wanted = given.get("PARTS", " ".join(allowed)).split()
    for part in wanted:
        one_of("PARTS", part, allowed)
    return [part for part in allowed if part in wanted]


def read(folder: str | Path, file: str = "bench.json") -> dict:
    """The entries so far, by part. Raises Damaged on a file that is not whole."""
    return read_json(path) if (path := Path(folder, file)).exists() else {}


def keep(path: Path, part: str, **entry: object) -> dict:
    """Put the entry of a part into a file, whole or not at all; all entries, with where and when it was made."""
    from entr_utils.machine import environment

    known = read(path.parent, path.name) | {part: {"environment": environment(), **entry}}
    write_json(known, path)
    return known


def command(words: Sequence[str]) -> int:
    """Measure, keep and show the parts asked for, then draw the notebook; the exit code."""
    from benchmarks import tables

    given, failed = cli.read(words, ("PARTS", *cli.MATRIX)), 0
    folder = Path(given.get("RESULTS", "results")) / "bench"
    for part in parts_of(given, PARTS):
        print(part, flush=True)
        began = time.monotonic()
        try:
            result = import_module(f"benchmarks.{part}").measure(given)
        except (RuntimeError, UserError) as error:  # the other parts do not need it
            failed += 1
            print(f"  {part}: FAILED, {error}", flush=True)
            continue
        known = keep(folder / "bench.json", part, seconds=time.monotonic() - began, result=result)
        print(tables.show(known, part).data, flush=True)
    try:
        execute(ROOT / "notebooks" / "bench.ipynb", {"results": str(folder)}, folder / "bench.ipynb")
        print(f"read {folder / 'bench.ipynb'}")
    except RuntimeError as error:
        failed += 1
        print(f"  the notebook: FAILED, {error}")
    return min(1, failed)


if __name__ == "__main__":
    cli.start("benchmarks.bench", command)
