"""Matched time: short is no_increase planned, before it trains, to take the training seconds that gradual took.

    share = (T_gradual - TTA_gradual) / (T_no_increase as forecast now - TTA_gradual)

The forecast is of the machine as it is when the plan is made: a shared one changes its speed, and what no_increase took
some hours ago may be a tenth off by now. Every epoch of short trains on this share of its batches (`Regime.batches`),
so its cosine cycles shorten with it and the last one completes: nothing is cut off. If short wins, stopping early wins,
and growing images had no part in it.
"""

from typing import TYPE_CHECKING

from entr_utils import UserError, conditions, files, records

if TYPE_CHECKING:
    from entr_utils.experiment import Experiment


def plan(short: "Experiment", control: "Experiment", gradual: "Experiment") -> dict:
    """What `short` is matched to: its `share`, `target_seconds` (T of gradual), `expected_seconds` (T of no_increase as
    forecast), and the keys of the two runs.

    Planned once: the plan is kept beside the records, then in short's own, so that measuring the others again does not
    make it another run. Raises UserError where the two runs are not there yet.
    """
    planned = short.path.with_suffix(".plan")
    if kept := _kept(short) or files.read_sealed(planned):
        return kept
    missing = [run.parameters.regime for run in (control, gradual) if not run.path.exists()]
    if missing:
        p = short.parameters
        raise UserError(f"regime='short': needs the records of no_increase and gradual of {p.dataset}, {p.network}, "
                        f"seed {p.seed} first, in {control.path.parent}/; missing: {', '.join(missing)}")  # fmt: skip
    whole = len(short.training) // min(short.identity["batch"], len(short.training))  # as `images.Batches` has it
    found = match(records.read(control.path), records.read(gradual.path), expected(control), whole)
    files.write_sealed(found, planned)
    return found


def expected(control: "Experiment") -> float:
    """T of no_increase as the machine is now, in seconds."""
    from entr_utils import forecast  # it knows of experiments, which know of this module

    return forecast.forecast(control.parameters, len(control.training), len(control.validation))["seconds"]


def match(control: dict, gradual: dict, now: float, whole: int) -> dict:
    """The plan from the records of no_increase and gradual and from the T that no_increase would take `now`, for epochs
    of `whole` batches; see `plan`.

    Raises UserError where no_increase would now take no longer, or where less than a batch an epoch would be left.
    """
    tta = gradual["stages"][-1]["seconds"]  # the same work in every regime
    share = round((gradual["seconds_total"] - tta) / (now - tta), 3)
    if not 1 / whole <= share < 1:
        raise UserError(f"regime='short': gradual took {share:g} of the training seconds that no_increase would now "
                        f"take; allowed: less than 1, and at least one of the {whole} batches of an epoch")  # fmt: skip
    return {"share": share, "target_seconds": gradual["seconds_total"], "expected_seconds": now,
            "gradual": gradual["key"], "no_increase": control["key"]}  # fmt: skip


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
