"""Execute one notebook with papermill, in a process of its own that dies with the one that started it.

A killed kernel looks like success to papermill's own output, and its output is written in place: so the result is
written under another name and renamed at the end, and only the exit code of the process counts.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from entr_utils import UserError
from entr_utils.progress import CHANNEL

# Without these glibc hands large buffers back and asks for them again: a quarter to a third of the time on a CPU.
KERNEL_ENVIRONMENT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1"}
DEAD_KERNEL = "DeadKernelError"


class Refused(RuntimeError):
    """A notebook that ended with a UserError: its input cannot be used."""


def execute(notebook: Path, parameters: dict, output: Path, done: Callable[[float], None] = lambda share: None) -> None:
    """Execute `notebook` into `output`, which appears whole or not at all.

    `done` is told the share of the training done. Raises UserError on an unknown parameter name or where nothing can
    be written, RuntimeError with the last line of the log where execution failed (Refused where that is a UserError);
    the log then stays beside `output`.
    When this process is stopped, what it started ends with it: the other process at once, its kernel in a second.
    """
    _check_names(notebook, parameters)
    partial, kept = output.with_suffix(".partial"), output.with_suffix(".log")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written ({error.strerror}); take another RESULTS") from error
    with tempfile.TemporaryDirectory() as folder:
        log, values = Path(folder) / "log", Path(folder) / "parameters.json"  # not where the disk may be full
        values.write_text(json.dumps(parameters))
        code = _run([os.path.relpath(notebook), str(partial), str(values)], log, Path(folder) / "progress", done)
        if code:
            partial.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                shutil.copyfile(log, kept)
            reason = _reason(log.read_text(), code)
            raise (Refused if reason.startswith("UserError: ") else RuntimeError)(f"{reason} (log: {kept})")
    kept.unlink(missing_ok=True)
    os.replace(partial, output)


def _run(words: list[str], log: Path, channel: Path, done: Callable[[float], None]) -> int:
    """The exit code of the process of its own."""
    environment = os.environ | KERNEL_ENVIRONMENT | {CHANNEL: str(channel), "PYTHONWARNINGS": "ignore"}
    with open(log, "w") as file:
        process = subprocess.Popen([sys.executable, "-m", "entr_utils.execution", *words, str(os.getpid())],
                                   env=environment, stdout=file, stderr=file, start_new_session=True)  # fmt: skip
    try:
        while process.poll() is None:
            time.sleep(0.2)
            done(float(channel.read_text() or 0) if channel.exists() else 0.0)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process.returncode


def whole(notebook: Path) -> bool:
    """Whether a rendered notebook is there and can be read."""
    try:
        return bool(json.loads(notebook.read_text())["cells"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _reason(log: str, code: int) -> str:
    lines = [line for line in log.splitlines() if line.strip()]
    if any(DEAD_KERNEL in line for line in lines):
        return "its kernel died, perhaps for want of memory; the same command goes on from its last checkpoint"
    if code < 0:
        return f"its process was killed (signal {-code}); the same command goes on from its last checkpoint"
    return lines[-1] if lines else f"exit code {code}"


def _check_names(notebook: Path, parameters: dict) -> None:
    import papermill

    if not notebook.is_file():
        raise UserError(f"notebook={str(notebook)!r}: no such file")
    allowed = papermill.inspect_notebook(str(notebook))
    for name, value in parameters.items():
        if name not in allowed:
            raise UserError(f"{name}={value!r}: {notebook.name} has no such parameter; allowed: {', '.join(allowed)}")


def _die_with(parent: int) -> None:
    """End this process half a second after `parent` has gone, at once where it is gone already; a kernel then ends
    within another second by itself."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    if os.getppid() != parent:
        os._exit(1)
    threading.Thread(target=watch, daemon=True).start()


def main(notebook: str, output: str, values: str, parent: str) -> None:
    """What the process of its own does, for as long as the process `parent` lives."""
    _die_with(int(parent))
    import papermill

    parameters = json.loads(Path(values).read_text())
    # A kernel that has run its last cell has nothing left to do: it need not be asked to end, and waited for.
    papermill.execute_notebook(notebook, output, parameters, progress_bar=False, shutdown_kernel="immediate")


if __name__ == "__main__":
    import logging

    logging.basicConfig(level=logging.ERROR)
    main(*sys.argv[1:])
