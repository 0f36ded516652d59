"""One run: what it does to the network, what it counts as time, what it leaves behind."""

import copy
import json
import random
import re
import threading
import zlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Averaged, tiny
from data_by_hand import photos, refused
from PIL import Image

from entr_utils import machine, networks
from entr_utils.data import store
from entr_utils.data.augment import make_augment
from entr_utils.results import record as records
from entr_utils.results import studies
from entr_utils.results.record import repeatable
from entr_utils.settings import PROFILES, Cell
from entr_utils.training import books, loop, step
from entr_utils.training.finder import find_lr
from entr_utils.training.run import draft, plan_of, prepare, prepare_own
from entr_utils.util import UserError

pytestmark = pytest.mark.usefixtures("narrow", "own_regime")

PHASES = ("SGDR", "CLRS", "CMult", "RPL")
SIZES = {  # of the last batch of the four epochs, and in which of them the whole set is resized
    "no_increase": ([40, 40, 40, 40], []),
    "gradual": ([16, 24, 32, 40], [0, 1, 2]),
    "stepwise": ([16, 16, 40, 40], [0]),
    "small": ([16, 16, 16, 16], [0]),
    "reversed": ([40, 32, 24, 16], [1, 2, 3]),
    "short": ([40, 40, 40, 40], []),
    "blurred": ([40, 40, 40, 40], [0, 1, 2]),
    "cropped": ([16, 24, 32, 40], [0, 1, 2]),
    "decrement": ([40, 20, 20, 40], [1]),
    "ramp": ([20, 20, 32, 40], [0]),
    "progressive": ([20, 27, 33, 40], [0, 1, 2]),
    "random_size": ([32, 40, 32, 32], []),
    "pooled": ([40, 40, 20, 40], []),
    "slope": ([20, 27, 32, 38], []),  # 16 + 24 x 3/16, 7/16, 11/16, 15/16
    "packed": ([20, 20, 20, 40], [0]),
    "averaged": ([20, 20, 20, 20], [0]),
}


@pytest.mark.parametrize("regime", SIZES)
def test_what_a_run_leaves(regime, trained):
    run, record, (sizes, resized) = trained(regime).run, trained(regime).record, SIZES[regime]
    assert records.read(run.path) == record
    assert (record.spec, record.work, record.share) == (run.spec, run.work, run.share)
    assert [(row.epoch, row.phase, row.size) for row in record.epochs] == [*zip(range(4), PHASES, sizes, strict=True)]
    assert [row.epoch for row in record.epochs if row.resize_seconds] == resized
    assert all(row.seconds > row.resize_seconds for row in record.epochs)
    phases = {phase.name: phase for phase in record.phases}
    assert [*phases] == [*PHASES, "TTA"]
    assert [(phase.epochs, phase.size) for phase in phases.values()] == [*((1, size) for size in sizes), (0, 40)]
    assert [phase.seconds for phase in record.phases[:4]] == [row.seconds for row in record.epochs]
    assert record.costs.wall > record.seconds_total + record.costs.warmup > record.costs.warmup > 0
    shown = [sum(block.steps * block.spec.batch for block in epoch) for epoch in run.epochs]
    assert [phase.images for phase in record.phases] == [*shown, 5 * record.split.n_val]
    assert shown == [64] * 4 or regime == "short"
    for block, row in zip((epoch[-1] for epoch in run.epochs), record.phases, strict=False):
        assert row.accuracy_own == row.accuracy_full or block.spec.size < 40 or block.spec.detail
    kept, loaded, judged = record.predictions, run.images, run.split.validation
    assert (kept.image, kept.truth) == (tuple(loaded.names[i] for i in judged), tuple(loaded.labels[judged]))
    for name, phase in (("subtotal", "CMult"), ("rpl", "RPL"), ("total", "TTA")):
        assert phases[phase].accuracy_full == pytest.approx(np.mean(np.equal(kept.truth, getattr(kept, name))))
    assert record.split.n_train + record.split.n_val == len(loaded.labels) == 84
    assert (record.environment.device, record.attempts) == (machine.device_model(), ())
    assert (record.source.kind, record.source.carries, record.costs.forecast) == ("formula", "both", None)


def test_one_seed_is_one_head_and_one_split_for_all_regimes(trained):
    runs = [trained(regime) for regime in SIZES]
    assert len({(one.heads[0], one.bodies[0], one.record.predictions.image) for one in runs}) == 1
    assert len({one.record.key for one in runs}) == len(SIZES)
    other = trained("gradual", seed=1)
    assert other.heads[0] != runs[0].heads[0]
    assert other.record.predictions.image != runs[0].record.predictions.image


