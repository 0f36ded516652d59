"""What a notebook shows: sentences and tables made from an experiment or its record."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Markdown

from entr_utils import records, statistics
from entr_utils.datasets import DATASETS
from entr_utils.figures import LABELS
from entr_utils.parameters import NETWORKS
from entr_utils.progress import minutes
from entr_utils.regimes import CONTROLS, PROFILES, REGIMES


def _table(rows: list[dict]) -> Markdown:
    """A table GitHub draws as one, and that stays readable as text; what a row does not have stays empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, ["---"] * len(names), *([str(row.get(name, "")) for name in names] for row in rows)]
    return Markdown("\n".join(f"| {' | '.join(row)} |" for row in cells))


def _captioned(rows: list[dict], loaded: list[dict], text: str = "") -> Markdown:
    """A table, a line of text, and what was not as in the paper in small print."""
    parts = (_table(rows).data, text, f"<sub>{records.caption(loaded)}</sub>" if loaded else "")
    return Markdown("\n\n".join(part for part in parts if part))


def what_runs(experiment) -> Markdown:
    """What will be run on what, before it starts."""
    identity, images, p = experiment.identity, experiment.images, experiment.parameters
    done = experiment.path.exists()
    state = f"done before, read from its record {experiment.path.name}" if done else "to be trained now"
    return Markdown(
        f"**{p.dataset}, {p.network}, {LABELS[p.regime]}, seed {p.seed}**, profile {p.profile} "
        f"({PROFILES[p.profile].purpose}): {state}.\n\n"
        f"- Images: {images.source}; {len(experiment.training)} to train, {len(experiment.validation)} to validate.\n"
        f"{records.not_used(experiment.about)}"
        f"- Weights: {identity['weights']}. Precision: {identity['precision']}. Device: {identity['device']}.\n"
        f"- {experiment.regime.epochs} epochs, batch {identity['batch']}, learning rate {identity['lr']:g}, "
        f"up to {identity['size']} px.\n"
        f"- {forecast_of(experiment)}"
    )


def forecast_of(experiment) -> str:
    """What a run will take, before it starts; what was said and what it took, once it is done."""
    from entr_utils import forecast

    done = next((path for path in (experiment.path, records.unfinished(experiment.path)) if path.exists()), None)
    if not done:
        return forecast.sentence(forecast.of(experiment))
    record = records.read(done)
    if "forecast_seconds" not in record:
        return "No forecast was made of this run."
    return f"Forecast: {minutes(record['forecast_seconds'])} of T; it took {minutes(record['seconds_total'])}."


def what_runs_all(runs: list) -> Markdown:
    """What will be run on what, for all regimes and seeds of a user's own images."""
    first, waiting = runs[0], sum(not run.path.exists() for run in runs)
    each = "\n".join(
        f"- {LABELS[run.parameters.regime]}, seed {run.parameters.seed}: {forecast_of(run)}" for run in runs
    )
    return Markdown(f"{len(runs)} runs, {waiting} of them to be trained now.\n\n{each}\n\nThe first:\n\n"
                    f"{what_runs(first).data}\n\n{table1(first).data}")  # fmt: skip


def own_verdict(compared: pd.DataFrame, loaded: list[dict]) -> Markdown:
    """One paragraph for a user's own images, with what qualifies it."""
    return Markdown(f"{statistics.own_verdict(compared)}\n\n<sub>{records.caption(loaded)}</sub>")


def recommended(compared: pd.DataFrame, loaded: list[dict]) -> dict:
    """The first record of the regime the verdict recommends."""
    regime = statistics.recommend(compared)
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
    return _table(rows)


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
    return _captioned(
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
    return _captioned(rows, [record])


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
        f"Commit {env['commit'][:10]}{'-dirty' if env['commit'].endswith('-dirty') else ''}, started {env['started']}, "
        f"load {env['load']:.2f}, {minutes(record['wall_seconds'])} of wall time{_disturbed(record)}.\n\n"
        f"Split: {record['split']}. Weights sha256 {record['weights_sha256'][:12]}, data sha256 "
        f"{record['data_sha256'][:12]}, run key {record['key'][:12]}, protocol {record['protocol']}."
    )


