"""Estimates of stimuli of other kinds than those that a decoder was trained on, scored kind by kind.

Within a kind all pictures are alike, so naming the kind is worth nothing there: an estimate is compared with another
image of the same kind. Between kinds it is worth everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from brainram_lib.audits.ceilings import APART
from brainram_lib.audits.clusters import two_way_by_cluster
from brainram_lib.evaluation.estimates import cosine, mean_squared_error
from brainram_lib.evaluation.identification import REPEATS, retrieval
from brainram_lib.evaluation.intervals import LEVEL, RESAMPLES, Interval, bootstrap_means

Samples = Float[np.ndarray, "n samples tokens width"]
Tokens = Float[np.ndarray, "_n _tokens _width"]


def rows_of(kinds: Sequence[str]) -> dict[str, np.ndarray]:
    """Kind -> its rows, in the order in which kinds first appear."""
    named = np.array(kinds, object)
    return {kind: np.flatnonzero(named == kind) for kind in dict.fromkeys(kinds)}


def scores_by_kind(
    made: Samples, real: Tokens, kinds: Sequence[str]
) -> dict[str, dict[str, Float[np.ndarray, " images"]]]:
    """Per-image scores by kind and metric; kinds of one image are left out, having no other to compare it with.

    - image_mse, image_cosine: of all tokens, means over samples.
    - cosine_of_other: cosine of the truth with the estimate of the next picture of the same kind.
    - two_way_within, two_way_between: by token 0, against pictures of the same kind and of the others.
    - first_of_kind, first_of_all: the estimate, averaged over samples, finds its own picture.

    Raises:
        ValueError: numbers of estimates, pictures and kinds differ.
    """
    if not len(made) == len(real) == len(kinds):
        raise ValueError(
            f"'made' holds {len(made)} stimuli, 'real' {len(real)} and 'kinds' {len(kinds)}: all must be of the same."
        )
    mean = made.mean(1)
    labels = np.array([list(dict.fromkeys(kinds)).index(kind) for kind in kinds])
    within, between = two_way_by_cluster(real[:, 0], mean[:, 0], labels)
    whole = {
        "image_mse": np.mean([mean_squared_error(made[:, s], real) for s in range(made.shape[1])], 0),
        "image_cosine": np.mean([cosine(made[:, s], real) for s in range(made.shape[1])], 0),
        "two_way_within": within,
        "two_way_between": between,
        "first_of_all": first(mean, real),
    }
    found = {}
    for kind, rows in rows_of(kinds).items():
        if len(rows) > 1:
            own = {name: values[rows] for name, values in whole.items() if np.isfinite(values[rows]).all()}
            own["first_of_kind"] = first(mean[rows], real[rows])
            own["cosine_of_other"] = cosine_of_other(made[rows], real[rows])
            found[kind] = own
    return found


def first(
    made: Tokens, real: Float[np.ndarray, "n tokens width"], pool: int | None = None
) -> Float[np.ndarray, " images"]:
    """How often each estimate finds its own picture first among `pool` pictures; among all of them by default."""
    everything = pool is None or pool >= len(real)
    found = retrieval(made, real, len(real) if everything else pool, 1 if everything else REPEATS)
    return found["image_retrieval"].per_image


def found_again(halves: Float[np.ndarray, "n 2 voxels"], pool: int | None = None) -> Float[np.ndarray, " images"]:
    """How often one half of an image's presentations finds the other half's betas first, as `first` finds pictures.

    Both minus their mean over the images: what the betas say about an image beyond its kind, whatever the decoder.
    """
    one, other = (halves[:, None, half] - halves[:, half].mean(0) for half in (0, 1))
    return first(one, other, pool)


def cosine_of_other(made: Samples, real: Tokens) -> Float[np.ndarray, " images"]:
    """Cosine of each picture's tokens with the estimate of the next one: what knowing the kind alone is worth."""
    others = np.roll(made, 1, axis=0)
    return np.mean([cosine(others[:, s], real) for s in range(made.shape[1])], 0)


def kept(above: Float[np.ndarray, " n"], usual: Float[np.ndarray, " m"], seed: int = 0) -> Interval | None:
    """mean(above) / mean(usual), with a 95 % interval: scores above chance, of other stimuli and of usual ones.

    The two sets are resampled independently. None where the usual score is not two standard errors above chance.
    """
    way = usual.mean()
    if way <= APART * usual.std() / np.sqrt(len(usual)):
        return None
    drawn = bootstrap_means(above, RESAMPLES, seed) / bootstrap_means(usual, RESAMPLES, seed + 1)
    ends = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(above.mean() / way), *map(float, ends))


def above_chance(scores: Mapping[str, Float[np.ndarray, " n"]], count: int) -> dict[str, Float[np.ndarray, " n"]]:
    """Scores minus chance among `count` images; for the cosine, minus that of another image of the kind."""
    return {
        "image_cosine": scores["image_cosine"] - scores["cosine_of_other"],
        "two_way_within": scores["two_way_within"] - 0.5,
        "first_of_kind": scores["first_of_kind"] - 1 / count,
    }
