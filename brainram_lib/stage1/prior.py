"""The diffusion prior: projector and network together, in standardised token units (paper, section 3.2, eq. 1)."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import DDIMScheduler
from jaxtyping import Float, Int64
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from brainram_lib.profiles import Stage1Settings
from brainram_lib.stage1.network import TokenUNet
from brainram_lib.stage1.projector import Projector


class Prior(nn.Module):
    """betas -> samples p of one modality's tokens (batch, tokens, width).

    The network works on (token - mean) / scale, statistics of the training targets: CLIP's tokens differ widely in
    size from one dimension to another, and the forward process (eq. 1) assumes unit variance. `sample` and `predict`
    return tokens in CLIP's own units.
    """

    def __init__(self, settings: Stage1Settings, voxels: int, tokens: int, width: int) -> None:
        super().__init__()
        self.settings = settings
        self.projector = Projector(settings.projector, voxels, tokens, width)
        self.network = TokenUNet(settings.network, tokens, width)
        self.register_buffer("mean", torch.zeros(tokens, width))
        self.register_buffer("scale", torch.ones(tokens, width))
        self.schedule = DDIMScheduler(
            settings.diffusion_steps,
            beta_schedule="squaredcos_cap_v2",
            prediction_type="sample",
            clip_sample=False,
            timestep_spacing="trailing",
        )

    def fit_statistics(self, targets: Float[Tensor, "n tokens width"]) -> None:
        """Take mean and scale from training targets."""
        self.mean.copy_(targets.mean(0))
        self.scale.copy_(targets.std(0).clamp_min(1e-6))

    def standardised(self, tokens: Float[Tensor, "*n tokens width"]) -> Float[Tensor, "*n tokens width"]:
        """CLIP's units -> the network's."""
        return (tokens - self.mean) / self.scale

    def restored(self, tokens: Float[Tensor, "*n tokens width"]) -> Float[Tensor, "*n tokens width"]:
        """The network's units -> CLIP's."""
        return tokens * self.scale + self.mean

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
        return self.projector(betas, None if linear is None else self.standardised(linear))

    @torch.no_grad()
    def sample(
        self,
        betas: Float[Tensor, "batch voxels"],
        linear: Float[Tensor, "batch tokens width"] | None,
        seed: int,
        steps: int | None = None,
    ) -> Float[Tensor, "batch tokens width"]:
        """One sample p per stimulus by ancestral sampling over `steps` of the diffusion times.

        One step gives the posterior mean; the more steps, the nearer a draw from the posterior, which lies further
        from the truth than its mean does.
        """
        condition = self.condition(betas, linear)
        random = torch.Generator(condition.device).manual_seed(seed)

        def noise() -> Tensor:
            return torch.randn(condition.shape, generator=random, device=condition.device)

        x = noise()
        self.schedule.set_timesteps(steps or self.settings.sample_steps)
        for t in self.schedule.timesteps:
            x0 = self.network(x, t.expand(len(x)).to(x.device), condition)
            x = self.schedule.step(x0, t, x, eta=1.0, variance_noise=noise()).prev_sample
        return self.restored(x)

    @torch.no_grad()
    def predict(
        self, betas: Float[Tensor, "batch voxels"], linear: Float[Tensor, "batch tokens width"] | None
    ) -> Float[Tensor, "batch tokens width"]:
        """The posterior mean: x_0 predicted at the last diffusion time, where x_t holds nothing but noise."""
        condition = self.condition(betas, linear)
        last = torch.full((len(condition),), self.settings.diffusion_steps - 1, device=condition.device)
        return self.restored(self.network(torch.zeros_like(condition), last, condition))

    def save(self, path: Path) -> None:
        """Write the weights as safetensors."""
        save_file({name: weight.contiguous() for name, weight in self.state_dict().items()}, path)

    def load(self, path: Path) -> Prior:
        """Read weights written by `save`; returns self in evaluation mode."""
        self.load_state_dict(load_file(path))
        return self.eval()
