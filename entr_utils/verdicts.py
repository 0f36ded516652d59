"""What may be said of paired comparisons: the first sentences, who paid, what to use. No torch here."""

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import pandas as pd

from entr_utils.statistics import CONTROL, MARGIN, interval_text, machines, sign_of

MOST = 6  # comparisons that a sentence can name: three datasets, two treatments, one network
NOT_CORRECTED = ", not by the corrected interval"
STEADY = 1.1  # a machine whose speed differs by less between runs is not remarked upon


def said(name: str) -> str:
    """A regime's name in a sentence: no increase."""
    return name.replace("_", " ")


def number(n: int, noun: str) -> str:
    """A count as it is said: "1 run", "2 runs"."""
    return f"{n} {noun}{'s' * (n != 1)}"


def paid(row: pd.Series, kind: str = "", time: str = "time") -> str:
    """What one comparison says: "yes", "no", or "open" (one run, or an interval that includes both).

    Yes means faster, and not less accurate by more than the margin; no means slower, or less accurate by more than
    that. The whole 95% interval has to say so (kind "_wide": the corrected one); `time` is "aligned" for that T.
    """
    if row["n"] < 2:
        return "open"
    if row[f"{time}{kind}_high"] < 1 and row[f"points{kind}_low"] > -MARGIN:
        return "yes"
    if row[f"{time}{kind}_low"] > 1 or row[f"points{kind}_high"] < -MARGIN:
        return "no"
    return "open"


def answer(comparisons: pd.DataFrame) -> str:
    """Whether growing images paid (`paid`), counted: the answer in a line, before any number."""
    states = _states(comparisons)
    counts = _counts(states)
    said = counts.capitalize() if states["open"] < len(comparisons) else f"Not answered yet: {counts}"
    return f"**Does it pay? {said} of {len(comparisons)} comparisons.**"


def _states(comparisons: pd.DataFrame, **how: str) -> dict[str, int]:
    """How many comparisons each answer of `paid` is given by."""
    found = comparisons.apply(paid, axis=1, **how)
    return {state: int((found == state).sum()) for state in ("yes", "no", "open")}


def _counts(states: dict[str, int]) -> str:
    return ", ".join(f"{state} in {n}" for state, n in states.items())


def headline(comparisons: pd.DataFrame) -> str:
    """Whether growing images paid: the `answer`, then a line each on time, accuracy and As; see `caveats`, too."""
    if comparisons.empty:
        return "Nothing to compare yet: a treatment and its control (no_increase) have to be there for one seed."
    cells, decided = len(comparisons), partial(_decided, comparisons)
    (faster, lower, higher), kept = _directions(comparisons), int((comparisons["kept"] == "kept").sum())
    return "\n".join((
        f"{answer(comparisons)}\n",
        f"- **Time**, as a ratio to no increase's: {_each(comparisons, 'time', 2)}. Lower in {faster} of {cells}"
        f"{decided(lambda kind: comparisons[f'time{kind}_high'] < 1)}.",
        f"- **Accuracy** after re-training, in points more: {_each(comparisons, 'points', 1)}. Lower in {lower} of "
        f"{cells}{decided(lambda kind: comparisons[f'points{kind}_high'] < 0)}. A loss of more than {MARGIN:g} point "
        f"is ruled out in {int((comparisons['points_low'] > -MARGIN).sum())}; kept within {MARGIN:g} point, which "
        f"rules such a gain out, too, in {kept}.",
        f"- **As**, as a ratio to no increase's: {_each(comparisons, 'efficiency', 2)}. Higher in {higher} of {cells}"
        f"{decided(lambda kind: comparisons[f'efficiency{kind}_low'] > 1)}.",
    ))  # fmt: skip


