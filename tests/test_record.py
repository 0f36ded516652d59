"""Records: written whole or not at all, checked against their own parts when they are read. No torch, no training."""

import copy
import json
import math
import re
from typing import Any

import by_hand
import pytest
from conftest import ROOT
from data_by_hand import refused
from pydantic import ValidationError

from entr_utils.results import record as records
from entr_utils.util import checksum

NAME = "steel-resnet18-gradual-s3-abcdef.json"
RECORD = by_hand.record("gradual", 3, n_val=20, n_train=180, moved_to="Abacus II", accuracy_own=0.6)
RAW = json.loads(RECORD.model_dump_json())


def test_what_is_written_is_read(tmp_path):
    one = by_hand.record("gradual", seconds=1 / 3)
    records.write(one, tmp_path / "deep" / NAME)
    assert records.read(tmp_path / "deep" / NAME) == one
    assert [path.name for path in (tmp_path / "deep").iterdir()] == [NAME]
    with pytest.raises(ValidationError):
        one.accuracy_total = 1.0


def test_what_follows_by_hand():
    """Accuracies from predictions, seconds from phases, FLOPs of batches of 64 and of five TTA passes."""
    seconds = {phase.name: phase.seconds for phase in RECORD.phases}
    assert RECORD.accuracy_subtotal == 0.7
    assert RECORD.accuracy_rpl == RECORD.accuracy_total == 0.8
    assert RECORD.seconds_subtotal == pytest.approx(seconds["SGDR"] + seconds["CLRS"] + seconds["CMult"])
    assert RECORD.seconds_total == pytest.approx(sum(seconds.values()))
    heads = 64 * 2 * 1e5 * (3 * 100**2 + 4 * 150**2 + 7 * 200**2)  # two batches an epoch
    assert RECORD.flops_subtotal == pytest.approx(heads)
    assert RECORD.flops_total == pytest.approx(heads + 64 * 2 * 7 * 3e5 * 250**2 + 20 * 5 * 1e5 * 250**2)
    assert RECORD.key == RECORD.spec.key
    found = [records.efficiency(*given) for given in ((0.81, 36), (1, 60), (0.5, 120), (0, 60))]
    assert found == pytest.approx([math.sqrt(0.81 / 0.6), 1, 0.5, 0])  # sqrt(A / T), T in minutes


def at(value: Any, path: tuple) -> Any:
    for name in path:
        value = value[name]
    return value


def test_every_value_of_a_record_counts(tmp_path):
    text = json.dumps(RAW)
    ends = [found.start() for found in re.finditer(r'[^\[\]{}"](?="?[,\]}])', text)]
    assert len(ends) > 300
    for end in ends:
        (tmp_path / NAME).write_text(f"{text[:end]}{'2' if text[end] == '1' else '1'}{text[end + 1 :]}")
        refused(lambda: records.read(tmp_path / NAME), NAME)


def change(*path, by):
    """A tampering: the value at `path` becomes `by`, or `by` of it."""

    def tamper(record):
        holder = at(record, path[:-1])
        holder[path[-1]] = by(holder[path[-1]]) if callable(by) else by

    return tamper


TAMPERED = {
    "accuracy": (change("accuracy_subtotal", by=0.25), "accuracy_subtotal"),
    "a prediction": (change("predictions", "total", 0, by=lambda value: value + 1), "accuracy_total"),
    "fewer predictions": (change("predictions", "rpl", by=lambda value: value[:-1]), "predictions"),
    "the number of images": (change("split", "n_val", by=21), "predictions"),
    "no judged images": (change("predictions", by=lambda value: {name: [] for name in value}), ""),
    "total seconds": (change("seconds_total", by=1.0), "seconds_total"),
    "a phase's seconds": (change("phases", 1, "seconds", by=lambda value: value / 2), "seconds_subtotal"),
    "FLOPs": (change("flops_total", by=1.0), "flops_total"),
    "FLOPs of a step": (change("flops", "step head 100 b64", by=1.0), "flops_subtotal"),
    "steps": (change("work", 1, "n", by=1), "flops_subtotal"),
    "a missing cost": (change("flops", by={}), ""),
    "key": (change("key", by="0" * 64), "key"),
    "seed": (change("spec", "seed", by=5), "key"),
    "no phases": (change("phases", by=[]), ""),
    "another phase": (change("phases", 0, "name", by="WARMUP"), ""),
    "a share of nothing": (change("share", by=0.0), "share"),
    "an accuracy above 1": (change("accuracy_total", by=97.1), "accuracy_total"),
    "no seconds": (change("phases", 0, "seconds", by=0.0), "phases.0.seconds"),
    "a text for a number": (change("seconds_total", by="12"), "seconds_total"),
    "a text for seconds": (change("phases", 0, "seconds", by="12"), ""),
    "an unknown field": (change("note", by="x"), "note"),
    "an unknown field of the spec": (change("spec", "note", by="x"), "spec.note"),
    "another schema": (change("schema_version", by=1), "schema_version"),
    "other images": (change("source", "kind", by="video"), "source.kind"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_changed_record_is_refused_though_its_checksum_fits(what, tmp_path):
    tamper, named = TAMPERED[what]
    tamper(raw := copy.deepcopy(RAW))
    del raw["checksum"]
    (tmp_path / NAME).write_text(json.dumps(raw | {"checksum": checksum(raw)}))
    refused(lambda: records.read(tmp_path / NAME), NAME, named)


def test_a_truncated_record_is_refused(tmp_path):
    records.write(RECORD, tmp_path / NAME.replace("s3", "s2"))
    for content in (json.dumps(RAW)[:3000], "", "[]", "null"):
        (tmp_path / NAME).write_text(content)
        refused(lambda: records.load(tmp_path), tmp_path / NAME)


def test_records_alone_are_read_in_the_order_of_their_names(tmp_path):
    made = [by_hand.record(regime, seed) for regime in ("gradual", "stepwise") for seed in (0, 1)]
    for one in reversed(made):
        records.write(one, tmp_path / "paper" / f"{one.spec.name}.json")
    (tmp_path / "clocks").mkdir()
    for name in ("clocks/xeon.json", "x.json", f"{NAME}.aside", f"{NAME}.host.12.partial", "steel-gradual.ipynb"):
        (tmp_path / name).write_text("{")
    assert records.load(tmp_path) == made
    assert records.load(tmp_path / "nowhere") == []


def test_the_committed_records_can_be_read():
    paths = sorted((ROOT / "results").rglob("*-s[0-9]*-*.json"))
    assert paths
    for path in paths:
        assert records.read(path).key[:6] == path.stem[-6:]


def test_other_files_are_no_records(tmp_path):
    """Half-written files, records put aside, clocks, notes."""
    names = ("clocks/xeon.json", "x.json", f"{NAME}.aside", f"{NAME}.host.12.partial", "steel-resnet18-gradual.ipynb")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{")
    assert records.load(tmp_path) == []
    assert records.load(tmp_path / "nowhere") == []


def test_what_repeats_does_not_depend_on_the_machines_speed():
    kept = records.repeatable(by_hand.record("gradual"))
    assert records.repeatable(by_hand.record("gradual", seconds=3.0, device="Tesla T4", moved_to="Abacus II")) == kept
    assert records.repeatable(by_hand.record("gradual", accuracy=0.81)) != kept
    assert records.repeatable(by_hand.record("gradual", seed=1)) != kept
    text = json.dumps(kept, default=str)
    assert "seconds" not in text
    assert "peak_memory" not in text
    assert {"predictions", "flops", "work", "parameters", "source", "split", "key"} <= {*kept}
