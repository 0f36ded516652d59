"""Methods of others as regimes: their plans by hand, their mathematics, what they cost."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import tiny
from data_by_hand import refused
from test_regimes import plan, steps
from torch import nn

from entr_utils import networks
from entr_utils.regimes import parse
from entr_utils.regimes.base import BatchSpec
from entr_utils.regimes.bounded_depth import bounded, kept_blocks
from entr_utils.regimes.entropy import entropy
from entr_utils.regimes.plan import by_epoch, cost
from entr_utils.report import tables
from entr_utils.settings import PROFILES, Phase
from entr_utils.training import loop, step
from entr_utils.training.run import counter

pytestmark = pytest.mark.usefixtures("own_regime")

TWENTY = (Phase("RPL", (20,)),)  # from scratch, one cosine
PAPER = {pretrained: PROFILES["paper"].phases(pretrained) for pretrained in (True, False)}


def epochs_of(regime: str, **given) -> list[int]:
    """Size of each epoch; there is one."""
    sizes = [{block.spec.size for block in epoch} for epoch in by_epoch(plan(regime, **given))]
    assert all(len(found) == 1 for found in sizes)
    return [size for (size,) in sizes]


def sizes_of(regime: str, **given) -> list[int]:
    """Size of each batch."""
    return [spec.size for _, spec in steps(plan(regime, **given))]


DRAWN = [("share=0.5", 10, 1), ("share=0.9", 18, 1), ("share=0.9,last=9", 18, 2), ("share=1.0", 20, 0)]
DRAWN += [("last=10", 10, 10)]


@pytest.mark.parametrize(("options", "small", "late"), DRAWN)
def test_decrement_shrinks_as_many_whole_epochs_as_asked_for(options, small, late):
    """At half the size, in an order of the seed; the last ones are full, as far as there are full ones."""
    orders = set()
    for seed in range(5):
        found = epochs_of(f"decrement:{options}", phases=TWENTY, full=128, seed=seed)
        assert Counter(found) == Counter({64: small, 128: 20 - small})
        assert found[20 - late :] == [128] * late
        orders.add(tuple(found))
    assert (len(orders) == 1) == (small + late == 20)


@pytest.mark.parametrize(("share", "relative"), [(0.9, 0.325), (0.5, 0.625)])
def test_decrement_takes_the_flops_that_its_paper_reports(share, relative):
    """From scratch, 20 epochs of a ResNet18 at 128 px; its head, which no size changes, takes .1% of them."""
    each = counter("resnet18", parse("no_increase"))
    costs = [cost(plan(name, phases=TWENTY, full=128), each) for name in (f"decrement:share={share}", "no_increase")]
    assert costs[0] / costs[1] == pytest.approx(relative, abs=0.001)


def test_ramp_by_hand():
    """Half until half of the run, full for its last fifth; between, a line whose middle is three quarters."""
    found = sizes_of("ramp", phases=TWENTY, full=128)
    assert found[:101] == [64] * 101
    assert found[110] == 76  # 64 + 64 / 6 = 74.7, to the nearest multiple of 4
    assert found[130] == 96  # in the middle
    assert found[160:] == [128] * 40
    assert found == sorted(found)
    assert {size % 4 for size in found} == {0}
    assert sizes_of("ramp:initial=0.25,delay=0.0,finetune=0.0,increment=1", phases=TWENTY)[100] == 156  # 62.5 + 93.75
    assert sizes_of("ramp")[-1] == 250


def test_progressive_by_hand():
    """Sizes of EfficientNetV2's code: M and L at 384 px, S at 300 px. Strength grows along, from 5 / 15."""
    assert Counter(epochs_of("progressive", phases=TWENTY, full=384)) == dict.fromkeys([192, 256, 320, 384], 5)
    small = epochs_of("progressive:first=0.57", phases=TWENTY, full=300)
    assert Counter(small) == dict.fromkeys([171, 214, 257, 300], 5)
    assert small == sorted(small)
    strengths = [spec.strength for _, spec in steps(plan("progressive", phases=TWENTY))]
    assert strengths == sorted(strengths)
    assert [*dict.fromkeys(strengths)] == [0.33, 0.55, 0.78, 1.0]
    assert Counter(epochs_of("progressive")) == {125: 6, 167: 5, 208: 5, 250: 5}  # of 21


