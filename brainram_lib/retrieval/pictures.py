"""Where the picture of a corpus's row lies: in img2dataset's tars, or in a file below the images' folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from brainram_lib.core.marks import content_mark
from brainram_lib.retrieval.images import MAX_BYTES, PICTURES, ImageRefused
from brainram_lib.retrieval.layout import CorpusError, cause, short
from brainram_lib.retrieval.metadata import Metadata
from brainram_lib.retrieval.tars import Tars, hashed

# What img2dataset writes beside its pictures.
_BESIDE = (".json", ".txt", ".parquet")
_ENDINGS = ("", *PICTURES, *(ending.upper() for ending in PICTURES))


class Pictures:
    """The pictures of the rows of `metadata`, below `root`.

    Links in `root` are followed, wherever they lead, since whoever made the folder made them. A path in the metadata
    comes from the web and may not lead out of `root`.
    """

    def __init__(self, root: Path, metadata: Metadata) -> None:
        self.root, self.metadata, self.tars = root, metadata, Tars(root)

    def read(self, row: int) -> bytes:
        """The picture file of one row.

        Raises:
            ImageRefused: there is none, it is too large or cannot be opened, or its path leads out of the folder.
            CorpusError: a damaged tar, or keys that several rows or pictures have.
        """
        key, name = self.metadata.text(row, "key"), self.metadata.text(row, "image_path")
        if key is None and name is None:
            raise ImageRefused("its row has neither a key nor an image_path, so that its picture is not known")
        if self.tars:
            self._keys_are_unique  # noqa: B018
            if (found := self.tars.find(key if key is not None else name)) is not None:
                return _slice(*found)
        return _slice(self._file(key, name))

    @cached_property
    def mark(self) -> str:
        """Twelve hexadecimal digits that change with any picture; they do not depend on the folder's location."""
        return marked(self._files(), self.root)

    def _files(self) -> Iterator[Path]:
        """All files except img2dataset's records, following links but visiting no folder twice."""
        seen = set()
        for folder, inner, names in os.walk(self.root, followlinks=True):
            if (real := os.path.realpath(folder)) in seen:
                inner.clear()
                continue
            seen.add(real)
            for name in names:
                path = Path(folder, name)
                # an unreadable file is refused when it is needed, and counts once it becomes readable
                if path.suffix.lower() not in _BESIDE and os.path.isfile(path) and os.access(path, os.R_OK):
                    yield path

    def _file(self, key: str | None, name: str | None) -> Path:
        if not self.root.is_dir():
            raise ImageRefused(f"no picture '{short(name or key)}': there is no folder '{self.root}'")
        for one in [self._inside(text) for text in dict.fromkeys((name, key)) if text]:
            # img2dataset's `files` format puts them in folders named as the tars would be: 00002/000020007.jpg
            usual = range(3, 8) if os.path.splitext(one)[0].isdigit() else ()
            for folder in (self.root, *(self.root / one[:digits] for digits in usual)):
                for ending in _ENDINGS:
                    if os.path.isfile(path := folder / f"{one}{ending}"):
                        return path
        raise ImageRefused(f"no picture '{short(name or key)}' in the tars or files of '{self.root}'")

    def _inside(self, name: str) -> str:
        """A path from the metadata, relative to the folder.

        Raises:
            ImageRefused: it leads out of it, or cannot be a path.
        """
        if "\0" in name:
            raise ImageRefused(f"its path '{short(name)}' holds a zero byte")
        relative = os.path.normpath(self._relative(name) if os.path.isabs(name) else name)
        if relative == os.pardir or relative.startswith(os.pardir + os.sep) or os.path.isabs(relative):
            raise ImageRefused(f"its path '{short(name)}' leads out of '{self.root}'")
        return relative

    def _relative(self, name: str) -> str:
        """An absolute path relative to the folder: it is below it, or was where the corpus was made."""
        path = os.path.normpath(name)
        for root in (os.path.abspath(self.root), os.path.realpath(self.root)):
            if path.startswith(root + os.sep):
                return os.path.relpath(path, root)
        parts, common = Path(path).parts, len(Path(self._common_folder).parts)
        # the longest trailing part of the path that exists; it keeps everything in which the corpus's paths differ, so
        # two pictures of the same name are never confused
        for start in range(1, max(common, 1) + 1):
            if os.path.isfile(self.root.joinpath(*parts[start:])):
                return os.path.join(*parts[start:])
        raise ImageRefused(
            f"its path '{short(name)}' leads out of '{self.root}', and no end of it is there: give the folder of the "
            "pictures as 'images', or make a link to it"
        )

    @cached_property
    def _common_folder(self) -> str:
        """The common folder of all absolute paths in the metadata."""
        ends: list[str] = []
        for _, (names,) in self.metadata.batches("image_path"):
            whole = pc.filter(names, pc.fill_null(pc.starts_with(names, os.sep), False))
            if len(whole):
                ends += map(os.fsdecode, pc.min_max(whole.cast(pa.binary())).as_py().values())
        return os.path.commonpath([os.path.dirname(os.path.normpath(end)) for end in ends]) if ends else ""

    @cached_property
    def _keys_are_unique(self) -> bool:
        """Check that no two rows share a key, as a tar has one picture per key. This takes 16 bytes of memory per row.

        Raises:
            CorpusError: two rows share a key.
        """
        parts, places = [], []
        for start, (keys, names) in self.metadata.batches("key", "image_path"):
            texts = pc.coalesce(keys, names)
            places.append(start + np.flatnonzero(texts.is_valid().to_numpy(zero_copy_only=False)))
            parts.append(hashed(texts.drop_null().cast(pa.binary()).to_pylist()))
        hashes, rows = np.concatenate(parts), np.concatenate(places)
        order = np.argsort(hashes, kind="stable")
        twice = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
        for first, second in zip(rows[order[twice]].tolist(), rows[order[twice + 1]].tolist(), strict=True):
            one, other = (self._key(row) for row in (first, second))
            if one is not None and one == other:
                raise CorpusError(
                    f"rows {first} and {second} of the metadata have the same key '{short(one)}', and the pictures in "
                    f"the tars of '{self.root}' are found by keys. img2dataset's keys are unique within one output: "
                    "give each output a corpus of its own."
                )
        return True

    def _key(self, row: int) -> str | None:
        key = self.metadata.text(row, "key")
        return key if key is not None else self.metadata.text(row, "image_path")


def marked(files: Iterator[Path] | list[Path], root: Path) -> str:
    """`content_mark`, with a clear error if a file may not be read.

    Raises:
        CorpusError: naming the file.
    """
    try:
        return content_mark(files, root)
    except OSError as problem:
        raise CorpusError(cause(problem, Path(problem.filename or root), "")) from problem


def _slice(path: Path, offset: int = 0, size: int | None = None) -> bytes:
    try:
        size = path.stat().st_size if size is None else size
        if size > MAX_BYTES:
            raise ImageRefused(f"the file has {size} bytes, more than the {MAX_BYTES} allowed")
        with path.open("rb") as stream:
            stream.seek(offset)
            return stream.read(size)
    except OSError as problem:
        raise ImageRefused(cause(problem, path, "").rstrip(". ")) from problem
