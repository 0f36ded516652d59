"""The bench: its command, its figures and its tables. Nothing is measured."""

import json
from importlib import import_module
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT

from benchmarks import bench, faults, loops
from entr_utils.util import UserError

ENVIRONMENT = {name: "2" for name in bench.PLACE} | {"device": "Abacus", "commit": "0123456789abcd-dirty", "load": 0.5}


WRONG = [(bench, "PARTS=celing", "celing"), (bench, "SPEED=3", "SPEED"), (faults, "SPEED=1", "SPEED")]
WRONG += [(faults, "KILLS=many", "KILLS"), (faults, "KILLS=-1", "KILLS"), (faults, "PARTS=kill", "PARTS")]


@pytest.mark.parametrize(("module", "word", "named"), WRONG)
def test_a_wrong_word_is_refused_before_anything_is_done(module, word, named, place):
    with pytest.raises(UserError, match=named):
        module.command([word])
    assert not (place / "results").exists()


def test_a_part_replaces_its_own_entry_alone_and_one_that_fails_keeps_nothing(place, monkeypatch, capsys):
    def precision(given):
        raise RuntimeError("a worker died")

    module = SimpleNamespace(measure_growth=lambda given: {"images": [], "places": []}, measure_precision=precision)
    monkeypatch.setattr(bench, "import_module", lambda name: module)
    monkeypatch.setattr(bench, "execute", lambda *_: None)
    bench.keep(place / "results/bench/bench.json", "ceiling", seconds=1.0, result={"loop": []})
    before = bench.read("results/bench")
    assert bench.command(["PARTS=precision growth"]) == 1
    assert "precision: FAILED, a worker died" in capsys.readouterr().out
    after = bench.read("results/bench")
    assert list(after) == ["ceiling", "growth"]
    assert after["ceiling"] == before["ceiling"]
    assert after["growth"]["result"] == {"images": [], "places": []}
    assert after["growth"]["environment"]["torch"] == version("torch")
    assert bench.command(["PARTS=growth"]) == 0


def test_turns_are_taken_in_rounds_and_the_skipped_do_not_count():
    """By hand: a takes 3, 5 and 9, b twice, five times and once as long."""
    passed = iter((1.0, 1.0, 3.0, 6.0, 5.0, 25.0, 9.0, 9.0))
    first, second = loops.in_turns("way", dict.fromkeys("ab", lambda: next(passed)), 3, skipped=1, size=9)
    assert first == {"size": 9, "way": "a", "median": 5, "low": 3, "high": 9} | loops.ratios(np.ones(3), np.ones(3))
    assert second["median"] == 9
    assert (second["ratio"], second["ratio_low"], second["ratio_high"]) == (2, 1, 5)


@pytest.mark.parametrize(
    ("value", "bounds", "met"),
    [(0.9, (0.88,), True), (0.8, (0.88,), False), (1.06, (0.95, 1.05), False), (1.05, (0.95, 1.05), True)],
)
def test_what_is_required_is_met_or_missed(value, bounds, met):
    (check,) = loops.judged("x", value, *bounds)
    assert (check["measured"], check["met"]) == (value, met)
    assert loops.judged("x", value, None) == []


def test_accuracies_are_compared_by_seed():
    """By hand: differences of 10, 0 and 5 points; mean 5, deviation 5, t(2) = 4.303."""
    found = loops.points([0.8, 0.7, 0.75], [0.7, 0.7, 0.7])
    half = 4.302653 * 5 / 3**0.5
    assert found == pytest.approx({"points": 5, "low": 5 - half, "high": 5 + half}, rel=1e-5)


def whole_bench() -> dict:
    """Every part, with two rows in each of its tables."""
    one = {"size": 64, "median": 3.0, "low": 2.0, "high": 4.0, **loops.ratios(np.array([1.2345]), np.ones(1))}
    checks = [loops.judged("another", 0.95, 0.9), loops.judged("a figure", 0.5, 0.9)]
    rows = [one | {"judged": check} for check in checks]
    about = {"environment": ENVIRONMENT, "seconds": 61.0}
    return {part: {**about, "result": dict.fromkeys(sections, rows)} for part, sections in bench.PARTS.items()}


def test_the_notebook_shows_every_part(place):
    """Its code, but for the cell that finds the repository, on a bench that is there."""
    (place / "results/bench").mkdir(parents=True)
    (place / "results/bench/bench.json").write_text(json.dumps(known := whole_bench()))
    cells = json.loads((ROOT / "notebooks" / "bench.ipynb").read_text())["cells"]
    _, *sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    names: dict = {}
    for source in sources:
        exec(source, names)
    assert names["measured"] == known
    for part, sections in bench.PARTS.items():
        assert any(f'"{part}"' in source for source in sources)
        assert callable(getattr(import_module(f"benchmarks.{bench.MODULES[part]}"), f"measure_{part}"))
        shown = bench.show(known, part).data
        assert shown.count("\n| ---") == len(sections) + 1
        assert "| Abacus | 2 | 2 | 0123456789-dirty | 0.5 | 2 | 61 s |" in shown
    lines = bench.show(known, "grown").data.splitlines()
    assert lines[0] == "| px | ms an image | to full size |"
    assert lines[2] == "| 64 | 3 (2 to 4) | 1.23 (1.23 to 1.23) |"
    assert "PARTS=clock" in bench.show({}, "clock").data  # not measured


def test_what_was_missed_comes_first():
    lines = bench.requirements(whole_bench()).data.splitlines()[2:]
    each = sum(map(len, bench.PARTS.values()))
    assert ["a figure" in line for line in lines] == [True] * each + [False] * each
