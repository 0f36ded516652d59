"""Paired comparisons of growing images with no increase, and what may be said of them. No torch here."""

import numpy as np
import pandas as pd
from scipy import stats

CONTROL = "no_increase"
PAIR = ["seed", "split_sha256"]  # what a treatment and its control share: split, order of images, initial head
MEASURES = {  # name -> (column, is a ratio)
    "time": ("seconds_total", True), "time_subtotal": ("seconds_subtotal", True), "flops": ("flops_total", True),
    "efficiency_subtotal": ("efficiency_subtotal", True), "efficiency": ("efficiency_total", True),
    "efficiency_warm": ("efficiency_total_with_warmup", True), "points_subtotal": ("accuracy_subtotal", False),
    "points": ("accuracy_total", False),
}  # fmt: skip


def t_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Student-t interval of the mean; (nan, nan) for a single value: one run tells nothing about its spread."""
    if len(values) < 2:
        return float("nan"), float("nan")
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    low, high = stats.t.interval(confidence, len(values) - 1, np.mean(values), stats.sem(values))
    return float(low), float(high)


def compare(table: pd.DataFrame) -> pd.DataFrame:
    """Each treatment against no increase, paired by seed; one row a dataset, network, `comparable` and treatment.

    Args:
        table: from `records.load`. Runs are paired only where all but regime and seed agree (`comparable`), by seed.
    Returns columns dataset, network, weights, setting, treatment, n, n_val, and for each of MEASURES the mean, `_low`
    and `_high` (95%): ratios treatment / control from logarithms; accuracy differences in percentage points.
    """
    names = ["dataset", "network", "weights", "setting", "treatment", "n", "n_val"]
    if table.empty:
        return pd.DataFrame(columns=[*names, *MEASURES])
    rows: list[dict] = []
    for (*cell_names, _), cell in table.groupby([*names[:4], "comparable"], sort=False):
        control = cell[cell["regime"] == CONTROL].set_index(PAIR)
        for treatment, runs in cell[cell["regime"] != CONTROL].groupby("regime", sort=False):
            both = runs.set_index(PAIR).join(control.add_suffix("_control"), how="inner")
            if len(both):
                row = dict(zip(names, (*cell_names, treatment, len(both), both["n_val"].min()), strict=True))
                for name, (column, ratio) in MEASURES.items():
                    row |= _measure(name, both[column].to_numpy(), both[f"{column}_control"].to_numpy(), ratio)
                rows.append(row)
    return pd.DataFrame(rows, columns=None if rows else [*names, *MEASURES])


def left_out(table: pd.DataFrame) -> int:
    """How many runs `compare` cannot use: no partner of the same seed, images, weights, device and protocol."""
    if table.empty:
        return 0
    regimes = table.groupby(["comparable", *PAIR])["regime"].transform(
        lambda cell: CONTROL in set(cell) and len(set(cell)) > 1
    )
    return int((~regimes.astype(bool)).sum())


def _measure(name: str, treatment: np.ndarray, control: np.ndarray, ratio: bool) -> dict[str, float]:
    with np.errstate(divide="ignore", invalid="ignore"):  # an accuracy of 0 has no ratio: the result is nan
        values = np.log(treatment / control) if ratio else 100 * (treatment - control)
    back = np.exp if ratio else float
    low, high = t_interval(values)
    return {name: float(back(values.mean())), f"{name}_low": float(back(low)), f"{name}_high": float(back(high))}


def paid(row: pd.Series) -> str:
    """What one comparison says: "yes", "no", or "open" (too few runs, or an interval that includes no gain).

    Yes means faster and not less accurate than the validation set can tell apart (one image); no means slower, or
    less accurate by more than that. With several seeds the whole interval has to say so.
    """
    image = 100 / row["n_val"]
    if row["n"] < 2:
        return "open"
    if row["time_high"] < 1 and row["points_low"] > -image:
        return "yes"
    if row["time_low"] > 1 or row["points_high"] < -image:
        return "no"
    return "open"


def interval_text(row: pd.Series, name: str, digits: int = 2) -> str:
    """Mean with its 95% interval, or the mean alone with "n = 1" left to the column n."""
    mean, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    sign = "+" if name.startswith("points") else ""
    text = f"{mean:{sign}.{digits}f}"
    return text if np.isnan(low) else f"{text} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def headline(comparisons: pd.DataFrame) -> str:
    """Whether growing images paid, by how much, on how many cells: the first sentences of a summary."""
    if comparisons.empty:
        return "Nothing to compare yet: a treatment and its control (no_increase) have to be there for one seed."
    cells, n = len(comparisons), comparisons["n"]
    faster, better = int((comparisons["time"] < 1).sum()), int((comparisons["efficiency"] > 1).sum())
    images = comparisons["points"] * comparisons["n_val"] / 100  # accuracy difference in validation images
    kept, one = int((images > -0.5).sum()), int(((images <= -0.5) & (images > -1.5)).sum())
    runs = f"{n.min()}" if n.min() == n.max() else f"{n.min()} to {n.max()}"
    decided = int((comparisons.apply(paid, axis=1) != "open").sum())
    spread = f"Decided at 95%: {decided} of {cells}."
    if n.max() == 1:
        spread = "One seed a cell: no interval can be had from one run, and no cell can be called decided."
    return (
        f"**Growing the images saved time in {faster} of {cells} comparisons** (T {_percent(comparisons['time'])}; "
        f"before re-training, {_percent(comparisons['time_subtotal'])}). **Accuracy was kept or better in {kept} of "
        f"{cells}**, lower by a single validation image in {one}, by more in {cells - kept - one} "
        f"({comparisons['points'].min():+.1f} to {comparisons['points'].max():+.1f} points; before re-training, "
        f"{comparisons['points_subtotal'].min():+.1f} to {comparisons['points_subtotal'].max():+.1f}). Standardised "
        f"accuracy As was higher in {better} of {cells}; it rewards speed, so it can rise while accuracy falls. "
        f"Seeds a cell: {runs}. {spread}"
    )


def _percent(ratios: pd.Series) -> str:
    return f"{100 * (ratios.min() - 1):+.0f}% to {100 * (ratios.max() - 1):+.0f}%"


def recommend(comparisons: pd.DataFrame) -> str:
    """The regime to use: the fastest treatment that lost no more than one validation image, else no increase."""
    kept = comparisons[(comparisons["points"] * comparisons["n_val"] > -100.5) & (comparisons["time"] < 1)]
    return str(kept.loc[kept["time"].idxmin(), "treatment"]) if len(kept) else CONTROL


def own_verdict(comparisons: pd.DataFrame) -> str:
    """One paragraph for a user's own images: time saved, accuracy gained or lost, the regime to use, how sure."""
    if comparisons.empty:
        return "No verdict: a treatment and its control have to be there for one seed at least."
    sentences = []
    for _, row in comparisons.iterrows():
        change, image = 100 * (row["time"] - 1), 100 / row["n_val"]
        sentences.append(
            f"{row['treatment'].capitalize()} took {abs(change):.0f}% {'less' if change < 0 else 'more'} training "
            f"time than no increase and was {abs(row['points']):.1f} points "
            f"{'more' if row['points'] >= 0 else 'less'} accurate "
            f"({row['n_val']} validation images: one is {image:.1f} points)."
        )
    use, n = recommend(comparisons), int(comparisons["n"].min())
    why = "no other saved time at its accuracy" if use == CONTROL else "the fastest that lost no more than one image"
    decided = use != CONTROL and paid(comparisons.set_index("treatment").loc[use]) == "yes"
    sure = f"How sure: {n} seeds; the 95% intervals {'exclude' if decided else 'do not exclude'} the opposite."
    if n < 2:
        sure = "How sure: one seed, so this is one observation; add seeds for an interval."
    return f"{' '.join(sentences)} **Use {use.replace('_', ' ')}**: {why}. {sure}"
