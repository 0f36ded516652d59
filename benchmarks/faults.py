"""The fault campaign: stop runs at any moment, spoil any file, and see whether `make all` still ends as it should.

    python -m benchmarks.faults KILLS=50 PARTS="kills moments damage places company inputs" RESULTS=results
    python -m benchmarks.faults PARTS=kills PROFILE=quick DATASETS=bees       (longer training, of as much as one likes)

Every case works in a folder of its own, which is thrown away. What is done is compared with a reference that nobody
disturbed: all records bit for bit (`records.repeatable`) and a summary that can be read. Checkpoints are kept at the
end of every epoch. Figures go to results/faults/faults.json, the tables to README.md beside it.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from benchmarks.place import VICTIMS, Place, ends, place
from entr_utils import UserError, files
from entr_utils.commands import guarded, with_defaults
from entr_utils.keys import short_commit

PARTS = ("kills", "moments", "damage", "places", "company", "inputs")
ONE = ("DATASETS=steel", "REGIMES=no_increase", "SIZE=32")  # where a single small run tells as much as nine


@dataclass
class Campaign:
    """The reference, and the figures so far."""

    words: tuple[str, ...]
    reference: dict[str, dict]
    cache: Path
    command: tuple[str, ...] = Place.command
    rows: list[dict] = field(default_factory=list)
    table: list[dict] = field(default_factory=list)  # of bad inputs

    def count(self, case: str, tried: int, survived: int, note: str = "") -> None:
        """Keep the figures of a case, and say them."""
        self.rows.append({"case": case, "tried": tried, "survived": survived, "lost": tried - survived, "note": note})
        print(f"  {case}: {tried} tried, {survived} survived{', ' + note if note else ''}", flush=True)

    def place(self, cached: bool = True) -> AbstractContextManager[Place]:
        """A new place for a case."""
        return place(self.words, self.cache if cached else None, self.command)


def kills(campaign: Campaign, number: int, longest: float = 45.0, seed: int = 0,
          victims: tuple[str, ...] = VICTIMS) -> None:  # fmt: skip
    """kill -9 at random moments, one victim at a time, until `make all` has nothing left to do; then again."""
    dice, done, orphans, outlived = random.Random(seed), 0, 0, 0
    tried, survived = dict.fromkeys(victims, 0), dict.fromkeys(victims, 0)
    while done < number:
        here_tried = dict.fromkeys(victims, 0)
        with campaign.place() as here:
            process = here.start()
            while done < number and process.poll() != 0:
                if process.poll() is not None:
                    process = here.start()
                _wait(process, dice.uniform(0.5, longest))
                if process.poll() == 0:
                    break
                victim = victims[done % len(victims)]
                lost, late = here.kill(victim)
                orphans, outlived = orphans + lost, outlived + late
                here_tried[victim] += 1
                done += 1
                print(f"  kill {done} of {number}: {victim}", flush=True)
            ends(process)
            fine = here.make_all() == 0 and here.like(campaign.reference)
        for victim, times in here_tried.items():
            tried[victim] += times
            survived[victim] += times if fine else 0
    for victim in victims:
        case = f"kill -9 of {victim} at a random moment"
        campaign.count(case, tried[victim], survived[victim], " ".join(campaign.words))
    case = "a kernel is gone 5 s after its papermill or runner was killed"
    campaign.count(case, orphans, orphans - outlived, " ".join(campaign.words))


def _wait(process: subprocess.Popen, seconds: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


MOMENTS = {  # what is being written -> the file that shows it
    "a checkpoint is written": "results/**/*.checkpoint.*.partial",
    "a record waits for its notebook": "results/**/*.trained",
    "the cache is built": "cache/*.tmp",
    "the summary is drawn": "results/*/summary.partial",
}


def moments(campaign: Campaign) -> None:
    """kill -9 of everything while a certain file is being written."""
    for what, pattern in MOMENTS.items():
        with campaign.place(cached=what != "the cache is built") as here:
            process = here.start()
            while process.poll() is None and not any(here.folder.glob(pattern)):
                time.sleep(0.001)
            caught = process.poll() is None
            here.kill("all")
            fine = caught and here.make_all() == 0 and here.like(campaign.reference)
        campaign.count(f"kill -9 of all while {what}", int(caught), int(fine), "" if caught else "not caught in time")


def truncate(path: Path) -> None:
    """Half of a file is lost."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """One bit of a file is another."""
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 4
    path.write_bytes(bytes(content))


DAMAGED = {  # what -> the file, what is said of it
    "record": ("results/*/*/*-s0-*.json", "is kept as"),
    "notebook": ("results/*/*/*-s0-*.ipynb", "not a whole notebook"),
    "cached array": ("cache/*.npy", "damaged"),
    "checkpoint": ("results/*/*/*.checkpoint", "its checksum does not fit"),
}


def damage(campaign: Campaign) -> None:
    """Spoil one file of a half-done or finished matrix; `make all` has to name it and to end as it should."""
    for what, (pattern, said) in DAMAGED.items():
        for spoil in (truncate, flip):
            if what == "notebook" and spoil is flip:
                continue  # a letter of a text that is still a notebook: no number is read from it
            with campaign.place() as here:
                if what == "checkpoint":
                    process = here.start()
                    while process.poll() is None and not any(here.folder.glob(pattern)):
                        time.sleep(0.01)
                    here.kill("all")
                else:
                    here.make_all()
                path = sorted(here.folder.glob(pattern))[0]
                spoil(path)
                if what == "cached array":
                    shutil.rmtree(here.results)
                code, fine = here.make_all(), here.like(campaign.reference)
                named = path.name in here.printed() or _in_a_notebook(here, path.name)
                fine = fine and code == 0 and named and (said in here.printed() or _in_a_notebook(here, said))
            campaign.count(f"a {what} is {'truncated' if spoil is truncate else 'changed by a bit'}", 1, int(fine))


def _in_a_notebook(here: Place, text: str) -> bool:
    return any(text in path.read_text() for path in here.results.rglob("*.ipynb"))


def places(campaign: Campaign) -> None:
    """A full disk, results that may not be written. Needs the right to mount, else it says that it was not tried."""
    for what, options in (("a full disk", "size=40k"), ("read-only results", "ro,size=1m")):
        with campaign.place() as here:
            here.results.mkdir()
            mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(here.results)]
            if subprocess.run(mount, capture_output=True).returncode:
                campaign.count(f"{what}: one line, no record", 0, 0, "not tried: no right to mount here")
                continue
            try:
                code = here.make_all()
                said = [line for line in here.printed().splitlines() if "No space left" in line or "Read-only" in line]
                none = not list(here.results.rglob("*-s[0-9]*-*.json"))
            finally:
                subprocess.run(["umount", str(here.results)], check=True)
            fine = code != 0 and bool(said) and none and "Traceback" not in here.printed()
            again = here.make_all() == 0 and here.like(campaign.reference)
        campaign.count(f"{what}: one line, no record; then, with room, all of it", 1, int(fine and again))


def company(campaign: Campaign) -> None:
    """Two at once, a dead one's lock, and stopping in peace."""
    with campaign.place() as here:
        first = here.start()
        time.sleep(1)
        fine = here.make_all() == 0 and ends(first) == 0 and here.like(campaign.reference)
        waited = here.printed().count("in use by process") == 1
        trained = here.printed().count(": done in") == len(campaign.reference)
    campaign.count("two `make all` at once: the second waits and says for whom", 1, int(fine and waited and trained))
    for name, number in (("SIGTERM", signal.SIGTERM), ("Ctrl-C", signal.SIGINT)):
        with campaign.place() as here:
            process = here.start()
            while process.poll() is None and not any(here.results.rglob("*.checkpoint")):
                time.sleep(0.01)
            began = time.monotonic()
            if number == signal.SIGINT:
                os.killpg(process.pid, number)  # the terminal tells the whole group
            else:
                process.send_signal(number)
            process.wait(60)
            took = time.monotonic() - began
            psutil.wait_procs(here.processes()["kernel"], timeout=max(0.0, 2 - took))
            quiet = not any(here.processes().values())
            said = "stopped; it will go on after epoch" in here.printed()
            fine = took < 2 and quiet and said and here.make_all() == 0 and here.like(campaign.reference)
        campaign.count(f"{name}: everything ends within 2 s, after saying where it will go on", 1, int(fine),
                       f"took {took:.1f} s")  # fmt: skip


