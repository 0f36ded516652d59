"""The missing notebooks as jobs of a Slurm cluster, by submitit: an array, a notebook a task. Nothing waits for them.

What is done is known from records alone, what is alive from squeue. Who was submitted (<results>/<profile>/.slurm/
jobs.json names the job) and is neither, is lost, and submitted again. Before its time limit, and before it is
preempted, a job is queued again: its runs go on after their last checkpoint.
"""

import getpass
import io
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from contextlib import redirect_stderr
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from entr_utils import sweep
from entr_utils.settings import Cell
from entr_utils.util import AT_ONCE, UserError, lock, read_json, require, whole, write_json

REQUEUES = 100  # after a time-out; submitit's own three would end a long run
NOTICE = 90  # seconds before the limit, at most a twelfth of it; Slurm, which looks every 30 s, gives up to 30 more


@dataclass(frozen=True)
class Job:
    """What runs on the cluster: one notebook. It is what submitit calls Checkpointable, queued again as it is."""

    cell: Cell
    at_once: int

    def __call__(self) -> None:
        os.environ |= {AT_ONCE: str(self.at_once), "ENTR_CLOCK": "off"}  # others are at work on this machine
        if code := sweep.make(sweep.asked([self.cell]), summaries=False):
            raise RuntimeError(f"{self.cell.name}: exit code {code}, see above")

    def checkpoint(self) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def submit(cells: Iterable[Cell], partition: str, minutes: int, most: int, gpus: int) -> int:
    """Submit what is neither done nor alive, and return; where all is done the summary is drawn. The exit code.
    `minutes`: until a job is queued again; `most`: jobs at once, 0 for all; `gpus`: of each. Account, quality of
    service and the like are Slurm's own variables, SBATCH_ACCOUNT for one."""
    whole("TIME", minutes, 1, 100_000)
    whole("JOBS", most, 0, 100_000)
    line = "there is no sbatch here; type this where jobs are submitted, or leave ON out"
    require(shutil.which("sbatch"), "ON", "slurm", line)
    require(find_spec("submitit"), "ON", "slurm", "submitit is missing; install it with pip install submitit")
    import submitit

    work = sweep.asked(cells)
    folder = work.cells[0].folder
    with lock(folder / ".locks" / "submit", "waiting: another command submits"):
        alive, known = _alive(), _known(folder)
        todo = [task for task in work.notebooks if not task.done()]
        if not todo:
            return sweep.make(work)
        lost = [task for task in todo if known.get(task.cell.name) not in alive]
        print(f"  {len(todo)} of {len(work.cells)} notebooks to be made, {len(todo) - len(lost)} are submitted already")
        if lost:
            at_once = min(most or len(lost), len(lost))
            executor = submitit.SlurmExecutor(folder / ".slurm", max_num_timeout=REQUEUES)
            where = {"partition": partition or None, "gpus_per_node": gpus or None, "job_name": "entr"}
            notice = min(NOTICE, 5 * minutes)
            executor.update_parameters(time=minutes, signal_delay_s=notice, array_parallelism=at_once, **where)
            try:
                with redirect_stderr(io.StringIO()), executor.batch():
                    jobs = [executor.submit(Job(task.cell, at_once)) for task in lost]
            except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
                raise UserError(f"sbatch: {' '.join(str(error).split())[-300:]}") from error
            known |= {task.cell.name: job.job_id for task, job in zip(lost, jobs, strict=True)}
            write_json(known, folder / ".slurm" / "jobs.json")
            number = jobs[0].job_id.partition("_")[0]
            print(f"  submitted: {len(jobs)} as job {number}; look: make status, squeue -j {number}, {folder}/.slurm/")
            print(f"  cancel: scancel {number}")
    print("  the same command later submits what is then missing, and draws the summary where all is done")
    return work.code


def status(cells: Iterable[Cell]) -> int:
    """Print of every notebook whether it is done, waiting, running, lost or missing. The exit code."""
    work = sweep.asked(cells, repair=False)
    known, states = _known(work.cells[0].folder), Counter[str]()
    alive = _alive() if known else {}
    for task in work.notebooks:
        job = known.get(task.cell.name, "")
        state = "done" if task.done() else {"": "", "PENDING": "waiting"}.get(alive.get(job, ""), "running")
        if not state:
            with lock(task.lock) as free:
                state = ("lost" if job else "missing") if free else "running"
        states[state] += 1
        print(f"  {state:8} {task.cell.name} {job}")
    print(f"  {', '.join(f'{state}: {count}' for state, count in states.items())}")
    return work.code


def _known(folder: Path) -> dict[str, str]:
    """The job that was last asked to make each notebook."""
    path = folder / ".slurm" / "jobs.json"
    return read_json(path) if path.exists() else {}


def _alive() -> dict[str, str]:
    """State of every job of this user that waits or runs, by its number as submitit writes it: 12_0 in an array."""
    words = ["squeue", "--noheader", "--array", f"--user={getpass.getuser()}", "--format=%i %T"]
    try:
        answer = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"squeue: {getattr(error, 'stderr', '') or error}; what is alive is not known") from error
    return dict(line.split() for line in answer.splitlines())
