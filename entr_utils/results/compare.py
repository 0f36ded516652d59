"""Records as one table, and the regimes in it compared: estimate, interval, loss ruled out, probabilities. No torch.

A pair is a treatment's run and its control's of one fold (seed), the same in all but the regime; precision and model of
processor or GPU included, for another model is another draw. Pairs of several models are pooled; of a fold that several
have counts the one whose control began first. Folds weigh the same. Random splits, official splits, folds and protocols
are never pooled with one another.

Of n differences with mean m and standard deviation s there is one interval: Student t with n - 1 degrees and the
variance s^2 (1/n + n_val/n_train) of Nadeau & Bengio (Machine Learning 52, 2003). Folds share training images, so the
second term does not shrink with n. The interval is about training on other such images, not about these alone, and
conservative: what the folds of a split judge does not overlap. With a flat prior the same distribution is the posterior
of the difference (correlated t-test: Corani & Benavoli, Machine Learning 100, 2015); probabilities come from it. An
official split has no folds: n_val/n_train counts as 0, and the interval is of training noise alone.
"""

import math
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from entr_utils.results import times
from entr_utils.results.record import Record, efficiency
from entr_utils.settings import PAPER_DATASETS, RunSpec

CONTROL = "no_increase"
MARGIN = 1.0  # points: the loss of accuracy that would not matter, set beforehand (results/predictions.md)
FEW = 5  # folds below which probabilities are shown in grey
MEASURES = {"points": "accuracy_total", "time": "seconds_total", "time_measured": "measured_total"}  # columns
MEASURES |= {name: name for name in ("efficiency_subtotal", "efficiency_total", "flops_total")}
FIELDS = [f"spec.{name}" for name in RunSpec.model_fields]  # of a record: columns of `table`, by their last names
FIELDS += ["source.carries", "source.stand_in", "source.kind", "split.by", "split.folds", "split.checksum"]
FIELDS += ["split.n_train", "split.n_val", "environment.started", "parameters", "flops_subtotal", "flops_total"]
FIELDS += ["accuracy_subtotal", "accuracy_total"]
TOGETHER = [*(name for name in RunSpec.model_fields if name not in ("regime", "seed")), "carries", "by", "folds"]
OF_ALL = ["treatment", "control", "measure", "estimate", "low", "high", "n", "share", "base", "by_fold"]
OF_POINTS = ["image", "probability", "within", "gains", "images", "image_low", "image_high", "worse", "better"]
LONG = [*TOGETHER, *OF_ALL, *OF_POINTS]


def table(records: Iterable[Record], clocks: times.Clocks) -> pd.DataFrame:
    """A row a record: its spec, source and split as far as they are compared; the split's `checksum`; number of
    `classes`; `processor`, the model of processor or GPU (all where a run moved); peak memory in bytes; T in seconds
    (`with_first_use`, too) and As by the clock of device `clock`, nan and "" without one; T as `measured` in the run;
    the record itself and its `times.Times` or None."""
    records = [*records]
    clocked = times.of_records(records, clocks)
    columns: dict[str, list] = {field.split(".")[-1]: [*map(attrgetter(field), records)] for field in FIELDS}
    columns |= {"record": records, "times": clocked, "processor": [*map(_models, records)]}
    columns["classes"] = [len(one.source.classes) for one in records]
    columns["peak_memory"] = [max(phase.peak_memory for phase in one.phases) for one in records]
    columns["clock"] = [getattr(one, "device", "") for one in clocked]
    columns["with_first_use"] = [getattr(one, "with_first_use", math.nan) for one in clocked]
    for part in ("subtotal", "total"):
        columns[f"measured_{part}"] = [getattr(one, f"seconds_{part}") for one in records]
        columns[f"seconds_{part}"] = seconds = [getattr(one, part, math.nan) for one in clocked]
        columns[f"efficiency_{part}"] = [*map(efficiency, columns[f"accuracy_{part}"], seconds)]
    return pd.DataFrame(columns, dtype=None if records else object)


