"""The weights of the demonstration, a narrow ResNet18's (python -m entr_utils.cli demo-weights).

60 classes of 100 images of 80 px (`synthetic.pattern`, and a fine texture each), ten epochs from scratch, one cycle,
augmented as in training. Nothing of the images that the demonstration trains on is in them.
"""

import io
from pathlib import Path

import torch
from fastai.callback import schedule  # noqa: F401 - gives a Learner fit_one_cycle
from fastai.callback.core import Callback

from entr_utils import networks
from entr_utils.data import synthetic
from entr_utils.data.augment import make_augment
from entr_utils.machine import device
from entr_utils.regimes import parse
from entr_utils.regimes.plan import by_epoch, first_steps, make_plan
from entr_utils.settings import NARROW, Phase
from entr_utils.training import loop, step
from entr_utils.util import write_whole

CLASSES, EACH, JUDGED, SIZE, BATCH, EPOCHS, LR = 60, 100, 20, 80, 64, 10, 0.05


class NextEpoch(Callback):
    def before_epoch(self):
        self.dls.train.begin(self.epoch)


def drawn(each: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    photos = torch.from_numpy(synthetic.draw("patterns", CLASSES, each, SIZE, seed=seed))
    return photos.to(device()), torch.arange(CLASSES, device=device()).repeat_interleave(each)


def make_weights(path: Path = networks.DEMO_WEIGHTS) -> float:
    """Write the body as a torchvision state dict in half precision; its accuracy on images drawn anew."""
    torch.manual_seed(0)
    network = networks.build(NARROW, "none", CLASSES, "float32").to(device())
    first = first_steps((Phase("RPL", (EPOCHS,)),), CLASSES * EACH, SIZE, BATCH, 0)
    regime = parse("no_increase")
    batches = step.Batches(*drawn(EACH, 0), by_epoch(make_plan(regime, first)), make_augment("eight"))
    learner = loop.make_learner(network, regime, batches, [NextEpoch()])
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(EPOCHS, LR)
    photos, labels = drawn(JUDGED, 1)
    accuracy = (step.predict(network, photos, BATCH).argmax(1) == labels).float().mean().item()
    names = [name for name, _ in networks.make_resnet(NARROW).named_children()]  # of the body's parts, in torchvision
    parts = ((*key.split(".", 1), value.cpu()) for key, value in network.body.state_dict().items())
    state = {f"{names[int(part)]}.{name}": value for part, name, value in parts}
    buffer = io.BytesIO()
    torch.save({name: value.half() if value.is_floating_point() else value for name, value in state.items()}, buffer)
    write_whole(path, buffer.getbuffer())
    return accuracy
