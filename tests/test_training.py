"""One run: what it does to the network, what it counts as time, what it leaves behind."""

import math
import os
import random
import sys
import threading
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from entr_utils import (
    UserError,
    experiment,
    images,
    learning,
    locks,
    memory,
    networks,
    range_test,
    records,
    timing,
    training,
)
from entr_utils.augmentation import make_augment, normalise
from entr_utils.conditions import comparable
from entr_utils.regimes import REGIMES, STEPS

SIZES = {"no_increase": [80] * 5, "gradual": [32, 48, 64, 80, 80], "stepwise": [32, 32, 80, 80, 80]}


def prepare(results, regime="gradual", **parameters) -> experiment.Experiment:
    return experiment.prepare("steel", profile="tiny", regime=regime, results=str(results), **parameters)


@pytest.fixture
def run(tmp_path) -> experiment.Experiment:
    """A run that has not been trained."""
    return prepare(tmp_path / "results")


@pytest.mark.parametrize("regime", REGIMES)
class TestRecord:
    """What a run leaves, in every regime."""

    def test_it_is_valid(self, regime, trained):
        one = trained(regime)
        records.check(one.record, one.experiment.path)
        assert one.record["regime"] == regime
        assert one.record["key"] == one.experiment.key

    def test_stages_are_figure_3(self, regime, trained):
        stages = trained(regime).record["stages"]
        assert [stage["name"] for stage in stages] == list(STEPS)
        assert [stage["size"] for stage in stages] == SIZES[regime]
        assert [stage["epochs"] for stage in stages] == [1, 1, 1, 1, 0]

    def test_every_epoch_has_a_row(self, regime, trained):
        epochs = trained(regime).record["epochs"]
        assert [row["epoch"] for row in epochs] == [0, 1, 2, 3]
        assert [row["size"] for row in epochs] == SIZES[regime][:4]
        assert [row["stage"] for row in epochs] == list(STEPS[:4])

    def test_seconds_add_up(self, regime, trained):
        record = trained(regime).record
        seconds = {stage["name"]: stage["seconds"] for stage in record["stages"]}
        spent = defaultdict(float)
        for row in record["epochs"]:
            spent[row["stage"]] += row["seconds"]
            assert row["seconds"] > row["resize_seconds"] >= 0
        assert spent == {name: pytest.approx(seconds[name]) for name in STEPS[:4]}
        assert record["seconds_subtotal"] == pytest.approx(sum(seconds[name] for name in ("SGDR", "CLRS", "CMult")))
        assert record["seconds_total"] == pytest.approx(sum(seconds.values()))
        assert record["wall_seconds"] > record["seconds_total"] + sum(record["warmup_seconds"].values())

    def test_processor_seconds_add_up(self, regime, trained):
        record, worked = trained(regime).record, defaultdict(list)
        for row in record["epochs"]:
            worked[row["stage"]].append(row["processor_seconds"])
        kept = {stage["name"]: stage["processor_seconds"] for stage in record["stages"]}
        if timing.device().type == "cuda":  # its work is not the processor's
            assert set(kept.values()) == {None}
            return
        assert {name: sum(rows) for name, rows in worked.items()} == {name: kept[name] for name in STEPS[:4]}
        assert min(kept.values()) > 0

    def test_predictions_give_the_accuracies(self, regime, trained):
        record = trained(regime).record
        kept = record["predictions"]
        truth, stages = np.array(kept["truth"]), {stage["name"]: stage for stage in record["stages"]}
        for name, step in (("subtotal", "CMult"), ("rpl", "RPL"), ("total", "TTA")):
            accuracy = (truth == kept[name]).mean()
            assert record[f"accuracy_{name}"] == accuracy
            assert stages[step]["accuracy_full_size"] == pytest.approx(accuracy)

    def test_predictions_are_of_the_validation_images(self, regime, trained):
        one = trained(regime)
        loaded, validation = one.experiment.images, one.experiment.validation
        assert one.record["predictions"]["image"] == [loaded.names[i] for i in validation]
        assert one.record["predictions"]["truth"] == loaded.labels[validation].tolist()
        assert one.record["n_train"] + one.record["n_val"] == len(loaded.labels) == 84

    def test_images_seen(self, regime, trained):
        """Four batches of 16 in 76 or 77 training images; five passes of test-time augmentation."""
        record = trained(regime).record
        assert [stage["images"] for stage in record["stages"]] == [64, 64, 64, 64, 5 * record["n_val"]]

    def test_accuracy_at_both_sizes_is_one_where_the_sizes_are(self, regime, trained):
        for stage in trained(regime).record["stages"]:
            if stage["size"] == 80:
                assert stage["accuracy_train_size"] == stage["accuracy_full_size"]

    def test_warm_up_is_by_size_and_what_trains(self, regime, trained):
        record = trained(regime).record
        assert set(record["warmup_seconds"]) == {f"{size} all" for size in SIZES[regime]}
        assert min(record["warmup_seconds"].values()) > 0

    def test_the_forecast_was_written_before_the_first_step(self, regime, trained):
        """And is in the record as it was said then."""
        one = trained(regime)
        assert one.forecast["seconds"] > 0
        for name in ("seconds", "wall_seconds", "memory"):
            assert one.record[f"forecast_{name}"] == one.forecast[name]
        assert one.forecast["flops"] == pytest.approx(one.record["flops_total"], rel=0.001)  # any number of classes
        assert one.record["prepare_seconds"] > 0

    def test_it_says_what_was_used(self, regime, trained):
        record = trained(regime).record
        assert record["image_source"].startswith("synthetic micrographs")
        assert record["weights"] == record["weights_sha256"] == "none"
        assert record["environment"]["device"] == timing.device_model()
        assert record["environment"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]


