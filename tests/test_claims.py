"""The paper's claims: each verdict, and each reason to give none."""

import pandas as pd
import pytest
from by_hand import matrix, record, remade

from entr_utils import claims, records
from entr_utils.datasets import DATASETS
from entr_utils.parameters import NETWORKS

EFFICIENCY, REGIME, NETWORK, ACCURATE, FIGURE = (
    "As is higher", "has the highest As", "no other network", "has the best accuracy", "accuracy before")  # fmt: skip


def judge(loaded: list[dict]) -> pd.DataFrame:
    return claims.judge(records.table(loaded)).set_index("claim")


def verdicts(loaded: list[dict], words: str) -> list[str]:
    judged = judge(loaded)
    return list(judged[judged.index.str.contains(words)]["verdict"])


def cell(dataset: str, network: str, regime: str, accuracy: float, seconds: float = 1.0, seeds: int = 3, **other):
    """Seeds that scatter by half a point and half a percent of T."""
    return [record(regime, seed, dataset, network, accuracy + 0.005 * (seed - 1), seconds=seconds * (1 + 0.005 * seed),
                   **other) for seed in range(seeds)]  # fmt: skip


def three(dataset: str = "ucm", network: str = "resnet18", control=0.9, gradual=0.9, stepwise=0.9, **other):
    return [run for regime, accuracy in (("no_increase", control), ("gradual", gradual), ("stepwise", stepwise))
            for run in cell(dataset, network, regime, accuracy, n_val=200, **other)]  # fmt: skip


def test_no_records_decide_nothing():
    judged = claims.judge(records.table([]))
    assert len(judged) == 17
    assert set(judged["verdict"]) == {"not enough data"}


@pytest.mark.parametrize("loaded", [[record()], [record(), record("gradual")], matrix(1), matrix(1, networks=NETWORKS)],
                         ids=["one record", "a pair", "one network", "the whole matrix once"])  # fmt: skip
def test_one_run_a_cell_decides_nothing(loaded):
    assert set(judge(loaded)["verdict"]) <= {"not enough data", "other setting"}


@pytest.mark.parametrize("other", [{"dial": "both"}, {"weights": "none"}], ids=["drawn by formula", "from scratch"])
def test_neither_photographs_nor_pretrained_is_another_setting(other):
    assert set(judge(matrix(3, **other))["verdict"]) == {"other setting"}


def test_efficiency_needs_all_cells():
    """18 of 18 with an interval above 1; with a network less it stays open."""
    assert verdicts(matrix(3, networks=NETWORKS), EFFICIENCY) == ["supported", "supported"]
    assert verdicts(matrix(3, networks=NETWORKS[:2]), EFFICIENCY) == ["not enough data"] * 2


def test_efficiency_is_contradicted_by_one_cell():
    """Gradual on Bees as slow as can be: its name is given."""
    loaded = matrix(3, n_val=200) + cell("bees", "resnet34", "no_increase", 0.9, n_val=200)
    loaded += cell("bees", "resnet34", "gradual", 0.9, seconds=9, n_val=200)
    judged = judge(loaded)
    rows = judged[judged.index.str.contains(EFFICIENCY)]
    assert set(rows["verdict"]) == {"contradicted"}
    assert rows["ours"].str.contains("below 1: bees resnet34 gradual").all()


def test_the_best_regime_of_a_network():
    """On UCM the paper has gradual: the fastest of three that are as accurate; on Steel stepwise, which it is not."""
    loaded = three("ucm") + three("steel")
    assert verdicts(loaded, "ucm: with ResNet18") == ["supported"]
    assert verdicts(loaded, "steel: with ResNet18") == ["contradicted"]
    assert verdicts(loaded, "bees: with ResNet18") == ["not enough data"]


