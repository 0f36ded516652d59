"""What could fool us, the controls, the way there, and the mechanism: from records made by hand."""

import numpy as np
import pandas as pd
import pytest
from by_hand import matrix, record, run
from scipy import stats

from entr_utils import controls, mechanism, pace, records, regimes, scrutiny, statistics, why

CONTROLS = ("no_increase", "gradual", "small", "short", "reversed")
CELLS = [{"binds": "arithmetic", "loading_ms": 1.0, "loop_ms": 100.0},
         {"binds": "loading", "loading_ms": 5.0, "loop_ms": 50.0}]  # fmt: skip
BENCH = {"ceiling": {"environment": {"device": "Abacus"}, "result": CELLS}}


def answers(loaded: list[dict], arms=(), bench: dict | None = None, probes=(), tests=()) -> dict[str, str]:
    table = records.table(loaded)
    rows = scrutiny.questions(table, scrutiny.variants(table), records.table(list(arms)), bench or {}, probes, tests)
    return {row["question"]: row["answer"] for row in rows}


def find(found: dict[str, str], words: str) -> str:
    (answer,) = (answer for question, answer in found.items() if words in question)
    return answer


def test_without_records_every_doubt_has_no_record():
    found = answers([])
    assert len(found) == 20
    assert set(found.values()) == {"no record of this"}


def test_one_record_answers_what_it_can():
    found = answers([record()])
    assert find(found, "with T in seconds") == "no record of this"
    assert find(found, "machine busy") == "load 1.0 to 1.0 at the start of a run"
    assert "steel 100 images, one is 1.0 points" in find(found, "validation image?")


def test_as_is_reckoned_in_every_way():
    """Gradual with the accuracy of no increase: the ratio is the root of the ratio of what is put for T."""
    loaded = [record("no_increase"), record("gradual")]
    table = records.table(loaded)
    ratio = scrutiny.variants(table).set_index("variant")["ratio"]
    control, gradual = loaded
    by = {
        "with T in seconds, as it is": [run["seconds_total"] for run in loaded],
        "with T as FLOPs": [run["flops_total"] for run in loaded],
        "with warm-up in T": [run["seconds_total"] + 0.5 for run in loaded],
        "with evaluation in T": [1.1 * run["seconds_total"] for run in loaded],
        "without TTA": [run["seconds_total"] - run["stages"][-1]["seconds"] for run in loaded],
        "before re-training": [run["seconds_subtotal"] for run in loaded],
    }
    for name, (before, after) in by.items():
        assert ratio[name] == pytest.approx((before / after) ** 0.5), name
    assert "with T as energy" not in ratio  # not counted on this device
    assert find(answers(loaded), "as energy") == "no record of this"
    assert control["accuracy_total"] == gradual["accuracy_total"]


def test_processor_seconds_count_where_they_were_counted():
    """Of two seeds the older did not count them: only the other is compared, T beside it from the same pair."""
    loaded = [record(regime, seed) for seed in (0, 1) for regime in ("no_increase", "gradual")]
    for one, worked in zip(loaded[2:], (30.0, 20.0), strict=True):
        one["stages"] = [stage | {"processor_seconds": worked} for stage in one["stages"]]
    ratio = scrutiny.variants(records.table(loaded)).set_index("variant").loc["with T as processor seconds"]
    assert ratio["n"] == 1
    assert ratio["ratio"] == pytest.approx(1.5**0.5)  # of equal accuracy
    time = loaded[3]["seconds_total"] / loaded[2]["seconds_total"]
    assert f"gradual x 0.67 (T x {time:.2f}, n = 1)" in find(answers(loaded), "processor time saved")
    loaded[3]["stages"][0]["processor_seconds"] = None  # one epoch of a checkpoint of before, or a GPU
    assert find(answers(loaded), "processor time saved") == "no record of this"


def test_energy_counts_where_it_was_measured():
    loaded = [record("no_increase") | {"energy_joules": 400.0}, record("gradual") | {"energy_joules": 100.0}]
    ratio = scrutiny.variants(records.table(loaded)).set_index("variant")["ratio"]
    assert ratio["with T as energy"] == pytest.approx(2)


