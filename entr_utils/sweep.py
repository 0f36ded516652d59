"""Many notebooks: which are missing, what they will take; made in turn or side by side, then the summary.

Torch is imported late: what is wrong in the words is found before.
"""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entr_utils.fan import Place, Queue
from entr_utils.notebook import GOES_ON, ROOT, Refused, execute, first_picture, keys_shown
from entr_utils.regimes import parse
from entr_utils.regimes.plan import check_sizes, first_steps, make_plan
from entr_utils.results import record
from entr_utils.settings import PROFILES, Cell
from entr_utils.util import Damaged, Missing, UserError, lock, minutes, read_json, remove_leftovers, write_whole

if TYPE_CHECKING:
    from entr_utils.data.store import Images
    from entr_utils.training.run import Run

NOTEBOOKS = ROOT / "notebooks"
FAILED, REFUSED, MISSING = 1, 2, 3  # exit codes: of several the smallest but 0


@dataclass(frozen=True)
class Task:
    """A notebook to be made."""

    cell: Cell
    runs: Sequence["Run"]  # one a seed
    again: bool = False  # whether it is there or not

    @property
    def output(self) -> Path:
        return self.cell.folder / f"{self.cell.name}.ipynb"

    @property
    def lock(self) -> Path:
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
    """What a command asks for."""

    tasks: list[Task]  # in order, a study's fold by fold
    cells: list[Cell]  # all of them, without seeds; their folder is one
    codes: set[int]  # exit codes of what cannot be made

    @property
    def notebooks(self) -> list[Task]:
        """The last task of each, which has all seeds."""
        return [*{task.output: task for task in self.tasks}.values()]

    @property
    def code(self) -> int:
        return min(self.codes - {0}, default=0)


def asked(cells: Iterable[Cell], repair: bool = True) -> Work:
    """The work of these cells; a line on all images, and on what cannot be used. Images are fetched and, with `repair`,
    damaged records put aside. Raises UserError, before anything is done, where a parameter cannot be."""
    wanted = dict(steps := _steps(cells))
    from entr_utils.networks import build
    from entr_utils.training.run import prepare

    codes: dict[str, int] = {}  # by line

    @cache
    def tried(name: str, call: Callable, *arguments: Any) -> Any:
        """What comes of a call, made once; None and a line where it is refused."""
        try:
            return call(*arguments)
        except UserError as error:
            if (line := f"  {name}: {error}") not in codes:
                print(line, flush=True)
            codes[line] = MISSING if isinstance(error, Missing) else REFUSED

    ready: dict[Cell, list[Run]] = {}
    for cell, seeds in wanted.items():
        images, weights = replace(cell, network="", regime="", weights="", lr=0.0), (cell.network, cell.weights)
        usable = tried(cell.dataset, _fetch, images) and tried(cell.network, build, *weights, 2, "float32")
        if usable and (runs := tried(cell.dataset, prepare, replace(cell, seeds=seeds))):
            ready[cell] = runs
            for run in runs if repair else ():
                run.finished()  # puts aside what is damaged
    tasks = [Task(replace(cell, seeds=seeds), ready[cell][: len(seeds)]) for cell, seeds in steps if cell in ready]
    return Work(tasks, [*wanted], {*codes.values()})


def render(cells: Iterable[Cell]) -> int:
    """Draw the notebooks of finished runs again; nothing is trained, nothing put aside."""
    work, tasks = asked(cells, repair=False), []
    for task in work.notebooks:
        try:
            done = [run for run in task.runs if run.path.exists() and record.read(run.path)]
            seeds = tuple(run.spec.seed for run in done)
            tasks += [Task(replace(task.cell, seeds=seeds), done, again=True)] if done else []
        except Damaged as error:
            work.codes.add(REFUSED)
            print(f"  {error}")
    return make(replace(work, tasks=tasks))


def plan(cells: Iterable[Cell]) -> int:
    """Print what all would take on this machine. No images or weights are needed: then as many as the paper's count."""
    wanted, times = dict(_steps(cells)), []
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


def _steps(cells: Iterable[Cell]) -> list[tuple[Cell, tuple[int, ...]]]:
    """Of each cell, checked and without its seeds, the seeds up to here; prints the first line, removes leftovers."""
    steps: list[tuple[Cell, tuple[int, ...]]] = []
    checked = [cell.checked() for cell in cells]
    profile = PROFILES[checked[0].profile]
    for cell in checked:
        alike = replace(cell, seeds=())
        first = first_steps(profile.phases(cell.weights != "none"), 10 * cell.batch, cell.size, cell.batch, 0)
        check_sizes(make_plan(parse(cell.regime), first), profile.least(cell.network), cell.regime, cell.size)
        steps.append((alike, tuple(dict.fromkeys((*dict(steps).get(alike, ()), *cell.seeds)))))
    runs, notebooks = sum(map(len, dict(steps).values())), len(dict(steps))
    what = f"{profile.purpose}; notebooks: {notebooks}, runs: {runs}"
    print(f"PROFILE={profile.name}: {what}. The full matrix: make paper", flush=True)
    remove_leftovers(checked[0].folder)
    return steps


def _fetch(cell: Cell) -> "Images":
    """Find, download and decode images; a line says which."""
    from entr_utils.data import catalog, store

    print(f"  {catalog.described(cell)}", flush=True)
    return store.load(cell)


def make(work: Work, places: Sequence[Place] = ({},), summaries: bool = True) -> int:
    """Make what is not done, what another command makes last, then the summary; the exit code."""
    todo, forecast = [task for task in work.tasks if not task.done()], {}
    print(f"  {len({task.output for task in todo})} of {len(work.cells)} notebooks to be made", flush=True)
    if lacking := [run for task in todo for run in task.missing()]:
        from entr_utils.training import clock

        clock.ensure(lacking, work.cells[0].results)
        forecast = {run.path: run.forecast() for run in lacking}
        print(f"  {len(forecast)} runs to train: {_time(forecast.values())}", flush=True)
    seconds = {path: one or 60.0 for path, one in forecast.items()}  # without a clock all count the same
    Queue(todo, lambda *given: work.codes.add(_make(*given)), seconds).run(places)
    if summaries:
        work.codes.add(summarise(work.cells[0]))
    return work.code


def _make(task: Task, place: Place, progress: Callable[[float], None]) -> int:
    """Make a notebook; returns 0, REFUSED where it was refused for what it was given, FAILED for any other reason."""
    cell, began = task.cell, time.monotonic()
    fields, keys = asdict(cell) | {"seeds": " ".join(map(str, cell.seeds))}, [run.spec.key for run in task.runs]
    source, left = (f"{cell.dataset}.ipynb", "dataset") if ":" not in cell.data else ("folder.ipynb", "")
    given = {name: value for name, value in fields.items() if name not in ("orientations", left)}
    try:
        execute(NOTEBOOKS / source, given, task.output, keys, place, progress)
        if lost := task.missing():
            raise RuntimeError(f"the record of seed {lost[0].spec.seed} is not in its place; {GOES_ON}")
    except KeyboardInterrupt:
        from entr_utils.training import resume

        at_work = [resume.Store(run) for run in task.missing()[:1]]
        lines = [f"{one.local.stem} will go on after epoch {one.reached} of {one.epochs}" for one in at_work]
        print(f"  {cell.name}: stopped;", *lines or ["it will be drawn"])
        raise
    except RuntimeError as error:
        print(f"  {cell.name}: FAILED, {error}", flush=True)
        return REFUSED if isinstance(error, Refused) else FAILED
    print(f"  {cell.name}: done in {minutes(time.monotonic() - began)}", flush=True)
    return 0


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
