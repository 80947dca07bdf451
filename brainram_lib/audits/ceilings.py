"""A score as a share of what could be reached: of the way from a wrong brain's score to the ceiling's."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from jaxtyping import Float

from brainram_lib.evaluation.intervals import LEVEL, RESAMPLES, Interval, bootstrap_means

# A ceiling that is no further from the floor than this many standard errors of the difference bounds nothing.
APART = 2.0


def share_of_ceiling(
    scores: Float[np.ndarray, " n"],
    floor: Float[np.ndarray, " _n"],
    ceiling: Float[np.ndarray, " _m"],
    seed: int = 0,
) -> Interval | None:
    """(s - f) / (c - f) of the means over images, with a 95 % interval: images are resampled for all three together.

    0 is the wrong brain's score, 1 the ceiling's, whichever way is better. None where ceiling and floor are no further
    apart than two standard errors of their difference: a share of nothing says nothing.

    Raises:
        ValueError: scores of different numbers of images.
    """
    if not len(scores) == len(floor) == len(ceiling):
        raise ValueError(
            f"scores, floor and ceiling hold {len(scores)}, {len(floor)} and {len(ceiling)} images: a share needs the "
            "same images."
        )
    own, low, high = (np.asarray(values, np.float64) for values in (scores, floor, ceiling))
    way = high - low
    if abs(way.mean()) <= APART * way.std() / np.sqrt(len(way)) or way.mean() == 0:
        return None
    above, ways = (bootstrap_means(values, RESAMPLES, seed) for values in (own - low, way))
    drawn = above / np.where(ways == 0, np.nan, ways)
    ends = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float((own - low).mean() / way.mean()), *map(float, ends))


def averages(trials: Float[np.ndarray, "n repetitions voxels"], count: int) -> list[Float[np.ndarray, "n voxels"]]:
    """Means over every choice of `count` of an image's repetitions: for one of three the three single trials.

    Raises:
        ValueError: more than there are, or none.
    """
    repetitions = trials.shape[1]
    if not 1 <= count <= repetitions:
        raise ValueError(f"'count' must lie between 1 and the {repetitions} repetitions. {count} was provided.")
    return [trials[:, list(chosen)].mean(1) for chosen in combinations(range(repetitions), count)]


def mean_over_choices(found: list[dict[str, Float[np.ndarray, " n"]]]) -> dict[str, Float[np.ndarray, " n"]]:
    """Per-image scores averaged over the choices of repetitions."""
    return {metric: np.mean([one[metric] for one in found], axis=0) for metric in found[0]}
