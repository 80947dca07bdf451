"""Decoders that can be differentiated: betas (n, voxels) -> tokens (n, tokens, width), row by row.

A decoder gives one modality's tokens, or several by their names from the same betas (`JointDecoder`). Any callable of
that kind will do, as long as a row's tokens depend on no other row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from brainram_lib.attribution.scores import Estimates
from brainram_lib.core.ridge import Ridge
from brainram_lib.stage1.prior import Prior

Decoder = Callable[[Float[Tensor, "n voxels"]], Estimates]


class RidgeDecoder(nn.Module):
    """`Ridge.predict` in torch: tokens = tokens_mean + (betas - betas_mean) @ basis @ maps[token]."""

    def __init__(self, ridge: Ridge) -> None:
        super().__init__()
        for name in ("basis", "maps", "betas_mean", "tokens_mean"):
            self.register_buffer(name, torch.from_numpy(np.require(getattr(ridge, name), np.float32, "W")))

    def forward(self, betas: Float[Tensor, "n voxels"]) -> Float[Tensor, "n tokens width"]:
        """The ridge's estimates."""
        projected = (betas - self.betas_mean) @ self.basis
        return torch.stack([projected @ one for one in self.maps], 1) + self.tokens_mean


class PriorDecoder(nn.Module):
    """The mean of a trained prior's samples, as a function of the betas alone.

        tokens(S) = D(blind, Phi_proj(S, ridge(S)))

    It is the part of a sample that the betas decide; the rest is drawn. It equals `prior.predict`. Where the profile
    has a linear path, the ridge estimate is computed here from the same betas, so that a voxel's influence through the
    ridge counts too. For test images this is what the pipeline does; training images had five cross-fitted ridges in
    the place of the one. Betas may come from any device: estimates are computed where the prior is, and returned where
    the betas were.

    Args:
        prior: trained; it is put into evaluation mode.
        ridge: that of the linear path; None exactly where the profile has none.

    Raises:
        ValueError: a linear path without a ridge, or a ridge without a linear path.
    """

    def __init__(self, prior: Prior, ridge: Ridge | None) -> None:
        super().__init__()
        linear_path = prior.settings.projector.linear_path
        if linear_path == (ridge is None):
            raise ValueError(
                f"this prior was trained with linear_path={linear_path}, and a ridge "
                f"{'is missing' if ridge is None else 'was handed in'}. Hand in the ridge exactly when linear_path is "
                "set: the voxels it listens to would be left out, or invented."
            )
        self.prior = prior.eval()
        self.linear = None if ridge is None else RidgeDecoder(ridge)
        self.to(prior.device)

    def forward(self, betas: Float[Tensor, "n voxels"]) -> Float[Tensor, "n tokens width"]:
        """The estimate, in CLIP's own units."""
        here = betas.to(self.prior.device)
        condition = self.prior.condition(here, None if self.linear is None else self.linear(here))
        return self.prior.whitening.restored(self.prior.mean(condition)).to(betas.device)


class JointDecoder(nn.Module):
    """Several modalities' tokens from the same betas, {modality: (n, tokens, width)}: what a joint search asks with."""

    def __init__(self, decoders: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.decoders = nn.ModuleDict(decoders)

    def forward(self, betas: Float[Tensor, "n voxels"]) -> dict[str, Tensor]:
        """Each modality's estimate, in CLIP's own units."""
        return {modality: decoder(betas) for modality, decoder in self.decoders.items()}
