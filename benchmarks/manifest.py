"""Which files results were made with: a CSV of name, bytes and sha256 for each image set and for the weights.

    python -m benchmarks.manifest DATA=folder WEIGHTS=path

Kept in results/manifests/<dataset>.csv and weights.csv, so that a stranger can check a set got elsewhere.
"""

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from entr_utils import cli
from entr_utils.data import catalog
from entr_utils.data.folder import look_at
from entr_utils.settings import PAPER_DATASETS
from entr_utils.util import UserError, track, write_whole


def write(path: Path, files: Iterable[tuple[str, Path]]) -> None:
    """A row a file. Raises UserError where it cannot be written."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("name", "bytes", "sha256"))
    for name, file in files:
        content = file.read_bytes()
        rows.writerow((name, len(content), hashlib.sha256(content).hexdigest()))
    write_whole(path, text.getvalue().encode())


def command(words: Sequence[str]) -> int:
    """Write the manifests of the paper's datasets under DATA, and of WEIGHTS."""
    given = cli.read(words, ("DATA", "WEIGHTS", "RESULTS"))
    if not {"DATA", "WEIGHTS"} <= given.keys():
        raise UserError("DATA and WEIGHTS are needed: DATA=folder WEIGHTS=path")
    folder = Path(given.get("RESULTS", "results")) / "manifests"
    for name in PAPER_DATASETS:
        images = look_at(catalog.class_folder(name, given["DATA"])).files
        write(folder / f"{name}.csv", track([*images.items()], name))
    weights = Path(given["WEIGHTS"])
    write(folder / "weights.csv", [(weights.name, weights)])
    print(f"read {folder}/")
    return 0


if __name__ == "__main__":
    cli.start("benchmarks.manifest", command)
