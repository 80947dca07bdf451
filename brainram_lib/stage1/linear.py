"""The linear path: ridge estimates of training images that were not fitted on those images."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from tqdm.auto import tqdm

from brainram_lib.core.ridge import fit_ridge

FOLDS = 5


def cross_fitted(
    betas: Float[np.ndarray, "n voxels"],
    tokens: Float[np.ndarray, "n tokens width"],
    betas_val: Float[np.ndarray, "n_val voxels"],
    tokens_val: Float[np.ndarray, "n_val tokens width"],
    folds: int = FOLDS,
) -> Float[np.ndarray, "n tokens width"]:
    """Ridge estimates for every training image, from a ridge fitted without that image's fold.

    A ridge's estimates of its own training images are far better than those of new images; a prior trained on them
    would learn to trust its condition too much.
    """
    estimates = np.empty(tokens.shape, np.float32)
    fold = np.arange(len(betas)) % folds
    for held_out in tqdm(range(folds), desc="cross-fitted ridge", unit="fold"):
        rest = fold != held_out
        ridge = fit_ridge(betas[rest], tokens[rest], betas_val, tokens_val)
        estimates[~rest] = ridge.predict(betas[~rest])
        # its maps are nearly as large as the tokens: freed before the next fold's are made
        del ridge
    return estimates
