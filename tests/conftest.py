"""Shared by all tests: a place of their own, a tiny network, tiny runs trained once, regimes of the tests' own.

No torch until a test asks for it.
"""

import atexit
import dataclasses
import functools
import hashlib
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Before the package is imported: no test touches the user's cache or waits for a training elsewhere on this machine, a
# GPU stays out unless CUDA_VISIBLE_DEVICES names one (bit-equal repetition is promised for a CPU), one thread each.
os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.gettempdir()  # pytest's own folders stay where they are looked for
SCRATCH = tempfile.mkdtemp(prefix="entr-tests-")
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)
os.environ["TMPDIR"] = tempfile.tempdir = SCRATCH  # of notebooks' kernels, too
if "PYTEST_XDIST_WORKER" not in os.environ:  # workers share the cache of the process that started them
    os.environ["ENTR_CACHE"] = f"{SCRATCH}/cache"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ["OMP_NUM_THREADS"] = "1"

# ruff: noqa: E402
import pytest

from entr_utils.regimes import REGIMES, Regime, register
from entr_utils.regimes.base import BatchSpec, Step

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def place(tmp_path_factory, monkeypatch) -> Path:
    """Every test runs in a folder of its own, in which notebooks find the package."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "entr_utils").symlink_to(ROOT / "entr_utils")
    monkeypatch.chdir(folder)
    return folder


@dataclass(frozen=True)
class Slope(Regime):
    """Grows with every batch, from a share of the size; no two batches of a tiny run show the same size."""

    least: float = 0.4

    def spec(self, step: Step) -> BatchSpec:
        return step.at(self.least + (1 - self.least) * step.progress)


@dataclass(frozen=True)
class Packed(Regime):
    """Twice the images a batch while these are half the size: an epoch's last batch may be smaller."""

    def spec(self, step: Step) -> BatchSpec:
        if step.phase.name == "RPL":
            return step.at(1.0)
        return dataclasses.replace(step.at(0.5), batch=2 * step.usual)


@dataclass(frozen=True)
class Averaged(Regime):
    """Ends with the mean of its last layer over the epochs; every other batch is shown at half its contrast."""

    def spec(self, step: Step) -> BatchSpec:
        return dataclasses.replace(step.at(0.5), mode="pale" if step.batch % 2 else "")

    def prepare(self, network, images):
        network.register_buffer("mean", network.head[-1].weight.detach().clone())
        return network

    def forward(self, network, inputs, spec):
        return network(inputs / 2 if spec.mode == "pale" else inputs)

    def after_epoch(self, network, step) -> None:
        network.mean += (network.head[-1].weight.detach() - network.mean) / (step.epoch + 1)

    def finish(self, network, batches) -> None:
        network.head[-1].weight.data.copy_(network.mean)


@pytest.fixture
def own_regime() -> Iterator[Any]:
    """A regime that a test brings along: `Slope`, "slope" until the test ends; also "packed" and "averaged"."""
    known = dict(REGIMES)
    for kind in (Slope, Packed, Averaged):
        register(kind)
    yield Slope
    REGIMES.clear()
    REGIMES.update(known)


def an_eighth_of_resnet(name: str) -> Any:
    """Parts, blocks and names of a ResNet18, with one block a layer and an eighth of its channels; as "resnet34" with
    two in the first layer."""
    from torch import nn
    from torchvision.models.resnet import BasicBlock

    def layer(inputs: int, outputs: int, stride: int) -> nn.Module:
        narrower = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        return BasicBlock(inputs, outputs, stride, narrower)

    stem = {"conv1": nn.Conv2d(3, 8, 7, 2, 3, bias=False), "bn1": nn.BatchNorm2d(8), "relu": nn.ReLU()}
    shapes = ((8, 8, 1), (8, 16, 2), (16, 32, 2), (32, 64, 2))
    layers: dict[str, Any] = {f"layer{i}": layer(*shape) for i, shape in enumerate(shapes, 1)}
    if name == "resnet34":
        layers = {one: nn.Sequential(block) for one, block in layers.items()}
        layers["layer1"].append(BasicBlock(8, 8))
    ends = {"avgpool": nn.AdaptiveAvgPool2d(1), "fc": nn.Linear(64, 7)}
    return nn.Sequential(OrderedDict(stem | {"maxpool": nn.MaxPool2d(3, 2, 1)} | layers | ends))


COUNTED: dict[tuple, float] = {}


@pytest.fixture
def narrow(monkeypatch) -> None:
    """Networks of this process are `an_eighth_of_resnet`, whatever they are called; FLOPs are counted once a session,
    and nobody asks git for a commit: both take as long as such a network's training."""
    import torchvision

    from entr_utils import machine
    from entr_utils.training import step

    count = step.flops_per_image

    def counted(network, regime, spec, trains):
        name = (regime.name, spec, trains, sum(value.numel() for value in network.parameters()))
        return COUNTED[name] if name in COUNTED else COUNTED.setdefault(name, count(network, regime, spec, trains))

    monkeypatch.setattr(torchvision.models, "get_model", an_eighth_of_resnet)
    monkeypatch.setattr(step, "flops_per_image", counted)
    monkeypatch.setattr(machine, "git", lambda *words: "")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """Weights for `an_eighth_of_resnet` as a state dict in half precision, as the stand-in weights are."""
    import torch

    torch.manual_seed(7)
    state = an_eighth_of_resnet("").state_dict()
    path = tmp_path_factory.mktemp("weights") / "small.pt"
    torch.save({name: value.half() if value.is_floating_point() else value for name, value in state.items()}, path)
    return path


def tiny(regime: str = "gradual", results: str | Path = "results", **fields) -> Any:
    """A tiny run of steel, not yet trained: 7 classes of 12 drawn images, 4 epochs of 4 batches of 16."""
    from entr_utils.settings import Cell
    from entr_utils.training.run import prepare

    usual = {"seeds": (fields.pop("seed", 0),), "profile": "tiny", "precision": "float32"}
    return prepare(Cell("steel", regime=regime, results=str(results), **usual | fields))[0]


def sum_of(module) -> str:
    """sha256 of all parameters and buffers."""
    values = [value.detach().cpu().contiguous().numpy().tobytes() for value in module.state_dict().values()]
    return hashlib.sha256(b"".join(values)).hexdigest()


@dataclass
class Watched:
    """A run, its record, and checksums of head and body before each epoch and after the last."""

    run: Any
    record: Any = None
    heads: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)


@functools.cache
def _once(regime: str, results: Path, **fields) -> Watched:
    """Train while somebody looks."""
    from entr_utils.training import loop
    from entr_utils.training.books import Books

    watched, before, after = Watched(tiny(regime, results, **fields)), Books.begin_epoch, Books.test

    def look(act, books, *rest):
        watched.heads.append(sum_of(books.network.head))
        watched.bodies.append(sum_of(books.network.body))
        return act(books, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Books, "begin_epoch", lambda *given: look(before, *given))
        patch.setattr(Books, "test", lambda *given: look(after, *given))
        watched.record = loop.train(watched.run)
    return watched


@pytest.fixture
def trained(narrow, own_regime, tmp_path_factory) -> Callable[..., Watched]:
    """A tiny run by regime (and other fields of its cell): each is trained once in a session, when first asked for."""
    return functools.partial(_once, results=tmp_path_factory.getbasetemp() / "results")
