"""MindEye's high-level networks: residual MLP, projector, and the diffusion prior over image tokens.

Scotti et al., Reconstructing the Mind's Eye (NeurIPS 2023, arXiv 2305.18274), section 2.1 and released code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from diffusers import DDPMScheduler
from jaxtyping import Bool, Float, Int64
from safetensors.torch import load_file
from torch import Tensor, nn

from brainram_lib.peers.settings import MindEyeSettings

# Rows that go through the networks at a time outside training.
CHUNK = 64


class ResidualMlp(nn.Module):
    """betas -> hidden: a layer, then blocks x + dropout(act(norm(W x))).

    Args:
        voxels: of the betas.
        hidden: width of every layer.
        blocks: how many are residual.
        dropouts: of the first layer and of the blocks.
        activation: GELU in the high-level, SiLU in the low-level pipeline (released code).
    """

    def __init__(
        self,
        voxels: int,
        hidden: int,
        blocks: int,
        dropouts: tuple[float, float],
        activation: Callable[[], nn.Module] = nn.GELU,
    ) -> None:
        super().__init__()

        def layer(inputs: int, dropout: float) -> nn.Sequential:
            return nn.Sequential(nn.Linear(inputs, hidden), nn.LayerNorm(hidden), activation(), nn.Dropout(dropout))

        self.first = layer(voxels, dropouts[0])
        self.blocks = nn.ModuleList(layer(hidden, dropouts[1]) for _ in range(blocks))

    def forward(self, betas: Float[Tensor, "batch voxels"]) -> Float[Tensor, "batch hidden"]:
        """The hidden layer behind all blocks."""
        x = self.first(betas)
        for block in self.blocks:
            x = x + block(x)
        return x


class PriorNetwork(nn.Module):
    """A transformer over [condition tokens, time, noisy tokens] that predicts x_0 at the noisy tokens' places.

    Every token sees every other. A dropped condition is replaced by learned tokens of 'no condition'.
    """

    def __init__(self, settings: MindEyeSettings, tokens: int, width: int) -> None:
        super().__init__()
        if width % settings.prior_heads:
            raise ValueError(
                f"'prior_heads' must divide the tokens' width {width}. {settings.prior_heads} was provided."
            )
        self.position = nn.Parameter(torch.randn(tokens, width) * width**-0.5)
        self.nothing = nn.Parameter(torch.randn(tokens, width) * width**-0.5)
        self.time = nn.Embedding(settings.times, width)
        layer = nn.TransformerEncoderLayer(
            width, settings.prior_heads, 4 * width, 0.0, nn.functional.gelu, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, settings.prior_depth, nn.LayerNorm(width), False)
        self.leave = nn.Linear(width, width, bias=False)

    def forward(
        self,
        noisy: Float[Tensor, "batch tokens width"],
        time: Int64[Tensor, " batch"],
        condition: Float[Tensor, "batch tokens width"],
        dropped: Bool[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch tokens width"]:
        """The expectation of x_0.

        Args:
            dropped: rows whose condition is dropped.
        """
        if dropped is not None:
            condition = torch.where(dropped[:, None, None], self.nothing, condition)
        sequence = torch.cat([condition, self.time(time)[:, None], noisy + self.position], 1)
        return self.leave(self.layers(sequence)[:, -noisy.shape[1] :])


class MindEye(nn.Module):
    """betas -> condition tokens -> a sample of the image tokens; and projected tokens, for retrieval and for choosing.

    Inside the prior, tokens are scaled by sqrt(D), so that token 0, of norm 1, has features of about 1 (released
    code). The cosine noise schedule has `times` steps, and sampling goes through all of them.

    Attributes:
        epoch: the current one of training. A buffer, so that a resumed training knows which loss it uses.
    """

    epoch: Int64[Tensor, ""]

    def __init__(self, settings: MindEyeSettings, voxels: int, tokens: int, width: int) -> None:
        super().__init__()
        self.settings, self.shape, self.scale = settings, (tokens, width), math.sqrt(width)
        dropouts = settings.first_dropout, settings.dropout
        self.backbone = ResidualMlp(voxels, settings.hidden, settings.blocks, dropouts)
        self.to_tokens = nn.Linear(settings.hidden, tokens * width)
        self.projector = _projector(width, settings.projector_hidden)
        self.prior = PriorNetwork(settings, tokens, width)
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.epoch.device

    def condition(self, betas: Float[Tensor, "batch voxels"]) -> Float[Tensor, "batch tokens width"]:
        """What the backbone makes of betas."""
        return self.to_tokens(self.backbone(betas)).unflatten(1, self.shape)

    def noised(
        self, x0: Float[Tensor, "batch tokens width"], time: Int64[Tensor, " batch"], noise: Tensor
    ) -> Float[Tensor, "batch tokens width"]:
        """sqrt(a_t) x_0 + sqrt(1 - a_t) noise, with x_0 in the prior's units."""
        return schedule(self.settings.times).add_noise(x0, noise, time)

    @torch.no_grad()
    def projected(self, betas: Float[Tensor, "n voxels"]) -> Float[Tensor, "n tokens width"]:
        """The projector's tokens, on the CPU."""
        parts = [self.projector(self.condition(part.to(self.device))).cpu() for part in betas.split(CHUNK)]
        return torch.cat(parts)

    @torch.no_grad()
    def sample(self, betas: Float[Tensor, "n voxels"], seed: int) -> Float[Tensor, "n tokens width"]:
        """One sample of the image tokens for each row, on the CPU, in CLIP's units.

        The noise of each time is drawn on the CPU for CHUNK rows: the same on every device.
        """
        random = torch.Generator().manual_seed(seed)
        return torch.cat([self._sampled(part.to(self.device), random).cpu() for part in betas.split(CHUNK)])

    def _sampled(self, betas: Tensor, random: torch.Generator) -> Float[Tensor, "batch tokens width"]:
        condition, steps = self.condition(betas), schedule(self.settings.times)

        def noise() -> Tensor:
            return torch.randn(condition.shape, generator=random).to(self.device)

        x = noise()
        for time in reversed(range(self.settings.times)):
            x0 = self.prior(x, torch.full((len(x),), time, device=self.device), condition)
            x = posterior(steps.alphas_cumprod, x, x0, time, noise() if time else None)
        return x / self.scale

    def load(self, path: Path) -> MindEye:
        """Read weights; returns self in evaluation mode."""
        self.load_state_dict(load_file(path))
        return self.eval()


