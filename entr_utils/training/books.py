"""The books of a run, from the set-up to the record: epochs are timed, then evaluated off the clock."""

import time
from collections.abc import Callable
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from entr_utils import machine, networks
from entr_utils.data import store
from entr_utils.data.augment import Augment, make_augment
from entr_utils.regimes.plan import cost
from entr_utils.results import record
from entr_utils.training import step
from entr_utils.training.run import Run
from entr_utils.util import Progress, UserError, checksum


class Diverged(UserError):
    """The loss is not a number: to go on from a checkpoint would not help."""


class Seconds:
    """A stopwatch of device-synchronised seconds, kept apart by name."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def start(self) -> None:
        machine.synchronise()
        self.began = time.perf_counter()

    def stop(self, name: str) -> float:
        """Add the time since `start` to `name` and return it."""
        machine.synchronise()
        passed = time.perf_counter() - self.began
        self.spent[name] = self.spent.get(name, 0.0) + passed
        return passed


class Books:
    """What a run has shown so far: a row an epoch, a row and predictions at full size a phase.

    Attributes:
        photos, labels: of the judged images, (n, full, full, 3) uint8 and (n,) int64.
        flops: of an image, by `Work.key`; done: share of the run's FLOPs that are done after 0, 1, ... epochs.
        first: environment, costs and attempts, as a record has them; those of the first attempt.
    """

    def __init__(self, run: Run):
        """Images in place, network warmed up, nothing trained yet. Raises UserError where a batch does not fit."""
        self.run, spec, environment = run, run.spec, machine.environment()
        self.began = time.perf_counter()
        self.epochs: list[dict] = []
        self.phases: list[dict] = []
        self.predictions: dict[str, Tensor] = {}
        self.seconds, self.peak = Seconds(), 0
        self.ends = {end - 1 for end in accumulate((phase.epochs for phase in spec.phases), initial=0)}
        torch.manual_seed(spec.seed)
        network = networks.build(spec.network, run.cell.weights, len(run.images.classes), spec.precision)
        self.network = run.regime.prepare(network.to(machine.device()), run.images)
        self.batches = step.Batches(*self._place(run.split.training), run.epochs, make_augment(spec.augmentation))
        self.photos, self.labels = self._place(run.split.validation)
        costs = {"prepare": run.prepare_seconds + time.perf_counter() - self.began, "forecast": run.forecast()}
        try:
            costs["warmup"], each = step.warm_up(self.network, run.regime, self.batches)
        except torch.OutOfMemoryError as error:
            fits = f"try BATCH={spec.batch // 2} (batch)" if spec.batch > 3 else "try a smaller SIZE (size)"
            memory = f"the memory of {environment['device']}"
            raise UserError(f"batch={spec.batch}: does not fit {memory}; {fits}") from error
        self.first: dict = {"environment": environment, "costs": costs, "attempts": []}
        self.flops = {one.key: each(one.size, one.mode, one.trains) for one in run.work if one.kind == "step"}
        self.flops["tta"] = each(spec.size, "", "")
        evaluation = len(self.labels) * self.flops["tta"]
        spent = np.cumsum([0.0, *(cost(blocks, each) + evaluation for blocks in run.epochs)])
        self.done = (spent / spent[-1]).tolist()
        self.progress = Progress(f"training {spec.name}")

    def _place(self, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
        """The chosen images (n, s, s, 3) uint8 where they fit, their labels (n,) int64 on the device."""
        labels = torch.from_numpy(self.run.images.labels[chosen]).to(machine.device())
        return store.place(self.run.images.pixels, chosen), labels

    def begin_epoch(self, epoch: int) -> None:
        self.seconds.start()
        resized = self.batches.begin(epoch)
        self.resize_seconds = self.seconds.stop("resize") if resized else 0.0
        self.network.set_trains(self.batches.step.phase.trains)
        if epoch - 1 in self.ends:
            machine.forget_peak_memory()
            self.peak = 0
        self.losses = torch.zeros(len(self.batches), pin_memory=self.labels.is_cuda)  # of each step, on the host
        self.seconds.start()

    def take(self, batch: int, loss: Tensor) -> None:
        """The loss of a step. Raises Diverged where one was not a number; a GPU's arrive here a step or two late."""
        self.losses[batch].copy_(loss, non_blocking=True)  # no `item()`: the device would wait at every batch
        self._refuse_bad_loss()

    def _refuse_bad_loss(self) -> None:
        if self.losses.sum().isfinite():
            return
        spec, at = self.run.spec, self.batches.step
        batch = int(self.losses.isfinite().logical_not().nonzero()[0])
        calmer = "PRECISION=float32 (precision), then " if spec.precision == "float16" else ""
        raise Diverged(
            f"loss is not a number in {at.phase.name}, epoch {at.epoch + 1}, step {batch + 1} of {len(self.losses)}; "
            f"try {calmer}LR={spec.lr / 10:g} (lr; it was {spec.lr:g})"
        )

    def show(self, share: float) -> None:
        before, after = self.done[self.batches.epoch : self.batches.epoch + 2]
        place = f", epoch {self.batches.epoch + 1} of {len(self.run.epochs)}"
        self.progress.update(before + (after - before) * share, place)

    def end_epoch(self) -> None:
        """The regime's own end, stop the clock, evaluate; at the end of a phase also at the size last trained at."""
        at, ends = self.batches.step, self.batches.step.epoch in self.ends
        self.run.regime.after_epoch(self.network, at)
        seconds = self.seconds.stop("train") + self.resize_seconds
        self._refuse_bad_loss()
        self.seconds.start()
        probabilities = step.predict(self.network, self.photos, self.run.spec.batch)
        own = self._accuracy_own(probabilities, step.predict) if ends else 0.0
        row = {"epoch": at.epoch, "phase": at.phase.name, "cycle": at.cycle, "size": self.batches.spec.size}
        row |= {"loss": float(sum(self.losses)) / len(self.losses), "images": at.seen, "seconds": seconds}
        row |= {"resize_seconds": self.resize_seconds, "accuracy": self._accuracy(probabilities)}
        self.epochs.append(row | {"eval_seconds": self.seconds.stop("evaluation")})
        if ends:
            rows = [row for row in self.epochs if row["phase"] == at.phase.name]
            phase = {"name": at.phase.name, "size": row["size"], "epochs": len(rows), "trains": at.phase.trains}
            phase |= {name: sum(row[name] for row in rows) for name in ("images", "seconds", "eval_seconds")}
            phase["lr"] = [self.run.spec.lr * factor for factor in at.phase.lr]
            self._close_phase(phase, probabilities, own)

    def test(self) -> None:
        """The regime's own end and test-time augmentation, on the clock; off it also at the size last trained at."""
        spec, augment = self.run.spec, self.batches.augment
        machine.forget_peak_memory()
        self.peak = 0
        self.seconds.start()
        self.run.regime.finish(self.network, self.batches)
        probabilities = step.predict_averaged(self.network, self.photos, spec.batch, augment)
        phase = {"name": "TTA", "size": spec.size, "epochs": 0, "trains": "nothing", "lr": [0.0, 0.0, 0.0]}
        phase |= {"images": (1 + step.TTA_PASSES) * len(self.photos), "seconds": self.seconds.stop("tta")}
        self.seconds.start()
        own = self._accuracy_own(probabilities, step.predict_averaged, augment)
        self._close_phase(phase | {"eval_seconds": self.seconds.stop("evaluation")}, probabilities, own)

    def _close_phase(self, row: dict, probabilities: Tensor, own: float) -> None:
        row |= {"accuracy_full": self._accuracy(probabilities), "accuracy_own": own}
        self.phases.append(row | {"peak_memory": max(self.peak, machine.peak_memory())})
        self.predictions[row["name"]] = probabilities.argmax(1)

    def _accuracy_own(self, probabilities: Tensor, predict: Callable[..., Tensor], *how: Augment) -> float:
        if (seen := store.show(self.photos, self.batches.spec)) is not self.photos:
            probabilities = predict(self.network, seen, self.run.spec.batch, *how)
        return self._accuracy(probabilities)

    def _accuracy(self, probabilities: Tensor) -> float:
        return (probabilities.argmax(1) == self.labels).float().mean().item()

    def state(self) -> dict:
        """What a checkpoint keeps; `restore` puts it back."""
        kept = {name: getattr(self, name) for name in ("epochs", "phases", "predictions", "first")}
        passed = {"wall": time.perf_counter() - self.began, "spent": self.seconds.spent}
        return kept | passed | {"peak": max(self.peak, machine.peak_memory())}

    def restore(self, state: dict) -> None:
        """As when `state` was kept at the end of an epoch; time goes on from there."""
        begun = {name: self.first["environment"][name] for name in ("device", "commit", "started", "load")}
        for name in ("epochs", "phases", "predictions", "first", "peak"):
            setattr(self, name, state[name])
        self.first["attempts"].append(begun | {"epoch": state["epoch"]})
        self.seconds.spent |= state["spent"]
        self.began = time.perf_counter() - state["wall"]
        self.batches.begin(state["epoch"] - 1)
        self.batches.spec = self.batches.epochs[state["epoch"] - 1][-1].spec
        self.network.set_trains(self.batches.step.phase.trains)
        self.progress.start_at(self.done[state["epoch"]])

    def to_record(self) -> record.Record:
        run, judged = self.run, self.run.split.validation
        names = {"subtotal": "CMult", "rpl": "RPL", "total": "TTA"}
        predicted = {name: self.predictions[phase].tolist() for name, phase in names.items()}
        truth = {"image": [run.images.names[i] for i in judged], "truth": run.images.labels[judged].tolist()}
        split = {name: getattr(run.split, name) for name in ("by", "folds", "groups", "kept")}
        split |= {"n_train": len(run.split.training), "n_val": len(judged), "checksum": checksum(judged.tolist())}
        costs = {"checkpoint": self.seconds.spent.get("checkpoint", 0.0), "energy_joules": None}
        costs |= self.first["costs"] | {"wall": time.perf_counter() - self.began}
        about: dict = {"weights_note": networks.KNOWN_WEIGHTS.get(run.spec.weights_sha256, ""), "flops": self.flops}
        about |= {"parameters": sum(value.numel() for value in self.network.parameters()), "source": run.images.source}
        about |= {name: getattr(run, name) for name in ("spec", "share", "work")} | self.first | {"costs": costs}
        rows = {"phases": self.phases, "epochs": self.epochs, "predictions": truth | predicted}
        return record.make(**about, **rows, split=record.Split(**split))
