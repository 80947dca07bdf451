"""Variances between runs and between subjects: what an interval adds to the bootstrap over images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

Group = Float[np.ndarray, "k members images"]


class Between(NamedTuple):
    """How much means over images differ between members of a group (seeds of a subject, or subjects).

    Attributes:
        variance: of the members' means, (k,), with `freedom` degrees of freedom.
        noise: the part of it that is due to images, (k,): the members' disagreement on single images, divided by n.
        scale: the variance of the mean over all groups is `scale` times that of a member.
    """

    variance: Float[np.ndarray, " k"]
    noise: Float[np.ndarray, " k"]
    freedom: int
    scale: float


def of_seeds(values: Float[np.ndarray, "k runs images"], subjects: Int[np.ndarray, " _runs"]) -> Between | None:
    """Between seeds of a subject, pooled over subjects; None where no subject has two."""
    names = np.unique(subjects)
    groups = [values[:, subjects == one] for one in names]
    scale = sum(1 / group.shape[1] for group in groups) / len(names) ** 2
    several = [group for group in groups if group.shape[1] > 1]
    return _pooled(several, scale) if several else None


def of_subjects(values: Float[np.ndarray, "k runs images"], subjects: Int[np.ndarray, " _runs"]) -> Between:
    """Between subjects, each the mean of its seeds."""
    names = np.unique(subjects)
    group = np.stack([_mean_of_known(values[:, subjects == one], 1) for one in names], axis=1)
    return _pooled([group], 1 / len(names))


def _pooled(groups: Sequence[Group], scale: float) -> Between:
    freedom = sum(group.shape[1] - 1 for group in groups)
    variance = sum(_squares_of_means(group) for group in groups) / freedom
    noise = sum((group.shape[1] - 1) * _noise(group) for group in groups) / freedom
    return Between(variance, noise, freedom, scale)


def _squares_of_means(group: Group) -> Float[np.ndarray, " k"]:
    means = np.nanmean(group, axis=-1)
    return ((means - means.mean(1, keepdims=True)) ** 2).sum(1)


def _noise(group: Group) -> Float[np.ndarray, " k"]:
    """Variance of a member's mean that its images alone cause: the interaction of members and images, over n.

    From the images that all members have; 0 where they share fewer than two: the interval is then rather too wide.
    """
    shared = np.isfinite(group).all(1, keepdims=True)
    n = shared.sum(-1)
    known = np.where(shared, group, np.nan)
    rest = known - _mean_of_known(known, 1)[:, None] - _mean_of_known(known, 2)[..., None]
    rest = np.nan_to_num(rest + _mean_of_known(_mean_of_known(known, 1), 1)[:, None, None])
    freedom = (group.shape[1] - 1) * np.maximum(n[:, 0] - 1, 1)
    return np.where(n[:, 0] > 1, (rest**2).sum((1, 2)) / freedom / np.maximum(n[:, 0], 1), 0.0)


def _mean_of_known(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean of what is not NaN; NaN where nothing is, without numpy's warning."""
    counts = np.isfinite(values).sum(axis)
    sums = np.nansum(values, axis=axis)
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
