"""What a run will take, said before it starts: sums by hand, written once, learnt from what was measured."""

import os
import random
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from entr_utils import UserError, datasets, experiment, forecast, images, learning, memory, records, runs, training
from entr_utils.augmentation import normalise
from entr_utils.files import read_sealed, write_sealed
from entr_utils.parameters import Parameters
from entr_utils.progress import minutes

GIB = 2**30


def rate(seconds: float, resize: float = 0.0, flops: float = 0.0, each: float = 1000.0) -> dict[str, float]:
    return {"seconds": seconds, "resize": resize, "flops": flops, "bytes": each}


TINY = {
    "32 all": rate(0.01, 0.001, 1e6), "48 all": rate(0.02, 0.002, 2e6), "64 all": rate(0.03, 0.003, 3e6),
    "80 all": rate(0.04, 9.0, 4e6), "80 plain": rate(0.1, flops=5e5), "80 augmented": rate(0.2),
}  # fmt: skip


@pytest.fixture
def known(monkeypatch):
    """Say what an image costs."""

    def set_rates(each: dict[str, dict[str, float]]) -> None:
        monkeypatch.setattr(forecast, "rates", lambda p: each)

    return set_rates


def tiny(regime="gradual", **other) -> Parameters:
    return Parameters(**{"dataset": "steel", "regime": regime, "profile": "tiny"} | other).checked()


def test_a_small_run_by_hand(known):
    """77 images in batches of 16: 64 an epoch, one epoch a stage. What is at full size is not resized."""
    known(TINY)
    predicted = forecast.forecast(tiny(), 77, 7)
    sgdr, clrs, cmult = 64 * 0.01 + 77 * 0.001, 64 * 0.02 + 77 * 0.002, 64 * 0.03 + 77 * 0.003
    rpl, tta = 64 * 0.04, 7 * (0.1 + 4 * 0.2)
    assert predicted["subtotal"] == pytest.approx(sgdr + clrs + cmult) == pytest.approx(4.302)
    assert predicted["seconds"] == pytest.approx(sgdr + clrs + cmult + rpl + tta) == pytest.approx(13.162)
    assert predicted["flops"] == pytest.approx(64 * (1e6 + 2e6 + 3e6 + 4e6) + 5 * 7 * 5e5)
    # each epoch ends with a look at the validation images, each stage with another at its own size; a step of each
    # stage and its like to warm up; a kernel's start
    looks, warm = 7 * 0.1 * (4 + 0.16 + 0.36 + 0.64 + 1), 2 * 16 * (0.01 + 0.02 + 0.03 + 0.04)
    assert predicted["wall_seconds"] == pytest.approx(predicted["seconds"] + looks + warm + runs.START_SECONDS)


@pytest.mark.parametrize(
    ("regime", "subtotal"),
    [
        ("no_increase", 1280 * 14 * 0.05),
        ("gradual", 1280 * (3 * 0.01 + 4 * 0.02 + 7 * 0.03) + 1314 * (0.001 + 0.002 + 0.003)),
        ("stepwise", 1280 * (7 * 0.01 + 7 * 0.05) + 1314 * 0.001),
    ],
)
def test_the_papers_runs_by_hand(regime, subtotal, known, checkpoint):
    """1314 images in batches of 64: 1280 an epoch; 3, 4, 7 and 7 epochs, the last with the whole network."""
    head = {f"{size} head": rate(seconds, seconds / 10, 10.0) for size, seconds in
            ((100, 0.01), (150, 0.02), (200, 0.03), (250, 0.05))}  # fmt: skip
    known({**head, "250 all": rate(0.15, 9.0, 30.0), "250 plain": rate(0.04, flops=9.0), "250 augmented": rate(0.06)})
    predicted = forecast.forecast(tiny(regime, profile="paper", weights=str(checkpoint)), 1314, 146)
    assert predicted["subtotal"] == pytest.approx(subtotal)
    assert predicted["seconds"] == pytest.approx(subtotal + 1280 * 7 * 0.15 + 146 * (0.04 + 4 * 0.06))
    assert predicted["flops"] == pytest.approx(1280 * (14 * 10 + 7 * 30) + 5 * 146 * 9)


