"""Studies on one GPU, several runs at once, without a network: the clocks first, while it is quiet; then fold by fold.

    python -m benchmarks.many STUDIES="paper compact" DATA=folder WEIGHTS=path RESULTS=folder JOBS=8 MINUTES=9 TAKES=3

T comes from the clock, so runs may share a GPU. Each process has a cache of its own, and with it a GPU lock of its own.
After MINUTES all stop; what is done stays, and the same command goes on.
"""

import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from entr_utils import cli
from entr_utils.results.studies import STUDIES, cells
from entr_utils.settings import Cell
from entr_utils.util import AT_ONCE, UserError, cache_folder, minutes, one_of

KNOWN = ("STUDIES", "NETWORKS", "DATASETS", "JOBS", "MINUTES", "TAKES", "DATA", "WEIGHTS", "RESULTS", "PRECISION")


def asked(given: dict[str, str]) -> list[Cell]:
    """The runs of STUDIES in their order, with one of NETWORKS (resnet18, or what a study names) and DATASETS."""
    names = given.get("STUDIES", "").split() or [""]
    for name in names:
        one_of("STUDIES", name, STUDIES)
    studies = [STUDIES[name] for name in names]
    networks, places = given.get("NETWORKS", "resnet18 resnet18-narrow").split(), cli.fields(given, cli.PLACES)
    found = [cell for study in studies for cell in cells(study, **places) if cell.network in networks]
    return [cell for cell in found if cell.dataset in given.get("DATASETS", cell.dataset).split()]


def own_cache(shared: Path) -> None:
    """A cache of this process's own, with the images that are decoded in the shared one."""
    own = shared / "of" / str(os.getpid())
    own.mkdir(parents=True)
    for path in (*shared.glob("*.npy"), *shared.glob("*.json")):
        os.link(path, own / path.name)
    os.environ["ENTR_CACHE"] = str(own)


def train(cell: Cell) -> str:
    """A line on a run."""
    from entr_utils.training import loop
    from entr_utils.training.run import prepare

    began = time.perf_counter()
    try:
        record = loop.train(prepare(cell)[0])
    except Exception:
        return f"{cell.profile} {cell.name} {cell.seeds[0]}: {traceback.format_exc()}"
    about = f"{record.accuracy_total:.3f}, T {record.seconds_total:.1f} of {time.perf_counter() - began:.1f} s"
    return f"{cell.profile} {record.spec.name}: {about}"


def command(words: Sequence[str]) -> int:
    """Take the clocks, decode the images, train."""
    from entr_utils.data import store
    from entr_utils.training.clock import take_for

    given = cli.read(words, KNOWN)
    began, runs, jobs = time.monotonic(), asked(given), int(given.get("JOBS", 8))
    alike = {replace(cell, seeds=(0,)): None for cell in runs}
    for i in range(int(given.get("TAKES", 0))):
        try:
            take_for(alike, given.get("RESULTS", "results"), again=i > 0)
        except UserError as error:  # the machine is busy
            print(error, flush=True)
    for cell in {replace(cell, regime="no_increase").checked(): None for cell in alike}:
        store.load(cell)
    print(f"clocks and images: {minutes(time.monotonic() - began)}", flush=True)
    os.environ[AT_ONCE] = str(jobs)
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), own_cache, (cache_folder(),))
    waiting = [pool.submit(train, cell) for cell in runs]
    left = 60 * float(given.get("MINUTES", 1e6)) - (time.monotonic() - began)
    try:
        for i, one in enumerate(as_completed(waiting, timeout=max(1.0, left)), 1):
            print(f"{i} of {len(waiting)}, {time.monotonic() - began:.0f} s: {one.result()}", flush=True)
    except TimeoutError:
        print("out of time", flush=True)
        for process in multiprocessing.active_children():
            process.kill()
    return 0


if __name__ == "__main__":
    sys.exit(cli.guarded(command, sys.argv[1:]))
