"""Saved results: open formats, written whole or not at all, never silently reused under other settings.

Every result is a folder `<root>/<stage>/<fingerprint>/`. The fingerprint is a hash of the stage's settings and of the
fingerprints of its inputs, so a result made otherwise is another folder, and earlier results stay where they are.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from brainram_lib.core.measure import Peak, peak_memory

RECORD = "result.json"
_VERSIONS = ("torch", "numpy", "open_clip_torch", "diffusers", "faiss-cpu")


class StoreError(RuntimeError):
    """A result cannot be written or read; the message names the file and what to do."""


@dataclass(frozen=True)
class Result:
    """One finished result: its folder, its fingerprint and the record that was saved beside it."""

    folder: Path
    fingerprint: str
    record: dict[str, Any]

    def array(self, name: str) -> np.ndarray:
        """The array `name`.npy, memory-mapped.

        Raises:
            StoreError: the file is missing or cut short.
        """
        path = self.folder / f"{name}.npy"
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as problem:
            raise StoreError(
                f"'{path}' cannot be read as an array ({problem}). Delete the folder '{self.folder}' and run the stage "
                "again."
            ) from problem

    def json(self, name: str) -> Any:
        """The value in `name`.json."""
        return json.loads((self.folder / f"{name}.json").read_text())


def plain(value: Any) -> Any:
    """Settings as JSON can hold them: dataclasses become dictionaries, paths their names, tuples lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def fingerprint(value: Any) -> str:
    """Twelve hexadecimal digits that change whenever any setting changes."""
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def file_fingerprint(path: Path) -> str:
    """Twelve hexadecimal digits of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:12]


@contextlib.contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Yield a partial path beside `path`; on success it takes the name `path`, on any failure it is removed.

    Raises:
        StoreError: the disk is full (nothing is left behind, `path` keeps what it held).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    except OSError as problem:
        if problem.errno == errno.ENOSPC:
            raise StoreError(
                f"no room on the disk for '{path}'. Free some space and run the same command again."
            ) from problem
        raise
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


def write_blocks(path: Path, count: int, blocks: Iterable[np.ndarray]) -> None:
    """Write one array as .npy, whole, from blocks of its rows; only one block is held at a time.

    Args:
        path: of the array.
        count: how many rows the blocks have together.
        blocks: all of one type and of one shape behind the rows.

    Raises:
        ValueError: the blocks have another number of rows, or differ in type or shape.
    """
    written, kind = 0, None
    with write_whole(path) as partial, partial.open("wb") as stream:
        for block in blocks:
            if kind is None:
                kind = block.dtype, block.shape[1:]
                header = np.lib.format.header_data_from_array_1_0(block) | {"fortran_order": False}
                np.lib.format.write_array_header_1_0(stream, header | {"shape": (count, *block.shape[1:])})
            if (block.dtype, block.shape[1:]) != kind:
                raise ValueError(f"'{path}' is made of {kind} blocks, and {block.dtype} {block.shape} came.")
            stream.write(np.ascontiguousarray(block).data)
            written += len(block)
        if kind is None or written != count:
            raise ValueError(f"'{path}' is to have {count} rows, and its blocks have {written}.")


class Store:
    """The results under one root, e.g. `runs/mini/subj01`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def result(
        self, stage: str, settings: Mapping[str, Any], inputs: Mapping[str, Result], make: Callable[[Path], None]
    ) -> Result:
        """Load the result of `stage` made with these settings from these inputs, or make it.

        `make(folder)` writes its files into a partial folder that survives an interruption, so that a training can
        leave checkpoints there and go on; it becomes the result when `make` returns.

        Raises:
            StoreError: the disk is full, or another process is making the same result.
        """
        marks = {name: result.fingerprint for name, result in inputs.items()}
        described = {"stage": stage, "settings": plain(settings), "inputs": marks}
        mark = fingerprint(described)
        final = self.root / stage / mark
        if (final / RECORD).exists():
            return Result(final, mark, json.loads((final / RECORD).read_text()))
        partial = self.root / stage / f".{mark}.partial"
        partial.mkdir(parents=True, exist_ok=True)
        with _locked(partial, stage):
            started, worked = time.time(), time.process_time()
            with peak_memory() as peak:
                _guarded(make, partial, stage)
            write_json(partial / RECORD, {**described, **_circumstances(started, worked, peak)})
            (partial / "lock").unlink(missing_ok=True)
            shutil.rmtree(final, ignore_errors=True)
            partial.replace(final)
        return Result(final, mark, json.loads((final / RECORD).read_text()))


def _guarded(make: Callable[[Path], None], partial: Path, stage: str) -> None:
    try:
        make(partial)
    except OSError as problem:
        if problem.errno == errno.ENOSPC:
            raise StoreError(
                f"no room on the disk for the results of '{stage}'. Free some space and run the same command again; "
                "earlier results are intact."
            ) from problem
        raise


def _circumstances(started: float, worked: float, peak: Peak) -> dict[str, Any]:
    return {
        "wall_seconds": round(time.time() - started, 1),
        "processor_seconds": round(time.process_time() - worked, 1),
        "peak_memory_gib": round(peak.memory, 2),
        "peak_gpu_gib": None if peak.gpu is None else round(peak.gpu, 2),
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _VERSIONS},
    }


@contextlib.contextmanager
def _locked(partial: Path, stage: str) -> Iterator[None]:
    """Hold `partial/lock`, which names the process that is at work; a dead process's lock is taken over."""
    lock = partial / "lock"
    owner = int(lock.read_text() or 0) if lock.exists() else 0
    if owner and owner != os.getpid() and _alive(owner):
        raise StoreError(f"process {owner} is already making '{stage}' in '{partial}'. Wait for it, or stop it.")
    lock.write_text(str(os.getpid()))
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True
