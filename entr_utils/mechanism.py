"""Why it works, if it does: is coarse information first, details later, the mechanism? (The paper's Figure 1.)

Images drawn by formula have a dial: the class is carried by coarse patterns, by fine texture, or by both (`synthetic`).
Growing images does two things at once: it shows the coarse first, and it spends less early. Two controls take them
apart: `blurred` begins on images that are blurred to the small size but kept large (coarse first, nothing saved),
`cropped` on small crops at full detail (saved, but not coarse). No torch here.
"""

import re

import numpy as np
import pandas as pd

from entr_utils import records, statistics
from entr_utils.regimes import MECHANISM
from entr_utils.statistics import (
    CONTROL,
    MEASURES,
    PLACE,
    SEED,
    TOGETHER,
    TREATMENTS,
    as_begun,
    compare,
    differences,
    interval_text,
    pairs,
    stacked,
    t_interval,
)
from entr_utils.verdicts import NOT_CORRECTED, said, span

DIALS = ("coarse", "fine", "both")
SAVED = "saved of what FLOPs promise"
APART = 3.0  # times by which ratios of T of the same work may differ from one another
FULL, OWN = "accuracy_total", "train_size_TTA"  # accuracy at full size, and at the size last trained at
CONTRASTS = {  # (regime, against, accuracy) -> the question that their difference answers
    ("gradual", CONTROL, FULL): "growing, all in all",
    ("stepwise", CONTROL, FULL): "growing at one stroke",
    ("blurred", CONTROL, FULL): "coarse first, at no saving",
    ("gradual", "blurred", FULL): "the saving, both coarse first",
    ("cropped", "gradual", FULL): "early detail instead of coarse, both saving",
    ("small", CONTROL, FULL): "never large",
    ("small", CONTROL, OWN): "never large, and tested at its own size",
    ("reversed", CONTROL, FULL): "large first",
    ("reversed", CONTROL, OWN): "large first, and tested at its own last size",
}
TELLING = [("gradual", CONTROL, FULL), ("blurred", CONTROL, FULL), ("cropped", "gradual", FULL)]  # coarse, or cheap
IN_POINTS = (
    "In points of accuracy, with 95% intervals paired by seed; bold where 0 lies outside, with a star where the "
    "corrected interval, for other images of the kind, holds it. What is trained small last can fail at full size for "
    "that alone, so it is tested at its own size, too."
)


def dial(image_source: str) -> str:
    """What carries the class in images drawn by formula: coarse, fine or both; "" for other images."""
    found = re.search(r"class carried by (\w+) detail", image_source)
    return found[1] if found else ""


def table(loaded: list[dict]) -> pd.DataFrame:
    """`records.table` of the runs on images with a dial, which is a column."""
    runs = records.table(loaded)
    if runs.empty:
        return runs
    runs = runs.assign(dial=runs["image_source"].map(dial))
    return runs[runs["dial"].isin(DIALS)]


