"""What the summary shows of many records: sentences and tables. Everything works for any part of the records."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Markdown

from entr_utils import claims, controls, evidence, files, mechanism, pace, records, scrutiny, statistics, verdicts
from entr_utils.conditions import lettered, letters, setting, split_rule
from entr_utils.datasets import DATASETS
from entr_utils.figures import ALL, LABELS
from entr_utils.keys import git
from entr_utils.parameters import NETWORKS
from entr_utils.regimes import REGIMES
from entr_utils.reports import as_table, captioned
from entr_utils.statistics import interval_text


def read_all(results: str, profile: str) -> tuple[pd.DataFrame, list[dict]]:
    """The tidy table of a profile's records, and the records themselves, in the paper's order."""
    order = [(dataset, network, regime) for dataset in (*DATASETS, "own") for network in NETWORKS for regime in ALL]
    loaded = sorted(
        records.read_all(Path(results) / profile),
        key=lambda record: (order.index((record["dataset"], record["network"], record["regime"])), record["seed"]),
    )
    return records.table(loaded), loaded


def read_arms(results: str, profile: str) -> pd.DataFrame:
    """The table of the runs on the same images split by two rules; kept apart, since their images are not all."""
    return records.load(Path(results) / "leakage" / profile)


def read_bench(results: str) -> dict:
    """What `make bench` measured, {} where it did not."""
    return files.known(Path(results) / "bench" / "bench.json")


def read_probes(results: str, profile: str) -> list[dict]:
    """Linear-probe accuracies of the weights by size, of every probe there is."""
    return [files.read_json(path) for path in sorted((Path(results) / profile).rglob("probes/*.json"))]


def read_range_tests(results: str, profile: str) -> list[dict]:
    """Learning rates that the range test suggests by seed and size, of every test there is."""
    return [files.read_json(path) for path in sorted((Path(results) / profile).rglob("range_tests/*.json"))]


def verdict(compared: pd.DataFrame, loaded: list[dict], profile: str) -> Markdown:
    """The first screen: whether growing images paid, by how much, on what; `reading` says what else must be known."""
    if not loaded:
        return Markdown(f"No records of profile {profile} yet: `make all PROFILE={profile}` makes them.")
    table, of, best = records.table(loaded), letters(loaded), statistics.best(compared)
    inside = statistics.counted(table, best)
    unpaired, other = statistics.left_out(table[inside]), int((~inside).sum())
    grown = table[inside]["regime"].isin([statistics.CONTROL, *statistics.TREATMENTS])
    parts = {"stand behind the verdict": int(grown.sum()) - unpaired, "are of controls": int((~grown).sum()),
             "have no partner, or another machine's seed": unpaired, "are of other conditions": other}  # fmt: skip
    each = ", ".join(f"{n} {what}" for what, n in parts.items() if n)
    varied = "; ".join(f"{name} {_listed(loaded, name)}" for name in ("dataset", "network", "regime", "seed"))
    where = f"settings {', '.join(of.values())} (named below)" if of else setting(loaded[0])
    largest = max(record["size"] for record in loaded)
    return Markdown("\n".join((
        f"{verdicts.headline(best)}\n",
        f"On what: {verdicts.number(len(loaded), 'run')} ({varied}), up to {largest} px, {where}; {each}. "
        f"Images: {_sizes(loaded)}.\n",
        f"What was stand-in: {records.caption(loaded) or 'nothing'}",
    )))  # fmt: skip


def reading(compared: pd.DataFrame, loaded: list[dict]) -> Markdown:
    """What stands beside the `verdict`, and how to read it: what its words mean, what intervals are of, what is not
    counted in it."""
    best, table = statistics.best(compared), records.table(loaded)
    if best.empty:
        return Markdown("")
    beside = [f"**Said beforehand.** {controls.no_good(best)}",
              f"**Time to accuracy.** {pace.says(pace.arrivals(table, loaded), best)}",
              f"**Controls.** {controls.says(table)}", *controls.own_size(table)]  # fmt: skip
    lines = [*verdicts.caveats(best), verdicts.counted(best, compared, letters(loaded))]
    return Markdown(f"Beside the verdict:\n\n{_listing(beside)}\n\nHow to read it:\n\n"
                    f"{_listing(filter(None, lines))}")  # fmt: skip


def _sizes(loaded: list[dict]) -> str:
    """Images of each dataset, and how many the paper had of it."""
    each = {record["data_sha256"]: (record["dataset"], record["n_train"] + record["n_val"]) for record in loaded}
    return ", ".join(f"{dataset} {n}{f' (the paper: {DATASETS[dataset].images})' if dataset in DATASETS else ''}"
                     for dataset, n in each.values())  # fmt: skip


def _listed(loaded: list[dict], name: str) -> str:
    return ", ".join(LABELS.get(str(value), str(value)) for value in dict.fromkeys(record[name] for record in loaded))


def predicted(results: str, loaded: list[dict]) -> Markdown:
    """The commits in which predictions were written, and how many of these runs began after each."""
    path = Path(results) / "predictions.md"
    if not path.exists():
        return Markdown("Nothing was predicted: there is no predictions.md beside these results.")
    commits = [line.split() for line in git(path.parent, "log", "--format=%h %cI", "--", path.name).splitlines()]
    if not commits:
        return Markdown(f"The predictions are in {path}, which is not in git: nobody can tell when they were written.")
    if git(path.parent, "rev-parse", "--is-shallow-repository") == "true":
        return Markdown(f"The predictions are in {path}; this clone holds no history that says when they were written.")
    written = [(pd.Timestamp(at), commit) for commit, at in commits]  # the newest first
    began = sorted(map(_began, loaded))
    each = Counter(next((commit for at, commit in written if at < start), "") for start in began)
    after = "; ".join(f"{commit or 'none'}: {n}" for commit, n in each.items())
    seen = re.search(r"Changed after records had been seen[^.]*\.", " ".join(path.read_text().split()))
    return Markdown(f"Predictions, margins and the plan of the analysis are in {path}, first in commit "
                    f"{commits[-1][0]} of {commits[-1][1][:10]}. Runs by its newest commit when they began: "
                    f"{after or '0'}.{f' {seen[0]}' if seen else ''}")  # fmt: skip


def _began(record: dict) -> pd.Timestamp:
    return pd.Timestamp(record["environment"]["started"])


def queue(results: str, profile: str) -> Markdown:
    """How much of the evidence is done: n of m, part by part; nothing beside a demonstration."""
    if profile != "paper":
        return Markdown("")
    parts = evidence.PARTS.values()
    lines = [f"- {part.title}: {evidence.told(*state)}"
              for part, state in zip(parts, evidence.states(results, parts), strict=True)]  # fmt: skip
    about = "What was planned (`make evidence`), all with ResNet18, and is done under today's protocol:"
    return Markdown("\n".join([f"{about}\n", *lines]))


def table1(loaded: list[dict]) -> Markdown:
    """Table 1 from the records: images and classes of each dataset as trained on, beside the paper's."""
    rows = []
    for record in {record["data_sha256"]: record for record in loaded}.values():
        paper = DATASETS.get(record["dataset"])
        rows.append({
            "dataset": record["dataset"], "images": record["n_train"] + record["n_val"],
            "classes": len(record["class_names"]), "validation": record["n_val"],
            "images in the paper": paper.images if paper else "",
            "classes in the paper": paper.classes if paper else "", "what they are": record["image_source"],
            "split": split_rule(record),
        })  # fmt: skip
    return as_table(rows)


