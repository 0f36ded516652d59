"""What the notebook of a run shows: sentences and tables made from an experiment or its record."""

import html
from collections import Counter, defaultdict

import numpy as np
import pandas as pd
from IPython.display import Markdown

from entr_utils import records, verdicts
from entr_utils.datasets import DATASETS
from entr_utils.figures import LABELS
from entr_utils.keys import short_commit
from entr_utils.progress import minutes
from entr_utils.regimes import PROFILES


def as_table(rows: list[dict]) -> Markdown:
    """A table GitHub draws as one, and that stays readable as text; what a row does not have stays empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, ["---"] * len(names), *([str(row.get(name, "")) for name in names] for row in rows)]
    return Markdown("\n".join(f"| {' | '.join(row)} |" for row in cells))


def captioned(rows: list[dict], loaded: list[dict], text: str = "") -> Markdown:
    """A table where there are rows, a line of text, and what was not as in the paper in small print."""
    parts = (as_table(rows).data if rows else "", text, f"<sub>{records.caption(loaded)}</sub>" if loaded else "")
    return Markdown("\n\n".join(part for part in parts if part))


def what_runs(experiment) -> Markdown:
    """What will be run on what, before it starts."""
    identity, images, p = experiment.identity, experiment.images, experiment.parameters
    done = records.has_trained(experiment.path)
    state = f"done before, read from its record {experiment.path.name}" if done else "to be trained now"
    return Markdown(
        f"**{p.dataset}, {p.network}, {LABELS[p.regime]}, seed {p.seed}**, profile {p.profile} "
        f"({PROFILES[p.profile].purpose}): {state}.\n\n"
        f"- Images: {images.source}; {len(experiment.training)} to train, {len(experiment.validation)} to validate.\n"
        f"{not_used(experiment.about)}"
        f"- Weights: {identity['weights']}. Precision: {identity['precision']}. Device: {identity['device']}.\n"
        f"- {experiment.regime.epochs} epochs, batch {identity['batch']}, learning rate {identity['lr']:g}, "
        f"up to {identity['size']} px.\n"
        f"- {forecast_of(experiment)}"
    )


def not_used(about: dict) -> str:
    """A line each on what of a folder was left out and on identical images, naming a few; none where there is none.

    Args:
        about: a record, or what it will say of its images (`Experiment.about`).
    """
    lines = (("left_out", "Left out"), ("copies", "Identical images, kept on one side of the split"))
    return "".join(f"- {text}, {about[f'n_{name}']} in all: {_few(about[name], about[f'n_{name}'])}.\n"
                   for name, text in lines if about[f"n_{name}"])  # fmt: skip


def _few(texts: list[str], n: int, most: int = 5) -> str:
    shown = [html.escape(text).replace("|", "&#124;") for text in texts[:most]]  # a file's name is no markup
    return "; ".join(shown) + (f"; and {n - most} more" if n > most else "")


def forecast_of(experiment) -> str:
    """What a run will take, before it starts; what was said and what it took, once it is done."""
    from entr_utils import forecast

    record = records.trained(experiment.path)
    if not record:
        return forecast.sentence(forecast.of(experiment))
    if "forecast_seconds" not in record:
        return "No forecast was made of this run."
    return f"Forecast: {minutes(record['forecast_seconds'])} of T; it took {minutes(record['seconds_total'])}."


def what_runs_all(runs: list) -> Markdown:
    """What will be run on what, for all regimes and seeds of a user's own images."""
    first, waiting = runs[0], sum(not records.has_trained(run.path) for run in runs)
    each = "\n".join(
        f"- {LABELS[run.parameters.regime]}, seed {run.parameters.seed}: {forecast_of(run)}" for run in runs
    )
    return Markdown(f"{len(runs)} runs, {waiting} of them to be trained now.\n\n{each}\n\nThe first:\n\n"
                    f"{what_runs(first).data}\n\n{table1(first).data}")  # fmt: skip


def own_verdict(compared: pd.DataFrame, loaded: list[dict]) -> Markdown:
    """One paragraph for a user's own images, with what qualifies it."""
    return Markdown(f"{verdicts.own_verdict(compared)}\n\n<sub>{records.caption(loaded)}</sub>")


def recommended(compared: pd.DataFrame, loaded: list[dict]) -> dict:
    """The first record of the regime the verdict recommends."""
    regime, _ = verdicts.choose(compared)
    return next(record for record in loaded if record["regime"] == regime)


def table1(experiment) -> Markdown:
    """Table 1's row, computed from the images, with the paper's beside it."""
    images, name = experiment.images, experiment.parameters.dataset
    counts = np.bincount(images.labels)
    rows: list[dict] = [
        {"dataset": name, "images": len(images.labels), "classes": len(images.classes),
         "images a class": f"{counts.min()} to {counts.max()}", "training": len(experiment.training),
         "validation": len(experiment.validation)}
    ]  # fmt: skip
    if name in DATASETS:
        paper = DATASETS[name]
        rows.append({"dataset": f"{paper.title} in the paper", "images": paper.images, "classes": paper.classes})
    return as_table(rows)


