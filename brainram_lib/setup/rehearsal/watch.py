"""Watching a step from outside: the most memory that one of its processes held, and the GPU's."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
from pathlib import Path

from brainram_lib.core.measure import high_water

PERIOD = 0.5
GPU_COMMAND = ("nvidia-smi", "--id=0", "--query-gpu=memory.used", "--format=csv,noheader,nounits")


class Watch:
    """Looks at a process and all that it started twice a second, until it is stopped.

    The kernel keeps each process's own high-water mark, so that only what a process did in its last half second can be
    missed. (A child's `ru_maxrss` would also count what its parent held when it was started.)

    Attributes:
        memory: the largest high-water mark of one of the processes, GiB.
        gpu: the most memory in use on the first GPU, by whomever, GiB; None without a GPU.
    """

    def __init__(self, process: int) -> None:
        self.memory, self.gpu = 0.0, None
        self._process, self._asks = process, shutil.which(GPU_COMMAND[0]) is not None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stopped.is_set():
            self.memory = max([self.memory, *(high_water(one) for one in descendants(self._process))])
            if self._asks:
                self._ask()
            self._stopped.wait(PERIOD)

    def _ask(self) -> None:
        asked = subprocess.run(GPU_COMMAND, capture_output=True, text=True)
        if asked.returncode == 0 and asked.stdout.strip().isdigit():
            self.gpu = max(self.gpu or 0.0, round(int(asked.stdout) / 1024, 2))

    def stop(self) -> None:
        """End the watch."""
        self._stopped.set()
        self._thread.join()


def descendants(process: int) -> list[int]:
    """A process and all that it or its own children started, as far as they live."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # the second field is a name in brackets, which may hold anything
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found = [process]
    for one in found:
        found += children.get(one, [])
    return found
