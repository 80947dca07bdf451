"""Do two systems differ on the same images? The sign-flip permutation test, and Holm's correction for many of them.

With d_i the difference of two systems' scores on image i (over subjects and seeds: what image i adds to the mean
difference, `joint.contributions`), the statistic is T = mean_i d_i. If the systems do not differ, it does not matter
which system an image's scores are assigned to, so every d_i could as well be -d_i:

    p = share of flips s in {-1, 1}^n with |mean_i s_i d_i| >= |T|.

Two-sided. All 2^n flips are tried where that is no more than the number of draws; else flips are drawn, seeded, and the
observed one counts among them, p = (1 + hits) / (1 + draws), so p is never 0 (Phipson and Smyth 2010). Flipping an
image without a difference changes nothing; flips that tie with T count as hits; two identical systems get p = 1.

**An image is flipped in all subjects and seeds at once.** A system that does better on an image for one brain
tends to do better on it for the others, so its values in eight runs are not eight independent ones. The test is for
*these* trained networks on other images; what another training would change is in `joint`'s intervals, and a table
marks a difference only where test and interval both exclude 0.

**Identification metrics.** A two-way score of image j compares its reconstruction with all real images, and image
retrieval compares its estimate with all targets: both depend on the rivals, which the two systems share, and on what a
system made of image j alone, so flipping image j flips d_j and nothing else, and the test is exact. It holds for
rivals like these: with other test images every score moves together, by a share that falls as 1 / n. Where what a
system made competes with itself (brain retrieval, and two-way identification over reconstructions), a flip of image j
would also change the other images' scores; the test takes the rival brains as given and is approximate.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product

import numpy as np
from jaxtyping import Float, Int8

DRAWS = 10_000
# For a family of m comparisons: with fewer than 20 m draws, no p could stay below .05 after Holm's correction.
DRAWS_A_COMPARISON = 100
ALPHA = 0.05
_BLOCK = 1000
# Means closer than this share of the mean absolute difference are tied: scores are saved with seven digits.
_TIE = 1e-6


def sign_flip_p(
    differences: Float[np.ndarray, "k images"], draws: int = DRAWS, seed: int = 0
) -> Float[np.ndarray, " k"]:
    """Two-sided p of k mean differences over the same images; all are flipped together.

    Raises:
        ValueError: no image, or a difference that is not finite.
    """
    values = np.asarray(differences, np.float64)
    if not values.size or not np.isfinite(values).all():
        raise ValueError(
            "'differences' must hold one finite number per image. "
            f"{values.shape} values with {int((~np.isfinite(values)).sum())} not finite were provided."
        )
    observed = np.abs(values.sum(1)) - _TIE * np.abs(values).sum(1)
    hits = sum((np.abs(signs @ values.T) >= observed).sum(0) for signs in _signs(values.shape[1], draws, seed))
    return hits / 2 ** values.shape[1] if _exact(values.shape[1], draws) else (1 + hits) / (1 + draws)


def sign_flip_p_reference(differences: Float[np.ndarray, " images"], draws: int = DRAWS, seed: int = 0) -> float:
    """The same for one comparison, one flip at a time."""
    images = len(differences)
    observed, tie = abs(sum(differences)), _TIE * sum(abs(one) for one in differences)
    if _exact(images, draws):
        flips, extra = list(product((-1, 1), repeat=images)), 0
    else:
        flips, extra = [row for block in _signs(images, draws, seed) for row in block], 1
    hits = sum(abs(sum(s * one for s, one in zip(row, differences, strict=True))) >= observed - tie for row in flips)
    return (hits + extra) / (len(flips) + extra)


def draws_for(comparisons: int) -> int:
    """How many draws a family of this many comparisons needs."""
    return max(DRAWS, DRAWS_A_COMPARISON * comparisons)


def holm(p: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Holm's step-down correction: with p_(1) <= ... <= p_(m), p'_(j) = max_{i <= j} min(1, (m - i + 1) p_(i)).

    Rejecting what is below .05 then rejects a true null anywhere in the family with probability at most .05, however
    the comparisons depend on each other (Holm 1979).
    """
    order = np.argsort(p, kind="stable")
    steps = np.minimum(1, (len(p) - np.arange(len(p))) * np.asarray(p, np.float64)[order])
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(steps) if len(p) else steps
    return corrected


def _exact(images: int, draws: int) -> bool:
    return images < 60 and 2**images <= draws


def _signs(images: int, draws: int, seed: int) -> Iterator[Float[np.ndarray, "block images"]]:
    """All flips, or seeded ones, a block at a time."""
    flips = _every_flip(images) if _exact(images, draws) else _drawn_flips(images, draws, seed)
    for start in range(0, len(flips), _BLOCK):
        yield flips[start : start + _BLOCK].astype(np.float64)


def _every_flip(images: int) -> Int8[np.ndarray, "flips images"]:
    return (1 - 2 * (np.arange(2**images)[:, None] >> np.arange(images) & 1)).astype(np.int8)


@lru_cache(maxsize=2)
def _drawn_flips(images: int, draws: int, seed: int) -> Int8[np.ndarray, "draws images"]:
    """Cached, because a table asks for the same ones again and again."""
    return 1 - 2 * np.random.default_rng(seed).integers(2, size=(draws, images), dtype=np.int8)
