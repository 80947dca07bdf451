"""What a piece of work takes: peak memory, of this process and of torch on a GPU, and time, across interruptions.

Also hands back memory that is no longer needed.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import re
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from brainram_lib.core.files import StoreError, write_json

GIB = 2**30
_PROCESSES = Path("/proc")


@dataclass(eq=False)
class Peak:
    """Peak memory while a measurement ran, GiB; `gpu` is None without a GPU in use."""

    memory: float = 0.0
    gpu: float | None = None

    def raise_to(self, memory: float, gpu: float | None) -> None:
        """Raise the peaks to what was seen meanwhile, if it is more."""
        self.memory = max(self.memory, memory)
        self.gpu = gpu if self.gpu is None else max(self.gpu, gpu or 0.0)


# The kernel keeps one high-water mark per process; a nested measurement resets it after telling the outer ones.
_running: list[Peak] = []


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Measure the process's peak memory inside the block; blocks may be nested.

    Where the system cannot reset the mark (only Linux can), the number is the process's highest so far.
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


def hand_back_memory() -> None:
    """Return freed memory to the system; glibc otherwise keeps large blocks for the process."""
    # another C library keeps none, or has no such call
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def let_go(items: object) -> None:
    """Drop what was read of a memory-mapped array from this process's memory; it is read again when needed."""
    mapped = getattr(items, "_mmap", None)
    if mapped is not None and not items.flags.writeable:
        # other systems than Linux and macOS have no such call
        with suppress(AttributeError):
            mapped.madvise(mmap.MADV_DONTNEED)


class Spent:
    """Time that a piece of work took, including earlier attempts that were interrupted.

    A process that is killed outright writes nothing, so its time is missing from the sum.
    """

    FILE = ".spent.json"

    def __init__(self, folder: Path) -> None:
        self._file, self._before = folder / self.FILE, (0.0, 0.0)
        self._started = time.time(), time.process_time()
        try:
            wall, cpu = json.loads(self._file.read_text())
            self._before = float(wall), float(cpu)
        except (OSError, ValueError, TypeError):
            pass

    def now(self) -> dict[str, float]:
        """Seconds so far."""
        (wall, cpu), (started, worked) = self._before, self._started
        took = wall + time.time() - started, cpu + time.process_time() - worked
        return {"wall_seconds": round(took[0], 1), "cpu_seconds": round(took[1], 1)}

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Save the time in the folder if the block is left early. The file is absent while the block runs."""
        self._file.unlink(missing_ok=True)
        try:
            yield
        except BaseException:
            # nothing that goes wrong here may hide why the block was left
            with suppress(OSError, StoreError):
                write_json(self._file, list(self.now().values()))
            raise


def _tell() -> None:
    memory, gpu = high_water(), _gpu_high_water()
    for peak in _running:
        peak.raise_to(memory, gpu)


def high_water(process: int | str = "self") -> float:
    """A process's peak memory since its mark was reset, GiB; 0 for one that has ended."""
    try:
        return int(re.search(r"VmHWM:\s*(\d+) kB", (_PROCESSES / str(process) / "status").read_text())[1]) * 1024 / GIB
    except (OSError, TypeError):
        # macOS counts bytes, other systems kilobytes
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB if process == "self" else 0.0


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
