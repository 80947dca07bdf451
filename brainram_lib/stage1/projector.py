"""The projector: betas -> condition tokens (paper, section 3.2: an MLP projection layer, then Mamba blocks)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brainram_lib.stage1.mamba import MambaBlock
from brainram_lib.stage1.settings import ProjectorSettings


class MlpBlock(nn.Module):
    """A residual MLP block, which replaces the Mamba block in the first row of Table 3.

    x + dropout(W_2 gelu(W_1 RMSNorm(x))), every token separately; its hidden width gives it as many parameters as a
    Mamba block. The paper says 'MLP backbone' and no more (Table 3); the equal size is this project's choice, so that
    the row compares what the blocks do, not how many weights they have.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        hidden = matched_hidden(width)
        self.layers = nn.Sequential(
            nn.RMSNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width), nn.Dropout(dropout)
        )

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """Refine every token separately."""
        return x + self.layers(x)


def matched_hidden(width: int) -> int:
    """The hidden width h at which an MlpBlock has as many parameters as a MambaBlock, to the nearest whole number.

    The two linear layers and the norm have (2 D + 1) h + 2 D parameters. The Mamba block's are counted on one without
    storage or initialisation (the meta device).
    """
    with torch.device("meta"):
        mamba = sum(weight.numel() for weight in MambaBlock(width, dropout=0.0).parameters())
    return max(1, round((mamba - 2 * width) / (2 * width + 1)))


BACKBONES = {"mamba": MambaBlock, "mlp": MlpBlock}


class Projector(nn.Module):
    """Phi_proj of eq. 2: betas S (batch, voxels) -> condition (batch, tokens, width), in whitened token units.

    With a linear path, the ridge estimate of the tokens is passed in with the betas, and the network learns what to add
    to it: condition = linear + blocks(mlp(betas)), the last layer starting at zero. 3,000 images are few for a network
    that starts from scratch.
    """

    def __init__(self, settings: ProjectorSettings, voxels: int, tokens: int, width: int) -> None:
        super().__init__()
        if settings.backbone not in BACKBONES:
            raise ValueError(f"'backbone' must be one of {sorted(BACKBONES)}. '{settings.backbone}' was provided.")
        self.tokens, self.linear_path = tokens, settings.linear_path
        inner = settings.width
        self.compress = nn.Sequential(
            nn.Dropout(settings.voxel_dropout),
            nn.Linear(voxels, settings.hidden),
            nn.LayerNorm(settings.hidden),
            nn.GELU(),
            nn.Dropout(settings.first_dropout or settings.dropout),
            nn.Linear(settings.hidden, tokens * inner),
        )
        self.linear_in = nn.Linear(width, inner) if settings.linear_path else None
        block = BACKBONES[settings.backbone]
        self.blocks = nn.Sequential(*[block(inner, settings.dropout) for _ in range(settings.blocks)])
        self.out = nn.Sequential(nn.RMSNorm(inner), nn.Linear(inner, width))
        if settings.linear_path:
            nn.init.zeros_(self.out[1].weight)
            nn.init.zeros_(self.out[1].bias)

    def forward(
        self, betas: Float[Tensor, "batch voxels"], linear: Float[Tensor, "batch tokens width"] | None = None
    ) -> Float[Tensor, "batch tokens width"]:
        """The condition of the prior.

        Raises:
            ValueError: the profile has a linear path but no linear estimate was given, or vice versa.
        """
        if (linear is None) == self.linear_path:
            raise ValueError(
                f"the projector was built with linear_path={self.linear_path}, and a linear estimate "
                f"{'is missing' if linear is None else 'was handed in'}. Hand in one exactly when linear_path is set."
            )
        hidden = self.compress(betas).unflatten(1, (self.tokens, -1))
        if linear is None:
            return self.out(self.blocks(hidden))
        return linear + self.out(self.blocks(hidden + self.linear_in(linear)))
