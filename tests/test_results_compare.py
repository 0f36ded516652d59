"""Comparisons: on records by hand, against published examples, and on simulated folds."""

import math

import by_hand
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from entr_utils.results import compare
from entr_utils.results.compare import posterior

CONTROL, GRADUAL = "no_increase", "gradual"


def table(*loaded, folder=None, **clock) -> pd.DataFrame:
    return compare.table(loaded, by_hand.clocks(folder, loaded, **clock) if folder else {})


def pairs_of(control, treatment, **fields) -> list:
    """Records of both regimes, a fold for each accuracy."""
    return by_hand.folds(CONTROL, control, **fields) + by_hand.folds(GRADUAL, treatment, **fields)


def found(*loaded, measure: str = "points", treatment: str = GRADUAL, control: str = CONTROL, **options) -> dict:
    """The only comparison of a measure."""
    long = compare.compare(table(*loaded, **options), [treatment], control)
    (row,) = long[long["measure"] == measure].to_dict("records")
    return row


def test_a_row_a_record(tmp_path):
    """As = sqrt(A / T), T in minutes."""
    record = by_hand.record(GRADUAL, 3, "bees", 0.8, 0.7, carries="fine", n_val=50, n_train=450, seconds=2.0)
    (row,) = table(record, folder=tmp_path).to_dict("records")
    assert (row["dataset"], row["regime"], row["seed"]) == ("bees", GRADUAL, 3)
    assert (row["carries"], row["by"], row["folds"], row["n_train"], row["n_val"]) == ("fine", "fold", 10, 450, 50)
    assert (row["accuracy_total"], row["accuracy_subtotal"]) == (0.8, 0.7)
    assert (row["clock"], row["processor"], row["classes"], row["peak_memory"]) == (by_hand.DEVICE, "Abacus", 7, 25e7)
    assert row["record"] is record
    on_the_clock = sum(one.n * by_hand.seconds_of(one) for one in record.work)
    assert row["seconds_total"] == pytest.approx(on_the_clock)
    assert row["measured_total"] == record.seconds_total > 1.5 * on_the_clock
    assert row["efficiency_total"] == pytest.approx(math.sqrt(0.8 / (on_the_clock / 60)))
    assert row["with_first_use"] > row["seconds_total"] > row["seconds_subtotal"] > 0


def test_without_a_clock_there_is_no_time_but_the_measured_one():
    row = table(by_hand.record()).iloc[0]
    assert row[["seconds_total", "seconds_subtotal", "efficiency_total", "with_first_use"]].isna().all()
    assert (row["clock"], row["times"]) == ("", None)
    assert row["measured_total"] > 0


def test_the_model_is_the_gpu_or_the_processor_and_all_where_a_run_moved():
    places = ({"device": "Abacus, 2 threads"}, {"device": "A GPU", "processor": "Abacus"}, {"moved_to": "A GPU"})
    one, other, both = table(*(by_hand.record(**place) for place in places))["processor"]
    assert (one, other) == ("Abacus", "A GPU")
    assert both not in (one, other)


def test_ratios_and_points_by_hand():
    """80 and 83 of 100 images; 900 s instead of 1,000; one fold has no interval."""
    loaded = [by_hand.record(), by_hand.record(GRADUAL, accuracy=0.83)]
    points = found(*loaded)
    assert points["estimate"] == pytest.approx(3)
    assert (points["n"], points["images"]) == (1, 100)
    assert np.isnan([points[name] for name in ("low", "high", "probability")]).all()
    seconds = [record.seconds_total for record in loaded]
    time = found(*loaded, measure="time_measured")
    assert (time["estimate"], time["base"]) == pytest.approx((seconds[1] / seconds[0], seconds[0]))


def test_ratios_over_folds_are_geometric():
    """Half and twice the seconds is no change."""
    loaded = [by_hand.record(CONTROL, 0), by_hand.record(CONTROL, 1)]
    slow = [by_hand.record(CONTROL, seed, seconds=factor) for seed, factor in ((0, 0.5), (1, 2.0))]
    treated = [one.model_copy(update={"spec": one.spec.model_copy(update={"regime": GRADUAL})}) for one in slow]
    row = found(*loaded, *treated, measure="time_measured")
    assert row["estimate"] == pytest.approx(1)
    assert row["by_fold"] == pytest.approx({0: 0.5, 1: 2.0})
    assert row["low"] == pytest.approx(1 / row["high"])


