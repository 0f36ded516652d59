"""The books of a run: training timed epoch by epoch, then evaluated off the clock; one row an epoch, one a phase."""

import time
from itertools import accumulate

import torch
from torch import Tensor

from entr_utils import machine
from entr_utils.data import store
from entr_utils.data.augment import Augment
from entr_utils.networks import Network
from entr_utils.training import step
from entr_utils.training.run import Run
from entr_utils.util import Progress, UserError


class Diverged(UserError):
    """The loss is not a number: to go on from a checkpoint would not help."""


class Seconds:
    """Device-synchronised seconds, kept apart by name."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def start(self) -> None:
        """Begin to measure."""
        machine.synchronise()
        self.began = time.perf_counter()

    def stop(self, name: str) -> float:
        """Add the time since `start` to `name` and return it."""
        machine.synchronise()
        passed = time.perf_counter() - self.began
        self.spent[name] = self.spent.get(name, 0.0) + passed
        return passed


class Books:
    """What a run has shown so far.

    Args:
        photos, labels: of the judged images, (n, full, full, 3) uint8 and (n,) int64.
        done: share of the run's FLOPs that are done after 0, 1, ... epochs.
        first: environment, costs and attempts, as a record has them; those of the first attempt.
    """

    def __init__(self, run: Run, network: Network, batches: step.Batches, photos: Tensor, labels: Tensor,
                 done: list[float], first: dict):  # fmt: skip
        self.run, self.network, self.batches, self.photos, self.labels = run, network, batches, photos, labels
        self.done, self.first = done, first
        self.seconds, self.peak = Seconds(), 0
        self.epochs: list[dict] = []
        self.phases: list[dict] = []
        self.predictions: dict[str, Tensor] = {}  # after each phase, at full size
        self.began = time.perf_counter()
        self.ends = {end - 1 for end in accumulate((phase.epochs for phase in run.spec.phases), initial=0)}
        self.progress = Progress(f"training {run.spec.name}")

    def begin_epoch(self, epoch: int) -> None:
        """Resize the set where a size holds for the whole epoch, set what trains, start the clock."""
        self.seconds.start()
        resized = self.batches.begin(epoch)
        self.resize_seconds = self.seconds.stop("resize") if resized else 0.0
        phase = self.batches.step.phase
        self.network.set_trains(phase.trains)
        if epoch - 1 in self.ends:
            machine.forget_peak_memory()
            self.peak = 0
        self.summed_loss = torch.zeros((), device=self.labels.device)
        self.losses = torch.zeros(len(self.batches), pin_memory=self.labels.is_cuda)  # of each step, on the host
        self.seconds.start()

    def take(self, batch: int, loss: Tensor) -> None:
        """The loss of a step. Raises Diverged where one so far was not a number: a GPU's losses arrive here a step or
        two late, since nothing waits for them."""
        self.summed_loss += loss  # no `item()`: it would make the device wait at every batch
        self.losses[batch].copy_(loss, non_blocking=True)
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
        """Show that `share` of the epoch's steps is done."""
        before, after = self.done[self.batches.epoch : self.batches.epoch + 2]
        place = f", epoch {self.batches.epoch + 1} of {len(self.run.epochs)}"
        self.progress.update(before + (after - before) * share, place)

    def end_epoch(self) -> None:
        """Stop the clock, evaluate at full size and, at the end of a phase, at the size last trained at."""
        at = self.batches.step
        seconds = self.seconds.stop("train") + self.resize_seconds
        loss = self.summed_loss.item() / len(self.losses)
        self._refuse_bad_loss()
        self.seconds.start()
        probabilities = step.predict(self.network, self.photos, self.run.spec.batch)
        accuracy, ends = self._accuracy(probabilities), at.epoch in self.ends
        if ends:
            self.predictions[at.phase.name] = probabilities.argmax(1)
            lately = self._accuracy(step.predict(self.network, self._as_last_seen(), self.run.spec.batch))
        row = {"epoch": at.epoch, "phase": at.phase.name, "cycle": at.cycle, "size": self.batches.spec.size}
        row |= {"loss": loss, "seconds": seconds, "resize_seconds": self.resize_seconds, "images": at.seen}
        self.epochs.append(row | {"accuracy": accuracy, "eval_seconds": self.seconds.stop("evaluation")})
        if ends:
            rows = [row for row in self.epochs if row["phase"] == at.phase.name]
            sums = {name: sum(row[name] for row in rows) for name in ("images", "seconds", "eval_seconds")}
            lr = [self.run.spec.lr * factor for factor in at.phase.lr]
            row = {"name": at.phase.name, "size": row["size"], "epochs": len(rows), "trains": at.phase.trains, "lr": lr}
            self._close_phase(row | sums, accuracy, lately, max(self.peak, machine.peak_memory()))

    def test(self, augment: Augment) -> None:
        """Test-time augmentation, on the clock; off it the same at the size last trained at, where that is another."""
        spec, regime = self.run.spec, self.run.regime
        machine.forget_peak_memory()
        self.seconds.start()
        regime.finish(self.network, self.batches)
        probabilities = step.predict_averaged(self.network, self.photos, spec.batch, augment)
        seconds, peak = self.seconds.stop("tta"), machine.peak_memory()
        self.predictions["TTA"] = probabilities.argmax(1)
        accuracy = lately = self._accuracy(probabilities)
        self.seconds.start()
        if (seen := self._as_last_seen()) is not self.photos:
            lately = self._accuracy(step.predict_averaged(self.network, seen, spec.batch, augment))
        row = {"name": "TTA", "size": spec.size, "epochs": 0, "trains": "nothing", "lr": [0.0, 0.0, 0.0]}
        row |= {"images": (1 + step.TTA_PASSES) * len(self.photos), "seconds": seconds}
        self._close_phase(row | {"eval_seconds": self.seconds.stop("evaluation")}, accuracy, lately, peak)

    def _close_phase(self, row: dict, full: float, lately: float, peak: int) -> None:
        self.phases.append(row | {"accuracy_full": full, "accuracy_own": lately, "peak_memory": peak})

    def _as_last_seen(self) -> Tensor:
        """The judged images at the size and view last trained at; themselves where that is full size."""
        return store.show(self.photos, self.batches.spec)

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

    def costs(self) -> dict:
        """The fields of `results.record.Costs`."""
        kept = self.first["costs"] | {"checkpoint": self.seconds.spent.get("checkpoint", 0.0)}
        return kept | {"wall": time.perf_counter() - self.began, "energy_joules": None}