@pytest.mark.parametrize(
    ("regime", "other", "steps"),
    [
        ("small", {}, 4 * 64 * 0.01 + 77 * 0.001),  # made small once
        ("reversed", {}, 64 * (0.04 + 0.03 + 0.02 + 0.01) + 77 * (0.003 + 0.002 + 0.001)),
        ("short", {"share": 0.5}, 4 * 32 * 0.04),  # two of four batches an epoch
    ],
)
def test_the_controls_by_hand(regime, other, steps, known):
    known(TINY)
    assert forecast.forecast(tiny(regime, **other), 77, 7)["seconds"] == pytest.approx(steps + 7 * (0.1 + 4 * 0.2))


def test_images_and_their_copy_share_the_memory(known, monkeypatch):
    """Of 10 GB half may go to one block: 4.8 GB of images do, and of the 5.2 left half to a copy. That at 64 px
    (3.1 GB) stays elsewhere and is not counted, that at 48 px (1.7 GB) is."""
    known({name: one | {"bytes": 1.0} for name, one in TINY.items()})
    monkeypatch.setattr(memory, "taken", lambda: 0)
    monkeypatch.setattr(memory, "free", lambda place: 10**10 if place == "device" else 0)
    n = 48 * 10**8 // (3 * 80**2)
    predicted, whole = forecast.forecast(tiny(), n, 0), forecast.forecast(tiny("no_increase"), n, 0)
    assert predicted["memory"] == pytest.approx(whole["memory"] + 3 * n * 48**2, rel=1e-9)


def test_fewer_images_than_a_batch(known):
    """One batch of all of them an epoch."""
    known(TINY)
    predicted = forecast.forecast(tiny("no_increase"), 9, 3)
    assert predicted["seconds"] == pytest.approx(4 * 9 * 0.04 + 3 * (0.1 + 4 * 0.2))


def rates_file() -> dict:
    (path,) = (memory.CACHE / "rates").iterdir()
    return read_sealed(path)


def test_rates_are_measured_once(by_hand, monkeypatch):
    """Each size with what trains there, and both ways to predict; then nothing is measured any more."""
    first = forecast.rates(tiny())
    assert by_hand == ["32 all", "48 all", "64 all", "80 all", "80 plain", "80 augmented"]
    assert list(first) == by_hand
    assert set(rates_file()) == {f"{name} b16" for name in by_hand}
    monkeypatch.setattr(forecast, "_measure", lambda *arguments: pytest.fail("measured again"))
    assert forecast.rates(tiny()) == first
    assert forecast.rates(tiny("no_increase")).keys() == {"80 all", "80 plain", "80 augmented"}
    assert forecast.rates(tiny(seed=3, data="synthetic-fine")) == first


def lie(seconds: float) -> None:
    """As if the rates had been kept so long ago."""
    (path,) = (memory.CACHE / "rates").iterdir()
    os.utime(path, (time.time() - seconds,) * 2)


def slower(monkeypatch, factor: float) -> list[str]:
    """The machine takes so many times as long from now on; returns what will be measured."""
    asked, measure = [], forecast._measure

    def measured(network, p, size, what, batch):
        asked.append(f"{size} {what}")
        found = measure(network, p, size, what, batch)
        return found | {"seconds": factor * found["seconds"]}

    monkeypatch.setattr(forecast, "_measure", measured)
    return asked


@pytest.mark.parametrize(("factor", "scaled"), [(2.0, 2.0), (0.5, 0.5), (1.1, 1.0), (0.9, 1.0)])
def test_rates_that_have_lain_are_as_of_now(factor, scaled, by_hand, monkeypatch):
    """One kind of step is measured again: all seconds follow it where the machine is clearly at another speed. Then
    they are fresh for another while."""
    first = forecast.rates(tiny())
    asked = slower(monkeypatch, factor)
    lie(500)
    assert forecast.rates(tiny()) == first
    assert asked == []
    lie(700)
    now = forecast.rates(tiny())
    assert asked == ["80 all"]
    for name, rate in first.items():
        assert now[name] == pytest.approx(rate | {kind: scaled * rate[kind] for kind in ("seconds", "resize")
                                                  if kind in rate})  # fmt: skip
    assert forecast.rates(tiny()) == now
    assert asked == ["80 all"]


