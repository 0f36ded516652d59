"""Studies as tables: their runs in order, their contrasts."""

from itertools import groupby

import by_hand
import pytest

from entr_utils import regimes
from entr_utils.results import compare, studies
from entr_utils.results.studies import STUDIES, cells

RUNS = {"paper": 3 * 3 * 3 * 10, "compact": 3 * 4 * 10, "controls": 5 * 5, "mechanism": 3 * 7 * 5, "conflict": 9 * 5}
RUNS |= {"rates": 2 * 2 * 2, "leakage": 2 * 2 * 5, "methods_pretrained": 2 * 10 * 5, "methods_scratch": 16 * 10}


@pytest.mark.parametrize("name", STUDIES)
def test_the_size_of_a_study(name):
    found = cells(STUDIES[name])
    assert len(found) == len(set(found)) == RUNS[name]
    notebooks = {cell.name for cell in found}
    assert len(notebooks) == RUNS[name] / len(STUDIES[name].seeds), "every arm has a notebook of its own"


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_a_study_can_be_run_and_answered(study):
    for cell in cells(study):
        assert cell.checked().regime == regimes.parse(cell.regime).text
    assert study.regimes[0] == compare.CONTROL


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_any_stop_leaves_whole_folds_and_no_regime_is_always_first(study):
    """One seed after the other, each with every regime of every dataset; within a seed regimes lie together."""
    by_seed = [(seeds, list(group)) for seeds, group in groupby(cells(study), key=lambda cell: cell.seeds)]
    assert [seeds for seeds, _ in by_seed] == [(seed,) for seed in study.seeds]
    for _, group in by_seed:
        assert {(cell.dataset, cell.regime) for cell in group} == {
            (d, r) for d in study.datasets for r in study.regimes
        }
    firsts = [group[0].regime for _, group in by_seed]
    assert len(set(firsts)) == min(len(study.seeds), len(study.regimes))


def test_what_the_user_gives_goes_to_every_run_but_where_an_arm_names_it():
    assert {cell.data for cell in cells(STUDIES["compact"], data="photos")} == {"photos"}
    found = cells(STUDIES["mechanism"], data="photos", results="elsewhere", weights="imagenet")
    assert {cell.data for cell in found} == {"synthetic-coarse", "synthetic-fine", "synthetic"}
    assert {(cell.weights, cell.results) for cell in found} == {("none", "elsewhere")}


OTHER = {"profile": "paper", "size": 96, "batch": 8, "weights": "none", "groups": "none", "carries": "fine"}
OTHER |= {"network": "resnet34", "dataset": "own", "regime": "small"}


@pytest.mark.parametrize(("name", "value"), OTHER.items(), ids=OTHER)
def test_other_runs_are_none_of_a_study(name, value):
    loaded = [by_hand.record(profile="compact"), by_hand.record(**{"profile": "compact", name: value})]
    assert len(studies.runs_of(STUDIES["compact"], compare.table(loaded, {}))) == 1


def test_contrasts_are_compared_with_what_they_name():
    loaded = by_hand.matrix(2, ("bees", "ucm"), regimes=STUDIES["controls"].regimes, profile="compact")
    found = studies.answers(STUDIES["controls"], compare.table(loaded, {}))
    points = found[found["measure"] == "points"]
    asked = [(one.treatment, one.against, one.question) for one in STUDIES["controls"].contrasts]
    assert list(points[["treatment", "control", "question"]].itertuples(index=False, name=None)) == asked
    assert set(points["dataset"]) == {"bees"}
    assert studies.answers(STUDIES["controls"], compare.table([], {})).empty


def test_of_several_conditions_those_with_most_folds_count_then_the_newest():
    newest, older, many = (by_hand.matrix(n, ("steel",), protocol=number) for n, number in ((2, 3), (2, 2), (3, 2)))
    for loaded, protocol in ((newest + many, 2), (newest + older, 3)):
        compared = compare.compare(compare.table(loaded, {}), ["gradual", "stepwise"])
        kept = studies.most(compared)
        assert set(kept["protocol"]) == {protocol}
        assert set(kept["measure"]) == set(compared["measure"])
