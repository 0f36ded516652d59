"""What the bench measures, at tiny sizes. No test depends on a speed."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import pytest
import torch

from benchmarks import loops, scale, ways
from entr_utils.data import store
from entr_utils.notebook import KERNEL_ENVIRONMENT


@pytest.mark.usefixtures("narrow")
class TestLoop:
    def test_pairs_warm_up_take_turns_and_end(self):
        done: list[str] = []
        network, shown = loops.build(), loops.batches(loops.random_images(32, 32), 16)
        before = {name: value.clone() for name, value in network.named_parameters()}
        took = loops.alternate(network, shown, loops.Pairs(lambda: done.append("bare"), 0.0, 3, block=2))
        assert took.shape == (3, 2)
        assert len(done) == (1 + 3) * 2
        assert (took[:, 0] > took[:, 1]).all()
        assert all(value.equal(before[name]) for name, value in network.named_parameters())  # the rate is 0

    def test_it_trains_as_a_run_does_epoch_by_epoch(self):
        orders = []
        photos, labels = loops.random_images(32, 32), torch.arange(32) % 2
        shown = loops.batches(photos, 16, labels, epochs=2)

        class Look(loops.Callback):
            def before_batch(self):
                orders.append(self.yb[0].tolist())

        network = loops.build(classes=2)
        before = network.state_dict()["head.7.weight"].clone()
        loops.fit(network, shown, [Look()], 2, 0.1)
        assert len(orders) == 4
        assert orders[:2] != orders[2:]
        assert sorted(orders[0] + orders[1]) == sorted(labels.tolist())
        assert not before.equal(network.state_dict()["head.7.weight"])

    @pytest.mark.parametrize("trains", loops.TRAINS)
    def test_a_row_of_the_ceiling(self, trains):
        row = loops.ceiling("resnet18", 32, trains, 0.0, 2)
        assert row["pairs"] == 2
        parts = row["bare_ms"] + row["loading_ms"] + row["augmentation_ms"] + row["rest_ms"]
        assert parts == pytest.approx(row["loop_ms"])
        assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
        assert [check["measured"] for check in row["judged"]] == [row["ratio"]]

    @pytest.mark.parametrize("case", ways.GROWN)
    def test_a_learner_grows_beside_full_size(self, case, monkeypatch):
        monkeypatch.setitem(ways.GROWN, case, (32, ways.GROWN[case][1]))
        rows = ways.grown(case, images=32, rounds=1)
        assert [(row["regime"], row["binds"]) for row in rows] == [(one, case) for one in (ways.FULL, *ways.REGIMES)]
        assert rows[0]["ratio"] == 1

    def test_more_images_are_compared_with_the_fewest(self):
        rows = loops.by_count((16, 32), 32, rounds=1)
        assert [(row["images"], len(row["judged"])) for row in rows] == [(16, 0), (32, 1)]
        assert rows[0]["ratio"] == 1

    def test_images_without_room_come_from_a_file(self):
        free = store.free_memory
        with mock.patch.object(store.tempfile, "TemporaryFile", wraps=store.tempfile.TemporaryFile) as opened:
            rows = loops.by_place(16, 32, rounds=1, seconds=0.0)
        assert [row["place"] for row in rows] == ["device", "disk"]
        assert opened.call_count == 1
        assert store.free_memory is free

    @pytest.mark.parametrize("usual", ["float32", "bfloat16"])
    def test_precisions_are_compared_with_float32(self, usual, monkeypatch):
        monkeypatch.setattr(ways.machine, "precision", lambda wanted="": wanted or usual)
        rows = ways.precisions("bfloat16", 32, rounds=1, seconds=0.0)
        assert [row["precision"] for row in rows] == ["float32", "bfloat16"]
        assert rows[0]["ratio"] == 1
        assert [row["emulated"] for row in rows] == [False, usual == "float32"]

    def test_rows_of_scale(self):
        rows = scale.by_count((64, 128), 32, rounds=1, batches=1)
        assert [(row["images"], len(row["judged"])) for row in rows] == [(64, 0), (128, 2)]
        mapped, jpeg = scale.by_source(44, 32, rounds=1, batches=1)
        assert (mapped["source"], mapped["kB"], mapped["ratio"]) == ("mapped array", 32 * 32 * 3 / 1e3, 1)
        assert jpeg["ratio"] > 1  # decoding a larger image takes longer than copying a small one

    def test_hours_by_hand(self):
        """36 ms an image: 40 epochs of 1,281,167 images; gradual does less of it."""
        loaded = [{"median": 0.0}, {"median": 9.0}]
        one, eight = scale.imagenet({"resnet18": 36.0}, loaded)
        assert one["hours"] == eight["hours"] == pytest.approx(0.01 * 1_281_167 * 40 / 1000)
        assert 0.3 * one["hours"] < one["gradual"] < one["hours"]
        assert (one["cores"], eight["cores"], one["binds"]) == (0.25, 2, "training")
        assert one["disk"] == pytest.approx(200.4, abs=0.1)
        assert eight["read"] == pytest.approx(8 * one["read"]) == pytest.approx(8 * 0.150528 / 0.036)
        assert scale.imagenet({"resnet18": 1.0}, [{"median": 2.0}, {"median": 9.0}])[0]["binds"] == "loading"

    def test_the_small_problem_is_the_same_for_both_ways(self, monkeypatch):
        for name, value in {"TRAIN": 5, "TEST": 2, "SIZE": 32, "SEEDS": (3, 3)}.items():
            monkeypatch.setattr(ways, name, value)
        found = ways.compare("ours, fastai", (ways.Ours, {"precision": "float32"}), (ways.Fastai, {}))
        (ours, again), others = found["all"]
        assert ours == again == found["first"]
        assert {round(14 * value, 6) % 1 for value in (ours, *others)} == {0}
        assert (found["seeds"], found["judged_images"]) == (2, 14)


USUAL = {"ratio": 0.99, "bare_ms": 100.0, "augmentation_ms": 1.0, "loading_ms": 1.0, "rest_ms": 0.0}


@pytest.mark.parametrize(
    ("measured", "required", "what"),
    [
        ({}, None, "arithmetic"),
        ({"ratio": 0.9}, 0.88, "arithmetic"),
        ({"ratio": 0.9, "augmentation_ms": 9.0}, None, "augmentation"),
        ({"ratio": 0.5, "loading_ms": 60.0}, 0.88, "loading"),
        ({"ratio": 0.5, "rest_ms": 99.0}, 0.88, "callbacks"),
        ({"launch_share": 0.95}, None, "launches"),
        ({"ratio": 0.5, "loading_ms": 60.0, "launch_share": 0.95}, None, "launches"),
        ({"ratio": 0.4, "loading_ms": 160.0, "launch_share": 0.95}, None, "loading"),
    ],
)
def test_what_binds(measured, required, what):
    assert loops.binds(USUAL | measured, required) == what


def test_the_ways_train_the_same_files(place):
    ways.write_images(place / "images", 8, 4, 1, 40, "jpg")
    assert len([*(place / "images").rglob("train/*/*.jpg")]) == 32
    assert len([*(place / "images").rglob("valid/*/*.jpg")]) == 8
    for name in ways.WAYS:
        assert min(ways.epoch(name, place / "images", 32)) > 0


def test_ways_are_timed_in_turns(monkeypatch):
    took = {"ours": 2.0, "fastai": 8.0, "torchvision": 6.0}
    fake = {"worker": lambda way: ThreadPoolExecutor(1), "epoch": lambda way, *_: (took[way], 0.5)}
    for name, value in {**fake, "compare": lambda *_: {}, "LARGEST": 32}.items():
        monkeypatch.setattr(ways, name, value)
    found = [(row["size"], row["way"], row["ratio"], row["set_up_s"]) for row in ways.measure_versus({})["speed"]]
    assert found == [(size, way, took[way] / 2, 0.5) for size in (250, 100) for way in took]


def test_a_worker_has_settings_of_its_own_and_its_death_is_an_error(monkeypatch):
    for name, value in KERNEL_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for way in ("ours", "fastai"):
        with ways.worker(way) as pool:
            values = [pool.submit(os.getenv, name).result() for name in KERNEL_ENVIRONMENT]
            assert values == [value if way == "ours" else None for value in KERNEL_ENVIRONMENT.values()]
    with ways.worker("fastai") as pool:
        os.kill(pool.submit(os.getpid).result(), signal.SIGKILL)
        with pytest.raises(RuntimeError):
            pool.submit(os.getpid).result()
