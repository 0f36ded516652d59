"""The fault campaign: stop runs at any moment, spoil any file; the same command has to end as it should all the same.

    python -m benchmarks.faults KILLS=50 PARTS="kills moments damage places company inputs" PROFILE=tiny RESULTS=results

Every case works in a folder of its own, which is thrown away. All records are compared, bit for bit
(`record.repeatable`), with those of a run that nobody disturbed. Most cases train in a plain process (`place`); where
it says "a notebook", by `make all`, with kernels, three seeds a notebook. Checkpoints come at every epoch's end.
Figures go to results/faults/faults.json, the tables to README.md beside it. Exit codes: 0 nothing was lost, else 1.
"""

import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks import bench, cases
from benchmarks.bad_files import FILES
from benchmarks.bad_images import IMAGES
from benchmarks.cases import flip, truncate
from benchmarks.place import ALL, CTRL_C, MAKE, OF_KERNEL, PLAIN, RECORDS, SAMPLES, SIGTERM, STOPS, Place, place
from entr_utils import cli
from entr_utils.util import UserError, whole, write_whole

CHECKPOINT, CACHED, GROUPS = "results/*/*.checkpoint", "cache/*.npy", "data/steel_groups.csv"
FIRST, SECOND, LAST = (f"results/*/*-s{seed}-*.json" for seed in range(3))
NOTEBOOK, SUMMARY = "results/*/*-resnet*.ipynb", "results/*/summary.ipynb"
USUAL = {"PROFILE": "tiny", "DATASETS": "steel", "REGIMES": "gradual", "SEEDS": "0 1 2"}
OTHERS = {"kills": {"REGIMES": "no_increase gradual stepwise"}}
HEAD = """# What happens when something goes wrong

Written by `make faults`. Runs are stopped at any moment and files spoilt; then the same command has to end with every
record equal, bit for bit, to that of a run that nobody disturbed. Bad input is "fatal" (one line, exit code 2, nothing
trained), "left out" (the rest goes on), "reported" (used; record and notebook name both), or "read" (used)."""
Row = tuple[str, int, int, str]  # a case, how often it was tried and survived, a note
New = Callable[..., AbstractContextManager[Place]]  # `place` of a command, with the words, the cache and the records


class Fault(NamedTuple):
    """A row of the table: a file that shows the moment to stop the command ("": at its end), how it is stopped
    (`place.STOPS`), what is then done to the first file of a name, and whether that is put back after one more try."""

    what: str
    until: str = ""
    how: str = ALL
    spoil: Callable[[Path], object] = Path.exists
    spoilt: str = ""
    back: bool = False
    command: tuple[str, ...] = PLAIN
    options: Mapping[str, None] = {}  # of `place`


FAULTS = {
    "moments": (
        Fault("kill -9 while a checkpoint is written", "results/*/*.checkpoint.*.partial"),
        Fault("kill -9 while the cache is built", "cache/*.npy.*.partial", options={"cache": None}),
        Fault("SIGTERM while it trains", CHECKPOINT, SIGTERM),
        Fault("Ctrl-C while it trains", CHECKPOINT, CTRL_C),
        Fault("kill -9 of all between the seeds of a notebook", FIRST, command=MAKE),
        Fault("kill -9 of the kernel between the seeds of a notebook", FIRST, OF_KERNEL, command=MAKE),
        Fault("SIGTERM between the seeds of a notebook", SECOND, SIGTERM, command=MAKE),
        Fault("Ctrl-C between the seeds of a notebook", SECOND, CTRL_C, command=MAKE),
        Fault("kill -9 of all while a notebook of finished runs is drawn", LAST, command=MAKE),
        Fault("kill -9 of all while a summary notebook is drawn", NOTEBOOK, command=MAKE),
    ),
    "damage": (
        Fault("a record is truncated", spoil=truncate, spoilt=RECORDS),
        Fault("a record is changed by a bit", spoil=flip, spoilt=RECORDS),
        Fault("a cached array is truncated", CHECKPOINT, ALL, truncate, CACHED),
        Fault("a cached array is changed by a bit", CHECKPOINT, ALL, flip, CACHED),
        Fault("the notes beside a cached array are truncated", CHECKPOINT, ALL, truncate, "cache/*.json"),
        Fault("a checkpoint is truncated", CHECKPOINT, ALL, truncate, CHECKPOINT),
        Fault("a checkpoint is changed by a bit", CHECKPOINT, ALL, flip, CHECKPOINT),
        Fault("a groups file is truncated, then put back", "", ALL, truncate, GROUPS, back=True),
        Fault("an image is truncated, then put back", "", ALL, truncate, "data/steel/*/*.png", back=True),
        Fault("a notebook is truncated", "", ALL, truncate, NOTEBOOK, command=MAKE),
        Fault("a notebook is gone", "", ALL, Path.unlink, NOTEBOOK, command=MAKE),
        Fault("a summary notebook is truncated", "", ALL, truncate, SUMMARY, command=MAKE),
        Fault("a record of a notebook is gone", "", ALL, Path.unlink, SECOND, command=MAKE),
    ),
}


def kills(new: New, number: int, command: tuple[str, ...], hows: Sequence[str], longest: float) -> Iterator[Row]:
    """Stop the command at random moments, in one way after another, and start it again until it is done."""
    dice, done, ending, late = random.Random(number), 0, 0, 0
    tried, survived = Counter[str](), Counter[str]()
    while done < number:
        stopped: list[str] = []
        with new(command) as here:
            process = here.start()
            while done < number and here.to_end(process, dice.uniform(0.5, longest)) is None:
                stopped.append(hows[done % len(hows)])
                one, other = here.stop(process, stopped[-1])
                done, ending, late = done + 1, ending + one, late + other
                if here.to_end(process, 1.0) is not None:
                    process = here.start()
            here.to_end(process)
            survived.update(stopped if here.fine() else ())
        tried.update(stopped)
        print(f"  stopped {done} of {number} times", flush=True)
    what = "of `make all`" if command == MAKE else "of training"
    for how in hows:
        yield f"{how}, at a random moment {what}", tried[how], survived[how], ""
    yield f"what has to end by itself after a stop {what} ends in time", ending, ending - late, ""


