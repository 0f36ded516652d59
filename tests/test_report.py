"""What people see of records: numbers in sentences, tables and figures, and the notebooks that show them. No torch."""

import json
import re
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import by_hand
import numpy as np
import pandas as pd
import papermill
import pytest
from conftest import ROOT
from IPython.display import Image
from matplotlib.collections import LineCollection

from entr_utils import regimes
from entr_utils.report import figures, mistakes, tables, words
from entr_utils.results import claims, compare, record, studies
from entr_utils.settings import DIALS, PAPER_DATASETS, PAPER_REGIMES, Cell
from entr_utils.util import UserError, minutes

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FORBIDDEN = re.compile(r"/(work|home|root|tmp|Users|usr)/|[A-Z]:\\\\|pypi\.|pythonhosted\.|index[-]url|anaconda\.org")
CONTROL, GRADUAL, STEPWISE = PAPER_REGIMES


def rows(shown: Any) -> list[dict[str, str]]:
    """A Markdown table as GitHub reads it: as many cells in every row as names above it."""
    lines = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in shown.data.splitlines()]
    names, rule, *body = lines
    assert set("".join(rule)) == {"-"}
    assert {len(line) for line in lines} == {len(names)}
    return [dict(zip(names, line, strict=True)) for line in body]


def lines(shown: Any) -> list[str]:
    """The items of a list."""
    return [line for line in shown.data.splitlines() if line.startswith("- ")]


def time_in(row: dict[str, str]) -> str:
    """T of a row of the first screen; its heading names the clock."""
    return next(text for heading, text in row.items() if heading.startswith("T: "))


def numbers(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"(?<![\w.])[-+]?\d+(?:\.\d+)?", text)]


def table_of(loaded: list[record.Record], folder: Path | None = None, **clock) -> pd.DataFrame:
    """With T by a clock where a folder for one is given."""
    return compare.table(loaded, by_hand.clocks(folder, loaded, **clock) if folder else {})


def shown_of(loaded: list[record.Record], folder: Path | None = None, **clock) -> tuple[pd.DataFrame, pd.DataFrame]:
    table = table_of(loaded, folder, **clock)
    return tables.compared(table), table


def write(folder: Path, loaded: list[record.Record]) -> None:
    for one in loaded:
        record.write(one, folder / one.spec.profile / f"{one.spec.name}.json")


@pytest.mark.parametrize("first", ["compact", "paper", "quick"])
def test_the_summary_by_itself_shows_the_first_profile_with_records(tmp_path, first):
    for profile in tables.PROFILES[tables.PROFILES.index(first) :]:
        write(tmp_path, by_hand.matrix(1, datasets=("own", "bees", "steel"), profile=profile))
    profile, loaded, table = tables.read(tmp_path)
    assert {profile} == {one.spec.profile for one in loaded} == {*table["profile"]} == {first}
    places = [(dataset, regime) for dataset in ("steel", "bees", "own") for regime in PAPER_REGIMES]
    assert [(one.spec.dataset, one.spec.regime) for one in loaded] == places
    assert {one.spec.profile for one in tables.read(tmp_path, "quick")[1]} == {"quick"}
    assert tables.read(tmp_path, "mechanism")[1] == []


def test_a_device_without_a_clock_borrows_one_and_the_table_names_it(tmp_path):
    loaded = [by_hand.record(device="Slide rule, 1 threads"), by_hand.record(seed=1)]
    write(tmp_path, loaded)
    by_hand.clocks(tmp_path, loaded)
    _, _, table = tables.read(tmp_path)
    assert set(table["clock"]) == {by_hand.DEVICE}
    assert {row["clock"] for row in rows(tables.environments(table))} == {by_hand.DEVICE}


