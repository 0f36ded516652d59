"""Control regimes, matched time, the mechanism's images, and that the paper's own runs keep their names."""

import json
import shutil

import numpy as np
import pytest
import torch

from entr_utils import augmentation, experiment, images, learning, matching, records, reproduce, training, views
from entr_utils.conditions import comparable
from entr_utils.keys import key_of
from entr_utils.parameters import Parameters, of_record
from entr_utils.regimes import CONTROLS, PROFILES, REGIMES, Stage, make_regime, pixels

# Of committed records: bees, resnet18, seed 0. What a test machine does not share with them is put in its place.
RECORDED = {
    "protocol": 1, "precision": "bfloat16", "device": "Intel(R) Xeon(R) Processor, 2 threads", "lr": 0.02,
    "weights": "resnet18-standin.pt",
    "weights_sha256": "036bf987bccec4f86b98c989cb57d2e4301f9f91c44ff7c703cb6c4ee0e42076",
    "data_sha256": "799937689b4504f09f8b986e2980c97f793cf19e5dde2ebff43d0af2c3825337",
    "split_sha256": "8a83222b198670882e46b14a5af4ac7d2773349dbbfc295ed9e76ebe79d336aa",
}  # fmt: skip
KEYS = {
    "no_increase": "4f30871cf6fcc24085e4a2f396342ada92d5fca00bad540b378fc039a227edd3",
    "gradual": "18413900d3a4d0df39c5c97fdb6faa3c0318793ad4704611e87a7aec7286e0a0",
    "stepwise": "3e6cc518c4b3451cd57b1d76c08bd4cbfee43f4d012b7ef3ce7bbbf1b1b80491",
}


@pytest.mark.parametrize("regime", KEYS)
def test_a_run_of_the_paper_keeps_its_name(regime, photos, checkpoint, tmp_path):
    """Stages, augmentation, batch, dropout: all that its identity says, and nothing more, gives the recorded key."""
    photos(tmp_path / "bees")
    run = experiment.prepare("bees", regime=regime, profile="paper", data=str(tmp_path), weights=str(checkpoint))
    assert set(RECORDED) < set(run.identity)
    assert key_of(run.identity | RECORDED) == KEYS[regime]


PAPER = PROFILES["paper"]
SCHEDULES = {  # pixels at SGDR, CLRS, CMult, RPL, TTA: of the detail seen, and of the images the network is fed
    "small": ([100, 100, 100, 100, 250], [100, 100, 100, 100, 250]),
    "reversed": ([250, 200, 150, 100, 250], [250, 200, 150, 100, 250]),
    "short": ([250, 250, 250, 250, 250], [250, 250, 250, 250, 250]),
    "blurred": ([100, 150, 200, 250, 250], [250, 250, 250, 250, 250]),
    "cropped": ([100, 150, 200, 250, 250], [100, 150, 200, 250, 250]),
}


@pytest.mark.parametrize("regime", CONTROLS)
def test_schedules_of_the_controls(regime):
    stages = make_regime(regime, PAPER).stages
    assert ([pixels(stage.size, 250) for stage in stages], [stage.fed(250) for stage in stages]) == SCHEDULES[regime]
    assert [stage.epochs for stage in stages] == [3, 4, 7, 7, 0]
    of_view = [regime] * 3 if regime in ("blurred", "cropped") else ["resized"] * 3
    assert [stage.view for stage in stages] == [*of_view, "resized", "resized"]


def test_a_share_of_the_batches():
    """.8 of 8 batches: after 1, 2, ... epochs there were round(6.4), round(12.8), ...; of other regimes, all."""
    short = make_regime("short", PAPER, share=0.8)
    assert [short.batches(epoch, 8) for epoch in range(5)] == [6, 7, 6, 7, 6]
    assert sum(short.batches(epoch, 8) for epoch in range(21)) == 134  # of 168: .7976
    assert [short.batches(epoch, 10) for epoch in range(21)] == [8] * 21
    for regime in REGIMES:
        assert {make_regime(regime, PAPER, share=0.8).batches(epoch, 8) for epoch in range(21)} == {8}