def stopped_often(new: New, number: int) -> Iterator[Row]:
    """Trainings, and a fifth as often `make all` with its kernels."""
    yield from kills(new, number, PLAIN, (ALL, SIGTERM, CTRL_C), 15.0)
    yield from kills(new, number // 5, MAKE, tuple(STOPS)[:5], 45.0)


def spoilt(new: New, faults: Iterable[Fault]) -> Iterator[Row]:
    """Every fault of a table, once; not tried where its moment or file did not come."""
    for fault in faults:
        with new(fault.command, **fault.options) as here:
            process, late = here.start(), 0
            if fault.until:
                if not here.comes(fault.until, process):
                    yield fault.what, 0, 0, "not tried: the moment did not come"
                    continue
                _, late = here.stop(process, fault.how)
            here.to_end(process)
            kept = {path: path.read_bytes() for path in here.files(RECORDS)}
            if fault.spoilt:
                if not (found := here.files(fault.spoilt)):
                    yield fault.what, 0, 0, "not tried: no such file"
                    continue
                before = found[0].read_bytes()
                fault.spoil(found[0])
                kept.pop(found[0], None)
                if fault.back:
                    here.to_end()
                    found[0].write_bytes(before)
            fine = here.fine() and all(path.read_bytes() == content for path, content in kept.items())
            yield fault.what, 1, int(fine and not late and "Traceback" not in here.printed()), ""


def places(new: New) -> Iterator[Row]:
    """A full disk, results that may not be written. Needs the right to mount, else it says that it was not tried."""
    for what, options in (("a full disk", "size=4k"), ("read-only results", "ro,size=1m")):
        with new(MAKE) as here:
            (here.folder / "results").mkdir()
            mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(here.folder / "results")]
            if subprocess.run(mount, capture_output=True).returncode:
                yield f"{what}: no record", 0, 0, "not tried: no right to mount here"
                continue
            try:
                code = here.to_end() or 0
                refused = code > 0 and not here.files(RECORDS) and "Traceback" not in here.printed()
            finally:
                subprocess.run(["umount", mount[-1]], check=True)
            yield f"{what}: no record; then, with room, all of it", 1, int(here.fine() and refused), ""


def company(new: New) -> Iterator[Row]:
    """The same command twice at once."""
    for what, command in (("two trainings of the same runs at once", PLAIN), ("two `make all` at once", MAKE)):
        with new(command) as here:
            codes = [here.to_end(process) for process in (here.start(), here.start())]
            yield what, 1, int(codes == [0, 0] and here.fine()), ""


def inputs(new: New) -> Iterator[Row]:
    for case in (*IMAGES, *FILES):
        fine, line = cases.run(case)
        yield case.name, 1, int(fine), line


def command(given_words: Sequence[str]) -> int:
    """Run the parts asked for, write figures and page; the exit code."""
    given = cli.read(given_words, ("KILLS", "PARTS", *cli.MATRIX))
    number = cli.fields({"KILLS": "50"} | given, {"KILLS": int})["kills"]
    whole("KILLS", number, 0, 10_000)
    do: dict[str, Callable[[New], Iterator[Row]]] = {"kills": partial(stopped_often, number=number)}
    do |= {name: partial(spoilt, faults=table) for name, table in FAULTS.items()}
    do |= {"places": places, "company": company, "inputs": inputs}
    asked = {name: value for name, value in given.items() if name not in ("KILLS", "PARTS", "RESULTS")}
    lost, folder = 0, Path(given.get("RESULTS", "results")) / "faults"
    for part in bench.parts_of(given, do):
        began, matrix, rows = time.monotonic(), USUAL | OTHERS.get(part, {}) | asked, []
        words = [f"{name}={value}" for name, value in matrix.items()]
        words += [SAMPLES] if matrix["PROFILE"] == "tiny" and "DATA" not in matrix else []
        with place(words) as here:
            if part != "inputs" and here.to_end() != 0:
                raise UserError(f"the run that nobody disturbs failed: {here.printed().strip().splitlines()[-1]}")
            known = here.outcome()
            print(f"{part}: {len(known)} runs in {time.monotonic() - began:.0f} s", flush=True)
            new = partial(place, words, cache=here.folder / "cache", reference=known)
            for case, tried, survived, note in do[part](new):
                print(f"  {case}: {tried} tried, {survived} survived {note}", flush=True)
                row = {"case": case, "tried": tried, "survived": survived, "lost": tried - survived, "note": note}
                rows.append(row)
                lost += tried - survived
        name = part if matrix["PROFILE"] == "tiny" else f"{part} ({matrix['PROFILE']})"
        entry = {"words": words, "runs": len(known), "rows": rows, "seconds": time.monotonic() - began}
        write_whole(folder / "README.md", page(bench.keep(folder / "faults.json", name, **entry)).encode())
    return min(1, lost)


def page(known: dict) -> str:
    """The tables for people."""
    rows = [{"part": part} | row for part, entry in known.items() for row in entry["rows"]]
    kinds = Path(__file__).with_name("kinds.md").read_text()
    return "\n\n".join([HEAD, bench.table(rows), bench.hardware(known).data, kinds])


if __name__ == "__main__":
    cli.start("benchmarks.faults", command)
