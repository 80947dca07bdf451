"""Saved results: made once, never reused under other settings, whole or not at all."""

import errno
import os

import numpy as np
import pytest

from brainram_lib.core.files import StoreError, write_array, write_blocks, write_json, write_whole
from brainram_lib.core.marks import fingerprint
from brainram_lib.core.store import Store


def counted(calls, value=1):
    def make(folder):
        calls.append(folder)
        write_array(folder / "x.npy", np.full(3, value))

    return make


def test_a_result_is_made_once(tmp_path):
    store, calls = Store(tmp_path), []
    first = store.result("stage", {"a": 1}, {}, counted(calls))
    again = store.result("stage", {"a": 1}, {}, counted(calls))
    assert len(calls) == 1 and first.fingerprint == again.fingerprint
    assert again.record["settings"] == {"a": 1} and again.record["wall_seconds"] >= 0


def test_other_settings_are_another_result_and_the_first_stays(tmp_path):
    store, calls = Store(tmp_path), []
    first = store.result("stage", {"a": 1}, {}, counted(calls, 1))
    second = store.result("stage", {"a": 2}, {}, counted(calls, 2))
    assert len(calls) == 2
    assert first.array("x")[0] == 1 and second.array("x")[0] == 2


def test_another_input_is_another_result(tmp_path):
    store, calls = Store(tmp_path), []
    inputs = [store.result("input", {"a": a}, {}, counted(calls)) for a in (1, 2)]
    results = [store.result("stage", {}, {"in": one}, counted(calls)) for one in inputs]
    assert results[0].fingerprint != results[1].fingerprint


def test_an_interrupted_result_keeps_its_partial_folder_and_is_no_result(tmp_path):
    store = Store(tmp_path)

    def stops(folder):
        (folder / "checkpoint").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.result("stage", {}, {}, stops)
    seen = []
    store.result("stage", {}, {}, lambda folder: seen.append((folder / "checkpoint").read_text()))
    assert seen == ["half"]


def test_a_full_disk_is_a_sentence_and_earlier_results_stay(tmp_path):
    store = Store(tmp_path)
    kept = store.result("stage", {"a": 1}, {}, counted([]))

    def full(folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreError, match="no room on the disk for the results of 'stage'"):
        store.result("stage", {"a": 2}, {}, full)
    assert store.result("stage", {"a": 1}, {}, full).folder == kept.folder


def test_write_whole_leaves_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, [1])
    with pytest.raises(StoreError, match="no room on the disk"), write_whole(path) as partial:
        partial.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_text() == "[\n 1\n]" and list(tmp_path.iterdir()) == [path]


def test_another_living_process_is_named(tmp_path):
    store = Store(tmp_path)
    mark = fingerprint({"stage": "stage", "settings": {}, "inputs": {}})
    partial = tmp_path / "stage" / f".{mark}.partial"
    partial.mkdir(parents=True)
    (partial / "lock").write_text(str(os.getppid()))
    with pytest.raises(StoreError, match=f"process {os.getppid()} is already making 'stage'"):
        store.result("stage", {}, {}, counted([]))


def test_a_truncated_array_is_a_sentence(tmp_path):
    result = Store(tmp_path).result("stage", {}, {}, counted([]))
    (result.folder / "x.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(StoreError, match="cannot be read as an array"):
        result.array("x")


def test_an_array_of_blocks_is_the_array_written_at_once(tmp_path):
    array = np.arange(42, dtype=np.float16).reshape(7, 2, 3)
    write_blocks(tmp_path / "blocks.npy", 7, (array[start : start + 3] for start in range(0, 7, 3)))
    write_array(tmp_path / "whole.npy", array)
    assert (tmp_path / "blocks.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([np.zeros((2, 3))], "to have 4 rows, and its blocks have 2"),
        ([], "its blocks have 0"),
        ([np.zeros((2, 3)), np.zeros((2, 4))], r"made of .* blocks, and float64 \(2, 4\) came"),
        ([np.zeros((2, 3)), np.zeros((2, 3), np.float32)], "float32"),
    ],
)
def test_blocks_that_make_no_array_leave_nothing(tmp_path, blocks, message):
    with pytest.raises(ValueError, match=message):
        write_blocks(tmp_path / "x.npy", 4, blocks)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_stops_blocks_with_a_sentence_and_leaves_nothing(tmp_path):
    def blocks():
        yield np.zeros((2, 3))
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(StoreError, match="no room on the disk"):
        write_blocks(tmp_path / "x.npy", 4, blocks())
    assert not list(tmp_path.iterdir())
