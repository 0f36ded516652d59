"""Where the wall time of a run goes, from its rendered notebook and its record.

Papermill keeps when each cell began and ended; the record keeps what happened inside the cell that trains. The phases
add up to the notebook's own time, from the start of its kernel to its end.
"""

import json
import tempfile
from datetime import datetime
from pathlib import Path

from entr_utils import records, runs

START_UP = ("kernel start", "imports, building the network")
NEEDED = (*START_UP, "training", "evaluation", "TTA")
PHASES = (*START_UP, "data preparation", "warm-up", "training", "evaluation", "TTA", "figures and rendering", "record")
MOST = 0.1  # of a run may go to everything but NEEDED
QUICK = ("DATASETS=steel", "REGIMES=gradual")


def measure(results: str = "results") -> dict:
    """One quick run, made now, and the newest of the paper profile; None where there is none."""
    return {"quick": quick(), "real": newest(Path(results) / "paper")}


def quick(words: tuple[str, ...] = QUICK) -> dict:
    """The phases of a run made for this in a folder of its own. Raises RuntimeError where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        if code := runs.main(["all", *words, f"RESULTS={folder}"]):
            raise RuntimeError(f"the quick run ended with exit code {code}")
        found = newest(Path(folder))
        if not found:
            raise RuntimeError("the quick run left no record")
        return found


def newest(folder: Path) -> dict | None:
    """The phases of the newest run under `folder` that was never stopped and whose notebook is there; one that trained
    in it, if any did."""
    found = []
    for path in folder.rglob("*-s[0-9]*-*.json"):
        record, notebook = records.read(path), path.with_suffix(".ipynb")
        if "prepare_seconds" in record and not record.get("attempts") and notebook.exists():
            run = of_run(json.loads(notebook.read_text()), record)
            found.append((not run["drawn_again"], record["environment"]["started"], path.stem, run))
    return {"run": max(found)[2]} | max(found)[3] if found else None


def _span(metadata: dict) -> float:
    """Seconds between start and end, as papermill wrote them."""
    return (_at(metadata, "end_time") - _at(metadata, "start_time")).total_seconds()


def _at(metadata: dict, name: str) -> datetime:
    return datetime.fromisoformat(metadata[name])


def of_run(notebook: dict, record: dict) -> dict:
    """Seconds of each phase; `seconds` in all; `overhead`, the share of all that is not NEEDED; `met`.

    A notebook that was drawn again later read its record instead of training: then the seconds it trained in its
    first life are added to its own.
    """
    times = [cell["metadata"]["papermill"] for cell in notebook["cells"]]
    prepared, trained, ended = (_cell(notebook, what) for what in ("experiment.prepare(", "training.train(",
                                                                  "records.finish("))  # fmt: skip
    stages, wall, whole = record["stages"], record["wall_seconds"], notebook["metadata"]["papermill"]
    drawn_again = trained < wall
    busy = {
        "kernel start": (_at(times[0], "start_time") - _at(whole, "start_time")).total_seconds(),
        "data preparation": record["prepare_seconds"], "warm-up": sum(record["warmup_seconds"].values()),
        "training": sum(stage["seconds"] for stage in stages[:-1]),
        "evaluation": sum(stage["eval_seconds"] for stage in stages), "TTA": stages[-1]["seconds"],
        "record": ended if drawn_again else trained - wall + ended,
    }  # fmt: skip
    in_wall = sum(busy[name] for name in ("warm-up", "training", "evaluation", "TTA"))
    kept = record.get("checkpoint_seconds", 0.0)
    busy["imports, building the network"] = prepared + wall - in_wall - busy["data preparation"] - kept
    busy["record"] += kept
    seconds = _span(whole) + (wall if drawn_again else 0.0)
    busy["figures and rendering"] = seconds - sum(busy.values())
    overhead = 1 - sum(busy[name] for name in NEEDED) / seconds
    return {
        "phases": {name: busy[name] for name in PHASES}, "seconds": seconds, "overhead": overhead, "required": MOST,
        "met": overhead <= MOST, "drawn_again": drawn_again, "profile": record["profile"],
    }  # fmt: skip


def _cell(notebook: dict, text: str) -> float:
    """Seconds of the cell that holds this text."""
    (cell,) = (cell for cell in notebook["cells"] if cell["cell_type"] == "code" and text in "".join(cell["source"]))
    return _span(cell["metadata"]["papermill"])
