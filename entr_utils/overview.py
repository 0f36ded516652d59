"""Figures over many runs: what growing costs and gives, with every run as a point and 95% intervals over seeds.

Panels are datasets, and settings where there are several. An interval is drawn from three runs on. No torch.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entr_utils import mechanism, pace, statistics
from entr_utils.conditions import letters, setting
from entr_utils.figures import ALL, LABELS, LINES, MARKERS, PALETTE, foot, new
from entr_utils.records import table
from entr_utils.statistics import PLACE
from entr_utils.verdicts import said, span

ACROSS = 3  # panels in a row, as wide as a page on GitHub shows without shrinking them
BARS = 3  # runs from which an interval is drawn: that of two is as large as the panel, and larger
RUNS: dict[str, Any] = {"alpha": 0.6, "linestyle": "none", "markeredgecolor": "white", "markeredgewidth": 0.6}
A, T = "validation accuracy, full size", "seconds of training (T)"


def panels(records: list[dict], of: dict[str, str] | None = None) -> list[str]:
    """The panel of each record: its dataset, and its setting's letter where there are several (`of`: of more runs)."""
    of = letters(records) if of is None else of
    return [f"{record['dataset']} ({of[setting(record)]})" if of else record["dataset"] for record in records]


def _by_panel(records: list[dict], height: float,
              named: dict[str, str] | None = None) -> tuple[Figure, list[tuple[Axes, list[dict]]]]:  # fmt: skip
    """A figure with a panel for each dataset and setting, and each panel's axis with its records."""
    of = panels(records, named)
    names = list(dict.fromkeys(of)) or [""]
    across = min(ACROSS, len(names))
    rows = -(-len(names) // across)
    figure, axes = new(1.3 + 2.9 * across, height * rows, across, rows)
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    parts = []
    for axis, name in zip(axes, names, strict=False):
        axis.set_title(name, fontsize=11)
        parts.append((axis, [record for record, panel in zip(records, of, strict=True) if panel == name]))
    return figure, parts


def _cells(records: list[dict]) -> dict[tuple[str, str], list[dict]]:
    """Records by (network, regime), in the order of ALL."""
    found: dict[tuple[str, str], list[dict]] = {}
    for record in sorted(records, key=lambda record: (record["network"], ALL.index(record["regime"]))):
        found.setdefault((record["network"], record["regime"]), []).append(record)
    return found


def _seeds(records: list[dict], pooled: bool = False, bars: bool = True) -> str:
    """How many runs stand behind a mean, of all machines together where they are `pooled`, and what the `bars` are."""
    places = [""] * len(records) if pooled else panels(records)
    cells = zip(places, (mechanism.dial(record["image_source"]) for record in records), records, strict=True)
    sizes = Counter((panel, dial, record["network"], record["regime"]) for panel, dial, record in cells).values()
    if not sizes:
        return "No runs yet."
    about = "no interval is drawn of fewer than three"
    if max(sizes) >= BARS:
        about = "bars and bands, from three runs on, are 95% intervals of the mean"
    return f"n = {span(sizes, 0)} runs a regime and network{f'; {about}' if bars else ''}."


def _band(axis: Axes, mean: pd.DataFrame, runs: list[dict], colour: str) -> None:
    """The 95% band around a curve (`pace.curve`), from BARS runs on."""
    if len(runs) >= BARS:
        axis.fill_between(mean["spent"], mean["low"], mean["high"], color=colour, alpha=0.15, linewidth=0)


def hollow(colour: str) -> dict[str, str]:
    """The style of a mark that is an outline alone."""
    return {"color": colour, "markerfacecolor": "white", "markeredgecolor": colour}


def _legend(figure: Figure, regimes: Iterable[str], more: Iterable[tuple[str, dict]] = (), line: bool = True) -> None:
    """One legend for the whole figure, above its panels."""
    axis = figure.axes[0]
    handles = [axis.plot([], [], marker=MARKERS[regime], color=PALETTE[regime], label=LABELS[regime],
                         linestyle=LINES[regime] if line else "none")[0] for regime in regimes]  # fmt: skip
    handles += [axis.plot([], [], label=label, **style)[0] for label, style in more]
    columns = min(6, max(1, len(handles)))
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, frameon=False, fontsize=9)


