"""A faiss index that another tool left in a corpus's folder: used once it has been checked, never written.

Its items must be this corpus's, in this order, and its similarities cosines: inner product as metric, one vector per
item, the width of the embeddings, and a sample of rows that find themselves (for an exact index, all vectors are
compared; in others, a single row that changed after the index was made goes unnoticed). Tools that read shards in the
order of their names ('_10' before '_2') make indices in a different order, so the sample takes rows from every shard.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import faiss
import numpy as np
from jaxtyping import Bool, Float32, Int64

from brainram_lib.retrieval.corpus import Corpus
from brainram_lib.retrieval.layout import short

EXACT_KINDS = ("IndexFlat", "IndexFlatIP")
# rows looked up; at least this many per shard; from at most this many shards; rank by which a row must find itself
SAMPLE, ROWS, SHARDS, NEAREST = 256, 8, 64, 10
# share of the sample that must find itself: in an exact index, in one with links or cells, in a compressed one
ALL, NEARLY, HALF = 1.0, 0.9, 0.5
# embeddings this similar are the same picture twice, and either may be found
SAME = 0.995
# a similarity may differ from the cosine by this much, more where the vectors are compressed
EXACT_BY, COMPRESSED_BY = 0.02, 0.25
# rows of an exact index that are compared at a time
COMPARED = 65_536
# cells visited per query while checking
VISITED = 32


class ForeignIndex(ValueError):
    """An index that does not fit the corpus; the message names it and says why."""


def opened_foreign(corpus: Corpus, modality: str, factory: str) -> faiss.Index:
    """The index in the corpus's folder, checked against its embeddings. It is opened for reading only.

    A warning says so if it is approximate although `factory` is exact, or cannot be checked for want of embeddings.

    Raises:
        ForeignIndex: it cannot be read or does not fit.
    """
    path = corpus.layout.index(modality)
    index = _opened(path)
    _check_form(index, path, corpus, modality)
    if modality not in corpus.modalities:
        warnings.warn(
            f"'{path}' is used although its order cannot be checked: the corpus has no {modality} embeddings.",
            stacklevel=3,
        )
        return index
    _check_order(index, path, corpus, modality)
    if factory == "Flat" and kind_of(index) not in EXACT_KINDS:
        warnings.warn(
            f"'{path}' ({kind_of(index)}) is used, an approximate index that another tool made, although 'Flat' is "
            "asked for. Move it out of the folder for an exact search.",
            stacklevel=3,
        )
    return index


def kind_of(index: faiss.Index) -> str:
    """The kind of index inside any wrappers that transform the vectors or rename the ids."""
    inner = faiss.downcast_index(index)
    while isinstance(inner, (faiss.IndexPreTransform, faiss.IndexIDMap, faiss.IndexRefine)):
        inner = faiss.downcast_index(inner.base_index if isinstance(inner, faiss.IndexRefine) else inner.index)
    return type(inner).__name__


def _opened(path: Path) -> faiss.Index:
    # a very large index is a folder, whose cells lie in a file beside the index; neither may be opened for writing
    file = path / "populated.index" if path.is_dir() else path
    flags = faiss.IO_FLAG_ONDISK_SAME_DIR if path.is_dir() else faiss.IO_FLAG_MMAP
    if not os.path.isfile(file):
        raise ForeignIndex(f"the index '{path}' is not used: there is no file '{file}'.")
    try:
        return faiss.read_index(str(file), flags | faiss.IO_FLAG_READ_ONLY)
    except (RuntimeError, MemoryError) as problem:
        raise ForeignIndex(f"the index '{path}' cannot be read ({short(problem)}).") from problem


def _check_form(index: faiss.Index, path: Path, corpus: Corpus, modality: str) -> None:
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        metric = "L2" if index.metric_type == faiss.METRIC_L2 else f"number {index.metric_type}"
        raise ForeignIndex(
            f"the index '{path}' is not used: its metric is {metric}, and similarities need the inner product."
        )
    if not index.is_trained or index.ntotal != len(corpus):
        raise ForeignIndex(
            f"the index '{path}' is not used: it holds {index.ntotal} vectors, but the corpus '{corpus.folder}' has "
            f"{len(corpus)} items."
        )
    if modality in corpus.modalities and index.d != (width := corpus.embeddings(modality)[0].shape[1]):
        raise ForeignIndex(
            f"the index '{path}' is not used: its vectors are {index.d} wide, and the {modality} embeddings {width}."
        )


def _check_order(index: faiss.Index, path: Path, corpus: Corpus, modality: str) -> None:
    if type(index).__name__ in EXACT_KINDS:
        if different := _different(index, corpus, modality):
            raise ForeignIndex(
                f"the index '{path}' is not used: its items are not the corpus's or stand in another order. "
                f"{different} of its {len(corpus)} vectors differ from the {modality} embeddings of their rows."
            )
        return
    items, shards = _sample(corpus, modality)
    hits, exact = _hits(index, corpus, modality, items)
    needed = ALL if kind_of(index) in EXACT_KINDS else NEARLY if exact else HALF
    empty = [shard for shard in np.unique(shards) if (own := hits[shards == shard]).size >= ROWS // 2 and not own.any()]
    if hits.mean() < needed or empty:
        where = f", none of shard {empty[0]}" if empty else ""
        raise ForeignIndex(
            f"the index '{path}' is not used: its items are not the corpus's or stand in another order. Of "
            f"{len(items)} {modality} embeddings only {int(hits.sum())} find themselves with the similarity 1{where}."
        )


def _different(index: faiss.Index, corpus: Corpus, modality: str) -> int:
    """How many vectors of an exact index differ from their rows' embeddings: comparing is as fast as reading."""
    start = different = 0
    for block in corpus.embeddings(modality):
        for at in range(0, len(block), COMPARED):
            rows = np.asarray(block[at : at + COMPARED], np.float32)
            kept = index.reconstruct_n(start, len(rows))
            different += int((~(np.abs(kept - rows).max(axis=1) < EXACT_BY)).sum())
            start += len(rows)
    return different


