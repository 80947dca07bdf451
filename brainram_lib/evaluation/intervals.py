"""Intervals over images: the percentile bootstrap, seeded. `joint` adds seeds and subjects."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

LEVEL, RESAMPLES = 0.95, 2000


class Interval(NamedTuple):
    """A mean over images and the ends of its bootstrap interval."""

    value: float
    low: float
    high: float


def bootstrap_interval(
    values: Float[np.ndarray, " n"], level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The mean of per-image values with its percentile interval: images are drawn with replacement.

    Two systems scored on the same images use the same draws when the seed is the same.

    Raises:
        ValueError: no value, a NaN among them, or a level outside (0, 1).
    """
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"'values' must hold one finite number per image. {_described(values)} was provided.")
    if not 0 < level < 1:
        raise ValueError(f"'level' must lie between 0 and 1. {level} was provided.")
    means = bootstrap_means(np.asarray(values, np.float64), resamples, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(np.mean(values, dtype=np.float64)), float(low), float(high))


def paired_difference(
    first: Float[np.ndarray, " n"], second: Float[np.ndarray, " _n"], level: float = LEVEL, seed: int = 0
) -> Interval:
    """Mean of first - second over the same images, with its interval; they differ where it excludes zero.

    Raises:
        ValueError: the two hold different numbers of images.
    """
    if len(first) != len(second):
        raise ValueError(
            f"'first' holds {len(first)} images and 'second' {len(second)}: a paired difference needs the same images."
        )
    return bootstrap_interval(np.asarray(first, np.float64) - second, level, seed=seed)


def bootstrap_means(values: Float[np.ndarray, " n"], resamples: int, seed: int) -> Float[np.ndarray, " resamples"]:
    """Means of `resamples` draws of all images with replacement, (resamples,)."""
    drawn = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    return values[drawn].mean(1)


def drawn_counts(images: int, resamples: int, seed: int) -> Float[np.ndarray, "resamples images"]:
    """How often each image is in each draw of `bootstrap_means`, for many scores of the same images at once."""
    drawn = np.random.default_rng(seed).integers(images, size=(resamples, images))
    places = drawn + images * np.arange(resamples)[:, None]
    return np.bincount(places.ravel(), minlength=images * resamples).reshape(resamples, images).astype(np.float64)


def bootstrap_means_reference(
    values: Float[np.ndarray, " n"], resamples: int, seed: int
) -> Float[np.ndarray, " resamples"]:
    """The same with a loop over resamples and a loop over images."""
    drawn = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    return np.array([sum(values[image] for image in row) / len(values) for row in drawn])


def _described(values: np.ndarray) -> str:
    return f"{len(values)} values with {int((~np.isfinite(values)).sum())} not finite"
