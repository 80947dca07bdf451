"""A RAM that chooses (`brainram-plus`): it sees every neighbour, and the evidence for it, before weighting it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from brainram_lib.stage2.evidence import FEATURES
from brainram_lib.stage2.interface import Fusion, with_p, zeroed
from brainram_lib.stage2.settings import Stage2Settings

# Initial score of p itself: its weight is e^-1 of a neighbour's.
OWN = -1.0
LAYERS = 2


class ChoosingRam(Fusion):
    """q_t = sum_k w_kt u_kt over p (k = 0) and K neighbours, as in eq. 11; what differs is what w and u are made from.

    One network, shared by all sources, looks at each separately, together with p:

        h_kt = Layers(W [p_t; s_kt; p_t * s_kt] + position_t + g(evidence_k)),  s_0 = p, s_k = c_k
        w_kt = softmax over k of (v . h_kt + a . evidence_k)
        u_0t = O h_0t,     u_kt = A_t p_t - p_t + B_t c_kt + O h_kt

    In eq. 9 F_i sees only the mean of U, so a weight can know a neighbour's rank but never the neighbour. Here a weight
    knows how well the neighbour agrees with both modalities' estimates (`stage2.evidence`) and with the rest of p.
    A and B are each token's least-squares maps from p and the mean neighbour to the target, and are not trained
    further; O and v start at 0. Before training q is a share of that plain estimate. With w_0 = 1 nothing but O h_0 is
    added to p: a module that trusts no neighbour leaves p as it is.

    Source: this workbench's, after section 3.3, whose symbols it keeps.
    """

    needs_evidence = True

    def __init__(self, settings: Stage2Settings, neighbours: int, tokens: int, width: int) -> None:
        super().__init__(neighbours)
        inner = settings.width
        self.enter = nn.Linear(3 * width, inner)
        self.position = nn.Parameter(torch.randn(tokens, inner) * 0.02)
        self.evidence = nn.Sequential(nn.Linear(FEATURES, inner), nn.GELU(), nn.Linear(inner, inner))
        self.layers = nn.Sequential(*[_layer(inner, settings.heads, settings.dropout) for _ in range(LAYERS)])
        self.norm = nn.LayerNorm(inner)
        self.weigh, self.out = zeroed(nn.Linear(inner, 1)), zeroed(nn.Linear(inner, width))
        self.speaks = nn.Parameter(torch.zeros(FEATURES))
        self.own = nn.Parameter(torch.tensor(OWN))
        self.dropout = nn.Dropout(settings.dropout)
        self.register_buffer("from_p", torch.eye(width).repeat(tokens, 1, 1))
        self.register_buffer("from_neighbour", torch.zeros(tokens, width, width))

    @torch.no_grad()
    def begin(self, maps: Float[Tensor, "tokens two_widths width"]) -> None:
        """Set A and B from the least-squares fit of the targets on [p_t; mean_k c_kt] (`stage2.linear`)."""
        width = maps.shape[2]
        self.from_p.copy_(maps[:, :width])
        self.from_neighbour.copy_(maps[:, width:])

    def residual(
        self,
        p: Float[Tensor, "batch tokens width"],
        c: Float[Tensor, "batch neighbours tokens width"],
        evidence: Float[Tensor, "batch neighbours features"] | None = None,
    ) -> tuple[Float[Tensor, "batch tokens width"], Float[Tensor, "batch sources tokens"]]:
        """q and the weights of p (row 0) and of each neighbour."""
        sources = with_p(p, c)
        # p agrees with itself
        speaking = functional.pad(evidence, (0, 0, 1, 0), value=1.0)
        same = p[:, None].expand_as(sources)
        seen = self.enter(self.dropout(torch.cat([same, sources, same * sources], -1))) + self.position
        seen = (seen + self.evidence(speaking)[:, :, None]).flatten(0, 1)
        h = self.norm(self.layers(seen)).unflatten(0, (len(p), -1))
        score = self.weigh(h)[..., 0] + (speaking @ self.speaks)[..., None]
        score = torch.cat([score[:, :1] + self.own, score[:, 1:]], 1)
        weights = score.softmax(1)
        # A and B are linear: apply them to the weighted sum of neighbours, not to each
        chosen = (weights[:, 1:, :, None] * c).sum(1)
        from_p = torch.einsum("btd,tde->bte", p, self.from_p) - p
        plain = (1 - weights[:, 0])[..., None] * from_p + torch.einsum("btd,tde->bte", chosen, self.from_neighbour)
        return plain + self.out((weights[..., None] * h).sum(1)), weights


def _layer(width: int, heads: int, dropout: float) -> nn.Module:
    """Self-attention over the tokens of one source, and an MLP; both residual, with pre-norm."""
    return nn.TransformerEncoderLayer(
        width, heads, 2 * width, dropout, functional.gelu, batch_first=True, norm_first=True
    )