def test_what_is_missing_beside_rates_that_have_lain(by_hand, monkeypatch):
    """The old ones are brought up to now, the new ones are measured now: none twice."""
    first = forecast.rates(tiny("small"))
    asked = slower(monkeypatch, 3.0)
    lie(700)
    now = forecast.rates(tiny())
    assert asked == ["32 all", "48 all", "64 all", "80 all"]
    assert now["32 all"]["seconds"] == pytest.approx(3 * first["32 all"]["seconds"])
    assert now["80 plain"]["seconds"] == pytest.approx(3 * first["80 plain"]["seconds"])


@pytest.mark.parametrize("spoil", [lambda text: text.replace("seconds", "secondr", 1), lambda text: text[:50],
                                   lambda text: "[1]", lambda text: '{"sha256": ""}'])  # fmt: skip
def test_damaged_rates_are_named_and_measured_again(spoil, by_hand, capsys):
    first = forecast.rates(tiny())
    (path,) = (memory.CACHE / "rates").iterdir()
    path.write_text(spoil(path.read_text()))
    del by_hand[:]
    assert forecast.rates(tiny()) == first
    assert len(by_hand) == 6
    assert f"{path}: damaged" in capsys.readouterr().err


@pytest.mark.parametrize("other", [{"batch": 8}, {"precision": "bfloat16"}, {"network": "resnet34"}, {"size": 100}])
def test_what_changes_the_rates_is_measured_for_itself(other, by_hand):
    forecast.rates(tiny("no_increase"))
    del by_hand[:]
    forecast.rates(tiny("no_increase", **({"precision": "float32"} | other)))
    size = other.get("size", 80)
    assert by_hand == [f"{size} all", f"{size} plain", f"{size} augmented"]


def test_a_frozen_network_has_rates_of_its_own(by_hand, checkpoint):
    forecast.rates(tiny())
    del by_hand[:]
    forecast.rates(tiny(weights=str(checkpoint)))
    assert by_hand == ["32 head", "48 head", "64 head"]


def test_measuring_changes_no_random_state(tmp_path, monkeypatch):
    """A real probe, as small as it gets: every rate is a number above 0, a smaller image takes less of everything
    that is counted."""
    monkeypatch.setattr(memory, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(forecast, "pace", lambda network, batches: pace(network, batches, seconds=0.0, steps=1))
    torch.manual_seed(5)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    each = forecast.rates(tiny("stepwise"))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]  # noqa: NPY002
    assert set(each) == {"32 all", "80 all", "80 plain", "80 augmented"}
    assert all(value > 0 for name, one in each.items() for what, value in one.items() if (name, what) != FULL_SIZE)
    for what in ("flops", "bytes"):
        assert each["32 all"][what] < each["80 all"][what] / 4
    assert each["80 all"]["flops"] > 2 * each["80 plain"]["flops"]


pace, FULL_SIZE = forecast.pace, ("80 all", "resize")


@pytest.fixture
def run(tmp_path, by_hand) -> experiment.Experiment:
    """A run that has not been trained, and whose forecast costs nothing."""
    return experiment.prepare("steel", profile="tiny", regime="gradual", results=str(tmp_path / "results"))


def test_a_forecast_is_written_once(run, monkeypatch):
    """To ask leaves nothing; what was written is read ever after, whatever is known since."""
    asked = forecast.of(run)
    path = run.path.with_suffix(".forecast")
    assert not path.exists()
    forecast.write(run, asked)
    assert read_sealed(path) == asked
    write_sealed(asked | {"seconds": 123.0}, path)
    with monkeypatch.context() as patch:
        patch.setattr(forecast, "forecast", lambda *arguments: pytest.fail("made again"))
        assert forecast.of(run)["seconds"] == 123.0
    path.write_text(path.read_text().replace("123.0", "124.0"))
    assert forecast.of(run)["seconds"] == asked["seconds"]


def test_a_run_that_is_done_keeps_its_forecast(run, trained, monkeypatch):
    """Neither its record nor any file changes, and nothing is foretold again."""
    record = trained("gradual").record
    records.write(record, run.path)
    before = run.path.read_bytes()
    monkeypatch.setattr(forecast, "of", lambda *arguments: pytest.fail("made again"))
    monkeypatch.setattr(forecast, "learn", lambda *arguments: pytest.fail("learnt again"))
    assert training.train(run) == record
    assert run.path.read_bytes() == before
    assert [path.name for path in run.path.parent.iterdir()] == [run.path.name]