def batches_of(run) -> step.Batches:
    chosen = run.split.training
    pixels, labels = store.place(run.images.pixels, chosen), torch.from_numpy(run.images.labels[chosen])
    return step.Batches(pixels, labels, run.epochs, make_augment("eight"))


def test_regimes_see_the_images_in_one_order():
    """In batches of the plan; a share of an epoch is its beginning; every epoch has an order of its own."""
    seen: dict[str, list] = {}
    for regime in (*SIZES, "short:share=0.5"):
        batches, seen[regime] = batches_of(tiny(regime)), []
        for epoch, blocks in enumerate(batches.epochs):
            batches.begin(epoch)
            images, labels = zip(*batches, strict=True)
            sides = [(b.spec.batch, 3, b.spec.size, b.spec.size) for b in blocks for _ in range(b.steps)]
            assert [tuple(one.shape) for one in images] == sides
            seen[regime].append(torch.cat(labels).tolist())
    whole = seen["no_increase"]
    assert (len({tuple(labels) for labels in whole}), {*map(len, whole)}) == (4, {64})
    assert seen.pop("short:share=0.5") == [labels[:32] for labels in whole]
    short = seen.pop("short")
    assert short == [labels[: len(some)] for labels, some in zip(whole, short, strict=True)]
    assert all(labels == whole for labels in seen.values())


@pytest.mark.parametrize("regime", ["gradual", "no_increase", "pooled", "progressive", "decrement"])
def test_pretrained_layers_are_frozen_until_rpl(regime, trained, checkpoint):
    one, scratch = trained(regime, weights=str(checkpoint)), trained(regime)
    assert one.bodies[0] == one.bodies[1] == one.bodies[2] == one.bodies[3] != one.bodies[4]
    assert len({*one.heads}) == len({*scratch.bodies}) == 5
    assert [phase.trains for phase in one.record.phases] == ["head", "head", "head", "all", "nothing"]
    lr = one.record.spec.lr
    assert [phase.lr for phase in one.record.phases[:3]] == [(0, 0, lr)] * 3
    assert one.record.phases[3].lr == pytest.approx((lr / 100, lr / 10, lr))
    assert [phase.lr for phase in scratch.record.phases[:4]] == [(0.005,) * 3] * 4
    assert (one.record.spec.weights, len(one.record.spec.weights_sha256)) == ("small.pt", 64)


# inputs, outputs, side of the kernel, side of the output; the first two rows are conv1 and layer1
CONVOLUTIONS = [(3, 8, 7, 20), (8, 8, 3, 10), (8, 8, 3, 10), (8, 8, 1, 10), (8, 16, 3, 5), (16, 16, 3, 5)]
CONVOLUTIONS += [(8, 16, 1, 5), (16, 32, 3, 3), (32, 32, 3, 3), (16, 32, 1, 3), (32, 64, 3, 2), (64, 64, 3, 2)]
CONVOLUTIONS += [(32, 64, 1, 2)]


def test_flops_by_hand(trained, checkpoint):
    """Two a multiplication of an eighth of a ResNet18 at 40 px; backward twice as many, but for the first layer, whose
    inputs need no gradients; a frozen body has no backward."""
    body = [2 * inputs * outputs * side**2 * pixels**2 for inputs, outputs, side, pixels in CONVOLUTIONS]
    head, forward = 2 * 128 * 512 + 2 * 512 * 7, sum(body)
    steps = {"step head 40 b16": forward + 3 * head, "step all 40 b16": 3 * forward - body[0] + 3 * head}
    assert trained("no_increase", weights=str(checkpoint)).record.flops == steps | {"tta": forward + head}


def test_short_takes_the_flops_of_gradual_to_a_batch(trained):
    short, gradual, full = (trained(regime).record.flops_total for regime in ("short", "gradual", "no_increase"))
    assert short == pytest.approx(gradual, abs=full / 16)
    assert gradual < 0.8 * full


@pytest.fixture
def clockwork(monkeypatch) -> None:
    """Time that passes only where something is done: 10 a resize, 1 a training loss, 1000 a pass over judged images."""
    now = SimpleNamespace(seconds=0.0)

    def takes(seconds, function, counts=lambda *arguments: True):
        def slow(*arguments, **named):
            now.seconds += seconds if counts(*arguments) else 0
            return function(*arguments, **named)

        return slow

    monkeypatch.setattr(books, "time", SimpleNamespace(perf_counter=lambda: now.seconds))
    monkeypatch.setattr(store, "resize", takes(10, store.resize, lambda pixels, size: pixels.shape[1] != size))
    monkeypatch.setattr(step, "predict", takes(1000, step.predict))
    losses = SimpleNamespace(cross_entropy=takes(1, torch.nn.functional.cross_entropy))
    monkeypatch.setattr(loop, "functional", losses)


