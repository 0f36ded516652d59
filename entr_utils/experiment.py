"""A run before it starts: parameters checked, images and split at hand, and the key that names it."""

import hashlib
import re
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from entr_utils import UserError, datasets, downloads, images, matching, networks, timing
from entr_utils.keys import key_of, slug
from entr_utils.parameters import KNOWN_GROUPS, Parameters
from entr_utils.regimes import PROTOCOL, REGIMES, Regime, pixels, rotated

OWN_DROPOUT = 0.5  # of both dropouts, for a user's own images
USUAL = {"view": "resized", "share": 1.0}  # of a stage: not said in its identity, so that older keys stand
MOST_NAMED = 100  # files a record names; the rest are counted


@dataclass(frozen=True)
class Experiment:
    """One run, ready to be trained.

    Attributes:
        parameters: checked.
        images: all of the dataset, decoded.
        training, validation: index arrays into `images`.
        regime: the schedule.
        identity: all that makes the run's numbers; two runs with the same identity are the same run.
        prepare_seconds: what fetching, decoding or finding the images took.
        matched: of short, what its T was matched to (`matching.plan`).
    """

    parameters: Parameters
    images: images.Images
    training: np.ndarray
    validation: np.ndarray
    regime: Regime
    identity: dict
    prepare_seconds: float = 0.0
    matched: dict = field(default_factory=dict)

    @property
    def key(self) -> str:
        """sha256 of the identity: names the run."""
        return key_of(self.identity)

    @property
    def path(self) -> Path:
        """Where the record goes: results/<profile>/<device>/<dataset>-<network>-<regime>-s<seed>-<6 of the key>.json"""
        p = self.parameters
        folder = Path(p.results) / p.profile / slug(self.identity["device"])
        return folder / f"{p.dataset}-{p.network}-{p.regime}-s{p.seed}-{self.key[:6]}.json"

    @property
    def about(self) -> dict:
        """What people want to know of the images, the split and the weights; part of the record."""
        found, copies = self.images, self._copies()
        groups = datasets.joined(len(found.names), found.groups, found.copies) if found.groups else ()
        return {
            "image_source": found.source, "class_names": found.classes, "n_train": len(self.training),
            "n_val": len(self.validation), "n_groups": len(set(groups)), "split": self._split(),
            "n_left_out": len(found.left_out), "n_copies": len(copies), "copies": copies[:MOST_NAMED],
            "left_out": [f"{name}: {reason}" for name, reason in sorted(found.left_out.items())[:MOST_NAMED]],
            "weights_note": networks.KNOWN_WEIGHTS.get(self.identity["weights_sha256"], ""),
            **({"matched": self.matched} if self.matched else {}),
        }  # fmt: skip

    def _copies(self) -> list[str]:
        """The sets of identical images by name, those in several classes first."""
        named = [[self.images.names[i] for i in same] for same in self.images.copies]
        return list(map(_equal, sorted(named, key=_in_several_classes, reverse=True)))

    def _split(self) -> str:
        rule, groups = f"seed {self.parameters.seed}, stratified by class, 90/10", self.images.groups
        if n := len(self.images.copies):
            rule = f"{rule}, {n} set{'s' * (n != 1)} of identical images kept whole"
        if groups is None:
            return f"{rule}, by image"
        together = {group for group in groups if not group.startswith(datasets.ALONE)}
        alone = sum(group.startswith(datasets.ALONE) for group in groups)
        return f"{rule}, {len(together)} groups kept whole, {alone} images of no known group each by itself"


def _in_several_classes(names: list[str]) -> bool:
    return len({name.partition("/")[0] for name in names}) > 1


def _equal(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{' = '.join(names[:most])}{more}{' (in several classes)' if _in_several_classes(names) else ''}"


def prepare(dataset: str, **parameters) -> Experiment:
    """Check the parameters of a run (see `Parameters`), fetch its images where needed, split them, name it.

    Raises UserError, one line, on anything the user can put right.
    """
    began = time.perf_counter()
    p = Parameters(dataset, **parameters).checked()
    if dataset == "ucm" and datasets.status(dataset, p.data)[0] == "downloadable":
        downloads.download_ucm(Path(p.data))
    loaded = images.load(p)
    training, validation = datasets.split(loaded.labels, p.seed, loaded.groups, loaded.copies, loaded.classes)
    if p.groups == "known":
        datasets.check_share(len(validation) / len(loaded.labels), p.seed)

    def run(**changed) -> Experiment:
        mine = replace(p, **changed)
        regime = mine.make_regime()
        identity = _identity(mine, loaded, validation, regime)
        return Experiment(mine, loaded, training, validation, regime, identity, time.perf_counter() - began)

    if p.regime != "short" or p.share:
        whole = len(training) // min(p.batch, len(training))
        if p.regime == "short" and p.share * whole < 1:
            raise UserError(f"share={p.share:g}: less than one of the {whole} batches of an epoch")
        return run()
    matched = matching.plan(run(), run(regime="no_increase"), run(regime="gradual"))
    return replace(run(share=matched["share"]), matched=matched)


def prepare_own(images: str, seeds: str, profile: str = "", **parameters) -> list[Experiment]:
    """All regimes and seeds for a user's own images, in the order they are run.

    Args:
        images: folder with one sub-folder a class, a .zip or .tar of one, or "synthetic" for a demonstration.
        seeds: whole numbers, separated by spaces.
        profile: "" is "paper" (250 px, pretrained) for images and "quick" (80 px, from scratch) for the demonstration.
    """
    drawn = isinstance(images, str) and images.startswith("synthetic")
    data = images if drawn else str(downloads.own_folder(images))
    profile = profile or ("quick" if drawn else "paper")
    if not isinstance(seeds, str) or not re.fullmatch(r"([0-9]{1,10} )+", " ".join(seeds.split()) + " "):
        raise UserError(f"seeds={seeds!r}: allowed: whole numbers separated by spaces")
    return [prepare("own", data=data, profile=profile, seed=seed, regime=regime, **parameters)
            for seed in map(int, seeds.split()) for regime in rotated(list(REGIMES), seed)]  # fmt: skip


def _identity(p: Parameters, loaded: images.Images, validation: np.ndarray, regime: Regime) -> dict:
    label = networks.weights_label(p.weights)
    stages = [
        {"name": stage.name, "size": pixels(stage.size, p.size), "cycle_epochs": list(stage.cycle_epochs),
         "trains": stage.trains, "lr": list(stage.lr),
         **{name: getattr(stage, name) for name, usual in USUAL.items() if getattr(stage, name) != usual}}
        for stage in regime.stages
    ]  # fmt: skip
    distorts = ", zoom to 1.1, warp 0.2" if p.made_of.distorts else ""
    return {
        "protocol": PROTOCOL, "dataset": p.dataset, "network": p.network, "regime": p.regime, "seed": p.seed,
        "profile": p.profile, "size": p.size, "stages": stages, "batch": p.batch,
        "lr": p.lr or networks.learning_rate(p.dataset, p.network, label),
        "dropout": datasets.DATASETS[p.dataset].dropout if p.dataset in datasets.DATASETS else OWN_DROPOUT,
        "augmentation": f"{p.orientations} orientations{distorts}",
        "precision": timing.precision(p.precision), "weights": label,
        "weights_sha256": networks.weights_sha256(p.network, p.weights), "data_sha256": loaded.sha256,
        "split_sha256": hashlib.sha256(validation.astype("<i8").tobytes()).hexdigest(),
        "device": timing.device_model(), **({"groups": p.groups} if p.groups in KNOWN_GROUPS else {}),
    }  # fmt: skip
