"""What a stage lets the network see of the images: made small, blurred, or cropped; see `regimes.Stage.view`."""

import numpy as np
import torch
from torch import Tensor

from entr_utils import images, memory
from entr_utils.regimes import Stage, pixels


def view_of(stage: Stage, largest: int, epoch: int) -> tuple[str, int, int]:
    """Two epochs of the same view see the same pixels; crops are new in every epoch."""
    size = pixels(stage.size, largest)
    return (stage.view, size, epoch) if stage.view == "cropped" else (stage.view if size < largest else "", size, 0)


def show(photos: Tensor, stage: Stage, largest: int, seed: int = 0, epoch: int = -1) -> Tensor:
    """(n, largest, largest, 3) uint8 images to those of the stage, (n, s, s, 3) with s = `stage.fed(largest)`.

    Crops are one window an image, anywhere in it, drawn from seed and epoch, so that over the epochs all of it is
    seen, as it is at full size; the middle where no epoch is given (evaluation, warm-up).
    """
    size = pixels(stage.size, largest)
    if stage.view == "cropped":
        return _crop(photos, size, seed, epoch)
    small = images.resize(photos, size)
    return images.resize(small, largest) if stage.view == "blurred" else small


def _crop(photos: Tensor, size: int, seed: int, epoch: int) -> Tensor:
    n, room = len(photos), photos.shape[1] - size
    corners = np.full((n, 2), room // 2)
    if epoch >= 0:
        corners = np.random.default_rng((seed, epoch)).integers(0, room + 1, (n, 2))
    window = torch.arange(size, device=photos.device)
    rows, columns = torch.from_numpy(corners).to(photos.device)[:, :, None].add(window).unbind(1)  # (n, size) each
    cropped = memory.empty_images(n, size)
    for begin in range(0, n, images.CHUNK):
        some = torch.arange(begin, min(begin + images.CHUNK, n), device=photos.device)
        cropped[begin : begin + images.CHUNK] = photos[some[:, None, None], rows[some, :, None], columns[some, None, :]]
    return cropped
