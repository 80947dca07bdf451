"""The prior's network: the paper's attention U-Net over tokens (eq. 2), and this workbench's own transformer."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from brainram_lib.stage1.settings import NetworkSettings

# Gates of the residual branches before training: open, so that x_t reaches the last layer from the first step.
GATE = 0.3


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
    """Self-attention, cross-attention to the condition unless `crossed` is false, MLP.

    Each is scaled, shifted and gated by the diffusion time: x + gate * part(norm(x) * (1 + scale) + shift).
    """

    def __init__(self, width: int, heads: int, crossed: bool = True) -> None:
        super().__init__()
        self.self_attention = Attention(width, heads)
        self.cross_attention = Attention(width, heads) if crossed else None
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        parts = 3 if crossed else 2
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(parts))
        self.time = nn.Linear(width, 3 * parts * width)
        nn.init.zeros_(self.time.weight)
        with torch.no_grad():
            self.time.bias.copy_(torch.cat([torch.zeros(2 * parts * width), torch.full((parts * width,), GATE)]))

    def forward(
        self,
        x: Float[Tensor, "batch tokens width"],
        time: Float[Tensor, "batch width"],
        condition: Float[Tensor, "batch tokens width"] | None = None,
    ) -> Float[Tensor, "batch tokens width"]:
        """One refinement of the tokens; the condition is used by the cross-attention."""
        count = len(self.norms)
        shift, scale, gate = (part.chunk(count, dim=-1) for part in self.time(time)[:, None].chunk(3, dim=-1))
        parts = [lambda y: self.self_attention(y, y), self.mlp]
        if self.cross_attention is not None:
            parts.insert(1, lambda y: self.cross_attention(y, condition))
        for i, part in enumerate(parts):
            x = x + gate[i] * part(self.norms[i](x) * (1 + scale[i]) + shift[i])
        return x


class TokenUNet(nn.Module):
    """f(x_t, t, condition) of eq. 2: the condition enters through cross-attention alone, as its keys and values.

    Blocks down, then blocks up, each joined with the output of its partner on the way down. The tokens are a sequence,
    not an image: nothing is downsampled, and the U is in the skip connections. The paper gives no sizes.
    """

    def __init__(self, settings: NetworkSettings, tokens: int, width: int) -> None:
        super().__init__()
        inner = settings.width
        self.enter = nn.Linear(width, inner)
        self.condition_enter = nn.Linear(width, inner)
        self.position = nn.Parameter(torch.randn(tokens, inner) * 0.02)
        self.time = _time_layers(inner)
        self.down = nn.ModuleList(Block(inner, settings.heads) for _ in range(settings.depth))
        self.middle = Block(inner, settings.heads)
        self.join = nn.ModuleList(nn.Linear(2 * inner, inner) for _ in range(settings.depth))
        self.up = nn.ModuleList(Block(inner, settings.heads) for _ in range(settings.depth))
        self.leave = nn.Linear(inner, width)

    def forward(
        self,
        noisy: Float[Tensor, "batch tokens width"],
        t: Float[Tensor, " batch"],
        condition: Float[Tensor, "batch tokens width"],
    ) -> Float[Tensor, "batch tokens width"]:
        """Predict x_0 from x_t (`noisy`), the diffusion time and the condition."""
        time = self.time(time_codes(t, self.position.shape[1]))
        source = self.condition_enter(condition) + self.position
        x = self.enter(noisy) + self.position
        skips = []
        for block in self.down:
            x = block(x, time, source)
            skips.append(x)
        x = self.middle(x, time, source)
        for join, block in zip(self.join, self.up, strict=True):
            x = block(join(torch.cat([x, skips.pop()], dim=-1)), time, source)
        return self.leave(x)


class TokenTransformer(nn.Module):
    """A transformer over tokens that reads the condition beside the noisy token at the same place.

    The noisy token and its likely value are side by side, so no layer has to learn first which tokens belong together.
    The last layer starts at zero. This workbench's own, used by `brainram-plus`.
    """

    def __init__(self, settings: NetworkSettings, tokens: int, width: int) -> None:
        super().__init__()
        inner = settings.width
        self.enter = nn.Linear(2 * width, inner)
        self.position = nn.Parameter(torch.randn(tokens, inner) * 0.02)
        self.time = _time_layers(inner)
        self.blocks = nn.ModuleList(Block(inner, settings.heads, crossed=False) for _ in range(settings.depth))
        self.norm = nn.LayerNorm(inner)
        self.leave = nn.Linear(inner, width)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self,
        noisy: Float[Tensor, "batch tokens width"],
        t: Float[Tensor, " batch"],
        condition: Float[Tensor, "batch tokens width"],
    ) -> Float[Tensor, "batch tokens width"]:
        """The output that the process needs, from the noisy tokens, the diffusion time and the condition."""
        time = self.time(time_codes(t, self.position.shape[1]))
        x = self.enter(torch.cat([noisy, condition], dim=-1)) + self.position
        for block in self.blocks:
            x = block(x, time)
        return self.leave(self.norm(x))


NETWORKS: dict[str, type[nn.Module]] = {"unet": TokenUNet, "transformer": TokenTransformer}


def _time_layers(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())


def time_codes(t: Float[Tensor, " batch"], width: int) -> Float[Tensor, "batch width"]:
    """Sine-cosine codes of the diffusion time, (batch, width)."""
    rates = torch.exp(torch.arange(width // 2, device=t.device) * (-math.log(10_000) / (width // 2)))
    angles = t[:, None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
