"""Markdown tables: GitHub draws them, and they can be read as text. No torch."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Markdown

from entr_utils.data.catalog import DATASETS
from entr_utils.data.synthetic import texture_of
from entr_utils.regimes import REGIMES, parse
from entr_utils.regimes.entropy import BOUNDS, entropy
from entr_utils.results import compare, record, studies, times
from entr_utils.results.record import Record
from entr_utils.settings import CONFLICT, PAPER_DATASETS, PAPER_REGIMES, Cell
from entr_utils.util import minutes

PROFILES = ("compact", "paper", "quick")  # the summary opened by itself shows the first of these that has records


def markdown(header: str, rows: Iterable[Sequence]) -> Markdown:
    """A table of rows under a header, "a | b | c"; a cell is one line whatever is in it."""
    texts = [[str(cell).replace("|", "&#124;").replace("\n", " ") for cell in row] for row in rows]
    lines = [header, " | ".join("---" for _ in header.split("|")), *map(" | ".join, texts)]
    return Markdown("\n".join(f"| {line} |" for line in lines))


def label(regime: str) -> str:
    """A regime for people: "stepwise:switch=RPL" is "stepwise (switch RPL)"."""
    name, _, options = regime.replace("_", " ").partition(":")
    return f"{name} ({options.replace('=', ' ').replace(',', ', ')})" if options else name


def rank(regime: str) -> int:
    """The place of a regime: the paper's first, then as registered."""
    return [*dict.fromkeys((*PAPER_REGIMES, *REGIMES))].index(parse(regime).name)


def span(values: Iterable[float], digits: int = 2, sign: str = "") -> str:
    """Least and largest: "0.79 to 0.84", or one figure where they are equal."""
    ends = sorted(round(value, digits) + 0.0 for value in values)
    return " to ".join(dict.fromkeys(f"{value:{sign}.{digits}f}" for value in (ends[0], ends[-1])))


def interval(row: dict, digits: int = 1, sign: str = "+") -> str:
    """An estimate with its interval, where it has one: "+0.4 [-1.2, +2.0]"."""
    texts = [f"{row[name]:{sign}.{digits}f}" for name in ("estimate", "low", "high")]
    return texts[0] if np.isnan(row["low"]) else f"{texts[0]} [{texts[1]}, {texts[2]}]"


def by_measure(compared: pd.DataFrame) -> list[dict[str, dict]]:
    """Of each comparison its rows by measure, with the label of the `regime`; "T" is the time by the clock, or as
    measured where there is no clock, which `how` says."""
    labelled, found = compared.assign(regime=[*map(label, compared["treatment"])]), []
    for _, cell in labelled.groupby([*compare.TOGETHER, "treatment", "control"], sort=False):
        rows = {row["measure"]: row for row in cell.to_dict("records")}
        how = "by the clock" if "time" in rows else "as measured"
        found.append(rows | {"T": {"how": how} | rows.get("time", rows["time_measured"])})
    return found


def read(results: str | Path, profile: str = "") -> tuple[str, list[Record], pd.DataFrame]:
    """A profile, its records and their table; "" takes the first of PROFILES that has records."""
    found = {name: record.load(Path(results, name)) for name in ([profile] if profile else PROFILES)}
    profile = next(filter(found.get, found), next(iter(found)))
    place = {name: i for i, name in enumerate(PAPER_DATASETS)}
    records = sorted(found[profile], key=lambda one: (place.get(one.spec.dataset, len(place)), rank(one.spec.regime)))
    return profile, records, compare.table(records, times.read_clocks(results))


def compared(table: pd.DataFrame, study: str = "") -> pd.DataFrame:
    """The comparisons of a study's regimes with the control; by default those of the first screen: of every regime that
    ran, but for those that only other studies ask about and those cut to a share by hand."""
    if study:
        table = studies.runs_of(studies.STUDIES[study], table)
    asked = {one.treatment for name in ("paper", "compact") for one in studies.STUDIES[name].contrasts}
    beside = {one.treatment for other in studies.STUDIES.values() for one in other.contrasts} - asked
    ran = {text: parse(text) for text in table["regime"]}
    cut = {text for text, regime in ran.items() if isinstance(regime.budget, float)}
    chosen = ran.keys() if study else {text for text in ran.keys() - cut if ran[text].name not in beside}
    seen = [*dict.fromkeys([*table["dataset"], *ran])].index
    found = studies.most(compare.compare(table, chosen - {compare.CONTROL}))
    return found.sort_values(["dataset", "treatment"], key=lambda names: names.map(seen), kind="stable")


