"""One writer at a time: a live holder is waited for, a dead one is taken over, and a stolen lock replaces nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest

from brainram_lib.core import locks
from brainram_lib.core.files import write_json
from brainram_lib.core.locks import Holder, Lock, LockLost, NotWritableError, held, read_holder
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


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(locks, "POLL", 0.01)
    monkeypatch.setattr(locks, "PATIENCE", 0.05)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "locks" / ".x.lock"


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


def test_a_lock_names_its_holder_while_it_is_held_and_leaves_nothing(path):
    with held(path, "test") as lock:
        assert read_holder(path) == lock.own and lock.owned and lock.own.process == os.getpid()
        assert lock.own.here and lock.own.alive and not lock.own.gone
        lock.require()
    assert list(path.parent.iterdir()) == []


def test_a_lock_is_given_back_after_an_error(path):
    with pytest.raises(KeyboardInterrupt), held(path, "test"):
        raise KeyboardInterrupt
    assert not path.exists()


def test_two_threads_take_turns(path):
    inside, most = [], []

    def work():
        with held(path, "test"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 6


def test_two_processes_that_want_the_same_result_make_it_once(tmp_path):
    root = tmp_path / "runs"
    processes = [started(root) for _ in range(2)]
    wait_for((root / "begun").exists)
    time.sleep(0.3)
    (root / "go").touch()
    said = sorted(process.communicate(timeout=30)[0].strip() for process in processes)
    assert said == ["3 0", "3 1"], "one made it, the other loaded it"
    assert (root / "begun").read_text() == "x"


def test_the_lock_of_a_killed_process_is_taken_over_at_once(tmp_path):
    root = tmp_path / "runs"
    process = started(root)
    wait_for((root / "begun").exists)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    store = Store(root)
    assert store.folder(Slow()).with_name(f".{Slow().key}.lock").exists()
    began = time.monotonic()
    assert store.result(Slow()).json("x") == 3 and time.monotonic() - began < 2
    assert [one.name for one in store.folder(Slow()).parent.iterdir()] == [Slow().key]


def test_a_process_number_that_is_used_again_is_no_holder(path):
    with living() as (_, holder):
        earlier = replace(holder, started=str(int(holder.started) - 1))
        assert earlier.gone and not earlier.alive and holder.alive and not holder.gone
        write(path, earlier)
        assert taken_within(path, 2)
        write(path, holder)
        assert not taken_within(path, 0.3)


def test_a_stopped_process_of_this_machine_keeps_its_lock(path, monkeypatch):
    monkeypatch.setattr(locks, "STALE", 0.1)
    with living() as (child, holder):
        child.send_signal(signal.SIGSTOP)
        write(path, holder)
        assert not taken_within(path, 0.6)


def test_another_users_live_process_is_waited_for(path, monkeypatch):
    """As where /proc hides the processes of others."""

    def denied(process, number):
        raise PermissionError

    real = locks._started
    monkeypatch.setattr(locks.os, "kill", denied)
    monkeypatch.setattr(locks, "_started", lambda pid: real(pid) if pid == os.getpid() else locks._alive(pid))
    other = replace(Holder.own(), process=4_000_000, started="12", token="other")
    assert not other.gone
    write(path, other)
    assert not taken_within(path, 0.3)
    monkeypatch.setattr(locks, "STALE", 0.1)
    write(path, other)
    assert taken_within(path, 2), "its process is not known to live, and its lock is not kept fresh"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another user")
def test_a_real_process_of_another_user_is_waited_for(path, monkeypatch):
    monkeypatch.setattr(locks, "STALE", 0.1)
    with living(user=65534) as (child, holder):
        write(path, holder)
        assert not taken_within(path, 0.4)
        child.kill()
        child.wait()
        write(path, holder)
        assert taken_within(path, 2)


OTHER_SHAPES = [
    "",
    "12345",
    "process 12 on host",
    "[1, 2]",
    "null",
    '{"process": 1}',
    '{"host": 1, "process": "x", "started": null, "token": []}',
    '{"host": "h", "process": -1, "started": "", "token": "t"}',
    '{"host": "h", "process": true, "started": "", "token": "t"}',
    json.dumps({"host": locks._host(), "process": 10**30, "started": "1", "token": "t"}),
    json.dumps({"host": "h", "process": 1, "started": "1", "token": "t", "more": 1}),
]


@pytest.mark.parametrize("text", OTHER_SHAPES)
def test_a_lock_that_names_nobody_is_waited_for_until_it_is_stale(path, monkeypatch, text):
    write(path, text)
    assert read_holder(path) is None
    assert not taken_within(path, 0.15)
    monkeypatch.setattr(locks, "STALE", 0.15)
    write(path, text)
    assert taken_within(path, 3)


def test_bytes_that_are_no_text_name_nobody(path):
    path.parent.mkdir()
    path.write_bytes(b"\xff\xfe\x00")
    assert read_holder(path) is None and read_holder(path.with_name("none")) is None


def test_a_holder_on_another_machine_is_known_by_its_heartbeat(path, monkeypatch):
    monkeypatch.setattr(locks, "STALE", 0.4)
    elsewhere = replace(Holder.own(), host="elsewhere/0", process=1)
    assert not elsewhere.here and not elsewhere.gone and not elsewhere.alive
    write(path, elsewhere)
    ended = threading.Event()

    def beat():
        while not ended.wait(0.05):
            if path.exists():
                os.utime(path)

    thread = threading.Thread(target=beat)
    thread.start()
    assert not taken_within(path, 1.0), "kept fresh"
    ended.set()
    thread.join()
    write(path, elsewhere)
    assert taken_within(path, 3), "not kept fresh"


def test_a_clock_that_differs_does_not_make_a_lock_stale(path):
    write(path, replace(Holder.own(), host="elsewhere/0"))
    os.utime(path, (0, 0))
    assert not taken_within(path, 0.2)


def test_a_held_lock_is_kept_fresh(path, monkeypatch):
    monkeypatch.setattr(locks, "BEAT", 0.02)
    with held(path, "test"):
        os.utime(path, (0, 0))
        wait_for(lambda: path.stat().st_mtime > 0)


def test_who_waits_is_told_for_whom_once(path, capsys):
    with living() as (_, holder):
        write(path, holder)
        assert not taken_within(path, 0.3)
        host = holder.host.split("/")[0]
        expected = f"test: waiting for process {holder.process} on {host} ('{path}')."
        assert capsys.readouterr().err.splitlines() == [expected]


def test_a_stolen_lock_is_named_and_left_to_its_new_holder(path):
    with held(path, "test") as lock:
        thief = replace(Holder.own(), host="thief/0", process=12)
        write(path, thief)
        with pytest.raises(LockLost, match="taken by process 12 on thief, .* run the same command again"):
            lock.require()
    assert read_holder(path) == thief


def test_a_result_whose_lock_was_stolen_replaces_nothing(tmp_path):
    store = Store(tmp_path)
    lock = store.folder(Slow()).with_name(f".{Slow().key}.lock")

    @dataclass(frozen=True)
    class Stolen(Slow):
        def make(self, folder, store):
            super().make(folder, store)
            write(next(folder.parent.glob(".*.lock")), replace(Holder.own(), host="thief/0"))

    with pytest.raises(LockLost):
        store.result(Stolen())
    final = store.folder(Stolen())
    assert not final.exists() and final.with_name(f".{Stolen().key}.partial").is_dir() and store.made == []
    assert not lock.exists()


def test_a_live_holder_that_came_between_gets_its_lock_back(path):
    dead, live = replace(Holder.own(), token="dead"), replace(Holder.own(), token="live")
    write(path, live)
    Lock(path, "test")._break(dead)
    assert read_holder(path) == live and list(path.parent.iterdir()) == [path]


def test_without_hard_links_a_lock_is_still_one_holders(path, monkeypatch):
    def refused(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks.os, "link", refused)
    with held(path, "test") as lock:
        assert lock.owned and not taken_within_other(path)
    assert list(path.parent.iterdir()) == []


def taken_within_other(path):
    return Lock(path, "test")._taken()


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("brainram_lib.core.locks.os.link", refused)
    monkeypatch.setattr("pathlib.Path.write_text", refused)
    with pytest.raises(NotWritableError, match="the prior is not there yet.*cannot be written.*--runs"):
        with held(tmp_path / "x.lock", "the prior"):
            pytest.fail("not held")