def _hits(
    index: faiss.Index, corpus: Corpus, modality: str, items: Int64[np.ndarray, " n"]
) -> tuple[Bool[np.ndarray, " n"], bool]:
    """Which items find themselves, or an equal, at the right cosine; and whether the vectors are uncompressed."""
    rows = corpus.embedding_rows(modality, items)
    similarity, found = _searched(index, rows)
    valid = (found >= 0) & (found < len(corpus))
    known, places = np.unique(np.where(valid, found, 0), return_inverse=True)
    vectors = corpus.embedding_rows(modality, known)
    cosine = np.einsum("nd,nkd->nk", rows, vectors[places.reshape(found.shape)])
    exact = kind_of(index) in (*EXACT_KINDS, "IndexIVFFlat", "IndexHNSWFlat", "IndexNSGFlat")
    near = np.abs(similarity - cosine) < (EXACT_BY if exact else COMPRESSED_BY)
    return (valid & near & (cosine > SAME)).any(axis=1), exact


def _searched(
    index: faiss.Index, rows: Float32[np.ndarray, "n width"]
) -> tuple[Float32[np.ndarray, "n k"], Int64[np.ndarray, "n k"]]:
    """The nearest items of every row, over more cells than usual, so that only order and content are checked."""
    count = min(NEAREST, index.ntotal)
    try:
        cells = faiss.extract_index_ivf(index)
    except RuntimeError:
        return index.search(rows, count)
    usual, cells.nprobe = cells.nprobe, min(VISITED, cells.nlist)
    found = index.search(rows, count)
    cells.nprobe = usual
    return found


def _sample(corpus: Corpus, modality: str) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Items spread over all shards, or over SHARDS of them, and the shard of each."""
    lengths = np.array([len(block) for block in corpus.embeddings(modality)])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    filled = np.flatnonzero(lengths)
    chosen = np.unique(filled[np.linspace(0, len(filled) - 1, min(SHARDS, len(filled))).astype(int)])
    count = max(ROWS, SAMPLE // len(chosen))
    rows = [np.unique(np.linspace(0, lengths[shard] - 1, count).astype(int)) for shard in chosen]
    items = np.concatenate([starts[shard] + own for shard, own in zip(chosen, rows, strict=True)])
    return items, np.repeat(chosen, [len(own) for own in rows])
