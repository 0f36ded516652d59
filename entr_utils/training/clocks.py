"""Which clocks are needed: those of planned runs, or of the records that are there; taken where they are missing."""

import os
from collections.abc import Iterable

from entr_utils.data import catalog
from entr_utils.machine import device_model
from entr_utils.regimes import Regime, parse
from entr_utils.regimes.plan import Work
from entr_utils.results import record, times
from entr_utils.settings import Cell
from entr_utils.training import clock
from entr_utils.training.run import Planned, Run, planned
from entr_utils.util import UserError

Need = Run | Planned | record.Record


def take_for(cells: Iterable[Cell], results: str, again: bool = False) -> None:
    """Measure what the runs of these cells need; without cells, what the records of this device need.

    What is there is not measured again, unless `again` adds another take. Raises UserError where the machine is busy.
    """
    needs: list[Need] = [planned(cell, catalog.count(cell)) for cell in (one.checked() for one in cells)]
    if not (needs := needs or [one for one in record.load(results) if one.environment.device == device_model()]):
        raise UserError(f"RESULTS={results}: no record of this device ({device_model()}); name a PROFILE")
    taken = take(needs, results, again)
    added = f"{taken} takes added" if taken else "nothing is missing (AGAIN=1 adds a take)"
    print(f"  {clock.path_of(results)}: {added}")


def ensure(runs: Iterable[Run], results: str) -> None:
    """As `take_for` of prepared runs, at once or not at all: where the machine is busy a line is printed, and T stays
    unknown. The variable ENTR_CLOCK=off leaves it to `make clock`."""
    if os.environ.get("ENTR_CLOCK") == "off":
        return
    try:
        take(runs, results, patience=3)
    except UserError as error:
        print(f"T stays unknown: {error}", flush=True)


def take(runs: Iterable[Need], results: str, again: bool = False, patience: float = clock.SETTLE) -> int:
    """How many takes were added: one for each network and precision of which something is missing.

    What an augmentation draws does not matter: its resampling takes the same time. `patience`: as in `clock.take`.
    """
    groups: dict[tuple[str, str], tuple[list[Work], dict[str, Regime], str]] = {}
    for one in runs:
        setting = one.spec.network, one.spec.precision
        works, regimes, _ = groups.setdefault(setting, ([], {}, one.spec.augmentation))
        works += one.work
        regimes |= {work.mode: parse(one.spec.regime) for work in one.work if work.mode}
    clocks, taken = times.read_clocks(results), 0
    for setting, (works, regimes, augmentation) in groups.items():
        if again or times.missing(works, clocks, device_model(), *setting):
            clock.keep(clock.take(works, regimes, *setting, augmentation, patience=patience), results)
            taken += 1
    return taken
