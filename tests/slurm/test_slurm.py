"""ON=slurm on a real Slurm that this file starts and stops: two nodes, two fake GPUs each. Run by `make test-slurm`.

Whatever happens to a job, the same command once more ends with the records of an undisturbed run.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from conftest import ROOT

from entr_utils import regimes
from entr_utils.results import record
from entr_utils.slurm import _alive as alive

DAWDLING = '''
"""Takes its time, fails, or waits for the limit in a job's first life, until a file says that it need not."""
import os
import time
from dataclasses import dataclass
from pathlib import Path
from entr_utils.regimes.base import Regime, register

@register
@dataclass(frozen=True)
class Dawdling(Regime):
    seconds: float = 3.0
    fails: int = 0
    waits: int = 0

    def spec(self, step):
        return step.at(1.0)

    def after_epoch(self, network, step):
        if not Path("hurry").exists():
            time.sleep(self.seconds)
            if self.waits and step.epoch == 1 and not Path("waited").exists():
                Path("waited").touch()  # only once, in whichever job comes so far
                time.sleep(60)
            assert not self.fails
'''


exec(DAWDLING, {})  # registered here, too: its records are read


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    folder, script = tempfile.mkdtemp(prefix="slurm-", dir="/tmp"), str(Path(__file__).with_name("cluster.sh"))
    subprocess.run(["bash", script, "start", folder], check=True)
    os.environ["SLURM_CONF"] = f"{folder}/slurm.conf"
    yield
    subprocess.run(["bash", script, "stop", folder], check=True)
    shutil.rmtree(folder)
    regimes.REGIMES.pop("dawdling")


@dataclass
class Checkout:
    """A copy of the project in a folder with blanks."""

    folder: Path

    def command(self, *words: str) -> str:
        """What a command prints."""
        usual = {"ENTR_CLOCK": "off", "ENTR_CHECKPOINT_SECONDS": "0", "OMP_NUM_THREADS": "1"}
        words = (sys.executable, "-m", "entr_utils.cli", *words)
        answer = subprocess.run(words, cwd=self.folder, env=os.environ | usual, capture_output=True, text=True)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout

    def records(self, results: str) -> list[dict]:
        """What does not depend on the machine, of all records."""
        return [record.repeatable(one) for one in record.load(self.folder / results)]


@pytest.fixture
def checkout(tmp_path) -> Checkout:
    folder = tmp_path / "a folder with blanks"
    for name in ("entr_utils", "notebooks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "entr_utils" / "regimes" / "dawdling.py").write_text(DAWDLING)
    return Checkout(folder)


def watch(look: Callable[[dict[str, str]], object] = bool) -> None:
    """Look every half second until nothing is alive."""
    end = time.monotonic() + 600
    while found := alive():
        look(found)
        assert time.monotonic() < end, found
        time.sleep(0.5)


def kill(job: str) -> None:
    """The Python of a task, and nothing else of it."""
    number, task = job.split("_")
    for process in psutil.process_iter():
        try:
            if process.cmdline()[1:4] == ["-u", "-m", "submitit.core._submit"]:
                found = process.environ()
                if (found.get("SLURM_ARRAY_JOB_ID"), found.get("SLURM_ARRAY_TASK_ID")) == (number, task):
                    process.send_signal(signal.SIGKILL)
        except psutil.Error:
            continue


MISHAPS = {
    "seconds=1.0": lambda job: None,
    "seconds=1.1": kill,
    "seconds=1.2": lambda job: subprocess.run(["scancel", job], check=True),
    "seconds=1.3": lambda job: subprocess.run(["scontrol", "requeue", job], check=True),
    "fails=1": lambda job: None,  # an exception of its own
}
ALL = ("all", "PROFILE=tiny", "DATASETS=steel", "NETWORKS=resnet18-narrow")


def test_whatever_happens_to_a_job_the_same_command_goes_on(checkout):
    """An array of five, two at once; a kill -9, scancel, a requeue and an exception while they train."""
    texts = [f"dawdling:{options}" for options in MISHAPS]
    words = (*ALL, f"REGIMES={' '.join(texts)}")
    on = (*words, "ON=slurm", "PARTITION=gpu", "JOBS=2")
    number = re.search(r"job (\d+)", checkout.command(*on))[1]
    assert alive()  # it has returned
    assert "5 are submitted already" in checkout.command(*on)
    assert {one.split("_")[0] for one in alive()} == {number}
    at_once, happened, results = [], set(), checkout.folder / "results" / "tiny"

    def look(found: dict[str, str]) -> None:
        at_once.append([*found.values()].count("RUNNING"))
        for i, (options, happens) in enumerate(MISHAPS.items()):
            if options not in happened and list(results.glob(f"*{options.replace('=', '-')}*.checkpoint")):
                happened.add(options)
                happens(f"{number}_{i}")

    watch(look)
    assert max(at_once) == 2
    state = checkout.command("status", *words[1:])
    assert ("done: 2" in state, "lost: 3" in state) == (True, True), state
    (checkout.folder / "hurry").touch()
    assert "submitted: 3" in checkout.command(*on)
    watch()
    assert "done: 5" in checkout.command("status", *words[1:])
    assert "0 of 5" in checkout.command(*on)  # and the summary is drawn
    assert (results / "summary.ipynb").exists()
    stopped = {one.spec.regime for one in record.load(results) if one.attempts}
    assert stopped == {f"dawdling:{options}" for options in [*MISHAPS][1:4]}
    assert {one.environment.at_once for one in record.load(results)} == {2}
    checkout.command(*words, "RESULTS=undisturbed")
    assert checkout.records("results") == checkout.records("undisturbed")


def test_a_time_limit_queues_a_job_again_and_it_goes_on(checkout):
    """After the last epoch, as often as it takes."""
    words = (*ALL, "REGIMES=dawdling:seconds=1.0,waits=1")
    checkout.command(*words, "ON=slurm", "TIME=1", "GPUS=0")
    watch()
    assert "done: 1" in checkout.command("status", *words[1:])
    (made,) = record.load(checkout.folder / "results")
    epochs = [one.epoch for one in made.attempts]
    assert epochs == sorted({*epochs})
    assert epochs[0] >= 1
    (checkout.folder / "hurry").touch()
    checkout.command(*words, "RESULTS=undisturbed")
    assert checkout.records("results") == checkout.records("undisturbed")


def test_what_slurm_refuses_is_one_line(checkout):
    words = (sys.executable, "-m", "entr_utils.cli", "all", "PROFILE=tiny", "ON=slurm", "PARTITION=moon")
    answer = subprocess.run(words, cwd=checkout.folder, capture_output=True, text=True)
    assert (answer.returncode, len(answer.stderr.splitlines())) == (2, 1)
    assert "partition" in answer.stderr
