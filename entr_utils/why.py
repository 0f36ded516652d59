"""What the summary shows of why it works, if it does: the `mechanism`'s tables and sentences. No torch here."""

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
    parts: list[str] = []
    for place, cell in statistics.of_one_machine(runs).groupby(PLACE, sort=False) if len(runs) else ():
        found = contrasts[contrasts[PLACE].eq(list(place)).all(axis=1)] if len(contrasts) else contrasts
        first = cell.iloc[0]
        drawn = (f"Drawn in the style of {place[0]}, {place[1]}, from scratch, up to {first['size']} px, "
                 f"{first['n_train']} images to train on and {first['n_val']} to validate, "
                 f"{' and '.join(cell['setting'].unique())}:")  # fmt: skip
        parts += [drawn, as_table(_by_regime(mechanism.accuracies(cell))).data, mechanism.says(found)]
        parts += [as_table(mechanism.answers(found)).data] if len(found) else []
    if len(contrasts):
        parts.append(f"{mechanism.IN_POINTS} One validation image is {verdicts.span(contrasts['image'])} points.")
    parts += [mechanism.again(runs, contrasts), mechanism.missing(runs)]
    took = mechanism.seconds(runs)
    parts += [SECONDS, as_table(took).data] if took else []
    return Markdown("\n\n".join(part for part in parts if part))


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