def test_dropout_grows_with_strength():
    """In the head, of training alone; at full strength it is the usual one."""
    network, regime, rates = networks.build("resnet18", "none", 7, "float32"), parse("progressive"), []
    watch = [one for one in network.head if isinstance(one, nn.Dropout)]
    for strength in (0.33, 1.0):
        regime.forward(network, torch.zeros(2, 3, 32, 32), BatchSpec(32, 2, strength=strength))
        rates.append([one.p for one in watch])
    assert rates == [[pytest.approx(0.165)] * 2, [0.5] * 2]


@pytest.mark.parametrize(
    ("full", "options", "sizes"),
    [
        (128, "", [96, 128]),  # (.5625 + 1) / 2 = .781
        (128, "share=0.64", [64, 96, 128]),  # .604
        (250, "", [192, 224, 250]),  # .797; from 160 px on .700
        (64, "share=0.64", [32, 64]),  # .625
        (64, "share=0.64,multiple=8", [40, 48, 56, 64]),  # .680; from 32 px on .594
        (64, "share=1.0", [64]),
    ],
)
def test_random_sizes_are_equally_probable(full, options, sizes):
    found = Counter(sizes_of(f"random_size:{options}", full=full, images=1600))
    assert sorted(found) == sizes
    assert min(found.values()) > 0.85 * 2100 / len(sizes)


COST = [(True, 128, ""), (True, 250, ""), (False, 64, "share=0.64,multiple=8")]


@pytest.mark.parametrize(("pretrained", "full", "options"), COST)
def test_random_sizes_cost_what_gradual_costs(pretrained, full, options):
    """To the few per cent that multiples and the sides of a ResNet18's maps leave."""
    each, given = counter("resnet18", parse("small")), {"full": full, "phases": PAPER[pretrained], "images": 800}
    costs = [cost(plan(one, **given), each) for one in (f"random_size:{options}", "gradual")]
    assert costs[0] / costs[1] == pytest.approx(1, abs=0.06)


def test_pooled_batches_by_hand():
    modes = {}
    for order in ("order=every", "order=every,n=3", "order=blocks,last=2", "share=0.3", "share=1.0,last=0"):
        epochs = by_epoch(plan(f"pooled:{order}", phases=TWENTY, full=128))
        modes[order] = ["".join("p" if spec.mode else "F" for _, spec in steps(epoch)) for epoch in epochs]
    assert modes["order=every"] == ["FpFpFpFpFp"] * 19 + ["F" * 10]
    assert modes["order=every,n=3"] == ["FFpFFpFFpF"] * 19 + ["F" * 10]
    assert modes["order=blocks,last=2"] == ["ppFFppFFpp"] * 18 + ["F" * 10] * 2
    assert modes["share=1.0,last=0"] == ["p" * 10] * 20
    assert 0.2 < "".join(modes["share=0.3"][:-1]).count("p") / 190 < 0.4
    assert len({*modes["share=0.3"]}) > 15
    assert {(spec.size, spec.mode) for _, spec in steps(plan("pooled", full=128))} == {(128, ""), (64, "pooled")}


@pytest.fixture
def small_network() -> nn.Sequential:
    """Two convolutions that pad, one that does not, one of 1 x 1; batch-norm between; in double precision."""
    torch.manual_seed(3)
    layers = [nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.Tanh(), nn.Conv2d(4, 4, 3, padding=1)]
    layers += [nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2)]
    return nn.Sequential(*layers).double()


POOLED, ONE = BatchSpec(8, 2, mode="pooled"), parse("pooled")


