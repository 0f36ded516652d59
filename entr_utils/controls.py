"""Regimes that could dethrone growing images: small throughout, short at full size, sizes reversed. No torch here.

`small` never sees a large image (.4 of the size throughout), `short` is no increase with shorter cycles, planned so
that its T matches gradual's, `reversed` begins large. If small or short has the higher As, As rewards stopping early.
"""

import pandas as pd

from entr_utils.evidence import PARTS
from entr_utils.statistics import (
    CONTROL,
    MARGIN,
    MEASURES,
    PAIR,
    PLACE,
    best,
    compare,
    interval_text,
    of_one_machine,
    stacked,
)
from entr_utils.verdicts import said

RIVALS = ("small", "short", "reversed")
EARLY = ("small", "short")  # those that do less
AGAINST = (CONTROL, "gradual")
LESS = set(PARTS["3"].seeds)  # on which short was planned
OWN = {"time": MEASURES["time"], "efficiency": ("own", True), "points": ("train_size_TTA", False)}
SHOWN = {name: MEASURES[name] for name in ("time", "efficiency", "points")}
PLANNED = len(PARTS["3"].seeds["bees"])  # as of part 1; fewer leave every interval open: nothing against growing
MATCHED = 0.05  # short's T is planned to be within so much of gradual's


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """Each control regime against no increase and against gradual: `statistics.compare` with a column against."""
    found = stacked(compare(table, RIVALS, against, SHOWN).assign(against=against) for against in AGAINST)
    return found if len(found) else compare(pd.DataFrame()).assign(against="")


def missing(table: pd.DataFrame) -> str:
    """Which control regimes have no record, in a sentence; "" where all have."""
    there = set(table["regime"]) if len(table) else set()
    lacking = [regime for regime in RIVALS if regime not in there]
    return f"No record of these controls on these images yet: {', '.join(lacking)}." if lacking else ""


def change_of_mind(comparisons: pd.DataFrame, found: pd.DataFrame) -> list[str]:
    """The findings that predictions.md says would change our mind, where the planned seeds are there; with ResNet18.

    Args:
        comparisons: treatments against no increase, of the same conditions each (`statistics.best`).
        found: from `compared`.
    """
    grown = comparisons[(comparisons["network"] == "resnet18") & (comparisons["n"] >= PLANNED)]
    beside = found[(found["network"] == "resnet18") & (found["treatment"] == "short") & (found["against"] == "gradual")]
    short = best(_in_time(beside[beside["n"] >= PLANNED])) if len(beside) else beside
    better = set(short[short["points_high"] < 0]["dataset"]) if len(short) else set()
    no_use, ran = set(), set(grown["dataset"])
    if len(grown):
        no_saving = (grown["time_low"] <= 1) & (grown["time_high"] >= 1)
        loses = (grown["points"] < -MARGIN) & (grown["points_high"] < 0)
        no_use = set(grown[no_saving | loses]["dataset"])
    return [
        "Growing is more than a way of doing less if gradual beats short in accuracy at its T, by an interval, on bees "
        f"and ucm. So far on {len(better & LESS)} of 2; short has {PLANNED} seeds at that T on "
        f"{len(set(short['dataset']) & LESS)}.",
        "Growing is no good at all if, on two of the three datasets, the interval of the ratio of T includes 1 (it can "
        f"for want of seeds, too), or accuracy falls by more than {MARGIN:g} point with an interval below 0. Judged "
        f"from {PLANNED} seeds on, which {len(ran)} datasets have: so on {len(no_use)}.",
    ]


def _in_time(found: pd.DataFrame) -> pd.DataFrame:
    """Without any short whose T was not that of gradual."""
    return found[(found["treatment"] != "short") | ((found["time"] - 1).abs() <= MATCHED)]


def says(found: pd.DataFrame) -> str:
    """Whether As can be won by doing less than gradual, in a sentence; from `compared`.

    By 95% intervals. A short whose T was not that of gradual says nothing of it.
    """
    early = found[found["treatment"].isin(EARLY) & (found["against"] == "gradual")]
    early = best(_in_time(early)) if len(early) else early
    if early.empty:
        return ("Whether As can be won by doing less is open: neither small nor short at gradual's T has run beside "
                "gradual. Until one has, a higher As is no evidence for growing.")  # fmt: skip
    lines = [f"{said(row['treatment'])} on {row['dataset']}, As x {interval_text(row, 'efficiency')} of gradual's at "
             f"{interval_text(row, 'points', 1)} points (n = {row['n']})" for _, row in early.iterrows()]  # fmt: skip
    more, less = int((early["efficiency_low"] > 1).sum()), int((early["efficiency_high"] < 1).sum())
    answer = "Whether As can be won by doing less is not decided"
    if more:
        answer = f"**As rewards stopping early here**, in {more} of {len(early)} comparisons"
    elif less == len(early):
        answer = "As was not won by doing less"
    return f"{answer}: {'; '.join(lines)}."


def own_size(table: pd.DataFrame) -> list[str]:
    """Small evaluated at its own size and at full size, both after TTA: a line a dataset, network and conditions; at
    its own size also against gradual of the same seeds, at full size."""
    runs = of_one_machine(table[table["regime"] == "small"]) if len(table) else table
    if runs.empty:
        return []
    own = table.assign(own=(table["train_size_TTA"] / table["seconds_total"]) ** 0.5)
    beside = compare(own, ("small",), "gradual", OWN)
    several, lines = len(set(runs["conditions"])) > 1, []
    for (dataset, network, alike), found in runs.groupby(PLACE, sort=False):
        here = beside[(beside[PLACE] == [dataset, network, alike]).all(axis=1)] if len(beside) else beside
        lines.append(
            f"Small on {dataset}, {network}{f' ({alike})' if several else ''}: accuracy "
            f"{found['train_size_TTA'].mean():.3f} at its own size, {found['accuracy_total'].mean():.3f} at full size "
            f"(n = {len(found)}).{''.join(_small(row) for _, row in here.iterrows())}"
        )
    return lines


def _small(row: pd.Series) -> str:
    time, ratio, points = (interval_text(row, name, digits) for name, digits in zip(OWN, (2, 2, 1), strict=True))
    return f" Tested at its own size: T x {time} of gradual's, {points} points, As x {ratio} (n = {row['n']})."


def matched(table: pd.DataFrame) -> str:
    """In how many runs the T of short came within 5% of gradual's of the same seed; "" where there is none."""
    if table.empty:
        return ""
    both = table[table["regime"].isin(["short", "gradual"])].pivot_table(
        values="seconds_total", index=["comparable", "split_rule", *PAIR], columns="regime"
    )
    if not {"short", "gradual"} <= set(both):
        return ""
    off = (both["short"] / both["gradual"] - 1).dropna()
    if off.empty:
        return ""
    near = int((off.abs() <= MATCHED).sum())
    return (f"The T of short came within {MATCHED:.0%} of gradual's in {near} of {len(off)} runs "
            f"({off.min():+.1%} to {off.max():+.1%}).")  # fmt: skip
