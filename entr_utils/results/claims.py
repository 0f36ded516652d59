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
MOST_EFFICIENT = {"steel": "stepwise", "ucm": "gradual", "bees": "gradual"}  # each with ResNet18
CONTROL_BEST = {"ucm": (3, "all three networks"), "steel": (2, "most networks"), "bees": (1, "one network")}
ACCURACIES = (  # dataset, cell (None: the best there is), accuracy in % before and after re-training
    ("steel", ("resnet50", CONTROL), (79.6, 84.2)),
    ("ucm", None, (91.4, 97.1)),
    ("bees", ("resnet50", "stepwise"), (73.8, 85.6)),
)
ALONE = ["regime", "seed"]  # what runs that are compared differ in


def judge(table: pd.DataFrame) -> pd.DataFrame:
    """The paper's claims: columns claim, paper, ours, verdict; any part of the matrix will do, also none.

    Args:
        table: from `compare.table`.
    """
    real = _photographs(table)
    compared = compare(real, TREATMENTS, CONTROL, ["points", "efficiency", "efficiency_subtotal"])
    rows = [_efficiency_rises(compared, part) for part in PARTS]
    for dataset, regime in MOST_EFFICIENT.items():
        runs, first = _of(real, dataset), ("resnet18", regime)
        regimes = [cell for cell in CELLS if cell[0] == "resnet18" and cell != first]
        networks = [cell for cell in CELLS if cell[0] != "resnet18"]
        rows.append((f"{dataset}: with ResNet18, {regime} has the highest As", regime, *_highest(runs, first, regimes)))
        claim = f"{dataset}: no other network has a higher As than {regime} ResNet18"
        rows.append((claim, "resnet18", *_highest(runs, first, networks)))
    rows += [_control_most_accurate(_of(compared, dataset), dataset) for dataset in CONTROL_BEST]
    for dataset, cell, figures in ACCURACIES:
        runs = _of(real, dataset)
        rows += [_accuracy(runs, dataset, cell, part, figure) for part, figure in zip(PARTS, figures, strict=True)]
    judged = pd.DataFrame(rows, columns=["claim", "paper", "ours", "verdict"])
    return judged.assign(verdict=OTHER) if len(table) and real.empty else judged


def _of(rows: pd.DataFrame, dataset: str) -> pd.DataFrame:
    return rows[rows["dataset"] == dataset] if len(rows) else rows


def _photographs(table: pd.DataFrame) -> pd.DataFrame:
    """Runs on photographs from pretrained weights: of each dataset those under one set of conditions, of each network
    there those that may be compared."""
    if table.empty:
        return table
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


def _efficiency_rises(compared: pd.DataFrame, part: str) -> tuple[str, ...]:
    """As of both treatments above no increase in every dataset and network: 18 comparisons."""
    wanted = len(PAPER_DATASETS) * len(PAPER_NETWORKS) * len(TREATMENTS)
    found = compared[compared["measure"] == {"subtotal": "efficiency_subtotal", "total": "efficiency"}[part]]
    higher, up, below = (found["estimate"] > 1).sum(), (found["low"] > 1).sum(), found[found["high"] < 1]
    names = ", ".join(" ".join(cell) for cell in below[["dataset", "network", "treatment"]].to_numpy()) or "none"
    verdict = CONTRADICTED if len(below) else SUPPORTED if up == wanted else OPEN
    ours = f"higher in {higher} of {len(found)} ({wanted} needed), by an interval in {up}; lower by one in: {names}"
    claim = f"As is higher with both treatments on all datasets and networks, {PARTS[part]}"
    return claim, f"{wanted} of {wanted}", ours, verdict


def _highest(runs: pd.DataFrame, first: Cell, others: list[Cell]) -> tuple[str, str]:
    """Whether one cell's As is above each other's, paired by fold: what was found, and the verdict."""
    if runs.empty:
        return "not run", OPEN
    cells = runs.assign(regime=runs["network"] + " " + runs["regime"], network="", lr=0.0, weights_sha256="")
    found = compare(cells, map(" ".join, others), " ".join(first), ["efficiency"])
    if found.empty:
        return "not run", OPEN
    best = found.loc[found["estimate"].idxmax()]
    ours = f"As of {best['treatment']} x {best['estimate']:.2f} (n = {best['n']}), {len(found)} of {len(others)} run"
    if (found["low"] > 1).any():
        return ours, CONTRADICTED
    return ours, SUPPORTED if (found["high"] < 1).sum() == len(others) else OPEN


def _control_most_accurate(compared: pd.DataFrame, dataset: str) -> tuple[str, ...]:
    """In how many networks no increase is the most accurate: both treatments below it, or one above it."""
    wanted, words = CONTROL_BEST[dataset]
    found = compared[compared["measure"] == "points"]
    cells = [cell for _, cell in found.groupby("network")]
    both = [cell for cell in cells if set(cell["treatment"]) == set(TREATMENTS)]
    best = sum((cell["estimate"] < 0).all() for cell in both)
    yes, no = sum((cell["high"] < 0).all() for cell in both), sum((cell["low"] > 0).any() for cell in cells)
    ours = f"by the means in {best} of {len(cells)}; by intervals: yes in {yes}, no in {no}"
    claim = f"{dataset}: no increase has the best accuracy in {words}"
    return claim, f"{wanted} of {len(PAPER_NETWORKS)}", ours, counted(yes, no, wanted, exactly=dataset == "bees")


def counted(yes: int, no: int, wanted: int, exactly: bool) -> str:
    """The verdict on at least (or exactly) `wanted` of three networks, of which `yes` and `no` are decided."""
    if no > len(PAPER_NETWORKS) - wanted or (exactly and yes > wanted):
        return CONTRADICTED
    return SUPPORTED if yes >= wanted and (not exactly or yes + no == len(PAPER_NETWORKS)) else OPEN


def _accuracy(runs: pd.DataFrame, dataset: str, cell: Cell | None, part: str, figure: float) -> tuple[str, ...]:
    """A figure of the paper against our mean over folds. Which cell is the best is known when all nine were run."""
    name = " ".join(cell).replace("_", " ") if cell else "the best cell"
    claim, paper = f"{dataset}, {name}: accuracy {PARTS[part]}", f"{figure:.1f}%"
    once = runs.sort_values("started").drop_duplicates(["network", *ALONE]) if len(runs) else runs
    by_cell = {names: rows for names, rows in once.groupby(["network", "regime"])} if len(runs) else {}
    means = {names: rows[f"accuracy_{part}"].mean() for names, rows in by_cell.items()}
    chosen = cell or max(means, key=lambda names: means[names], default=("", ""))
    ours, verdict = "not run", OTHER if len(runs) and not as_in_paper(runs).all() else OPEN
    if chosen in by_cell:
        found = by_cell[chosen]
        shown = " ".join(chosen).replace("_", " ")
        ours = f"{100 * found[f'accuracy_{part}'].mean():.1f}% (n = {len(found)}, {shown})"
        every = len(by_cell) == len(CELLS) and min(map(len, by_cell.values())) > 1
        if verdict == OPEN and (cell or every):
            verdict = _near(found, 100 * found[f"accuracy_{part}"], figure)
    return claim, paper, ours, verdict


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