def test_the_order_of_the_runs():
    """No increase first, and twice as fast after: both orders are given, or the one that was never run is named."""
    first = [record("no_increase"), record("gradual")]
    assert "no increase never ran later: no record of this" in find(answers(first), "ran first")
    late = [record("no_increase", 1, started="2027-01-01T00:00:00+00:00", seconds=0.5), record("gradual", 1)]
    ratio = first[1]["seconds_total"] / first[0]["seconds_total"]
    assert find(answers(first + late), "ran first") == (
        f"the order rotates with the seed; T x {ratio:.2f}, re-training, the same work, x 1.00 on average where no "
        "increase ran first (1 of 2); "
        f"T x {2 * ratio:.2f}, re-training, the same work, x 2.00 on average where no increase ran later (1 of 2)"
    )  # fmt: skip


def test_the_clock_is_judged_by_the_same_work():
    """RPL is at full size in both: what gradual takes longer, or stepwise less, is the machine's doing."""
    loaded = [record("no_increase"), record("gradual", seconds=1.05), record("stepwise", seconds=0.8)]
    answer = find(answers(loaded), "clock")
    assert "x 0.80 to 1.05 (median 0.93) of the control's in what is counted" in answer
    assert "one of stepwise on steel was furthest off, by x 1.25 (Abacus, 9 threads, float32, protocol 2)" in answer


def test_leakage_is_measured_on_the_same_images():
    arms = [record(regime, accuracy=accuracy, split=split) for regime in ("no_increase", "gradual")
            for split, accuracy in (("by image", 0.9), ("43 groups kept whole", 0.8))]  # fmt: skip
    assert find(answers([record()], arms), "flatter") == (
        "by image against by group, in points: steel, no increase +10.0 (n = 1 and 1); "
        "steel, gradual +10.0 (n = 1 and 1). Images: a stand-in by hand")  # fmt: skip
    assert find(answers([record()], arms[:1]), "flatter") == "no record of this"


def test_leakage_has_an_interval_where_there_are_seeds():
    """Welch's by hand: .90, .92, .94 against .80, .81, .85: 10 points, s^2 = 4 and 7, df = 3.72."""
    arms = [record(seed=seed, accuracy=accuracy, split=split) for split, each in
            (("by image", (0.90, 0.92, 0.94)), ("43 groups kept whole", (0.80, 0.81, 0.85)))
            for seed, accuracy in enumerate(each)]  # fmt: skip
    (row,) = scrutiny.leakage(records.table(arms)).to_dict("records")
    reach = 2.8633 * (4 / 3 + 7 / 3) ** 0.5
    assert row["points"] == pytest.approx(10)
    assert (row["points_low"], row["points_high"]) == pytest.approx((10 - reach, 10 + reach), abs=0.01)


def test_bench_and_probes_answer_where_they_are():
    probes = [
        {"dataset": "bees", "network": "resnet18", "split_sha256": split, "n_val": 63,
         "accuracy": {"64": 0.5, "250": 0.38, "100": small}}
        for split, small in (("one", 0.41), ("other", 0.39))
    ]  # fmt: skip
    rows = [{"way": way, "size": size, "images_per_second": rate}
            for way, rates in (("ours", (40.0, 10.0)), ("fastai", (15.0, 10.0)))
            for size, rate in zip((100, 250), rates, strict=True)]  # fmt: skip
    versus = {"versus": {"environment": {"device": "Abacus"}, "result": {"speed": rows}}}
    assert "100 px ran at so many times the images per second of 250 px, all layers training: x 4.0 (ours), x 1.5 " \
        "(fastai)" in find(answers([record()], bench=BENCH | versus), "loading bind")  # fmt: skip
    found = answers([record()], bench=BENCH, probes=2 * probes)  # each on two devices
    assert "arithmetic bound in 1 of 2 cells, loading took at most 10.0% of a step" in find(found, "loading bind")
    favour = find(found, "stand-in")
    assert favour.endswith("on 1 of 1: bees +2.0 [-10.7, +14.7] points at 100 px against 250 px (n = 2)")
    deeper = probes[0] | {"network": "resnet34", "accuracy": {"250": 0.38, "100": 0.37}}
    favour = find(answers([record()], probes=[probes[0], deeper]), "stand-in")
    assert favour.endswith("on 1 of 2: bees resnet18 +3.0 points at 100 px against 250 px (n = 1); bees resnet34 -1.0 "
                           "points at 100 px against 250 px (n = 1)")  # fmt: skip
    assert find(answers([record(weights="imagenet")]), "stand-in") == "no stand-in was used"


