"""Where images stay, how much memory a run takes, and whether that fits.

    bytes of a run = images + weights + activations
    images       3 (n_train + n_val) S^2, and beside it the stage's copy, 3 n_train s^2, where s < S (uint8, RGB),
                 as far as they are on the device
    weights      4 parameters (6 in reduced precision: autocast keeps a copy), 8 more (gradient, momentum) of each that
                 trains
    activations  batch x what a step's tensors hold at once for an image, counted by `peak_of_step`: it grows with s^2;
                 times BESIDE for what libraries and the allocator hold beside them

S is the largest size in pixels, s the stage's. A run takes the largest sum over its stages. Images go to the device
where they fit, else to the host's memory (pinned with CUDA), else to a memory-mapped file in the cache; on a CPU the
device is the host.
"""

import contextlib
import gc
import os
import resource
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from entr_utils import UserError
from entr_utils.timing import device

BESIDE = {"cpu": 2.0, "cuda": 1.0}  # on a CPU as measured (results/bench); on CUDA not measured yet
SHARE = 0.5  # of the memory that is free may go to one block of images: what trains needs the rest
CGROUP, CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")  # limits, and the groups this process is in
CACHE = Path(os.environ.get("ENTR_CACHE", "data/cache"))


def free(place: str) -> float:
    """Bytes now free on the "device", the "host" or the "disk" of the cache; on a CPU device and host are one."""
    if place == "device" and torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    if place == "disk":
        CACHE.mkdir(parents=True, exist_ok=True)
        return os.statvfs(CACHE).f_bavail * os.statvfs(CACHE).f_frsize
    return min(_available(), _allowed())


def _available() -> int:
    """Bytes that the machine has free, or in all where it does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _allowed() -> float:
    """Bytes left of what a container or a cluster's job allows (cgroup v2), infinite where nothing is limited."""
    with contextlib.suppress(OSError):
        groups = [line.split("::/")[1] for line in CGROUPS.read_text().splitlines() if line.startswith("0::/")]
        return min((_left(folder) for group in groups for folder in (CGROUP / group, *(CGROUP / group).parents)
                    if folder.is_relative_to(CGROUP)), default=float("inf"))  # fmt: skip
    return float("inf")


def _left(folder: Path) -> float:
    """What a group may still take. What only caches files is given back when it is needed, so it counts as free."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        limit, now = (int((folder / f"memory.{name}").read_text()) for name in ("max", "current"))
        lines = (folder / "memory.stat").read_text().splitlines()
        return limit - now + int(dict(line.split() for line in lines)["inactive_file"])
    return float("inf")


def give_back() -> None:
    """Let go of what runs that have ended still hold, and of what this process has cached of a GPU's memory: nothing
    else can use it, and `taken` counts it."""
    gc.collect()  # a Learner and its callbacks hold one another, and with them a run's images
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def taken() -> int:
    """Bytes this process holds now: on the device with CUDA, else in memory."""
    if torch.cuda.is_available():
        return torch.cuda.memory_reserved()
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def place_for(size: int, beside: int = 0) -> str:
    """Where a block of `size` bytes goes: "device", "host" or "disk", the first in which it fits once `beside` bytes
    more are taken there."""
    return next((place for place in ("device", "host") if size <= SHARE * (free(place) - beside)), "disk")


def empty_images(n: int, size: int) -> Tensor:
    """Room for (n, size, size, 3) uint8 images, as a tensor wherever it fits (`place_for`).

    A memory-mapped one is backed by a file in the cache that goes with the tensor.
    """
    shape = (n, size, size, 3)
    where = place_for(n * size * size * 3)
    if where == "device":
        return torch.empty(shape, dtype=torch.uint8, device=device())
    if where == "host":
        return torch.empty(shape, dtype=torch.uint8, pin_memory=torch.cuda.is_available())
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=CACHE, prefix="images-") as file:  # unlinked: the map alone keeps it
        try:
            os.posix_fallocate(file.fileno(), 0, int(np.prod(shape)))  # writing to a full disk's map kills the process
        except OSError as error:
            raise UserError(f"{CACHE}: no room for {np.prod(shape) / 1e6:.0f} MB of images ({error.strerror}); free "
                            "some, or name another folder with ENTR_CACHE=folder") from error  # fmt: skip
        return torch.from_numpy(np.memmap(file, np.uint8, "w+", shape=shape))


class _Held(TorchDispatchMode):
    """Counts the bytes of all tensors that operations made and that are still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        made = function(*arguments, **(named or {}))
        given = {part.untyped_storage().data_ptr() for part in tree_leaves(arguments) if isinstance(part, Tensor)}
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in given:  # else a view
                self._hold(tensor.untyped_storage())
        return made

    def _hold(self, storage: torch.UntypedStorage) -> None:
        at, size = storage.data_ptr(), storage.nbytes()
        if at and at not in self.known:
            self.known.add(at)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._let_go, at, size)

    def _let_go(self, at: int, size: int) -> None:
        self.known.discard(at)
        self.now -= size


def peak_of_step(step: Callable[[], object]) -> int:
    """Most bytes that the tensors made by `step` hold at once: the same on every machine; no library's workspace."""
    with _Held() as held:
        step()
    return held.peak


class PeakMemory:
    """Largest memory in bytes since `reset`: the device's on CUDA; on a CPU the process's, as Linux counts it."""

    def reset(self) -> None:
        """Forget earlier peaks, where the system lets us (on a CPU it may not; then peaks only grow)."""
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        else:
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")

    def read(self) -> int:
        """Bytes."""
        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated()
        with contextlib.suppress(OSError):
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM"):
                    return int(line.split()[1]) * 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
