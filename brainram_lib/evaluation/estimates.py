"""How close token estimates are to their targets: squared error and cosine, per image."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def mean_squared_error(
    estimates: Float[np.ndarray, "n tokens width"], targets: Float[np.ndarray, "_n _tokens _width"]
) -> Float[np.ndarray, " n"]:
    """Mean over tokens and width of (estimate - target)^2, one value per image.

    Raises:
        ValueError: shapes differ.
    """
    _check(estimates, targets)
    return np.square(estimates - targets, dtype=np.float64).mean((1, 2))


def cosine(
    estimates: Float[np.ndarray, "n tokens width"], targets: Float[np.ndarray, "_n _tokens _width"]
) -> Float[np.ndarray, " n"]:
    """Cosine of the flattened tokens, one value per image; 0 where an estimate is all zero.

    Raises:
        ValueError: shapes differ.
    """
    _check(estimates, targets)
    x, y = (np.asarray(tokens, np.float64).reshape(len(tokens), -1) for tokens in (estimates, targets))
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return (x * y).sum(1) / np.maximum(norms, np.finfo(np.float64).tiny)


def _check(estimates: np.ndarray, targets: np.ndarray) -> None:
    if estimates.shape != targets.shape:
        raise ValueError(
            f"'estimates' is {estimates.shape} and 'targets' {targets.shape}: both must be (n, tokens, width) of the "
            "same images and encoder. Average or choose among prior samples first."
        )
