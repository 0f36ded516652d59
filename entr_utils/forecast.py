"""What a run will take on this machine, said before it starts: seconds, FLOPs, memory, and whether that fits.

    T = sum over stages of epochs x images x r(s, trains) + n_train x resize(s)   + n_val (plain + 4 augmented)

The rates (seconds an image) come from a probe: a few steps of the run's own training loop at each size, on random
images, kept in the cache per device, network and precision. A run that ends puts what it measured in their place: on a
shared machine minutes of training tell more than seconds of a probe. Such a machine can also be at half its speed for
an hour: rates that have lain for ten minutes are checked by a few steps first. A forecast is written to disk before a
run's first step and never made again, so that its record can show how good it was.
"""

import contextlib
import sys
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import torch
from fastai.callback.core import Callback, CancelFitException

from entr_utils import UserError, datasets, files, images, learning, locks, memory, networks, synthetic, timing
from entr_utils.augmentation import make_augment, normalise
from entr_utils.experiment import Experiment
from entr_utils.keys import slug
from entr_utils.parameters import Parameters
from entr_utils.progress import Progress, minutes
from entr_utils.regimes import PROTOCOL, Stage
from entr_utils.runs import START_SECONDS

PROBE_SECONDS = 1.0  # of steps at each size, and at least
PROBE_STEPS = 3
PROBE_BATCH = 16  # on a CPU, where the time of an image hardly depends on the batch; a GPU is probed with the run's
LAIN = 600.0  # seconds after which rates are checked
NOISE = 1.15  # a change of speed below this is not told from none by a few steps
CLASSES = 20  # any number: the last layer's work is nothing beside the rest


class Pace(Callback):
    """Seconds of each training step after the first, until there are enough of them; then the fit ends."""

    def __init__(self, seconds: float, steps: int):
        self.least, self.steps, self.clock, self.first = seconds, steps, timing.Clock(), True
        self.took: list[float] = []

    def after_batch(self):
        if not self.first:
            self.took.append(self.clock.stop("steps"))
        self.first = False
        if len(self.took) >= self.steps and sum(self.took) >= self.least:
            raise CancelFitException
        self.clock.start()


def pace(network: networks.Network, batches: images.Batches, seconds: float = PROBE_SECONDS,
         steps: int = PROBE_STEPS) -> list[float]:  # fmt: skip
    """Seconds of each step of fastai's loop on these batches: indexing, augmentation and callbacks included."""
    measure = Pace(seconds, steps)
    learner = learning.make_learner(network, batches, [measure])
    with learner.no_bar(), learner.no_logging():
        learner.fit(1000, lr=0.0)
    return measure.took


def rates(p: Parameters) -> dict[str, dict[str, float]]:
    """What an image costs in a run of `p`, by "<pixels> <trains>", "plain" and "augmented" prediction at full size.

    Each has `seconds`, `flops` and `bytes` of activations an image; stages also `resize`, seconds an image.
    Measured where the cache does not have it yet; at the machine's speed of now where that was a while ago.
    """
    known = _known(p)
    wanted = [*dict.fromkeys((stage.fed(p.size), stage.trains) for stage in p.make_regime().stages[:-1]),
              (p.size, "plain"), (p.size, "augmented")]  # fmt: skip
    names = {f"{size} {what} b{p.batch}": (size, what) for size, what in wanted}
    steps = [(name, names[name]) for name in [*names][:-2] if name in known]
    if steps and time.time() - _cache(p).stat().st_mtime > LAIN:
        known = _as_of_now(p, known, *steps[-1])
        files.write_sealed(known, _cache(p))
    if missing := {name: what for name, what in names.items() if name not in known}:
        found = _probe(p, missing)
        known = (_known(p) if known else {}) | found  # a run may have taught it while the probe waited for the device
        files.write_sealed(known, _cache(p))
    return {f"{size} {what}": known[name] for name, (size, what) in names.items()}


def _probe(p: Parameters, missing: dict[str, tuple[int, str]]) -> dict[str, dict[str, float]]:
    found, progress = {}, Progress(f"measuring {p.network} on this machine")
    with locks.device(), torch.random.fork_rng():
        network = networks.build(p.network, "none", CLASSES, 0.5, timing.precision(p.precision)).to(timing.device())
        for i, (name, (size, what)) in enumerate(missing.items()):
            found[name] = _fitting(network, p, size, what)
            progress.update((i + 1) / len(missing))
        del network
        memory.give_back()
    progress.close()
    return found


def _fitting(network: networks.Network, p: Parameters, size: int, what: str) -> dict[str, float]:
    """`_measure` with the largest half, quarter, ... of the batch that fits: what does not fit can be foretold, too."""
    batch = p.batch if timing.device().type == "cuda" else min(p.batch, PROBE_BATCH)
    while batch > 1:  # batch-norm needs two images
        with contextlib.suppress(torch.OutOfMemoryError):
            return _measure(network, p, size, what, batch)
        batch //= 2
        memory.give_back()
    raise UserError(f"size={size}: no batch fits the device; take a smaller size")


