"""Who holds a lock in tests: this process, one of its own, one that was killed, and how long is waited for it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from brainram_lib.core import locks
from brainram_lib.core.files import write_json
from brainram_lib.core.locks import Holder, Lock
from brainram_lib.core.store import Stage, Store

# A stage that says when it begins and waits to be told to end.
SLOW = """
import sys, time
from dataclasses import dataclass
from pathlib import Path
from brainram_lib.core.files import write_json
from brainram_lib.core.store import Stage, Store

@dataclass(frozen=True)
class Slow(Stage):
    def make(self, folder, store):
        with (Path(store.root) / "begun").open("a") as log:
            log.write("x")
        while not (Path(store.root) / "go").exists():
            time.sleep(0.02)
        write_json(folder / "x.json", 3)

store = Store(sys.argv[1])
print(store.result(Slow()).json("x"), len(store.made), flush=True)
"""


@dataclass(frozen=True)
class Slow(Stage):
    """The same stage in this process, which does not wait."""

    def make(self, folder: Path, store: Store) -> None:
        write_json(folder / "x.json", 3)


def started(root):
    root.mkdir(exist_ok=True)
    return subprocess.Popen([sys.executable, "-c", SLOW, str(root)], stdout=subprocess.PIPE, text=True)


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(asdict(text)))


@contextmanager
def living(user=None):
    """A process that lives, and whom a lock of it would name."""
    code = (f"import os; os.setuid({user});" if user else "") + "print(1, flush=True); import time; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        yield child, replace(Holder.own(), process=child.pid, started=locks._started(child.pid), token="other")
        child.kill()


def taken_within(path, seconds):
    """Whether the lock is taken over in this time; else the waiting ends."""
    lock, done = Lock(path, "test"), threading.Event()

    def acquire():
        lock.acquire()
        done.set()

    threading.Thread(target=acquire, daemon=True).start()
    taken = done.wait(seconds)
    if not taken:
        path.unlink(missing_ok=True)
        assert done.wait(5)
    lock.release()
    return taken
