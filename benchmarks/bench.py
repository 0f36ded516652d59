"""The bench: measure the parts asked for, keep each as it is done, draw the notebook.

    python -m benchmarks.bench PARTS="ceiling phases" RESULTS=results

A part run again replaces its own entry of bench.json and nothing else. Exit codes: 0 all measured, 1 a part or the
notebook failed, 2 a wrong word.
"""

import importlib
import sys
import time
from pathlib import Path

from entr_utils import files
from entr_utils.commands import guarded, with_defaults, with_kernel_environment
from entr_utils.execution import execute
from entr_utils.runs import NOTEBOOKS

PARTS = ("ceiling", "versus", "growth", "precision", "phases", "forecast")
READ_RESULTS = ("phases", "forecast")  # these look at runs that are there


def read_settings(words: list[str]) -> dict[str, str]:
    """NAME=value words, as make passes them; empty values are the defaults. Raises UserError on an unknown one."""
    return with_defaults(words, {"RESULTS": "results"}, PARTS)


def read(folder: str | Path) -> dict:
    """The bench so far: part -> environment, seconds, result; empty where none was run."""
    return files.known(Path(folder) / "bench.json")


def keep(folder: Path, part: str, entry: dict) -> None:
    """Put the entry of a part into bench.json, whole or not at all."""
    bench = read(folder) | {part: entry}
    files.write_json({name: bench[name] for name in PARTS if name in bench}, folder / "bench.json")


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
    stopped = "stopped; the parts that were done stay in bench.json"
    return guarded(lambda: work(read_settings(arguments)), stopped)


if __name__ == "__main__":
    with_kernel_environment("benchmarks.bench")
    sys.exit(main(sys.argv[1:]))
