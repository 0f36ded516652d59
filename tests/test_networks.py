"""The networks: head, groups, what is frozen, and weights from files that may be anything."""

import pickle
from itertools import chain
from pathlib import Path
from unittest.mock import MagicMock
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn

from entr_utils import learning, networks


def build(weights="none", classes=5, dropout=0.4, network="resnet18"):
    return networks.build(network, str(weights), classes, dropout, "float32")


def state_of(module) -> dict:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(before: dict, after: dict) -> bool:
    return all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize(("network", "width"), [("resnet18", 1024), ("resnet50", 4096)])
def test_the_head_is_the_courses(network, width):
    """Concat pooling, batch-norm, dropout, 512, ReLU, batch-norm, dropout, classes."""
    head = build(network=network).head
    names = ["AdaptiveConcatPool2d", "Flatten", "BatchNorm1d", "Dropout", "Linear", "ReLU", "BatchNorm1d", "Dropout"]
    assert [type(layer).__name__ for layer in head] == [*names, "Linear"]
    assert [layer.p for layer in head if isinstance(layer, nn.Dropout)] == [0.4, 0.4]
    assert [(layer.in_features, layer.out_features) for layer in head if isinstance(layer, nn.Linear)] == [
        (width, 512), (512, 5)]  # fmt: skip


def test_logits_are_float32_whatever_the_precision():
    network = networks.build("resnet18", "none", 5, 0.4, "bfloat16").eval()
    logits = network(torch.zeros(2, 3, 32, 32))
    assert logits.shape == (2, 5)
    assert logits.dtype == torch.float32


def test_loss_scaling_leaves_no_autocast_on():
    """Where a step is broken off between a batch and its loss, nothing would switch it off again."""
    scaling, autocast = learning.LossScaling(), MagicMock()
    scaling.autocast = autocast
    scaling.before_batch()
    scaling.after_loss()
    assert autocast.mock_calls == []


def test_the_head_comes_from_the_random_state():
    heads = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        heads.append(state_of(build().head))
    assert same(heads[0], heads[1])
    assert not same(heads[0], heads[2])


def test_three_groups_hold_every_parameter_once():
    network = build()
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = [[names[id(parameter)] for parameter in group] for group in network.groups()]
    assert sorted(chain(*groups)) == sorted(names.values())
    # body: 0 conv1, 1 bn1, 4 layer1, 5 layer2, 6 layer3, 7 layer4
    assert {".".join(name.split(".")[:2]) for name in groups[0]} == {"body.0", "body.1", "body.4", "body.5"}
    assert {".".join(name.split(".")[:2]) for name in groups[1]} == {"body.6", "body.7"}
    assert {name.split(".")[0] for name in groups[2]} == {"head"}


def step(network, optimiser):
    network.train()
    optimiser.zero_grad()
    nn.functional.cross_entropy(network(torch.randn(4, 3, 32, 32)), torch.tensor([0, 1, 2, 3])).backward()
    optimiser.step()


def test_a_frozen_body_stays_bit_for_bit():
    """No gradients, batch-norm in evaluation mode, and no change in parameters or statistics; the head learns."""
    network = build()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network.set_trains("head")
    body, head = state_of(network.body), state_of(network.head)
    for _ in range(3):
        step(network, optimiser)
    assert all(parameter.grad is None for parameter in network.body.parameters())
    assert not any(module.training for module in network.body.modules())
    assert all(module.training for module in network.head.modules())
    assert same(body, network.body.state_dict())
    assert not same(head, network.head.state_dict())


def test_an_unfrozen_body_learns():
    """After freezing, too: parameters and batch-norm statistics move again."""
    network = build()
    network.set_trains("head")
    network.train()
    network.set_trains("all")
    body = state_of(network.body)
    step(network, torch.optim.SGD(network.parameters(), lr=0.1))
    after = network.body.state_dict()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert not torch.equal(body["1.running_mean"], after["1.running_mean"])
    assert not torch.equal(body["0.weight"], after["0.weight"])


