"""Files that are whole or not there, locks, names that follow from content, the cache folder, progress. No torch."""

import contextlib
import hashlib
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar

import filelock
import platformdirs
import psutil
from tqdm import tqdm

Item = TypeVar("Item")
CHANNEL = "ENTR_PROGRESS"  # names a file: a process that has it writes the share done there and shows nothing
LEASE, LEASE_SECONDS = 30.0, "ENTR_LEASE"  # seconds without a heartbeat that end a lease; the variable asks for leases
QUIET_SECONDS = 5.0  # what is over sooner shows no progress


class UserError(ValueError):
    """Something the user can put right. The message is one line: what, where, what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))

    def _render_traceback_(self) -> list[str]:
        """Let IPython show the one line instead of a traceback, the same for every kind: `notebook` looks for it."""
        return [f"UserError: {self}"]


class Damaged(UserError):
    """A file that is not what was written."""


class Missing(UserError):
    """Images or weights that have to be got first."""


def checksum(value: object) -> str:
    """sha256 of a value of JSON's types, written canonically."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def slug(text: str) -> str:
    """A file-system name: lower case, hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", "", text.lower())).strip("-")


def git(folder: Path, *words: str) -> str:
    """Output of a git command in a folder; "" where there is no git, or it fails."""
    try:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def cache_folder() -> Path:
    """The folder for what can be made again: ENTR_CACHE, or the user's cache folder."""
    return Path(os.environ.get("ENTR_CACHE") or platformdirs.user_cache_dir("entr_utils"))


def temporary(path: Path) -> Path:
    """A name beside `path` for what is not whole yet; it carries host and process, see `remove_leftovers`."""
    return path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}.partial")


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files under `folder` whose process ran on this host and is dead."""
    pattern = re.compile(rf"\.{re.escape(socket.gethostname())}\.(\d+)\.partial$")
    for path in folder.rglob("*.partial"):
        if (found := pattern.search(path.name)) and not psutil.pid_exists(int(found[1])):
            path.unlink(missing_ok=True)


def write_whole(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file whole or not at all: a temporary file, forced to the disk, then renamed.

    Raises UserError where it cannot be written; an older file of that name then stays.
    """
    partial = temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "wb") as file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); free some space there, make the folder writable or take "
            "another one"
        ) from error


def write_json(value: object, path: Path) -> None:
    """Write a JSON file whole or not at all. Raises UserError where it cannot be written."""
    write_whole(path, (json.dumps(value, indent=1) + "\n").encode())


def read_json(path: Path) -> dict:
    """The object in a JSON file. Raises Damaged naming the file, UserError where it cannot be read."""
    try:
        return json.loads(Path(path).read_text())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); make it readable") from error
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path}: not a whole file ({error}); delete it and run again") from error


@contextlib.contextmanager
def lock(
    path: Path, waiting: str = "", patience: float = 0.0, stopped: Callable[[], bool] = lambda: False
) -> Iterator[bool]:
    """Hold the lock file `path`, across processes and hosts; whether it is held is yielded.

    Args:
        waiting: printed once where another process holds it; then this one waits, for as long as it takes or for
            `patience` seconds. Without either nobody waits and False is yielded.
        stopped: asked meanwhile; where it is true, waiting ends.
    Raises UserError where the lock cannot be written. The system releases the lock of a process that dies; a lease,
    which stands in where the file system has no locks between hosts, ends LEASE seconds after the last heartbeat. Who
    is suspended for longer loses its lease without knowing: then a run may be made twice, and its record is the same.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = _lock_or_lease(path)
        held.acquire(blocking=False)
    except filelock.Timeout:
        if not waiting and not patience:
            yield False
            return
        if waiting:
            print(waiting, flush=True)
        try:
            held.acquire(timeout=patience or -1, cancel_check=stopped)
        except filelock.Timeout:
            yield False
            return
    except OSError as error:
        raise UserError(f"{path}: cannot be locked ({error.strerror}); make the folder writable") from error
    try:
        yield True
    finally:
        held.release()


def _lock_or_lease(path: Path) -> filelock.BaseFileLock:
    seconds = float(os.environ.get(LEASE_SECONDS) or 0)
    if not seconds and not _without_locks(path.parent):
        return filelock.FileLock(path, thread_local=False)
    lease = path.with_name(f"{path.name}.lease")
    return filelock.SoftFileLease(lease, lease_duration=seconds or LEASE, thread_local=False)


@cache
def _without_locks(folder: Path) -> str:
    """The kind of a folder's file system where its locks do not reach other hosts, else "". One line is printed."""
    mounts = [one for one in psutil.disk_partitions(all=True) if folder.resolve().is_relative_to(one.mountpoint)]
    mount = max(mounts, key=lambda one: len(one.mountpoint), default=None)
    if not mount or not _local_locks(mount.fstype, {*mount.opts.split(",")}):
        return ""
    print(f"{folder}: {mount.fstype} has no locks between hosts; leases of {LEASE:.0f} s stand in", flush=True)
    return mount.fstype


def _local_locks(kind: str, options: set[str]) -> bool:
    """Whether flock on a network's file system is seen by one host alone (man nfs, mount.lustre, mount.cifs)."""
    if kind in ("nfs", "nfs4"):
        return bool(options & {"nolock", "local_lock=all", "local_lock=flock"})
    if kind in ("lustre", "cifs"):
        return "flock" not in options if kind == "lustre" else "nobrl" in options
    return kind == "9p" or kind.startswith("fuse.")


def minutes(seconds: float) -> str:
    """A duration for people: 45 s, 3 min, 1 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    whole = round(seconds / 60)
    return f"{whole} min" if whole < 60 else f"{whole // 60} h {whole % 60} min"


class Progress:
    """A progress line in seconds of a forecast or in items; silent for five seconds, and where a parent shows one.

    In a terminal one line of tqdm, of several the one at `position`; in a notebook one output that is updated;
    `CHANNEL` names the parent's file.
    """

    def __init__(self, text: str, position: int | None = None) -> None:
        bar = "{desc} {percentage:3.0f}%, about {remaining} left{postfix}"
        self.channel = os.environ.get(CHANNEL)
        self.bar = tqdm(
            total=1.0, desc=text, bar_format=bar, delay=QUIET_SECONDS, leave=False, dynamic_ncols=True,
            position=position, disable=None if not self.channel else True,
        )  # fmt: skip

    def start_at(self, share: float) -> None:
        """Count `share` as done before: by a run that goes on."""
        self.bar.initial = self.bar.n = self.bar.last_print_n = share
        self.update(share)

    def update(self, share: float, note: str = "") -> None:
        """Show that `share` (0 to 1) is done."""
        if self.channel:
            Path(self.channel).write_text(f"{share:.4f}")
            return
        self.bar.set_postfix_str(note, refresh=False)
        self.bar.update(share - self.bar.n)

    def close(self) -> None:
        """Take the line away."""
        self.bar.close()


def track(items: Iterable[Item], text: str) -> Iterator[Item]:
    """The items, with a progress line in a terminal; nothing for what is over in five seconds."""
    return iter(tqdm(items, desc=text, delay=QUIET_SECONDS, leave=False, dynamic_ncols=True, disable=None))


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
