"""The bench: its command, its measurements at tiny sizes, and what it makes of them. No test looks at a clock."""

import json
import re
import sys
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT

sys.path.insert(0, str(ROOT))  # benchmarks is not part of the package

from benchmarks import bench, ceiling, charts, growth, phases, precision, small, tables, versus, ways
from benchmarks import forecast as forecasts
from benchmarks.pairs import Pairs
from entr_utils import execution, images, learning, memory, networks, runs
from entr_utils.augmentation import make_augment

ENVIRONMENT = {"device": "Some processor, 2 threads", "torch": "2.14.1", "fastai": "2.8.12", "commit": "0123456789abcd",
               "load": 0.5, "started": "2026-11-21T12:00:00+00:00"}  # fmt: skip


def entry(result) -> dict:
    return {"environment": ENVIRONMENT, "seconds": 61.0, "result": result}


def ceiling_row(ratio: float = 0.96, **changes) -> dict:
    row = {"network": "resnet18", "size": 250, "trains": "all", "precision": "float32", "batch": 16, "pairs": 5,
           "block": 1, "loop_ms": 1000.0, "bare_ms": 1000.0 * ratio, "ratio": ratio, "ratio_low": ratio - 0.02,
           "ratio_high": ratio + 0.02, "images_per_second": 16.0, "required": 0.88, "met": ratio >= 0.88,
           "loading_ms": 1.0, "augmentation_ms": 20.0, "launch_share": None}  # fmt: skip
    row |= changes
    row["rest_ms"] = row["loop_ms"] - row["bare_ms"] - row["loading_ms"] - row["augmentation_ms"]
    return row | {"binds": ceiling.binds(row)}


def forecast_runs(*errors: float) -> dict:
    rows = [{"profile": "paper", "dataset": "ucm", "network": "resnet18", "regime": "gradual", "seed": i, "device": "x",
             "forecast": 100 * (1 + error), "measured": 100.0, "error": error}
            for i, error in enumerate(errors)]  # fmt: skip
    whole = forecasts.summary(list(errors))
    return {"runs": rows, "profiles": {"paper": whole}, **whole}


def versus_result() -> dict:
    def turn(*rates):
        return [{"images": 64, "seconds": 64 / rate, "prepare": 1.0} for rate in rates]

    epochs = [turn(1, 1, 1), turn(6, 3, 2), turn(8, 2, 2)]
    rows = [versus.row(250, way, epochs, i) for i, way in enumerate(versus.WAYS)]
    return {"speed": rows, "accuracy": {"precision": "float32", **small.compare([0.8, 0.7, 0.75], [0.7, 0.7, 0.7])}}


def growth_result() -> dict:
    spread = {"batch": 16, "rounds": 2, "ms_per_image": 12.0, "low": 11.0, "high": 13.0}
    return {
        "images": [{"images": n, "size": 64, "ratio": 1.01, **spread} for n in (128, 512)],
        "sizes": [{"size": size, "gflop": 4.5, "relative": 1.0, "reference": 250, **spread} for size in (100, 250)],
        "memory": [{"size": 64, "batch": 16, "images": 128, "steps": 3, "before": 2**20,
                    "forecast": 11 * 2**20, "used": 10 * 2**20, "error": 0.1}],
        "placement": [{"place": place, "images": 256, "size": 128, "rounds": 2, "images_per_second": 30.0, "low": 29.0,
                       "high": 31.0, "ratio": 0.99} for place in ("device", "disk")],
    }  # fmt: skip


def precision_result() -> dict:
    rows = [{"precision": name, "size": 100, "batch": 16, "rounds": 3, "images_per_second": 30.0, "low": 29.0,
             "high": 31.0, "ratio": ratio} for name, ratio in (("float32", 1.0), ("bfloat16", 0.4))]  # fmt: skip
    return {"reduced": "bfloat16", "emulated": True, "speed": rows, "accuracy": small.compare([0.6, 0.7], [0.6, 0.72])}


