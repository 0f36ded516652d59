"""Files that are whole or not there, locks, names that follow from content, the cache folder, progress. No torch."""

import contextlib
import hashlib
import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import filelock
import platformdirs
import psutil
from tqdm import tqdm

DRIVE = Path("/content/drive")  # where Colab mounts a Google Drive
AT_ONCE = "ENTR_AT_ONCE"  # how many notebooks the command that started this process makes at once
CHANNEL = "ENTR_PROGRESS"  # names a file: a process that has it writes the share done there and shows nothing
QUIET_SECONDS = 5.0  # what is over sooner shows no progress
LEASE_SECONDS = 30.0
# Options with which flock is seen by one host alone (nfs(5), mount.cifs(8)); Lustre needs one for more than that.
LOCAL = {"nfs": "nolock local_lock=all local_lock=flock", "nfs4": "local_lock=all local_lock=flock", "cifs": "nobrl"}
FUSE = ("fuse.fuse-overlayfs", "fuse.drive")  # on this machine; Google's Drive, where a lease would not arrive either


class UserError(ValueError):
    """Something the user can put right. The message is one line: what, where, what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))

    def _render_traceback_(self) -> list[str]:
        """Let IPython show the one line instead of a traceback, the same for every kind: `notebook` looks for it."""
        return [f"UserError: {self}"]


class Stopped(KeyboardInterrupt):
    """Ctrl-C, or a notebook's stop button, with a line that says how it goes on: IPython shows that alone."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


class Damaged(UserError):
    """A file that is not what was written."""


class Missing(UserError):
    """Images or weights that have to be got first."""


def require(right: object, name: str, value: object, line: str) -> None:
    """Raises UserError where a value is not right; the line says what is allowed, or what to do."""
    if not right:
        raise UserError(f"{name}={value!r}: {line}")


def one_of(name: str, value: object, allowed: Iterable[str]) -> None:
    """Raises UserError where a value is none of those allowed."""
    right = isinstance(value, str) and value in allowed
    require(right, name, value, f"unknown; allowed: {', '.join(filter(None, allowed))}")


def whole(name: str, value: object, least: int, most: int) -> None:
    """Raises UserError where a value is no whole number from `least` to `most`."""
    right = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    require(right, name, value, f"allowed: a whole number from {least} to {most}")


def checksum(value: object) -> str:
    """sha256 of a value of JSON's types, written canonically."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def slug(text: str) -> str:
    """A file-system name: lower case, hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", "", text.lower())).strip("-")


def cache_folder() -> Path:
    """The folder for what can be made again: ENTR_CACHE, or the user's cache folder."""
    return Path(os.environ.get("ENTR_CACHE") or platformdirs.user_cache_dir("entr_utils"))


def where(path: str) -> Path:
    """A path as typed: from here or, where nothing is there, from where a notebook began, whose first cell moves."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    begun, given = Path(shell.user_ns.get("_dh", ["."])[0] if shell else "."), Path(os.path.expanduser(path))
    return begun / given if not os.path.exists(given) and os.path.exists(begun / given) else given


def on_drive(path: str | Path) -> bool:
    """Whether a path, links followed, is below DRIVE, which may not be mounted."""
    return Path(os.path.realpath(os.path.expanduser(path))).is_relative_to(DRIVE)


def file_system(folder: Path) -> int | None:
    """The device number of a folder, where there is one."""
    with contextlib.suppress(OSError):
        return folder.stat().st_dev
    return None


def is_away(number: int | None) -> bool:
    """Whether a file system is another than this machine's, such as a mounted drive."""
    return number not in (None, file_system(Path.home()), file_system(Path.cwd()))


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
    """Write a file whole or not at all, and to the disk. Raises UserError where it cannot; an older one then stays."""
    partial = temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        what_to_do = "free some space there, make the folder writable or take another one"
        raise UserError(f"{path}: cannot be written ({error.strerror}); {what_to_do}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def write_json(value: object, path: Path) -> None:
    write_whole(path, (json.dumps(value, indent=1) + "\n").encode())


def keep_json(value: object, path: Path, begun: int | None) -> None:
    """Write a JSON file where it belongs or, where that cannot be, into the cache: `bring_back` puts it in place.
    `begun` is the file system that was there before: a drive that was unmounted leaves an empty folder."""
    try:
        if file_system(path.parent) != begun:
            raise UserError(f"{path}: cannot be written (what was mounted there is gone)")
        write_json(value, path)
    except UserError as error:
        write_json(value, waits := _waits(path, is_away(begun)))
        print(f"{error}; it waits as {waits}, and the next command puts it in place", flush=True)


def bring_back(path: Path) -> None:
    """Put in place what waits for it."""
    for away in (True, False):
        if (waits := _waits(path, away)).exists() and not path.exists():
            write_whole(path, waits.read_bytes())
            print(f"  {path}: put in place")
            if not away or is_away(file_system(path.parent)):  # else a drive may come back without it
                waits.unlink()


def _waits(path: Path, away: bool) -> Path:
    place = "drive" if away else "disk"
    return cache_folder() / "waiting" / f"{place}-{checksum(str(path.parent.absolute()))[:8]}-{path.name}"


def read_json(path: Path) -> dict:
    """The object in a JSON file. Raises Damaged naming the file, UserError where it cannot be read."""
    try:
        return json.loads(Path(path).read_text())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); make it readable") from error
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path}: not a whole file ({error}); delete it and run again") from error