@pytest.mark.parametrize(("regime", "resizes"), [("gradual", [10, 10, 10, 0]), ("small", [10, 0, 0, 0])])
def test_what_t_is(regime, resizes, clockwork):
    """Training steps, resizes of the set, the five TTA passes at full size. Evaluation is counted apart: at full size
    and at the size trained at, TTA too where that is another."""
    record, small = loop.train(tiny(regime)), regime == "small"
    assert [phase.seconds for phase in record.phases] == [*(seconds + 4 for seconds in resizes), 5 * 1000]
    assert [phase.eval_seconds for phase in record.phases] == [2010] * 3 + ([2010, 5010] if small else [1000, 0])
    assert (record.seconds_subtotal, record.seconds_total) == (sum(resizes) + 12, sum(resizes) + 16 + 5000)


@pytest.mark.parametrize("regime", ["gradual", "averaged"])
def test_a_run_repeats_bit_for_bit(regime, trained):
    torch.rand(3)
    assert repeatable(loop.train(tiny(regime))) == repeatable(trained(regime).record)


def random_states() -> tuple:
    """Of torch, random and numpy."""
    return torch.get_rng_state().tolist(), random.getstate(), repr(np.random.get_state())  # noqa: NPY002


@pytest.mark.parametrize("regime", ["gradual", "slope", "averaged", "pooled"])
def test_warm_up_puts_everything_back(regime, checkpoint, monkeypatch):
    run, taken, take_step = tiny(regime, weights=str(checkpoint)), [], step.take_step
    network = run.regime.prepare(networks.build("resnet18", str(checkpoint), 7, run.spec.precision), None)

    def watched(network, regime, spec, optimiser, *rest):
        take_step(network, regime, spec, optimiser, *rest)
        assert all(parameter in optimiser.state for parameter in network.parameters() if parameter.requires_grad)
        taken.append((network.trains, spec))

    monkeypatch.setattr(step, "take_step", watched)
    before, states = copy.deepcopy(network.state_dict()), random_states()
    assert step.warm_up(network, run.regime, batches_of(run))[0] > 0
    assert taken == list(dict.fromkeys((block.step.phase.trains, block.spec) for block in run.plan))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert random_states() == states


def test_hooks_of_a_regime_are_called_when_they_should_be(monkeypatch):
    called: list[tuple] = []

    def watch(name, hook, *given):
        called.append((name, given[2]))
        return hook(*given)

    for name in ("prepare", "after_epoch", "finish"):
        hook = partial(watch, name, getattr(Averaged, name))
        monkeypatch.setattr(Averaged, name, lambda *given, hook=hook: hook(*given))
    record = loop.train(tiny("averaged"))
    assert [name for name, _ in called] == ["prepare", *["after_epoch"] * 4, "finish"]
    assert [at.epoch for _, at in called[1:5]] == [0, 1, 2, 3]
    assert [labels.tolist() for _, labels in called[5][1]] == [labels.tolist() for _, labels in called[5][1]]
    works = {(work.mode, work.phase): work.n for work in record.work if work.kind in ("step", "hook")}
    assert [works[mode, "RPL"] for mode in ("pale", "", "after_epoch", "finish")] == [2, 2, 1, 4]


def test_finding_a_learning_rate_changes_nothing(trained, place):
    states, run = random_states(), tiny()
    rates, losses, suggested = find_lr(run, iterations=20)
    assert random_states() == states
    assert [path.name for path in place.iterdir()] == ["entr_utils"]
    assert repeatable(loop.train(run)) == repeatable(trained("gradual").record)
    assert (len(rates), rates[0], rates == sorted(rates)) == (len(losses), pytest.approx(1e-5), True)
    assert suggested is None or 0 < suggested < rates[-1] <= 10


@pytest.mark.parametrize("at", [1, 6, 16])
def test_a_loss_that_is_no_number_ends_the_run_at_once(at, monkeypatch):
    losses, breaks, usual = iter(range(1, 100)), at, torch.nn.functional.cross_entropy
    spoilt = SimpleNamespace(cross_entropy=lambda *given: usual(*given) * (np.nan if next(losses) >= breaks else 1))
    monkeypatch.setattr(loop, "functional", spoilt)
    monkeypatch.setenv("ENTR_CHECKPOINT_SECONDS", "0")
    epoch, batch = divmod(at - 1, 4)
    refused(lambda: loop.train(tiny()), PHASES[epoch], f"epoch {epoch + 1}", f"step {batch + 1} of 4", "LR=0.0005")
    assert next(losses) == at + 1
    assert [path.name for path in Path("results/tiny").iterdir()] == [".locks"]