def accuracies(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a dial and regime that ran: n, accuracy (total) with its 95% interval, cut at 0 and 1, and, as `own`, at
    the size last trained at, FLOPs, chance.

    Args:
        runs: from `table`, of one dataset and network under the same conditions, of a seed those of one machine.
    """
    rows = []
    for (carried, regime), cell in runs.groupby(["dial", "regime"], sort=False) if len(runs) else ():
        low, high = np.clip(t_interval(cell[FULL].to_numpy(), image=1 / cell["n_val"].min()), 0, 1)
        mean = cell[[FULL, OWN, "flops_total"]].mean()
        rows.append({"dial": carried, "regime": regime, "n": len(cell), "accuracy": mean[FULL], "low": low,
                     "high": high, "own": mean[OWN], "flops": mean["flops_total"],
                     "chance": 1 / cell["n_classes"].iloc[0]})  # fmt: skip
    names = ["dial", "regime", "n", "accuracy", "low", "high", "own", "flops", "chance"]
    shown = pd.DataFrame(rows, columns=names)
    rank = {name: i for i, name in enumerate((*DIALS, *MECHANISM))}
    return shown.sort_values(["dial", "regime"], key=lambda column: column.map(rank), ignore_index=True)


def contrasts(runs: pd.DataFrame) -> pd.DataFrame:
    """The CONTRASTS that can be made, by dial: difference of accuracy in points and ratio of FLOPs, paired by seed."""
    return stacked(
        compare(
            runs[runs["dial"] == carried], (regime,), against, {"points": (at, False), "flops": ("flops_total", True)}
        ).assign(dial=carried, against=against, at=at, question=question)
        for (regime, against, at), question in CONTRASTS.items()
        for carried in (DIALS if len(runs) else ())
    )


def of_one_machine(loaded: list[dict]) -> list[dict]:
    """Those of the records that `statistics.of_one_machine` keeps."""
    return [loaded[i] for i in statistics.of_one_machine(records.table(loaded)).index]


def seconds(runs: pd.DataFrame) -> list[dict[str, str]]:
    """A row a regime and machine: T as a ratio to that of no increase, with its 95% interval, and of FLOPs.

    All dials are the same work, so of each seed the mean over its dials counts. A machine on which single pairs of a
    regime lie more than APART apart was too busy to tell: of it there is the row of the regime that lies furthest
    apart, which says so. Args: runs: from `table`.
    """
    rows = []
    for (*_, setting), here in runs.groupby([*PLACE, "setting"], sort=False) if len(runs) else ():
        both = pairs(here, [regime for regime in MECHANISM if regime != CONTROL])
        cells = [cell for _, cell in both.groupby("regime", sort=False)]
        busiest = max(cells, key=_apart, default=None)
        if busiest is not None and _apart(busiest) > APART:
            told = [_took(busiest) | {"T ratio": "too busy to tell", SAVED: ""}]
        else:
            told = [_took(cell) for cell in cells]
        rows += [{"machine": str(setting)} | row for row in told]
    return rows


def _apart(cell: pd.DataFrame) -> float:
    """How many times the largest ratio of T of these pairs is the smallest."""
    return float(np.exp(np.ptp(differences(cell, MEASURES["time"]))))


def _took(cell: pd.DataFrame) -> dict[str, str]:
    """A row of `seconds`, of the pairs of one regime."""
    time, flops = (np.exp(_by_seed(cell, MEASURES[name])) for name in ("time", "flops"))
    promised = 1 - flops["mean"]
    return {"regime": said(cell["regime"].iloc[0]), "n": str(cell["seed"].nunique()),
            "FLOPs ratio": f"{flops['mean']:.2f}", "T ratio": interval_text(time, "mean"),
            SAVED: f"{(1 - time['mean']) / promised:.0%}" if promised > 0.01 else "",
            "single pairs": span(np.exp(differences(cell, MEASURES["time"])), 2)}  # fmt: skip


def _by_seed(cell: pd.DataFrame, measure: tuple[str, bool]) -> pd.Series:
    """Mean of the logarithms over seeds, and its interval."""
    values = pd.Series(differences(cell, measure)).groupby(cell["seed"].to_numpy()).mean().to_numpy()
    low, high = t_interval(values)
    return pd.Series({"mean": values.mean(), "mean_low": low, "mean_high": high})


def again(runs: pd.DataFrame, counted: pd.DataFrame) -> str:
    """How far the same run on two machines lies apart, and whether the second says the same; "" where there is none.

    Sums are rounded in another order on another machine, and training amplifies it.

    Args:
        runs: from `table`.
        counted: their `contrasts`.
    """
    if runs.empty:
        return ""
    run, made = [*TOGETHER, *SEED, "regime"], as_begun(runs)
    both = made.drop_duplicates(run).merge(made.drop_duplicates(run, keep="last"), on=run, suffixes=("", "_again"))
    both = both[both["setting"] != both["setting_again"]]
    if both.empty:
        return ""
    apart = 100 * (both[f"{FULL}_again"] - both[FULL])
    return (f"{len(apart)} runs were made on two machines. The accuracy of one and the same run differed between them "
            f"by {apart.abs().mean():.1f} points on average, {apart.abs().max():.1f} at most, {apart.mean():+.1f} on "
            "the mean: sums are rounded in another order there. Above one machine counts, that which began first."
            f"{_same_sign(runs, counted)}")  # fmt: skip


def _same_sign(runs: pd.DataFrame, counted: pd.DataFrame) -> str:
    """Of the contrasts decided above, how many the means of another machine say, too."""
    if counted.empty:
        return ""
    names = [*TOGETHER, "treatment", "against", "at"]
    decided = counted[(counted["points_low"] > 0) | (counted["points_high"] < 0)]
    others = [contrasts(here) for _, here in runs.groupby("setting", sort=False)]
    beside = decided.merge(stacked(others), on=names, suffixes=("", "_there"))
    alone = beside["made_on"].map(len) == 1  # else the other machine's pairs are among those above
    beside = beside[alone & (beside["made_on"] != beside["made_on_there"])]
    if beside.empty:
        return ""
    same = int((np.sign(beside["points"]) == np.sign(beside["points_there"])).sum())
    return f" Of {len(beside)} contrasts decided above the other machine's means have the same sign in {same}."


def says(found: pd.DataFrame) -> str:
    """How the contrasts that tell coarse first from saving came out, counted over the dials, in a sentence."""
    full = found
    if len(found):
        full = found[pd.MultiIndex.from_frame(found[["treatment", "against", "at"]]).isin(TELLING)]
    if full.empty:
        return "Why it works is open: gradual, blurred and cropped have not run beside what they are compared with."
    if (full["n"] < 2).all():
        return "Why it works is open: one run each, nothing is decided."
    counted = [f"{rows['question'].iloc[0]} ({_names(rows)}): more accurate on {int((rows['points_low'] > 0).sum())}, "
               f"less on {int((rows['points_high'] < 0).sum())} of {len(rows)} kinds of image"
               for _, rows in full.groupby(["treatment", "against"], sort=False)]  # fmt: skip
    return f"By 95% intervals: {'; '.join(counted)}."


def answers(found: pd.DataFrame) -> list[dict[str, str]]:
    """A row a contrast, of the same conditions: what it asks, the regimes, by dial the points, bold where decided."""
    rows = []
    for _, cell in found.groupby(["treatment", "against", "at"], sort=False) if len(found) else ():
        each = {str(row["dial"]): _points(row) for _, row in cell.iterrows()}
        rows.append({"what": cell["question"].iloc[0], "compared": _names(cell),
                     **{dial: each.get(dial, "") for dial in DIALS}, "n": span(cell["n"], 0)})  # fmt: skip
    return rows


def _names(rows: pd.DataFrame) -> str:
    return f"{said(rows['treatment'].iloc[0])} against {said(rows['against'].iloc[0])}"


def _points(row: pd.Series) -> str:
    text, star = interval_text(row, "points", 1), "" if _excludes_0(row, "_wide") else "\\*"
    return f"**{text}**{star}" if _excludes_0(row) else text


def _excludes_0(row: pd.Series, kind: str = "") -> bool:
    return bool(row[f"points{kind}_low"] > 0 or row[f"points{kind}_high"] < 0)


def warning(found: pd.DataFrame) -> str:
    """When not to grow, where the contrasts show it by whole intervals: when fine detail carries the class; else ""."""
    if found.empty:
        return ""
    fine = found[(found["treatment"] == "gradual") & (found["against"] == CONTROL) & (found["dial"] == "fine")]
    shown = [f"{interval_text(row, 'points', 1)} points (n = {row['n']})" for _, row in fine.iterrows()
             if row["points_high"] < 0]  # fmt: skip
    return ("When fine detail carries the class: small images do not show it. On images drawn so, trained from "
            f"scratch, gradual against no increase was {'; '.join(shown)}." if shown else "")  # fmt: skip


def recommendations(found: pd.DataFrame) -> list[dict[str, str]]:
    """A row a dial, as `verdicts.recommendations` has one a dataset: which treatments the interval of accuracy says to
    leave where the class is carried so. From `contrasts`."""
    rows = []
    grown = found[(found["against"] == CONTROL) & found["treatment"].isin(TREATMENTS)] if len(found) else found
    for (_, network, _, carried), cell in grown.groupby([*PLACE, "dial"], sort=False) if len(grown) else ():
        worse, corrected = ([said(name) for name in cell[cell[f"points{kind}_high"] < 0]["treatment"]]
                            for kind in ("", "_wide"))  # fmt: skip
        use = said(CONTROL) if len(worse) == len(cell) else f"not {worse[0]}" if worse else "not decided"
        why = "; ".join(f"{said(row['treatment'])}: FLOPs x {row['flops']:.2f}, "
                        f"{interval_text(row, 'points', 1)} points" for _, row in cell.iterrows())  # fmt: skip
        sure = f"decided at 95%{'' if corrected == worse else NOT_CORRECTED}" if worse else "open"
        sure = f"{sure} (n = {span(cell['n'], 0)})"
        carrier = f"{carried} detail carries" if carried != "both" else "coarse and fine carry"
        rows.append({"dataset": f"drawn, {carrier} the class", "network": f"{network}, from scratch",
                     "use": use, "why": why, "how sure": sure})  # fmt: skip
    return rows


def missing(runs: pd.DataFrame) -> str:
    """Which regimes have no record on which dials; "" where all have."""
    there = set(zip(runs["dial"], runs["regime"], strict=True)) if len(runs) else set()
    lacking = {carried: [said(regime) for regime in MECHANISM if (carried, regime) not in there] for carried in DIALS}
    if there and not any(lacking.values()):
        return ""
    each = "; ".join(f"{carried}: {', '.join(names)}" for carried, names in lacking.items() if names)
    return f"No record yet of: {each}." if there else "No record of the mechanism's runs yet."
