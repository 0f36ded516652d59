"""Many notebooks: which are missing, what they will take; made in turn or side by side, then the summary.

A notebook is done where all its runs have a record and it shows their keys. What another command makes is left to it
and looked at again at the end. Torch is imported late: what is wrong in the words is found before.
"""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entr_utils.fan import HERE, Place, Queue
from entr_utils.notebook import GOES_ON, ROOT, Refused, execute, first_picture, keys_shown
from entr_utils.regimes import parse
from entr_utils.regimes.plan import check_sizes, first_steps, make_plan
from entr_utils.results import record
from entr_utils.settings import PROFILES, Cell
from entr_utils.util import (
    Damaged,
    Missing,
    UserError,
    lock,
    minutes,
    read_json,
    remove_leftovers,
    write_whole,
)

if TYPE_CHECKING:
    from entr_utils.training.run import Run

Seeds = tuple[int, ...]
NOTEBOOKS = ROOT / "notebooks"
FAILED, REFUSED, MISSING = 1, 2, 3  # exit codes: of several the smallest but 0


@dataclass(frozen=True)
class Task:
    """A notebook to be made: the cell that it shows, its runs, one a seed; `again` whether it is whole or not."""

    cell: Cell
    runs: Sequence["Run"]
    again: bool = False

    @property
    def output(self) -> Path:
        """The rendered notebook."""
        return self.cell.folder / f"{self.cell.name}.ipynb"

    @property
    def lock(self) -> Path:
        """Held while it is made."""
        return self.cell.folder / ".locks" / self.cell.name

    def missing(self) -> list["Run"]:
        """The runs without a record."""
        return [run for run in self.runs if not run.path.exists()]

    def done(self) -> bool:
        """Whether every run has a record and the notebook shows it."""
        keys = {run.spec.key for run in self.runs}
        return not self.again and not self.missing() and keys <= {*(keys_shown(self.output) or ())}


@dataclass
class Work:
    """What a command asks for: tasks in order; all its cells, without seeds; exit codes of what cannot be made."""

    tasks: list[Task]
    cells: Collection[Cell]
    codes: set[int]


def asked(cells: Iterable[Cell], chosen: str, repair: bool = True) -> Work:
    """The work of these cells; images and weights are fetched, damaged records put aside where `repair` asks for it.

    `chosen`: how the profile was chosen. Raises UserError, before anything is done, where a parameter cannot be.
    """
    steps = _begin(cells, chosen)
    prepared, codes = _prepare(dict(steps))
    for run in chain.from_iterable(prepared.values() if repair else ()):
        run.finished()  # puts aside what is damaged
    usable = [(cell, seeds) for cell, seeds in steps if cell in prepared]
    tasks = [Task(replace(cell, seeds=seeds), prepared[cell][: len(seeds)]) for cell, seeds in usable]
    return Work(tasks, {**dict(steps)}, codes)


def render(cells: Iterable[Cell], chosen: str) -> int:
    """Draw the notebooks of finished runs again; nothing is trained, nothing put aside. Otherwise as `asked`."""
    wanted, tasks = dict(_begin(cells, chosen)), []
    prepared, codes = _prepare(wanted)
    for cell, runs in prepared.items():
        try:
            done = {record.read(run.path).spec.seed: run for run in runs if run.path.exists()}
            tasks += [Task(replace(cell, seeds=(*done,)), [*done.values()], again=True)] if done else []
        except Damaged as error:
            codes.add(REFUSED)
            print(f"  {error}")
    return make(Work(tasks, wanted, codes))


def plan(cells: Iterable[Cell], chosen: str) -> int:
    """Print what all would take on this machine. No images or weights are needed: then as many as the paper's count."""
    wanted, times = dict(_begin(cells, chosen)), []
    from entr_utils.data import catalog
    from entr_utils.training.run import costs

    for cell, seeds in wanted.items():
        runs, images = len(seeds), catalog.count(cell)
        seconds, flops = costs(replace(cell, seeds=seeds), images)
        times += [seconds] * runs
        print(f"  {cell.name}: {images} images x {runs}, {runs * flops:.1e} FLOPs, {_time(times[-runs:])}", flush=True)
    print(f"  in all: {_time(times)}")
    return 0


def _time(seconds: Collection[float | None]) -> str:
    known = [one for one in seconds if one is not None]
    return f"{minutes(sum(known))} of T" if len(known) == len(seconds) else "T unknown: make clock"


def _begin(cells: Iterable[Cell], chosen: str) -> list[tuple[Cell, Seeds]]:
    """Of each cell, checked and without its seeds, the seeds up to here; prints the first line, removes leftovers."""
    steps: list[tuple[Cell, Seeds]] = []
    for cell in [cell.checked() for cell in cells]:
        profile, alike = PROFILES[cell.profile], replace(cell, seeds=())
        first = first_steps(profile.phases(cell.weights != "none"), 10 * cell.batch, cell.size, cell.batch, 0)
        check_sizes(make_plan(parse(cell.regime), first), profile.least(cell.network), cell.regime, cell.size)
        steps.append((alike, tuple(dict.fromkeys((*dict(steps).get(alike, ()), *cell.seeds)))))
    runs, notebooks = sum(map(len, dict(steps).values())), len(dict(steps))
    what = f"{profile.purpose}; notebooks: {notebooks}, runs: {runs}"
    print(f"Profile {profile.name} ({chosen}): {what}. The full matrix: make paper", flush=True)
    for folder in {cell.folder for cell, _ in steps}:
        remove_leftovers(folder)
    return steps