def matrix(loaded: list[dict], profile: str) -> Markdown:
    """Every cell of the paper's matrix (quick: of the networks that ran): mean over seeds; empty without a run. Of
    several settings each has the cells that were run there; what has no run at all is named."""
    table = records.table(loaded)
    ran = list(dict.fromkeys(record["network"] for record in loaded))
    networks = NETWORKS if profile == "paper" else ran
    rows = []
    for where, on in (letters(loaded) or {"": ""}).items():
        part = table[table["setting"] == where] if on else table
        rows += [_cell(part, dataset, network, regime, on)
                 for dataset in DATASETS for network in networks for regime in _regimes(part, dataset, network)
                 if not on or ((part["dataset"] == dataset) & (part["network"] == network)).any()]  # fmt: skip
    return captioned(rows, loaded, not_run(table, networks))


def not_run(table: pd.DataFrame, networks: Iterable[str] = NETWORKS) -> str:
    """Which of the paper's networks were not run on which dataset, in a sentence; "" where all were."""
    there = {*table[["dataset", "network"]].itertuples(index=False, name=None)} if len(table) else set()
    lacking = {network: [name for name in DATASETS if (name, network) not in there] for network in networks}
    each = "; ".join(f"{network} on {', '.join(names)}" for network, names in lacking.items() if names)
    return f"Not run: {each}." if each else ""


