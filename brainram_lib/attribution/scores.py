"""Scores of an estimate: one number for each image, which is then attributed to voxels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.nn import functional

# One modality's tokens, or both by their names.
Estimates = Float[Tensor, "batch tokens width"] | Mapping[str, Tensor]


@runtime_checkable
class Score(Protocol):
    """One number for each estimate; `rows` says which of the score's images each estimate is of."""

    def __len__(self) -> int:
        """How many images it knows."""

    def __call__(self, estimates: Estimates, rows: Int64[Tensor, " batch"]) -> Tensor:
        """(batch,) numbers."""


@dataclass(frozen=True)
class TokenAgreement:
    """How far the tokens point to where they should: F = mean over tokens of <estimate_t, u_t>.

    u_t = (target_t - centre_t) / |target_t - centre_t|, so F is the length of the estimate along the direction that
    tells this picture's token from the average token, in CLIP's units.

    Attributes:
        directions: u, unit vectors.
        token: one token alone; None is the mean over all, with equal weights.
    """

    directions: Float[Tensor, "n tokens width"]
    token: int | None = None

    @classmethod
    def of(
        cls,
        targets: Float[Tensor, "n tokens width"],
        centre: Float[Tensor, "tokens width"],
        token: int | None = None,
    ) -> TokenAgreement:
        """The agreement with `targets`, seen from `centre`, the mean of the training targets.

        Raises:
            ValueError: a token that the targets do not have.
        """
        if token is not None and not 0 <= token < targets.shape[1]:
            raise ValueError(f"'token' must be 0 to {targets.shape[1] - 1}, or None for all. {token} was provided.")
        return cls(functional.normalize(targets - centre, dim=-1), token)

    def __len__(self) -> int:
        return len(self.directions)

    def __call__(
        self, estimates: Float[Tensor, "batch tokens width"], rows: Int64[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """F of each estimate."""
        along = (estimates * self.directions[rows]).sum(-1)
        return along.mean(1) if self.token is None else along[:, self.token]


@dataclass(frozen=True)
class NeighbourSimilarity:
    """Why this neighbour was found: F = cos(query(estimate), embedding of the neighbour).

    Attributes:
        embeddings: one neighbour for each image, of unit length.
        query: what the search asks with: `global_token` for images, the `PooledTextReadout` for captions.
    """

    embeddings: Float[Tensor, "n width"]
    query: Callable[[Float[Tensor, "batch tokens width"]], Float[Tensor, "batch width"]]

    def __len__(self) -> int:
        return len(self.embeddings)

    def __call__(
        self, estimates: Float[Tensor, "batch tokens width"], rows: Int64[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """F of each estimate."""
        return functional.cosine_similarity(self.query(estimates), self.embeddings[rows], dim=-1)


def global_token(tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch width"]:
    """Token 0, the query of the image search."""
    return tokens[:, 0]


@dataclass(frozen=True)
class PartSimilarity:
    """What one part of a joint search adds, z-scored over the corpus as `CombinedIndex.search` does it:

        F = (q . e - q . m) / sqrt(q' C q)

    Attributes:
        embeddings: e, one neighbour's for each image, of unit length.
        query: estimate -> q, of unit length; see `attribution.queries`.
        mean, covariance: m and C of the part's embeddings over the corpus.
    """

    embeddings: Float64[Tensor, "n width"]
    query: Callable[[Float[Tensor, "batch tokens width"]], Float64[Tensor, "batch width"]]
    mean: Float64[Tensor, " width"]
    covariance: Float64[Tensor, "width width"]

    def __len__(self) -> int:
        return len(self.embeddings)

    def __call__(
        self, estimates: Float[Tensor, "batch tokens width"], rows: Int64[Tensor, " batch"]
    ) -> Float64[Tensor, " batch"]:
        """F of each estimate."""
        q = self.query(estimates)
        variance = ((q @ self.covariance) * q).sum(-1).clamp(min=1e-12)
        return (q * (self.embeddings[rows] - self.mean)).sum(-1) / variance.sqrt()


@dataclass(frozen=True)
class TokenCosine:
    """What the choice among candidates adds (`retrieval.reranking`): F = cos(w(estimate), c), all tokens at once.

    Attributes:
        directions: c, the flattened whitened tokens of one neighbour for each image, of unit length.
        whitened: w, tokens in CLIP's units -> whitened.
    """

    directions: Float[Tensor, "n flat"]
    whitened: Callable[[Float[Tensor, "batch tokens width"]], Float[Tensor, "batch tokens width"]]

    def __len__(self) -> int:
        return len(self.directions)

    def __call__(
        self, estimates: Float[Tensor, "batch tokens width"], rows: Int64[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """F of each estimate."""
        asked = self.whitened(estimates).flatten(1).to(estimates.device)
        return functional.cosine_similarity(asked, self.directions[rows], dim=-1)


@dataclass(frozen=True)
class Term:
    """One term of a search: which modality's tokens it looks at, its weight, and the score."""

    modality: str
    weight: float
    score: Score


@dataclass(frozen=True)
class SearchSimilarity:
    """Why this neighbour was found by a search: F = sum over terms of weight * score, the similarity that it had.

    Both modalities' estimates enter, and through them both priors: neither alone explains why.
    """

    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        counts = {len(term.score) for term in self.terms}
        if len(counts) != 1:
            raise ValueError(f"the terms of a search must know the same images; they know {sorted(counts)}.")

    def __len__(self) -> int:
        return len(self.terms[0].score)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities whose estimates enter."""
        return tuple(dict.fromkeys(term.modality for term in self.terms))

    def __call__(self, estimates: Mapping[str, Tensor], rows: Int64[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """F of each pair of estimates."""
        parts = [term.weight * term.score(estimates[term.modality], rows) for term in self.terms]
        return torch.stack([part.double() for part in parts]).sum(0)
