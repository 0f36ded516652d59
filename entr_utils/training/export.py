"""A trained network as one file that torch alone can load.

import io, torch
kept = torch.load("models/NAME.pt", weights_only=True)
network = torch.export.load(io.BytesIO(kept["program"].numpy().tobytes())).module()
images = (pixels - kept["mean"]) / kept["std"]  # (n, 3, size, size) RGB from 0 to 1, `size` pixels a side
names = [kept["classes"][i] for i in network(images).argmax(1)]
"""

import io
import warnings
from pathlib import Path

import torch
from torch import nn

from entr_utils.data.augment import IMAGENET_MEAN, IMAGENET_STD
from entr_utils.networks import Network
from entr_utils.training.run import Run
from entr_utils.util import write_whole


def path_of(run: Run, folder: str | Path) -> Path:
    return Path(folder) / f"{run.path.stem}.pt"


def keep(network: Network, run: Run, folder: str | Path) -> Path:
    """Write the network of a finished run, in float32 on the CPU. Raises UserError where it cannot be written."""
    plain = nn.Sequential(network.body, network.head).cpu().float().eval()
    example, many = torch.zeros(2, 3, run.spec.size, run.spec.size), torch.export.Dim("images", min=1)
    program, buffer = io.BytesIO(), io.BytesIO()
    with warnings.catch_warnings(action="ignore"):  # of tensors shared in torch's own archive
        torch.export.save(torch.export.export(plain, (example,), dynamic_shapes=({0: many},)), program)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    kept = {"classes": run.images.classes, "size": run.spec.size, "mean": mean, "std": std}
    kept |= {"network": run.spec.network, "regime": run.spec.regime, "state": network.state_dict()}
    torch.save(kept | {"program": torch.frombuffer(program.getbuffer(), dtype=torch.uint8)}, buffer)
    write_whole(path := path_of(run, folder), buffer.getbuffer())
    return path
