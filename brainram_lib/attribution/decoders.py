"""Decoders that can be differentiated: betas (n, voxels) -> tokens (n, tokens, width), row by row.

Any callable of that kind will do, as long as a row's tokens depend on no other row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from brainram_lib.core.ridge import Ridge
from brainram_lib.stage1.prior import Prior

Decoder = Callable[[Float[Tensor, "n voxels"]], Float[Tensor, "n tokens width"]]


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
    """A trained prior's estimate from pure noise, as a function of the betas alone.

        tokens(S) = mean over seeds of f(eps_seed, t_last, Phi_proj(S, ridge(S)))

    It is the part of a sample that the brain decides: later steps only draw from what is left open. With a single
    seed it equals `prior.sample(..., steps=1)` of one row. Where the profile has a linear path, the ridge estimate is
    computed here from the same betas, so that a voxel's influence through the ridge counts too. For test images this
    is what the pipeline does; training images had five cross-fitted ridges in the place of the one. Betas may come from
    any device: estimates are computed where the prior is, and returned where the betas were.

    Args:
        prior: trained; it is put into evaluation mode.
        ridge: that of the linear path; None exactly where the profile has none.
        seeds: of the noise, the same for every row.

    Raises:
        ValueError: a linear path without a ridge, a ridge without a linear path, or no seed.
    """

    def __init__(self, prior: Prior, ridge: Ridge | None, seeds: Sequence[int] = (0,)) -> None:
        super().__init__()
        linear_path = prior.settings.projector.linear_path
        if linear_path == (ridge is None):
            raise ValueError(
                f"this prior was trained with linear_path={linear_path}, and a ridge "
                f"{'is missing' if ridge is None else 'was handed in'}. Hand in the ridge exactly when linear_path is "
                "set: the voxels it listens to would be left out, or invented."
            )
        if not seeds:
            raise ValueError("'seeds' must name one or more seeds of the noise. None was provided.")
        self.prior = prior.eval()
        self.linear = None if ridge is None else RidgeDecoder(ridge)
        shape = (1, *prior.whitening.mean.shape)
        drawn = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        self.register_buffer("noise", torch.stack(drawn))
        self.to(prior.device)

    def forward(self, betas: Float[Tensor, "n voxels"]) -> Float[Tensor, "n tokens width"]:
        """The estimate, in CLIP's own units."""
        here = betas.to(self.noise.device)
        condition = self.prior.condition(here, None if self.linear is None else self.linear(here))
        last = torch.full((len(here),), self.prior.settings.diffusion_steps - 1, device=here.device)
        estimates = [self.prior.network(noise.expand_as(condition), last, condition) for noise in self.noise]
        return self.prior.whitening.restored(torch.stack(estimates).mean(0)).to(betas.device)
