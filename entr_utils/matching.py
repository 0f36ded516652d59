"""Matched time: short is no_increase planned, before it trains, to take the training seconds that gradual took.

    share = (T_gradual - TTA_gradual) / (T_no_increase - TTA_no_increase)

Every epoch of short trains on this share of its batches (`Regime.batches`), so its cosine cycles shorten with it and
the last one completes: nothing is cut off. If short wins, stopping early wins, and growing images had no part in it.
"""

from typing import TYPE_CHECKING

from entr_utils import UserError, conditions, files, records

if TYPE_CHECKING:
    from entr_utils.experiment import Experiment


def plan(short: "Experiment", control: "Experiment", gradual: "Experiment") -> dict:
    """What `short` is matched to: its `share`, `target_seconds` (T of gradual), and the keys of the two runs.

    Planned once: where a run of short of the same setting, seed and split is recorded its plan is kept, so that
    measuring the others again does not make it another run. Raises UserError where the two runs are not there yet.
    """
    if kept := _kept(short):
        return kept
    missing = [run.parameters.regime for run in (control, gradual) if not run.path.exists()]
    if missing:
        p = short.parameters
        raise UserError(f"regime='short': needs the records of no_increase and gradual of {p.dataset}, {p.network}, "
                        f"seed {p.seed} first, in {control.path.parent}/; missing: {', '.join(missing)}")  # fmt: skip
    return match(records.read(control.path), records.read(gradual.path), len(short.training) // short.identity["batch"])


def match(control: dict, gradual: dict, whole: int) -> dict:
    """The plan from the records of no_increase and gradual, for epochs of `whole` batches; see `plan`.

    Raises UserError where gradual saved no time, or where less than a batch an epoch would be left.
    """
    share = round(training_seconds(gradual) / training_seconds(control), 3)
    if not 1 / whole <= share < 1:
        raise UserError(f"regime='short': gradual took {share:g} of the training seconds of no_increase; allowed: less "
                        f"than 1, and at least one of the {whole} batches of an epoch")  # fmt: skip
    return {"share": share, "target_seconds": gradual["seconds_total"], "gradual": gradual["key"],
            "no_increase": control["key"]}  # fmt: skip


def training_seconds(record: dict) -> float:
    """T without the TTA passes, which are the same work in every regime."""
    return record["seconds_total"] - record["stages"][-1]["seconds"]


def _kept(short: "Experiment") -> dict:
    p = short.parameters
    for path in sorted(short.path.parent.glob(f"{p.dataset}-{p.network}-short-s{p.seed}-*")):
        try:
            record = records.read(path) if path.suffix in (".json", ".trained") else {}
        except files.Damaged:  # planned again: `runs.put_aside` names it where it is of the same plan
            continue
        if "matched" not in record:  # its share was given by hand, or it is no record
            continue
        same = record["identity"]["split_sha256"] == short.identity["split_sha256"]
        if same and conditions.comparable(record["identity"]) == conditions.comparable(short.identity):
            return record["matched"]
    return {}
