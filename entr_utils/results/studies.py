"""A study is a table: which runs, in which order, and what to compare in them. No torch.

The summary of a study is one sentence, one figure and one table; there is no code per study.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from operator import attrgetter
from typing import Any, NamedTuple

import pandas as pd

from entr_utils.data.catalog import placed
from entr_utils.results.compare import CONTROL, TOGETHER, compare
from entr_utils.results.record import Record
from entr_utils.settings import CONFLICT, DIALS, NARROW, PAPER_DATASETS, PAPER_NETWORKS, PAPER_REGIMES, PROFILES, PROTOCOL, Cell


class Contrast(NamedTuple):
    """A treatment against another regime, and the question that their difference answers."""

    treatment: str
    against: str
    question: str


@dataclass(frozen=True)
class Study:
    """The runs of a question, as a product of lists, and the contrasts that answer it. `arms`: what else differs, fields
    of `settings.Cell`; every arm is run with every combination."""

    name: str
    title: str
    profile: str
    datasets: tuple[str, ...]
    regimes: tuple[str, ...]
    seeds: tuple[int, ...]
    contrasts: tuple[Contrast, ...]
    networks: tuple[str, ...] = ("resnet18",)
    arms: tuple[dict[str, Any], ...] = ({},)


def against_full(treatments: Iterable[str], question: str) -> tuple[Contrast, ...]:
    """Each treatment against the control, with one question."""
    return tuple(Contrast(one, CONTROL, question) for one in treatments)


GROWING = (
    Contrast("gradual", CONTROL, "growing in strokes"),
    Contrast("stepwise", CONTROL, "growing at one stroke"),
)
LESS = (
    Contrast("short", CONTROL, "fewer images instead of smaller ones"),
    Contrast("gradual", "short", "growing, or only doing less"),
)
LAST_SMALL = (
    Contrast("small", CONTROL, "never large"),
    Contrast("reversed", CONTROL, "large first"),
)
COARSE_FIRST = (
    Contrast("blurred", CONTROL, "coarse first, at no saving"),
    Contrast("gradual", "blurred", "the saving, both coarse first"),
    Contrast("cropped", "gradual", "early detail instead of coarse, both saving"),
)
SMALL = ("no_increase", "gradual", "small", "short", "reversed")
APART = (*PAPER_REGIMES, "small", "reversed", "blurred", "cropped")
METHODS = ("decrement", "decrement:share=0.9", "pooled", "ramp", "progressive", "random_size")
# On UC Merced at 64 px: sizes that cost what gradual's cost, and the entropy of its images.
FROM_SCRATCH = (*METHODS[:-1], "random_size:share=0.64,multiple=8", "bounded_depth:nats=4.8")
PRETRAINED = (*PAPER_REGIMES, "short", *METHODS)
CUT = {text: f"short:of={text}" for text in METHODS[:-1]}  # random_size costs what gradual costs, as short does
WITH_CUTS = (*PAPER_REGIMES, "short", *FROM_SCRATCH, *CUT.values())
CARRIES = {"synthetic-coarse": "coarse", "synthetic-fine": "fine", "synthetic": "both"}  # by `Cell.data`
CARRIES |= {f"synthetic-{CONFLICT}": CONFLICT}
DRAWN = tuple({"data": data, "weights": "none"} for data, carries in CARRIES.items() if carries in DIALS)
IN_CONFLICT = ({"data": f"synthetic-{CONFLICT}", "weights": "none"},)
CONFLICTING = (*APART, *METHODS[:2])
TAKEN_APART = GROWING + COARSE_FIRST + LAST_SMALL
SHAPE = against_full(CONFLICTING[1:], "by shape or by texture")
OTHER = GROWING + LESS + against_full(METHODS, "another method")
SCRATCH = GROWING + LESS + against_full(FROM_SCRATCH, "another method")
SCRATCH += tuple(Contrast(text, cut, "the method, or only doing less") for text, cut in CUT.items())
KNOWN_GROUPS = ({"groups": "known"}, {"groups": "known-by-image"})
RATES = ({"lr": 1e-2}, {"lr": 5e-2})  # bees have 2e-2
STEEL, TEN, FIVE = ("steel",), tuple(range(10)), tuple(range(5))
ALL = (
    Study("paper", "the paper, 250 px", "paper", PAPER_DATASETS, PAPER_REGIMES, TEN, GROWING, PAPER_NETWORKS),
    Study("compact", "the paper, 128 px", "compact", PAPER_DATASETS, (*PAPER_REGIMES, "short"), TEN, GROWING + LESS),
    Study("controls", "other explanations", "compact", ("bees",), SMALL, FIVE, LESS + LAST_SMALL),
    Study("rates", "another learning rate", "compact", ("bees",), SMALL[:2], (0, 1), GROWING[:1], arms=RATES),
    Study("leakage", "steel by physical sample", "compact", STEEL, SMALL[:2], FIVE, GROWING[:1], arms=KNOWN_GROUPS),
    Study("mechanism", "what is learnt when", "mechanism", STEEL, APART, FIVE, TAKEN_APART, arms=DRAWN),
    Study("conflict", "shape or texture", "mechanism", STEEL, CONFLICTING, FIVE, SHAPE, arms=IN_CONFLICT),
    Study("methods_pretrained", "methods, from weights", "compact", ("bees", "steel"), PRETRAINED, FIVE, OTHER),
    Study("methods_scratch", "methods, from scratch", "scratch", ("ucm",), WITH_CUTS, TEN, SCRATCH, (NARROW,)),
)
PLACE = ("profile", "dataset", "carries", "network")
STUDIES = {study.name: study for study in ALL}


def cells(study: Study, **given: Any) -> list[Cell]:
    """The runs of a study, a cell each: fold by fold, so that any stop leaves whole folds of all datasets; regimes
    rotate with the seed, so that none is always first. `given`: fields of `Cell` for all runs; an arm's go before them.
    """
    found = []
    for seed in study.seeds:
        turn = seed % len(study.regimes)
        for dataset, network, arm in product(study.datasets, study.networks, study.arms):
            fields = {"seeds": (seed,), "profile": study.profile, **given, **arm}
            rotated = study.regimes[turn:] + study.regimes[:turn]
            found += [Cell(network=network, regime=regime, **fields | placed(dataset)) for regime in rotated]
    return found


def progress(study: Study, records: Iterable[Record]) -> tuple[int, int]:
    """(done, of): how many of a study's runs have a record of today's protocol, of the profile's size and batch."""
    usual, names = PROFILES[study.profile], attrgetter("dataset", "network", "regime", "groups")
    alike = attrgetter("protocol", "profile", "size", "batch")
    done = {
        (*names(one.spec), one.spec.seed, one.spec.weights == "none", one.source.carries)
        for one in records
        if alike(one.spec) == (PROTOCOL, usual.name, usual.size, usual.batch)
    }
    wanted = [
        (*names(one), *one.seeds, (one.weights or usual.weights) == "none", CARRIES.get(one.data or usual.data, ""))
        for one in cells(study)
    ]
    return sum(run in done for run in wanted), len(wanted)


def answers(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """`compare` of the contrasts of a study in its own runs of a `compare.table`, with a column question; `most` of
    each of its arms."""
    runs = table[(table["profile"] == study.profile) & table["dataset"].isin(study.datasets)]
    parts = [compare(runs, [one.treatment], one.against).assign(question=one.question) for one in study.contrasts]
    return most(pd.concat(parts, ignore_index=True), [*PLACE, *apart(study)])


def apart(study: Study) -> list[str]:
    """The fields of a `RunSpec` that tell the arms of a study apart."""
    return sorted({name for arm in study.arms for name in arm} & {*TOGETHER})


def most(comparisons: pd.DataFrame, place: Sequence[str] = PLACE) -> pd.DataFrame:
    """Of each place the comparisons under the conditions that have most folds, of as many the newest protocol: nothing
    of the choice depends on what came out."""
    folds = comparisons.groupby(TOGETHER)["n"].transform("sum")
    order = comparisons.assign(most=folds).sort_values(["most", "protocol"], kind="stable")
    return comparisons.merge(order.drop_duplicates(place, keep="last")[TOGETHER], on=TOGETHER)
