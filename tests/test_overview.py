"""Figures over many runs: every run is drawn where its record says, and nothing breaks on parts of them."""

import numpy as np
import pytest
from by_hand import matrix, record
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from entr_utils import figures, overview, records, scrutiny
from entr_utils.figures import ALL, LINES, MARKERS, PALETTE

DIALS = ("coarse", "fine", "both")


def texts(figure: Figure) -> str:
    """All words of a figure, its axes and its legends."""
    figure.canvas.draw()
    found = [figure.get_supxlabel(), *(t.get_text() for legend in figure.legends for t in legend.get_texts())]
    for axis in figure.axes:
        found += [text.get_text() for text in (*axis.texts, *axis.get_xticklabels(), *axis.get_yticklabels())]
        found += [axis.get_title(), axis.get_xlabel(), axis.get_ylabel()]
    return "\n".join(found)


def points(figure: Figure, marker: str, panel: int = 0) -> set[tuple[float, float]]:
    """What is drawn with a marker."""
    lines = [line for line in figure.axes[panel].lines if line.get_marker() == marker]
    return {(round(float(x), 6), round(float(y), 6)) for line in lines
            for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)}  # fmt: skip


def stored(loaded: list[dict], part: str) -> set[tuple[float, float]]:
    return {(round(run[f"seconds_{part}"], 6), round(run[f"accuracy_{part}"], 6)) for run in loaded}


def controlled(seeds: int = 2, **where) -> list[dict]:
    return [run for dial in DIALS for run in matrix(
        seeds, ("steel",), regimes=("no_increase", "small", "gradual", "blurred"), dial=dial, profile="mechanism",
        weights="none", largest=64, **where)]  # fmt: skip


def drawings(loaded: list[dict]) -> dict[str, Figure]:
    table = records.table(loaded)
    return {
        "front": overview.front(loaded), "figure 5": overview.accuracy_over_time(loaded),
        "figure 4": overview.efficiency(loaded), "against": overview.against_control(loaded),
        "reckonings": overview.reckonings(scrutiny.variants(table), loaded), "figure 1": overview.figure1(loaded),
    }  # fmt: skip


@pytest.mark.parametrize(
    "loaded",
    [[], [record()], [record("gradual")], [record("small")], matrix(1), matrix(3),
     matrix(2) + matrix(1, device="Tesla T4"), controlled(1)],
    ids=["none", "a control", "a treatment", "another", "one seed", "three", "two settings", "with a dial"],
)  # fmt: skip
def test_any_part_of_the_records_can_be_drawn(loaded, recwarn):
    for name, figure in drawings(loaded).items():
        assert texts(figure), name
    assert [str(warning.message) for warning in recwarn] == []


def test_every_run_is_a_point_of_the_first_picture():
    loaded = [run for run in matrix(3) if run["dataset"] == "ucm"]
    figure = overview.front(loaded)
    for regime in ("no_increase", "gradual", "stepwise"):
        runs = [run for run in loaded if run["regime"] == regime]
        assert stored(runs, "total") | stored(runs, "subtotal") <= points(figure, MARKERS[regime])


def test_figure_5_marks_sub_total_and_total_of_every_run():
    loaded = [run for run in matrix(2) if run["dataset"] == "steel"]
    figure = overview.accuracy_over_time(loaded)
    assert points(figure, "x") == stored(loaded, "subtotal")
    for regime in ("no_increase", "gradual", "stepwise"):
        assert points(figure, MARKERS[regime]) == stored([run for run in loaded if run["regime"] == regime], "total")
    assert "sub-total" in texts(figure)


def test_figure_4_shows_every_run():
    loaded = [run for run in matrix(2) if run["dataset"] == "bees"]
    figure = overview.efficiency(loaded)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == [
        "resnet18\nsub-total",
        "resnet18\ntotal",
    ]
    drawn = {y for regime in ("no_increase", "gradual", "stepwise") for _, y in points(figure, MARKERS[regime])}
    assert drawn == {round(run[f"efficiency_{part}"], 6) for run in loaded for part in ("subtotal", "total")}


def test_bars_are_drawn_from_three_runs_on():
    """The 95% interval of two runs is 6.4 times as wide as they lie apart: it would hide them."""
    drawn = [len(overview.efficiency(matrix(seeds, ("steel",))).axes[0].collections) for seeds in (2, 3)]
    assert drawn == [0, 2 * 3]  # sub-total and total of three regimes


def test_one_panel_a_dataset_and_setting():
    loaded = matrix(1, ("steel", "bees")) + matrix(1, ("steel",), device="Tesla T4")
    titles = [axis.get_title() for axis in overview.accuracy_over_time(loaded).axes]
    assert titles == ["steel (A)", "bees (A)", "steel (B)"]