def ranged(seed: int, dataset: str = "bees", weights: str = "small.pt", **rates: float | None) -> dict:
    """A range test by hand: rates by _<pixels>."""
    suggested = {name[1:].replace("_", " "): rate for name, rate in rates.items()}
    return {"dataset": dataset, "network": "resnet18", "weights": weights, "seed": seed, "suggested": suggested}


def test_what_the_range_test_suggests_is_paired_by_seed():
    """By hand: the logs of 1/2 and 2 lie log 2 x sqrt 2 about 0, so their mean reaches as far as t x log 2. Crops,
    other weights, a loss without a minimum and a size alone say nothing."""
    tests = [ranged(0, _100=0.01, _250=0.02), ranged(1, _100=0.04, _250=0.02), ranged(2, _100=0.01),
             ranged(3, _100=None, _250=0.02), ranged(4, _100_cropped=0.01, _250=0.02),
             ranged(5, weights="imagenet", _100=0.01, _250=0.02), ranged(0, "ucm", _100=0.03, _250=0.02)]  # fmt: skip
    answer = find(answers([record(weights="small.pt")], tests=2 * tests), "learning rate")  # each on two devices
    reach = 2 ** stats.t.ppf(0.975, 1)
    assert f"bees resnet18 x 1.00 [{1 / reach:.2f}, {reach:.2f}] at 100 px against 250 px (n = 2)" in answer
    assert "; ucm resnet18 x 1.50 at 100 px against 250 px (n = 1)." in answer
    assert "a rate is the same for all regimes (steel resnet18 0.02)" in answer
    assert "for growing, as a ratio: no record of this" in find(answers([record()]), "learning rate")


def test_equal_suggestions_have_an_interval_all_the_same():
    """The rates of a test are a factor of 10^.1 apart: that stands for the spread of two that agree."""
    tests = [ranged(seed, _100=0.02, _250=0.02) for seed in (0, 1)]
    reach = 10 ** (0.1 * stats.t.ppf(0.975, 1) / 2**0.5)
    answer = find(answers([record(weights="small.pt")], tests=tests), "learning rate")
    assert f"bees resnet18 x 1.00 [{1 / reach:.2f}, {reach:.2f}]" in answer


# Controls


def test_controls_that_were_not_run_are_named():
    table = records.table([record()])
    assert controls.missing(table) == "No record yet of these controls: small, short, reversed on steel."
    assert controls.missing(records.table(matrix(1, regimes=CONTROLS))) == ""
    some = records.table(matrix(1, ("steel",), regimes=CONTROLS) + matrix(1, ("ucm", "bees")))
    assert controls.missing(some) == "No record yet of these controls: small, short, reversed on ucm, bees."
    assert controls.compared(table).empty
    assert "is open" in controls.says(table)
    assert controls.compared(records.table([])).empty
    assert controls.matched(table) == controls.matched(records.table([])) == ""


def test_as_that_is_won_by_doing_less_is_said():
    """Small at a fifth of T loses 10 points, and has the higher As."""
    by_regime = {"no_increase": 0.8, "gradual": 0.8, "small": 0.7}
    loaded = [record(regime, seed, accuracy=accuracy, seconds=1 + 0.01 * seed)
              for regime, accuracy in by_regime.items() for seed in (0, 1)]  # fmt: skip
    found = controls.compared(records.table(loaded))
    assert set(zip(found["treatment"], found["against"], strict=True)) == {
        ("small", "no_increase"), ("small", "gradual")}  # fmt: skip
    text = controls.says(records.table(loaded))
    assert text.startswith("**As rewards stopping early here**, in 1 of 1 comparisons: small on steel, As x ")
    assert "at -10.0 [-19.0, -1.0] points (n = 2)." in text
    (line,) = controls.own_size(records.table(loaded))
    assert line.startswith("Small on steel, resnet18: accuracy 0.750 at its own size, 0.700 at full size (n = 2). ")