def outcome(record: dict) -> Markdown:
    """Sub-total and total accuracy, T and As, in a table with its caveats."""
    rows = [
        {"part": "sub-total (through CMult)", "accuracy": f"{record['accuracy_subtotal']:.3f}",
         "T": f"{record['seconds_subtotal']:.1f} s", "As": f"{record['efficiency_subtotal']:.3f}",
         "FLOPs": f"{record['flops_subtotal']:.2e}"},
        {"part": "after RPL, before TTA", "accuracy": f"{record['accuracy_rpl']:.3f}"},
        {"part": "total (after TTA)", "accuracy": f"{record['accuracy_total']:.3f}",
         "T": f"{record['seconds_total']:.1f} s", "As": f"{record['efficiency_total']:.3f}",
         "FLOPs": f"{record['flops_total']:.2e}"},
    ]  # fmt: skip
    warm = sum(record["warmup_seconds"].values())
    return captioned(
        rows,
        [record],
        f"As = sqrt(accuracy / T), T in minutes. With the {warm:.1f} s of warm-up counted, total As is "
        f"{record['efficiency_total_with_warmup']:.3f}. One of the {record['n_val']} validation images is "
        f"{100 / record['n_val']:.1f} points.",
    )


def stages(record: dict) -> Markdown:
    """The stages: size, epochs, seconds, images/s, learning rates, accuracy at full and at training size."""
    rows = [{
        "stage": stage["name"], "size": f"{stage['size']} px", "epochs": stage["epochs"], "trains": stage["trains"],
        "seconds": f"{stage['seconds']:.1f}", "images/s": f"{stage['images_per_second']:.0f}",
        "learning rates": _rates(stage), "accuracy, full size": f"{stage['accuracy_full_size']:.3f}",
        "accuracy, training size": f"{stage['accuracy_train_size']:.3f}",
        "peak memory": f"{stage['peak_memory'] / 2**30:.1f} GiB",
    } for stage in record["stages"]]  # fmt: skip
    return captioned(rows, [record])


def _rates(stage: dict) -> str:
    if stage["trains"] == "nothing":
        return ""
    return f"head {stage['lr'][2]:g}" if stage["trains"] == "head" else " / ".join(f"{rate:g}" for rate in stage["lr"])


def worst_pairs(record: dict, most: int = 5) -> Markdown:
    """The pairs of classes taken for one another most often, after TTA."""
    names, predictions = record["class_names"], record["predictions"]
    pairs = pd.Series([(names[true], names[guess]) for true, guess in
                       zip(predictions["truth"], predictions["total"], strict=True) if true != guess])  # fmt: skip
    if pairs.empty:
        return Markdown("No validation image was taken for another class.")
    counts = pairs.value_counts().head(most)
    listed = "; ".join(f"{true} taken for {guess} ({count})" for (true, guess), count in counts.items())
    return Markdown(f"{len(pairs)} of {record['n_val']} validation images were wrong. Most often: {listed}.")


def environment(record: dict) -> Markdown:
    """What the run stood on."""
    env = record["environment"]
    return Markdown(
        f"Device: {env['device']}, processor: {env['cpu']}, precision: {record['precision']}. "
        f"Python {env['python']}, torch {env['torch']}, torchvision {env['torchvision']}, fastai {env['fastai']}. "
        f"Commit {short_commit(env)}, started {env['started']}, "
        f"load {env['load']:.2f}, {minutes(record['wall_seconds'])} of wall time{_disturbed(record)}.\n\n"
        f"Split: {record['split']}. Weights sha256 {record['weights_sha256'][:12]}, data sha256 "
        f"{record['data_sha256'][:12]}, run key {record['key'][:12]}, protocol {record['protocol']}."
    )


def _disturbed(record: dict) -> str:
    """What else a reader has to know of the seconds."""
    stolen = record.get("stolen_seconds")
    share = ""
    if stolen is not None:  # this system counts it
        share = f", {stolen / record['wall_seconds'] / record['environment']['threads']:.0%} of it stolen by the host"
    attempts = f", gone on with {len(record['attempts'])} times after a stop" if record.get("attempts") else ""
    return f"{share}{attempts}"


def environments(loaded: list[dict]) -> Markdown:
    """Machines and versions of the runs, each once, with the commits of their code."""
    kept = ("device", "python", "torch", "torchvision", "fastai")
    commits: dict[tuple, Counter] = defaultdict(Counter)
    for record in loaded:
        env = record["environment"]
        commits[*(env[name] for name in kept), record["precision"]][short_commit(env)] += 1
    return as_table([dict(zip((*kept, "precision"), row, strict=True)) | {
        "runs": each.total(), "commits (runs)": ", ".join(f"{commit} ({n})" for commit, n in each.items()),
    } for row, each in commits.items()])  # fmt: skip
