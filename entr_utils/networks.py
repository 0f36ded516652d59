"""The networks: a torchvision ResNet body, the course's head, weights from ImageNet, a file, or none; their rates."""

import hashlib
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock

from entr_utils.settings import DROPOUT, NARROW, SMALL_STEM
from entr_utils.util import Missing, UserError

# What is known about weights files met so far, by checksum: it belongs in every caption.
KNOWN_WEIGHTS = {
    "036bf987bccec4f86b98c989cb57d2e4301f9f91c44ff7c703cb6c4ee0e42076":
        "a stand-in for ImageNet weights, trained from scratch on Tiny ImageNet, Imagenette and Caltech-101: "
        "accuracies are lower than with ImageNet weights, and it was itself trained with growing sizes up to 160 px, "
        "so its frozen features may favour small images",
}  # fmt: skip

# Chosen once with fastai's range test on the control (no_increase, seed 0) from training images alone: the suggestion,
# rounded down to 1, 2 or 5. Keys: (dataset, network, weights without their folder).
LEARNING_RATES = {
    ("steel", "resnet18", "resnet18-standin.pt"): 1e-2,
    ("ucm", "resnet18", "resnet18-standin.pt"): 2e-2,
    ("bees", "resnet18", "resnet18-standin.pt"): 2e-2,
}
# Where nobody has chosen one: the course's 1e-2 with pretrained weights; from scratch 5e-3, what the range test
# suggests on the control's synthetic bees (steel: 4e-3; synthetic aerial images show no minimum in its 60 steps).
PRETRAINED_LR, OTHER_LR = 1e-2, {"none": 5e-3, "demo": 2e-2}
DEMO_WEIGHTS = Path(__file__).with_name("demo-weights.pt")  # made by `training.demo`


def learning_rate(dataset: str, network: str, weights: str) -> float:
    """The literal for these, weights without their folder, or the default."""
    return LEARNING_RATES.get((dataset, network, weights), OTHER_LR.get(weights, PRETRAINED_LR))


def weights_file(network: str, weights: str) -> Path | None:
    """The checkpoint to load, None for weights="none"; ImageNet's (torchvision's of 2018) is downloaded, or raises
    Missing with its name."""
    if weights != "imagenet":
        return {"none": None, "demo": DEMO_WEIGHTS}.get(weights, Path(weights))
    url = torchvision.models.get_model_weights(network)["IMAGENET1K_V1"].url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rpartition("-")[2], progress=False)
        except Exception as error:  # no network, no disk, a damaged file: the way out is the same
            advice = "get the file elsewhere and name it with WEIGHTS=path"
            raise Missing(f"weights=imagenet: {path.name} cannot be downloaded ({error}); {advice}") from error
    return path


def weights_sha256(network: str, weights: str) -> str:
    """sha256 of the checkpoint's file, or "none". Raises UserError where it cannot be read."""
    path = weights_file(network, weights)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() if path else "none"
    except OSError as error:
        raise _unfit(path, error.strerror or "unreadable") from error