def test_small_tested_small_is_compared_with_gradual_tested_large():
    """.75 at a quarter of the T against .85: by hand As is sqrt(4 x .75 / .85) = 1.88 times as high."""
    gradual, small = record("gradual", accuracy=0.8), record("small", accuracy=0.7)
    share = small["seconds_total"] / gradual["seconds_total"]
    loaded = [gradual, record("small", accuracy=0.7, seconds=0.25 / share)]
    (line,) = controls.own_size(records.table(loaded))
    assert line.endswith("Tested at its own size: T x 0.25 of gradual's, -10.0 points, As x 1.88 (n = 1).")
    three = [run for seed in range(3) for run in (record("gradual", seed), record("small", seed))]
    (sure,) = controls.own_size(records.table(three))
    assert sure.endswith("So where images may be tested small, never growing has the higher As by a 95% interval.")
    (alone,) = controls.own_size(records.table([small]))
    assert alone.endswith("at full size (n = 1).")


def in_time(accuracy: float, seeds: int, factor: float = 1.0, **other) -> list[dict]:
    """No increase, gradual, and a short that takes `factor` of gradual's T."""
    alike = factor * record("gradual")["seconds_total"] / record("short")["seconds_total"]
    return [run for seed in range(seeds) for run in (
        record("no_increase", seed, accuracy=0.8 + 0.01 * seed, **other),
        record("gradual", seed, accuracy=0.8, **other),
        record("short", seed, accuracy=accuracy + 0.01 * (seed == 1), seconds=alike * (1 + 0.001 * seed), **other),
    )]  # fmt: skip


def test_as_that_is_not_won_by_doing_less_is_said_too():
    assert controls.says(records.table(in_time(0.4, 3))).startswith("As was not won by doing less: ")


@pytest.mark.parametrize(("accuracy", "seeds"), [(0.4, 1), (0.99, 1), (0.8, 3)])
def test_one_run_or_an_open_interval_says_nothing_of_as(accuracy, seeds):
    said = controls.says(records.table(in_time(accuracy, seeds)))
    open_ = "Whether As can be won by doing less, tested at full size, is not decided: short on steel, As x "
    assert said.startswith(open_)


def test_two_shorts_whose_misses_cancel_out_say_nothing_of_as():
    """One 20% too long and one as much too short are no two at gradual's T."""
    alike = record("gradual")["seconds_total"] / record("short")["seconds_total"]
    loaded = [*in_time(0.99, 1, factor=1.2), record("gradual", 1), record("short", 1, seconds=alike / 1.2)]
    assert "neither small nor short at gradual's T" in controls.says(records.table(loaded))
    assert "in 0 of 2 runs (-16.7% to +20.0%)" in controls.matched(records.table(loaded))


def test_a_short_that_missed_its_time_says_nothing_of_as():
    said = controls.says(records.table(in_time(0.99, 3, factor=1.2)))
    assert said.startswith("Whether As can be won by doing less is open")


def test_a_short_that_missed_its_time_on_another_machine_says_no_more():
    """The same seeds on two machines: one does not pass unseen where the other's is put aside."""
    table = records.table([run for beads in (9, 10) for run in in_time(0.99, 3, 1.2, device=f"Abacus, {beads} beads")])
    assert "neither small nor short at gradual's T" in controls.says(table)
    assert "in 0 of 6 runs" in controls.matched(table)