def test_a_finished_run_needs_no_file_of_its_forecast(run, trained):
    forecast.write(run, forecast.of(run))
    records.write(trained("gradual").record, records.unfinished(run.path))
    records.finish(run.path)
    assert [path.name for path in run.path.parent.iterdir()] == [run.path.name]


def ended(run: experiment.Experiment, resize: float = 0.0) -> dict:
    """What `learn` reads of a record: seconds of each stage (resizing included), and of its epochs."""
    seconds = {32: 1.0, 48: 2.0, 64: 3.0, 80: 4.0}
    stages = [{"name": name, "size": size, "trains": "all", "images": 64, "seconds": seconds[size] + resize}
              for name, size in zip(("SGDR", "CLRS", "CMult", "RPL"), seconds, strict=True)]  # fmt: skip
    epochs = [{"stage": stage["name"], "size": stage["size"], "seconds": stage["seconds"], "resize_seconds": resize,
               "images": 64} for stage in stages]  # fmt: skip
    tta = {"name": "TTA", "size": 80, "trains": "nothing", "images": 35, "seconds": 7.0}
    return {"n_train": 77, "n_val": 7, "stages": [*stages, tta], "epochs": epochs}


def test_a_run_that_ends_teaches(run, monkeypatch):
    """Its own rates take the probe's place; predicting keeps its proportion, plain to augmented."""
    before = forecast.rates(run.parameters)
    forecast.write(run, forecast.of(run))
    forecast.learn(run, ended(run))
    monkeypatch.setattr(forecast, "_measure", lambda *arguments: pytest.fail("measured again"))
    after = forecast.rates(run.parameters)
    assert {name: after[name]["seconds"] for name in after if "all" in name} == pytest.approx(
        {"32 all": 1 / 64, "48 all": 2 / 64, "64 all": 3 / 64, "80 all": 4 / 64})  # fmt: skip
    plain, augmented = (after[f"80 {what}"]["seconds"] for what in ("plain", "augmented"))
    assert plain + 4 * augmented == pytest.approx(1.0)  # 7 seconds for 7 images
    old_plain, old_augmented = (before[f"80 {what}"]["seconds"] for what in ("plain", "augmented"))
    assert plain / augmented == pytest.approx(old_plain / old_augmented)
    for name in after:
        assert {what: after[name][what] for what in ("flops", "bytes")} == {
            what: before[name][what] for what in ("flops", "bytes")}  # fmt: skip


def test_stages_at_one_size_teach_together(tmp_path, by_hand):
    """Four stages at full size: their seconds over all their images."""
    run = experiment.prepare("steel", profile="tiny", results=str(tmp_path))
    forecast.rates(run.parameters)
    record = ended(run)
    for stage in record["stages"][:4]:
        stage["size"] = 80
    forecast.learn(run, record)
    assert forecast.rates(run.parameters)["80 all"]["seconds"] == pytest.approx((1 + 2 + 3 + 4) / 256)


def test_what_was_learnt_foretells_the_same_run(run):
    """The forecast of a run that has been measured is that run: time to resize is not counted twice."""
    forecast.rates(run.parameters)
    record = ended(run, resize=0.5)
    forecast.learn(run, record)
    resized = {name: rate["resize"] * 77 for name, rate in forecast.rates(run.parameters).items() if "all" in name}
    expected = 1 + 2 + 3 + 4 + 7 + sum(resized[f"{size} all"] for size in (32, 48, 64))
    assert forecast.forecast(run.parameters, 77, 7)["seconds"] == pytest.approx(expected)


def test_the_other_runs_rates_stay(run):
    """Another batch's are not touched."""
    other = tiny(batch=8)
    before = forecast.rates(other)
    forecast.rates(run.parameters)
    forecast.learn(run, ended(run))
    assert forecast.rates(other) == before


def test_a_run_teaches_where_the_cache_was_emptied(run, trained, monkeypatch):
    """`make clean` between a run's forecast and its end costs no run."""
    forecast.write(run, forecast.of(run))
    for path in (memory.CACHE / "rates").iterdir():
        path.unlink()
    record = trained("gradual").record
    monkeypatch.setattr(training, "_train", lambda *arguments: record)
    assert training.train(run) == record


