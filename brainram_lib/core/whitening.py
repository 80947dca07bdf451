"""Whitened tokens: every direction of token space counts alike.

CLIP's tokens vary mostly with the place and the light of a scene. What tells one object from another lies in directions
with a tenth of that spread or less, to which squared errors, cosines and gradients give little weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm.auto import tqdm

from brainram_lib.core.rows import Rows

# Examples whose products are summed at a time, so that the sums of 9,000 sets of 257 x 768 tokens fit into memory.
CHUNK = 256


class TokenWhitening(nn.Module):
    """w(x) = (x - mean) C^-1/2 with C = covariance / v + floor * identity: a mean for each token, one map for all.

    v is the mean variance of a feature. Directions with far less variance than `floor` * v, which hold rounding errors
    rather than meaning, stay small. The map is linear and invertible (`restored`). Fresh, it is the identity.

    Args:
        tokens: count of tokens, T.
        width: their width, D.
    """

    mean: Float[Tensor, "tokens width"]
    matrix: Float[Tensor, "width width"]

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(tokens, width))
        self.register_buffer("matrix", torch.eye(width))

    @torch.no_grad()
    def fit(self, tokens: Float[Tensor, "n tokens width"] | Rows, floor: float = 0.01) -> TokenWhitening:
        """Measure mean and covariance on examples, chunk by chunk.

        Raises:
            ValueError: fewer than two examples, another shape, numbers that are not finite, or no variance.
        """
        fits = len(tokens) > 1 and tuple(tokens.shape[1:]) == tuple(self.mean.shape)
        total = sum(part.sum(0) for part in self._parts(tokens, "mean tokens")) if fits else None
        if total is None or not torch.isfinite(total).all():
            raise ValueError(
                f"whitening is fitted on finite tokens (n >= 2, {', '.join(map(str, self.mean.shape))}), got "
                f"{tuple(tokens.shape)}. Hand in the training images' tokens."
            )
        mean = total / len(tokens)
        products = sum(_products(part - mean) for part in self._parts(tokens, "covariance of tokens"))
        covariance = products / (len(tokens) * len(mean))
        variance = covariance.trace() / len(covariance)
        if variance == 0:
            raise ValueError("all tokens are equal: there is nothing to whiten. Hand in tokens of different images.")
        values, vectors = torch.linalg.eigh(covariance / variance)
        inverse_root = (values.clamp(min=0) + floor).rsqrt()
        self.mean.copy_(mean)
        self.matrix.copy_(vectors @ torch.diag(inverse_root) @ vectors.T / variance.sqrt())
        return self

    @torch.no_grad()
    def scale(self, tokens: Float[Tensor, "n tokens width"] | Rows) -> TokenWhitening:
        """Divide by one number instead, the root mean square of all features; no mean is subtracted."""
        square = sum(part.square().sum() for part in self._parts(tokens, "scale of tokens"))
        root = (square / (len(tokens) * self.mean.numel())).sqrt()
        if not torch.isfinite(root) or root == 0:
            raise ValueError(f"tokens are scaled by their root mean square, which is {float(root)}. Check the tokens.")
        self.mean.zero_()
        self.matrix.copy_(torch.eye(len(self.matrix), device=root.device) / root)
        return self

    def _parts(self, tokens: Float[Tensor, "n tokens width"] | Rows, label: str) -> Iterator[Tensor]:
        """Chunks in double precision, on the whitening's device."""
        for start in tqdm(range(0, len(tokens), CHUNK), desc=label, unit="chunk", delay=2):
            yield tokens[start : start + CHUNK].to(self.mean.device).double()

    def forward(self, tokens: Float[Tensor, "*n tokens width"]) -> Float[Tensor, "*n tokens width"]:
        """Tokens in CLIP's units -> whitened tokens."""
        return (tokens - self.mean) @ self.matrix

    def restored(self, whitened: Float[Tensor, "*n tokens width"]) -> Float[Tensor, "*n tokens width"]:
        """Whitened tokens -> tokens in CLIP's units."""
        rows = torch.linalg.solve(self.matrix, whitened.flatten(0, -2), left=False)
        return rows.view(whitened.shape) + self.mean


def _products(tokens: Float[Tensor, "n tokens width"]) -> Float[Tensor, "width width"]:
    rows = tokens.flatten(0, 1)
    return rows.T @ rows


def whitened_by(whitening: TokenWhitening) -> Callable[[Tensor], Tensor]:
    """Tokens in CLIP's units, of any precision and from any device -> whitened ones, on the whitening's device."""
    return lambda tokens: whitening(tokens.to(whitening.mean.device).float())
