"""Whole records made by hand, for what reads records: no training, and every number is chosen."""

import hashlib

import numpy as np
import pandas as pd

from entr_utils import records, statistics
from entr_utils.datasets import DATASETS
from entr_utils.keys import key_of
from entr_utils.regimes import PROTOCOL, STEPS

SIZES = {
    "no_increase": (1.0, 1.0, 1.0, 1.0), "gradual": (0.4, 0.6, 0.8, 1.0), "stepwise": (0.4, 0.4, 1.0, 1.0),
    "small": (0.4,) * 4, "short": (1.0,) * 4, "reversed": (1.0, 0.8, 0.6, 0.4), "blurred": (1.0,) * 4,
    "cropped": (0.4, 0.6, 0.8, 1.0),
}  # fmt: skip
SPEED = 2e11  # FLOPs a second


def flops(size: int, trains: str) -> float:
    """Of one image: a forward pass, thrice that where all layers train."""
    return {"head": 1.0, "forward": 1.0, "all": 3.0}[trains] * 1e5 * size**2


def record(regime: str = "no_increase", seed: int = 0, dataset: str = "steel", network: str = "resnet18",
           accuracy: float = 0.8, accuracy_subtotal: float = 0.7, seconds: float = 1.0, n_val: int = 100,
           n_train: int = 900, largest: int = 250, profile: str = "paper", dial: str = "", weights: str = "small.pt",
           source: str = "", split: str = "by image", classes: int = 7, protocol: int = PROTOCOL,
           device: str = "Abacus, 9 threads", started: str = "", load: float = 1.0) -> dict:  # fmt: skip
    """A record that `records.read` takes.

    Args:
        accuracy, accuracy_subtotal: after and before re-training; rounded to whole validation images.
        seconds: factor on what each stage takes.
        dial: coarse, fine or both, for images drawn by formula.
    """
    source = source or (f"synthetic micrographs, class carried by {dial} detail" if dial else "a stand-in by hand")
    sizes = dict(zip(STEPS, (*(round(share * largest) for share in SIZES[regime]), largest), strict=True))
    trains = dict.fromkeys(STEPS, "head") | {"RPL": "all", "TTA": "nothing"}
    identity = {
        "protocol": protocol, "dataset": dataset, "network": network, "regime": regime, "seed": seed,
        "profile": profile, "size": largest, "batch": 64,
        "stages": [{"name": step, "size": sizes[step]} for step in STEPS],
        "lr": 0.02, "dropout": 0.5, "augmentation": "two orientations", "precision": "float32", "weights": weights,
        "weights_sha256": "w" * 64, "data_sha256": hashlib.sha256(f"{dataset} {dial} {n_val}".encode()).hexdigest(),
        "split_sha256": hashlib.sha256(f"{split} {seed}".encode()).hexdigest(), "device": device,
    }  # fmt: skip
    stages, epochs = _ledger(sizes, trains, seconds, accuracy, accuracy_subtotal, n_val, n_train)
    if regime == "short":  # as `matching` plans it
        identity["stages"] = [stage | {"share": 0.8} for stage in identity["stages"]]
    truth = [i % classes for i in range(n_val)]
    ledger = {"stages": stages, "epochs": epochs, "predictions": {"image": [f"{i}.png" for i in range(n_val)],
              "truth": truth, "subtotal": _guesses(truth, accuracy_subtotal), "rpl": _guesses(truth, accuracy),
              "total": _guesses(truth, accuracy)}}  # fmt: skip
    about = {"image_source": source, "class_names": [f"class {i}" for i in range(classes)], "n_train": n_train,
             "n_val": n_val, "n_groups": 0, "split": f"seed {seed}, stratified by class, 90/10, {split}",
             "weights_note": "", **({"matched": {"share": 0.8}} if regime == "short" else {})}  # fmt: skip
    each = {f"{size} {what}": flops(size, what) for size in set(sizes.values()) for what in ("head", "all")}
    costs = {"warmup_seconds": {f"{sizes['SGDR']} head": 0.5}, "wall_seconds": 100.0, "energy_joules": None,
             "flops_per_image": each | {"forward": flops(largest, "forward")}}  # fmt: skip
    environment = {"device": device, "cpu": "Abacus", "threads": 9, "python": "3.12", "torch": "2", "torchvision": "0",
                   "fastai": "2", "commit": "c" * 40, "load": load,
                   "started": started or _started(regime, seed)}  # fmt: skip
    return records.make(identity, about, ledger, costs, environment)


