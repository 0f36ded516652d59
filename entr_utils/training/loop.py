"""One run: fastai's Learner trains in one `fit`; one callback follows the plan and keeps the books."""

import time
from functools import partial

import numpy as np
import torch
from fastai.callback.core import Callback, CancelFitException, CancelValidException
from fastai.callback.fp16 import MixedPrecision
from fastai.data.core import DataLoaders
from fastai.learner import Learner, Recorder
from fastai.optimizer import OptimWrapper
from torch import Tensor, nn
from torch.nn import functional

from entr_utils import machine, networks
from entr_utils.data import store
from entr_utils.data.augment import make_augment
from entr_utils.regimes import Regime
from entr_utils.regimes.plan import cost
from entr_utils.results import record
from entr_utils.training import clock, export, resume, step
from entr_utils.training.books import Books, Diverged
from entr_utils.training.run import Run
from entr_utils.util import Stopped, UserError, cache_folder, checksum, file_system, keep_json, lock


class Shown(nn.Module):
    """The network as its regime calls it: with the spec of the batch in hand."""

    def __init__(self, network: networks.Network, regime: Regime, batches: step.Batches):
        super().__init__()
        self.network, self.regime, self.batches = network, regime, batches

    def forward(self, inputs: Tensor) -> Tensor:
        return self.regime.forward(self.network, inputs, self.batches.spec)


class LossScaling(MixedPrecision):
    """fastai's loss scaling for float16 without its autocast, which the network has of its own (`networks.Network`).

    fastai's begins before a batch and ends after its loss: a run that is stopped between the two would leave it on for
    all that the process does later, and the next run would learn nothing.
    """

    def before_batch(self):
        """Nothing."""

    def after_loss(self):
        """Nothing."""


class FollowPlan(Callback):
    """Before each epoch size and what trains, before each batch the learning rates; the books; checkpoints."""

    order = 71  # after fastai's SkipToEpoch

    def __init__(self, books: Books, checkpoints: resume.Store, state: dict | None):
        self.books, self.checkpoints, self.state = books, checkpoints, state
        self.first = state["epoch"] if state else 0
        self.refusal: UserError | None = None

    def before_fit(self):
        if self.state:
            resume.put_back(self.learn, self.state)
            self.books.restore(self.state)

    def before_epoch(self):
        self._or_refuse(partial(self.books.begin_epoch, self.epoch))

    def before_batch(self):
        self._or_refuse(clock.wait_while_measuring)
        at, lr = self.books.batches.step, self.books.run.spec.lr
        self.opt.set_hyper("lr", [lr * at.lr_factor * factor for factor in at.phase.lr])

    def after_loss(self):
        self._or_refuse(partial(self.books.take, self.iter, self.learn.loss.detach()))

    def after_batch(self):
        self.books.show((self.iter + 1) / self.n_iter)

    def after_train(self):
        books = self.books
        self._or_refuse(partial(books.run.regime.after_epoch, books.network, books.batches.step))
        self._or_refuse(books.end_epoch)

    def before_validate(self):
        raise CancelValidException  # evaluated in the books, off the clock and at two sizes

    def after_epoch(self):
        if self.epoch >= self.first and self.checkpoints.due():  # fastai calls this for skipped epochs, too
            self.books.seconds.start()
            now = resume.state_of(self.learn) | self.books.state() | {"epoch": self.epoch + 1}
            self.checkpoints.save(now)
            self.books.seconds.stop("checkpoint")

    def _or_refuse(self, do) -> None:
        """Do something; a UserError ends the fit and is raised after it."""
        try:
            do()
        except UserError as error:
            self.refusal = error
            raise CancelFitException from None


def make_learner(network: nn.Module, batches: step.Batches, callbacks: list[Callback], groups) -> Learner:
    """fastai's Learner with torch's fused SGD and parameter groups from `groups`."""
    loaders = DataLoaders(batches, [], device=batches.labels.device)
    options = {"opt_func": partial(OptimWrapper, opt=step.SGD), "splitter": lambda _: groups(), "wd": 0.0}
    return Learner(loaders, network, functional.cross_entropy, cbs=callbacks, **options)


def train(run: Run, keep: str = "") -> record.Record:
    """Train, evaluate and record one run; one that was stopped goes on, one that is done is read.

    A GPU is held while it trains; on a CPU runs may share. A record that cannot be written waits in the cache, and the
    next command puts it in place. `keep` names a folder for the trained network of the cell's first seed (`export`).
    Raises UserError where the loss is not a number or a batch does not fit the memory; then nothing is written. Raises
    Stopped on an interrupt.
    """
    name, device = run.path.stem, machine.device()
    with lock(run.path.parent / ".locks" / name, f"waiting: another process makes {name}"):
        keep = keep if run.spec.seed == run.cell.seeds[0] else ""
        if done := run.finished():
            resume.Store(run).remove()
            if keep and not export.path_of(run, keep).exists():
                print(f"keep: {name} was trained before, without it; move {run.path} away to train it again")
            return done
        if device.type == "cpu":
            return _train(run, keep)
        with lock(cache_folder() / "locks" / f"gpu-{machine.device_id()}", "waiting: another run has the GPU"):
            return _train(run, keep)


