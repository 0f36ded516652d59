"""Paired comparisons, on tables made by hand, by textbook examples, and by simulation."""

import numpy as np
import pandas as pd
import pytest
from by_hand import compare, pairs, record, run
from scipy import stats

from entr_utils import conditions, records, statistics


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
    """By seed, not by order: both seeds gain exactly two points. One image of 100 then stands for their spread, and
    with two seeds the interval is 2 +- 12.71 x 1 / sqrt(2)."""
    row = compare(run("no_increase", 0, accuracy=0.80), run("no_increase", 1, accuracy=0.60),
                  run("gradual", 1, accuracy=0.62), run("gradual", 0, accuracy=0.82)).iloc[0]  # fmt: skip
    assert (row["points"], row["points_low"], row["points_high"]) == pytest.approx((2, -6.985, 10.985), abs=1e-3)


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
    assert statistics.interval_text(row, "points", 1) == "+0.0 [-9.0, +9.0]"


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


def test_equivalence_agrees_with_a_published_example():
    """Of Lakens (2017), as in the manual of his TOSTER: 65 pairs, means 5.83 and 5.75, standard deviations 1.17 and
    1.29, r = .75, margin .4 of the differences' own .8770. t = (.08 - .3508) / .1088 = -2.489 on 64 degrees, p = .0077.
    """
    s = (1.17**2 + 1.29**2 - 2 * 0.75 * 1.17 * 1.29) ** 0.5
    scores = stats.zscore(np.arange(65.0), ddof=1)
    found = statistics.equivalence(0.08 + s * scores, image=1e-6, margin=0.4 * s)
    assert found["tost_p"] == pytest.approx(0.0077, abs=5e-5)
    assert found["tost_margin"] == pytest.approx(0.08 + 1.6690 * 0.10877, abs=1e-4)  # t(64) at 95% one-sided
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
     ([-0.5, -0.6, -0.4], "kept"), ([-0.5, -0.52, -0.48], "open"), ([5.0], "open")],
)  # fmt: skip
def test_kept_lower_higher_open(points, kept):
    """Within the margin is kept, though the interval excludes 0; one image less each time tells too little."""
    assert statistics.equivalence(np.array(points), 0.5)["kept"] == kept


@pytest.mark.parametrize(
    ("n", "images", "n_val", "margin", "kept"),
    [
        (3, 0, 63, 2.9200 / 3**0.5 * 100 / 63, "open"),  # t(2) at 95% one-sided: 2.92; a margin of 2.7 points
        (3, 0, 210, 2.9200 / 3**0.5 * 100 / 210, "kept"),  # of 0.80
        (2, 0, 210, 6.3138 / 2**0.5 * 100 / 210, "open"),  # of 2.1
        (3, -2, 210, (2 + 2.9200 / 3**0.5) * 100 / 210, "open"),  # each two images worse: .95 points, and the spread
        (2, -3, 100, 3 + 6.3138 / 2**0.5, "open"),  # three images each, twice: 12.71 / sqrt(2) = 9 reach beyond 0
        (3, -3, 100, 3 + 2.9200 / 3**0.5, "lower"),  # 4.30 / sqrt(3) = 2.5 do not
    ],
)
def test_one_image_stands_for_a_spread_that_cannot_be_seen(n, images, n_val, margin, kept):
    """All differences equal, in whole images: no verdict rests on an interval of no width."""
    found = statistics.equivalence(np.full(n, 100 * images / n_val), 100 / n_val)
    assert found["tost_margin"] == pytest.approx(margin, rel=1e-4)
    assert found["kept"] == kept
    assert (found["tost_p"] < 0.05) == (kept == "kept")


def test_the_seeds_that_an_interval_of_the_margin_would_take():
    """By hand: a spread of 1 with 6 seeds reaches 2.571 / 2.449 = 1.05, with 7 2.447 / 2.646 = .92; one image of 1.6
    points with 12 2.201 x 1.6 / 3.464 = 1.02, with 13 2.179 x 1.6 / 3.606 = .97."""
    assert statistics.seeds_needed(np.array([3.0, 4.0, 5.0]), 0.5) == 7
    assert statistics.seeds_needed(np.zeros(3), 1.6) == 13
    assert np.isnan(statistics.seeds_needed(np.array([1.0]), 0.5))


def test_differences_that_are_equal_but_for_rounding():
    points = 100 * (np.array([0.81, 0.71, 0.61]) - np.array([0.80, 0.70, 0.60]))
    assert statistics.spread(points, 1.0) == 1.0
    assert statistics.equivalence(points, 1.0) == pytest.approx(statistics.equivalence(np.ones(3), 1.0))


