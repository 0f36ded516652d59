"""What may be said of paired comparisons: the first sentences, who paid, what to use. No torch here."""

import numpy as np
import pandas as pd

from entr_utils.statistics import CONTROL, MARGIN, interval_text


def said(name: str) -> str:
    """A regime's name in a sentence: no increase."""
    return name.replace("_", " ")


def paid(row: pd.Series) -> str:
    """What one comparison says: "yes", "no", or "open" (one run, or an interval that includes both).

    Yes means faster, and not less accurate by more than the margin; no means slower, or less accurate by more than
    that. The whole 95% interval has to say so.
    """
    if row["n"] < 2:
        return "open"
    if row["time_high"] < 1 and row["points_least"] > -MARGIN:
        return "yes"
    if row["time_low"] > 1 or row["points_most"] < -MARGIN:
        return "no"
    return "open"


def headline(comparisons: pd.DataFrame) -> str:
    """Whether growing images paid, in three sentences: time, accuracy, As; then how many seeds stand behind them.

    The smallest and the largest value stand there with their intervals. Comparisons are counted, not tested: both
    treatments share a control.
    """
    if comparisons.empty:
        return "Nothing to compare yet: a treatment and its control (no_increase) have to be there for one seed."
    cells, n = len(comparisons), comparisons["n"]
    faster, lower = int((comparisons["time"] < 1).sum()), int((comparisons["points"] < 0).sum())
    higher, kept = int((comparisons["efficiency"] > 1).sum()), int((comparisons["kept"] == "kept").sum())
    can = comparisons["tost_margin"].dropna()
    margin = f"; the least margin these data could establish is {span(can)} points" if len(can) else ""
    return (
        f"**Growing the images saved time in {faster} of {cells} comparisons** (T x {_ends(comparisons, 'time', 2)})"
        f"{_decided(comparisons['time_high'] < 1, n)}. "
        f"**Accuracy was shown to be kept within {MARGIN:g} point in {kept} of {cells}** and was lower in {lower} of "
        f"{cells} ({_ends(comparisons, 'points', 1)}, in points; one validation image is "
        f"{span(comparisons['image'])} points{margin}). "
        f"**As was higher in {higher} of {cells}** (x {_ends(comparisons, 'efficiency', 2)})"
        f"{_decided(comparisons['efficiency_low'] > 1, n)}{_breaks_even(comparisons)}.\n\n{_seeds(n)}"
    )


def _breaks_even(comparisons: pd.DataFrame) -> str:
    saved = 100 * (1 - float(np.exp(np.log(comparisons["time"]).mean())))
    if saved < 0.5:
        return ""
    return f", which says little by itself: at this T it rises until accuracy has fallen by {saved:.0f}% of itself"


def _ends(comparisons: pd.DataFrame, name: str, digits: int) -> str:
    """The smallest and largest of a measure, interval and cell: "0.78 with gradual on steel to 0.87 with ..."."""
    order = comparisons.sort_values(name, kind="stable")
    ends = [order.iloc[0], order.iloc[-1]] if len(order) > 1 else [order.iloc[0]]
    network = len(set(comparisons["network"])) > 1
    return " to ".join(
        f"{interval_text(row, name, digits)} with {said(row['treatment'])} on {row['dataset']}"
        + (f", {row['network']}" if network else "")
        for row in ends
    )


def _decided(excludes: pd.Series, n: pd.Series) -> str:
    return f", with a 95% interval that says so in {int(excludes.sum())}" if n.max() > 1 else ""


def span(values: pd.Series, digits: int = 1) -> str:
    """Smallest to largest, once where they read the same."""
    low, high = f"{values.min():.{digits}f}", f"{values.max():.{digits}f}"
    return low if low == high else f"{low} to {high}"


def _seeds(n: pd.Series) -> str:
    runs = f"{n.min()}" if n.min() == n.max() else f"{n.min()} to {n.max()}"
    if n.max() == 1:
        return f"Seeds a comparison: {runs}. No interval can be had from one run, and nothing is decided by it."
    alone = int((n == 1).sum())
    one = f" {alone} of them stand on one run and have no interval." if alone else ""
    return (f"Seeds a comparison: {runs}. In brackets: 95% intervals, paired by seed.{one} Both treatments share a "
            "control, so the comparisons are not independent, and their counts are no test.")  # fmt: skip


