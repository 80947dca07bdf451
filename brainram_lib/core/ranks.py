"""Top-1 identification among candidates."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def found_own(similarity: Float[Tensor, "n n"]) -> float:
    """The share of rows whose largest value is on the diagonal, that is, which identify their own candidate."""
    return (similarity.argmax(1) == torch.arange(len(similarity), device=similarity.device)).float().mean().item()
