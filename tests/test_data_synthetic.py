"""Images drawn by formula: repeatable, and a dial that puts the class into coarse or into fine detail."""

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from entr_utils.data import store, synthetic
from entr_utils.data.catalog import DATASETS
from entr_utils.settings import PROFILES

CLASSES = {one.look: one.classes for one in DATASETS.values()}


@pytest.mark.parametrize("look", CLASSES)
def test_images_are_drawn_from_the_seed(look):
    first, again, other = (synthetic.draw(look, 3, 2, 40, seed=seed) for seed in (5, 5, 6))
    assert (first.shape, first.dtype) == ((6, 40, 40, 3), np.uint8)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len({one.tobytes() for one in first}) == 6


def test_every_profile_has_a_number_of_images_for_every_look():
    assert {*synthetic.PER_CLASS} == {*PROFILES}
    assert all({*counts} == {*CLASSES} and min(counts.values()) >= 6 for counts in synthetic.PER_CLASS.values())


def features(photographs: np.ndarray) -> np.ndarray:
    """Power by wavelength and quantiles of colour: simple, and enough to tell all classes where anything does."""
    values = photographs / 255
    grey = values.mean(-1) - values.mean((1, 2, 3))[:, None, None]
    power, size = abs(np.fft.rfft2(grey)) ** 2, grey.shape[1]
    rings = np.hypot(np.fft.fftfreq(size, 1 / size)[:, None], np.fft.rfftfreq(size, 1 / size)).round()
    spectrum = [np.log(power[:, rings == ring].mean(1) + 1e-6) for ring in range(1, size // 2 + 1)]
    colours = np.quantile(values, (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98), axis=(1, 2)).transpose(1, 0, 2)
    return np.hstack([np.stack(spectrum, 1), colours.reshape(len(values), -1)])


@pytest.mark.parametrize("look", CLASSES)
@pytest.mark.parametrize("scale", ["fine", "coarse"])
def test_the_dial_by_spectrum(look, scale):
    """Times chance: sharp images always show their class; shrunk to 40% only what is coarse does."""
    classes, each = CLASSES[look], 16 if CLASSES[look] > 7 else 24
    drawn, labels = synthetic.draw(look, classes, each, 80, scale), np.repeat(np.arange(classes), each)
    judge = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"))
    shrunk = store.resize(torch.from_numpy(drawn), 32).numpy()
    sharp, small = (classes * cross_val_score(judge, features(one), labels, cv=4).mean() for one in (drawn, shrunk))
    assert sharp > 4
    assert small <= 2 if scale == "fine" else small > 4


@pytest.mark.parametrize(("scale", "follows"), [("both", True), ("fine", True), ("coarse", False)])
def test_what_does_not_carry_the_class_is_drawn_at_random(scale, follows, monkeypatch):
    drawn = []
    monkeypatch.setattr(synthetic, "fine_texture", lambda code, *_: drawn.append(code) or np.zeros((32, 32)))
    synthetic.draw("micrographs", 7, 20, 32, scale)
    assert (np.mean(np.array(drawn) == np.repeat(range(7), 20)) > 0.8) == follows
    assert {*drawn} == {*range(7)}


def test_in_conflict_shape_and_texture_are_of_different_classes(monkeypatch):
    """The shape is always the class's; its images have the textures of all other classes in turn."""
    shapes, textures = [], []
    monkeypatch.setattr(synthetic, "fine_texture", lambda code, *_: textures.append(code) or np.zeros((32, 32)))
    monkeypatch.setitem(synthetic.LOOKS, "aerial", lambda code, *_: shapes.append(code) or np.zeros((32, 32, 3)))
    synthetic.draw("aerial", 3, 4, 32, "conflict")
    assert shapes == [0] * 4 + [1] * 4 + [2] * 4
    assert textures == [1, 2, 1, 2, 2, 0, 2, 0, 0, 1, 0, 1]
    assert textures == [synthetic.texture_of(shape, i % 4, 3) for i, shape in enumerate(shapes)]
