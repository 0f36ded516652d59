"""The pieces of a training step, in torch alone: batches, forward and backward, predictions, FLOPs, the warm-up."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from entr_utils.data import store
from entr_utils.data.augment import Augment, normalise
from entr_utils.machine import synchronise
from entr_utils.networks import Network
from entr_utils.regimes.base import BatchSpec, Regime
from entr_utils.regimes.plan import Block, resized_to

TTA_PASSES = 4  # augmented ones, beside the plain one
SGD = partial(torch.optim.SGD, momentum=0.9, fused=True)  # weight decay 0
UNSCALED = torch.amp.GradScaler(enabled=False)
Flops = Callable[[int, str, str], float]  # of an image, by size, mode and what trains


class Batches:
    """Shuffled, augmented training batches of one epoch after another, as the plan has them; an iterable.

    Yields (images (batch, 3, s, s) float32, labels (batch,) int64); `step` and `spec` are those of the batch in hand.
    The order comes from (seed, epoch) alone, so it is the same for every regime. `photos`: (n, full, full, 3) uint8,
    wherever they fit; `labels`: (n,) int64, on the device; `epochs`: the plan's blocks of each.
    """

    def __init__(self, photos: Tensor, labels: Tensor, epochs: list[list[Block]], augment: Augment):
        self.photos, self.labels, self.epochs, self.augment = photos, labels, epochs, augment
        self.pixels, self.shown, self.epoch = photos, (), 0
        self.step, self.spec = epochs[0][0].step, epochs[0][0].spec

    def begin(self, epoch: int) -> bool:
        """Go to an epoch; the whole set is resized where one size holds for all of it. Whether anything was resized."""
        self.epoch, first, shown = epoch, self.epochs[epoch][0], resized_to(self.epochs[epoch])
        self.step = first.step
        if shown == self.shown:
            return False
        self.shown, self.pixels = shown, self.photos  # lets go of the last copy before the next is made
        if shown:
            self.pixels = store.show(self.photos, first.spec, first.step.seed, epoch)
        return bool(shown)

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
                pixels = store.on_device(self.pixels[rows[chosen]])
                if not self.shown:
                    pixels = store.show(pixels, self.spec, self.step.seed, self.epoch * 100_003 + self.step.batch)
                yield self.augment(pixels, self.spec.strength), self.labels[of_labels[chosen]]
                self.step = replace(self.step, batch=self.step.batch + 1, seen=chosen.stop)


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
              scaler: torch.amp.GradScaler = UNSCALED) -> None:  # fmt: skip
    """Forward, backward, optimiser: what a training step must do, and nothing else."""
    network.train()
    loss = functional.cross_entropy(regime.forward(network, inputs, spec), labels)
    scaler.scale(loss).backward()
    scaler.step(optimiser)
    scaler.update()
    optimiser.zero_grad()


def hooks(regime: Regime) -> tuple[str, ...]:
    """Names of the hooks on the clock that a regime has of its own."""
    return tuple(name for name in ("after_epoch", "finish") if getattr(type(regime), name) is not getattr(Regime, name))


def flops_per_image(network: Network, regime: Regime, spec: BatchSpec, trains: str) -> float:
    """Floating-point operations of an image, counted by torch: forward and backward of what trains, or with trains ""
    forward alone. The same on every machine. Batch-norm statistics change and gradients are dropped."""
    images = torch.zeros(2, 3, spec.size, spec.size, device=next(network.parameters()).device)  # batch-norm needs two
    if trains:
        network.set_trains(trains)
    network.train(bool(trains))
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(bool(trains)):
        output = regime.forward(network, images, spec) if trains else network(images)
        if trains:
            output.sum().backward()
    network.zero_grad(set_to_none=True)
    return counter.get_total_flops() / 2


def flops_counter(network: Network, regime: Regime) -> Flops:
    """`flops_per_image` by size, mode and what trains, which is all that it depends on; each counted once."""
    return cache(lambda size, mode, trains: flops_per_image(network, regime, BatchSpec(size, 2, mode=mode), trains))


def warm_up(network: Network, regime: Regime, batches: Batches) -> tuple[float, Flops]:
    """A whole step of each kind in the plan before anything is timed, then everything put back bit for bit: kernel
    searches and first allocations happen here, and a batch that does not fit the memory is found. Returns seconds, and
    the `flops_counter`, which has counted all of the plan and a forward pass at full size."""
    began, flops = time.perf_counter(), flops_counter(network, regime)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    blocks = [block for epoch in batches.epochs for block in epoch]
    with torch.random.fork_rng():
        for trains, spec in dict.fromkeys((block.step.phase.trains, block.spec) for block in blocks):
            network.set_trains(trains)
            small = store.show(store.on_device(batches.photos[: spec.batch]), spec)
            inputs, labels = batches.augment(small, spec.strength), batches.labels[: spec.batch]
            take_step(network, regime, spec, SGD(network.parameters(), lr=0.0), inputs, labels)
            flops(spec.size, spec.mode, trains)
        flops(batches.step.full, "", "")
    synchronise()
    network.zero_grad(set_to_none=True)
    network.load_state_dict(before)
    return time.perf_counter() - began, flops
