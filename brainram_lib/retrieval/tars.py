"""Pictures in img2dataset's tars, found by their keys: '000020007' is normally in 00002.tar."""

from __future__ import annotations

import tarfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int32, UInt64

from brainram_lib.retrieval.images import PICTURES
from brainram_lib.retrieval.layout import SAMPLE_DIGITS, SHARD_DIGITS, CorpusError, cause, short

# (tar, offset, size) of a picture
Place = tuple[Path, int, int]
_USUAL = SHARD_DIGITS + SAMPLE_DIGITS
# A tar usually has 10,000 members, some 2 MB of names and places.
_OPENED = 256


class Tars:
    """The tars of one folder. Tars added later are found too: the folder's modification time is checked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._listed = lru_cache(maxsize=1)(self._list)
        self._elsewhere = lru_cache(maxsize=1)(self._everywhere)

    def __bool__(self) -> bool:
        return bool(self._tars)

    def find(self, key: str) -> Place | None:
        """Where the picture with this key lies; None if in no tar.

        A key that was stored as a number has lost its leading zeros: 20007 finds '000020007'.

        Raises:
            CorpusError: a tar cannot be read, or two pictures have this key.
        """
        tars = self._tars
        for name in _spellings(key) if tars else []:
            near = [tars[name[:digits]] for digits in sorted({len(stem) for stem in tars}) if name[:digits] in tars]
            found = self._in(near, name)
            # img2dataset's own names say which tar it is in; with other names it can be in any
            if not found and not (near and all(stem.isdigit() for stem in tars)):
                found = self._in(self._candidates(name), name)
            if len(found) > 1:
                raise CorpusError(
                    f"two pictures have the key '{short(name)}', in '{found[0][0]}' and in '{found[1][0].name}': which "
                    "one belongs to the caption cannot be told. Give each img2dataset output a corpus of its own."
                )
            if found:
                return found[0]
        return None

    @property
    def _tars(self) -> dict[str, Path]:
        try:
            return self._listed(self.folder.stat().st_mtime_ns)
        except OSError:
            return {}

    def _list(self, _changed: int) -> dict[str, Path]:
        # hidden: '._00000.tar', which macOS leaves beside each file, and what a killed writer left
        shown = (path for path in sorted(self.folder.glob("*.tar")) if not path.name.startswith("."))
        return {path.stem: path for path in shown if not path.is_dir()}

    def _in(self, tars: list[Path], key: str) -> list[Place]:
        return [(tar, *place) for tar in dict.fromkeys(tars) for place in members(tar).get(key, ())]

    def _candidates(self, key: str) -> list[Path]:
        hashes, numbers = self._elsewhere(tuple(self._tars.values()))
        own = hashed([key])[0]
        rows = slice(np.searchsorted(hashes, own, "left"), np.searchsorted(hashes, own, "right"))
        tars = list(self._tars.values())
        return [tars[number] for number in numbers[rows]]

    def _everywhere(self, tars: tuple[Path, ...]) -> tuple[UInt64[np.ndarray, " keys"], Int32[np.ndarray, " keys"]]:
        """Hashes of all keys, sorted, and the tar of each: twelve bytes a picture instead of a dictionary."""
        parts = [hashed(list(members(tar))) for tar in tars]
        hashes = np.concatenate(parts)
        numbers = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part) for part in parts])
        order = np.argsort(hashes, kind="stable")
        return hashes[order], numbers[order]


def hashed(texts: list[str] | list[bytes]) -> UInt64[np.ndarray, " n"]:
    """A 64-bit hash of each text, the same in every process."""
    return pd.util.hash_array(np.array(texts, object), categorize=False)


def members(path: Path) -> dict[str, tuple[tuple[int, int], ...]]:
    """Key -> (offset, size) of the pictures of that key in a tar.

    Raises:
        CorpusError: the tar cannot be read or is cut short.
    """
    try:
        state = path.stat()
    except OSError as problem:
        raise CorpusError(cause(problem, path, "")) from problem
    return _members(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=_OPENED)
def _members(path: Path, _size: int, _changed: int) -> dict[str, tuple[tuple[int, int], ...]]:
    # if a name is repeated, the last one counts, as when unpacking
    named: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.isfile() and Path(member.name).suffix.lower() in PICTURES:
                    named[str(Path(member.name))] = member.offset_data, member.size
    except (tarfile.TarError, OSError, ValueError) as problem:
        raise CorpusError(cause(problem, path, "It is no whole tar: write this shard again.")) from problem
    found: dict[str, tuple[tuple[int, int], ...]] = {}
    for name, place in named.items():
        # a key is the name without its extension, with or without the folder; other dots belong to it
        for key in {str(Path(name).with_suffix("")), Path(name).stem}:
            found[key] = (*found.get(key, ()), place)
    return found


def _spellings(key: str) -> list[str]:
    """The key and, if it is a number, its forms with leading zeros, img2dataset's usual width first."""
    if not (key.isascii() and key.isdigit()) or len(key) >= _USUAL:
        return [key]
    return list(dict.fromkeys([key, key.zfill(_USUAL), *(key.zfill(width) for width in range(len(key), 13))]))
