"""Intervals over images, seeds and subjects together.

A table's number is the mean over subjects of the mean over seeds of the mean over images,

    m = 1/S sum_s 1/K_s sum_k 1/n sum_i y[s, k, i].

Its 95 % interval is the central 95 % of m* + e*, two errors drawn independently:

- **images**, m*: the percentile bootstrap. Images are drawn with replacement, and a drawn image counts in every
  subject, seed and system: subjects saw the same test images, and an image that is hard for one is hard for all.
- **seeds**, e*: every run is trained separately, so seeds are nested in subjects. The variance D of run means around
  their subject's mean is pooled over subjects (f = sum_s (K_s - 1) degrees of freedom); it is the seeds' own plus
  E / n, what the images' noise E leaves in a mean over n, which m* already holds. A draw is
  e* = z sqrt(c max(f D / chi2_f - E / n, 0)) with c = 1/S^2 sum_s 1/K_s, z normal and chi2_f from its distribution:
  without the images' part, Student's distribution (Weerahandi's generalised interval of a variance component).

Why seeds are not drawn with replacement, as images are: from two values a bootstrap sees half of the variance, from one
none. Four subjects with two seeds each leave f = 4, and the interval is as wide as so small an f requires. Where no
subject has two seeds, nothing is known about seeds, e* = 0, and the table says so.

**Subjects are fixed**: the interval is for *these* brains, with other images and other trainings. That is how the field
reports NSD (four subjects measured for 40 sessions each, every one a replication: Smith and Little 2018; Naselaris,
Allen and Kay 2021), and four brains support no claim about others: no test of four signs can reach p < .05. Tables
therefore say in how many subjects a difference has the mean's sign. `population=True` makes subjects random (Clark
1973; Westfall, Kenny and Judd 2014): then e* is drawn in the same way from the variance of subjects' means, with
f = S - 1 and c = 1/S; that variance already includes the seeds'. With four subjects that is wide, as it should be.

With one run, nothing but the bootstrap over images is left.

In identification metrics the rivals stay those of the whole test set while images are drawn: an interval is for other
images among rivals like these (see `permutation`).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.special import chdtri, ndtri

from brainram_lib.evaluation.intervals import LEVEL, RESAMPLES, Interval, drawn_counts
from brainram_lib.evaluation.variances import Between, of_seeds, of_subjects


def joint_intervals(
    values: Float[np.ndarray, "k runs images"],
    subjects: Int[np.ndarray, " _runs"],
    population: bool = False,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Interval]:
    """The mean over subjects, seeds and images of k scores or differences, each with its interval.

    Args:
        values: one value per image, NaN where a run has not seen it.
        subjects: the subject of each run.
        population: whether the interval is to hold for other subjects too.

    Raises:
        ValueError: a run without any value, not one subject per run, or a single subject for a population.
    """
    _check(values, subjects, population)
    means = _image_draws(values, subjects, resamples, seed)
    between = of_subjects(values, subjects) if population else of_seeds(values, subjects)
    if between is not None:
        means = means + _error_draws(between, resamples, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [Interval(*map(float, one)) for one in zip(_means(values, subjects), low, high, strict=True)]


def contributions(
    values: Float[np.ndarray, "k runs images"], subjects: Int[np.ndarray, " _runs"]
) -> Float[np.ndarray, "k images"]:
    """What each image adds to the mean over subjects and seeds; their mean over images is the table's number.

    An image that one run lacks counts for more in the others, so that all runs have the same weight.
    """
    counts = np.isfinite(values).sum(-1, keepdims=True)
    shares = np.nan_to_num(values) / counts * values.shape[-1]
    return np.einsum("r,kri->ki", run_weights(subjects), shares)


def run_weights(subjects: Int[np.ndarray, " _runs"]) -> Float[np.ndarray, " runs"]:
    """The weight of each run in a mean over subjects of means over their seeds."""
    return np.array([1 / (subjects == one).sum() for one in subjects]) / len(set(subjects.tolist()))


def _means(values: Float[np.ndarray, "k runs images"], subjects: np.ndarray) -> Float[np.ndarray, " k"]:
    return np.nanmean(values, axis=-1) @ run_weights(subjects)


def _image_draws(
    values: Float[np.ndarray, "k runs images"], subjects: np.ndarray, resamples: int, seed: int
) -> Float[np.ndarray, "resamples k"]:
    """Means of images drawn with replacement, the same images in every run and for all k."""
    # centred in each run, so that an image which some runs lack moves the mean by its own error only
    around = contributions(values - np.nanmean(values, axis=-1, keepdims=True), subjects)
    counts = drawn_counts(values.shape[-1], resamples, seed)
    return _means(values, subjects) + counts @ around.T / values.shape[-1]


def _error_draws(between: Between, resamples: int, seed: int) -> Float[np.ndarray, "resamples k"]:
    """Draws of e*. They are stratified: 2,000 plain ones would leave the ends of a wide interval to luck."""
    rng = np.random.default_rng([seed, between.freedom])
    normal, chance = (rng.permutation((np.arange(resamples) + 0.5) / resamples) for _ in range(2))
    drawn = between.freedom * between.variance / chdtri(between.freedom, chance)[:, None]
    return ndtri(normal)[:, None] * np.sqrt(between.scale * np.maximum(drawn - between.noise, 0))


def _check(values: np.ndarray, subjects: np.ndarray, population: bool) -> None:
    if len(subjects) != values.shape[1]:
        raise ValueError(f"'subjects' must name one for each of the {values.shape[1]} runs. {len(subjects)} came.")
    if np.isinf(values).any() or not np.isfinite(values).any(-1).all():
        raise ValueError("'values' must hold finite numbers, or NaN for an image that a run lacks, and one a run.")
    if population and len(set(subjects.tolist())) < 2:
        raise ValueError("an interval for other subjects needs two subjects or more. One was provided.")