def test_every_machine_with_a_clock_has_its_ratio(tmp_path):
    """On B all work takes the same time an image, whatever its size, so growing saves less; C has no clock of it."""
    loaded = by_hand.matrix(2)
    for device, takes in ((by_hand.DEVICE, [lambda work: 1.0]), ("B", [lambda work: 1 / by_hand.seconds_of(work)])):
        clocks = by_hand.clocks(tmp_path, loaded, takes, device)
    by_hand.clocks(tmp_path, [by_hand.record(network="resnet34")], device="C")
    first, second = rows(tables.machines(table_of(loaded), clocks))
    assert (first["regime"], second["regime"]) == PAPER_REGIMES[1:]
    (_, here), (_, there) = [*first.items()][1:]
    assert numbers(here)[0] < numbers(there)[0]


SHOWN = {"gradual": True, "short": True, "slope": True, "slope:least=0.5": True}
SHOWN |= dict.fromkeys(("no_increase", "small", "blurred", "short:share=0.8"), False)  # controls of other studies


@pytest.mark.parametrize(("regime", "shown"), SHOWN.items(), ids=SHOWN)
def test_the_first_screen_compares_whatever_ran_but_the_controls_of_other_studies(own_regime, regime, shown):
    assert [*set(shown_of([by_hand.record(), by_hand.record(regime)])[0]["treatment"])] == [regime] * shown


def test_the_answer_gives_the_ranges_of_the_comparisons(tmp_path):
    compared, table = shown_of(by_hand.matrix(3), tmp_path)
    text = words.answer(compared, [*table["record"]]).data
    for measure, digits in (("time", 2), ("points", 1)):
        found = compared[compared["measure"] == measure]["estimate"].round(digits)
        assert {found.min(), found.max()} <= set(numbers(text))
    primary = compare.primary(compared).iloc[0]
    assert round(primary["estimate"], 1) in numbers(text)
    assert round(100 * primary["probability"]) in numbers(text)
    assert "nan" not in text


AS_IN_THE_PAPER: dict[str, Any] = {"stand_in": False, "weights": "imagenet", "device": "A GPU", "processor": "Abacus"}
NOT_AS_THERE = [{"kind": "formula"}, {"stand_in": True}, {"weights": "none"}, {"weights": "a.pt"}, {"protocol": 2}]


@pytest.mark.parametrize("field", [*NOT_AS_THERE, {"processor": "A GPU"}], ids=str)
def test_each_difference_from_the_paper_is_noted_once(field):
    nothing: dict[str, Any] = {}
    for changed in (nothing, field):
        loaded = [by_hand.record(seed=seed, **AS_IN_THE_PAPER | changed) for seed in range(3)]
        found = lines(words.stand_ins(loaded))
        assert len(found) == len(changed)
        assert ("steel" in "".join(found)) == ("stand_in" in changed)


def on_folds(gained: list[float], start: float = 0.8, **fields) -> list[record.Record]:
    """Control and gradual on folds; gradual gains these shares."""
    control = by_hand.folds(CONTROL, [start] * len(gained), dataset="own", **fields)
    return control + by_hand.folds(GRADUAL, [start + gain for gain in gained], dataset="own", **fields)


def advice(loaded: list[record.Record], folder: Path | None, **clock) -> tuple[str, str]:
    return words.advice(*shown_of(loaded, folder, **clock))


FOLDS = {"use": [0.02] * 5, "few": [0.02] * 2, "open": [0.05, -0.05, 0.03, -0.04, 0.0], "slow": [-0.2] * 5}


@pytest.mark.parametrize("key", FOLDS)
def test_the_advice_follows_from_time_accuracy_and_folds(tmp_path, key):
    assert advice(on_folds(FOLDS[key]), tmp_path) == (key, GRADUAL if key == "use" else CONTROL)
    assert advice(on_folds(FOLDS[key]), None)[0] == ("few" if key == "few" else "unclocked")


def test_of_several_the_fastest_is_recommended(tmp_path):
    loaded = on_folds([0.02] * 5) + by_hand.folds(STEPWISE, [0.82] * 5, dataset="own")
    assert advice(loaded, tmp_path) == ("use", GRADUAL)
    dear = [lambda work: 9.0 if work.size in (150, 200) else 1.0] * 3  # sizes that gradual alone has
    assert advice(loaded, tmp_path, takes=dear) == ("use", STEPWISE)


