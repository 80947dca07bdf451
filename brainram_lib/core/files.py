"""Files written whole or not at all: a temporary name in the same folder, then one rename. Open formats, no pickle."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from brainram_lib.core.marks import plain

# In the names of files that are being written.
PARTIAL = ".partial"
# A disk that is full, and a share of it that is used up, as clusters give each user.
FULL = (errno.ENOSPC, errno.EDQUOT)
# Of an array's rows: their dtype, and the shape of one row.
Kind = tuple[np.dtype, tuple[int, ...]]


class StoreError(RuntimeError):
    """A result cannot be written or read; the message names the file and what to do."""


@contextlib.contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Yield a partial path beside `path`; on success it takes the name `path`, on any failure it is removed.

    Raises:
        StoreError: the disk is full (nothing is left behind, `path` keeps what it held).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # process numbers repeat across machines that share a disk
    partial = path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}{path.suffix}")
    try:
        with disk_full_named(f"'{path}'"):
            yield partial
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, whole."""
    with write_whole(path) as partial:
        partial.write_text(json.dumps(plain(value), indent=1, sort_keys=True))


def write_array(path: Path, array: np.ndarray) -> None:
    """Write one array as .npy, whole."""
    with write_whole(path) as partial, partial.open("wb") as stream:
        np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)


def read_array(path: Path, refuse: type[Exception], missing: str) -> np.ndarray:
    """A user's own .npy array, memory-mapped.

    Args:
        refuse: the exception class to raise. missing: its message if there is no file.

    Raises:
        refuse: the file is missing, damaged, or not a single array of numbers.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as problem:
        raise refuse(f"there is no '{path}'{missing}") from problem
    except Exception as problem:  # numpy and zipfile raise many kinds of errors on damaged bytes
        raise refuse(
            f"'{path}' cannot be read as an array ({str(problem)[:200]}). Save it with numpy.save, as numbers."
        ) from problem
    if not isinstance(array, np.ndarray):
        array.close()
        raise refuse(f"'{path}' is a .npz under another name. Save one array with numpy.save.")
    return array


def write_blocks(path: Path, count: int, blocks: Iterable[np.ndarray]) -> None:
    """Write one array as .npy, whole, from blocks of its rows; only one block is held at a time.

    Args:
        path: the array's file.
        count: how many rows the blocks have in all.
        blocks: all of one dtype, their rows of one shape.

    Raises:
        ValueError: the blocks do not add up to `count` rows, or differ in type or shape.
    """
    with write_whole(path) as partial, partial.open("wb") as stream:
        append_blocks(stream, path, count, blocks)


def append_blocks(
    stream: BinaryIO,
    path: Path,
    count: int,
    blocks: Iterable[np.ndarray],
    written: int = 0,
    kind: Kind | None = None,
    after: Callable[[int], None] | None = None,
) -> None:
    """Append blocks of rows to those that a stream holds; the header goes before the first.

    Args:
        stream: a byte stream, positioned at its end.
        path: the array's file, for messages.
        count: how many rows the finished array has.
        blocks: all of one dtype, their rows of one shape.
        written, kind: how many rows the stream holds already, and their dtype and shape.
        after: called after every block with the number of rows written so far.

    Raises:
        ValueError: there are not `count` rows in the end, or blocks differ in type or shape.
    """
    for block in blocks:
        if kind is None:
            kind = block.dtype, block.shape[1:]
            header = np.lib.format.header_data_from_array_1_0(block) | {"fortran_order": False}
            np.lib.format.write_array_header_1_0(stream, header | {"shape": (count, *block.shape[1:])})
        if (block.dtype, block.shape[1:]) != kind:
            raise ValueError(f"'{path}' is made of {kind} blocks, and {block.dtype} {block.shape} came.")
        stream.write(np.ascontiguousarray(block).data)
        written += len(block)
        if after is not None:
            after(written)
    if kind is None or written != count:
        raise ValueError(f"'{path}' is to have {count} rows, and its blocks have {written}.")


@contextlib.contextmanager
def disk_full_named(what: str) -> Iterator[None]:
    """Say in one sentence that the disk or the user's quota is full, whatever library found it.

    Raises:
        StoreError: one of them is.
    """
    try:
        yield
    except Exception as problem:
        # safetensors and HDF5 raise errors of their own, which quote the system's message
        if getattr(problem, "errno", None) in FULL or any(os.strerror(code) in str(problem) for code in FULL):
            raise StoreError(
                f"no room on the disk for {what}. Free some space and run the same command again; earlier results are "
                "intact."
            ) from problem
        raise
