"""The commands: python -m entr_utils.cli COMMAND NAME=value ..., or --make where the environment has make's values.

Exit codes: 0 all is there, 1 a run failed, 2 something cannot be used, 3 images or weights are missing, 130 stopped.
"""

import argparse
import inspect
import os
import re
import shutil
import signal
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from entr_utils import fan, slurm, sweep
from entr_utils.data import look
from entr_utils.data.catalog import placed
from entr_utils.notebook import KERNEL_ENVIRONMENT, ROOT
from entr_utils.regimes import REGIMES, parse
from entr_utils.results import record
from entr_utils.settings import PAPER_DATASETS, PAPER_REGIMES, PROFILES, Cell, seeds_of
from entr_utils.util import UserError, cache_folder, one_of, require

Given = dict[str, str]
PLACES: dict[str, type] = dict.fromkeys(("WEIGHTS", "DATA", "PRECISION", "CHECKPOINT_DIR", "RESULTS"), str)
FIELDS = PLACES | {"GROUPS": str, "CLASSES": str, "SIZE": int, "BATCH": int, "LR": float}  # of a `Cell`
MATRIX = ("PROFILE", "DATASETS", "NETWORKS", "REGIMES", "SEEDS", *FIELDS)
HOW = ("GPUS", "JOBS", "ON", "PARTITION", "TIME")
COLAB = "https://colab.research.google.com"
BADGES = ("own_images", "ucm", "clock")  # notebooks that the README's second line opens


def read(words: Sequence[str], known: Iterable[str]) -> Given:
    """Values by name: of NAME=value words or, for the word --make alone, of make. Raises UserError on unknown names."""
    values, names = dict(word.partition("=")[::2] for word in words), sorted(known)
    if [*words] == ["--make"]:
        values, names = {name: os.environ.get(name, "") for name in names}, [*names, "PYTHON"]  # which setup.sh takes
        overrides = f" {os.environ.get('MAKEFLAGS', '')}".partition(" -- ")[2]
        words = re.findall(r"(?s)(?:\\.|[^ ])+", overrides)  # blanks in a value are escaped
    for word in words:
        if (name := re.split(r"\W", word)[0]) not in names:
            raise UserError(f"{name}: unknown name; allowed: {', '.join(names)}")
    return {name: value for name, value in values.items() if value.strip()}


def fields(given: Given, kinds: Mapping[str, type] = FIELDS) -> dict[str, Any]:
    """The fields of a `Cell` among the values. Raises UserError where one is not of its type."""
    found: dict[str, Any] = {}
    for name in filter(given.get, kinds):
        try:
            found[name.lower()] = kinds[name](given[name])
        except ValueError:
            raise UserError(f"{name}={given[name]!r}: allowed: a {'whole ' * (kinds[name] is int)}number") from None
    return found


def matrix(given: Given, profile: str = "quick") -> list[Cell]:
    """The cells asked for; `profile` where none is named. Raises UserError naming what is unknown."""
    one_of("PROFILE", name := given.get("PROFILE", profile), PROFILES)
    usual = {"DATASETS": PAPER_DATASETS, "NETWORKS": PROFILES[name].networks, "REGIMES": PAPER_REGIMES}
    lists = [given[key].split() if key in given else default for key, default in usual.items()]
    seeds = seeds_of(given["SEEDS"]) if "SEEDS" in given else PROFILES[name].seeds
    more = fields(given) | {"seeds": seeds, "profile": name}
    return [Cell(network=one, regime=regime, **more | placed(dataset)) for dataset, one, regime in product(*lists)]


def _study(given: Given) -> int:
    from entr_utils.results.studies import STUDIES, cells

    one_of("STUDY", name := given.get("STUDY", ""), STUDIES)
    study = replace(STUDIES[name], datasets=tuple(given.get("DATASETS", "").split()) or STUDIES[name].datasets)
    return _make(cells(study, **fields(given, PLACES)), given)


def _make(cells: list[Cell], given: Given) -> int:
    number, gpus = {"jobs": 0, "time": 60} | fields(given, {"JOBS": int, "TIME": int}), given.get("GPUS", "")
    if "ON" not in given:
        places = fan.places(gpus, number["jobs"])
        return sweep.make(sweep.asked(cells), places)
    one_of("ON", given["ON"], ("slurm",))
    return slurm.submit(cells, given.get("PARTITION", ""), number["time"], number["jobs"], int(gpus != "0"))


def _clock(given: Given) -> None:
    from entr_utils.training.clock import take_for

    cells = matrix(given) if "PROFILE" in given else []
    take_for(cells, given.get("RESULTS", "results"), again=given.get("AGAIN", "0") != "0")


def _look(given: Given) -> None:
    for line in look.lines(*(given.get(name, "") for name in ("IMAGES", "CLASSES", "GROUPS"))):
        print(line, flush=True)


def again(given: Given) -> None:
    """Train a recorded run again, in a folder of the cache that goes at the end, and print the differences."""
    path = given.get("RECORD", "")
    require(Path(path).is_file(), "RECORD", path, "no such file; allowed: results/<profile>/<name>.json")
    old = record.read(Path(path))
    from entr_utils.training.loop import train
    from entr_utils.training.run import prepare

    spec, place = old.spec, cache_folder() / "again" / old.key[:12]
    data = "-".join(["synthetic", old.source.carries]) if old.source.kind == "formula" else "data"
    moved = {"data": data, "orientations": spec.augmentation.split()[0], "results": str(place), **fields(given)}
    same = spec.model_dump(include={*Cell.__dataclass_fields__}) | {"seeds": (spec.seed,)}
    new = train(prepare(Cell(**same | moved))[0])
    shutil.rmtree(place)
    before, after = record.repeatable(old), record.repeatable(new)
    other = [f"  {name}: {before[name]!s:.80} -> {after[name]!s:.80}" for name in before if before[name] != after[name]]
    alike = sum(map(int.__eq__, old.predictions.total, new.predictions.total))
    print(*other, f"  {alike} of {old.split.n_val} final predictions are the same", sep="\n")


