"""The bench: measure the parts asked for, keep each as it is done, draw the notebook.

    python -m benchmarks.bench PARTS="ceiling phases" RESULTS=results

A part run again replaces its own entry of bench.json and nothing else. Exit codes: 0 all measured, 1 a part or the
notebook failed, 2 a wrong word.
"""

import importlib
import json
import os
import sys
import time
from pathlib import Path

from entr_utils import UserError, records
from entr_utils.runs import KERNEL_ENVIRONMENT, NOTEBOOKS, execute

PARTS = ("ceiling", "versus", "growth", "precision", "phases", "forecast")
READ_RESULTS = ("phases", "forecast")  # these look at runs that are there


def read_settings(words: list[str]) -> dict[str, str]:
    """NAME=value words, as make passes them; empty values are the defaults. Raises UserError on an unknown one."""
    settings = {"PARTS": " ".join(PARTS), "RESULTS": "results"}
    for word in words:
        name, _, value = word.partition("=")
        if name not in settings:
            raise UserError(f"{name}={value!r}: unknown name; allowed: {', '.join(settings)}")
        settings[name] = value.strip() or settings[name]
    for part in settings["PARTS"].split():
        if part not in PARTS:
            raise UserError(f"PARTS={part!r}: unknown; allowed: {', '.join(PARTS)}")
    return settings


def read(folder: str | Path) -> dict:
    """The bench so far: part -> environment, seconds, result; empty where none was run."""
    path = Path(folder) / "bench.json"
    return json.loads(path.read_text()) if path.exists() else {}


def keep(folder: Path, part: str, entry: dict) -> None:
    """Put the entry of a part into bench.json, whole or not at all."""
    bench = read(folder) | {part: entry}
    records.write_json({name: bench[name] for name in PARTS if name in bench}, folder / "bench.json")


def measure(part: str, results: str) -> dict:
    """The entry of a part: what it stood on, what it took, what it found."""
    from entr_utils import timing

    began, environment = time.monotonic(), timing.environment()
    module = importlib.import_module(f"benchmarks.{part}")
    result = module.measure(results) if part in READ_RESULTS else module.measure()
    return {"environment": environment, "seconds": time.monotonic() - began, "result": result}


def work(settings: dict[str, str]) -> int:
    """Measure, keep and show the parts asked for, then draw the notebook; returns the exit code."""
    from benchmarks import tables

    folder, failed = Path(settings["RESULTS"]) / "bench", 0
    parts = [part for part in PARTS if part in settings["PARTS"].split()]
    for i, part in enumerate(parts):
        print(f"{part} ({i + 1} of {len(parts)}; {tables.TAKES[part]})", flush=True)
        try:
            keep(folder, part, measure(part, settings["RESULTS"]))
        except RuntimeError as error:  # a worker or a notebook that died: the other parts do not need it
            failed += 1
            print(f"  {part}: FAILED, {error}")
            continue
        print(f"\n{tables.show(read(folder), part).data}\n", flush=True)
    print(f"{tables.requirements(read(folder)).data}\n")
    try:
        execute(NOTEBOOKS / "bench.ipynb", {"results": str(folder)}, folder / "bench.ipynb")
    except RuntimeError as error:
        failed += 1
        print(f"  the notebook: FAILED, {error}")
    else:
        print(f"read {folder / 'bench.ipynb'}")
    return 1 if failed else 0


def main(arguments: list[str]) -> int:
    """The command line: NAME=value words."""
    try:
        return work(read_settings(arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the parts that were done stay in bench.json", file=sys.stderr)
        return 130


if __name__ == "__main__":
    if not KERNEL_ENVIRONMENT.items() <= os.environ.items():  # glibc reads it when a process starts
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.bench", *sys.argv[1:]],
                  os.environ | KERNEL_ENVIRONMENT)  # fmt: skip
    sys.exit(main(sys.argv[1:]))