def test_a_pooled_convolution_by_hand():
    """3 x 3 of ones on a row 1, 2, 3, 4 of equal columns becomes 2 x 2 of ones; the map keeps its 4 x 4 pixels."""
    image = torch.tensor([1.0, 2, 3, 4]).view(1, 1, 4, 1).expand(1, 1, 4, 4)
    one, two = (nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(2))
    for convolution in (one, two):
        nn.init.ones_(convolution.weight)
    first = ONE.forward(nn.Sequential(one), image, POOLED)[0, 0]
    assert first[:, 1:].tolist() == [[2.0] * 3, [6.0] * 3, [10.0] * 3, [14.0] * 3]  # 2 (1), 2 (1 + 2), 2 (2 + 3), ...
    assert first[:, 0].tolist() == [1, 3, 5, 7]  # padded before
    second = ONE.forward(nn.Sequential(one, two), image, POOLED)[0, 0]
    assert second[3].tolist() == [14 + 7, 28, 28, 14]  # padded behind


def test_the_gradient_goes_through_the_pooling(small_network):
    """As finite differences have it, of every weight; filters larger than 1 x 1 by way of their pooled ones."""
    inputs, step_by = torch.randn(2, 3, 8, 8, dtype=torch.double), 1e-6

    def loss() -> torch.Tensor:
        return ONE.forward(small_network, inputs, POOLED).square().sum()

    loss().backward()
    for weight in small_network.parameters():
        flat, gradient = weight.data.view(-1), weight.grad.view(-1)
        for i in range(0, len(flat), 7):
            flat[i] += step_by
            above = loss().item()
            flat[i] -= 2 * step_by
            slope = (above - loss().item()) / (2 * step_by)
            flat[i] += step_by
            assert gradient[i].item() == pytest.approx(slope, rel=1e-5, abs=1e-7)
    assert all(weight.grad.abs().max() > 0 for weight in small_network.parameters() if weight.ndim == 4)


@pytest.mark.parametrize("training", [True, False])
def test_a_pooled_batch_leaves_everything_as_it_was(training, small_network):
    small_network.train(training)
    inputs = torch.randn(2, 3, 8, 8, dtype=torch.double)
    state = {name: value.clone() for name, value in small_network.state_dict().items()}
    parts = [dict(vars(one)) for one in small_network.modules()]
    pooled = ONE.forward(small_network, inputs, POOLED)
    assert torch.equal(pooled, ONE.forward(small_network, inputs, POOLED))
    assert all(torch.equal(value, state[name]) for name, value in small_network.state_dict().items())
    assert [dict(vars(one)) for one in small_network.modules()] == parts
    full = BatchSpec(8, 2)
    assert torch.equal(ONE.forward(small_network, inputs, full), small_network(inputs))
    assert not torch.allclose(pooled, small_network(inputs))


def test_a_pooled_batch_of_a_frozen_body_is_normalised_by_itself(checkpoint, narrow):
    network = networks.build("resnet18", str(checkpoint), 7, "float32")
    network.set_trains("head")
    network.train()
    body = {name: value.clone() for name, value in network.body.state_dict().items()}
    output = ONE.forward(network, 5 + 3 * torch.randn(16, 3, 20, 20), replace(POOLED, size=20))
    output.sum().backward()
    assert all(torch.equal(value, body[name]) for name, value in network.body.state_dict().items())
    assert {name.partition(".")[0] for name, one in network.named_parameters() if one.grad is not None} == {"head"}
    assert not network.body[1].training


# inputs, outputs, side of the pooled kernel, side of the output at 20 px: as in test_training.CONVOLUTIONS at 40 px
HALVED = [(3, 8, 6, 10), (8, 8, 2, 5), (8, 8, 2, 5), (8, 8, 1, 5), (8, 16, 2, 3), (16, 16, 2, 3), (8, 16, 1, 3)]
HALVED += [(16, 32, 2, 2), (32, 32, 2, 2), (16, 32, 1, 2), (32, 64, 2, 1), (64, 64, 2, 1), (32, 64, 1, 1)]


def test_flops_of_a_pooled_batch_by_hand(narrow):
    """Of an eighth of a ResNet18: smaller kernels on maps of the usual sides, half of those at full size."""
    body = [2 * inputs * outputs * side**2 * pixels**2 for inputs, outputs, side, pixels in HALVED]
    head, network = 2 * 128 * 512 + 2 * 512 * 7, networks.build("resnet18", "none", 7, "float32")
    found = [step.flops_per_image(network, ONE, replace(POOLED, size=20), trains) for trains in ("head", "all")]
    assert found == [sum(body) + 3 * head, 3 * sum(body) - body[0] + 3 * head]


