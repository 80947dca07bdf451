"""MindEye's low-level pipeline: betas -> the autoencoder's latents (section 2.2), trained alone.

Its second, contrastive head, which learns features of a ConvNeXt from augmented images, is left out here.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from brainram_lib.core.checkpoints import Row
from brainram_lib.core.devices import accelerator, seeded
from brainram_lib.core.loop import ONE_CYCLE, Plan, train
from brainram_lib.core.parallel import sharded
from brainram_lib.peers.mindeye import CHUNK, ResidualMlp
from brainram_lib.peers.pairs import Pairs
from brainram_lib.peers.settings import LowLevelSettings


class LowLevel(nn.Module):
    """A residual MLP to a small map of channels, then convolutions that double its sides up to the latent's.

    Args:
        settings: sizes; `side` times a power of two must be the latent's side.
        voxels: of the betas.
        shape: of the latents, (C, h, w).

    Raises:
        ValueError: a latent that is not square, or whose side cannot be reached.
    """

    def __init__(self, settings: LowLevelSettings, voxels: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = shape
        doublings = math.log2(height / settings.side) if height >= settings.side else -1.0
        if height != width or doublings != int(doublings) or doublings < 0:
            raise ValueError(
                f"'side' of LowLevelSettings times 2, 4, 8, ... must be the side of square latents, which are "
                f"{height} x {width}. {settings.side} was provided."
            )
        self.settings = settings
        first = settings.first_dropout, settings.dropout
        self.backbone = ResidualMlp(voxels, settings.hidden, settings.blocks, first, nn.SiLU)
        self.small = settings.channels, settings.side, settings.side
        self.to_map = nn.Linear(settings.hidden, math.prod(self.small))
        self.upsampler = nn.Sequential(
            nn.GroupNorm(1, settings.channels),
            *(_doubled(settings.channels) for _ in range(int(doublings))),
            nn.Conv2d(settings.channels, channels, 3, padding=1),
        )

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.to_map.weight.device

    def forward(self, betas: Float[Tensor, "batch voxels"]) -> Float[Tensor, "batch channels h w"]:
        """The latents."""
        return self.upsampler(self.to_map(self.backbone(betas)).unflatten(1, self.small))

    @torch.no_grad()
    def predict(self, betas: Float[Tensor, "n voxels"]) -> Float[Tensor, "n channels h w"]:
        """The latents of all rows, on the CPU."""
        return torch.cat([self(part.to(self.device)).cpu() for part in betas.split(CHUNK)])

    def load(self, path: Path) -> LowLevel:
        """Read weights; returns self in evaluation mode."""
        self.load_state_dict(load_file(path))
        return self.eval()


def _doubled(channels: int) -> nn.Sequential:
    """Twice the sides: each pixel repeated, then two convolutions."""
    return nn.Sequential(
        nn.Upsample(scale_factor=2),
        *(nn.Conv2d(channels, channels, 3, padding=1), nn.GroupNorm(1, channels), nn.SiLU()),
        *(nn.Conv2d(channels, channels, 3, padding=1), nn.SiLU()),
    )


class LowLevelTask:
    """The training of the low-level pipeline, for `core.loop.train`: mean absolute error of latents (section 2.2)."""

    def __init__(self, model: LowLevel, training: Pairs, validation: Pairs) -> None:
        self.model, self.training, self.validation = model, training, validation
        self.steps = len(training.batches(model.settings.batch, torch.Generator()))

    def batches(self, random: torch.Generator) -> list[Tensor]:
        """Full batches of images."""
        return self.training.batches(self.model.settings.batch, random)

    def loss(self, batch: Tensor, random: torch.Generator) -> tuple[Float[Tensor, ""], Row]:
        """Mean absolute error."""
        betas, latents = self.training.of(batch, self.model.device, random)
        error = (sharded(self.model, betas) - latents).abs().mean()
        return error, {"loss": error.item()}

    @torch.no_grad()
    def validate(self, epoch: int, last: bool) -> Row:
        """The same of the validation images."""
        betas, latents = self.validation.every(self.model.device)
        return {"val_loss": (self.model.predict(betas).to(latents.device) - latents).abs().mean().item()}

    def said(self, row: Row) -> str:
        """Both errors."""
        return f"absolute error {row['loss']:.3f}, validation {row['val_loss']:.3f}"


def train_low_level(
    settings: LowLevelSettings, training: Pairs, validation: Pairs, folder: Path, seed: int
) -> tuple[LowLevel, list[Row]]:
    """Train on a GPU where there is one; the model in evaluation mode, and one row of losses per epoch."""
    with seeded(seed):
        model = LowLevel(settings, training.betas.shape[1], tuple(training.targets.shape[1:]))
    task = LowLevelTask(model.to(accelerator()), training, validation)
    plan = Plan(
        *(settings.epochs, task.steps, settings.rate, settings.weight_decay),
        schedule=ONE_CYCLE,
        precision=settings.precision,
    )
    return model, train(task, plan, folder, seed, "MindEye, low level")
