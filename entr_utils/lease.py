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
# Options with which flock is seen by one host alone (nfs(5), mount.cifs(8)); Lustre needs one for more than that.
FUSE = ("fuse.fuse-overlayfs", "fuse.drive")  # on this machine; Google's Drive, where a lease would not arrive either
LOCAL = {"nfs": "nolock local_lock=all local_lock=flock", "nfs4": "local_lock=all local_lock=flock", "cifs": "nobrl"}


def lock_or_lease(path: Path) -> filelock.BaseFileLock:
    """What holds `path` against all processes of all hosts. Any thread may release it."""
    seconds = float(os.environ.get("ENTR_LEASE") or 0)
    if not seconds and not without_locks(path.parent):
        return filelock.FileLock(path, thread_local=False)
    marker = path.with_name(f"{path.name}.lease")
    return filelock.SoftFileLease(marker, lease_duration=seconds or SECONDS, thread_local=False)


@cache
def without_locks(folder: Path) -> bool:
    """Whether locks in a folder do not reach other hosts, by its file system; then one line is printed."""
    mounts = [one for one in psutil.disk_partitions(all=True) if folder.resolve().is_relative_to(one.mountpoint)]
    mount = max(mounts, key=lambda one: len(one.mountpoint))
    kind, options = mount.fstype, {*mount.opts.split(",")}
    local = kind == "9p" or (kind.startswith("fuse.") and kind not in FUSE)
    local |= not options.isdisjoint(LOCAL.get(kind, "").split()) or (kind == "lustre" and "flock" not in options)
    if local:
        print(f"{folder}: {kind} has no locks between hosts; leases of {SECONDS:.0f} s stand in", flush=True)
    return local