def test_nothing_is_recommended_near_what_the_largest_class_alone_gives(tmp_path):
    assert words.levels(table_of(on_folds([0.02] * 3, classes=2))) == pytest.approx((0.8, 0.5))
    assert advice(on_folds([0.02] * 5, start=0.55, classes=2), tmp_path) == ("poor", CONTROL)
    assert advice(on_folds([0.02] * 5, start=0.55, classes=7), tmp_path) == ("use", GRADUAL)


def test_full_size_is_recommended_where_growing_saves_nothing(tmp_path):
    dear = [lambda work: 1.0 if work.size == 250 else 50.0] * 3
    assert advice(on_folds(FOLDS["use"]), tmp_path, takes=dear) == ("slow", CONTROL)


@pytest.mark.parametrize("gained", [[0.02], *FOLDS.values()], ids=("one", *FOLDS))
def test_the_verdict_shows_what_it_rests_on_before_its_advice(tmp_path, gained):
    compared, table = shown_of(on_folds(gained), tmp_path)
    found = tables.by_measure(compared)[0]
    *evidence, last = lines(words.verdict(compared, table))
    seen = numbers(" ".join(evidence))
    rests_on = [round(found["T"]["estimate"], 2), round(found["points"]["estimate"], 1), found["points"]["n"]]
    rests_on += [found["points"]["images"], *(round(100 * one, 1) for one in words.levels(table))]
    assert set(rests_on) <= set(seen)
    assert last.startswith(f"- {words.ADVICE[words.advice(compared, table)[0]].partition('{')[0]}")


def run_of(one: record.Record, forecast: float | None = 600.0) -> Any:
    """As much of a `training.run.Run` as is shown; done where `forecast` is 0."""
    split = SimpleNamespace(training=np.arange(90), validation=np.arange(10), by="fold", folds=10)
    images = SimpleNamespace(source=one.source, labels=np.zeros(100), reading=("<Down>",))
    run = SimpleNamespace(spec=one.spec, split=split, images=images, share=1.0)
    run.finished, run.forecast = lambda: one if forecast == 0 else None, lambda: forecast
    return run


def test_what_runs_counts_what_is_missing_and_adds_up_its_forecast():
    runs = [run_of(by_hand.record(seed=seed), forecast) for seed, forecast in enumerate((0.0, 600.0, 1200.0))]
    assert {3.0, 2.0, 30.0} <= set(numbers(words.what_runs(runs).data))
    assert "&lt;Down&gt;" in words.what_runs(runs).data  # how folders were read; no markup in their names counts
    without_clock = [run_of(by_hand.record(), None), run_of(by_hand.record(seed=1), 660.0)]
    assert 11.0 not in numbers(words.what_runs(without_clock).data)


def test_files_left_out_and_copies_are_named_and_no_markup_of_theirs_counts():
    names = {f"<b>{i}|.png": "not an image" for i in range(50)}
    found = {"left_out": names, "n_left_out": 400, "copies": (("a", "b"), ("c", "d")), "n_copies": 2}
    found |= {"brightness": (12.0, 4000.0)}
    line, same, brightness = words.left_out(by_hand.record().source.model_copy(update=found))
    assert 400 in numbers(line)
    assert "a = b" in same
    assert {12.0, 4000.0} <= set(numbers(brightness))
    assert words.left_out(by_hand.record().source) == ["", "", ""]
    assert not set("<|") & set(line)
    assert line.count(".png") == words.NAMED


def test_a_cell_of_a_table_is_one_cell_whatever_is_in_it():
    (row,) = rows(tables.markdown("a | b", [["one | two\nthree", 4]]))
    assert row["b"] == "4"


def test_regimes_are_shown_with_their_options_and_spans_as_one_figure_where_ends_are_equal():
    assert [*map(tables.label, ("no_increase", "a_b:c=1,d=2"))] == ["no increase", "a b (c 1, d 2)"]
    assert [*map(tables.span, ([0.84, 0.791], [-0.001, 0.0]))] == ["0.79 to 0.84", "0.00"]