def numbers(record: dict) -> tuple:
    """All that has to come out the same again."""
    return record["predictions"], [(row["loss"], row["accuracy"]) for row in record["epochs"]], record["flops_total"]


def test_a_run_repeats_bit_for_bit(trained, run):
    """Also after other runs in the same process, which drew other random numbers."""
    torch.rand(3)
    assert numbers(training.train(run)) == numbers(trained("gradual").record)


def test_another_seed_is_another_run(trained):
    first, other = trained("gradual"), trained("gradual", seed=1)
    assert other.heads[0] != first.heads[0]
    assert other.record["predictions"]["image"] != first.record["predictions"]["image"]
    assert other.experiment.path != first.experiment.path


def test_one_seed_is_one_head_and_one_split_for_all_regimes(trained):
    runs = [trained(regime) for regime in REGIMES]
    assert len({one.heads[0] for one in runs}) == 1
    assert len({one.bodies[0] for one in runs}) == 1
    assert len({tuple(one.record["predictions"]["image"]) for one in runs}) == 1
    assert len({one.record["key"] for one in runs}) == 3


@pytest.mark.parametrize("regime", ["gradual", "no_increase"])
def test_the_body_is_bit_equal_until_rpl(regime, trained, checkpoint):
    """Parameters and batch-norm statistics, evaluation and warm-up in between; then it learns."""
    one = trained(regime, weights=str(checkpoint))
    assert one.bodies[0] == one.bodies[1] == one.bodies[2] == one.bodies[3]
    assert one.bodies[4] != one.bodies[3]
    assert len(set(one.heads)) == 5
    assert [stage["trains"] for stage in one.record["stages"]] == ["head", "head", "head", "all", "nothing"]


def test_the_body_that_trains_is_the_checkpoints(trained, checkpoint):
    one = trained("gradual", weights=str(checkpoint))
    network = learning.make_network(one.experiment)
    state = torch.load(checkpoint, weights_only=True)
    assert torch.equal(network.body[0].weight.cpu(), state["conv1.weight"].float())
    assert one.record["weights"] == "small.pt"
    assert set(one.record["warmup_seconds"]) == {"32 head", "48 head", "64 head", "80 all"}
    assert len(one.record["weights_sha256"]) == 64


def test_without_weights_everything_trains_from_the_start(trained):
    one = trained("gradual")
    assert len(set(one.bodies)) == 5


def test_learning_rates_of_the_stages(trained, checkpoint):
    """Head only, then 1/100, 1/10 and the whole rate; without weights the whole rate for all."""
    pretrained, scratch = trained("gradual", weights=str(checkpoint)).record, trained("gradual").record
    lr = pretrained["lr"]
    assert [stage["lr"] for stage in pretrained["stages"][:3]] == [[0, 0, lr]] * 3
    assert pretrained["stages"][3]["lr"] == pytest.approx([lr / 100, lr / 10, lr])
    assert [stage["lr"] for stage in scratch["stages"][:4]] == [[scratch["lr"]] * 3] * 4


