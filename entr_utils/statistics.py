"""Paired comparisons of regimes: estimates, intervals, tests. What may be said of them is in `verdicts`. No torch here.

One seed is one split, one order of images and one initial head for all regimes, so runs are paired by seed. Both runs
of a pair were made on one machine; pairs of several machines are pooled. All seeds draw from the same images: the plain
intervals are about these images, the corrected ones about another draw of them.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy import stats

CONTROL = "no_increase"
TREATMENTS = ("gradual", "stepwise")  # the paper's two ways of growing images
MARGIN = 1.0  # points: the loss of accuracy that would not matter, set beforehand (results/predictions.md)
SEED = ["seed", "split_sha256"]  # what a treatment and its control share: split, order of images, initial head
PAIR = [*SEED, "setting"]  # and the machine: seconds of two are never compared
CELL = ["dataset", "network", "weights", "conditions"]
PLACE = ["dataset", "network", "conditions"]  # one table, count or line each
TOGETHER = [*CELL, "comparable", "split_rule"]  # runs that may be compared; their regimes and seeds differ
MEASURES = {  # name -> (column, is a ratio); re-training is the same work in all, so its ratio tells of the machine
    "time": ("seconds_total", True), "clock": ("seconds_RPL", True), "flops": ("flops_total", True),
    "efficiency_subtotal": ("efficiency_subtotal", True), "efficiency": ("efficiency_total", True),
    "points_subtotal": ("accuracy_subtotal", False), "points": ("accuracy_total", False),
}  # fmt: skip
EXACT = 16  # pairs up to which all 2^n sign flips are made; beyond, scipy draws some of them


def t_interval(values: np.ndarray, confidence: float = 0.95, image: float = 0.0) -> tuple[float, float]:
    """Student-t interval of the mean; (nan, nan) for a single value: one run tells nothing about its spread."""
    return corrected_interval(values, 0.0, confidence, image)


def corrected_interval(values: np.ndarray, share: float, confidence: float = 0.95,
                       image: float = 0.0) -> tuple[float, float]:  # fmt: skip
    """Interval of the mean with the variance of Nadeau & Bengio (2003): s^2 (1/n + share), Student t with n - 1.

    Args:
        values: n paired differences, one a split of the same images.
        share: n_val / n_train. Splits overlap in their training images, so n of them are not n samples: this term does
            not shrink with n. 0 gives the plain interval.
        image: what one validation image is worth, for accuracies. See `spread`.
    """
    n = len(values)
    if n < 2:
        return float("nan"), float("nan")
    mean, reach = float(np.mean(values)), float(stats.t.ppf((1 + confidence) / 2, n - 1))
    reach *= spread(values, image) * (1 / n + share) ** 0.5
    return mean - reach, mean + reach


def spread(values: np.ndarray, image: float) -> float:
    """Standard deviation. On few images accuracies come out equal by chance; where all do, one image stands for the
    spread that cannot be seen, so that nothing rests on an interval of no width. Equal are values less than a
    tenth of an image apart, since seeds may validate on a few images more or less."""
    equal = np.ptp(values) <= max(image / 10, 1e-9 * max(1.0, float(np.abs(values).max())))
    return image if equal else float(np.std(values, ddof=1))


def sign_flip_p(differences: np.ndarray) -> float:
    """Two-sided p of the permutation test of paired differences: the share of sign flips with a mean as far from 0.

    Exact up to 16 pairs. With n pairs it cannot be below 2 / 2^n (3: 0.25, 5: 0.0625). nan for one pair.
    """
    if len(differences) < 2 or not np.isfinite(differences).all():
        return float("nan")
    every = np.inf if len(differences) <= EXACT else 99_999
    test = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=every, axis=0,
                                  rng=np.random.default_rng(0))  # fmt: skip
    return float(test.pvalue)


def seeds_needed(points: np.ndarray, image: float, margin: float = MARGIN) -> float:
    """How many seeds would make the 95% interval reach no further than the margin either way, if the spread of these
    paired differences (in points) stayed what it is; nan for a single one."""
    if len(points) < 2:
        return float("nan")
    n, deviation = 2, spread(points, image)
    while stats.t.ppf(0.975, n - 1) * deviation / n**0.5 > margin:
        n += 1
    return float(n)


def equivalence(points: np.ndarray, image: float, margin: float = MARGIN) -> dict[str, float | str]:
    """Is accuracy kept? Two one-sided t tests at 5% (TOST) of paired differences in points.

    Args:
        points: paired differences of accuracy.
        image: points one validation image is worth.
        margin: the difference that would not matter, in points.
    Returns `tost_p` (the larger of the two), `tost_margin` (the smallest margin at which the test would succeed: the
        far end of the 90% interval) and `kept`: "kept" where the test succeeds, else "lower" or "higher" where the 95%
        interval excludes 0, else "open". Where all differences are equal, the spread is that of `spread`.
    """
    n = len(points)
    if n < 2:
        return {"tost_p": float("nan"), "tost_margin": float("nan"), "kept": "open"}
    smallest = max(map(abs, t_interval(points, 0.90, image)))
    error, mean = spread(points, image) / n**0.5, float(np.mean(points))
    p = float(stats.t.sf((margin - abs(mean)) / error, n - 1))
    kept = p < 0.05
    low, high = t_interval(points, image=image)
    direction = "lower" if high < 0 else "higher" if low > 0 else "open"
    return {"tost_p": p, "tost_margin": smallest, "kept": "kept" if kept else direction}


def compare(table: pd.DataFrame, treatments: Iterable[str] = TREATMENTS, control: str = CONTROL,
            measures: dict[str, tuple[str, bool]] = MEASURES) -> pd.DataFrame:  # fmt: skip
    """Each treatment against the control, paired by seed; one row a cell, comparable settings and treatment.

    Args:
        table: from `records.load`. Runs are paired only where all but regime, schedule and seed agree (`comparable`),
            and where the split was made by the same rule.
        treatments, control: regimes.
        measures: name -> (column of the table, whether a ratio is meant).
    Returns columns TOGETHER, treatment, n, made_on ((setting, pairs) of each machine), n_val, image (points one
        validation image is worth), for each measure the mean, `_low` and `_high` (95%), `_wide_low` and `_wide_high`
        (corrected), `_p`: ratios treatment / control from logarithms, accuracy differences in percentage points;
        `equivalence` of "points" and `seeds_needed`; with "clock" `unsteady`, the factor by which a pair's re-training
        differed at most, and as one more measure `aligned`.
    """
    both = pairs(table, treatments, control)
    cells = both.groupby([*TOGETHER, "regime"], sort=False) if len(both) else ()
    rows = [dict(zip([*TOGETHER, "treatment"], names, strict=True)) | _row(cell, measures) for names, cell in cells]
    columns = [*TOGETHER, "treatment", "n", "made_on", "n_val", "image"]
    return pd.DataFrame(rows, columns=None if rows else [*columns, *measures])


def stacked(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Several tables under one another, those without a row left out; one without rows and columns where all are."""
    kept = [part for part in parts if len(part)]
    return pd.concat(kept, ignore_index=True) if kept else pd.DataFrame()


