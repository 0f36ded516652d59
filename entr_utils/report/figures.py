"""Figures, drawn with seaborn. Regimes differ by colour, marker and line: print in grey can be read, too. No torch."""

import itertools
from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import Image
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from entr_utils.regimes import parse
from entr_utils.regimes.plan import Block, first_steps, make_plan
from entr_utils.report.mistakes import confusions
from entr_utils.report.tables import by_measure, label, rank
from entr_utils.results import compare, studies
from entr_utils.results.record import Record, efficiency, flops_by_phase
from entr_utils.results.times import Times
from entr_utils.settings import DIALS, PAPER_DATASETS, PAPER_REGIMES, PROFILES
from entr_utils.util import UserError

STYLE = {"axes.grid": True, "grid.alpha": 0.3, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 90}
MARKERS, DASHES = "o^sXDvPh<>*pdH81234", ("-", "--", "-.", ":", (0, (6, 2)), (0, (3, 1, 1, 1, 1, 1)))
GREY, TERA = 7, 1e12  # where grey is in the palette; FLOPs in a TFLOP
MOST_CLASSES = 40  # of a confusion matrix that a page can show
BARS = 3  # folds from which an interval is drawn: that of two is as large as the panel, and larger


def look(text: str) -> tuple[Any, str, Any]:
    """Colour, marker and line of a regime, by its place (a new one needs nothing here); grey, where it is cut short."""
    colours, at = sns.color_palette("colorblind"), rank(text)
    grey = colours.pop(GREY)
    colour = grey if parse(text).budget else colours[at % len(colours)]
    return colour, MARKERS[at % len(MARKERS)], DASHES[at % len(DASHES)]


def new(width: float, height: float, columns: int = 1, rows: int = 1, **options) -> tuple[Figure, np.ndarray]:
    """A figure of `width` x `height` inches, and its axes, row by row."""
    sns.set_theme(style="ticks", context="notebook", rc=STYLE)
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), layout="constrained", squeeze=False, **options)
    plt.close(figure)  # the notebook shows what a cell returns, once
    return figure, axes.flatten()


def order(texts: Iterable[str]) -> list[str]:
    return sorted(set(texts), key=lambda text: (rank(text), text))


def legend(figure: Figure, texts: Iterable[str], line: str = "") -> Figure:
    """One legend of regimes for the whole figure, above its panels."""
    handles = []
    for text in order(texts):
        color, marker, dash = look(text)
        handles += figure.axes[0].plot([], [], marker=marker, color=color, linestyle=line or dash, label=label(text))
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return figure


def schedule(items: Sequence, images: int) -> Figure:
    """Figure 3: pixels over the images trained on, a panel for each of the paper's regimes and those of `items`, runs
    or records that are alike but for regime and seed; `images` are those of the training set."""
    shares, spec = {one.spec.regime: one.share for one in items}, items[0].spec
    shown = order({*shares, *{*PAPER_REGIMES}.difference(parse(text).name for text in shares)})
    figure, axes = new(8, 0.7 + 0.7 * len(shown), rows=len(shown), sharex=True, sharey=True)
    for axis, text in zip(axes, shown, strict=True):
        first = first_steps(spec.phases, images, spec.size, spec.batch, spec.seed, shares.get(text, 1.0))
        plan = make_plan(parse(text), first)
        _sizes(axis, plan, look(text)[0])
        axis.set_title(label(text), fontsize=10, loc="left", weight="bold" if [*shares] == [text] else "normal")
        axis.set(ylim=(0, 1.05 * spec.size), yticks=[0, spec.size])
    axes[-1].set_xlabel("images trained on")
    figure.supylabel("pixels a side", fontsize=10)
    return figure