NOTEBOOK_CELLS = {  # source -> (begins, ends), seconds after the notebook's start
    "# Steel": (2.0, 2.0), "run = experiment.prepare('steel')": (2.0, 9.0), "figures.schedule(250)": (9.5, 10.5),
    "record = training.train(run)": (10.5, 92.5), "figures.curves(record)": (92.5, 94.0),
    "records.finish(run.path)": (94.0, 94.5),
}  # fmt: skip


def span(begins: float, ends: float) -> dict:
    start = datetime.fromisoformat("2026-11-21T12:00:00+00:00")
    times = (start + timedelta(seconds=seconds) for seconds in (begins, ends))
    return {"papermill": dict(zip(("start_time", "end_time"), (time.isoformat() for time in times), strict=True))}


def notebook(cells: dict = NOTEBOOK_CELLS, ends: float = 95.0) -> dict:
    return {"metadata": span(0.0, ends), "cells": [
        {"cell_type": "markdown" if source.startswith("#") else "code", "source": [source], "metadata": span(*times)}
        for source, times in cells.items()]}  # fmt: skip


RECORD = {
    "profile": "paper", "prepare_seconds": 3.0, "wall_seconds": 80.0,
    "warmup_seconds": {"100 head": 1.0, "250 all": 3.0},
    "stages": [{"seconds": 20.0, "eval_seconds": 2.0}, {"seconds": 40.0, "eval_seconds": 4.0},
               {"seconds": 7.0, "eval_seconds": 0.0}],
}  # fmt: skip


def whole_bench() -> dict:
    run = {"run": "steel-resnet18-gradual-s0-123456"} | phases.of_run(notebook(), RECORD)
    return {"ceiling": entry([ceiling_row(), ceiling_row(0.6, trains="head", size=100, required=0.75, met=False)]),
            "versus": entry(versus_result()), "growth": entry(growth_result()), "precision": entry(precision_result()),
            "phases": entry({"quick": run, "real": None}),
            "forecast": entry(forecast_runs(0.05, -0.3, 0.0))}  # fmt: skip


@pytest.mark.parametrize(
    ("word", "fragment"),
    [("PARTS=celing", "error: PARTS='celing': unknown; allowed: ceiling, versus, growth, precision, phases, forecast"),
     ("SIZE=3", "error: SIZE='3': unknown name; allowed: PARTS, RESULTS")])  # fmt: skip
def test_a_wrong_word_is_one_line(word, fragment, capsys):
    assert bench.main([word]) == 2
    assert capsys.readouterr().err == f"{fragment}\n"
    assert not Path("results").exists()


def test_empty_words_are_the_defaults():
    assert bench.read_settings(["PARTS=", "RESULTS="]) == {"PARTS": " ".join(bench.PARTS), "RESULTS": "results"}


def test_a_part_run_again_replaces_its_own_entry_alone(place, capsys):
    """And the notebook is drawn from all of them; it stands where papermill finds benchmarks, as in the checkout."""
    (place / "benchmarks").symlink_to(ROOT / "benchmarks")
    before = whole_bench()
    Path("results/bench").mkdir(parents=True)
    Path("results/bench/bench.json").write_text(json.dumps(before))
    assert bench.main(["PARTS=forecast"]) == 0
    after = bench.read("results/bench")
    assert {part: after[part] for part in bench.PARTS if part != "forecast"} == {
        part: before[part] for part in bench.PARTS if part != "forecast"
    }
    assert list(after) == list(bench.PARTS)
    assert after["forecast"]["result"]["n"] == 0
    assert after["forecast"]["environment"]["fastai"] == version("fastai")
    assert after["forecast"]["seconds"] > 0
    assert sorted(path.name for path in Path("results/bench").iterdir()) == ["bench.ipynb", "bench.json"]
    assert "forecast (1 of 1; reads records only)" in capsys.readouterr().out
    text, figures = rendered(Path("results/bench/bench.ipynb"))
    # two of the ceiling, one of growth, one of phases
    assert "**2 of 4 requirements that apply to this device were met.**" in text
    assert "No run with a forecast is there." in text
    assert figures == 1


