"""Augmentation: fastai's draws, resampled here; each image by itself, normalised on the way."""

import random

import numpy as np
import pytest
import torch
from fastai.torch_core import TensorImage
from fastai.vision.augment import aug_transforms, setup_aug_tfms

from entr_utils import augmentation

ORIENTATIONS = ("two", "eight")


def noise(n=4, size=32) -> torch.Tensor:
    """(n, size, size, 3) uint8: no pixel is like its neighbour, so that a shift of one is seen."""
    return torch.randint(0, 256, (n, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


def shaded(n=1) -> torch.Tensor:
    """(n, 32, 32, 3) uint8: bright at the top, dark at the bottom, a little brighter to the right."""
    down = torch.linspace(1, -1, 32)[:, None] + torch.linspace(0, 0.2, 32)
    return ((down + 1) / 2.2 * 255).round().to(torch.uint8)[None, :, :, None].repeat(n, 1, 1, 3)


def test_normalise_by_hand():
    """White, black and ImageNet's mean, which becomes zero."""
    pixels = torch.tensor([[255, 255, 255], [0, 0, 0], [124, 116, 104]], dtype=torch.uint8).reshape(3, 1, 1, 3)
    values = augmentation.normalise(pixels)
    assert values.shape == (3, 3, 1, 1)
    assert values.dtype == torch.float32
    assert values[0].flatten().tolist() == pytest.approx([2.2489, 2.4286, 2.64], abs=1e-4)
    assert values[1].flatten().tolist() == pytest.approx([-2.1179, -2.0357, -1.8044], abs=1e-4)
    assert values[2].abs().max() < 0.02


def test_normalise_by_the_formula():
    """(x / 255 - mean) / deviation at every pixel, wider than high or not."""
    pixels = noise()[:, :20]
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = ((pixels.numpy() / 255 - mean) / deviation).transpose(0, 3, 1, 2)
    assert np.allclose(augmentation.normalise(pixels).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("orientations", ORIENTATIONS)
def test_outputs_lie_in_memory_as_networks_want_them(orientations):
    for values in (augmentation.normalise(noise()), augmentation.make_augment(orientations)(noise())):
        assert values.shape == (4, 3, 32, 32)
        assert values.dtype == torch.float32
        assert values.is_contiguous(memory_format=torch.channels_last)


def fastai(orientations: str, values: torch.Tensor) -> torch.Tensor:
    """fastai's own augmentation of a normalised batch."""
    transforms = aug_transforms(flip_vert=orientations == "eight", max_rotate=0, max_lighting=0, max_zoom=1.1,
                                max_warp=0.2)  # fmt: skip
    values = TensorImage(values)
    for transform in setup_aug_tfms(transforms):
        values = transform(values, split_idx=0)
    return values.as_subclass(torch.Tensor)


@pytest.mark.parametrize("orientations", ORIENTATIONS)
@pytest.mark.parametrize("size", [32, 51])
def test_the_same_images_as_fastais(orientations, size):
    """From the same random state, which both leave at the same place."""
    pixels, augment = noise(16, size), augmentation.make_augment(orientations)
    for seed in range(3):
        torch.manual_seed(seed)
        expected = fastai(orientations, augmentation.normalise(pixels))
        next_number = torch.rand(1)
        torch.manual_seed(seed)
        assert (augment(pixels) - expected).abs().max() < 1e-3
        assert torch.equal(torch.rand(1), next_number)
        assert (expected - augmentation.normalise(pixels)).abs().mean() > 0.1  # something was done


def moved(monkeypatch, pixels: torch.Tensor, *rows: tuple) -> torch.Tensor:
    """What augmentation makes of images where the homography of these rows is drawn for each."""
    homographies = torch.tensor(rows, dtype=torch.float).expand(len(pixels), 3, 3)
    monkeypatch.setattr(augmentation, "draw", lambda n, orientations, distorts: homographies)
    return augmentation.make_augment("two")(pixels)


def test_the_identity_gives_the_image_back(monkeypatch):
    out = moved(monkeypatch, noise(), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    assert torch.allclose(out, augmentation.normalise(noise()), atol=1e-4)


def test_a_zoom_by_hand(monkeypatch):
    """Twice as large: of 5 x 5 pixels the middle 3 x 3, and between them their means."""
    out = moved(monkeypatch, noise(1, 5), (0.5, 0, 0), (0, 0.5, 0), (0, 0, 1))
    middle = augmentation.normalise(noise(1, 5))[:, :, 1:4, 1:4]
    assert torch.allclose(out[:, :, ::2, ::2], middle, atol=1e-5)
    assert torch.allclose(out[:, :, ::2, 1::2], (middle[:, :, :, :-1] + middle[:, :, :, 1:]) / 2, atol=1e-5)


def test_beyond_the_border_is_a_mirror(monkeypatch):
    """Half as large: 5 x 5 pixels sit in the middle of 9, the rest is their reflection."""
    pixels = noise(1, 9)
    out = moved(monkeypatch, pixels, (2, 0, 0), (0, 2, 0), (0, 0, 1))
    places = [4 + 2 * (i - 4) for i in range(9)]  # -4 ... 12
    mirrored = [-place if place < 0 else 16 - place if place > 8 else place for place in places]
    expected = augmentation.normalise(pixels)[:, :, mirrored][:, :, :, mirrored]
    assert torch.allclose(out, expected, atol=1e-4)


def test_places_of_a_warp_by_hand():
    """(x, y) -> (x, y) / (1 + y / 2): the lower edge is drawn together, the upper apart."""
    homography = torch.tensor([[[1.0, 0, 0], [0, 1, 0], [0, 0.5, 1]]])
    places = augmentation.grid(homography, 3)
    assert places.shape == (1, 3, 3, 2)
    expected = [[(-2, -2), (0, -2), (2, -2)], [(-1, 0), (0, 0), (1, 0)],
                [(-2 / 3, 2 / 3), (0, 2 / 3), (2 / 3, 2 / 3)]]  # fmt: skip
    assert torch.allclose(places[0], torch.tensor(expected, dtype=torch.float), atol=1e-6)


def test_the_eight_orientations_are_those_of_a_square(monkeypatch):
    found = []
    for turn in augmentation.EIGHT.tolist():
        out = moved(monkeypatch, noise(1, 6), (*turn[0], 0), (*turn[1], 0), (0, 0, 1))
        found.append(out[0].mean(0).numpy())
    straight = augmentation.normalise(noise(1, 6))[0].mean(0).numpy()
    expected = [np.rot90(side, turns) for side in (straight, straight.T) for turns in range(4)]
    fits = [[np.allclose(one, other, atol=1e-4) for other in expected] for one in found]
    assert np.array(fits).sum(0).tolist() == np.array(fits).sum(1).tolist() == [1] * 8
    assert np.allclose(found[1], straight[:, ::-1], atol=1e-4)  # of "two" the other one: left and right


@pytest.mark.parametrize(("orientations", "straight"), [("two", 1 / 2), ("eight", 1 / 2 + 1 / 16)])
def test_how_often_and_how_far(orientations, straight):
    """Half are turned (of eight, one turn is none), a quarter has no zoom, 1/16 no warp; none is beyond its limit."""
    torch.manual_seed(0)
    homographies = augmentation.draw(8000, orientations)
    homographies = homographies / homographies[:, 2:, 2:]
    unwarped = homographies[(homographies[:, 2, :2].abs() < 1e-6).all(1)]
    assert len(unwarped) / 8000 == pytest.approx(1 / 16, abs=0.01)
    turns = unwarped[:, :2, :2]
    scale = turns.abs().amax((1, 2))
    assert (turns.round() == torch.eye(2)).all((1, 2)).float().mean() == pytest.approx(straight, abs=0.08)
    assert (scale > 1 - 1e-6).float().mean() == pytest.approx(1 / 4, abs=0.08)
    assert 1 / 1.1 - 1e-6 <= scale.min() < 0.93
    assert scale.max() <= 1 + 1e-6
    corners = torch.tensor([(x, y, 1.0) for x in (-1, 1) for y in (-1, 1)]) @ unwarped.transpose(1, 2)
    assert corners[..., :2].abs().max() <= 1 + 1e-5  # a zoom stays inside the image


def test_draws_are_the_cpus_and_touch_no_other_random_state():
    """As many numbers at every size, so that a regime's sizes do not change what is drawn next."""
    np.random.seed(3)  # noqa: NPY002
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    following = []
    for size in (32, 48):
        torch.manual_seed(9)
        augmentation.make_augment("eight")(noise(4, size))
        following.append(torch.rand(3).tolist())
    assert following[0] == following[1]
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002


@pytest.mark.parametrize("orientations", ORIENTATIONS)
def test_augmentation_is_per_image(orientations):
    """Copies of one image in one batch come out different: a batch is not moved as a whole."""
    out = augmentation.make_augment(orientations)(shaded(16))
    assert out.shape == (16, 3, 32, 32)
    assert len({tuple(one.flatten().tolist()) for one in out}) >= 8


def test_augmentation_follows_the_seed():
    augment, outcomes = augmentation.make_augment("eight"), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outcomes.append(augment(shaded(8)))
    assert torch.equal(outcomes[0], outcomes[1])
    assert not torch.equal(outcomes[0], outcomes[2])


@pytest.mark.parametrize(("orientations", "expected"), [("two", {"up"}), ("eight", {"up", "down", "left", "right"})])
def test_which_way_is_up(orientations, expected):
    """Bees stay upright; micrographs and aerial images turn every way."""
    torch.manual_seed(0)
    out = augmentation.make_augment(orientations)(shaded(64)).mean(1)
    sides = {"up": out[:, :8], "down": out[:, -8:], "left": out[:, :, :8], "right": out[:, :, -8:]}
    brightest = torch.stack([side.mean((1, 2)) for side in sides.values()]).argmax(0)
    assert {list(sides)[i] for i in brightest} == expected
