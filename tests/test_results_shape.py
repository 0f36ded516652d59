"""By which of shape and texture runs decide, counted by hand. No torch."""

import by_hand

from entr_utils.data.synthetic import texture_of
from entr_utils.results import shape
from entr_utils.results.record import Record


def in_conflict(guesses: list[int], carries: str = "conflict") -> Record:
    """Three classes; of each the images 0, 1, 2, in this order."""
    one = by_hand.record(carries=carries, classes=3, n_val=9)
    names = tuple(f"class 0{label}/conflict 00{i}" for label in range(3) for i in range(3))
    truth = tuple(label for label in range(3) for _ in range(3))
    kept = one.predictions.model_copy(update={"image": names, "truth": truth, "total": tuple(guesses)})
    return one.model_copy(update={"predictions": kept})


TRUTH, TEXTURES = [0, 0, 0, 1, 1, 1, 2, 2, 2], [1, 2, 1, 2, 0, 2, 0, 1, 0]


def test_what_decides_by_hand():
    assert [texture_of(label, i % 3, 3) for i, label in enumerate(TRUTH)] == TEXTURES
    assert shape.decided([in_conflict(TRUTH)]) == (9, 0)
    assert shape.decided([in_conflict(TEXTURES), in_conflict(TRUTH)]) == (9, 9)
    mixed = in_conflict(
        [0, 0, 2, 1, 0, 0, 2, 1, 1]
    )  # shape, shape, neither, shape, texture, neither, shape, texture, -
    assert shape.decided([mixed]) == (4, 2)


def test_other_runs_decide_nothing():
    assert shape.decided([in_conflict(TRUTH, "both"), by_hand.record()]) == (0, 0)
    assert shape.decided([]) == (0, 0)