def test_a_lesson_that_cannot_be_kept_costs_no_run(run, monkeypatch, capsys):
    """The record is written by then; a cache on a full disk is a line."""
    forecast.write(run, forecast.of(run))

    def full(value, path):
        raise UserError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr("entr_utils.files.write_sealed", full)
    forecast.learn(run, ended(run))
    assert "the next forecasts do not know of this run" in capsys.readouterr().err


@pytest.mark.parametrize(("fits", "expected"), [(64, 16), (15, 8), (4, 4)])
def test_what_does_not_fit_is_measured_with_a_batch_that_does(fits, expected, tmp_path, monkeypatch, refused):
    """So that the forecast can say which batch would fit; where none does, that is said."""
    monkeypatch.setattr(memory, "CACHE", tmp_path / "cache")
    tried = []

    def measure(network, p, size, what, batch):
        tried.append(batch)
        if batch > fits:
            raise torch.OutOfMemoryError
        return rate(1.0)

    monkeypatch.setattr(forecast, "_measure", measure)
    assert forecast.rates(tiny("no_increase"))["80 all"]["seconds"] == 1.0
    assert tried[-1] == expected
    fits = 1
    refused(lambda: forecast.rates(tiny("no_increase", size=90)), "size=90: no batch fits the device")


@pytest.fixture
def memory_of(monkeypatch, known):
    """A machine with so many GiB free, where an image of a step takes a GiB at full size, a tenth at others."""

    def set_free(gib: float) -> None:
        known({name: one | {"bytes": GIB if name == "80 all" else GIB / 10} for name, one in TINY.items()})
        monkeypatch.setattr(memory, "taken", lambda: 0)
        monkeypatch.setattr(memory, "free", lambda place: int(gib * GIB))

    return set_free


def test_a_run_that_does_not_fit_is_refused(run, memory_of, refused, monkeypatch):
    """Before anything is made, in a line that names what is needed, what there is, and the batch that would fit:
    16 GiB of activations and .13 GiB of images, weights, gradients and momentum, where there are 10."""
    memory_of(10)
    for name in ("place", "make_network"):
        monkeypatch.setattr(learning, name, lambda *arguments: pytest.fail("trained"))
    refused(lambda: training.train(run), "does not fit: 16.1 GiB needed, 10.0 GiB free; batch 9 would")
    assert not run.path.exists()
    assert not records.unfinished(run.path).exists()


def test_the_batch_that_is_named_fits(memory_of):
    memory_of(10)
    predicted = forecast.forecast(tiny(), 77, 7)
    assert predicted["batch"] == 9
    assert forecast.does_not_fit(forecast.forecast(tiny(batch=9), 77, 7)) == ""
    assert forecast.does_not_fit(forecast.forecast(tiny(batch=10), 77, 7)) != ""


def test_fewer_images_than_a_batch_take_less(memory_of):
    memory_of(10)
    assert forecast.does_not_fit(forecast.forecast(tiny(), 9, 3)) == ""


def test_a_run_that_fits_is_not_refused(memory_of):
    memory_of(17)
    forecast.check_fits(forecast.forecast(tiny(), 77, 7))


def test_where_no_batch_fits(memory_of, refused):
    """Batch-norm needs two images."""
    memory_of(2)
    refused(lambda: forecast.check_fits(forecast.forecast(tiny(), 77, 7)),
            "does not fit", "2.0 GiB free; no batch would; take a smaller size")  # fmt: skip


def test_memory_that_was_freed_counts(run, memory_of, refused, monkeypatch):
    """A run that was refused is not refused for ever: who closes another program may try again."""
    memory_of(10)
    refused(lambda: training.train(run), "does not fit")
    memory_of(20)
    monkeypatch.setattr(training, "_train", lambda *arguments: pytest.fail("it trains"))
    with pytest.raises(pytest.fail.Exception, match="it trains"):
        training.train(run)


