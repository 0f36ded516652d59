"""Paired comparisons, on tables made by hand, by textbook examples, and by simulation."""

import numpy as np
import pandas as pd
import pytest
from by_hand import compare, pairs, record, run
from scipy import stats

from entr_utils import records, statistics


@pytest.mark.parametrize("n", [2, 3, 10])
def test_the_interval_is_scipys_paired_one(n):
    rng = np.random.default_rng(n)
    control, treatment = rng.normal(80, 2, n), rng.normal(79, 3, n)
    expected = stats.ttest_rel(treatment, control).confidence_interval()
    assert statistics.t_interval(treatment - control) == pytest.approx((expected.low, expected.high))


def test_the_interval_of_one_run_is_unknown():
    assert np.isnan(statistics.t_interval(np.array([3.0]))).all()


def test_the_interval_of_equal_values_is_the_value():
    assert statistics.t_interval(np.array([2.0, 2.0, 2.0])) == (2, 2)


def test_ratios_and_points_by_hand():
    """45 s instead of 60, .83 instead of .80."""
    (row,) = compare(run("no_increase"), run("gradual", seconds=45, accuracy=0.83)).to_dict("records")
    assert row["treatment"] == "gradual"
    assert (row["n"], row["n_val"]) == (1, 100)
    assert row["time"] == pytest.approx(0.75)
    assert row["points"] == pytest.approx(3)
    assert np.isnan([row["time_low"], row["time_high"], row["points_low"], row["points_high"]]).all()


def test_ratios_over_seeds_are_geometric():
    """Half and twice the time is no change; the interval is that of the logarithms."""
    row = compare(run("no_increase"), run("gradual", seconds=30), run("no_increase", 1),
                  run("gradual", 1, seconds=120)).iloc[0]  # fmt: skip
    assert row["n"] == 2
    assert row["time"] == pytest.approx(1)
    expected = stats.ttest_1samp(np.log([0.5, 2]), 0).confidence_interval()
    assert (row["time_low"], row["time_high"]) == pytest.approx((np.exp(expected.low), np.exp(expected.high)))


def test_points_over_seeds_are_paired():
    """By seed, not by order: both seeds gain exactly two points, so the interval is that value."""
    row = compare(run("no_increase", 0, accuracy=0.80), run("no_increase", 1, accuracy=0.60),
                  run("gradual", 1, accuracy=0.62), run("gradual", 0, accuracy=0.82)).iloc[0]  # fmt: skip
    assert (row["points"], row["points_low"], row["points_high"]) == pytest.approx((2, 2, 2), abs=1e-6)


def test_every_treatment_and_cell_has_a_row():
    compared = compare(
        run("no_increase"), run("gradual"), run("stepwise"),
        run("no_increase", network="resnet34", comparable="b"), run("gradual", network="resnet34", comparable="b"),
    )  # fmt: skip
    assert compared[["network", "treatment"]].to_numpy().tolist() == [
        ["resnet18", "gradual"], ["resnet18", "stepwise"], ["resnet34", "gradual"]]  # fmt: skip


@pytest.mark.parametrize("other", [{"comparable": "b"}, {"seed": 1}], ids=["other weights or device", "other seed"])
def test_runs_without_a_partner_are_left_out(other):
    rows = [run("no_increase"), run("gradual", **other)]
    assert compare(*rows).empty
    assert statistics.left_out(pd.DataFrame(rows)) == 2


def test_left_out_counts_only_the_lonely():
    rows = [run("no_increase"), run("gradual"), run("stepwise"), run("gradual", 1), run("no_increase", 2)]
    assert statistics.left_out(pd.DataFrame(rows)) == 2


def test_nothing_to_compare():
    empty = statistics.compare(pd.DataFrame())
    assert empty.empty
    assert statistics.left_out(pd.DataFrame()) == 0


def test_another_split_is_another_comparison():
    """One seed with and without groups: the validation images differ, so the runs are no pair."""
    control, treatment = record("no_increase"), record("gradual")
    assert len(statistics.compare(records.table([control, treatment]))) == 1
    treatment["identity"] = treatment["identity"] | {"split_sha256": "0" * 64}
    assert statistics.compare(records.table([control, treatment])).empty


def test_an_accuracy_of_zero_has_no_ratio():
    """And is no error."""
    compared = compare(run("no_increase", efficiency_total=0.0), run("gradual", efficiency_total=0.0))
    assert np.isnan(compared["efficiency"].iloc[0])


