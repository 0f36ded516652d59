"""Augmentation per image, on the device, in one resampling: uint8 images in, a network's input out.

The draws are fastai's (the same images from the same random state); the resampling is written out here because fastai's
takes four to five times as long on a CPU and makes a GPU wait three times a batch.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

Augment = Callable[..., Tensor]
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
ZOOM, WARP, OFTEN = 1.1, 0.2, 0.75  # largest zoom, warp, and the probability of each
CORNERS = torch.tensor([(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)])
_X, _Y = (1, 0), (0, 1)
_LEFT, _UP = (-1, 0), (0, -1)
EIGHT = torch.tensor(  # the square's orientations; the second is the left-right flip
    [(_X, _Y), (_LEFT, _Y), (_X, _UP), (_UP, _X), (_LEFT, _UP), (_Y, _LEFT), (_Y, _X), (_UP, _LEFT)],
    dtype=torch.float,
)


@cache
def _scale_and_shift(width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """x * scale + shift normalises bytes. Repeated along a row: an inner loop of 3 takes four times as long."""
    mean, std = torch.tensor(IMAGENET_MEAN, device=device), torch.tensor(IMAGENET_STD, device=device)
    return (1 / (255 * std)).expand(width, 3).contiguous(), (-mean / std).expand(width, 3).contiguous()


def normalise(pixels: Tensor) -> Tensor:
    """(n, s, s, 3) uint8 to (n, 3, s, s) float32 in channels-last memory, with ImageNet's mean and deviation."""
    scale, shift = _scale_and_shift(pixels.shape[2], pixels.device)
    return torch.addcmul(shift, pixels.float(), scale).permute(0, 3, 1, 2)


def _often(values: Tensor, probability: float = OFTEN, otherwise: float = 0.0) -> Tensor:
    return torch.where(torch.empty(len(values)).bernoulli_(probability) > 0, values, otherwise)


def _warped(n: int, most: float) -> Tensor:
    """(n, 3, 3) keystone warps: the homography that brings four shifted corners back to the square's."""
    x, y = (_often(torch.empty(n).uniform_(-most, most)) for _ in range(2))
    to_u, to_v = CORNERS.T
    u, v = to_u - to_u * to_v * y[:, None], to_v - to_u * to_v * x[:, None]  # (n, 4) shifted corners
    one, none = torch.ones_like(u), torch.zeros_like(u)
    first = torch.stack([u, v, one, none, none, none, -to_u * u, -to_u * v], -1)
    second = torch.stack([none, none, none, u, v, one, -to_v * u, -to_v * v], -1)
    solved = torch.linalg.solve(torch.cat([first, second], 1), CORNERS.T.reshape(8).expand(n, 8))
    return torch.cat([solved, torch.ones(n, 1)], 1).view(n, 3, 3)


def draw(n: int, orientations: str, distorts: bool = True, strength: float = 1.0) -> Tensor:
    """(n, 3, 3) random homographies of the square [-1, 1] x [-1, 1], from output to input places, on the CPU.

    The paper: "vertical flips, zooming and distortion". Here left-right flips ("two") or all eight orientations
    ("eight") with probability .5, then ZOOM and WARP, both times `strength` (0 to 1); no rotation, no lighting. Without
    `distorts` only flips: zoom and warp resample, which takes fine texture away.
    """
    which = torch.randint(0, 8, (n,)) if orientations == "eight" else torch.ones(n, dtype=torch.long)
    turned, affine = EIGHT[_often(which, 0.5, 0)], torch.zeros(n, 3, 3)
    affine[:, 2, 2] = 1
    if not distorts:
        affine[:, :2, :2] = turned
        return affine
    scale = 1 / _often(torch.empty(n).uniform_(1, 1 + (ZOOM - 1) * strength), otherwise=1.0)
    column, row = torch.rand(n), torch.rand(n)
    centre = (1 - scale)[:, None] * (2 * torch.stack([column, row], 1) - 1)  # anywhere inside the image
    affine[:, :2, :2] = turned * scale[:, None, None]
    affine[:, :2, 2:] = turned @ centre[:, :, None]
    return _warped(n, WARP * strength) @ affine


def grid(homographies: Tensor, size: int) -> Tensor:
    """(n, 3, 3) homographies to the (n, size, size, 2) places that `grid_sample` reads, (x, y) in [-1, 1]."""
    line = torch.linspace(-1, 1, size, device=homographies.device)
    x, y = line.view(1, 1, size), line.view(1, size, 1)

    def row(i: int) -> Tensor:  # a x + b y + c, a pass over the pixels
        a, b, c = homographies[:, i].view(-1, 3, 1, 1).unbind(1)
        return torch.addcmul(b * y + c, a, x)

    places = torch.empty(len(homographies), size, size, 2, device=homographies.device)
    scale = row(2).reciprocal_()
    torch.mul(row(0), scale, out=places[..., 0])
    torch.mul(row(1), scale, out=places[..., 1])
    return places


def make_augment(augmentation: str) -> Augment:
    """A function of (n, s, s, 3) uint8 and a strength to (n, 3, s, s) float32, normalised, channels-last; see `draw`.

    `augmentation`: "two" or "eight" orientations; "two only", "eight only": without zoom and warp. Draws from
    torch's global random state on the CPU, whatever the device. Bilinear, reflected at the border.
    """
    orientations, _, alone = augmentation.partition(" ")

    def augment(pixels: Tensor, strength: float = 1.0) -> Tensor:
        homographies = draw(len(pixels), orientations, not alone, strength).to(pixels.device, non_blocking=True)
        planes, places = normalise(pixels).contiguous(), grid(homographies, pixels.shape[1])  # faster plane by plane
        sampled = functional.grid_sample(planes, places, "bilinear", "reflection", align_corners=True)
        return sampled.contiguous(memory_format=torch.channels_last)

    return augment
