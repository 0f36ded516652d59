"""What a run leaves behind: one JSON file that can be checked, and many of them as one tidy table.

No torch here: a laptop without it can read results.
"""

import math
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import fastjsonschema  # imported in no time; jsonschema takes seconds of every kernel's start
import pandas as pd

from entr_utils import conditions, files
from entr_utils.keys import key_of
from entr_utils.regimes import PROTOCOL

SCHEMA_VERSION = 1
DRAWN_FOR_MECHANISM = "Images drawn by formula, so that what carries the class is known: evidence on them alone."
_NUMBER, _WHOLE, _TEXT, _SHARE = {"type": "number"}, {"type": "integer", "minimum": 0}, {"type": "string"}, {
    "type": "number", "minimum": 0, "maximum": 1}  # fmt: skip
_POSITIVE, _COUNTED = {"type": "number", "exclusiveMinimum": 0}, {"type": ["number", "null"]}


def _object(optional: tuple[str, ...] = (), **properties) -> dict:
    return {"type": "object", "properties": properties, "required": sorted({*properties} - {*optional})}


def _rows(optional: tuple[str, ...] = (), **properties) -> dict:
    return {"type": "array", "items": _object(optional, **properties), "minItems": 1}


# What older records do not have.
LATER = ("prepare_seconds", "forecast_seconds", "forecast_wall_seconds", "forecast_memory", "checkpoint_seconds",
         "seconds_repeated", "stolen_seconds", "attempts", "sha256", "n_left_out", "left_out", "n_copies",
         "copies", "matched", "processor_seconds")  # fmt: skip

_CLASSES = {"type": "array", "items": _WHOLE, "minItems": 1}
_TEXTS = {"type": "array", "items": _TEXT}
_PREDICTED = {"image": _TEXTS, "truth": _CLASSES, "subtotal": _CLASSES, "rpl": _CLASSES, "total": _CLASSES}
SCHEMA = {"additionalProperties": False} | _object(  # a flipped bit in a name is found, too
    LATER,
    schema={"const": SCHEMA_VERSION},
    dataset=_TEXT, network=_TEXT, regime=_TEXT, seed=_WHOLE, profile=_TEXT, protocol=_WHOLE, key=_TEXT,
    identity={"type": "object"}, weights=_TEXT, weights_sha256=_TEXT, weights_note=_TEXT, image_source=_TEXT,
    data_sha256=_TEXT, n_train=_WHOLE, n_val=_WHOLE, n_groups=_WHOLE, split=_TEXT, class_names=_TEXTS,
    n_left_out=_WHOLE, left_out=_TEXTS, n_copies=_WHOLE, copies=_TEXTS, matched={"type": "object"},
    size=_WHOLE, batch=_WHOLE, lr=_POSITIVE, precision=_TEXT, augmentation=_TEXT, dropout=_SHARE,
    accuracy_subtotal=_SHARE, accuracy_rpl=_SHARE, accuracy_total=_SHARE,
    seconds_subtotal=_POSITIVE, seconds_total=_POSITIVE, efficiency_subtotal=_NUMBER, efficiency_total=_NUMBER,
    efficiency_total_with_warmup=_NUMBER, flops_subtotal=_POSITIVE, flops_total=_POSITIVE,
    flops_per_image={"type": "object"}, warmup_seconds={"type": "object"}, wall_seconds=_POSITIVE,
    prepare_seconds=_NUMBER, forecast_seconds=_POSITIVE, forecast_wall_seconds=_POSITIVE, forecast_memory=_POSITIVE,
    energy_joules=_COUNTED, stolen_seconds=_COUNTED,
    checkpoint_seconds=_NUMBER, seconds_repeated=_NUMBER, sha256=_TEXT,
    attempts={"type": "array", "items": _object(started=_TEXT, commit=_TEXT, load=_NUMBER, epoch=_WHOLE)},
    stages=_rows(LATER, name=_TEXT, size=_WHOLE, epochs=_WHOLE, trains=_TEXT, lr={"type": "array"}, images=_WHOLE,
                 seconds=_POSITIVE, eval_seconds=_NUMBER, images_per_second=_POSITIVE, accuracy_full_size=_SHARE,
                 accuracy_train_size=_SHARE, peak_memory=_WHOLE, processor_seconds=_COUNTED),
    epochs=_rows(LATER, epoch=_WHOLE, stage=_TEXT, cycle=_WHOLE, size=_WHOLE, loss=_NUMBER, seconds=_POSITIVE,
                 resize_seconds=_NUMBER, images=_WHOLE, accuracy=_SHARE, eval_seconds=_NUMBER,
                 processor_seconds=_COUNTED),
    predictions=_object((), **_PREDICTED),
    environment=_object(device=_TEXT, cpu=_TEXT, threads=_WHOLE, python=_TEXT, torch=_TEXT, torchvision=_TEXT,
                        fastai=_TEXT, commit=_TEXT, started=_TEXT, load=_NUMBER),
)  # fmt: skip


