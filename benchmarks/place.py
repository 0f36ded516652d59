"""A folder with results and a cache of its own in which `make all` is disturbed, and what it is compared with."""

import os
import random
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from entr_utils import UserError, records
from entr_utils.execution import whole

ROOT = Path(__file__).parents[1]
VICTIMS = ("kernel", "papermill", "runner", "make", "all")
ROLES = {"ipykernel_launcher": "kernel", "entr_utils.execution": "papermill", "entr_utils.runs": "runner"}
OF_MAKE = ("MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS")  # `make faults KILLS=1` hands its words down to every make below
OUTLIVES = 5.0  # seconds after which a kernel without parent counts as one that outlives it
PATIENCE = 3600.0  # seconds after which `make all` counts as hanging
HANGS = 124  # its exit code then


def _as_a_terminal_does() -> None:
    """A shell that starts a command in the background has it ignore Ctrl-C, and what that starts, too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ends(process: subprocess.Popen) -> int:
    """The exit code of a process, HANGS where it goes on for more than PATIENCE."""
    try:
        return process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        return HANGS


@dataclass
class Place:
    """A folder with results and a cache of its own, and the processes that work there."""

    folder: Path
    words: tuple[str, ...]
    command: tuple[str, ...] = ("make", "-C", str(ROOT), "--no-print-directory", "all")
    token: str = field(default_factory=lambda: f"{os.getpid()}-{random.getrandbits(32):x}")

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def start(self, *more: str, **environment: str) -> subprocess.Popen:
        """`make all` here; what it prints is added to a log."""
        ours = {"ENTR_CACHE": str(self.folder / "cache"), "TMPDIR": str(self.folder), "ENTR_FAULTS": self.token,
                "ENTR_CHECKPOINT_SECONDS": "0"}  # fmt: skip
        inherited = {name: value for name, value in os.environ.items() if name not in OF_MAKE}
        command = [*self.command, *self.words, f"RESULTS={self.results}", *more]
        with open(self.folder / "log", "a") as log:
            return subprocess.Popen(command, env=inherited | ours | environment, stdout=log, stderr=log,
                                    cwd=ROOT, start_new_session=True, preexec_fn=_as_a_terminal_does)  # fmt: skip

    def make_all(self, *more: str, **environment: str) -> int:
        """`make all` to its end; its exit code."""
        return ends(self.start(*more, **environment))

    def printed(self) -> str:
        return (self.folder / "log").read_text()

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Those that work here, by their part."""
        found: dict[str, list[psutil.Process]] = {name: [] for name in VICTIMS[:-1]}
        for process in psutil.process_iter():
            try:
                if process.environ().get("ENTR_FAULTS") == self.token and process.status() != psutil.STATUS_ZOMBIE:
                    line = " ".join(process.cmdline())
                    role = next((role for text, role in ROLES.items() if text in line), "")
                    role = role or ("make" if process.name() == "make" else "")
                    if role:
                        found[role].append(process)
            except psutil.Error:
                continue
        return found

    def kill(self, victim: str) -> tuple[int, int]:
        """kill -9; returns how many kernels lost their parent by it, and how many of these outlived it by more than
        OUTLIVES seconds."""
        found = self.processes()
        kernels = found["kernel"] if victim in ("papermill", "runner") else []
        for role in found if victim == "all" else [victim]:
            for process in found[role]:
                with suppress(psutil.Error):
                    process.kill()
        return len(kernels), len(psutil.wait_procs(kernels, timeout=OUTLIVES)[1])

    def clear(self) -> None:
        """Nothing works here any more."""
        self.kill("all")

    def outcome(self) -> dict[str, dict]:
        """What can be compared of each record, by its file's name."""
        return {path.name: records.repeatable(records.read(path)) for path in self.results.rglob("*-s[0-9]*-*.json")}

    def like(self, reference: dict[str, dict]) -> bool:
        """Whether all records are there, equal to the reference, with a notebook each and a summary."""
        try:
            found = self.outcome()
        except UserError:
            return False
        notebooks = [path.with_suffix(".ipynb") for path in self.results.rglob("*-s[0-9]*-*.json")]
        summaries = list(self.results.glob("*/summary.ipynb"))
        return found == reference and len(summaries) == 1 and all(map(whole, [*notebooks, *summaries]))


@contextmanager
def place(words: tuple[str, ...], cache: Path | None = None,
          command: tuple[str, ...] = Place.command) -> Iterator[Place]:  # fmt: skip
    """A new place, with a copy of `cache`; it is gone afterwards, and so is what worked there."""
    with tempfile.TemporaryDirectory(prefix="entr-faults-", ignore_cleanup_errors=True) as folder:
        here = Place(Path(folder), words, command)
        if cache:
            shutil.copytree(cache, here.folder / "cache")
        try:
            yield here
        finally:
            here.clear()