def rendered(path: Path) -> tuple[str, int]:
    """Text and number of figures of a notebook that reads well."""
    outputs = [output for cell in json.loads(path.read_text())["cells"] for output in cell.get("outputs", [])]
    assert {output["output_type"] for output in outputs} <= {"execute_result", "display_data"}
    shown = [output["data"] for output in outputs]
    text = "\n".join("".join(data.get("text/markdown", "")) for data in shown)
    assert "Traceback" not in text
    assert "<IPython" not in text
    return text, sum("image/png" in data for data in shown)


def test_the_notebook_without_any_measurement(place):
    """Every section says so."""
    (place / "benchmarks").symlink_to(ROOT / "benchmarks")
    runs.execute(runs.NOTEBOOKS / "bench.ipynb", {"results": "nowhere"}, place / "bench.ipynb")
    text, figures = rendered(place / "bench.ipynb")
    assert text.count("Not measured: `make bench PARTS=") == len(bench.PARTS)
    assert "No requirement was measured yet." in text
    assert "Measured on: nothing yet." in text
    assert figures == 0


def test_the_tables_of_a_whole_bench():
    """What was measured is in them; nothing else is said."""
    made = whole_bench()
    text = {part: tables.show(made, part).data for part in bench.PARTS}
    assert all("Some processor, 2 threads; torch 2.14.1" in said for said in text.values())
    assert "0.96 (0.94 to 0.98)" in text["ceiling"]
    assert text["ceiling"].count("**missed**") == 1
    assert "3.00 (2.00 to 4.00)" in text["versus"]  # 6 / 3 and 8 / 2
    assert "No requirement was set for a CPU without bfloat16." in text["versus"]
    assert "paired difference +5.0 points" in text["versus"]
    assert "n = 3 seeds" in text["versus"]
    assert re.search(r"\| 64 +\| 1 +\| 11 +\| 10 +\| \+10% +\|", text["growth"])
    assert "it is emulated, and runs take float32 here" in text["precision"]
    assert "No real run with its phases is committed." in text["phases"]
    assert "3 runs: median error 5.0%" in text["forecast"]
    assert "**missed**" in text["forecast"]
    assert "-30%" in text["forecast"]
    assert "Not measured" not in "".join(text.values())


def test_requirements_are_counted_and_the_missed_ones_named():
    text = tables.requirements(whole_bench()).data
    assert text.startswith("**3 of 6 requirements that apply to this device were met.** Missed: ceiling: ")
    assert "100 px, loop to bare step; phases: overhead of the quick run; forecast: runs within 20%." in text
    assert tables.requirements({}).data == "No requirement was measured yet."
    assert "None was missed." in tables.requirements({"ceiling": entry([ceiling_row()])}).data


def test_what_was_not_measured_is_said():
    text = tables.hardware({"ceiling": entry([ceiling_row()])}).data
    assert "Measured on: Some processor, 2 threads." in text
    assert "Not measured: versus, growth, precision, phases, forecast" in text
    assert "Not measured: any GPU." in text
    on_gpu = entry([ceiling_row()]) | {"environment": ENVIRONMENT | {"device": "Some GPU"}}
    assert "any GPU" not in tables.hardware({"ceiling": on_gpu}).data


def test_the_figure_has_a_line_for_each_network_and_what_trains():
    rows = [ceiling_row(size=size, trains=trains) for size in (100, 250) for trains in ("head", "all")]
    (axis,) = charts.ceiling({"ceiling": entry(rows)}).axes
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["resnet18, head", "resnet18, all"]
    assert axis.get_xlabel() == "image size in pixels"
    assert charts.ceiling({}) is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, "arithmetic"),
     ({"ratio": 0.8, "augmentation_ms": 150.0}, "augmentation"),
     ({"ratio": 0.8, "loading_ms": 170.0}, "loading"),
     ({"ratio": 0.8}, "callbacks"),
     ({"ratio": 0.92, "required": None, "met": None}, "callbacks"),
     ({"launch_share": 0.95}, "launches"),
     ({"ratio": 0.4, "launch_share": 0.95}, "callbacks"),
     ({"launch_share": 0.5}, "arithmetic")])  # fmt: skip