def test_every_cycle_of_short_completes():
    """The rate at the last batch of each cycle is what it is with so many batches, never cut off on its way."""
    short, first = make_regime("short", PAPER, share=0.8), 0
    for length in (1, 1, 1, 2, 2, 1, 2, 4, 1, 2, 4):
        last = first + length - 1
        batches = short.batches(last, 40)
        assert batches == 32
        assert short.lookup(first, 0, 32).lr_factor == 1
        assert short.lookup(last, 31, 32).lr_factor == pytest.approx((np.pi / (length * 32)) ** 2 / 4, rel=0.01)
        first += length
    assert first == short.epochs


def took(training_seconds: float, tta: float, key: str) -> dict:
    """As much of a record as a plan needs."""
    return {"key": key, "seconds_total": training_seconds + tta, "stages": [{"seconds": training_seconds},
                                                                            {"seconds": tta}]}  # fmt: skip


def test_matching_by_hand():
    """Training took 80 s and 64 s, and would now take as long, or a quarter longer; the TTA passes are in every regime
    and not to be matched."""
    for now, share in ((80, 0.8), (100, 0.64)):
        plan = matching.match(took(80, 20, "n"), took(64, 21, "g"), now + 21, whole=8)
        assert plan == {"share": share, "target_seconds": 85, "expected_seconds": now + 21, "gradual": "g",
                        "no_increase": "n"}  # fmt: skip


@pytest.mark.parametrize(("gradual", "whole"), [(80, 8), (90, 8), (20, 3)])
def test_what_cannot_be_matched(gradual, whole, refused):
    """Gradual saved nothing; or less than a batch an epoch would be left."""
    refused(lambda: matching.match(took(80, 20, "n"), took(gradual, 20, "g"), 100, whole), "regime='short'",
            f"{gradual / 80:g} of the training seconds", f"{whole} batches")  # fmt: skip


def noise(n: int = 5, size: int = 80) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (n, size, size, 3), np.uint8))


def stage(view: str, size: float = 0.4) -> Stage:
    return Stage("SGDR", size, 1, 1, 1, "all", (1, 1, 1), view)


def test_blurred_images_are_shrunk_and_enlarged():
    photos = noise()
    seen = views.show(photos, stage("blurred"), 80)
    assert seen.shape == photos.shape
    planes = photos.permute(0, 3, 1, 2).float()
    small = torch.nn.functional.interpolate(planes, (32, 32), mode="bilinear", antialias=True)
    large = torch.nn.functional.interpolate(small, (80, 80), mode="bilinear", antialias=True).permute(0, 2, 3, 1)
    assert (seen - large).abs().max() <= 2  # rounded to bytes, twice
    assert torch.equal(seen, images.resize(images.resize(photos, 32), 80))


def test_cropped_images_are_windows_drawn_for_each_epoch():
    photos = noise()
    first, again, other = (views.show(photos, stage("cropped"), 80, seed=3, epoch=epoch) for epoch in (0, 0, 1))
    assert first.shape == (5, 32, 32, 3)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    places = []
    for photo, crop in zip(photos, first, strict=True):
        windows = photo.unfold(0, 32, 1).unfold(1, 32, 1)  # (49, 49, 3, 32, 32)
        places += (windows == crop.permute(2, 0, 1)).flatten(2).all(2).nonzero().tolist()
    assert len(places) == 5  # each is in its own image, once
    assert len({tuple(place) for place in places}) == 5
    assert torch.equal(views.show(photos, stage("cropped"), 80), photos[:, 24:56, 24:56])


