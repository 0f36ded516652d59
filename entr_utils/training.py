"""One run: fastai's Learner trains in one `fit`; small callbacks follow the regime, keep the time and evaluate."""

import math
import time

import torch
from fastai.callback.core import Callback, CancelFitException, CancelValidException
from torch import Tensor

from entr_utils import UserError, checkpoints, forecast, images, learning, locks, memory, networks, records, timing
from entr_utils.augmentation import Augment
from entr_utils.experiment import Experiment
from entr_utils.progress import Progress
from entr_utils.regimes import Moment
from entr_utils.views import show, view_of


class FollowRegime(Callback):
    """Before each epoch set size and what trains, before each batch the learning rates: all from `Regime.lookup`."""

    order = 71  # after fastai's SkipToEpoch

    def __init__(self, experiment: Experiment, photos: Tensor, batches: images.Batches, clock: timing.Clock):
        self.experiment, self.photos, self.batches, self.clock = experiment, photos, batches, clock
        self.moment, self.shown = experiment.regime.lookup(0), ("", experiment.parameters.size, 0)

    def before_epoch(self):
        moment, p = self.experiment.regime.lookup(self.epoch), self.experiment.parameters
        self.worked = timing.processor_seconds()  # resizing counts, as in T
        self.batches.epoch = self.epoch
        self.batches.length = self.experiment.regime.batches(self.epoch, self.batches.whole)
        self.resize_seconds = 0.0
        shown = view_of(moment.stage, p.size, self.epoch)
        if self.shown != shown:
            self.clock.start()
            self.batches.pixels = self.photos  # lets go of the last stage's copy before the next is made
            self.batches.pixels = show(self.photos, moment.stage, p.size, p.seed, self.epoch)
            self.resize_seconds, self.shown = self.clock.stop("resize"), shown
        self.begins = self.epoch == 0 or moment.stage is not self.moment.stage
        if self.begins:
            self.model.set_trains(moment.stage.trains)
        self.moment = moment

    def before_batch(self):
        self.moment = self.experiment.regime.lookup(self.epoch, self.iter, self.n_iter)
        lr = self.experiment.identity["lr"] * self.moment.lr_factor
        self.opt.set_hyper("lr", [lr * factor for factor in self.moment.stage.lr])

    def stand(self, epoch: int) -> None:
        """As at the end of the epoch before `epoch`; a size that was there then is made again, off the clock."""
        regime, p = self.experiment.regime, self.experiment.parameters
        self.moment = regime.lookup(epoch - 1)
        self.model.set_trains(self.moment.stage.trains)
        self.shown = view_of(self.moment.stage, p.size, epoch - 1)
        if epoch < regime.epochs and view_of(regime.lookup(epoch).stage, p.size, epoch) == self.shown:
            self.batches.pixels = show(self.photos, self.moment.stage, p.size, p.seed, epoch - 1)