def _train(run: Run, keep: str) -> record.Record:
    name, checkpoints, begun = run.path.stem, resume.Store(run), file_system(run.path.parent)
    state = checkpoints.newest()
    books, flops = set_up(run)
    torch.manual_seed(run.spec.seed)  # the same augmentation and dropout for every regime
    follow = FollowPlan(books, checkpoints, state)
    scaling = [LossScaling()] if run.spec.precision == "float16" else []
    shown = Shown(books.network, run.regime, books.batches)
    learner = make_learner(shown, books.batches, [follow, *scaling], books.network.groups)
    learner.remove_cb(Recorder)  # its smoothed loss would make a GPU wait at every batch
    try:
        with learner.no_bar(), learner.no_logging():
            learner.fit(len(run.epochs), start_epoch=state["epoch"] if state else 0)
    except KeyboardInterrupt:
        raise Stopped(f"stopped: run this again, {name} goes on after epoch {checkpoints.reached}") from None
    finally:
        books.progress.close()
    if follow.refusal:
        if isinstance(follow.refusal, Diverged):
            checkpoints.remove()
        raise follow.refusal
    books.test(books.batches.augment)
    made = _record(run, books, flops)
    record.write(made, run.path, partial(keep_json, begun=begun))
    checkpoints.remove()
    if keep:
        print(f"kept {export.keep(books.network, run, keep)}")
    return made


def set_up(run: Run) -> tuple[Books, dict[str, float]]:
    """Network warmed up, images in place, nothing trained yet; FLOPs of an image by `Work.key`."""
    spec, environment, began = run.spec, machine.environment(), time.perf_counter()
    torch.manual_seed(spec.seed)
    network = networks.build(spec.network, run.cell.weights, run.classes, spec.precision).to(machine.device())
    network = run.regime.prepare(network, run.images)
    augment = make_augment(spec.augmentation)
    batches = step.Batches(*_place(run, run.split.training), run.epochs, augment)
    judged, placed = _place(run, run.split.validation), time.perf_counter() - began
    try:
        warmup, counted = step.warm_up(network, run.regime, batches)
    except torch.OutOfMemoryError as error:
        fits = f"try BATCH={spec.batch // 2} (batch)" if spec.batch > 3 else "try a smaller SIZE (size)"
        raise UserError(f"batch={spec.batch}: does not fit the memory of {environment['device']}; {fits}") from error
    flops = {work.key: counted[step.flops_name(work, work.trains)] for work in run.work if work.kind == "step"}
    flops["tta"] = counted[spec.size, "", ""]
    costs = {"warmup": warmup, "prepare": run.prepare_seconds + placed, "forecast": run.forecast()}
    first = {"environment": environment, "costs": costs, "attempts": []}
    books = Books(run, network, batches, *judged, _shares_done(run, counted), first)
    books.began = began
    return books, flops


def _shares_done(run: Run, flops: dict[tuple, float]) -> list[float]:
    """Share of the run's FLOPs, evaluation included, that are done after 0, 1, ... epochs."""
    beside = len(run.split.validation) * flops[run.spec.size, "", ""]

    def of_batch(spec, trains: str) -> float:
        return spec.batch * flops[step.flops_name(spec, trains)]

    spent = np.cumsum([0.0, *(cost(blocks, of_batch) + beside for blocks in run.epochs)])
    return (spent / spent[-1]).tolist()


def _place(run: Run, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
    """The chosen images (n, s, s, 3) uint8 where they fit, their labels (n,) int64 on the device."""
    labels = torch.from_numpy(run.images.labels[chosen]).to(machine.device())
    return store.place(run.images.pixels, chosen), labels


def _record(run: Run, books: Books, flops: dict[str, float]) -> record.Record:
    judged, names = run.split.validation, {"subtotal": run.subtotal, "rpl": "RPL", "total": "TTA"}
    predicted = {name: books.predictions[phase].tolist() for name, phase in names.items()}
    truth = {"image": [run.images.names[i] for i in judged], "truth": run.images.labels[judged].tolist()}
    split = {name: getattr(run.split, name) for name in ("by", "folds", "groups", "kept")}
    split |= {"n_train": len(run.split.training), "n_val": len(judged), "checksum": checksum(judged.tolist())}
    return record.make(
        spec=run.spec,
        source=run.images.source,
        split=record.Split(**split),
        weights_note=networks.KNOWN_WEIGHTS.get(run.spec.weights_sha256, ""),
        share=run.share,
        work=run.work,
        flops=flops,
        parameters=sum(value.numel() for value in books.network.parameters()),
        phases=books.phases,
        epochs=books.epochs,
        predictions=truth | predicted,
        costs=books.costs(),
        environment=books.first["environment"],
        attempts=books.first["attempts"],
    )