def test_crops_reach_the_edges():
    """33 pixels have two windows of 32 a side: all four are drawn."""
    seen = views.show(noise(64, 33), stage("cropped", 32 / 33), 33, 0, 0)
    corners = {(i, j) for photo, crop in zip(noise(64, 33), seen, strict=True) for i in (0, 1) for j in (0, 1)
               if torch.equal(photo[i : i + 32, j : j + 32], crop)}  # fmt: skip
    assert corners == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_only_flips():
    """Without distortion each image is itself or its mirror image, to rounding."""
    torch.manual_seed(0)
    photos = noise(24, 40)
    out, plain = augmentation.make_augment("two", distorts=False)(photos), augmentation.normalise(photos)
    same, mirrored = ((out - other).abs().amax((1, 2, 3)) < 1e-3 for other in (plain, plain.flip(3)))
    assert (same ^ mirrored).all()
    assert 4 < same.sum() < 20


@pytest.fixture(scope="session")
def flops(trained):
    return {regime: trained(regime).record["flops_total"] for regime in (*REGIMES, *CONTROLS) if regime != "short"}


@pytest.mark.parametrize("regime", [regime for regime in CONTROLS if regime != "short"])
def test_a_control_trains(regime, trained):
    """Its record is valid; sizes, images and what was measured are those of its schedule."""
    one = trained(regime)
    records.check(one.record, one.experiment.path)
    fed = {"small": [32] * 4, "reversed": [80, 64, 48, 32], "blurred": [80] * 4, "cropped": [32, 48, 64, 80]}[regime]
    stages = one.record["stages"]
    assert [row["size"] for row in stages] == [*fed, 80]
    assert [row["size"] for row in one.record["epochs"]] == fed
    assert [row["images"] for row in stages[:4]] == [64] * 4
    assert set(one.record["warmup_seconds"]) == {f"{size} all" for size in fed}
    resized = [row["resize_seconds"] > 0 for row in one.record["epochs"]]
    assert resized == {"small": [True, False, False, False], "reversed": [False, True, True, True]}.get(
        regime, [True] * 4
    )
    assert one.heads[0] == trained("no_increase").heads[0]
    assert one.record["predictions"]["image"] == trained("no_increase").record["predictions"]["image"]


def test_blurring_costs_what_full_size_costs_and_crops_what_small_images_do(flops):
    assert flops["blurred"] == flops["no_increase"] == max(flops.values())
    assert flops["cropped"] == flops["gradual"] == flops["reversed"]
    assert flops["small"] == min(flops.values())


@pytest.mark.parametrize(("regime", "sizes"), [("small", [80] * 5 + [32] * 5), ("gradual", [80] * 5)])
def test_tta_at_the_size_trained_at_is_off_the_clock(regime, sizes, tmp_path, narrow, monkeypatch):
    """Its accuracy is that of the five passes at that size; T has those at full size alone."""
    run, seen, predict = prepare(tmp_path, regime), [], learning.predict

    def watched(network, photos, batch, augment=None):
        probabilities = predict(network, photos, batch, augment)
        seen.append((photos.shape[1], probabilities))
        return probabilities

    monkeypatch.setattr(learning, "predict", watched)
    record = training.train(run)
    passes = seen[-len(sizes) :]
    assert [size for size, _ in passes] == sizes
    tta, truth = record["stages"][-1], torch.tensor(record["predictions"]["truth"])
    last = torch.stack([probabilities.cpu() for _, probabilities in passes[-5:]]).mean(0).argmax(1)
    assert tta["accuracy_train_size"] == pytest.approx((last == truth).float().mean().item())
    assert tta["accuracy_full_size"] == pytest.approx(record["accuracy_total"])
    assert (tta["eval_seconds"] > 0) == (regime == "small")
    assert tta["images"] == 5 * record["n_val"]


def prepare(results, regime: str, **parameters) -> experiment.Experiment:
    return experiment.prepare("steel", profile="tiny", regime=regime, results=str(results), **parameters)


def timed(record: dict, seconds: float) -> dict:
    """The record as it were had each training stage taken so long."""
    for row in (*record["stages"][:-1], *record["epochs"]):
        row["seconds"] = seconds
    return records.make(record["identity"], record, {}, {}, record["environment"])