def test_what_would_change_our_mind_is_watched():
    """On Bees gradual beats short at its T and loses nothing: half of the one finding, none of the other."""

    def lines(loaded: list[dict]) -> list[str]:
        table = records.table(loaded)
        return controls.change_of_mind(statistics.best(statistics.compare(table)), table)

    alike = record("gradual")["seconds_total"] / record("short")["seconds_total"]
    bees = [record(regime, seed, "bees", accuracy=accuracy + 0.005 * (seed == 1), seconds=seconds * (1 + 0.001 * seed),
                   n_val=200) for seed in range(3) for regime, accuracy, seconds in
            (("no_increase", 0.8, 1), ("gradual", 0.81, 1), ("short", 0.7, alike))]  # fmt: skip
    more, no_good = lines(bees)
    assert more.endswith("So far on 1 of 2; short has 3 seeds at that T on 1.")
    end = "; with the control's seconds for the same work, which was not planned, on none."
    assert no_good.startswith("Not met so far: growing is no good at all if, on two of the three datasets, ")
    assert no_good.endswith(f"Judged from 3 seeds on (bees), so it is on none{end}")
    slow = [record(regime, seed, "bees", seconds=seconds * (1 + 0.2 * seed * (regime == "gradual")))
            for regime, seconds in (("no_increase", 1), ("gradual", 1)) for seed in (0, 1, 2)]  # fmt: skip
    assert lines(slow)[1].startswith("Not met")  # on one dataset
    assert lines(slow)[1].endswith(f"so it is on bees (gradual){end}")
    two = [record(run["regime"], run["seed"], "ucm", seconds=1 + 0.2 * run["seed"] * (run["regime"] == "gradual"))
           for run in slow]  # fmt: skip
    assert lines(slow + two)[1].startswith("Met by the letter: growing is no good at all if")
    assert "seeds on (no dataset has them), so it is on none;" in lines(slow[:2] + slow[3:5])[1]
    assert "So far on 0 of 2; short has" in lines([record()])[0]
    assert "so it is on none" in lines([record()])[1]


@pytest.mark.parametrize(("factor", "near"), [(1.0, 1), (1.04, 1), (1.06, 0), (0.94, 0)])
def test_matched_time_is_checked(factor, near):
    gradual = record("gradual")
    short = record("short", seconds=factor * gradual["seconds_total"] / record("short")["seconds_total"])
    text = controls.matched(records.table([gradual, short]))
    assert f"within 5% of gradual's in {near} of 1 runs ({factor - 1:+.1%} to" in text


# The way there


def test_curves_are_means_over_seeds_with_bands():
    loaded = [record(seed=seed, accuracy=accuracy) for seed, accuracy in enumerate((0.7, 0.8, 0.9))]
    curve = pace.curve(loaded)
    assert curve["accuracy"].iloc[-1] == pytest.approx(0.8)
    assert curve["low"].iloc[-1] == pytest.approx(0.8 - 4.3027 * 0.1 / 3**0.5, abs=1e-4)
    assert curve["spent"].iloc[-1] == pytest.approx(loaded[0]["seconds_total"] - loaded[0]["stages"][-1]["seconds"])
    assert np.isnan(pace.curve(loaded[:1])["low"]).all()


def test_flops_are_counted_epoch_by_epoch():
    run = record("gradual")
    without_tta = run["flops_total"] - run["stages"][-1]["images"] * run["flops_per_image"]["forward"]
    assert pace.spent(run, "flops")[-1] == pytest.approx(without_tta)


def test_seconds_to_an_accuracy():
    run = record()
    ends = pace.spent(run)
    assert pace.seconds_to(run, run["epochs"][3]["accuracy"]) == pytest.approx(ends[3])
    assert pace.seconds_to(run, 0.99) == pace.NEVER


def test_a_miss_is_never():
    """Gradual gets there in one of three seeds: the median is a miss."""
    loaded = [record("no_increase", seed, accuracy=0.8) for seed in range(3)]
    loaded += [record("gradual", seed, accuracy=accuracy) for seed, accuracy in enumerate((0.82, 0.7, 0.7))]
    found = pace.to_the_controls_accuracy(pace.arrivals(records.table(loaded), loaded)).set_index("regime")
    assert found.loc["no_increase", ["n", "reached"]].tolist() == [3, 3]
    assert found.loc["gradual", ["n", "reached"]].tolist() == [3, 1]
    assert found.loc["gradual", "seconds"] == pace.NEVER
    assert found.loc["no_increase", "seconds"] == pytest.approx(pace.spent(loaded[0])[-1])
    assert pace.to_the_controls_accuracy(pace.arrivals(records.table([]), [])).empty
    assert pace.to_the_controls_accuracy(pace.arrivals(records.table(loaded[3:]), loaded[3:])).empty