def test_texts_of_one_run_have_no_interval():
    row = pairs((45, 2)).iloc[0]
    assert statistics.interval_text(row, "time") == "0.75"
    assert statistics.interval_text(row, "points", 1) == "+2.0"


def test_texts_of_many_runs_have_one():
    row = pairs((45, 0), (45, 0)).iloc[0]
    assert statistics.interval_text(row, "time") == "0.75 [0.75, 0.75]"
    assert statistics.interval_text(row, "points", 1) == "+0.0 [+0.0, +0.0]"


def test_nadeau_and_bengio_by_hand():
    """1, 2, 3, 4 of 4 splits 90/10: mean 2.5, s^2 = 5/3, variance 5/3 (1/4 + 1/9) = .6019, t(3) = 3.1824."""
    low, high = statistics.corrected_interval(np.array([1.0, 2.0, 3.0, 4.0]), 1 / 9)
    assert (low, high) == pytest.approx((2.5 - 3.1824 * 0.77579, 2.5 + 3.1824 * 0.77579), abs=1e-3)
    plain = statistics.t_interval(np.array([1.0, 2.0, 3.0, 4.0]))
    assert (high - low) / (plain[1] - plain[0]) == pytest.approx((1 + 4 / 9) ** 0.5)


def test_compare_takes_the_share_of_the_split():
    """100 validation images to 900: with three seeds wider by sqrt(1 + 3/9)."""
    row = pairs((45, 1), (45, 2), (45, 4)).iloc[0]
    plain, wide = row["points_high"] - row["points_low"], row["points_wide_high"] - row["points_wide_low"]
    assert wide / plain == pytest.approx((1 + 3 / 9) ** 0.5)


@pytest.mark.parametrize(("n", "share"), [(3, 0.0), (5, 0.0), (10, 0.0), (5, 1 / 9)])
def test_the_intervals_cover_what_they_say(n, share):
    """2,000 simulated sets of paired differences with a mean of 1. Corrected: each has, beside its own noise, a part
    that all splits of the same images share, of the variance that the correction supposes."""
    rng, hits, sets = np.random.default_rng(n), 0, 2000
    common = rng.normal(0, share**0.5, (sets, 1))
    for values in 1 + common + rng.normal(0, 1, (sets, n)):
        low, high = statistics.corrected_interval(values, share)
        hits += low < 1 < high
    assert 0.93 <= hits / sets <= 0.97


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1.0, 2.0, 3.0], 2 / 8),  # only all plus and all minus are as far out
        ([1.0, 2.0, 3.0, 4.0, 5.0], 2 / 32),
        ([3.0, 1.0, -2.0], 6 / 8),  # sums 6 4 2 2 0 -0 ...: |sum| >= 2 in six of eight flips
        ([1.0, -1.0], 1.0),
        ([0.0, 0.0, 0.0], 1.0),
    ],
)
def test_sign_flips_by_hand(differences, p):
    assert statistics.sign_flip_p(np.array(differences)) == pytest.approx(p)


def test_sign_flips_agree_with_darwins_maize():
    """Fisher's (1935) test of Darwin's 15 pairs: 1,726 of 32,768 flips are as far out, p = .0527."""
    eighths = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
    assert statistics.sign_flip_p(np.array(eighths, float)) == pytest.approx(1726 / 32768, abs=1e-4)


def test_one_pair_has_no_p():
    assert np.isnan(statistics.sign_flip_p(np.array([1.0])))


def test_the_false_alarms_of_the_permutation_test():
    """With 6 pairs and no effect p <= .05 in about 2 of 64 flips, never more often than it says."""
    rng = np.random.default_rng(1)
    share = np.mean([statistics.sign_flip_p(rng.normal(0, 1, 6)) <= 0.05 for _ in range(400)])
    assert share <= 0.05


def test_equivalence_by_hand():
    """Differences .2, .4, 0, .6, -.2: mean .2, s = .3162, se = .1414. Margin 1: t = (1 - .2) / .1414 = 5.657 on 4
    degrees, p = .0024. The 90% interval ends at .2 + 2.1318 x .1414 = .5015."""
    found = statistics.equivalence(np.array([0.2, 0.4, 0.0, 0.6, -0.2]), image=0.5)
    assert found["tost_p"] == pytest.approx(stats.t.sf(0.8 / 0.141421, 4), abs=1e-6)
    assert found["tost_p"] == pytest.approx(0.0024, abs=1e-4)
    assert found["tost_margin"] == pytest.approx(0.5015, abs=1e-4)
    assert found["kept"] == "kept"


