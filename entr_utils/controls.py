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
    PLACE,
    best,
    compare,
    interval_text,
    of_one_machine,
    pairs,
    stacked,
)
from entr_utils.verdicts import NOT_CORRECTED, said

RIVALS = ("small", "short", "reversed")
EARLY = ("small", "short")  # those that do less
AGAINST = (CONTROL, "gradual")
LESS = set(PARTS["3"].seeds)  # on which short was planned
OWN = {"time": MEASURES["time"], "efficiency": ("own", True), "points": ("train_size_TTA", False)}
SHOWN = {name: MEASURES[name] for name in ("time", "flops", "efficiency", "points")}
PLANNED = len(PARTS["3"].seeds["bees"])  # as of part 1; fewer leave every interval open: nothing against growing
MATCHED = 0.05  # short's T is planned to be within so much of gradual's


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """Each control regime against no increase and against gradual: `statistics.compare` with a column against."""
    return stacked(compare(table, RIVALS, against, SHOWN).assign(against=against) for against in AGAINST)


def missing(table: pd.DataFrame) -> str:
    """Which control regimes have no record, dataset by dataset, in a sentence; "" where all have."""
    lacking: dict[str, list[str]] = {}
    for dataset, runs in table.groupby("dataset", sort=False) if len(table) else ():
        without = ", ".join(regime for regime in RIVALS if regime not in set(runs["regime"]))
        lacking.setdefault(without, []).append(str(dataset))
    each = "; ".join(f"{without} on {', '.join(on)}" for without, on in lacking.items() if without)
    return f"No record yet of these controls: {each}." if each else ""


def in_time(table: pd.DataFrame) -> pd.DataFrame:
    """Without the runs of short whose T was not within 5% of that of gradual of the same seed: they say nothing."""
    off = _off(table)
    return table[~table["key"].isin(off[off.abs() > MATCHED].index)] if len(off) else table


def _off(table: pd.DataFrame) -> pd.Series:
    """By the key of each run of short how far its T is from that of gradual of the same seed, as a share of it."""
    machines = table.groupby("setting", sort=False) if len(table) else ()
    both = stacked(pairs(runs, ("short",), "gradual") for _, runs in machines)  # of each, not one a seed
    if both.empty:
        return pd.Series(dtype=float)
    return pd.Series((both["seconds_total"] / both["seconds_total_control"] - 1).to_numpy(), both["key"])


def change_of_mind(comparisons: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """The findings that predictions.md says would change our mind, where the planned seeds are there; with ResNet18.

    Args:
        comparisons: treatments against no increase, of the same conditions each (`statistics.best`).
        table: of all runs, from `records.load`.
    """
    beside = compare(in_time(table), ("short",), "gradual", SHOWN)
    short = best(beside[(beside["network"] == "resnet18") & (beside["n"] >= PLANNED)])
    better = set(short[short["points_high"] < 0]["dataset"]) if len(short) else set()
    return [
        "Growing is more than a way of doing less if gradual beats short in accuracy at its T, by an interval, on bees "
        f"and ucm. So far on {len(better & LESS)} of 2; short has {PLANNED} seeds at that T on "
        f"{len(set(short['dataset']) & LESS)}.",
        no_good(comparisons),
    ]


def no_good(comparisons: pd.DataFrame) -> str:
    """The other finding of `change_of_mind`, with the treatments that it is of; T aligned beside T as measured."""
    grown = comparisons[(comparisons["network"] == "resnet18") & (comparisons["n"] >= PLANNED)]
    ran, met, on, aligned = ", ".join(sorted(set(grown["dataset"]))), False, "none", "none"
    if ran:
        loses = (grown["points"] < -MARGIN) & (grown["points_high"] < 0)
        lost = {time: grown[((grown[f"{time}_low"] <= 1) & (grown[f"{time}_high"] >= 1)) | loses]
                for time in ("time", "aligned")}  # fmt: skip
        met, on, aligned = len(set(lost["time"]["dataset"])) > 1, *map(_named, lost.values())
    return (f"{'Met by the letter' if met else 'Not met so far'}: growing is no good at all if, on two of the three "
            "datasets, the interval of the ratio of T includes 1 (it can for want of seeds or of a steady machine, "
            f"too), or accuracy falls by more than {MARGIN:g} point with an interval below 0. Judged from {PLANNED} "
            f"seeds on ({ran or 'no dataset has them'}), so it is on {on}; with the control's seconds for the same "
            f"work, which was not planned, on {aligned}.")  # fmt: skip


def _named(comparisons: pd.DataFrame) -> str:
    """Datasets, each with its treatments: "bees (gradual and stepwise)"."""
    return ", ".join(f"{dataset} ({' and '.join(map(said, rows['treatment']))})"
                     for dataset, rows in comparisons.groupby("dataset", sort=False)) or "none"  # fmt: skip


def says(table: pd.DataFrame) -> str:
    """Whether As can be won by doing less than gradual, in a sentence, by 95% intervals; of runs `in_time`."""
    early = best(compare(in_time(table), EARLY, "gradual", SHOWN))
    if early.empty:
        return ("Whether As can be won by doing less is open: neither small nor short at gradual's T has run beside "
                "gradual. Until one has, a higher As is no evidence for growing.")  # fmt: skip
    lines = [f"{said(row['treatment'])} on {row['dataset']}, As x {interval_text(row, 'efficiency')} of gradual's at "
             f"{interval_text(row, 'points', 1)} points (n = {row['n']})" for _, row in early.iterrows()]  # fmt: skip
    more, less = int((early["efficiency_low"] > 1).sum()), int((early["efficiency_high"] < 1).sum())
    answer = "Whether As can be won by doing less, tested at full size, is not decided"
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
    found = f" Tested at its own size: T x {time} of gradual's, {points} points, As x {ratio} (n = {row['n']})."
    if not row["efficiency_low"] > 1:
        return found
    corrected = "" if row["efficiency_wide_low"] > 1 else NOT_CORRECTED
    return f"{found} So where images may be tested small, never growing has the higher As by a 95% interval{corrected}."


def matched(table: pd.DataFrame) -> str:
    """In how many runs the T of short came within 5% of gradual's of the same seed; "" where there is none."""
    off = _off(table)
    if off.empty:
        return ""
    near = int((off.abs() <= MATCHED).sum())
    return (f"The T of short came within {MATCHED:.0%} of gradual's in {near} of {len(off)} runs "
            f"({off.min():+.1%} to {off.max():+.1%}); nothing is concluded from one that did not.")  # fmt: skip
