"""Execute one notebook with papermill, in a process of its own that dies with the one that started it.

A killed kernel looks like success in papermill's output, which is written in place. So that is written elsewhere, only
the exit code of the process counts, and what it made is put in its place at the end: a notebook is there whole or not.
"""

import base64
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from entr_utils.util import CHANNEL, require, write_whole

ROOT = Path(__file__).parents[1]
# Without these glibc hands large buffers back and asks for them again: a quarter to a third of the time on a CPU.
KERNEL_ENVIRONMENT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1"}
GOES_ON = "the same command goes on from its last checkpoint"


class Refused(RuntimeError):
    """A notebook that ended with a UserError: its input cannot be used."""


def execute(
    notebook: Path,
    parameters: Mapping,
    output: Path,
    keys: Iterable[str] = (),
    environment: Mapping[str, str] = {},
    progress: Callable[[float], None] = lambda share: None,
) -> None:
    """Execute `notebook` into `output`, which is there whole or not at all; what this starts ends with this process.

    `keys` are of the records it shows (`keys_shown`), `environment` is the kernel's beside ours. `progress` is called
    five times a second with the share done of the run that trains, 0 until one does; what it raises ends the notebook.
    Raises UserError on an unknown parameter name or where nothing can be written, RuntimeError with the last line of
    the log where execution failed (Refused where that is a UserError); the log then lies beside `output`.
    """
    import papermill

    require(notebook.is_file(), "notebook", str(notebook), f"no such file; take one of {ROOT / 'notebooks'}/")
    known = papermill.inspect_notebook(str(notebook))
    for name, value in parameters.items():
        require(name in known, name, value, f"{notebook.name} has no such parameter; allowed: {', '.join(known)}")
    kept = output.with_suffix(".log")
    with tempfile.TemporaryDirectory() as name:  # not where the disk may be full
        folder = Path(name)
        (folder / "parameters.json").write_text(json.dumps(dict(parameters)))
        if code := _run(notebook, folder, environment, progress):
            with suppress(OSError):
                output.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / "log", kept)
            reason = _reason((folder / "log").read_text(), code)
            raise (Refused if reason.startswith("UserError: ") else RuntimeError)(f"{reason} (log: {kept})")
        made = json.loads((folder / "output.ipynb").read_text())
    made["metadata"]["entr"] = {"keys": sorted(keys)}
    made["metadata"]["papermill"]["output_path"] = output.name  # not that of a temporary folder
    write_whole(output, (json.dumps(made, indent=1, ensure_ascii=False) + "\n").encode())
    kept.unlink(missing_ok=True)


def keys_shown(path: Path) -> list[str] | None:
    """Keys of the records that a rendered notebook shows; None where it is not there or not whole."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        notebook = json.loads(path.read_text())
        return list(notebook["metadata"]["entr"]["keys"]) if notebook["cells"] else None
    return None


def first_picture(path: Path) -> bytes:
    """The first PNG that a rendered notebook shows; empty where it shows none, or is not there."""
    cells = json.loads(path.read_text())["cells"] if path.exists() else []
    shown = (output.get("data", {}).get("image/png") for cell in cells for output in cell.get("outputs", ()))
    return base64.b64decode(next(filter(None, shown), ""))


def _run(notebook: Path, folder: Path, environment: Mapping[str, str], progress: Callable[[float], None]) -> int:
    """The exit code of the process of its own, without settings of others that would change what a kernel imports or
    draws; its log, output and what the kernel keeps are in `folder`."""
    channel = folder / "progress"
    inherited = {name: value for name, value in os.environ.items() if name not in ("MPLBACKEND", "PYTHONSTARTUP")}
    ours = {CHANNEL: str(channel), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", **KERNEL_ENVIRONMENT}
    ours |= {name: str(folder / "jupyter") for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR")} | dict(environment)
    words = [sys.executable, "-m", "entr_utils.notebook", os.path.relpath(notebook), str(folder), str(os.getpid())]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(words, env=inherited | ours, stdout=log, stderr=log, start_new_session=True)
    try:
        while process.poll() is None:
            time.sleep(0.2)
            progress(float((channel.exists() and channel.read_text()) or 0))  # "" while it is written
    finally:
        process.kill()
        process.wait()
    return process.returncode


def _reason(log: str, code: int) -> str:
    if "DeadKernelError" in log:
        return f"its kernel died, perhaps for want of memory; {GOES_ON}"
    if code < 0:
        return f"its process was killed (signal {-code}); {GOES_ON}"
    return next(filter(str.strip, reversed(log.splitlines())), f"exit code {code}")


def main(notebook: str, folder: str, parent: str) -> None:
    """What the process of its own does, for as long as the process `parent` lives. The kernel is always this Python's,
    whatever kernels a user has; it ends within a second of this process."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG of Linux
    if os.getppid() != int(parent):
        sys.exit(1)
    import papermill
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class Kernel(AsyncKernelManager):
        kernel_spec = KernelSpec(**get_kernel_dict())

    given = json.loads(Path(folder, "parameters.json").read_text())
    chosen = {"kernel_name": "python3", "language": "python", "kernel_manager_class": Kernel, "progress_bar": False}
    # A kernel that has run its last cell has nothing left to do: it is not asked to end and waited for.
    papermill.execute_notebook(notebook, f"{folder}/output.ipynb", given, shutdown_kernel="immediate", **chosen)


if __name__ == "__main__":
    main(*sys.argv[1:])
