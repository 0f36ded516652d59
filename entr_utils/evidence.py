"""The evidence as a queue: which runs, in which order, what is done of them. It resumes where it was stopped.

    python -m entr_utils.evidence PARTS="1 2" DATA=folder WEIGHTS=path RESULTS=results
    python -m entr_utils.evidence status                     (reads records only, no torch)

A run whose record is there is done. What is compared with one another is made on one machine, and what another one has
whole is not made again. A part that fails or misses its images does not stop the others. Exit codes: 0 all there, 1 a
run failed or could not be planned, 2 a wrong parameter or images or weights that cannot be used, 3 a dataset or weights
were missing.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from entr_utils import UserError, conditions, files, inputs, locks, records, runs
from entr_utils.commands import guarded, start, with_defaults
from entr_utils.execution import whole
from entr_utils.keys import slug
from entr_utils.parameters import KNOWN_GROUPS, Parameters, of_record
from entr_utils.progress import minutes
from entr_utils.regimes import MECHANISM, PROFILES, PROTOCOL, REGIMES, rotated

if TYPE_CHECKING:
    from entr_utils.experiment import Experiment


@dataclass(frozen=True)
class Part:
    """Runs that answer one question.

    Attributes:
        title: for people.
        seeds: of each dataset.
        regimes: of each seed; each is a run, all with ResNet18.
        arms: what else differs: parameters; each arm is run with every combination.
        profile, folder: records go to RESULTS/<folder>/<profile>/<device>/.
        beside: regimes that these are compared with: they have to be there of the same machine.
        notebooks: whether each run is a rendered notebook as in `make all`, or only a record: where a run takes
            seconds, a notebook's kernel would take as long to start.
    """

    title: str
    seeds: dict[str, tuple[int, ...]]
    regimes: tuple[str, ...]
    arms: tuple[dict, ...] = ({},)
    profile: str = "paper"
    folder: str = ""
    beside: tuple[str, ...] = ()
    notebooks: bool = True


PARTS = {
    "1": Part("the paper's regimes, three datasets, 3 seeds", dict.fromkeys(("steel", "ucm", "bees"), (0, 1, 2)),
              REGIMES),
    "2": Part("steel and bees to 5 seeds", dict.fromkeys(("steel", "bees"), (3, 4)), REGIMES),
    "3": Part("controls on bees and ucm, 3 seeds", {"bees": (0, 3, 4), "ucm": (0, 1, 2)},  # bees: see predictions.md
              ("small", "reversed", "short"), beside=("no_increase", "gradual")),
    "4": Part("the mechanism: coarse, fine and both, 5 seeds", {"steel": (0, 1, 2, 3, 4)}, MECHANISM,
              tuple({"data": data, "weights": "none"} for data in ("synthetic-coarse", "synthetic-fine", "synthetic")),
              "mechanism", notebooks=False),
    "5": Part("leakage: steel by sample and by image, 3 seeds", {"steel": (0, 1, 2)}, ("no_increase", "gradual"),
              tuple({"groups": groups} for groups in KNOWN_GROUPS), folder="leakage"),
}  # fmt: skip
VALUES = {"DATA": "", "WEIGHTS": "", "RESULTS": "results"}


def read_settings(words: list[str]) -> dict[str, str]:
    """NAME=value words; empty values are the defaults. Raises UserError on an unknown name or part."""
    return with_defaults(words, VALUES, PARTS)


def cells(part: Part) -> Iterator[tuple[str, dict]]:
    """Dataset and parameters of each run, in the order they are run: seed by seed, regimes rotating with the seed."""
    for seed in sorted({seed for seeds in part.seeds.values() for seed in seeds}):
        for dataset in (dataset for dataset, seeds in part.seeds.items() if seed in seeds):
            for arm in part.arms:
                for regime in rotated(list(part.regimes), seed):
                    yield dataset, {"regime": regime, "seed": seed, "profile": part.profile, **arm}


def name_of(dataset: str, given: dict) -> tuple:
    """What tells the runs of a part apart, from parameters and from records alike."""
    data, groups = given.get("data", ""), given.get("groups", "")
    weights = given.get("weights") or PROFILES[given["profile"]].weights
    return (dataset, given["regime"], given["seed"], data if data.startswith("synthetic") else "",
            groups if groups in KNOWN_GROUPS else "", weights == "none")  # fmt: skip


Machines = dict[str, set[tuple]]  # names of the runs that have a record, by device folder


def recorded(folder: Path, but: str = "") -> dict[tuple[str, str], Machines]:
    """What has records of today's protocol and of the profile's own size and batch in a folder; no torch.

    By (conditions, weights), whose pairs may be pooled, then by machine; all machines `but` one. Raises Damaged; where
    only others are asked for, what is damaged is named and does not count.
    """
    found: dict[tuple[str, str], Machines] = defaultdict(lambda: defaultdict(set))
    for path in sorted(folder.glob("*/*-s[0-9]*-*.json")):
        if path.parent.name == but:
            continue
        try:
            record = records.read(path)
        except files.Damaged as error:
            if not but:
                raise
            print(f"  it does not count: {error}")
            continue
        if record["protocol"] == PROTOCOL and record["network"] == "resnet18" and not conditions.asked_for(record):
            pooled = found[conditions.of(record), record["weights"]]
            pooled[path.parent.name].add(name_of(record["dataset"], of_record(record)))
    return found


def units(part: Part) -> list[set[tuple]]:
    """The runs of a part that are compared with one another: of a dataset, seed and arm."""
    found: dict[tuple, set[tuple]] = defaultdict(set)
    for dataset, regime, *rest in (name_of(*cell) for cell in cells(part)):
        found[dataset, *rest].add((dataset, regime, *rest))
    return list(found.values())


def _beside(unit: set[tuple], part: Part) -> set[tuple]:
    """What the runs of a unit are compared with."""
    return {(dataset, regime, *rest) for dataset, _, *rest in unit for regime in part.beside}


def states(results: str, parts: Iterable[Part]) -> list[tuple[int, int, dict[str, int]]]:
    """(done, of how many, done in each device's folder) of each part; every folder of records is read once.

    Of the conditions and weights of which most is done; a unit counts where most of it is, of several machines where
    most of all is.
    """
    read, counted = cache(recorded), []
    for part in parts:
        found, wanted = read(Path(results) / part.folder / part.profile), units(part)
        each = [_count(wanted, part, machines) for machines in found.values()]
        done, devices = max(each, default=(0, {}), key=itemgetter(0))
        counted.append((done, sum(map(len, wanted)), devices))
    return counted


def _count(wanted: list[set[tuple]], part: Part, machines: Machines) -> tuple[int, dict[str, int]]:
    done, every = Counter[str](), set().union(*wanted)
    in_all = {device: len(every & names) for device, names in machines.items()}
    for unit in wanted:
        there = {device: len(unit & names) for device, names in machines.items() if _beside(unit, part) <= names}
        if any(there.values()):
            most = max(sorted(there), key=lambda device: (there[device], in_all[device]))
            done[most] += there[most]
    return done.total(), dict(done)


def told(done: int, of: int, devices: dict[str, int]) -> str:
    """One of `states` in words."""
    each = [f"{n} on {device}" for device, n in sorted(devices.items())]
    where = f": {' and '.join(each)}" if len(each) > 1 else "".join(f" on {device}" for device in devices)
    return f"{done} of {of} done{where}"


def say_state(settings: dict[str, str]) -> int:
    """A line a part: n of m done."""
    names = settings["PARTS"].split()
    found = states(settings["RESULTS"], [PARTS[name] for name in names])
    for name, state in zip(names, found, strict=True):
        print(f"({name}) {PARTS[name].title}: {told(*state)}")
    return 0


def work(settings: dict[str, str]) -> int:
    """Do what is not done yet, part after part; at the end say what is missing. Returns the exit code."""
    codes, lines = [], []
    for name in settings["PARTS"].split():
        try:
            code, line = do(PARTS[name], settings)
        except UserError as error:
            code, line = 1, f"not finished: {error}"
        codes.append(code)
        lines.append(f"({name}) {PARTS[name].title}: {line}")
    print("\n".join(lines))
    return runs.first_named(*codes)


def do(part: Part, settings: dict[str, str]) -> tuple[int, str]:
    """One part: exit code, and how much of it is done now. Another command in the same results is waited for."""
    folder = Path(settings["RESULTS"]) / part.folder / part.profile
    with locks.results(folder):
        runs.sweep(folder)
        return _do(part, settings)


def _do(part: Part, settings: dict[str, str]) -> tuple[int, str]:
    given = {"data": settings["DATA"], "weights": settings["WEIGHTS"]}
    given["results"] = str(Path(settings["RESULTS"]) / part.folder)
    all_of_it = list(cells(part))
    elsewhere = _elsewhere(part, settings)
    mine = [cell for cell in all_of_it if name_of(*cell) not in elsewhere]
    print(f"{part.title}{f': {len(elsewhere)} runs are there of another machine' if elsewhere else ''}")
    codes, ready, lacking = [], len(elsewhere), []
    for unit in _in_turn(mine, part):
        wanted = [Parameters(dataset, **(given | cell)).checked() for dataset, cell in unit]
        code, done, problems = _train(part, wanted)
        ready += done if unit[0][1]["regime"] in part.regimes else 0
        codes.append(code)
        lacking += [problem for problem in problems if problem not in lacking]
    return runs.first_named(*codes), "; ".join([f"{ready} of {len(all_of_it)} done", *lacking])


def _in_turn(mine: list[tuple[str, dict]], part: Part) -> Iterator[list[tuple[str, dict]]]:
    """All runs at once; where they need others beside them, seed by seed what they need and then they: `short` is
    planned by rates that have just been measured, and a seed is whole before the next begins."""
    if not part.beside:
        yield from [mine] if mine else []
        return
    for _, cells_ in groupby(mine, key=lambda cell: (cell[0], cell[1]["seed"])):
        unit = list(cells_)
        dataset, cell = unit[0]
        yield [(dataset, cell | {"regime": regime}) for regime in part.beside]
        yield unit


def _elsewhere(part: Part, settings: dict[str, str]) -> set[tuple]:
    """The runs of units that another machine has whole, with which this one's may be pooled. Weights are told apart by
    their file's name alone, and images not at all: the queue is of one set of them."""
    from entr_utils import networks, timing

    device = timing.device_model()
    weights = part.arms[0].get("weights") or settings["WEIGHTS"] or PROFILES[part.profile].weights
    there = recorded(Path(settings["RESULTS"]) / part.folder / part.profile, but=slug(device))
    others = there.get((conditions.usual(device, timing.precision()), networks.weights_label(weights)), {})
    return {name for unit in units(part) for names in others.values() if unit | _beside(unit, part) <= names
            for name in unit}  # fmt: skip


def _train(part: Part, wanted: list[Parameters]) -> tuple[int, int, list[str]]:
    """Train what is missing of these runs: exit code, how many are done, what was in the way."""
    usable, problem = inputs.ready(wanted)
    ready, problems = runs.prepare_all(usable)
    for experiment in ready:
        runs.put_aside(experiment)
    todo = [experiment for experiment in ready if not _done(experiment, part)]
    print(f"  {len(ready) - len(todo)} of {len(wanted)} done, {len(todo)} to do")
    train = runs.train_all if part.notebooks else train_here
    trained = train(todo)
    if part.notebooks and not part.folder:  # a probe is of a dataset, not of some of its images
        runs.probe_weights(ready)
    without = sorted({run.dataset for run in wanted} - {run.dataset for run in usable})
    lacking = [*problems, *(f"{dataset} cannot be run" for dataset in without)]
    done = sum(_done(experiment, part) for experiment in ready)
    return runs.first_named(trained, 1 if problems else 0, problem), done, lacking


def _done(experiment: "Experiment", part: Part) -> bool:
    return experiment.path.exists() and (not part.notebooks or whole(experiment.path.with_suffix(".ipynb")))


def train_here(todo: list["Experiment"]) -> int:
    """Train runs in this process, one after the other, for their records alone; returns what `runs.train_all` does."""
    from entr_utils import training

    codes, began = [0], time.monotonic()
    for i, experiment in enumerate(todo):
        p = experiment.parameters
        name = f"{p.dataset} {p.data} {p.regime} s{p.seed}"
        try:
            training.train(experiment)
            records.finish(experiment.path)
        except (UserError, RuntimeError) as error:
            codes.append(inputs.REFUSED if isinstance(error, UserError) else 1)
            print(f"  {name}: FAILED, {error}", flush=True)
            continue
        left = (time.monotonic() - began) / (i + 1) * (len(todo) - i - 1)
        print(f"  {name}: done, {i + 1} of {len(todo)}, about {minutes(left)} left", flush=True)
    return runs.first_named(*codes)


def main(words: list[str]) -> int:
    """The command line: nothing or `status`, then NAME=value words."""
    return guarded(partial(command_line, words), runs.GOES_ON, (UserError, OSError))


def command_line(words: list[str]) -> int:
    """Do what `main` guards."""
    if words[:1] == ["status"]:
        return say_state(read_settings(words[1:]))
    return work(read_settings(words))


if __name__ == "__main__":
    start("entr_utils.evidence", main)
