"""The queries of a search, as differentiable functions of the estimates.

They are torch twins of `retrieval.neighbours` (queries of embeddings, `CombinedIndex.whitened`) and of
`retrieval.words` (`Vocabulary.vectors`), in double precision. All give vectors of unit length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn.functional import normalize

Read = Callable[[Float[Tensor, "batch tokens width"]], Float[Tensor, "batch outputs"]]


@dataclass(frozen=True)
class EmbeddingQuery:
    """q = y / |y|, y what `read` makes of the tokens: token 0 of image tokens, the readout of text tokens."""

    read: Read

    def __call__(self, tokens: Float[Tensor, "batch tokens width"]) -> Float64[Tensor, "batch outputs"]:
        """q of each estimate."""
        return normalize(self.read(tokens).double(), dim=-1)


@dataclass(frozen=True)
class WhitenedQuery:
    """q = a / |a|,  a = (C / v + floor)^-1 (y / |y| - m): all directions of the corpus weigh the same.

    Attributes:
        read: tokens -> y.
        mean: m of the corpus's embeddings.
        inverse: (C / v + floor)^-1, C their covariance and v its mean eigenvalue.
    """

    read: Read
    mean: Float64[Tensor, " outputs"]
    inverse: Float64[Tensor, "outputs outputs"]

    @classmethod
    def of(
        cls, read: Read, mean: Float64[Tensor, " outputs"], covariance: Float64[Tensor, "outputs outputs"], floor: float
    ) -> WhitenedQuery:
        """From the corpus's moments and the floor that keeps directions without variance out."""
        scaled = covariance * (len(mean) / covariance.trace()) + floor * torch.eye(len(mean), dtype=mean.dtype)
        return cls(read, mean, torch.linalg.inv(scaled))

    def __call__(self, tokens: Float[Tensor, "batch tokens width"]) -> Float64[Tensor, "batch outputs"]:
        """q of each estimate."""
        centred = normalize(self.read(tokens).double(), dim=-1) - self.mean
        return normalize(centred @ self.inverse.T, dim=-1)


@dataclass(frozen=True)
class WordQuery:
    """q = u / |u|,  u_w = (x_w - m_w) / sqrt(m_w (1 - m_w)), x the presence of words that tokens hold.

    Attributes:
        read: tokens -> x.
        share: m, the share of captions that hold each word.
    """

    read: Read
    share: Float64[Tensor, " outputs"]

    def __call__(self, tokens: Float[Tensor, "batch tokens width"]) -> Float64[Tensor, "batch outputs"]:
        """q of each estimate."""
        spread = (self.share * (1 - self.share)).sqrt()
        return normalize((self.read(tokens).double() - self.share) / spread, dim=-1)
