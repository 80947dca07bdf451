"""How much memory a piece of work takes at most: this process's, and torch's on a GPU where there is one."""

from __future__ import annotations

import re
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

GIB = 2**30
_PROCESSES = Path("/proc")


@dataclass(eq=False)
class Peak:
    """The most memory seen while a measurement ran, GiB; `gpu` is None without a GPU in use."""

    memory: float = 0.0
    gpu: float | None = None

    def raise_to(self, memory: float, gpu: float | None) -> None:
        """Take in what was seen meanwhile."""
        self.memory = max(self.memory, memory)
        self.gpu = gpu if self.gpu is None else max(self.gpu, gpu or 0.0)


# The kernel keeps one high-water mark a process; a measurement within another resets it, and tells the outer ones.
_running: list[Peak] = []


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Measure the most memory that the process holds inside the block; blocks may lie within each other.

    Where the system cannot reset the mark (it is Linux that can), the number is the process's highest so far.
    """
    peak = Peak()
    _tell()
    _running.append(peak)
    _reset()
    try:
        yield peak
    finally:
        _tell()
        _running.remove(peak)


def _tell() -> None:
    memory, gpu = high_water(), _gpu_high_water()
    for peak in _running:
        peak.raise_to(memory, gpu)


def high_water(process: int | str = "self") -> float:
    """The most memory that a process has held since its mark was reset, GiB; 0 for one that has ended."""
    try:
        return int(re.search(r"VmHWM:\s*(\d+) kB", (_PROCESSES / str(process) / "status").read_text())[1]) * 1024 / GIB
    except (OSError, TypeError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB if process == "self" else 0.0


def _gpu_high_water() -> float | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return torch.cuda.max_memory_allocated() / GIB


def _reset() -> None:
    try:
        (_PROCESSES / "self" / "clear_refs").write_text("5")
    except OSError:
        pass
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