def _as_of_now(p: Parameters, known: dict, name: str, what: tuple[int, str]) -> dict[str, dict[str, float]]:
    """All rates of the cache, faster or slower by as much as a few steps of one kind are."""
    measured = _probe(p, {name: what})[name]["seconds"]
    known = _known(p) or known  # a run may have taught it while the probe waited for the device
    changed = measured / known[name]["seconds"]
    factor = changed if max(changed, 1 / changed) > NOISE else 1.0
    return {name: rate | {kind: rate[kind] * factor for kind in ("seconds", "resize") if kind in rate}
            for name, rate in known.items()}  # fmt: skip


def _cache(p: Parameters) -> Path:
    """Named by all that changes the rates, the allocator's setting (see `execution`) included."""
    made_of = (timing.device_model(), p.network, timing.precision(p.precision), p.size, f"protocol {PROTOCOL}",
               f"torch {torch.__version__}", *timing.allocator().values())  # fmt: skip
    return memory.CACHE / "rates" / f"{slug(' '.join(map(str, made_of)))}.json"


def _known(p: Parameters) -> dict[str, dict[str, float]]:
    return files.read_sealed(_cache(p))


def _measure(network: networks.Network, p: Parameters, size: int, what: str, batch: int) -> dict[str, float]:
    photos = torch.randint(0, 256, (2 * batch, p.size, p.size, 3), dtype=torch.uint8).to(timing.device())
    labels = torch.zeros(2 * batch, dtype=torch.long, device=photos.device)
    augment, clock = make_augment("eight"), timing.Clock()
    if what in ("plain", "augmented"):
        for name in ("first", "second"):  # the first warms up
            with clock(name):
                learning.predict(network, photos, batch, augment if what == "augmented" else None)
        return {"seconds": clock.seconds["second"] / len(photos),
                "flops": timing.flops_per_image(network.eval(), size, train=False)}  # fmt: skip
    network.set_trains(what)
    with clock("resize"):
        small = images.resize(photos, size)
    took = pace(network, images.Batches(small, labels, batch, 0, augment))
    inputs = normalise(small[:4])
    held = [memory.peak_of_step(partial(learning.loss, network, inputs[:n], labels[:n])) for n in (2, 4)]
    return {"seconds": sum(took) / len(took) / batch, "resize": clock.seconds["resize"] / len(photos),
            "bytes": (held[1] - held[0]) / 2 * memory.BESIDE[photos.device.type],
            "flops": timing.flops_per_image(network, size, train=True)}  # fmt: skip


