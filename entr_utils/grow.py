"""Growing images in a fastai Learner of one's own, or in a plain loop: learn.fine_tune(10, cbs=GrowImages("gradual")).

Every size regime works. Its phases become shares of all steps, those of the paper's epochs: gradual shows 40, 60, 80
and 100% of the size and switches at 1/7, 1/3 and 2/3. The paper measured something else: there the body is frozen while
images grow. Large published savings are of training from scratch; close to the pretrained task growing can cost
accuracy (fastbook, chapter 7). Where your loader binds, smaller batches save nothing.
"""

from dataclasses import replace
from itertools import groupby

from fastai.callback.core import Callback
from torch import Tensor
from torch.nn import functional

from entr_utils.regimes import Regime, parse
from entr_utils.regimes.plan import first_steps
from entr_utils.settings import PROFILES
from entr_utils.util import UserError

PARTS = 1000  # of an epoch and of a size: shares are told apart as finely
LEAST = 32  # pixels that no side falls below, where the images are not smaller themselves


def share(regime: Regime, progress: float) -> float:
    """The share of the full size that a regime shows at `progress` (0 to 1) of a training; see `shrink`."""
    steps = first_steps(PROFILES["paper"].phases(pretrained=True), PARTS, PARTS, 1, 0)
    epoch, part = divmod(min(max(progress, 0.0) + 1e-9, 1 - 1e-9) * len(steps), 1)  # 1/7 of 21 epochs is the fourth
    seen = int(part * PARTS)
    spec = regime.spec(replace(steps[int(epoch)], batch=seen, seen=seen))
    if spec.view != "resized" or spec.mode or regime.budget:
        raise UserError(f"regime={regime.text!r}: changes more than the size; allowed: regimes that resize images")
    return spec.size / PARTS


def shrink(images: Tensor, regime: str, progress: float) -> Tensor:
    """(n, c, h, w) floating-point images as a size regime, such as "stepwise:switch=RPL", shows them, antialiased, once
    a share `progress` of all training steps is done. Raises UserError on a regime that changes more than the size."""
    part = share(parse(regime), progress)
    size = [max(round(part * side), min(side, LEAST)) for side in images.shape[-2:]]
    if size == [*images.shape[-2:]]:
        return images
    return functional.interpolate(images, size, mode="bilinear", antialias=True)


class GrowImages(Callback):
    """Shrinks training batches on the device as a size regime says; validation is untouched.

    `epochs`: of the whole course, where several fits are one: fine_tune(10) has 11, one of them frozen. With 0 every
    fit is a course by itself. Raises UserError as `shrink` does.
    """

    run_valid = False

    def __init__(self, regime: str = "gradual", epochs: int = 0):
        share(parse(regime), 0.0)  # what cannot be is refused now, not after minutes
        self.regime, self.epochs, self.done = regime, epochs, 0
        self.shown: list[tuple[int, int]] = []

    def before_batch(self):
        progress = (self.done + self.epoch + self.iter / self.n_iter) / (self.epochs or self.n_epoch)
        self.learn.xb = tuple(shrink(one, self.regime, progress) if one.ndim == 4 else one for one in self.xb)
        self.shown += [tuple(one.shape[-2:]) for one in self.xb if one.ndim == 4][:1]

    def after_fit(self):
        self.done += self.n_epoch if self.epochs else 0

    @property
    def sizes(self) -> list[tuple[int, int, int]]:
        """What it did: height, width and number of steps, for each stretch of equal sizes."""
        return [(*size, len([*steps])) for size, steps in groupby(self.shown)]
