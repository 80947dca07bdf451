"""How much of a voxel's response is signal: ncsnr, noise ceilings and repetition reliability (Allen et al., 2022).

NSD's model of a voxel: response = signal + noise, with variances that add to 1 after a z-score per session. The noise
variance is the mean, over images shown three times, of the variance over the three.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Shaped

from brainram_lib.nsd.errors import NsdError

REPETITIONS = 3
"""How often NSD means to show every image; ncsnr uses only images shown that often."""


def ncsnr_from_noise(noise_sd: Float[np.ndarray, " voxels"]) -> Float[np.ndarray, " voxels"]:
    """ncsnr = sqrt(max(0, 1 - v^2)) / v, v the noise's standard deviation; NaN where v is 0 or NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.sqrt(np.maximum(0, 1 - noise_sd**2)) / noise_sd
    return np.where(noise_sd > 0, value, np.nan)


def ncsnr(
    betas: Float[np.ndarray, "trials voxels"], nsd_ids: Int[np.ndarray, " trials"]
) -> Float[np.ndarray, " voxels"]:
    """ncsnr of each voxel from single trials that are already z-scored per session.

    v = sqrt(mean over images shown three times of the variance (n - 1) over the three); see `ncsnr_from_noise`.

    Raises:
        NsdError: no image has three trials.
    """
    ids, counts = np.unique(nsd_ids, return_counts=True)
    thrice = ids[counts == REPETITIONS]
    if not len(thrice):
        raise NsdError(f"ncsnr needs images with {REPETITIONS} trials; among {len(ids)} images there is none.")
    order = np.argsort(nsd_ids, kind="stable")
    order = order[np.isin(nsd_ids[order], thrice)]
    grouped = betas[order].reshape(len(thrice), REPETITIONS, -1).astype(np.float64)
    return ncsnr_from_noise(np.sqrt(grouped.var(axis=1, ddof=1).mean(axis=0)))


def noise_ceiling(
    ncsnr: Float[np.ndarray, " voxels"], repetitions: int | Shaped[np.ndarray, " images"]
) -> Float[np.ndarray, " voxels"]:
    """The explainable fraction of variance: ncsnr^2 / (ncsnr^2 + 1/n), n repetitions averaged.

    With images averaged over different numbers of repetitions, 1/n is its mean over images. Between 0 and 1; times 100
    it is NSD's percentage. NaN stays NaN, and an infinite ncsnr (no noise at all) has the ceiling 1.

    Raises:
        NsdError: a number of repetitions is below 1, there is none, or an ncsnr is negative.
    """
    counts = np.atleast_1d(np.asarray(repetitions, np.float64))
    if not counts.size or not (counts >= 1).all():
        raise NsdError(f"repetitions must be at least 1. {counts.min() if counts.size else np.nan:g} was provided.")
    if (ncsnr < 0).any():
        raise NsdError(f"ncsnr must not be negative: it is a ratio of standard deviations. It goes to {ncsnr.min():g}.")
    with np.errstate(divide="ignore"):
        # ncsnr^2 / (ncsnr^2 + 1/n), divided by ncsnr^2 so that zero and infinity have their limits
        return 1 / (1 + np.mean(1 / counts) / np.square(ncsnr))


def repetition_reliability(betas: Float[np.ndarray, "images repetitions voxels"]) -> Float[np.ndarray, " voxels"]:
    """Each voxel's mean Pearson correlation, across images, between pairs of repetitions; NaN for a constant voxel.

    Raises:
        NsdError: fewer than two images or repetitions.
    """
    images, repetitions, _ = betas.shape
    if images < 2 or repetitions < 2:
        raise NsdError(f"reliability needs 2 images and 2 repetitions at least; there are {images} and {repetitions}.")
    centred = betas.astype(np.float64) - betas.mean(axis=0, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = centred / np.sqrt((centred**2).sum(axis=0))
    total = (unit.sum(axis=1) ** 2).sum(axis=0)
    # The squared sum over repetitions holds every pair twice and `repetitions` correlations of one with itself.
    return (total - repetitions) / (repetitions * (repetitions - 1))