def inputs(campaign: Campaign) -> None:
    """The table of bad inputs."""
    from benchmarks import bad_input

    campaign.table = bad_input.run_table()
    as_said = sum(row["as_said"] for row in campaign.table)
    campaign.count("bad inputs: what the table below says", len(campaign.table), as_said)


def read_settings(words: list[str]) -> dict[str, str]:
    """NAME=value words, as make passes them. Raises UserError on an unknown one."""
    defaults = {"KILLS": "50", "PROFILE": "tiny", "DATASETS": "", "RESULTS": "results"}
    settings = with_defaults(words, defaults, PARTS)
    if not settings["KILLS"].isdecimal():
        raise UserError(f"KILLS={settings['KILLS']!r}: allowed: a whole number")
    if settings["DATASETS"] and settings["PARTS"] != "kills":
        raise UserError(f"DATASETS={settings['DATASETS']!r}: for PARTS=kills alone; other parts need one small run")
    return settings


def work(settings: dict[str, str]) -> int:
    """Run the parts asked for, write figures and page; returns the exit code."""
    from entr_utils import timing

    lost = 0
    do: dict[str, Callable[[Campaign], None]] = {
        "kills": partial(kills, number=int(settings["KILLS"])), "moments": moments, "damage": damage, "places": places,
        "company": company, "inputs": inputs,
    }  # fmt: skip
    which = [f"DATASETS={settings['DATASETS']}"] if settings["DATASETS"] else []
    for part in settings["PARTS"].split():
        words, began = (f"PROFILE={settings['PROFILE']}", *(which if part == "kills" else ONE)), time.monotonic()
        with place(words) as here:
            print(f"{part}: the reference, which nobody disturbs", flush=True)
            if part != "inputs" and here.make_all():
                raise UserError(f"the reference failed: {here.printed().strip().splitlines()[-1]}")
            campaign = Campaign(words, here.outcome(), here.folder / "cache")
            print(f"{part}: {len(campaign.reference)} runs in {time.monotonic() - began:.0f} s", flush=True)
            do[part](campaign)
            keep(Path(settings["RESULTS"]) / "faults", part, campaign, timing.environment(), time.monotonic() - began)
            lost += sum(row["lost"] for row in campaign.rows)
    return 1 if lost else 0


