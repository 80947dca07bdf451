"""Choosing one of S reconstructions without the truth: the one that agrees best with the brain's own estimate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

Encode = Callable[[np.ndarray], Tensor]


@dataclass(frozen=True)
class Chosen:
    """One picture for each stimulus, which sample it was, and every sample's agreement."""

    images: UInt8[np.ndarray, "n height width 3"]
    index: Int[np.ndarray, " n"]
    agreement: Float[np.ndarray, "n samples"]


def agreement(
    made: Float[Tensor, "n samples tokens width"], estimate: Float[Tensor, "n tokens width"]
) -> Float[Tensor, "n samples"]:
    """Cosine of each sample's flattened CLIP tokens with the estimate's."""
    return torch.nn.functional.cosine_similarity(made.flatten(2), estimate.flatten(1)[:, None], dim=-1)


def choose(
    samples: UInt8[np.ndarray, "n samples height width 3"],
    refined: Float[Tensor, "_ draws tokens features"],
    encode: Encode,
) -> Chosen:
    """The sample nearest to the brain's refined estimate, averaged over its S prior samples.

    The stimulus takes no part: choosing by it would report the best of S draws as if it were known.

    Args:
        samples: S reconstructions of each stimulus.
        refined: the estimates p + q, S for each stimulus.
        encode: pictures (n, H, W, 3) -> CLIP's image tokens, e.g. `ClipTokens.image_tokens`.

    Raises:
        ValueError: not the same number of stimuli.
    """
    if len(samples) != len(refined):
        raise ValueError(f"samples and estimates must be of the same stimuli, got {len(samples)} and {len(refined)}.")
    count, draws = samples.shape[:2]
    tokens = encode(samples.reshape(count * draws, *samples.shape[2:]))
    score = agreement(tokens.unflatten(0, (count, draws)), refined.mean(1))
    index = score.argmax(1).numpy()
    return Chosen(samples[np.arange(count), index], index, score.numpy())
