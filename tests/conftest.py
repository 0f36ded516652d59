"""Shared by all tests: a place of their own, tiny runs trained once for all workers, generated photographs."""

import atexit
import contextlib
import functools
import hashlib
import io
import os
import pickle
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

# Before the package is imported, which reads its environment: no test touches the checkout's cache or waits for the
# device lock of a training elsewhere on this machine, and a GPU stays out unless CUDA_VISIBLE_DEVICES names one:
# bit-equal repetition is promised for a CPU.
os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.gettempdir()  # pytest's own folders stay where they are looked for
SCRATCH = tempfile.mkdtemp(prefix="entr-tests-")
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)
os.environ["TMPDIR"] = tempfile.tempdir = SCRATCH  # of notebooks' kernels, too
if "PYTEST_XDIST_WORKER" not in os.environ:  # workers share the cache of the process that started them
    os.environ["ENTR_CACHE"] = f"{SCRATCH}/cache"
os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = f"{SCRATCH}/hypothesis"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
if "PYTEST_XDIST_WORKER" in os.environ:  # several workers: one thread each, and for the kernels they start
    os.environ["OMP_NUM_THREADS"] = "1"

# ruff: noqa: E402
import numpy as np
import pytest
import torch
import torchvision
from fastai.callback.core import Callback
from PIL import Image
from torch import nn
from torchvision.models.resnet import BasicBlock

from entr_utils import UserError, experiment, files, forecast, learning, locks, memory, networks, runs, training

ROOT = Path(__file__).parents[1]
TWO_RUNS = ("PROFILE=tiny", "DATASETS=steel", "REGIMES=no_increase gradual")


def new_place(tmp_path_factory) -> Path:
    """An empty folder in which notebooks find the package, so that data/ and results/ are never the checkout's."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "entr_utils").symlink_to(ROOT / "entr_utils")
    return folder


@pytest.fixture(autouse=True)
def place(tmp_path_factory, monkeypatch):
    """Every test runs in a folder of its own."""
    folder = new_place(tmp_path_factory)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def refused():
    """Check that a call raises a UserError of one line which holds all fragments."""

    def check(call, *fragments):
        with pytest.raises(UserError) as caught:
            call()
        text = str(caught.value)
        assert "\n" not in text
        assert [fragment for fragment in fragments if fragment not in text] == [], text

    return check


@pytest.fixture(scope="session")
def photos():
    """Make `folder/<class>/<i>.png`: each class a colour of its own under noise."""

    def make(folder: Path, classes=("heath", "lake", "wood"), per_class=8, size=(60, 48)) -> Path:
        rng = np.random.default_rng(0)
        for name in classes:
            colour = rng.uniform(40, 215, 3)
            (folder / name).mkdir(parents=True)
            for i in range(per_class):
                pixels = (colour + rng.normal(0, 20, (size[1], size[0], 3))).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / name / f"{i:02d}.png")
        return folder

    return make


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A torchvision ResNet18 state dict as the stand-in weights are: half precision, another number of classes."""
    torch.manual_seed(7)
    state = torchvision.models.resnet18(num_classes=110).state_dict()
    path = tmp_path_factory.mktemp("weights") / "small.pt"
    torch.save({name: value.half() if value.is_floating_point() else value for name, value in state.items()}, path)
    return path


def an_eighth_of_resnet(name: str) -> nn.Module:
    """Parts, blocks and names of a ResNet18, with one block a layer and an eighth of its channels."""

    def layer(inputs: int, outputs: int, stride: int = 2) -> nn.Module:
        narrower = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        return BasicBlock(inputs, outputs, stride, narrower)

    return nn.Sequential(OrderedDict(
        conv1=nn.Conv2d(3, 8, 7, 2, 3, bias=False), bn1=nn.BatchNorm2d(8), relu=nn.ReLU(),
        maxpool=nn.MaxPool2d(3, 2, 1), layer1=layer(8, 8, 1), layer2=layer(8, 16), layer3=layer(16, 32),
        layer4=layer(32, 64), avgpool=nn.AdaptiveAvgPool2d(1), fc=nn.Linear(64, 7),
    ))  # fmt: skip