def test_how_often_growing_got_there_sooner():
    """Gradual gets there within its last epoch, which costs less than the control's; stepwise never does."""
    accuracies = {"no_increase": 0.8, "gradual": 0.8, "stepwise": 0.5}
    loaded = [record(regime, accuracy=accuracy) for regime, accuracy in accuracies.items()]
    table = records.table(loaded)
    said = pace.says(pace.arrivals(table, loaded), statistics.compare(table))
    assert said.startswith("Of 2 pairs of runs growing was as accurate")
    assert said.endswith("sooner than that in 1, no sooner in 0, never in 1.")
    nothing = pace.arrivals(records.table([]), [])
    assert pace.says(nothing, statistics.compare(records.table([]))) == "Nothing to compare yet."


def test_the_pareto_front():
    points = [(1.0, 0.5), (2.0, 0.4), (3.0, 0.7), (3.0, 0.6), (4.0, 0.7)]
    assert pace.front(points) == [(1.0, 0.5), (3.0, 0.7)]
    assert pace.front([]) == []


# The mechanism


def dialled(accuracies: dict[str, float], dial: str = "fine", seeds: int = 3) -> list[dict]:
    return [record(regime, seed, accuracy=accuracy + 0.01 * (seed == 1), dial=dial, profile="mechanism", weights="none",
                   largest=64) for regime, accuracy in accuracies.items() for seed in range(seeds)]  # fmt: skip


def test_accuracy_by_dial_and_regime():
    loaded = dialled({"gradual": 0.7, "no_increase": 0.9}) + dialled({"no_increase": 0.8}, "coarse", 1)
    shown = mechanism.accuracies(mechanism.table(loaded))
    assert shown[["dial", "regime", "n"]].to_numpy().tolist() == [
        ["coarse", "no_increase", 1], ["fine", "no_increase", 3], ["fine", "gradual", 3]]  # fmt: skip
    fine = shown.iloc[2]
    assert fine["accuracy"] == pytest.approx(0.7 + 0.01 / 3)
    assert fine["low"] < fine["accuracy"] < fine["high"]
    assert np.isnan(shown["low"].iloc[0])
    assert fine["chance"] == pytest.approx(1 / 7)


def test_contrasts_answer_by_dial():
    """Blurred loses 20 points where detail carries the class, and nothing where it does not."""
    loaded = dialled({"no_increase": 0.9, "blurred": 0.7}) + dialled({"no_increase": 0.9, "blurred": 0.9}, "coarse")
    found = mechanism.contrasts(mechanism.table(loaded))
    assert mechanism.says(found) == ("By 95% intervals: coarse first, at no saving (blurred against no increase): more "
                                     "accurate on 0, less on 1 of 2 kinds of image.")  # fmt: skip
    (row,) = mechanism.answers(found)
    assert row["compared"] == "blurred against no increase"
    assert row["coarse"].startswith("+0.0 [")
    assert (row["fine"], row["both"], row["n"]) == ("**-20.0 [-22.5, -17.5]**", "", "3")


def test_what_was_only_trained_small_is_tested_small_too():
    """Records by hand are 5 points better at the size last trained at, which no increase cannot be: .55 against .9."""
    loaded = dialled({"no_increase": 0.9, "small": 0.5})
    for whole in loaded[:3]:
        whole["stages"][-1]["accuracy_train_size"] = whole["accuracy_total"]
    found = mechanism.contrasts(mechanism.table(loaded))
    assert found["points"].round(6).tolist() == [-40, -35]
    rows = mechanism.answers(found)
    assert [row["what"] for row in rows] == ["never large", "never large, and tested at its own size"]
    assert [row["fine"][:7] for row in rows] == ["**-40.0", "**-35.0"]
    assert "gradual, blurred and cropped have not run beside" in mechanism.says(found)  # small tells nothing of it
    shown = mechanism.accuracies(mechanism.table(dialled({"small": 0.5}, seeds=1)))
    assert shown["own"].tolist() == [pytest.approx(0.55)]


@pytest.mark.parametrize(
    ("gradual", "dial", "warned"), [(0.5, "fine", True), (0.5, "coarse", False), (0.9, "fine", False)]
)
def test_when_detail_carries_the_class(gradual, dial, warned):
    loaded = dialled({"no_increase": 0.9, "gradual": gradual}, dial)
    said = mechanism.warning(mechanism.contrasts(mechanism.table(loaded)))
    assert bool(said) == warned
    assert ("gradual against no increase was -40.0 [-42.5, -37.5] points (n = 3)" in said) == warned


