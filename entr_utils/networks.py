"""The networks: a torchvision ResNet body, the course's head, weights from ImageNet, a file, or none.

Also the learning rates, one literal per dataset x network x weights, the same for all regimes.
"""

import hashlib
from functools import cache
from pathlib import Path

import torch
import torchvision
from fastai.vision.learner import create_head
from torch import Tensor, nn

from entr_utils import UserError

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}

# What is known about weights files met so far, by checksum: it belongs in every caption.
KNOWN_WEIGHTS = {
    "036bf987bccec4f86b98c989cb57d2e4301f9f91c44ff7c703cb6c4ee0e42076":
        "a stand-in for ImageNet weights, trained from scratch on Tiny ImageNet, Imagenette and Caltech-101: "
        "accuracies are lower than with ImageNet weights, and it was itself trained with growing sizes up to 160 px, "
        "so its frozen features may favour small images",
}  # fmt: skip

# Learning rates of the head, chosen once with `training.find_lr` on the control (no_increase, seed 0) from training
# images alone: the suggestion, rounded down to 1, 2 or 5. Keys: (dataset, network, `weights_label`).
LEARNING_RATES = {
    ("steel", "resnet18", "resnet18-standin.pt"): 1e-2,
    ("ucm", "resnet18", "resnet18-standin.pt"): 2e-2,
    ("bees", "resnet18", "resnet18-standin.pt"): 2e-2,
}
# Where nobody has chosen one: the course's 1e-2 with pretrained weights; from scratch 5e-3, what the range test
# suggests on the control's synthetic bees (steel: 4e-3; synthetic aerial images show no minimum in its 60 steps).
DEFAULT_LR = {"pretrained": 1e-2, "none": 5e-3}


def learning_rate(dataset: str, network: str, weights: str) -> float:
    """The literal for this dataset, network and weights label, or the default."""
    default = DEFAULT_LR["none" if weights == "none" else "pretrained"]
    return LEARNING_RATES.get((dataset, network, weights), default)


def weights_label(weights: str) -> str:
    """What captions call the weights: imagenet, none, or a checkpoint's file name without its folder."""
    return weights if weights in ("imagenet", "none") else Path(weights).name


def imagenet_file(network: str) -> tuple[str, Path]:
    """Address of torchvision's IMAGENET1K_V1 weights (those of 2018) and where torch keeps them."""
    url = torchvision.models.get_model_weights(network)["IMAGENET1K_V1"].url
    return url, Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def weights_file(network: str, weights: str) -> Path | None:
    """The checkpoint to load, downloaded where it is ImageNet's; None for weights="none".

    Raises UserError naming the file where it cannot be downloaded.
    """
    if weights == "none":
        return None
    if weights != "imagenet":
        return Path(weights)
    url, path = imagenet_file(network)
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rpartition("-")[2], progress=False)
        except Exception as error:  # no network, no disk, a damaged file: the way out is the same
            raise UserError(f"weights=imagenet: {path.name} cannot be downloaded ({error}); "
                            f"get the file elsewhere and name it with WEIGHTS=path") from error  # fmt: skip
    return path


def weights_sha256(network: str, weights: str) -> str:
    """Checksum of the checkpoint's file, or "none"."""
    path = weights_file(network, weights)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else "none"


class Network(nn.Module):
    """Body and head in one precision, with what trains set per stage.

    forward: (n, 3, s, s) float32 to (n, classes) float32 logits.
    """

    def __init__(self, body: nn.Sequential, head: nn.Sequential, dtype: torch.dtype):
        super().__init__()
        self.body, self.head, self.dtype = body, head, dtype
        self.trains = "all"

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, self.dtype, enabled=self.dtype != torch.float32):
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


def build(network: str, weights: str, classes: int, dropout: float, precision: str) -> Network:
    """A network with `classes` outputs; a fresh head from torch's current random state.

    Head: concat pooling, batch-norm, dropout, 512, ReLU, batch-norm, dropout, classes (fast.ai 0.7).
    Raises UserError where the checkpoint does not fit.
    """
    resnet = torchvision.models.get_model(network)
    width = resnet.fc.in_features
    path = weights_file(network, weights)
    if path:
        _load_body(resnet, path)
    body = nn.Sequential(*list(resnet.children())[:-2])  # without pooling and fc
    head = create_head(width, classes, lin_ftrs=[512], ps=[dropout, dropout])
    return Network(body, head, DTYPES[precision]).to(memory_format=torch.channels_last)


@cache
def count(network: str, classes: int) -> tuple[int, int]:
    """Parameters of body and head, counted without making them."""
    with torch.device("meta"):
        built = build(network, "none", classes, 0.5, "float32")
    body, head = (sum(value.numel() for value in part.parameters()) for part in (built.body, built.head))
    return body, head


def _load_body(resnet: nn.Module, path: Path) -> None:
    """Load all but the fc layer; numbers only (weights_only), so a checkpoint cannot carry code."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = {name: value.float() if value.is_floating_point() else value for name, value in state.items()
                 if not name.startswith("fc.")}  # fmt: skip
        missing, unexpected = resnet.load_state_dict(state, strict=False)
    except Exception as error:  # not a checkpoint, another network's, or one that carries code
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"weights={path}: cannot be loaded ({reason}); "
                        "name a torchvision state dict of this network") from error  # fmt: skip
    missing = [name for name in missing if not name.startswith("fc.")]
    if missing or unexpected:
        raise UserError(f"weights={path}: not this network's ({len(missing)} tensors missing, {len(unexpected)} "
                        "unknown); name a torchvision state dict of this network")  # fmt: skip
