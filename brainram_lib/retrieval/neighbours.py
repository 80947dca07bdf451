"""From the priors' estimates to neighbours: queries, the search per sample, the search over several embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import faiss
import numpy as np
from jaxtyping import Float, Float32, Int, Int64
from torch import Tensor

from brainram_lib.retrieval.corpus import Corpus
from brainram_lib.retrieval.index import (
    Excluded,
    Neighbours,
    VectorIndex,
    checked_unit,
    checked_width,
    search_faiss,
)

READOUT_CHUNK = 1024
Readout = Callable[[Float32[np.ndarray, "n tokens width"]], Float[np.ndarray, "n pooled"]]


def image_query(estimates: Float[np.ndarray | Tensor, "*rows tokens width"]) -> Float32[np.ndarray, "*rows width"]:
    """Token 0 of every estimate, L2-normalised: the image encoder's global embedding (METHOD: query for images).

    Raises:
        ValueError: a token 0 that is zero or not finite.
    """
    return unit(np.asarray(estimates[..., 0, :], np.float32), "token 0 of the image estimates")


def text_query(
    estimates: Float[np.ndarray | Tensor, "*rows tokens width"], readout: Readout
) -> Float32[np.ndarray, "*rows pooled"]:
    """The pooled text embedding that `readout` predicts from every estimate, L2-normalised.

    Averaging over an image's captions loses the position of the end-of-text token, so no single token can be the query.

    Raises:
        ValueError: the readout gives a vector that is zero or not finite, or not one vector per estimate.
    """
    flat = estimates.reshape(-1, *estimates.shape[-2:])
    starts = range(0, len(flat), READOUT_CHUNK)
    parts = [np.asarray(readout(np.array(flat[at : at + READOUT_CHUNK], np.float32)), np.float32) for at in starts]
    if parts[0].ndim != 2 or sum(len(part) for part in parts) != len(flat):
        raise ValueError(
            f"the readout must give ({len(flat)}, width), one vector an estimate; it gave {parts[0].shape}."
        )
    return unit(np.concatenate(parts), "the readout of the text estimates").reshape(*estimates.shape[:-2], -1)


def unit(vectors: Float32[np.ndarray, "*rows width"], what: str) -> Float32[np.ndarray, "*rows width"]:
    """Vectors divided by their norms.

    Raises:
        ValueError: one of them is zero or not finite.
    """
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    bad = ~(np.isfinite(lengths) & (lengths > 0))
    if bad.any():
        raise ValueError(f"{what}: vector {int(np.flatnonzero(bad)[0])} is zero, NaN or infinite and has no direction.")
    return vectors / lengths


def find_neighbours(
    index: VectorIndex, queries: Float32[np.ndarray, "n samples width"], k: int, exclude: Excluded = None
) -> Neighbours:
    """The k neighbours of every prior sample of every stimulus: ids and similarity (n, S, K).

    `exclude`: ids that may not be found, one array for all stimuli or one array for each (its near-duplicates).

    Raises:
        ValueError: as `VectorIndex.search`.
    """
    stimuli, samples, width = queries.shape
    found = index.search(queries.reshape(-1, width), k, _for_each_sample(exclude, samples))
    return found.reshape(stimuli, samples)


def pooled_over_samples(neighbours: Neighbours) -> Neighbours:
    """One set of S * K neighbours shared by the S samples of a stimulus (METHOD's option `pooled`): (n, S, S * K).

    An item found by several samples appears as often as it was found.
    """
    stimuli, samples, k = neighbours.ids.shape
    order = np.argsort(-neighbours.similarity.reshape(stimuli, -1), axis=1, kind="stable")

    def shared(values: np.ndarray) -> np.ndarray:
        ranked = np.take_along_axis(values.reshape(stimuli, -1), order, axis=1)
        return np.repeat(ranked[:, None], samples, axis=1)

    return Neighbours(shared(neighbours.ids), shared(neighbours.similarity))


def best_items(neighbours: Neighbours, count: int) -> Int64[np.ndarray, "n count"]:
    """The `count` most similar items of each stimulus over all its samples, best first, each item only once.

    If its samples found fewer than `count`, the list starts over.
    """
    found = pooled_over_samples(neighbours).ids[:, 0]
    return np.stack([np.resize(first_seen(ids), count) for ids in found])


def first_seen(ids: Int64[np.ndarray, " m"]) -> Int64[np.ndarray, " distinct"]:
    """Every item once, in order of first appearance."""
    return ids[np.sort(np.unique(ids, return_index=True)[1])]


@dataclass(frozen=True)
class CombinedIndex:
    """One exact inner-product index over several embeddings of the same items, side by side.

        score_j = sum_m w_m (q_m . e_mj)  =  [w_1 q_1, w_2 q_2, ...] . [e_1j, e_2j, ...]

    The weights are part of the query, so one index serves every choice of weights, exactly. Parts are image embeddings,
    text embeddings and, if the captions are few enough to hold in memory, their word vectors.
    """

    index: faiss.Index
    widths: tuple[int, ...]
    means: tuple[Float[np.ndarray, " _width"], ...]
    covariances: tuple[Float[np.ndarray, "_width _width"], ...]

    @classmethod
    def build(cls, parts: Sequence[Sequence[Float[np.ndarray, "_rows _width"]]]) -> CombinedIndex:
        """Index `parts`: for each part its blocks (one per shard, as `Corpus.embeddings` gives them).

        Raises:
            ValueError: parts of different lengths; vectors that are not finite or not L2-normalised.
        """
        lengths = {sum(len(block) for block in blocks) for blocks in parts}
        if len(lengths) != 1:
            raise ValueError(f"the parts must describe the same items; they have {sorted(lengths)} rows.")
        widths = tuple(blocks[0].shape[1] for blocks in parts)
        index = faiss.IndexFlatIP(sum(widths))
        for number, shard in enumerate(zip(*parts, strict=True)):
            rows = [checked_unit(np.asarray(block, np.float32), f"shard {number}") for block in shard]
            index.add(np.concatenate(rows, axis=1))
        moments = [_moments(blocks) for blocks in parts]
        return cls(index, widths, tuple(mean for mean, _ in moments), tuple(spread for _, spread in moments))

    @classmethod
    def of(cls, corpus: Corpus, words: Float32[np.ndarray, "items words"] | None = None) -> CombinedIndex:
        """Image embeddings (part 0), text embeddings (1) and, if given, the captions' word vectors (2) of a corpus."""
        parts = [corpus.image_embeddings(), corpus.text_embeddings()]
        if words is not None:
            starts = np.cumsum([len(block) for block in parts[0]])
            parts.append(np.split(words, starts[:-1]))
        return cls.build(parts)

    def __len__(self) -> int:
        return self.index.ntotal

    def embeddings(self, items: Int[np.ndarray, " n"]) -> list[Float32[np.ndarray, "n _width"]]:
        """Every part's embeddings of some items."""
        rows = self.index.reconstruct_batch(np.asarray(items, np.int64))
        return np.split(rows, np.cumsum(self.widths)[:-1], axis=1)

    def search(
        self,
        queries: Sequence[Float32[np.ndarray, "n _width"]],
        weights: Sequence[float],
        k: int,
        exclude: Excluded = None,
        z_scored: bool = False,
    ) -> Neighbours:
        """The k items with the largest weighted sum of similarities; `similarity` holds that sum.

        With `z_scored`, each part's similarities are first z-scored over the corpus for each query,
        w_m (q_m . e_mj - mean_j) / std_j, so that a weight does not depend on the spread of a part's cosines.

        Raises:
            ValueError: as `VectorIndex.search`; weights that are negative, all zero, or not one for each part.
        """
        if len(queries) != len(self.widths) or len(weights) != len(self.widths):
            raise ValueError(
                f"{len(self.widths)} parts need as many queries and weights; {len(queries)} and {len(weights)} came."
            )
        if min(weights) < 0 or not sum(weights) > 0:
            raise ValueError(f"'weights' must be zero or more, and not all zero. {tuple(weights)} was provided.")
        scaled, offset = [], 0.0
        for part, (vectors, weight) in enumerate(zip(queries, weights, strict=True)):
            vectors = checked_unit(checked_width(vectors, self.widths[part], f"part {part}"), f"queries of part {part}")
            gain = weight / self._spread(part, vectors) if z_scored else np.full(len(vectors), weight)
            scaled.append((vectors * gain[:, None]).astype(np.float32))
            offset = offset + (gain * (vectors @ self.means[part]) if z_scored else 0.0)
        found = search_faiss(self.index, np.concatenate(scaled, axis=1), k, exclude, "the combined index")
        shift = np.broadcast_to(np.asarray(offset, np.float32).reshape(-1, 1), (len(scaled[0]), 1))
        return Neighbours(found.ids, found.similarity - shift)

    def whitened(
        self, part: int, queries: Float32[np.ndarray, "*rows width"], floor: float
    ) -> Float32[np.ndarray, "*rows width"]:
        """Queries to use instead of `queries`: (C / v + floor)^-1 (q - mean), L2-normalised.

        C is the covariance of the part's embeddings and v its mean eigenvalue. Items then score by their whitened inner
        product with q, which weights every direction of the corpus equally, while the index stays unchanged.

        Raises:
            ValueError: `floor` is not above zero, or a query has another width.
        """
        if not floor > 0:
            raise ValueError(f"'floor' must be above zero, it keeps directions without variance out. {floor} came.")
        covariance, width = self.covariances[part], self.widths[part]
        scaled = covariance * (width / np.trace(covariance)) + floor * np.eye(width)
        centred = checked_width(queries.reshape(-1, queries.shape[-1]), width, f"part {part}") - self.means[part]
        asked = np.linalg.solve(scaled, centred.T).T.astype(np.float32)
        return unit(asked, f"whitened queries of part {part}").reshape(queries.shape)

    def _spread(self, part: int, queries: Float32[np.ndarray, "n width"]) -> Float[np.ndarray, " n"]:
        """Standard deviation over the corpus of q . e_j, from the covariance of e: sqrt(q' C q)."""
        variance = np.einsum("nd,de,ne->n", queries, self.covariances[part], queries, optimize=True)
        return np.sqrt(np.maximum(variance, 1e-12))


def find_by_parts(
    index: CombinedIndex,
    queries: Sequence[Float32[np.ndarray, "n samples _width"]],
    weights: Sequence[float],
    k: int,
    exclude: Excluded = None,
    z_scored: bool = False,
) -> Neighbours:
    """`CombinedIndex.search` for every sample of every stimulus; sample s of every part forms one query.

    Raises:
        ValueError: queries of different stimuli or samples; otherwise as `CombinedIndex.search`.
    """
    shapes = {part.shape[:2] for part in queries}
    if len(shapes) != 1:
        raise ValueError(f"queries {[part.shape for part in queries]} must be of the same stimuli and samples.")
    (stimuli, samples), *_ = shapes
    flat = [part.reshape(stimuli * samples, -1) for part in queries]
    found = index.search(flat, weights, k, _for_each_sample(exclude, samples), z_scored)
    return found.reshape(stimuli, samples)


def combined_search_reference(
    parts: Sequence[Float[np.ndarray, "items _width"]],
    queries: Sequence[Float[np.ndarray, "n _width"]],
    weights: Sequence[float],
    k: int,
    z_scored: bool = False,
) -> Neighbours:
    """`CombinedIndex.search` in its plain form: every part's full matrix, summed, each row sorted."""
    score = 0.0
    for items, asked, weight in zip(parts, queries, weights, strict=True):
        cosines = np.asarray(asked, np.float64) @ np.asarray(items, np.float64).T
        if z_scored:
            cosines = (cosines - cosines.mean(1, keepdims=True)) / cosines.std(1, keepdims=True)
        score = score + weight * cosines
    order = np.argsort(-score, axis=1, kind="stable")[:, :k]
    return Neighbours(order.astype(np.int64), np.take_along_axis(score, order, axis=1).astype(np.float32))


def _moments(blocks: Sequence[np.ndarray]) -> tuple[Float[np.ndarray, " width"], Float[np.ndarray, "width width"]]:
    """Mean and covariance of a part's vectors, block by block."""
    width, count = blocks[0].shape[1], sum(len(block) for block in blocks)
    total, products = np.zeros(width), np.zeros((width, width))
    for block in blocks:
        rows = np.asarray(block, np.float32)
        total += rows.sum(axis=0, dtype=np.float64)
        products += rows.T @ rows
    mean = total / count
    return mean, products / count - np.outer(mean, mean)


def _for_each_sample(exclude: Excluded, samples: int) -> Excluded:
    if exclude is None or (isinstance(exclude, np.ndarray) and exclude.ndim == 1 and exclude.dtype.kind in "iu"):
        return exclude
    return [ids for ids in exclude for _ in range(samples)]
