"""The ways to merge p with its K neighbours (Table 4 of the paper), by name, behind one interface.

Table 4 names three alternatives to the RAM and section 4 gives each one sentence; the paper prints no equation for
them. The equations in the docstrings are this project's.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brainram_lib.stage1.network import Attention
from brainram_lib.stage2.choosing import ChoosingRam
from brainram_lib.stage2.interface import Fusion, with_p, zeroed
from brainram_lib.stage2.ram import DifferenceRam, Ram
from brainram_lib.stage2.settings import Stage2Settings


class Average(Fusion):
    """'Average': the refined estimate is the mean of p and its K neighbours.

    p + q = (p + sum_k c_k) / (K + 1), so q = sum_k w_k (s_k - p) with the sources s = (p, c_1, ..., c_K) and all
    weights w_k = 1 / (K + 1): these are the weights that it returns, in the RAM's shape.

    Nothing is trained: there are no weights to save, and q is not 0 at the start. The order of the neighbours does
    not matter. Source: Table 4, 'directly average on all features'; the equation is not printed.
    """

    trained: ClassVar[bool] = False

    def __init__(self, settings: Stage2Settings, neighbours: int, tokens: int, width: int) -> None:
        super().__init__(neighbours)

    def residual(
        self, p: Float[Tensor, "batch tokens width"], c: Float[Tensor, "batch neighbours tokens width"]
    ) -> tuple[Float[Tensor, "batch tokens width"], Float[Tensor, "batch sources tokens"]]:
        """q and the equal weights."""
        sources = self.neighbours + 1
        weights = p.new_full((len(p), sources, p.shape[1]), 1 / sources)
        return with_p(p, c).mean(1) - p, weights


class Conv1x1(Fusion):
    """'1x1Conv': a convolution with a kernel of one token over the features of all K + 1 sources.

    q_t = W [p_t; c_1t; ...; c_Kt] + b, with W in (D, (K + 1) D) and b in (D), the same at every token t. Both are 0
    before training, so q = 0. It tells the neighbours apart by their rank and moves nothing between tokens; it weighs
    no sources, so its weights are None.

    Source: Table 4, 'use a 1x1 convolution kernel to merge all features'. The equation is not printed; that every
    feature of every source is an input channel is this project's reading. The other reading, K + 1 scalars that are
    shared by all features, is a special case of W.
    """

    weighs: ClassVar[bool] = False

    def __init__(self, settings: Stage2Settings, neighbours: int, tokens: int, width: int) -> None:
        super().__init__(neighbours)
        self.merge = zeroed(nn.Linear((neighbours + 1) * width, width))

    def residual(
        self, p: Float[Tensor, "batch tokens width"], c: Float[Tensor, "batch neighbours tokens width"]
    ) -> tuple[Float[Tensor, "batch tokens width"], None]:
        """q, without weights."""
        return self.merge(with_p(p, c).transpose(1, 2).flatten(2)), None


class BareCrossAttention(Fusion):
    """'Cross-Attention' with nothing but the attention, as in the printed RAM (eq. 7).

    q_t = W softmax(Q K^T / sqrt(d)) V + b for each head, with Q from p and K, V from the tokens c_kt of all neighbours
    along one axis. W and b are 0 before training, so q = 0. Neighbours are not told apart by their rank, and the
    weights are None, as `CrossAttention`'s.

    Source: Table 4, as `CrossAttention`. The equation is not printed.
    """

    weighs: ClassVar[bool] = False

    def __init__(self, settings: Stage2Settings, neighbours: int, tokens: int, width: int) -> None:
        super().__init__(neighbours)
        self.attention = Attention(width, settings.heads)
        zeroed(self.attention.out)

    def residual(
        self, p: Float[Tensor, "batch tokens width"], c: Float[Tensor, "batch neighbours tokens width"]
    ) -> tuple[Float[Tensor, "batch tokens width"], None]:
        """q, without weights."""
        return self.attention(p, c.flatten(1, 2)), None


class CrossAttention(Fusion):
    """'Cross-Attention': p attends once to the K * T tokens of all neighbours together.

    a = softmax(Q K^T / sqrt(d)) V for each head, with Q from norm(p_t + e_t) and K, V from norm(c_kt + e_t + s_k) for
    all k and t along one axis; e are T position codes, as Divide's, and s are K learned codes, one for each neighbour.
    q_t = W [MLP([a_t; p_t; m_t]); m_t - p_t] + b, with m the mean of the neighbours. W and b are 0 before training,
    so q = 0.

    What follows the attention has the shapes of `DivideWithDifference`: p and the sources as they are, and their
    difference through the last layer. So this fusion and 'difference-ram' differ only in how the sources are merged:
    one softmax over all tokens of all neighbours here, K + 1 attentions and a weighted sum there. The counterpart of
    the printed RAM, which has the attention alone, is `BareCrossAttention`.

    The attention's share of each neighbour is not a weight in q, as the values pass through further layers, so the
    weights are None. Scores, (T, K * T) for each head, are left to torch's scaled_dot_product_attention.

    Source: Table 4, 'the prior output serves as query, and other retrieved embeddings serve as keys and values'. The
    equation is not printed.
    """

    weighs: ClassVar[bool] = False

    def __init__(self, settings: Stage2Settings, neighbours: int, tokens: int, width: int) -> None:
        super().__init__(neighbours)
        self.norm = nn.LayerNorm(width)
        self.position = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.source = nn.Parameter(torch.randn(neighbours, 1, width) * 0.02)
        self.attention = Attention(width, settings.heads)
        self.mix = nn.Sequential(nn.Linear(3 * width, 2 * width), nn.GELU(), nn.Dropout(settings.dropout))
        self.last = zeroed(nn.Linear(3 * width, width))

    def residual(
        self, p: Float[Tensor, "batch tokens width"], c: Float[Tensor, "batch neighbours tokens width"]
    ) -> tuple[Float[Tensor, "batch tokens width"], None]:
        """q, without weights."""
        sources = (c + self.position + self.source).flatten(1, 2)
        attended, mean = self.attention(self.norm(p + self.position), self.norm(sources)), c.mean(1)
        mixed = self.mix(torch.cat([attended, p, mean], dim=-1))
        return self.last(torch.cat([mixed, mean - p], dim=-1)), None


# Every class is constructed with (settings, neighbours, tokens, width). `FUSION_NAMES` of the settings lists the names.
FUSIONS: dict[str, type[Fusion]] = {
    "ram": Ram,
    "average": Average,
    "conv1x1": Conv1x1,
    "cross-attention": CrossAttention,
    "bare-cross-attention": BareCrossAttention,
    "difference-ram": DifferenceRam,
    "choosing-ram": ChoosingRam,
}


def build(settings: Stage2Settings, neighbours: int, tokens: int, width: int) -> Fusion:
    """The fusion that `settings.fusion` names.

    Args:
        settings: sizes and dropout.
        neighbours: K, the neighbours that one sample of the prior gets.
        tokens, width: T and D.
    """
    return FUSIONS[settings.fusion](settings, neighbours, tokens, width)