@contextlib.contextmanager
def lock(path: Path, waiting: str = "", patience: float = 0.0, stopped: Callable | None = None) -> Iterator[bool]:
    """Hold the lock file `path`, across processes and hosts; whether it is held is yielded.

    Where another process holds it, `waiting` is printed, and this one waits: as long as it takes, or `patience`
    seconds, or until `stopped`. Without either nobody waits and False is yielded. Raises UserError where the lock
    cannot be written. The system releases the lock of a process that dies.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = _lock_or_lease(path)
        with contextlib.suppress(filelock.Timeout):
            held.acquire(blocking=False)
        if (waiting or patience) and not held.is_locked:
            print(waiting, end="\n" if waiting else "", flush=True)
            with contextlib.suppress(filelock.Timeout):
                held.acquire(timeout=patience or -1, cancel_check=stopped)
    except OSError as error:
        raise UserError(f"{path}: cannot be locked ({error.strerror}); make the folder writable") from error
    try:
        yield held.is_locked
    finally:
        with contextlib.suppress(OSError):  # a drive that is gone has no locks
            held.release()


def _lock_or_lease(path: Path) -> filelock.BaseFileLock:
    """A lock of the system where it reaches every host; else, or where ENTR_LEASE=seconds asks for it, a lease.

    That ends where nobody has refreshed it for so long, by the clock of the one who waits. Who is suspended for longer
    loses it without knowing: then a run may be made twice, and its record is the same. Any thread may release either.
    """
    seconds = float(os.environ.get("ENTR_LEASE") or 0)
    if not seconds and not _without_locks(path.parent):
        return filelock.FileLock(path, thread_local=False)
    marker = path.with_name(f"{path.name}.lease")
    return filelock.SoftFileLease(marker, lease_duration=seconds or LEASE_SECONDS, thread_local=False)


@cache
def _without_locks(folder: Path) -> bool:
    """Whether locks in a folder do not reach other hosts, by its file system; then one line is printed."""
    mounts = [one for one in psutil.disk_partitions(all=True) if folder.resolve().is_relative_to(one.mountpoint)]
    mount = max(mounts, key=lambda one: len(one.mountpoint))
    kind, options = mount.fstype, {*mount.opts.split(",")}
    local = kind == "9p" or (kind.startswith("fuse.") and kind not in FUSE)
    local |= not options.isdisjoint(LOCAL.get(kind, "").split()) or (kind == "lustre" and "flock" not in options)
    if local:
        print(f"{folder}: {kind} has no locks between hosts; leases of {LEASE_SECONDS:.0f} s stand in", flush=True)
    return local


def minutes(seconds: float) -> str:
    """A duration for people: 45 s, 3 min, 1 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours} h {rest} min" if hours else f"{rest} min"


class Progress:
    """A progress line of tqdm, of several the one at `position`; silent for five seconds, and where a parent process
    shows one: `CHANNEL` names its file."""

    def __init__(self, text: str, position: int | None = None) -> None:
        bar = "{desc} {percentage:3.0f}%, about {remaining} left{postfix}{bar:0}"  # tqdm cuts what has a bar
        self.channel = os.environ.get(CHANNEL)
        self.bar = tqdm(
            total=1.0, desc=text, bar_format=bar, delay=QUIET_SECONDS, leave=False, dynamic_ncols=True,
            position=position, disable=True if self.channel else None,
        )  # fmt: skip

    def start_at(self, share: float) -> None:
        """Count `share` as done before: by a run that goes on."""
        self.bar.initial = self.bar.n = self.bar.last_print_n = share
        self.update(share)

    def update(self, share: float, note: str = "") -> None:
        if self.channel:
            Path(self.channel).write_text(f"{share:.4f}")
            return
        self.bar.set_postfix_str(note, refresh=False)
        self.bar.update(share - self.bar.n)

    def close(self) -> None:
        self.bar.close()


def track(items: Iterable[Any], text: str) -> Iterator[Any]:
    """The items, with a progress line in a terminal."""
    return iter(tqdm(items, desc=text, delay=QUIET_SECONDS, leave=False, dynamic_ncols=True, disable=None))


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
