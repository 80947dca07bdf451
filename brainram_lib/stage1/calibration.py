"""Does a prior denoise, and are its samples those of a posterior? Measured where x_0 is known: on validation images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from brainram_lib.core.ranks import found_own
from brainram_lib.stage1.losses import flat_unit
from brainram_lib.stage1.prior import CHUNK, Prior


@dataclass(frozen=True)
class LevelError:
    """Mean squared errors of x_0 at one level of noise, in the prior's units.

    Attributes:
        noise: standard deviation of the noise in x, scaled so that x_0 has factor one.
        prior: error of the prior's estimate. scaled: error of the best multiple of x itself. condition: error of the
            prior's estimate from the condition alone.
    """

    noise: float
    prior: float
    scaled: float
    condition: float


@torch.no_grad()
def errors_by_level(
    prior: Prior,
    condition: Float[Tensor, "n tokens width"],
    x0: Float[Tensor, "n tokens width"],
    seed: int = 0,
) -> list[LevelError]:
    """The prior's error in x_0 given the true x at each level, beside those from x alone and the condition alone."""
    random = torch.Generator().manual_seed(seed)
    blind = _mean_square(_means(prior, condition) - x0)
    found = []
    for level in prior.process.ladder:
        at = torch.full((len(x0),), float(level), device=x0.device)
        noise = torch.randn(x0.shape, generator=random).to(x0.device)
        x = prior.process.noised(x0, at, noise, condition)
        parts = zip(x.split(CHUNK), at.split(CHUNK), condition.split(CHUNK), strict=True)
        estimate = torch.cat([prior.denoised(*part) for part in parts])
        share = (x * x0).sum() / x.square().sum()
        ratio = prior.process.noise_ratio(float(level))
        found.append(LevelError(ratio, _mean_square(estimate - x0), _mean_square(share * x - x0), blind))
    return found


@dataclass(frozen=True)
class SampleReport:
    """Statistics of S samples per stimulus, in the prior's units; errors are mean squares, energies mean norms.

    For a calibrated posterior, `between` equals `mean`. The energy score E|s - x| - E|s - s'| / 2 is lowest for the
    true posterior.

    Attributes:
        one: error of one sample. of_mean: error of the mean of S samples. mean: error of `Prior.predict`.
        between: variance between the samples of a stimulus. spread: variance of one sample over stimuli; true: of x_0.
        energy: of the samples. energy_of_mean: of the mean alone, its distance from x_0.
        top1, top1_of_mean, top1_mean: identification of the right image by one sample, the mean of S, `Prior.predict`.
    """

    samples: int
    one: float
    of_mean: float
    mean: float
    between: float
    spread: float
    true: float
    energy: float
    energy_of_mean: float
    top1: float
    top1_of_mean: float
    top1_mean: float


@torch.no_grad()
def sample_report(
    prior: Prior,
    condition: Float[Tensor, "n tokens width"],
    x0: Float[Tensor, "n tokens width"],
    samples: int,
    steps: int,
    seed: int = 0,
) -> SampleReport:
    """Draw S samples of each stimulus and compare them with x_0."""
    drawn = torch.stack([prior.draw(condition, seed + s, steps) for s in range(samples)])
    average, mean = drawn.mean(0), _means(prior, condition)
    away = torch.stack([_distance(one, x0) for one in drawn]).mean(0)
    pairs = [_distance(drawn[a], drawn[b]) for a in range(samples) for b in range(a)]
    return SampleReport(
        samples,
        _mean_square(drawn[0] - x0),
        _mean_square(average - x0),
        _mean_square(mean - x0),
        drawn.var(0).mean().item(),
        drawn[0].var(0).mean().item(),
        x0.var(0).mean().item(),
        (away - torch.stack(pairs).mean(0) / 2).mean().item(),
        _distance(mean, x0).mean().item(),
        *(found_own(flat_unit(one) @ flat_unit(x0).T) for one in (drawn[0], average, mean)),
    )


def _means(prior: Prior, condition: Tensor) -> Tensor:
    return torch.cat([prior.mean(part) for part in condition.split(CHUNK)])


def _mean_square(values: Tensor) -> float:
    return values.square().mean().item()


def _distance(one: Tensor, other: Tensor) -> Float[Tensor, " n"]:
    return (one - other).flatten(1).norm(dim=1)