def _models(record: Record) -> str:
    place = record.environment
    began = place.processor if place.device.startswith(place.processor) else place.device
    moved = [attempt.device for attempt in record.attempts if attempt.device != place.device]
    return " and ".join([began, *dict.fromkeys(moved)])


class Posterior(NamedTuple):
    """Student t of a mean difference: its place, scale and degrees of freedom."""

    mean: float
    scale: float
    df: float

    def interval(self) -> tuple[float, float]:
        """The central 95%; nan for one fold, which has no spread."""
        reach = float(special.stdtrit(self.df, 0.975)) * self.scale
        return self.mean - reach, self.mean + reach

    def below(self, value: float) -> float:
        return float(special.stdtr(self.df, (value - self.mean) / self.scale))


def spread(values: Sequence[float], image: float = 0.0) -> float:
    """Standard deviation of differences. On few images accuracies come out equal by chance: where all differences lie
    within a tenth of an `image` (what one is worth), one image stands for the spread that cannot be seen."""
    if len(values) < 2:
        return math.nan
    equal = np.ptp(values) <= max(image / 10, 1e-9 * max(1.0, float(np.abs(values).max())))
    return image if equal else float(np.std(values, ddof=1))


def posterior(values: Sequence[float], share: float, image: float = 0.0) -> Posterior:
    """Of the mean of paired differences, one a fold; `share` is n_val / n_train, `image` as in `spread`."""
    n = len(values)
    return Posterior(float(np.mean(values)), spread(values, image) * math.sqrt(1 / n + share), n - 1)


def combined(parts: Sequence[Posterior]) -> Posterior:
    """Of the mean of independent differences with equal weights. Variances add up; degrees of freedom by Welch and
    Satterthwaite: the square of the variances' sum over the sum of each one's square by its own degrees."""
    variances = np.array([part.scale**2 for part in parts]) / len(parts) ** 2
    df = variances.sum() ** 2 / (variances**2 / [part.df for part in parts]).sum()
    return Posterior(float(np.mean([part.mean for part in parts])), math.sqrt(variances.sum()), float(df))


def compare(
    table: pd.DataFrame, treatments: Iterable[str], control: str = CONTROL, measures: Iterable[str] = MEASURES
) -> pd.DataFrame:
    """One long table, a row a comparison x measure that at least one pair has.

    Returns columns LONG: what the pairs share; `estimate`, `low`, `high` in points, or ratios treatment / control
    (geometric means), low and high of T by the clock being its range over takes; n folds; `share`, n_val / n_train;
    `base`, the control's mean; `by_fold`, the value of each seed. Of points also what one `image` is worth, the
    `probability` of losing more than MARGIN, of a change `within` it, and that it `gains` more, and `_by_image`.
    """
    chosen, base = table[table["regime"].isin([*treatments])], table[table["regime"] == control]
    pairs = chosen.merge(base, on=[*TOGETHER, "seed", "checksum", "processor"], suffixes=("", "_control"))
    once = pairs.sort_values("started_control", kind="stable").drop_duplicates([*TOGETHER, "regime", "seed"])
    rows = []
    for names, cell in once.sort_values("seed", kind="stable").groupby([*TOGETHER, "regime"], sort=False):
        about = dict(zip([*TOGETHER, "treatment"], names, strict=True)) | {"control": control}
        rows += [about | {"measure": measure} | found for measure in measures if (found := _measured(cell, measure))]
    return pd.DataFrame(rows, columns=LONG)


