"""Many runs: plan them, execute one notebook a run with papermill, then the summary.

    python -m entr_utils.runs all PROFILE=paper DATASETS="steel ucm" SEEDS="0 1"

What is done (its record is there) is not done again. Exit codes: 0 all there, 1 a run failed, 2 a wrong parameter, or
images or weights that cannot be used, 3 a dataset or weights were missing; of several the first named. The Makefile
calls this; so can a cluster's scheduler, one run at a time.
"""

import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from entr_utils import UserError, datasets, files, inputs, locks, records
from entr_utils.commands import guarded, named, start
from entr_utils.execution import Refused, execute, whole
from entr_utils.parameters import NETWORKS, Parameters
from entr_utils.progress import Bar, minutes
from entr_utils.regimes import REGIMES, rotated

if TYPE_CHECKING:
    from entr_utils.experiment import Experiment

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
LISTS = {"DATASETS": tuple(datasets.DATASETS), "NETWORKS": ("resnet18",), "REGIMES": REGIMES, "SEEDS": ("0",)}
VALUES = {"PROFILE": "quick", "SIZE": "0", "WEIGHTS": "", "DATA": "", "GROUPS": "", "PRECISION": "", "BATCH": "0",
          "CHECKPOINT_DIR": "", "RESULTS": "results"}  # fmt: skip
GOES_ON = "stopped; what is done stays, the same command goes on from here"
START_SECONDS = 15  # of a kernel, its imports and the figures


def read_settings(words: list[str]) -> dict[str, str]:
    """NAME=value words, as make passes them; empty values are the defaults. Raises UserError on an unknown name."""
    settings = {**VALUES, **{name: " ".join(values) for name, values in LISTS.items()}}
    given = dict(named(words, settings))
    if given.get("PROFILE") == "paper" and not given.get("NETWORKS"):
        given["NETWORKS"] = " ".join(NETWORKS)
    settings |= {name: value for name, value in given.items() if value.strip()}
    return settings | {"why": "as asked for" if given.get("PROFILE") else "the default, since no PROFILE is named"}


def plan(settings: dict[str, str]) -> list[Parameters]:
    """All runs asked for, checked, in the order they are run; the order of the regimes rotates with the seed."""
    runs = []
    for dataset in settings["DATASETS"].split():
        if dataset not in datasets.DATASETS:
            raise UserError(f"DATASETS={dataset!r}: unknown; allowed: {', '.join(datasets.DATASETS)}")
    for seed in (_whole("SEEDS", word) for word in settings["SEEDS"].split()):
        for dataset in settings["DATASETS"].split():
            for network in settings["NETWORKS"].split():
                for regime in rotated(settings["REGIMES"].split(), seed):
                    runs.append(Parameters(
                        dataset, network, regime, seed, settings["PROFILE"], _whole("SIZE", settings["SIZE"]),
                        settings["WEIGHTS"], settings["DATA"], settings["GROUPS"], precision=settings["PRECISION"],
                        batch=_whole("BATCH", settings["BATCH"]), results=settings["RESULTS"],
                        checkpoint_dir=settings["CHECKPOINT_DIR"],
                    ).checked())  # fmt: skip
    return runs


