"""A folder with results and a cache of its own in which a command is disturbed.

python -m benchmarks.place PROFILE=tiny SEEDS="0 1"        trains in this very process, without kernels
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import psutil

from benchmarks.cases import noise, write
from entr_utils import cli
from entr_utils.notebook import ROOT, keys_shown
from entr_utils.results import record
from entr_utils.training import resume
from entr_utils.util import UserError

MAKE = ("make", "-C", str(ROOT), "--no-print-directory", "all")
PLAIN = (sys.executable, "-m", "benchmarks.place")
KERNEL, EVERY = ("ipykernel_launcher",), ("",)  # texts in the command lines of what works in a place
ALL, OF_KERNEL, SIGTERM, CTRL_C = "kill -9 of all", "kill -9 of the kernel", "SIGTERM", "Ctrl-C"
STOPS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # who is killed, and who has to end then
    OF_KERNEL: (KERNEL, ()),
    "kill -9 of papermill": (("entr_utils.notebook",), KERNEL),
    "kill -9 of the runner": (("entr_utils.cli",), KERNEL),
    "kill -9 of make": ((MAKE[3],), ()),
    ALL: (EVERY, EVERY),
    SIGTERM: ((), EVERY),
    CTRL_C: ((), EVERY),
}
OF_MAKE = ("MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS")  # `make faults KILLS=1` hands its words down to every make below
AT_ONCE, OUTLIVES = 2.0, 5.0  # seconds in which all ends after SIGTERM or Ctrl-C, a kernel without its parent
PATIENCE = 3600.0  # seconds after which a command counts as hanging
SAMPLES = "DATA={folder}/data"  # images in every place
RECORDS = "results/**/*-s[0-9]*-*.json"


def train_all(words: Sequence[str]) -> int:
    from entr_utils.training import loop
    from entr_utils.training.run import prepare

    for cell in cli.matrix(cli.read(words, cli.MATRIX)):
        for run in prepare(cell):
            loop.train(run)
    return 0


@dataclass
class Place:
    """A folder, the words of a command that works there, and what can be compared of the records that it makes."""

    folder: Path
    words: Sequence[str]
    command: tuple[str, ...] = PLAIN
    reference: Mapping[str, dict] = field(default_factory=dict)

    def start(self) -> subprocess.Popen:
        """Start the command; what it prints is added to a log."""
        inherited = {name: value for name, value in os.environ.items() if name not in (*OF_MAKE, *cli.MATRIX)}
        ours = {"ENTR_CACHE": str(self.folder / "cache"), "TMPDIR": str(self.folder), "PYTHONPATH": str(ROOT)}
        ours |= {"ENTR_FAULTS": str(self.folder), "ENTR_CLOCK": "off", resume.SECONDS: "0"}  # checkpoints every epoch
        words = [word.replace("{folder}", str(self.folder)) for word in (*self.words, "RESULTS={folder}/results")]
        with open(self.folder / "log", "a") as log:
            options: dict = {"stdout": log, "stderr": log, "cwd": ROOT, "start_new_session": True}
            # What a shell starts in the background ignores Ctrl-C, and so would all that we start there.
            options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
            return subprocess.Popen([*self.command, *words], env=inherited | ours, **options)

    def to_end(self, process: subprocess.Popen | None = None, seconds: float = PATIENCE) -> int | None:
        """The exit code of the command when it has ended, None where it does not within some time."""
        process = process or self.start()
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        return process.returncode

    def files(self, pattern: str) -> list[Path]:
        return sorted(self.folder.glob(pattern))

    def comes(self, pattern: str, process: subprocess.Popen) -> bool:
        """Wait for a file that a pattern matches; whether it came before the command ended."""
        while not self.files(pattern) and process.poll() is None:
            time.sleep(0.002)
        return process.poll() is None

    def printed(self) -> str:
        """What all commands here have printed."""
        return (self.folder / "log").read_text()

    def processes(self, texts: Sequence[str] = EVERY) -> list[psutil.Process]:
        """Those at work here with one of some texts in their command line."""
        every = psutil.process_iter(["cmdline", "environ"])  # of a zombie neither can be read
        here = [one for one in every if (one.info["environ"] or {}).get("ENTR_FAULTS") == str(self.folder)]
        return [one for one in here if any(text in " ".join(one.info["cmdline"] or ()) for text in texts)]

    def kill(self, texts: Sequence[str] = EVERY) -> None:
        for process in self.processes(texts):
            with suppress(psutil.Error):
                process.kill()

    def stop(self, process: subprocess.Popen, how: str) -> tuple[int, int]:
        """Stop the command; how many processes had to end then, and how many did not within the time."""
        killed, ending = STOPS[how]
        waited, deadline = self.processes(ending), time.monotonic() + (OUTLIVES if killed else AT_ONCE)
        self.kill(killed)
        with suppress(ProcessLookupError):
            if how == CTRL_C:
                os.killpg(process.pid, signal.SIGINT)  # a terminal signals the whole group
            elif how == SIGTERM:
                process.terminate()
        while (late := {*waited}.intersection(self.processes())) and time.monotonic() < deadline:
            time.sleep(0.05)
        return len(waited), len(late)

    def outcome(self) -> dict[str, dict]:
        """What can be compared of each record, by its file's name."""
        return {path.name: record.repeatable(record.read(path)) for path in self.files(RECORDS)}

    def fine(self) -> bool:
        """Whether the command, run to its end, leaves all as it should be."""
        return self.to_end() == 0 and self.like()

    def like(self) -> bool:
        """Whether all records are there, equal to the reference, and `make all` leaves notebooks that show them."""
        try:
            found = self.outcome()
        except UserError:
            return False
        keys = sorted(one["key"] for one in found.values())
        shown = {path.stem: keys_shown(path) or [] for path in self.files("results/*/*.ipynb")}
        drawn = self.command != MAKE or (shown.pop("summary", []) == keys == sorted(chain(*shown.values())))
        return drawn and all(found.get(name) == one for name, one in self.reference.items())


@contextmanager
def place(
    words: Sequence[str], command: tuple[str, ...] = PLAIN, cache: Path | None = None, reference: Mapping = {}
) -> Iterator[Place]:
    """A new place, with a copy of `cache`; it is gone afterwards, and so is what worked there."""
    with tempfile.TemporaryDirectory(prefix="entr-faults-", ignore_cleanup_errors=True) as folder:
        here = Place(Path(folder), words, command, reference)
        if SAMPLES in words:  # three classes of twelve images of noise, and beside them their groups of two
            names = [f"{label}/{i}.png" for label in ("lake", "pond", "wood") for i in range(12)]
            rows = "".join(f"{name},{name[:4]}{i // 2}\n" for i, name in enumerate(names))
            images = {f"data/steel/{name}": noise(name, 200).save for name in names}
            write(here.folder, {**images, "data/steel_groups.csv": f"file,group\n{rows}".encode()})
        if cache:
            shutil.copytree(cache, here.folder / "cache")
        try:
            yield here
        finally:
            here.kill()


if __name__ == "__main__":
    cli.start("benchmarks.place", train_all)