def test_the_first_screen_has_a_row_a_dataset_and_regime(tmp_path):
    compared, table = shown_of(by_hand.matrix(6), tmp_path)
    shown = rows(tables.first_screen(compared, table))
    assert [row["dataset"] for row in shown] == [name for name in PAPER_DATASETS for _ in range(2)]
    assert [row["regime"] for row in shown] == [*PAPER_REGIMES[1:]] * 3
    found = tables.by_measure(compared)[0]
    seconds, ratio = numbers(time_in(shown[0]))
    assert (shown[0]["folds"], shown[0]["images judged"]) == ("6", "600")
    control = table[(table["dataset"] == "steel") & (table["regime"] == CONTROL)]
    assert seconds == pytest.approx(control["seconds_total"].mean(), abs=0.05)
    assert ratio == round(found["T"]["estimate"], 2)
    ends = numbers(shown[0]["points of accuracy"])
    assert ends == [round(found["points"][name], 1) + 0.0 for name in ("estimate", "low", "high")]
    ruled_out, expected = numbers(shown[0]["loss ruled out (if equal)"])
    assert ruled_out == round(max(0.0, -found["points"]["low"]), 1)
    assert expected > 0
    assert numbers(shown[0]["chance of losing over a point"]) == [round(100 * found["points"]["probability"])]
    assert "measured" not in time_in(shown[0])
    assert "measured" in time_in(rows(tables.first_screen(*shown_of(by_hand.matrix(2))))[0])  # without a clock


def test_probabilities_of_few_folds_are_in_brackets_and_one_fold_has_none():
    for seeds, begins in ((1, ""), (compare.FEW - 1, "("), (compare.FEW, "1")):
        row, *_ = rows(tables.first_screen(*shown_of(by_hand.matrix(seeds, ("steel",)))))
        assert row["chance of losing over a point"][:1] == begins


def test_the_three_probabilities_add_up_and_flips_are_counted(tmp_path):
    for row in rows(tables.details(shown_of(by_hand.matrix(4, ("steel",)), tmp_path)[0])):
        shares = [row[name] for name in ("costs more than a point", "stays within a point", "gains more")]
        assert sum(float(one.strip("%")) for one in shares) == pytest.approx(100, abs=1)
        worse, better = map(int, row["predictions worse, better"].split(", "))
        assert worse + better > 0


def test_only_a_notebook_that_is_there_is_linked(tmp_path):
    compared, table = shown_of(by_hand.matrix(1, datasets=("steel",)))
    name = f"{Cell('steel', 'resnet18', GRADUAL).name}.ipynb"
    (tmp_path / name).touch()
    shown = [" ".join(row.values()) for row in rows(tables.first_screen(compared, table, tmp_path))]
    assert [f"]({name})" in row for row in shown] == [".ipynb" in row for row in shown] == [True, False]


def test_a_cell_is_a_mean_over_its_runs_beside_the_clock(tmp_path):
    loaded = [by_hand.record(GRADUAL, seed, accuracy=0.7 + seed / 10, seconds=1.0 + 2 * seed) for seed in (0, 1)]
    table, first = table_of(loaded, tmp_path), loaded[0].phases
    for row, phase in zip(rows(tables.stages(table)), first, strict=True):
        assert row["phase"] == phase.name
        assert numbers(row["seconds as measured"]) == [pytest.approx(2 * phase.seconds, abs=0.06)]
        assert numbers(row["by the clock"]) == [pytest.approx(phase.seconds, rel=0.1, abs=1.0)]
    assert numbers(rows(tables.stages(table_of(loaded)))[0]["by the clock"]) == []
    sub, total = rows(tables.outcome(table))
    assert (sub["accuracy"], total["accuracy"], numbers(total["from, to"])) == ("0.700", "0.750", [0.7, 0.8])


def test_table_1_is_the_same_before_and_after_a_run():
    one = by_hand.record(n_val=10, n_train=90)
    before, after = (rows(tables.table1([item]))[0] for item in (run_of(one), one))
    assert before == after
    assert (before["images"], before["classes"], before["images in the paper"]) == ("100", "7", "1460")


