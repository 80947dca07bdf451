"""Arrays that take long to compute: an interrupted call keeps the rows it has written; the next call resumes there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from brainram_lib.core.files import Kind, append_blocks, disk_full_named, write_json


def keep_blocks(path: Path, count: int, blocks_from: Callable[[int], Iterable[np.ndarray]]) -> None:
    """Write one array as .npy from blocks of its rows, starting at the first missing row.

    For the folder of one stage, to which only one process writes, so rows that are already there were made in the same
    way. The array gets its final name once it is complete.

    Args:
        path: the array's file.
        count: how many rows it has.
        blocks_from: first row -> the blocks from that row on; block boundaries do not depend on the first row.

    Raises:
        ValueError: the blocks do not add up to `count` rows, or differ in type or shape.
        StoreError: the disk is full; rows already written stay.
    """
    if path.exists():
        return
    begun, note = path.with_name(f"{path.stem}.begun.npy"), path.with_name(f"{path.stem}.begun.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    begun.touch()
    with disk_full_named(f"'{path}'"), begun.open("r+b") as stream:
        rows, kind = _found(stream, note, count)

        def kept(written: int) -> None:
            # rows count once they are on the disk
            stream.flush()
            os.fsync(stream.fileno())
            write_json(note, {"rows": written})

        append_blocks(stream, path, count, blocks_from(rows) if rows < count else (), rows, kind, kept)
    begun.replace(path)
    note.unlink(missing_ok=True)


def _found(stream: BinaryIO, note: Path, count: int) -> tuple[int, Kind | None]:
    """How many rows an interrupted call left and of what kind; the stream is truncated after them."""
    try:
        rows = int(json.loads(note.read_text())["rows"])
        np.lib.format.read_magic(stream)
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        end = stream.tell() + rows * dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
        # without rows, the header is written again
        whole = shape[0] == count and 0 < rows <= count and os.fstat(stream.fileno()).st_size >= end
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        rows, end = 0, 0
    stream.seek(end)
    stream.truncate()
    return rows, (dtype, tuple(shape[1:])) if rows else None