def in_comparison(table: pd.DataFrame, compared: pd.DataFrame) -> pd.DataFrame:
    """The runs that are compared, and those of their control: other studies may share a profile's records."""
    alike, wanted = (pd.MultiIndex.from_frame(one[compare.TOGETHER]) for one in (table, compared))
    return table[alike.isin(wanted) & table["regime"].isin({*compared["treatment"], compare.CONTROL})]


def first_screen(compared: pd.DataFrame, table: pd.DataFrame, folder: str | Path = "") -> Markdown:
    """A row a comparison: folds, T in seconds, accuracy and the loss ruled out in points, the risk of losing a point.
    Rendered notebooks in `folder` are linked, by their names alone."""
    clock, rows = ", ".join(filter(None, dict.fromkeys(table["clock"]))) or "as measured", []
    for found in by_measure(compared):
        points, took = found["points"], found["T"]
        row = [points["dataset"], points["network"], points["regime"], points["n"], f"{points['images']:.0f}"]
        row.append(f"{took['base']:.1f} x {took['estimate']:.2f}{'' if 'time' in found else ', as measured'}")
        row.append(interval(points))
        if points["n"] > 1:
            chance = f"{points['probability']:.0%}"
            row.append(f"{max(0, -points['low']):.1f} ({points['estimate'] - points['low']:.1f})")
            row.append(f"({chance})" if points["n"] < compare.FEW else chance)
        else:
            row += ["", ""]  # one fold rules nothing out
        name = f"{Cell(points['dataset'], points['network'], points['treatment']).name}.ipynb"
        rows.append([*row, f"[notebook]({name})" if Path(folder, name).is_file() else ""])
    header = f"dataset | network | regime | folds | images judged | T: seconds of the control x ratio ({clock}) | "
    return markdown(f"{header}points of accuracy | loss ruled out (if equal) | chance of losing over a point | ", rows)


def details(compared: pd.DataFrame) -> Markdown:
    """A row a comparison: the three probabilities, the interval for these images only, and flips."""
    rows = []
    for points in (found["points"] for found in by_measure(compared)):
        row = [points["dataset"], points["network"], points["regime"], points["n"]]
        row += [_number(points[name], ".0%", "") for name in ("probability", "within", "gains")]
        row.append(f"{points['image_low']:+.1f} to {points['image_high']:+.1f}")
        rows.append([*row, f"{points['worse']:.0f}, {points['better']:.0f}"])
    header = "dataset | network | regime | folds | costs more than a point | stays within a point | gains more | "
    return markdown(f"{header}these images only, points | predictions worse, better", rows)


def machines(table: pd.DataFrame, clocks: times.Clocks) -> Markdown:
    """A row a regime, a column a clock that can time these runs: T to the control's, its mean and range over takes."""
    regimes, columns = [text for text in dict.fromkeys(table["regime"]) if text != compare.CONTROL], {}
    for setting in sorted(clocks):
        by_one = compare.table(table["record"], {setting: clocks[setting]})
        found = compare.compare(by_one, regimes, measures=("time",)).groupby("treatment")
        means = found.agg({"estimate": "mean", "low": "min", "high": "max"}).to_dict("index")
        if means:
            cells = [f"x {interval(means[text], 2, '')}" if text in means else "" for text in regimes]
            columns[", ".join(setting)] = cells
    return markdown(" | ".join(["regime", *columns]), zip(map(label, regimes), *columns.values(), strict=True))


