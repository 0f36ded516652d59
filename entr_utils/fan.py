"""Notebooks side by side on this host: one at each place, a GPU or a share of the threads. No scheduler: a queue.

What another process or host makes is left to it, and looked at again when nothing else is left.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Event

from entr_utils.util import AT_ONCE, Progress, lock, require

Place = Mapping[str, str]  # where one notebook at a time is made: variables of its kernel
PATIENCE = 60.0  # seconds that one visit waits for what another process makes: longer than a lease


def places(gpus: str = "", jobs: int = 0) -> list[Place]:
    """A place for each GPU named ("0,1", or "all"), or so many that share the threads; for neither a single one. This
    process then sees the first GPU alone, or has as many threads as a place: its clock is theirs."""
    if not gpus and not jobs:
        return [{}]
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(torch.cuda.device_count()))))
    found, threads = visible.replace(",", " ").split(), torch.get_num_threads()
    names = found if gpus == "all" else list(dict.fromkeys(gpus.replace(",", " ").split()))
    line = f"all, or some of {','.join(found)}" if found else "none here; JOBS=2 divides the threads"
    require(not gpus or (names and {*names} <= {*found}), "GPUS", gpus, f"allowed: {line}")
    line = f"allowed: a whole number from 1 to the {threads} threads here, without GPUS"
    require(not jobs or (not gpus and 1 <= jobs <= threads), "JOBS", jobs, line)
    n = len(names) or jobs
    shared = {"OMP_NUM_THREADS": str(max(1, threads // n)), AT_ONCE: str(n)}
    shared |= {"ENTR_CLOCK": "off"} if n > 1 else {}  # others are at work: this process takes it before
    if not gpus:
        torch.set_num_threads(threads // n)
        return [shared] * n
    os.environ["CUDA_VISIBLE_DEVICES"] = names[0]
    return [shared | {"CUDA_VISIBLE_DEVICES": name} for name in names]


class Queue:
    """Tasks (`sweep.Task`) that are made in their order, and the progress of all. `make` makes one at a place and calls
    what it is given with the share done of the run that trains; `seconds` is what each run takes, by its record."""

    def __init__(self, todo: Iterable, make: Callable[..., None], seconds: Mapping[Path, float]):
        self.todo, self.make, self.seconds = [(task, 0) for task in todo], make, seconds
        self.at_work: dict[Path, float] = {}  # seconds done of the run that trains, by notebook
        self.stopped = Event()

    def run(self, places: Sequence[Place]) -> None:
        """Make all. Where this process is stopped or one place fails, every notebook stops within a second."""
        with closing(Progress("all notebooks", 0)) as self.line, ThreadPoolExecutor(len(places)) as threads:
            try:
                made = [threads.submit(self._work, place, number) for number, place in enumerate(places, 1)]
                for one in wait(made, return_when=FIRST_EXCEPTION).done:
                    one.result()
            except BaseException:
                self.stopped.set()
                raise

    def _work(self, place: Place, number: int) -> None:
        """Visit tasks until none is left; who comes in vain waits at later visits, and says so at the second."""
        while not self.stopped.is_set():
            try:
                task, visits = self.todo.pop(0)
            except IndexError:
                return
            name, gpu = task.lock.name, place.get("CUDA_VISIBLE_DEVICES")
            waiting = f"waiting: another process makes {name}" if visits == 1 else ""
            with lock(task.lock, waiting, PATIENCE if visits else 0.0, self.stopped.is_set) as held:
                if not held:
                    self.todo.append((task, visits + 1))
                elif not task.done():
                    with closing(Progress(f"GPU {gpu}: {name}" if gpu else name, number)) as line:
                        self.make(task, place, partial(self._show, task, line if place else None))
                    self.at_work.pop(task.lock, None)

    def _show(self, task, line: Progress | None, share: float) -> None:
        if self.stopped.is_set():
            raise KeyboardInterrupt
        self.at_work[task.lock] = share * sum(self.seconds[run.path] for run in task.missing()[:1])
        done = sum(one for path, one in self.seconds.items() if path.exists()) + sum([*self.at_work.values()])
        self.line.update(done / max(1.0, sum(self.seconds.values())), "" if line else task.lock.name)
        if line:
            line.update(share)
