"""Seconds and peak memory of a piece of work, and what the machine is."""

import contextlib
import functools
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from d2eval.foundation.errors import D2EvalError

FREE_SHARE = 0.8
MIB = 1024.0 * 1024.0
REPORTED_PACKAGES = (
    "torch", "numpy", "opencv-python", "pycolmap", "poselib", "h5py", "pillow", "kornia",
)  # fmt: skip


@dataclass
class Cost:
    """What a piece of work cost."""

    seconds: float = 0.0  # wall time
    # peak resident memory of the whole process while it ran, in MiB. On systems that can't reset
    # the peak (all but Linux) it is the peak since the process started
    peak_memory_mib: float = 0.0
    host: str = ""  # that did it; "" where that isn't known
    machine: str = ""  # what computed, see `machine`; "" where that isn't known

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Cost":
        """What was stored of one; earlier versions called MiB "mb", and knew no host."""
        peak = "peak_memory_mib" if "peak_memory_mib" in stored else "peak_memory_mb"
        where = str(stored.get("host", "")), str(stored.get("machine", ""))
        return cls(float(stored["seconds"]), float(stored[peak]), *where)


def _reset_peak() -> None:
    # Linux forgets the high-water mark when told to; elsewhere the mark only grows.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mib() -> float:
    """Peak resident memory of this process in MiB, since the last `measure` began on Linux."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024.0
    unit = 1.0 if sys.platform == "darwin" else 1024.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


@contextlib.contextmanager
def measure(device: str = "") -> Iterator[Cost]:
    """Fills the `Cost` that it yields when the block ends; with what computed, of a ``device``."""
    cost = Cost(host=platform.node(), machine=machine(device) if device else "")
    _reset_peak()
    start = time.perf_counter()
    yield cost
    cost.seconds = time.perf_counter() - start
    cost.peak_memory_mib = peak_memory_mib()


def memory_to_use(limit: int | None, device: str) -> int:
    """Bytes that may be taken in addition to what is held now.

    ``limit`` is what this process may come to hold; None takes 80 % of what is free. On a GPU it is
    the GPU's memory.
    """
    if device.startswith("cuda"):
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device)
    else:
        free = psutil.virtual_memory().available
        held = psutil.Process().memory_info().rss
    return int(FREE_SHARE * free) if limit is None else limit - held


def memory_limit_of(limit: int | None, device: str, share: float) -> int:
    """A lower limit: what is held now, and a share of what `memory_to_use` gives beyond it."""
    held = psutil.Process().memory_info().rss
    if device.startswith("cuda"):
        import torch

        held = torch.cuda.memory_reserved(device)
    return held + int(share * max(memory_to_use(limit, device), 0))


def own_device(device: str, worker: int) -> str:
    """Of several workers on one machine, each has the next of its GPUs; others share a device."""
    if device != "cuda":
        return device
    import torch

    return f"cuda:{worker % max(torch.cuda.device_count(), 1)}"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in REPORTED_PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def git_commit(folder: Path) -> str | None:
    """The commit of the checkout that holds ``folder``, with "+changes" when it is not clean."""
    try:
        commit = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"],
            capture_output=True, text=True, check=True, timeout=10,
        ).stdout.strip()  # fmt: skip
        changed = subprocess.run(
            ["git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no"],
            capture_output=True, text=True, check=True, timeout=10,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+changes" if changed else commit


def require_device(device: str) -> None:
    """Sees to it that PyTorch can use ``device``.

    Raises:
        D2EvalError: there is no such device.
    """
    if device == "cpu":
        return  # without the seconds that importing PyTorch takes
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise D2EvalError(f"--device {device}: not available here ({reason})") from error


@functools.cache
def machine(device: str) -> str:
    """What computes: the GPU, or the processor and how many processors the process may use."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    allowed = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    return f"{_processor()}, {len(allowed(0)) if allowed else os.cpu_count()} processors"


def hardware(device: str) -> str:
    """What computes: the GPU, or the processor with the threads that PyTorch uses."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, threads: {torch.get_num_threads()}"


def _processor() -> str:
    with contextlib.suppress(OSError):  # Linux alone has it
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "CPU"
