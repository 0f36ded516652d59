"""Images drawn by formula: the embedded default, and the controlled experiment on spatial scale. No torch.

Every image has a coarse pattern (a few cycles across the image, it survives shrinking to 40%) and a fine texture
(0.36-0.45 cycles a pixel, beyond what 40% of the size can hold). The dial chooses which of them follows the class:
"coarse", "fine" or "both"; the other is drawn at random, so that only its meaning changes. In "conflict" each follows a
class of its own: who was trained on "both" decides by the one or by the other.
"""

from itertools import combinations

import numpy as np

from entr_utils.settings import CONFLICT
from entr_utils.util import track

VERSION = 2  # raised whenever the images change
_AS_PAPER = {"micrographs": 200, "aerial": 100, "insects": 140}
PER_CLASS = {  # images a class: profile -> look
    "tiny": {"micrographs": 12, "aerial": 6, "insects": 6},
    "quick": dict.fromkeys(_AS_PAPER, 50),
    "mechanism": dict.fromkeys(_AS_PAPER, 70),
} | dict.fromkeys(("scratch", "compact", "paper"), _AS_PAPER)

# Fine carriers in cycles a pixel (x, y), larger component first; flips and quarter turns keep them apart. The larger
# component is at least .36: shrinking to 40% (a triangle filter 2.5 pixels wide) leaves about 1% of its amplitude.
CARRIERS = (0.36, 0.0), (0.45, 0.0), (0.36, 0.18), (0.45, 0.22), (0.36, 0.36), (0.45, 0.45), (0.37, 0.27), (0.45, 0.34)
FINE_CONTRAST = 0.16
NOISE = 0.03
AMBIGUOUS = 0.05  # share of images that show any class's patterns: no network can know them, so none is perfect


def draw(look: str, classes: int, per_class: int, size: int, scale: str = "both", seed: int = 0) -> np.ndarray:
    """(classes x per_class, size, size, 3) uint8 images, ordered by class; image i depends on (seed, i) alone. `look`
    is of LOOKS, `scale` of `settings.DIALS`, or "conflict": then none is AMBIGUOUS."""
    pixels = np.empty((classes * per_class, size, size, 3), np.uint8)
    for i in track(range(len(pixels)), "drawing images, once"):
        rng = np.random.default_rng((seed, i))
        anything = int(rng.integers(classes))
        shown = i // per_class if rng.random() >= AMBIGUOUS or scale == CONFLICT else anything
        fine_class = shown if scale != "coarse" else anything
        if scale == CONFLICT:
            fine_class = texture_of(shown, i % per_class, classes)
        image = LOOKS[look](shown if scale != "fine" else anything, size, rng)
        image += rng.uniform(0.7, 1.3) * FINE_CONTRAST * fine_texture(fine_class, classes, size, rng)[..., None]
        image += NOISE * rng.standard_normal(image.shape)
        pixels[i] = (image.clip(0, 1) * 255).round()
    return pixels


def texture_of(label: int, number: int, classes: int) -> int:
    """The class whose fine texture image `number` of a class has in conflict: each of the others in turn."""
    return (label + 1 + number % (classes - 1)) % classes


def fine_texture(code: int, classes: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size) zero-mean texture of class `code`: one or two of CARRIERS, in one of the eight orientations."""
    each = list(combinations(CARRIERS, 1 if classes <= len(CARRIERS) else 2))
    waves = each[code % len(each)]
    y, x = np.mgrid[:size, :size]
    texture = sum(np.cos(2 * np.pi * (fx * x + fy * y) + rng.uniform(0, 2 * np.pi)) for fx, fy in waves)
    texture = np.rot90(texture, int(rng.integers(4)))
    return (texture if rng.random() < 0.5 else texture.T) / np.sqrt(len(waves))


def micrograph(code: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size, 3) grey texture in [0, 1]: noise of `code`'s wavelength, 3 to 14 cycles across the image."""
    grey = 0.5 + 0.22 * np.tanh(1.5 * _noise(3 * 1.3**code * rng.lognormal(0, 0.1), size, rng))
    return np.repeat(grey[..., None], 3, axis=2)


