"""Augmentation: fastai's own draws, resampled by hand-checked arithmetic."""

import pytest
import torch
from fastai.torch_core import TensorImage
from fastai.vision.augment import aug_transforms, setup_aug_tfms

from entr_utils.data import augment

ORIENTATIONS = ("two", "eight")


def noise(n=4, size=32) -> torch.Tensor:
    """(n, size, size, 3) uint8: no pixel is like its neighbour, so that a shift of one is seen."""
    return torch.randint(0, 256, (n, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


def test_normalise_by_hand():
    """White, black and ImageNet's mean, which becomes zero."""
    values = augment.normalise(
        torch.tensor([[255] * 3, [0] * 3, [124, 116, 104]], dtype=torch.uint8).reshape(3, 1, 1, 3)
    )
    assert (values.shape, values.dtype) == ((3, 3, 1, 1), torch.float32)
    assert values[0].flatten().tolist() == pytest.approx([2.2489, 2.4286, 2.64], abs=1e-4)
    assert values[1].flatten().tolist() == pytest.approx([-2.1179, -2.0357, -1.8044], abs=1e-4)
    assert values[2].abs().max() < 0.02


@pytest.mark.parametrize("orientations", ORIENTATIONS)
@pytest.mark.parametrize("size", [32, 51])
def test_the_same_images_as_fastais(orientations, size):
    pixels, flips = noise(64, size), orientations == "eight"
    transforms = setup_aug_tfms(
        aug_transforms(flip_vert=flips, max_rotate=0, max_lighting=0, max_zoom=1.1, max_warp=0.2)
    )
    torch.manual_seed(size)
    expected = TensorImage(augment.normalise(pixels))
    for transform in transforms:
        expected = transform(expected, split_idx=0)
    next_number = torch.rand(1)
    torch.manual_seed(size)
    found = augment.make_augment(orientations)(pixels)
    assert (found - expected.as_subclass(torch.Tensor)).abs().max() < 1e-3
    assert torch.equal(torch.rand(1), next_number)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("strength", [1.0, 0.5, 0.0])
@pytest.mark.parametrize(("orientations", "straight"), [("two", 1 / 2), ("eight", 1 / 2 + 1 / 16)])
def test_how_often_and_how_far(orientations, straight, strength):
    """Half are turned (of eight, one turn is none), a quarter has no zoom, 1/16 no warp; none is beyond its limit."""
    torch.manual_seed(0)
    homographies = augment.draw(8000, orientations, True, strength)
    homographies = homographies / homographies[:, 2:, 2:]
    unwarped = homographies[(homographies[:, 2, :2].abs() < 1e-6).all(1)]
    assert len(unwarped) / 8000 == pytest.approx(1 / 16 if strength else 1, abs=0.01)
    scale = unwarped[:, :2, :2].abs().amax((1, 2))
    assert (unwarped[:, :2, :2].round() == torch.eye(2)).all((1, 2)).float().mean() == pytest.approx(straight, abs=0.08)
    assert (scale > 1 - 1e-6).float().mean() == pytest.approx(1 / 4 if strength else 1, abs=0.08)
    assert 1 / (1 + 0.1 * strength) - 1e-6 <= scale.min() < 1 - 0.07 * strength + 1e-6
    corners = torch.tensor([(x, y, 1.0) for x in (-1, 1) for y in (-1, 1)]) @ unwarped.transpose(1, 2)
    assert corners[..., :2].abs().max() <= 1 + 1e-5  # a zoom stays inside the image


def test_without_zoom_and_warp_pixels_are_only_moved():
    torch.manual_seed(0)
    out, straight = augment.make_augment("two only")(noise(16)), augment.normalise(noise(16))
    turned = (out - straight).abs().amax((1, 2, 3)) > 1e-3
    assert 0 < turned.sum() < 16
    assert torch.allclose(out[turned], straight[turned].flip(3), atol=1e-4)


def test_as_many_numbers_are_drawn_at_every_size_and_strength():
    """So that what a regime shows does not change what is drawn next."""
    following = []
    for size, strength in ((32, 1.0), (48, 1.0), (32, 0.3)):
        torch.manual_seed(9)
        augment.make_augment("eight")(noise(4, size), strength)
        following.append(torch.rand(3).tolist())
    assert following[0] == following[1] == following[2]