def _sizes(axis: Axes, plan: tuple[Block, ...], color: object) -> None:
    """Plateaus filled, and named where there is room; dotted, what a blurred view was made small to."""
    total, at = sum(block.steps * block.spec.batch for block in plan), 0
    plateaus = itertools.groupby(plan, lambda block: (block.step.phase.name, block.spec.size, block.spec.detail))
    for (phase, size, detail), blocks in plateaus:
        begin, at = at, at + sum(block.steps * block.spec.batch for block in blocks)
        axis.fill_between([begin, at], size, color=color, alpha=0.35, linewidth=0)
        axis.hlines([size, detail or size], begin, at, color=color, linestyle=":" if detail else "-")
        named = f"{phase} {size}" if not detail else f"{phase} {detail} in {size}"
        if at - begin > 0.011 * len(named) * total:
            axis.text((begin + at) / 2, 0.45 * size, named, ha="center", va="center", fontsize=8)


def samples(images, dataset: str) -> Image:
    """Figure 2: the first of `data.store.Images` in each class. Raises UserError for the paper's datasets, unless they
    are drawn by formula."""
    if images.source.kind != "formula" and dataset in PAPER_DATASETS:
        raise UserError(f"show_samples=True: not for {dataset}; allowed for images drawn by formula and your own")
    shown = [name[:18].replace("$", r"\$") for name in images.classes[:MOST_CLASSES]]  # not a formula
    figure, axes = new(9, 1.5 * -(-len(shown) // 7), 7, -(-len(shown) // 7))
    for axis in axes:
        axis.axis("off")
    for i, (axis, name) in enumerate(zip(axes, shown, strict=False)):
        axis.imshow(images.pixels[np.argmax(images.labels == i)])
        axis.set_title(name, fontsize=8)
    buffer = BytesIO()  # as PNG it would be larger than the rest of a notebook together
    figure.savefig(buffer, format="jpeg", dpi=90, pil_kwargs={"quality": 80})
    return Image(buffer.getvalue(), format="jpeg")


def curves(records: list[Record]) -> Figure:
    """Loss and full-size validation accuracy by epoch: every run of a cell, thin, and their mean; phases shaded."""
    figure, axes = new(10, 3.6, 2)
    color = look(records[0].spec.regime)[0]
    for axis, column, title in zip(axes, ("loss", "accuracy"), ("training loss", "accuracy at full size"), strict=True):
        values = np.array([[getattr(epoch, column) for epoch in record.epochs] for record in records])
        epochs = np.arange(1, values.shape[1] + 1)
        axis.plot(epochs, values.T, color=color, alpha=0.35, linewidth=1)
        axis.plot(epochs, values.mean(0), color=color, linewidth=2.5)
        axis.set(xlabel="epoch", ylabel=title, xlim=(0.5, len(epochs) + 1.5))
        end = 0.5
        for i, phase in enumerate(records[0].phases[:-1]):
            axis.axvspan(end, end + phase.epochs, color=color, alpha=0.04 + 0.05 * (i % 2), linewidth=0)
            place: Any = {"ha": "center", "va": "bottom", "transform": axis.get_xaxis_transform(), "fontsize": 8}
            axis.text(end + phase.epochs / 2, 1.01, f"{phase.name}\n{phase.size} px", **place)
            end += phase.epochs
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    last = [record.accuracy_total for record in records]
    axes[1].plot([len(epochs) + 1] * len(last), last, "_", color="black", markersize=12, label="after TTA")
    axes[1].legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def learning_rate(rates: list[float], losses: list[float], suggested: float | None, used: float) -> Figure:
    """The learning-rate range test: loss over rate, with the rate it suggests, if any, and the one in use."""
    figure, (axis,) = new(6, 3)
    axis.plot(rates, losses)
    axis.axvline(used, color="black", label=f"used {used:g}")
    axis.axvline(suggested or used, color="grey", linestyle="--", label=f"suggested {suggested and f'{suggested:.1e}'}")
    axis.set(xscale="log", xlabel="learning rate", ylabel="smoothed training loss", ylim=(None, 2 * losses[0]))
    axis.legend(frameon=False)
    return figure


def confusion(records: list[Record]) -> Figure:
    """Counts of the predictions after TTA over all runs, by true and predicted class; of many classes the worst."""
    names, counts = [name.replace("$", r"\$") for name in records[0].source.classes], confusions(records)
    kept = np.sort(np.argsort(counts.diagonal() - counts.sum(1), kind="stable")[:MOST_CLASSES])
    shown, side = [names[i] for i in kept], max(5.0, 0.28 * len(kept) + 1.5)
    figure, (axis,) = new(side + 1, side)
    shares = (counts / counts.sum(1, keepdims=True).clip(1))[np.ix_(kept, kept)]
    texts = np.vectorize(lambda count: str(count or ""))(counts[np.ix_(kept, kept)])
    style: Any = {"cmap": "Blues", "vmin": 0, "vmax": 1, "cbar": False, "square": True, "annot_kws": {"fontsize": 7}}
    sns.heatmap(shares, annot=texts, fmt="", xticklabels=shown, yticklabels=shown, ax=axis, linewidths=0.5, **style)
    axis.set(xlabel="predicted", ylabel="true")
    axis.tick_params(labelsize=8, length=0)
    return figure


def panels(table: pd.DataFrame, height: float, **options) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """A figure with a panel for each dataset of a table, and the rows of each."""
    parts = [*table.groupby("dataset", sort=False)] if len(table) else [("no runs yet", table)]
    figure, axes = new(1.3 + max(5.8, 2.9 * len(parts)), height, len(parts), **options)
    for axis, (name, _) in zip(axes, parts, strict=True):
        axis.set_title(str(name), fontsize=11)
    return figure, [(axis, rows) for axis, (_, rows) in zip(axes, parts, strict=True)]


def first_screen(compared: pd.DataFrame) -> Figure:
    """Points of accuracy over T, both against the control at (1, 0): every fold a dot, means with 95% intervals."""
    figure, parts = panels(compared, 3.6, sharex=True, sharey=True)
    for axis, rows in parts:
        axis.plot(1, 0, "+", color="black", markersize=14, markeredgewidth=2)
        axis.axhline(-compare.MARGIN, color="grey", linewidth=1, linestyle=":")
        for found in by_measure(rows):
            took, points = found["T"], found["points"]
            color, marker, _ = look(took["treatment"])
            dots = [(time, points["by_fold"][seed]) for seed, time in took["by_fold"].items()]
            axis.plot(*zip(*dots, strict=True), ".", color=color, alpha=0.5)
            if points["n"] >= BARS:
                axis.plot([took["estimate"]] * 2, [points["low"], points["high"]], color=color)
                if "time" in found:
                    axis.plot([took["low"], took["high"]], [points["estimate"]] * 2, color=color)
            axis.plot(took["estimate"], points["estimate"], marker, color=color, markersize=9, markeredgecolor="white")
        axis.margins(0.12)
        axis.set_xlabel("T, ratio to the control's")
    figure.axes[0].set_ylabel("accuracy, points more\nthan the control's")
    return legend(figure, compared["treatment"], line="none")


def course(axis: Axes, runs: pd.DataFrame, costs: Iterable[dict[str, float]], unit: float, ends: tuple) -> None:
    """The mean accuracy by epoch of runs of a regime, over the mean of what they spent, and marks where they end. The
    `costs` of a run are those of its phases; a phase's go to its epochs by their images."""
    color, marker, line = look(runs["regime"].iloc[0])
    accuracy = np.mean([[epoch.accuracy for epoch in one.epochs] for one in runs["record"]], 0)
    spent = []
    for one, phases in zip(runs["record"], costs, strict=True):
        each = {phase.name: phases[phase.name] / phase.images for phase in one.phases}
        spent.append(np.cumsum([each[epoch.phase] * epoch.images for epoch in one.epochs]) / unit)
    axis.plot(np.mean(spent, 0), accuracy, linestyle=line, color=color, linewidth=1.5)
    axis.plot(*ends, marker, color=color, markersize=7, markeredgecolor="white")


def over_time(table: pd.DataFrame) -> Figure:
    """Figure 5: accuracy at full size over T in minutes, means of each network and regime; every run's end a mark."""
    figure, parts = panels(table, 3.6)
    for axis, rows in parts:
        for _, runs in rows.groupby(["network", "regime"], sort=False):
            costs = [
                clocked.phases if clocked else {phase.name: phase.seconds for phase in one.phases}
                for one, clocked in zip(runs["record"], runs["times"], strict=True)
            ]
            ends = runs["seconds_total"].fillna(runs["measured_total"]) / 60, runs["accuracy_total"]
            course(axis, runs, costs, 60, ends)
        clocked = len(rows) and rows["seconds_total"].notna().all()
        axis.set(xlabel="T in minutes" if clocked else "T in minutes, as measured", xlim=(0, None))
    figure.axes[0].set_ylabel("accuracy at full size")
    return legend(figure, table["regime"])


def efficiencies(table: pd.DataFrame) -> Figure:
    """Figure 4: As before (sub-total) and after re-training (total), every run a mark and means as dashes."""
    figure, parts = panels(table, 3.4)
    for axis, rows in parts:
        shown = order(rows["regime"])
        for i, text in enumerate(shown):
            runs, (color, marker, _) = rows[rows["regime"] == text], look(text)
            for at, part in enumerate(("subtotal", "total")):
                took = runs[f"seconds_{part}"].fillna(runs[f"measured_{part}"])
                values = [*map(efficiency, runs[f"accuracy_{part}"], took)]
                x = at + 0.7 * ((i + 0.5) / len(shown) - 0.5)
                axis.plot([x] * len(values), values, marker, color=color, alpha=0.6)
                axis.plot(x, np.mean(values), "_", color="black", markersize=16)
        axis.set(xticks=[0, 1], xticklabels=["sub-total", "total"], ylim=(0, None))
    figure.axes[0].set_ylabel("As = sqrt(A / T), T in minutes")
    return legend(figure, table["regime"], line="none")


def mechanism(table: pd.DataFrame) -> Figure:
    """Figure 1, measured: accuracy over FLOPs by what carries the class of drawn images (above), means of all regimes
    with their ends as marks; below, the contrasts of the study in points, with 95% intervals."""
    table = table[table["carries"].isin(DIALS)]
    figure, axes = new(10, 7, len(DIALS), 2, sharex="row", sharey="row")
    found = studies.answers(studies.STUDIES["mechanism"], table)
    questions = [one.question for one in studies.STUDIES["mechanism"].contrasts]
    for above, below, dial in zip(axes[: len(DIALS)], axes[len(DIALS) :], DIALS, strict=True):
        for _, runs in table[table["carries"] == dial].groupby("regime"):
            ends = runs["flops_total"].mean() / TERA, runs["accuracy_total"].mean()
            course(above, runs, map(flops_by_phase, runs["record"]), TERA, ends)
        above.set(title=f"class carried by: {dial}", xlabel="TFLOPs of training")
        for row in found[(found["carries"] == dial) & (found["measure"] == "points")].to_dict("records"):
            y, (color, marker, _) = questions.index(row["question"]), look(row["treatment"])
            below.plot([row["low"], row["high"]], [y, y], color=color)
            below.plot(row["estimate"], y, marker, color=color, markersize=8)
        below.axvline(0, color="black", linewidth=1)
        below.set(xlabel="points of accuracy", yticks=range(len(questions)), yticklabels=questions)
    axes[0].set_ylabel("accuracy at full size")
    return legend(figure, table["regime"])


def phases(found: dict[str, Times | None]) -> Figure:
    """T in minutes by the clock, a bar a regime, split by phase; a regime without a clock has no bar."""
    figure, (axis,) = new(7, 1.2 + 0.6 * len(found))
    names = [phase.name for phase in PROFILES["paper"].phases(True)]
    seconds = pd.DataFrame([clocked.phases if clocked else {} for clocked in found.values()], columns=[*names, "TTA"])
    bars = (seconds.astype(float) / 60).set_axis(map(label, found))
    bars.plot.barh(stacked=True, ax=axis, color=sns.color_palette("Blues", 6)[1:], edgecolor="white")
    totals = [f" {clocked.total / 60:.1f} min" if clocked else " no clock" for clocked in found.values()]
    axis.bar_label(axis.containers[-1], totals, fontsize=9)
    axis.set_xlabel("T in minutes")
    axis.legend(ncols=5, frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1))
    axis.invert_yaxis()
    axis.margins(x=0.15)
    return figure