def test_what_binds_follows_from_the_times(changes, expected):
    assert ceiling_row(**changes)["binds"] == expected


def few_batches(count: int = 8, batch: int = 4, size: int = 32) -> images.Batches:
    photos = torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8)
    return images.Batches(photos, torch.arange(count) % 3, batch, 0, make_augment("eight"))


@pytest.mark.parametrize(("block", "steps"), [(1, 4), (2, 8)])
def test_pairs_are_counted_and_weights_stay(block, steps):
    """The first pair is left out; a bare step does what a step does, at learning rate 0; no gradient stays."""
    network, batches, bare = networks.build("resnet18", "none", 3, 0.5, "float32"), few_batches(), []
    before = [value.clone() for value in network.parameters()]
    optimiser = learning.SGD(learning.trained(network), lr=0.0)
    inputs = batches.augment(batches.pixels[:4])

    def step():
        learning.step(network, optimiser, inputs, batches.labels[:4])
        bare.append(all(value.grad is None for value in network.parameters()))

    pairs = Pairs(step, seconds=0.0, least=3, block=block)
    learner = learning.make_learner(network, batches, [pairs])
    with learner.no_bar(), learner.no_logging():
        learner.fit(100, lr=0.0)
    assert len(pairs.took) == 3
    assert bare == [True] * steps
    assert pairs.steps == steps
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_ceiling_rows(monkeypatch):
    """One for each cell; the parts of a step of the loop add up to it."""
    rows = ceiling.measure((32,), ("resnet18",), batch=4, seconds=0.0, least=2)
    assert [(row["network"], row["size"], row["trains"]) for row in rows] == [
        ("resnet18", 32, "head"), ("resnet18", 32, "all")]  # fmt: skip
    for row in rows:
        parts = sum(row[name] for name in ("bare_ms", "loading_ms", "augmentation_ms", "rest_ms"))
        assert parts == pytest.approx(row["loop_ms"])
        assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
        assert row["pairs"] == 2
        assert row["launch_share"] is None
        assert row["met"] == (row["ratio"] >= row["required"])
    json.dumps(rows)


def test_requirements_by_device(monkeypatch):
    """As they were set: for a GPU, for a CPU that computes in bfloat16, for another CPU."""
    assert [ceiling.required(250, trains) for trains in ("all", "head")] == [0.88, 0.75]
    monkeypatch.setattr(versus.timing, "precision", lambda: "bfloat16")
    assert [versus.required(size) for size in (250, 100)] == [3.5, 3.0]
    monkeypatch.setattr(versus.timing, "precision", lambda: "float32")
    assert [versus.required(size) for size in (250, 100)] == [None, None]
    monkeypatch.setattr(versus.timing, "device", lambda: torch.device("cuda"))
    assert [versus.required(size) for size in (250, 100)] == [None, 5.0]
    assert [ceiling.required(size, "head") for size in (150, 200, 250)] == [None, 0.9, 0.9]


def test_each_way_trains_every_image_of_an_epoch(tmp_path):
    """Ours and torchvision's; fastai's is below, and in the small problem."""
    versus.write_images(tmp_path, {40: 64}, largest=48)
    assert len(list(tmp_path.rglob("train/*/*.jpg"))) == 64
    assert len(list(tmp_path.rglob("train/*"))) == len(list(tmp_path.rglob("valid/*"))) == versus.CLASSES
    for way in ("ours", "torchvision"):
        assert ways.WAYS[way](tmp_path / "40", 40)()[1] == 64


def test_a_worker_answers_and_its_death_is_one_line(tmp_path):
    versus.write_images(tmp_path, {32: 32}, largest=32)
    worker = versus.Worker("fastai", tmp_path)
    try:
        answer = worker.epoch(32)
        assert answer["images"] == 32
        assert answer["seconds"] > 0
        with pytest.raises(RuntimeError, match=r"fastai: .+"):
            worker.epoch(31)  # there is no such folder
    finally:
        worker.end()