def test_float16_names_float32_before_a_lower_rate():
    """Its range is small: the rate may be right. No GPU is needed for the line."""
    kept, run = books.Books(tiny()), tiny()
    kept.begin_epoch(0)
    kept.run = replace(run, spec=run.spec.model_copy(update={"precision": "float16"}))
    with pytest.raises(books.Diverged, match=r"PRECISION=float32.* LR="):
        kept.take(2, torch.tensor(np.nan))


def test_out_of_memory_is_one_line(monkeypatch):
    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20 GiB")

    monkeypatch.setattr(step, "take_step", full)
    refused(lambda: loop.train(tiny()), "batch=16", "BATCH=8", machine.device_model())


def test_a_problem_that_can_be_learnt_is_learnt(tmp_path, monkeypatch):
    """Three colours: without training a third is right by chance."""
    for label, colour in enumerate(((200, 40, 40), (40, 200, 40), (40, 40, 200))):
        (tmp_path / "mine" / str(label)).mkdir(parents=True)
        for i in range(24):
            pixels = np.random.default_rng((label, i)).normal(colour, 30, (40, 40, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "mine" / str(label) / f"{i}.png")
    monkeypatch.setitem(PROFILES, "tiny", replace(PROFILES["tiny"], cycles=((2,), (2,), (2,), (4,))))
    cell = Cell("own", regime="gradual", profile="tiny", batch=8, lr=0.01, data=str(tmp_path / "mine"), weights="none")
    record = loop.train(prepare(cell)[0])
    assert record.accuracy_total == 1
    assert record.epochs[-1].loss < record.epochs[0].loss / 2


def test_predictions_are_of_each_image_and_tta_is_their_mean():
    network, augment = networks.build("resnet18", "none", 7, "float32").train(), make_augment("two")
    some, before = store.place(tiny().images.pixels, np.arange(7)), copy.deepcopy(network.state_dict())
    whole, parts = (step.predict(network, some, batch) for batch in (7, 3))
    assert torch.allclose(whole.sum(1), torch.ones(7), atol=1e-5)
    assert torch.allclose(whole, parts, atol=1e-5)
    torch.manual_seed(0)
    passes = [whole, *(step.predict(network, some, 7, augment) for _ in range(4))]
    torch.manual_seed(0)
    mean = step.predict_averaged(network, some, 7, augment)
    assert torch.allclose(mean, torch.stack(passes).mean(0))
    assert not mean.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("how", ["other images", "damaged", "another run's"])
def test_a_record_that_does_not_count_is_put_aside_and_made_again(how, trained, capsys):
    run, record = tiny(), trained("gradual").record
    kept = records.Record.model_fields.keys() - {"key", "checksum"}
    made: dict[str, Any] = {name: getattr(record, name) for name in kept}
    changed = records.make(**made | {"source": record.source.model_copy(update={"contents": "0" * 64})})
    found = {"other images": changed, "another run's": trained("gradual", seed=1).record, "damaged": record}[how]
    content = json.dumps(found.model_dump(mode="json"))[: 3000 if how == "damaged" else None]
    run.path.parent.mkdir(parents=True)
    run.path.write_text(content)
    assert repeatable(loop.train(run)) == repeatable(record)
    assert run.path.with_name(f"{run.path.name}.aside").read_text() == content
    assert f"{run.path.name}.aside" in capsys.readouterr().out


def test_who_comes_second_waits_and_reads(monkeypatch):
    built, found, printed, build, waits = [], [], [], networks.build, threading.Event()

    def slow(*arguments):
        built.append(waits.wait(60))
        return build(*arguments)

    def show(text, **_):
        printed.append(text)
        waits.set()

    monkeypatch.setattr(networks, "build", slow)
    monkeypatch.setattr("builtins.print", show)
    threads = [threading.Thread(target=lambda: found.append(loop.train(tiny()))) for _ in range(2)]
    for act in (threading.Thread.start, partial(threading.Thread.join, timeout=60)):
        for thread in threads:
            act(thread)
    assert (built, found[0] == found[1]) == ([True], True)
    assert [tiny().path.stem in line for line in printed] == [True]


CHANGED: list[dict] = [{"seed": 1}, {"size": 80}, {"lr": 0.5}, {"orientations": "two"}, {"data": "synthetic-fine"}]
CHANGED += [{"batch": 8}, {"network": "resnet34"}, {"precision": "bfloat16"}, {"groups": "none"}]
CHANGED += [{"regime": "stepwise"}, {"regime": "stepwise:switch=RPL"}]


def test_all_that_makes_the_numbers_is_in_the_key(checkpoint):
    given: list[dict] = [{}, *CHANGED, {"weights": str(checkpoint)}]
    runs = [tiny(**fields) for fields in given]
    assert len({run.spec.key for run in runs}) == len({run.path for run in runs}) == len(given)
    assert runs[0].path == Path(f"results/tiny/steel-resnet18-gradual-s0-{runs[0].spec.key[:6]}.json")
    assert tiny(results="elsewhere", checkpoint_dir=".").spec == runs[0].spec
    assert runs[0].spec.augmentation == "eight"
    assert draft(Cell("bees", profile="mechanism").checked()).augmentation == "two only"


WRONG = [({"size": 38}, ("size=38", "gradual", "15 px", "16 px")), ({"regime": "fast"}, ("regime='fast'", "gradual"))]
WRONG += [({"regime": "short:share=0.2"}, ("0.2", "4 batches")), ({"regime": "short:of=fast"}, ("fast", "gradual"))]
WRONG += [({"precision": "float16"}, ("precision='float16'", "CUDA", "float32, bfloat16")), ({"data": "."}, ("steel",))]


@pytest.mark.parametrize(("fields", "named"), WRONG)
def test_what_cannot_be_run(fields, named):
    refused(lambda: tiny(**fields), *named)


@pytest.mark.parametrize("regime", ["gradual", "stepwise", "blurred"])
def test_the_size_that_is_advised_can_be_run(regime):
    for size in range(16, 39):
        spec = tiny(regime).spec.model_copy(update={"size": size})
        with pytest.raises(UserError) as caught:
            plan_of(spec, 75)
        advised = int(re.findall(r"\d+", str(caught.value))[-1])
        plan, _ = plan_of(spec.model_copy(update={"size": advised}), 75)
        assert min(block.spec.detail or block.spec.size for block in plan) >= 16


def test_a_run_in_another_precision_is_nearly_the_same(trained):
    other = loop.train(tiny("no_increase", precision="bfloat16"))
    losses, expected = ([row.loss for row in one.epochs] for one in (other, trained("no_increase").record))
    assert losses != expected
    assert losses == pytest.approx(expected, rel=0.25)


def test_a_set_that_comes_split_is_trained_and_judged_as_it_comes(tmp_path):
    photos(tmp_path / "mine" / "train", ("heath", "lake"), 12)
    photos(tmp_path / "mine" / "val", ("heath", "lake", "wood"), 3)
    for path in (tmp_path / "mine" / "val").rglob("*.png"):
        grey = np.random.default_rng(zlib.crc32(str(path.name + path.parent.name).encode())).integers(0, 4000, (40, 40))
        Image.fromarray(grey.astype(np.uint16)).save(path)
    (run,) = prepare(Cell("own", data=str(tmp_path / "mine"), profile="tiny", batch=8, precision="float32", seeds=(5,)))
    record = loop.train(run)
    assert (record.split.by, record.split.n_train, record.split.n_val) == ("official", 24, 6)
    assert {name.split("/")[1] for name in record.predictions.image} == {"val"}
    assert record.source.classes == ("heath", "lake")
    assert record.source.brightness == pytest.approx((0, 4000), abs=80)
    assert "val" in record.source.left_out
    assert run.finished() == record


def test_own_images_are_run_in_all_regimes(tmp_path):
    """Seed by seed, in an order that rotates; groups named beside them are kept whole, and the record says so."""
    folder = photos(tmp_path / "mine")
    lines = [f"{name}/0{i}.png,{name}{i // 2}" for name in ("heath", "lake", "wood") for i in range(8)]
    (tmp_path / "mine_groups.csv").write_text("\n".join(["file,group", *lines]))
    runs = prepare_own(str(folder), (0, 1), profile="tiny", weights="none", batch=8)
    order = [("no_increase", 0), ("gradual", 0), ("stepwise", 0), ("gradual", 1), ("stepwise", 1), ("no_increase", 1)]
    assert [(run.spec.regime, run.spec.seed) for run in runs] == order
    assert [studies.rotated(tuple("abc"), seed) for seed in (0, 2, 3)] == [list("abc"), list("cab"), list("abc")]
    record = loop.train(runs[1])
    assert (record.split.by, record.split.groups, record.source.kind) == ("fold", 12, "folder")
