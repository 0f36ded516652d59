"""Images drawn by formula: repeatable, and a dial that puts the class into coarse or into fine detail."""

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from entr_utils import augmentation, images, networks, synthetic, timing
from entr_utils.datasets import DATASETS
from entr_utils.parameters import Parameters
from entr_utils.regimes import pixels

CLASSES = {"micrographs": 7, "aerial": 21, "insects": 22}


@pytest.mark.parametrize("look", CLASSES)
def test_images_are_drawn_from_the_seed(look):
    """Bit for bit, and each image from its own number: the first of many are the same as of few."""
    first, again, other = (synthetic.draw(look, 3, 2, 40, seed=seed) for seed in (5, 5, 6))
    assert first.shape == (6, 40, 40, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len({one.tobytes() for one in first}) == 6


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_dataset_has_a_look_with_as_many_classes(dataset):
    loaded = images.load(Parameters(dataset, profile="tiny").checked())
    look = DATASETS[dataset].look
    assert len(loaded.classes) == CLASSES[look]
    assert np.bincount(loaded.labels).tolist() == [synthetic.PER_CLASS["tiny"][look]] * CLASSES[look]
    assert loaded.source.startswith(f"synthetic {look}")
    assert 84 <= len(loaded.pixels) <= 132


def test_other_scales_are_other_images():
    loaded = [images.load(Parameters("steel", profile="tiny", data=f"synthetic-{scale}").checked()) for scale in
              ("both", "coarse", "fine")]  # fmt: skip
    assert len({one.sha256 for one in loaded}) == 3
    assert ["fine" in one.source for one in loaded] == [False, False, True]


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [(("flowers", "both"), ("look='flowers'", "micrographs, aerial, insects")),
     (("aerial", "medium"), ("scale='medium'", "coarse, fine, both"))],
)  # fmt: skip
def test_unknown_looks_and_scales(arguments, fragments, refused):
    look, scale = arguments
    refused(lambda: synthetic.draw(look, 2, 1, 32, scale), *fragments)


def shrunk(photos: np.ndarray, share: float = 0.4) -> np.ndarray:
    """As the first stage of gradual sees them."""
    return images.resize(torch.from_numpy(photos), pixels(share, photos.shape[1])).numpy()


def features(photos: np.ndarray) -> np.ndarray:
    """Power by wavelength and quantiles of colour: simple, and enough to tell all classes where anything does."""
    values = photos / 255
    grey = values.mean(-1) - values.mean((1, 2, 3))[:, None, None]
    power, size = abs(np.fft.rfft2(grey)) ** 2, grey.shape[1]
    rings = np.hypot(np.fft.fftfreq(size, 1 / size)[:, None], np.fft.rfftfreq(size, 1 / size)).round()
    spectrum = [np.log(power[:, rings == ring].mean(1) + 1e-6) for ring in range(1, size // 2 + 1)]
    colours = np.quantile(values, (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98), axis=(1, 2)).transpose(1, 0, 2)
    return np.hstack([np.stack(spectrum, 1), colours.reshape(len(photos), -1)])


@pytest.mark.parametrize("look", CLASSES)
@pytest.mark.parametrize("scale", ["fine", "coarse"])
def test_the_dial_by_spectrum(look, scale):
    """Times chance: sharp images always tell their class; shrunk to 40% only what is coarse does."""
    classes, per_class = CLASSES[look], 16 if CLASSES[look] > 7 else 24
    drawn = synthetic.draw(look, classes, per_class, 80, scale)
    labels = np.repeat(np.arange(classes), per_class)
    judge = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"))
    sharp, small = (classes * cross_val_score(judge, features(photos), labels, cv=4).mean()
                    for photos in (drawn, shrunk(drawn)))  # fmt: skip
    assert sharp > 4
    assert small <= 2 if scale == "fine" else small > 4


def accuracy_of_a_network(photos: np.ndarray, labels: np.ndarray, epochs: int = 6) -> float:
    """Trained from scratch on four fifths of the images, tested on the rest; pieces of the package, a plain loop."""
    torch.manual_seed(0)
    network = networks.build("resnet18", "none", labels.max() + 1, 0.0, timing.precision())
    everything, truth = torch.from_numpy(photos), torch.from_numpy(labels)
    test = torch.arange(len(labels)) % 5 == 0
    batches = images.Batches(everything[~test], truth[~test], 32, 0, augmentation.normalise)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * len(batches))
    network.train()
    for batches.epoch in range(epochs):
        for pictures, classes in batches:
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(network(pictures), classes).backward()
            optimiser.step()
            rate.step()
    network.eval()
    with torch.no_grad():
        guesses = torch.cat([network(augmentation.normalise(part)).argmax(1) for part in everything[test].split(64)])
    return (guesses == truth[test]).float().mean().item()


def test_the_dial_for_a_network(narrow):
    """It learns fine texture, cannot where that is blurred to 40% of the size, and can where the class is coarse."""
    size, per_class, chance = 64, 60, 1 / 5
    labels = np.repeat(np.arange(5), per_class)
    fine, coarse = (synthetic.draw("micrographs", 5, per_class, size, scale) for scale in ("fine", "coarse"))
    blurred, blurred_coarse = (
        images.resize(torch.from_numpy(shrunk(photos)), size).numpy() for photos in (fine, coarse)
    )
    assert accuracy_of_a_network(fine, labels) > 2.5 * chance
    assert accuracy_of_a_network(blurred, labels) <= 2 * chance
    assert accuracy_of_a_network(blurred_coarse, labels) > 2 * chance
