"""Contrastive losses of the compared systems. Rows have unit length; row i of estimates and targets is one stimulus."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional


def unit(rows: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch features"]:
    """Rows flattened, of unit length."""
    return functional.normalize(rows.flatten(1), dim=-1)


def both_ways(
    estimates: Float[Tensor, "batch features"],
    targets: Float[Tensor, "batch features"],
    wanted: Float[Tensor, "batch batch"],
    temperature: float,
    wanted_back: Float[Tensor, "batch batch"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy of softmax(p_i . t_j / tau) with the wanted probabilities, over j, and over i: the mean of both.

    Args:
        wanted: W_ij, which targets j estimate i should find.
        wanted_back: W'_ji, which estimates i target j should find; None: the transpose of W.
    """
    logits = estimates @ targets.T / temperature
    back = wanted.T if wanted_back is None else wanted_back
    forth = -(wanted * logits.log_softmax(-1)).sum(-1).mean()
    return (forth - (back * logits.T.log_softmax(-1)).sum(-1).mean()) / 2


def bimixco(
    estimates: Float[Tensor, "batch features"],
    targets: Float[Tensor, "batch features"],
    partner: Int64[Tensor, " batch"],
    share: Float[Tensor, " batch"],
    temperature: float,
) -> Float[Tensor, ""]:
    """Estimates of mixed betas against both parents, and parents against the mixtures that hold them (MindEye 2.1).

    W has lambda_i on its diagonal and 1 - lambda_i at the partner of i. With every share at 1 it is InfoNCE both ways.

    Args:
        partner: k of lambda_i S_i + (1 - lambda_i) S_k.
        share: lambda_i.
    """
    wanted = torch.diag(share)
    wanted = wanted.scatter_add(1, partner[:, None], (1 - share)[:, None])
    return both_ways(estimates, targets, wanted, temperature)


def soft_clip(
    estimates: Float[Tensor, "batch features"], targets: Float[Tensor, "batch features"], temperature: float
) -> Float[Tensor, ""]:
    """Estimates against softmax(t_i . t_j / tau): finding a similar target is only partly a mistake (MindEye 2.1).

    With orthogonal targets and a small temperature it is InfoNCE both ways.
    """
    wanted = (targets @ targets.T / temperature).softmax(-1)
    return both_ways(estimates, targets, wanted, temperature, wanted)


def clip_loss(
    estimates: Float[Tensor, "batch features"], targets: Float[Tensor, "batch features"], temperature: float
) -> Float[Tensor, ""]:
    """InfoNCE both ways: each estimate must find its own target, and each target its own estimate."""
    return both_ways(estimates, targets, torch.eye(len(estimates), device=estimates.device), temperature)