def test_what_to_use_by_what_carries_the_class():
    """Fine: both treatments lose; both: gradual alone; coarse: nothing is decided. Never by more than accuracy says."""
    loaded = [run for dial, gradual, stepwise in (("coarse", 0.9, 0.9), ("fine", 0.5, 0.7), ("both", 0.7, 0.9))
              for run in dialled({"no_increase": 0.9, "gradual": gradual, "stepwise": stepwise}, dial)]  # fmt: skip
    rows = mechanism.recommendations(mechanism.contrasts(mechanism.table(loaded)))
    assert [(row["dataset"], row["use"], row["how sure"]) for row in rows] == [
        ("drawn, coarse detail carries the class", "not decided", "open (n = 3)"),
        ("drawn, fine detail carries the class", "no increase", "decided at 95% (n = 3)"),
        ("drawn, coarse and fine carry the class", "not gradual", "decided at 95% (n = 3)"),
    ]
    assert "gradual: FLOPs x 0.71, -40.0 [-42.5, -37.5] points; stepwise: FLOPs x " in rows[1]["why"]
    assert mechanism.recommendations(mechanism.contrasts(mechanism.table([]))) == []


def test_kinds_of_machine_are_not_mixed():
    """Of each its own table and its own count."""
    runs = dialled({"no_increase": 0.9, "blurred": 0.7})
    other = [record(run["regime"], run["seed"], accuracy=run["accuracy_total"], dial="fine", profile="mechanism",
                    weights="none", largest=64, device="Slate, 1 threads") for run in runs]  # fmt: skip
    text = why.of_mechanism(runs + other, mechanism.contrasts(mechanism.table(runs + other))).data
    assert text.count("less on 1 of 1 kinds of image") == 2
    assert text.count("One validation image is 1.0 points.") == 1
    about = "of steel, resnet18, from scratch, up to 64 px, 900 images to train on and 100 to validate"
    assert f"{about}, Slate, 1 threads" in text
    assert f"{about}, Abacus, 9 threads" in text


def test_seconds_of_the_mechanism_by_machine():
    """Of each seed the mean over its dials; the machines stand apart: half of no increase's T on one, all of it on the
    other, is x .71."""
    rows = [{**run(regime, seed, seconds, setting=machine), "flops_total": flops, "comparable": f"{dial}{machine}"}
            for machine in ("one", "two") for dial, halved in (("coarse", 30.0), ("fine", 60.0)) for seed in (0, 1)
            for regime, seconds, flops in (("no_increase", 60.0, 4.0), ("gradual", halved, 3.0))]  # fmt: skip
    found = mechanism.seconds(pd.DataFrame(rows))
    assert [row.pop("machine") for row in found] == ["one", "two"]
    assert found[0] == {"regime": "gradual", "n": "2", "FLOPs ratio": "0.75", "T ratio": "0.71 [0.71, 0.71]",
                        "saved of what FLOPs promise": "117%", "single pairs": "0.50 to 1.00"}  # fmt: skip
    assert mechanism.seconds(pd.DataFrame(rows[:1])) == mechanism.seconds(pd.DataFrame()) == []
    rows[1]["seconds_total"] = 3600.0
    busy, quiet = mechanism.seconds(pd.DataFrame(rows))
    assert (busy["machine"], busy["regime"], busy["T ratio"]) == ("one", "gradual", "too busy to tell")
    assert busy["single pairs"] == "0.50 to 60.00"
    assert quiet == found[1] | {"machine": "two"}


def once_more(run: dict, points: float) -> dict:
    """The same run on another machine, so many points more accurate there."""
    return record(run["regime"], run["seed"], accuracy=run["accuracy_total"] + points / 100, dial="fine",
                  weights="none", profile="mechanism", largest=64, device="Slate, 9 threads",
                  started="2026-02-01T00:00:00+00:00")  # fmt: skip