def _regimes(table: pd.DataFrame, dataset: str, network: str) -> list[str]:
    """The paper's regimes, and the controls that ran there."""
    there = set()
    if len(table):
        there = set(table[(table["dataset"] == dataset) & (table["network"] == network)]["regime"])
    return [regime for regime in ALL if regime in there or regime in REGIMES]


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


def _where(row: pd.Series, named: dict[str, str]) -> dict:
    made_on = row["made_on"] if "made_on" in row else ((row["setting"], row["n"]),)
    on = {"on": lettered(made_on, named)} if named else {}
    return on | {"dataset": row["dataset"], "network": row["network"]}


def comparisons(compared: pd.DataFrame, loaded: list[dict]) -> Markdown:
    """Each treatment against no increase: ratios of T, FLOPs and As, difference of accuracy in points."""
    named, made_on = letters(loaded), compared["made_on"] if len(compared) else ()
    rows = [_where(row, named) | {
        "regime": LABELS[row["treatment"]], "n": row["n"],
        "T ratio": interval_text(row, "time"), "T ratio, re-training": interval_text(row, "clock"),
        "T ratio, aligned": interval_text(row, "aligned"), "FLOPs ratio": f"{row['flops']:.2f}",
        "As ratio, sub-total": interval_text(row, "efficiency_subtotal"),
        "As ratio, total": interval_text(row, "efficiency"),
        "points, sub-total": interval_text(row, "points_subtotal", 1),
        "points, total": interval_text(row, "points", 1),
    } for _, row in compared.iterrows()]  # fmt: skip
    clock = ("Re-training is the same work in all regimes: where its ratio is not 1 the machine changed its speed. "
             "Aligned: with the control's seconds for it and for TTA, those before it as measured.")  # fmt: skip
    single = " A row with n = 1 has no interval from one run." if len(rows) and compared["n"].min() == 1 else ""
    pooled = " In brackets behind a letter: pairs made there. The interval of their T is about machines, too." if (
        any(len(where) > 1 for where in made_on)) else ""  # fmt: skip
    return captioned(rows, loaded, f"{clock}{single}{pooled}" if rows else "Nothing to compare yet.")


def how_sure(compared: pd.DataFrame, loaded: list[dict]) -> Markdown:
    """For T, As and accuracy: the corrected interval and the permutation p; for accuracy the equivalence test."""
    named = letters(loaded)
    rows = [_where(row, named) | {
        "regime": LABELS[row["treatment"]], "n": row["n"],
        **{title: _corrected(row, name, digits) for title, name, digits in (
            ("T, corrected", "time", 2), ("As, corrected", "efficiency", 2), ("points, corrected", "points", 1))},
        **{f"p, {title}": _number(row[f"{name}_p"], 3) for title, name in (
            ("T", "time"), ("As", "efficiency"), ("points", "points"))},
        "TOST p": _number(row["tost_p"], 3), "accuracy": row["kept"], "least margin": _number(row["tost_margin"], 1),
        "seeds needed": _number(row["seeds_needed"], 0),
        "worth it": verdicts.paid(row),
    } for _, row in compared.iterrows() if row["n"] > 1]  # fmt: skip
    smallest = "; ".join(f"n = {n}: {2 / 2**n:g}" for n in sorted(set(compared["n"])) if n > 1) if len(rows) else ""
    said = (f"The smallest p that sign flips can give is 2 / 2^n ({smallest}). Seeds needed: for an interval that "
            f"reaches {statistics.MARGIN:g} point either way, at the spread seen.") if smallest else ""  # fmt: skip
    alone = len(compared) - len(rows)
    single = f"{alone} of {len(compared)} comparisons stand on one run: no interval and no test." if alone else ""
    return captioned(rows, [], f"{said} {single}".strip() or "Nothing to compare yet.")


