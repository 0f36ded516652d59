"""Many runs: plan them, execute one notebook a run with papermill, then the summary.

    python -m entr_utils.runs all PROFILE=paper DATASETS="steel ucm" SEEDS="0 1"

What is done (its record is there) is not done again. Exit codes: 0 all there, 1 a run failed, 2 a wrong parameter,
3 a dataset was missing. The Makefile calls this; so can a cluster's scheduler, one run at a time.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from entr_utils import UserError, datasets, downloads
from entr_utils.parameters import NETWORKS, Parameters
from entr_utils.progress import CHANNEL, minutes
from entr_utils.regimes import REGIMES, rotated

if TYPE_CHECKING:
    from entr_utils.experiment import Experiment

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
LISTS = {"DATASETS": tuple(datasets.DATASETS), "NETWORKS": ("resnet18",), "REGIMES": REGIMES, "SEEDS": ("0",)}
VALUES = {"PROFILE": "quick", "SIZE": "0", "WEIGHTS": "", "DATA": "", "GROUPS": "", "PRECISION": "", "BATCH": "0",
          "RESULTS": "results"}  # fmt: skip
# Without these glibc hands large buffers back and asks for them again: a quarter to a third of the time on a CPU.
START_SECONDS = 15  # of a kernel, its imports and the figures
KERNEL_ENVIRONMENT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1"}


def read_settings(words: list[str]) -> dict[str, str]:
    """NAME=value words, as make passes them; empty values are the defaults. Raises UserError on an unknown name."""
    settings = {**VALUES, **{name: " ".join(values) for name, values in LISTS.items()}}
    named = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in settings:
            raise UserError(f"{name}={value!r}: unknown name; allowed: {', '.join(settings)}")
        named[name] = value
    if named.get("PROFILE") == "paper" and not named.get("NETWORKS"):
        named["NETWORKS"] = " ".join(NETWORKS)
    settings |= {name: value for name, value in named.items() if value.strip()}
    return settings | {"why": "as asked for" if named.get("PROFILE") else "the default, since no PROFILE is named"}


def plan(settings: dict[str, str]) -> list[Parameters]:
    """All runs asked for, checked, in the order they are run; the order of the regimes rotates with the seed."""
    runs = []
    for dataset in settings["DATASETS"].split():
        if dataset not in datasets.DATASETS:
            raise UserError(f"DATASETS={dataset!r}: unknown; allowed: {', '.join(datasets.DATASETS)}")
    for seed in map(_whole_seed, settings["SEEDS"].split()):
        for dataset in settings["DATASETS"].split():
            for network in settings["NETWORKS"].split():
                for regime in rotated(settings["REGIMES"].split(), seed):
                    runs.append(Parameters(
                        dataset, network, regime, seed, settings["PROFILE"], _whole("SIZE", settings["SIZE"]),
                        settings["WEIGHTS"], settings["DATA"], settings["GROUPS"], precision=settings["PRECISION"],
                        batch=_whole("BATCH", settings["BATCH"]), results=settings["RESULTS"],
                    ).checked())  # fmt: skip
    return runs


def _whole(name: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise UserError(f"{name}={value!r}: allowed: a whole number") from None


def _whole_seed(value: str) -> int:
    return _whole("SEEDS", value)


def execute(notebook: Path, parameters: dict, output: Path, done: Callable[[float], None] = lambda share: None) -> None:
    """Execute `notebook` with papermill into `output`, which appears whole or not at all.

    A process of its own, so that a kernel that dies cannot look like success. `done` is told the share of the
    training done. Raises UserError on an unknown parameter name, RuntimeError with the last line of the log where
    execution failed; the log then stays beside `output`.
    """
    _check_names(notebook, parameters)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial, log = output.with_suffix(".partial"), output.with_suffix(".log")
    with tempfile.TemporaryDirectory() as folder, open(log, "w") as log_file:
        channel, values = Path(folder) / "progress", Path(folder) / "parameters.json"
        values.write_text(json.dumps(parameters))
        command = [sys.executable, "-m", "papermill", os.path.relpath(notebook), str(partial), "-f", str(values),
                   "--no-progress-bar", "--log-level", "ERROR"]  # fmt: skip
        environment = os.environ | KERNEL_ENVIRONMENT | {CHANNEL: str(channel), "PYTHONWARNINGS": "ignore"}
        process = subprocess.Popen(command, env=environment, stdout=log_file, stderr=log_file)
        try:
            while process.poll() is None:
                time.sleep(0.2)
                done(float(channel.read_text() or 0) if channel.exists() else 0.0)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if process.returncode:
        partial.unlink(missing_ok=True)
        lines = [line for line in log.read_text().splitlines() if line.strip()]
        raise RuntimeError(f"{lines[-1] if lines else f'exit code {process.returncode}'} (log: {log})")
    log.unlink()
    os.replace(partial, output)


def _check_names(notebook: Path, parameters: dict) -> None:
    import papermill

    if not notebook.is_file():
        raise UserError(f"notebook={str(notebook)!r}: no such file")
    allowed = papermill.inspect_notebook(str(notebook))
    for name, value in parameters.items():
        if name not in allowed:
            raise UserError(f"{name}={value!r}: {notebook.name} has no such parameter; allowed: {', '.join(allowed)}")


def notebook_parameters(run: Parameters) -> dict:
    """What the dataset notebooks take: all but the dataset, which each has of its own."""
    return {
        name: value for name, value in run.as_dict().items() if name not in ("dataset", "orientations", "lr", "switch")
    }


def work(settings: dict[str, str], again: bool = False) -> int:
    """Do what `settings` ask for and is not done yet; with `again`, only draw the notebooks of finished runs again.

    Returns the exit code.
    """
    runs = plan(settings)
    say_what_runs(settings, runs)
    missing = missing_datasets(runs)
    without_weights = missing_weights([run for run in runs if run.dataset not in missing])
    ready = [run for run in runs if run.dataset not in missing and run.network not in without_weights]
    todo = []
    for experiment in map(prepare, ready):
        finished = experiment.path.exists()
        if (finished and again) or (not again and not (finished and experiment.path.with_suffix(".ipynb").exists())):
            todo.append(experiment)
    print(f"  {len(runs)} runs: {len(ready) - len(todo)} done, {len(todo)} to do, {len(runs) - len(ready)} cannot run")
    failed = train_all(todo)
    probe_weights(ready)
    failed += summarise(settings, changed=bool(todo))
    return 1 if failed or without_weights else 3 if missing else 0


def say_plan(settings: dict[str, str]) -> int:
    """The forecast of the whole matrix on this machine: nothing is trained, no images or weights are needed."""
    from entr_utils import forecast

    runs = plan(settings)
    say_what_runs(settings, runs)
    print(forecast.table((run, forecast.forecast(run, *forecast.counts(run))) for run in runs))
    return 0


def missing_datasets(runs: list[Parameters]) -> set[str]:
    """Say of each dataset whether it is found, downloadable or missing; download; return what is missing after that."""
    states, firsts = {}, {run.dataset: run for run in runs}
    for dataset, run in firsts.items():
        try:
            states[dataset], line = datasets.status(dataset, run.data)
        except UserError as error:  # a folder, but not one of images in classes
            states[dataset], line = "missing", f"{dataset}: {error}"
        print(f"  {line}")
    for dataset in (dataset for dataset, state in states.items() if state == "downloadable"):
        try:
            downloads.download_ucm(Path(firsts[dataset].data))
        except UserError as error:
            states[dataset] = "missing"
            print(f"  {dataset}: {error}")
    return {dataset for dataset, state in states.items() if state == "missing"}


def missing_weights(runs: list[Parameters]) -> set[str]:
    """Fetch what weights are needed; say of which networks they cannot be had or do not fit, and return those."""
    from entr_utils import networks

    missing = set()
    for network, weights in {run.network: run.weights for run in runs}.items():
        try:
            networks.build(network, weights, classes=2, dropout=0.5, precision="float32")
        except UserError as error:
            print(f"  {network}: {error}")
            missing.add(network)
    return missing


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


def expect(todo: list["Experiment"]) -> list[float]:
    """Say what the runs to be trained will take; wall seconds of each, of one to be drawn again its start alone."""
    from entr_utils import forecast

    new = {experiment.key: forecast.of(experiment) for experiment in todo if not experiment.path.exists()}
    if new:
        print(forecast.table((run.parameters, new[run.key]) for run in todo if run.key in new))
    return [new[run.key]["wall_seconds"] if run.key in new else START_SECONDS for run in todo]


def train_all(todo: list["Experiment"]) -> int:
    """Execute the runs one after the other under one progress bar; returns how many failed."""
    failed, weights = 0, expect(todo)
    bar_format = "{desc} {percentage:3.0f}%|{bar:20}| {elapsed} so far, about {remaining} left"
    interval = 1 if sys.stderr.isatty() else 60
    with tqdm(total=sum(weights), bar_format=bar_format, disable=not todo, mininterval=interval) as bar:
        for experiment, cost in zip(todo, weights, strict=True):
            p, before, began = experiment.parameters, bar.n, time.monotonic()
            name = f"{p.dataset} {p.network} {p.regime} s{p.seed}"
            bar.set_description_str(name, refresh=False)

            def done(share: float, before: float = before, cost: float = cost) -> None:
                now = min(START_SECONDS / 2, time.monotonic() - began) + share * (cost - START_SECONDS)  # noqa: B023
                bar.update(max(0.0, before + now - bar.n))

            try:
                output = experiment.path.with_suffix(".ipynb")
                execute(NOTEBOOKS / f"{p.dataset}.ipynb", notebook_parameters(p), output, done)
                if not experiment.path.exists():
                    raise RuntimeError("the notebook ended without a record")
                bar.write(f"  {name}: done in {minutes(time.monotonic() - began)}")
            except RuntimeError as error:
                failed += 1
                bar.write(f"  {name}: FAILED, {error}")
            bar.update(before + cost - bar.n)
    return failed


def probe_weights(runs: list[Parameters]) -> None:
    """Beside results with weights of one's own, what their frozen features know at each size; once a dataset."""
    from entr_utils import probe

    for run in {(run.dataset, run.network): run for run in runs if run.weights not in ("imagenet", "none")}.values():
        experiment = prepare(run)
        if not probe.path_of(experiment).exists():
            print(f"  probing the frozen features of {run.weights} on {run.dataset}")
            probe.write_probe(experiment)


def summarise(settings: dict[str, str], changed: bool) -> int:
    """Render the summary of a profile where anything is new; returns how many failed."""
    output = Path(settings["RESULTS"]) / settings["PROFILE"] / "summary.ipynb"
    if not changed and output.exists():
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
    """The command line: `all`, `render` or `plan`, then NAME=value words."""
    try:
        command, *words = arguments or ["all"]
        if command not in ("all", "render", "plan"):
            raise UserError(f"command={command!r}: unknown; allowed: all, render, plan")
        if command == "plan":
            return say_plan(read_settings(words))
        return work(read_settings(words), again=command == "render")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; finished runs stay, the same command goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    if not KERNEL_ENVIRONMENT.items() <= os.environ.items():  # what is measured here has to hold for the kernels
        os.execve(sys.executable, [sys.executable, "-m", "entr_utils.runs", *sys.argv[1:]],
                  os.environ | KERNEL_ENVIRONMENT)  # fmt: skip
    sys.exit(main(sys.argv[1:]))