class KeepLedger(Callback):
    """Time the training of each epoch, then evaluate off the clock; one row an epoch, one a stage."""

    def __init__(self, experiment: Experiment, follow: FollowRegime, photos: Tensor, labels: Tensor,
                 progress: Progress):  # fmt: skip
        self.experiment, self.follow, self.photos, self.labels = experiment, follow, photos, labels
        self.clock, self.progress, self.memory = follow.clock, progress, memory.PeakMemory()
        self.epochs: list[dict] = []
        self.stages: list[dict] = []
        self.predictions: dict[str, Tensor] = {}  # after each stage, at the largest size
        self.failure, self.peak = "", 0
        self.done: list[float] = []  # share of the run's FLOPs that are done after 0, 1, ... epochs
        self.began, self.counters = time.perf_counter(), timing.counters()
        self.first: dict = {}  # environment and costs of the first attempt, and where those went on that added an epoch

    order = 72  # after FollowRegime, so that the stage is known

    def before_epoch(self):
        if self.follow.begins:
            self.memory.reset()
            self.peak = 0

    def before_train(self):
        self.summed_loss = torch.zeros((), device=self.labels.device)
        self.losses = torch.zeros(len(self.follow.batches), pin_memory=self.labels.is_cuda)  # of each step, on the host
        self.clock.start()

    def after_loss(self):
        self.summed_loss += self.learn.loss.detach()  # no `item()`: it would make the device wait at every batch
        self.losses[self.iter].copy_(self.learn.loss.detach(), non_blocking=True)
        self._stop_at_bad_loss()

    def _stop_at_bad_loss(self) -> None:
        """A GPU's losses arrive here a step or two late; nothing waits for them."""
        if not math.isfinite(self.losses.sum()):
            step, regime = int(self.losses.isfinite().logical_not().nonzero()[0]), self.experiment.regime
            lr = self.experiment.identity["lr"] * regime.lookup(self.epoch, step, self.n_iter).lr_factor
            self.failure = (f"loss is not a number in {self.follow.moment.stage.name}, epoch {self.epoch + 1} of "
                            f"{regime.epochs}, step {step + 1} of {self.n_iter}, learning rate {lr:g}")  # fmt: skip
            raise CancelFitException

    def after_batch(self):
        before, after = self.done[self.epoch : self.epoch + 2]
        done = before + (after - before) * (self.iter + 1) / self.n_iter
        self.progress.update(done, f"epoch {self.epoch + 1} of {self.experiment.regime.epochs}")

    def after_train(self):
        seconds = self.clock.stop("train") + self.follow.resize_seconds
        worked = timing.processor_seconds(self.follow.worked)
        moment, size = self.follow.moment, self.follow.batches.pixels.shape[1]
        loss = self.summed_loss.item() / self.n_iter
        self._stop_at_bad_loss()
        self.clock.start()
        probabilities = learning.predict(self.model, self.photos, self.experiment.identity["batch"])
        accuracy = self._accuracy(probabilities)
        self.epochs.append({
            "epoch": self.epoch, "stage": moment.stage.name, "cycle": moment.cycle, "size": size, "loss": loss,
            "seconds": seconds, "resize_seconds": self.follow.resize_seconds, "processor_seconds": worked,
            "images": self.n_iter * self.follow.batches.batch, "accuracy": accuracy,
        })  # fmt: skip
        if self._stage_ends():
            self.predictions[moment.stage.name] = probabilities.argmax(1)
            seen = show(self.photos, moment.stage, self.experiment.parameters.size)
            small = learning.predict(self.model, seen, self.experiment.identity["batch"])
            self._close_stage(moment, accuracy, self._accuracy(small))
        self.epochs[-1]["eval_seconds"] = self.clock.stop("evaluation")
        if self._stage_ends():
            self.stages[-1]["eval_seconds"] = sum(
                row["eval_seconds"] for row in self.epochs if row["stage"] == moment.stage.name)  # fmt: skip

    def kept(self) -> dict:
        """Stages, epochs and predicted classes, as a record holds them."""
        images, validation = self.experiment.images, self.experiment.validation
        steps = {"subtotal": "CMult", "rpl": "RPL", "total": "TTA"}
        predicted = {name: self.predictions[step].tolist() for name, step in steps.items()}
        truth = {"image": [images.names[i] for i in validation], "truth": images.labels[validation].tolist()}
        return {"stages": self.stages, "epochs": self.epochs, "predictions": truth | predicted}

    def state(self) -> dict:
        """What a checkpoint keeps of a ledger, its clock and its costs; `stand` puts it back."""
        return {
            "clock": self.clock.seconds, "epochs": self.epochs, "stages": self.stages, "predictions": self.predictions,
            "peak": max(self.peak, self.memory.read()), "wall": time.perf_counter() - self.began,
            "counted": self.counted(), "first": self.first,
        }  # fmt: skip

    def stand(self, state: dict) -> None:
        """As when `state` was kept; time goes on from there."""
        for name in ("epochs", "stages", "predictions", "peak"):
            setattr(self, name, state[name])
        self.clock.seconds |= state["clock"]
        now = {name: self.first["environment"][name] for name in ("started", "commit", "load")}
        self.first = state["first"]
        self.first["attempts"].append(now | {"epoch": state["epoch"]})
        self.began = time.perf_counter() - state["wall"]
        self.counters = timing.difference(timing.counters(), state["counted"])
        self.follow.stand(state["epoch"])
        self.progress.start = self.done[state["epoch"]]

    def counted(self) -> dict[str, float | None]:
        """Energy and stolen time since the run began, each None where the machine does not count it."""
        return timing.difference(timing.counters(), self.counters)

    def before_validate(self):
        raise CancelValidException  # evaluated above, off the clock and at two sizes

    def _accuracy(self, probabilities: Tensor) -> float:
        return (probabilities.argmax(1) == self.labels).float().mean().item()

    def _stage_ends(self) -> bool:
        regime, after = self.experiment.regime, self.epoch + 1
        return after == regime.epochs or regime.lookup(after).stage is not self.follow.moment.stage

    def _close_stage(self, moment: Moment, full: float, small: float) -> None:
        rows = [row for row in self.epochs if row["stage"] == moment.stage.name]
        seconds, seen = sum(row["seconds"] for row in rows), sum(row["images"] for row in rows)
        worked = [row.get("processor_seconds") for row in rows]  # a checkpoint of before did not count it
        self.stages.append({
            "name": moment.stage.name, "size": rows[0]["size"], "epochs": len(rows), "trains": moment.stage.trains,
            "lr": [self.experiment.identity["lr"] * factor for factor in moment.stage.lr],
            "images": seen, "seconds": seconds,
            "processor_seconds": None if None in worked else sum(worked), "images_per_second": seen / seconds,
            "accuracy_full_size": full, "accuracy_train_size": small, "peak_memory": max(self.peak, self.memory.read()),
        })  # fmt: skip