def _corrected(row: pd.Series, name: str, digits: int) -> str:
    return interval_text(row, name, digits, "_wide").partition(" ")[2]


def _number(value: float, digits: int) -> str:
    return "" if np.isnan(value) else f"{value:.{digits}f}"


def of_claims(table: pd.DataFrame, loaded: list[dict]) -> Markdown:
    """The paper's claims with our figures and verdicts."""
    judged = claims.judge(table)
    return captioned(judged.to_dict("records"), loaded, claims.tally(judged))


def of_controls(table: pd.DataFrame, loaded: list[dict]) -> Markdown:
    """Small, short and reversed against no increase and gradual, and what follows."""
    named, found = letters(loaded), controls.compared(table)
    rows = [_where(row, named) | {
        "regime": LABELS[row["treatment"]], "against": LABELS[row["against"]], "n": row["n"],
        "T ratio": interval_text(row, "time"), "FLOPs ratio": f"{row['flops']:.2f}",
        "As ratio, total": interval_text(row, "efficiency"), "corrected": _corrected(row, "efficiency", 2),
        "points, total": interval_text(row, "points", 1), "points, corrected": _corrected(row, "points", 1),
        "one image": f"{row['image']:.1f}",
    } for _, row in found.iterrows()]  # fmt: skip
    lines = [controls.says(table), controls.missing(table), controls.matched(table), *controls.own_size(table)]
    return captioned(rows, loaded, "\n\n".join(line for line in lines if line))


def of_pace(table: pd.DataFrame, loaded: list[dict]) -> Markdown:
    """Seconds to the accuracy that no increase ends with; a miss is "never"."""
    named = letters(loaded)
    rows = [_where(row, named) | {
        "regime": LABELS[row["regime"]], "n": row["n"], "got there": f"{row['reached']} of {row['n']}",
        "seconds, median": "never" if row["seconds"] == pace.NEVER else f"{row['seconds']:.0f}",
    } for _, row in pace.to_the_controls_accuracy(pace.arrivals(table, loaded)).iterrows()]  # fmt: skip
    return captioned(rows, [], "" if rows else "No run of no increase to measure by.")


def of_doubts(table: pd.DataFrame, reckoned: pd.DataFrame, results: str, profile: str) -> Markdown:
    """What could fool us, question by question; `reckoned` is the table's `scrutiny.variants`."""
    arms, bench, probed = read_arms(results, profile), read_bench(results), read_probes(results, profile)
    return as_table(scrutiny.questions(table, reckoned, arms, bench, probed, read_range_tests(results, profile)))


def recommended(table: pd.DataFrame, compared: pd.DataFrame, loaded: list[dict],
                contrasts: pd.DataFrame) -> Markdown:  # fmt: skip
    """Which regime for which images and network, and when not to bother; `contrasts` are the mechanism's."""
    best = statistics.best(compared)
    rows = [*verdicts.recommendations(best), *mechanism.recommendations(contrasts)]
    detail = mechanism.warning(contrasts)
    bother = [*([detail] if detail else []), *verdicts.when_not(table, best)]
    mind = controls.change_of_mind(best, table)
    return captioned(rows, loaded, "\n\n".join((
        not_run(table), "When not to bother:", _listing(bother),
        "What would change our mind, said beforehand in predictions.md:", _listing(mind),
    )).strip())  # fmt: skip


def _listing(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def probes(results: str, profile: str) -> Markdown:
    """Linear-probe accuracy by size, of every probe there is."""
    loaded = read_probes(results, profile)
    if not loaded:
        return Markdown("No probe: it is made for runs with `WEIGHTS=path`.")
    several = len({probe["device"] for probe in loaded}) > 1
    rows = [{**({"device": probe["device"]} if several else {}),
             "dataset": probe["dataset"], "network": probe["network"], "weights": probe["weights"],
             **{f"{size} px": f"{accuracy:.3f}" for size, accuracy in probe["accuracy"].items()},
             "validation": probe["n_val"]} for probe in loaded]  # fmt: skip
    return as_table(rows)