def contrasts(study: str, table: pd.DataFrame) -> Markdown:
    """A row for each contrast of a study that these runs have, of whatever profile, with the question it answers."""
    asked, rows = studies.STUDIES[study], []
    for found in by_measure(studies.answers(asked, table)):
        points = found["points"]
        differs = [f"{name} {points[name] or 'as usual'}" for name in studies.apart(asked)]
        row = [points["question"], points["dataset"], points["network"], points["carries"] or ", ".join(differs)]
        row += [points["regime"], label(points["control"]), points["n"]]
        row.append(f"{found['time']['estimate']:.2f}" if "time" in found else "no clock")
        rows.append([*row, f"{found['flops_total']['estimate']:.2f}", interval(points)])
    return markdown("question | dataset | network | condition | regime | against | folds | T | FLOPs | points", rows)


def methods(runs: pd.DataFrame, compared: pd.DataFrame) -> Markdown:
    """A row for each dataset and regime: means over its runs, points against the control over its folds."""
    points_of = compared[compared["measure"] == "points"].set_index(["dataset", "treatment"]).to_dict("index")
    rows = []
    for (dataset, regime), cell in runs.groupby(["dataset", "regime"], sort=False):
        mean, points = cell.mean(numeric_only=True), points_of.get((dataset, regime))
        row = [dataset, label(regime), len(cell), points["n"] if points else "", f"{mean['accuracy_total']:.3f}"]
        row.append(interval(points) if points else "")
        row.append(f"{max(0, -points['low']):.1f}" if points and points["n"] > 1 else "")
        row += [_number(mean["seconds_total"]), _number(mean["with_first_use"]), f"{mean['flops_total']:.1e}"]
        row += [f"{mean['parameters'] / 1e6:.1f} M", f"{mean['peak_memory'] / 2**30:.2f} GiB"]
        rows.append([*row, _number(mean["efficiency_total"], ".2f")])
    header = "dataset | method | runs | folds | accuracy | points against full size | loss ruled out | T in seconds | "
    return markdown(f"{header}with first use | FLOPs | parameters | peak memory | As", rows)


def sources(study: str) -> Markdown:
    """What the sources of a study's regimes report, in their own settings."""
    claims = {parse(text).name.replace("_", " "): parse(text).claim for text in studies.STUDIES[study].regimes}
    return markdown("method | its source reports", [(name, claim) for name, claim in claims.items() if claim])


def decided(records: Iterable[Record]) -> tuple[int, int]:
    """(by shape, by texture): how many predictions after TTA name the class of the coarse pattern, and of the fine
    texture, where images have those of two classes (after Geirhos et al. 2019, 1811.12231)."""
    by_shape = by_texture = 0
    for one in records:
        kept, classes = one.predictions, len(one.source.classes)
        for name, shape, guess in zip(kept.image, kept.truth, kept.total, strict=True):
            by_shape += guess == shape
            by_texture += guess == texture_of(shape, int(name.split()[-1]), classes)
    return by_shape, by_texture


def shapes(table: pd.DataFrame) -> Markdown:
    """A row a regime whose runs are judged in conflict: what decided, and shape's share of both (the "shape bias")."""
    rows = []
    for regime, cell in table[table["carries"] == CONFLICT].groupby("regime", sort=False):
        by_shape, by_texture = decided(cell["record"])
        neither, either = cell["n_val"].sum() - by_shape - by_texture, by_shape + by_texture
        share = f"{by_shape / either:.2f}" if either else "none"
        rows.append([label(regime), len(cell), by_shape, by_texture, neither, share])
    return markdown("regime | runs | by shape | by texture | by neither | share of shape", rows)


def entropies(images: dict) -> Markdown:
    """A row a dataset: the entropy of its images (`data.store.Images`), and the bounds on depth that are ours."""
    rows = []
    for name, one in images.items():
        nats = entropy(one.pixels)
        bounds = [bound(nats) for bound in BOUNDS.values()]
        rows.append([name, one.source.title, len(one.labels), f"{nats:.2f}", f"{nats / np.log(2):.2f}", *bounds])
    ours = [f"blocks by {name} (ours)" for name in BOUNDS]
    return markdown(" | ".join(["dataset", "what they are", "images", "nats", "bits", *ours]), rows)