# Of the identity, what stands at the top of a record too.
KEPT = ("dataset", "network", "regime", "seed", "profile", "protocol", "weights", "weights_sha256", "data_sha256",
        "size", "batch", "lr", "precision", "augmentation", "dropout")  # fmt: skip


def standardised_accuracy(accuracy: float, seconds: float) -> float:
    """As = sqrt(A / T): A a fraction, T in minutes (the paper's "efficiency"; its unit of T is not known)."""
    return math.sqrt(accuracy / (seconds / 60))


def totals(stages: list[dict]) -> dict[str, float]:
    """T from the stages: sub-total through CMult; total plus RPL and the TTA passes."""
    seconds = {stage["name"]: stage["seconds"] for stage in stages}
    return {
        "seconds_subtotal": seconds["SGDR"] + seconds["CLRS"] + seconds["CMult"],
        "seconds_total": sum(seconds.values()),
    }


def make(identity: dict, about: dict, ledger: dict, costs: dict, environment: dict) -> dict:
    """The record of a run that has just ended.

    Args:
        identity: all that makes the run's numbers (`Experiment.identity`).
        about: what people want to know of its images, split and weights (`Experiment.about`).
        ledger: stages, epochs and predictions, as the run's callbacks kept them.
        costs: seconds of warm-up and in all, flops_per_image, energy_joules, what was forecast.
        environment: from `timing.environment`.
    """
    record = {"schema": SCHEMA_VERSION, **{name: identity[name] for name in KEPT}, "key": key_of(identity)}
    record |= {"identity": identity, **about, **costs, **ledger, "environment": environment}
    record |= _derived(record)
    return record | {"sha256": _sha256(record)}


def _sha256(record: dict) -> str:
    """Of all the rest: a bit that flipped on a disk is found even where it still reads as a number."""
    return key_of({name: value for name, value in record.items() if name != "sha256"})


def _derived(record: dict) -> dict:
    """All that follows from the stored predictions, stages and FLOPs: written by `make`, recomputed by `read`."""
    truth = record["predictions"]["truth"]
    accuracy = {
        f"accuracy_{name}": sum(map(int.__eq__, truth, record["predictions"][name])) / len(truth)
        for name in ("subtotal", "rpl", "total")
    }
    seconds, flops = totals(record["stages"]), _flops(record)
    warm = seconds["seconds_total"] + sum(record["warmup_seconds"].values())
    return accuracy | seconds | flops | {
        "efficiency_subtotal": standardised_accuracy(accuracy["accuracy_subtotal"], seconds["seconds_subtotal"]),
        "efficiency_total": standardised_accuracy(accuracy["accuracy_total"], seconds["seconds_total"]),
        "efficiency_total_with_warmup": standardised_accuracy(accuracy["accuracy_total"], warm),
    }  # fmt: skip


def _flops(record: dict) -> dict[str, float]:
    each = record["flops_per_image"]
    spent = {
        stage["name"]: stage["images"] * each[f"{stage['size']} {stage['trains']}" if stage["epochs"] else "forward"]
        for stage in record["stages"]
    }
    return {
        "flops_subtotal": spent["SGDR"] + spent["CLRS"] + spent["CMult"],
        "flops_total": sum(spent.values()),
    }


def write(record: dict, path: Path) -> None:
    """Write a record whole or not at all: its file is the only sign that a run is done."""
    check(record, path)
    files.write_json(record, path)


def unfinished(path: Path) -> Path:
    """Where the record of a run that has trained waits until its notebook has reached the end."""
    return path.with_suffix(".trained")


def trained(path: Path) -> dict | None:
    """The record of a run that has trained, its notebook whole or not; None where there is none. Raises as `read`."""
    return read(path if path.exists() else unfinished(path)) if has_trained(path) else None


def has_trained(path: Path) -> bool:
    """Whether a run has trained, its notebook whole or not."""
    return path.exists() or unfinished(path).exists()


def finish(path: Path) -> None:
    """Declare a run done: its record gets its name. The last cell of a notebook does this, so that a run whose
    notebook failed after training is not done, but need not be trained again either."""
    if unfinished(path).exists():
        os.replace(unfinished(path), path)
        path.with_suffix(".forecast").unlink(missing_ok=True)  # it is in the record


def read(path: Path) -> dict:
    """A checked record. Raises Damaged naming the file and what is wrong with it, UserError where it cannot be read."""
    record = files.read_json(path, "a record")
    check(record, path)
    return record


@cache
def _validator() -> Callable[[dict], dict]:
    return fastjsonschema.compile(SCHEMA)