def test_the_least_margin_is_where_the_test_just_succeeds():
    points = np.array([-1.0, 0.5, -2.0, 0.3])
    least = statistics.equivalence(points, 0.5)["tost_margin"]
    assert statistics.equivalence(points, 0.5, least)["tost_p"] == pytest.approx(0.05)
    assert statistics.equivalence(points, 0.5, least + 0.01)["kept"] == "kept"
    assert statistics.equivalence(points, 0.5, least - 0.01)["kept"] == "open"


@pytest.mark.parametrize(
    ("points", "kept"),
    [([-3.0, -3.2, -2.9], "lower"), ([3.0, 3.2, 2.9], "higher"), ([-3.0, 3.0, 1.0], "open"), ([0.1, -0.1, 0.0], "kept"),
     ([-0.5, -0.52, -0.48], "kept"), ([5.0], "open")],
)  # fmt: skip
def test_kept_lower_higher_open(points, kept):
    """Within the margin is kept, though the interval excludes 0."""
    assert statistics.equivalence(np.array(points), 0.5)["kept"] == kept


def test_equal_differences_have_no_spread_to_test_with():
    """Three times 0 points on 63 images: no p, and no margin below one image (1.6 points), so 1 is not shown."""
    found = statistics.equivalence(np.zeros(3), 100 / 63)
    assert np.isnan(found["tost_p"])
    assert found["tost_margin"] == pytest.approx(100 / 63)
    assert found["kept"] == "open"
    assert statistics.equivalence(np.zeros(3), 100 / 210)["kept"] == "kept"


def test_no_verdict_rests_on_an_interval_of_no_width():
    """Three seeds lose one of 63 images each: the interval is a point, and "lower" is not said."""
    points = np.full(3, -100 / 63)
    assert statistics.t_interval(points) == pytest.approx((-100 / 63, -100 / 63))
    assert statistics.ends(points, 100 / 63) == pytest.approx((-200 / 63, 0), abs=1e-9)
    assert statistics.equivalence(points, 100 / 63)["kept"] == "open"
    assert statistics.equivalence(3 * points, 100 / 63)["kept"] == "lower"


def test_differences_that_are_equal_but_for_rounding(recwarn):
    points = 100 * (np.array([0.81, 0.71, 0.61]) - np.array([0.80, 0.70, 0.60]))
    assert np.isnan(statistics.equivalence(points, 1.0)["tost_p"])
    assert len(recwarn) == 0


def test_the_false_alarms_of_the_equivalence_test():
    """Where accuracy really falls by the margin, it is called kept in at most 5%."""
    rng = np.random.default_rng(3)
    kept = [statistics.equivalence(rng.normal(-1, 0.5, 5), 0.1)["kept"] == "kept" for _ in range(600)]
    assert 0.02 <= np.mean(kept) <= 0.07


def test_other_rules_of_splitting_are_never_paired():
    assert compare(run("no_increase"), run("gradual", split_rule="groups kept whole")).empty


def test_controls_are_compared_only_when_asked_for():
    rows = pd.DataFrame([run("no_increase"), run("gradual", seconds=40), run("small", seconds=20)])
    assert list(statistics.compare(rows)["treatment"]) == ["gradual"]
    (found,) = statistics.compare(rows, ("small",), "gradual").to_dict("records")
    assert found["time"] == pytest.approx(0.5)
    assert statistics.left_out(rows) == 0


def test_the_setting_with_most_seeds_counts():
    """Whatever came out of the other."""
    one = [run("no_increase", setting="old", comparable="o"), run("gradual", setting="old", comparable="o", seconds=6)]
    two = [run(regime, seed, setting="new", comparable="n") for regime in ("no_increase", "gradual") for seed in (0, 1)]
    (kept,) = statistics.best(compare(*one, *two)).to_dict("records")
    assert (kept["setting"], kept["n"]) == ("new", 2)
    assert statistics.best(statistics.compare(pd.DataFrame())).empty


def test_of_as_many_seeds_the_newest_protocol_counts():
    """Of 9 and 10 the later one, though its name comes first."""
    rows = [run(regime, setting=f"{device}, float32, protocol {protocol}", comparable=device)
            for device, protocol in (("a", 10), ("b", 9)) for regime in ("no_increase", "gradual")]  # fmt: skip
    (kept,) = statistics.best(compare(*rows)).to_dict("records")
    assert kept["setting"] == "a, float32, protocol 10"
