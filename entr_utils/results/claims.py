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

from entr_utils.data.catalog import DATASETS, Dataset
from entr_utils.results.compare import TOGETHER, compare, posterior, spread
from entr_utils.results.studies import most
from entr_utils.settings import PAPER_DATASETS, PAPER_NETWORKS, PAPER_REGIMES, PROFILES

SUPPORTED, CONTRADICTED, OPEN, OTHER = "supported", "contradicted", "not enough data", "other setting"
NEAR = 2.0  # points: our mean's whole interval within so much of a figure of the paper supports it
CELLS = {f"{network} {regime}" for network in PAPER_NETWORKS for regime in PAPER_REGIMES}
PARTS = {"subtotal": "before re-training", "total": "after re-training"}
MOST_EFFICIENT = {"steel": "stepwise", "ucm": "gradual", "bees": "gradual"}  # each with ResNet18
CONTROL_BEST = {"ucm": (3, "all three networks"), "steel": (2, "most networks"), "bees": (1, "one network")}
ACCURACIES = (  # dataset, cell ("": the best there is), accuracy in % before and after re-training
    ("steel", "resnet50 no increase", (79.6, 84.2)),
    ("ucm", "", (91.4, 97.1)),
    ("bees", "resnet50 stepwise", (73.8, 85.6)),
)
RUN = ["network", "regime", "seed"]  # what tells runs of a dataset apart


def judge(table: pd.DataFrame) -> pd.DataFrame:
    """The paper's claims by a `compare.table`, of any part of the matrix: columns claim, paper, ours, verdict."""
    real, rows = _photographs(table), []
    compared = compare(real, PAPER_REGIMES[1:])
    for part, when in PARTS.items():
        found = compared[compared["measure"] == f"efficiency_{part}"]
        claim = f"As is higher with both treatments on all datasets and networks, {when}"
        rows.append((claim, "18 of 18", *_count(found, ["dataset", "network", "treatment"], 18, 18)))
    for dataset, regime in MOST_EFFICIENT.items():
        runs, first = real[real["dataset"] == dataset], f"resnet18 {regime}"
        cells = runs.assign(regime=runs["network"] + " " + runs["regime"], network="", lr=0.0, weights_sha256="")
        found = compare(cells, CELLS - {first}, first, ["efficiency_total"])
        same = found["treatment"].str.startswith("resnet18 ")
        claim = f"{dataset}: with ResNet18, {regime} has the highest As"
        rows.append((claim, regime, *_count(found[same], ["treatment"], 2, 2, sign=-1)))
        claim = f"{dataset}: no other network has a higher As than {regime} ResNet18"
        rows.append((claim, "resnet18", *_count(found[~same], ["treatment"], 6, 6, sign=-1)))
    for dataset, (wanted, words) in CONTROL_BEST.items():
        found = compared[(compared["measure"] == "points") & (compared["dataset"] == dataset)]
        claim = f"{dataset}: no increase has the best accuracy in {words}"
        counted = _count(found, ["network"], wanted, 3, sign=-1, each=2, exactly=dataset == "bees")
        rows.append((claim, f"{wanted} of 3", *counted))
    for dataset, cell, figures in ACCURACIES:
        for part, figure in zip(PARTS, figures, strict=True):
            claim = f"{dataset}, {cell or 'the best cell'}: accuracy {PARTS[part]}"
            found = _accuracy(real[real["dataset"] == dataset], DATASETS[dataset], cell, f"accuracy_{part}", figure)
            rows.append((claim, f"{figure:.1f}%", *found))
    judged = pd.DataFrame(rows, columns=["claim", "paper", "ours", "verdict"])
    return judged.assign(verdict=OTHER) if len(table) and real.empty else judged