def cell_of(accuracies: list[float], classes: int) -> list[record.Record]:
    """Runs of a cell; wrong guesses are of the next class, that of the last one of a class that has no images."""
    loaded = by_hand.folds(CONTROL, accuracies, classes=classes, n_val=400)
    source = loaded[0].source.model_copy(update={"classes": tuple(map(str, range(classes + 1)))})
    return [one.model_copy(update={"source": source}) for one in loaded]


def test_classes_and_pairs_are_counted_over_all_runs():
    counts = mistakes.confusions(loaded := cell_of([0.5, 0.9], 5))
    assert (counts.sum(), counts.diagonal().sum()) == (800, 560)
    accuracies = [float(row["accuracy"]) for row in rows(mistakes.per_class(loaded))]
    assert accuracies == sorted(accuracies)
    pairs = rows(mistakes.worst_pairs(loaded))
    assert 0 < len(pairs) <= 5
    assert int(pairs[0]["times"]) == counts[~np.eye(len(counts), dtype=bool)].max()
    assert all(row["true class"] != row["taken for"] for row in pairs)


def test_every_prediction_is_written_and_the_worst_files_are_listed(tmp_path):
    loaded = cell_of([0.5, 0.9], 5)
    written = pd.read_csv(mistakes.write(loaded, tmp_path / "own" / "predictions.csv"))
    assert len(written) == sum(one.split.n_val for one in loaded)
    assert written.groupby("seed")["right"].mean().tolist() == [one.accuracy_total for one in loaded]
    listed = rows(mistakes.files(loaded))
    assert 0 < len(listed) <= mistakes.MOST_FILES
    wrong = written[~written["right"]].astype(str)
    assert {(row["file"], row["taken for"]) for row in listed} <= {*zip(wrong["file"], wrong["predicted"], strict=True)}


def test_environments_are_listed_once_with_their_commits():
    loaded = by_hand.matrix(2) + by_hand.matrix(1, device="A GPU", processor="A processor")
    shown = rows(tables.environments(table_of(loaded)))
    assert [(row["device"], row["runs"]) for row in shown] == [(by_hand.DEVICE, "18"), ("A GPU", "9")]


def test_looks_follow_from_the_registry(own_regime):
    looks = [figures.look(name) for name in regimes.REGIMES]
    assert len(set(map(str, looks))) == len(looks)
    assert len({marker for _, marker, _ in looks}) == len(looks)
    assert np.ptp(figures.look("short")[0]) < 0.01  # grey


def test_the_schedule_shows_every_size_of_a_regime_that_a_test_registers(own_regime):
    one = by_hand.record("slope", n_train=200, profile="tiny")
    figure = figures.schedule([one], 200)
    assert [axis.get_title(loc="left") for axis in figure.axes] == [*map(tables.label, PAPER_REGIMES), "slope"]
    drawn = figure.axes[-1].get_children()
    segments = [segment for part in drawn if isinstance(part, LineCollection) for segment in part.get_segments()]
    assert {round(segment[0][1]) for segment in segments} == {one.size for one in one.work if one.kind == "step"}


def test_a_regime_cut_to_a_budget_ends_sooner_in_the_schedule():
    figure = figures.schedule([by_hand.record("short", share=0.5)], 900)
    full, *_, short = (axis.dataLim.x1 for axis in figure.axes)
    assert short == pytest.approx(full / 2, rel=0.02)


def drawn(axis: Any, marker: str = "") -> list[np.ndarray]:
    """The lines of a panel that have points, (2, points): with a marker, or all."""
    found = [line for line in axis.lines if marker in ("", line.get_marker())]
    return [line.get_xydata().T for line in found if len(line.get_xydata())]


def test_the_first_figure_draws_every_fold_and_the_control(tmp_path):
    figure = figures.first_screen(shown_of(by_hand.matrix(4), tmp_path)[0])
    assert [axis.get_title() for axis in figure.axes] == [*PAPER_DATASETS]
    for axis in figure.axes:
        assert [line.tolist() for line in drawn(axis, "+")] == [[[1], [0]]]
        assert [line.shape for line in drawn(axis, ".")] == [(2, 4), (2, 4)]


