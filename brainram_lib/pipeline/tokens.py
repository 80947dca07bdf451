"""Tokens as stages pass them on: samples of any system, and a corpus's tokens in a prior's whitened units."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from brainram_lib.core.rows import as_tensor
from brainram_lib.core.store import Stage, Store
from brainram_lib.core.whitening import TokenWhitening, whitened_by
from brainram_lib.retrieval.tokens import TokenCache


def samples_of(store: Store, stage: Stage) -> Float[Tensor, "n samples tokens width"]:
    """A stage's estimates of the test images; those without samples have one."""
    tokens = as_tensor(store.result(stage).array("test"))
    return tokens if tokens.ndim == 4 else tokens[:, None]


class CorpusTokens:
    """Rows of the corpus -> their tokens in a prior's whitened units.

    Tokens are kept as given, in half precision if they are, and whitened on request.
    """

    def __init__(
        self, ids: Int[np.ndarray, " m"], tokens: Float[Tensor, "m tokens width"], whitening: TokenWhitening
    ) -> None:
        self._place = torch.full((int(ids.max()) + 1,), -1, dtype=torch.int64)
        self._place[torch.from_numpy(ids)] = torch.arange(len(ids))
        self._tokens, self._whitened = tokens, whitened_by(whitening)

    @classmethod
    def of(
        cls, cache: TokenCache, ids: Int[np.ndarray, " m"], modality: str, whitening: TokenWhitening
    ) -> CorpusTokens:
        """The tokens of some items of a corpus."""
        return cls(ids, cache.tokens_of(ids, modality, torch.float16), whitening)

    def __call__(self, rows: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape tokens width"]:
        return self._whitened(self._tokens[self._place[rows]])
