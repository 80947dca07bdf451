"""What Stage II asks of a fusion: p and its K neighbours in, the residual q out (paper, section 3.3 and Table 4)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Fusion(nn.Module, ABC):
    """p and its K neighbours -> the residual q; the refined estimate is p + q.

    Works in the prior's whitened token units, as the prior's network does. A fusion is constructed with
    (settings, neighbours, tokens, width) and defines `residual`.

    Attributes:
        trained: whether it has weights to train.
        weighs: whether it returns weights.
        needs_evidence: whether `residual` takes the evidence for each neighbour (`stage2.evidence`).
        neighbours: how many, K.
    """

    trained: ClassVar[bool] = True
    weighs: ClassVar[bool] = True
    needs_evidence: ClassVar[bool] = False

    def __init__(self, neighbours: int) -> None:
        super().__init__()
        self.neighbours = neighbours
        # Empty and not saved: it follows `.to(device)`, so that a fusion without weights has a device too.
        self.register_buffer("place", torch.empty(0), persistent=False)

    @property
    def device(self) -> torch.device:
        """The device of the module."""
        return self.place.device

    def forward(
        self,
        p: Float[Tensor, "batch tokens width"],
        c: Float[Tensor, "batch neighbours tokens width"],
        evidence: Float[Tensor, "batch neighbours features"] | None = None,
    ) -> tuple[Float[Tensor, "batch tokens width"], Float[Tensor, "batch sources tokens"] | None]:
        """The residual q, and the weights of p (row 0) and of each neighbour for every token.

        The weights sum to one over the K + 1 sources; None for a fusion that does not weight sources.

        Raises:
            ValueError: another number of neighbours, or other tokens, than the module was built for.
        """
        if c.shape[1] != self.neighbours or c.shape[2:] != p.shape[1:]:
            raise ValueError(
                f"the neighbours' tokens must have shape (batch, {self.neighbours}, {p.shape[1]}, {p.shape[2]}). "
                f"{tuple(c.shape)} was provided. Retrieve {self.neighbours} neighbours, or build the fusion for "
                "another K."
            )
        if self.needs_evidence and evidence is None:
            raise ValueError(f"{type(self).__name__} weighs its neighbours by evidence, and none was handed in.")
        return self.residual(p, c, evidence) if self.needs_evidence else self.residual(p, c)

    @abstractmethod
    def residual(
        self, p: Float[Tensor, "batch tokens width"], c: Float[Tensor, "batch neighbours tokens width"]
    ) -> tuple[Float[Tensor, "batch tokens width"], Float[Tensor, "batch sources tokens"] | None]:
        """q and the weights, from inputs that `forward` has checked; evidence comes third where it is needed."""


def with_p(
    p: Float[Tensor, "batch tokens width"], c: Float[Tensor, "batch neighbours tokens width"]
) -> Float[Tensor, "batch sources tokens width"]:
    """The K + 1 sources: p in front (row 0), then the neighbours."""
    return torch.cat([p[:, None], c], dim=1)


def zeroed(layer: nn.Linear) -> nn.Linear:
    """The layer with weight and bias set to 0, so that a residual that ends with it is 0 before training."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
