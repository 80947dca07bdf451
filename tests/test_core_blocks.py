"""Arrays that are kept block by block: the same bytes as at once, whatever interrupted them."""

import errno
import signal
import subprocess
import sys

import numpy as np
import pytest

from brainram_lib.core.blocks import keep_blocks
from brainram_lib.core.files import StoreError, write_array

ARRAY = np.arange(42, dtype=np.float16).reshape(7, 2, 3)


class Blocks:
    """Blocks of two rows from any first row; `stop` raises before the block of that row."""

    def __init__(self, stop=None, problem=KeyboardInterrupt):
        self.stop, self.problem, self.first = stop, problem, None

    def __call__(self, first):
        self.first = first
        for start in range(first, 7, 2):
            if start == self.stop:
                raise self.problem
            yield ARRAY[start : start + 2]


def interrupted(tmp_path, stop=4):
    with pytest.raises(KeyboardInterrupt):
        keep_blocks(tmp_path / "x.npy", 7, Blocks(stop))


def gone_on(tmp_path, count=7):
    """The first row that the next call makes; the array is that of one call, and nothing else is left."""
    blocks = Blocks()
    keep_blocks(tmp_path / "x.npy", count, blocks)
    write_array(tmp_path / "whole.npy", ARRAY)
    assert (tmp_path / "x.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["whole.npy", "x.npy"]
    return blocks.first


def test_it_is_the_array_written_at_once(tmp_path):
    assert gone_on(tmp_path) == 0


@pytest.mark.parametrize("stop", [0, 2, 4, 6])
def test_an_interrupted_array_goes_on_from_the_first_missing_block(tmp_path, stop):
    interrupted(tmp_path, stop)
    assert not (tmp_path / "x.npy").exists()
    assert gone_on(tmp_path) == stop


def test_an_empty_first_block_leaves_no_second_header(tmp_path):
    def empty(_first):
        yield ARRAY[:0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep_blocks(tmp_path / "x.npy", 7, empty)
    assert gone_on(tmp_path) == 0


def test_what_is_whole_is_not_made_again(tmp_path):
    gone_on(tmp_path)
    keep_blocks(tmp_path / "x.npy", 7, lambda first: pytest.fail("made again"))


def test_an_array_whose_last_block_was_the_last_takes_its_name_without_another(tmp_path):
    interrupted(tmp_path)
    blocks = Blocks()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr("brainram_lib.core.blocks.write_json", lambda path, value: path.write_text('{"rows": 7}'))
        with pytest.raises(KeyboardInterrupt):
            keep_blocks(tmp_path / "x.npy", 7, blocks)
    assert blocks.first == 4
    assert gone_on(tmp_path) is None


def test_half_a_block_behind_the_last_is_cut(tmp_path):
    interrupted(tmp_path)
    with (tmp_path / "x.begun.npy").open("ab") as stream:
        stream.write(b"half")
    assert gone_on(tmp_path) == 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "x.begun.json").write_text('{"rows": 6}'),
        lambda folder: (folder / "x.begun.json").write_text("{"),
        lambda folder: (folder / "x.begun.json").unlink(),
        lambda folder: (folder / "x.begun.npy").write_bytes(b"no array"),
        lambda folder: (folder / "x.begun.npy").unlink(),
    ],
)
def test_what_cannot_be_trusted_is_made_anew(tmp_path, damage):
    interrupted(tmp_path)
    damage(tmp_path)
    assert gone_on(tmp_path) == 0


def test_rows_of_another_array_are_made_anew(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        keep_blocks(tmp_path / "x.npy", 9, Blocks(4))
    assert gone_on(tmp_path) == 0


def test_blocks_of_another_kind_than_those_that_are_kept_are_refused(tmp_path):
    interrupted(tmp_path)
    with pytest.raises(ValueError, match="made of .* blocks, and float32"):
        keep_blocks(tmp_path / "x.npy", 7, lambda first: [np.zeros((3, 2, 3), np.float32)])
    assert gone_on(tmp_path) == 4


def test_blocks_of_too_few_rows_are_refused(tmp_path):
    with pytest.raises(ValueError, match="to have 8 rows, and its blocks have 7"):
        keep_blocks(tmp_path / "x.npy", 8, Blocks())
    assert not (tmp_path / "x.npy").exists()


def test_a_full_disk_is_said_and_what_is_written_stays(tmp_path):
    with pytest.raises(StoreError, match="no room on the disk"):
        keep_blocks(tmp_path / "x.npy", 7, Blocks(4, OSError(errno.ENOSPC, "full")))
    assert gone_on(tmp_path) == 4


def test_a_killed_process_loses_the_block_it_was_at(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; sys.path.insert(0, 'tests')\n"
        "from test_core_blocks import Blocks, keep_blocks\n"
        "class Kill(BaseException):\n    def __init__(self): os.kill(os.getpid(), 9)\n"
        f"keep_blocks(Path({str(tmp_path)!r}) / 'x.npy', 7, Blocks(4, Kill))\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert gone_on(tmp_path) == 4