@np.errstate(divide="ignore", invalid="ignore")
def _measured(cell: pd.DataFrame, measure: str) -> dict:
    columns = [MEASURES[measure], f"{MEASURES[measure]}_control"]
    cell = cell.dropna(subset=columns)
    if columns[0].startswith(("seconds", "efficiency")):  # networks may be timed by clocks of two devices (`claims`)
        cell = cell[cell["clock"] == cell["clock_control"]]
    if cell.empty:
        return {}
    treatment, control = cell[columns].to_numpy(float).T
    share = 0.0 if cell["by"].iloc[0] == "official" else float((cell["n_val"] / cell["n_train"]).mean())
    row = {"n": len(cell), "share": share, "base": control.mean()}
    if measure == "points":
        values, image = 100 * (treatment - control), 100 / cell["n_val"].min()
        row |= {"image": image, "by_fold": dict(zip(cell["seed"], values, strict=True))}
        return row | _of_points(posterior(values, share, image)) | _by_image(cell)
    logs = np.log(np.where(treatment * control > 0, treatment, math.nan) / control)  # an accuracy of 0 has no ratio
    if measure == "time":
        both = [(one.takes, other.takes) for one, other in zip(cell["times"], cell["times_control"], strict=True)]
        takes = pd.DataFrame([{take: math.log(a[take] / b[take]) for take in a.keys() & b.keys()} for a, b in both])
        logs, means = takes.median(axis=1).to_numpy(), takes.mean()
        ends = means.median(), means.min(), means.max()
    else:
        found = posterior(logs, share)
        ends = found.mean, *found.interval()
    row |= dict(zip(("estimate", "low", "high"), np.exp(ends), strict=True))
    return row | {"by_fold": dict(zip(cell["seed"], np.exp(logs), strict=True))}


def _of_points(found: Posterior) -> dict[str, float]:
    low, high = found.interval()
    loses, kept = found.below(-MARGIN), found.below(MARGIN)
    shown = {"estimate": found.mean, "low": low, "high": high}
    return shown | {"probability": loses, "within": kept - loses, "gains": 1 - kept}


def _by_image(cell: pd.DataFrame) -> dict[str, float]:
    """How many `images` were judged, the interval of their mean change in points, and the flips, counted over pairs. An
    image's change is its mean over the pairs that judge it; the standard error is at least one image. With one pair an
    image this is Wald's interval of McNemar's table."""
    parts = []
    for record, control in zip(cell["record"], cell["record_control"], strict=True):
        now, was = record.predictions, control.predictions  # of the same images in the same order
        change = np.equal(now.total, now.truth).astype(int) - np.equal(was.total, was.truth)
        parts.append(pd.Series(change, now.image))
    changes = pd.concat(parts)
    means = changes.groupby(level=0).mean()
    error = max(means.std() / math.sqrt(len(means)), 1 / len(means))
    low, high = Posterior(100 * means.mean(), 100 * error, len(means) - 1).interval()
    found = {"images": len(means), "image_low": low, "image_high": high}
    return found | {"worse": (changes < 0).sum(), "better": (changes > 0).sum()}


def primary(comparisons: pd.DataFrame, treatment: str = "gradual") -> pd.DataFrame:
    """The primary comparison: points, the mean over the paper's datasets with equal weights (`combined`), of the folds
    that all of them have; a row for each network and setting that has them all."""
    wanted = "treatment == @treatment and control == @CONTROL and measure == 'points' and dataset in @PAPER_DATASETS"
    setting = [name for name in TOGETHER if name not in ("dataset", "fingerprint", "lr", "augmentation", "folds")]
    rows = []
    for names, cell in comparisons.query(wanted).groupby(setting, sort=False):
        cell = cell.sort_values("n", kind="stable").drop_duplicates("dataset", keep="last")
        shared = set.intersection(*map(set, cell["by_fold"]))
        if len(cell) == len(PAPER_DATASETS) and shared:
            each = zip(cell["by_fold"], cell["share"], cell["image"], strict=True)
            parts = [posterior([folds[seed] for seed in sorted(shared)], share, image) for folds, share, image in each]
            found = _of_points(combined(parts)) | {"n": len(shared)}
            rows.append(dict(zip(setting, names, strict=True)) | found)
    return pd.DataFrame(rows, columns=LONG)
