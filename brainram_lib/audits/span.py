"""What the output space gives without a brain: the best estimate in the span of the training targets.

A linear map from voxels to tokens can only give combinations of the training targets (Otsuka et al., arXiv 2509.15832).
How close the best of them comes to a test target bounds such a decoder, whatever the brain says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

# Features whose products are summed at a time: 9,000 targets of 257 x 768 tokens do not fit in double precision.
COLUMNS = 8192


@dataclass(frozen=True)
class Span:
    """Projections onto the affine span of training targets.

    Attributes:
        projected: (m, features). rank: dimensions that the targets span beside their mean.
        of: dimensions that there are.
    """

    projected: Float32[np.ndarray, "m features"]
    rank: int
    of: int


def in_span(train: Float[np.ndarray, "n features"], asked: Float[np.ndarray, "m _features"]) -> Span:
    """mean + X^T (X X^T)^+ X (y - mean), X the centred training targets: the point of their affine span nearest to y.

    Raises:
        ValueError: different numbers of features, or fewer than two training targets.
    """
    if train.shape[1] != asked.shape[1] or len(train) < 2:
        raise ValueError(
            f"'train' {train.shape} and 'asked' {asked.shape} must have the same features, and two training targets "
            "are the least that span something."
        )
    mean = np.asarray(train.mean(0, dtype=np.float64), np.float32)
    starts = range(0, train.shape[1], COLUMNS)
    gram, cross = np.zeros((len(train), len(train))), np.zeros((len(train), len(asked)))
    for start in starts:
        known, wanted = (_centred(rows, mean, start) for rows in (train, asked))
        gram += known @ known.T
        cross += known @ wanted.T
    inverse, rank = _pseudo_inverse(gram)
    shares = inverse @ cross
    projected = np.empty(asked.shape, np.float32)
    for start in starts:
        part = slice(start, start + COLUMNS)
        projected[:, part] = shares.T @ _centred(train, mean, start) + mean[part]
    return Span(projected, rank, train.shape[1])


def in_span_reference(
    train: Float[np.ndarray, "n features"], asked: Float[np.ndarray, "m features"]
) -> Float[np.ndarray, "m features"]:
    """The same by least squares, one estimate at a time."""
    train, asked = (rows.astype(np.float64) for rows in (train, asked))
    mean = train.mean(0)
    shares = [np.linalg.lstsq((train - mean).T, one - mean, rcond=None)[0] for one in asked]
    return np.stack([mean + one @ (train - mean) for one in shares])


def _centred(rows: np.ndarray, mean: np.ndarray, start: int) -> Float[np.ndarray, "n columns"]:
    part = slice(start, start + COLUMNS)
    return np.asarray(rows[:, part], np.float64) - mean[part]


def _pseudo_inverse(gram: Float[np.ndarray, "n n"]) -> tuple[Float[np.ndarray, "n n"], int]:
    values, vectors = np.linalg.eigh(gram)
    # targets may come in half precision: what lies below its rounding error is not a direction
    real = values > values[-1] * 1e-8
    return (vectors[:, real] / values[real]) @ vectors[:, real].T, int(real.sum())