def test_only_our_worker_has_our_settings(monkeypatch):
    for name, value in execution.KERNEL_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert execution.KERNEL_ENVIRONMENT.items() <= versus.environment("ours").items()
    names = execution.KERNEL_ENVIRONMENT.keys()
    assert [way for way in versus.WAYS[1:] if names & versus.environment(way).keys()] == []


def test_the_small_problem_is_the_same_for_both_ways(tmp_path, monkeypatch):
    """Images by seed, an accuracy from each, the same again from the same seed."""
    monkeypatch.setattr(small, "TRAIN", 5)
    monkeypatch.setattr(small, "TEST", 2)
    monkeypatch.setattr(small, "SIZE", 32)
    small.problem.cache_clear()
    pixels, labels, trains = small.problem(3)
    assert pixels.shape == (49, 32, 32, 3)
    assert np.bincount(labels[trains]).tolist() == [5] * 7
    first = small.ours(3, "float32", epochs=1)
    assert first == small.ours(3, "float32", epochs=1)
    second = small.of_fastai(3, tmp_path, epochs=1)
    assert len(list(tmp_path.rglob("valid/*/*.png"))) == 14
    assert {round(14 * value, 6) % 1 for value in (first, second)} == {0}
    small.problem.cache_clear()


def test_accuracies_are_compared_by_seed():
    """By hand: differences 0.1, 0, 0.05; mean 0.05, deviation 0.05, t(2) = 4.303."""
    result = small.compare([0.8, 0.7, 0.75], [0.7, 0.7, 0.7])
    half = 4.302653 * 0.05 / 3**0.5
    assert result["difference"] == pytest.approx(0.05)
    assert (result["low"], result["high"]) == pytest.approx((0.05 - half, 0.05 + half), rel=1e-5)
    assert result["n"] == 3


def test_growth_rows():
    """Ratios are to the first; the reference size relates to itself as 1."""
    counts = growth.by_count((16, 32), 32, rounds=1)
    assert [row["images"] for row in counts] == [16, 32]
    assert counts[0]["ratio"] == 1
    sizes = growth.by_size((32, 40), 40, rounds=1, steps=1, seconds=0.0)
    assert sizes[1]["relative"] == 1
    assert sizes[0]["gflop"] < sizes[1]["gflop"]
    json.dumps([counts, sizes])


def test_images_are_put_where_room_is_said_to_be():
    """And afterwards the real room counts again."""
    free = memory.free
    with growth.room_left(("disk",)):
        assert memory.place_for(1) == "disk"
    with growth.room_left(("host", "disk")):
        assert memory.place_for(1) == "host"
    assert memory.free is free
    rows = growth.by_place(16, 32, rounds=1, seconds=0.0)
    assert [row["place"] for row in rows] == ["device", "disk"]
    assert rows[0]["ratio"] == 1


def test_memory_is_measured_in_a_process_of_its_own():
    (row,) = growth.by_memory((32,), images_=32, steps=1)
    assert row["error"] == pytest.approx(row["forecast"] / row["used"] - 1)
    assert 0 < row["before"] < min(row["forecast"], row["used"])


def test_precision_rows():
    rows = precision.speed("bfloat16", 32, rounds=1, seconds=0.0, steps=1)
    assert [row["precision"] for row in rows] == ["float32", "bfloat16"]
    assert rows[1]["ratio"] == pytest.approx(rows[1]["images_per_second"] / rows[0]["images_per_second"])


def test_the_reduced_precision_is_the_runs_own(monkeypatch):
    for own, expected in (("float32", ("bfloat16", True)), ("bfloat16", ("bfloat16", False)),
                          ("float16", ("float16", False))):  # fmt: skip
        monkeypatch.setattr(precision.timing, "precision", lambda own=own: own)
        assert precision.reduced() == expected


