"""One writer at a time: who waits, for whom, and what a lock leaves behind."""

from __future__ import annotations

import errno
import os
import threading
import time

import pytest
from lock_holders import living, started, taken_within, wait_for, write

from brainram_lib.core import locks
from brainram_lib.core.files import StoreError
from brainram_lib.core.locks import Lock, NotWritableError, held, read_holder


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


def test_a_full_disk_is_a_sentence_and_leaves_no_lock(path, monkeypatch):
    def full(file, _text):
        file.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(StoreError, match="no room on the disk for the lock '.*run the same command again"):
        with held(path, "test"):
            pytest.fail("not held")
    assert list(path.parent.iterdir()) == []
