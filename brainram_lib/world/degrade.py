"""Brain-like tokens for training the mini generator: clean tokens with a simulated estimate's faults.

Estimates from brains shrink to the mean, carry other scenes' content and miss tokens. A generator that never saw such
tokens paints blobs from them. The faults are simulated on the models' own scenes: no brain, no stimulus is used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Faults:
    """How strongly tokens are spoilt; every range is drawn anew for every sample."""

    clean: float = 0.35
    shrink: tuple[float, float] = (0.4, 1.0)
    stranger: tuple[float, float] = (0.0, 0.4)
    crowd: tuple[float, float] = (0.0, 0.6)
    missing: tuple[float, float] = (0.0, 0.3)


def spoilt(
    tokens: Float[Tensor, "batch tokens width"],
    mean: Float[Tensor, "tokens width"],
    random: torch.Generator,
    faults: Faults = Faults(),  # noqa: B008 - frozen
) -> Float[Tensor, "batch tokens width"]:
    """mean + a (x - mean) + b (x' - mean) + c sum_j g_j (x_j - mean) / sqrt(batch), some tokens set to the mean.

    x' is another scene of the batch; the sum over all of them, with Gaussian g_j, is noise of the tokens' own
    covariance. White noise instead would teach the generator to overlook the directions of small variance, which tell
    objects apart. A share `faults.clean` of the batch stays as it is.
    """
    batch = len(tokens)

    def draw(limits: tuple[float, float]) -> Tensor:
        return limits[0] + (limits[1] - limits[0]) * torch.rand(batch, 1, 1, generator=random)

    scenes = tokens - mean
    stranger = scenes[torch.randperm(batch, generator=random)]
    weights = torch.randn(batch, batch, generator=random) / math.sqrt(batch)
    crowd = (weights @ scenes.flatten(1)).view_as(scenes)
    bad = mean + draw(faults.shrink) * scenes + draw(faults.stranger) * stranger + draw(faults.crowd) * crowd
    missing = torch.rand(batch, tokens.shape[1], 1, generator=random) < draw(faults.missing)
    bad = torch.where(missing, mean.expand_as(bad), bad)
    clean = torch.rand(batch, 1, 1, generator=random) < faults.clean
    return torch.where(clean, tokens, bad)