def _disturbed(record: dict) -> str:
    """What else a reader has to know of the seconds."""
    stolen = record.get("stolen_seconds")
    share = f", {stolen / record['wall_seconds'] / record['environment']['threads']:.0%} of it stolen by the host"
    attempts = f", gone on with {len(record['attempts'])} times after a stop" if record.get("attempts") else ""
    return f"{share if stolen is not None else ''}{attempts}"


def verdict(compared: pd.DataFrame, loaded: list[dict], profile: str) -> Markdown:
    """The first screen: whether growing images paid, by how much, on what, with what caveats."""
    if not loaded:
        return Markdown(f"No records of profile {profile} yet: `make all PROFILE={profile}` makes them.")
    first = loaded[0]
    unpaired = statistics.left_out(records.table(loaded))
    alone = f" {unpaired} of them have no partner to be compared with." if unpaired else ""
    varied = "; ".join(f"{name} {_listed(loaded, name)}" for name in ("dataset", "network", "regime", "seed"))
    settings = records.letters(loaded) or {records.setting(first): ""}
    where = "; ".join(f"{letter}: {setting}".removeprefix(": ") for setting, letter in settings.items())
    cells = f"{len(loaded)} runs ({varied}), up to {first['size']} px, {where}"
    sources = dict.fromkeys(
        f"{record['dataset']}: {record['image_source']}; split: {record['split']}." for record in loaded
    )
    notes = [*sources, records.caption(loaded)]
    sentences = _sentences(compared, records.letters(loaded))
    return Markdown(
        f"{statistics.headline(compared)}\n\n{sentences}\n\nOn what: {cells}.{alone}\n\nCaveats:\n"
        + "\n".join(f"- {note}" for note in notes)
    )


def _sentences(compared: pd.DataFrame, letters: dict[str, str]) -> str:
    return "\n".join(
        f"- {row['dataset']}{_on(letters, row)}, {row['network']}, {LABELS[row['treatment']]}: "
        f"T x {statistics.interval_text(row, 'time')}, accuracy {statistics.interval_text(row, 'points', 1)} points, "
        f"As x {statistics.interval_text(row, 'efficiency')} "
        f"(n = {row['n']}; one validation image is {100 / row['n_val']:.1f} points)."
        for _, row in compared.iterrows()
    )


def _on(letters: dict[str, str], row: pd.Series) -> str:
    return f" ({letters[row['setting']]})" if letters else ""


def _listed(loaded: list[dict], name: str) -> str:
    return ", ".join(LABELS.get(str(value), str(value)) for value in dict.fromkeys(record[name] for record in loaded))


def table1_all(loaded: list[dict]) -> Markdown:
    """Table 1 from the records: images and classes of each dataset as trained on, beside the paper's."""
    rows = []
    for record in {record["data_sha256"]: record for record in loaded}.values():
        paper = DATASETS.get(record["dataset"])
        rows.append({
            "dataset": record["dataset"], "images": record["n_train"] + record["n_val"],
            "classes": len(record["class_names"]), "validation": record["n_val"],
            "images in the paper": paper.images if paper else "",
            "classes in the paper": paper.classes if paper else "", "what they are": record["image_source"],
        })  # fmt: skip
    return _table(rows)


def matrix(loaded: list[dict], profile: str, empty: bool = True) -> Markdown:
    """Every cell of the paper's matrix (quick: of the networks that ran): mean over seeds; empty without a run."""
    table = records.table(loaded)
    ran = list(dict.fromkeys(record["network"] for record in loaded))
    networks = NETWORKS if profile == "paper" and empty else ran
    rows = []
    for setting, on in (records.letters(loaded) or {"": ""}).items():
        part = table[table["setting"] == setting] if on else table
        rows += [_cell(part, dataset, network, regime, on)
                 for dataset in DATASETS for network in networks for regime in REGIMES
                 if not on or ((part["dataset"] == dataset) & (part["network"] == network)).any()]  # fmt: skip
    return _captioned(rows, loaded)


