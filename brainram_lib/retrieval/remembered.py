"""Embedding a corpus's pictures computes their tokens too: they are kept for later use."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from brainram_lib.retrieval.tokens import TokenCache, TokenEncoder
from brainram_lib.retrieval.writing import PooledEncoder


@runtime_checkable
class CorpusEncoder(TokenEncoder, PooledEncoder, Protocol):
    """An encoder that gives both pooled embeddings and tokens, and knows the side of its pictures."""

    image_size: int


class RememberedTokens:
    """An encoder that embeds the pictures of a corpus, token 0, and remembers all tokens of what it has embedded.

    The network computes them anyway, so a neighbour whose tokens are needed later need not be encoded again.
    """

    def __init__(self, encoder: CorpusEncoder) -> None:
        self.encoder, self.fingerprint, self.image_size = encoder, encoder.fingerprint, encoder.image_size
        self._blocks: list[np.ndarray] = []

    @property
    def count(self) -> int:
        """How many pictures were embedded."""
        return sum(map(len, self._blocks))

    def pooled_images(self, images: UInt8[np.ndarray, "n height width 3"]) -> Float[Tensor, "n features"]:
        """See `PooledEncoder`."""
        tokens = self.encoder.image_tokens(images)
        self._blocks.append(tokens.numpy().astype(np.float16))
        return tokens[:, 0]

    def pooled_texts(self, texts: list[str]) -> Float[Tensor, "n width"]:
        """See `PooledEncoder`."""
        return self.encoder.pooled_texts(texts)

    def hand_over(self, cache: TokenCache) -> None:
        """Give all tokens, in order, to the cache of the corpus whose pictures were embedded."""
        first = 0
        for tokens in self._blocks:
            cache.keep_images(first, tokens)
            first += len(tokens)
        self._blocks.clear()
