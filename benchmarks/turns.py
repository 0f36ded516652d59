"""Things that take turns, so that they share the machine's ups and downs; ratios are of one round."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from entr_utils.results.compare import posterior


def in_turns(actions: Mapping[Any, Callable[[], float]], rounds: int, skipped: int = 0) -> dict[Any, np.ndarray]:
    """(rounds,) results of each action by its name, the actions in turn; `skipped` more rounds come first."""
    found: dict[Any, list[float]] = {name: [] for name in actions}
    for _ in range(skipped + rounds):
        for name, action in actions.items():
            found[name].append(action())
            print(f"  {name}: {found[name][-1]:.3g}", flush=True)
    return {name: np.array(values[skipped:]) for name, values in found.items()}


def figures(values: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Median, least and largest of values over rounds, and of their ratios to a reference in the same round."""
    ratios = values / reference
    found = {"median": np.median(values), "low": values.min(), "high": values.max(), "ratio": np.median(ratios)}
    found |= {"ratio_low": ratios.min(), "ratio_high": ratios.max()}
    return {name: float(value) for name, value in found.items()}


def judged(what: str, value: float, least: float | None, most: float = math.inf) -> list[dict]:
    """Whether a figure is as required, a list of one; where nothing is, `least` is None and the list is empty."""
    if least is None:
        return []
    required = f"at least {least:g}" + (f", at most {most:g}" if most < math.inf else "")
    return [{"what": what, "measured": value, "required": required, "met": bool(least <= value <= most)}]


def paired(first: list[float], second: list[float]) -> dict:
    """Two ways' accuracies, seed by seed: their means, and the mean difference in points with its 95% interval."""
    found = posterior(100 * (np.array(first) - np.array(second)), 0.0)
    low, high = found.interval()
    means = {"first": float(np.mean(first)), "second": float(np.mean(second))}
    return means | {"points": found.mean, "low": low, "high": high, "seeds": len(first), "all": [first, second]}
