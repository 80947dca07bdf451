"""The corpus's items as a prior's training sees them: rows that need no betas."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor
from tqdm.auto import tqdm

if TYPE_CHECKING:
    from brainram_lib.retrieval.tokens import TokenCache

CHUNK = 512


def free_tokens(
    cache: TokenCache, count: int, modality: str, captions: int, without: Collection[int] = ()
) -> Float[Tensor, "items tokens width"]:
    """Tokens of a corpus's first `count` items, in half precision, made as a stimulus's tokens are.

    Those of `without` are left out, such as near-duplicates of stimuli.

    A stimulus's text tokens are the mean of those of its captions, but an item has one caption: its row is the mean of
    the tokens of the `captions` captions nearest to its own by embedding, its own included. Items that cannot be
    encoded are left out: a corpus may lack some of its images.
    """
    items = np.setdiff1d(np.arange(min(count, len(cache.corpus))), np.array(sorted(without), np.int64))
    failed = cache.prepare(items, modality)
    items = np.setdiff1d(items, np.array(sorted(failed), items.dtype))
    tokens = cache.tokens_of(items, modality, torch.float16)
    if modality == "image" or captions == 1:
        return tokens
    alike = nearest(cache.corpus.embedding_rows("text", items), min(captions, len(items)))
    means = torch.empty_like(tokens)
    for rows in torch.arange(len(items)).split(CHUNK):
        means[rows] = tokens[alike[rows]].float().mean(1).half()
    return means


def nearest(embeddings: Float32[np.ndarray, "n width"], count: int) -> Int64[Tensor, "n count"]:
    """For every row, the `count` rows with the largest cosine."""
    unit = torch.nn.functional.normalize(torch.from_numpy(embeddings), dim=1)
    chunks = tqdm(unit.split(CHUNK), desc="captions that are alike", unit="chunk", delay=2)
    return torch.cat([(rows @ unit.T).topk(count, dim=1).indices for rows in chunks])