def _projector(width: int, hidden: int) -> nn.Sequential:
    """Three layers, applied to each token alone (released code)."""
    return nn.Sequential(
        *(nn.LayerNorm(width), nn.GELU(), nn.Linear(width, hidden)),
        *(nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, hidden)),
        *(nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, width)),
    )


@cache
def schedule(times: int) -> DDPMScheduler:
    """The cosine schedule of noise (released code)."""
    return DDPMScheduler(times, beta_schedule="squaredcos_cap_v2", prediction_type="sample", clip_sample=False)


def posterior(
    kept: Float[Tensor, " times"],
    x: Float[Tensor, "batch tokens width"],
    x0: Float[Tensor, "batch tokens width"],
    time: int,
    noise: Float[Tensor, "batch tokens width"] | None,
) -> Float[Tensor, "batch tokens width"]:
    """A draw of x_{t-1} given x_t and x_0, normal with the mean and variance that follow from the forward process.

    With a_t the products `kept` and b_t = 1 - a_t / a_{t-1}:

        mean = sqrt(a_{t-1}) b_t / (1 - a_t) x_0 + sqrt(a_t / a_{t-1}) (1 - a_{t-1}) / (1 - a_t) x_t,
        variance = b_t (1 - a_{t-1}) / (1 - a_t).

    Args:
        kept: a_t of every time.
        noise: standard normal; None at time 0, where the draw is x_0.
    """
    if noise is None:
        return x0
    now, before = float(kept[time]), float(kept[time - 1])
    step = 1 - now / before
    mean = math.sqrt(before) * step / (1 - now) * x0 + math.sqrt(now / before) * (1 - before) / (1 - now) * x
    return mean + math.sqrt(step * (1 - before) / (1 - now)) * noise
