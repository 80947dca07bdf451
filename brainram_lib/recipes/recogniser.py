"""A small network that recognises objects in clean latents: what the generator's last phase is judged by, too.

A squared error of latents counts a dog that is a brown patch as nearly right. Features that tell dogs from cats count
what is missing (perceptual losses: Johnson et al. 2016; in diffusion: Lin and Yang 2023). It sees latents only, and is
neither the mini CLIP that guides nor the network and the probe that evaluate reconstructions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from brainram_lib.core.devices import accelerator, in_bfloat16
from brainram_lib.recipes.training import Budget, run

WIDTHS = (64, 128, 128, 192, 192)
STRIDES = (1, 2, 1, 2, 1)
GROUPS = 8
BATCH = 128
# The first block's features are nearly the latents themselves.
COMPARED_FROM = 1
# What the recogniser is trained to see through: noise of up to this deviation (latents have 1), shifts of a position.
NOISE = 0.5
BUDGET = Budget(1_900, 7.0, 2e-3)


class Block(nn.Module):
    """Two convolutions of 3 x 3 beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norms = nn.ModuleList(nn.GroupNorm(GROUPS, outputs) for _ in range(2))
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Float[Tensor, "n inputs height width"]) -> Float[Tensor, "n outputs _height _width"]:
        inner = nn.functional.silu(self.norms[0](self.first(x)))
        return nn.functional.silu(self.norms[1](self.second(inner)) + self.shortcut(x))


class Recogniser(nn.Module):
    """Which categories a picture shows, from its latents.

        logit_c = log mean_i exp(w_c . f_i),      f_i the last block's features at position i

    so that an object counts wherever it stands.
    """

    def __init__(self, channels: int, categories: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(inputs, outputs, stride)
            for inputs, outputs, stride in zip((channels, *WIDTHS), WIDTHS, STRIDES, strict=False)
        )
        self.head = nn.Linear(WIDTHS[-1], categories)

    def features(self, latents: Float[Tensor, "n channels height width"]) -> list[Tensor]:
        """Every block's output, from fine to coarse."""
        outputs = []
        for block in self.blocks:
            latents = block(latents)
            outputs.append(latents)
        return outputs

    def forward(self, latents: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n categories"]:
        logits = self.head(self.features(latents)[-1].flatten(2).transpose(1, 2))
        return torch.logsumexp(logits, 1) - np.log(logits.shape[1])

    def distance(
        self, made: Float[Tensor, "n channels height width"], true: Float[Tensor, "n channels height width"]
    ) -> Float[Tensor, ""]:
        """How far the features of `made` are from those of `true`: mean over blocks of |f - f'|^2 / var f'."""
        with torch.no_grad():
            wanted = self.features(true)[COMPARED_FROM:]
        pairs = zip(self.features(made)[COMPARED_FROM:], wanted, strict=True)
        return torch.stack([(f.float() - g.float()).square().mean() / g.float().var() for f, g in pairs]).mean()


def moved_and_noised(
    latents: Float[Tensor, "n channels height width"], random: torch.Generator
) -> Float[Tensor, "n channels height width"]:
    """Latents rolled by up to one position, with Gaussian noise of a deviation drawn for each."""
    shift = torch.randint(-1, 2, (2,), generator=random).tolist()
    deviation = NOISE * torch.rand(len(latents), 1, 1, 1, generator=random)
    return torch.roll(latents, shift, (2, 3)) + deviation * torch.randn(latents.shape, generator=random)


def train_recogniser(
    checkpoint: Path,
    latents: Float[np.ndarray, "n channels height width"],
    labels: Bool[np.ndarray, "_ categories"],
    budget: Budget = BUDGET,
) -> Recogniser:
    """The recogniser after binary cross-entropy on all given latents, frozen; goes on from `checkpoint`.

    Raises:
        ValueError: latents and labels differ in number.
    """
    if len(latents) != len(labels):
        raise ValueError(f"latents and labels must be of the same scenes, got {len(latents)} and {len(labels)}.")
    recogniser, random = Recogniser(latents.shape[1], labels.shape[1]), torch.Generator()
    device = accelerator()
    recogniser.to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(recogniser.parameters(), weight_decay=0.05)
    for step, bar in run(budget, recogniser, optimizer, checkpoint, "recogniser of latents"):
        random.manual_seed(step)
        rows = torch.randint(len(latents), (BATCH,), generator=random).numpy()
        shown = moved_and_noised(torch.from_numpy(np.asarray(latents[rows], np.float32)), random).to(device)
        with in_bfloat16(device):
            logits = recogniser(shown.contiguous(memory_format=torch.channels_last))
        present = torch.from_numpy(np.asarray(labels[rows], np.float32)).to(device)
        loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), present, reduction="sum") / BATCH
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            bar.set_postfix_str(f"step {step}, loss {loss.item():.3f}")
    return recogniser.eval().requires_grad_(False)
