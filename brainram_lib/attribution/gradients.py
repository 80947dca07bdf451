"""Integrated gradients (Sundararajan, Taly and Yan, ICML 2017) of a decoder's score with respect to the betas.

    A_v(x) = (x_v - b_v) * integral over a from 0 to 1 of  dF/dx_v (b + a (x - b)),      sum_v A_v = F(x) - F(b)

x is an image's pattern of betas, b the baseline (the mean pattern) and F a score of the decoder's estimate. The second
equation is completeness: what the voxels are given credit for adds up to what the brain changed. It is checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from tqdm.auto import tqdm

from brainram_lib.attribution.decoders import Decoder
from brainram_lib.attribution.scores import Score

STEPS, TOLERANCE = 12, 0.05
# A score that changes quickly, such as that of a whitened query, gets more nodes before an error is raised.
MOST_STEPS = 96
# Near the baseline a projector's LayerNorm has little but its bias to normalise; the estimate changes quickly there.
_CROWDING = 3


@dataclass(frozen=True)
class Attribution:
    """Which voxels moved the score of each image.

    Attributes:
        values: A, signed, in the score's units.
        gained: F(x) - F(b) of each image.
    """

    values: Float[np.ndarray, "n voxels"]
    gained: Float[np.ndarray, " n"]

    @property
    def strength(self) -> Float[np.ndarray, " voxels"]:
        """Mean |A| over the images: how much a voxel is listened to, for better or worse."""
        return np.abs(self.values).mean(0)

    @property
    def contribution(self) -> Float[np.ndarray, " voxels"]:
        """Mean A over the images: what a voxel adds to the score. Influence that is only noise averages out."""
        return self.values.mean(0)

    @property
    def shortfall(self) -> float:
        """By how much completeness fails: rms of (sum_v A_v - gained) over rms of gained."""
        missing = self.values.sum(1, dtype=np.float64) - self.gained
        whole = np.sqrt(np.square(self.gained, dtype=np.float64).mean())
        return float(np.sqrt(np.square(missing).mean()) / max(whole, np.finfo(np.float32).tiny))


def integrated_gradients(
    decoder: Decoder,
    score: Score,
    betas: Float[Tensor, "n voxels"],
    baseline: Float[Tensor, " _voxels"],
    steps: int = STEPS,
    batch: int = 64,
    tolerance: float = TOLERANCE,
) -> Attribution:
    """A for every image, the integral by Gauss and Legendre's rule.

    Only the gradients of one batch at one node are held at a time.

    Args:
        decoder: betas to tokens, row by row.
        score: of as many images as `betas` has, in the same order.
        baseline: the pattern without information, the mean of the training betas.
        steps: nodes of the rule; 2 are exact where decoder and score are linear.
        batch: images at a time.
        tolerance: the largest `shortfall` that is accepted.

    Raises:
        ValueError: sizes disagree, values are NaN, the decoder has no gradient, or completeness fails by more than
            `tolerance`.
    """
    _check(betas, baseline, score, steps, batch)
    nodes, weights = _nodes(steps)
    values, gained = [], []
    starts = range(0, len(betas), batch)
    with tqdm(total=len(starts) * steps, desc="integrated gradients", unit="step") as bar:
        for start in starts:
            x, rows = betas[start : start + batch], torch.arange(start, min(start + batch, len(betas)))
            total = torch.zeros_like(x)
            for node, weight in zip(nodes, weights, strict=True):
                total += weight * _gradient(decoder, score, baseline + node * (x - baseline), rows)
                bar.update()
            values.append(((x - baseline) * total).numpy(force=True))
            gained.append(_gained(decoder, score, x, baseline, rows).numpy(force=True))
    found = Attribution(np.concatenate(values), np.concatenate(gained))
    if not found.shortfall <= tolerance:
        raise ValueError(
            f"the attributions miss what the score gained by {found.shortfall:.1%}, more than {tolerance:.1%}. Give "
            f"more than {steps} 'steps'; if that does not help, the decoder is random or not differentiable."
        )
    return found


def complete_gradients(
    decoder: Decoder,
    score: Score,
    betas: Float[Tensor, "n voxels"],
    baseline: Float[Tensor, " _voxels"],
    batch: int,
) -> Attribution:
    """`integrated_gradients` with STEPS nodes, doubled up to MOST_STEPS until completeness holds.

    Raises:
        ValueError: as `integrated_gradients`.
    """
    steps = STEPS
    while steps < MOST_STEPS:
        found = integrated_gradients(decoder, score, betas, baseline, steps, batch, tolerance=np.inf)
        if found.shortfall <= TOLERANCE:
            return found
        steps *= 2
    return integrated_gradients(decoder, score, betas, baseline, MOST_STEPS, batch)


def integrated_gradients_reference(
    decoder: Decoder,
    score: Score,
    betas: Float[Tensor, "n voxels"],
    baseline: Float[Tensor, " voxels"],
    steps: int = 300,
) -> Attribution:
    """The definition, image by image: the midpoint rule over many small steps."""
    values = torch.zeros_like(betas)
    for i, x in enumerate(betas):
        for k in range(steps):
            point = (baseline + (k + 0.5) / steps * (x - baseline)).requires_grad_()
            score(decoder(point[None]), torch.tensor([i])).sum().backward()
            values[i] += (x - baseline) * point.grad / steps
    rows = torch.arange(len(betas))
    return Attribution(values.numpy(), _gained(decoder, score, betas, baseline, rows).numpy())


def _gradient(
    decoder: Decoder, score: Score, x: Float[Tensor, "batch voxels"], rows: Int64[Tensor, " batch"]
) -> Float[Tensor, "batch voxels"]:
    x = x.detach().requires_grad_()
    scores = _scored(decoder, score, x, rows)
    if not scores.requires_grad:
        raise ValueError(
            "the score has no gradient with respect to the betas. Give a decoder that is differentiable and not under "
            "torch.no_grad, such as PriorDecoder (`prior.sample` is not)."
        )
    return torch.autograd.grad(scores.sum(), x)[0]


@torch.no_grad()
def _gained(
    decoder: Decoder, score: Score, x: Tensor, baseline: Tensor, rows: Int64[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    silent = decoder(baseline[None])
    if isinstance(silent, Mapping):
        everywhere = {name: one.expand(len(x), *one.shape[1:]) for name, one in silent.items()}
    else:
        everywhere = silent.expand(len(x), *silent.shape[1:])
    return _scored(decoder, score, x, rows) - score(everywhere, rows)


def _scored(decoder: Decoder, score: Score, x: Tensor, rows: Int64[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    estimates = decoder(x)
    _check_tokens(estimates, x)
    scores = score(estimates, rows)
    if scores.shape != rows.shape or not torch.isfinite(scores).all():
        raise ValueError(
            f"a score must be one finite number an image, ({len(x)},). {tuple(scores.shape)} came, "
            f"{int((~torch.isfinite(scores)).sum())} of them NaN or infinite. Check the decoder's estimates."
        )
    return scores


def _check_tokens(estimates: Tensor | Mapping[str, Tensor], x: Tensor) -> None:
    for tokens in estimates.values() if isinstance(estimates, Mapping) else (estimates,):
        if tokens.ndim != 3 or len(tokens) != len(x):
            raise ValueError(
                f"a decoder must give tokens ({len(x)}, tokens, width) for betas {tuple(x.shape)}. "
                f"{tuple(tokens.shape)} came."
            )


def _nodes(steps: int) -> tuple[list[float], list[float]]:
    """Nodes and weights on [0, 1] of the rule over s, a = s^_CROWDING."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    s, ds = (nodes + 1) / 2, weights / 2
    return (s**_CROWDING).tolist(), (ds * _CROWDING * s ** (_CROWDING - 1)).tolist()


def _check(betas: Tensor, baseline: Tensor, score: Score, steps: int, batch: int) -> None:
    if baseline.shape != betas.shape[1:]:
        raise ValueError(
            f"'baseline' must be one pattern of {betas.shape[1]} voxels, as 'betas' has. {tuple(baseline.shape)} was "
            "provided."
        )
    if len(score) != len(betas) or not len(betas):
        raise ValueError(
            f"'score' is of {len(score)} images and 'betas' of {len(betas)}: both must list the same images, one or "
            "more, in the same order."
        )
    for name, patterns in (("betas", betas), ("baseline", baseline)):
        if not torch.isfinite(patterns).all():
            raise ValueError(f"'{name}' holds NaN or infinite values. Drop such voxels, as `prepare_subject` does.")
    for name, value, least in (("steps", steps, 2), ("batch", batch, 1)):
        if value < least:
            raise ValueError(f"'{name}' must be {least} or more. {value} was provided.")