def test_images_that_stay_on_disk_need_no_memory(known, monkeypatch):
    """A set that fits neither device nor host is mapped from the disk: it is no reason to refuse a run."""
    known(TINY)
    monkeypatch.setattr(memory, "taken", lambda: 0)
    monkeypatch.setattr(memory, "free", lambda place: 2**40 if place == "disk" else GIB)
    n_train, n_val = 90_000, 10_000  # 1.8 GiB of pixels at 80 px
    assert memory.place_for(3 * n_train * 80**2) == "disk"
    assert forecast.does_not_fit(forecast.forecast(tiny(), n_train, n_val)) == ""


@pytest.mark.parametrize(
    ("dataset", "profile", "expected"),
    [("steel", "tiny", (76, 8)), ("steel", "quick", (173, 19)), ("bees", "quick", (173, 19)),
     ("ucm", "paper", (1890, 210))],
)  # fmt: skip
def test_images_of_a_synthetic_dataset(dataset, profile, expected):
    """7 classes of 12, 6 of 32 twice, 21 of 100."""
    assert forecast.counts(Parameters(dataset, profile=profile, data="synthetic").checked()) == expected


def test_images_of_a_dataset_that_is_found(photos, tmp_path):
    photos(tmp_path / "bees", per_class=10)
    assert forecast.counts(Parameters("bees", data=str(tmp_path)).checked()) == (27, 3)


@pytest.mark.parametrize(("dataset", "expected"), [("steel", (1314, 146)), ("ucm", (1890, 210)), ("bees", (2815, 313))])
def test_images_of_a_dataset_that_is_not_there_are_the_papers(dataset, expected, tmp_path):
    """A tenth of 1460, 2100 and 3128 validates."""
    p = Parameters(dataset, data=str(tmp_path)).checked()
    assert forecast.counts(p) == expected
    assert sum(expected) == datasets.DATASETS[dataset].images


FITS = {"seconds": 50.0, "wall_seconds": 600.0, "flops": 1.23e15, "memory": 1.5 * GIB, "free": 3 * GIB, "batch": 77}
TOO_LARGE = FITS | {"memory": 4 * GIB, "batch": 12.0}


def test_a_forecast_in_words():
    said = "Forecast on this machine: 50 s of T, 10 min in all, 1.2e+15 FLOPs, "
    assert forecast.sentence(FITS) == f"{said}1.5 GiB of memory."
    assert forecast.sentence(TOO_LARGE) == (
        f"{said}4.0 GiB of memory; does not fit: 4.0 GiB needed, 3.0 GiB free; batch 12 would."
    )


def test_a_table_of_forecasts():
    """First the sum, then a line a run."""
    plan = [(tiny(seed=seed), predicted) for seed, predicted in ((0, FITS), (2, TOO_LARGE | {"wall_seconds": 6600}))]
    lines = forecast.table(plan).splitlines()
    assert lines[0].strip() == f"forecast: {minutes(7200)} for 2 runs on this machine"
    assert minutes(7200) == "2 h 0 min"
    assert lines[1].strip() == "steel resnet18 gradual s0: 50 s of T, 10 min in all, 1.2e+15 FLOPs, 1.5 GiB of memory."
    assert lines[2].strip().startswith("steel resnet18 gradual s2: 50 s of T, 1 h 50 min in all")
    assert lines[2].endswith("batch 12 would.")
    assert "short s0: at most 50 s of T" in forecast.table([(tiny("short"), FITS)])
    assert "short s0: 50 s of T" in forecast.table([(tiny("short", share=0.5), FITS)])


def test_a_probe_ends_when_it_knows_enough(monkeypatch):
    """The first step is not counted; then at least so many steps and so many seconds."""
    now = SimpleNamespace(seconds=0.0)

    def tick() -> float:
        now.seconds += 0.25
        return now.seconds

    monkeypatch.setattr("entr_utils.timing.time", SimpleNamespace(perf_counter=tick))
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
    network.groups, network.dtype = (lambda: [list(network.parameters())]), torch.float32
    pixels, labels = torch.zeros(8, 4, 4, 3, dtype=torch.uint8), torch.zeros(8, dtype=torch.long)
    batches = images.Batches(pixels, labels, 4, 0, lambda photos: normalise(photos).contiguous())
    assert forecast.pace(network, batches, seconds=0.0, steps=3) == [0.25] * 3
    assert forecast.pace(network, batches, seconds=1.6, steps=3) == [0.25] * 7
