"""A lock of the system where it reaches every host; a lease by heartbeat where the file system's locks do not.

A lease ends where nobody has refreshed it for SECONDS, by the clock of the one who waits. Who is suspended for longer
loses it without knowing: then a run may be made twice, and its record is the same. ENTR_LEASE=seconds asks for leases.
"""

import os
from functools import cache
from pathlib import Path

import filelock
import psutil

SECONDS = 30.0


def lock_or_lease(path: Path) -> filelock.BaseFileLock:
    """What holds `path` against all processes of all hosts. Any thread may release it."""
    seconds = float(os.environ.get("ENTR_LEASE") or 0)
    if not seconds and not without_locks(path.parent):
        return filelock.FileLock(path, thread_local=False)
    marker = path.with_name(f"{path.name}.lease")
    return filelock.SoftFileLease(marker, lease_duration=seconds or SECONDS, thread_local=False)


@cache
def without_locks(folder: Path) -> str:
    """The kind of a folder's file system where its locks do not reach other hosts, else "". One line is printed."""
    mounts = [one for one in psutil.disk_partitions(all=True) if folder.resolve().is_relative_to(one.mountpoint)]
    mount = max(mounts, key=lambda one: len(one.mountpoint), default=None)
    if not mount or not _local(mount.fstype, {*mount.opts.split(",")}):
        return ""
    print(f"{folder}: {mount.fstype} has no locks between hosts; leases of {SECONDS:.0f} s stand in", flush=True)
    return mount.fstype


def _local(kind: str, options: set[str]) -> bool:
    """Whether flock is seen by one host alone, by the kind of file system and its options (nfs(5), mount.cifs(8),
    mount.lustre(8): Lustre locks between hosts with the option flock alone)."""
    if kind in ("nfs", "nfs4"):
        return bool(options & {"nolock", "local_lock=all", "local_lock=flock"})
    if kind in ("lustre", "cifs"):
        return "flock" not in options if kind == "lustre" else "nobrl" in options
    return kind == "9p" or (kind.startswith("fuse.") and "overlay" not in kind)
