"""Sentences made out of numbers: the only place that makes them. A sentence comes from one template."""

import html
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from IPython.display import Markdown

from entr_utils.report.tables import by_measure, interval, label, span
from entr_utils.results.compare import CONTROL, FEW, MARGIN, primary
from entr_utils.results.record import Record, Source
from entr_utils.results.studies import STUDIES, cells, runs_of
from entr_utils.settings import PAPER_REGIMES, PROFILES, PROTOCOL
from entr_utils.util import minutes

FOLDS = 3  # below so many nothing is recommended
SKILL = 0.2  # of the mistakes of always naming the largest class training has to avoid such a share
NAMED = 5  # files that a line can name
ADVICE = {
    "few": "**Nothing is recommended from fewer than {folds} folds**: add seeds.",
    "poor": "**Nothing is recommended**: full size hardly beats naming the largest class, so add images first.",
    "unclocked": "**Nothing is recommended without a clock**: run this again, or `make clock`, on a quiet machine.",
    "slow": "**Train at full size**: no regime here saved time without losing {margin:g} point.",
    "open": "**Grow while you try things out; train the final model at full size**: it may cost over {margin:g} point.",
    "use": "**Use {regime}**: it is the fastest that is shown to lose less than {margin:g} point.",
}
PASTE = """In fastai, `epochs` being all of them, the frozen ones included:

```python
from entr_utils.grow import GrowImages
learn.fine_tune(10, cbs=GrowImages("{regime}", epochs=11))
```

In a loop of your own, on the device, before the forward pass:

```python
from entr_utils.grow import shrink
images = shrink(images, "{regime}", step / steps)
```

This is not quite what was measured here: in your training the body may learn while images grow."""


def listing(lines: Iterable[str]) -> Markdown:
    """Lines as a list, each once; empty ones are left out."""
    return Markdown("\n".join(f"- {line}" for line in dict.fromkeys(filter(None, lines))))


def each(names: Iterable[object], between: str = ", ") -> str:
    return between.join(dict.fromkeys(map(str, names)))


def answer(compared: pd.DataFrame, records: Sequence[Record]) -> Markdown:
    """The answer in a sentence of ranges over comparisons; the primary comparison; what was run on what and with."""
    if compared.empty:
        return Markdown(f"Nothing to compare yet: a regime and its control ({label(CONTROL)}) need a run of one fold.")
    found, specs = by_measure(compared), [one.spec for one in records]
    grown = [rows for rows in found if rows["T"]["treatment"] in PAPER_REGIMES] or found
    took, points = ([rows[name] for rows in grown] for name in ("T", "points"))
    names = each((row["regime"] for row in took), " and ").capitalize()
    lines = [
        f"**{names} took x {span(row['estimate'] for row in took)} of the control's time and changed accuracy by "
        f"{span((row['estimate'] for row in points), 1, '+')} points** "
        f"(folds: {span((row['n'] for row in took), 0)}; {each(row['dataset'] for row in took)})."
    ]
    lines += [
        f"Over the three datasets gradual changed it by {interval(row)} points (n = {row['n']}); it costs more than "
        f"{MARGIN:g} point with a probability of {row['probability']:.0%}."
        for row in primary(compared).to_dict("records")
        if row["n"] > 1
    ]
    lines.append(
        f"Run: {len(specs)} trainings of {each(spec.network for spec in specs)} from weights "
        f"{each(spec.weights for spec in specs)} at up to {max(spec.size for spec in specs)} px on "
        f"{each((one.environment.device for one in records), ' and ')}."
    )
    by_clock = all("time" in rows for rows in found)
    lines.append(
        "T is by the clock." if by_clock else "T is as runs measured it, on machines that did other work, too."
    )
    lines += ["The paper's own setting has not been run."] if stand_ins(records).data else []
    return Markdown(" ".join(lines))


