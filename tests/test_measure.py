"""Peak memory: of a block, of blocks within each other, and what came before does not count."""

from __future__ import annotations

import mmap

import numpy as np
import pytest
from given_stages import Given

from brainram_lib.core import measure
from brainram_lib.core.measure import peak_memory
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


def test_saved_results_carry_it(tmp_path):
    result = Store(tmp_path).result(Given("measured", {"x": np.ones(3)}))
    assert result.record["peak_memory_gib"] > 0 and "peak_gpu_gib" in result.record


def test_equal_blocks_within_each_other_end_each_for_itself():
    with peak_memory() as outer, peak_memory() as inner:
        pass
    assert outer is not inner and measure._running == []
