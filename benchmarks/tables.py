"""What the bench shows, in a terminal and in its notebook, made from bench.json. No torch.

A table is written as its columns, "heading: format of a row" between bars; what the first row lacks is left out.
"""

import re
from collections.abc import Sequence

from IPython.display import Markdown

from entr_utils.report.tables import markdown
from entr_utils.util import minutes

MS, RATIO = "{median:.3g} ({low:.3g} to {high:.3g})", "{ratio:.2f} ({ratio_low:.2f} to {ratio_high:.2f})"
ACCURACY = "ways: {ways} | seeds: {seeds} | images judged: {judged_images} | chance: {chance:.2f} | "
ACCURACY += (
    "first: {first:.3f} | second: {second:.3f} | difference in points: {points:+.1f} ({low:+.1f} to {high:+.1f})"
)
SHOWN = {  # part -> section -> columns; MS and RATIO are put in
    "ceiling": {
        "loop": "network: {network} | trains: {trains} | px: {size} | pairs: {pairs} | loop, ms: {loop_ms:.1f} | "
        "bare step, ms: {bare_ms:.1f} | GFLOP/s: {gflops:.0f} | bare / loop: RATIO | loading, ms: {loading_ms:.1f} | "
        "augmentation, ms: {augmentation_ms:.1f} | rest, ms: {rest_ms:.1f} | launching: {launch_share:.0%} | "
        "binds: {binds}",
    },
    "versus": {
        "speed": "px: {size} | way: {way} | images: {images} | ms an image: MS | to ours: RATIO | "
        "set up, s: {prepared:.1f}",
        "accuracy": ACCURACY,
    },
    "grown": {
        "learner": "binds: {binds} | px: {size} | images: {images} | batches: {regime} | ms an image: MS | "
        "to full size: RATIO",
    },
    "growth": {
        "images": "images: {images} | ms an image: MS | to the fewest: RATIO",
        "places": "images on the: {place} | images: {images} | px: {size} | ms an image: MS | to the device's: RATIO",
    },
    "precision": {
        "speed": "precision: {precision} | emulated: {emulated} | px: {size} | ms an image: MS | to float32: RATIO",
        "accuracy": ACCURACY,
    },
    "scale": {
        "mapped": "images in a mapped file: {images} | px: {size} | ms an image: MS | to the fewest: RATIO | "
        "anonymous memory, GiB: {anonymous:.2f}",
        "sources": "source: {source} | kB an image: {kB:.0f} | ms an image: MS | to the mapped array: RATIO",
        "imagenet": "network: {network} | GPUs, a run each: {gpus} | hours a run: {hours:.3g} | gradual: {gradual:.3g} "
        "| disk, GB: {disk:.0f} | read, MB/s: {read:.0f} | cores to decode JPEG instead: {cores:.1f} | binds: {binds}",
    },
    "clock": {
        "agreement": "profile: {profile} | dataset: {dataset} | regime: {regime} | phase: {phase} | seeds: {seeds} | "
        "T by the clock, s: {clock:.1f} | T of the runs, s: {runs:.1f} | clock / run: RATIO | "
        "to the control by the clock: {clock_ratio:.3f} | of the runs: {runs_ratio:.3f}",
        "interpolated": "px: {size} | step timed, ms: {timed:.1f} | interpolated, ms: {interpolated:.1f} | "
        "interpolated / timed: {ratio:.3f}",
    },
}


def _formatted(rows: Sequence[dict], columns: str) -> str:
    """Rows as the columns have them; what the first row does not have is left out."""
    whole = columns.replace("RATIO", RATIO).replace(": MS", f": {MS}")
    pairs = [column.split(": ", 1) for column in whole.split(" | ")]
    kept = [pair for pair in pairs if rows and {*re.findall(r"{(\w+)", pair[1])} <= rows[0].keys()]
    cells = ([form.format(**row) for _, form in kept] for row in rows)
    return markdown(" | ".join(heading for heading, _ in kept), cells).data


def show(known: dict, part: str) -> Markdown:
    """The tables of one part, and where they were made."""
    if part not in known:
        return Markdown(f"Not measured: `make bench PARTS={part}` measures it.")
    shown = [_formatted(known[part]["result"][section], columns) for section, columns in SHOWN[part].items()]
    return Markdown("\n\n".join([*shown, hardware({part: known[part]}).data]))


def hardware(known: dict) -> Markdown:
    """On what each part was measured."""
    columns = "part: {part} | device: {device} | torch: {torch} | fastai: {fastai} | commit: {commit} | "
    columns += "load at its end: {load:.1f} | ended: {started} | took: {took}"
    rows = [entry["environment"] | {"part": part, "took": minutes(entry["seconds"])} for part, entry in known.items()]
    short = [row | {"commit": re.sub("(?<=^.{10})[0-9a-f]+", "", row["commit"])} for row in rows]  # "-dirty" stays
    return Markdown(_formatted(short, columns))


def requirements(known: dict) -> Markdown:
    """A row for each figure that was required of this device, those that were missed first."""
    rows = []
    for part, entry in known.items():
        for section in entry["result"].values():
            rows += [{"part": part} | check for row in section for check in row.get("judged", ())]
    columns = "part: {part} | figure: {what} | measured: {measured:.2f} | required: {required} | met: {met}"
    return Markdown(_formatted(sorted(rows, key=lambda row: row["met"]), columns))