def outcome(table: pd.DataFrame) -> Markdown:
    """Accuracy, T by the clock and as measured, As and FLOPs of a cell: means over its runs (`compare.table`)."""
    mean, rows = table.mean(numeric_only=True), []
    for part, title in (("subtotal", "sub-total (through CMult)"), ("total", "total (after TTA)")):
        row = [title, len(table), f"{mean[f'accuracy_{part}']:.3f}", span(table[f"accuracy_{part}"], 3)]
        row += [_number(mean[f"seconds_{part}"]), f"{mean[f'measured_{part}']:.1f}"]
        rows.append([*row, _number(mean[f"efficiency_{part}"], ".3f"), f"{mean[f'flops_{part}']:.2e}"])
    return markdown("part | runs | accuracy | from, to | T in s by the clock | T in s as measured | As | FLOPs", rows)


def _number(value: float, form: str = ".1f", unknown: str = "no clock") -> str:
    return unknown if np.isnan(value) else format(value, form)


def folds(runs: Sequence) -> Markdown:
    """What some folds take, and the smallest loss of accuracy that they could rule out at best: by the spread of one
    judged image. `runs`: `training.run.Run`s of one fold, one a regime."""
    split, seconds = runs[0].split, [run.forecast() for run in runs]
    image, share = 100 / len(split.validation), len(split.validation) / len(split.training)
    rows = []
    for n in (n for n in (1, 3, 5, 10) if n <= max(1, split.folds)):
        took = "no clock" if None in seconds else minutes(n * sum(seconds))
        loss = -compare.posterior([0.0] * n, share, image).interval()[0]
        rows.append([n, took, _number(loss, unknown="none")])
    return markdown("folds | training takes | smallest loss that could be ruled out, in points", rows)


def stages(table: pd.DataFrame) -> Markdown:
    """A row a phase of a cell: size, epochs, what trains at which rates; seconds and accuracies are means over runs."""
    rows = []
    for phases in zip(*(one.phases for one in table["record"]), strict=True):
        first, measured = phases[0], pd.DataFrame([phase.model_dump() for phase in phases])
        mean = measured.mean(numeric_only=True)
        clocked = np.mean([one.phases[first.name] if one else math.nan for one in table["times"]])
        row = [first.name, f"{first.size} px", first.epochs, first.trains]
        row += [" / ".join(f"{rate:g}" for rate in first.lr if rate), f"{mean['seconds']:.1f}", _number(clocked)]
        row += [f"{mean['accuracy_full']:.3f}", f"{mean['accuracy_own']:.3f}"]
        rows.append([*row, f"{measured['peak_memory'].max() / 2**30:.1f} GiB"])
    header = "phase | size | epochs | trains | rates | seconds as measured | by the clock | "
    return markdown(f"{header}accuracy at full size | at its own size | peak memory", rows)


def table1(items: Iterable) -> Markdown:
    """Table 1: the images of runs or records, each set once, beside the paper's."""
    rows = {}
    for item in items:
        done = isinstance(item, Record)
        source = (item if done else item.images).source
        images = item.split.n_train + item.split.n_val if done else len(item.images.labels)
        name, paper = item.spec.dataset, DATASETS.get(item.spec.dataset)
        row = [name, images, len(source.classes), paper.images if paper else "", paper.classes if paper else ""]
        rows[name, source.contents, images] = [*row, item.split.by, source.title]
    header = "dataset | images | classes | images in the paper | classes in the paper | split by | what they are"
    return markdown(header, rows.values())


def environments(table: pd.DataFrame) -> Markdown:
    """What ran on what: devices and versions, each once, whose clock gave T, and the commits of the code."""
    commits: dict[tuple, list[str]] = {}
    for one, clock in zip(table["record"], table["clock"], strict=True):
        place = one.environment
        key = (place.device, one.spec.precision, place.python, place.torch, place.torchvision, place.fastai)
        commits.setdefault((*key, one.spec.protocol, clock or "none"), []).append(place.commit[:7] + place.commit[40:])
    rows = [[*key, len(each), ", ".join(dict.fromkeys(each))] for key, each in commits.items()]
    header = "device | precision | Python | torch | torchvision | fastai | protocol | clock | runs | commits"
    return markdown(header, rows)


def claims(judged: pd.DataFrame) -> Markdown:
    return markdown(" | ".join(judged.columns), judged.to_numpy())
