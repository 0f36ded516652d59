"""Plan x clock against runs: what agrees by hand, what a busy machine does, and all of it at a tiny size."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from by_hand import record, seconds_of

from benchmarks import bench, clock
from entr_utils.settings import PAPER_REGIMES
from entr_utils.util import UserError


def entry(records, factor=1.0, of_small=1.0) -> dict:
    """A take of a clock by which a run takes `factor` times as long; `of_small` more at sizes below the largest."""
    works = [work for one in records for work in one.work]
    seconds = {work.key: factor * seconds_of(work) * (of_small if work.size < 250 else 1.0) for work in works}
    return {"taken": "now", "seconds": seconds, "first": dict.fromkeys(seconds, 0.0)}


@pytest.fixture(scope="module")
def records() -> list:
    """Three runs of each regime, each on a machine of another speed."""
    return [record(regime, seed, seconds=1 + seed / 10) for regime in PAPER_REGIMES for seed in range(3)]


def by_name(rows, phase=clock.IN_ALL) -> dict:
    return {row["regime"]: row for row in rows if row["phase"] == phase}


@pytest.mark.parametrize(
    ("factor", "of_small", "control", "gradual"),
    [
        (1.1, 1.0, [True, True], [True, True]),  # a tenth slow: agrees in its ratios
        (1.5, 1.0, [False, True], [False, True]),  # far off in all: the ratio is kept
        (1.1, 2.0, [True, True], [False, False]),  # wrong at small sizes
    ],
)
def test_what_is_required_of_a_clock(factor, of_small, control, gradual, records):
    rows = by_name(clock.agreement(records, entry(records, factor, of_small)))
    met = {name: [check["met"] for check in row["judged"]] for name, row in rows.items()}
    assert (met["no_increase"], met["gradual"]) == (control, gradual)


def test_a_clock_and_its_ratios_by_hand(records):
    """The runs took 1, 1.1 and 1.2 times what the work takes, the clock 1.1 times; phases add up."""
    rows = clock.agreement(records, entry(records, 1.1))
    names = [phase.name for phase in records[0].phases]
    assert [row["phase"] for row in rows] == [*names, clock.IN_ALL] * 3
    for regime, row in by_name(rows).items():
        assert (row["ratio"], row["ratio_low"], row["ratio_high"]) == pytest.approx((1.0, 1.1 / 1.2, 1.1), rel=2e-2)
        assert row["clock_ratio"] == pytest.approx(row["runs_ratio"], rel=1e-2)
        assert sum(by_name(rows, name)[regime]["clock"] for name in names) == pytest.approx(row["clock"])
    assert by_name(rows)["no_increase"]["clock_ratio"] == 1
    assert by_name(rows)["gradual"]["clock_ratio"] < 0.95
    assert by_name(rows, "RPL")["gradual"]["runs_ratio"] == pytest.approx(1)


SPEC: Any = SimpleNamespace(size=100, batch=16, network="resnet18", precision="float32", augmentation="two")


@pytest.mark.parametrize("off", [1.0, 1.1])
def test_the_error_between_sizes_by_hand(off, monkeypatch):
    """A clock whose seconds are linear in pixels has none; one that adds a tenth where it interpolates has that."""

    def take(works, *setting, rounds):
        return {"seconds": {w.key: w.size**2 * (1.0 if w.mode or w is works[0] else off) for w in works}}

    monkeypatch.setattr(clock.clock, "take", take)
    rows = clock.interpolated(SPEC)
    assert len(rows) == clock.clock.MOST_SIZES - 1
    assert all(40 < row["size"] < 100 for row in rows)
    assert all(row["ratio"] == pytest.approx(off) for row in rows)


@pytest.fixture
def busy(monkeypatch):
    """Seconds that others have used, at one look after another; then no more."""
    seconds = [0.0]
    monkeypatch.setattr(clock.machine, "busy_seconds_of_others", lambda: seconds.pop(0) if seconds[1:] else seconds[0])
    return seconds


@pytest.mark.parametrize(("looks", "thrown_away"), [([0, 0], 0), ([0, 99, 99, 99], 1), (range(0, 1000, 99), 3)])
def test_a_run_beside_others_is_made_again_and_refused_in_the_end(looks, thrown_away, busy, monkeypatch):
    busy[:] = looks
    run: Any = SimpleNamespace(path=mock.Mock(), spec=SimpleNamespace(name="a run"))
    monkeypatch.setattr(clock.loop, "train", lambda run: record())
    with pytest.raises(UserError, match="machine busy") if thrown_away == clock.clock.TRIES else nullcontext():
        assert clock.train_quietly(run).spec.regime == "no_increase"
    assert run.path.unlink.call_count == thrown_away


def test_several_datasets_are_refused():
    with pytest.raises(UserError, match="DATASETS"):
        clock.measure_clock({"PROFILE": "tiny", "DATASETS": "steel bees"})


@pytest.mark.usefixtures("narrow", "busy")
def test_all_of_it_at_a_tiny_size(place, monkeypatch):
    for name, value in {"BLOCK_SECONDS": 0.0, "BLOCK_STEPS": 1}.items():
        monkeypatch.setattr(clock.clock, name, value)
    take = clock.clock.take
    monkeypatch.setattr(clock.clock, "take", lambda a, b, c, d, e, rounds=0: take(a, b, c, d, e, 2, 0.0))
    found = clock.measure_clock({"PROFILE": "tiny", "SEEDS": "0"})
    assert {row["regime"] for row in found["agreement"]} == {*PAPER_REGIMES}
    assert len(found["agreement"]) == 3 * 6
    assert all(row["clock"] > 0 for row in found["agreement"])
    assert all(row["timed"] > 0 for row in found["interpolated"])
    assert not (place / "results").exists()
    known = bench.keep(place / "bench.json", "clock", seconds=1.0, result=found)
    assert bench.show(known, "clock").data.count("| tiny | steel | gradual |") == 6