@pytest.fixture
def measured(trained, tmp_path, monkeypatch):
    """Puts runs of no_increase and gradual in place whose stages took so many seconds, on a machine that now takes
    `slower` times as long."""

    def put(slower: float = 1.0, **seconds) -> None:
        for regime, each in seconds.items():
            record = json.loads(json.dumps(trained(regime).record))
            records.write(timed(record, each), prepare(tmp_path, regime).path)
        now = 4 * slower * seconds["no_increase"] + trained("gradual").record["stages"][-1]["seconds"]
        monkeypatch.setattr(matching, "expected", lambda control: now)

    return put


def test_short_needs_what_it_is_matched_to(measured, tmp_path, refused):
    refused(lambda: prepare(tmp_path, "short"), "regime='short'", "steel, resnet18, seed 0",
            "missing: no_increase, gradual")  # fmt: skip
    measured(no_increase=8.0)
    refused(lambda: prepare(tmp_path, "short"), "missing: gradual")


def test_one_batch_cannot_be_made_shorter(measured, tmp_path, refused):
    """A step of more images than there are to train on."""
    measured(no_increase=8.0, gradual=6.0)
    for regime in ("no_increase", "gradual"):
        shutil.copy(prepare(tmp_path, regime).path, prepare(tmp_path, regime, batch=1000).path)
    refused(lambda: prepare(tmp_path, "short", batch=1000), "regime='short'", "at least one of the 1 batches")


def test_short_trains_for_as_many_batches_as_match(measured, tmp_path, by_hand):
    """Three of the four batches of each epoch; the record says what it was matched to."""
    measured(no_increase=8.0, gradual=6.0)
    run = prepare(tmp_path, "short")
    record = training.train(run)
    records.finish(run.path)
    records.check(record, run.path)
    assert [row["images"] for row in record["stages"][:4]] == [48] * 4
    assert [row.get("share") for row in record["identity"]["stages"]] == [0.75] * 4 + [None]
    control, gradual = (records.read(prepare(tmp_path, regime).path) for regime in ("no_increase", "gradual"))
    assert record["matched"] == {
        "share": 0.75, "target_seconds": gradual["seconds_total"], "gradual": gradual["key"],
        "expected_seconds": pytest.approx(32 + gradual["stages"][-1]["seconds"]), "no_increase": control["key"],
    }  # fmt: skip
    assert record["flops_total"] - record["flops_per_image"]["forward"] * 5 * record["n_val"] == pytest.approx(
        0.75 * (control["flops_total"] - control["flops_per_image"]["forward"] * 5 * control["n_val"])
    )
    assert comparable(record["identity"]) == comparable(control["identity"])
    measured(no_increase=8.0, gradual=5.0)  # measured again: the run that is there stays the run
    assert prepare(tmp_path, "short").key == run.key
    assert experiment.prepare("steel", **of_record(record), results=str(tmp_path)).key == run.key


def test_short_is_planned_for_the_machine_as_it_is_now_and_once(measured, tmp_path):
    """At half the speed half as many batches; a plan stays as it was made, until it is taken away."""
    measured(no_increase=8.0, gradual=6.0, slower=1.5)
    short = prepare(tmp_path, "short")
    assert short.parameters.share == 0.5
    measured(no_increase=8.0, gradual=6.0)
    assert prepare(tmp_path, "short").key == short.key
    (plan,) = short.path.parent.glob("*.plan")
    plan.unlink()
    assert prepare(tmp_path, "short").parameters.share == 0.75


def test_a_damaged_short_is_planned_again(measured, tmp_path, by_hand):
    """Its record cut in half is no reason to refuse it."""
    measured(no_increase=8.0, gradual=6.0)
    short = prepare(tmp_path, "short")
    training.train(short)
    records.finish(short.path)
    short.path.write_text(short.path.read_text()[:1000])
    assert prepare(tmp_path, "short").key == short.key


def test_a_share_of_batches_is_trained_on_in_the_usual_order(tmp_path):
    """The first of those that the whole epoch has."""
    run = prepare(tmp_path, "no_increase")
    photos, labels = learning.place(run, run.training)
    batches = images.Batches(photos, labels, 16, 0, augmentation.normalise)
    whole = [truth for _, truth in batches]
    batches.length = 3
    assert len(batches) == 3
    assert [truth.tolist() for _, truth in batches] == [truth.tolist() for truth in whole[:3]]
    assert batches.whole == len(whole) == 4


