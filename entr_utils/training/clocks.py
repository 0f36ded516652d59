"""Which clocks are needed: those of planned runs, or of the records that are there; taken where they are missing."""

import os
from collections.abc import Iterable
from pathlib import Path

from entr_utils.data import catalog
from entr_utils.machine import device_model
from entr_utils.regimes import Regime, parse
from entr_utils.regimes.plan import Work
from entr_utils.results import record, times
from entr_utils.settings import Cell, RunSpec
from entr_utils.training import clock
from entr_utils.training.run import Run, draft, planned
from entr_utils.util import UserError

Need = tuple[RunSpec, Iterable[Work]]


def take_for(cells: Iterable[Cell], results: str, again: bool = False) -> None:
    """Measure what the runs of these cells need; without cells, what the records of this device need.

    What is there is not measured again, unless `again` adds another take. Raises UserError where the machine is busy.
    """
    needs: list[Need] = [planned(cell.checked(), catalog.count(cell.checked())) for cell in cells]
    if not needs:
        found = [one for one in record.load(results) if one.environment.device == device_model()]
        needs = [(one.spec, one.work) for one in found]
    if not needs:
        raise UserError(f"RESULTS={results}: no record of this device ({device_model()}); name a PROFILE")
    taken = take(needs, results, again)
    print(
        f"  {clock.path_of(results)}: {f'{taken} takes added' if taken else 'nothing is missing (AGAIN=1 adds a take)'}"
    )


def ensure(runs: Iterable[Run], results: str) -> None:
    """As `take_for` of prepared runs, at once or not at all: where the machine is busy a line is printed, and T stays
    unknown. The variable ENTR_CLOCK=off leaves it to `make clock`."""
    if os.environ.get("ENTR_CLOCK") == "off":
        return
    try:
        take([(run.spec, run.work) for run in runs], results, patience=3)
    except UserError as error:
        print(f"T stays unknown: {error}", flush=True)


def setting(cell: Cell) -> tuple[str, str, str]:
    """What decides which clock a checked cell's runs are timed by: device, network, precision."""
    spec = draft(cell)
    return device_model(), spec.network, spec.precision


def take(needs: Iterable[Need], results: str, again: bool = False, patience: float = clock.SETTLE) -> int:
    """How many takes were added: one for each network and precision of which something is missing.

    What an augmentation draws does not matter: its resampling takes the same time.

    `patience`: seconds in which others may come to rest.
    """
    groups: dict[tuple[str, str], tuple[list[Work], dict[str, Regime], str]] = {}
    for spec, works in needs:
        wanted, regimes, _ = groups.setdefault((spec.network, spec.precision), ([], {}, spec.augmentation))
        wanted += works
        regimes |= {work.mode: parse(spec.regime) for work in works if work.mode}
    clocks, taken = times.read_clocks(Path(results)), 0
    for which, (works, regimes, augmentation) in groups.items():
        if again or times.missing(works, clocks, device_model(), *which):
            clock.keep(clock.take(works, regimes, *which, augmentation, patience=patience), results)
            taken += 1
    return taken
