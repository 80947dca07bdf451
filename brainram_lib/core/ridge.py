"""Token-wise ridge from betas to CLIP tokens: the linear baseline that every decoder of this field must beat.

Brain-Diffuser's mapping (one linear model per token), with alpha chosen by r2 on the validation slice of the training
images instead of being fixed. Choosing it by top-1 retrieval would favour estimates that shrink too little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors.numpy import load_file, save_file
from sklearn.linear_model import Ridge as ScikitRidge
from torch import Tensor
from tqdm.auto import tqdm

from brainram_lib.core.files import write_whole

# Betas are z-scored, so the squared singular values of a session's design lie within this range.
ALPHAS = tuple(float(alpha) for alpha in np.logspace(1, 6, 16))


@dataclass(frozen=True)
class Ridge:
    """A fitted ridge: tokens = tokens_mean + (betas - betas_mean) @ weights[token], with weights = basis @ maps[token].

    The maps are kept apart from the basis that all tokens share: for CLIP's 257 tokens of width 768 and 15,724 voxels
    the weights would take 12 GB; the maps take that times rank / voxels, and the rank is at most the training images.

    Attributes:
        basis: directions of the betas, (n_voxels, rank), float32.
        maps: one linear map per token, (n_tokens, rank, width), float32.
        betas_mean: means of the training betas, (n_voxels,).
        tokens_mean: means of the training tokens, (n_tokens, width).
        alphas: the regularisation chosen for each token, (n_tokens,).
        r2: the validation r2 of each token at its alpha, pooled over its width, (n_tokens,).
    """

    basis: Float[np.ndarray, "voxels rank"]
    maps: Float[np.ndarray, "tokens rank width"]
    betas_mean: Float[np.ndarray, " voxels"]
    tokens_mean: Float[np.ndarray, "tokens width"]
    alphas: Float[np.ndarray, " tokens"]
    r2: Float[np.ndarray, " tokens"]

    @property
    def weights(self) -> Float[np.ndarray, "tokens voxels width"]:
        """The linear map of every token from voxels, (n_tokens, n_voxels, width)."""
        return np.stack([self.basis @ one for one in self.maps])

    def predict(self, betas: Float[np.ndarray, "n voxels"]) -> Float[np.ndarray, "n tokens width"]:
        """Estimates of the tokens, (n, n_tokens, width).

        Raises:
            ValueError: the betas have another number of voxels than the training betas.
        """
        n_tokens, _, width = self.maps.shape
        if betas.shape[1] != len(self.basis):
            raise ValueError(
                f"'betas' has {betas.shape[1]} voxels, but this ridge was fitted on {len(self.basis)}. Give betas of "
                "the same subject and mask, or fit again."
            )
        projected = (betas - self.betas_mean).astype(np.float32) @ self.basis
        estimates = np.empty((len(betas), n_tokens, width), np.float32)
        for token in range(n_tokens):
            estimates[:, token] = projected @ self.maps[token] + self.tokens_mean[token]
        return estimates

    def save(self, path: Path) -> None:
        """Write the fit as safetensors, whole or not at all."""
        with write_whole(path) as partial:
            save_file({name: np.ascontiguousarray(value) for name, value in vars(self).items()}, partial)

    @classmethod
    def load(cls, path: Path) -> Ridge:
        """Read a fit that `save` wrote.

        Raises:
            FileNotFoundError: nothing is at `path`.
        """
        if not Path(path).exists():
            raise FileNotFoundError(f"No ridge is at '{path}'. Fit one with fit_ridge and save it there.")
        return cls(**load_file(path))


def fit_ridge(
    betas_train: Float[np.ndarray, "n voxels"],
    tokens_train: Float[np.ndarray, "_n tokens width"],
    betas_val: Float[np.ndarray, "n_val _voxels"],
    tokens_val: Float[np.ndarray, "_n_val _tokens _width"],
    alphas: Sequence[float] = ALPHAS,
    per_token: bool = True,
) -> Ridge:
    """Fit min_W |Y - X W|^2 + alpha |W|^2 on centred data for every alpha at once, and keep the best on validation.

    One eigendecomposition of X'X (or of XX', whichever is smaller) serves all alphas and all tokens. r2 is pooled over
    the width of a token, 1 - sum of squared residuals / sum of squares about the training mean.

    Args:
        betas_train: (n_samples, n_voxels), z-scored.
        tokens_train: (n_samples, n_tokens, width).
        betas_val: the validation slice of the training images, (n_val, n_voxels).
        tokens_val: (n_val, n_tokens, width).
        alphas: the candidates, positive.
        per_token: one alpha per token (default) or one for all.

    Raises:
        ValueError: shapes disagree, betas hold NaN, or an alpha is not positive.
    """
    _check(betas_train, tokens_train, betas_val, tokens_val, alphas)
    betas_mean, tokens_mean = betas_train.mean(0), tokens_train.mean(0)
    basis, values = _decompose(betas_train - betas_mean)
    projected = (betas_train - betas_mean).astype(np.float32) @ basis
    projected_val = (betas_val - betas_mean).astype(np.float32) @ basis
    n_tokens = tokens_train.shape[1]
    residuals = np.empty((len(alphas), n_tokens))
    maps = np.empty((n_tokens, basis.shape[1], tokens_train.shape[2]), np.float32)
    for token in tqdm(range(n_tokens), desc="ridge", unit="token"):
        target = (tokens_train[:, token] - tokens_mean[token]).astype(np.float32)
        maps[token] = projected.T @ target
        wanted = tokens_val[:, token] - tokens_mean[token]
        for row, alpha in enumerate(alphas):
            predicted = (projected_val / (values + alpha)) @ maps[token]
            residuals[row, token] = np.square(wanted - predicted, dtype=np.float64).sum()
    chosen = residuals.argmin(0) if per_token else np.full(n_tokens, residuals.sum(1).argmin())
    kept = np.asarray(alphas, np.float64)[chosen]
    for token, alpha in enumerate(kept):
        maps[token] /= (values + alpha)[:, None].astype(np.float32)
    total = np.square(tokens_val - tokens_mean, dtype=np.float64).sum((0, 2))
    r2 = 1 - residuals[chosen, np.arange(n_tokens)] / np.maximum(total, np.finfo(np.float64).tiny)
    return Ridge(basis, maps, betas_mean, tokens_mean, kept, r2)


def fit_ridge_reference(
    betas_train: Float[np.ndarray, "n voxels"],
    tokens_train: Float[np.ndarray, "_n tokens width"],
    betas_val: Float[np.ndarray, "n_val _voxels"],
    tokens_val: Float[np.ndarray, "_n_val _tokens _width"],
    alphas: Sequence[float] = ALPHAS,
) -> Ridge:
    """The same per token with scikit-learn, one model for each token and alpha: slow and plain."""
    fits, kept, scores = [], [], []
    for token in range(tokens_train.shape[1]):
        wanted = tokens_val[:, token]
        total = np.square(wanted - tokens_train[:, token].mean(0)).sum()
        tried = []
        for alpha in alphas:
            model = ScikitRidge(alpha=alpha).fit(betas_train, tokens_train[:, token])
            tried.append((1 - np.square(wanted - model.predict(betas_val)).sum() / total, alpha, model.coef_.T))
        score, alpha, weights = max(tried, key=lambda fit: fit[0])
        fits.append(weights)
        kept.append(alpha)
        scores.append(score)
    means = betas_train.mean(0), tokens_train.mean(0)
    whole = np.eye(betas_train.shape[1], dtype=np.float32)
    return Ridge(whole, np.stack(fits).astype(np.float32), *means, np.array(kept), np.array(scores))


def _decompose(
    centred: Float[np.ndarray, "n voxels"],
) -> tuple[Float[np.ndarray, "voxels rank"], Float[np.ndarray, " rank"]]:
    """Right singular vectors and squared singular values of the design, from its smaller Gram matrix."""
    design = centred.astype(np.float64)
    n_samples, n_voxels = design.shape
    small = design.T @ design if n_voxels <= n_samples else design @ design.T
    values, vectors = np.linalg.eigh(small)
    # Directions without variance carry no weight; dividing by their singular value would only add noise.
    real = values > values[-1] * len(values) * np.finfo(np.float64).eps
    values, vectors = values[real], vectors[:, real]
    basis = vectors if n_voxels <= n_samples else design.T @ vectors / np.sqrt(values)
    return basis.astype(np.float32), values.astype(np.float32)


def _check(
    betas_train: np.ndarray,
    tokens_train: np.ndarray,
    betas_val: np.ndarray,
    tokens_val: np.ndarray,
    alphas: Sequence[float],
) -> None:
    for name, betas, tokens in (("train", betas_train, tokens_train), ("val", betas_val, tokens_val)):
        if len(betas) != len(tokens):
            raise ValueError(
                f"'betas_{name}' has {len(betas)} rows and 'tokens_{name}' {len(tokens)}: both must list the same "
                "images in the same order."
            )
        if not np.isfinite(betas).all():
            raise ValueError(
                f"'betas_{name}' holds NaN or infinite values. Drop dead voxels with the reader's mask before fitting."
            )
    if betas_train.shape[1] != betas_val.shape[1] or tokens_train.shape[1:] != tokens_val.shape[1:]:
        raise ValueError(
            f"training data are {betas_train.shape[1]} voxels -> {tokens_train.shape[1:]} tokens, validation data "
            f"{betas_val.shape[1]} -> {tokens_val.shape[1:]}: both must come from the same subject and encoder."
        )
    if not alphas or min(alphas) <= 0:
        raise ValueError(f"'alphas' must be one or more positive numbers. {tuple(alphas)} was provided.")


def penalised_solution(
    xx: Float[Tensor, "tokens rows rows"], xy: Float[Tensor, "tokens rows width"], penalty: float
) -> Float[Tensor, "tokens rows width"]:
    """(X^T X + penalty I)^-1 X^T Y of every token, from the products; by Cholesky, as the sum is positive definite."""
    identity = torch.eye(xx.shape[-1], dtype=xx.dtype, device=xx.device)
    return torch.cholesky_solve(xy, torch.linalg.cholesky(xx + penalty * identity))
