"""The bench: its command, its figures and its tables. Nothing is measured."""

import json
import re
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT

from benchmarks import bench, tables, turns
from entr_utils.util import UserError

ENVIRONMENT = {
    "device": "Abacus",
    "torch": "2",
    "fastai": "2",
    "commit": "0123456789abcd",
    "load": 0.5,
    "started": "now",
}
FIGURES = turns.figures(np.array([2.0, 4.0, 3.0]), np.array([1.0, 1.0, 1.0]))


def entry(**result) -> dict:
    return {"environment": ENVIRONMENT, "seconds": 61.0, "result": result}


@pytest.mark.parametrize(("word", "named"), [("PARTS=celing", "celing"), ("SPEED=3", "SPEED")])
def test_a_wrong_word_is_refused_before_anything_is_done(word, named, place):
    with pytest.raises(UserError, match=named):
        bench.command([word])
    assert not (place / "results").exists()


@pytest.fixture
def parts(monkeypatch):
    """Two parts that take no time, one of which fails; no notebook is drawn."""
    done = []

    def named(name):
        def measure(given):
            done.append(name)
            if name.endswith("precision"):
                raise RuntimeError("a worker died")
            return {"images": [], "places": []}

        return SimpleNamespace(measure=measure)

    monkeypatch.setattr(bench, "import_module", named)
    monkeypatch.setattr(bench, "execute", lambda *_: None)
    return done


def test_a_part_run_again_replaces_its_own_entry_alone(parts, place):
    bench.keep(place / "results/bench/bench.json", "ceiling", seconds=1.0, result={"loop": []})
    before = bench.read("results/bench")
    assert bench.command(["PARTS=growth"]) == 0
    after = bench.read("results/bench")
    assert after["ceiling"] == before["ceiling"]
    assert after["growth"]["result"] == {"images": [], "places": []}
    assert after["growth"]["environment"]["torch"] == version("torch")


def test_a_part_that_fails_stops_no_other_and_keeps_nothing(parts, capsys):
    assert bench.command(["PARTS=precision growth"]) == 1
    assert parts == ["benchmarks.growth", "benchmarks.precision"]
    assert list(bench.read("results/bench")) == ["growth"]
    assert "a worker died" in capsys.readouterr().out


def test_figures_by_hand():
    assert FIGURES == {"median": 3, "low": 2, "high": 4, "ratio": 3, "ratio_low": 2, "ratio_high": 4}
    found = turns.figures(np.array([2.0, 4.0]), np.array([1.0, 4.0]))
    assert (found["ratio"], found["ratio_low"], found["ratio_high"]) == (1.5, 1, 2)


def test_turns_are_taken_in_rounds_and_the_skipped_do_not_count():
    passed = iter(range(1, 7))
    found = turns.in_turns(dict.fromkeys("ab", lambda: float(next(passed))), 2, skipped=1)
    assert {name: values.tolist() for name, values in found.items()} == {"a": [3, 5], "b": [4, 6]}


@pytest.mark.parametrize(
    ("value", "bounds", "met"),
    [(0.9, (0.88,), True), (0.8, (0.88,), False), (1.06, (0.95, 1.05), False), (1.05, (0.95, 1.05), True)],
)
def test_what_is_required_is_met_or_missed(value, bounds, met):
    (check,) = turns.judged("x", value, *bounds)
    assert (check["measured"], check["met"]) == (value, met)
    assert turns.judged("x", value, None) == []


def test_accuracies_are_compared_by_seed():
    """By hand: differences of 10, 0 and 5 points; mean 5, deviation 5, t(2) = 4.303."""
    found = turns.paired([0.8, 0.7, 0.75], [0.7, 0.7, 0.7])
    half = 4.302653 * 5 / 3**0.5
    assert found["points"] == pytest.approx(5)
    assert (found["low"], found["high"]) == pytest.approx((5 - half, 5 + half), rel=1e-5)
    assert (found["first"], found["second"], found["seeds"]) == (pytest.approx(0.75), pytest.approx(0.7), 3)


def whole_bench() -> dict:
    """Every part, with two rows in each of its tables: what a row holds is what its columns ask for."""
    columns = " ".join(text for sections in tables.SHOWN.values() for text in sections.values())
    one = dict.fromkeys(re.findall(r"{(\w+):", columns), 1.5) | dict.fromkeys(re.findall(r"{(\w+)}", columns), "x")
    one = {name: value for name, value in (one | FIGURES).items() if name != "launch_share"}
    missed, met = turns.judged("a figure", 0.5, 0.9), turns.judged("another", 0.95, 0.9)
    rows = [one | {"judged": met}, one | {"judged": missed}]
    return {part: entry(**dict.fromkeys(sections, rows)) for part, sections in tables.SHOWN.items()}


def test_every_part_has_its_tables():
    assert tuple(tables.SHOWN) == bench.PARTS
    known = whole_bench()
    for part, sections in tables.SHOWN.items():
        shown = tables.show(known, part).data
        assert shown.count("\n| ---") == len(sections) + 1
        assert "Abacus" in shown
        assert "launching" not in shown  # not measured here
        assert "{" not in shown
    assert "3 (2 to 4)" in tables.show(known, "growth").data
    assert "PARTS=clock" in tables.show({}, "clock").data  # not measured
    known["ceiling"]["result"]["loop"] = [one | {"launch_share": 0.95} for one in known["ceiling"]["result"]["loop"]]
    assert "95%" in tables.show(known, "ceiling").data


def test_what_was_missed_comes_first():
    lines = tables.requirements(whole_bench()).data.splitlines()[2:]
    half = len(lines) // 2
    assert half == sum(map(len, tables.SHOWN.values()))
    assert all("a figure" in line for line in lines[:half])
    assert all("another" in line for line in lines[half:])


def test_the_notebook_shows_every_part(place):
    """Its code, but for the cell that finds the repository, on a bench that is there."""
    (place / "results/bench").mkdir(parents=True)
    (place / "results/bench/bench.json").write_text(json.dumps(whole_bench()))
    cells = json.loads((ROOT / "notebooks" / "bench.ipynb").read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    names: dict = {}
    for source in sources[1:]:
        exec(source, names)
    assert names["measured"] == whole_bench()
    assert {part for part in bench.PARTS if any(f'"{part}"' in source for source in sources)} == {*bench.PARTS}
