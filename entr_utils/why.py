"""What the summary shows of why it works, if it does: the `mechanism`'s tables and sentences. No torch here."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from IPython.display import Markdown

from entr_utils import mechanism, statistics, verdicts
from entr_utils.figures import LABELS
from entr_utils.reports import as_table
from entr_utils.statistics import PLACE, interval_text

SECONDS = (
    "Seconds, machine by machine, against no increase. Where single pairs of the same work lie more than "
    f"x {mechanism.APART:g} apart, other work ran beside them, and their ratio says nothing:"
)


def of_mechanism(loaded: list[dict], contrasts: pd.DataFrame) -> Markdown:
    """Accuracy by dial and regime, what the contrasts answer, what is missing; of equal conditions together.

    Args:
        loaded: the records of the mechanism.
        contrasts: their `mechanism.contrasts`.
    """
    runs = mechanism.table(loaded)
    counted = statistics.of_one_machine(runs)
    parts: list[str] = []
    for _, cell in counted.groupby(PLACE, sort=False) if len(runs) else ():
        parts += [_drawn(cell, cell["setting"].unique()), as_table(_by_regime(mechanism.accuracies(cell))).data]
    parts.append(of_contrasts(contrasts).data)
    parts += [mechanism.again(runs, contrasts), mechanism.missing(runs)]
    took = mechanism.seconds(runs)
    parts += [SECONDS, as_table(took).data] if took else []
    return Markdown("\n\n".join(part for part in parts if part))


def of_contrasts(contrasts: pd.DataFrame) -> Markdown:
    """What tells coarse first from saving: the mechanism's contrasts in a table and a sentence."""
    parts: list[str] = []
    for _, found in contrasts.groupby(PLACE, sort=False) if len(contrasts) else ():
        answers = as_table(mechanism.answers(found)).data
        parts += [_drawn(found, statistics.machines(found)), mechanism.says(found), answers]
    if not parts:
        return Markdown(mechanism.says(contrasts))
    image = f"One validation image is {verdicts.span(contrasts['image'])} points."
    return Markdown("\n\n".join([*parts, f"{mechanism.IN_POINTS} {image}"]))


def _drawn(rows: pd.DataFrame, settings: Iterable[str]) -> str:
    first = rows.iloc[0]
    return f"Drawn in the style of {first['dataset']}, {first['network']}, {' and '.join(settings)}:"


def _by_regime(shown: pd.DataFrame) -> list[dict]:
    """`mechanism.accuracies` with a row a regime and a column a dial."""
    rows: list[dict] = []
    for regime, cell in shown.groupby("regime", sort=False):
        row = {"regime": LABELS[str(regime)], "n": verdicts.span(cell["n"], 0), "FLOPs": f"{cell['flops'].mean():.2e}"}
        for _, one in cell.rename(columns={"low": "accuracy_low", "high": "accuracy_high"}).iterrows():
            at_own = "" if np.isclose(one["own"], one["accuracy"]) else f"; {one['own']:.3f} at its own size"
            row[f"{one['dial']} (chance {one['chance']:.2f})"] = interval_text(one, "accuracy", 3) + at_own
        rows.append(row)
    return rows