@pytest.mark.parametrize("wrong", [-0.1, 1.1, "half"])
def test_wrong_shares(wrong, refused):
    refused(Parameters("steel", regime="short", share=wrong).checked, f"share={wrong!r}", "at most 1")


def test_a_share_of_less_than_a_batch_is_refused(tmp_path, refused):
    """77 images make four batches of 16."""
    refused(lambda: prepare(tmp_path, "short", share=0.2), "share=0.2", "less than one of the 4 batches")
    assert prepare(tmp_path, "short", share=0.25).parameters.share == 0.25


def test_a_share_given_by_hand_hides_no_plan(measured, tmp_path, by_hand):
    """Both runs are there; measured again, the matched one stays what it was, whichever is read first."""
    measured(no_increase=8.0, gradual=6.0)
    run = prepare(tmp_path, "short")
    training.train(run)
    for share in (0.5, 0.25):
        training.train(prepare(tmp_path, "short", share=share))
    measured(no_increase=8.0, gradual=5.0)
    assert prepare(tmp_path, "short").key == run.key


def test_what_a_control_does_is_in_its_key(tmp_path):
    """And nothing but regime and stages keeps it from being compared."""
    runs = [prepare(tmp_path, regime, share=0.5) for regime in (*REGIMES, *CONTROLS)]
    assert len({run.key for run in runs}) == 8
    assert len({comparable(run.identity) for run in runs}) == 1
    extra = {run.parameters.regime: [{*step} - {"name", "size", "cycle_epochs", "trains", "lr"} for step in
                                     run.identity["stages"]] for run in runs}  # fmt: skip
    assert extra.pop("short") == [{"share"}] * 4 + [set()]
    assert extra.pop("blurred") == extra.pop("cropped") == [{"view"}] * 3 + [set()] * 2
    assert list(extra.values()) == [[set()] * 5] * 5


PARAMETERS = [
    {"data": "synthetic-fine"}, {"data": "synthetic-coarse", "orientations": "two"}, {"switch": "RPL"},
    {"switch": "CLRS", "seed": 2, "lr": 0.03}, {"regime": "blurred"}, {"regime": "short", "share": 0.5},
    {"profile": "mechanism", "data": "synthetic-coarse", "batch": 8},
]  # fmt: skip


@pytest.mark.parametrize("given", PARAMETERS, ids=str)
def test_a_record_gives_back_its_runs_parameters(given, tmp_path):
    run = experiment.prepare("steel", **{"profile": "tiny", "regime": "stepwise", "results": str(tmp_path)} | given)
    record = {"identity": run.identity, **run.about}
    assert experiment.prepare("steel", **of_record(record)).key == run.key


def test_a_run_on_fine_detail_is_reproduced(trained, tmp_path):
    one = trained("gradual", data="synthetic-fine", orientations="two")
    path = tmp_path / one.experiment.path.name
    records.write(one.record, path)
    assert "Everything that makes the numbers was the same" in reproduce.reproduce(path)


def test_the_mechanisms_profile(tmp_path):
    """64 px, so that gradual begins at 26; five classes; flips alone."""
    runs = [experiment.prepare("steel", profile="mechanism", regime=regime, results=str(tmp_path)) for regime in
            ("gradual", "blurred", "small")]  # fmt: skip
    assert [[step["size"] for step in run.identity["stages"]] for run in runs] == [
        [26, 38, 51, 64, 64], [26, 38, 51, 64, 64], [26, 26, 26, 26, 64]]  # fmt: skip
    for run in runs:
        assert run.identity["augmentation"] == "eight orientations"
        assert len(run.images.classes) == 5
        assert run.images.pixels.shape[1:] == (64, 64, 3)
        assert run.path.parent.parent == tmp_path / "mechanism"
