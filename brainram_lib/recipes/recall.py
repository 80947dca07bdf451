"""Simulated retrieval for training the mini generator: corrupted tokens moved towards scenes that resemble them.

What the Retrieval-Augmented Module hands to the generator is no longer an estimate that shrank to the mean of all
scenes: it has moved some way to its neighbours. A generator that never saw such tokens gains nothing from them. Here
the models' own scenes are the corpus; no brain, no stimulus and no corpus of the workbench is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from brainram_lib.recipes.degrade import Spectrum

NEIGHBOURS = 4
# The text's share in the similarity: words tell objects apart, as in the workbench's own search.
TEXT_WEIGHT = 0.8
# How far tokens move to the mean of their neighbours.
MOVED = (0.2, 0.7)


@dataclass(frozen=True)
class Recall:
    """Scenes that resemble tokens, by whitened global image token and last text token, which sees the whole caption."""

    image_tokens: Float[np.ndarray | Tensor, "n image_tokens width"]
    text_tokens: Float[np.ndarray | Tensor, "n text_tokens width"]
    spectra: tuple[Spectrum, Spectrum]
    features: Float[Tensor, "n features"]

    @classmethod
    def of(
        cls,
        image_tokens: Float[np.ndarray, "n image_tokens width"],
        text_tokens: Float[np.ndarray, "n text_tokens width"],
        spectra: tuple[Spectrum, Spectrum],
    ) -> Recall:
        """Take these scenes as the corpus."""
        parts = image_tokens[:, 0], text_tokens[:, -1]
        first, last = (torch.from_numpy(np.asarray(part, dtype=np.float32)) for part in parts)
        return cls(image_tokens, text_tokens, spectra, _features(first, last, spectra))

    def neighbours(
        self,
        image: Float[Tensor, "batch image_tokens width"],
        text: Float[Tensor, "batch text_tokens width"],
        own: Int64[Tensor, " batch"],
    ) -> Int64[Tensor, "batch neighbours"]:
        """The scenes most like these tokens, never the scene `own` that a sample was made from."""
        similarity = _features(image[:, 0], text[:, -1], self.spectra) @ self.features.T
        similarity[torch.arange(len(own), device=own.device), own] = -torch.inf
        return similarity.topk(NEIGHBOURS).indices

    def moved(
        self,
        image: Float[Tensor, "batch image_tokens width"],
        text: Float[Tensor, "batch text_tokens width"],
        own: Int64[Tensor, " batch"],
        random: torch.Generator,
        share: float,
    ) -> tuple[Float[Tensor, "batch image_tokens width"], Float[Tensor, "batch text_tokens width"]]:
        """x + a (mean of the neighbours of x - x), a uniform in MOVED, for a share of the samples; others stay."""
        found = self.neighbours(image, text, own)
        moving = torch.rand(len(own), 1, 1, generator=random, device=random.device) < share
        results = []
        for tokens, corpus in ((image, self.image_tokens), (text, self.text_tokens)):
            theirs = taken(corpus, found.flatten())
            middle = theirs.unflatten(0, found.shape).mean(1)
            way = MOVED[0] + (MOVED[1] - MOVED[0]) * torch.rand(len(own), 1, 1, generator=random, device=random.device)
            results.append(torch.where(moving, tokens + way * (middle - tokens), tokens))
        return results[0], results[1]


def taken(items: Float[np.ndarray | Tensor, "n ..."], rows: Int64[Tensor, " m"]) -> Float[Tensor, "m ..."]:
    """Rows of an array, which may lie in a file, or of a tensor on its own device; in single precision."""
    if isinstance(items, Tensor):
        return items[rows].float()
    return torch.from_numpy(np.asarray(items[rows.numpy()], dtype=np.float32))


def _features(
    first: Float[Tensor, "n width"], last: Float[Tensor, "n width"], spectra: tuple[Spectrum, Spectrum]
) -> Float[Tensor, "n features"]:
    image = (first - spectra[0].mean[0]) @ spectra[0].directions / spectra[0].variances.sqrt()
    text = (last - spectra[1].mean[-1]) @ spectra[1].directions / spectra[1].variances.sqrt()
    parts = (1 - TEXT_WEIGHT) ** 0.5 * normalize(image, dim=1), TEXT_WEIGHT**0.5 * normalize(text, dim=1)
    return torch.cat(parts, dim=1)
