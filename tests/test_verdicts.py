"""What may be said of comparisons: sentences from tables made by hand."""

import pandas as pd
import pytest
from by_hand import compare, pairs, run

from entr_utils import statistics, verdicts

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
    assert verdicts.paid(compared.iloc[0]) == expected


def caveat(compared: pd.DataFrame, words: str) -> str:
    (line,) = (line for line in verdicts.caveats(compared) if words in line)
    return line


def test_the_answer_counts_what_intervals_say():
    """By hand, of three seeds: FASTER's points reach 4.30 x 0.1 x sqrt(1/3 + 1/9) = 0.29 below 0, WORSE's 0.44 above
    -3.03, so both stay decided by the corrected interval."""
    every = pd.concat([FASTER, WORSE, MIXED, ONE], ignore_index=True)
    assert verdicts.answer(every) == "**Does it pay? Yes in 1, no in 1, open in 2 of 4 comparisons.**"
    line = caveat(every, "Yes: ")
    assert "that of the difference of accuracy above -1 point" in line
    assert line.endswith("it is yes in 1 and no in 1.")


def test_headline_begins_with_the_answer():
    """Where every comparison is open nothing has been answered."""
    first = "**Does it pay? Not answered yet: yes in 0, no in 0, open in 1 of 1 comparisons.**\n\n- "
    assert verdicts.headline(ONE).startswith(first)


def test_one_fast_and_one_slow_pair_leave_no_steady_machine():
    rows = [run(regime, seed, seconds_RPL=took) for seed, took in enumerate((0.6, 1 / 0.6))
            for regime, took in (("no_increase", 1.0), ("gradual", took))]  # fmt: skip
    (compared,) = compare(*rows).to_dict("records")
    assert compared["clock"] == pytest.approx(1)
    assert "by up to x 1.67" in verdicts.own_verdict(compare(*rows))
    assert "the furthest single pair is off by x 1.67" in caveat(compare(*rows), "Re-training")


def test_headline_of_one_seed():
    """Two treatments: one faster and as accurate, one slower and five images worse. Before re-training they took 10
    and 15 s of the control's 20 of 60, so aligned T is 50 and 55 of 60."""
    rows = [run("no_increase", seconds_subtotal=20),
            run("gradual", seconds=45, efficiency_total=1.2, flops_total=0.8, seconds_subtotal=10),
            run("stepwise", seconds=66, accuracy=0.75, flops_total=0.9, seconds_RPL=1.25, seconds_subtotal=15)
            ]  # fmt: skip
    compared = compare(*rows)
    _, _, *sentences = verdicts.headline(compared).splitlines()
    assert sentences == [
        "- **Time**, as a ratio to no increase's: 0.75 to 1.10 in 2 of one seed each (steel). Lower in 1 of 2.",
        "- **Accuracy** after re-training, in points more: -5.0 to +0.0 in 2 of one seed each (steel). Lower in 1 of "
        "2. A loss of more than 1 point is ruled out in 0; kept within 1 point, which rules such a gain out, too, in "
        "0.",
        "- **As**, as a ratio to no increase's: 1.00 to 1.20 in 2 of one seed each (steel). Higher in 1 of 2.",
    ]
    assert caveat(compared, "FLOPs") == (
        "By design growing needs x 0.80 to 0.90 of the FLOPs. Re-training, the same work in all regimes, took x 1.00 "
        "to 1.25 of the control's seconds (the furthest single pair is off by x 1.25): the machine changed its speed, "
        "and what T saves beyond the FLOPs may be its doing. With the control's seconds for re-training and TTA, the "
        "same work, T would be x 0.83 to 0.92 and the answer yes in 0, no in 0, open in 2: that T was not planned, and "
        "lies near the FLOPs by design, so it decides nothing."
    )
    assert caveat(compared, "image is") == (
        "One validation image is 1.0 points. Before re-training accuracy was lower in 0 of 2.")  # fmt: skip
    assert caveat(compared, "Seeds a").startswith("Seeds a comparison: 1. No interval can be had from one run")
    assert "Both treatments share a control" in caveat(compared, "Seeds a")