def _photographs(table: pd.DataFrame) -> pd.DataFrame:
    """Runs on photographs from pretrained weights: of each dataset those under one set of conditions, of each network
    there those that may be compared."""
    real = table[(table["kind"] != "formula") & (table["weights"] != "none")]
    real = real[real["dataset"].isin(PAPER_DATASETS) & real["regime"].isin(PAPER_REGIMES)]
    shared = [name for name in TOGETHER if name not in ("network", "lr", "weights_sha256")]
    for place, names in ((["dataset"], shared), (["dataset", "network"], TOGETHER)):
        real = most(real.assign(n=~real.duplicated([*names, *RUN])), place, names)  # a fold counts once
    return real


def _count(
    found: pd.DataFrame, names: list[str], wanted: int, of: int, sign: int = 1, each: int = 1, exactly: bool = False
) -> tuple[str, str]:
    """What comparisons show of a claim that a measure is higher (or, with a negative sign, lower) than the control's,
    counted by cells of these names, each of which has so many comparisons that all have to agree; the verdict."""
    if found.empty:
        return "not run", OPEN
    equal = (found["measure"] != "points").astype(float)  # the others are ratios
    low, by, high = (sign * (found[name] - equal) for name in ("low", "estimate", "high")[::sign])
    least, sides = found.loc[by.idxmin()], found.assign(by=by, yes=low > 0, no=high < 0).groupby(names)
    cells = sides.agg({"by": "min", "yes": "all", "no": "any"})
    yes, no = int((cells["yes"] & (sides.size() == each)).sum()), cells.index[cells["no"]]
    opposite = ", ".join(" ".join(np.atleast_1d(name)) for name in no) or "none"
    ours = f"the mean agrees in {(cells['by'] > 0).sum()} of {len(cells)}, the whole interval in {yes}; "
    ours += f"the whole interval disagrees in: {opposite}; weakest: {least['estimate']:.2f} (n = {least['n']})"
    return ours, verdict(yes, len(no), wanted, of, exactly)


def verdict(yes: int, no: int, wanted: int, of: int, exactly: bool = False) -> str:
    """On a claim about at least (or exactly) `wanted` of some cells, of which so many say yes and no."""
    if no > of - wanted or (exactly and yes > wanted):
        return CONTRADICTED
    return SUPPORTED if yes >= wanted and (not exactly or yes + no == of) else OPEN


def _accuracy(runs: pd.DataFrame, paper: Dataset, cell: str, column: str, figure: float) -> tuple[str, str]:
    """A figure of the paper against our mean over folds: supported, where the interval of our mean lies within NEAR of
    it; contradicted, where it lies outside the interval of one more run, for one run is what the paper has. Which cell
    is the best is known when all nine were run."""
    like = {"profile": "paper", "size": PROFILES["paper"].size, "weights": "imagenet", "stand_in": False}
    like |= {"classes": paper.classes}
    as_large = (runs["n_train"] + runs["n_val"] == paper.images).all()
    setting = OPEN if as_large and (runs[[*like]] == [*like.values()]).all(axis=None) else OTHER
    once = runs.sort_values("started").drop_duplicates(RUN)
    cells = dict([*once.groupby((once["network"] + " " + once["regime"]).str.replace("_", " "))])
    chosen = cell or max(cells, key=lambda name: cells[name][column].mean(), default="")
    if chosen not in cells:
        return "not run", setting
    found, values = cells[chosen], 100 * cells[chosen][column].to_numpy()
    ours = f"{values.mean():.1f}% (n = {len(found)}, {chosen})"
    if setting == OTHER or not (cell or (len(cells) == len(CELLS) and min(map(len, cells.values())) > 1)):
        return ours, setting
    image = 100 / found["n_val"].min()
    mean = posterior(values, float((found["n_val"] / found["n_train"]).mean()), image)
    low, high = mean.interval()
    if figure - NEAR <= low and high <= figure + NEAR:
        return ours, SUPPORTED
    low, high = mean._replace(scale=math.hypot(mean.scale, spread(values, image))).interval()
    return ours, OPEN if low <= figure <= high or len(values) == 1 else CONTRADICTED
