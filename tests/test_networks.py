"""The networks: head, groups, what is frozen, and weights from files that may be anything."""

import pickle
import warnings
from itertools import chain
from unittest.mock import MagicMock
from urllib.error import URLError

import pytest
import torch
import torchvision
from conftest import an_eighth_of_resnet
from data_by_hand import refused
from torch import nn

from entr_utils import networks
from entr_utils.training import demo

pytestmark = pytest.mark.usefixtures("narrow")


def build(weights: object = "none", precision: str = "float32") -> networks.Network:
    return networks.build("resnet18", str(weights), 5, precision)


def state_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(before: dict, after: dict) -> bool:
    return all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("seed", [3, 4])
def test_the_head_begins_as_fastais(seed):
    from fastai.vision.learner import create_head

    torch.manual_seed(seed)
    ours = networks.make_head(64, 5)
    torch.manual_seed(seed)
    theirs = create_head(64, 5, ps=[0.5, 0.5])
    values = [list(head.state_dict().values()) for head in (ours, theirs)]
    assert all(map(torch.equal, *values))
    assert len(values[0]) == len(values[1]) == 12
    drops = [[layer.p for layer in head.modules() if isinstance(layer, nn.Dropout)] for head in (ours, theirs)]
    assert drops == [[0.5, 0.5]] * 2
    maps = torch.randn(2, 64, 3, 3)
    assert torch.equal(ours.eval()(maps), theirs.eval()(maps))


def test_logits_are_float32_whatever_the_precision():
    network, images = build(precision="bfloat16").eval(), torch.randn(2, 3, 32, 32)
    seen: list[torch.dtype] = []
    network.head[-1].register_forward_hook(lambda layer, inputs, output: seen.append(output.dtype))
    logits = network(images)
    assert (logits.shape, logits.dtype, seen) == ((2, 5), torch.float32, [torch.bfloat16])


def test_loss_scaling_leaves_no_autocast_on():
    """Where a step is broken off between a batch and its loss, nothing would switch it off again."""
    from entr_utils.training.loop import LossScaling

    scaling, autocast = LossScaling(), MagicMock()
    scaling.autocast = autocast
    scaling.before_batch()
    scaling.after_loss()
    assert autocast.mock_calls == []


def test_three_groups_hold_every_parameter_once():
    """conv1 to layer2, layer3 and 4, the head: of the body 0 conv1, 1 bn1, 4 to 7 layer1 to layer4."""
    network = build()
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = [[names[id(parameter)] for parameter in group] for group in network.groups()]
    assert sorted(chain(*groups)) == sorted(names.values())
    assert {name[:6] for name in groups[0]} == {"body.0", "body.1", "body.4", "body.5"}
    assert {name[:6] for name in groups[1]} == {"body.6", "body.7"}
    assert {name[:5] for name in groups[2]} == {"head."}


def step(network: networks.Network) -> None:
    network.train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    nn.functional.cross_entropy(network(torch.randn(4, 3, 32, 32)), torch.tensor([0, 1, 2, 3])).backward()
    optimiser.step()


def test_a_frozen_body_stays_bit_for_bit_and_learns_again_later():
    network = build()
    network.set_trains("head")
    body, head = state_of(network.body), state_of(network.head)
    for _ in range(3):
        step(network)
    assert all(parameter.grad is None for parameter in network.body.parameters())
    assert not any(module.training for module in network.body.modules())
    assert all(module.training for module in network.head.modules())
    assert not network.body(torch.randn(2, 3, 32, 32)).requires_grad
    assert same(body, network.body.state_dict())
    assert not same(head, network.head.state_dict())
    network.set_trains("all")
    step(network)
    assert all(parameter.grad is not None for parameter in network.parameters())
    changed = [name for name, value in network.body.state_dict().items() if not torch.equal(value, body[name])]
    assert {"0.weight", "1.running_mean", "7.conv2.weight"} <= {*changed}
    assert not any(module.training for module in network.eval().modules())


def test_a_checkpoint_fills_the_body(checkpoint):
    state, loaded = torch.load(checkpoint, weights_only=True), state_of(build(checkpoint))
    assert torch.equal(loaded["body.0.weight"], state["conv1.weight"].float())
    assert torch.equal(loaded["body.7.bn2.running_var"], state["layer4.bn2.running_var"].float())
    assert len(loaded["head.7.weight"]) == 5