@pytest.fixture
def narrow(monkeypatch, by_hand):
    """Networks of this process are `an_eighth_of_resnet`: where many runs are trained only to be compared."""
    monkeypatch.setattr(torchvision.models, "get_model", an_eighth_of_resnet)
    monkeypatch.setattr(networks, "count", networks.count.__wrapped__)  # what it keeps is of whole networks


@dataclass
class Watched:
    """A run that was trained under observation."""

    experiment: experiment.Experiment
    record: dict = field(default_factory=dict)
    heads: list[str] = field(default_factory=list)  # checksum before training and after each epoch
    bodies: list[str] = field(default_factory=list)  # the same, batch-norm statistics included
    forecast: dict = field(default_factory=dict)  # as it stood on disk when the first batch began


class Watch(Callback):
    """Keeps checksums of head and body, and the forecast that was written before."""

    def __init__(self, run: Watched):
        self.run = run

    def before_fit(self):
        self.run.heads.append(checksum(self.model.head))
        self.run.bodies.append(checksum(self.model.body))

    def before_batch(self):
        if not self.run.forecast:
            self.run.forecast = files.read_sealed(self.run.experiment.path.with_suffix(".forecast"))

    def after_epoch(self):
        self.before_fit()


def checksum(module) -> str:
    """sha256 of all parameters and buffers."""
    total = hashlib.sha256()
    for value in module.state_dict().values():
        total.update(value.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


CACHE, MEASURE = memory.CACHE, forecast._measure


def train_watched(run: experiment.Experiment) -> Watched:
    """`training.train` with one more callback, which only looks; its forecast is a real one, whoever asks first."""
    watched, make_learner = Watched(run), learning.make_learner
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "CACHE", CACHE)
        patch.setattr(forecast, "_measure", MEASURE)
        forecast.of(run)  # its probe has a learner of its own
        patch.setattr(learning, "make_learner", lambda a, b, cbs: make_learner(a, b, [*cbs, Watch(watched)]))
        watched.record = training.train(run)
    return watched


@pytest.fixture(scope="session")
def common(tmp_path_factory) -> Path:
    """A folder of this session, the same for all workers."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def once_for_all(path: Path, make: Callable[[], object]):
    """What `make` returns: the first worker that asks makes it, the others wait, silently, and read it from `path`."""
    with contextlib.redirect_stdout(io.StringIO()), locks.hold(path.with_suffix(".lock"), f"{path} is"):
        if not path.exists():
            path.write_bytes(pickle.dumps(make()))
        return pickle.loads(path.read_bytes())


@pytest.fixture(scope="session")
def trained(common):
    """A tiny run of steel by regime (and other parameters): each is trained once, when first asked for."""

    @functools.cache
    def once(regime: str, **parameters) -> Watched:
        run = experiment.prepare("steel", profile="tiny", regime=regime, results=str(common / "results"), **parameters)
        return once_for_all(common / f"{run.key}.pickle", lambda: train_watched(run))

    return once


def cost(size: int, what: str) -> dict[str, float]:
    """A rate by hand: 1 ms for each 80 x 80 pixels and image, a tenth of it to resize, 1 FLOP and 100 bytes a pixel."""
    seconds = size**2 / 80**2 / 1000
    return {"seconds": seconds, "resize": seconds / 10, "flops": float(size**2), "bytes": 100.0 * size**2}


@pytest.fixture
def by_hand(tmp_path, monkeypatch) -> list[str]:
    """No probe measures anything: rates are `cost`, in a cache of the test's own. What was asked for, in order."""
    asked = []

    def measure(network, p, size, what, batch):
        asked.append(f"{size} {what}")
        return cost(size, what)

    monkeypatch.setattr(memory, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(forecast, "_measure", measure)
    return asked


@dataclass(frozen=True)
class Made:
    """What `make all` left."""

    code: int
    printed: str
    results: Path

    def one(self, pattern: str) -> Path:
        """The only file of this name."""
        (path,) = self.results.rglob(pattern)
        return path


@pytest.fixture(scope="session")
def made(tmp_path_factory, common) -> Made:
    """Two tiny runs and their summary, from the command line to the rendered notebooks."""

    def make() -> Made:
        place, out = new_place(tmp_path_factory), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
            patch.chdir(place)
            code = runs.main(["all", *TWO_RUNS, f"RESULTS={place / 'results'}"])
        return Made(code, out.getvalue(), place / "results")

    return once_for_all(common / "made.pickle", make)