def train(experiment: Experiment) -> dict:
    """Train, evaluate and record one run; one that was stopped goes on, one that has been trained is read.

    Returns the record (see `records.SCHEMA`), written beside `experiment.path` until `records.finish` gives it its
    name. Raises UserError where the loss is not a number; then nothing is written.
    """
    if record := records.trained(experiment.path):
        checkpoints.Store(experiment).remove()  # of a run that was stopped between its record and this
        checkpoints.Attempts(experiment.path).end()
        return record
    with locks.device():  # whoever has it takes memory that will be free again
        if record := records.trained(experiment.path):  # by the process that had the device
            return record
        predicted = forecast.of(experiment)
        forecast.check_fits(predicted)
        forecast.write(experiment, predicted)
        record = _train(experiment, predicted)
    forecast.learn(experiment, record)
    return record


def _train(experiment: Experiment, predicted: dict) -> dict:
    store, attempts = checkpoints.Store(experiment), checkpoints.Attempts(experiment.path)
    state = store.newest()
    before = state or {}
    attempts.begin(before.get("saved"), before.get("repeated", 0.0))
    network, ledger, augment = _set_up(experiment, predicted)
    if state:
        attempts.again(time.perf_counter() - ledger.began)
    torch.manual_seed(experiment.parameters.seed)  # the same augmentation and dropout for every regime
    keep = checkpoints.KeepCheckpoints(store, attempts, ledger, state)
    learner = learning.make_learner(network, ledger.follow.batches, [ledger.follow, ledger, keep])
    with learner.no_bar(), learner.no_logging():
        learner.fit(experiment.regime.epochs, start_epoch=state["epoch"] if state else 0)
    if not ledger.failure:
        _tta(network, ledger, augment)
        costs = ledger.first["costs"] | {
            "wall_seconds": time.perf_counter() - ledger.began, **ledger.counted(),
            "checkpoint_seconds": ledger.clock.seconds.get("checkpoint", 0.0), "seconds_repeated": attempts.repeated,
            "attempts": ledger.first["attempts"],
        }  # fmt: skip
        record = records.make(experiment.identity, experiment.about, ledger.kept(), costs, ledger.first["environment"])
        records.write(record, records.unfinished(experiment.path))
    ledger.progress.close()
    store.remove()
    attempts.end()
    if ledger.failure:
        raise UserError(f"{ledger.failure}; try a lower lr")
    return record


def _set_up(experiment: Experiment, predicted: dict) -> tuple[networks.Network, KeepLedger, Augment]:
    """Network warmed up, images in place, nothing trained yet."""
    p, environment, began = experiment.parameters, timing.environment(), time.perf_counter()
    batches = learning.make_batches(experiment)
    test_photos, test_labels = learning.place(experiment, experiment.validation)
    network = learning.make_network(experiment)
    progress = Progress(f"training {p.dataset}, {p.network}, {p.regime}, seed {p.seed}", predicted["wall_seconds"])
    follow = FollowRegime(experiment, batches.pixels, batches, timing.Clock())
    ledger = KeepLedger(experiment, follow, test_photos, test_labels, progress)
    ledger.began = began
    placed = time.perf_counter() - began
    warmup, flops = learning.warm_up(network, experiment, batches)
    ledger.done = experiment.regime.done(lambda stage: batches.batch * flops[f"{stage.fed(p.size)} {stage.trains}"],
                                         batches.whole, beside=len(test_photos) * flops["forward"])  # fmt: skip
    costs = {
        "warmup_seconds": warmup, "flops_per_image": flops, "prepare_seconds": experiment.prepare_seconds + placed,
        **{f"forecast_{name}": predicted[name] for name in ("seconds", "wall_seconds", "memory")},
    }  # fmt: skip
    ledger.first = {"environment": environment, "costs": costs, "attempts": []}
    return network, ledger, batches.augment


def _tta(network: networks.Network, ledger: KeepLedger, augment: Augment) -> None:
    """Test-time augmentation, on the clock; off it the same at the size last trained at, where that is another."""
    photos, batch, last = ledger.photos, ledger.experiment.identity["batch"], ledger.follow.moment.stage
    ledger.memory.reset()
    since = timing.processor_seconds()
    ledger.clock.start()
    probabilities = learning.predict_averaged(network, photos, batch, augment)
    seconds, worked = ledger.clock.stop("tta"), timing.processor_seconds(since)
    accuracy = ledger._accuracy(probabilities)
    ledger.predictions["TTA"] = probabilities.argmax(1)
    peak, small, aside = ledger.memory.read(), accuracy, 0.0
    if last.size < 1:
        ledger.clock.start()
        seen = show(photos, last, ledger.experiment.parameters.size)
        small = ledger._accuracy(learning.predict_averaged(network, seen, batch, augment))
        aside = ledger.clock.stop("evaluation")
    passed = (1 + learning.TTA_PASSES) * len(photos)
    ledger.stages.append({
        "name": "TTA", "size": photos.shape[1], "epochs": 0, "trains": "nothing", "lr": [0.0, 0.0, 0.0],
        "images": passed, "seconds": seconds, "processor_seconds": worked, "eval_seconds": aside,
        "images_per_second": passed / seconds, "accuracy_full_size": accuracy, "accuracy_train_size": small,
        "peak_memory": peak,
    })  # fmt: skip
