"""What Wanger & Frohn (2018) claim, what our records show of it, and a verdict on each. A pure function of the records.

A verdict is one of
- "other setting": the claim is not about what was run. Every claim needs photographs and pretrained weights. The
  paper's accuracies need its images (as many images and classes: two of its datasets were never published, so more
  cannot be checked), its largest size and ImageNet weights.
- "not enough data": a cell that the claim names was not run, or an interval includes both answers.
- "contradicted", "supported": 95% intervals over folds (`compare`), each of which lies on one side as a whole.

The paper's figures are single runs. What a single run scatters by is not known, so nothing but the first two verdicts
ever rests on one fold. A claim about all cells is supported only when all of them were run and each supports it, which
needs no correction for many tests; one cell that says the opposite contradicts it. Where nothing differed at all, one
of 18 cells would do so by chance in one case of three: such cells are named, so that they can be read one by one.

Conditions are never mixed: of several, a dataset is judged by those with most runs, of as many by the newest protocol.
"""

import math

import numpy as np
import pandas as pd

from entr_utils.data.catalog import DATASETS
from entr_utils.results.compare import CONTROL, TOGETHER, compare, posterior, spread
from entr_utils.settings import PAPER_NETWORKS, PAPER_DATASETS, PAPER_REGIMES, PROFILES

Cell = tuple[str, str]  # network, regime
SUPPORTED, CONTRADICTED, OPEN, OTHER = "supported", "contradicted", "not enough data", "other setting"
NEAR = 2.0  # points: our mean's whole interval within so much of a figure of the paper supports it
TREATMENTS = ("gradual", "stepwise")
CELLS = tuple((network, regime) for network in PAPER_NETWORKS for regime in PAPER_REGIMES)
PARTS = {"subtotal": "before re-training", "total": "after re-training"}
AS = {"efficiency_subtotal": "before re-training", "efficiency": "after re-training"}
MOST_EFFICIENT = {"steel": "stepwise", "ucm": "gradual", "bees": "gradual"}  # each with ResNet18
CONTROL_BEST = {"ucm": (3, "all three networks"), "steel": (2, "most networks"), "bees": (1, "one network")}
ACCURACIES = (  # dataset, cell (None: the best there is), accuracy in % before and after re-training
    ("steel", ("resnet50", CONTROL), (79.6, 84.2)),
    ("ucm", None, (91.4, 97.1)),
    ("bees", ("resnet50", "stepwise"), (73.8, 85.6)),
)
ALONE = ["regime", "seed"]  # what runs that are compared differ in


def judge(table: pd.DataFrame) -> pd.DataFrame:
    """The paper's claims by a `compare.table`, of any part of the matrix: columns claim, paper, ours, verdict."""
    real, rows = _photographs(table), []
    compared = compare(real, TREATMENTS, CONTROL, ["points", *AS])
    for measure, title in AS.items():
        found = _sides(compared[compared["measure"] == measure], 1.0, 1)
        claim = f"As is higher with both treatments on all datasets and networks, {title}"
        rows.append((claim, "18 of 18", *_count(found, ["dataset", "network", "treatment"], 18, 18)))
    for dataset, regime in MOST_EFFICIENT.items():
        runs = real[real["dataset"] == dataset]
        cells = runs.assign(regime=runs["network"] + " " + runs["regime"], network="", lr=0.0, weights_sha256="")
        first = f"resnet18 {regime}"
        found = _sides(compare(cells, {*map(" ".join, CELLS)} - {first}, first, ["efficiency"]), 1.0, -1)
        same = found["treatment"].str.startswith("resnet18 ")
        claim = f"{dataset}: with ResNet18, {regime} has the highest As"
        rows.append((claim, regime, *_count(found[same], ["treatment"], 2, 2)))
        claim = f"{dataset}: no other network has a higher As than {regime} ResNet18"
        rows.append((claim, "resnet18", *_count(found[~same], ["treatment"], 6, 6)))
    for dataset, (wanted, words) in CONTROL_BEST.items():
        chosen = (compared["measure"] == "points") & (compared["dataset"] == dataset)
        found = _sides(compared[chosen], 0.0, -1)
        found["yes"] &= found.groupby("network")["n"].transform("size") == len(TREATMENTS)
        claim = f"{dataset}: no increase has the best accuracy in {words}"
        rows.append((claim, f"{wanted} of 3", *_count(found, ["network"], wanted, 3, exactly=dataset == "bees")))
    for dataset, cell, figures in ACCURACIES:
        for part, figure in zip(PARTS, figures, strict=True):
            claim = f"{dataset}, {_named(cell) if cell else 'the best cell'}: accuracy {PARTS[part]}"
            found = _accuracy(real[real["dataset"] == dataset], cell, f"accuracy_{part}", figure)
            rows.append((claim, f"{figure:.1f}%", *found))
    judged = pd.DataFrame(rows, columns=["claim", "paper", "ours", "verdict"])
    return judged.assign(verdict=OTHER) if len(table) and real.empty else judged