def test_evaluation_mode_is_for_the_whole_network():
    network = build().eval()
    assert not any(module.training for module in network.modules())


def test_a_checkpoint_fills_the_body(checkpoint):
    """Half precision and another number of classes do not matter; the head is new."""
    state = torch.load(checkpoint, weights_only=True)
    network = build(checkpoint)
    assert torch.equal(network.body[0].weight, state["conv1.weight"].float())
    assert torch.equal(network.body[7][1].bn2.running_var, state["layer4.1.bn2.running_var"].float())
    assert network.head[-1].out_features == 5


def of_another_network(path: Path) -> None:
    torch.save(torchvision.models.resnet34().state_dict(), path)


def of_other_shapes(path: Path) -> None:
    torch.save(torchvision.models.resnet50().state_dict(), path)


def of_parts(path: Path) -> None:
    state = torchvision.models.resnet18().state_dict()
    torch.save({name: value for name, value in state.items() if not name.startswith("layer4")}, path)


def of_words(path: Path) -> None:
    path.write_text("these are words\n")


def of_nothing(path: Path) -> None:
    path.touch()


def of_a_list(path: Path) -> None:
    torch.save([1, 2, 3], path)


@pytest.mark.parametrize("make", [of_another_network, of_other_shapes, of_parts, of_words, of_nothing, of_a_list])
def test_checkpoints_that_do_not_fit(make, tmp_path, refused):
    make(tmp_path / "weights.pt")
    refused(lambda: build(tmp_path / "weights.pt"), "weights.pt", "name a torchvision state dict of this network")


class Code:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_code_in_a_checkpoint_is_not_run(save, tmp_path, refused):
    save({"conv1.weight": Code(tmp_path / "was here")}, tmp_path / "weights.pt")
    refused(lambda: build(tmp_path / "weights.pt"), "weights.pt: cannot be loaded")
    assert not (tmp_path / "was here").exists()


@pytest.mark.parametrize(
    ("weights", "label"),
    [("imagenet", "imagenet"), ("none", "none"), ("/some/where/resnet18-standin.pt", "resnet18-standin.pt")],
)
def test_weights_label(weights, label):
    assert networks.weights_label(weights) == label


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """torch's download folder in an empty place; returns the list of what is asked for."""
    asked = []

    def download(url, path, hash_prefix=None, progress=True):
        asked.append((url.rpartition("/")[2], hash_prefix))
        raise URLError("no network here\nat all")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    return asked


def test_imagenet_weights_that_cannot_be_downloaded(hub, refused):
    refused(lambda: networks.weights_file("resnet18", "imagenet"),
            "weights=imagenet", "resnet18-f37072fd.pth", "no network here", "WEIGHTS=path")  # fmt: skip
    assert hub == [("resnet18-f37072fd.pth", "f37072fd")]


def test_imagenet_weights_that_are_there_are_used(hub, tmp_path):
    """The weights of 2018 (IMAGENET1K_V1), by torchvision's name."""
    path = tmp_path / "checkpoints" / "resnet18-f37072fd.pth"
    path.parent.mkdir()
    torch.save(torchvision.models.resnet18().state_dict(), path)
    assert networks.weights_file("resnet18", "imagenet") == path
    assert torch.equal(build("imagenet").body[0].weight, torch.load(path)["conv1.weight"])
    assert hub == []


def test_no_weights_have_no_file():
    assert networks.weights_file("resnet18", "none") is None
    assert networks.weights_sha256("resnet18", "none") == "none"


def test_known_learning_rates_and_defaults():
    """One literal for a dataset, network and weights; a default by whether there are weights at all."""
    (dataset, network, weights), rate = next(iter(networks.LEARNING_RATES.items()))
    assert networks.learning_rate(dataset, network, weights) == rate
    assert networks.learning_rate("own", "resnet50", "imagenet") == networks.DEFAULT_LR["pretrained"]
    assert networks.learning_rate("own", "resnet50", "none") == networks.DEFAULT_LR["none"]
