"""The diffusion prior: projector and network together, on whitened tokens (paper, section 3.2, eq. 1)."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import DDIMScheduler
from jaxtyping import Float, Int64
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from brainram_lib.core.whitening import TokenWhitening
from brainram_lib.stage1.network import TokenUNet
from brainram_lib.stage1.projector import Projector
from brainram_lib.stage1.settings import Stage1Settings

# Rows that go through the network at a time where nothing is learned, so that their activations fit on a device.
CHUNK = 64


class Prior(nn.Module):
    """betas -> samples p of one modality's tokens (batch, tokens, width).

    The network works on whitened tokens, fitted on the training targets: the forward process (eq. 1) adds the same
    noise to every direction, and where CLIP's tokens vary little, which is where they tell objects apart, it would
    drown them. `sample` and `predict` take brains from any device, compute where the prior is, and return tokens in
    CLIP's own units where the brains were.
    """

    def __init__(self, settings: Stage1Settings, voxels: int, tokens: int, width: int) -> None:
        super().__init__()
        self.settings = settings
        self.projector = Projector(settings.projector, voxels, tokens, width)
        self.network = TokenUNet(settings.network, tokens, width)
        self.whitening = TokenWhitening(tokens, width)
        self.schedule = DDIMScheduler(
            settings.diffusion_steps,
            beta_schedule="squaredcos_cap_v2",
            prediction_type="sample",
            clip_sample=False,
            timestep_spacing="trailing",
        )

    @property
    def device(self) -> torch.device:
        """Where the prior is."""
        return self.whitening.mean.device

    def noised(
        self,
        x0: Float[Tensor, "batch tokens width"],
        t: Int64[Tensor, " batch"],
        noise: Float[Tensor, "batch tokens width"],
    ) -> Float[Tensor, "batch tokens width"]:
        """Eq. 1: x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps."""
        return self.schedule.add_noise(x0, noise, t)

    def condition(
        self, betas: Float[Tensor, "batch voxels"], linear: Float[Tensor, "batch tokens width"] | None
    ) -> Float[Tensor, "batch tokens width"]:
        """Phi_proj(S), from betas and, where the profile has a linear path, the ridge estimate in CLIP's units."""
        return self.projector(betas, None if linear is None else self.whitening(linear))

    @torch.no_grad()
    def sample(
        self,
        betas: Float[Tensor, "batch voxels"],
        linear: Float[Tensor, "batch tokens width"] | None,
        seed: int,
        steps: int,
    ) -> Float[Tensor, "batch tokens width"]:
        """One sample p per stimulus by ancestral sampling over `steps` of the diffusion times.

        The noise is drawn on the CPU: the same samples, to rounding, on every device.
        One step gives the posterior mean; the more steps, the nearer a draw from the posterior, which lies further
        from the truth than its mean does.
        """
        condition = self._conditions(betas, linear)
        random = torch.Generator().manual_seed(seed)

        def noise() -> Tensor:
            return torch.randn(condition.shape, generator=random).to(self.device)

        x = noise()
        # the scheduler reads single numbers from its table, and `noised` may have left that on a GPU
        self.schedule.alphas_cumprod = self.schedule.alphas_cumprod.cpu()
        self.schedule.set_timesteps(steps)
        for t in self.schedule.timesteps:
            x0 = self._denoised(x, int(t), condition)
            x = self.schedule.step(x0, t, x, eta=1.0, variance_noise=noise()).prev_sample
        return self.whitening.restored(x).to(betas.device)

    @torch.no_grad()
    def predict(
        self, betas: Float[Tensor, "batch voxels"], linear: Float[Tensor, "batch tokens width"] | None
    ) -> Float[Tensor, "batch tokens width"]:
        """The posterior mean: x_0 predicted at the last diffusion time, where x_t holds nothing but noise."""
        condition = self._conditions(betas, linear)
        estimate = self._denoised(torch.zeros_like(condition), self.settings.diffusion_steps - 1, condition)
        return self.whitening.restored(estimate).to(betas.device)

    def _conditions(self, betas: Tensor, linear: Tensor | None) -> Float[Tensor, "batch tokens width"]:
        """`condition` of brains from any device, CHUNK rows at a time."""
        parts = []
        for start in range(0, len(betas), CHUNK):
            rows = slice(start, start + CHUNK)
            known = None if linear is None else linear[rows].to(self.device)
            parts.append(self.condition(betas[rows].to(self.device), known))
        return torch.cat(parts)

    def _denoised(self, x: Tensor, t: int, condition: Tensor) -> Float[Tensor, "batch tokens width"]:
        """The network's x_0 at one diffusion time, CHUNK rows at a time."""
        parts = zip(x.split(CHUNK), condition.split(CHUNK), strict=True)
        return torch.cat([self.network(part, torch.full((len(part),), t, device=x.device), c) for part, c in parts])

    def save(self, path: Path) -> None:
        """Write the weights as safetensors."""
        save_file({name: weight.contiguous() for name, weight in self.state_dict().items()}, path)

    def load(self, path: Path) -> Prior:
        """Read weights written by `save`; returns self in evaluation mode."""
        self.load_state_dict(load_file(path))
        return self.eval()
