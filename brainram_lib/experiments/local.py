"""Jobs as processes of this machine, which end with the one that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

THREADS, PARENT = "OMP_NUM_THREADS", "BRAINRAM_PARENT"
# Seconds that a job has to end after each of the signals, the gentlest first; the last cannot be refused.
GRACE = ((signal.SIGINT, 10.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))


class LocalJob:
    """One command that runs, and the file that it writes its messages to."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str]) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        with log.open("wb") as stream:
            # a group of its own, so that all that it starts can be stopped with it
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def done(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def failure(self) -> str | None:
        """Why an ended job failed, by its last message; None if it did not."""
        if self._process.returncode == 0:
            return None
        return last_line(self.log) or f"it ended with {self._process.returncode} and no message"

    def stop(self) -> None:
        """End it and all that it started."""
        for sign, seconds in GRACE:
            if self.done():
                return
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, sign)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)


class LocalJobs:
    """Up to `at_once` processes that share the cores.

    Args:
        folder: of their messages.
        at_once: how many run at a time.
    """

    def __init__(self, folder: Path, at_once: int) -> None:
        self.folder, self.at_once = folder, at_once
        self._environment = {**shared_cores(at_once), PARENT: str(os.getpid())}

    def start(self, command: list[str], name: str) -> LocalJob:
        """Begin one."""
        return LocalJob(command, self.folder / f"{name}.log", self._environment)

    def leave(self, running: list[LocalJob]) -> None:
        """Stop the jobs, because this process is being stopped: a second call would wait for their locks."""
        for job in running:
            job.stop()


def end_with_parent(seconds: float = 2.0) -> None:
    """End this process and its whole group once the command that started it is gone: one killed outright stops no jobs.

    Does nothing in a process that no `LocalJobs` started. `seconds`: between two checks.
    """
    parent = os.environ.get(PARENT)

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(seconds)
        os.killpg(0, signal.SIGTERM)

    if parent is not None:
        threading.Thread(target=watch, daemon=True).start()


def shared_cores(jobs: int) -> dict[str, str]:
    """The environment of one of several processes: its share of the cores, unless the user has said how many."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {THREADS: str(max(1, cores // jobs)), **os.environ}


def last_line(log: Path) -> str:
    """The last line of a file of messages; progress bars write theirs with carriage returns."""
    try:
        lines = log.read_bytes()[-10_000:].decode(errors="replace").replace("\r", "\n").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Inside, SIGTERM leaves the block as an exception, so that what was started is stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