def forecast(p: Parameters, n_train: int, n_val: int) -> dict[str, float]:
    """Forecast of a run: `seconds` (T, total), `subtotal` (T through CMult), `wall_seconds`, `flops`, `memory` (bytes).

    Beside them `free`, the bytes that may be taken, and `batch`, the largest that fits (see `check_fits`).
    """
    each, regime, batch = rates(p), p.make_regime(), min(p.batch, n_train)
    stages = regime.stages[:-1]
    of = {stage.name: each[f"{stage.fed(p.size)} {stage.trains}"] for stage in stages}
    plain, augmented = each[f"{p.size} plain"], each[f"{p.size} augmented"]
    seen = {stage.name: 0 for stage in stages}  # images: the last incomplete batch of an epoch is left out
    for epoch in range(regime.epochs):
        seen[regime.lookup(epoch).stage.name] += regime.batches(epoch, n_train // batch) * batch
    seconds = {name: n * of[name]["seconds"] for name, n in seen.items()}
    for stage in {stage.size: stage for stage in reversed(stages) if stage.size < 1}.values():
        seconds[stage.name] += n_train * of[stage.name]["resize"]
    seconds["TTA"] = n_val * (plain["seconds"] + learning.TTA_PASSES * augmented["seconds"])
    total = sum(seconds.values())
    evaluation = n_val * plain["seconds"] * sum(stage.epochs + (stage.fed(p.size) / p.size) ** 2 for stage in stages)
    tested = n_val * (1 + learning.TTA_PASSES)
    warm = 2 * batch * sum(rate["seconds"] for rate in {id(rate): rate for rate in of.values()}.values())
    return {
        "seconds": total, "subtotal": total - seconds["RPL"] - seconds["TTA"],
        "wall_seconds": total + evaluation + warm + START_SECONDS,
        "flops": sum(n * of[name]["flops"] for name, n in seen.items()) + tested * plain["flops"],
        **_memory(p, n_train, n_val, stages, of),
    }  # fmt: skip


def _memory(p: Parameters, n_train: int, n_val: int, stages: tuple[Stage, ...], of: dict) -> dict[str, float]:
    """The formula of `memory`: its largest sum over the stages, on top of what this process holds already."""
    memory.give_back()
    body, head = networks.count(p.network, CLASSES)
    images = _resident(n_train, p.size)
    images += _resident(n_val, p.size, images)
    held = memory.taken() + images
    held += (body + head) * (4 if timing.precision(p.precision) == "float32" else 6)  # autocast keeps a half-size copy
    free, largest, batch = memory.free("device") + memory.taken(), 0.0, float("inf")
    for stage in stages:
        size = stage.fed(p.size)
        fixed = held + 8 * (body + head if stage.trains == "all" else head)
        fixed += _resident(n_train, size, images) if stage.size < 1 else 0
        each = of[stage.name]["bytes"]
        largest = max(largest, fixed + min(p.batch, n_train) * each)
        batch = min(batch, (free - fixed) // each)
    return {"memory": largest, "free": free, "batch": batch}


def _resident(n: int, size: int, beside: int = 0) -> int:
    """Bytes that images take of the device's memory beside others: nothing where they stay elsewhere."""
    taken = 3 * n * size**2
    return taken if memory.place_for(taken, beside) == "device" else 0


def of(experiment: Experiment) -> dict:
    """The forecast of a run that is about to start: the one written to disk where it has started before."""
    said = files.read_sealed(experiment.path.with_suffix(".forecast"))
    return said or forecast(experiment.parameters, len(experiment.training), len(experiment.validation))


def write(experiment: Experiment, predicted: dict) -> None:
    """Write the forecast of a run to disk, before its first step: made once, read from there ever after."""
    files.write_sealed(predicted, experiment.path.with_suffix(".forecast"))


def learn(experiment: Experiment, record: dict) -> None:
    """Put the rates that a run measured in the place of the probe's; what was never probed is left to the probe."""
    p, path, known = experiment.parameters, _cache(experiment.parameters), _known(experiment.parameters)
    spent: dict[str, tuple[float, int]] = {}
    for stage in record["stages"][:-1]:
        name = f"{stage['size']} {stage['trains']} b{p.batch}"
        resizing = sum(row["resize_seconds"] for row in record["epochs"] if row["stage"] == stage["name"])
        seconds, seen = spent.get(name, (0.0, 0))
        spent[name] = seconds + stage["seconds"] - resizing, seen + stage["images"]
    tta = [f"{p.size} {what} b{p.batch}" for what in ("plain", *["augmented"] * learning.TTA_PASSES)]
    if not {*spent, *tta} <= set(known):
        return
    for name, (seconds, seen) in spent.items():
        known[name]["seconds"] = seconds / seen
    off = record["stages"][-1]["seconds"] / record["n_val"] / sum(known[name]["seconds"] for name in tta)
    for name in set(tta):
        known[name]["seconds"] *= off
    try:
        files.write_sealed(known, path)
    except UserError as error:  # the run is done; only its lesson is lost
        print(f"the next forecasts do not know of this run: {error}", file=sys.stderr)


def check_fits(predicted: dict) -> None:
    """Raises UserError, before anything is trained, where a run does not fit the memory that is free."""
    if problem := does_not_fit(predicted):
        raise UserError(problem)


def does_not_fit(predicted: dict) -> str:
    """ "" where the run fits, else a line that says which batch would."""
    if predicted["memory"] <= predicted["free"]:
        return ""
    would = (
        f"batch {predicted['batch']:.0f} would" if predicted["batch"] >= 2 else "no batch would; take a smaller size"
    )
    return (f"does not fit: {predicted['memory'] / 2**30:.1f} GiB needed, {predicted['free'] / 2**30:.1f} GiB free; "
            f"{would}")  # fmt: skip


def sentence(predicted: dict) -> str:
    """The forecast of one run as a line for people."""
    said = (f"Forecast on this machine: {minutes(predicted['seconds'])} of T, {minutes(predicted['wall_seconds'])} "
            f"in all, {predicted['flops']:.1e} FLOPs, {predicted['memory'] / 2**30:.1f} GiB of memory")  # fmt: skip
    problem = does_not_fit(predicted)
    return f"{said}; {problem}." if problem else f"{said}."


def counts(p: Parameters) -> tuple[int, int]:
    """Training and validation images of a run that is only planned: those found, or as many as the paper's."""
    paper = datasets.DATASETS[p.dataset]
    if p.data.startswith("synthetic"):
        n = (p.made_of.classes or paper.classes) * synthetic.PER_CLASS[p.profile][paper.look]
    else:
        try:
            n = len(datasets.list_images(datasets.class_folder(p.dataset, p.data)))
        except UserError:  # no folder, or none of images in classes
            n = paper.images
    return n - round(n / 10), round(n / 10)


def table(runs: Iterable[tuple[Parameters, dict]]) -> str:
    """The sum, then a line a run: what they will take on this machine. Short is planned when its partners have run."""
    lines, total = [], 0.0
    for p, predicted in runs:
        total += predicted["wall_seconds"]
        most = "at most " if p.regime == "short" and not p.share else ""
        said = sentence(predicted).partition(": ")[2]
        lines.append(f"    {p.dataset} {p.network} {p.regime} s{p.seed}: {most}{said}")
    return "\n".join([f"  forecast: {minutes(total)} for {len(lines)} runs on this machine", *lines])
