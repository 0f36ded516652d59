"""The study of GrowImages in a Learner: its budget by hand, a tiny run, differences by hand."""

import json
import re

import pytest

from benchmarks import learner
from entr_utils.notebook import ROOT
from entr_utils.settings import Cell


def test_the_short_arm_has_the_pixels_of_gradual():
    """Of 11 epochs gradual sees .4^2 x 1/7 + .6^2 x 4/21 + .8^2 / 3 + 1 / 3 = .638: 7 epochs, one of them frozen."""
    assert learner.short_epochs(10) == 6


def test_a_tiny_run_grows_and_is_judged():
    cell = Cell("bees", "resnet18", profile="tiny", precision="float32").checked()
    row = learner.run(cell, "gradual", 0, epochs=1)
    assert 0 <= row["accuracy"] <= 1
    assert row["n_train"] + row["n_val"] == 132
    assert [size for size, _, _ in row["sizes"]] == sorted({size for size, _, _ in row["sizes"]})


def test_differences_are_paired_by_fold():
    accuracies = {("gradual", 0): 0.5, ("gradual", 1): 0.7, ("no_increase", 0): 0.6, ("no_increase", 1): 0.6}
    accuracies |= {("gradual", 2): 0.9, ("short", 0): 0.1}
    rows = [
        {"dataset": "bees", "arm": arm, "seed": seed, "accuracy": value, "n_val": 10, "n_train": 90}
        for (arm, seed), value in accuracies.items()
    ]
    found = learner.differences(rows, "bees", "gradual", "no_increase")
    assert (found["n"], found["points"]) == (2, pytest.approx(0))
    assert found["low"] < 0 < found["high"]
    assert learner.differences(rows, "bees", "gradual", "short") == {"n": 1}


def test_the_readme_says_what_was_measured():
    """Its two changes and their intervals, in its order: bees, then steel."""
    text = re.search(r"(?s)In fastai's own recipe(.*?)\(\[records\]", (ROOT / "README.md").read_text())
    runs = json.loads((ROOT / "results" / "learner.json").read_text())["runs"]
    found = [learner.differences(runs, name, "gradual", "no_increase") for name in ("bees", "steel")]
    wanted = [f"{one[name]:+.1f}" for one in found for name in ("points", "low", "high")]
    assert text
    assert re.findall(r"[-+]\d+\.\d", text[1]) == wanted