@pytest.mark.parametrize("n", [2, 3, 5])
def test_accuracies_of_whole_images_raise_no_more_false_alarms_than_said(n):
    """2,000 sets of pairs of runs, each right in 80% of 63 images, no true difference: 5% of the intervals exclude 0,
    up to chance and the images' coarseness."""
    rng = np.random.default_rng(n)
    alarms = 0
    for control, treatment in rng.binomial(63, 0.8, (2000, 2, n)):
        points = 100 * (treatment - control) / 63
        low, high = statistics.t_interval(points, image=100 / 63)
        alarms += not low <= 0 <= high
    assert alarms / 2000 <= 0.06


def test_the_corrected_interval_covers_where_splits_overlap():
    """60 images are drawn, each gains or loses by itself, 0 in the long run; five splits 90/10 of them are seen, each
    difference the mean of its 6 validation images. The plain interval covers less than it says, the corrected one what
    it says: its variance supposes no more than this overlap."""
    rng, plain, corrected, sets = np.random.default_rng(8), 0, 0, 3000
    for _ in range(sets):
        scores = rng.normal(0, 1, 60)
        values = np.array([scores[rng.choice(60, 6, replace=False)].mean() for _ in range(5)])
        for share in (0.0, 1 / 9):
            low, high = statistics.corrected_interval(values, share)
            hit = low <= 0 <= high
            plain, corrected = plain + (hit and not share), corrected + (hit and bool(share))
    assert plain / sets < 0.93 <= corrected / sets <= 0.97


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


def test_the_conditions_with_most_seeds_count():
    """Whatever came out of the other."""
    one = [run("no_increase", setting="old", comparable="o"), run("gradual", setting="old", comparable="o", seconds=6)]
    two = [run(regime, seed, setting="new", comparable="n") for regime in ("no_increase", "gradual") for seed in (0, 1)]
    (kept,) = statistics.best(compare(*one, *two)).to_dict("records")
    assert (kept["conditions"], kept["n"]) == ("new", 2)
    assert statistics.best(statistics.compare(pd.DataFrame())).empty


def test_a_cell_is_judged_under_the_same_conditions():
    """Two seeds of gradual there, one seed of both here with stepwise twice: what has more pairs, and all of it."""
    there = [run(regime, seed, setting="there", comparable="t") for regime in ("no_increase", "gradual")
             for seed in (0, 1)]  # fmt: skip
    here = [run(regime, seed, setting="here", comparable="h") for regime in ("no_increase", "stepwise")
            for seed in (0, 1, 2)]  # fmt: skip
    kept = statistics.best(compare(*there, *here))
    assert kept[["conditions", "treatment", "n"]].to_numpy().tolist() == [["here", "stepwise", 3]]


def test_pairs_of_several_machines_are_pooled():
    """Seed 0 on one, seed 1 on another that takes twice as long for everything: T x .75 and x .8, n = 2."""
    rows = [run("no_increase"), run("gradual", seconds=45), run("no_increase", 1, 120, setting="two", conditions="one"),
            run("gradual", 1, 96, setting="two", conditions="one")]  # fmt: skip
    (row,) = compare(*rows).to_dict("records")
    assert (row["n"], row["made_on"]) == (2, (("one", 1), ("two", 1)))
    assert row["time"] == pytest.approx((0.75 * 0.8) ** 0.5)
    assert statistics.machines(compare(*rows)) == ["one", "two"]


def test_two_machines_make_no_pair():
    assert compare(run("no_increase"), run("gradual", setting="two", conditions="one")).empty


@pytest.mark.parametrize(("days", "time"), [((1, 2), 0.75), ((2, 1), 0.8)])
def test_a_seed_counts_once(days, time):
    """Two machines have it: the pair whose control began first, whatever came of it; and so where runs are averaged."""
    rows = [run(regime, 0, seconds, setting=machine, conditions="one", env_started=f"2026-01-0{day}T00:00:00+00:00")
            for machine, day, times in zip(("one", "two"), days, ((60, 45), (60, 48)), strict=True)
            for regime, seconds in zip(("no_increase", "gradual"), times, strict=True)]  # fmt: skip
    (row,) = compare(*rows).to_dict("records")
    assert (row["n"], row["time"]) == (1, pytest.approx(time))
    kept = statistics.of_one_machine(pd.DataFrame(rows))
    assert kept["seconds_total"].tolist() == [60, 60 * time]
    assert statistics.left_out(pd.DataFrame(rows)) == 2


def test_a_control_alone_keeps_no_seed_from_where_it_is_whole():
    """The first machine was lost after the control; the second made the seed."""
    rows = [run("no_increase", env_started="2025-12-31T00:00:00+00:00"),
            *(run(regime, setting="two", conditions="one") for regime in ("no_increase", "gradual"))]  # fmt: skip
    assert compare(*rows)["n"].tolist() == [1]
    assert statistics.of_one_machine(pd.DataFrame(rows))["setting"].tolist() == ["two", "two"]