def recommend(comparisons: pd.DataFrame) -> str:
    """The regime to use: the fastest treatment that lost no more than one validation image, else no increase."""
    kept = comparisons[(comparisons["points"] * comparisons["n_val"] > -100.5) & (comparisons["time"] < 1)]
    return str(kept.loc[kept["time"].idxmin(), "treatment"]) if len(kept) else CONTROL


def recommendations(comparisons: pd.DataFrame) -> list[dict[str, str]]:
    """For each dataset and network: which regime, why, how sure.

    Where a treatment paid (`paid`), the fastest that did; where all were shown not to, no increase; else what
    `recommend` takes from the means, called a hint.
    """
    rows = []
    for (dataset, network), cell in comparisons.groupby(["dataset", "network"], sort=False):
        states = cell.apply(paid, axis=1)
        sure = "decided at 95%" if (states == "yes").any() or (states == "no").all() else "open: a hint, no more"
        shown = cell[states == "yes"] if (states == "yes").any() else cell
        use = recommend(cell)
        if sure.startswith("decided"):
            use = str(shown.loc[shown["time"].idxmin(), "treatment"]) if (states == "yes").any() else CONTROL
        why = "; ".join(f"{said(row['treatment'])}: T x {interval_text(row, 'time')}, "
                        f"{interval_text(row, 'points', 1)} points" for _, row in cell.iterrows())  # fmt: skip
        sure = f"{sure} (n = {span(cell['n'], 0)})"
        rows.append({"dataset": dataset, "network": network, "use": said(use), "why": why, "how sure": sure})
    return rows


def when_not(table: pd.DataFrame, comparisons: pd.DataFrame) -> list[str]:
    """When growing images is not worth the bother, as far as these records say."""
    lines = []
    control = table[table["regime"] == CONTROL] if len(table) else table
    if len(control):
        left = 100 * (control["seconds_subtotal"] / control["seconds_total"]).groupby(control["dataset"]).mean()
        each = ", ".join(f"{dataset} {share:.0f}%" for dataset, share in left.items())
        lines.append(
            "When most of the time goes to the last stage. Only what comes before re-training at full size can be made "
            f"smaller; of the time of no increase that was {each}, and no regime that ends at full size can save more."
        )
    if len(comparisons):
        more = int((comparisons["points_least"] > 0).sum())
        lines.append(
            f"When accuracy is what counts. Growing was shown to be more accurate in {more} of {len(comparisons)} "
            f"comparisons, and less accurate in {int((comparisons['points_most'] < 0).sum())}."
        )
    return [*lines, "When loading binds: these seconds are of images that lie decoded on the device. Where each step "
            "waits for a disk or a JPEG decoder, a smaller image saves less."]  # fmt: skip


def own_verdict(comparisons: pd.DataFrame) -> str:
    """One paragraph for a user's own images: time saved, accuracy gained or lost, the regime to use, how sure."""
    if comparisons.empty:
        return "No verdict: a treatment and its control have to be there for one seed at least."
    sentences = []
    for _, row in comparisons.iterrows():
        change = 100 * (row["time"] - 1)
        sentences.append(
            f"{row['treatment'].capitalize()} took {abs(change):.0f}% {'less' if change < 0 else 'more'} training "
            f"time than no increase and was {abs(row['points']):.1f} points "
            f"{'more' if row['points'] >= 0 else 'less'} accurate "
            f"({row['n_val']} validation images: one is {row['image']:.1f} points)."
        )
    use, n = recommend(comparisons), int(comparisons["n"].min())
    why = "no other saved time at its accuracy" if use == CONTROL else "the fastest that lost no more than one image"
    decided = use != CONTROL and paid(comparisons.set_index("treatment").loc[use]) == "yes"
    sure = f"How sure: {n} seeds; the 95% intervals {'exclude' if decided else 'do not exclude'} the opposite."
    if n < 2:
        sure = "How sure: one seed, so this is one observation; add seeds for an interval."
    return f"{' '.join(sentences)} **Use {said(use)}**: {why}. {sure}"
