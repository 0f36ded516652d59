"""Train a recorded run once more and print the differences.

    python -m entr_utils.reproduce RECORD=results/paper/.../ucm-resnet18-gradual-s0-32094c.json WEIGHTS=path DATA=folder

Stopped, it goes on where it was; when it is done only what it printed is left.
"""

import shutil
from functools import partial
from pathlib import Path

import pandas as pd

from entr_utils import UserError, experiment, locks, memory, records, training
from entr_utils.commands import guarded, named, start
from entr_utils.parameters import of_record

INPUTS = {"WEIGHTS": "weights", "DATA": "data", "GROUPS": "groups"}  # what a record does not hold: where things were
STOPPED = "stopped; the same command goes on from the last checkpoint"
COMPARED = ("accuracy_subtotal", "accuracy_rpl", "accuracy_total", "seconds_subtotal", "seconds_total", "flops_total",
            "efficiency_subtotal", "efficiency_total")  # fmt: skip


def reproduce(path: Path, **inputs: str) -> str:
    """Train the run of the record at `path` again, in a folder of the cache that goes at the end; differences as text.

    Args:
        inputs: weights, data and groups where they are not in their usual places.
    Raises UserError where the record is damaged or an input is missing.
    """
    if not path.is_file():
        raise UserError(f"RECORD={str(path)!r}: no such file")
    old = records.read(path)
    folder = memory.CACHE / "reproduce" / old["key"][:12]
    with locks.results(folder):
        run = experiment.prepare(old["dataset"], **(of_record(old) | inputs), results=str(folder))
        new = training.train(run)
        shutil.rmtree(folder)
    other = [name for name, value in old["identity"].items() if run.identity.get(name) != value]
    rows = [{"what": name, "record": old[name], "again": new[name], "difference": new[name] - old[name]}
            for name in COMPARED]  # fmt: skip
    same = sum(map(int.__eq__, old["predictions"]["total"], new["predictions"]["total"]))
    return (
        f"{pd.DataFrame(rows).to_string(index=False)}\n"
        f"{same} of {old['n_val']} final predictions are the same. "
        f"{'Not the same: ' + ', '.join(other) if other else 'Everything that makes the numbers was the same.'}"
    )


def main(words: list[str]) -> int:
    """The command line: RECORD=path, and WEIGHTS, DATA, GROUPS where needed."""
    return guarded(partial(command_line, words), STOPPED, (UserError, OSError))


def command_line(words: list[str]) -> int:
    """Do what `main` guards."""
    given = dict(named(words, ("RECORD", *INPUTS)))
    inputs = {INPUTS[name]: value for name, value in given.items() if name in INPUTS and value}
    print(reproduce(Path(given.get("RECORD", "")), **inputs))
    return 0


if __name__ == "__main__":
    start("entr_utils.reproduce", main)
