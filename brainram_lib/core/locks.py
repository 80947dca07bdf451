"""One writer at a time for everything that is shared: a lock file that names its holder and is kept fresh.

The file is made by a hard link, which is atomic on shared file systems too. A holder on this machine is dead when its
process is gone, or when the process of that number started at another time; a holder elsewhere, or one that cannot be
read, when the file has not been touched for STALE seconds of this machine's own clock.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from brainram_lib.core.files import disk_full_named

BEAT = 5.0
STALE = 120.0
POLL = 0.2
# Seconds before the user is told who holds the lock: most waits are shorter.
PATIENCE = 2.0
# The largest process number on any system.
LARGEST = 2**31 - 1


class LockLost(RuntimeError):
    """Another process took this one's lock, because this machine stalled for too long. Nothing was replaced."""


class NotWritableError(PermissionError):
    """Something would have to be created in a folder that is not writable."""

    def __init__(self, folder: Path, what: str) -> None:
        super().__init__(
            f"{what} is not there yet, and the folder '{folder}' cannot be written. Name another folder for results "
            "with --runs (the parameter `runs` of a notebook), or ask its owner."
        )


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: machine, process, when that process started, and a number that no other holder has."""

    host: str
    process: int
    started: str
    token: str

    @classmethod
    def own(cls) -> Holder:
        """This process."""
        return cls(_host(), os.getpid(), _started(os.getpid()) or "", secrets.token_hex(8))

    @property
    def here(self) -> bool:
        """Whether the holder is a process of this machine."""
        return self.host == _host()

    @property
    def gone(self) -> bool:
        """Whether it is known to have ended; only knowable for processes of this machine."""
        if not self.here:
            return False
        started = _started(self.process)
        return started is None or (bool(started and self.started) and started != self.started)

    @property
    def alive(self) -> bool:
        """Whether it is known to be alive, even if slow or stopped; only knowable for processes of this machine."""
        return self.here and bool(self.started) and _started(self.process) == self.started

    def __str__(self) -> str:
        return f"process {self.process} on {self.host.split('/')[0]}"


@contextmanager
def held(path: Path, what: str) -> Iterator[Lock]:
    """Hold the lock file `path` inside the block, after waiting for its holder; `what` is shown to whoever waits.

    Raises:
        NotWritableError: its folder cannot be written.
        StoreError: the disk is full.
    """
    lock = Lock(path, what)
    with disk_full_named(f"the lock '{path}'"):
        lock.acquire()
    try:
        yield lock
    finally:
        lock.release()


class Lock:
    """A lock file; see the module. Use `held`.

    Args:
        path: the lock file; its folder is created.
        what: what it guards, in words.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path, self.what, self.own = path, what, Holder.own()
        self._ended = threading.Event()

    def acquire(self) -> None:
        """Wait for the lock and take it."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            taken = self._taken()
        except PermissionError as problem:
            raise NotWritableError(self.path.parent, self.what) from problem
        except OSError as problem:
            if problem.errno == errno.EROFS:
                raise NotWritableError(self.path.parent, self.what) from problem
            raise
        watched, told, began = _Watch(), False, time.monotonic()
        while not taken:
            holder = read_holder(self.path)
            stale = watched.stale(self.path)
            dead = holder is not None and holder.gone
            if dead or (stale and not (holder is not None and holder.alive)):
                self._break(holder)
                taken = self._taken()
                continue
            if not told and time.monotonic() - began > PATIENCE:
                told = True
                who = holder or "a holder that its file does not name"
                print(f"{self.what}: waiting for {who} ('{self.path}').", file=sys.stderr, flush=True)
            time.sleep(POLL)
            taken = self._taken()
        threading.Thread(target=self._beat, daemon=True).start()

    def release(self) -> None:
        """Release it; another holder's lock is left alone."""
        self._ended.set()
        if self.owned:
            self.path.unlink(missing_ok=True)

    @property
    def owned(self) -> bool:
        """Whether the file still names this holder."""
        return read_holder(self.path) == self.own

    def require(self) -> None:
        """Check, before a result is moved into place, that the lock is still owned.

        Raises:
            LockLost: another process has taken the lock.
        """
        if not self.owned:
            raise LockLost(
                f"{self.what}: the lock '{self.path}' was taken by {read_holder(self.path) or 'somebody'}, because "
                "this process did not answer for too long. Its result is kept; run the same command again."
            )

    def _taken(self) -> bool:
        partial = self.path.with_name(f"{self.path.name}.{self.own.token}")
        try:
            partial.write_text(json.dumps(asdict(self.own)))
            return self._named(partial)
        finally:
            partial.unlink(missing_ok=True)

    def _named(self, file: Path) -> bool:
        """Give a file that names a holder the lock's name, unless another has it; returns whether it got it."""
        try:
            os.link(file, self.path)
        except FileExistsError:
            return False
        except OSError:
            # a file system without hard links
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                file.replace(self.path)
                return True
            return False
        return True

    def _break(self, dead: Holder | None) -> None:
        """Remove a dead holder's lock; if a live holder took it meanwhile, theirs is put back."""
        aside = self.path.with_name(f"{self.path.name}.dead.{self.own.token}")
        with suppress(FileNotFoundError):
            self.path.rename(aside)
            if read_holder(aside) != dead:
                self._named(aside)
            aside.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            with suppress(OSError):
                if self.owned:
                    os.utime(self.path)


class _Watch:
    """How long a file has been untouched, by this machine's clock: clocks of two machines differ."""

    def __init__(self) -> None:
        self._seen: tuple[float, float] | None = None

    def stale(self, path: Path) -> bool:
        try:
            touched = path.stat().st_mtime
        except FileNotFoundError:
            return False
        now = time.monotonic()
        if self._seen is None or self._seen[0] != touched:
            self._seen = touched, now
        return now - self._seen[1] > STALE


def read_holder(path: Path) -> Holder | None:
    """The holder that a lock file names; None if there is no file, or if it names no holder."""
    try:
        said = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    kinds = {"host": str, "process": int, "started": str, "token": str}
    if not isinstance(said, dict) or {name: type(value) for name, value in said.items()} != kinds:
        return None
    return Holder(**said) if 0 < said["process"] <= LARGEST else None


def _host() -> str:
    """This machine since its last boot, and its PID namespace: only there does a process number mean anything.

    Each container of a machine numbers its own processes.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        boot = ""
    try:
        numbering = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbering = ""
    return f"{socket.gethostname()}/{boot}/{numbering}"


def _started(process: int) -> str | None:
    """When a process started, in the kernel's ticks since boot; '' if unknown, None if there is none."""
    try:
        # the second field is the command in brackets, which may hold anything
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        # another user's processes may be hidden there
        return _alive(process)
    return None if fields[0] == "Z" else fields[19]


def _alive(process: int) -> str | None:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except OSError:
        return ""
    return ""
