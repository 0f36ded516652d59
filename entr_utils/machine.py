"""What this machine is: its device, precision, free memory, and how busy others keep it."""

import contextlib
import os
import platform
import socket
import subprocess
from pathlib import Path

import psutil
import torch

from entr_utils.util import AT_ONCE, now, require

CGROUP, CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")  # limits, and the groups this process is in


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def of_kernel(path: str | Path, name: str) -> str:
    """The first value of a name in a file of the kernel's, "name: value" by line; "" where there is none."""
    with contextlib.suppress(OSError):
        lines = (line.partition(":") for line in Path(path).read_text().splitlines())
        return next((value.strip() for found, _, value in lines if found.strip() == name), "")
    return ""


def processor() -> str:
    return of_kernel("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()


def device_model() -> str:
    """The device for people and for clocks: the GPU's name, or the processor's with its number of threads."""
    if device().type == "cuda":
        return torch.cuda.get_device_name()
    return f"{processor()}, {torch.get_num_threads()} threads"


def device_id() -> str:
    """What tells this device from those of all hosts, for locks: a GPU's UUID (numbers repeat) or "cpu-<host>"."""
    if device().type == "cpu":
        return f"cpu-{socket.gethostname()}"
    return str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)


def precision(wanted: str = "") -> str:
    """`wanted`, or the fastest precision the hardware really has: bfloat16, float16 or float32.

    CUDA: bfloat16 from compute capability 8.0 (`is_bf16_supported` also counts emulation, on a T4 for one), else
    float16. CPU: bfloat16 with AVX512-BF16 or AMX, else float32. Raises UserError for float16 on a CPU: its small
    gradients need CUDA's loss scaling.
    """
    on_gpu = device().type == "cuda"
    line = "needs a CUDA device; allowed here: float32, bfloat16, or nothing"
    require(on_gpu or wanted != "float16", "precision", wanted, line)
    if wanted:
        return wanted
    if on_gpu:
        return "bfloat16" if torch.cuda.get_device_capability() >= (8, 0) else "float16"
    flags = of_kernel("/proc/cpuinfo", "flags").split()
    return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def git(folder: Path, *words: str) -> str:
    """Output of a git command in a folder; "" where there is no git, or it fails."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
    return ""


def environment() -> dict:
    """Where a run begins: the fields of `results.record.Environment`."""
    from importlib.metadata import version

    here = Path(__file__).parent
    changed = bool(git(here, "status", "--porcelain", "--untracked-files=no", "--", ":(top)", ":(exclude,top)results"))
    return {
        "device": device_model(),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "torchvision", "fastai")},
        "commit": (git(here, "rev-parse", "HEAD") or "unknown") + ("-dirty" if changed else ""),
        "started": now(),
        "load": os.getloadavg()[0],
        "at_once": int(os.environ.get(AT_ONCE) or 1),
    }


def free_memory(place: str) -> float:
    """Bytes now free on the "device" or the "host"; on a CPU device and host are one."""
    if place == "device" and torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    group = CGROUP / of_kernel(CGROUPS, "0").lstrip(":/")  # of version 2: "0::/job/step"
    return min(psutil.virtual_memory().available, *map(_allowed, (group, *group.parents)))


def _allowed(group: Path) -> float:
    """Bytes that a container or a cluster's job may still take, infinite where nothing limits it. What only caches
    files is given back when it is needed, so it counts as free."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        lines = (group / "memory.stat").read_text().splitlines()
        return limit - used + int(dict(line.split() for line in lines)["inactive_file"])
    return float("inf")


def forget_peak_memory() -> None:
    """`peak_memory` begins anew; on a CPU only where the system lets us."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Bytes: the device's on CUDA, else the process's."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    peak = of_kernel("/proc/self/status", "VmHWM")  # "1234 kB"
    return int(peak.split()[0]) * 1024 if peak else psutil.Process().memory_info().rss


def busy_seconds_of_others() -> float:
    """So far, on all cores; only differences count. Time that a virtual machine's host gives to others is theirs."""
    times = psutil.cpu_times()
    busy = sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))
    return busy - sum(os.times()[:4])
