"""Peak memory: of a block, of blocks within each other, and what came before does not count."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from given_stages import Given

from brainram_lib.core import measure
from brainram_lib.core.measure import let_go, peak_memory
from brainram_lib.core.store import Store

MEBIBYTE = 1 / 1024


def held(mebibytes: int) -> None:
    """Hold fresh memory for a moment: an array could be laid into memory that the process has left over."""
    with mmap.mmap(-1, mebibytes * 2**20) as block:
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1


@pytest.fixture
def resettable():
    with peak_memory() as peak:
        held(200)
    with peak_memory() as later:
        pass
    if later.memory > peak.memory - 100 * MEBIBYTE:
        pytest.skip("this system does not let a process reset its high-water mark")


def test_the_most_is_seen_though_it_was_given_back(resettable):
    with peak_memory() as before:
        pass
    with peak_memory() as peak:
        held(200)
    assert 250 * MEBIBYTE > peak.memory - before.memory > 150 * MEBIBYTE


def test_an_outer_block_sees_what_the_inner_ones_and_its_own_beginning_held(resettable):
    with peak_memory() as outer:
        held(300)
        with peak_memory() as first:
            held(100)
        with peak_memory() as second:
            pass
    assert outer.memory > first.memory + 150 * MEBIBYTE
    assert first.memory > second.memory + 50 * MEBIBYTE
    assert measure._running == []


def test_a_system_without_marks_still_gives_a_number(monkeypatch, tmp_path):
    monkeypatch.setattr(measure, "_PROCESSES", tmp_path)
    with peak_memory() as peak:
        pass
    assert peak.memory > 0


@pytest.mark.parametrize(("system", "counted"), [("darwin", 3 * 2**30), ("linux", 3 * 2**20)])
def test_macos_counts_memory_in_bytes(monkeypatch, tmp_path, system, counted):
    monkeypatch.setattr(measure, "_PROCESSES", tmp_path)
    monkeypatch.setattr(measure.sys, "platform", system)
    monkeypatch.setattr(measure.resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=counted))
    assert measure.high_water() == 3


def test_saved_results_carry_it(tmp_path):
    result = Store(tmp_path).result(Given("measured", {"x": np.ones(3)}))
    assert result.record["peak_memory_gib"] > 0 and "peak_gpu_gib" in result.record


def test_equal_blocks_within_each_other_end_each_for_itself():
    with peak_memory() as outer, peak_memory() as inner:
        pass
    assert outer is not inner and measure._running == []


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux alone tells a process's memory")
def test_freed_memory_is_handed_back():
    """In a process of its own, whose C library keeps blocks of 16 MB."""
    code = """
import re, torch
from brainram_lib.core.measure import hand_back_memory
def held():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1])
before = held()
blocks = [torch.ones(4_000_000) for _ in range(20)]
keep = torch.ones(1_000_000)
blocks = None
kept = held() - before
hand_back_memory()
print(kept, held() - before)
"""
    threshold = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=threshold)
    kept, left = map(int, run.stdout.split())
    if kept < 300_000:
        pytest.skip("this C library keeps nothing")
    assert left < 64_000, "KiB of the 320,000 that were freed"


def resident(path: Path) -> int:
    """How much of a file this process holds, KiB."""
    maps = Path("/proc/self/smaps").read_text().split(str(path))
    return sum(int(one.split("Rss:")[1].split()[0]) for one in maps[1:])


@pytest.mark.skipif(not Path("/proc/self/smaps").is_file(), reason="this system does not tell what a process maps")
def test_what_was_read_of_a_file_is_let_go(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, np.arange(2**20))
    rows = np.load(path, mmap_mode="r")
    total = int(rows.sum())
    assert resident(path) >= 8 * 1024
    let_go(rows[5:])
    assert resident(path) <= 64
    assert int(rows.sum()) == total


def test_changes_of_a_copy_and_other_items_are_not_let_go(tmp_path):
    np.save(tmp_path / "rows.npy", np.zeros(2**16))
    changed = np.load(tmp_path / "rows.npy", mmap_mode="c")
    changed[:] = 1
    let_go(changed)
    let_go([changed])
    assert changed.all()
