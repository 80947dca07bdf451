"""Training rows without betas: images and captions of the corpus, with a simulated condition."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from brainram_lib.core.ridge import penalised_solution
from brainram_lib.core.rows import Rows

CHUNK = 256
# Ridge penalty of the map from true tokens to their linear estimates, added to the summed products of whitened tokens.
PENALTY = 30.0


class FreeRows:
    """Tokens of the corpus with the conditions that betas like the subject's would give.

    A linear estimate of the true tokens x is G_t x_t + r for each token t: a map that shrinks, and an error that no
    token explains. G is fitted on the fitting images; r is the complete error of one of them, drawn at random, so that
    errors stay correlated across tokens as they are. A corpus row's condition is its own G x with another image's r. No
    test image and no test betas enter.

    Args:
        items: rows of the corpus, in CLIP's units.
        linear: cross-fitted linear estimates of the fitting images. targets: their true tokens.
        inside: CLIP's units -> the prior's.
    """

    def __init__(
        self,
        items: Float[Tensor, "m tokens width"] | Rows,
        linear: Float[Tensor, "n tokens width"] | Rows,
        targets: Float[Tensor, "n tokens width"] | Rows,
        inside: Callable[[Tensor], Tensor],
    ) -> None:
        self._items, self._linear, self._targets, self._inside = items, linear, targets, inside
        self.map = _fitted(linear, targets, inside)

    def draw(self, count: int, random: torch.Generator) -> tuple[Float[Tensor, "count tokens width"], ...]:
        """(x_0, condition) of `count` items, in the prior's units."""
        items = torch.randint(len(self._items), (count,), generator=random)
        others = torch.randint(len(self._linear), (count,), generator=random)
        x0 = self._inside(self._items[items])
        return x0, self._mapped(x0) + self._missed(others)

    def _missed(self, rows: Int[Tensor, " count"]) -> Float[Tensor, "count tokens width"]:
        """r of some fitting images."""
        known, goal = self._inside(self._linear[rows]), self._inside(self._targets[rows])
        return known - self._mapped(goal)

    def _mapped(self, tokens: Float[Tensor, "count tokens width"]) -> Float[Tensor, "count tokens width"]:
        return torch.einsum("ntd,tde->nte", tokens, self.map)


def residual_square(
    linear: Float[Tensor, "n tokens width"] | Rows,
    targets: Float[Tensor, "n tokens width"] | Rows,
    inside: Callable[[Tensor], Tensor],
) -> Float[Tensor, "tokens width"]:
    """The mean square of what linear estimates miss, for each feature of each token."""
    total: Tensor | float = 0.0
    for rows in torch.arange(len(linear)).split(CHUNK):
        total = total + (inside(targets[rows]) - inside(linear[rows])).square().sum(0)
    return total / len(linear)


def _fitted(linear: Tensor | Rows, targets: Tensor | Rows, inside: Callable[[Tensor], Tensor]) -> Tensor:
    """G of every token by ridge regression, in double precision."""
    _, tokens, width = linear.shape
    products = torch.zeros(2, tokens, width, width, dtype=torch.float64)
    parts = torch.arange(len(linear)).split(CHUNK)
    for rows in tqdm(parts, desc="errors of the linear estimates", unit="chunk", delay=2):
        known, goal = inside(linear[rows]).double().cpu(), inside(targets[rows]).double().cpu()
        products[0] += torch.einsum("ntd,nte->tde", goal, goal)
        products[1] += torch.einsum("ntd,nte->tde", goal, known)
    device = inside(linear[:1]).device
    return penalised_solution(products[0], products[1], PENALTY).float().to(device)