def test_folds_are_paired_by_seed_not_by_order():
    row = found(*by_hand.folds(CONTROL, [0.8, 0.6, 0.7]), *reversed(by_hand.folds(GRADUAL, [0.82, 0.63, 0.71])))
    assert row["by_fold"] == pytest.approx({0: 2, 1: 3, 2: 1})
    assert row["images"] == 300


OTHER = {"seed": 1, "lr": 0.01, "size": 128, "batch": 32, "precision": "bfloat16", "protocol": 2, "weights": "imagenet"}
OTHER |= {"groups": "none", "fingerprint": "other images", "carries": "fine", "profile": "compact", "by": "random"}
OTHER |= {"device": "Another", "moved_to": "Another", "weights_sha256": "0", "augmentation": "eight"}


@pytest.mark.parametrize("name", [*OTHER, "split"])
def test_only_runs_that_differ_in_the_regime_alone_are_a_pair(name):
    assert len(compare.compare(table(by_hand.record(), by_hand.record(GRADUAL)), [GRADUAL]))
    other = by_hand.record(GRADUAL, **{name: OTHER[name]} if name in OTHER else {})
    if name == "split":  # another one of the same seed
        other = other.model_copy(update={"split": other.split.model_copy(update={"checksum": "another"})})
    assert compare.compare(table(by_hand.record(), other), [GRADUAL]).empty


def test_threads_make_no_other_model(tmp_path):
    loaded = [by_hand.record(device="Abacus, 4 threads"), by_hand.record(GRADUAL, device="Abacus, 8 threads")]
    by_hand.clocks(tmp_path, loaded, device="Abacus, 4 threads")
    by_one = compare.table(loaded, by_hand.clocks(tmp_path, loaded, device="Abacus, 8 threads"))
    assert len(set(by_one["clock"])) == 1
    assert {"points", "time", "time_measured", "flops_total"} <= set(compare.compare(by_one, [GRADUAL])["measure"])


def test_pairs_of_several_models_are_pooled():
    here, other = pairs_of([0.8], [0.82]), [by_hand.record(CONTROL, 1, device="B, 2 threads")]
    other += [by_hand.record(GRADUAL, 1, accuracy=0.84, device="B, 2 threads")]
    assert found(*here, *other)["by_fold"] == pytest.approx({0: 2, 1: 4})


@pytest.mark.parametrize(("started", "points"), [("2025-12-31", 9), ("2027-01-01", 1)], ids=["earlier", "later"])
def test_a_fold_counts_once_that_whose_control_began_first(started, points):
    again = [by_hand.record(CONTROL, device="B, 2 threads", started=started)]
    again += [by_hand.record(GRADUAL, accuracy=0.89, device="B, 2 threads", started="2020-01-01")]
    row = found(*pairs_of([0.8], [0.81]), *again)
    assert (row["n"], row["estimate"]) == (1, pytest.approx(points))


def test_folds_random_and_official_splits_are_never_pooled():
    sizes = (("fold", 3), ("random", 2), ("official", 1))
    loaded = [one for by, n in sizes for one in pairs_of([0.8] * n, [0.8] * n, by=by)]
    long = compare.compare(table(*loaded), [GRADUAL])
    assert sorted(long[long["measure"] == "points"]["n"]) == [1, 2, 3]


@pytest.mark.parametrize("loaded", [[], [by_hand.record()], [by_hand.record(GRADUAL)]])
def test_nothing_to_compare(loaded):
    empty = compare.compare(table(*loaded), [GRADUAL])
    assert empty.empty
    assert {"estimate", "treatment", "measure", "dataset"} <= set(empty)
    assert compare.primary(empty).empty


def test_an_accuracy_of_zero_has_no_ratio(tmp_path):
    row = found(*pairs_of([0.0, 0.5], [0.5, 0.5]), folder=tmp_path, measure="efficiency_total")
    assert np.isnan([row["estimate"], row["low"], row["high"]]).all()


def test_the_share_of_the_split_is_taken():
    """1, 2, 3, 4 points in 4 folds of 100 to 900 images: mean 2.5, variance 5/3 (1/4 + 1/9) = .6019, t(3) = 3.1824."""
    row = found(*pairs_of([0.8] * 4, [0.81, 0.82, 0.83, 0.84]))
    assert (row["low"], row["high"]) == pytest.approx((2.5 - 3.1824 * 0.77579, 2.5 + 3.1824 * 0.77579), abs=1e-3)
    assert row["share"] == pytest.approx(1 / 9)


