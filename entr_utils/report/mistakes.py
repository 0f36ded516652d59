"""What is taken for what: classes, pairs of classes and files, over all runs of a regime. No torch."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Markdown

from entr_utils.report.tables import markdown
from entr_utils.results.record import Record
from entr_utils.util import write_whole

MOST_CLASSES = MOST_FILES = 25  # rows of the tables of classes and of files
MOST_PAIRS = 5


def confusions(records: Sequence[Record]) -> np.ndarray:
    """(classes, classes) counts of predictions after TTA over all runs: true class by row, predicted by column."""
    counts = np.zeros((len(records[0].source.classes),) * 2, int)
    for one in records:
        np.add.at(counts, (one.predictions.truth, one.predictions.total), 1)
    return counts


def per_class(records: Sequence[Record]) -> Markdown:
    """Accuracy by class over all runs, the worst first."""
    found = predictions(records).groupby("class")["right"].agg(["size", "mean"]).sort_values("mean", kind="stable")
    rows = [[name, judged, f"{right:.3f}"] for name, judged, right in found.head(MOST_CLASSES).itertuples()]
    return markdown("class | judged | accuracy", rows)


def worst_pairs(records: Sequence[Record]) -> Markdown:
    return markdown("true class | taken for | times", _most_often(records, ["class", "predicted"], MOST_PAIRS))


def files(records: Sequence[Record]) -> Markdown:
    """The files that most runs get wrong, as what; of many the first."""
    often = _most_often(records, ["file", "class", "predicted"], MOST_FILES)
    return markdown("file | true class | taken for | times", often)


def _most_often(records: Sequence[Record], names: list[str], most: int) -> np.ndarray:
    found = predictions(records)
    wrong = found[~found["right"]].groupby(names, as_index=False).size()
    return wrong.sort_values("size", ascending=False, kind="stable").head(most).to_numpy()


def predictions(records: Iterable[Record]) -> pd.DataFrame:
    """A row a run and judged image: file, class, the class predicted after TTA, regime, fold, whether it is right."""
    parts = []
    for one in records:
        names, seen = np.array(one.source.classes), one.predictions
        row = {"file": seen.image, "class": names[[*seen.truth]], "predicted": names[[*seen.total]]}
        parts.append(pd.DataFrame(row).assign(regime=one.spec.regime, seed=one.spec.seed))
    found = pd.concat(parts, ignore_index=True)
    return found.assign(right=found["class"] == found["predicted"])


def write(records: Iterable[Record], path: str | Path) -> Path:
    """All predictions as a CSV file. Raises UserError where it cannot be written."""
    write_whole(Path(path), predictions(records).to_csv(index=False).encode())
    return Path(path)