def test_the_best_network_needs_all_three():
    slower = {"resnet34": 1.8, "resnet50": 2.5}
    loaded = three("ucm")
    assert verdicts(loaded, "ucm: no other network") == ["not enough data"]
    loaded += three("ucm", "resnet34", seconds=slower["resnet34"])
    assert verdicts(loaded, "ucm: no other network") == ["not enough data"]
    loaded += three("ucm", "resnet50", seconds=slower["resnet50"])
    assert verdicts(loaded, "ucm: no other network") == ["supported"]
    assert verdicts(three("ucm") + three("ucm", "resnet34", seconds=0.5), "ucm: no other network") == ["contradicted"]


@pytest.mark.parametrize(
    ("treated", "verdict"),
    [((0.85, 0.85, 0.85), "supported"), ((0.85, 0.85, 0.9), "not enough data"), ((0.85, 0.85, 0.95), "contradicted"),
     ((0.85, 0.85), "not enough data")],
    ids=["all three", "one open", "one better", "two networks"],
)  # fmt: skip
def test_the_most_accurate_on_ucm_is_no_increase(treated, verdict):
    """The seeds of a pair scatter alike, so that differences do not: 5 points less are sure."""
    loaded = [run for network, accuracy in zip(NETWORKS, treated, strict=False)
              for run in three("ucm", network, 0.9, accuracy, accuracy - 0.01)]  # fmt: skip
    if treated == (0.85, 0.85, 0.9):
        loaded = [run for run in loaded if run["network"] != "resnet50" or run["regime"] != "gradual"]
    assert verdicts(loaded, "ucm: no increase") == [verdict]


@pytest.mark.parametrize(
    ("yes", "no", "steel", "bees"),
    [
        (0, 0, "not enough data", "not enough data"),
        (1, 1, "not enough data", "not enough data"),
        (1, 2, "contradicted", "supported"),
        (2, 0, "supported", "contradicted"),
        (2, 1, "supported", "contradicted"),
        (0, 3, "contradicted", "contradicted"),
    ],
)
def test_most_and_one_network(yes, no, steel, bees):
    assert claims._counted(yes, no, 2, exactly=False) == steel
    assert claims._counted(yes, no, 1, exactly=True) == bees


def papers_own(dataset: str, accuracies: list[float], network: str = "resnet50", regime: str = "no_increase"):
    """Runs on as many images and classes as the paper's, with ImageNet weights; accuracies before re-training."""
    known = DATASETS[dataset]
    n_val = known.images // 10
    own = {"n_val": n_val, "n_train": known.images - n_val, "classes": known.classes, "weights": "imagenet"}
    return [record(regime, seed, dataset, network, 0.9, accuracy, source="as in the paper", **own)
            for seed, accuracy in enumerate(accuracies)]  # fmt: skip


@pytest.mark.parametrize(
    ("accuracies", "verdict"),
    [([0.790, 0.797, 0.802], "supported"), ([0.70, 0.71, 0.69], "contradicted"),
     ([0.75, 0.84, 0.78], "not enough data"), ([0.796], "not enough data")],
    ids=["near", "far", "wide", "one run"],
)  # fmt: skip
def test_a_figure_of_the_paper(accuracies, verdict):
    """79.6% before re-training: Steel, ResNet50, no increase."""
    assert verdicts(papers_own("steel", accuracies), "steel, resnet50 no increase: accuracy before") == [verdict]


@pytest.mark.parametrize("other", [{"weights": "small.pt"}, {"n_train": 800}, {"classes": 6}, {"largest": 128},
                                   {"profile": "quick"}],
                         ids=["other weights", "fewer images", "fewer classes", "smaller", "fewer epochs"])  # fmt: skip
def test_a_figure_of_the_paper_needs_its_setting(other):
    known = {"n_val": 146, "n_train": 1314, "classes": 7, "weights": "imagenet"}
    loaded = [record("no_increase", seed, "steel", "resnet50", 0.9, 0.796, **(known | other)) for seed in range(3)]
    assert verdicts(loaded, "steel, resnet50 no increase: accuracy") == ["other setting"] * 2