def test_a_curve_a_network_is_named():
    assert "A curve a network: resnet18, resnet34." in texts(
        overview.accuracy_over_time(matrix(1, ("ucm",), ("resnet18", "resnet34")))).replace("\n", " ")  # fmt: skip


def test_every_pair_is_drawn_against_the_control():
    """45 s instead of 60 (T), as many points as seeds in each of the three panels."""
    loaded = [run for run in matrix(3) if run["regime"] != "stepwise" and run["dataset"] == "steel"]
    figure = overview.against_control(loaded)
    seconds = {run["regime"]: {} for run in loaded}
    for run in loaded:
        seconds[run["regime"]][run["seed"]] = run["seconds_total"]
    ratios = {round(seconds["gradual"][seed] / seconds["no_increase"][seed], 6) for seed in range(3)}
    assert {x for x, _ in points(figure, MARKERS["gradual"])} == ratios
    drawn = [sum(len(line.get_xdata()) for line in axis.lines if line.get_marker() == MARKERS["gradual"])
             for axis in figure.axes]  # fmt: skip
    assert drawn == [3, 3, 3]
    assert "n = 3 seeds a row" in texts(figure)


def test_the_front_shows_what_the_verdict_counts():
    """Three seeds of the newest protocol, one of an older, which is not drawn; letters stay those of the tables."""
    loaded = matrix(3, ("steel",)) + matrix(1, ("steel",), protocol=1)
    figure = overview.front(loaded)
    assert [axis.get_title() for axis in figure.axes] == ["steel (B)"]
    assert len(points(figure, MARKERS["gradual"])) == 2 * 3  # sub-total and total
    alone = overview.front([record("gradual", dataset="bees"), *loaded])  # nothing to compare: it is drawn all the same
    assert [axis.get_title() for axis in alone.axes] == ["bees (B)", "steel (B)"]


def test_the_interval_of_two_pairs_is_not_drawn():
    """It is 9 times as wide as they lie apart, and squashes all else."""
    lines = [len([line for line in overview.against_control(matrix(seeds, ("steel",))).axes[0].lines
                  if len(line.get_xdata()) == 2 and line.get_marker() == "None" and line.get_color() == "dimgrey"])
             for seeds in (2, 3)]  # fmt: skip
    assert lines == [0, 2 * 2]


def test_figure_1_goes_from_a_to_b_c_to_d_and_a_to_d():
    figure = overview.figure1(controlled())
    assert [axis.get_title() for axis in figure.axes] == [
        "class carried by coarse detail", "class carried by fine detail", "class carried by both"]  # fmt: skip
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["A", "A", "B", "C", "D", "D"]
    assert "n = 2 runs" in texts(figure)
    assert points(figure, MARKERS["blurred"]) == set()
    assert len(points(figure, MARKERS["small"])) == 2 + 2  # tested large, and as small as it was trained
    assert figure.axes[0].get_xlabel() == "FLOPs of training"


def test_figure_1_counts_a_seed_of_two_machines_once():
    figure = overview.figure1(controlled() + controlled(device="Slate, 9 threads"))
    assert "n = 2 runs" in texts(figure)
    assert len(points(figure, MARKERS["small"])) == 2 + 2


def test_captions_say_n_and_what_was_not_as_in_the_paper():
    """A picture travels without its notebook."""
    for name, figure in drawings(matrix(2)).items():
        said = texts(figure).replace("\n", " ")
        assert "Stand-in images" in said, name
        assert "n = 2" in said or "No runs yet" in said or name == "figure 1", name


def test_regimes_can_be_told_apart_in_grey():
    """By marker and line, which no two regimes share; the paper's three by their brightness too (Rec. 709 luma)."""
    grey = sorted(float(np.dot(to_rgb(PALETTE[regime]), (0.2126, 0.7152, 0.0722))) for regime in ALL[:3])
    assert min(np.diff(grey)) > 0.09
    assert len({MARKERS[regime] for regime in ALL}) == len(ALL)
    assert len({str(LINES[regime]) for regime in ALL}) == len(ALL)
    assert len({to_rgb(PALETTE[regime]) for regime in ALL}) == len(ALL)
    assert set(figures.LABELS) == set(ALL)


def test_bands_need_three_runs():
    """A band a regime, which is wide at its end; none with fewer."""

    def bands(loaded: list[dict]) -> list[float]:
        paths = [path for band in overview.accuracy_over_time(loaded).axes[0].collections for path in band.get_paths()]
        ends = [path.vertices for path in paths if len(path.vertices)]
        widths = [np.ptp(corners[corners[:, 0] == corners[:, 0].max(), 1]) for corners in ends]
        return [float(width) for width in widths if width > 0]

    assert len(bands(matrix(3, ("ucm",)))) == 3
    assert bands(matrix(1, ("ucm",))) == bands(matrix(2, ("ucm",))) == []
