"""The final choice of neighbours, by all their tokens.

An embedding says what a picture shows; where things are in it is in the tokens. The tokens of a whole corpus cannot be
searched, but those of a few candidates can be encoded:

    score = similarity + weight * cos(p, c),      p the estimate's tokens, c the candidate's, flattened

Both are whitened, because the cosine of plain tokens is nearly blind to objects (see `brainram_lib.core.whitening`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor
from torch.nn.functional import normalize
from tqdm.auto import tqdm

from brainram_lib.core.rows import Rows
from brainram_lib.retrieval.index import Neighbours
from brainram_lib.retrieval.neighbours import best_items

CHUNK = 64
TokensOf = Callable[[Int[np.ndarray, " m"]], Float[Tensor, "m tokens width"]]


def reranked(
    found: Neighbours,
    estimates: Float[Tensor, "n samples tokens width"] | Rows,
    tokens_of: TokensOf,
    weight: float,
    k: int,
) -> Neighbours:
    """The k best of the candidates of every sample; `similarity` holds the new score.

    Args:
        found: candidates (n, S, C), C at least k.
        estimates: p, whitened.
        tokens_of: ids -> tokens of these items, whitened as p is.
        weight: what a cosine of 1 adds to the similarity.
        k: neighbours to keep.

    Raises:
        ValueError: fewer candidates than neighbours, or candidates of other stimuli or samples than the estimates.
    """
    if found.ids.shape[-1] < k:
        raise ValueError(f"{k} neighbours cannot be chosen among {found.ids.shape[-1]} candidates: search for more.")
    if found.ids.shape[:2] != tuple(estimates.shape[:2]):
        raise ValueError(
            f"candidates {found.ids.shape} and estimates {tuple(estimates.shape)} must be of the same stimuli and "
            "samples."
        )
    items, places = np.unique(found.ids, return_inverse=True)
    known, places = _directions(items, tokens_of), torch.from_numpy(places.reshape(found.ids.shape))
    score = np.array(found.similarity)
    for start in tqdm(range(0, len(score), CHUNK), desc="compare candidates' tokens", unit="chunk"):
        rows = slice(start, start + CHUNK)
        asked = normalize(estimates[rows].cpu().flatten(2), dim=-1)
        for sample in range(asked.shape[1]):
            candidates = known[places[rows, sample]].float()
            score[rows, sample] += weight * torch.einsum("nd,ncd->nc", asked[:, sample], candidates).numpy()
    order = np.argsort(-score, axis=-1, kind="stable")[..., :k]
    return Neighbours(*(np.take_along_axis(values, order, axis=-1) for values in (found.ids, score)))


def best_by_tokens(
    found: Neighbours, estimates: Float[Tensor, "n tokens width"], tokens_of: TokensOf, count: int
) -> Int64[np.ndarray, "n count"]:
    """The `count` items found by any sample of a stimulus whose tokens are most similar to its estimate.

    Best first, each item only once; if its samples found fewer than `count`, the list starts over. `estimates` and what
    `tokens_of` returns are whitened in the same way.
    """
    ids = found.ids.reshape(len(found.ids), 1, -1)
    pooled = Neighbours(ids, np.zeros(ids.shape, np.float32))
    return best_items(reranked(pooled, estimates[:, None], tokens_of, 1.0, ids.shape[-1]), count)


def reranked_reference(
    found: Neighbours, estimates: Float[Tensor, "n samples tokens width"], tokens_of: TokensOf, weight: float, k: int
) -> Neighbours:
    """`reranked`, one candidate at a time."""
    ids, scores = np.empty((*found.ids.shape[:2], k), np.int64), np.empty((*found.ids.shape[:2], k), np.float32)
    for place in np.ndindex(found.ids.shape[:2]):
        asked = estimates[place].flatten()
        new = []
        for item, similarity in zip(found.ids[place], found.similarity[place], strict=True):
            candidate = tokens_of(np.array([item])).flatten()
            new.append(similarity + weight * (asked @ candidate / asked.norm() / candidate.norm()).item())
        best = np.argsort(-np.array(new), kind="stable")[:k]
        ids[place], scores[place] = found.ids[place][best], np.array(new, np.float32)[best]
    return Neighbours(ids, scores)


def _directions(items: Int[np.ndarray, " m"], tokens_of: TokensOf) -> Float[Tensor, "m flat"]:
    """Flattened tokens of length 1, in half precision, since many stimuli share a candidate."""
    starts = tqdm(range(0, len(items), 512), desc="candidates' tokens", unit="chunk")
    return torch.cat([normalize(tokens_of(items[at : at + 512]).flatten(1), dim=1).half().cpu() for at in starts])
