"""What is asked of an estimate: one number for each image, whose causes among the voxels are then looked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional


@runtime_checkable
class Score(Protocol):
    """One number for each estimate; `rows` says which of the score's images each estimate is of."""

    def __len__(self) -> int:
        """How many images it knows."""

    def __call__(self, estimates: Float[Tensor, "batch tokens width"], rows: Int64[Tensor, " batch"]) -> Tensor:
        """(batch,) numbers."""


@dataclass(frozen=True)
class TokenAgreement:
    """How far the tokens point to where they should: F = mean over tokens of <estimate_t, u_t>.

    u_t = (target_t - centre_t) / |target_t - centre_t|, so F is the length of the estimate along the direction that
    tells this picture's token from the average token, in CLIP's units.

    Attributes:
        directions: u, unit vectors.
        token: one token alone; None is the mean over all, in which every token has the same say.
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
