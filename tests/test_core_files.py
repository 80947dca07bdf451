"""Files are written whole or not at all."""

import errno
import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from brainram_lib.core.files import StoreError, write_array, write_blocks, write_json, write_whole


def test_write_whole_leaves_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, [1])
    with pytest.raises(StoreError, match="no room on the disk"), write_whole(path) as partial:
        partial.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_text() == "[\n 1\n]" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_named_whatever_library_found_it(tmp_path):
    with pytest.raises(StoreError, match="no room on the disk"), write_whole(tmp_path / "weights") as partial:
        save_file({"a": torch.zeros(3)}, partial)
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(RuntimeError, match="another"), write_whole(tmp_path / "weights"):
        raise RuntimeError("another")
    assert not list(tmp_path.iterdir())


def test_a_quota_that_is_used_up_is_named_as_a_full_disk_is(tmp_path):
    for said in (OSError(errno.EDQUOT, "quota"), RuntimeError(f"I/O error: {os.strerror(errno.EDQUOT)}")):
        with pytest.raises(StoreError, match="no room on the disk"), write_whole(tmp_path / "weights"):
            raise said


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