def check(record: dict, path: Path) -> None:
    """Validate against SCHEMA and recompute key, accuracies, seconds, FLOPs and As from what is stored."""
    try:
        _validator()(record)
    except fastjsonschema.JsonSchemaValueException as error:
        where, what = "/".join(error.path[1:]) or "the record", error.message.partition(" ")[2]
        raise files.Damaged(f"{path}: {where}: {what[:120]}; delete it and run again") from error
    identity, predictions = record["identity"], record["predictions"]
    facts = {"key": key_of(identity), **{name: identity.get(name) for name in KEPT},
             **{f"n_val (predictions of {name})": len(predictions[name]) for name in _PREDICTED}}  # fmt: skip
    wrong = [name for name, value in facts.items() if record[name.partition(" ")[0]] != value]
    try:
        parts = _derived(record) if not wrong else {}
    except (KeyError, ArithmeticError, TypeError, ValueError) as error:  # what the schema cannot say
        wrong, parts = [f"{type(error).__name__} ({error})"], {}
    wrong += [name for name, value in parts.items() if not math.isclose(record[name], value, rel_tol=1e-9)]
    if not wrong and "sha256" in record and record["sha256"] != _sha256(record):
        wrong = ["the checksum"]
    if wrong:
        raise files.Damaged(f"{path}: {', '.join(wrong)} does not follow from the rest; delete it and run again")


def repeatable(record: dict) -> dict:
    """All of a record that does not depend on how fast the machine was: bit for bit the same whenever the run is made
    again on the same processor with as many threads, however often it was stopped."""
    measured = {"seconds", "eval_seconds", "resize_seconds", "processor_seconds", "images_per_second", "peak_memory"}
    names = ("identity", "key", "predictions", "flops_per_image", "flops_total", "class_names", "n_train", "n_val",
             "accuracy_subtotal", "accuracy_rpl", "accuracy_total")  # fmt: skip
    rows = {part: [{name: row[name] for name in row if name not in measured} for row in record[part]]
            for part in ("stages", "epochs")}  # fmt: skip
    return {name: record[name] for name in names} | rows


def read_all(folder: str | Path) -> list[dict]:
    """All records under `folder`, checked, in the order of their file names."""
    return [read(path) for path in sorted(Path(folder).rglob("*-s[0-9]*-*.json"))]


def load(folder: str | Path) -> pd.DataFrame:
    """All records under `folder` as one tidy table; see `table`."""
    return table(read_all(folder))


def table(records: list[dict]) -> pd.DataFrame:
    """One row a record: its scalar fields, the environment as env_*, what of its stages is asked for beside T and A,
    and what may be compared as `comparable` and `split_rule`."""
    rows = []
    for record in records:
        row = {name: value for name, value in record.items() if not isinstance(value, dict | list)}
        row |= {f"env_{name}": value for name, value in record["environment"].items() if not isinstance(value, dict)}
        row |= {
            "comparable": conditions.comparable(record["identity"]),
            "setting": conditions.setting(record),
            "conditions": conditions.of(record),
            "split_sha256": record["identity"]["split_sha256"],
            "split_rule": conditions.split_rule(record),
            "n_classes": len(record["class_names"]),
            "warmup_total": sum(record["warmup_seconds"].values()),
            "eval_seconds": sum(stage["eval_seconds"] for stage in record["stages"]),
            "processor_seconds": sum(stage.get("processor_seconds") or math.nan for stage in record["stages"]),
        }
        stages = {stage["name"]: stage for stage in record["stages"]}
        row |= {f"seconds_{name}": stages[name]["seconds"] for name in ("RPL", "TTA")}
        row |= {f"train_size_{name}": stages[name]["accuracy_train_size"] for name in ("CMult", "TTA")}
        rows.append(row)
    return pd.DataFrame(rows)


def caption(records: list[dict]) -> str:
    """What was not as in the paper, in a line that belongs under every figure and table of these records."""
    notes = []
    controlled = all(record["profile"] == "mechanism" for record in records)
    if any(record["image_source"].startswith("synthetic") for record in records):
        notes.append(DRAWN_FOR_MECHANISM if controlled else "Images drawn by formula: a demonstration, not evidence.")
    stand_ins = dict.fromkeys(record["dataset"] for record in records if "stand-in" in record["image_source"])
    if stand_ins:
        notes.append(f"Stand-in images for {', '.join(stand_ins)}.")
    if any(record["weights"] == "none" for record in records):
        notes.append("weights=none: from scratch, nothing is frozen.")
    for weights, note in dict.fromkeys((record["weights"], record["weights_note"]) for record in records):
        if weights not in ("imagenet", "none"):
            notes.append(f"Weights {weights}: {note or 'not ImageNet weights, which the paper used'}.")
    if any("threads" in record["environment"]["device"] for record in records):
        notes.append("Trained on a CPU; the paper used a Colab GPU.")
    for old in sorted({record["protocol"] for record in records} - {PROTOCOL}):
        notes.append(f"T under protocol {old} cannot be compared with T under protocol {PROTOCOL}, today's.")
    notes += [f"{letter}: {where}." for where, letter in conditions.letters(records).items()]
    return " ".join(notes)
