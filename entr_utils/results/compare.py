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
from collections.abc import Iterable, Mapping, Sequence
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
POINTS = {"points": "total", "points_subtotal": "subtotal", "points_rpl": "rpl", "points_own": "own"}  # accuracy_
MEASURES = {name: f"accuracy_{stage}" for name, stage in POINTS.items()} | {  # the column of `table`
    "time": "seconds_total",
    "time_measured": "measured_total",
    "efficiency": "efficiency_total",
    "efficiency_subtotal": "efficiency_subtotal",
    "efficiency_measured": "efficiency_measured",
    "flops": "flops_total",
}
OF_SOURCE, OF_SPLIT = ("carries", "stand_in", "kind"), ("by", "folds", "n_train", "n_val")
OF_RUN = ["key", "share", "parameters", "accuracy_subtotal", "accuracy_rpl", "accuracy_total"]
OF_RUN += ["flops_subtotal", "flops_total"]
BESIDE = ["classes", "split", "accuracy_own", "peak_memory", "processor", "device", "started", "clock", "record", "times"]
TIMES = ["seconds_subtotal", "seconds_total", "measured_subtotal", "measured_total", "with_first_use"]
TIMES += ["efficiency_subtotal", "efficiency_total", "efficiency_measured"]
COLUMNS = [*RunSpec.model_fields, *OF_SOURCE, *OF_SPLIT, *OF_RUN, *BESIDE, *TIMES]
TOGETHER = [*(name for name in RunSpec.model_fields if name not in ("regime", "seed")), "carries", "by", "folds"]
FOUND = ["treatment", "control", "measure", "estimate", "low", "high", "n", "images", "processors", "spread", "share"]
OF_POINTS = ["few", "loss_ruled_out", "probability", "within", "gains", "image_low", "image_high", "worse", "better"]
LONG = [*TOGETHER, *FOUND, *OF_POINTS, "seeds", "by_fold", "judged"]


def table(
    records: Iterable[Record], clocks: times.Clocks, by: Mapping[times.Setting, times.Setting] | None = None
) -> pd.DataFrame:
    """A row a record: its spec, source, split and environment as far as they are compared; number of `classes`; the
    `split`'s checksum; `processor`, the model of processor or GPU (all where a run moved); `accuracy_own`, at the size
    last trained at; peak memory in bytes; T in seconds (`with_first_use`, too) and As by the clock of device `clock`,
    nan and "" without one, and as `measured` in the run; the record itself and its `times.Times` or None. `by`: as
    in `times.seconds`; by default all are timed by one clock (`times.by_one`)."""
    records = [*records]
    chosen = times.by_one(records, clocks) if by is None else by
    rows = [_row(one, times.seconds(one, clocks, chosen)) for one in records]
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(one: Record, clocked: times.Times | None) -> dict:
    place = one.environment
    model = place.processor if place.device.startswith(place.processor) else place.device
    moved = [attempt.device for attempt in one.attempts if attempt.device != place.device]
    row = one.spec.model_dump()
    for holder, names in ((one.source, OF_SOURCE), (one.split, OF_SPLIT), (one, OF_RUN)):
        row |= {name: getattr(holder, name) for name in names}
    row |= {"classes": len(one.source.classes), "split": one.split.checksum}
    row |= {"accuracy_own": one.phases[-1].accuracy_own, "peak_memory": max(phase.peak_memory for phase in one.phases)}
    row |= {"processor": " and ".join([model, *dict.fromkeys(moved)]), "device": place.device, "started": place.started}
    row |= {"clock": clocked.device if clocked else "", "record": one, "times": clocked}
    row["with_first_use"] = clocked.with_first_use if clocked else math.nan
    for part in ("subtotal", "total"):
        row[f"seconds_{part}"] = getattr(clocked, part) if clocked else math.nan
        row[f"measured_{part}"] = getattr(one, f"seconds_{part}")
        row[f"efficiency_{part}"] = efficiency(row[f"accuracy_{part}"], row[f"seconds_{part}"])
    return row | {"efficiency_measured": efficiency(one.accuracy_total, one.seconds_total)}


