"""What Wanger & Frohn (2018) claim, what our records say of it, and a verdict on each. A pure function of the records.

A verdict is one of
- "other setting": the claim is not about what was run. Every claim needs photographs and pretrained weights. The
  paper's accuracies need its images (as many images and classes: two of its datasets were never published, so more
  cannot be checked), its largest size and ImageNet weights.
- "not enough data": a cell that the claim names was not run, or an interval includes both answers.
- "contradicted", "supported": by 95% Student-t intervals over seeds, each of which has to lie on one side as a whole.

The paper's figures are single runs, and so is a cell of ours with one seed. A single run's noise is not known, so no
verdict but the first two ever rests on n = 1: every "supported" or "contradicted" needs two seeds or more in each cell
it uses. A claim about all cells is supported only when all of them were run and each supports it, which needs no
correction for many tests. It is contradicted by one cell that says the opposite; where nothing differed at all, one of
18 cells would do so by chance in one case of three. Such cells are named, so that they can be read one by one.

Verdicts are about these images and splits; one that the corrected interval of Nadeau & Bengio, about another draw of
such images, does not share is marked. Kinds of machine, precisions, protocols and schedules are never mixed: of
several, a dataset is judged by that with most runs, of as many by that of the newest protocol. Over machines of one
kind pairs are pooled.
"""

import numpy as np
import pandas as pd
from scipy import stats

from entr_utils.datasets import DATASETS
from entr_utils.parameters import NETWORKS
from entr_utils.regimes import PROFILES, REGIMES
from entr_utils.statistics import (
    CONTROL,
    PAIR,
    TREATMENTS,
    compare,
    corrected_interval,
    of_one_machine,
    spread,
    t_interval,
)
from entr_utils.verdicts import NOT_CORRECTED, said

Cell = tuple[str, str]  # network, regime
SUPPORTED, CONTRADICTED, OPEN, OTHER = "supported", "contradicted", "not enough data", "other setting"
NEAR = 2.0  # points: our mean's whole interval within so much of a figure of the paper supports it
PARTS = {"subtotal": "before re-training", "total": "after re-training"}
MOST_EFFICIENT = {"steel": "stepwise", "ucm": "gradual", "bees": "gradual"}  # each with ResNet18
CONTROL_BEST = {"ucm": (3, "all three networks"), "steel": (2, "most networks"), "bees": (1, "one network")}
ACCURACIES = (  # dataset, network and regime ("": the best there is), accuracy in % before and after re-training
    ("steel", "resnet50", CONTROL, 79.6, 84.2),
    ("ucm", "", "", 91.4, 97.1),
    ("bees", "resnet50", "stepwise", 73.8, 85.6),
)


def judge(table: pd.DataFrame) -> pd.DataFrame:
    """The paper's claims: columns claim, paper, ours, verdict.

    Args:
        table: from `records.load`; any part of the matrix, also none.
    """
    real = _photographs(table)
    shown, corrected = (pd.DataFrame(_rows(real, kind), columns=["claim", "paper", "ours", "verdict"])
                        for kind in ("", "_wide"))  # fmt: skip
    marked = shown["verdict"].isin([SUPPORTED, CONTRADICTED]) & (shown["verdict"] != corrected["verdict"])
    shown.loc[marked, "verdict"] += NOT_CORRECTED
    if len(table) and not len(real):
        shown["verdict"] = OTHER
    return shown


def _rows(real: pd.DataFrame, kind: str) -> list[dict[str, str]]:
    """By Student-t intervals, or (kind "_wide") where the corrected ones can be had by those."""
    rows = [_efficiency_rises(real, part, kind) for part in PARTS]
    rows += [row for dataset in MOST_EFFICIENT for row in _most_efficient(real, dataset, kind)]
    rows += [_control_most_accurate(real, dataset, kind) for dataset in CONTROL_BEST]
    rows += [_accuracy(real, *cell[:3], part, figure)
             for cell in ACCURACIES for part, figure in zip(PARTS, cell[3:], strict=True)]  # fmt: skip
    return rows


def _photographs(table: pd.DataFrame) -> pd.DataFrame:
    """Runs on photographs from pretrained weights: of each dataset those of the same conditions, of each network there
    those that may be compared."""
    if table.empty:
        return table
    real = table[~table["image_source"].str.startswith("synthetic") & (table["weights"] != "none")
                 & table["dataset"].isin(list(DATASETS)) & table["regime"].isin(REGIMES)]  # fmt: skip
    parts = []
    for _, runs in real.groupby("dataset", sort=False):
        alike = _most(runs, ["conditions", "data_sha256", "split_rule", "weights"])
        parts += [_most(cell, ["comparable"]) for _, cell in alike.groupby("network", sort=False)]
    return pd.concat(parts) if parts else real


