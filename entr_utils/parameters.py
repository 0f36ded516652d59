"""What one run is made of: its parameters, checked in one line each before anything is loaded or written."""

import os
from dataclasses import asdict, dataclass, replace

from entr_utils import UserError
from entr_utils.datasets import DATASETS
from entr_utils.regimes import CONTROLS, PROFILES, REGIMES, Profile, Regime, make_regime, pixels, sizes

NETWORKS = ("resnet18", "resnet34", "resnet50")
PRECISIONS = ("float32", "bfloat16", "float16")
SCALES = ("both", "coarse", "fine")  # the dial of synthetic images, see `synthetic`
KNOWN_GROUPS = ("known", "known-by-image")  # only images of known group: kept whole, and split all the same


@dataclass(frozen=True)
class Parameters:
    """The parameters of one run, as the notebooks hold them. Empty or 0 means the profile's default.

    Attributes:
        dataset: steel, ucm, bees, or "own" (then `data` is the folder with one sub-folder a class itself).
        network, regime, seed, profile: what to train, how, from which random state, at which scale.
        size: largest image size in pixels.
        weights: "imagenet", "none", or a path to a torchvision-named checkpoint.
        data: "synthetic" (also "synthetic-coarse", "synthetic-fine"), or the folder that holds `<dataset>/<class>/`.
        groups: CSV with columns file and group; "" uses `<dataset>_groups.csv` beside the dataset's folder where there
            is one, "none" splits by image. "known" takes only images whose group that file names; "known-by-image"
            takes the same images and splits them by image all the same.
        orientations: augmentation by "eight" orientations or by "two" (left-right flips); "" is the dataset's.
        lr: learning rate of the head; 0 is the literal of `networks.LEARNING_RATES`.
        precision: float32, bfloat16 or float16 (CUDA); "" is the fastest the hardware really has.
        batch: images a step.
        switch: the step at which stepwise goes to full size.
        share: of each epoch's batches that short trains on; 0 makes its T that of gradual (`matching`).
        results: folder for records and rendered notebooks.
        checkpoint_dir: folder for checkpoints, such as a mounted drive; "" keeps them beside the record.
    """

    dataset: str
    network: str = "resnet18"
    regime: str = "no_increase"
    seed: int = 0
    profile: str = "quick"
    size: int = 0
    weights: str = ""
    data: str = ""
    groups: str = ""
    orientations: str = ""
    lr: float = 0.0
    switch: str = "CMult"
    share: float = 0.0
    precision: str = ""
    batch: int = 0
    results: str = "results"
    checkpoint_dir: str = ""

    def checked(self) -> "Parameters":
        """These parameters with defaults filled in. Raises UserError naming parameter, value and what is allowed."""
        for name in ("weights", "data", "groups", "switch", "results", "checkpoint_dir"):
            if not isinstance(getattr(self, name), str):
                raise UserError(f"{name}={getattr(self, name)!r}: allowed: text")
        _one_of("profile", self.profile, tuple(PROFILES))
        profile = PROFILES[self.profile]
        _one_of("dataset", self.dataset, (*DATASETS, "own"))
        usual = "two" if self.dataset == "own" else DATASETS[self.dataset].orientations
        full = replace(self, size=self.size or profile.size, weights=self.weights or profile.weights,
                       data=self.data or profile.data, batch=self.batch or profile.batch,
                       orientations=self.orientations or usual, results=self.results or "results")  # fmt: skip
        _one_of("network", full.network, NETWORKS)
        _one_of("regime", full.regime, (*REGIMES, *CONTROLS))
        _one_of("orientations", full.orientations, ("two", "eight"))
        if full.precision != "":
            _one_of("precision", full.precision, PRECISIONS)
        _whole("seed", full.seed, least=0, most=2**31 - 1)
        _whole("batch", full.batch, least=2, most=100_000)
        _whole("size", full.size, least=profile.smallest, most=10_000)
        smallest = min(pixels(share, full.size) for share in sizes(full.regime, full.switch).values())
        if smallest < profile.smallest:
            raise UserError(f"size={full.size}: {full.regime} would train at {smallest} px; allowed: stages of at "
                            f"least {profile.smallest} px, so size from {round(profile.smallest / 0.4)}")  # fmt: skip
        if isinstance(full.share, bool) or not isinstance(full.share, int | float) or not 0 <= full.share <= 1:
            raise UserError(f"share={full.share!r}: allowed: above 0, at most 1, or 0 for gradual's T")
        if isinstance(full.lr, bool) or not isinstance(full.lr, int | float) or not 0 <= full.lr < 10:
            raise UserError(f"lr={full.lr!r}: not a learning rate; allowed: above 0 and below 10, or 0 for the default")
        _check_paths(full)
        return full

    @property
    def made_of(self) -> Profile:
        """The profile these parameters name."""
        return PROFILES[self.profile]

    def make_regime(self) -> Regime:
        """The schedule of this run; while short's share is not known, with whole epochs: the most it can take."""
        return make_regime(self.regime, self.made_of, self.weights != "none", self.switch, self.share or 1.0)

    def as_dict(self) -> dict:
        """Name to value, in the order above."""
        return asdict(self)


def of_record(record: dict) -> dict:
    """What a record tells of its run's parameters, beside the dataset: all but where images and weights were.

    weights, data and groups are there only where they name no place: "none", "synthetic-fine", "known".
    """
    identity = record["identity"]
    given = {name: identity[name] for name in ("network", "regime", "seed", "profile", "size", "lr", "batch",
                                               "precision")}  # fmt: skip
    given["orientations"] = identity["augmentation"].partition(" ")[0]
    if identity["regime"] == "stepwise":
        given["switch"] = next(step["name"] for step in identity["stages"] if step["size"] == identity["size"])
    if identity["regime"] == "short":
        given["share"] = identity["stages"][0].get("share", 1.0)
    if identity["weights"] in ("imagenet", "none"):
        given["weights"] = identity["weights"]
    if record["image_source"].startswith("synthetic"):
        given["data"] = next((f"synthetic-{scale}" for scale in SCALES[1:]
                              if f"carried by {scale} detail" in record["image_source"]), "synthetic")  # fmt: skip
    if "groups" in identity or record["split"].endswith("by image"):
        given["groups"] = identity.get("groups", "none")
    return given


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f"{name}={value!r}: unknown; allowed: {', '.join(allowed)}")


def _whole(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise UserError(f"{name}={value!r}: allowed: a whole number from {least} to {most}")


def _check_paths(full: Parameters) -> None:
    if full.data.startswith("synthetic"):
        _one_of("data", full.data, ("synthetic", *(f"synthetic-{scale}" for scale in SCALES)))
    elif not os.path.isdir(full.data) and full.data != PROFILES["paper"].data:
        raise UserError(f"data={full.data!r}: no such folder; allowed: synthetic, or a folder that holds "
                        f"{full.dataset}/<class>/")  # fmt: skip
    if full.weights not in ("imagenet", "none") and not os.path.isfile(full.weights):
        raise UserError(f"weights={full.weights!r}: no such file; allowed: imagenet, none, or a checkpoint's path")
    if full.checkpoint_dir and not os.path.isdir(os.path.expanduser(full.checkpoint_dir)):
        raise UserError(f"checkpoint_dir={full.checkpoint_dir!r}: no such folder; make it, or mount the drive it is on")
    if full.groups not in ("", "none", *KNOWN_GROUPS) and not os.path.isfile(full.groups):
        raise UserError(f"groups={full.groups!r}: no such file; allowed: a CSV file, none, {', '.join(KNOWN_GROUPS)}, "
                        f"or nothing")  # fmt: skip
