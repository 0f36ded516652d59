"""The bench: measure the parts asked for, keep each as it is done, show what there is.

    python -m benchmarks.bench PARTS="clock ceiling" PROFILE=quick RESULTS=results

PROFILE and what else chooses runs (DATASETS, DATA, WEIGHTS, ...) are of the part `clock`. A part run again replaces its
entry of bench.json and nothing else. Exit codes: 0 all measured, 1 a part or the notebook failed, 2 a wrong word.
"""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from IPython.display import Markdown

from entr_utils import cli
from entr_utils.notebook import ROOT, execute
from entr_utils.report.tables import markdown
from entr_utils.util import UserError, minutes, one_of, read_json, write_json

PARTS: dict[str, dict[str, dict[str, str]]] = {  # part -> section -> headings of its own
    "ceiling": {"loop": {"ratio": "bare / loop"}},
    "versus": {"speed": {"ratio": "to ours"}, "accuracy": {}},
    "grown": {"learner": {"ratio": "to full size"}},
    "growth": {"images": {"ratio": "to the fewest"}, "places": {"ratio": "to the device's"}},
    "precision": {"speed": {"ratio": "to float32"}, "accuracy": {}},
    "scale": {"mapped": {"ratio": "to the fewest"}, "sources": {"ratio": "to the mapped array"}, "imagenet": {}},
    "clock": {"agreement": {"ratio": "clock / run", "median": ""}, "interpolated": {"ratio": "interpolated / timed"}},
}
MODULES = {"ceiling": "loops", "growth": "loops", "scale": "scale", "clock": "clock"}
MODULES |= dict.fromkeys(("versus", "grown", "precision"), "ways")
RANGES = {"median": ("low", "high"), "points": ("low", "high"), "ratio": ("ratio_low", "ratio_high")}
HEADINGS = {"size": "px", "median": "ms an image", "kB": "kB an image", "anonymous": "anonymous memory, GiB"}
HEADINGS |= {"gpus": "GPUs, a run each", "hours": "hours a run", "disk": "disk, GB", "read": "read, MB/s"}
HEADINGS |= {"cores": "cores to decode JPEG instead", "load": "load at its end", "started": "ended"}
HEADINGS |= {"clock": "T by the clock, s", "clock_ratio": "to the control by the clock", "runs": "T of the runs, s"}
HEADINGS |= {"runs_ratio": "to the control in the runs", "timed": "timed, ms", "interpolated": "interpolated, ms"}
HEADINGS |= dict.fromkeys(("judged", "all", "low", "high", "ratio_low", "ratio_high"), "")  # no columns
PLACE = ("device", "torch", "fastai", "commit", "load", "started")


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


def table(rows: Sequence[dict], headings: Mapping[str, str] = {}) -> str:
    """A column for each thing in the first row, numbers to three digits, with their ranges where they have one."""
    known = HEADINGS | dict(headings)
    columns = {name: known.get(name, name.replace("_", " ")) for name in (rows[0] if rows else ())}
    shown = {name: heading for name, heading in columns.items() if heading}
    return markdown(" | ".join(shown.values()), ([_cell(row, name) for name in shown] for row in rows)).data


def _cell(row: dict, name: str) -> str:
    values = [row[one] for one in (name, *RANGES.get(name, ())) if one in row]
    first, *ends = (f"{value:.3g}" if isinstance(value, float) else str(value) for value in values)
    return f"{first} ({' to '.join(ends)})" if ends else first


def show(known: dict, part: str) -> Markdown:
    """The tables of one part, and where they were made."""
    if part not in known:
        return Markdown(f"Not measured: `make bench PARTS={part}` measures it.")
    shown = [table(known[part]["result"][section], headings) for section, headings in PARTS[part].items()]
    return Markdown("\n\n".join([*shown, hardware({part: known[part]}).data]))


def hardware(known: dict) -> Markdown:
    """On what each part was measured."""
    rows = []
    for part, entry in known.items():
        row = {"part": part} | {name: entry["environment"][name] for name in PLACE}
        row["commit"] = re.sub("(?<=^.{10})[0-9a-f]+", "", row["commit"])  # "-dirty" stays
        rows.append(row | {"took": minutes(entry["seconds"])})
    return Markdown(table(rows))


def requirements(known: dict) -> Markdown:
    """A row for each figure that was required of this device, those that were missed first."""
    rows = []
    for part, entry in known.items():
        for section in entry["result"].values():
            rows += [{"part": part} | check for row in section for check in row.get("judged", ())]
    return Markdown(table(sorted(rows, key=lambda row: row["met"])))


def command(words: Sequence[str]) -> int:
    """Measure, keep and show the parts asked for, then draw the notebook; the exit code."""
    given, failed = cli.read(words, ("PARTS", *cli.MATRIX)), 0
    folder = Path(given.get("RESULTS", "results")) / "bench"
    for part in parts_of(given, PARTS):
        print(part, flush=True)
        began = time.monotonic()
        try:
            result = getattr(import_module(f"benchmarks.{MODULES[part]}"), f"measure_{part}")(given)
        except (RuntimeError, UserError) as error:  # the other parts do not need it
            failed = 1
            print(f"  {part}: FAILED, {error}", flush=True)
            continue
        known = keep(folder / "bench.json", part, seconds=time.monotonic() - began, result=result)
        print(show(known, part).data, flush=True)
    try:
        execute(ROOT / "notebooks" / "bench.ipynb", {"results": str(folder)}, folder / "bench.ipynb")
        print(f"read {folder / 'bench.ipynb'}")
    except RuntimeError as error:
        failed = 1
        print(f"  the notebook: FAILED, {error}")
    return failed


if __name__ == "__main__":
    cli.start("benchmarks.bench", command)
