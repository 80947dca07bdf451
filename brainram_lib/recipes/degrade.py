"""Brain-like tokens for training the mini generator: clean tokens with a simulated estimate's faults.

What is estimated from a brain is an expectation: it shrinks to the mean, more in directions of token space that are
harder to know, and keeps an error of its own. A generator that never saw such tokens turns them into blobs. The faults
are simulated on the models' own scenes: no brain, no stimulus is used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Faults:
    """How strongly tokens are corrupted; every range is drawn anew for every sample.

    Attributes:
        clean: share of samples that stay as they are.
        reliability: g of the direction of largest variance.
        falloff: how g falls with the variance, g_i = reliability * (variance_i / largest)^falloff. Fine differences,
            which tell objects apart, are known least.
        error: size of the error relative to that of an expectation; a draw from a posterior has a larger one.
    """

    clean: float = 0.35
    reliability: tuple[float, float] = (0.3, 1.0)
    falloff: tuple[float, float] = (0.0, 0.25)
    error: tuple[float, float] = (0.7, 1.4)


@dataclass(frozen=True)
class Spectrum:
    """Mean tokens, and the directions of their features (columns) with their variances over the largest."""

    mean: Float[Tensor, "tokens width"]
    directions: Float[Tensor, "width width"]
    variances: Float[Tensor, " width"]

    @classmethod
    def of(cls, mean: Float[Tensor, "tokens width"], whitening: Float[Tensor, "width width"]) -> Spectrum:
        """Read from a fitted whitening's map, which divides each direction by the root of its variance."""
        inverse_roots, directions = torch.linalg.eigh(whitening)
        return cls(mean, directions, (inverse_roots.min() / inverse_roots).square())

    def to(self, device: torch.device) -> Spectrum:
        """The same on a device."""
        return Spectrum(*(part.to(device) for part in (self.mean, self.directions, self.variances)))


def corrupted(
    tokens: Float[Tensor, "batch tokens width"],
    spectrum: Spectrum,
    random: torch.Generator,
    faults: Faults = Faults(),  # noqa: B008 - frozen
) -> Float[Tensor, "batch tokens width"]:
    """mean + g (x - mean) + e sqrt(g (1 - g)) sum_j w_j (x_j - mean) / sqrt(batch), direction by direction.

    An expectation of x that explains the share g of a direction's variance v has variance g v, of which g^2 v is x's
    own; the rest, g (1 - g) v, is error. Here that is a random mixture of all scenes of the batch (w_j Gaussian), which
    has the tokens' own covariance. A share `faults.clean` of the batch stays as it is.

    `random` is on the tokens' device.
    """
    batch = len(tokens)

    def draw(limits: tuple[float, float]) -> Tensor:
        return limits[0] + (limits[1] - limits[0]) * torch.rand(batch, 1, 1, generator=random, device=random.device)

    scenes = (tokens - spectrum.mean) @ spectrum.directions
    weights = torch.randn(batch, batch, generator=random, device=random.device) / math.sqrt(batch)
    crowd = (weights @ scenes.flatten(1)).view_as(scenes)
    gain = draw(faults.reliability) * spectrum.variances ** draw(faults.falloff)
    error = draw(faults.error) * (gain * (1 - gain)).sqrt()
    bad = spectrum.mean + (gain * scenes + error * crowd) @ spectrum.directions.T
    clean = torch.rand(batch, 1, 1, generator=random, device=random.device) < faults.clean
    return torch.where(clean, tokens, bad)