def caveats(comparisons: pd.DataFrame) -> list[str]:
    """What has to be known to read the `headline`, a sentence or two each. Comparisons are counted, not tested: both
    treatments share a control."""
    if comparisons.empty:
        return []
    wide = _states(comparisons, kind="_wide")
    return [
        f"Yes: the whole 95% interval of the ratio of T lies below 1 and that of the difference of accuracy above "
        f"-{MARGIN:g} point. No: that of T lies above 1, or that of accuracy below -{MARGIN:g}. Else open. By the "
        "corrected interval, which allows for another draw of such images, it is "
        f"yes in {wide['yes']} and no in {wide['no']}.",
        _seeds(comparisons["n"]),
        f"By design growing needs x {span(comparisons['flops'], 2)} of the FLOPs. {_steadiness(comparisons)}",
        f"One validation image is {span(comparisons['image'])} points.{_may_be_lost(comparisons)} Before re-training "
        f"accuracy was lower in {int((comparisons['points_subtotal'] < 0).sum())} of {len(comparisons)}.",
        *_breaks_even(comparisons["time"]),
    ]  # fmt: skip


def _may_be_lost(comparisons: pd.DataFrame) -> str:
    """Which losses of accuracy these data leave possible, and how many seeds would tell."""
    several = comparisons[comparisons["n"] > 1]
    if several.empty:
        return ""
    most, alone = max(0.0, -several["points_low"].min()), len(several) < len(comparisons)
    room = f" The 95% intervals leave room for losses of up to {most:.1f} points." if most else ""
    room += (f" At the spread seen, intervals that reach {MARGIN:g} point either way would take "
             f"{span(several['seeds_needed'], 0)} seeds.")  # fmt: skip
    return f"{room} Where there is one run, no loss is ruled out." if alone else room


def counted(best: pd.DataFrame, every: pd.DataFrame, letters: dict[str, str]) -> str:
    """Which comparisons the headline counts and what all of them would say; "" where it counts all.

    Args:
        best, every: `statistics.best` of the comparisons, and the comparisons.
        letters: of settings, `conditions.letters`.
    """
    if len(best) == len(every):
        return ""
    cells = best["dataset"] + (" " + best["network"] if len(set(best["network"])) > 1 else "")
    marks: dict[str, list[str]] = {}
    for cell, rows in best.groupby(cells, sort=False) if letters else ():
        marks.setdefault(" and ".join(letters[where] for where in machines(rows)), []).append(str(cell))
    each = [f"{made_on} for {', '.join(of)}" for made_on, of in marks.items()]
    which = f" ({'; '.join(each)})" if marks else ""
    others = every.drop(best.index)
    faster, lower, higher = _directions(others)
    return ("Counted above are, for each dataset and network, the conditions (kind of machine, precision, protocol, "
            f"schedule) with most pairs of runs, of as many those of the newest protocol{which}. Of "
            f"{number(len(others), 'other comparison')} T was x {span(others['time'], 2)}, lower in {faster}; accuracy "
            f"{span(others['points'], sign='+')} points, lower in {lower}; As x {span(others['efficiency'], 2)}, "
            f"higher in {higher}.")  # fmt: skip


def _directions(comparisons: pd.DataFrame) -> tuple[int, int, int]:
    """In how many T was lower, accuracy lower, As higher."""
    ways = comparisons["time"] < 1, comparisons["points"] < 0, comparisons["efficiency"] > 1
    faster, lower, higher = (int(way.sum()) for way in ways)
    return faster, lower, higher


def _steadiness(comparisons: pd.DataFrame) -> str:
    """What the ratios of re-training, the same work in all regimes, say of the machine, and of T without that."""
    took = f"Re-training, the same work in all regimes, took x {span(comparisons['clock'], 2)} of the control's seconds"
    if _steady(comparisons):
        return f"{took}."
    aligned = _counts(_states(comparisons, time="aligned"))
    return (f"{took} (the furthest single pair is off by x {comparisons['unsteady'].max():.2f}): the machine changed "
            "its speed, and what T saves beyond the FLOPs may be its doing. With the control's seconds for re-training "
            f"and TTA, the same work, T would be x {span(comparisons['aligned'], 2)} and the answer {aligned}: that T "
            "was not planned, and lies near the FLOPs by design, so it decides nothing.")  # fmt: skip