def test_headline_of_many_seeds():
    time, accuracy, _ = verdicts.headline(FASTER).splitlines()[2:]
    assert "to no increase's: 0.75 [0.7" in time
    shown = "by a 95% interval in 1 of 1 that have one, by the corrected one in 1"
    assert time.endswith(f"steel (n = 3). Lower in 1 of 1 ({shown}).")
    assert "in points more: +0.0 [-0.2, +0.2] with gradual on steel (n = 3). Lower in 0 of 1 (by a" in accuracy
    assert "by the corrected one in 0). A loss of more than 1 point is ruled out in 1; kept within 1 point" in accuracy
    assert accuracy.endswith(" too, in 1.")
    assert caveat(FASTER, "Re-training").endswith("took x 1.00 of the control's seconds.")  # a steady machine
    assert ("leave room for losses of up to 0.2 points. At the spread seen, intervals that reach 1 point either way "
            "would take 2 seeds. Before") in caveat(FASTER, "image is")  # fmt: skip
    assert "higher until accuracy has fallen by 25% of itself, as from 80% to 60%." in caveat(FASTER, "higher As")
    assert "Seeds a comparison: 3." in caveat(FASTER, "Seeds a")


def test_where_no_time_is_saved_as_needs_no_caveat():
    assert [line for line in verdicts.caveats(SLOWER) if "higher As" in line] == []


def test_headline_names_comparisons_of_one_run_among_others():
    one = [run("no_increase", network="resnet34", comparable="b"), run("gradual", network="resnet34", comparable="b")]
    two = [run(regime, seed, seconds) for regime, seconds in (("no_increase", 60), ("gradual", 45)) for seed in (0, 1)]
    compared = compare(*one, *two)
    assert "Seeds a comparison: 1 to 2." in caveat(compared, "Seeds a")
    assert "1 of 2 comparisons stand on one run" in caveat(compared, "Seeds a")
    assert "on steel, resnet18 (n = 2); 1.00 in 1 of one seed each (steel). Lower" in verdicts.headline(compared)
    assert "Where there is one run, no loss is ruled out." in caveat(compared, "image is")


def test_headline_of_more_than_a_sentence_can_name():
    """Four datasets, two treatments, two seeds: the fastest is gradual on d0, the slowest stepwise on d3."""
    rows = [run(regime, seed, seconds + i, dataset=f"d{i}", comparable=f"d{i}") for i in range(4) for seed in (0, 1)
            for regime, seconds in (("no_increase", 60 - i), ("gradual", 45), ("stepwise", 50))]  # fmt: skip
    text = verdicts.headline(compare(*rows))
    assert "0.75 [0.75, 0.75] with gradual on d0 (n = 2) to 0.88 [0.88, 0.88] with stepwise on d3 (n = 2)." in text


def test_what_is_not_counted_is_said():
    """Two settings: of A a seed more, so A is counted; B's treatment is slower and less accurate."""
    a = [run(regime, seed, seconds) for regime, seconds in (("no_increase", 60), ("gradual", 45)) for seed in (0, 1)]
    b = [run("no_increase", setting="two", comparable="b"),
         run("gradual", seconds=66, accuracy=0.7, setting="two", comparable="b")]  # fmt: skip
    every = compare(*a, *b)
    text = verdicts.counted(statistics.best(every), every, {"one": "A", "two": "B"})
    assert "newest protocol (A for steel). Of 1 other comparison T was x 1.10, lower in 0; accuracy " in text
    assert "accuracy -10.0 points, lower in 1; As x 1.00, higher in 0." in text
    assert "(A" not in verdicts.counted(statistics.best(every), every, {})
    assert verdicts.counted(every, every, {}) == ""


def test_nothing_to_say():
    empty = statistics.compare(pd.DataFrame())
    assert verdicts.headline(empty).startswith("Nothing to compare yet")
    assert verdicts.caveats(empty) == []
    assert verdicts.own_verdict(empty).startswith("No verdict")
    assert verdicts.recommend(empty) == "no_increase"
    assert verdicts.recommendations(empty) == []
    assert len(verdicts.when_not(pd.DataFrame(), empty)) == 1


@pytest.mark.parametrize(
    ("compared", "use", "sure"),
    [(FASTER, "gradual", "decided at 95% (n = 3)"), (WORSE, "no increase", "decided at 95% (n = 3)"),
     (MIXED, "not decided; the means favour gradual", "open (n = 3)"),
     (ONE, "not decided: one run", "open (n = 1)")],
)  # fmt: skip
def test_recommendations(compared, use, sure):
    (row,) = verdicts.recommendations(compared)
    assert (row["use"], row["how sure"]) == (use, sure)


def test_one_run_beside_several_recommends_nothing():
    """Gradual is the fastest of one seed, stepwise faster than no increase of two, undecided."""
    rows = [run(regime, seed, seconds) for seed in (0, 1) for regime, seconds in
            (("no_increase", 60), ("stepwise", (45, 57)[seed]))]  # fmt: skip
    (row,) = verdicts.recommendations(compare(*rows, run("gradual", 0, 20)))
    assert row["use"] == "not decided; the means favour stepwise"


