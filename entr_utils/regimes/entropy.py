"""How much there is in images, and how deep a network it allows. No torch."""

import math
from collections.abc import Callable

import numpy as np

# Bounds on depth, of ours: the paper's formula is not known. Entropy in nats -> residual blocks at most.
BOUNDS: dict[str, Callable[[float], int]] = {
    "block_a_bit": lambda nats: math.floor(nats / math.log(2)),  # 8 bits, all that a byte holds: ResNet18's 8 blocks
    "layer_a_bit": lambda nats: math.floor(nats / math.log(2) / 2),  # a basic block has two convolutional layers
}


def entropy(pixels: np.ndarray) -> float:
    """Mean over (n, s, s, 3) uint8 images of the entropy of an image's values in nats, all channels in one histogram.

    As Shannon_Entropy_Calc.py of NidhiGowdra/EBCLE: scikit-image's `shannon_entropy` with base e, of the whole array.
    """
    total = 0.0
    for image in pixels:
        shares = np.bincount(image.ravel()) / image.size
        total -= float((shares[shares > 0] * np.log(shares[shares > 0])).sum())
    return total / len(pixels)