def pairs(table: pd.DataFrame, treatments: Iterable[str] = TREATMENTS, control: str = CONTROL) -> pd.DataFrame:
    """Each treatment's run in a row with its control's, whose columns end in _control.

    Of a seed that several machines have, the pair whose control began first.
    """
    if table.empty:
        return table
    base = table[table["regime"] == control]
    chosen = table[table["regime"].isin(list(treatments))]
    both = chosen.merge(base, on=[*TOGETHER, *PAIR], suffixes=("", "_control"))
    return as_begun(both, "env_started_control").drop_duplicates([*TOGETHER, "regime", *SEED]).sort_index()


def as_begun(runs: pd.DataFrame, at: str = "env_started") -> pd.DataFrame:
    """The rows in the order in which their runs began."""
    return runs.sort_values(at, key=lambda started: started.map(pd.Timestamp), kind="stable")


def of_one_machine(table: pd.DataFrame) -> pd.DataFrame:
    """Of a seed that several machines have, the runs of one, so that no seed counts twice in a mean over runs: where no
    increase is, then with most regimes, then begun first. Whatever came of them."""
    if table.empty:
        return table
    of_seed = [*TOGETHER, *SEED]
    runs = as_begun(table.assign(control=table["regime"] == CONTROL))
    made = runs.groupby([*of_seed, "setting"], sort=False)
    made = made.agg(control=("control", "any"), regimes=("regime", "nunique"))
    made = made.reset_index().sort_values(["control", "regimes"], ascending=False, kind="stable")
    chosen = made.drop_duplicates(of_seed)[[*of_seed, "setting"]]
    kept = table[[*of_seed, "setting"]].merge(chosen, how="left", indicator=True)["_merge"] == "both"
    return table[kept.to_numpy()]


def machines(compared: pd.DataFrame) -> list[str]:
    """The settings that the pairs of `compare` were made in, each once."""
    return list(dict.fromkeys(where for made_on in compared["made_on"] for where, _ in made_on))


def each_machine(table: pd.DataFrame, measures: dict[str, tuple[str, bool]] = MEASURES) -> pd.DataFrame:
    """`compare` of each machine's runs by themselves, with a column env_device."""
    if table.empty:
        return table
    return stacked(compare(runs, measures=measures).assign(env_device=device)
                   for device, runs in table.groupby("env_device", sort=False))  # fmt: skip


