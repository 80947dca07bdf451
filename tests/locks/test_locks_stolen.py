"""A stolen lock is left to its new holder and replaces nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from lock_holders import Slow, write

from brainram_lib.core import locks
from brainram_lib.core.locks import Holder, Lock, LockLost, held, read_holder
from brainram_lib.core.store import Store


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


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_live_holder_that_came_between_gets_its_lock_back(path, monkeypatch, hard_links):
    def refused(*_):
        raise OSError(95, "Operation not supported")

    if not hard_links:
        monkeypatch.setattr(locks.os, "link", refused)
    dead, live = replace(Holder.own(), token="dead"), replace(Holder.own(), token="live")
    write(path, live)
    Lock(path, "test")._break(dead)
    assert read_holder(path) == live and list(path.parent.iterdir()) == [path]
