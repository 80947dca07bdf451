"""The losses of Stage I and Stage II (paper, eq. 3 to 6 and 12)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional


def flat_unit(tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch features"]:
    """Tokens flattened and L2-normalised, as the contrastive terms compare them."""
    return functional.normalize(tokens.flatten(1), dim=-1)


def info_nce(
    estimates: Float[Tensor, "some features"], targets: Float[Tensor, "batch features"], temperature: float
) -> Float[Tensor, ""]:
    """Eq. 3: -1/B sum_i log( exp(p_i . c_i / tau) / sum_j exp(p_i . c_j / tau) ), rows of unit length.

    `estimates` may cover only the first rows of the batch; all of the batch's targets compete.
    """
    logits = estimates @ targets.T / temperature
    return functional.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def mixco(
    estimates: Float[Tensor, "batch features"],
    targets: Float[Tensor, "batch features"],
    partner: Int64[Tensor, " batch"],
    share: Float[Tensor, " batch"],
    temperature: float,
    counted: slice = slice(None),
) -> Float[Tensor, ""]:
    """Eq. 5, averaged over the batch: estimates p* of mixed betas against both parents, weighted by their shares.

    Args:
        partner: k of S_mix = lambda_i S_i + (1 - lambda_i) S_k (eq. 4).
        share: lambda_i.
        counted: the rows that enter the mean.
    """
    log_probability = functional.log_softmax(estimates @ targets.T / temperature, dim=-1)
    rows = torch.arange(len(estimates), device=estimates.device)
    own, other = log_probability[rows, rows], log_probability[rows, partner]
    return -(share * own + (1 - share) * other)[counted].mean()