def _named(cell: Cell) -> str:
    return " ".join(cell).replace("_", " ")


def _photographs(table: pd.DataFrame) -> pd.DataFrame:
    """Runs on photographs from pretrained weights: of each dataset those under one set of conditions, of each network
    there those that may be compared."""
    real = table[(table["kind"] != "formula") & (table["weights"] != "none")]
    real = real[real["dataset"].isin(PAPER_DATASETS) & real["regime"].isin(PAPER_REGIMES)]
    shared = [name for name in TOGETHER if name not in ("network", "lr", "weights_sha256")]
    parts = [real.head(0)]
    for _, runs in real.groupby("dataset", sort=False):
        parts += [_largest(cell, TOGETHER) for _, cell in _largest(runs, shared).groupby("network", sort=False)]
    return pd.concat(parts)


def _largest(runs: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Of the groups that `names` make the one with most runs, a fold once; of as many that of the newest protocol."""
    groups = [cell for _, cell in runs.groupby(names)]
    return max(groups, key=lambda cell: (len(cell.drop_duplicates(["network", *ALONE])), cell["protocol"].iloc[0]))


def _sides(found: pd.DataFrame, null: float, sign: int) -> pd.DataFrame:
    """Comparisons with columns `by`, how far the estimate is on the claim's side of `null` (above it, or with a
    negative sign below), and whether the whole interval is (`yes`), or is on the other (`no`)."""
    low, by, high = (sign * (found[name].astype(float) - null) for name in ("low", "estimate", "high")[::sign])
    return found.assign(by=by, yes=low > 0, no=high < 0)


def _count(
    found: pd.DataFrame, names: list[str], wanted: int, of: int, exactly: bool = False
) -> tuple[str, str]:
    """What `_sides` found, counted by cells of these names, each of which needs all of its comparisons; the verdict."""
    if found.empty:
        return "not run", OPEN
    least, cells = found.loc[found["by"].idxmin()], found.groupby(names).agg({"by": "min", "yes": "all", "no": "any"})
    opposite = ", ".join(" ".join(np.atleast_1d(name)) for name in cells.index[cells["no"]]) or "none"
    ours = f"the mean agrees in {(cells['by'] > 0).sum()} of {len(cells)}, the whole interval in {cells['yes'].sum()}; "
    ours += f"the whole interval disagrees in: {opposite}; weakest: {least['estimate']:.2f} (n = {least['n']})"
    return ours, counted(cells["yes"].sum(), cells["no"].sum(), wanted, of, exactly)


def counted(yes: int, no: int, wanted: int, of: int, exactly: bool = False) -> str:
    """The verdict on a claim about at least (or exactly) `wanted` of some cells, of which so many say yes and no."""
    if no > of - wanted or (exactly and yes > wanted):
        return CONTRADICTED
    return SUPPORTED if yes >= wanted and (not exactly or yes + no == of) else OPEN


def _accuracy(runs: pd.DataFrame, cell: Cell | None, column: str, figure: float) -> tuple[str, str]:
    """A figure of the paper against our mean over folds. Which cell is the best is known when all nine were run."""
    once = runs.sort_values("started").drop_duplicates(["network", *ALONE])
    cells = dict([*once.groupby(["network", "regime"])])
    chosen = cell or max(cells, key=lambda names: cells[names][column].mean(), default=("", ""))
    setting = OPEN if as_in_paper(runs).all() else OTHER
    if chosen not in cells:
        return "not run", setting
    found = cells[chosen]
    known = cell or (len(cells) == len(CELLS) and min(map(len, cells.values())) > 1)
    ours = f"{100 * found[column].mean():.1f}% (n = {len(found)}, {_named(chosen)})"
    return ours, _near(found, 100 * found[column], figure) if setting == OPEN and known else setting


def as_in_paper(runs: pd.DataFrame) -> pd.Series:
    """Whether each run had as many images and classes as the paper's, its epochs, largest size and ImageNet weights."""
    paper = runs["dataset"].map(DATASETS)
    images = paper.map(lambda known: known.images) == runs["n_train"] + runs["n_val"]
    classes = paper.map(lambda known: known.classes) == runs["classes"]
    as_large = (runs["profile"] == "paper") & (runs["size"] == PROFILES["paper"].size)
    return images & classes & as_large & ~runs["stand_in"] & (runs["weights"] == "imagenet")


def _near(runs: pd.DataFrame, values: pd.Series, figure: float) -> str:
    """Supported: the interval of our mean lies within NEAR of the figure. Contradicted: the figure lies outside the
    interval of one more run, for one run is what the paper has."""
    image, share = 100 / runs["n_val"].min(), float((runs["n_val"] / runs["n_train"]).mean())
    found = posterior([*values], share, image)
    low, high = found.interval()
    if figure - NEAR <= low and high <= figure + NEAR:
        return SUPPORTED
    low, high = found._replace(scale=math.hypot(found.scale, spread([*values], image))).interval()
    return CONTRADICTED if not low <= figure <= high and len(values) > 1 else OPEN
