"""A plan with many sizes: some are timed, the seconds of the others lie on the line between them, over pixels."""

import numpy as np

from entr_utils.regimes.plan import Work

MOST_SIZES = 8  # of otherwise equal work that are timed


def timed(wanted: dict[str, Work]) -> list[str]:
    """Keys to be timed: all, or of more than MOST_SIZES sizes of otherwise equal work as many, evenly spread."""
    chosen = []
    for works in _alike(wanted).values():
        steps = np.linspace(0, len(works) - 1, min(len(works), MOST_SIZES)).round().astype(int)
        chosen += [works[i].key for i in steps]
    return chosen


def _alike(wanted: dict[str, Work]) -> dict[tuple, list[Work]]:
    """Works that differ in size alone, by size."""
    groups: dict[tuple, list[Work]] = {}
    for work in sorted(wanted.values(), key=lambda work: work.size):
        resized = work.stored not in (0, work.size)
        alike = (work.kind, work.trains, work.batch, work.view, work.detail, work.strength, work.mode, resized)
        groups.setdefault(alike, []).append(work)
    return groups


def filled(seconds: dict[str, float], wanted: dict[str, Work]) -> dict[str, float]:
    """Seconds of all wanted works: those not timed lie on the line between their neighbours, over pixels."""
    for works in _alike(wanted).values():
        known = [work for work in works if work.key in seconds]
        pixels, values = [work.size**2 for work in known], [seconds[work.key] for work in known]
        seconds = seconds | {work.key: float(np.interp(work.size**2, pixels, values)) for work in works}
    return seconds
