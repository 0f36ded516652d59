"""A study is a table: which runs, in which order, and what to compare in them. There is no code per study. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import pandas as pd

from entr_utils.data.catalog import placed
from entr_utils.results.compare import CONTROL, TOGETHER, compare
from entr_utils.settings import CONFLICT, NARROW, PAPER_DATASETS, PAPER_NETWORKS, PROFILES, Cell


class Contrast(NamedTuple):
    """A treatment against another regime, and the question that their difference answers."""

    treatment: str
    question: str
    against: str = CONTROL


@dataclass(frozen=True)
class Study:
    """The runs of a question, as a product of lists, and the contrasts that answer it. `arms`: what else differs,
    fields of `settings.Cell`; every arm is run with every combination."""

    profile: str
    datasets: tuple[str, ...]
    seeds: tuple[int, ...]
    contrasts: tuple[Contrast, ...]
    networks: tuple[str, ...] = ("resnet18",)
    arms: tuple[dict[str, Any], ...] = ({},)

    @property
    def regimes(self) -> tuple[str, ...]:
        """What is compared, the control first."""
        return tuple(dict.fromkeys(regime for one in self.contrasts for regime in (one.against, one.treatment)))


GROWING = (Contrast("gradual", "growing in strokes"), Contrast("stepwise", "growing at one stroke"))
LESS = (
    Contrast("short", "fewer images instead of smaller ones"),
    Contrast("gradual", "growing, or only doing less", "short"),
)
LAST_SMALL = (Contrast("small", "never large"), Contrast("reversed", "large first"))
COARSE_FIRST = (
    Contrast("blurred", "coarse first, at no saving"),
    Contrast("gradual", "the saving, both coarse first", "blurred"),
    Contrast("cropped", "early detail instead of coarse, both saving", "gradual"),
)
METHODS = ("decrement", "decrement:share=0.9", "pooled", "ramp", "progressive", "random_size")
# On UC Merced at 64 px: sizes that cost what gradual's cost, and the entropy of its images.
FROM_SCRATCH = (*METHODS[:-1], "random_size:share=0.64,multiple=8", "bounded_depth:nats=4.8")
CONFLICTING = ("gradual", "stepwise", "small", "reversed", "blurred", "cropped", *METHODS[:2])
SHAPE = tuple(Contrast(text, "by shape or by texture") for text in CONFLICTING)
OTHER = GROWING + LESS + tuple(Contrast(text, "another method") for text in METHODS)
SCRATCH = GROWING + LESS + tuple(Contrast(text, "another method") for text in FROM_SCRATCH)
SCRATCH += tuple(  # but for random_size, which costs what gradual costs, as short does
    Contrast(text, "the method, or only doing less", f"short:of={text}") for text in METHODS[:-1]
)
DRAWN = tuple({"data": f"synthetic{dial}", "weights": "none"} for dial in ("", "-coarse", "-fine"))
IN_CONFLICT = ({"data": f"synthetic-{CONFLICT}", "weights": "none"},)
KNOWN_GROUPS = ({"groups": "known"}, {"groups": "known-by-image"})
RATES = ({"lr": 1e-2}, {"lr": 5e-2})  # bees have 2e-2
TEN, FIVE = tuple(range(10)), tuple(range(5))
STUDIES = {
    "paper": Study("paper", PAPER_DATASETS, TEN, GROWING, PAPER_NETWORKS),
    "compact": Study("compact", PAPER_DATASETS, TEN, GROWING + LESS),
    "controls": Study("compact", ("bees",), FIVE, LESS + LAST_SMALL),
    "rates": Study("compact", ("bees",), (0, 1), GROWING[:1], arms=RATES),
    "leakage": Study("compact", ("steel",), FIVE, GROWING[:1], arms=KNOWN_GROUPS),
    "mechanism": Study("mechanism", ("steel",), FIVE, GROWING + COARSE_FIRST + LAST_SMALL, arms=DRAWN),
    "conflict": Study("mechanism", ("steel",), FIVE, SHAPE, arms=IN_CONFLICT),
    "methods_pretrained": Study("compact", ("bees", "steel"), FIVE, OTHER),
    "methods_scratch": Study("scratch", ("ucm",), TEN, SCRATCH, (NARROW,)),
}
PLACE = ("profile", "dataset", "carries", "network")


def cells(study: Study, **given: Any) -> list[Cell]:
    """The runs of a study, a cell each: fold by fold, so that any stop leaves whole folds of all datasets; regimes
    rotate with the seed. `given`: fields of `Cell` for all runs; an arm's go before them."""
    found = []
    for seed in study.seeds:
        for dataset, network, arm in product(study.datasets, study.networks, study.arms):
            fields = {"seeds": (seed,), "profile": study.profile, **given, **arm}
            regimes = rotated(study.regimes, seed)
            found += [Cell(network=network, regime=regime, **fields | placed(dataset)) for regime in regimes]
    return found


def rotated(items: Sequence, turn: int) -> list:
    """All of them, begun further on with every turn: so that none is always first."""
    begin = turn % len(items)
    return [*items[begin:], *items[:begin]]


def runs_of(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a `compare.table` that are runs of a study without arms: of the profile's size, batch and kind of
    weights, on photographs."""
    usual = PROFILES[study.profile]
    like = {"profile": [usual.name], "size": [usual.size], "batch": [usual.batch], "groups": [""], "carries": [""]}
    like |= {"dataset": study.datasets, "network": study.networks, "regime": study.regimes}
    runs = table[table[[*like]].isin(like).all(axis=1)]
    return runs[(runs["weights"] == "none") == (usual.weights == "none")]


def answers(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """The contrasts of a study, with a column question, on its own datasets or, where none of them ran, on all; `most`
    of each arm."""
    ran = table[table["dataset"].isin(study.datasets)]
    runs = table if ran.empty else ran
    parts = [compare(runs, [one.treatment], one.against).assign(question=one.question) for one in study.contrasts]
    return most(pd.concat(parts, ignore_index=True), [*PLACE, *apart(study)])


def apart(study: Study) -> list[str]:
    """The fields of a `RunSpec` that tell the arms of a study apart."""
    return sorted({name for arm in study.arms for name in arm} & {*TOGETHER})


def most(rows: pd.DataFrame, place: Sequence[str] = PLACE, names: Sequence[str] = TOGETHER) -> pd.DataFrame:
    """Of each place the rows under the conditions, which `names` are, that have most folds (the sum of `n`), of as many
    the newest protocol: nothing of the choice depends on what came out."""
    counted = rows.assign(most=rows.groupby([*names])["n"].transform("sum"))
    last = counted.sort_values(["most", "protocol"], kind="stable").drop_duplicates(place, keep="last")
    return rows.merge(last[[*names]], on=[*names])
