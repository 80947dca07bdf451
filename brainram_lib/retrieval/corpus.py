"""Read an image-text corpus: clip-retrieval's folder with the pictures in img2dataset's tars or as files."""

from __future__ import annotations

import tarfile
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Float, Float32, Int, UInt8

from brainram_lib.core.marks import fingerprint
from brainram_lib.retrieval.images import MAX_BYTES, ImageRefused, decode
from brainram_lib.retrieval.layout import SHARD_DIGITS, CorpusLayout

_COLUMNS = ("image_path", "caption", "url", "key")
_PICTURES = (".jpg", ".jpeg", ".png", ".webp")


class CorpusError(ValueError):
    """A corpus is missing, incomplete or inconsistent; the message names the file and what to do."""


class Corpus:
    """Pictures and captions with one image and one text embedding each; an item's id is its row over all shards.

    Parameters: `folder` in clip-retrieval's format; `image_size`, the side in pixels to which pictures are brought;
    `images`, the folder of tars or picture files (default: `folder/images`).

    Raises:
        FileNotFoundError: there is no corpus at `folder`.
        CorpusError: shards whose files are missing, cut short, or of different lengths.
    """

    def __init__(self, folder: Path | str, image_size: int, images: Path | str | None = None) -> None:
        self.layout = CorpusLayout(Path(folder))
        self.image_size = image_size
        self.images_root = Path(images) if images is not None else self.layout.images
        self.shards = self.layout.shards()
        if not self.shards:
            raise FileNotFoundError(
                f"no corpus at '{folder}': expected 'metadata/metadata_0.parquet' in clip-retrieval's format. "
                "Give the corpus's folder, or make the embedded one."
            )
        lengths = [self._shard_length(shard) for shard in self.shards]
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        self._metadata = lru_cache(maxsize=64)(self._read_metadata)
        self._members = lru_cache(maxsize=None)(_tar_members)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def folder(self) -> Path:
        """Where the corpus lies."""
        return self.layout.folder

    @cached_property
    def fingerprint(self) -> str:
        """Changes when the embeddings do: lengths, first and last row of every shard of both modalities."""
        parts = [
            [len(block), block[[0, -1]].tobytes().hex()]
            for modality in ("image", "text")
            for block in self.embeddings(modality)
        ]
        return fingerprint(parts)

    def caption(self, item: int | np.integer) -> str:
        """The caption of one item, as it was found: escape it wherever it is shown."""
        shard, row = self._place(item)
        return self._metadata(shard)["caption"][row] or ""

    def url(self, item: int | np.integer) -> str:
        """The address of one item."""
        shard, row = self._place(item)
        return self._metadata(shard)["url"][row] or ""

    def image_embeddings(self) -> list[Float[np.ndarray, "_shard width"]]:
        """Memory-mapped image embeddings, one array per shard, in the order of the ids."""
        return self.embeddings("image")

    def text_embeddings(self) -> list[Float[np.ndarray, "_shard width"]]:
        """Memory-mapped caption embeddings, one array per shard, in the order of the ids."""
        return self.embeddings("text")

    def embeddings(self, modality: str) -> list[Float[np.ndarray, "_shard width"]]:
        """Memory-mapped embeddings of one modality, one array per shard."""
        return [_mapped(self.layout.embeddings(modality, shard)) for shard in self.shards]

    def embedding_rows(self, modality: str, ids: Int[np.ndarray, " n"]) -> Float32[np.ndarray, "n width"]:
        """The embeddings of some items."""
        blocks = self.embeddings(modality)
        rows = np.empty((len(ids), blocks[0].shape[1]), np.float32)
        for position, (shard, row) in enumerate(map(self._position, ids.tolist())):
            rows[position] = blocks[shard][row]
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
        try:
            return decode(self.image_bytes(item), self.image_size)
        except ImageRefused as problem:
            raise ImageRefused(f"item {item} of the corpus '{self.folder}': {problem}") from problem

    def image_bytes(self, item: int | np.integer) -> bytes:
        """The picture file of one item, from img2dataset's tar or from a plain file.

        Raises:
            ImageRefused: there is none, it is too large, or its path leads out of the images' folder.
        """
        shard, row = self._place(item)
        name = self._metadata(shard)["image_path"][row]
        key = self._metadata(shard)["key"][row]
        found = self._in_tars(str(key if key is not None else name))
        if found is not None:
            return _slice(*found)
        return self._from_file(name)

    def _in_tars(self, key: str) -> tuple[Path, int, int] | None:
        """(tar, offset, size) of the picture with this key; the key's first digits name its tar, if all is usual."""
        usual = self.images_root / f"{key[:SHARD_DIGITS]}.tar"
        if usual.exists() and key in (members := self._members(usual)):
            return usual, *members[key]
        for tar in sorted(self.images_root.glob("*.tar")):
            if tar != usual and key in (members := self._members(tar)):
                return tar, *members[key]
        return None

    def _from_file(self, name: str) -> bytes:
        root = self.images_root.resolve()
        path = (root / name).resolve()
        # image_path is a web corpus's own text: it must not read files elsewhere on this machine
        if not path.is_relative_to(root):
            raise ImageRefused(f"its path '{name}' leads out of '{self.images_root}'")
        if not path.is_file():
            raise ImageRefused(f"no picture '{name}' in the tars or files of '{self.images_root}'")
        return _slice(path, 0, path.stat().st_size)

    def _position(self, item: int | np.integer) -> tuple[int, int]:
        """(position of the shard in the list, row in it) of an item."""
        if not 0 <= item < len(self):
            raise IndexError(f"item {item} is not in the corpus '{self.folder}', whose ids are 0 to {len(self) - 1}.")
        shard = int(np.searchsorted(self._starts, item, side="right")) - 1
        return shard, int(item - self._starts[shard])

    def _place(self, item: int | np.integer) -> tuple[int, int]:
        shard, row = self._position(item)
        return self.shards[shard], row

    def _read_metadata(self, shard: int) -> dict[str, list]:
        path = self.layout.metadata(shard)
        names = pq.read_schema(path).names
        if missing := [name for name in ("image_path", "caption") if name not in names]:
            raise CorpusError(f"'{path}' has no column {missing}; it has {names}. Write it with captions enabled.")
        table = pq.read_table(path, columns=[name for name in _COLUMNS if name in names])
        empty = [None] * table.num_rows
        return {name: table[name].to_pylist() if name in names else empty for name in _COLUMNS}

    def _shard_length(self, shard: int) -> int:
        path = self.layout.metadata(shard)
        try:
            rows = pq.read_metadata(path).num_rows
        except (OSError, ValueError) as problem:
            raise CorpusError(f"'{path}' cannot be read ({problem}). Write this shard again.") from problem
        for modality in ("image", "text"):
            embeddings = self.layout.embeddings(modality, shard)
            if (found := len(_mapped(embeddings))) != rows:
                raise CorpusError(
                    f"'{embeddings}' has {found} rows, but '{path}' has {rows}. They belong to different runs: delete "
                    "this shard and write it again."
                )
        return rows


def _mapped(path: Path) -> Float[np.ndarray, "rows width"]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as problem:
        raise CorpusError(f"'{path}' cannot be read as an array ({problem}). Write this shard again.") from problem
    if array.ndim != 2 or array.dtype.kind != "f":
        raise CorpusError(f"'{path}' must hold floats of shape (rows, width); it holds {array.dtype} {array.shape}.")
    return array


def _tar_members(path: Path) -> dict[str, tuple[int, int]]:
    """Key -> (offset, size) of every picture in a tar."""
    members = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                name = Path(member.name)
                if member.isfile() and name.suffix.lower() in _PICTURES:
                    members[str(name.with_suffix(""))] = (member.offset_data, member.size)
    except tarfile.TarError as problem:
        raise CorpusError(f"'{path}' is not a whole tar ({problem}). Write this shard again.") from problem
    return members


def _slice(path: Path, offset: int, size: int) -> bytes:
    if size > MAX_BYTES:
        raise ImageRefused(f"the file has {size} bytes, more than the {MAX_BYTES} allowed")
    with path.open("rb") as stream:
        stream.seek(offset)
        return stream.read(size)
