"""What could fool us: each doubt with the answer these records give, or that they give none. No torch here."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats

from entr_utils.statistics import (
    MARGIN,
    MEASURES,
    TOGETHER,
    best,
    compare,
    differences,
    each_machine,
    interval_text,
    of_one_machine,
    pairs,
    stacked,
    t_interval,
)
from entr_utils.verdicts import said, span

NONE = "no record of this"
GRID = np.log(10) / 10  # from one rate of the range test to the next: 60 steps over six decades
VARIANTS = {  # what As is made of -> (accuracy, cost) from a row of `records.table`
    "with T in seconds, as it is": lambda run: (run["accuracy_total"], run["seconds_total"]),
    "with T as FLOPs": lambda run: (run["accuracy_total"], run["flops_total"]),
    "with T as energy": lambda run: (run["accuracy_total"], run["energy_joules"]),
    "with T as processor seconds": lambda run: (run["accuracy_total"], run["processor_seconds"]),
    "with warm-up in T": lambda run: (run["accuracy_total"], run["seconds_total"] + run["warmup_total"]),
    "with evaluation in T": lambda run: (run["accuracy_total"], run["seconds_total"] + run["eval_seconds"]),
    "without TTA": lambda run: (run["accuracy_rpl"], run["seconds_total"] - run["seconds_TTA"]),
    "before re-training": lambda run: (run["accuracy_subtotal"], run["seconds_subtotal"]),
    "before it, A at training size": lambda run: (run["train_size_CMult"], run["seconds_subtotal"]),
}


def variants(table: pd.DataFrame) -> pd.DataFrame:
    """The ratio of As, treatment / control, for each way of reckoning As: rows of `compare` with a column variant."""
    parts = []
    for name, parts_of in VARIANTS.items() if len(table) else ():
        accuracy, cost = (pd.to_numeric(part) for part in parts_of(table))
        runs = table.assign(reckoned=np.sqrt(accuracy / cost))
        compared = compare(runs[runs["reckoned"].notna()], measures={"ratio": ("reckoned", True)})
        parts.append(compared.assign(variant=name))
    return stacked(parts)


def questions(table: pd.DataFrame, reckoned: pd.DataFrame, arms: pd.DataFrame, bench: dict, probes: list[dict],
              tests: list[dict]) -> list[dict[str, str]]:  # fmt: skip
    """Rows of question and answer.

    Args:
        table: from `records.load`.
        reckoned: its `variants`.
        arms: the same of the runs on the same images split by two rules.
        bench: results/bench/bench.json, {} where there is none.
        probes: linear-probe accuracies of the weights by size (`probe`).
        tests: learning rates that the range test suggests, by seed and size (`range_test`).
    """
    rows = [(f"Is As higher {name}?", _rises(reckoned, name)) for name in VARIANTS]
    rows += [(question, answer(table) if len(table) else NONE) for question, answer in FROM_RECORDS.items()]
    rows += [
        ("Was the learning rate tuned for one side?", _rates(table, tests) if len(table) else NONE),
        ("How much does a split by image flatter?", _leaks(arms)),
        ("Does loading bind, so that small images would save less?", _binding(bench)),
        ("Do the stand-in weights favour small images?", _favour(table, probes)),
    ]
    return [{"question": question, "answer": answer} for question, answer in rows]


def _rises(reckoned: pd.DataFrame, name: str) -> str:
    rows = best(reckoned[reckoned["variant"] == name]) if len(reckoned) else reckoned
    if rows.empty:
        return NONE
    sure = f", by an interval above 1 in {int((rows['ratio_low'] > 1).sum())}" if rows["n"].max() > 1 else ""
    return (f"in {int((rows['ratio'] > 1).sum())} of {len(rows)} comparisons{sure} "
            f"(x {rows['ratio'].min():.2f} to {rows['ratio'].max():.2f}, n = {span(rows['n'], 0)})")  # fmt: skip


def _order(table: pd.DataFrame) -> str:
    both = pairs(table)
    if both.empty:
        return NONE
    first = pd.to_datetime(both["env_started_control"]) < pd.to_datetime(both["env_started"])
    halves = {"first": both[first], "later": both[~first]}
    return "the order rotates with the seed; " + "; ".join(
        f"T x {_ratio(half, 'time'):.2f}, re-training, the same work, x {_ratio(half, 'clock'):.2f} on average where "
        f"no increase ran {when} ({len(half)} of {len(both)})" if len(half) else f"no increase never ran {when}: {NONE}"
        for when, half in halves.items()
    )  # fmt: skip


def _ratio(both: pd.DataFrame, name: str) -> float:
    """Geometric mean of a measure over rows of `pairs`."""
    return float(np.exp(differences(both, MEASURES[name]).mean()))


def _load(table: pd.DataFrame) -> str:
    load = f"load {table['env_load'].min():.1f} to {table['env_load'].max():.1f} at the start of a run"
    if "stolen_seconds" not in table:
        return load
    stolen = (pd.to_numeric(table["stolen_seconds"]) / table["wall_seconds"] / table["env_threads"]).dropna()
    if stolen.empty:
        return load
    return f"{load}; the host took away {stolen.min():.0%} to {stolen.max():.0%} of a run's processor time"


def _clock(table: pd.DataFrame) -> str:
    """RPL is the same work in all three regimes: how far its seconds differ is the machine's doing."""
    compared = best(compare(table, measures={"clock": MEASURES["clock"]}))
    if compared.empty:
        return NONE
    both = pairs(table)
    apart = np.exp(np.abs(differences(both, MEASURES["clock"])))
    off = both.iloc[apart.argmax()]
    return (f"the re-training at full size is the same work in both: it took x {compared['clock'].min():.2f} to "
            f"{compared['clock'].max():.2f} (median {compared['clock'].median():.2f}) of the control's in what is "
            f"counted; of all single pairs one of {said(off['regime'])} on {off['dataset']} was furthest off, by x "
            f"{apart.max():.2f} ({off['setting']}). "
            "Where it is not 1 the machine changed its speed between runs, and the ratio of FLOPs says more of what "
            "was saved than that of T")  # fmt: skip


