"""Why it works, if it does: is coarse information first, details later, the mechanism? (The paper's Figure 1.)

Images drawn by formula have a dial: the class is carried by coarse patterns, by fine texture, or by both (`synthetic`).
Growing images does two things at once: it shows the coarse first, and it spends less early. Two controls take them
apart: `blurred` begins on images that are blurred to the small size but kept large (coarse first, nothing saved),
`cropped` on small crops at full detail (saved, but not coarse). No torch here.
"""

import re

import pandas as pd

from entr_utils import records
from entr_utils.regimes import MECHANISM
from entr_utils.statistics import CONTROL, compare, interval_text, stacked, t_interval
from entr_utils.verdicts import said, span

DIALS = ("coarse", "fine", "both")
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
    """One row a dial and regime that ran: n, accuracy (total) with its 95% interval and, as `own`, at the size last
    trained at, T in s, FLOPs, chance.

    Args:
        runs: from `table`, of one dataset, network and setting.
    """
    rows = []
    for (carried, regime), cell in runs.groupby(["dial", "regime"], sort=False) if len(runs) else ():
        low, high = t_interval(cell[FULL].to_numpy(), image=1 / cell["n_val"].min())
        mean = cell[[FULL, OWN, "seconds_total", "flops_total"]].mean()
        rows.append({"dial": carried, "regime": regime, "n": len(cell), "accuracy": mean[FULL], "low": low,
                     "high": high, "own": mean[OWN], "seconds": mean["seconds_total"], "flops": mean["flops_total"],
                     "chance": 1 / cell["n_classes"].iloc[0]})  # fmt: skip
    names = ["dial", "regime", "n", "accuracy", "low", "high", "own", "seconds", "flops", "chance"]
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
    """A row a contrast of one setting: what it asks, the regimes, by dial the points, in bold where it is decided."""
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


def missing(runs: pd.DataFrame) -> str:
    """Which regimes have no record on which dials; "" where all have."""
    there = set(zip(runs["dial"], runs["regime"], strict=True)) if len(runs) else set()
    lacking = {carried: [said(regime) for regime in MECHANISM if (carried, regime) not in there] for carried in DIALS}
    if there and not any(lacking.values()):
        return ""
    each = "; ".join(f"{carried}: {', '.join(names)}" for carried, names in lacking.items() if names)
    return f"No record yet of: {each}." if there else "No record of the mechanism's runs yet."
