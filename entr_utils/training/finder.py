"""The learning-rate range test (fastai's, after Smith 2015): for looking only, it changes no run."""

import tempfile
from pathlib import Path

import torch
from fastai.callback.schedule import minimum

from entr_utils.training import loop
from entr_utils.training.books import Books
from entr_utils.training.run import Run


def find_lr(run: Run, iterations: int = 60) -> tuple[list[float], list[float], float | None]:
    """Rates, smoothed losses and the rate suggested, at the size and with the layers that a run begins with.

    The rate rises from 1e-5 to 10 as in fast.ai 0.7; suggested is a tenth of the rate at which the loss is smallest, or
    None where it still falls at the end. The random state is put back.
    """
    with torch.random.fork_rng(), tempfile.TemporaryDirectory() as folder:
        books = Books(run)
        books.begin_epoch(0)
        learner = loop.make_learner(books.network, run.regime, books.batches, [])
        learner.path = learner.dls.path = Path(folder)
        with learner.no_bar(), learner.no_logging():
            found = learner.lr_find(1e-5, 10, iterations, show_plot=False, suggest_funcs=(at_minimum,))
    rates, losses = (list(map(float, values)) for values in (learner.recorder.lrs, learner.recorder.losses))
    return rates, losses, found[0]


def at_minimum(rates: torch.Tensor, losses: torch.Tensor, iterations: int) -> tuple[float | None, tuple]:
    """What fastai suggests, or None where the last loss is the smallest."""
    rate, point = minimum(rates, losses, iterations)
    return (None if losses.argmin() == len(losses) - 1 else rate), point