def stand_ins(records: Sequence[Record]) -> Markdown:
    """What was not as in the paper, from the records' typed fields; a line each."""
    replaced = each(one.spec.dataset for one in records if one.source.stand_in)
    weights = {one.spec.weights: one.weights_note or "not the paper's ImageNet weights" for one in records}
    cpus = [one for one in records if one.environment.device.startswith(one.environment.processor)]
    drawn = any(one.source.kind == "formula" for one in records)
    old = each(sorted({one.spec.protocol for one in records} - {PROTOCOL}))
    lines = [
        "Images were drawn by formula: a demonstration, not evidence." if drawn else "",
        f"Images of {replaced} are stand-ins: the paper's were never published." if replaced else "",
        "No pretrained weights were used, so nothing was frozen." if "none" in weights else "",
        *(f"Weights {name}: {note}." for name, note in weights.items() if name not in ("none", "imagenet")),
        f"{len(cpus)} of {len(records)} runs were on a CPU; the paper used a Colab GPU." if cpus else "",
        f"Runs of protocol {old} are never compared with those of protocol {PROTOCOL}, today's." if old else "",
    ]
    return listing(lines)


def what_runs(runs: Sequence) -> Markdown:
    """What will be run on what, before it starts: `training.run.Run`s of one set of images."""
    spec, split, waiting = runs[0].spec, runs[0].split, [run for run in runs if not run.finished()]
    forecasts, epochs = [run.forecast() for run in waiting], sum(phase.epochs for phase in spec.phases)
    whole = f"Forecast: {minutes(sum(map(float, filter(None, forecasts))))} of T by the clock of this machine."
    lines = [
        f"Runs: {len(runs)}, {len(waiting)} to be trained now; {spec.profile}: {PROFILES[spec.profile].purpose}.",
        f"Images: {runs[0].images.source.title}; {len(split.training)} to train, {len(split.validation)} to judge.",
        *(_few([line]) for line in runs[0].images.reading),
        *left_out(runs[0].images.source),
        f"Weights {spec.weights}, {spec.precision}, batches of {spec.batch}, learning rate {spec.lr:g}.",
        f"{epochs} epochs, up to {spec.size} px.",
        whole if None not in forecasts else "No forecast: this machine has no clock of this work (`make clock`).",
    ]
    regimes, seeds = each(label(run.spec.regime) for run in runs), each(run.spec.seed for run in runs)
    return Markdown(f"**{spec.dataset}, {spec.network}, {regimes}; seeds {seeds}**\n\n{listing(lines).data}")


def left_out(source: Source) -> list[str]:
    """A line each on files that are not used, identical images and deep files; empty where there are none."""
    files, copies = (f"{name} ({reason})" for name, reason in source.left_out.items()), map(" = ".join, source.copies)
    return [
        f"Left out, {source.n_left_out} in all: {_few(files)}." if source.n_left_out else "",
        f"Identical, kept together, {source.n_copies} sets: {_few(copies)}." if source.n_copies else "",
        "Files of more than 8 bits: black is {:g}, white {:g}.".format(*source.brightness) if source.brightness else "",
    ]


def _few(texts: Iterable[str]) -> str:
    return "; ".join([html.escape(text).replace("|", "&#124;") for text in texts][:NAMED])


def levels(table: pd.DataFrame) -> tuple[float, float]:
    """The control's accuracy, and that of always naming the class that most judged images have, over all runs."""
    truth = np.concatenate([one.predictions.truth for one in table["record"]])
    return table[table["regime"] == CONTROL]["accuracy_total"].mean(), float(np.bincount(truth).max() / len(truth))


