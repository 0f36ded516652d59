"""Shape or texture: by which of them runs decide where they conflict, an image at a time. No torch.

A run of data="synthetic-conflict" is trained on images whose coarse pattern and fine texture are of one class, and
judged on images with the coarse pattern of one and the fine texture of another (after Geirhos et al. 2019, 1811.12231).
"""

from collections.abc import Iterable

from entr_utils.data.synthetic import texture_of
from entr_utils.results.record import Record
from entr_utils.settings import CONFLICT


def decided(records: Iterable[Record]) -> tuple[int, int]:
    """(by shape, by texture): how many predictions after TTA name the class of the coarse pattern, and of the fine
    texture, over the runs that are judged in conflict."""
    by_shape = by_texture = 0
    for one in (one for one in records if one.source.carries == CONFLICT):
        kept, classes = one.predictions, len(one.source.classes)
        for name, shape, guess in zip(kept.image, kept.truth, kept.total, strict=True):
            by_shape += guess == shape
            by_texture += guess == texture_of(shape, int(name.split()[-1]), classes)
    return by_shape, by_texture
