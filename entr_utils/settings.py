"""What a run is made of: phases, profiles, and the specification that names a run. No torch.

Phases say how long, what trains and at which rate. The paper (Wanger & Frohn 2018, arXiv 1807.11583) gives the order
of phases; epochs and batch sizes are not known, so they are ours and written here once.
"""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from entr_utils.util import DRIVE, checksum, on_drive, one_of, require, whole

PROTOCOL = 3  # raised whenever numbers change; records of different protocols are never compared
PAPER_NETWORKS, NARROW = ("resnet18", "resnet34", "resnet50"), "resnet18-narrow"
SMALL_STEM = "resnet18-cifar"  # begins with 3x3 at full size, without pooling: for images of 32 px
FITTING = dict.fromkeys(PAPER_NETWORKS, ("none", "imagenet")) | {NARROW: ("none", "demo"), SMALL_STEM: ("none",)}
NETWORKS = tuple(FITTING)
PAPER_DATASETS = ("steel", "ucm", "bees")
PAPER_REGIMES = ("no_increase", "gradual", "stepwise")
DIALS = ("both", "coarse", "fine")  # what carries the class in images drawn by formula
CONFLICT = "conflict"  # trained on "both", judged on the coarse pattern of one class with the fine texture of another
NAMED_WEIGHTS = ("imagenet", "none", "demo")
DROPOUT = 0.5  # of the head; the paper says 0.4 to 0.6, constant within dataset x network


@dataclass(frozen=True)
class Phase:
    """One step of the paper: some cosine cycles of one set of layers."""

    name: str
    cycle_epochs: tuple[int, ...]  # of each cosine cycle, e.g. (1, 2, 4)
    trains: str = "all"  # or "head": the body is frozen, batch-norm included
    lr: tuple[float, float, float] = (1.0, 1.0, 1.0)  # factors on the rate of conv1..layer2, layer3-4, head
    part: bool = False  # whether its epochs are a part of one cosine over the whole run

    @property
    def epochs(self) -> int:
        return sum(self.cycle_epochs)


@dataclass(frozen=True)
class Profile:
    """How large an experiment is; size, batch, weights and data are where nothing else is named (`Cell`)."""

    name: str
    size: int
    batch: int
    cycles: tuple[tuple[int, ...], ...]  # epochs of the cosine cycles of SGDR, CLRS, CMult and RPL
    weights: str
    data: str
    purpose: str
    networks: tuple[str, ...] = ("resnet18",)  # these, and the seeds, are what `make all` trains
    seeds: tuple[int, ...] = (0,)
    classes: int = 0  # of drawn images; 0 means as many as the paper's dataset has
    smallest: int = 32  # pixels of any batch; below 32 a ResNet's last feature map is a single cell
    distorts: bool = True  # whether augmentation zooms and warps, which resamples the finest detail away, or only flips
    # Where none is named; "" takes the fastest that the hardware has. On a CPU bfloat16 needs 17 px: on a single cell
    # torch 2.14's 3 x 3 convolutions of stride 2 give garbage.
    precision: str = ""
    one_cosine: bool = False  # whether the learning rate falls once over the whole run, without restarts

    def least(self, network: str) -> int:
        """Pixels below which no batch may be: 13 (40% of 32) where the stem keeps the size."""
        return 13 if network == SMALL_STEM else self.smallest

    def phases(self, pretrained: bool) -> tuple[Phase, ...]:
        """The paper's phases. Without pretrained weights nothing is frozen and all layers train at the full rate."""
        named = [*zip(("SGDR", "CLRS", "CMult", "RPL"), self.cycles, strict=True)]
        if not pretrained:
            return tuple(Phase(*one, part=self.one_cosine) for one in named)
        first = (Phase(*one, "head", (0.0, 0.0, 1.0), self.one_cosine) for one in named[:-1])
        return *first, Phase(*named[-1], "all", (0.01, 0.1, 1.0), self.one_cosine)


