"""Linear readouts from text tokens: the pooled embedding and the words. Fitted on corpus captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm.auto import tqdm

from brainram_lib.core.files import write_whole


class TokenReadout:
    """A linear map from all text tokens of an image to a description of it: y = (x - mean_x) W + mean_y.

    x are the flattened tokens.
    """

    def __init__(self, weight: Float[Tensor, "inputs width"], offset: Float[Tensor, " width"]) -> None:
        self.weight, self.offset = weight, offset

    @classmethod
    def fit(
        cls,
        tokens: Float[Tensor, "n tokens width"],
        targets: Float[Tensor, "_ outputs"],
        alphas: Sequence[float] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1),
    ) -> TokenReadout:
        """Ridge regression W = argmin |Y - X W|^2 + alpha s |W|^2, s the mean of X X^T's diagonal.

        alpha is chosen by squared error on every tenth caption, held out; the final fit uses all captions.

        Raises:
            ValueError: tokens and targets differ in number, or there are fewer than 10.
        """
        if len(tokens) != len(targets) or len(tokens) < 10:
            raise ValueError(
                f"tokens and what is read out of them must be of the same 10 or more captions, got {len(tokens)} and "
                f"{len(targets)}."
            )
        inputs, goals = tokens.flatten(1).float(), targets.float()
        held_out = torch.arange(len(inputs)) % 10 == 0
        errors = [
            (rows - goals[held_out]).square().mean().item()
            for rows in _ridge_path(inputs[~held_out], goals[~held_out], inputs[held_out], alphas)
        ]
        weight, offset = _ridge(inputs, goals, alphas[int(np.argmin(errors))])
        return cls(weight, offset)

    def __call__(
        self, tokens: Float[Tensor, "n tokens width"] | Float[np.ndarray, "n tokens width"]
    ) -> Float[Tensor, "n outputs"]:
        """y for every set of tokens.

        Raises:
            ValueError: tokens of another shape than the readout was fitted on.
        """
        inputs = torch.as_tensor(tokens, dtype=torch.float32).flatten(1)
        if inputs.shape[1] != len(self.weight):
            raise ValueError(
                f"the readout was fitted on tokens x width = {len(self.weight)} numbers, got {tuple(tokens.shape)}; "
                "use the tokens of the encoder it was fitted with."
            )
        return inputs @ self.weight + self.offset

    def save(self, path: Path) -> None:
        """Write as safetensors, whole."""
        with write_whole(path) as partial:
            save_file({"weight": self.weight.contiguous(), "offset": self.offset.contiguous()}, partial)

    @classmethod
    def load(cls, path: Path) -> TokenReadout:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
        """
        if not path.exists():
            raise FileNotFoundError(f"no text readout at '{path}'. Fit one with {cls.__name__}.fit and save it.")
        with safe_open(path, "pt") as stored:
            return cls(stored.get_tensor("weight"), stored.get_tensor("offset"))


class PooledTextReadout(TokenReadout):
    """The readout of the pooled caption embedding.

    Averaging captions loses the position of the end-of-text token, so no single token is the query any more; the whole
    token set still determines it.
    """

    def __call__(
        self, tokens: Float[Tensor, "n tokens width"] | Float[np.ndarray, "n tokens width"]
    ) -> Float[Tensor, "n pooled"]:
        """L2-normalised pooled embeddings.

        Raises:
            ValueError: tokens of another shape than the readout was fitted on.
        """
        return torch.nn.functional.normalize(super().__call__(tokens), dim=-1)


def _gram(inputs: Tensor) -> tuple[Tensor, bool]:
    """The smaller of X^T X and X X^T, and whether it is the second."""
    dual = len(inputs) < inputs.shape[1]
    return (inputs @ inputs.T if dual else inputs.T @ inputs), dual


def _ridge(inputs: Tensor, targets: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    mean_x, mean_y = inputs.mean(0), targets.mean(0)
    centred, goal = inputs - mean_x, targets - mean_y
    gram, dual = _gram(centred)
    gram.diagonal().add_(alpha * gram.diagonal().mean() + torch.finfo(gram.dtype).tiny)
    factor = torch.linalg.cholesky(gram)
    solved = torch.cholesky_solve(goal if dual else centred.T @ goal, factor)
    weight = centred.T @ solved if dual else solved
    return weight, mean_y - mean_x @ weight


def _ridge_path(inputs: Tensor, targets: Tensor, held_out: Tensor, alphas: Sequence[float]) -> Iterator[Tensor]:
    for alpha in tqdm(alphas, desc="readout, choosing alpha", leave=False):
        weight, offset = _ridge(inputs, targets, alpha)
        yield held_out @ weight + offset