class NarrowResNet(torchvision.models.ResNet):
    """A ResNet18 with a quarter of its channels (16 to 128): 0.7 million parameters."""

    def __init__(self) -> None:
        super().__init__(BasicBlock, [2, 2, 2, 2])
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 7, 2, 3, bias=False), nn.BatchNorm2d(16)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.fc = nn.Linear(128, 1000)

    def _make_layer(self, block, planes, *rest, **options):
        if planes == 64:  # the first layer, which takes what the narrow stem gives
            self.inplanes = 16
        return super()._make_layer(block, planes // 4, *rest, **options)


def make_resnet(network: str) -> Any:
    """A whole ResNet with fresh weights."""
    if network != SMALL_STEM:
        return NarrowResNet() if network == NARROW else torchvision.models.get_model(network)
    resnet: Any = torchvision.models.get_model("resnet18")
    resnet.conv1, resnet.maxpool = nn.Conv2d(3, resnet.bn1.num_features, 3, 1, 1, bias=False), nn.Identity()
    nn.init.kaiming_normal_(resnet.conv1.weight, mode="fan_out", nonlinearity="relu")
    return resnet


class Network(nn.Module):
    """Body and head in one precision: (n, 3, s, s) float32 to (n, classes) float32 logits."""

    def __init__(self, body: nn.Sequential, head: nn.Sequential, dtype: torch.dtype):
        super().__init__()
        self.body, self.head, self.dtype = body, head, dtype
        self.trains = "all"

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast("cuda" if images.is_cuda else "cpu", self.dtype, enabled=self.dtype != torch.float32):
            return self.head(self.body(images)).float()

    def set_trains(self, trains: str) -> None:
        """Train "head" or "all". A frozen body has no gradients, so its forward pass keeps nothing for them either."""
        self.trains = trains
        self.body.requires_grad_(trains == "all")

    def train(self, mode: bool = True) -> "Network":
        """As in torch, but a frozen body's batch-norm stays in evaluation mode."""
        super().train(mode)
        if self.trains == "head":
            self.body.eval()
        return self

    def groups(self) -> list[list[nn.Parameter]]:
        """Parameters of conv1..layer2, layer3-4, head: the paper's "earlier layer sets" learn more slowly."""
        return [list(part.parameters()) for part in (self.body[:6], self.body[6:], self.head)]


class ConcatPool(nn.Module):
    """(n, c, h, w) to (n, 2 c): the maximum and the mean of each channel."""

    def forward(self, maps: Tensor) -> Tensor:
        both = functional.adaptive_max_pool2d(maps, 1), functional.adaptive_avg_pool2d(maps, 1)
        return torch.cat(both, 1).flatten(1)


def make_head(channels: int, classes: int) -> nn.Sequential:
    """Concat pooling, then twice batch-norm, dropout and a linear layer, with 512 units between (fast.ai 0.7); initial
    values are fastai's, whose batch-norm begins with a bias of .001."""
    first, second = nn.BatchNorm1d(2 * channels), nn.BatchNorm1d(512)
    for norm in (first, second):
        nn.init.constant_(norm.bias, 1e-3)
    inner, last = nn.Linear(2 * channels, 512, bias=False), nn.Linear(512, classes, bias=False)
    drops = nn.Dropout(DROPOUT), nn.Dropout(DROPOUT)
    return nn.Sequential(ConcatPool(), first, drops[0], inner, nn.ReLU(inplace=True), second, drops[1], last)


def build(network: str, weights: str, classes: int, precision: str) -> Network:
    """A network with a fresh head from torch's random state. Raises UserError where the checkpoint does not fit."""
    resnet = make_resnet(network)
    if path := weights_file(network, weights):
        _load_body(resnet, path)
    body, head = list(resnet.children())[:-2], make_head(resnet.fc.in_features, classes)  # without pooling and fc
    return Network(nn.Sequential(*body), head, getattr(torch, precision)).to(memory_format=torch.channels_last)


def _load_body(resnet: nn.Module, path: Path) -> None:
    """Load all but the fc layer; nothing in the file is executed. Raises UserError where it is no state dict of finite
    numbers, or has other names or shapes."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of a pickle's protocol: nothing that helps
            found = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(found, dict) or not all(map(_is_plain, found.values())):
            raise TypeError("not tensors by name")
    except pickle.UnpicklingError as error:  # torch's own text says how to load it all the same
        raise _unfit(path, "not tensors alone; code and other objects are never loaded") from error
    except Exception as error:  # torch raises many types for a damaged file
        reason = str(error).partition("\n")[0] if isinstance(error, TypeError) else "damaged or cut short"
        raise _unfit(path, reason) from error
    state = {str(name): value for name, value in found.items() if not str(name).startswith("fc.")}
    broken = [name for name, value in state.items() if not value.float().isfinite().all()]
    if broken:
        raise _unfit(path, f"NaN or infinity in {len(broken)} tensors: {', '.join(broken[:3])}")
    try:
        missing, unexpected = resnet.load_state_dict(state, strict=False)
    except RuntimeError as error:  # of other shapes: a line for each
        raise _unfit(path, str(error).splitlines()[-1]) from error
    missing = [name for name in missing if not name.startswith("fc.")]
    if missing or unexpected:
        raise _unfit(path, f"not this network's: {len(missing)} tensors missing, {len(unexpected)} unknown")


def _is_plain(value: object) -> bool:
    """Whether something is a tensor of real numbers, each stored by itself."""
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        return False
    return not (value.is_quantized or value.is_complex() or value.is_meta)


def _unfit(path: Path | None, reason: str) -> UserError:
    return UserError(f"weights={path}: cannot be loaded ({reason}); name a torchvision state dict of this network")