_PAPER_CYCLES = ((1, 1, 1), (2, 2), (1, 2, 4), (1, 2, 4))
PROFILES = {
    profile.name: profile
    for profile in (
        Profile("tiny", 40, 16, ((1,), (1,), (1,), (1,)), "none", "synthetic", "tests; its numbers mean nothing",
                smallest=16, precision="float32"),
        Profile("quick", 80, 32, _PAPER_CYCLES, "demo", "synthetic",
                "the paper's protocol in miniature: a demonstration, not evidence",
                (NARROW,), (0, 1, 2), classes=6),
        Profile("mechanism", 64, 16, ((1,), (1,), (2,), (2,)), "none", "synthetic",
                "which detail is learnt when; not evidence on real images", classes=5,
                smallest=24, distorts=False),
        Profile("scratch", 64, 32, ((8,), (8,), (12,), (12,)), "none", "data",
                "methods from scratch: one cosine, a narrow network, 64 px", (NARROW,), smallest=24,
                one_cosine=True),
        Profile("compact", 128, 64, _PAPER_CYCLES, "imagenet", "data", "the paper's experiment at 128 px, for CPUs"),
        Profile("paper", 250, 64, _PAPER_CYCLES, "imagenet", "data", "the paper's experiment on real images",
                PAPER_NETWORKS),
    )
}  # fmt: skip


class RunSpec(BaseModel):
    """All that makes a run's numbers, and nothing else: places, devices and dates are not in it.

    A default, once released, never changes: keys leave defaults out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    fingerprint: str = ""  # of the images (`data.catalog.fingerprint`); "" while a run is only planned
    network: str
    regime: str  # a name with its options (`regimes.parse`)
    seed: int  # fold of the split, order of the images and initial head
    profile: str
    size: int  # the largest, in pixels
    batch: int  # images a step
    lr: float  # of the head
    weights: str  # label of the pretrained ones, or "none"
    weights_sha256: str = ""
    precision: str
    augmentation: str  # "two" orientations (left-right flips), "eight"; "two only", "eight only": without zoom and warp
    # "" splits by group where a groups file lies beside the images, "none" by image; "known" and "known-by-image" take
    # only the images whose group is known and split them by group or by image.
    groups: str = ""
    square: str = "crop"  # how images become square: "crop", "pad" or "squash" (`data.pixels.decode`)
    protocol: int = PROTOCOL

    @property
    def key(self) -> str:
        """sha256 that names the run."""
        return checksum(self.model_dump(exclude_defaults=True) | {"protocol": self.protocol})

    @property
    def name(self) -> str:
        """File name of the record, without suffix: <dataset>-<network>-<regime>-s<seed>-<6 of the key>."""
        regime = re.sub(r"[^a-z0-9_.]+", "-", self.regime.lower())
        return f"{self.dataset}-{self.network}-{regime}-s{self.seed}-{self.key[:6]}"

    @property
    def phases(self) -> tuple[Phase, ...]:
        return PROFILES[self.profile].phases(self.weights != "none")


@dataclass(frozen=True)
class Cell:
    """What a user asks for: the runs of one dataset, network and regime, one a seed. Empty or 0 means the default.

    `data`: "synthetic" (also "synthetic-coarse", "synthetic-fine", "synthetic-conflict"), or the folder that holds
    <dataset>/<class>/; for dataset "own", or as "<dataset>:path", the folder or archive of the classes itself.
    """

    dataset: str
    network: str = ""
    regime: str = "no_increase"
    seeds: tuple[int, ...] = (0,)
    profile: str = "quick"
    size: int = 0
    weights: str = ""  # imagenet, demo (of the narrow network, on other drawn images), none, or a checkpoint's path
    data: str = ""
    groups: str = ""  # as in `RunSpec`, or the path of a CSV file with columns file and group
    precision: str = ""
    batch: int = 0
    lr: float = 0.0
    orientations: str = ""  # "two", "eight", or "" for the dataset's
    classes: str = ""  # "inner" makes classes of the folders in the top folders (`data.folder.look_at`)
    square: str = ""  # as in `RunSpec`
    results: str = "results"  # the folder of records and notebooks
    checkpoint_dir: str = ""  # "" is beside the records

    def checked(self) -> "Cell":
        """This cell with the profile's defaults filled in. Raises UserError naming parameter, value and what may be."""
        one_of("profile", self.profile, PROFILES)
        usual = PROFILES[self.profile]
        network = self.network or usual.networks[0]
        one_of("network", network, NETWORKS)
        fitting = usual.weights if usual.weights in FITTING[network] else "none"
        cell = replace(
            self, network=network, size=self.size or usual.size, batch=self.batch or usual.batch,
            weights=self.weights or fitting, data=self.data or usual.data, results=self.results or "results",
        )  # fmt: skip
        one_of("precision", cell.precision, ("", "float32", "bfloat16", "float16"))
        one_of("orientations", cell.orientations, ("", "two", "eight"))
        one_of("classes", cell.classes, ("", "inner"))
        one_of("square", cell.square, ("", "crop", "pad", "squash"))
        for name in ("dataset", "regime", "weights", "data", "groups", "results", "checkpoint_dir"):
            require(isinstance(value := getattr(self, name), str), name, value, "allowed: text")
        require(re.fullmatch(r"[\w-]+", cell.dataset), "dataset", cell.dataset, "allowed: letters, digits, - and _")
        whole("size", cell.size, usual.least(network), 10_000)
        whole("batch", cell.batch, 2, 100_000)
        require(isinstance(cell.seeds, tuple) and cell.seeds, "seeds", cell.seeds, "allowed: a tuple of whole numbers")
        for seed in cell.seeds:
            whole("seed", seed, 0, 2**31 - 1)
        usable = isinstance(cell.lr, int | float) and not isinstance(cell.lr, bool) and 0 <= cell.lr < 10
        require(usable, "lr", cell.lr, "not a learning rate; allowed: above 0 and below 10, or 0 for the default")
        _check_paths(cell)
        return cell

    @property
    def folder(self) -> Path:
        """Where records and notebooks go."""
        return Path(self.results) / self.profile

    @property
    def name(self) -> str:
        """File name of the notebook, without suffix: <dataset>-<network>-<regime>, and what tells arms apart."""
        arm = self.data.partition("synthetic-")[2], Path(self.groups).stem, f"lr{self.lr:g}" if self.lr else ""
        words = filter(None, (self.dataset, self.network, self.regime, *arm))
        return re.sub(r"[^a-z0-9_.]+", "-", "-".join(words).lower())