def advice(compared: pd.DataFrame, table: pd.DataFrame) -> tuple[str, str]:
    """What to do with images of one's own: a key of ADVICE, and the regime to use."""
    found, (control, least) = by_measure(compared), levels(table)
    if min((rows["points"]["n"] for rows in found), default=0) < FOLDS:
        return "few", CONTROL
    if control - least < SKILL * (1 - least):
        return "poor", CONTROL
    if any("time" not in rows for rows in found):
        return "unclocked", CONTROL
    best = min(filter(pays, found), key=lambda rows: rows["T"]["estimate"], default=None)
    faster = any(rows["T"]["high"] < 1 and rows["points"]["high"] > -MARGIN for rows in found)
    return ("use", best["T"]["treatment"]) if best else ("open" if faster else "slow", CONTROL)


def pays(rows: dict[str, dict]) -> bool:
    """Whether the whole intervals of a comparison, of `by_measure`, save T and keep MARGIN."""
    return rows["T"]["high"] < 1 and rows["points"]["low"] > -MARGIN


def verdict(compared: pd.DataFrame, table: pd.DataFrame) -> Markdown:
    """For images of one's own: every number that the advice rests on, then the advice."""
    lines, (control, least) = [], levels(table)
    for took, points in ((rows["T"], rows["points"]) for rows in by_measure(compared)):
        lines.append(
            f"{took['regime'].capitalize()} took x {interval(took, 2, '')} of the control's time ({took['how']}) and "
            f"changed accuracy by {interval(points)} points (n = {points['n']}, {points['images']:.0f} images judged)."
        )
    lines.append(f"The control reached {control:.1%}; always naming the largest class would reach {least:.1%}.")
    key, regime = advice(compared, table)
    return listing([*lines, ADVICE[key].format(regime=label(regime), margin=MARGIN, folds=FOLDS)])


def what_pays(study: str, compared: pd.DataFrame, table: pd.DataFrame) -> Markdown:
    """How much of a study has run; for each dataset the fastest and the most accurate regime, and which pay."""
    asked = STUDIES[study]
    runs = runs_of(asked, table).query("protocol == @PROTOCOL and seed in @asked.seeds")
    done, of = len(runs.drop_duplicates(["dataset", "network", "regime", "seed"])), len(cells(asked))
    if compared.empty:
        return Markdown(f"No record yet to compare: {done} of {of} runs are done (`make study STUDY={study}`).")
    lines = [f"{done} of {of} runs are done."]
    for dataset, part in compared.groupby("dataset", sort=False):
        found = by_measure(part)
        best = {"fastest": min(found, key=lambda rows: rows["T"]["estimate"])}
        best["most accurate"] = max(found, key=lambda rows: rows["points"]["estimate"])
        lines += [
            f"{dataset}: {one['T']['regime']} was {which}, x {one['T']['estimate']:.2f} of the control's time "
            f"({one['T']['how']}), {interval(one['points'])} points."
            for which, one in best.items()
        ]
        shown, others = ([rows["T"]["regime"] for rows in found if pays(rows) == kept] for kept in (True, False))
        lines.append(
            f"{dataset}: shown to save time and keep {MARGIN:g} point: {each(shown) or 'none'}; "
            f"not shown to: {each(others) or 'none'}."
        )
    return listing(lines)


def paste(regime: str) -> Markdown:
    if regime == CONTROL:
        return Markdown("Train as you do: every batch at full size.")
    return Markdown(PASTE.format(regime=regime))


def caveats(compared: pd.DataFrame, table: pd.DataFrame) -> Markdown:
    """At most six things to know before one believes the first screen."""
    few, by_chance = compared["n"].lt(FEW).any(), table["by"].eq("random").any()
    lines = [
        "In brackets: 95% intervals over folds, corrected as by Nadeau & Bengio (2003); they are conservative.",
        "All regimes are compared with one control, so the comparisons are not independent of one another.",
        "Images lie decoded on the device. Where your loader binds, expect smaller savings.",
        "As = sqrt(A / T) rewards speed: half the time counts as much as twice the accuracy.",
        f"A probability in brackets is of fewer than {FEW} folds." if few else "",
        "Some splits were drawn at random; they are never pooled with folds." if by_chance else "",
    ]
    return listing(lines)
