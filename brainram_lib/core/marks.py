"""Marks: twelve hexadecimal digits that change when settings or files do. Locations are never part of a mark.

Files are marked by their whole content. A large file's mark is remembered with its size and times, so that it is read
once; one beyond SAMPLED is marked by its size, its time of change and blocks spread over it, because 40 GB of a single
file take minutes to read.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

DIGITS = 12
BLOCK = 1 << 20
REMEMBERED = 16 * BLOCK
SAMPLED = 4096 * BLOCK
SAMPLES = 64
TICK = 2_000_000_000


def plain(value: Any) -> Any:
    """Settings as JSON can hold them: dataclasses become dictionaries, paths their text, tuples lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value


def keyed(value: Any) -> Any:
    """`plain`, without fields that change no result: those with `keyed=False`, and those at their `neutral` value."""
    if is_dataclass(value) and not isinstance(value, type):
        found = {one.name: keyed(getattr(value, one.name)) for one in fields(value) if one.metadata.get("keyed", True)}
        neutral = {one.name: one.metadata.get("neutral") for one in fields(value)}
        return {name: item for name, item in found.items() if neutral[name] is None or item != neutral[name]}
    if isinstance(value, Mapping):
        return {str(key): keyed(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [keyed(item) for item in value]
    return plain(value)


def fingerprint(value: Any) -> str:
    """Twelve hexadecimal digits that change whenever any setting changes."""
    text = json.dumps(keyed(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def content_mark(files: Iterable[Path], root: Path) -> str:
    """One mark for many files: their names relative to `root`, and their contents. A missing file counts too.

    The mark does not depend on where `root` lies, how its path is spelled, or in which order the files come.
    """
    listed = sorted({(relative_name(path, root), path) for path in files})
    bar = tqdm(listed, desc="marks of files", unit="file", delay=2, leave=False)
    # the file as it was named: beside a linked folder, `root / name` is another place
    return fingerprint(list(dict.fromkeys((name, file_mark(path)) for name, path in bar)))


def relative_name(path: Path, root: Path) -> str:
    """A file's name in marks: its path relative to `root`, as spelled; links are not followed."""
    return Path(os.path.relpath(path, root)).as_posix()


def file_mark(path: Path) -> str | None:
    """The mark of one file's content; None where there is no file."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    name = f"{path.resolve()}|{state.st_size}|{state.st_mtime_ns}|{state.st_ctime_ns}|{state.st_ino}"
    if state.st_size < REMEMBERED:
        # what was just written may be written again within one tick of the file system's clock
        return _whole(path) if time.time_ns() - state.st_ctime_ns < TICK else _small(path, name)
    known = _memory()
    if name not in known:
        known[name] = _whole(path) if state.st_size < SAMPLED else _sampled(path, state)
        _remember(known)
    return known[name]


@cache
def _small(path: Path, name: str) -> str:
    """The mark of a small file, read once per process; `name` holds its size and times."""
    return _whole(path)


def _whole(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:DIGITS]


def _sampled(path: Path, state: os.stat_result) -> str:
    digest = hashlib.sha256(f"{state.st_size}|{state.st_mtime_ns}".encode())
    with path.open("rb") as stream:
        for start in np.linspace(0, state.st_size - BLOCK, SAMPLES).astype(int).tolist():
            stream.seek(start)
            digest.update(stream.read(BLOCK))
    return digest.hexdigest()[:DIGITS]


def _memory_file() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "brainram" / "marks.json"


@cache
def _memory() -> dict[str, str]:
    """Marks of files that were read earlier on this machine; empty if they cannot be loaded."""
    try:
        return dict(json.loads(_memory_file().read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def _remember(known: Mapping[str, str]) -> None:
    """Save the marks; if that fails, files are read again the next time."""
    path = _memory_file()
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(known))
        partial.replace(path)
    except OSError:
        return