def state(**changed) -> dict:
    return an_eighth_of_resnet("").state_dict() | changed


MISFITS = {
    "other names": lambda: {f"module.{name}": value for name, value in state().items()},
    "a layer missing": lambda: {name: value for name, value in state().items() if "layer4" not in name},
    "a layer more": lambda: state(**{"layer5.weight": torch.zeros(1)}),
    "infinity": lambda: state(**{"bn1.bias": torch.full((8,), float("inf"))}),
    "complex": lambda: state(**{"bn1.bias": torch.zeros(8, dtype=torch.complex64)}),
    "sparse": lambda: state(**{"bn1.bias": torch.zeros(8).to_sparse()}),
    "words for tensors": lambda: state(**{"bn1.bias": "words"}),
    "nothing": dict,
}


@pytest.mark.parametrize("what", MISFITS)
@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_weights_that_do_not_fit(what, save, tmp_path):
    with warnings.catch_warnings(action="ignore"):
        save(MISFITS[what](), tmp_path / "weights.pt")
    with warnings.catch_warnings(action="error"):
        refused(lambda: build(tmp_path / "weights.pt"), tmp_path / "weights.pt")


@pytest.mark.parametrize("content", [b"", b"these are words\n", b"PK\x03\x04"])
def test_files_that_are_no_weights(content, tmp_path):
    (tmp_path / "weights.pt").write_bytes(content)
    refused(lambda: build(tmp_path / "weights.pt"), tmp_path / "weights.pt")
    refused(lambda: networks.weights_sha256("resnet18", str(tmp_path)), tmp_path)


@pytest.fixture
def hub(tmp_path, monkeypatch) -> list[tuple]:
    """torch's download folder in an empty place without a network; what is asked for."""
    asked: list[tuple] = []

    def download(url, path, hash_prefix=None, progress=True):
        asked.append((url.rpartition("/")[2], hash_prefix))
        raise URLError("no network here\nat all")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    return asked


def test_imagenet_weights_of_2018(hub, tmp_path):
    named = ("imagenet", "resnet18-f37072fd.pth", "no network here", "WEIGHTS")
    refused(lambda: networks.weights_file("resnet18", "imagenet"), *named)
    assert hub == [("resnet18-f37072fd.pth", "f37072fd")]
    path = tmp_path / "checkpoints" / "resnet18-f37072fd.pth"
    torch.save(state(), path)
    assert networks.weights_file("resnet18", "imagenet") == path
    assert torch.equal(state_of(build("imagenet"))["body.0.weight"], torch.load(path)["conv1.weight"])
    assert len(hub) == 1


def test_learning_rates():
    labels = ("imagenet", "none", "resnet18-standin.pt")
    rates = [networks.learning_rate("ucm", "resnet18", label) for label in labels]
    assert rates == [0.01, 0.005, 0.02]


def test_the_narrow_network_has_a_quarter_of_the_channels_of_a_resnet18():
    whole, narrow = torchvision.models.resnet18().state_dict(), networks.make_resnet("resnet18-narrow").state_dict()
    assert narrow.keys() == whole.keys()
    other = [name for name in whole if whole[name].ndim and 4 * narrow[name].shape[0] != whole[name].shape[0]]
    assert other == ["fc.weight", "fc.bias"]


def test_the_weights_of_the_demonstration_can_be_made_again_and_are_loaded(monkeypatch, tmp_path):
    fresh, known = (networks.build("resnet18-narrow", name, 3, "float32").body for name in ("none", "demo"))
    assert not torch.equal(fresh[0].weight, known[0].weight)
    for name, value in {"CLASSES": 3, "EACH": 8, "JUDGED": 2, "SIZE": 32, "BATCH": 8, "EPOCHS": 1}.items():
        monkeypatch.setattr(demo, name, value)
    assert 0 <= demo.make_weights(tmp_path / "made.pt") <= 1
    made = networks.build("resnet18-narrow", str(tmp_path / "made.pt"), 3, "float32").body
    assert not torch.equal(made[0].weight, known[0].weight)
