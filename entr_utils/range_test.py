"""The learning-rate range test at the size a run begins with: would a rate chosen for growing be the control's?

    python -m entr_utils.runs rates PROFILE=paper DATASETS=bees NETWORKS=resnet18 SEEDS="0 1" DATA=folder WEIGHTS=path

It changes no run. A test that is there is not made again.
"""

import os
import tempfile
from pathlib import Path

import torch
from fastai.callback.core import Callback
from fastai.callback.schedule import minimum

from entr_utils import files, learning, locks
from entr_utils.experiment import Experiment
from entr_utils.keys import key_of
from entr_utils.progress import CHANNEL, Progress
from entr_utils.views import show

FREE = ("regime", "stages", "lr")  # of the identity, what the tests kept in one file may differ in


class Told(Callback):
    """Says how far the test is."""

    def __init__(self, text: str, iterations: int) -> None:
        self.progress, self.iterations = Progress(text), iterations

    def after_batch(self):
        if CHANNEL not in os.environ:  # the channel is for the run as a whole
            self.progress.update(self.train_iter / self.iterations)

    def after_fit(self):
        self.progress.close()


def find_lr(experiment: Experiment, iterations: int = 60) -> tuple[list[float], list[float], float | None]:
    """Learning-rate range test (fastai's, after Smith 2015) on the run's training images: rates, losses, suggestion.

    At the size and of the layers that the run's first stage trains. It trains a network of its own from the run's seed
    and puts the random state back, so it changes neither weights nor T, nor the rate of any run. The rate rises from
    1e-5 to 10 as in fast.ai 0.7; suggested is a tenth of the rate at which the smoothed loss is smallest, or nothing
    where it is still falling at the end.
    """
    stage, p = experiment.regime.stages[0], experiment.parameters
    told = Told(f"range test of {p.dataset}, {p.network}, at {begins_at(experiment)} px", iterations)
    with torch.random.fork_rng(), tempfile.TemporaryDirectory() as folder:
        network, batches = learning.make_network(experiment), learning.make_batches(experiment)
        network.set_trains(stage.trains)
        batches.pixels = show(batches.pixels, stage, p.size, p.seed, 0)
        learner = learning.make_learner(network, batches, [told], record=True)
        learner.path = learner.dls.path = Path(folder)
        with learner.no_bar(), learner.no_logging():
            found = learner.lr_find(1e-5, 10, iterations, show_plot=False, suggest_funcs=(at_minimum,))
    rates, losses = (list(map(float, values)) for values in (learner.recorder.lrs, learner.recorder.losses))
    return rates, losses, found[0]


def begins_at(experiment: Experiment) -> int:
    """Pixels to a side of the images that a run is first shown."""
    return experiment.regime.stages[0].fed(experiment.parameters.size)


def at_minimum(rates: torch.Tensor, losses: torch.Tensor, iterations: int) -> tuple[float | None, tuple]:
    """What fastai suggests of the rates and losses it looks at, or nothing where the last of these is the smallest."""
    rate, point = minimum(rates, losses, iterations)
    return (None if losses.argmin() == len(losses) - 1 else rate), point


def path_of(experiment: Experiment) -> Path:
    """results/<profile>/<device>/range_tests/<dataset>-<network>-<6 of what its tests share>.json"""
    shared = _shared(experiment)
    name = f"{shared['dataset']}-{shared['network']}-{key_of(shared)[:6]}.json"
    return experiment.path.parent / "range_tests" / name


def _shared(experiment: Experiment) -> dict:
    return {name: value for name, value in experiment.identity.items() if name not in FREE}


def suggested(experiment: Experiment) -> float | None:
    """The rate that the test suggests, from its file or, where it is not there, by the test, which is kept."""
    path, view = path_of(experiment), experiment.regime.stages[0].view
    kept = files.known(path) or _shared(experiment) | {"suggested": {}}
    begins = f"{begins_at(experiment)}" if view == "resized" else f"{begins_at(experiment)} {view}"
    if begins not in kept["suggested"]:
        with locks.device():
            *_, kept["suggested"][begins] = find_lr(experiment)
        files.write_json(kept, path)
    return kept["suggested"][begins]


def sentence(experiment: Experiment) -> str:
    """At which size a run begins, which rate is `suggested` there and which is in use."""
    p, rate = experiment.parameters, suggested(experiment)
    told = "no minimum, nothing" if rate is None else f"{rate:.2g}"
    return (f"{p.dataset} {p.network} {p.regime} s{p.seed} begins at {begins_at(experiment)} px: {told} is suggested, "
            f"{experiment.identity['lr']:g} in use")  # fmt: skip
