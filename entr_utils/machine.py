"""What this machine is: its device, precision, free memory, and how busy others keep it."""

import contextlib
import os
import platform
import socket
from pathlib import Path

import psutil
import torch

from entr_utils.util import AT_ONCE, UserError, git, now

CGROUP, CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")  # limits, and the groups this process is in


def device() -> torch.device:
    """The device that trains: CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def of_kernel(path: str, name: str) -> str:
    """The first value of a name in a file of the kernel's, "name: value" by line; "" where there is none."""
    with contextlib.suppress(OSError):
        lines = (line.partition(":") for line in Path(path).read_text().splitlines())
        return next((value.strip() for found, _, value in lines if found.strip() == name), "")
    return ""


def processor() -> str:
    """The processor's name as the kernel gives it."""
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


def gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES may name here: the GPUs it names already, or the numbers of all there are."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is None:
        return [str(i) for i in range(torch.cuda.device_count())]
    return [one.strip() for one in named.split(",") if one.strip()]


def precision(wanted: str = "") -> str:
    """`wanted`, or the fastest precision the hardware really has: bfloat16, float16 or float32.

    CUDA: bfloat16 from compute capability 8.0 (`is_bf16_supported` also counts emulation, on a T4 for one), else
    float16. CPU: bfloat16 with AVX512-BF16 or AMX, else float32. Raises UserError for float16 on a CPU: its small
    gradients need CUDA's loss scaling.
    """
    on_gpu = device().type == "cuda"
    if wanted == "float16" and not on_gpu:
        raise UserError("precision='float16': needs a CUDA device; allowed here: float32, bfloat16, or nothing")
    if wanted:
        return wanted
    if on_gpu:
        return "bfloat16" if torch.cuda.get_device_capability() >= (8, 0) else "float16"
    flags = of_kernel("/proc/cpuinfo", "flags").split()
    return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"


def synchronise() -> None:
    """Wait until the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


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
    return min(psutil.virtual_memory().available, _allowed())


def _allowed() -> float:
    """Bytes left of what a container or a cluster's job allows (cgroup v2), infinite where nothing is limited."""
    with contextlib.suppress(OSError):
        groups = [line.split("::/")[1] for line in CGROUPS.read_text().splitlines() if line.startswith("0::/")]
        folders = [folder for group in groups for folder in (CGROUP / group, *(CGROUP / group).parents)]
        return min((_left(folder) for folder in folders if folder.is_relative_to(CGROUP)), default=float("inf"))
    return float("inf")


def _left(folder: Path) -> float:
    """Bytes a group may still take. What only caches files is given back when it is needed, so it counts as free."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        limit, used = (int((folder / f"memory.{name}").read_text()) for name in ("max", "current"))
        lines = (folder / "memory.stat").read_text().splitlines()
        return limit - used + int(dict(line.split() for line in lines)["inactive_file"])
    return float("inf")


def forget_peak_memory() -> None:
    """`peak_memory` begins anew, where the system lets us (on a CPU it may not; then peaks only grow)."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Largest memory so far in bytes: the device's on CUDA; on a CPU the process's, as Linux counts it."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    peak = of_kernel("/proc/self/status", "VmHWM")  # "1234 kB"
    return int(peak.split()[0]) * 1024 if peak else psutil.Process().memory_info().rss


def busy_seconds_of_others() -> float:
    """Processor seconds that other processes have used so far, on all cores; only differences count.

    Time that the host of a virtual machine gives to others counts as theirs.
    """
    times = psutil.cpu_times()
    busy = sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))
    return busy - sum(os.times()[:4])
