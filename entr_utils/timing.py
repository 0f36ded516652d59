"""What a run costs: seconds, floating-point operations, energy."""

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from entr_utils import UserError
from entr_utils.execution import KERNEL_ENVIRONMENT
from entr_utils.keys import git


def device() -> torch.device:
    """The device that trains: CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def cpu_model() -> str:
    """The processor's name as the kernel tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def device_model() -> str:
    """The device for people and for keys: the GPU's name, or the processor's with its number of threads."""
    if device().type == "cuda":
        return torch.cuda.get_device_name()
    return f"{cpu_model()}, {torch.get_num_threads()} threads"


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
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text()
        return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"
    return "float32"


def synchronise() -> None:
    """Wait until the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Clock:
    """Device-synchronised seconds, kept apart by name; training time is T, the rest is not."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the time of a block to `name`."""
        self.start()
        try:
            yield
        finally:
            self.stop(name)

    def start(self) -> None:
        """Begin to measure."""
        synchronise()
        self._began = time.perf_counter()

    def stop(self, name: str) -> float:
        """Add the time since `start` to `name` and return it."""
        synchronise()
        passed = time.perf_counter() - self._began
        self.seconds[name] = self.seconds.get(name, 0.0) + passed
        return passed


def flops_per_image(model: nn.Module, size: int, train: bool) -> float:
    """Floating-point operations an image costs at `size`, counted by torch: the same on every machine.

    With `train`, of a forward and backward pass of what has gradients now; else of a forward pass. Leaves gradients,
    batch-norm statistics and random state to the caller to put back.
    """
    images = torch.zeros(2, 3, size, size, device=next(model.parameters()).device)  # batch-norm needs two
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(train):
        output = model(images)
        if train:
            output.sum().backward()
    return counter.get_total_flops() / 2


def processor_seconds(since: float | None = 0.0) -> float | None:
    """Processor time of all threads of this process since this was `since`.

    What the host of a virtual machine gives to others is in seconds, but hardly in this, where the guest's kernel tells
    the two apart (`stolen_seconds`). None on a GPU, whose work it does not count.
    """
    return None if device().type == "cuda" or since is None else time.process_time() - since


def energy_joules() -> float | None:
    """The device's energy counter, or None where it has none or does not let us read it.

    CUDA: NVML's total energy (needs the pynvml package); CPU: RAPL's package counter. Only differences mean something.
    """
    with contextlib.suppress(Exception):  # any failure of a driver's counter means: not counted here
        if torch.cuda.is_available():
            import pynvml

            pynvml.nvmlInit()
            # By name: NVML's indices count GPUs that CUDA_VISIBLE_DEVICES hides.
            used = torch.cuda.get_device_properties(torch.cuda.current_device())
            handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{used.uuid}")
            return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3
        return int(Path("/sys/class/powercap/intel-rapl:0/energy_uj").read_text()) / 1e6
    return None


def stolen_seconds() -> float | None:
    """Processor time that the host of a virtual machine gave to others, of all processors; None where not counted.
    Only differences mean something: much of it between two runs makes their T incomparable."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/stat").read_text().split()[8]) / os.sysconf("SC_CLK_TCK")
    return None


def counters() -> dict[str, float | None]:
    """What a run's differences are kept of."""
    return {"energy_joules": energy_joules(), "stolen_seconds": stolen_seconds()}


def difference(now: dict[str, float | None], then: dict[str, float | None]) -> dict[str, float | None]:
    """`now` less `then`, by name; None where either is."""
    pairs = {name: (value, then[name]) for name, value in now.items()}
    return {name: None if a is None or b is None else a - b for name, (a, b) in pairs.items()}


def allocator() -> dict[str, str]:
    """glibc's settings that decide whether large buffers are kept: a quarter to a third of a CPU's time."""
    return {name: os.environ.get(name, "") for name in KERNEL_ENVIRONMENT}


def environment() -> dict:
    """What a run stood on: device, processor, threads, versions, commit, start time, load."""
    import sys
    from datetime import UTC, datetime
    from importlib.metadata import version

    here = Path(__file__).parent
    changed = bool(git(here, "status", "--porcelain", "--untracked-files=no", "--", ":(top)", ":(exclude,top)results"))
    return {
        "device": device_model(), "cpu": cpu_model(), "threads": torch.get_num_threads(),
        "python": platform.python_version(), "platform": sys.platform,
        **{name: version(name) for name in ("torch", "torchvision", "fastai")},
        "malloc": allocator(),
        "commit": (git(here, "rev-parse", "HEAD") or "unknown") + ("-dirty" if changed else ""),
        "started": datetime.now(UTC).isoformat(timespec="seconds"), "load": os.getloadavg()[0],
    }  # fmt: skip