class Posterior(NamedTuple):
    """Student t of a mean difference: its place, scale and degrees of freedom."""

    mean: float
    scale: float
    df: float

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The central interval; nan for one fold, which has no spread."""
        reach = float(special.stdtrit(self.df, (1 + level) / 2)) * self.scale
        return self.mean - reach, self.mean + reach

    def below(self, value: float) -> float:
        """The probability that the difference is below a value."""
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


def expected_resolution(spreads: Sequence[float], n: int, share: float) -> float:
    """The loss that n folds would rule out if nothing differed, the lower end of the interval: by the spread of the
    differences over the folds of one dataset, or those of several whose mean is judged."""
    return -combined([Posterior(0.0, each * math.sqrt(1 / n + share), n - 1) for each in spreads]).interval()[0]


def pairs(table: pd.DataFrame, treatments: Iterable[str], control: str = CONTROL) -> pd.DataFrame:
    """Each treatment's run in a row with its control's, whose columns end in _control; a fold once, in their order."""
    chosen, base = table[table["regime"].isin([*treatments])], table[table["regime"] == control]
    both = chosen.merge(base, on=[*TOGETHER, "seed", "split", "processor"], suffixes=("", "_control"))
    both = both.sort_values("started_control", kind="stable").drop_duplicates([*TOGETHER, "regime", "seed"])
    return both.sort_values("seed", kind="stable", ignore_index=True)


def compare(
    table: pd.DataFrame, treatments: Iterable[str], control: str = CONTROL, measures: Iterable[str] = MEASURES
) -> pd.DataFrame:
    """One long table, a row a comparison x measure that at least one pair has.

    Returns columns LONG: what the pairs share; `estimate`, `low`, `high` in points, or ratios treatment / control
    (geometric means), low and high of T by the clock being its range over takes; n folds; distinct `images` judged;
    `spread` of the folds' points or logarithms. Of points the `loss_ruled_out` (the lower end), the `probability` of
    losing more than MARGIN, of a change `within` it, and that it `gains` more, in grey where folds are `few`; for these
    images only an interval and flips (`by_image`). Of each fold seed, value, images judged.
    """
    rows = []
    for names, cell in pairs(table, treatments, control).groupby([*TOGETHER, "regime"], sort=False):
        about = dict(zip([*TOGETHER, "treatment"], names, strict=True)) | {"control": control}
        rows += [about | {"measure": measure} | found for measure in measures if (found := _measured(cell, measure))]
    return pd.DataFrame(rows, columns=LONG)


@np.errstate(divide="ignore", invalid="ignore")
def _measured(cell: pd.DataFrame, measure: str) -> dict:
    """A measure of the pairs of one comparison, as far as they have it."""
    column, in_points = MEASURES[measure], measure in POINTS
    cell = cell[cell[column].notna() & cell[f"{column}_control"].notna()]
    if column.startswith(("seconds", "efficiency")) and measure != "efficiency_measured":
        cell = cell[cell["clock"] == cell["clock_control"]]
    if cell.empty:
        return {}
    treatment, control = (cell[name].to_numpy(float) for name in (column, f"{column}_control"))
    ratio = np.where(treatment * control > 0, treatment, math.nan) / control  # an accuracy of 0 has none
    values, takes = 100 * (treatment - control) if in_points else np.log(ratio), pd.DataFrame()
    if measure == "time":
        takes = _by_take(cell)
        values = takes.median(axis=1).to_numpy()
    share = 0.0 if cell["by"].iloc[0] == "official" else float((cell["n_val"] / cell["n_train"]).mean())
    image = 100 / cell["n_val"].min() if in_points else 0.0
    judged = tuple(record.predictions.image for record in cell["record"])
    row: dict = {"n": len(cell), "images": len(set().union(*judged)), "few": len(cell) < FEW, "share": share}
    row |= {"spread": spread(values, image), "processors": tuple(dict.fromkeys(cell["processor"]))}
    row |= {"seeds": tuple(cell["seed"]), "judged": judged}
    found = posterior(values, share, image)
    if in_points:
        these = by_image(cell, POINTS[measure]) if measure != "points_own" else {}
        return row | {"by_fold": tuple(values)} | _of_points(found) | these
    means = takes.mean()
    ends = np.exp((means.median(), means.min(), means.max()) if len(takes) else (found.mean, *found.interval()))
    return row | {"by_fold": tuple(np.exp(values))} | dict(zip(("estimate", "low", "high"), ends, strict=True))


def _of_points(found: Posterior) -> dict[str, float]:
    low, high = found.interval()
    loses, kept = found.below(-MARGIN), found.below(MARGIN)
    shown = {"estimate": found.mean, "low": low, "high": high, "loss_ruled_out": low}
    return shown | {"probability": loses, "within": kept - loses, "gains": 1 - kept}


def _by_take(cell: pd.DataFrame) -> pd.DataFrame:
    """A row a pair, a column a take: the logarithm of the ratio of T."""
    both = [(one.takes, other.takes) for one, other in zip(cell["times"], cell["times_control"], strict=True)]
    return pd.DataFrame([{take: math.log(a[take] / b[take]) for take in a.keys() & b.keys()} for a, b in both])


def by_image(cell: pd.DataFrame, stage: str) -> dict[str, float]:
    """For these images only: the interval of the mean change, in points, and the flips, counted over pairs.

    An image's change is its mean over the pairs that judge it; the standard error is at least one image. With one pair
    an image this is Wald's interval of McNemar's table.
    """
    changes: dict[str, list[int]] = {}
    for one, other in zip(cell["record"], cell["record_control"], strict=True):
        was = dict(zip(other.predictions.image, getattr(other.predictions, stage), strict=True))
        now = zip(one.predictions.image, one.predictions.truth, getattr(one.predictions, stage), strict=True)
        for image, truth, guess in now:
            changes.setdefault(image, []).append((guess == truth) - (was[image] == truth))
    every = [change for each in changes.values() for change in each]
    means = [sum(each) / len(each) for each in changes.values()]
    error = max(float(np.std(means, ddof=1)) / math.sqrt(len(means)), 1 / len(means))
    low, high = Posterior(100 * float(np.mean(means)), 100 * error, len(means) - 1).interval()
    return {"image_low": low, "image_high": high, "worse": every.count(-1), "better": every.count(1)}


def primary(comparisons: pd.DataFrame, treatment: str = "gradual", control: str = CONTROL) -> pd.DataFrame:
    """The primary comparison: points, the mean over the paper's datasets with equal weights (`combined`), of the folds
    that all of them have; a row for each network and setting that has them all, columns LONG."""
    wanted = "treatment == @treatment and control == @control and measure == 'points' and dataset in @PAPER_DATASETS"
    setting = [name for name in TOGETHER if name not in ("dataset", "fingerprint", "lr", "augmentation", "folds")]
    rows = []
    for names, cell in comparisons.query(wanted).groupby(setting, sort=False):
        cell = cell.sort_values("n", kind="stable").drop_duplicates("dataset", keep="last")
        shared = set.intersection(*map(set, cell["seeds"]))
        if len(cell) < len(PAPER_DATASETS) or not shared:
            continue
        parts, judged = [], set()
        for row in cell.to_dict("records"):
            folds = [i for i, seed in enumerate(row["seeds"]) if seed in shared]
            judged |= {(row["dataset"], image) for i in folds for image in row["judged"][i]}
            image = 100 / min(map(len, row["judged"]))
            parts.append(posterior([row["by_fold"][i] for i in folds], row["share"], image))
        found: dict = {
            "dataset": " ".join(PAPER_DATASETS),
            "treatment": treatment,
            "control": control,
            "measure": "points",
        }
        found |= {"n": len(shared), "images": len(judged), "few": len(shared) < FEW, "seeds": tuple(sorted(shared))}
        rows.append(dict(zip(setting, names, strict=True)) | found | _of_points(combined(parts)))
    return pd.DataFrame(rows, columns=LONG)


def spent(record: Record, clocked: times.Times) -> np.ndarray:
    """Seconds of T by the clock at the end of each epoch, (epochs,)."""
    return _shared_out(record, clocked.phases)


def flops_spent(record: Record) -> np.ndarray:
    """FLOPs of training at the end of each epoch, (epochs,)."""
    steps = [work for work in record.work if work.kind == "step"]
    phases = dict.fromkeys((work.phase for work in steps), 0.0)
    for work in steps:
        phases[work.phase] += work.n * work.batch * record.flops[work.key]
    return _shared_out(record, phases)


def _shared_out(record: Record, phases: Mapping[str, float]) -> np.ndarray:
    """Sums up to each epoch, of what phases cost: a phase's cost goes to its epochs by their images."""
    images = {phase.name: phase.images for phase in record.phases}
    return np.cumsum([phases[epoch.phase] * epoch.images / images[epoch.phase] for epoch in record.epochs])