def test_the_phases_add_up():
    """By hand: 80 s of the training cell's 82 are the run's, 77 of them measured inside."""
    run = phases.of_run(notebook(), RECORD)
    assert run["phases"] == pytest.approx({
        "kernel start": 2.0, "imports, building the network": 7 + 3 - 3, "data preparation": 3.0, "warm-up": 4.0,
        "training": 60.0, "evaluation": 6.0, "TTA": 7.0, "figures and rendering": 1.0 + 1.5 + 1.0, "record": 2.0 + 0.5,
    })  # fmt: skip
    assert sum(run["phases"].values()) == pytest.approx(run["seconds"]) == pytest.approx(95.0)
    assert run["overhead"] == pytest.approx((3 + 4 + 3.5 + 2.5) / 95)
    assert run["met"] is False
    assert run["drawn_again"] is False


def test_checkpoints_are_no_start_up():
    """2 s of writing them belong to what is recorded, and so to what may be 10% at most."""
    run, kept = phases.of_run(notebook(), RECORD), phases.of_run(notebook(), RECORD | {"checkpoint_seconds": 2.0})
    assert kept["phases"]["record"] == run["phases"]["record"] + 2
    assert kept["overhead"] == pytest.approx(run["overhead"] + 2 / 95)


def test_more_images_have_to_cost_the_same_each():
    """Within 5%: 1.085 is a miss, and is named."""
    bench = {"growth": entry({"images": [{"images": n, "ratio": ratio} for n, ratio in ((128, 1.0), (2048, 1.085))]})}
    assert "Missed: growth: time an image of 2048 images" in tables.requirements(bench).data


def test_the_phases_of_a_notebook_that_was_drawn_again():
    """Its training is the record's."""
    shift = {source: times for source, times in NOTEBOOK_CELLS.items() if times[1] <= 10.5}
    again = {"record = training.train(run)": (10.5, 10.6), "records.finish(run.path)": (10.6, 10.7)}
    run = phases.of_run(notebook(shift | again, 11.0), RECORD)
    assert run["drawn_again"] is True
    assert run["seconds"] == pytest.approx(91.0)
    assert sum(run["phases"].values()) == pytest.approx(91.0)
    assert run["phases"]["training"] == 60


def test_the_phases_of_a_real_run(made):
    """Rendered by papermill, recorded by training: no phase is negative; the newest is taken."""
    run = phases.newest(made.results)
    assert run["run"] in {path.stem for path in made.results.rglob("*-s0-*.json")}
    assert run["drawn_again"] is False
    assert sum(run["phases"].values()) == pytest.approx(run["seconds"])
    assert min(run["phases"].values()) > -0.01
    assert phases.newest(made.results / "nothing") is None


def test_forecast_errors_by_hand(made):
    assert forecasts.summary([0.05, -0.3, 0.0]) == {
        "n": 3, "median": 0.05, "share": pytest.approx(2 / 3), "median_met": True, "share_met": False, "near": 0.2,
        "required_median": 0.1, "required_share": 0.9}  # fmt: skip
    record = json.loads(made.one("*-gradual-*.json").read_text())
    row = forecasts.row(record | {"forecast_seconds": 3.0, "seconds_total": 4.0})
    assert row["error"] == -0.25
    assert row["regime"] == "gradual"


def test_forecasts_are_found_in_the_records(made, place):
    """Of the profiles that mean something, and of each by itself."""
    assert forecasts.measure(str(made.results))["n"] == 0  # the tests' own are of another profile
    (place / "results").mkdir()
    (place / "results" / "quick").symlink_to(made.results / "tiny")
    result = forecasts.measure("results")
    assert result["n"] == 2
    assert len(result["runs"]) == 2
    assert result["profiles"] == {"tiny": forecasts.summary([row["error"] for row in result["runs"]])}


def test_nothing_of_a_part_is_left_without_a_table():
    assert list(tables.SHOWN) == list(tables.TAKES) == list(bench.PARTS)