def _noise(cycles: float, size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size) noise of about so many cycles across the image, of deviation 1."""
    fy, fx = np.meshgrid(np.fft.fftfreq(size, 1 / size), np.fft.rfftfreq(size, 1 / size), indexing="ij")
    ring = np.exp(-(((np.hypot(fx, fy) - cycles) / (0.3 * cycles)) ** 2))
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((size, size))) * ring, (size, size))
    return noise / noise.std()


def aerial(code: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size, 3) layout in [0, 1]: 2, 4, ... plots across (code // 3) of squares, discs or bars (code % 3)."""
    across = 2 + 2 * (code // 3)
    ground = np.array((0.33, 0.4, 0.28)) + rng.normal(0, 0.05, 3)
    plots = ground + rng.uniform(0.25, 0.35) + rng.normal(0, 0.03, 3)
    y, x = np.mgrid[:size, :size] / size
    cell = [((axis + rng.uniform()) * across * rng.lognormal(0, 0.02)) % 1 - 0.5 for axis in (y, x)]
    reach = rng.uniform(0.28, 0.34)
    bar = abs(cell[rng.integers(2)]) < reach * 0.7
    square, disc = np.maximum(*map(abs, cell)) < reach, np.hypot(*cell) < reach * 0.75
    return np.where((square, disc, bar)[code % 3][..., None], plots, ground)


TAILS = np.array([(0.9, 0.9, 0.85), (0.85, 0.35, 0.15), (0.9, 0.75, 0.2), (0.45, 0.3, 0.15)])  # white to brown


def insect(code: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size, 3) object in [0, 1]: a dark body with 1 to 6 bands (code // 4) and one of four tails (code % 4)."""
    bands, tail = 1 + code // 4, TAILS[code % 4] + rng.normal(0, 0.06, 3)
    turn = rng.normal(0, 0.35)
    y, x = np.mgrid[:size, :size] / size - 0.5 - rng.uniform(-0.08, 0.08, (2, 1, 1))
    along = (x * np.cos(turn) + y * np.sin(turn)) / rng.uniform(0.32, 0.42)
    across = (y * np.cos(turn) - x * np.sin(turn)) / rng.uniform(0.18, 0.24)
    body = along**2 + across**2 < 1
    banded = np.cos(np.pi * (along + 1) * bands) > rng.uniform(-0.2, 0.4)
    colour = rng.uniform(0.3, 0.7, 3)
    meadow = colour + 0.1 * np.sin(2 * np.pi * (rng.uniform(1, 3) * x + rng.uniform(1, 3) * y))[..., None]
    image = np.where(body[..., None], np.where(banded[..., None], (0.75, 0.6, 0.2), (0.15, 0.13, 0.12)), meadow)
    return np.where((body & (along > 0.55))[..., None], tail, image)


def pattern(code: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size, 3) pattern in [0, 1]: shape, colours and wavelengths are drawn once a class. For pretraining."""
    of_class = np.random.default_rng((1, code))
    across, cycles, shape = of_class.uniform(1.5, 8), of_class.uniform(3, 20), of_class.integers(4)
    first, second = of_class.uniform(0.1, 0.9, (2, 3)) + rng.normal(0, 0.05, (2, 3))
    y, x = np.mgrid[:size, :size] / size
    row, column = (((axis + rng.uniform()) * across * rng.lognormal(0, 0.05)) % 1 - 0.5 for axis in (y, x))
    noise = _noise(cycles * rng.lognormal(0, 0.05), size, rng)
    square, disc = np.maximum(abs(row), abs(column)) < 0.33, np.hypot(row, column) < 0.37
    shown = (square, disc, abs((row, column)[rng.integers(2)]) < 0.25, noise > 0)[shape]
    return np.where(shown[..., None], first, second) + 0.08 * noise[..., None]


LOOKS = {"micrographs": micrograph, "aerial": aerial, "insects": insect, "patterns": pattern}
