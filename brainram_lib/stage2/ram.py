"""The Retrieval-Augmented Module: Divide (eq. 7) and Fuse (eq. 8 to 11) of the paper, section 3.3."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brainram_lib.stage1.network import Attention
from brainram_lib.stage2.interface import Fusion, with_p, zeroed
from brainram_lib.stage2.settings import Stage2Settings


class Divide(nn.Module):
    """Eq. 7: a single attention module, shared by p itself and every neighbour, and nothing else.

    u_k = softmax(Q K^T / sqrt(d)) V for each head, with Q from p and K, V from source k. The last linear layer is
    zero-initialised, so that q = 0 before training.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        zeroed(self.attention.out)

    def forward(
        self, p: Float[Tensor, "batch tokens width"], sources: Float[Tensor, "batch sources tokens width"]
    ) -> Float[Tensor, "batch sources tokens width"]:
        """u for every source."""
        count = sources.shape[1]
        return self.attention(p.repeat_interleave(count, 0), sources.flatten(0, 1)).unflatten(0, (-1, count))


class DivideWithDifference(nn.Module):
    """Eq. 7 with p, the source and their difference added after the attention (this workbench's own).

    q is a residual, and the simplest good one is a step part of the way from p to the neighbours. From attended tokens
    alone, that would have to be learned. The last layer is zero-initialised.
    """

    def __init__(self, tokens: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.position = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.attention = Attention(width, heads)
        self.mix = nn.Sequential(nn.Linear(3 * width, 2 * width), nn.GELU(), nn.Dropout(dropout))
        self.last = zeroed(nn.Linear(3 * width, width))

    def forward(
        self, p: Float[Tensor, "batch tokens width"], sources: Float[Tensor, "batch sources tokens width"]
    ) -> Float[Tensor, "batch sources tokens width"]:
        """u for every source."""
        count = sources.shape[1]
        query, source = p.repeat_interleave(count, 0), sources.flatten(0, 1)
        attended = self.attention(self.norm(query + self.position), self.norm(source + self.position))
        mixed = self.mix(torch.cat([attended, query, source], dim=-1))
        return self.last(torch.cat([mixed, source - query], dim=-1)).unflatten(0, (-1, count))


class Fuse(nn.Module):
    """Eq. 8 to 11: weights over the K + 1 sources for every token, from their mean, by K + 1 different tiny MLPs."""

    def __init__(self, sources: int, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Parameter(torch.randn(sources, width, hidden) * width**-0.5)
        self.outer = nn.Parameter(torch.randn(sources, hidden) * 0.1 * hidden**-0.5)

    def forward(
        self, u: Float[Tensor, "batch sources tokens width"]
    ) -> tuple[Float[Tensor, "batch tokens width"], Float[Tensor, "batch sources tokens"]]:
        """q (eq. 11, summed over sources only) and the weights Z~ (eq. 10), which sum to one over the sources."""
        mean = self.norm(u.mean(1))
        hidden = torch.tanh(torch.einsum("btd,kdh->bkth", mean, self.inner))
        weights = torch.einsum("bkth,kh->bkt", hidden, self.outer).softmax(1)
        return torch.einsum("bkt,bktd->btd", weights, u), weights


class Ram(Fusion):
    """The paper's fusion: Divide gives u for p and each neighbour, Fuse their weighted sum q for every token.

    q_tj = sum_k Z~_kt U_ktj (eq. 11), with weights Z~ that sum to one over the K + 1 sources (eq. 10). Source:
    section 3.3; 'RAM' of Table 4.
    """

    def __init__(self, settings: Stage2Settings, neighbours: int, tokens: int, width: int) -> None:
        super().__init__(neighbours)
        self.divide: nn.Module = Divide(width, settings.heads)
        self.fuse = Fuse(neighbours + 1, width, settings.fusion_hidden)

    def residual(
        self, p: Float[Tensor, "batch tokens width"], c: Float[Tensor, "batch neighbours tokens width"]
    ) -> tuple[Float[Tensor, "batch tokens width"], Float[Tensor, "batch sources tokens"]]:
        """The residual q and the weights of p (row 0) and of each neighbour, for every token."""
        return self.fuse(self.divide(p, with_p(p, c)))


class DifferenceRam(Ram):
    """The RAM with the difference of p and each source after the attention of eq. 7 (this workbench's own)."""

    def __init__(self, settings: Stage2Settings, neighbours: int, tokens: int, width: int) -> None:
        super().__init__(settings, neighbours, tokens, width)
        self.divide = DivideWithDifference(tokens, width, settings.heads, settings.dropout)
