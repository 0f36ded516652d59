"""Who works where: two runs never share a device, two commands never write into the same results."""

import contextlib
import fcntl
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from entr_utils import UserError

_HELD: set[tuple[Path, int]] = set()  # with the thread of this process that holds it


@contextlib.contextmanager
def hold(path: Path, what: str) -> Iterator[None]:
    """Hold the lock `path`; who finds it taken says so and waits. `what` names what is locked, for people.

    The system releases the lock of a process that dies, however it dies. Who holds it may take it again.
    Raises UserError where the file cannot be written.
    """
    mine = (path, threading.get_ident())
    if mine in _HELD:
        yield
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); make the folder writable or take another "
                        "one") from error  # fmt: skip
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            print(f"waiting: {what} in use by process {file.read().strip() or 'unknown'}", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        _HELD.add(mine)
        try:
            yield
        finally:
            _HELD.discard(mine)


def device() -> contextlib.AbstractContextManager[None]:
    """Hold the device: two runs that share it would spoil each other's time. One for all checkouts of a user."""
    return hold(Path(tempfile.gettempdir()) / f"entr-device-{os.getuid()}.lock", "the device is")


def results(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Hold a folder of results, for a command that plans, trains and draws into it."""
    return hold(folder / ".lock", f"{folder}/ is")