def badges(given: Given, root: Path = ROOT) -> None:
    """Write the repository's address to pyproject.toml, CITATION.cff, the README and the notebooks' first cells."""
    repository = given.get("REPO") or tomllib.loads((root / "pyproject.toml").read_text())["tool"]["entr"]["repository"]
    require(re.fullmatch(r"[\w.-]+/[\w.-]+", repository), "REPO", repository, "allowed: owner/name")
    github = f"https://github.com/{repository}"

    def badge(notebook: str, text: str) -> str:
        link = f"{COLAB}/github/{repository}/blob/main/notebooks/{notebook}.ipynb"
        return f"[![{text}]({COLAB}/assets/colab-badge.svg)]({link})"

    tests = f"[![tests]({github}/actions/workflows/test.yml/badge.svg)]({github}/actions)"
    edits = [
        ("pyproject.toml", r'(?m)^repository = ".*?"', f'repository = "{repository}"'),
        ("CITATION.cff", r"(?m)^(repository-code: .*\n)?license:", f"repository-code: {github}\nlicense:"),
        ("README.md", r"(?<=\n).*", " ".join([tests, *(badge(name, f"{name} in Colab") for name in BADGES)])),
    ]
    for path in (root / "notebooks").glob("*.ipynb"):  # as JSON is written there: an indent of one, a string a line
        name, new = f"notebooks/{path.name}", f'"source": [\n    "{badge(path.stem, "Open in Colab")}\\n",\n    '
        edits.append((name, r'"source": \[\n +("\[!\[Open in Colab.*\n +)?', new))
        edits.append((name, r'REPO = \\".*?\\"', f'REPO = \\"{repository}\\"'))
    for name, old, new in edits:
        (root / name).write_text(re.sub(old, new.replace("\\", "\\\\"), (root / name).read_text(), count=1))


def _demo_weights(given: Given) -> None:
    from entr_utils.training.demo import make_weights

    print(f"the weights know {make_weights():.1%} of images drawn anew")


def _explain(given: Given) -> None:
    kind: Any = REGIMES[parse(given.get("REGIME", "")).name]
    options = [f"  {kind.name}:{name}={one.default}" for name, one in kind.__dataclass_fields__.items()]
    print(inspect.getdoc(kind), *options, sep="\n")


COMMANDS: dict[str, tuple[Callable[[Given], int | None], Iterable[str]]] = {
    "all": (lambda given: _make(matrix(given), given), (*MATRIX, *HOW)),
    "paper": (lambda given: _make(matrix(given, "paper"), given), (*MATRIX, *HOW)),
    "plan": (lambda given: sweep.plan(matrix(given)), MATRIX),
    "render": (lambda given: sweep.render(matrix(given)), MATRIX),
    "summary": (lambda given: sweep.summarise(matrix(given, "paper")[0], always=True), ("PROFILE", "RESULTS")),
    "status": (lambda given: slurm.status(matrix(given, "paper")), MATRIX),
    "clock": (_clock, ("AGAIN", *MATRIX)),
    "study": (_study, ("STUDY", "DATASETS", *PLACES, *HOW)),
    "look": (_look, ("IMAGES", "CLASSES", "GROUPS")),
    "again": (again, ("RECORD", "WEIGHTS", "DATA", "GROUPS", "CLASSES")),
    "demo-weights": (_demo_weights, ()),
    "badges": (badges, ("REPO",)),
    "help": (_explain, ("REGIME",)),
}


def command(arguments: Sequence[str]) -> int:
    """Do what a command line asks for; the exit code."""
    parser = argparse.ArgumentParser("python -m entr_utils.cli", description=__doc__)
    parser.add_argument("command", help=", ".join(COMMANDS))
    parser.add_argument("words", nargs="*", metavar="NAME=value")
    parser.add_argument("--make", action="store_const", const=["--make"], help="values come from make's environment")
    asked = parser.parse_args(arguments)
    one_of("COMMAND", asked.command, COMMANDS)
    do, known = COMMANDS[asked.command]
    return do(read(asked.make or asked.words, known)) or 0


def guarded(do: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """The exit code of a command: 2 after an error that a user can put right, in one line; 130 after Ctrl-C."""
    code = sweep.REFUSED
    try:
        return do(arguments)
    except KeyboardInterrupt:
        line, code = "stopped; what is done stays, the same command goes on from here", 130
    except UserError as error:
        line = f"error: {error}"
    except OSError as error:  # the system's: a full disk, a folder that may not be read, a drive that is gone
        what = f"{error.filename or do.__name__}: {error.strerror or error}"
        line = f"error: {what}; make room there, mount it or name another place; what is done stays"
    print(line, file=sys.stderr)
    return code


def start(module: str, do: Callable[[Sequence[str]], int]) -> None:
    """Run a command as a process: SIGTERM is Ctrl-C, memory is kept as the kernels' is (glibc reads how at a start)."""
    if not KERNEL_ENVIRONMENT.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], {**os.environ, **KERNEL_ENVIRONMENT})
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    code = guarded(do, sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # to take torch apart takes a second or two


if __name__ == "__main__":
    start("entr_utils.cli", command)
