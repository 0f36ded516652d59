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
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks import bench, cases
from benchmarks.bad_files import FILES
from benchmarks.bad_folders import FOLDERS
from benchmarks.bad_images import IMAGES
from benchmarks.cases import flip, truncate
from benchmarks.place import ALL, CTRL_C, MAKE, OF_KERNEL, PLAIN, RECORDS, SAMPLES, SIGTERM, STOPS, Place, ended, place
from entr_utils import cli
from entr_utils.report.tables import markdown
from entr_utils.util import UserError, whole, write_whole

CHECKPOINT, CACHED, GROUPS = "results/*/*.checkpoint", "cache/*.npy", "data/steel_groups.csv"
FIRST, SECOND, LAST = (f"results/*/*-s{seed}-*.json" for seed in range(3))
NOTEBOOK, SUMMARY = "results/*/*-resnet*.ipynb", "results/*/summary.ipynb"
USUAL = {"PROFILE": "tiny", "DATASETS": "steel", "REGIMES": "gradual", "SEEDS": "0 1 2"}
OTHERS = {"kills": {"REGIMES": "no_increase gradual stepwise"}}
WHERE = ("device", "torch", "commit", "started")
HEAD = """# What happens when something goes wrong

Written by `make faults`. Runs are stopped at any moment and files spoilt; then the same command has to end with every
record equal, bit for bit, to that of a run that nobody disturbed."""


@dataclass(frozen=True)
class Fault:
    """A row of the table: a file that shows the moment to stop the command ("": at its end), how it is stopped
    (`place.STOPS`), what is then done to the first file of a name, and whether that is put back after one more try."""

    what: str
    until: str = ""
    how: str = ALL
    spoil: Callable[[Path], object] = Path.exists
    spoilt: str = ""
    back: bool = False
    command: tuple[str, ...] = PLAIN
    cached: bool = True


