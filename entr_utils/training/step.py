"""The pieces of a training step, in torch alone: batches, forward and backward, predictions, FLOPs, the warm-up."""

import dataclasses
import time
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from entr_utils.data import store
from entr_utils.data.augment import Augment, normalise
from entr_utils.machine import synchronise
from entr_utils.networks import Network
from entr_utils.regimes.base import BatchSpec, Regime
from entr_utils.regimes.plan import Block, Work, stored_for, stored_shows

TTA_PASSES = 4  # augmented ones, beside the plain one
SGD = partial(torch.optim.SGD, momentum=0.9, fused=True)  # weight decay 0


class Batches:
    """Shuffled, augmented training batches of one epoch after another, as the plan has them; an iterable.

    Yields (images (batch, 3, s, s) float32, labels (batch,) int64); `step` and `spec` are those of the batch in hand.
    The order comes from (seed, epoch) alone, so it is the same for every regime.

    Args:
        photos: (n, full, full, 3) uint8, wherever they fit. labels: (n,) int64, on the device.
        epochs: the plan's blocks of each epoch.
    """

    def __init__(self, photos: Tensor, labels: Tensor, epochs: list[list[Block]], augment: Augment):
        self.photos, self.labels, self.epochs, self.augment = photos, labels, epochs, augment
        self.pixels, self.shown = photos, stored_shows(None, 0)
        self.epoch = 0
        self.step, self.spec = epochs[0][0].step, epochs[0][0].spec

    def begin(self, epoch: int) -> bool:
        """Go to an epoch; the whole set is resized where one size holds for all of it. Whether anything was resized."""
        self.epoch, blocks = epoch, self.epochs[epoch]
        self.step = blocks[0].step
        spec = stored_for(blocks, self.step.full)
        if stored_shows(spec, epoch) == self.shown:
            return False
        self.shown = stored_shows(spec, epoch)
        self.pixels = self.photos  # lets go of the last copy before the next is made
        if spec:
            self.pixels = store.show(self.photos, spec, self.step.seed, epoch)
        return spec is not None

    def __len__(self) -> int:
        return sum(block.steps for block in self.epochs[self.epoch])

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(self.step.seed * 100_003 + self.epoch)
        order = torch.randperm(len(self.labels), generator=generator)
        rows, of_labels = order.to(self.pixels.device), order.to(self.labels.device)
        for block in self.epochs[self.epoch]:
            self.step, self.spec = block.step, block.spec
            for _ in range(block.steps):
                chosen = slice(self.step.seen, self.step.seen + self.spec.batch)
                yield self.shown_batch(self.pixels[rows[chosen]]), self.labels[of_labels[chosen]]
                seen = self.step.seen + self.spec.batch
                self.step = dataclasses.replace(self.step, batch=self.step.batch + 1, seen=seen)

    def shown_batch(self, pixels: Tensor) -> Tensor:
        """(n, s, s, 3) uint8 as stored to the network's input: resized where the set was not, augmented."""
        pixels = store.on_device(pixels)
        if not self.shown:
            pixels = store.show(pixels, self.spec, self.step.seed, self.epoch * 100_003 + self.step.batch)
        return self.augment(pixels, self.spec.strength)


@torch.no_grad()
def predict(network: Network, photos: Tensor, batch: int, augment: Augment | None = None) -> Tensor:
    """(n, classes) float32 probabilities of (n, s, s, 3) uint8 images, the network in evaluation mode."""
    network.eval()
    prepare = augment or normalise
    return torch.cat([network(prepare(store.on_device(part))).softmax(1) for part in photos.split(batch)])


def predict_averaged(network: Network, photos: Tensor, batch: int, augment: Augment) -> Tensor:
    """As `predict`, by test-time augmentation: the mean of one plain and TTA_PASSES augmented passes."""
    passes = [predict(network, photos, batch, augment if i else None) for i in range(1 + TTA_PASSES)]
    return torch.stack(passes).mean(0)


def take_step(network: Network, regime: Regime, spec: BatchSpec, optimiser, inputs: Tensor, labels: Tensor,
              scaler: torch.amp.GradScaler | None = None) -> None:  # fmt: skip
    """Forward, backward, optimiser: what a training step must do, and nothing else."""
    network.train()
    loss = functional.cross_entropy(regime.forward(network, inputs, spec), labels)
    if scaler:
        scaler.scale(loss).backward()
        scaler.step(optimiser)
        scaler.update()
    else:
        loss.backward()
        optimiser.step()
    optimiser.zero_grad()


def trained(network: Network) -> list[torch.nn.Parameter]:
    """The parameters that train now."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def hooks(regime: Regime) -> tuple[str, ...]:
    """Names of the hooks on the clock that a regime has of its own."""
    return tuple(name for name in ("after_epoch", "finish") if getattr(type(regime), name) is not getattr(Regime, name))


def flops_per_image(network: Network, regime: Regime, spec: BatchSpec, trains: str) -> float:
    """Floating-point operations of an image, counted by torch: forward and backward of what trains, or with trains ""
    forward alone. The same on every machine. Batch-norm statistics change and gradients are dropped."""
    images = torch.zeros(2, 3, spec.size, spec.size, device=next(network.parameters()).device)  # batch-norm needs two
    network.train(bool(trains))
    if trains:
        network.set_trains(trains)
        network.train()
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(bool(trains)):
        output = regime.forward(network, images, spec) if trains else network(images)
        if trains:
            output.sum().backward()
    network.zero_grad(set_to_none=True)
    return counter.get_total_flops() / 2


def warm_up(network: Network, regime: Regime, batches: Batches) -> tuple[float, dict[tuple, float]]:
    """A whole step of each kind in the plan before anything is timed, then everything put back bit for bit.

    Kernel searches, compilation and first allocations happen here, and a batch that does not fit the memory is found.
    Returns seconds, and FLOPs of an image by `flops_name`.
    """
    began, flops = time.perf_counter(), {}
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.random.fork_rng():
        for trains, spec in kinds(batches.epochs):
            network.set_trains(trains)
            batch = slice(0, spec.batch)
            small = store.show(store.on_device(batches.photos[batch]), spec)
            inputs, labels = batches.augment(small, spec.strength), batches.labels[batch]
            take_step(network, regime, spec, SGD(trained(network), lr=0.0), inputs, labels)
            flops[flops_name(spec, trains)] = flops_per_image(network, regime, spec, trains)
        step = batches.epochs[0][0].step
        full = BatchSpec(step.full, step.usual)
        flops[flops_name(full, "")] = flops_per_image(network, regime, full, "")
    synchronise()
    network.zero_grad(set_to_none=True)
    network.load_state_dict(before)
    return time.perf_counter() - began, flops


def kinds(epochs: list[list[Block]]) -> list[tuple[str, BatchSpec]]:
    """Each (what trains, spec) of a plan once."""
    return list(dict.fromkeys((block.step.phase.trains, block.spec) for blocks in epochs for block in blocks))


def flops_name(spec: BatchSpec | Work, trains: str) -> tuple[int, str, str]:
    """What FLOPs of an image depend on."""
    return spec.size, spec.mode, trains