def test_two_folds_have_no_bar(tmp_path):
    for folder, directions in ((tmp_path, 2), (None, 1)):  # T that runs measured has none either
        shown = (shown_of(by_hand.matrix(n, ("steel",)), folder and folder / str(n))[0] for n in (2, 3))
        two, three = (figures.first_screen(one).axes[0] for one in shown)
        assert len(drawn(three, "None")) - len(drawn(two, "None")) == 2 * directions  # of two regimes


def test_curves_are_those_of_all_runs_and_their_mean():
    loaded = by_hand.folds(GRADUAL, [0.7, 0.8, 0.9])
    for axis in figures.curves(loaded).axes:
        *each, mean = (y for _, y in drawn(axis, "None") if len(y) == len(loaded[0].epochs))
        assert len(each) == 3
        assert np.mean(each, 0) == pytest.approx(mean)


def test_accuracy_over_time_ends_at_the_time_of_the_clock(tmp_path):
    table = table_of(by_hand.folds(GRADUAL, [0.7, 0.8]), tmp_path)
    (curve, ends) = drawn(figures.over_time(table).axes[0])
    assert ends[0] == pytest.approx(table["seconds_total"] / 60)
    assert curve[0][-1] * 60 == pytest.approx(table["seconds_total"][0] - table["times"][0].phases["TTA"])


def test_the_mechanism_has_a_panel_for_all_that_can_carry_a_class():
    fields: dict[str, Any] = {"profile": "mechanism", "weights": "none", "datasets": ("steel",)}
    loaded = []
    for dial in DIALS:
        loaded += by_hand.matrix(2, regimes=(CONTROL, GRADUAL, "blurred", "cropped"), carries=dial, **fields)
    for above in figures.mechanism(table_of(loaded)).axes[: len(DIALS)]:
        curves = [line for line in drawn(above) if len(line[0]) > 1]
        assert len(curves) == 4
        assert max(curve[0][-1] for curve in curves) * figures.TERA <= loaded[0].flops_total


def images_of(kind: str, classes=("$a_b$", "c", "d")) -> Any:
    labels, pixels = np.repeat(np.arange(len(classes)), 2), np.zeros((2 * len(classes), 8, 8, 3), np.uint8)
    return SimpleNamespace(source=SimpleNamespace(kind=kind), labels=labels, classes=[*classes], pixels=pixels)


def test_pictures_of_a_thousand_classes_are_no_larger_than_those_of_a_page():
    """Before training: a larger one would take the kernel with it. So would the confusion matrix after it."""
    assert len(figures.samples(images_of("folder", [f"class {i}" for i in range(1000)]), "own").data) < 300_000
    figure = figures.confusion(loaded := cell_of([0.5], 1000))
    assert max(figure.get_size_inches()) < 15
    assert len(figure.axes[0].get_xticklabels()) == figures.MOST_CLASSES
    assert len(rows(mistakes.per_class(loaded))) <= mistakes.MOST_CLASSES


def test_images_that_are_not_ours_are_never_shown():
    for kind, dataset in (("formula", "steel"), ("formula", "own"), ("folder", "own")):
        assert isinstance(figures.samples(images_of(kind), dataset), Image)
    with pytest.raises(UserError, match="show_samples"):
        figures.samples(images_of("folder"), "bees")


PARTS = {
    "none": [],
    "control": [by_hand.record()],
    "treatment": [by_hand.record(GRADUAL)],
    "no control": by_hand.matrix(2, ("ucm", "bees"), regimes=(GRADUAL, STEPWISE)),
    "own": by_hand.matrix(2, ("own",), regimes=(CONTROL, "small")),
    "one seed": by_hand.matrix(1) + by_hand.matrix(1, ("bees",), ("resnet50",)),
    "two devices": by_hand.matrix(2, ("ucm",)) + by_hand.matrix(3, ("ucm",), device="A GPU", precision="float16"),
    "nothing right": by_hand.matrix(2, ("ucm",), accuracy=0.0),
}


