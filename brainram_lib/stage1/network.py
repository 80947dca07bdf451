"""The prior's network f(x_t, t, condition): an attention U-Net over tokens with cross-attention (paper, eq. 2)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from brainram_lib.stage1.settings import NetworkSettings


class Attention(nn.Module):
    """Multi-head attention: softmax(Q K^T / sqrt(d)) V with Q from `x` and K, V from `source` (eq. 2)."""

    def __init__(self, width: int, heads: int, source_width: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(source_width or width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "batch tokens width"], source: Float[Tensor, "batch sources source_width"]
    ) -> Float[Tensor, "batch tokens width"]:
        """Attend from `x` to `source`."""
        query, key, value = self.query(x), *self.key_value(source).chunk(2, dim=-1)
        split = [part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value)]
        mixed = functional.scaled_dot_product_attention(*split)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Self-attention, cross-attention to the condition, MLP; each scaled and shifted by the diffusion time."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(3))
        self.time = nn.Linear(width, 9 * width)
        self.self_attention = Attention(width, heads)
        self.cross_attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        # Gates start at zero: every block begins as the identity.
        nn.init.zeros_(self.time.weight)
        nn.init.zeros_(self.time.bias)

    def forward(
        self,
        x: Float[Tensor, "batch tokens width"],
        time: Float[Tensor, "batch width"],
        condition: Float[Tensor, "batch tokens width"],
    ) -> Float[Tensor, "batch tokens width"]:
        """One refinement of the tokens."""
        shift, scale, gate = (part.chunk(3, dim=-1) for part in self.time(time)[:, None].chunk(3, dim=-1))
        parts = (
            lambda y: self.self_attention(y, y),
            lambda y: self.cross_attention(y, condition),
            self.mlp,
        )
        for i, part in enumerate(parts):
            x = x + gate[i] * part(self.norms[i](x) * (1 + scale[i]) + shift[i])
        return x


class TokenUNet(nn.Module):
    """x_0 from x_t: blocks down, blocks up, each up block joined with its partner's output on the way down.

    The tokens are a sequence, not an image: nothing is subsampled, the U is in the skips. The prediction is the
    condition plus what the blocks add, which is zero at the start.
    """

    def __init__(self, settings: NetworkSettings, tokens: int, width: int) -> None:
        super().__init__()
        inner = settings.width
        self.enter = nn.Linear(width, inner)
        self.condition_enter = nn.Linear(width, inner)
        self.position = nn.Parameter(torch.randn(tokens, inner) * 0.02)
        self.time = nn.Sequential(nn.Linear(inner, inner), nn.SiLU(), nn.Linear(inner, inner), nn.SiLU())
        self.down = nn.ModuleList(Block(inner, settings.heads) for _ in range(settings.depth))
        self.middle = Block(inner, settings.heads)
        self.join = nn.ModuleList(nn.Linear(2 * inner, inner) for _ in range(settings.depth))
        self.up = nn.ModuleList(Block(inner, settings.heads) for _ in range(settings.depth))
        self.leave = nn.Linear(inner, width)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self,
        noisy: Float[Tensor, "batch tokens width"],
        t: Int64[Tensor, " batch"],
        condition: Float[Tensor, "batch tokens width"],
    ) -> Float[Tensor, "batch tokens width"]:
        """Predict x_0 from x_t (`noisy`), the diffusion time and the condition."""
        time = self.time(time_codes(t, self.position.shape[1]))
        source = self.condition_enter(condition) + self.position
        x = self.enter(noisy) + source
        skips = []
        for block in self.down:
            x = block(x, time, source)
            skips.append(x)
        x = self.middle(x, time, source)
        for join, block in zip(self.join, self.up, strict=True):
            x = block(join(torch.cat([x, skips.pop()], dim=-1)), time, source)
        return condition + self.leave(x)


def time_codes(t: Int64[Tensor, " batch"], width: int) -> Float[Tensor, "batch width"]:
    """Sine-cosine codes of the diffusion time, (batch, width)."""
    rates = torch.exp(torch.arange(width // 2, device=t.device) * (-math.log(10_000) / (width // 2)))
    angles = t[:, None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