def test_an_official_split_has_no_share():
    """Seeds are repeats on the same images: scipy's plain interval of the mean."""
    row = found(*pairs_of([0.8] * 4, [0.81, 0.82, 0.83, 0.84], by="official"))
    plain = stats.ttest_1samp([1.0, 2.0, 3.0, 4.0], 0).confidence_interval()
    assert (row["low"], row["high"], row["images"]) == (pytest.approx(plain.low), pytest.approx(plain.high), 100)


def test_scikit_learns_example():
    """ "Statistical comparison of models using grid search": rbf against linear, 10 x 10 folds, 90 train and 10 test.

    Published: uncorrected t 2.611, corrected t .750 (p .227), 95% between -.016445 and .036445, 6.8%
    worse and 43% within .01, mean difference .01.
    """
    values = 0.01 + 0.01 * math.sqrt(100) / 2.611165 * stats.zscore(np.arange(100.0), ddof=1)
    assert posterior(values, 0).mean / posterior(values, 0).scale == pytest.approx(2.611, abs=5e-4)
    found = posterior(values, 10 / 90)
    assert found.mean / found.scale == pytest.approx(0.750, abs=5e-4)
    assert found.below(0) == pytest.approx(0.227, abs=5e-4)
    assert found.interval() == pytest.approx((-0.016445, 0.036445), abs=1e-6)
    assert found.below(-0.01) == pytest.approx(0.068, abs=5e-4)
    assert found.below(0.01) - found.below(-0.01) == pytest.approx(0.43, abs=5e-3)


def test_probabilities_of_points_are_of_the_same_posterior():
    """Five folds of -2, -1, 0, 1, 2 points around the margin: symmetric, and the three add up to one."""
    row = found(*pairs_of([0.8] * 5, [0.78, 0.79, 0.80, 0.81, 0.82]))
    scale = math.sqrt(2.5 * (1 / 5 + 1 / 9))
    assert row["probability"] == pytest.approx(stats.t.cdf(-1 / scale, 4))
    assert row["gains"] == pytest.approx(row["probability"])
    assert row["probability"] + row["within"] + row["gains"] == pytest.approx(1)


@pytest.mark.parametrize(("n", "n_val", "n_train"), [(2, 63, 567), (3, 63, 567), (10, 210, 1890)])
def test_one_image_stands_for_a_spread_that_cannot_be_seen(n, n_val, n_train):
    row = found(*pairs_of([0.8] * n, [0.8] * n, n_val=n_val, n_train=n_train))
    reach = stats.t.ppf(0.975, n - 1) * 100 / n_val * math.sqrt(1 / n + n_val / n_train)
    assert (row["low"], row["high"]) == pytest.approx((-reach, reach))


def test_differences_that_are_equal_but_for_rounding():
    points = 100 * (np.array([0.81, 0.71, 0.61]) - np.array([0.80, 0.70, 0.60]))
    assert compare.spread(points, 1.0) == 1.0


def test_flops_of_equal_plans_have_an_interval_of_no_width():
    row = found(*pairs_of([0.8] * 3, [0.7, 0.8, 0.9]), measure="flops_total")
    assert row["low"] == pytest.approx(row["estimate"])
    assert row["estimate"] == pytest.approx(by_hand.record(GRADUAL).flops_total / by_hand.record().flops_total)


def test_the_time_has_the_range_over_takes_and_none_over_folds(tmp_path):
    """A take whose small steps are slow, and one as planned twice: three ratios, the same in every fold."""
    loaded = pairs_of([0.8] * 3, [0.7, 0.8, 0.9])
    takes = [lambda work: 1.0, lambda work: 2.0, lambda work: 3.0 if work.size < 250 else 1.0]
    row = found(*loaded, folder=tmp_path, takes=takes, measure="time")
    seconds = [
        [sum(one.n * by_hand.seconds_of(one) * take(one) for one in loaded[run].work) for run in (0, 3)]
        for take in takes
    ]
    each = [treatment / control for control, treatment in seconds]
    assert (row["estimate"], row["low"], row["high"]) == pytest.approx((np.median(each), min(each), max(each)))
    assert row["high"] > row["low"] * 1.01


def test_efficiency_by_the_clock_has_the_folds_interval(tmp_path):
    loaded = pairs_of([0.8] * 3, [0.7, 0.8, 0.9])
    row = found(*loaded, folder=tmp_path, measure="efficiency_total")
    time = found(*loaded, folder=tmp_path, measure="time")["estimate"]
    logs = [math.log(math.sqrt(accuracy / 0.8 / time)) for accuracy in (0.7, 0.8, 0.9)]
    expected = posterior(logs, 1 / 9)
    assert row["estimate"] == pytest.approx(math.exp(expected.mean))
    assert (row["low"], row["high"]) == pytest.approx(tuple(np.exp(expected.interval())))