@pytest.mark.parametrize("loaded", PARTS.values(), ids=PARTS)
def test_the_summary_can_be_drawn_of_any_part_of_the_records(loaded):
    compared, table = shown_of(loaded)
    for draw in (figures.over_time, figures.efficiencies, figures.mechanism):
        draw(table).canvas.draw()
    figures.first_screen(compared).canvas.draw()
    shown = [tables.first_screen(compared, table), tables.table1(loaded), tables.environments(table)]
    for each in (*shown, tables.claims(claims.judge(table)), tables.contrasts("controls", table)):
        rows(each)
    assert "nan" not in words.answer(compared, loaded).data


def test_time_by_phase_adds_up_to_the_clocks_total(tmp_path):
    (clocked,) = table_of([by_hand.record(GRADUAL)], tmp_path)["times"]
    bars: Any = [bar for bar in figures.phases({GRADUAL: clocked, CONTROL: None}).axes[0].patches if bar.get_width()]
    assert len(bars) == len(clocked.phases)
    assert sum(bar.get_width() for bar in bars) == pytest.approx(clocked.total / 60)


METHODS = studies.STUDIES["methods_pretrained"]


def of_methods(**fields) -> list[record.Record]:
    """Three folds of bees: a method gains a point over the one before it, as `by_hand.matrix` has it."""
    return by_hand.matrix(3, ("bees",), regimes=METHODS.regimes, profile="compact", **fields)


def study_of(loaded: list[record.Record], folder: Path | None = None, name: str = "methods_pretrained") -> tuple:
    """(runs, comparisons, table) of a study, as its notebook takes them."""
    table = table_of(loaded, folder)
    compared = tables.compared(table, name)
    return tables.in_comparison(table, compared), compared, table


def test_methods_are_listed_with_their_costs_and_claims(tmp_path):
    loaded = of_methods() + by_hand.matrix(2, ("bees",), regimes=("small",), profile="compact") + by_hand.matrix(1)
    runs, compared, _ = study_of(loaded, tmp_path)
    shown = {row["method"]: row for row in rows(tables.methods(runs, compared))}
    assert {*shown} == {*map(tables.label, METHODS.regimes)}
    assert {row["runs"] for row in shown.values()} == {"3"}
    mean, row = runs[(runs["regime"] == "pooled")].mean(numeric_only=True), shown["pooled"]
    assert numbers(row["points against full size"])[0] == pytest.approx(METHODS.regimes.index("pooled"))
    assert float(row["T in seconds"]) == pytest.approx(mean["seconds_total"], abs=0.05)
    assert float(row["with first use"]) > float(row["T in seconds"])
    assert float(row["FLOPs"]) == pytest.approx(mean["flops_total"], rel=0.05)
    assert shown["no increase"]["points against full size"] == ""
    reported = {row["method"]: row["its source reports"] for row in rows(tables.sources("methods_pretrained"))}
    assert reported["pooled"] == regimes.parse("pooled").claim
    assert "gradual" not in reported


def test_what_pays_is_named_and_what_does_not_too(tmp_path):
    _, compared, table = study_of(of_methods(), tmp_path)
    text = words.what_pays("methods_pretrained", compared, table).data
    assert numbers(text)[:2] == [30, 100]
    assert "decrement (share 0.9) was fastest" in text
    helps, _, others = text.splitlines()[-1].partition(";")
    assert "pooled" in helps
    assert "gradual" in others  # gains a point, with an interval that reaches below -1


@pytest.mark.parametrize("study", ["methods_pretrained", "methods_scratch"])
def test_nothing_is_said_of_methods_without_a_record(study):
    for loaded in ([], [by_hand.record("pooled", dataset="bees", profile="compact")]):
        runs, compared, table = study_of(loaded, name=study)
        assert numbers(words.what_pays(study, compared, table).data)[0] == (
            len(loaded) * (study == "methods_pretrained")
        )
        assert rows(tables.methods(runs, compared)) == []
        figures.first_screen(compared).canvas.draw()


TRUTH, TEXTURES = (0, 0, 0, 1, 1, 1, 2, 2, 2), (1, 2, 1, 2, 0, 2, 0, 1, 0)
MIXED = (0, 0, 2, 1, 0, 0, 2, 1, 1)  # shape, shape, neither, shape, texture, neither, shape, texture, neither