def _whole(name: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise UserError(f"{name}={value!r}: allowed: a whole number") from None


def notebook_parameters(run: Parameters) -> dict:
    """What the dataset notebooks take: all but the dataset, which each has of its own."""
    hidden = {"dataset", "orientations", "lr", "switch", "share"}
    return {name: value for name, value in run.as_dict().items() if name not in hidden}


def work(settings: dict[str, str], again: bool = False) -> int:
    """Do what `settings` ask for and is not done yet; with `again`, only draw the notebooks of finished runs again.

    Returns the exit code. Another command that works in the same results is waited for.
    """
    runs = plan(settings)
    if settings["PRECISION"]:  # else the first line need not wait for torch
        from entr_utils import timing

        timing.precision(settings["PRECISION"])
    say_what_runs(settings, runs)
    folder = Path(settings["RESULTS"]) / settings["PROFILE"]
    with locks.results(folder):
        sweep(folder)
        prepared, problem = usable(runs)
        todo = list(filter(drawable if again else to_do, prepared))
        damaged = again and len(todo) < sum(experiment.path.exists() for experiment in prepared)
        others, cannot = len(prepared) - len(todo), len(runs) - len(prepared)
        rest, wanted = ("not finished", "to draw again") if again else ("done", "to do")
        print(f"  {len(runs)} runs: {others} {rest}, {len(todo)} {wanted}, {cannot} cannot run")
        trained = train_all(todo)
        probe_weights(prepared)
        drawn = summarise(settings, changed=bool(todo))
    return first_named(trained, drawn, problem, inputs.REFUSED if damaged else 0)


def usable(wanted: list[Parameters]) -> tuple[list["Experiment"], int]:
    """The runs that can be started, and the exit code of what stops the others; each problem is said."""
    ready, problem = inputs.ready(wanted)
    prepared, problems = prepare_all(ready)
    print("".join(f"  {line}\n" for line in problems), end="")
    return prepared, first_named(problem, inputs.REFUSED if problems else 0)


def first_named(*codes: int) -> int:
    """Of several exit codes the one that is said: the smallest but 0."""
    return min((code for code in codes if code), default=0)


def sweep(folder: Path) -> None:
    """Take away what killed commands left half-written: in the results, where nobody else writes now, and in the cache,
    where a file's name tells which process was writing it."""
    from entr_utils.memory import CACHE

    writers = {path: path.suffixes[-2][1:] for path in CACHE.glob("*.*.tmp")}
    halves = [path for path, pid in writers.items() if pid.isdecimal() and not psutil.pid_exists(int(pid))]
    for path in [*folder.rglob("*.partial"), *halves]:
        path.unlink(missing_ok=True)


def drawable(experiment: "Experiment") -> bool:
    """Whether a run is finished, so that its notebook can be drawn again. A damaged record is named and left alone."""
    if trouble := damage(experiment.path):
        print(f"  {trouble}")
    return experiment.path.exists() and not trouble


def to_do(experiment: "Experiment") -> bool:
    """Whether a run has to be trained or its notebook drawn. A damaged record or notebook is named and made again."""
    put_aside(experiment)
    finished, drawn = experiment.path.exists(), experiment.path.with_suffix(".ipynb")
    if drawn.exists() and not whole(drawn):
        print(f"  {drawn}: not a whole notebook; it is drawn again")
    return not finished or not whole(drawn)


def put_aside(experiment: "Experiment") -> None:
    """Name a damaged record and keep it as `.damaged`, so that its run is trained again. Raises UserError for one that
    is there and cannot be read: it may be whole."""
    for path in (experiment.path, records.unfinished(experiment.path)):
        if trouble := damage(path):
            print(f"  {trouble} - it is kept as {path.name}.damaged and the run trained again")
            os.replace(path, path.with_name(f"{path.name}.damaged"))


def damage(path: Path) -> str:
    """What is wrong with a record, "" where it is whole or not there. Raises UserError where it cannot be read."""
    try:
        if path.exists():
            records.read(path)
    except files.Damaged as error:
        return str(error)
    return ""


def say_plan(settings: dict[str, str]) -> int:
    """The forecast of the whole matrix on this machine: nothing is trained, no images or weights are needed."""
    runs = plan(settings)
    say_what_runs(settings, runs)
    from entr_utils import forecast  # torch takes seconds: what is wrong is said before

    print(forecast.table((run, forecast.forecast(run, *forecast.counts(run))) for run in runs))
    return 0


def say_rates(settings: dict[str, str]) -> int:
    """The learning rates that the range test suggests, tested once for each size with which one of the runs begins."""
    wanted = plan(settings)
    from entr_utils import range_test  # torch takes seconds: what is wrong is said before

    with locks.results(Path(settings["RESULTS"]) / settings["PROFILE"]):
        prepared, problem = usable(wanted)
        for experiment in prepared:
            print(f"  {range_test.sentence(experiment)}", flush=True)
    return problem


def say_what_runs(settings: dict[str, str], runs: list[Parameters]) -> None:
    """The first line: which profile, why, and the command for the full matrix."""
    first = runs[0]
    print(
        f"Profile {first.profile} ({settings['why']}): {first.made_of.purpose}; {len(runs)} runs of "
        f"{first.make_regime().epochs} epochs at up to {first.size} px. The full matrix: make paper"
    )


def prepare(run: Parameters) -> "Experiment":
    """The experiment of a run: fetches and decodes its images, since their checksum is in the record's name."""
    from entr_utils import experiment

    parameters = run.as_dict()
    return experiment.prepare(parameters.pop("dataset"), **parameters)


def prepare_all(wanted: list[Parameters]) -> tuple[list["Experiment"], list[str]]:
    """The runs that can be planned, and a line on each that cannot (short, before what it is matched to)."""
    ready, problems = [], []
    for run in wanted:
        try:
            ready.append(prepare(run))
        except UserError as error:
            problems.append(str(error))
    return ready, list(dict.fromkeys(problems))


def expect(todo: list["Experiment"]) -> list[float]:
    """Say what the runs to be trained will take; wall seconds of each, of one to be drawn again its start alone."""
    from entr_utils import forecast

    new = {experiment.key: forecast.of(experiment) for experiment in todo if not records.has_trained(experiment.path)}
    if new:
        print(forecast.table((run.parameters, new[run.key]) for run in todo if run.key in new))
    return [new[run.key]["wall_seconds"] if run.key in new else START_SECONDS for run in todo]


def train_all(todo: list["Experiment"]) -> int:
    """Execute the runs one after the other under one progress bar. Returns 0, 1 where a run failed, else 2 where one
    was refused for what it was given."""
    codes, forecasts = [0], expect(todo)
    bar = Bar(forecasts)
    with bar.bar:
        for experiment, seconds in zip(todo, forecasts, strict=True):
            p, began = experiment.parameters, time.monotonic()
            name = f"{p.dataset} {p.network} {p.regime} s{p.seed}"
            bar.begin(name, seconds, START_SECONDS)
            try:
                output = experiment.path.with_suffix(".ipynb")
                execute(NOTEBOOKS / f"{p.dataset}.ipynb", notebook_parameters(p), output, bar.update)
                if not experiment.path.exists():
                    raise RuntimeError("the notebook ended without a record")
                bar.bar.write(f"  {name}: done in {minutes(time.monotonic() - began)}")
            except KeyboardInterrupt:
                bar.bar.write(f"  {name}: stopped; {where(experiment)}")
                raise
            except RuntimeError as error:
                codes.append(inputs.REFUSED if isinstance(error, Refused) else 1)
                bar.bar.write(f"  {name}: FAILED, {error}")
                bar.end(worked=False)
            else:
                bar.end()
    return first_named(*codes)


def where(experiment: "Experiment") -> str:
    """Where a run that was stopped will go on."""
    from entr_utils import checkpoints

    if records.unfinished(experiment.path).exists():
        return "it has been trained, its notebook will be drawn"
    kept = checkpoints.Store(experiment)
    known = max((checkpoints.about(path) for path in (kept.path, kept.local)), key=lambda about: about.get("epoch", 0))
    epochs = experiment.regime.epochs
    return f"it will go on after epoch {known['epoch']} of {epochs}" if known else "it will begin again"


def probe_weights(prepared: list["Experiment"]) -> None:
    """Beside results with weights of one's own, what their frozen features know at each size; once a dataset."""
    from entr_utils import probe

    own = [each for each in prepared if each.parameters.weights not in ("imagenet", "none")]
    for experiment in {(each.parameters.dataset, each.parameters.network): each for each in own}.values():
        if not probe.path_of(experiment).exists():
            p = experiment.parameters
            print(f"  probing the frozen features of {p.weights} on {p.dataset}")
            probe.write_probe(experiment)


def summarise(settings: dict[str, str], changed: bool) -> int:
    """Render the summary of a profile where anything is new; returns 0, or 1 where that failed."""
    if settings["PROFILE"] == "mechanism":  # three kinds of images under one name: no front, no matrix of them
        print("  what the mechanism's runs say is in the summary of the paper's profile: make summary")
        return 0
    output = Path(settings["RESULTS"]) / settings["PROFILE"] / "summary.ipynb"
    read = [*Path(settings["RESULTS"]).rglob("*.json"), *Path(settings["RESULTS"]).glob("*.md")]  # by the summary
    newest = max((path.stat().st_mtime for path in read), default=0.0)
    if not changed and whole(output) and output.stat().st_mtime >= newest:
        print(f"  nothing new; read {output}")
        return 0
    print("  drawing the summary")
    try:
        execute(NOTEBOOKS / "summary.ipynb", {"results": settings["RESULTS"], "profile": settings["PROFILE"]}, output)
    except RuntimeError as error:
        print(f"  summary: FAILED, {error}")
        return 1
    print(f"  read {output}")
    return 0


def main(arguments: list[str]) -> int:
    """The command line: `all`, `render`, `summary`, `plan` or `rates`, then NAME=value words."""
    return guarded(partial(command_line, arguments), GOES_ON, (UserError, OSError))


def command_line(arguments: list[str]) -> int:
    """Do what `main` guards."""
    command, *words = arguments or ["all"]
    if command not in ("all", "render", "summary", "plan", "rates"):
        raise UserError(f"command={command!r}: unknown; allowed: all, render, summary, plan, rates")
    if command == "rates":
        return say_rates(read_settings(words))
    if command == "plan":
        return say_plan(read_settings(words))
    if command == "summary":
        settings = read_settings(words)
        plan(settings)  # refuses what nothing could be a record of
        return summarise(settings, changed=True)
    return work(read_settings(words), again=command == "render")


if __name__ == "__main__":
    start("entr_utils.runs", main)