def test_growing_images_costs_less_work(trained):
    """By FLOPs: the frozen parts and the whole; no_increase, then stepwise, then gradual for these sizes."""
    flops = {regime: trained(regime).record["flops_total"] for regime in REGIMES}
    assert flops["no_increase"] > flops["stepwise"] > flops["gradual"]


def test_a_frozen_body_costs_less_work(trained, checkpoint):
    """Forward only, against forward and twice as much backward."""
    each = trained("no_increase", weights=str(checkpoint)).record["flops_per_image"]
    assert each["80 all"] > 2 * each["80 head"] > 0
    assert each["80 head"] == pytest.approx(each["forward"], rel=0.05)


@pytest.fixture
def clockwork(monkeypatch, narrow):
    """Time that passes only where something is done: 10 a resize, 1 a training loss, 1000 a pass over validation."""
    now = SimpleNamespace(seconds=0.0)

    def takes(seconds, function):
        def slow(*arguments, **named):
            now.seconds += seconds
            return function(*arguments, **named)

        return slow

    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now.seconds,
                                                         process_time=lambda: 2 * now.seconds))  # fmt: skip
    monkeypatch.setattr(images, "resize", takes(10, images.resize))
    monkeypatch.setattr(learning, "predict", takes(1000, learning.predict))
    monkeypatch.setattr(learning, "functional",
                        SimpleNamespace(cross_entropy=takes(1, torch.nn.functional.cross_entropy)))  # fmt: skip


def test_what_t_is(run, clockwork):
    """Training steps, each stage's resize, and the five TTA passes; evaluation and warm-up are counted apart."""
    record = training.train(run)
    stages = record["stages"]
    assert [stage["seconds"] for stage in stages] == [10 + 4] * 4 + [5 * 1000]
    assert [stage["processor_seconds"] for stage in stages] == [2 * stage["seconds"] for stage in stages]
    assert [stage["eval_seconds"] for stage in stages] == [1000 + 10 + 1000] * 4 + [0]  # at full and training size
    assert record["warmup_seconds"] == {"32 all": 11, "48 all": 11, "64 all": 11, "80 all": 11}
    assert record["seconds_subtotal"] == 3 * 14
    assert record["seconds_total"] == 4 * 14 + 5000


def random_states() -> tuple:
    """Of torch, random and numpy."""
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002


def batches_of(run: experiment.Experiment) -> images.Batches:
    photos, labels = learning.place(run, run.training)
    return images.Batches(photos, labels, run.parameters.batch, run.parameters.seed, make_augment("eight"))


@pytest.mark.parametrize(
    ("regime", "pretrained", "steps"),
    [
        ("gradual", False, ["32 all", "48 all", "64 all", "80 all"]),
        ("gradual", True, ["32 head", "48 head", "64 head", "80 all"]),
        ("stepwise", True, ["32 head", "80 head", "80 all"]),
    ],
)
def test_warm_up_puts_everything_back(regime, pretrained, steps, checkpoint, tmp_path, monkeypatch):
    """A whole step, optimiser included, at each size with each part that trains, once; then weights, batch-norm
    statistics, gradients and random states are as before, bit for bit."""
    some = prepare(tmp_path, regime, weights=str(checkpoint) if pretrained else "none")
    network, batches, taken, step = learning.make_network(some), batches_of(some), [], learning.step

    def watched(network, optimiser, inputs, labels):
        moments = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        step(network, optimiser, inputs, labels)
        assert all(parameter in optimiser.state for parameter in moments)  # its momentum: it did step
        assert inputs.shape == (16, 3, inputs.shape[2], inputs.shape[2])
        taken.append(f"{inputs.shape[2]} {'head' if len(moments) < len(list(network.parameters())) else 'all'}")

    monkeypatch.setattr(learning, "step", watched)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    states = random_states()
    seconds, flops = learning.warm_up(network, some, batches)
    assert taken == list(seconds) == steps
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert random_states() == states
    assert min(seconds.values()) > 0
    assert set(flops) == {*seconds, "forward"}


def test_warm_up_changes_no_number(run, trained, by_hand, monkeypatch):
    """A run whose warm-up only returns what another measured ends with the same losses and predictions."""
    warm = trained("gradual").record
    monkeypatch.setattr(learning, "warm_up", lambda *arguments: (warm["warmup_seconds"], warm["flops_per_image"]))
    assert numbers(training.train(run)) == numbers(warm)