def _steady(comparisons: pd.DataFrame) -> bool:
    return bool(comparisons["unsteady"].max() <= STEADY)


def _breaks_even(time: pd.Series) -> list[str]:
    """What As allows at the mean ratio of T, where that is a saving."""
    saved = 1 - float(np.exp(np.log(time).mean()))
    if saved < 0.005:
        return []
    return [f"A higher As says little by itself: at the mean T it is higher until accuracy has fallen by {saved:.0%} "
            f"of itself, as from 80% to {80 * (1 - saved):.0f}%."]  # fmt: skip


def _each(comparisons: pd.DataFrame, name: str, digits: int) -> str:
    """A measure with its interval, dataset by dataset; of more than MOST comparisons with one the smallest and the
    largest. Then what those of one pair span: "0.82 [0.66, 1.02] with gradual on bees (n = 4); 0.66 to 0.82 in ..."."""
    sure, single = (comparisons[many] for many in (comparisons["n"] > 1, comparisons["n"] == 1))
    networks, parts = len(set(comparisons["network"])) > 1, []
    if len(sure) > MOST:
        order = sure.sort_values(name, kind="stable")
        cells, joined = [order.iloc[[0]], order.iloc[[-1]]], " to "
    else:
        cells, joined = [rows for _, rows in sure.groupby(["dataset", "network"], sort=False)], "; "
    for rows in cells:
        each = " and ".join(f"{interval_text(row, name, digits)} with {said(row['treatment'])}"
                            for _, row in rows.iterrows())  # fmt: skip
        where = rows["dataset"].iloc[0] + (f", {rows['network'].iloc[0]}" if networks else "")
        parts.append(f"{each} on {where} (n = {span(rows['n'], 0)})")
    found = [joined.join(parts)] if parts else []
    if len(single):
        found.append(f"{span(single[name], digits, sign_of(name))} in {len(single)} of one seed each "
                     f"({', '.join(dict.fromkeys(single['dataset']))})")  # fmt: skip
    return "; ".join(found)


def _decided(comparisons: pd.DataFrame, excludes: Callable[[str], pd.Series]) -> str:
    """In how many an interval of this kind says so, the plain one and the corrected one; "" where none can."""
    if comparisons["n"].max() < 2:
        return ""
    plain, corrected = (int(excludes(kind).sum()) for kind in ("", "_wide"))
    several = int((comparisons["n"] > 1).sum())
    return f" (by a 95% interval in {plain} of {several} that have one, by the corrected one in {corrected})"


def span(values: Iterable[float], digits: int = 1, sign: str = "") -> str:
    """Smallest to largest, once where they read the same."""
    known = [*values]
    low, high = (f"{end(known):{sign}.{digits}f}" for end in (min, max))
    return low if low == high else f"{low} to {high}"


def _seeds(n: pd.Series) -> str:
    alone = int((n == 1).sum())
    one = f" {alone} of {len(n)} comparisons stand on one run and have no interval." if alone else ""
    brackets = f"In brackets: 95% intervals, paired by seed.{one}"
    if n.max() == 1:
        brackets = "No interval can be had from one run, and nothing is decided by it."
    return (f"Seeds a comparison: {span(n, 0)}. {brackets} Both treatments share a control, so the comparisons are not "
            "independent, and their counts are no test.")  # fmt: skip


def recommend(comparisons: pd.DataFrame) -> str:
    """The regime to use: the fastest treatment that lost no more than one validation image, else no increase.

    Where the machine changed its speed the aligned T counts: as measured the lucky one would be the fastest.
    """
    if comparisons.empty:
        return CONTROL
    time = comparisons["time" if _steady(comparisons) else "aligned"]
    kept = time[(comparisons["points"] * comparisons["n_val"] > -100.5) & (time < 1)]
    return str(comparisons.loc[kept.idxmin(), "treatment"]) if len(kept) else CONTROL


