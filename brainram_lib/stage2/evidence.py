"""Evidence for a neighbour: how well its tokens agree with the estimates of both modalities."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from brainram_lib.core.rows import Rows

# image tokens, text tokens, the global image token
FEATURES = 3


class Evidence:
    """Cosines of whitened tokens between the estimates p of both modalities and a neighbour's image and caption.

    For every neighbour: of all image tokens, of all text tokens, of token 0 of the image (the global embedding).
    They contain no ground truth.

    Args:
        p: {'image': ..., 'text': ...}, (n, samples, tokens, width), in whitened units.
        tokens_of: rows of the corpus -> their tokens, likewise.
    """

    def __init__(self, p: Mapping[str, Tensor | Rows], tokens_of: Mapping[str, Callable[[Tensor], Tensor]]) -> None:
        self._p, self._tokens_of = p, tokens_of

    def __call__(
        self, rows: Int64[Tensor, " batch"], sample: Int64[Tensor, " batch"], neighbours: Int64[Tensor, "batch k"]
    ) -> Float[Tensor, "batch k features"]:
        """The evidence for some stimuli, one sample of each, with any neighbours."""
        found = {m: tokens_of(neighbours) for m, tokens_of in self._tokens_of.items()}
        asked = {m: p[rows, sample].to(found[m].device) for m, p in self._p.items()}
        whole = [_cosine(asked[m].flatten(1), found[m].flatten(2)) for m in ("image", "text")]
        return torch.stack([*whole, _cosine(asked["image"][:, 0], found["image"][:, :, 0])], -1)


def _cosine(one: Float[Tensor, "batch d"], others: Float[Tensor, "batch k d"]) -> Float[Tensor, "batch k"]:
    return functional.cosine_similarity(one[:, None], others, dim=-1)