def _machine(table: pd.DataFrame) -> str:
    """The ratio of T by machine, beside that of re-training, of what several machines of one kind compared."""
    found, each = each_machine(table, {"time": MEASURES["time"], "clock": MEASURES["clock"]}), []
    for (*_, treatment), rows in found.groupby([*TOGETHER, "treatment"], sort=False) if len(found) else ():
        if len(rows) > 1:
            told = ", ".join(f"T x {interval_text(row, 'time')}, re-training x {row['clock']:.2f} "
                             f"({row['env_device']}, n = {row['n']})" for _, row in rows.iterrows())  # fmt: skip
            each.append(f"{rows['dataset'].iloc[0]} {rows['network'].iloc[0]}, {said(str(treatment))}: {told}")
    return "; ".join(each) or NONE


def _processor(table: pd.DataFrame) -> str:
    """Seconds of the wall hold what a host gives to others; those of the processor hardly do."""
    counted = table[table["processor_seconds"].notna()]
    rows = best(compare(counted, measures={"processor": ("processor_seconds", True), "time": MEASURES["time"]}))
    if rows.empty:
        return NONE
    each = "; ".join(f"{row['dataset']}, {said(row['treatment'])} x {interval_text(row, 'processor')} (T x "
                     f"{interval_text(row, 'time')}, n = {row['n']})" for _, row in rows.iterrows())  # fmt: skip
    return f"of the runs that counted it: {each}"


def _groups(table: pd.DataFrame) -> str:
    rules = table.drop_duplicates(["dataset", "split_rule"])
    each = "; ".join(f"{row['dataset']}: {row['split_rule'].removeprefix('stratified by class, 90/10, ')}"
                     for _, row in rules.iterrows())  # fmt: skip
    return f"{each}. Split by image nothing is known to keep relatives apart"


