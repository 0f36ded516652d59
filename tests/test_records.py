"""Records: written whole or not at all, and checked against their own parts when they are read."""

import copy
import json
import math
import os

import pytest
from conftest import ROOT

from entr_utils import conditions, records, reports
from entr_utils.keys import key_of, slug
from entr_utils.regimes import PROTOCOL


@pytest.fixture
def record(trained) -> dict:
    """A record that a test may change."""
    return copy.deepcopy(trained("gradual").record)


NAME = "steel-resnet18-gradual-s0-abcdef.json"


def test_what_is_written_is_read(record, tmp_path):
    records.write(record, tmp_path / "deep" / NAME)
    assert records.read(tmp_path / "deep" / NAME) == json.loads(json.dumps(record))


def test_a_record_says_that_nothing_was_left_out(record):
    assert [record[name] for name in ("n_left_out", "left_out", "n_copies", "copies")] == [0, [], 0, []]
    assert reports.not_used(record) == ""


def test_only_the_record_is_left(record, tmp_path):
    records.write(record, tmp_path / NAME)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_an_interrupted_write_leaves_no_record(record, tmp_path, monkeypatch):
    """The machine stops after the text is written, before the file has its name."""

    def stopped(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        records.write(record, tmp_path / NAME)
    assert not (tmp_path / NAME).exists()
    assert records.read_all(tmp_path) == []


def test_a_wrong_record_is_not_written(record, tmp_path, refused):
    record["accuracy_total"] = 0.123
    refused(lambda: records.write(record, tmp_path / NAME), "accuracy_total")
    assert list(tmp_path.iterdir()) == []


def flip(record):
    """One more right or wrong prediction."""
    kept = record["predictions"]
    kept["total"][0] = kept["truth"][0] if kept["total"][0] != kept["truth"][0] else kept["truth"][0] + 1


def cut(record):
    """The last validation image is forgotten in one list."""
    record["predictions"]["rpl"].pop()


def rename_a_stage(record):
    record["stages"][0]["name"] = "WARMUP"


def forget_a_cost(record):
    record["flops_per_image"].pop("forward")


def replace(*path, by):
    """A tampering: the value at `path` becomes `by`, or `by` of it."""

    def tamper(record):
        for name in path[:-1]:
            record = record[name]
        record[path[-1]] = by(record[path[-1]]) if callable(by) else by

    return tamper


def remove(*path):
    def tamper(record):
        for name in path[:-1]:
            record = record[name]
        del record[path[-1]]

    return tamper


TAMPERED = {
    "accuracy": (replace("accuracy_subtotal", by=lambda value: (value + 0.5) % 1), "accuracy_subtotal"),
    "a prediction": (flip, "accuracy_total"),
    "fewer predictions": (cut, "predictions"),
    "the number of images": (replace("n_val", by=1), "n_val"),
    "total seconds": (replace("seconds_total", by=1.0), "seconds_total"),
    "a stage's seconds": (replace("stages", 1, "seconds", by=lambda value: value / 2), "seconds_subtotal"),
    "the tta's seconds": (replace("stages", 4, "seconds", by=lambda value: value * 2), "seconds_total"),
    "efficiency": (replace("efficiency_total", by=9.9), "efficiency_total"),
    "warm-up": (replace("warmup_seconds", "32 all", by=99.0), "efficiency_total_with_warmup"),
    "flops": (replace("flops_total", by=1.0), "flops_total"),
    "images": (replace("stages", 0, "images", by=1), "flops_subtotal"),
    "key": (replace("key", by="0" * 64), "key"),
    "identity": (replace("identity", "seed", by=5), "key"),
    "regime": (replace("regime", by="stepwise"), "regime"),
    "seed": (replace("seed", by=1), "seed"),
    "weights": (replace("weights", by="imagenet"), "weights"),
    "a missing field": (remove("accuracy_rpl"), "accuracy_rpl"),
    "a missing field of a stage": (remove("stages", 2, "eval_seconds"), "stages/2: must contain ['eval_seconds']"),
    "a missing part": (remove("environment", "torch"), "environment: must contain ['torch']"),
    "no stages": (replace("stages", by=[]), "stages"),
    "another stage": (rename_a_stage, ""),
    "a missing cost": (forget_a_cost, ""),
    "an accuracy above 1": (replace("accuracy_total", by=97.1), "accuracy_total"),
    "a text for a number": (replace("seconds_total", by="12"), "seconds_total"),
    "another schema": (replace("schema", by=2), "schema"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_changed_record_is_refused(what, record, tmp_path, refused):
    """The line names the file and what does not fit."""
    tamper, fragment = TAMPERED[what]
    tamper(record)
    (tmp_path / NAME).write_text(json.dumps(record))
    refused(lambda: records.read(tmp_path / NAME), NAME, fragment, "delete it and run again")


def test_the_committed_records_can_be_read():
    """Those of protocol 1, too, which have no forecast."""
    forecasts = set(records.LATER[:4])
    committed = records.read_all(ROOT / "results" / "paper")
    assert committed
    for record in committed:
        assert forecasts & set(record) == (set() if record["protocol"] == 1 else forecasts)


def test_a_record_has_what_was_foretold(record, tmp_path):
    """One of before does not, and stands in the same table."""
    assert min(record[name] for name in records.LATER[:4]) > 0
    assert record["protocol"] == PROTOCOL == 2
    records.write(record, tmp_path / NAME)
    for name in records.LATER:
        record.pop(name, None)
    records.write(record, tmp_path / NAME.replace("s0", "s1"))
    table = records.load(tmp_path)
    assert table["forecast_seconds"].isna().tolist() == [False, True]
    assert table["seconds_total"].tolist() == [record["seconds_total"]] * 2


@pytest.mark.parametrize("name", ["forecast_seconds", "forecast_wall_seconds", "forecast_memory"])
@pytest.mark.parametrize("value", [0, -1.0, "12", None])
def test_a_forecast_is_a_number_above_0(name, value, record, tmp_path, refused):
    record[name] = value
    refused(lambda: records.write(record, tmp_path / NAME), name, "delete it and run again")


@pytest.mark.parametrize("damage", [lambda text: text[: len(text) // 2], lambda text: "", lambda text: "[]"])
def test_a_truncated_record_is_refused(damage, record, tmp_path, refused):
    (tmp_path / NAME).write_text(damage(json.dumps(record)))
    refused(lambda: records.read(tmp_path / NAME), NAME, "delete it and run again")


def test_one_bad_record_is_named_among_many(record, tmp_path, refused):
    records.write(record, tmp_path / NAME)
    (tmp_path / "steel-resnet18-gradual-s1-abcdef.json").write_text("{")
    refused(lambda: records.load(tmp_path), "steel-resnet18-gradual-s1-abcdef.json")


@pytest.mark.parametrize(
    ("accuracy", "seconds", "expected"),
    [(0.81, 36, math.sqrt(0.81 / 0.6)), (1, 60, 1), (0.5, 120, 0.5), (0, 60, 0)],
)
def test_standardised_accuracy_by_hand(accuracy, seconds, expected):
    """As = sqrt(A / T), T in minutes."""
    assert records.standardised_accuracy(accuracy, seconds) == pytest.approx(expected)


def test_totals_by_hand():
    stages = [{"name": name, "seconds": seconds} for name, seconds in
              (("SGDR", 1), ("CLRS", 2), ("CMult", 4), ("RPL", 8), ("TTA", 16))]  # fmt: skip
    assert records.totals(stages) == {"seconds_subtotal": 7, "seconds_total": 31}


def test_the_table_is_tidy(trained, tmp_path):
    """One row a record, in the order of the file names; scalars only."""
    for regime in ("no_increase", "gradual", "stepwise"):
        one = trained(regime)
        records.write(one.record, tmp_path / "tiny" / "some device" / one.experiment.path.name)
    table = records.load(tmp_path)
    assert table["regime"].tolist() == ["gradual", "no_increase", "stepwise"]
    assert {"dataset", "network", "seed", "key", "weights", "accuracy_total", "seconds_total", "efficiency_total",
            "flops_total", "warmup_total", "comparable", "env_torch", "env_device"} <= set(table.columns)  # fmt: skip
    assert not table.map(lambda value: isinstance(value, dict | list)).any(axis=None)
    row = table.iloc[0]
    assert row["seconds_total"] == trained("gradual").record["seconds_total"]
    assert row["warmup_total"] == sum(trained("gradual").record["warmup_seconds"].values())


def test_other_files_are_no_records(record, tmp_path):
    """Runs that only trained, half-written files, probes, notes."""
    for name in (
        NAME.replace(".json", ".trained"),
        NAME.replace(".json", ".12.partial"),
        "probes/steel.json",
        "x.json",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{")
    assert records.load(tmp_path).empty


def test_a_folder_without_records_is_an_empty_table(tmp_path):
    assert records.load(tmp_path / "nowhere").empty


def test_regimes_and_seeds_are_comparable(trained):
    identities = [trained("gradual").record["identity"], trained("no_increase").record["identity"],
                  trained("gradual", seed=1).record["identity"]]  # fmt: skip
    assert len({conditions.comparable(identity) for identity in identities}) == 1


@pytest.mark.parametrize(
    "name",
    ["protocol", "dataset", "network", "profile", "size", "batch", "lr", "dropout", "augmentation", "precision",
     "weights", "weights_sha256", "data_sha256", "device"],
)  # fmt: skip
def test_runs_that_differ_otherwise_are_not(name, record):
    identity = record["identity"]
    assert conditions.comparable(identity | {name: "other"}) != conditions.comparable(identity)


@pytest.fixture
def papers_own(record) -> dict:
    """As if it had been the paper's: ImageNet weights, as many images, a GPU."""
    record |= {"weights": "imagenet", "weights_note": "", "image_source": "a folder: 1460 images, 7 classes"}
    record["environment"]["device"] = "Tesla T4"
    return record


def test_nothing_to_say_of_the_papers_own_setting(papers_own):
    assert records.caption([papers_own]) == ""
    assert records.caption([]) == ""


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"image_source": "synthetic aerial, class carried by both detail"}, "a demonstration, not evidence"),
        ({"image_source": "a stand-in for the paper's Bees"}, "Stand-in images for steel."),
        ({"weights": "none"}, "nothing is frozen"),
        ({"weights": "mine.pt"}, "Weights mine.pt: not ImageNet weights"),
        ({"weights": "mine.pt", "weights_note": "trained on Imagenette"}, "Weights mine.pt: trained on Imagenette."),
        ({"environment": {"device": "Xeon, 2 threads"}}, "Trained on a CPU"),
    ],
)
def test_no_fallback_is_silent(changed, said, papers_own):
    """Also where only one of many records stands on it; then, of several devices, with their letters."""
    assert said in records.caption([papers_own | changed])
    how = f"{papers_own['precision']}, protocol {papers_own['protocol']}"
    letters = f" A: Tesla T4, {how}. B: Xeon, 2 threads, {how}." if "environment" in changed else ""
    both = records.caption([papers_own, papers_own | changed])
    assert both == records.caption([papers_own | changed]) + letters


def test_the_key_does_not_depend_on_the_order_of_names(record):
    identity = record["identity"]
    assert key_of(dict(reversed(identity.items()))) == record["key"]


@pytest.mark.parametrize(
    ("device", "folder"),
    [("Intel(R) Xeon(R) Processor, 2 threads", "intel-xeon-processor-2-threads"), ("Tesla T4", "tesla-t4")],
)
def test_slug(device, folder):
    assert slug(device) == folder


def test_every_bit_of_a_record_counts(record, tmp_path, refused):
    """A digit of a loss follows from nothing else: the checksum tells."""
    record["epochs"][0]["loss"] += 1e-9
    (tmp_path / NAME).write_text(json.dumps(record))
    refused(lambda: records.read(tmp_path / NAME), NAME, "the checksum does not follow from the rest")
