"""Accuracy on the way: curves over seconds or FLOPs with bands over seeds, time to a target, the Pareto front."""

import numpy as np
import pandas as pd

from entr_utils.statistics import CONTROL, PAIR, PLACE, TOGETHER, pairs, t_interval

NEVER = float("inf")  # seconds to an accuracy that a run does not reach


def spent(record: dict, of: str = "seconds") -> np.ndarray:
    """Seconds or FLOPs of training at the end of each epoch."""
    if of == "seconds":
        return np.cumsum([epoch["seconds"] for epoch in record["epochs"]])
    each = {stage["name"]: record["flops_per_image"].get(f"{stage['size']} {stage['trains']}")
            for stage in record["stages"]}  # fmt: skip
    return np.cumsum([epoch["images"] * each[epoch["stage"]] for epoch in record["epochs"]])


def curve(records: list[dict], of: str = "seconds") -> pd.DataFrame:
    """Mean accuracy at full size epoch by epoch, with its 95% band, over what had been spent by then on average.

    All runs of a profile have as many epochs, so they are averaged as they are. Columns spent, accuracy, low, high (nan
    for one run).
    """
    x = np.mean([spent(record, of) for record in records], axis=0)
    y = np.array([[epoch["accuracy"] for epoch in record["epochs"]] for record in records])
    low, high = zip(*(t_interval(column) for column in y.T), strict=True)
    return pd.DataFrame({"spent": x, "accuracy": y.mean(axis=0), "low": low, "high": high})


def seconds_to(record: dict, accuracy: float) -> float:
    """Seconds of training until the plain full-size accuracy first is `accuracy` or more; NEVER where it never is."""
    reached = [seconds for seconds, epoch in zip(spent(record), record["epochs"], strict=True)
               if epoch["accuracy"] >= accuracy]  # fmt: skip
    return float(reached[0]) if reached else NEVER


def arrivals(table: pd.DataFrame, records: list[dict]) -> pd.DataFrame:
    """The table with a column `arrival`: seconds until each run is as accurate as no increase of the same seed and
    machine is at its last epoch, before TTA; nan where that did not run.

    Args:
        table: `records.table(records)`, in the same order.
    """
    keys = [tuple(row) for row in table[[*TOGETHER, *PAIR]].to_numpy()] if records else []
    targets = {key: record["epochs"][-1]["accuracy"]
               for key, record in zip(keys, records, strict=True) if record["regime"] == CONTROL}  # fmt: skip
    seconds = [seconds_to(record, targets[key]) if key in targets else np.nan
               for key, record in zip(keys, records, strict=True)]  # fmt: skip
    return table.assign(arrival=np.array(seconds, float))


def to_the_controls_accuracy(arrived: pd.DataFrame) -> pd.DataFrame:
    """The `arrivals` of each regime on each machine.

    Returns dataset, network, conditions, setting, regime, n, reached (runs that got there) and seconds: the median over
        seeds, in which a miss counts as later than any time, so that it is NEVER where half of the runs missed.
    """
    names = [*PLACE, "setting", "regime", "n", "reached", "seconds"]
    there = arrived.dropna(subset="arrival")
    if there.empty:
        return pd.DataFrame(columns=names)
    found = there.groupby([*TOGETHER, "setting", "regime"], sort=False)["arrival"].agg(
        n="size", reached=lambda seconds: int(np.isfinite(seconds).sum()), seconds="median")  # fmt: skip
    return found.reset_index()[names]


def says(arrived: pd.DataFrame, counted: pd.DataFrame) -> str:
    """How often growing got to the control's accuracy sooner, in a sentence: the hypothesis to the letter.

    Args:
        arrived: from `arrivals`.
        counted: comparisons, as from `statistics.best`.
    """
    if counted.empty:
        return "Nothing to compare yet."
    names = [*TOGETHER, "treatment"]
    both = pairs(arrived).rename(columns={"regime": "treatment"}).merge(counted[names], on=names)
    sooner, never = int((both["arrival"] < both["arrival_control"]).sum()), int(np.isinf(both["arrival"]).sum())
    return (f"Of {len(both)} pairs of runs growing was as accurate as no increase is at its last epoch, before TTA, "
            f"sooner than that in {sooner}, no sooner in {len(both) - sooner - never}, never in {never}.")  # fmt: skip


def front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The Pareto front of (seconds, accuracy): those for which no other is both as fast and as accurate, by seconds."""
    kept: list[tuple[float, float]] = []
    for seconds, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if not kept or accuracy > kept[-1][1]:
            kept.append((seconds, accuracy))
    return kept
