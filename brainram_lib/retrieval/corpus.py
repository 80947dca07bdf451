"""Read an image-text corpus: clip-retrieval's folder with the pictures in img2dataset's tars or as files."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from brainram_lib.core.marks import fingerprint
from brainram_lib.retrieval.images import ImageRefused, decode
from brainram_lib.retrieval.layout import MODALITIES, CorpusError, CorpusLayout, cause, checked_modality, short
from brainram_lib.retrieval.metadata import Metadata
from brainram_lib.retrieval.pictures import Pictures, marked

__all__ = ["Corpus", "CorpusError"]


class Corpus:
    """Pictures and captions with one image and one text embedding each; an item's id is its row across all shards.

    Parameters: `folder` in clip-retrieval's format; `image_size`, the side in pixels to which pictures are resized;
    `images`, the folder of tars or picture files (default: `folder/images`).

    Embeddings of one modality may be absent: the corpus then serves whatever does not need them.

    Raises:
        FileNotFoundError: there is no corpus at `folder`.
        CorpusError: shards whose files are missing, cut short, or of different lengths.
    """

    def __init__(self, folder: Path | str, image_size: int, images: Path | str | None = None) -> None:
        self.layout = CorpusLayout(Path(folder))
        self.image_size = image_size
        self.images_root = Path(images) if images is not None else self.layout.images
        tables = self.layout.found_metadata()
        if not tables:
            raise FileNotFoundError(
                f"no corpus at '{folder}': expected 'metadata/metadata_0.parquet' in clip-retrieval's format. "
                "Give the corpus's folder, or make the embedded one."
            )
        self.shards = list(tables)
        self.metadata = Metadata(list(tables.values()))
        if not len(self.metadata):
            raise CorpusError(f"the corpus '{folder}' has no items: all its tables are empty. Embed some pictures.")
        self._files = {modality: self._matched(modality, tables) for modality in MODALITIES}
        self._warn_of_unfinished(tables)
        lengths = {modality: self._checked_lengths(modality) for modality in MODALITIES}
        self._starts = {name: np.concatenate([[0], np.cumsum(found)]).astype(int) for name, found in lengths.items()}
        self._pictures = Pictures(self.images_root, self.metadata)

    def __len__(self) -> int:
        return len(self.metadata)

    @property
    def folder(self) -> Path:
        """The folder of the corpus."""
        return self.layout.folder

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities whose embeddings are there."""
        return tuple(modality for modality in MODALITIES if self._files[modality])

    @cached_property
    def fingerprint(self) -> str:
        """Changes with any row of embeddings, any table cell and any picture, but not with the location of the corpus.

        Computed from the files' contents on first use; see `core.marks` for what is remembered about large files.
        """
        return fingerprint([self.rows_mark, self.pictures_mark])

    @cached_property
    def rows_mark(self) -> str:
        """Changes with any row of embeddings and any cell of the tables."""
        return fingerprint([marked(self.metadata.paths, self.folder), *map(self.embeddings_mark, MODALITIES)])

    @property
    def pictures_mark(self) -> str:
        """Changes with any picture, including one that is added."""
        return self._pictures.mark

    def embeddings_mark(self, modality: str) -> str:
        """Changes with any row of one modality's embeddings."""
        return marked(self._files[checked_modality(modality)], self.folder)

    def index_mark(self, modality: str) -> str | None:
        """Changes with the index of one modality that another tool left in the folder; None where there is none.

        Search results depend on it as well as on the fingerprint, since such an index is used if it fits.
        """
        path = self.layout.index(modality)
        if not path.exists():
            return None
        files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
        return marked(files, self.folder)

    def caption(self, item: int | np.integer) -> str:
        """The caption of one item, as found: escape it wherever it is shown. Empty if it is null.

        Raises:
            CorpusError: the table has no captions.
        """
        row = self._checked(item)
        self.metadata.require(row, "caption", "Write it with captions enabled.")
        return self.metadata.text(row, "caption") or ""

    def url(self, item: int | np.integer) -> str:
        """The URL of one item."""
        return self.metadata.text(self._checked(item), "url") or ""

    def image_embeddings(self) -> Sequence[Float[np.ndarray, "_shard width"]]:
        """Memory-mapped image embeddings, one array per shard, in the order of the ids."""
        return self.embeddings("image")

    def text_embeddings(self) -> Sequence[Float[np.ndarray, "_shard width"]]:
        """Memory-mapped caption embeddings, one array per shard, in the order of the ids."""
        return self.embeddings("text")

    def embeddings(self, modality: str) -> Sequence[Float[np.ndarray, "_shard width"]]:
        """Memory-mapped embeddings of one modality, one array per shard, opened on access.

        Raises:
            CorpusError: there are none of this modality.
        """
        if not (files := self._files[checked_modality(modality)]):
            folder = self.layout.embeddings(modality, 0).parent
            raise CorpusError(
                f"the corpus '{self.folder}' has no {modality} embeddings: there are no files in '{folder}'. Embed "
                f"its {'pictures' if modality == 'image' else 'captions'} with clip-retrieval, both modalities enabled."
            )
        return MappedShards(files)

    def embedding_rows(self, modality: str, ids: Int[np.ndarray, " n"]) -> Float32[np.ndarray, "n width"]:
        """The embeddings of some items."""
        blocks = self.embeddings(modality)
        starts = self._starts[modality]
        rows = np.empty((len(ids), blocks[0].shape[1]), np.float32)
        items = np.array([self._checked(item) for item in ids.tolist()], np.int64)
        shards = np.searchsorted(starts, items, side="right") - 1
        for shard in np.unique(shards).tolist():
            here = np.flatnonzero(shards == shard)
            rows[here] = blocks[shard][items[here] - starts[shard]]
        return rows

    def images(self, ids: Int[np.ndarray, " n"]) -> UInt8[np.ndarray, "n size size 3"]:
        """The pictures of some items, square, `image_size` wide.

        Raises:
            ImageRefused: one of them is missing or cannot be decoded; the message names it.
        """
        pictures = np.empty((len(ids), self.image_size, self.image_size, 3), np.uint8)
        for row, item in enumerate(ids.tolist()):
            pictures[row] = self.image(item)
        return pictures

    def image(self, item: int | np.integer) -> UInt8[np.ndarray, "size size 3"]:
        """The picture of one item.

        Raises:
            ImageRefused: it is missing or cannot be decoded.
        """
        return self.marked_image(item)[0]

    def marked_image(self, item: int | np.integer) -> tuple[UInt8[np.ndarray, "size size 3"], int]:
        """The picture of one item, and a mark of its file's bytes.

        Raises:
            ImageRefused: it is missing or cannot be decoded.
        """
        data = self.image_bytes(item)
        try:
            return decode(data, self.image_size), bytes_mark(data)
        except ImageRefused as problem:
            raise self._refused(item, problem) from problem

    def image_bytes(self, item: int | np.integer) -> bytes:
        """The picture file of one item, from img2dataset's tar or from a plain file.

        Raises:
            ImageRefused: there is none, it is too large, or its path leads out of the images' folder.
            CorpusError: a damaged tar, or keys that several rows or pictures have.
        """
        row = self._checked(item)
        try:
            return self._pictures.read(row)
        except ImageRefused as problem:
            raise self._refused(item, problem) from problem

    def _refused(self, item: int | np.integer, problem: ImageRefused) -> ImageRefused:
        return ImageRefused(f"item {item} of the corpus '{self.folder}': {problem}")

    def _checked(self, item: int | np.integer) -> int:
        if not 0 <= item < len(self):
            raise IndexError(f"item {item} is not in the corpus '{self.folder}', whose ids are 0 to {len(self) - 1}.")
        return int(item)

    def _matched(self, modality: str, tables: dict[int, Path]) -> list[Path]:
        """The files of embeddings that belong to the tables; none if this modality was not embedded.

        Raises:
            CorpusError: some are there and others are not.
        """
        found = self.layout.found_embeddings(modality)
        if not found or (found.keys() != tables.keys() and all(path.suffix == ".arrow" for path in tables.values())):
            # an arrow file joins the tables of many shards
            return list(found.values())
        if missing := sorted(tables.keys() - found.keys()):
            raise CorpusError(
                f"'{tables[missing[0]]}' has no '{self.layout.embeddings(modality, missing[0]).name}' beside it "
                f"({len(missing)} of {len(tables)} shards have none). Fetch them, or write this shard again."
            )
        return [found[number] for number in tables]

    def _warn_of_unfinished(self, tables: dict[int, Path]) -> None:
        """Warn about embeddings without a table: their items are left out here, though other tools may count them."""
        if all(path.suffix == ".arrow" for path in tables.values()):
            return
        found = self.layout.found_embeddings("text") | self.layout.found_embeddings("image")
        if extra := sorted(found.keys() - tables.keys()):
            warnings.warn(
                f"'{found[extra[0]]}' has no table in '{self.folder / 'metadata'}' ({len(extra)} of {len(found)} "
                "shards): an unfinished shard, which is left out. Fetch the tables, or write the shards again.",
                stacklevel=3,
            )

    def _checked_lengths(self, modality: str) -> list[int]:
        """Rows of every file of embeddings.

        Raises:
            CorpusError: a number that differs from the tables', or files of different widths.
        """
        files, tables = self._files[modality], self.metadata.paths
        shapes = [mapped(path).shape for path in files]
        found = [rows for rows, _ in shapes]
        if len(files) == len(tables):
            for path, table, rows, expected in zip(files, tables, found, self.metadata.lengths, strict=True):
                if rows != expected:
                    raise CorpusError(
                        f"'{path}' has {rows} rows, but '{table}' has {expected}. They belong to different runs: "
                        "delete this shard and write it again."
                    )
        if files and sum(found) != len(self):
            raise CorpusError(
                f"the {modality} embeddings of '{self.folder}' have {sum(found)} rows, but its tables have "
                f"{len(self)}. They belong to different runs: fetch both from one."
            )
        if other := [path for path, (_, width) in zip(files, shapes, strict=True) if width != shapes[0][1]]:
            raise CorpusError(
                f"'{other[0]}' is of another width than '{files[0]}' ({sorted({width for _, width in shapes})}): they "
                "come from different encoders. Embed all shards with one."
            )
        return found


class MappedShards(Sequence[Float[np.ndarray, "_shard width"]]):
    """Arrays in files, each mapped on access: a large corpus has more files than a process may hold open."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, position):
        if isinstance(position, slice):
            return MappedShards(self.files[position])
        return mapped(self.files[position])


def mapped(path: Path) -> Float[np.ndarray, "rows width"]:
    """One file of embeddings, memory-mapped.

    Raises:
        CorpusError: it cannot be read, or holds something else.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as problem:
        raise CorpusError(cause(problem, path, "It is no whole array: write this shard again.")) from problem
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind != "f" or not array.shape[1]:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise CorpusError(f"'{path}' must hold floats of shape (rows, width); it holds {short(found)}.")
    return array


def bytes_mark(data: bytes) -> int:
    """A 64-bit mark that changes with the bytes of a file."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
