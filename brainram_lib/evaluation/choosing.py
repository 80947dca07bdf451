"""Does a fusion choose among its neighbours, or only weigh their ranks? Its weights versus how close each really is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata


@dataclass(frozen=True)
class Choosing:
    """What a fusion's weights follow. A query is one sample of one test stimulus.

    Attributes:
        first: share of queries whose largest weight lies on the first neighbour; of m equal ones, each counts 1 / m.
        closest: share whose largest weight lies on the neighbour that is really closest to the target; the same.
        correlation: mean over queries of the rank correlation (Spearman) of weight and closeness.
        by_rank: the same correlation for weights that fall with the neighbour's rank: what rank alone gives.
        over_images: standard deviation of a source's weight over images, averaged over sources and tokens.
        over_tokens: its standard deviation over tokens, averaged over sources and images.
        neighbours: how many, K.
    """

    first: float
    closest: float
    correlation: float
    by_rank: float
    over_images: float
    over_tokens: float
    neighbours: int

    def said(self) -> str:
        """One sentence to print below the figure of the weights."""
        return (
            f"The largest weight lies on neighbour 1 in {self.first:.0%} of the queries and on the truly closest "
            f"neighbour in {self.closest:.0%} (chance {1 / self.neighbours:.0%}); within a query the weights' rank "
            f"correlation with true closeness is {self.correlation:.2f}, where the neighbours' rank alone gives "
            f"{self.by_rank:.2f}; a weight's standard deviation is {self.over_images:.3f} over images and "
            f"{self.over_tokens:.3f} over tokens."
        )


def choosing(
    weights: Float[np.ndarray, "n samples sources tokens"], errors: Float[np.ndarray, "n samples neighbours"]
) -> Choosing:
    """Compare weights with the neighbours' squared errors.

    Args:
        weights: of p (row 0) and of each neighbour, for every token.
        errors: of each neighbour's tokens from the target, whitened. They use the truth: for reports, never for
            choosing.

    Raises:
        ValueError: weights and errors differ in the number of neighbours.
    """
    if weights.shape[:2] != errors.shape[:2] or weights.shape[2] != errors.shape[2] + 1:
        raise ValueError(
            f"weights {weights.shape} must have a row for p and one for each neighbour of errors {errors.shape}."
        )
    values = np.asarray(weights, np.float64)
    given = values[:, :, 1:].mean(-1).reshape(-1, errors.shape[2])
    wrong = np.asarray(errors, np.float64).reshape(given.shape)
    largest = given == given.max(1, keepdims=True)
    share = largest / largest.sum(1, keepdims=True)
    return Choosing(
        first=float(share[:, 0].mean()),
        closest=float(share[wrong == wrong.min(1, keepdims=True)].sum() / len(share)),
        correlation=_rank_correlation(given, -wrong),
        by_rank=_rank_correlation(np.broadcast_to(-np.arange(given.shape[1], dtype=float), given.shape), -wrong),
        over_images=float(values.mean(1).std(0).mean()),
        over_tokens=float(values.mean(1).std(-1).mean()),
        neighbours=errors.shape[2],
    )


def _rank_correlation(one: Float[np.ndarray, "queries k"], other: Float[np.ndarray, "queries k"]) -> float:
    """Spearman's within each query, averaged; a query whose values are all tied counts as 0."""
    ranks = [rankdata(values, axis=1) for values in (one, other)]
    centred = [values - values.mean(1, keepdims=True) for values in ranks]
    norms = np.prod([np.linalg.norm(values, axis=1) for values in centred], axis=0)
    products = (centred[0] * centred[1]).sum(1)
    return float(np.divide(products, norms, out=np.zeros_like(products), where=norms > 0).mean())
