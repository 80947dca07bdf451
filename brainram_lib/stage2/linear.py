"""Least squares of the targets on p and the mean neighbour, token by token: the start of a fusion that chooses."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from brainram_lib.core.ridge import penalised_solution

PENALTIES = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
# (p, mean neighbour, target), each (rows, tokens, width)
Part = tuple[Tensor, Tensor, Tensor]


class Products:
    """Sums of X^T X and X^T Y over examples, X = [p_t; mean_k c_kt], Y the target, for every token."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self.xx: Tensor | float = 0.0
        self.xy: Tensor | float = 0.0
        self.yy = 0.0
        self.count = 0
        for p, mean, target in parts:
            x, y = torch.cat([p, mean], -1).double(), target.double()
            self.xx = self.xx + torch.einsum("ntd,nte->tde", x, x)
            self.xy = self.xy + torch.einsum("ntd,nte->tde", x, y)
            self.yy += float(y.square().sum())
            self.count += y.numel()

    def maps(self, penalty: float) -> Float[Tensor, "tokens two_widths width"]:
        """M_t = (X^T X + penalty I)^-1 X^T Y."""
        return penalised_solution(self.xx, self.xy, penalty)

    def error(self, maps: Float[Tensor, "tokens two_widths width"]) -> float:
        """The mean squared error of X M, without going through the examples again."""
        fitted = (maps * (self.xx @ maps)).sum() - 2 * (maps * self.xy).sum()
        return (float(fitted) + self.yy) / self.count


def plain_maps(training: Iterable[Part], validation: Iterable[Part]) -> Float[Tensor, "tokens two_widths width"]:
    """M of every token, with the penalty that is best on the validation images."""
    fitted, held = Products(training), Products(validation)
    return min((fitted.maps(penalty) for penalty in PENALTIES), key=held.error).float()