def _present(records: list[dict]) -> list[str]:
    there = {record["regime"] for record in records}
    return [regime for regime in ALL if regime in there]


def _error(values: np.ndarray) -> np.ndarray | None:
    """Reach of the 95% interval of the mean for matplotlib's error bars; None for fewer than BARS runs."""
    if len(values) < BARS:
        return None
    low, high = statistics.t_interval(values)
    return np.array([[max(0.0, values.mean() - low)], [max(0.0, high - values.mean())]])  # equal values: no -1e-17


def front(records: list[dict]) -> Figure:
    """Accuracy over T at the end of each run: every run a point, means, the Pareto front of the means.

    Of the conditions that the verdict counts (`statistics.best`); all are in the other figures. Hollow: sub-total
    (before re-training). The front is made of the means of each regime after TTA.
    """
    every = table(records)
    inside = statistics.counted(every, statistics.best(statistics.compare(every)))
    shown = [record for record, counted in zip(records, inside, strict=True) if counted]
    figure, parts = _by_panel(shown, 3.5, letters(records))
    for axis, of_panel in parts:
        means = []
        for (_, regime), runs in _cells(of_panel).items():
            look = {"color": PALETTE[regime], "marker": MARKERS[regime]}
            for part in ("subtotal", "total"):
                x, y = (np.array([run[f"{name}_{part}"] for run in runs]) for name in ("seconds", "accuracy"))
                edge = hollow(PALETTE[regime]) if part == "subtotal" else {}
                axis.plot(x, y, **(look | RUNS | edge), markersize=8)
                if part == "total":
                    means.append((float(x.mean()), float(y.mean())))
                    axis.plot(*means[-1], "+" if len(runs) > 1 else "", color=PALETTE[regime], markersize=12)
        best = pace.front(means)
        if best:
            axis.step(*zip(*best, strict=True), where="post", color="black", linewidth=1, linestyle=":", zorder=1)
        axis.margins(0.12)
        axis.set(xlabel=T, xlim=(0, None))
    figure.axes[0].set_ylabel(A)
    more = [("before re-training (hollow)", RUNS | hollow("grey") | {"marker": "o"}),
            ("Pareto front", {"linestyle": ":", "color": "black"})]  # fmt: skip
    _legend(figure, _present(shown), more, line=False)
    about = ("Every run under conditions that the verdict counts is a point, its place after TTA; + are means, and the "
             "front is of means.")  # fmt: skip
    return foot(figure, records, f"{about} {_seeds(shown, bars=False)}")


def accuracy_over_time(records: list[dict]) -> Figure:
    """Figure 5: accuracy over seconds of training, the mean of the seeds with its band; crosses mark every run's
    sub-total, its marker the total (after TTA)."""
    figure, parts = _by_panel(records, 3.5)
    for axis, of_panel in parts:
        for (_, regime), runs in _cells(of_panel).items():
            mean, colour = pace.curve(runs), PALETTE[regime]
            axis.plot(mean["spent"], mean["accuracy"], linestyle=LINES[regime], color=colour, linewidth=1.5)
            _band(axis, mean, runs, colour)
            ends = {part: [[run[f"{name}_{part}"] for run in runs] for name in ("seconds", "accuracy")]
                    for part in ("subtotal", "total")}  # fmt: skip
            axis.plot(*ends["subtotal"], "x", color=colour, markersize=7)
            axis.plot(*ends["total"], MARKERS[regime], color=colour, markersize=8, markeredgecolor="black",
                      markeredgewidth=0.5)  # fmt: skip
        axis.set(xlabel=T, ylim=(0, 1.02), xlim=(0, None))
    figure.axes[0].set_ylabel(A)
    _legend(figure, _present(records), [("sub-total", {"marker": "x", "color": "grey", "linestyle": "none"})])
    networks = sorted({record["network"] for record in records})
    named = f" A curve a network: {', '.join(networks)}." if len(networks) > 1 else ""
    return foot(figure, records, f"Marks at the end: after TTA. {_seeds(records)}{named}")