def test_a_run_on_two_machines_shows_what_rounding_does():
    """Small was made once, the others twice: one ends 2 points higher there, the other 1 lower. Seeds count once."""
    here = dialled({"no_increase": 0.9, "gradual": 0.8, "small": 0.5})
    both = [*here, *(once_more(run, {"no_increase": 2, "gradual": -1}[run["regime"]]) for run in here[:6])]
    runs = mechanism.table(both)
    found = mechanism.contrasts(runs)
    said = mechanism.again(runs, found)
    assert "6 runs were made on two machines." in said
    assert "by 1.5 points on average, 2.0 at most, +0.5 on the mean" in said
    assert said.endswith(" first. Of 1 contrasts decided above the other machine's means have the same sign in 1.")
    assert mechanism.again(mechanism.table(here), found) == mechanism.again(mechanism.table([]), found) == ""
    assert found[found["treatment"] == "gradual"]["n"].tolist() == [3]
    alone = [here[0], once_more(here[0], 1)]
    assert mechanism.again(mechanism.table(alone), mechanism.contrasts(mechanism.table(alone))).endswith(" first.")
    assert "| no increase | 3 |" in why.of_mechanism(both, found).data
    assert len(mechanism.of_one_machine(both)) == len(here)


def test_networks_of_the_mechanism_are_not_mixed():
    other = record("gradual", network="resnet34", accuracy=0.1, dial="fine", profile="mechanism", weights="none")
    loaded = [*dialled({"no_increase": 0.9, "gradual": 0.7}), other, record(
        "no_increase", network="resnet34", accuracy=0.9, dial="fine", profile="mechanism", weights="none")]  # fmt: skip
    text = why.of_mechanism(loaded, mechanism.contrasts(mechanism.table(loaded))).data
    assert text.count("Drawn in the style of steel, resnet18, ") == text.count("style of steel, resnet34, ") == 1
    assert "**-20.0 [" in text
    assert "| -80.0 |" in text


def test_a_contrast_that_the_corrected_interval_does_not_share_has_a_star():
    """By hand, points -20, -14 and -9 of 100 validation images to 900: 4.30 x 5.51 = 23.7 times the root of 1/3 reaches
    13.7, of 1/3 + 1/9 it reaches 15.8, and the mean is -14.3. With the last -10 both end below 0."""
    for least, star in ((0.09, "\\*"), (0.1, "")):
        loaded = [record(regime, seed, accuracy=accuracy, dial="fine", profile="mechanism", weights="none")
                  for seed, lost in enumerate((0.2, 0.14, least))
                  for regime, accuracy in (("no_increase", 0.9), ("gradual", 0.9 - lost))]  # fmt: skip
        (row,) = mechanism.answers(mechanism.contrasts(mechanism.table(loaded)))
        assert row["fine"].startswith("**-14.")
        assert row["fine"].endswith(f"]**{star}")


def test_contrasts_of_one_run_decide_nothing():
    text = mechanism.says(mechanism.contrasts(mechanism.table(dialled({"no_increase": 0.9, "gradual": 0.7}, seeds=1))))
    assert "one run each, nothing is decided" in text


def test_the_mechanism_says_what_is_missing():
    none = mechanism.table([])
    assert mechanism.accuracies(none).empty
    assert mechanism.answers(mechanism.contrasts(none)) == []
    assert "have not run beside what they are compared with" in mechanism.says(mechanism.contrasts(none))
    assert mechanism.missing(none) == "No record of the mechanism's runs yet."
    part = mechanism.missing(mechanism.table(dialled(dict.fromkeys(regimes.MECHANISM, 0.8))))
    assert part.startswith("No record yet of: coarse: no increase, small")
    assert "fine" not in part
    everything = [run for dial in mechanism.DIALS for run in dialled(dict.fromkeys(regimes.MECHANISM, 0.8), dial, 1)]
    assert mechanism.missing(mechanism.table(everything)) == ""


def test_other_images_have_no_dial():
    assert mechanism.dial("UC Merced Land Use") == ""
    assert mechanism.table([record()]).empty
    assert mechanism.dial("synthetic aerial, class carried by both detail, 90 images") == "both"


def test_tables_of_nothing_are_tables():
    assert isinstance(scrutiny.variants(records.table([])), pd.DataFrame)
    assert scrutiny.leakage(records.table([])).empty
