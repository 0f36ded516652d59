"""The paper's claims: each verdict, and each reason to give none."""

from functools import partial

import by_hand
import pytest

from entr_utils.data.catalog import DATASETS
from entr_utils.results import claims, compare
from entr_utils.settings import PAPER_NETWORKS, PAPER_REGIMES

SUPPORTED, CONTRADICTED, OPEN, OTHER = claims.SUPPORTED, claims.CONTRADICTED, claims.OPEN, claims.OTHER
RISES, REGIME, NETWORK, ACCURATE = "As is higher", "with ResNet18", "no other network", "no increase has the best"
FIGURE = "resnet50 no increase: accuracy before"


@pytest.fixture
def verdicts(tmp_path):
    """Verdicts on records, of the claims that hold some words."""

    def judge(loaded, words: str = "") -> list[str]:
        judged = claims.judge(compare.table(loaded, by_hand.clocks(tmp_path, loaded)))
        assert len(judged) == 17
        return list(judged[judged["claim"].str.contains(words)]["verdict"])

    return judge


def cell(dataset: str, network: str, regime: str, accuracy: float, folds: int = 3, **other) -> list:
    """Folds that scatter by a point."""
    scattered = [accuracy + 0.01 * (seed - 1) for seed in range(folds)]
    return by_hand.folds(regime, scattered, dataset=dataset, network=network, **other)


def three(dataset: str = "ucm", network: str = "resnet18", accuracies=(0.9, 0.9, 0.9), **other) -> list:
    cells = zip(PAPER_REGIMES, accuracies, strict=True)
    return [one for regime, accuracy in cells for one in cell(dataset, network, regime, accuracy, **other)]


FEW = {"n_val": 20, "n_train": 180}  # images
everything = partial(by_hand.matrix, networks=PAPER_NETWORKS, **FEW)


@pytest.mark.parametrize("loaded", [[], [by_hand.record()], everything(1)], ids=["none", "one", "the matrix once"])
def test_one_fold_decides_nothing(verdicts, loaded):
    assert set(verdicts(loaded)) <= {OPEN, OTHER}


@pytest.mark.parametrize("other", [{"kind": "formula"}, {"weights": "none"}, {"dataset": "own"}])
def test_neither_photographs_nor_pretrained_nor_the_papers_is_another_setting(verdicts, other):
    loaded = [by_hand.record(regime, seed, **other) for regime in PAPER_REGIMES for seed in range(2)]
    assert set(verdicts(loaded)) == {OTHER}


def test_efficiency_needs_all_cells_and_one_contradicts(verdicts):
    """One network less leaves it open; gradual alone slow on one network of one dataset contradicts it."""
    loaded = everything(2, accuracy=0.8)
    assert verdicts(loaded, RISES) == [SUPPORTED, SUPPORTED]
    assert verdicts([one for one in loaded if one.spec.network != "resnet50"], RISES) == [OPEN, OPEN]
    slow = ("bees", "resnet34", "gradual")
    worse = [one for one in loaded if (one.spec.dataset, one.spec.network, one.spec.regime) != slow]
    worse += cell(*slow, 0.2, 2, accuracy_subtotal=0.1, **FEW)
    assert verdicts(worse, RISES) == [CONTRADICTED, CONTRADICTED]


def test_the_best_regime_of_a_network(verdicts):
    """By the paper gradual on UCM and Bees, which is the fastest of three that are as accurate; on Steel stepwise."""
    assert verdicts(three("ucm") + three("steel"), REGIME) == [CONTRADICTED, SUPPORTED, OPEN]


@pytest.mark.parametrize(
    ("accuracies", "verdict"), [((), OPEN), ((0.6,), OPEN), ((0.6, 0.6), SUPPORTED), ((0.95,), CONTRADICTED)]
)
def test_the_best_network_needs_all_three(verdicts, accuracies, verdict):
    """Other networks take as long here, so that As follows accuracy; it is .8 with ResNet18."""
    loaded = three("ucm", accuracies=(0.8,) * 3)
    for network, accuracy in zip(PAPER_NETWORKS[1:], accuracies, strict=False):
        loaded += three("ucm", network, (accuracy,) * 3)
    assert verdicts(loaded, f"ucm: {NETWORK}") == [verdict]