def test_predictions_are_of_each_image(run):
    """Probabilities, in order, the same in batches of any size; nothing is learnt, no gradient kept."""
    network, (photos, _) = learning.make_network(run), learning.place(run, run.training[:7])
    network.train()
    bodies = [value.clone() for value in network.state_dict().values()]
    whole, parts = (learning.predict(network, photos, batch) for batch in (7, 3))
    assert whole.shape == (7, 7)
    assert torch.allclose(whole.sum(1), torch.ones(7, device=whole.device), atol=1e-5)
    assert torch.allclose(whole, parts, atol=1e-4)
    assert torch.allclose(whole, learning.predict(network, photos, 7, normalise))  # what no augmentation means
    assert not whole.requires_grad
    assert all(map(torch.equal, bodies, network.state_dict().values()))


def test_finding_a_learning_rate_changes_nothing(trained, run):
    """Neither random state nor record: the run that follows is the run without it."""
    torch.manual_seed(11)
    states = random_states()
    identity = dict(run.identity)
    rates, losses, suggested = range_test.find_lr(run, iterations=20)
    assert random_states() == states
    assert list(Path.cwd().iterdir()) == [Path.cwd() / "entr_utils"]
    assert run.identity == identity
    assert numbers(training.train(run)) == numbers(trained("gradual").record)
    assert len(rates) == len(losses)
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(1e-5)
    assert 0 < suggested < rates[-1] <= 10


def test_a_loss_that_is_no_number_ends_the_run(run, narrow, monkeypatch, refused, tmp_path):
    """Four warm-up steps, four of SGDR, one of CLRS, then it breaks: at once, not at the epoch's end. What is left
    is the forecast, no record."""
    calls = iter(range(1000))

    def breaks(*arguments):
        return torch.nn.functional.cross_entropy(*arguments) * (float("nan") if next(calls) >= 9 else 1)

    monkeypatch.setattr(learning, "functional", SimpleNamespace(cross_entropy=breaks))
    rate = run.identity["lr"] * (1 + math.cos(math.pi / 4)) / 2
    refused(lambda: training.train(run), "not a number in CLRS, epoch 2 of 4, step 2 of 4", f"learning rate {rate:g}",
            "lower lr")  # fmt: skip
    assert next(calls) == 10
    left = [path.name for path in (tmp_path / "results").rglob("*") if path.is_file()]
    assert left == [run.path.with_suffix(".forecast").name]


def test_a_trained_run_is_read_not_trained(trained, monkeypatch):
    one = trained("gradual")
    monkeypatch.setattr(learning, "make_network", lambda *arguments: pytest.fail("trained again"))
    assert training.train(one.experiment) == one.record


def test_a_run_is_done_only_when_it_is_finished(run, trained):
    """Training leaves the record aside; the last cell of a notebook gives it its name."""
    records.write(trained("gradual").record, records.unfinished(run.path))
    assert not run.path.exists()
    records.finish(run.path)
    assert run.path.exists()
    assert not records.unfinished(run.path).exists()


@pytest.mark.parametrize("changed", [{"seed": 1}, {"size": 96}, {"lr": 0.5}, {"orientations": "two"},
                                     {"data": "synthetic-fine"}, {"network": "resnet34"}, {"batch": 8},
                                     {"precision": "bfloat16"}])  # fmt: skip
def test_all_that_makes_the_numbers_is_in_the_key(changed, run, tmp_path):
    other = prepare(tmp_path, **changed)
    assert other.key != run.key
    assert other.path.name != run.path.name


def test_the_path_names_the_run(run, tmp_path):
    folder = tmp_path / "results" / "tiny"
    assert run.path.parent.parent == folder
    assert run.path.name == f"steel-resnet18-gradual-s0-{run.key[:6]}.json"


def test_groups_are_said_in_the_split(photos, tmp_path):
    folder = photos(tmp_path / "mine")
    csv = tmp_path / "groups.csv"
    csv.write_text("file,group\n" + "".join(f"{name}/0{i}.png,{name}{i // 2}\n"
                                            for name in ("heath", "lake", "wood") for i in range(6)))  # fmt: skip
    run = experiment.prepare("own", profile="tiny", data=str(folder), groups=str(csv), results=str(tmp_path))
    assert run.about["split"] == (
        "seed 0, stratified by class, 90/10, 9 groups kept whole, 6 images of no known group each by itself"
    )


@pytest.mark.parametrize("seeds", ["", "0 x", "1.5", "-1"])
def test_seeds_for_own_images(seeds, photos, tmp_path, refused):
    folder = photos(tmp_path / "mine")
    refused(lambda: experiment.prepare_own(str(folder), seeds, "tiny", weights="none"), f"seeds={seeds!r}",
            "whole numbers separated by spaces")  # fmt: skip