def by_machine(compared: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `compared`, each that several machines have followed by what each of them says by itself."""
    alone, parts, names = each_machine(table), [], [*TOGETHER, "treatment"]
    for i, row in compared.iterrows():
        own = alone[(alone[names] == row[names]).all(axis=1)]
        parts += [compared.loc[[i]], own] if len(own) > 1 else [compared.loc[[i]]]
    return stacked(parts)


def differences(both: pd.DataFrame, measure: tuple[str, bool]) -> np.ndarray:
    """Of each row of `pairs` the logarithm of the ratio, or the difference in percentage points."""
    column, ratio = measure
    treatment, control = both[column].to_numpy(float), both[f"{column}_control"].to_numpy(float)
    with np.errstate(divide="ignore", invalid="ignore"):  # an accuracy of 0 has no ratio: the result is nan
        return np.log(treatment / control) if ratio else 100 * (treatment - control)


def aligned(both: pd.DataFrame) -> np.ndarray:
    """Of each row of `pairs` the ratio of T had re-training and TTA, the same work in both, taken the control's
    seconds."""
    after = both["seconds_total_control"] - both["seconds_subtotal_control"]
    return ((both["seconds_subtotal"] + after) / both["seconds_total_control"]).to_numpy(float)


def _row(both: pd.DataFrame, measures: dict[str, tuple[str, bool]]) -> dict:
    n_val = int(both["n_val"].min())
    made_on = tuple(both["setting"].value_counts(sort=False).items())
    row: dict = {"n": len(both), "made_on": made_on, "n_val": n_val, "image": 100 / n_val}
    share = float((both["n_val"] / both["n_train"]).mean())
    for name, (column, ratio) in measures.items():
        values = differences(both, (column, ratio))
        row |= _measure(name, values, share, 0.0 if ratio else row["image"])
        if name == "points":
            row |= equivalence(values, row["image"]) | {"seeds_needed": seeds_needed(values, row["image"])}
        if name == "clock":  # of pairs: one fast and one slow leave a mean of 1
            row["unsteady"] = float(np.exp(np.abs(values).max()))
            row |= _measure("aligned", np.log(aligned(both)), share, 0.0)
    return row


def _measure(name: str, values: np.ndarray, share: float, image: float) -> dict[str, float]:
    """Of points, where `image` says what one is worth, or else of the logarithms of ratios."""
    found = {"": values.mean()}
    found |= dict(zip(("_low", "_high"), t_interval(values, image=image), strict=True))
    found |= dict(zip(("_wide_low", "_wide_high"), corrected_interval(values, share, image=image), strict=True))
    back = float if image else np.exp
    return {f"{name}{end}": float(back(value)) for end, value in found.items()} | {f"{name}_p": sign_flip_p(values)}


def left_out(table: pd.DataFrame) -> int:
    """How many runs `compare` does not use: no partner of the same seed, images, weights, device and protocol, or of a
    seed that another machine has."""
    if table.empty:
        return 0
    numbered = table.reset_index(drop=True).assign(run=range(len(table)))
    both = pairs(numbered)
    wanted = numbered[numbered["regime"].isin([CONTROL, *TREATMENTS])]
    return len(set(wanted["run"]) - {*both["run"], *both["run_control"]})


def best(comparisons: pd.DataFrame) -> pd.DataFrame:
    """The comparisons of the same conditions a dataset and network: of several those with most pairs of runs, of as
    many those of the newest protocol, whose T is what today's code takes; then the last named.

    None of this depends on what came out, so it picks no winners; and what is compared with one another was measured
    under the same conditions.
    """
    if comparisons.empty:
        return comparisons
    protocol = comparisons["conditions"].str.extract(r"protocol (\d+)", expand=False).astype(float)
    pairs_there = comparisons.groupby(TOGETHER, sort=False)["n"].transform("sum")
    ranked = comparisons.assign(pairs=pairs_there, protocol=protocol).sort_values(
        ["pairs", "protocol", "conditions"], ascending=False, kind="stable")  # fmt: skip
    chosen = set(ranked.drop_duplicates(["dataset", "network"])[TOGETHER].itertuples(index=False, name=None))
    return comparisons[[row in chosen for row in comparisons[TOGETHER].itertuples(index=False, name=None)]]


def counted(table: pd.DataFrame, comparisons: pd.DataFrame) -> np.ndarray:
    """Which runs of the table are of conditions that `best` of the comparisons counts, or of a dataset and network that
    has no comparison; (n,) booleans."""
    places = [*comparisons[TOGETHER].itertuples(index=False, name=None)]
    judged = {place[:2] for place in places}
    runs = table[TOGETHER].itertuples(index=False, name=None) if len(table) else ()
    return np.array([run in places or run[:2] not in judged for run in runs], bool)


def sign_of(name: str) -> str:
    """How a measure is written: differences with their sign, ratios without."""
    return "+" if name.startswith("points") else ""


def interval_text(row: pd.Series, name: str, digits: int = 2, kind: str = "") -> str:
    """Mean with its 95% interval (kind "_wide": the corrected one), or the mean alone where there is one run."""
    mean, low, high = row[name], row[f"{name}{kind}_low"], row[f"{name}{kind}_high"]
    sign = sign_of(name)
    text = f"{mean:{sign}.{digits}f}"
    return text if np.isnan(low) else f"{text} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"