def choose(comparisons: pd.DataFrame, kind: str = "") -> tuple[str, bool]:
    """The regime to use, and whether that is decided by 95% intervals (`paid`) of this kind.

    Where a treatment paid, the fastest that did; where all were shown not to, no increase; else what `recommend` takes
    from the means.
    """
    states = comparisons.apply(paid, axis=1, kind=kind)
    shown = comparisons[states == "yes"]
    if len(shown):
        return str(shown.loc[shown["time"].idxmin(), "treatment"]), True
    none = bool((states == "no").all())
    return (CONTROL if none else recommend(comparisons)), none


def recommendations(comparisons: pd.DataFrame) -> list[dict[str, str]]:
    """For each dataset and network: which regime (`choose`), why, how sure; what only means say is not decided."""
    rows = []
    for (dataset, network), cell in comparisons.groupby(["dataset", "network"], sort=False):
        use, decided = choose(cell)
        corrected = "" if choose(cell, "_wide") == (use, True) else NOT_CORRECTED
        sure = f"decided at 95%{corrected}" if decided else "open"
        several = cell[cell["n"] > 1]
        favour = f"; the means favour {said(recommend(several))}" if len(several) else ": one run"
        what = said(use) if decided else f"not decided{favour}"
        why = "; ".join(f"{said(row['treatment'])}: T x {interval_text(row, 'time')}"
                        f"{'' if _steady(cell) else f' (aligned {row.aligned:.2f})'}, "
                        f"{interval_text(row, 'points', 1)} points" for _, row in cell.iterrows())  # fmt: skip
        sure = f"{sure} (n = {span(cell['n'], 0)})"
        rows.append({"dataset": dataset, "network": network, "use": what, "why": why, "how sure": sure})
    return rows


def when_not(table: pd.DataFrame, comparisons: pd.DataFrame) -> list[str]:
    """When growing images is not worth the bother, as far as these records say."""
    lines = []
    control = table[table["regime"] == CONTROL] if len(table) else table
    if len(comparisons):
        there = comparisons[["dataset", "conditions"]].drop_duplicates()
        control = control.merge(there, on=["dataset", "conditions"])
    if len(control):
        left = 100 * (control["seconds_subtotal"] / control["seconds_total"]).groupby(control["dataset"]).mean()
        each = ", ".join(f"{dataset} {share:.0f}%" for dataset, share in left.items())
        lines.append(
            "When most of the time goes to the last stage. Only what comes before re-training at full size can be made "
            f"smaller; of the time of no increase that was {each}, and no regime that re-trains as long can save more."
        )
    if len(comparisons):
        more = int((comparisons["points_low"] > 0).sum())
        lines.append(
            f"When accuracy is what counts: growing was shown to be more accurate in {more} of {len(comparisons)} "
            f"comparisons (less accurate in {int((comparisons['points_high'] < 0).sum())})."
        )
    return [
        *lines,
        "When loading binds: these seconds are of images that lie decoded on the device. Where each step "
        "waits for a disk or a slow decoder, a smaller image should save less (a disk was not measured).",
    ]


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
    (use, decided), n = choose(comparisons), int(comparisons["n"].min())
    kept = f"lost no more than {MARGIN:g} point" if decided else "lost no more than one image"
    why = "no other saved time at its accuracy" if use == CONTROL else f"the fastest that {kept}"
    told = f"Use {said(use)}"
    sure = f"How sure: {n} seeds; the 95% intervals {'exclude' if decided else 'do not exclude'} the opposite."
    if n < 2:
        told = f"One seed favours {said(use)}"
        sure = "How sure: this is one observation; add seeds for an interval."
    return f"{' '.join(sentences)} **{told}**: {why}. {sure}{_clock(comparisons)}"


def _clock(comparisons: pd.DataFrame) -> str:
    """A warning where the machine itself was faster for some runs than for others."""
    if _steady(comparisons):
        return ""
    return (f" Mind the clock: re-training, the same work in all regimes, differed by up to x "
            f"{comparisons['unsteady'].max():.2f} between paired runs, so the machine changed its speed. By FLOPs "
            f"growing takes x {span(comparisons['flops'], 2)}.")  # fmt: skip
