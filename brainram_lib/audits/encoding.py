"""Would the brain say so? An encoding model from pictures to voxels, and whether its betas match the measured.

A reconstruction is right for the brain if it would have driven the voxels as the stimulus did (MindEye2's 'brain
correlation', there by a published network; here by a ridge that is fitted on the training images).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

ALPHAS = tuple(float(alpha) for alpha in np.logspace(1, 6, 11))
RESAMPLES = 200


@dataclass(frozen=True)
class Encoding:
    """betas = intercept + ((features - mean) / scale) @ weights, one alpha per voxel.

    Attributes:
        mean, scale: of the training features. weights, intercept: of the ridge.
        alphas: chosen by leave-one-out error on the training images.
    """

    mean: Float32[np.ndarray, " features"]
    scale: Float32[np.ndarray, " features"]
    weights: Float32[np.ndarray, "features voxels"]
    intercept: Float32[np.ndarray, " voxels"]
    alphas: Float32[np.ndarray, " voxels"]

    @classmethod
    def fit(
        cls,
        features: Float[np.ndarray, "n features"],
        betas: Float[np.ndarray, "_n voxels"],
        alphas: Sequence[float] = ALPHAS,
    ) -> Encoding:
        """min |Y - Z W|^2 + alpha |W|^2 for every voxel, Z the standardised features (scikit-learn's RidgeCV).

        Raises:
            ValueError: features and betas of different numbers of images, or one image alone.
        """
        from sklearn.linear_model import RidgeCV

        if len(features) != len(betas) or len(features) < 3:
            raise ValueError(
                f"'features' has {len(features)} images and 'betas' {len(betas)}: both must list the same "
                "training images, three or more."
            )
        mean, scale = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
        # a feature that never varies says nothing
        scale = np.where(scale > 1e-6 * np.abs(mean) + 1e-12, scale, np.inf)
        standard = (np.asarray(features, np.float64) - mean) / scale
        fitted = RidgeCV(alphas=list(alphas), alpha_per_target=betas.shape[1] > 1).fit(
            standard, np.asarray(betas, np.float64)
        )
        weights = np.atleast_2d(fitted.coef_).T
        chosen = np.broadcast_to(np.asarray(fitted.alpha_), betas.shape[1])
        values = (mean, scale, weights, np.atleast_1d(fitted.intercept_), chosen)
        return cls(*(np.ascontiguousarray(one, np.float32) for one in values))

    def predict(self, features: Float[np.ndarray, "n _features"]) -> Float32[np.ndarray, "n voxels"]:
        """Betas of pictures.

        Raises:
            ValueError: not as many features as the model was fitted on.
        """
        if features.shape[1] != len(self.mean):
            raise ValueError(
                f"'features' has {features.shape[1]} features, the encoding model {len(self.mean)}. Use the "
                "features of the encoder that it was fitted with."
            )
        return ((np.asarray(features, np.float32) - self.mean) / self.scale) @ self.weights + self.intercept


def picture_features(tokens: Float[np.ndarray, "n tokens width"], cells: int) -> Float32[np.ndarray, "n features"]:
    """Token 0, and the means of the other tokens over `cells` x `cells` parts of the picture, side by side.

    Voxels of early areas see places, those of late areas things; all tokens would be more features than can be fitted
    on a few thousand images.

    Raises:
        ValueError: the tokens after the first do not form a square, or one smaller than the cells.
    """
    side = round((tokens.shape[1] - 1) ** 0.5)
    if side**2 != tokens.shape[1] - 1 or side < cells:
        raise ValueError(
            f"{tokens.shape[1]} image tokens are not a global token and a square of at least {cells} x {cells} patches."
        )
    grid = np.asarray(tokens[:, 1:], np.float32).reshape(len(tokens), side, side, -1)
    edges = np.linspace(0, side, cells + 1).round().astype(int)
    spans = [slice(*pair) for pair in zip(edges[:-1], edges[1:], strict=True)]
    parts = [grid[:, rows, columns].mean((1, 2)) for rows in spans for columns in spans]
    return np.concatenate([np.asarray(tokens[:, 0], np.float32), *parts], 1)


def voxel_correlation(
    predicted: Float[np.ndarray, "n voxels"], measured: Float[np.ndarray, "n voxels"]
) -> Float[np.ndarray, " voxels"]:
    """Pearson's r of every voxel over the images; 0 for a voxel that does not vary."""
    return _correlation(predicted.T, measured.T)


def pattern_correlation(
    predicted: Float[np.ndarray, "n voxels"],
    measured: Float[np.ndarray, "n voxels"],
    centre: Float[np.ndarray, " voxels"],
    regions: Mapping[str, Bool[np.ndarray, " voxels"]],
) -> dict[str, Float[np.ndarray, " n"]]:
    """Pearson's r of every image over the voxels of each region, both minus `centre`, the mean training betas.

    Without the centre, what is the same for every image would correlate all patterns.
    """
    own, true = predicted - centre, measured - centre
    return {name: _correlation(own[:, mask], true[:, mask]) for name, mask in regions.items()}


def own_correlation(
    predicted: Float[np.ndarray, "n voxels"],
    measured: Float[np.ndarray, "n voxels"],
    regions: Mapping[str, Bool[np.ndarray, " voxels"]],
    seed: int = 0,
) -> dict[str, tuple[float, float, float]]:
    """The mean over each region's voxels of their r over the images, with a 95 % bootstrap interval over images."""
    rng = np.random.default_rng(seed)
    draws = [np.arange(len(predicted)), *rng.integers(len(predicted), size=(RESAMPLES, len(predicted)))]
    found = np.stack([voxel_correlation(predicted[rows], measured[rows]) for rows in draws])
    means = {name: found[:, mask].mean(1) for name, mask in regions.items()}
    return {name: (float(one[0]), *map(float, np.quantile(one[1:], [0.025, 0.975]))) for name, one in means.items()}


def _correlation(one: Float[np.ndarray, "rows k"], other: Float[np.ndarray, "rows k"]) -> Float[np.ndarray, " rows"]:
    first, second = (np.asarray(rows, np.float64) - rows.mean(1, keepdims=True) for rows in (one, other))
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    products = (first * second).sum(1)
    return np.divide(products, norms, out=np.zeros_like(products), where=norms > 1e-12)
