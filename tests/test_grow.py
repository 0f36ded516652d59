"""Growing in a Learner of one's own: sizes by hand-worked shares, validation untouched, several fits as one course."""

import pytest
import torch
from data_by_hand import refused
from fastai.callback import schedule  # noqa: F401 - gives a Learner fine_tune
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.torch_core import TensorImage
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from entr_utils.grow import GrowImages, shrink

TURNS = {"gradual": [(1 / 7, 40), (1 / 3, 60), (2 / 3, 80), (1, 100)], "stepwise": [(1 / 3, 40), (1, 100)]}


class Watched(nn.Module):
    """A network of any size of images that keeps the sizes it saw, in training and in evaluation."""

    def __init__(self):
        super().__init__()
        self.body, self.head, self.seen = nn.Conv2d(3, 4, 3), nn.Linear(4, 2), {True: [], False: []}

    def forward(self, images):
        self.seen[self.training].append(tuple(images.shape[-2:]))
        return self.head(self.body(images).mean((2, 3)))


def learner(batches: int, height: int = 100, width: int = 100) -> Learner:
    images = torch.rand(2 * batches, 3, height, width)
    data = DataLoader(TensorDataset(images, torch.arange(len(images)) % 2), batch_size=2)
    groups = {"splitter": lambda model: [[*model.body.parameters()], [*model.head.parameters()]]}
    return Learner(DataLoaders(data, data), Watched(), functional.cross_entropy, **groups)


def quietly(learn: Learner, what: str, *given, **options) -> None:
    with learn.no_bar(), learn.no_logging():
        getattr(learn, what)(*given, **options)


@pytest.mark.parametrize("regime", TURNS)
def test_a_plain_loop_shows_the_papers_shares(regime):
    images, begin = torch.rand(1, 3, 100, 50), 0.0
    for end, percent in TURNS[regime]:
        for progress in (begin, (begin + end) / 2, end - 1e-3):
            assert shrink(images, regime, progress).shape == (1, 3, percent, max(32, percent // 2))
        begin = end
    assert shrink(images, regime, 1.0) is images


def test_shrinking_averages_what_it_takes_away():
    """A chequerboard of single pixels becomes grey: without antialiasing it would keep black or white."""
    board = (torch.arange(100)[:, None] + torch.arange(100)) % 2
    small = shrink(board.float().expand(1, 3, 100, 100), "gradual", 0.0)
    assert small.shape[-2:] == (40, 40)
    assert (small - 0.5).abs().max() < 0.1


def test_fastais_images_stay_fastais_and_small_ones_are_not_shrunk_out_of_sight():
    small = shrink(TensorImage(torch.rand(1, 3, 48, 24)), "gradual", 0.0)
    assert isinstance(small, TensorImage)
    assert small.shape[-2:] == (32, 24)


@pytest.mark.parametrize("fit", ["fit", "fit_one_cycle"])
def test_one_fit_is_one_course_and_validation_sees_full_size(fit):
    learn, grow = learner(7), GrowImages("gradual")
    quietly(learn, fit, 3, cbs=grow)
    assert grow.sizes == [(40, 40, 3), (60, 60, 4), (80, 80, 7), (100, 100, 7)]
    assert learn.model.seen[True] == [(size, size) for size, _, steps in grow.sizes for _ in range(steps)]
    assert {*learn.model.seen[False]} == {(100, 100)}


def test_the_two_fits_of_fine_tune_are_one_course_or_each_their_own():
    whole, apart = GrowImages("gradual", epochs=3), GrowImages("gradual")
    for grow in (whole, apart):
        quietly(learner(7), "fine_tune", 2, cbs=grow)
    assert whole.sizes == [(40, 40, 3), (60, 60, 4), (80, 80, 7), (100, 100, 7)]
    assert apart.sizes[:4] == [(40, 40, 1), (60, 60, 2), (80, 80, 2), (100, 100, 2)]
    assert sum(steps for *_, steps in apart.sizes) == 21
    assert apart.sizes[4][0] == 40


def test_a_course_that_outlives_its_epochs_stays_at_full_size():
    learn, grow = learner(3), GrowImages("stepwise", epochs=1)
    quietly(learn, "fit", 1, cbs=grow)
    quietly(learn, "fit", 2, cbs=grow)
    assert grow.sizes == [(40, 40, 1), (100, 100, 8)]


@pytest.mark.parametrize("regime", ["blurred", "cropped", "short"])
def test_what_changes_more_than_the_size_is_refused_before_training(regime):
    refused(lambda: GrowImages(regime), f"regime={regime!r}")
    refused(lambda: shrink(torch.rand(1, 3, 64, 64), regime, 0.5), f"regime={regime!r}")
    refused(lambda: GrowImages("grdual"), "gradual")
