"""Paired comparisons, and what may be said of them, on tables made by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from entr_utils import records, statistics

COLUMNS = {column for column, _ in statistics.MEASURES.values()}


def run(regime: str, seed: int = 0, seconds: float = 60.0, accuracy: float = 0.8, **other) -> dict:
    """A row of `records.load`."""
    row = dict.fromkeys(COLUMNS, 1.0)
    row |= {
        "dataset": "steel",
        "network": "resnet18",
        "weights": "imagenet",
        "comparable": "a",
        "setting": "one",
        "n_val": 100,
    }
    row["split_sha256"] = "one split"
    return row | {"regime": regime, "seed": seed, "seconds_total": seconds, "accuracy_total": accuracy} | other


def compare(*rows: dict) -> pd.DataFrame:
    return statistics.compare(pd.DataFrame(list(rows)))


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
    assert statistics.headline(empty).startswith("Nothing to compare yet")
    assert statistics.own_verdict(empty).startswith("No verdict")
    assert statistics.recommend(empty) == "no_increase"


def test_another_split_is_another_comparison(trained):
    """One seed with and without groups: the validation images differ, so the runs are no pair."""
    control, treatment = (dict(trained(regime).record) for regime in ("no_increase", "gradual"))
    treatment["identity"] = treatment["identity"] | {"split_sha256": "0" * 64}
    assert len(statistics.compare(records.table([control, trained("gradual").record]))) == 1
    assert statistics.compare(records.table([control, treatment])).empty


def test_an_accuracy_of_zero_has_no_ratio():
    """And is no error."""
    compared = compare(run("no_increase", efficiency_total=0.0), run("gradual", efficiency_total=0.0))
    assert np.isnan(compared["efficiency"].iloc[0])


def pairs(*treatments: tuple[float, float], regime: str = "gradual") -> pd.DataFrame:
    """A seed for each (seconds, points gained) of the treatment; the control takes 60 s and is right in 80%."""
    rows = [run("no_increase", seed) for seed in range(len(treatments))]
    rows += [run(regime, seed, seconds, 0.8 + points / 100) for seed, (seconds, points) in enumerate(treatments)]
    return compare(*rows)


FASTER = pairs((45, 0.1), (44, -0.1), (46, 0))
BETTER = pairs((45, 2), (44, 3), (46, 2.5))
WORSE = pairs((45, -3), (44, -3.2), (46, -2.9))  # three of 100 images
SLOWER = pairs((75, 0), (74, 0), (76, 0))
MIXED = pairs((45, 0), (75, 0), (57, 0))
ONE = pairs((45, 2))


@pytest.mark.parametrize(
    ("compared", "expected"),
    [(ONE, "open"), (FASTER, "yes"), (BETTER, "yes"), (WORSE, "no"), (SLOWER, "no"), (MIXED, "open")],
    ids=["one seed", "faster", "and better", "but worse", "slower", "mixed"],
)
def test_paid(compared, expected):
    assert statistics.paid(compared.iloc[0]) == expected


def test_texts_of_one_run_have_no_interval():
    row = ONE.iloc[0]
    assert statistics.interval_text(row, "time") == "0.75"
    assert statistics.interval_text(row, "points", 1) == "+2.0"


def test_texts_of_many_runs_have_one():
    row = pairs((45, 0), (45, 0)).iloc[0]
    assert statistics.interval_text(row, "time") == "0.75 [0.75, 0.75]"
    assert statistics.interval_text(row, "points", 1) == "+0.0 [+0.0, +0.0]"


def test_headline_of_one_seed():
    """Two treatments: one faster and as accurate, one slower, five images worse, and both earlier before RPL."""
    rows = [run("no_increase", seconds_subtotal=10.0, accuracy_subtotal=0.7),
            run("gradual", seconds=45, efficiency_total=1.2, seconds_subtotal=6.0, accuracy_subtotal=0.6),
            run("stepwise", seconds=66, accuracy=0.75, seconds_subtotal=8.0, accuracy_subtotal=0.71)]  # fmt: skip
    text = statistics.headline(compare(*rows))
    assert "saved time in 1 of 2 comparisons** (T -25% to +10%; before re-training, -40% to -20%)" in text
    assert "kept or better in 1 of 2**, lower by a single validation image in 0, by more in 1" in text
    assert "(-5.0 to +0.0 points; before re-training, -10.0 to +1.0)" in text
    assert "As was higher in 1 of 2" in text
    assert "Seeds a cell: 1." in text
    assert "no interval can be had from one run" in text
    assert "Decided" not in text


def test_headline_counts_single_images():
    text = statistics.headline(pairs((45, -1)))
    assert "kept or better in 0 of 1**, lower by a single validation image in 1, by more in 0" in text


@pytest.mark.parametrize(("compared", "decided"), [(FASTER, 1), (MIXED, 0)])
def test_headline_of_many_seeds_counts_what_is_decided(compared, decided):
    text = statistics.headline(compared)
    assert "Seeds a cell: 3." in text
    assert f"Decided at 95%: {decided} of 1." in text


def test_verdict_time_saved_and_accuracy_kept():
    text = statistics.own_verdict(ONE)
    assert "Gradual took 25% less training time than no increase" in text
    assert "2.0 points more accurate (100 validation images: one is 1.0 points)" in text
    assert "**Use gradual**" in text
    assert "one seed, so this is one observation" in text


def test_verdict_accuracy_lost():
    """Five of 100 validation images for a quarter of the time: not worth it."""
    text = statistics.own_verdict(pairs((45, -5), regime="stepwise"))
    assert "Stepwise took 25% less training time" in text
    assert "5.0 points less accurate" in text
    assert "**Use no increase**" in text


def test_verdict_time_lost():
    text = statistics.own_verdict(SLOWER)
    assert "Gradual took 25% more training time" in text
    assert "**Use no increase**" in text


@pytest.mark.parametrize(
    ("compared", "use", "sure"),
    [(FASTER, "gradual", "the 95% intervals exclude the opposite"),
     (MIXED, "gradual", "the 95% intervals do not exclude the opposite")],
)  # fmt: skip
def test_verdict_of_many_seeds_says_how_sure(compared, use, sure):
    text = statistics.own_verdict(compared)
    assert f"**Use {use}**" in text
    assert f"How sure: 3 seeds; {sure}" in text


@pytest.mark.parametrize(
    ("gradual", "stepwise", "use"),
    [
        ((45, 0.80), (50, 0.85), "gradual"),  # the faster of two that keep accuracy
        ((45, 0.78), (50, 0.80), "stepwise"),  # two images lost
        ((45, 0.79), (50, 0.80), "gradual"),  # one image lost: a validation set of 100 cannot tell
        ((61, 0.90), (62, 0.90), "no_increase"),  # better but slower is not what the hypothesis is about
        ((45, 0.70), (50, 0.70), "no_increase"),
    ],
)
def test_recommend(gradual, stepwise, use):
    rows = [run("no_increase"), run("gradual", seconds=gradual[0], accuracy=gradual[1]),
            run("stepwise", seconds=stepwise[0], accuracy=stepwise[1])]  # fmt: skip
    assert statistics.recommend(compare(*rows)) == use
