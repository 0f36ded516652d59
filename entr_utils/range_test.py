"""The learning-rate range test at the size a run begins with: would a rate chosen for growing be the control's?

    python -m entr_utils.range_test PROFILE=paper DATASETS=bees SEEDS="0 1" DATA=folder WEIGHTS=path

It changes no run. A test that is there is not made again. Exit codes: 0 all there, 2 a wrong parameter, or images or
weights that cannot be used, 3 a dataset or weights were missing.
"""

import tempfile
from functools import partial
from pathlib import Path

import torch
from fastai.callback.core import Callback
from fastai.callback.schedule import minimum

from entr_utils import UserError, files, inputs, learning, locks, runs
from entr_utils.commands import guarded, start
from entr_utils.experiment import Experiment
from entr_utils.keys import key_of
from entr_utils.progress import Progress
from entr_utils.views import show

STOPPED = "stopped; the tests that were done stay, the same command goes on from here"
SHARED = ("dataset", "network", "weights", "weights_sha256", "data_sha256", "device", "precision", "batch", "lr")


class Told(Callback):
    """Says how far the test is."""

    def __init__(self, progress: Progress, iterations: int) -> None:
        self.progress, self.iterations = progress, iterations

    def after_batch(self):
        self.progress.update(self.train_iter / self.iterations)


def find_lr(experiment: Experiment, iterations: int = 60) -> tuple[list[float], list[float], float]:
    """Learning-rate range test (fastai's, after Smith 2015) on the run's training images: rates, losses, suggestion.

    At the size and of the layers that the run's first stage trains. It trains a network of its own from the run's seed
    and puts the random state back, so it changes neither weights nor T, nor the rate of any run. The rate rises from
    1e-5 to 10 as in fast.ai 0.7; suggested is a tenth of the rate at which the smoothed loss is smallest.
    """
    stage, p = experiment.regime.stages[0], experiment.parameters
    progress = Progress(f"range test at {stage.fed(p.size)} px")
    with torch.random.fork_rng(), tempfile.TemporaryDirectory() as folder:
        network, batches = learning.make_network(experiment), learning.make_batches(experiment)
        network.set_trains(stage.trains)
        batches.pixels = show(batches.pixels, stage, p.size, p.seed, 0)
        learner = learning.make_learner(network, batches, [Told(progress, iterations)], record=True)
        learner.path = learner.dls.path = Path(folder)
        with learner.no_bar(), learner.no_logging():
            suggested = learner.lr_find(1e-5, 10, iterations, show_plot=False, suggest_funcs=(minimum,))
        progress.close()
        recorder = learner.recorder
        return list(map(float, recorder.lrs)), list(map(float, recorder.losses)), float(suggested.minimum)


def path_of(experiment: Experiment) -> Path:
    """results/<profile>/<device>/range_tests/<dataset>-<network>-<6 of what the tests of its seeds share>.json"""
    shared = {name: experiment.identity[name] for name in SHARED}
    name = f"{shared['dataset']}-{shared['network']}-{key_of(shared)[:6]}.json"
    return experiment.path.parent / "range_tests" / name


def suggested(experiment: Experiment) -> float:
    """The rate that the test suggests, from its file or, where it is not there, by the test, which is kept."""
    path, stage, p = path_of(experiment), experiment.regime.stages[0], experiment.parameters
    seed, size = str(p.seed), str(stage.fed(p.size))
    kept = files.known(path) or {name: experiment.identity[name] for name in SHARED} | {"suggested": {}}
    rates = kept["suggested"].setdefault(seed, {})
    if size not in rates:
        with locks.device():
            *_, rates[size] = find_lr(experiment)
        files.write_json(kept, path)
    return rates[size]


def work(settings: dict[str, str]) -> int:
    """Test what `settings` ask for, once for each size with which one of its runs begins; returns the exit code."""
    with locks.results(Path(settings["RESULTS"]) / settings["PROFILE"]):
        ready, problem = inputs.ready(runs.plan(settings))
        prepared, problems = runs.prepare_all(ready)
        print("".join(f"  {line}\n" for line in problems), end="")
        for run in {path_of(run): run for run in prepared}.values():
            print(f"{run.identity['dataset']} {run.identity['network']}: {run.identity['lr']:g} is in use", flush=True)
        for run in prepared:
            p = run.parameters
            begins = f"{p.dataset} {p.network} {p.regime} s{p.seed} begins at {run.regime.stages[0].fed(p.size)} px"
            print(f"  {begins}: {suggested(run):.2g} is suggested", flush=True)
    return runs.first_named(problem, inputs.REFUSED if problems else 0)


def main(words: list[str]) -> int:
    """The command line: NAME=value words, those of `runs`."""
    return guarded(partial(command_line, words), STOPPED, (UserError, OSError))


def command_line(words: list[str]) -> int:
    """Do what `main` guards."""
    return work(runs.read_settings(words))


if __name__ == "__main__":
    start("entr_utils.range_test", main)