def efficiency(records: list[dict]) -> Figure:
    """Figure 4: standardised accuracy by dataset, network and regime, before (sub-total) and after re-training."""
    figure, parts = _by_panel(records, 3.4)
    for axis, of_panel in parts:
        places = [(network, part) for network in sorted({record["network"] for record in of_panel})
                  for part in ("subtotal", "total")]  # fmt: skip
        regimes = _present(of_panel)
        for (network, regime), runs in _cells(of_panel).items():
            for part in ("subtotal", "total"):
                x = places.index((network, part)) + 0.7 * ((regimes.index(regime) + 0.5) / len(regimes) - 0.5)
                y = np.array([run[f"efficiency_{part}"] for run in runs])
                look = {"color": PALETTE[regime], "marker": MARKERS[regime]}
                axis.plot(np.full(len(y), x), y, **look, **RUNS, markersize=8)
                if len(y) > 1:
                    axis.errorbar(x + 0.05, y.mean(), _error(y), color=PALETTE[regime], capsize=3, marker="_")
        axis.set_xticks(range(len(places)), [f"{network}\n{part.replace('sub', 'sub-')}" for network, part in places],
                        fontsize=9)  # fmt: skip
        axis.margins(y=0.12)
        axis.set(ylim=(0, None), xlim=(-0.5, max(0.5, len(places) - 0.5)))
    figure.axes[0].set_ylabel("As = sqrt(A / T), T in minutes")
    _legend(figure, _present(records), line=False)
    return foot(figure, records, f"Every run is a point; dashes are means. {_seeds(records)}")


def against_control(records: list[dict]) -> Figure:
    """Each treatment against no increase: T and As as ratios, accuracy in points; every pair of runs a point.

    Thick: 95% interval, about these images. Thin: the corrected one, about another draw of them. From BARS pairs on:
    of two the interval would squash all else; the table has it.
    """
    runs, of = table(records), letters(records)
    compared, both = statistics.compare(runs), statistics.pairs(runs)
    shown = {"time": "T, ratio", "efficiency": "As, ratio", "points": "accuracy, points"}
    figure, axes = new(10, 1.6 + 0.42 * max(1, len(compared)), len(shown), sharey=True)
    for axis, (name, title) in zip(axes, shown.items(), strict=True):
        measure = statistics.MEASURES[name]
        for y, row in compared.iterrows():
            cell = both[(both[statistics.TOGETHER] == row[statistics.TOGETHER]).all(axis=1)
                        & (both["regime"] == row["treatment"])]  # fmt: skip
            values = statistics.differences(cell, measure)
            if row["n"] >= BARS:
                _interval(axis, y, row, name)
            axis.plot(row[name], y, "|", color="black", markersize=14)
            axis.plot(np.exp(values) if measure[1] else values, np.full(len(values), y), **RUNS, markersize=7,
                      color=PALETTE[row["treatment"]], marker=MARKERS[row["treatment"]])  # fmt: skip
        axis.margins(x=0.08)
        axis.axvline(1 if measure[1] else 0, color="black", linewidth=1)
        axis.set(xlabel=title)
    names = [f"{row['dataset']}{_machines(compared.loc[[i]], of)}, {row['network']}, {said(row['treatment'])}"
             for i, row in compared.iterrows()]  # fmt: skip
    axes[0].set_yticks(range(len(names)), names, fontsize=9)
    axes[0].set_ylim(max(1, len(names)) - 0.5, -0.5)
    seeds = f"n = {span(compared['n'], 0)} seeds a row." if len(compared) else "Nothing to compare yet."
    about = "Every pair of runs is a point, | their mean. From three pairs on, thick: 95% interval; thin: corrected."
    return foot(figure, records, f"{about} {seeds}")


def _machines(compared: pd.DataFrame, of: dict[str, str]) -> str:
    """The letters of the settings that pairs were made in, where there are several."""
    return f" ({' + '.join(of[where] for where in statistics.machines(compared))})" if of else ""


def _interval(axis: Axes, y: float, row: pd.Series, name: str) -> None:
    for kind, width in (("_wide", 1.0), ("", 3.0)):
        axis.plot([row[f"{name}{kind}_low"], row[f"{name}{kind}_high"]], [y, y], color="dimgrey", linewidth=width)


