"""Neighbours that can be looked at: a corpus from the web holds pictures that are missing or cannot be decoded."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Int

from brainram_lib.retrieval.index import Excluded, Neighbours

FindExcept = Callable[[Excluded], Neighbours]
# items that are needed -> those of them that cannot be encoded, and why
Prepare = Callable[[Int[np.ndarray, "n samples k"]], Mapping[int, str]]


def find_readable(find: FindExcept, prepare: Prepare) -> Neighbours:
    """The neighbours (n, S, K) that `find` gives when every item that `prepare` refuses is excluded.

    A stimulus whose neighbours are refused gets the next ones, until all can be encoded; a warning tells how many items
    were refused and why the first one was. Only a stimulus that found an item excludes it, so that a search over a
    large corpus never has to skip all that is broken in it.

    Raises:
        ValueError: too few items are left; see `VectorIndex.search`.
    """
    found, refused, excluded = find(None), {}, None
    while failed := prepare(found.ids):
        refused |= failed
        known = np.array(sorted(refused))
        excluded = [
            np.union1d(np.empty(0, np.int64) if excluded is None else excluded[row], np.intersect1d(ids, known))
            for row, ids in enumerate(found.ids)
        ]
        found = find(excluded)
    if refused:
        item, reason = next(iter(refused.items()))
        warnings.warn(
            f"{len(refused)} items of the corpus were found but cannot be used, and the next ones stand in their "
            f"place. Item {item}: {reason}.",
            stacklevel=2,
        )
    return found