def test_efficiencies_by_clocks_of_two_devices_are_not_compared(tmp_path):
    """Of ResNet18 here and of ResNet34 there: T of one says nothing beside that of the other."""
    loaded = [three("ucm", network, device=f"{network}, 2 threads", processor="A") for network in PAPER_NETWORKS[:2]]
    for runs in loaded:
        clocks = by_hand.clocks(tmp_path, runs, device=runs[0].environment.device)
    judged = claims.judge(compare.table([*loaded[0], *loaded[1]], clocks)).set_index("claim")["ours"]
    assert judged[f"ucm: {NETWORK} has a higher As than gradual ResNet18"] == "not run"
    assert judged[f"ucm: {REGIME}, gradual has the highest As"] != "not run"


@pytest.mark.parametrize(
    ("treated", "verdict"),
    [((0.85, 0.85, 0.85), SUPPORTED), ((0.85, 0.85, 0.9), OPEN), ((0.85, 0.85, 0.95), CONTRADICTED), ((0.85,), OPEN)],
)
def test_the_most_accurate_on_ucm_is_no_increase(verdicts, treated, verdict):
    loaded = []
    for network, accuracy in zip(PAPER_NETWORKS, treated, strict=False):
        loaded += three("ucm", network, (0.9, accuracy, accuracy - 0.01), n_val=200)
    assert verdicts(loaded, f"ucm: {ACCURATE}") == [verdict]


COUNTED = {(0, 0): (OPEN, OPEN), (1, 1): (OPEN, OPEN), (1, 2): (CONTRADICTED, SUPPORTED)}
COUNTED |= dict.fromkeys([(2, 0), (2, 1)], (SUPPORTED, CONTRADICTED)) | {(0, 3): (CONTRADICTED, CONTRADICTED)}


@pytest.mark.parametrize(("decided", "expected"), COUNTED.items())
def test_most_and_exactly_one_network(decided, expected):
    """Of three networks so many say yes and no: of Steel's claim (at least two), of that of Bees (just one)."""
    assert (claims.verdict(*decided, 2, 3), claims.verdict(*decided, 1, 3, exactly=True)) == expected


def as_papers(dataset: str, network: str, regime: str, accuracies: list[float], **other) -> list:
    """Runs on as many images and classes as the paper's, with ImageNet weights; accuracies before re-training."""
    known = DATASETS[dataset]
    n_val = known.images // 10
    like = {"n_val": n_val, "n_train": known.images - n_val, "classes": known.classes, "weights": "imagenet"}
    like |= {"dataset": dataset, "network": network, "stand_in": False} | other
    return [by_hand.record(regime, seed, accuracy_subtotal=one, **like) for seed, one in enumerate(accuracies)]


FIGURES = {"near": ([0.795, 0.795, 0.801], SUPPORTED), "far": ([0.70, 0.71, 0.69], CONTRADICTED)}
FIGURES |= {"wide": ([0.75, 0.84, 0.78], OPEN), "one run": ([0.796], OPEN)}


@pytest.mark.parametrize(("accuracies", "verdict"), FIGURES.values(), ids=FIGURES)
def test_a_figure_of_the_paper(verdicts, accuracies, verdict):
    """79.6% before re-training: Steel, ResNet50, no increase."""
    assert verdicts(as_papers("steel", "resnet50", "no_increase", accuracies), FIGURE) == [verdict]


UNLIKE = {"weights": "small.pt", "n_train": 800, "classes": 6, "size": 128, "profile": "compact", "stand_in": True}


@pytest.mark.parametrize(("name", "value"), UNLIKE.items(), ids=UNLIKE)
def test_a_figure_of_the_paper_needs_its_setting(verdicts, name, value):
    assert verdicts(as_papers("steel", "resnet50", "no_increase", [0.796] * 3, **{name: value}), FIGURE) == [OTHER]


def test_the_best_cell_is_known_when_all_were_run(verdicts):
    cells = [(network, regime) for network in PAPER_NETWORKS for regime in PAPER_REGIMES]
    nine = [one for cell in cells for one in as_papers("ucm", *cell, [0.914] * 3)]
    assert verdicts(nine, "the best cell: accuracy before") == [SUPPORTED]
    assert verdicts(nine[:-2], "the best cell: accuracy before") == [OPEN]  # one fold of the ninth


def test_conditions_are_not_mixed(verdicts):
    """Those with most folds count, of as many the newest protocol."""
    older = {"protocol": 2, "accuracies": (0.9, 0.6, 0.6)}
    assert verdicts(three(folds=2) + three(folds=3, **older), f"ucm: {REGIME}") == [CONTRADICTED]
    assert verdicts(three(folds=3) + three(folds=3, **older), f"ucm: {REGIME}") == [SUPPORTED]
