"""The pieces of a run: its network, fastai's Learner around it, predictions, and the warm-up before the clock."""

from functools import partial

import numpy as np
import torch
from fastai.callback.core import Callback
from fastai.callback.fp16 import MixedPrecision
from fastai.data.core import DataLoaders
from fastai.learner import Learner, Recorder
from fastai.optimizer import OptimWrapper
from torch import Tensor
from torch.nn import functional

from entr_utils import images, networks, timing, views
from entr_utils.augmentation import Augment, make_augment, normalise
from entr_utils.experiment import Experiment

TTA_PASSES = 4  # augmented ones, beside the plain one
SGD = partial(torch.optim.SGD, momentum=0.9, fused=True)  # weight decay 0


@torch.no_grad()
def predict(network: networks.Network, photos: Tensor, batch: int, augment: Augment | None = None) -> Tensor:
    """(n, classes) float32 probabilities of (n, s, s, 3) uint8 images, the network in evaluation mode."""
    network.eval()
    prepare = augment or normalise
    return torch.cat([network(prepare(images.on_device(part))).softmax(1) for part in photos.split(batch)])


def predict_averaged(network: networks.Network, photos: Tensor, batch: int, augment: Augment) -> Tensor:
    """As `predict`, by test-time augmentation: the mean of one plain and TTA_PASSES augmented passes."""
    passes = [predict(network, photos, batch, augment if i else None) for i in range(1 + TTA_PASSES)]
    return torch.stack(passes).mean(0)


def make_network(experiment: Experiment) -> networks.Network:
    """The run's network on the device; the head (and without weights the body) from the run's seed."""
    torch.manual_seed(experiment.parameters.seed)
    identity = experiment.identity
    network = networks.build(identity["network"], experiment.parameters.weights, len(experiment.images.classes),
                             identity["dropout"], identity["precision"])  # fmt: skip
    return network.to(timing.device())


def place(experiment: Experiment, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
    """The chosen images (n, s, s, 3) uint8 where they fit (see `memory`), their labels (n,) int64 on the device."""
    labels = torch.from_numpy(experiment.images.labels[chosen]).to(timing.device())
    return images.place(experiment.images.pixels, chosen), labels


class LossScaling(MixedPrecision):
    """fastai's loss scaling for float16 without its autocast, which the network has of its own (`networks.Network`).

    fastai's begins before a batch and ends after its loss. A run that is stopped between the two, or whose memory does
    not suffice, would leave it on for all that the process does later, and with it torch's copies of weights that
    change: the next run would learn nothing and look whole.
    """

    def before_batch(self):
        """Nothing."""

    def after_loss(self):
        """Nothing."""


def make_batches(experiment: Experiment) -> images.Batches:
    """The run's training batches, at full size, with its augmentation."""
    p, (photos, labels) = experiment.parameters, place(experiment, experiment.training)
    augment = make_augment(p.orientations, p.made_of.distorts)
    return images.Batches(photos, labels, experiment.identity["batch"], p.seed, augment)


def make_learner(network: networks.Network, batches: images.Batches, callbacks: list[Callback],
                 record: bool = False) -> Learner:  # fmt: skip
    """fastai's Learner with torch's fused SGD (momentum .9, weight decay 0) and three parameter groups.

    Without `record` it has no Recorder: its smoothed loss would make a GPU wait at every batch.
    """
    loaders = DataLoaders(batches, [], device=batches.labels.device)
    scaled = [LossScaling()] if network.dtype == torch.float16 else []
    learner = Learner(loaders, network, loss_func=functional.cross_entropy, opt_func=partial(OptimWrapper, opt=SGD),
                      cbs=[*callbacks, *scaled], wd=0.0, splitter=lambda network: network.groups())  # fmt: skip
    if not record:
        learner.remove_cb(Recorder)
    return learner


def warm_up(network: networks.Network, experiment: Experiment, batches: images.Batches) -> tuple[dict, dict]:
    """A whole step at each (size, trains) of the regime before the clock starts, then everything put back bit for bit.

    Kernel searches, compilation and first allocations happen here. Returns (seconds, FLOPs of training an image), both
    by "<pixels> <trains>", plus FLOPs of a forward pass at the largest size by "forward". The optimiser is one that
    is thrown away; weights, batch-norm statistics, gradients and random state are as before.
    """
    size, photos = experiment.parameters.size, batches.pixels[: batches.batch]
    labels = batches.labels[: batches.batch]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    seconds: dict[str, float] = {}
    flops: dict[str, float] = {}
    with torch.random.fork_rng():
        for stage in experiment.regime.stages[:-1]:
            name = f"{stage.fed(size)} {stage.trains}"
            if name in seconds:
                continue
            network.set_trains(stage.trains)
            clock = timing.Clock()
            with clock(name):
                small = views.show(photos, stage, size)
                step(network, SGD(trained(network), lr=0.0), batches.augment(images.on_device(small)), labels)
            seconds |= clock.seconds
            flops[name] = timing.flops_per_image(network, stage.fed(size), train=True)
        network.eval()
        flops["forward"] = timing.flops_per_image(network, size, train=False)
    network.zero_grad(set_to_none=True)
    network.load_state_dict(before)
    return seconds, flops


def loss(network: networks.Network, inputs: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of a batch, scalar."""
    return functional.cross_entropy(network(inputs), labels)


def step(network: networks.Network, optimiser: torch.optim.Optimizer, inputs: Tensor, labels: Tensor) -> None:
    """Forward, backward, optimiser: what a training step must do, and nothing else."""
    network.train()
    loss(network, inputs, labels).backward()
    optimiser.step()
    optimiser.zero_grad()


def trained(network: networks.Network) -> list[torch.nn.Parameter]:
    """The parameters that train now."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]
