"""The diffusion prior: projector, network and process together (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from brainram_lib.core.whitening import TokenWhitening
from brainram_lib.stage1.network import NETWORKS
from brainram_lib.stage1.process import Cosine, Process, Residual
from brainram_lib.stage1.projector import Projector
from brainram_lib.stage1.settings import COSINE, HEAD, Stage1Settings

# Rows per forward pass outside training, so that their activations fit on a device.
CHUNK = 64


class Prior(nn.Module):
    """betas -> samples p of one modality's tokens (batch, tokens, width).

    Inside, tokens are scaled by one number or whitened (`whitening`). When whitened, eq. 1 adds equal noise to every
    direction; otherwise noise hides those in which CLIP's tokens vary little, which are the ones that tell objects
    apart. `sample` and `predict` take betas from any device, compute on the prior's, and return tokens in CLIP's own
    units on the betas' device.

    Attributes:
        head: makes the tokens that the contrastive losses compare, if they do not compare the estimates themselves.
    """

    def __init__(self, settings: Stage1Settings, voxels: int, tokens: int, width: int) -> None:
        super().__init__()
        self.settings = settings
        self.projector = Projector(settings.projector, voxels, tokens, width)
        self.network = NETWORKS[settings.network.kind](settings.network, tokens, width)
        self.whitening = TokenWhitening(tokens, width)
        self.process: Process = (
            Cosine(settings.diffusion_steps, settings.token_size)
            if settings.process == COSINE
            else Residual(tokens, width)
        )
        self.head = nn.Linear(width, width) if settings.contrast == HEAD else None
        if self.head is not None:
            nn.init.eye_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    @property
    def device(self) -> torch.device:
        """The device of the prior."""
        return self.whitening.mean.device

    def condition(
        self, betas: Float[Tensor, "batch voxels"], linear: Float[Tensor, "batch tokens width"] | None
    ) -> Float[Tensor, "batch tokens width"]:
        """Phi_proj(S), from betas and, where the profile has a linear path, the ridge estimate in CLIP's units."""
        return self.projector(betas, None if linear is None else self.whitening(linear))

    def denoised(
        self,
        x: Float[Tensor, "batch tokens width"],
        level: Float[Tensor, " batch"],
        condition: Float[Tensor, "batch tokens width"],
    ) -> Float[Tensor, "batch tokens width"]:
        """The expectation of x_0 at a level of noise (eq. 2)."""
        return self.process.denoised(self.network, x, level, condition)

    def mean(self, condition: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """The expectation of all samples: x_0 where x is nothing but noise, at the mean of the noise."""
        level = torch.full((len(condition),), self.process.blind, device=condition.device)
        nothing = torch.zeros_like(condition)
        return self.denoised(self.process.noised(nothing, level, nothing, condition), level, condition)

    @torch.no_grad()
    def sample(
        self,
        betas: Float[Tensor, "batch voxels"],
        linear: Float[Tensor, "batch tokens width"] | None,
        seed: int,
        steps: int,
    ) -> Float[Tensor, "batch tokens width"]:
        """One sample p per stimulus, by `steps` steps of the process.

        The noise is drawn on the CPU, so samples are the same on every device, up to rounding.
        """
        drawn = self.draw(self.conditions(betas, linear), seed, steps)
        return self.whitening.restored(drawn).to(betas.device)

    @torch.no_grad()
    def draw(
        self,
        condition: Float[Tensor, "batch tokens width"],
        seed: int,
        steps: int,
        seen: Callable[[Tensor], None] | None = None,
    ) -> Float[Tensor, "batch tokens width"]:
        """One sample for each condition, in the prior's units; `seen` gets every estimate of x_0 on the way."""
        random = torch.Generator().manual_seed(seed)

        def noise() -> Tensor:
            return torch.randn(condition.shape, generator=random).to(self.device)

        def denoise(x: Tensor, level: Tensor, condition: Tensor) -> Tensor:
            estimate = self._denoised(x, level, condition)
            if seen is not None:
                seen(estimate)
            return estimate

        return self.process.sample(denoise, condition, noise, steps)

    @torch.no_grad()
    def predict(
        self, betas: Float[Tensor, "batch voxels"], linear: Float[Tensor, "batch tokens width"] | None
    ) -> Float[Tensor, "batch tokens width"]:
        """The mean of all samples (`mean`)."""
        means = torch.cat([self.mean(part) for part in self.conditions(betas, linear).split(CHUNK)])
        return self.whitening.restored(means).to(betas.device)

    @torch.no_grad()
    def conditions(self, betas: Tensor, linear: Tensor | None) -> Float[Tensor, "batch tokens width"]:
        """`condition` for betas from any device, CHUNK rows at a time."""
        parts = []
        for start in range(0, len(betas), CHUNK):
            rows = slice(start, start + CHUNK)
            known = None if linear is None else linear[rows].to(self.device)
            parts.append(self.condition(betas[rows].to(self.device), known))
        return torch.cat(parts)

    def _denoised(self, x: Tensor, level: Tensor, condition: Tensor) -> Float[Tensor, "batch tokens width"]:
        parts = zip(x.split(CHUNK), level.split(CHUNK), condition.split(CHUNK), strict=True)
        return torch.cat([self.denoised(*part) for part in parts])

    def save(self, path: Path) -> None:
        """Write the weights as safetensors."""
        save_file({name: weight.contiguous() for name, weight in self.state_dict().items()}, path)

    def load(self, path: Path) -> Prior:
        """Read weights written by `save`; returns self in evaluation mode."""
        self.load_state_dict(load_file(path))
        return self.eval()
