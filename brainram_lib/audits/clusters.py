"""Clusters of the stimuli: what an estimate says of the image beyond the kind of image that it is.

A decoder that only names one of a few kinds, all of which it was trained on, scores well on images of these kinds
(Shirakawa et al., arXiv 2405.10078). So whole clusters are held out of training, and identification is asked within a
cluster as well as between clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int64

INITIALISATIONS = 10


@dataclass(frozen=True)
class Clusters:
    """Which cluster every stimulus belongs to, the largest cluster first.

    Attributes:
        train, test: labels, 0 to k - 1.
        centres: unit vectors.
    """

    train: Int64[np.ndarray, " n"]
    test: Int64[np.ndarray, " m"]
    centres: Float32[np.ndarray, "k width"]


def clusters_of(train: Float[np.ndarray, "n width"], test: Float[np.ndarray, "m width"], k: int, seed: int) -> Clusters:
    """k-means of the training stimuli's unit embeddings; test stimuli go to the nearest centre.

    The test stimuli have no say in where the centres lie.

    Raises:
        ValueError: fewer training stimuli than clusters, or fewer than two clusters.
    """
    from sklearn.cluster import KMeans

    if not 2 <= k <= len(train):
        raise ValueError(f"'k' must lie between 2 and the {len(train)} training stimuli. {k} was provided.")
    known, asked = (_unit(np.asarray(rows, np.float32)) for rows in (train, test))
    fitted = KMeans(k, n_init=INITIALISATIONS, random_state=seed).fit(known)
    order = np.argsort(-np.bincount(fitted.labels_, minlength=k), kind="stable")
    centres = _unit(fitted.cluster_centers_[order].astype(np.float32))
    return Clusters(nearest_centre(known, centres), nearest_centre(asked, centres), centres)


def nearest_centre(
    rows: Float[np.ndarray, "n width"], centres: Float[np.ndarray, "k _width"]
) -> Int64[np.ndarray, " n"]:
    """The centre with the highest cosine, for every row."""
    return (np.asarray(rows, np.float32) @ np.asarray(centres, np.float32).T).argmax(1).astype(np.int64)


def held_out(labels: Int[np.ndarray, " n"], fold: int, folds: int) -> Bool[np.ndarray, " n"]:
    """Which rows' cluster is held out: cluster c is in fold c mod `folds`, so that folds are of about equal size.

    Raises:
        ValueError: there is no such fold.
    """
    if not 0 <= fold < folds:
        raise ValueError(f"'fold' must lie between 0 and {folds - 1}. {fold} was provided.")
    return labels % folds == fold


def named_by_chance(test: Int[np.ndarray, " m"], train: Int[np.ndarray, " n"], k: int) -> float:
    """How often a guesser who knows the clusters' shares of the training set names the right one: sum_c p_c q_c."""
    shares = [np.bincount(labels, minlength=k) / len(labels) for labels in (train, test)]
    return float(shares[0] @ shares[1])


def two_way_by_cluster(
    real: Float[np.ndarray, "n width"], made: Float[np.ndarray, "_n _width"], labels: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Two-way identification against images of the same cluster, and against those of others. Chance .5.

    With R[i, j] the correlation of real i and estimate j, j scores the share of the i != j in question with
    R[i, j] < R[j, j]. NaN where there is no such i.

    Raises:
        ValueError: shapes or numbers differ.
    """
    if real.shape != made.shape or len(labels) != len(real):
        raise ValueError(
            f"'real' {real.shape}, 'made' {made.shape} and {len(labels)} labels must be of the same images and encoder."
        )
    n = len(real)
    correlation = np.corrcoef(np.asarray(real, np.float64), np.asarray(made, np.float64))[:n, n:]
    won = correlation < correlation.diagonal()[None]
    same = labels[:, None] == labels[None]
    np.fill_diagonal(won, False)
    others = ~np.eye(n, dtype=bool)
    return tuple(_share(won & pairs, pairs) for pairs in (same & others, ~same))


def _share(won: Bool[np.ndarray, "n n"], pairs: Bool[np.ndarray, "n n"]) -> Float[np.ndarray, " n"]:
    counts = pairs.sum(0)
    return np.where(counts > 0, won.sum(0) / np.maximum(counts, 1), np.nan)


def _unit(rows: Float32[np.ndarray, "n width"]) -> Float32[np.ndarray, "n width"]:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float32).tiny)