def _prepare(wanted: dict[Cell, Seeds]) -> tuple[dict[Cell, list["Run"]], set[int]]:
    """The runs of each cell, and exit codes of what stops others; prints a line on all images and problems."""
    from entr_utils.networks import build
    from entr_utils.training.run import prepare

    tried: dict[tuple, tuple[int, Any]] = {}  # exit code and result, by what was tried; its first part names it

    def works(what: tuple, call: Callable, *arguments: Any) -> bool:
        if what not in tried:
            try:
                tried[what] = 0, call(*arguments)
            except UserError as error:
                if (line := f"  {what[0]}: {error}",) not in tried:
                    print(line, flush=True)
                tried[what] = tried[line,] = MISSING if isinstance(error, Missing) else REFUSED, None
        return not tried[what][0]

    ready = {}
    for cell, seeds in wanted.items():
        images, weights = (cell.dataset, cell.data, cell.groups, cell.size), (cell.network, cell.weights)
        usable = works(images, _fetch, cell) and works(weights, build, *weights, 2, "float32")
        if usable and works((cell.dataset, cell), prepare, replace(cell, seeds=seeds)):
            ready[cell] = tried[cell.dataset, cell][1]
    return ready, {code for code, _ in tried.values()}


def _fetch(cell: Cell) -> None:
    """Find, fetch and decode the images of a cell; what is found is printed. Raises UserError where that fails."""
    from entr_utils.data import catalog, standard, store

    state, line = catalog.status(cell.dataset, cell.data, cell.classes)
    if state == "missing":
        raise Missing(line.partition(": ")[2])
    print(f"  {line}", flush=True)
    if state == "downloadable":
        standard.fetch(cell.dataset, Path(cell.data))
    store.load(cell)


def make(work: Work, places: Sequence[Place] = (HERE,), summaries: bool = True) -> int:
    """Make what is not done, what another command makes last, then the summaries; the smallest exit code but 0."""
    todo, codes = [task for task in work.tasks if not task.done()], work.codes
    print(f"  {len({task.output for task in todo})} of {len(work.cells)} notebooks to be made", flush=True)
    if lacking := [run for task in todo for run in task.missing()]:
        from entr_utils.training import clock

        clock.ensure(lacking, lacking[0].cell.results)
    if forecast := {run.path: run.forecast() for run in lacking}:
        print(f"  {len(forecast)} runs to train: {_time(forecast.values())}", flush=True)
    seconds = {path: one or 60.0 for path, one in forecast.items()}  # without a clock all count the same
    Queue(todo, lambda *given: codes.add(_make(*given)), seconds).run(places)
    codes |= {summarise(cell) for cell in {cell.folder: cell for cell in work.cells if summaries}.values()}
    return min(codes - {0}, default=0)


def _make(task: Task, place: Place, progress: Callable[[float], None]) -> int:
    """Make a notebook; returns 0, REFUSED where it was refused for what it was given, FAILED for any other reason."""
    cell, began = task.cell, time.monotonic()
    fields, keys = asdict(cell) | {"seeds": " ".join(map(str, cell.seeds))}, [run.spec.key for run in task.runs]
    source, left = (f"{cell.dataset}.ipynb", "dataset") if ":" not in cell.data else ("folder.ipynb", "")
    given = {name: value for name, value in fields.items() if name not in ("orientations", left)}
    try:
        execute(NOTEBOOKS / source, given, task.output, keys, place.variables, progress)
        if lost := task.missing():
            raise RuntimeError(f"the record of seed {lost[0].spec.seed} is not in its place; {GOES_ON}")
    except KeyboardInterrupt:
        print(f"  {cell.name}: stopped; {_place(task)}")
        raise
    except RuntimeError as error:
        print(f"  {cell.name}: FAILED, {error}", flush=True)
        return REFUSED if isinstance(error, Refused) else FAILED
    print(f"  {cell.name}: done in {minutes(time.monotonic() - began)}", flush=True)
    return 0


def _place(task: Task) -> str:
    """Where a notebook that was stopped goes on."""
    from entr_utils.training import resume

    for kept in map(resume.Store, task.missing()):
        return f"{kept.local.stem} will go on after epoch {kept.reached} of {kept.epochs}"
    return "it will be drawn"


def summarise(cell: Cell, always: bool = False) -> int:
    """Draw the summary of a cell's profile where a record or a clock is new, or `always`; returns 0 or FAILED."""
    output, results = cell.folder / "summary.ipynb", Path(cell.results)
    with lock(cell.folder / ".locks" / "summary", f"waiting: another process draws {output}"):
        keys = sorted(read_json(path).get("key", "") for path in results.rglob("*-s[0-9]*-*.json"))
        newest = max((path.stat().st_mtime for path in results.glob("clocks/*.json")), default=0.0)
        if always or keys_shown(output) != keys or output.stat().st_mtime < newest:
            try:
                execute(NOTEBOOKS / "summary.ipynb", {"results": cell.results, "profile": cell.profile}, output, keys)
                if picture := first_picture(output):
                    write_whole(cell.folder / "first_screen.png", picture)
            except RuntimeError as error:
                print(f"  summary: FAILED, {error}")
                return FAILED
    print(f"  read {output}")
    return 0