FAULTS = {
    "moments": (
        Fault("kill -9 while a checkpoint is written", "results/*/*.checkpoint.*.partial"),
        Fault("kill -9 while the cache is built", "cache/*.npy.*.partial", cached=False),
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


@dataclass
class Campaign:
    """What is compared with, and the figures so far; `table` is of bad inputs."""

    words: tuple[str, ...]
    cache: Path
    reference: dict[str, dict]
    rows: list[dict] = field(default_factory=list)
    table: list[dict] = field(default_factory=list)

    def place(self, command: tuple[str, ...] = PLAIN, cached: bool = True) -> AbstractContextManager[Place]:
        """A new place for a case."""
        return place(self.words, command, self.cache if cached else None)

    def count(self, case: str, tried: int, survived: int, note: str = "") -> None:
        """Keep the figures of a case, and print them."""
        self.rows.append({"case": case, "tried": tried, "survived": survived, "lost": tried - survived, "note": note})
        print(f"  {case}: {tried} tried, {survived} survived {note}", flush=True)

    def fine(self, here: Place) -> bool:
        """Whether the command, run to its end, leaves all as it should be."""
        return here.to_end() == 0 and here.like(self.reference)


def kills(campaign: Campaign, number: int, command: tuple[str, ...], hows: Sequence[str], longest: float) -> None:
    """Stop the command at random moments, in one way after another, and start it again until it is done."""
    dice, done, ending, late = random.Random(number), 0, 0, 0
    tried, survived = Counter(dict.fromkeys(hows, 0)), Counter[str]()
    while done < number:
        stopped: list[str] = []
        with campaign.place(command) as here:
            process = here.start()
            while done < number and not ended(process, dice.uniform(0.5, longest)):
                stopped.append(hows[done % len(hows)])
                one, other = here.stop(process, stopped[-1])
                done, ending, late = done + 1, ending + one, late + other
                if ended(process, 1.0):
                    process = here.start()
            here.to_end(process)
            survived.update(stopped if campaign.fine(here) else ())
        tried.update(stopped)
        print(f"  stopped {done} of {number} times", flush=True)
    what = "of `make all`" if command == MAKE else "of training"
    for how in hows:
        campaign.count(f"{how}, at a random moment {what}", tried[how], survived[how])
    campaign.count(f"what has to end by itself after a stop {what} ends in time", ending, ending - late)


def tabled(campaign: Campaign, faults: Iterable[Fault]) -> None:
    """Every fault of a table, once."""
    for fault in faults:
        campaign.count(fault.what, *tried(campaign, fault))


def tried(campaign: Campaign, fault: Fault) -> tuple[int, int, str]:
    """(1, whether it survived, a note); (0, 0, a note) where the moment or the file did not come."""
    with campaign.place(fault.command, fault.cached) as here:
        process, late = here.start(), 0
        if fault.until:
            if not here.comes(fault.until, process):
                return 0, 0, "not tried: the moment did not come"
            _, late = here.stop(process, fault.how)
        here.to_end(process)
        kept = {path: path.read_bytes() for path in here.files(RECORDS)}
        if fault.spoilt:
            if not (found := here.files(fault.spoilt)):
                return 0, 0, "not tried: no such file"
            before = found[0].read_bytes()
            fault.spoil(found[0])
            kept.pop(found[0], None)
            if fault.back:
                here.to_end()
                found[0].write_bytes(before)
        fine = campaign.fine(here) and all(path.read_bytes() == content for path, content in kept.items())
        return 1, int(fine and not late and "Traceback" not in here.printed()), ""


def places(campaign: Campaign) -> None:
    """A full disk, results that may not be written. Needs the right to mount, else it says that it was not tried."""
    for what, options in (("a full disk", "size=4k"), ("read-only results", "ro,size=1m")):
        with campaign.place(MAKE) as here:
            (here.folder / "results").mkdir()
            mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(here.folder / "results")]
            if subprocess.run(mount, capture_output=True).returncode:
                campaign.count(f"{what}: no record", 0, 0, "not tried: no right to mount here")
                continue
            try:
                refused = here.to_end() > 0 and not here.files(RECORDS) and "Traceback" not in here.printed()
            finally:
                subprocess.run(["umount", mount[-1]], check=True)
            campaign.count(f"{what}: no record; then, with room, all of it", 1, int(campaign.fine(here) and refused))


def company(campaign: Campaign) -> None:
    """The same command twice at once."""
    for what, command in (("two trainings of the same runs at once", PLAIN), ("two `make all` at once", MAKE)):
        with campaign.place(command) as here:
            codes = [here.to_end(process) for process in (here.start(), here.start())]
            campaign.count(what, 1, int(codes == [0, 0] and campaign.fine(here)))


def inputs(campaign: Campaign) -> None:
    """The table of bad inputs."""
    campaign.table = [cases.run(case) for case in (*IMAGES, *FOLDERS, *FILES)]
    campaign.count("bad inputs", len(campaign.table), sum(row["as_expected"] for row in campaign.table))


def stopped_often(campaign: Campaign, number: int) -> None:
    """Trainings, and a fifth as often `make all` with its kernels."""
    kills(campaign, number, PLAIN, (ALL, SIGTERM, CTRL_C), 15.0)
    kills(campaign, number // 5, MAKE, tuple(STOPS)[:5], 45.0)


def command(given_words: Sequence[str]) -> int:
    """Run the parts asked for, write figures and page; the exit code."""
    given = cli.read(given_words, ("KILLS", "PARTS", *cli.MATRIX))
    number = cli.fields({"KILLS": "50"} | given, {"KILLS": int})["kills"]
    whole("KILLS", number, 0, 10_000)
    do: dict[str, Callable[[Campaign], None]] = {"kills": partial(stopped_often, number=number)}
    do |= {name: partial(tabled, faults=table) for name, table in FAULTS.items()}
    do |= {"places": places, "company": company, "inputs": inputs}
    asked = {name: value for name, value in given.items() if name not in ("KILLS", "PARTS", "RESULTS")}
    lost, folder = 0, Path(given.get("RESULTS", "results")) / "faults"
    for part in bench.parts_of(given, do):
        began, matrix = time.monotonic(), USUAL | OTHERS.get(part, {}) | asked
        words = [f"{name}={value}" for name, value in matrix.items()]
        words += [SAMPLES] if matrix["PROFILE"] == "tiny" and "DATA" not in matrix else []
        with place(tuple(words)) as here:
            if part != "inputs" and here.to_end():
                raise UserError(f"the run that nobody disturbs failed: {here.printed().strip().splitlines()[-1]}")
            campaign = Campaign(here.words, here.folder / "cache", here.outcome())
            print(f"{part}: {len(campaign.reference)} runs in {time.monotonic() - began:.0f} s", flush=True)
            do[part](campaign)
        name = part if matrix["PROFILE"] == "tiny" else f"{part} ({matrix['PROFILE']})"
        entry = {"words": campaign.words, "runs": len(campaign.reference), "rows": campaign.rows}
        entry |= {"seconds": time.monotonic() - began, "table": campaign.table}
        write_whole(folder / "README.md", page(bench.keep(folder / "faults.json", name, **entry)).encode())
        lost += sum(row["lost"] for row in campaign.rows)
    return min(1, lost)


def page(known: dict) -> str:
    """The tables for people."""
    rows = [(part, *row.values()) for part, entry in known.items() for row in entry["rows"]]
    fed = [(*row.values(),) for entry in known.values() for row in entry["table"]]
    places = [(part, entry["runs"], *map(entry["environment"].get, WHERE)) for part, entry in known.items()]
    tables = (
        markdown("part | case | tried | survived | lost | note", rows),
        markdown(f"part | undisturbed runs | {' | '.join(WHERE)}", places),
        markdown("bad input | what happens | message | as it should", fed),
    )
    return "\n\n".join([HEAD, *(table.data for table in tables), Path(__file__).with_name("kinds.md").read_text()])


if __name__ == "__main__":
    cli.start("benchmarks.faults", command)
