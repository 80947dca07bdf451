"""The most similar items of a corpus by inner product of L2-normalised embeddings (cosine), with faiss.

    similarity(q, e_j) = q . e_j,      |q| = |e_j| = 1,      neighbours = the k items with the largest similarity

Exact by default (`Flat`); any faiss factory string for larger corpora, e.g. `IVF4096,Flat`, whose `nprobe` is the
number of cells that a query visits. An index that another tool left in the corpus's folder (image.index, text.index) is
used if it fits the embeddings, see `foreign`; one that is made here is stored in a results folder, never in the
corpus's.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from jaxtyping import Float, Float32, Int, Int64
from tqdm.auto import tqdm

from brainram_lib.core.files import write_json, write_whole
from brainram_lib.core.locks import held
from brainram_lib.core.marks import fingerprint
from brainram_lib.retrieval.corpus import Corpus, CorpusError
from brainram_lib.retrieval.foreign import ForeignIndex, opened_foreign
from brainram_lib.retrieval.layout import short

EXACT = "Flat"
QUERY_CHUNK = 1024
# float16 rounds a unit vector's norm by less than this
NORM_TOLERANCE = 1e-2
# k-means of an IVF index needs some 40 vectors a cell; more only costs time
TRAINING_ROWS = 200_000

Excluded = Int[np.ndarray, " _m"] | Sequence[Int[np.ndarray, " _m"]] | None


@dataclass(frozen=True)
class Neighbours:
    """Items of a corpus, the most similar first along the last axis.

    `ids` int64 and `similarity` float32 have one shape: (n, k) from a search, (n, S, K) with S prior samples per
    stimulus.
    """

    ids: Int64[np.ndarray, "*rows k"]
    similarity: Float32[np.ndarray, "*rows k"]

    def __post_init__(self) -> None:
        if self.ids.shape != self.similarity.shape:
            raise ValueError(f"ids have shape {self.ids.shape}, similarities {self.similarity.shape}: they must agree.")

    def reshape(self, *rows: int) -> Neighbours:
        """The same neighbours with other leading axes; the last axis stays."""
        shape = (*rows, self.ids.shape[-1])
        return Neighbours(self.ids.reshape(shape), self.similarity.reshape(shape))


class VectorIndex:
    """A faiss index over the embeddings of one modality of a corpus.

    Parameters: `index`, a faiss index with the inner-product metric; `name` for messages; `nprobe`, the cells visited
    by each query of an IVF index (None: the index's own setting).

    Raises:
        ValueError: `nprobe` is not a whole number of at least 1, or the index has no cells.
    """

    def __init__(self, index: faiss.Index, name: str, nprobe: int | None = None) -> None:
        self.faiss, self.name = index, name
        if nprobe is not None:
            cells = ivf_of(index)
            if cells is None:
                raise ValueError(f"{name} is not an IVF index, so 'nprobe' ({nprobe}) means nothing: drop it.")
            cells.nprobe = checked_nprobe(nprobe)

    def __len__(self) -> int:
        return self.faiss.ntotal

    @property
    def width(self) -> int:
        """Width of the vectors."""
        return self.faiss.d

    @classmethod
    def build(
        cls,
        blocks: Sequence[Float[np.ndarray, "_rows width"]],
        factory: str = EXACT,
        nprobe: int | None = None,
        name: str = "the index",
    ) -> VectorIndex:
        """Index the vectors of all blocks; ids count across the blocks in order.

        Raises:
            ValueError: vectors that are not finite or not L2-normalised, or a factory string that faiss does not know.
        """
        width = blocks[0].shape[1]
        if nprobe is not None:
            checked_nprobe(nprobe)
        try:
            index = faiss.index_factory(width, factory, faiss.METRIC_INNER_PRODUCT)
        except RuntimeError as problem:
            raise ValueError(f"faiss cannot make '{factory}' for vectors {width} wide: {problem}") from problem
        if not index.is_trained:
            _train(index, factory, checked_unit(_training_rows(blocks), f"embeddings of {name}"))
        for number, block in enumerate(tqdm(blocks, desc=f"index {name}", unit="shard", disable=len(blocks) < 50)):
            index.add(checked_unit(np.asarray(block, np.float32), f"embeddings of shard {number} of {name}"))
        return cls(index, name, nprobe)

    @classmethod
    def of(
        cls,
        corpus: Corpus,
        modality: str,
        factory: str = EXACT,
        folder: Path | None = None,
        nprobe: int | None = None,
    ) -> VectorIndex:
        """The index of one modality of a corpus.

        One that another tool left in the corpus's folder is used if it fits the embeddings; if not, a warning says why.
        Otherwise the index is built, and stored below `folder` (None: in memory only) under a name that says what it
        was made from.

        Raises:
            CorpusError: the stored index cannot be read; or there is neither a usable index nor any embeddings.
            ValueError: as `build`.
        """
        path = corpus.layout.index(modality)
        if path.exists() or path.is_symlink():
            try:
                return cls(opened_foreign(corpus, modality, factory), f"'{path}'", nprobe)
            except ForeignIndex as problem:
                if modality not in corpus.modalities:
                    raise CorpusError(
                        f"{problem} There are no {modality} embeddings to build another from."
                    ) from problem
                warnings.warn(f"{problem} It is left as it is, and '{factory}' is built instead.", stacklevel=2)
        if folder is None:
            name = f"the {modality} index of '{corpus.folder}'"
            return cls.build(corpus.embeddings(modality), factory, nprobe, name)
        return cls._kept(corpus, modality, factory, Path(folder), nprobe)

    @classmethod
    def _kept(cls, corpus: Corpus, modality: str, factory: str, folder: Path, nprobe: int | None) -> VectorIndex:
        """The index below `folder`; built and stored first if it is not there."""
        blocks = corpus.embeddings(modality)
        made_from = {"index_key": factory, "metric_type": "ip", "embeddings": corpus.embeddings_mark(modality)}
        path = folder / f"{modality}-{fingerprint(made_from)}.index"
        if not path.exists():
            with held(folder / f"{path.name}.lock", f"the {modality} index"):
                if not path.exists():
                    built = cls.build(blocks, factory, None, f"'{path}'")
                    record = {**made_from, "nb vectors": len(built), "vectors dimension": built.width}
                    write_json(path.with_suffix(".json"), record)
                    with write_whole(path) as partial:
                        faiss.write_index(built.faiss, str(partial))
        index = _read(path)
        if index.ntotal != len(corpus):
            raise CorpusError(
                f"'{path}' holds {index.ntotal} vectors, but the corpus '{corpus.folder}' has {len(corpus)} items. "
                "Delete the index; it is made again from the embeddings."
            )
        return cls(index, f"'{path}'", nprobe)

    def search(self, queries: Float32[np.ndarray, "n width"], k: int, exclude: Excluded = None) -> Neighbours:
        """The k most similar items of every query, the most similar first.

        `exclude`: ids that may not be found, one array for all queries or one array for each.

        Raises:
            ValueError: queries have a different width, are not finite or not L2-normalised; k is larger than what is
                left of the corpus; an approximate index finds fewer than k.
        """
        queries = checked_unit(checked_width(queries, self.width, self.name), "queries")
        return search_faiss(self.faiss, queries, k, exclude, self.name)


def search_faiss(
    index: faiss.Index, queries: Float32[np.ndarray, "n width"], k: int, exclude: Excluded, name: str
) -> Neighbours:
    """`VectorIndex.search` without checking the queries' norms: faiss ranks by plain inner product."""
    forbidden = _forbidden(exclude, len(queries))
    most = max((len(ids) for ids in forbidden), default=0)
    if not 1 <= k <= index.ntotal - most:
        raise ValueError(
            f"'k' must lie between 1 and {index.ntotal - most}: {name} holds {index.ntotal} items, of which up to "
            f"{most} are excluded. {k} was provided."
        )
    ids = np.empty((len(queries), k), np.int64)
    similarity = np.empty((len(queries), k), np.float32)
    starts = range(0, len(queries), QUERY_CHUNK)
    for start in tqdm(starts, desc="search neighbours", unit="chunk", disable=len(starts) < 4):
        rows = slice(start, start + QUERY_CHUNK)
        # at most `most` items are excluded, so the first k + most include k that are not
        found_similarity, found_ids = index.search(np.ascontiguousarray(queries[rows]), k + most)
        ids[rows], similarity[rows] = _first_allowed(
            found_ids, found_similarity, k, forbidden[rows], name, _cells(index)
        )
    return Neighbours(ids, similarity)


def search_reference(
    embeddings: Float[np.ndarray, "items width"],
    queries: Float[np.ndarray, "n width"],
    k: int,
    exclude: Excluded = None,
) -> Neighbours:
    """`VectorIndex.search` in its plain form: the full matrix of similarities, each row sorted."""
    similarity = np.asarray(queries, np.float32) @ np.asarray(embeddings, np.float32).T
    for row, ids in enumerate(_forbidden(exclude, len(queries))):
        similarity[row, list(ids)] = -np.inf
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    return Neighbours(order.astype(np.int64), np.take_along_axis(similarity, order, axis=1))


def checked_width(queries: Float[np.ndarray, "n width"], width: int, name: str) -> Float32[np.ndarray, "n width"]:
    """The queries as float32.

    Raises:
        ValueError: they do not have two axes, or their width differs from the index's.
    """
    if queries.ndim != 2 or queries.shape[1] != width:
        raise ValueError(f"queries for {name} must have shape (n, {width}). {tuple(queries.shape)} was provided.")
    return np.asarray(queries, np.float32)


def checked_unit(vectors: Float32[np.ndarray, "n width"], what: str) -> Float32[np.ndarray, "n width"]:
    """The vectors themselves.

    Raises:
        ValueError: one of them is not finite or not of norm 1: an inner product would not be a cosine.
    """
    lengths = np.linalg.norm(vectors, axis=1)
    if not np.all(np.isfinite(lengths)):
        raise ValueError(f"{what}: row {int(np.flatnonzero(~np.isfinite(lengths))[0])} is NaN or infinite.")
    if np.any(np.abs(lengths - 1) > NORM_TOLERANCE):
        row = int(np.argmax(np.abs(lengths - 1)))
        raise ValueError(f"{what}: row {row} has norm {lengths[row]:.3f}, expected 1. Divide every row by its norm.")
    return vectors


def _forbidden(exclude: Excluded, queries: int) -> list[frozenset[int]]:
    if exclude is None:
        return [frozenset()] * queries
    if isinstance(exclude, np.ndarray) and exclude.ndim == 1 and exclude.dtype.kind in "iu":
        return [frozenset(exclude.tolist())] * queries
    if len(exclude) != queries:
        raise ValueError(f"'exclude' must be one array, or one for each of the {queries} queries. {len(exclude)} came.")
    return [frozenset(np.asarray(ids, np.int64).ravel().tolist()) for ids in exclude]


def _first_allowed(
    ids: np.ndarray, similarity: np.ndarray, k: int, forbidden: list[frozenset[int]], name: str, cells: str
) -> tuple[np.ndarray, np.ndarray]:
    """The first k of every row that are items (faiss fills with -1) and not forbidden."""
    allowed = ids >= 0
    for row, banned in enumerate(forbidden):
        if banned:
            allowed[row] &= ~np.isin(ids[row], list(banned))
    if (short := np.flatnonzero(allowed.sum(axis=1) < k)).size:
        raise ValueError(
            f"{name} found only {int(allowed[short[0]].sum())} of k = {k} neighbours of query {short[0]}: an "
            f"approximate index visits few of its cells{cells}. Raise 'nprobe'."
        )
    first = np.argsort(~allowed, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(ids, first, axis=1), np.take_along_axis(similarity, first, axis=1)


def _training_rows(blocks: Sequence[np.ndarray]) -> Float32[np.ndarray, "rows width"]:
    total = sum(len(block) for block in blocks)
    step = max(1, total // TRAINING_ROWS)
    return np.concatenate([np.asarray(block[::step], np.float32) for block in blocks])


def _train(index: faiss.Index, factory: str, rows: Float32[np.ndarray, "rows width"]) -> None:
    try:
        index.train(rows)
    except RuntimeError as problem:
        raise ValueError(
            f"faiss cannot make '{factory}' from {len(rows)} vectors: it has more cells or codes than these can fill. "
            f"Use 'Flat' or fewer cells ({short(problem)})."
        ) from problem


def checked_nprobe(nprobe: int) -> int:
    """`nprobe` itself.

    Raises:
        ValueError: it is no whole number, or below 1.
    """
    try:
        cells = 0 if isinstance(nprobe, bool) else operator.index(nprobe)
    except TypeError:
        cells = 0
    if cells < 1:
        raise ValueError(f"'nprobe' must be a whole number of cells, 1 or more. {nprobe!r} was provided.")
    return cells


def ivf_of(index: faiss.Index) -> faiss.IndexIVF | None:
    """The IVF part of an index, even inside a transformation of the vectors; None if there is none."""
    try:
        return faiss.extract_index_ivf(index)
    except RuntimeError:
        return None


def _cells(index: faiss.Index) -> str:
    cells = ivf_of(index)
    return "" if cells is None else f" (nprobe = {cells.nprobe} of {cells.nlist})"


def _read(path: Path) -> faiss.Index:
    try:
        # memory-mapped: an index larger than memory works, only the pages that queries touch are read
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
    except RuntimeError as problem:
        raise CorpusError(f"the index '{path}' cannot be read ({problem}). Delete it; it is made again.") from problem
