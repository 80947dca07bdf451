"""Write an image-text corpus: encode pictures and captions, shard by shard, each shard whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, UInt8
from torch import Tensor
from tqdm.auto import tqdm

from brainram_lib.core.files import write_array, write_whole
from brainram_lib.retrieval.images import EXTENSIONS, ImageRefused, decode, opened
from brainram_lib.retrieval.layout import SAMPLE_DIGITS, CorpusLayout, sample_key

ENCODING_BATCH = 256
# img2dataset's word in the tables beside the tars
SUCCESS = "success"


@runtime_checkable
class PooledEncoder(Protocol):
    """What writing a corpus needs of an encoder: one vector per picture and per caption."""

    fingerprint: str

    def pooled_images(self, images: UInt8[np.ndarray, "n height width 3"]) -> Float[Tensor, "n width"]:
        """Global embeddings of pictures."""

    def pooled_texts(self, texts: list[str]) -> Float[Tensor, "n width"]:
        """Global embeddings of captions."""


class NothingDecoded(ValueError):
    """No picture of a shard could be decoded; the shard was not written."""


@dataclass(frozen=True)
class CorpusItem:
    """One picture file as found, its caption and its URL; `problem`: why there is no file."""

    image: bytes
    caption: str
    url: str
    problem: str | None = None


@dataclass(frozen=True)
class _Sample:
    """One item after decoding: its pixels, or the reason why there are none."""

    item: CorpusItem
    key: str
    extension: str = ""
    size: tuple[int, int] = (0, 0)
    pixels: np.ndarray | None = None
    problem: str | None = None

    def record(self) -> dict[str, object]:
        """img2dataset's JSON of this sample."""
        return {
            "url": self.item.url,
            "caption": self.item.caption,
            "key": self.key,
            "status": SUCCESS if self.problem is None else "failed_to_decode",
            "error_message": self.problem,
            "width": self.size[0],
            "height": self.size[1],
            "sha256": hashlib.sha256(self.item.image).hexdigest(),
        }


def write_corpus(
    folder: Path, items: Iterable[CorpusItem], encoder: PooledEncoder, image_size: int, shard_size: int = 1000
) -> None:
    """Write a corpus of `items` in shards of `shard_size`; shards that are already there are kept.

    Raises:
        ValueError: a shard size too large for the keys, or a shard in which no picture could be decoded.
        StoreError: the disk is full.
    """
    if not 1 <= shard_size <= 10**SAMPLE_DIGITS:
        raise ValueError(f"'shard_size' must lie between 1 and {10**SAMPLE_DIGITS}. {shard_size} was provided.")
    layout, stream, shard = CorpusLayout(folder), iter(items), 0
    # also under other numbering, so that a corpus written by another tool is left as it is
    there = set(layout.shards())
    with tqdm(desc="write corpus", unit="shard") as bar:
        while chunk := list(islice(stream, shard_size)):
            if shard not in there:
                write_shard(layout, shard, chunk, encoder, image_size)
            shard += 1
            bar.update()


def write_shard(
    layout: CorpusLayout, shard: int, items: Sequence[CorpusItem], encoder: PooledEncoder, image_size: int
) -> None:
    """Write one shard: tar, table of statuses, embeddings and, last, the metadata, which mark the shard as complete.

    A picture that cannot be decoded has no embedding and no row of metadata; img2dataset's table keeps its reason.

    Raises:
        NothingDecoded: no picture of the shard could be decoded.
    """
    samples = [_sample(item, sample_key(shard, position), image_size) for position, item in enumerate(items)]
    kept = [sample for sample in samples if sample.problem is None]
    if not kept:
        raise NothingDecoded(
            f"none of the {len(samples)} pictures of shard {shard} of '{layout.folder}' could be decoded; the first: "
            f"{samples[0].problem}. Check what the pictures were read from."
        )
    _write_tar(layout.tar(shard), kept)
    _write_table(layout.download_record(shard), [sample.record() for sample in samples])
    write_array(layout.embeddings("image", shard), _image_embeddings(kept, encoder))
    write_array(layout.embeddings("text", shard), _text_embeddings(kept, encoder))
    _write_table(layout.metadata(shard), [{"image_path": sample.key, **sample.record()} for sample in kept])


def _sample(item: CorpusItem, key: str, image_size: int) -> _Sample:
    # half an emoji cannot be written as UTF-8
    item = replace(item, caption=item.caption.encode("utf-8", "replace").decode())
    if item.problem is not None:
        return _Sample(item, key, problem=item.problem)
    try:
        picture = opened(item.image)
        pixels = decode(item.image, image_size)
    except ImageRefused as problem:
        return _Sample(item, key, problem=str(problem))
    return _Sample(item, key, EXTENSIONS[picture.format], picture.size, pixels)


def _image_embeddings(samples: list[_Sample], encoder: PooledEncoder) -> Float[np.ndarray, "n width"]:
    starts = range(0, len(samples), ENCODING_BATCH)
    batches = (np.stack([sample.pixels for sample in samples[at : at + ENCODING_BATCH]]) for at in starts)
    return normalised(np.concatenate([encoder.pooled_images(batch).cpu().numpy() for batch in batches]))


def _text_embeddings(samples: list[_Sample], encoder: PooledEncoder) -> Float[np.ndarray, "n width"]:
    starts = range(0, len(samples), ENCODING_BATCH)
    batches = ([sample.item.caption for sample in samples[at : at + ENCODING_BATCH]] for at in starts)
    return normalised(np.concatenate([encoder.pooled_texts(batch).cpu().numpy() for batch in batches]))


def normalised(vectors: Float[np.ndarray, "n width"]) -> Float[np.ndarray, "n width"]:
    """Rows divided by their norms, as float16 on disk.

    Raises:
        ValueError: a row is zero or not finite.
    """
    lengths = np.linalg.norm(vectors.astype(np.float32), axis=-1, keepdims=True)
    if not np.all(np.isfinite(lengths) & (lengths > 0)):
        row = int(np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))[0])
        raise ValueError(f"embedding {row} of {len(vectors)} is zero or not finite: the encoder's output is unusable.")
    return (vectors / lengths).astype(np.float16)


def _write_tar(path: Path, samples: list[_Sample]) -> None:
    with write_whole(path) as partial, tarfile.open(partial, "w") as archive:
        for sample in samples:
            _add(archive, f"{sample.key}.{sample.extension}", sample.item.image)
            _add(archive, f"{sample.key}.txt", sample.item.caption.encode())
            _add(archive, f"{sample.key}.json", json.dumps(sample.record()).encode())


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    # no time and no owner, so that the same corpus gives the same file
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def _write_table(path: Path, records: list[dict[str, object]]) -> None:
    columns = {name: [record[name] for record in records] for name in records[0]}
    if "error_message" in columns:
        columns["error_message"] = pa.array(columns["error_message"], pa.string())
    with write_whole(path) as partial:
        pq.write_table(pa.table(columns), partial)