def _most(runs: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Of the groups that `names` make the one with most runs, no seed twice; of as many that of the newest protocol."""
    groups = [cell for _, cell in runs.groupby(names)]
    return max(groups, key=lambda cell: (len(of_one_machine(cell)), cell["protocol"].iloc[0]))


def _of(table: pd.DataFrame, dataset: str) -> pd.DataFrame:
    return table[table["dataset"] == dataset] if len(table) else table


def _row(claim: str, paper: str, ours: str, verdict: str) -> dict[str, str]:
    return {"claim": claim, "paper": paper, "ours": ours, "verdict": verdict}


def _efficiency_rises(table: pd.DataFrame, part: str, kind: str) -> dict[str, str]:
    """As of both treatments above no increase in every dataset and network: 18 comparisons."""
    measures = {"ratio": (f"efficiency_{part}", True)}
    compared = compare(table, measures=measures)
    wanted = len(DATASETS) * len(NETWORKS) * len(TREATMENTS)
    higher, up, names = 0, 0, []
    if len(compared):
        higher, up = int((compared["ratio"] > 1).sum()), int((compared[f"ratio{kind}_low"] > 1).sum())
        below = compared[compared[f"ratio{kind}_high"] < 1]
        names = [" ".join(cell) for cell in below[["dataset", "network", "treatment"]].to_numpy()]
    verdict = CONTRADICTED if names else SUPPORTED if up == wanted else OPEN
    ours = f"{higher} of {len(compared)} compared ({wanted} needed), {up} of them with an interval above 1"
    against = f"; below 1: {', '.join(names)}" if names else ""
    return _row(f"As is higher with both treatments on all datasets and networks, {PARTS[part]}",
                f"{wanted} of {wanted}", ours + against, verdict)  # fmt: skip


def _most_efficient(table: pd.DataFrame, dataset: str, kind: str) -> list[dict[str, str]]:
    """The cell with the highest As (total): its regime among those of ResNet18; its network among all three."""
    runs, best = _of(table, dataset), MOST_EFFICIENT[dataset]
    first = ("resnet18", best)
    regimes = [("resnet18", regime) for regime in REGIMES if regime != best]
    networks = [(network, regime) for network in NETWORKS[1:] for regime in REGIMES]
    return [
        _row(f"{dataset}: with ResNet18, {best} has the highest As", best, *_highest(runs, first, regimes, kind)),
        _row(f"{dataset}: no other network has a higher As than {best} ResNet18", "resnet18",
             *_highest(runs, first, networks, kind)),
    ]  # fmt: skip


def _highest(runs: pd.DataFrame, first: Cell, others: list[Cell], kind: str) -> tuple[str, str]:
    """Whether one cell's As is above each other's, paired by seed: (what was found, verdict)."""
    by_cell = _by_cell(runs, "efficiency_total", [first, *others])
    ran = f"{len(by_cell.columns)} of {len(others) + 1} cells run"
    shared = by_cell.dropna()  # a seed that one cell alone has tells nothing of their order
    if len(by_cell.columns) < 2 or shared.empty:
        return ran, OPEN
    with np.errstate(divide="ignore"):
        found = np.log(shared).mean()  # seconds of several machines: only ratios of a seed's runs mean something
    winner, next_ = sorted(shared.columns, key=lambda cell: -found[cell])[:2]
    ours = (f"{winner[0]} {said(winner[1])}, As x {np.exp(found[winner] - found[next_]):.2f} of {next_[0]} "
            f"{said(next_[1])}'s ({ran}, n = {len(shared)})")  # fmt: skip
    share = float((runs["n_val"] / runs["n_train"]).mean()) if kind else 0.0
    intervals = [_ratio(by_cell, first, other, share) for other in others]
    if any(high < 1 for _, high in intervals):
        return ours, CONTRADICTED
    return ours, SUPPORTED if all(low > 1 for low, _ in intervals) else OPEN


def _by_cell(runs: pd.DataFrame, column: str, cells: list[Cell]) -> pd.DataFrame:
    """A row a seed, a column each of the cells that were run."""
    if runs.empty:
        return pd.DataFrame()
    found = of_one_machine(runs).pivot_table(values=column, index=PAIR, columns=["network", "regime"])
    return found[[cell for cell in cells if cell in found]]


def _ratio(by_cell: pd.DataFrame, first: Cell, other: Cell, share: float) -> tuple[float, float]:
    """95% interval of the ratio of two cells' As over the seeds both have; nan where there are not two."""
    if first not in by_cell or other not in by_cell:
        return float("nan"), float("nan")
    logs = np.log(by_cell[first] / by_cell[other]).dropna().to_numpy()
    low, high = corrected_interval(logs, share)
    return float(np.exp(low)), float(np.exp(high))


def _control_most_accurate(table: pd.DataFrame, dataset: str, kind: str) -> dict[str, str]:
    """In how many networks no increase is the most accurate (total): both treatments below it, or one above it."""
    wanted, words = CONTROL_BEST[dataset]
    compared = compare(_of(table, dataset), measures={"points": ("accuracy_total", False)})
    yes, no, best = 0, 0, 0
    for _, cell in compared.groupby("network") if len(compared) else ():
        both = set(cell["treatment"]) == set(TREATMENTS)
        best += bool(both and (cell["points"] < 0).all())
        yes += bool(both and (cell[f"points{kind}_high"] < 0).all())
        no += bool((cell[f"points{kind}_low"] > 0).any())
    ran = compared["network"].nunique() if len(compared) else 0
    ours = f"{best} of {ran} run by their means; decided: yes in {yes}, no in {no}"
    return _row(f"{dataset}: no increase has the best accuracy in {words}", f"{wanted} of {len(NETWORKS)}", ours,
                _counted(yes, no, wanted, exactly=dataset == "bees"))  # fmt: skip


def _counted(yes: int, no: int, wanted: int, exactly: bool) -> str:
    """A claim on at least (or exactly) `wanted` of three networks, of which `yes` and `no` are decided."""
    if no > len(NETWORKS) - wanted or (exactly and yes > wanted):
        return CONTRADICTED
    return SUPPORTED if yes >= wanted and (not exactly or yes + no == len(NETWORKS)) else OPEN


def _accuracy(table: pd.DataFrame, dataset: str, network: str, regime: str, part: str, figure: float) -> dict[str, str]:
    """A figure of the paper against our mean over seeds.

    Supported: the 95% interval of the mean lies within 2 points of it. Contradicted: it lies outside the 95% interval
    of one more run (mean +- t s sqrt(1 + 1/n)), for one run is what the paper has. Which cell of a dataset is the best
    is known only when all nine were run.
    """
    runs, cells = _of(table, dataset), [(n, r) for n in NETWORKS for r in REGIMES]
    by_cell = _by_cell(runs, f"accuracy_{part}", cells)
    means = by_cell.mean()
    wanted = (network, regime) if network else max(means.index, key=lambda cell: means[cell], default=("", ""))
    values = 100 * by_cell[wanted].dropna().to_numpy() if wanted in by_cell else np.empty(0)
    name = f"{wanted[0]} {said(wanted[1])}" if network else "the best cell"
    ours = f"{values.mean():.1f}% (n = {len(values)}{'' if network else f', {wanted[0]} {said(wanted[1])}'})" if len(
        values) else "not run"  # fmt: skip
    enough = len(values) >= 2 and (bool(network) or int((by_cell.count() >= 2).sum()) == len(cells))
    if len(runs) and not as_in_paper(runs).all():
        verdict = OTHER
    else:
        verdict = _near(values, figure, 100 / runs["n_val"].iloc[0]) if enough else OPEN
    return _row(f"{dataset}, {name}: accuracy {PARTS[part]}", f"{figure:.1f}%", ours, verdict)


def as_in_paper(runs: pd.DataFrame) -> pd.Series:
    """Whether each run had as many images and classes as the paper's, its largest size, and ImageNet weights."""
    paper = runs["dataset"].map(DATASETS.get)
    images = paper.map(lambda known: known.images) == runs["n_train"] + runs["n_val"]
    classes = paper.map(lambda known: known.classes) == runs["n_classes"]
    as_large = (runs["profile"] == "paper") & (runs["size"] == PROFILES["paper"].size)
    others = runs["image_source"].str.contains("^synthetic|stand-in")
    return images & classes & as_large & ~others & (runs["weights"] == "imagenet")


def _near(values: np.ndarray, figure: float, image: float) -> str:
    low, high = t_interval(values, image=image)
    if figure - NEAR <= low and high <= figure + NEAR:
        return SUPPORTED
    reach = stats.t.ppf(0.975, len(values) - 1) * spread(values, image) * (1 + 1 / len(values)) ** 0.5
    return CONTRADICTED if abs(values.mean() - figure) > reach else OPEN


def tally(judged: pd.DataFrame) -> str:
    """How many claims have which verdict, in a sentence."""
    counts = judged["verdict"].str.removesuffix(NOT_CORRECTED).value_counts()
    order: tuple[str, ...] = (SUPPORTED, CONTRADICTED, OPEN, OTHER)
    marked = int(judged["verdict"].str.endswith(NOT_CORRECTED).sum())
    less = f" {marked} of the decided ones not by the corrected interval." if marked else ""
    return f"Of {len(judged)} claims: " + ", ".join(f"{counts.get(name, 0)} {name}" for name in order) + f".{less}"
