"""Which files results were made with: a CSV of name, bytes and sha256 for each image set and for the weights.

    python -m benchmarks.manifest DATA=folder WEIGHTS=path

Kept in results/manifests/<dataset>.csv and weights.csv, so that a stranger can check a set got elsewhere.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from entr_utils import cli
from entr_utils.data import catalog
from entr_utils.settings import PAPER_DATASETS, Cell
from entr_utils.util import UserError, track, write_whole


def command(words: Sequence[str]) -> int:
    """Write the manifests of the paper's datasets under DATA, and of WEIGHTS."""
    given = cli.read(words, ("DATA", "WEIGHTS", "RESULTS"))
    if not {"DATA", "WEIGHTS"} <= given.keys():
        raise UserError("DATA and WEIGHTS are needed: DATA=folder WEIGHTS=path")
    folder, weights = Path(given.get("RESULTS", "results")) / "manifests", Path(given["WEIGHTS"])
    files = {name: catalog.found(Cell(name, data=given["DATA"])).files for name in PAPER_DATASETS}
    for title, named in (files | {"weights": {weights.name: weights}}).items():
        read = ((name, path.read_bytes()) for name, path in track([*named.items()], title))
        rows = [(name, len(content), hashlib.sha256(content).hexdigest()) for name, content in read]
        table = pd.DataFrame(rows, columns=["name", "bytes", "sha256"])
        write_whole(folder / f"{title}.csv", table.to_csv(index=False, lineterminator="\n").encode())
    print(f"read {folder}/")
    return 0


if __name__ == "__main__":
    cli.start("benchmarks.manifest", command)