def remade(run: dict, **other) -> dict:
    """A record of the same numbers under another identity."""
    identity = run["identity"] | other
    kept = {name: identity[name] for name in records.KEPT} | {"identity": identity, "key": key_of(identity)}
    return records.make(identity, run | kept, {}, {}, run["environment"] | {"device": identity["device"]})


def _started(regime: str, seed: int) -> str:
    """A day a seed, regimes in their order."""
    return f"2026-01-{1 + seed:02d}T00:{10 + list(SIZES).index(regime)}:00+00:00"


def _guesses(truth: list[int], accuracy: float) -> list[int]:
    """As many right as the accuracy says."""
    right = round(accuracy * len(truth))
    return [label if i < right else label + 1 for i, label in enumerate(truth)]


def _ledger(sizes, trains, factor, accuracy, accuracy_subtotal, n_val, n_train):
    """Two epochs a stage, whose accuracies rise in a straight line to those given."""
    stages, epochs = [], []
    ends = dict(zip(STEPS, (0.5 * accuracy_subtotal, 0.8 * accuracy_subtotal, accuracy_subtotal, accuracy, accuracy),
                    strict=True))  # fmt: skip
    for step in STEPS:
        images = 2 * n_train if step != "TTA" else 5 * n_val
        each = flops(sizes[step], "forward" if step == "TTA" else trains[step])
        took = factor * images * each / SPEED
        stages.append({"name": step, "size": sizes[step], "epochs": 0 if step == "TTA" else 2, "trains": trains[step],
                       "lr": [0.0, 0.0, 0.02], "images": images, "seconds": took, "eval_seconds": took / 10,
                       "images_per_second": images / took, "accuracy_full_size": ends[step],
                       "accuracy_train_size": min(1.0, ends[step] + 0.05), "peak_memory": 1})  # fmt: skip
        for half in (1, 2) if step != "TTA" else ():
            epochs.append({"epoch": len(epochs), "stage": step, "cycle": 0, "size": sizes[step], "loss": 1.0,
                           "seconds": took / 2, "resize_seconds": 0.0, "images": n_train,
                           "accuracy": ends[step] - 0.05 * (2 - half) * ends[step], "eval_seconds": 0.0})  # fmt: skip
    return stages, epochs


def matrix(seeds: int = 3, datasets=tuple(DATASETS), networks=("resnet18",),
           regimes=("no_increase", "gradual", "stepwise"), **fixed) -> list[dict]:  # fmt: skip
    """Records of every cell, accuracies and seconds scattered from a fixed random state."""
    rng, made = np.random.default_rng(0), []
    for dataset in datasets:
        for network in networks:
            for regime in regimes:
                for seed in range(seeds):
                    drawn = {"accuracy": 0.85 + rng.normal(0, 0.01), "accuracy_subtotal": 0.7 + rng.normal(0, 0.02),
                             "seconds": 1 + rng.normal(0, 0.01)}  # fmt: skip
                    made.append(record(regime, seed, dataset, network, **(drawn | fixed)))
    return made


def run(regime: str, seed: int = 0, seconds: float = 60.0, accuracy: float = 0.8, **other) -> dict:
    """A row of `records.load`, as far as comparisons need it."""
    row: dict = dict.fromkeys(("seconds_subtotal", *(column for column, _ in statistics.MEASURES.values())), 1.0)
    row |= {
        "dataset": "steel", "network": "resnet18", "weights": "imagenet", "comparable": "a", "setting": "one",
        "conditions": other.get("setting", "one"), "env_started": "2026-01-01T00:00:00+00:00",
        "env_device": other.get("setting", "one"),
        "n_val": 100, "n_train": 900, "split_rule": "by image", "split_sha256": "one split",
    }  # fmt: skip
    return row | {"regime": regime, "seed": seed, "seconds_total": seconds, "accuracy_total": accuracy} | other


def compare(*rows: dict) -> pd.DataFrame:
    """`statistics.compare` of rows of `run`."""
    return statistics.compare(pd.DataFrame(list(rows)))


def pairs(*treatments: tuple[float, float], regime: str = "gradual") -> pd.DataFrame:
    """A seed for each (seconds, points gained) of the treatment; the control takes 60 s and is right in 80%."""
    rows = [run("no_increase", seed) for seed in range(len(treatments))]
    rows += [run(regime, seed, seconds, 0.8 + points / 100) for seed, (seconds, points) in enumerate(treatments)]
    return compare(*rows)
