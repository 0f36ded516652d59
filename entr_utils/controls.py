"""Regimes that could dethrone growing images: small throughout, short at full size, sizes reversed. No torch here.

`small` never sees a large image (.4 of the size throughout), `short` is no increase with shorter cycles, planned so
that its T matches gradual's, `reversed` begins large. If small or short has the higher As, As rewards stopping early.
"""

import pandas as pd

from entr_utils.statistics import CONTROL, MEASURES, compare, interval_text, stacked
from entr_utils.verdicts import said

RIVALS = ("small", "short", "reversed")
EARLY = ("small", "short")  # those that do less
AGAINST = (CONTROL, "gradual")
SHOWN = {name: MEASURES[name] for name in ("time", "efficiency", "points")}
MATCHED = 0.05  # short's T is planned to be within so much of gradual's


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """Each control regime against no increase and against gradual: `statistics.compare` with a column against."""
    found = stacked(compare(table, RIVALS, against, SHOWN).assign(against=against) for against in AGAINST)
    return found if len(found) else compare(pd.DataFrame()).assign(against="")


def missing(table: pd.DataFrame) -> str:
    """Which control regimes have no record, in a sentence; "" where all have."""
    there = set(table["regime"]) if len(table) else set()
    lacking = [regime for regime in RIVALS if regime not in there]
    return f"No record of these controls yet: {', '.join(lacking)}." if lacking else ""


def says(found: pd.DataFrame) -> str:
    """Whether As can be won by doing less, in a sentence; from `compared`."""
    early = found[found["treatment"].isin(EARLY) & (found["against"] == "gradual")]
    if early.empty:
        return "Whether As can be won by doing less is open: there is no record of small or short beside gradual."
    wins = early[early["efficiency"] > 1]
    if wins.empty:
        return (f"As was not won by doing less: neither small nor short had a higher As than gradual "
                f"({len(early)} comparisons).")  # fmt: skip
    lines = [f"{said(row['treatment'])} on {row['dataset']}, As x {interval_text(row, 'efficiency')} of gradual's at "
             f"{interval_text(row, 'points', 1)} points (n = {row['n']})" for _, row in wins.iterrows()]  # fmt: skip
    sure = int((wins["efficiency_low"] > 1).sum())
    return (f"**As rewards stopping early here**: {'; '.join(lines)}. {sure} of these {len(wins)} have an interval "
            "above 1.")  # fmt: skip


def own_size(table: pd.DataFrame) -> list[str]:
    """Small evaluated at its own size and at full size, both after TTA: a line a dataset and network."""
    runs = table[table["regime"] == "small"] if len(table) else table
    return [
        f"Small on {dataset}, {network}: accuracy {cell['train_size_TTA'].mean():.3f} at its own size, "
        f"{cell['accuracy_total'].mean():.3f} at full size (n = {len(cell)})."
        for (dataset, network), cell in (runs.groupby(["dataset", "network"], sort=False) if len(runs) else ())
    ]


def matched(table: pd.DataFrame) -> str:
    """In how many runs the T of short came within 5% of gradual's of the same seed; "" where there is none."""
    if table.empty:
        return ""
    both = table[table["regime"].isin(["short", "gradual"])].pivot_table(
        values="seconds_total", index=["comparable", "split_rule", "seed", "split_sha256"], columns="regime"
    )
    if not {"short", "gradual"} <= set(both):
        return ""
    off = (both["short"] / both["gradual"] - 1).dropna()
    if off.empty:
        return ""
    near = int((off.abs() <= MATCHED).sum())
    return (f"The T of short came within {MATCHED:.0%} of gradual's in {near} of {len(off)} runs "
            f"({off.min():+.1%} to {off.max():+.1%}).")  # fmt: skip