def leakage(table: pd.DataFrame) -> pd.DataFrame:
    """The same images split by image and by group: how many points more accurate by image, where both were run.

    Columns dataset, network, conditions, regime, n (by image, by group), points with _low and _high: the 95% interval
    of Welch, since the two splits of a seed validate on different images and are no pair.
    """
    names = ["dataset", "network", "conditions", "regime", "n", "points", "points_low", "points_high"]
    rows = []
    cells = table.groupby(["dataset", "network", "conditions", "weights", "data_sha256", "regime"], sort=False) if len(
        table) else ()  # fmt: skip
    for (dataset, network, alike, *_, regime), runs in cells:
        cell = of_one_machine(runs)
        by_image = cell["split_rule"].str.endswith("by image")
        arms = [100 * cell.loc[rows, "accuracy_total"].to_numpy() for rows in (by_image, ~by_image)]
        if min(map(len, arms)):
            low, high = _welch(*arms)
            n = " and ".join(str(len(arm)) for arm in arms)
            rows.append((dataset, network, alike, regime, n, arms[0].mean() - arms[1].mean(), low, high))
    return pd.DataFrame(rows, columns=names)


def _welch(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """95% interval of the difference of two means; nan where one has a single value."""
    if min(len(first), len(second)) < 2:
        return float("nan"), float("nan")
    found = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    return float(found.low), float(found.high)


def _leaks(table: pd.DataFrame) -> str:
    found = leakage(table)
    if found.empty:
        return NONE
    each = "; ".join(f"{row['dataset']}, {said(row['regime'])} {interval_text(row, 'points', 1)} (n = {row['n']})"
                     for _, row in found.iterrows())  # fmt: skip
    images = "; ".join(dict.fromkeys(table["image_source"]))
    return f"by image against by group, in points: {each}. Images: {images}"


def _rates(table: pd.DataFrame, tests: list[dict]) -> str:
    rates = table.groupby(["dataset", "network"], sort=False)["lr"].unique()
    each = ", ".join(f"{dataset} {network} {'/'.join(f'{rate:g}' for rate in found)}"
                     for (dataset, network), found in rates.items())  # fmt: skip
    return (f"a rate is the same for all regimes ({each}); where one was chosen for a dataset it was on no increase, "
            f"by the range test. What that suggests for growing, as a ratio: {_suggested(table, tests)}. Of runs at "
            f"rates tuned for the treatments: {NONE}. If this favours any regime, it is no increase")  # fmt: skip


def _suggested(table: pd.DataFrame, tests: list[dict]) -> str:
    """The rate suggested at the size with which growing begins, as a ratio to that at full size, paired by seed."""
    rows = []
    for test in tests:
        rates = {int(size): rate for size, rate in test["suggested"].items() if size.isdecimal() and rate}
        if len(rates) > 1 and test["weights"] in set(table["weights"]):
            cell, (small, *_, large) = f"{test['dataset']} {test['network']}", sorted(rates)
            rows.append((cell, test["seed"], small, large, np.log(rates[small] / rates[large])))
    if not rows:
        return NONE
    seeds = pd.DataFrame(rows, columns=["cell", "seed", "small", "large", "log"])
    once = seeds.drop_duplicates(["cell", "seed"])  # of several machines one
    found = {cell: _mean(each, "log", GRID) for cell, each in once.groupby("cell", sort=False)}
    return "; ".join(f"{cell} x {_ratio_text(row)} at {row['small']} px against {row['large']} px (n = {row['n']})"
                     for cell, row in found.items())  # fmt: skip


def _ratio_text(row: pd.Series) -> str:
    """A mean of logs with its interval, as ratios."""
    return interval_text(pd.Series({f"ratio{end}": np.exp(row[f"log{end}"]) for end in ("", "_low", "_high")}), "ratio")


def _images(table: pd.DataFrame) -> str:
    sizes = table.drop_duplicates(["dataset", "n_val"])
    return "; ".join(f"{row['dataset']} {row['n_val']} images, one is {100 / row['n_val']:.1f} points"
                     for _, row in sizes.iterrows()) + f" (the margin is {MARGIN:g})"  # fmt: skip


def _binding(bench: dict) -> str:
    rows = bench.get("ceiling", {}).get("result", [])
    if not rows:
        return NONE
    by_arithmetic = sum(row["binds"] == "arithmetic" for row in rows)
    most = max(row["loading_ms"] / row["loop_ms"] for row in rows)
    return (f"in the bench arithmetic bound in {by_arithmetic} of {len(rows)} cells, loading took at most {most:.1%} "
            f"of a step ({bench['ceiling']['environment']['device']}). Images lie decoded in memory here; of a loader "
            f"that decodes: {_decoding(bench)}")  # fmt: skip


def _decoding(bench: dict) -> str:
    """How much faster small images train where each step decodes its JPEGs, beside ours, where none does."""
    rows = bench.get("versus", {}).get("result", {}).get("speed", [])
    rates = {(row["way"], row["size"]): row["images_per_second"] for row in rows}
    sizes, ways = sorted({size for _, size in rates}), dict.fromkeys(way for way, _ in rates)
    if len(sizes) < 2:
        return NONE
    small, large = sizes[0], sizes[-1]
    each = ", ".join(f"x {rates[way, small] / rates[way, large]:.1f} ({way})" for way in ways)
    return (f"{small} px ran at so many times the images per second of {large} px, all layers training: {each}; ours "
            f"does not decode ({bench['versus']['environment']['device']})")  # fmt: skip


def _favour(table: pd.DataFrame, probes: list[dict]) -> str:
    if len(table) and set(table["weights"]) <= {"imagenet", "none"}:
        return "no stand-in was used"
    if not probes:
        return NONE
    several = len({probe["network"] for probe in probes}) > 1
    named = [_probed(probe) | ({"dataset": f"{probe['dataset']} {probe['network']}"} if several else {})
             for probe in probes]  # fmt: skip
    splits = pd.DataFrame(named).drop_duplicates(["dataset", "split"])  # of several machines one
    found = {dataset: _mean(rows, "points", 100 / rows["n_val"].min())
             for dataset, rows in splits.groupby("dataset", sort=False)}  # fmt: skip
    each = "; ".join(f"{dataset} {interval_text(row, 'points', 1)} points at {row['small']} px against {row['large']} "
                     f"px (n = {row['n']})" for dataset, row in found.items())  # fmt: skip
    better = sum(row["points"] > 0 for row in found.values())
    return (f"linear probe of the frozen features, by the mean better at the small size, with which growing begins, on "
            f"{better} of {len(found)}: {each}")  # fmt: skip


def _probed(probe: dict) -> dict:
    """Accuracy at the size that growing begins with, .4 of the largest, against that at the largest, in points."""
    sizes = sorted(map(int, probe["accuracy"]))
    small, large = min(sizes, key=lambda size: abs(size - 0.4 * sizes[-1])), sizes[-1]
    change = 100 * (probe["accuracy"][str(small)] - probe["accuracy"][str(large)])
    return {"dataset": probe["dataset"], "split": probe["split_sha256"], "n_val": probe["n_val"], "small": small,
            "large": large, "points": change}  # fmt: skip


def _mean(rows: pd.DataFrame, name: str, step: float) -> pd.Series:
    """Of a column over the splits of one dataset, with its interval; beside it n, small and large. Where all values are
    equal `step`, the least they can differ by, stands for their spread."""
    values, first = rows[name].to_numpy(), rows.iloc[0]
    low, high = t_interval(values, image=step)
    return pd.Series({name: values.mean(), f"{name}_low": low, f"{name}_high": high, "n": len(rows),
                      "small": first["small"], "large": first["large"]}, dtype=object)  # fmt: skip


FROM_RECORDS: dict[str, Callable[[pd.DataFrame], str]] = {
    "Did it matter which regime ran first?": _order,
    "Was the machine busy?": _load,
    "How exact is the clock?": _clock,
    "Is it the same on machines of one kind?": _machine,
    "Is processor time saved, too?": _processor,
    "How much is one validation image?": _images,
    "Can relatives of a validation image be in training?": _groups,
}