def test_own_images_are_run_in_all_regimes(photos, tmp_path):
    """Seed by seed, in the order that rotates."""
    runs = experiment.prepare_own(str(photos(tmp_path / "mine")), "0 1", "tiny", weights="none")
    assert [(run.parameters.seed, run.parameters.regime) for run in runs] == [
        (0, "no_increase"), (0, "gradual"), (0, "stepwise"), (1, "gradual"), (1, "stepwise"), (1, "no_increase")
    ]  # fmt: skip
    assert {run.images.source for run in runs} == {"the user's own images"}


def test_a_user_error_is_shown_in_a_notebook_as_one_line():
    assert UserError("seed='x': no")._render_traceback_() == ["UserError: seed='x': no"]


def test_a_checkpoint_that_does_not_fit_ends_a_run_before_it_trains(tmp_path, refused):
    (tmp_path / "weights.pt").write_text("words")
    run = prepare(tmp_path, weights=str(tmp_path / "weights.pt"))
    refused(lambda: training.train(run), "weights.pt: cannot be loaded")


def test_two_runs_never_share_the_device(monkeypatch):
    """The second says who has it, and waits until the first lets go."""
    events, tried = [], threading.Event()

    def second():
        with locks.device():
            events.append("second")

    monkeypatch.setattr("builtins.print", lambda text, **_: (events.append(text), tried.set()))
    with locks.device():
        thread = threading.Thread(target=second)
        thread.start()
        assert tried.wait(30)
        events.append("first ends")
    thread.join(30)
    assert events == [f"waiting: the device is in use by process {os.getpid()}", "first ends", "second"]


def test_precision_is_one_the_networks_know():
    assert timing.precision() in networks.DTYPES
    assert timing.precision("bfloat16") == "bfloat16"


def test_energy_is_of_the_gpu_in_use(monkeypatch):
    """NVML counts GPUs that CUDA_VISIBLE_DEVICES hides, so it is asked by name. One it does not know has no counter."""
    nvml = SimpleNamespace(nvmlInit=lambda: None, nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
                           nvmlDeviceGetTotalEnergyConsumption={"GPU-a": 1000, "GPU-b": 5000}.__getitem__)  # fmt: skip
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    for uuid, joules in (("b", 5.0), ("c", None)):
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index, uuid=uuid: SimpleNamespace(uuid=uuid))
        assert timing.energy_joules() == joules


@pytest.mark.skipif(timing.device().type != "cpu", reason="a GPU scales the loss")
def test_float16_needs_cuda(tmp_path, refused):
    refused(lambda: prepare(tmp_path, precision="float16"), "precision='float16'", "CUDA", "float32, bfloat16")


def test_a_run_in_another_precision_is_another_run(tmp_path, narrow):
    """The network computes in it, the record says it, and its key is another one's: bfloat16, or where that is what a
    machine takes by itself, float32."""
    usual = training.train(prepare(tmp_path))
    other = "float32" if usual["precision"] == "bfloat16" else "bfloat16"
    run = prepare(tmp_path, precision=other)
    record = training.train(run)
    assert learning.make_network(run).dtype == networks.DTYPES[other]
    assert record["precision"] == record["identity"]["precision"] == other
    assert record["key"] == run.key != usual["key"]
    assert comparable(record["identity"]) != comparable(usual["identity"])
    losses, usual_losses = ([row["loss"] for row in one["epochs"]] for one in (record, usual))
    assert losses != usual_losses
    assert losses == pytest.approx(usual_losses, rel=0.25)  # the same images, weights and order


def test_images_kept_on_disk_train_as_those_in_memory(run, by_hand, trained, monkeypatch):
    """Bit for bit; every block of images of the run lies in a mapped file that goes with it."""
    expected = numbers(trained("gradual").record)
    placed, empty_images = [], memory.empty_images

    def watched(n, size):
        placed.append(size)
        return empty_images(n, size)

    monkeypatch.setattr(memory, "place_for", lambda size, beside=0: "disk")
    monkeypatch.setattr(memory, "empty_images", watched)
    assert numbers(training.train(run)) == expected
    assert placed[:2] == [80, 80]  # to train, to validate
    assert {32, 48, 64} <= set(placed)
    assert list(memory.CACHE.glob("images*")) == []
