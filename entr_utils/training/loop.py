"""One run: fastai's Learner trains in one `fit`; one callback follows the plan and keeps the books."""

from contextlib import nullcontext
from functools import partial

import torch
from fastai.callback.core import Callback, noop
from fastai.callback.fp16 import MixedPrecision
from fastai.data.core import DataLoaders
from fastai.learner import Learner, Recorder
from fastai.optimizer import OptimWrapper
from torch import Tensor, nn
from torch.nn import functional

from entr_utils import machine, networks
from entr_utils.regimes import Regime
from entr_utils.results import record
from entr_utils.training import clock, export, resume, step
from entr_utils.training.books import Books, Diverged
from entr_utils.training.run import Run
from entr_utils.util import Stopped, cache_folder, file_system, keep_json, lock


class Shown(nn.Module):
    """The network as its regime calls it: with the spec of the batch in hand."""

    def __init__(self, network: networks.Network, regime: Regime, batches: step.Batches):
        super().__init__()
        self.network, self.regime, self.batches = network, regime, batches

    def forward(self, inputs: Tensor) -> Tensor:
        return self.regime.forward(self.network, inputs, self.batches.spec)


class LossScaling(MixedPrecision):
    """fastai's loss scaling for float16 without its autocast, which the network has of its own: fastai's begins before
    a batch and ends after its loss, and a run stopped between the two would leave it on for all that follows."""

    before_batch = after_loss = noop


class FollowPlan(Callback):
    """Before each epoch size and what trains, before each batch the learning rates; the books; checkpoints."""

    order = 71  # after fastai's SkipToEpoch

    def __init__(self, books: Books, checkpoints: resume.Store, state: dict | None):
        self.books, self.checkpoints, self.state = books, checkpoints, state
        self.first = state["epoch"] if state else 0

    def __call__(self, event_name):
        """As fastai's, which would change the words of an error."""
        getattr(self, event_name, noop)()

    def before_fit(self):
        if self.state:
            resume.put_back(self.learn, self.state)
            self.books.restore(self.state)

    def before_epoch(self):
        self.books.begin_epoch(self.epoch)

    def before_batch(self):
        clock.wait_while_measuring()
        at, lr = self.books.batches.step, self.books.run.spec.lr
        self.opt.set_hyper("lr", [lr * at.lr_factor * factor for factor in at.phase.lr])

    def after_loss(self):
        self.books.take(self.iter, self.learn.loss.detach())

    def after_batch(self):
        self.books.show((self.iter + 1) / self.n_iter)

    def after_train(self):
        self.books.end_epoch()

    def after_epoch(self):
        if self.epoch >= self.first and self.checkpoints.due():  # fastai calls this for skipped epochs, too
            self.books.seconds.start()
            now = resume.state_of(self.learn) | self.books.state() | {"epoch": self.epoch + 1}
            self.checkpoints.save(now)
            self.books.seconds.stop("checkpoint")


def make_learner(network: networks.Network, regime: Regime, batches: step.Batches, callbacks: list) -> Learner:
    """fastai's Learner with torch's fused SGD and the network's parameter groups; it evaluates nothing."""
    loaders = DataLoaders(batches, [], device=batches.labels.device)
    options = {"opt_func": partial(OptimWrapper, opt=step.SGD), "splitter": lambda _: network.groups(), "wd": 0.0}
    return Learner(loaders, Shown(network, regime, batches), functional.cross_entropy, cbs=callbacks, **options)


def train(run: Run, keep: str = "") -> record.Record:
    """Train, evaluate and record one run; one that was stopped goes on, one that is done is read.

    A GPU is held while it trains; on a CPU runs may share. `keep` names a folder for the trained network of the cell's
    first seed. Raises UserError where the loss is not a number or a batch does not fit, Stopped on an interrupt.
    """
    name, on_cpu = run.path.stem, machine.device().type == "cpu"
    with lock(run.path.parent / ".locks" / name, f"waiting: another process makes {name}"):
        keep = keep if run.spec.seed == run.cell.seeds[0] else ""
        if done := run.finished():
            resume.Store(run).remove()
            if keep and not export.path_of(run, keep).exists():
                print(f"keep: {name} was trained before, without it; move {run.path} away to train it again")
            return done
        path = cache_folder() / "locks" / f"gpu-{machine.device_id()}"
        with nullcontext() if on_cpu else lock(path, "waiting: another run has the GPU"):
            return _train(run, keep)


def _train(run: Run, keep: str) -> record.Record:
    name, checkpoints, begun = run.path.stem, resume.Store(run), file_system(run.path.parent)
    state = checkpoints.newest()
    books = Books(run)
    torch.manual_seed(run.spec.seed)  # the same augmentation and dropout for every regime
    follow = FollowPlan(books, checkpoints, state)
    callbacks = [follow, LossScaling()] if run.spec.precision == "float16" else [follow]
    learner = make_learner(books.network, run.regime, books.batches, callbacks)
    learner.remove_cb(Recorder)  # its smoothed loss would make a GPU wait at every batch
    try:
        with learner.no_bar(), learner.no_logging():
            learner.fit(len(run.epochs), start_epoch=follow.first)
    except KeyboardInterrupt:
        raise Stopped(f"stopped: run this again, {name} goes on after epoch {checkpoints.reached}") from None
    except Diverged:
        checkpoints.remove()
        raise
    finally:
        books.progress.close()
    books.test()
    record.write(made := books.to_record(), run.path, partial(keep_json, begun=begun))
    checkpoints.remove()
    if keep:
        print(f"kept {export.keep(books.network, run, keep)}")
    return made
