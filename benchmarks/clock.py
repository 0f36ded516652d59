"""Plan x clock against whole runs: a clock is believed once quiet runs agree with it.

The clock is taken and the runs are trained in this process, one after the other; a run during which other processes
used more than the clock allows is thrown away. Above eight sizes a clock interpolates: its error is measured beside.
"""

import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from benchmarks.loops import judged, ratios
from entr_utils import cli, machine
from entr_utils.regimes.plan import Work
from entr_utils.regimes.sizes import NoIncrease
from entr_utils.results import studies, times
from entr_utils.results.record import Record
from entr_utils.settings import PAPER_REGIMES, RunSpec
from entr_utils.training import clock, loop
from entr_utils.training.run import Run, prepare
from entr_utils.util import UserError

USUAL = {"PROFILE": "quick", "DATASETS": "steel", "NETWORKS": "resnet18", "SEEDS": "0 1 2"}
IN_ALL, CONTROL = "in all", PAPER_REGIMES[0]
OF_TOTAL, OF_RATIO = 0.10, 0.05  # the clock's T may differ from the runs' by so much, its ratio to the control too
SMALLEST, SIZES = 0.4, 2 * clock.MOST_SIZES - 1  # share of the largest size; every second one is interpolated
BETWEEN = "between"  # mode that keeps a timed work apart from the interpolated one


def measure_clock(asked: dict[str, str]) -> dict:
    """Rows of T by regime and phase, and of interpolated sizes, of the dataset and the network that are `asked` for,
    and the paper's three regimes. Raises UserError where the machine is busy."""
    with tempfile.TemporaryDirectory() as folder:
        cells = cli.matrix({**USUAL, **asked, "REGIMES": " ".join(PAPER_REGIMES), "RESULTS": folder})
        if len(cells) > len(PAPER_REGIMES):
            raise UserError("PARTS=clock: name one of DATASETS and one of NETWORKS")
        by_regime = [prepare(cell) for cell in cells]
        runs = [run for same in zip(*by_regime, strict=True) for run in studies.rotated(same, same[0].spec.seed)]
        works, spec = [work for run in runs for work in run.work], runs[0].spec
        entry = clock.take(works, {"": NoIncrease()}, spec.network, spec.precision, spec.augmentation)
        rows = agreement([train_quietly(run) for run in runs], entry)
    about = {"profile": spec.profile, "dataset": spec.dataset}
    return {"agreement": [about | row for row in rows], "interpolated": interpolated(spec)}


def train_quietly(run: Run) -> Record:
    """The record of a run during which others left the machine alone. Raises UserError where they never do."""
    for _ in range(clock.TRIES):
        began, before = time.perf_counter(), machine.busy_seconds_of_others()
        record = loop.train(run)
        cores = (machine.busy_seconds_of_others() - before) / (time.perf_counter() - began)
        print(f"  {run.spec.name}: T {record.seconds_total:.1f} s, others used {cores:.2f} of a core", flush=True)
        if cores <= clock.QUIET:
            return record
        run.path.unlink()
    raise UserError(f"machine busy: others used {cores:.2f} of a core during a run; stop them, then make bench")


def agreement(records: Iterable[Record], entry: dict) -> list[dict]:
    """A row a regime and phase: seconds by the clock and of the runs, their ratio (medians over seeds), and that of
    each to the control's (means)."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for record in sorted(records, key=lambda record: (PAPER_REGIMES.index(record.spec.regime), record.spec.seed)):
        spec, device = record.spec, record.environment.device
        (by_clock,) = times.of_records([record], {(device, spec.network, spec.precision): [entry]})
        assert by_clock
        for phase in record.phases:
            found.setdefault((spec.regime, phase.name), []).append((by_clock.phases[phase.name], phase.seconds))
        found.setdefault((spec.regime, IN_ALL), []).append((by_clock.total, record.seconds_total))
    rows = []
    for (regime, name), each in found.items():
        clocked, runs = np.array(each).T
        to_control = (np.array(each) / np.array(found[CONTROL, name])).mean(0).tolist()
        row: dict = {"regime": regime, "phase": name, "seeds": len(each), "judged": []}
        row |= {"clock": float(np.median(clocked)), "runs": float(np.median(runs))} | ratios(clocked, runs)
        row["clock_ratio"], row["runs_ratio"] = to_control
        if name == IN_ALL:
            quotient = to_control[0] / to_control[1]
            row["judged"] = judged(f"T by the clock to the runs', {regime}", row["ratio"], 1 - OF_TOTAL, 1 + OF_TOTAL)
            row["judged"] += judged(f"its ratio to the control's, {regime}", quotient, 1 - OF_RATIO, 1 + OF_RATIO)
        rows.append(row)
    return rows


def interpolated(spec: RunSpec) -> list[dict]:
    """A row a size between two that a clock times: milliseconds of a step timed and interpolated side by side."""
    sizes = np.linspace(SMALLEST * spec.size, spec.size, SIZES).round().astype(int).tolist()
    works = [Work("step", "RPL", 1, size, "all", spec.batch, stored=size) for size in sizes]
    between = [replace(work, mode=BETWEEN) for work in works[1::2]]
    setting = (spec.network, spec.precision, spec.augmentation)
    seconds, rows = clock.take([*works, *between], {"": NoIncrease()}, *setting, rounds=5)["seconds"], []
    for work, twin in zip(works[1::2], between, strict=True):
        guessed, timed = 1e3 * seconds[work.key], 1e3 * seconds[twin.key]
        rows.append({"size": work.size, "timed": timed, "interpolated": guessed, "ratio": guessed / timed})
    return rows