def seeds_of(text: str | int) -> tuple[int, ...]:
    """Seeds from "0 1 2" or "0,1,2". Raises UserError on anything else."""
    words = re.split(r"[\s,]+", str(text).strip())
    numbers = all(re.fullmatch(r"\d{1,10}", word) for word in words)
    require(numbers, "seeds", text, "allowed: whole numbers, separated by blanks or commas")
    return tuple(dict.fromkeys(map(int, words)))


def _check_paths(cell: Cell) -> None:
    for name, value in (("results", cell.results), ("checkpoint_dir", cell.checkpoint_dir)):
        line = f"no Drive is mounted at {DRIVE}, and what is written there would be lost; "
        line += "mount it (drive.mount in Colab) or name another folder"
        require(not on_drive(value) or os.path.ismount(DRIVE), name, value, line)
    if cell.data.startswith("synthetic"):
        one_of("data", cell.data, ("synthetic", *(f"synthetic-{dial}" for dial in (*DIALS, CONFLICT))))
    else:
        there = cell.data == "data" or os.path.exists(cell.data.removeprefix(f"{cell.dataset}:"))
        line = f"no such folder; allowed: synthetic, or a folder that holds {cell.dataset}/<class>/"
        require(there, "data", cell.data, line)
    fitting = FITTING[cell.network]
    fits = cell.weights in fitting or (cell.weights not in NAMED_WEIGHTS and os.path.isfile(cell.weights))
    line = f"neither weights of {cell.network} nor a file; allowed: {', '.join(fitting)}, or a checkpoint's path"
    require(fits, "weights", cell.weights, line)
    there = not cell.checkpoint_dir or os.path.isdir(os.path.expanduser(cell.checkpoint_dir))
    require(there, "checkpoint_dir", cell.checkpoint_dir, "no such folder; make it, or mount the drive it is on")
    known = cell.groups in ("", "none", "known", "known-by-image") or os.path.isfile(cell.groups)
    line = "no such file; allowed: a CSV file, none, known, known-by-image, or nothing"
    require(known, "groups", cell.groups, line)