def test_a_measure_is_of_the_pairs_that_have_it(tmp_path):
    clocked = table(*pairs_of([0.8, 0.8], [0.8, 0.8]), folder=tmp_path)
    clocked.loc[clocked["seed"] == 1, "seconds_total"] = math.nan
    assert compare.compare(clocked, [GRADUAL]).set_index("measure")["n"][["points", "time"]].to_list() == [2, 1]


def test_flips_and_their_interval_by_hand():
    """100 images, 80 right in both; moved on by 10 of them: 10 become wrong, 10 right. Wald: +- 1.98 x sqrt(20)/100."""
    row = found(by_hand.record(), by_hand.record(GRADUAL, shift=10))
    assert (row["worse"], row["better"]) == (10, 10)
    error = 100 * np.std([1] * 10 + [-1] * 10 + [0] * 80, ddof=1) / math.sqrt(100)
    reach = stats.t.ppf(0.975, 99) * error
    assert (row["image_low"], row["image_high"]) == pytest.approx((-reach, reach))
    same = found(*pairs_of([0.8, 0.8], [0.8, 0.8]))  # the width of one image of 200
    assert (same["worse"], same["better"], same["image_high"]) == (0, 0, pytest.approx(stats.t.ppf(0.975, 199) / 2))


def test_repeats_on_the_same_images_are_not_more_images():
    """Two repeats that change alike know no more than one; of as many images in two folds the interval is narrower."""
    once, twice, folds = (
        found(*pairs_of([0.8] * n, [0.85] * n, by=by)) for n, by in ((1, "official"), (2, "official"), (2, "fold"))
    )
    widths = [row["image_high"] - row["image_low"] for row in (once, twice, folds)]
    assert widths[1] == pytest.approx(widths[0])
    assert widths[2] < widths[0]
    assert twice["better"] == 10


def gains(dataset: str, points: list[float], **fields) -> list:
    return pairs_of([0.8] * len(points), [0.8 + one / 100 for one in points], dataset=dataset, **fields)


def primary(*loaded) -> list[dict]:
    return compare.primary(compare.compare(table(*loaded), [GRADUAL, "stepwise"])).to_dict("records")


def test_the_primary_comparison_by_hand():
    """Gains of 1, 2, 3 and of 0, 2, 4 and of -2, -1, 0: their means weigh the same, whatever the images; variances
    1, 4 and 1 times (1/3 + share), of which 1/9 each counts; degrees of freedom by Welch & Satterthwaite."""
    loaded = gains("steel", [1, 2, 3]) + gains("ucm", [0, 2, 4], n_val=200, n_train=1800) + gains("bees", [-2, -1, 0])
    (row,) = primary(*loaded)
    variances = np.array([1, 4, 1]) * (1 / 3 + 1 / 9) / 9
    df = variances.sum() ** 2 / (variances**2 / 2).sum()
    reach = stats.t.ppf(0.975, df) * math.sqrt(variances.sum())
    assert row["estimate"] == pytest.approx(1)
    assert (row["low"], row["high"]) == pytest.approx((1 - reach, 1 + reach))
    assert row["probability"] == pytest.approx(stats.t.cdf(-2 / math.sqrt(variances.sum()), df))
    assert row["n"] == 3


def test_the_primary_comparison_has_the_folds_that_all_three_have():
    """And of a dataset that was run at two rates the one with more folds."""
    loaded = gains("steel", [1, 2, 3, 10]) + gains("ucm", [0, 2, 4]) + gains("bees", [-2, -1, 0, 10, 10])
    loaded += gains("steel", [10], lr=0.01) + gains("bees", [10], lr=0.03)
    (row,) = primary(*loaded)
    assert row["n"] == 3
    assert row["estimate"] == pytest.approx(1)


def test_no_primary_comparison_without_all_three_or_in_other_settings():
    assert not primary(*gains("steel", [1, 2]), *gains("ucm", [1, 2]))
    assert not primary(*gains("steel", [1, 2]), *gains("ucm", [1, 2]), *gains("bees", [1, 2], profile="compact"))
    assert len(primary(*by_hand.matrix(1), *by_hand.matrix(1, profile="compact"))) == 2
