"""T is plan x clock: the seconds of a run's work as a quiet machine takes them, measured apart. No torch.

A clock (`training.clock`) is a file a device, a take in it one process. A figure is the median over takes; its range
over them says how well the clock repeats itself, not what another machine would do.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from entr_utils.regimes.plan import Work
from entr_utils.results.record import LATE, Record
from entr_utils.util import Damaged, read_json

Setting = tuple[str, ...]  # device, network, precision
Clocks = dict[Setting, list[dict]]  # takes


@dataclass(frozen=True)
class Times:
    """T in seconds by the clock of `device`: by phase (and "TTA"), without RPL and TTA, in all, and in all with what
    the first step of each key costs beyond the others. `takes`: the total by the time of each take."""

    device: str
    phases: dict[str, float]
    subtotal: float
    total: float
    with_first_use: float
    takes: dict[str, float]


def read_clocks(results: str | Path) -> Clocks:
    """The clocks in results/clocks/. Raises Damaged naming a file that is none."""
    found: Clocks = {}
    for path in sorted((Path(results) / "clocks").glob("*.json")):
        raw = read_json(path)
        try:
            for take in raw["takes"]:
                setting = (raw["device"], take["network"], take["precision"])
                others = found.setdefault(setting, [])
                named = f"{take['taken']} {len(others)}"  # two may be of one second
                others.append({"taken": named, "seconds": take["seconds"], "first": take["first"]})
        except (KeyError, TypeError) as error:
            raise Damaged(f"{path}: not a clock ({error}); delete it and run make clock") from error
    return found


def of_work(work: Sequence[Work], clocks: Clocks, *setting: str) -> Times | None:
    """T of some work, done or planned; None where no take has all its keys. `setting`: the three names of `Clocks`."""
    keys, phases = {one.key for one in work}, dict.fromkeys(one.phase for one in work)
    takes = [take for take in clocks.get(setting, ()) if keys <= take["seconds"].keys()]
    if not takes:
        return None
    each = [
        {p: sum(one.n * take["seconds"][one.key] for one in work if one.phase == p) for p in phases} for take in takes
    ]
    totals = {take["taken"]: sum(row.values()) for take, row in zip(takes, each, strict=True)}
    firsts = [sum(take["first"].get(key, math.nan) for key in keys) for take in takes]
    return Times(
        device=setting[0],
        phases={phase: median(row[phase] for row in each) for phase in phases},
        subtotal=median(sum(row[phase] for phase in phases if phase not in LATE) for row in each),
        total=median(totals.values()),
        with_first_use=median(map(sum, zip(totals.values(), firsts, strict=True))),
        takes=totals,
    )


def of_records(records: Sequence[Record], clocks: Clocks) -> list[Times | None]:
    """T of each record, all of a network by one clock: that of the device, and in the precision, that most of them ran
    in, of those that have one. None as in `of_work`."""
    ran = Counter[Setting]((one.environment.device, one.spec.network, one.spec.precision) for one in records)
    best = {setting[1]: setting for setting in sorted(clocks, key=lambda setting: ran[setting])}
    return [of_work(one.work, clocks, *best.get(one.spec.network, ())) for one in records]
