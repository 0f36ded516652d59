"""Figures of one run, of images and of the schedule, drawn with seaborn; those over many runs are in `overview`.

Regimes differ by colour (of a palette that colour-blind people can tell apart), marker and line, so that print in grey
can be read too. No torch here.
"""

from io import BytesIO
from textwrap import wrap

import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import Image
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from entr_utils import UserError
from entr_utils.records import caption
from entr_utils.regimes import CONTROLS, PROFILES, REGIMES, STEPS, pixels, sizes
from entr_utils.verdicts import said

ALL = (*REGIMES, *CONTROLS)
LABELS = {regime: said(regime) for regime in ALL}
PALETTE = dict(zip(ALL, (sns.color_palette("colorblind")[i] for i in (0, 1, 2, 3, 7, 4, 9, 5)), strict=True))
MARKERS = dict(zip(ALL, "o^sXDvPh", strict=True))
DASHES = ("-", "--", "-.", ":", (0, (6, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (5, 5)))
LINES = dict(zip(ALL, DASHES, strict=True))
STYLE = {"axes.grid": True, "grid.alpha": 0.3, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 90}


def new(width: float, height: float, columns: int = 1, rows: int = 1, **options) -> tuple[Figure, np.ndarray]:
    """A figure of `width` x `height` inches, and its axes in a row."""
    sns.set_theme(style="ticks", context="notebook", rc=STYLE)
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), layout="constrained", squeeze=False, **options)
    plt.close(figure)  # the notebook shows what a cell returns, once
    return figure, axes.flatten()


def foot(figure: Figure, records: list[dict], shown: str = "") -> Figure:
    """What a figure shows, and the records' caption, in small print under it."""
    text = "\n".join(wrap(f"{shown} {caption(records)}".strip(), int(figure.get_figwidth() * 17)))
    figure.supxlabel(text, fontsize=7, x=0.01, ha="left", color="dimgrey")
    return figure


def _plain(name: str) -> str:
    """A class's name as matplotlib should write it: what stands between two $ is no formula."""
    return name.replace("$", r"\$")


def _photo(figure: Figure) -> Image:
    """A figure made of images, as JPEG: as PNG it would be larger than the rest of a notebook together."""
    buffer = BytesIO()
    figure.savefig(buffer, format="jpeg", dpi=90, pil_kwargs={"quality": 80})
    return Image(buffer.getvalue(), format="jpeg")


def samples(pixels_: np.ndarray, labels: np.ndarray, classes: list[str], source: str) -> Image:
    """Figure 2: the first image of each class. Only synthetic images and a user's own may be shown.

    Raises UserError for any other source.
    """
    if not source.startswith(("synthetic", "the user's own")):
        raise UserError(f"show_samples=True: not for {source.partition(':')[0]}; allowed for synthetic and own images")
    columns = 7
    rows = -(-len(classes) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(1.3 * columns, 1.5 * rows), layout="constrained", squeeze=False)
    plt.close(figure)
    for label, axis in enumerate(axes.flat):
        axis.axis("off")
        if label < len(classes):
            axis.imshow(pixels_[np.argmax(labels == label)])
            axis.set_title(_plain(classes[label][:18]), fontsize=8)
    figure.suptitle(f"One image a class: {source}", fontsize=9)
    return _photo(figure)


def synthetic_samples() -> Image:
    """Figure 2 for the images that the quick profile draws: the looks of the three datasets, an image a class."""
    from entr_utils import synthetic
    from entr_utils.datasets import DATASETS

    quick = PROFILES["quick"]
    figure, axes = plt.subplots(3, quick.classes, figsize=(8.5, 4.9), layout="constrained")
    plt.close(figure)
    for row, dataset in zip(axes, DATASETS.values(), strict=True):
        drawn = synthetic.draw(dataset.look, quick.classes, 1, quick.size)
        for label, axis in enumerate(row):
            axis.imshow(drawn[label])
            axis.set_title(f"{dataset.name}, class {label:02d}", fontsize=8)
            axis.axis("off")
    return _photo(figure)