def test_the_best_cell_is_known_only_when_all_were_run():
    nine = [run for network in NETWORKS for regime in claims.REGIMES
            for run in papers_own("ucm", [0.914, 0.915, 0.913], network, regime)]  # fmt: skip
    assert verdicts(nine, "ucm, the best cell: accuracy before") == ["supported"]
    assert verdicts(nine[:-3], "ucm, the best cell: accuracy before") == ["not enough data"]


def test_settings_are_not_mixed():
    """Two seeds here and one elsewhere are two seeds."""
    here = [*cell("ucm", "resnet18", "no_increase", 0.9, seeds=2), *cell("ucm", "resnet18", "gradual", 0.9, seeds=2)]
    there = [record(regime, 2, "ucm", device="Tesla T4", seconds=9 if regime == "gradual" else 1)
             for regime in ("no_increase", "gradual")]  # fmt: skip
    judged = judge(here + there)
    row = judged[judged.index.str.contains(EFFICIENCY)].iloc[0]
    assert row["ours"].startswith("1 of 1 compared")


def test_controls_take_no_seed_from_the_papers_regimes():
    """A later machine made control and gradual again beside small, short and reversed; stepwise is of the first."""
    first = three(seeds=2)
    later = [record(regime, seed, "ucm", device="Slate, 9 threads", started="2026-03-01T00:00:00+00:00")
             for regime in ("no_increase", "gradual", "small", "short", "reversed") for seed in (0, 1)]  # fmt: skip
    ours = judge(first + later).loc["ucm: with ResNet18, gradual has the highest As", "ours"]
    assert ours == judge(first).loc["ucm: with ResNet18, gradual has the highest As", "ours"]
    assert "3 of 3 cells run, n = 2" in ours


def test_other_batches_are_no_other_networks():
    """18 comparisons of one network at three batches are six of 18; and one seed at two batches is one seed."""
    loaded = matrix(3)
    for batch in (32, 16):
        loaded += [remade(run, batch=batch) for run in matrix(3)]
    assert judge(loaded)["ours"].filter(like=EFFICIENCY).str.startswith("6 of 6 compared (18 needed)").all()
    once = papers_own("steel", [0.796])
    assert verdicts([*once, remade(once[0], batch=32)], "steel, resnet50 no increase: accuracy before") == [
        "not enough data"]  # fmt: skip


def test_a_seed_that_one_regime_alone_has_moves_no_order():
    """Gradual has the higher As on the seed that all have; another seed of it, three times as slow, is no reason."""
    shared = [record(regime, 0, "ucm", accuracy=0.9) for regime in ("no_increase", "gradual", "stepwise")]
    judged = judge([*shared, record("gradual", 1, "ucm", accuracy=0.9, seconds=3)])
    ours = judged.loc["ucm: with ResNet18, gradual has the highest As", "ours"]
    ratio = (shared[2]["seconds_total"] / shared[1]["seconds_total"]) ** 0.5  # of equal accuracies
    assert ours == f"resnet18 gradual, As x {ratio:.2f} of resnet18 stepwise's (3 of 3 cells run, n = 1)"


def test_what_the_corrected_interval_does_not_share_is_marked():
    """As of stepwise and no increase a little below gradual's: by a whole interval, but not by the wider one."""
    loaded = [record(regime, seed, "ucm", accuracy=0.9, n_val=200, seconds=seconds)
              for regime, each in (("gradual", (1, 1, 1)), ("no_increase", (0.81, 0.85, 0.91)),
                                   ("stepwise", (2, 2.01, 2.02))) for seed, seconds in enumerate(each)]  # fmt: skip
    (verdict,) = verdicts(loaded, "ucm: with ResNet18")
    assert verdict == "supported, not by the corrected interval"
    assert "1 supported" in claims.tally(claims.judge(records.table(loaded)))
    assert "1 of the decided ones not by the corrected interval." in claims.tally(claims.judge(records.table(loaded)))


def test_the_tally_counts_every_verdict():
    text = claims.tally(claims.judge(records.table([])))
    assert text == "Of 17 claims: 0 supported, 0 contradicted, 17 not enough data, 0 other setting."
