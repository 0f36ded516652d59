"""The paper's figures and ours, drawn with seaborn from records and tables; no torch here."""

from io import BytesIO
from textwrap import wrap

import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import Image
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from entr_utils import UserError
from entr_utils.records import caption, letters, setting
from entr_utils.regimes import CONTROLS, REGIMES, STEPS, pixels, sizes

LABELS = {name: name.replace("_", " ") for name in (*REGIMES, *CONTROLS)}
PALETTE = dict(zip(LABELS, sns.color_palette("colorblind"), strict=False))
STYLE = {"axes.grid": True, "grid.alpha": 0.3, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 90}


def _new(width: float, height: float, columns: int = 1, **options) -> tuple[Figure, np.ndarray]:
    sns.set_theme(style="ticks", context="notebook", rc=STYLE)
    figure, axes = plt.subplots(1, columns, figsize=(width, height), layout="constrained", squeeze=False, **options)
    plt.close(figure)  # the notebook shows what a cell returns, once
    return figure, axes[0]


def _foot(figure: Figure, records: list[dict]) -> Figure:
    """The records' caption in small print under the figure."""
    text = "\n".join(wrap(caption(records), int(figure.get_figwidth() * 17)))
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


def samples(pixels_: np.ndarray, labels: np.ndarray, classes: list[str], source: str, columns: int = 7) -> Image:
    """Figure 2: the first image of each class. Only synthetic images and a user's own may be shown.

    Raises UserError for any other source.
    """
    if not source.startswith(("synthetic", "the user's own")):
        raise UserError(f"show_samples=True: not for {source.partition(':')[0]}; allowed for synthetic and own images")
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
    """Figure 2 for the images drawn by formula: the looks of the three datasets, seven classes each."""
    from entr_utils import synthetic
    from entr_utils.datasets import DATASETS

    figure, axes = plt.subplots(3, 7, figsize=(9.5, 4.6), layout="constrained")
    plt.close(figure)
    for row, dataset in zip(axes, DATASETS.values(), strict=True):
        drawn = synthetic.draw(dataset.look, dataset.classes, 1, 128)
        for label, axis in zip(np.linspace(0, dataset.classes - 1, len(row)).astype(int), row, strict=True):
            axis.imshow(drawn[label])
            axis.set_title(f"{dataset.name}, class {label:02d}", fontsize=8)
            axis.axis("off")
    return _photo(figure)


def schedule(largest: int, chosen: str = "", switch: str = "CMult") -> Figure:
    """Figure 3: image size in pixels at each step of each regime; the row of `chosen` is picked out."""
    rows = [*REGIMES, *(name for name in CONTROLS if name == chosen)]
    table = np.array([[pixels(sizes(regime, switch)[step], largest) for step in STEPS] for regime in rows])
    figure, (axis,) = _new(7, 2.2)
    sns.heatmap(table, annot=True, fmt="d", cmap="Blues", vmin=0, vmax=2 * largest, cbar=False, linewidths=2, ax=axis,
                xticklabels=list(STEPS), yticklabels=[LABELS[regime] for regime in rows])  # fmt: skip
    axis.tick_params(axis="both", length=0, rotation=0)
    axis.xaxis.tick_top()
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
    figure, (left, right) = _new(10, 3.7, 2)
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
    return _foot(figure, [record])


def learning_rate(rates: list[float], losses: list[float], suggested: float, used: float) -> Figure:
    """The learning-rate range test: loss over rate, with the rate it suggests and the one this run uses."""
    figure, (axis,) = _new(6, 3)
    sns.lineplot(x=rates, y=losses, ax=axis)
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
    figure, (axis,) = _new(side + 1, side)
    shares, texts = counts / counts.sum(1, keepdims=True).clip(1), np.where(counts > 0, counts.astype(str), "")
    sns.heatmap(shares, annot=texts, fmt="", cmap="Blues", vmin=0, vmax=1, cbar=False, square=True, linewidths=0.5,
                ax=axis, xticklabels=names, yticklabels=names, annot_kws={"fontsize": 8})  # fmt: skip
    axis.set(xlabel="predicted", ylabel="true")
    axis.tick_params(labelsize=8, length=0)
    return _foot(figure, [record])


def efficiency(records: list[dict]) -> Figure:
    """Figure 4: standardised accuracy by dataset, network and regime, before (sub-total) and after re-training."""
    if not records:
        return _new(4, 3)[0]
    table = pd.DataFrame(records).assign(panel=_panels(records))
    names = list(dict.fromkeys(table["panel"]))
    long = table.melt(["panel", "network", "regime", "seed"], ["efficiency_subtotal", "efficiency_total"], "part", "As")
    long["part"] = long["part"].str.removeprefix("efficiency_").map({"subtotal": "sub-total", "total": "total"})
    figure, axes = _new(4.2 * len(names), 3.4, len(names))
    for axis, name in zip(axes, names, strict=True):
        rows = long[long["panel"] == name].assign(where=lambda rows: rows["network"] + "\n" + rows["part"])
        order = [f"{network}\n{part}" for network in sorted(set(rows["network"])) for part in ("sub-total", "total")]
        sns.stripplot(rows, x="where", y="As", hue="regime", order=order, hue_order=REGIMES, palette=PALETTE,
                      dodge=True, jitter=False, size=9, ax=axis, legend=axis is axes[-1])  # fmt: skip
        axis.set(
            title=name, xlabel="", ylabel="As = sqrt(A / T), T in minutes" if axis is axes[0] else "", ylim=(0, None)
        )
    _legend(axes[-1])
    return _foot(figure, records)


def accuracy_over_time(records: list[dict]) -> Figure:
    """Figure 5: validation accuracy over seconds of training, a line a run; crosses mark sub-total, dots total."""
    panels = _panels(records)
    names = list(dict.fromkeys(panels))
    figure, axes = _new(4.2 * len(names) + 1, 3.6, max(1, len(names)))
    styles = dict(zip(sorted({record["network"] for record in records}), ("-", "--", ":"), strict=False))
    for axis, name in zip(axes, names, strict=False):
        for record in (record for record, panel in zip(records, panels, strict=True) if panel == name):
            colour, style = PALETTE[record["regime"]], styles[record["network"]]
            seconds = np.cumsum([row["seconds"] for row in record["epochs"]])
            axis.plot(
                seconds, [row["accuracy"] for row in record["epochs"]], style, color=colour, alpha=0.5, linewidth=1.5
            )
            axis.plot(record["seconds_subtotal"], record["accuracy_subtotal"], "x", color=colour, markersize=9)
            axis.plot(record["seconds_total"], record["accuracy_total"], "o", color=colour, markersize=9)
        axis.set(title=name, xlabel="seconds of training (T)", ylim=(0, 1.02),
                 ylabel="validation accuracy, full size" if axis is axes[0] else "")  # fmt: skip
    for regime in REGIMES:
        axes[-1].plot([], [], "o-", color=PALETTE[regime], label=LABELS[regime])
    for network, style in styles.items() if len(styles) > 1 else ():
        axes[-1].plot([], [], style, color="grey", label=network)
    _legend(axes[-1])
    return _foot(figure, records)


def _panels(records: list[dict]) -> list[str]:
    """The panel of each record: its dataset, and its setting's letter where there are several."""
    of = letters(records)
    return [f"{record['dataset']} ({of[setting(record)]})" if of else record["dataset"] for record in records]


def _legend(axis) -> None:
    handles, names = axis.get_legend_handles_labels()
    axis.legend(handles, [LABELS.get(name, name) for name in names], frameon=False, loc="center left",
                bbox_to_anchor=(1, 0.5))  # fmt: skip