def test_entropy_by_hand():
    images = np.zeros((3, 16, 16, 3), np.uint8)
    images[1, :8] = 200
    images[2] = np.arange(256).reshape(16, 16, 1)
    assert [entropy(images[i : i + 1]) for i in range(3)] == pytest.approx([0, math.log(2), math.log(256)])
    assert entropy(images) == pytest.approx(9 * math.log(2) / 3)
    images[2] = [0, 0, 255]
    assert entropy(images[2:]) == pytest.approx(-(2 * math.log(2 / 3) + math.log(1 / 3)) / 3)


KEPT = [([2, 2, 2, 2], 7, [2, 2, 2, 1]), ([2, 2, 2, 2], 5, [2, 1, 1, 1]), ([2, 2, 2, 2], 2, [1, 1, 1, 1])]
KEPT += [([3, 4, 6, 3], 8, [2, 2, 3, 1]), ([3, 4, 6, 3], 20, [3, 4, 6, 3])]


@pytest.mark.parametrize(("has", "most", "kept"), KEPT)
def test_blocks_go_in_proportion(has, most, kept):
    assert kept_blocks(has, most) == kept


@pytest.mark.parametrize(("text", "blocks"), [("nats=5.54", 7), ("nats=5.2", 7), ("nats=5.2,bound=layer_a_bit", 3)])
def test_the_bound_by_hand(text, blocks):
    assert parse(f"bounded_depth:{text}").blocks == blocks


@pytest.mark.parametrize("equal", ["flops", "parameters"])
def test_a_shallower_network_is_broader_and_costs_as_much(equal):
    """Of a ResNet18 with half its blocks; what is counted here is the network that comes out."""
    with torch.device("meta"):
        network = networks.build("resnet18", "none", 7, "float32")
    new = bounded(network, 4, equal)
    assert [len(layer) for layer in new.body if isinstance(layer, nn.Sequential)] == [1, 1, 1, 1]
    assert new.body[0].out_channels > network.body[0].out_channels
    full, control = BatchSpec(128, 1), parse("no_increase")
    counted = {
        "flops": [step.flops_per_image(one, control, full, "all") for one in (new, network)],
        "parameters": [sum(value.numel() for value in one.parameters()) for one in (new, network)],
    }
    assert counted[equal][0] / counted[equal][1] == pytest.approx(1, abs=0.03)
    assert bounded(network, 8, equal) is network


def test_a_run_of_bounded_depth_is_of_the_other_network(trained):
    fields = {"network": "resnet34"}  # of two blocks in the first layer
    names = ("bounded_depth:nats=5.27,bound=layer_a_bit", "no_increase")
    one, usual = (trained(name, **fields).record for name in names)
    assert one.parameters != usual.parameters
    assert one.flops_total == pytest.approx(usual.flops_total, rel=0.2)
    assert {work.mode for work in one.work if work.kind == "step"} == {"blocks=3 equal=flops"}


def test_bounded_depth_is_refused_where_it_cannot_be(narrow, checkpoint):
    """With pretrained weights, before any image is read; with another entropy than the images', which is named."""
    refused(lambda: tiny("bounded_depth:nats=5.0", weights=str(checkpoint)), "bounded_depth:nats=5.0", "weights=none")
    run = tiny("bounded_depth:equal=parameters")
    measured = f"{entropy(run.images.pixels):.2f}"
    refused(lambda: loop.train(run), f"name it bounded_depth:nats={measured},equal=parameters")
    refused(lambda: counter("resnet18", parse("bounded_depth")), "nats")


def test_a_run_in_conflict_is_judged_by_shape_or_texture(trained):
    """Trained on all ordinary images; its accuracy is the share that shape decides."""
    record = trained("gradual", data="synthetic-conflict").record
    by_shape, by_texture = tables.decided([record])
    assert (record.split.by, record.split.n_train, record.split.n_val) == ("official", 84, 84)
    assert record.source.carries == "conflict"
    assert by_shape == round(84 * record.accuracy_total)
    assert by_shape + by_texture <= 84