def reckonings(variants: pd.DataFrame, records: list[dict]) -> Figure:
    """The ratio of As, treatment / control, for each way of reckoning As; from `scrutiny.variants`."""
    names = list(dict.fromkeys(variants["variant"])) if len(variants) else []
    where = list(dict.fromkeys(variants[PLACE].itertuples(index=False, name=None))) if names else []
    of = letters(records)
    figure, axes = new(10, 1.2 + 0.4 * max(2, len(names)), max(1, len(where)), sharey=True)
    several = len({network for _, network, _ in where}) > 1
    for axis, (dataset, network, alike) in zip(axes, where, strict=False):
        rows = variants[(variants[PLACE] == [dataset, network, alike]).all(axis=1)]
        for i, (treatment, cell) in enumerate(rows.groupby("treatment", sort=False)):
            y = np.array([names.index(name) for name in cell["variant"]]) - 0.15 + 0.3 * i
            reach = np.abs(cell[["ratio_low", "ratio_high"]].to_numpy() - cell[["ratio"]].to_numpy()).T
            reach[:, cell["n"] < BARS] = 0
            axis.errorbar(cell["ratio"], y, xerr=np.nan_to_num(reach), linestyle="none", color=PALETTE[treatment],
                          marker=MARKERS[treatment], markersize=6)  # fmt: skip
        axis.axvline(1, color="black", linewidth=1)
        title = f"{dataset}, {network}" if several else dataset
        axis.set_title(f"{title}{_machines(rows, of)}", fontsize=11)
        axis.set(xlabel="ratio of As")
    axes[0].set_yticks(range(len(names)), names, fontsize=9)
    axes[0].set_ylim(max(1, len(names)) - 0.5, -0.5)
    _legend(figure, [name for name in ALL if names and name in set(variants["treatment"])], line=False)
    about = "Right of 1: As is higher than with no increase. Bars, from three pairs on: 95% intervals."
    seeds = f"n = {span(variants['n'], 0)} pairs." if names else "No runs yet."
    return foot(figure, records, f"{about} {seeds}")


def figure1(records: list[dict]) -> Figure:
    """Figure 1, measured: accuracy over FLOPs, small (A to B), large (C to D), growing (A to D).

    A panel for each dial of the images, of a seed the runs of one machine; curves are means over seeds with 95% bands,
    marks every run after TTA; hollow ones are at the size last trained at, where that is not the full one.
    """
    records = mechanism.of_one_machine(records)
    figure, axes = new(10, 3.6, len(mechanism.DIALS), sharey=True)
    named = {"small": ("A", "B"), "no_increase": ("C", "D"), "gradual": ("A", "D")}
    for axis, dial in zip(axes, mechanism.DIALS, strict=True):
        on = [record for record in records if mechanism.dial(record["image_source"]) == dial]
        shown = [record for record in on if record["regime"] in named]
        for (_, regime), runs in _cells(shown).items():
            mean, colour = pace.curve(runs, "flops"), PALETTE[regime]
            axis.plot(mean["spent"], mean["accuracy"], linestyle=LINES[regime], color=colour)
            _band(axis, mean, runs, colour)
            ends = [(run["flops_total"], run["accuracy_total"]) for run in runs]
            axis.plot(*zip(*ends, strict=True), marker=MARKERS[regime], color=colour, **RUNS, markersize=7)
            if regime == "small":
                own = [(run["flops_total"], run["stages"][-1]["accuracy_train_size"]) for run in runs]
                axis.plot(*zip(*own, strict=True), marker=MARKERS[regime], **(RUNS | hollow(colour)), markersize=7)
            for letter, at, side in zip(named[regime], (0, -1), ("right", "left"), strict=True):
                axis.annotate(letter, mean[["spent", "accuracy"]].to_numpy()[at], fontsize=10, weight="bold",
                              color=colour, ha=side, va="bottom")  # fmt: skip
        if on:
            axis.axhline(1 / len(on[0]["class_names"]), color="grey", linewidth=1, linestyle=":")
        axis.set_title(f"class carried by {dial} detail" if dial != "both" else "class carried by both", fontsize=11)
        axis.set(xlabel="FLOPs of training", ylim=(0, 1.02))
    axes[0].set_ylabel(A)
    _legend(figure, [regime for regime in ALL if regime in named],
            [("small, tested small (hollow)", RUNS | hollow(PALETTE["small"]) | {"marker": MARKERS["small"]}),
             ("chance", {"color": "grey", "linestyle": ":", "linewidth": 1})])  # fmt: skip
    return foot(figure, records, f"A to B small, C to D large, A to D growing. {_seeds(records, pooled=True)}")