@pytest.mark.parametrize(
    ("guesses", "expected"), [(TRUTH, "9 0 0 1.00"), (TEXTURES, "0 9 0 0.00"), (MIXED, "4 2 3 0.67")]
)
def test_shape_or_texture_is_counted_by_regime(guesses, expected):
    """Three classes; of each the images 0, 1, 2, in this order. Other runs decide nothing."""
    made = by_hand.record("gradual", carries="conflict", classes=3, n_val=9, profile="mechanism")
    named = tuple(f"class 0{label}/conflict 00{i}" for label in range(3) for i in range(3))
    kept = made.predictions.model_copy(update={"image": named, "truth": TRUTH, "total": guesses})
    (row,) = rows(tables.shapes(table_of([made.model_copy(update={"predictions": kept}), by_hand.record()])))
    assert " ".join([*row.values()][2:]) == expected
    assert rows(tables.shapes(table_of([]))) == []


def test_what_folds_take_and_could_rule_out():
    """One image of ten is worth ten points: t(9) x 10 x sqrt(1/10 + 1/9), the end of the interval around 0."""
    shown = rows(tables.folds([run_of(by_hand.record()), run_of(by_hand.record(GRADUAL))]))
    assert [row["folds"] for row in shown] == ["1", "3", "5", "10"]
    assert (shown[0]["training takes"], [*shown[0].values()][2]) == (minutes(1200), "none")
    assert float([*shown[-1].values()][2]) == pytest.approx(2.2622 * 10 * 0.45947, abs=0.05)
    assert rows(tables.folds([run_of(by_hand.record(), None)]))[0]["training takes"] == "no clock"


def test_entropies_and_their_bounds():
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, 3)
    images = SimpleNamespace(pixels=pixels, source=SimpleNamespace(title="all values"), labels=[0])
    (row,) = rows(tables.entropies({"steel": images}))
    assert (row["nats"], row["bits"]) == ("5.55", "8.00")
    assert (row["blocks by block_a_bit (ours)"], row["blocks by layer_a_bit (ours)"]) == ("8", "4")


def cells(path: Path) -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def code_of(path: Path) -> str:
    """The code that a kernel would run, without its magic."""
    return re.sub(r"(?m)^(\s*)[!%].*$", r"\1pass", "\n".join("".join(cell["source"]) for cell in cells(path)))


def parameters(path: Path) -> list[str]:
    (cell,) = [cell for cell in cells(path) if cell["metadata"].get("tags") == ["parameters"]]
    return [line for line in "".join(cell["source"]).splitlines() if not line.startswith("#@markdown ")]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_sources_are_clean_and_cells_short_and_parameters_form_fields(path):
    assert papermill.inspect_notebook(str(path))
    text, others = path.read_text(), [cell for cell in cells(path) if not cell["metadata"].get("tags")]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells(path))
    assert max(len(cell["source"]) for cell in others) <= 8
    assert all(re.fullmatch(r"\w+ = .+  # ?@param .+", line) for line in parameters(path))
    assert FORBIDDEN.findall(text) == []
    assert "widgets" not in json.loads(text)["metadata"]
    assert len({cell["id"] for cell in json.loads(text)["cells"]}) == text.count('"cell_type":')


def test_the_first_cell_is_the_same_everywhere():
    assert len({"".join(cells(path)[0]["source"]) for path in NOTEBOOKS}) == 1


def test_the_dataset_notebooks_differ_in_their_story_alone():
    code = {name: code_of(ROOT / "notebooks" / f"{name}.ipynb") for name in PAPER_DATASETS}
    assert len({text.replace(f'"{name}"', "dataset") for name, text in code.items()}) == 1


def test_a_dataset_notebook_takes_every_field_of_a_cell():
    names = {line.split(" = ")[0] for line in parameters(ROOT / "notebooks" / "steel.ipynb")}
    assert names == {field.name for field in fields(Cell)} - {"dataset", "orientations"} | {"show_samples", "find_lr"}