def schedule(largest: int, chosen: str = "", switch: str = "CMult") -> Figure:
    """Figure 3: image size in pixels at each step of each regime; the row of `chosen` is picked out."""
    rows = [*REGIMES, *(name for name in CONTROLS if name == chosen)]
    table = np.array([[pixels(sizes(regime, switch)[step], largest) for step in STEPS] for regime in rows])
    figure, (axis,) = new(7, 2.2)
    sns.heatmap(table, annot=True, fmt="d", cmap="Blues", vmin=0, vmax=2 * largest, cbar=False, linewidths=2, ax=axis,
                xticklabels=list(STEPS), yticklabels=[LABELS[regime] for regime in rows])  # fmt: skip
    axis.tick_params(axis="both", length=0, rotation=0)
    axis.xaxis.tick_top()
    axis.set_xlabel("pixels a side", fontsize=10)
    for regime, label in zip(rows, axis.get_yticklabels(), strict=True):
        if regime == chosen:
            label.set_fontweight("bold")
            row = rows.index(regime)
            axis.add_patch(
                plt.Rectangle(
                    (0, row), len(STEPS), 1, fill=False, edgecolor=PALETTE[regime], linewidth=4, clip_on=False
                )
            )
    return figure


def curves(record: dict) -> Figure:
    """Loss and full-size validation accuracy over seconds of training, stages shaded and named with their size."""
    epochs = pd.DataFrame(record["epochs"])
    ends = epochs["seconds"].cumsum()
    figure, (left, right) = new(10, 3.7, 2)
    colour = PALETTE[record["regime"]]
    for axis, column, title in ((left, "loss", "training loss"), (right, "accuracy", "validation accuracy, full size")):
        sns.lineplot(x=ends, y=epochs[column], marker="o", color=colour, ax=axis)
        axis.set(xlabel="seconds of training", ylabel=title)
        begin, at = 0.0, -np.inf
        for i, stage in enumerate(record["stages"][:-1]):
            end = begin + stage["seconds"]
            axis.axvspan(begin, end, color=colour, alpha=0.04 + 0.05 * (i % 2), linewidth=0)
            at = max((begin + end) / 2, at + 0.05 * ends.iloc[-1])  # narrow stages: labels side by side, not on top
            axis.text(at, 1.02, f"{stage['name']}, {stage['size']} px", fontsize=8, ha="center", va="bottom",
                      rotation=60, transform=axis.get_xaxis_transform())  # fmt: skip
            begin = end
    right.axhline(record["accuracy_total"], linestyle=":", color="black", linewidth=1)
    right.text(0, record["accuracy_total"], " after TTA", fontsize=8, va="bottom")
    right.set_ylim(0, 1.02)
    return foot(figure, [record])


def learning_rate(rates: list[float], losses: list[float], suggested: float | None, used: float) -> Figure:
    """The learning-rate range test: loss over rate, with the rate it suggests, if any, and the one this run uses."""
    figure, (axis,) = new(6, 3)
    sns.lineplot(x=rates, y=losses, ax=axis)
    if suggested:
        axis.axvline(suggested, linestyle="--", color="grey", label=f"suggested {suggested:.1e}")
    axis.axvline(used, color="black", label=f"used {used:g}")
    axis.set(xscale="log", xlabel="learning rate", ylabel="smoothed training loss", ylim=(None, 2 * losses[0]))
    axis.legend(frameon=False)
    return figure


def confusion(record: dict) -> Figure:
    """Confusion matrix of the total predictions (after TTA): share of each true class, counts where they fit."""
    names, truth = list(map(_plain, record["class_names"])), record["predictions"]["truth"]
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (truth, record["predictions"]["total"]), 1)
    side = max(5.5, 0.32 * len(names) + 1.5)
    figure, (axis,) = new(side + 1, side)
    shares, texts = counts / counts.sum(1, keepdims=True).clip(1), np.where(counts > 0, counts.astype(str), "")
    sns.heatmap(shares, annot=texts, fmt="", cmap="Blues", vmin=0, vmax=1, cbar=False, square=True, linewidths=0.5,
                ax=axis, xticklabels=names, yticklabels=names, annot_kws={"fontsize": 8})  # fmt: skip
    axis.set(xlabel="predicted", ylabel="true")
    axis.tick_params(labelsize=8, length=0)
    return foot(figure, [record])