def test_when_not_to_bother_says_what_can_be_saved_at_most():
    """40 of 100 s before re-training: no regime that re-trains as long can save more than 40%."""
    table = pd.DataFrame([run("no_increase", seconds=100, seconds_subtotal=40)])
    assert "steel 40%" in verdicts.when_not(table, FASTER)[0]


def test_what_can_be_saved_is_not_averaged_over_conditions():
    """Of those that are counted 40%, of another 10%."""
    table = pd.DataFrame([run("no_increase", seconds=100, seconds_subtotal=40),
                          run("no_increase", seconds=100, seconds_subtotal=10, setting="two")])  # fmt: skip
    assert "steel 40%" in verdicts.when_not(table, FASTER)[0]


def test_verdict_time_saved_and_accuracy_kept():
    text = verdicts.own_verdict(ONE)
    assert "Gradual took 25% less training time than no increase" in text
    assert "2.0 points more accurate (100 validation images: one is 1.0 points)" in text
    assert "**One seed favours gradual**" in text
    assert "this is one observation; add seeds" in text


def test_verdict_accuracy_lost():
    """Five of 100 validation images for a quarter of the time: not worth it."""
    text = verdicts.own_verdict(pairs((45, -5), regime="stepwise"))
    assert "Stepwise took 25% less training time" in text
    assert "5.0 points less accurate" in text
    assert "**One seed favours no increase**" in text


def test_verdict_time_lost():
    text = verdicts.own_verdict(SLOWER)
    assert "Gradual took 25% more training time" in text
    assert "**Use no increase**" in text
    assert "How sure: 3 seeds; the 95% intervals exclude the opposite." in text


def test_one_rule_for_a_users_images_and_the_papers():
    """Of 2,000 images six are lost, surely: .3 points, within the margin, though more than one image."""
    rows = [run("no_increase", seed, n_val=2000) for seed in range(3)]
    rows += [run("gradual", seed, seconds, 0.8 - lost / 2000, n_val=2000)
             for seed, (seconds, lost) in enumerate(((45, 6), (44, 5), (46, 7)))]  # fmt: skip
    (row,) = verdicts.recommendations(compare(*rows))
    assert (row["use"], row["how sure"]) == ("gradual", "decided at 95% (n = 3)")
    assert "**Use gradual**: the fastest that lost no more than 1 point" in verdicts.own_verdict(compare(*rows))


def test_what_the_corrected_interval_does_not_share_is_marked():
    """T x .900, .920 and .955: the plain interval ends at .996, the one for another draw of images at 1.007."""
    compared = pairs((54, 0), (55.2, 0.1), (57.3, -0.1))
    assert compared["time_high"].iloc[0] < 1 < compared["time_wide_high"].iloc[0]
    (row,) = verdicts.recommendations(compared)
    assert row["how sure"] == "decided at 95%, not by the corrected interval (n = 3)"


@pytest.mark.parametrize(("seconds", "warned"), [(1.05, False), (0.7, True), (1.4, True)])
def test_a_machine_that_changed_its_speed_is_remarked_upon(seconds, warned):
    rows = [run("no_increase"), run("gradual", seconds=45, seconds_RPL=seconds, flops_total=0.79)]
    text = verdicts.own_verdict(compare(*rows))
    off = f"{max(seconds, 1 / seconds):.2f}"
    expected = f"Mind the clock: re-training, the same work in all regimes, differed by up to x {off} between paired"
    assert (expected in text) == warned
    assert ("By FLOPs growing takes x 0.79." in text) == warned


@pytest.mark.parametrize(
    ("compared", "use", "sure"),
    [(FASTER, "gradual", "the 95% intervals exclude the opposite"),
     (MIXED, "gradual", "the 95% intervals do not exclude the opposite")],
)  # fmt: skip
def test_verdict_of_many_seeds_says_how_sure(compared, use, sure):
    text = verdicts.own_verdict(compared)
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
    assert verdicts.recommend(compare(*rows)) == use


def test_a_lucky_clock_recommends_nothing():
    """Stepwise's re-training ran at twice the speed, so it took least; of the rest of its T gradual saved more. By hand
    aligned: 60 - 20 of the control's seconds, and 10 or 15 before."""
    rows = [run("no_increase", seconds_subtotal=20), run("gradual", seconds=50, seconds_subtotal=10),
            run("stepwise", seconds=35, seconds_subtotal=15, seconds_RPL=0.5)]  # fmt: skip
    compared = compare(*rows)
    assert compared["aligned"].tolist() == pytest.approx([50 / 60, 55 / 60])
    assert verdicts.recommend(compared) == "gradual"
    assert "stepwise: T x 0.58 (aligned 0.92)" in verdicts.recommendations(compared)[0]["why"]