def _cell(table: pd.DataFrame, dataset: str, network: str, regime: str, on: str) -> dict:
    row: dict = {"on": on} if on else {}
    row |= {"dataset": dataset, "network": network, "regime": LABELS[regime], "seeds": 0}
    if not len(table):
        return row
    cell = table[(table["dataset"] == dataset) & (table["network"] == network) & (table["regime"] == regime)]
    if not len(cell):
        return row
    mean = cell.mean(numeric_only=True)
    shown = {"accuracy": ("accuracy", ".3f"), "T in s": ("seconds", ".0f"), "As": ("efficiency", ".3f")}
    return row | {"seeds": len(cell), "weights": ", ".join(sorted(set(cell["weights"])))} | {
        f"{title}, {part}": f"{mean[f'{name}_{part}']:{digits}}"
        for title, (name, digits) in shown.items() for part in ("subtotal", "total")
    }  # fmt: skip


def comparisons(compared: pd.DataFrame, loaded: list[dict]) -> Markdown:
    """Each treatment against no increase: ratios of T, FLOPs and As, difference of accuracy in points."""
    letters = records.letters(loaded)
    rows = [({"on": letters[row["setting"]]} if letters else {}) | {
        "dataset": row["dataset"], "network": row["network"], "regime": LABELS[row["treatment"]], "n": row["n"],
        "T ratio": statistics.interval_text(row, "time"), "FLOPs ratio": statistics.interval_text(row, "flops"),
        "As ratio, sub-total": statistics.interval_text(row, "efficiency_subtotal"),
        "As ratio, total": statistics.interval_text(row, "efficiency"),
        "with warm-up": statistics.interval_text(row, "efficiency_warm"),
        "points, sub-total": statistics.interval_text(row, "points_subtotal", 1),
        "points, total": statistics.interval_text(row, "points", 1), "one image": f"{100 / row['n_val']:.1f}",
    } for _, row in compared.iterrows()]  # fmt: skip
    return _captioned(rows, loaded)


def environments(loaded: list[dict]) -> Markdown:
    """Machines and versions of the runs, each once."""
    kept = ("device", "python", "torch", "torchvision", "fastai", "commit")
    rows = Counter((*(record["environment"][name] for name in kept), record["precision"]) for record in loaded)
    return _table([dict(zip((*kept, "precision", "runs"), (*row, n), strict=True)) for row, n in rows.items()])


def probes(results: str, profile: str) -> Markdown:
    """Linear-probe accuracy by size, of every probe there is."""
    loaded = [records.read_json(path) for path in sorted((Path(results) / profile).rglob("probes/*.json"))]
    if not loaded:
        return Markdown("No probe: it is made for runs with `WEIGHTS=path`.")
    several = len({probe["device"] for probe in loaded}) > 1
    rows = [{**({"device": probe["device"]} if several else {}),
             "dataset": probe["dataset"], "network": probe["network"], "weights": probe["weights"],
             **{f"{size} px": f"{accuracy:.3f}" for size, accuracy in probe["accuracy"].items()},
             "validation": probe["n_val"]} for probe in loaded]  # fmt: skip
    return _table(rows)


def read_all(results: str, profile: str) -> tuple[pd.DataFrame, list[dict]]:
    """The tidy table of a profile's records, and the records themselves, in the paper's order."""
    order = [(dataset, network, regime) for dataset in (*DATASETS, "own") for network in NETWORKS
             for regime in (*REGIMES, *CONTROLS)]  # fmt: skip
    loaded = sorted(
        records.read_all(Path(results) / profile),
        key=lambda record: (order.index((record["dataset"], record["network"], record["regime"])), record["seed"]),
    )
    return records.table(loaded), loaded
