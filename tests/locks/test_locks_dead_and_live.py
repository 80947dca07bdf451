"""A live holder is waited for and a dead one taken over, on this machine and on others."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import replace

import pytest
from lock_holders import Slow, living, started, taken_within, wait_for, write

from brainram_lib.core import locks
from brainram_lib.core.locks import Holder, read_holder
from brainram_lib.core.store import Store


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


def test_a_container_that_numbers_its_own_processes_is_another_machine(path, monkeypatch):
    """Of the same host name and boot: a number there says nothing of a process here."""
    monkeypatch.setattr(locks.os, "readlink", lambda _: "pid:[1]")
    there = replace(Holder.own(), process=locks.LARGEST)
    monkeypatch.setattr(locks.os, "readlink", lambda _: "pid:[2]")
    assert not there.here and not there.gone and not there.alive and Holder.own().here
    write(path, there)
    assert not taken_within(path, 0.5)


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