def test_what_each_machine_says_stands_below_what_both_do():
    rows = [run("no_increase"), run("gradual", seconds=45), run("no_increase", 1, 120, setting="two", conditions="one"),
            run("gradual", 1, 96, setting="two", conditions="one")]  # fmt: skip
    found = statistics.by_machine(compare(*rows), pd.DataFrame(rows))
    assert found["made_on"].tolist() == [(("one", 1), ("two", 1)), (("one", 1),), (("two", 1),)]
    assert found["time"].tolist() == pytest.approx([(0.75 * 0.8) ** 0.5, 0.75, 0.8])
    same = [row | {"seed": 0} for row in rows]  # one seed on both: the pair of the first counts, both are shown
    assert statistics.by_machine(compare(*same), pd.DataFrame(same))["n"].tolist() == [1, 1, 1]
    alone = compare(*rows[:2])
    assert statistics.by_machine(alone, pd.DataFrame(rows[:2]))["time"].tolist() == [0.75]


def test_without_a_control_the_first_machine_counts():
    rows = [run("gradual"), run("gradual", setting="two", conditions="one", env_started="2025-12-31T00:00:00+00:00")]
    assert statistics.of_one_machine(pd.DataFrame(rows))["setting"].tolist() == ["two"]
    assert statistics.of_one_machine(pd.DataFrame()).empty


@pytest.mark.parametrize(
    ("first", "second", "alike"),
    [("Abacus, 2 threads", "Slate, 2 threads", True), ("Abacus, 2 threads", "Abacus, 4 threads", False),
     ("Tesla T4", "Tesla T4", True), ("Tesla T4", "NVIDIA H100", False)],
)  # fmt: skip
def test_which_machines_are_pooled(first, second, alike):
    one, other = (records.table([record(device=device)]).iloc[0] for device in (first, second))
    assert (one["conditions"] == other["conditions"]) == (one["comparable"] == other["comparable"]) == alike
    assert (one["setting"] == other["setting"]) == (first == second)


def test_a_schedule_of_its_own_is_no_replicate():
    """Stepwise that grows at another step, on the same seed: one pair, not two; and it is counted as left out."""
    loaded = [record(), record("stepwise")]
    other = record("stepwise")
    other["identity"]["stages"][2]["size"] = 100
    loaded.append(other)
    table = records.table(loaded)
    assert table["setting"].tolist()[2].endswith("full size from RPL")
    assert statistics.compare(table)["n"].tolist() == [1]
    assert statistics.left_out(table) == 1


@pytest.mark.parametrize(("other", "said"), [({"batch": 32}, "batch 32"), ({"size": 128}, "128 px")])
def test_what_was_asked_for_is_said_with_the_setting(other, said):
    run = record()
    run["identity"] |= other
    assert conditions.setting(run).endswith(f", protocol 2, {said}")
    assert conditions.setting(record()).endswith(", protocol 2")


def test_of_as_many_seeds_the_newest_protocol_counts():
    """Of 9 and 10 the later one, though its name comes first."""
    rows = [run(regime, setting=f"{device}, float32, protocol {protocol}", comparable=device)
            for device, protocol in (("a", 10), ("b", 9)) for regime in ("no_increase", "gradual")]  # fmt: skip
    (kept,) = statistics.best(compare(*rows)).to_dict("records")
    assert kept["conditions"] == "a, float32, protocol 10"


def test_t_aligned_is_that_of_the_same_work_at_the_controls_seconds():
    """By hand: 10 and 14 s before re-training where the control has 20 of 60, so 50 and 54 of 60, however long the
    same work took."""
    rows = [run("no_increase", seed, seconds_subtotal=20) for seed in (0, 1)]
    rows += [run("gradual", seed, 300, seconds_subtotal=before, seconds_RPL=5) for seed, before in enumerate((10, 14))]
    (row,) = compare(*rows).to_dict("records")
    assert row["time"] == pytest.approx(5)
    assert row["aligned"] == pytest.approx((50 / 60 * 54 / 60) ** 0.5)
    assert row["aligned_low"] < row["aligned"] < row["aligned_high"]


def test_one_image_of_117_and_one_of_119_are_no_spread():
    """One image more in both seeds: .855 and .840 points. Not an interval of +-.09 points: one image stands for it."""
    rows = [run(regime, seed, accuracy=right / n_val, n_val=n_val) for seed, n_val in ((0, 117), (1, 119))
            for regime, right in (("no_increase", 90), ("stepwise", 91))]  # fmt: skip
    (row,) = compare(*rows).to_dict("records")
    reach = stats.t.ppf(0.975, 1) * 100 / 117 / 2**0.5
    assert row["points_high"] - row["points"] == pytest.approx(reach)
    assert row["kept"] == "open"


def test_runs_of_other_weights_do_not_stand_behind_what_is_counted():
    chosen = [run(regime, seed) for seed in range(2) for regime in ("no_increase", "gradual")]
    other = [run(regime, comparable="of other weights") for regime in ("no_increase", "gradual")]
    table = pd.DataFrame([*chosen, *other])
    assert list(statistics.counted(table, statistics.best(compare(*chosen, *other)))) == [True] * 4 + [False] * 2
