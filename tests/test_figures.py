"""Figures: what is drawn is what the records say."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from entr_utils import figures, synthetic

PHOTO = figures._photo


def texts(figure: Figure) -> list[str]:
    """All words of a figure, its axes and their legends."""
    found = [text.get_text() for text in figure.texts]
    for axis in figure.axes:
        found += [text.get_text() for text in axis.texts]
        found += [axis.get_title(), axis.get_xlabel(), axis.get_ylabel()]
        if axis.get_legend():
            found += [text.get_text() for text in axis.get_legend().get_texts()]
    return found


@pytest.fixture(autouse=True)
def drawable(monkeypatch):
    """Every figure a test makes is really drawn: what does not draw is no figure. Samples are seen before they
    become a JPEG."""
    monkeypatch.setattr(figures, "_photo", lambda figure: figure)
    for name in ("samples", "synthetic_samples", "schedule", "curves", "learning_rate", "confusion"):
        make = getattr(figures, name)

        def checked(*arguments, make=make, **named):
            figure = make(*arguments, **named)
            if isinstance(figure, Figure):
                figure.canvas.draw()
            return figure

        monkeypatch.setattr(figures, name, checked)


def test_schedule_is_figure_3():
    figure = figures.schedule(250)
    sizes = [int(text.get_text()) for text in figure.axes[0].texts]
    assert np.reshape(sizes, (3, 5)).tolist() == [
        [250, 250, 250, 250, 250], [100, 150, 200, 250, 250], [100, 100, 250, 250, 250]]  # fmt: skip
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["no increase", "gradual", "stepwise"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["SGDR", "CLRS", "CMult", "RPL", "TTA"]


@pytest.mark.parametrize(("chosen", "row"), [("no_increase", 0), ("gradual", 1), ("stepwise", 2)])
def test_schedule_picks_out_a_row(chosen, row):
    (axis,) = figures.schedule(128, chosen).axes
    assert [label.get_fontweight() == "bold" for label in axis.get_yticklabels()] == [i == row for i in range(3)]
    (frame,) = axis.patches
    assert (frame.get_y(), frame.get_width()) == (row, 5)


def test_schedule_without_a_choice_picks_out_nothing():
    (axis,) = figures.schedule(128).axes
    assert len(axis.patches) == 0


@pytest.mark.parametrize("source", ["synthetic aerial, class carried by both detail", "the user's own images"])
def test_samples_show_the_first_image_of_each_class(source):
    pixels = synthetic.draw("aerial", 9, 2, 32)
    figure = figures.samples(pixels, np.repeat(np.arange(9), 2), [f"class {i}" for i in range(9)], source)
    shown = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title() for axis in shown] == [f"class {i}" for i in range(9)]
    assert np.array_equal(shown[3].images[0].get_array(), pixels[6])


@pytest.mark.parametrize("source", ["UC Merced Land Use (Yang & Newsam 2010): 2100 images", "a folder of images: 9"])
def test_samples_of_real_datasets_are_refused(source, refused):
    pixels = synthetic.draw("aerial", 2, 1, 32)
    refused(lambda: figures.samples(pixels, np.arange(2), ["a", "b"], source), "show_samples=True", "own images")


def test_synthetic_samples_show_three_looks():
    shown = [axis.get_title() for axis in figures.synthetic_samples().axes if axis.images]
    assert len(shown) == 18
    assert {title.partition(",")[0] for title in shown} == {"steel", "ucm", "bees"}


def test_samples_are_small_in_a_notebook(monkeypatch):
    """As PNG, 22 classes of noisy texture would be larger than all the rest."""
    monkeypatch.setattr(figures, "_photo", PHOTO)
    pixels = synthetic.draw("micrographs", 22, 1, 128)
    image = figures.samples(pixels, np.arange(22), [str(i) for i in range(22)], "synthetic micrographs")
    assert image.format == "jpeg"
    assert len(image.data) < 150_000


def test_curves_follow_the_epochs(trained):
    record = trained("gradual").record
    left, right = figures.curves(record).axes
    ends = np.cumsum([row["seconds"] for row in record["epochs"]])
    assert np.allclose(left.lines[0].get_xdata(), ends)
    assert np.allclose(left.lines[0].get_ydata(), [row["loss"] for row in record["epochs"]])
    assert np.allclose(right.lines[0].get_ydata(), [row["accuracy"] for row in record["epochs"]])
    assert {"SGDR, 32 px", "CLRS, 48 px", "CMult, 64 px", "RPL, 80 px"} <= {text.get_text() for text in left.texts}


def test_learning_rate_shows_what_is_suggested_and_what_is_used():
    figure = figures.learning_rate([1e-4, 1e-2, 1.0], [2.0, 1.5, 4.0], suggested=3e-3, used=0.01)
    assert {"suggested 3.0e-03", "used 0.01"} <= set(texts(figure))
    assert figure.axes[0].get_xscale() == "log"


def test_confusion_counts_every_validation_image(trained):
    record = trained("no_increase").record
    figure = figures.confusion(record)
    counts = [int(text.get_text()) for text in figure.axes[0].texts if text.get_text()]
    assert sum(counts) == record["n_val"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == record["class_names"]


def test_confusion_puts_truth_in_rows(trained):
    """All images of class 0 taken for class 2."""
    record = dict(trained("no_increase").record)
    record["predictions"] = {"truth": [0, 0, 1], "total": [2, 2, 1]}
    (axis,) = figures.confusion(record).axes
    cells = {tuple(int(c) for c in text.get_position()): text.get_text() for text in axis.texts if text.get_text()}
    assert cells == {(2, 0): "2", (1, 1): "1"}  # (column, row)
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("predicted", "true")


@pytest.mark.parametrize("draw", ["curves", "confusion"])
def test_figures_say_what_was_not_as_in_the_paper(draw, trained):
    """A picture travels without its notebook."""
    figure = getattr(figures, draw)(trained("no_increase").record)
    assert "a demonstration, not evidence" in figure.get_supxlabel().replace("\n", " ")