def keep(folder: Path, part: str, campaign: Campaign, environment: dict, seconds: float) -> None:
    """Put the figures of a part into faults.json, and draw the page again."""
    path = folder / "faults.json"
    entry = {"environment": environment, "seconds": seconds, "words": campaign.words,
             "runs": len(campaign.reference), "rows": campaign.rows, "table": campaign.table}  # fmt: skip
    of = " ".join(word.partition("=")[2] for word in campaign.words if word not in ("PROFILE=tiny", *ONE))
    known = files.known(path) | {f"{part} ({of})" if of else part: entry}
    ordered = {name: known[name] for name in sorted(known, key=lambda name: (PARTS.index(name.split()[0]), name))}
    files.write_json(ordered, path)
    (folder / "README.md").write_text(page(ordered))


def page(known: dict) -> str:
    """The tables for people."""
    lines = ["# What happens when something goes wrong", "",
             "Written by `make faults`. Runs are stopped at any moment and files spoilt; then `make all` has to end "
             "with every record equal, bit for bit, to that of a run that nobody disturbed, and with a summary.", "",
             "| case | tried | survived | lost | note |", "|---|---|---|---|---|"]  # fmt: skip
    for entry in known.values():
        lines += [f"| {row['case']} | {row['tried']} | {row['survived']} | {row['lost']} | {row['note']} |"
                  for row in entry["rows"]]  # fmt: skip
    lines += ["", *dict.fromkeys(
        f"{', '.join(name for name in known if _where(known[name]) == where)}: {where}." for where in
        map(_where, known.values()))]  # fmt: skip
    if "inputs" in known:
        from benchmarks import bad_input

        lines += ["", "## What comes of bad input", "", bad_input.as_markdown(known["inputs"]["table"])]
    return "\n".join(lines) + "\n"


def _where(entry: dict) -> str:
    env = entry["environment"]
    what = f"matrices of {entry['runs']} ({' '.join(entry['words'])})" if entry["runs"] else "no run"
    return f"{what} on {env['device']}, torch {env['torch']}, commit {short_commit(env)}"


def main(arguments: list[str]) -> int:
    """The command line: NAME=value words."""
    stopped = "stopped; the parts that were done stay in faults.json"
    return guarded(lambda: work(read_settings(arguments)), stopped)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
