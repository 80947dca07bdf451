"""Neighbours that a search did not find for this brain: what a decoder does with them says what retrieval contributed.

A retrieval-augmented captioning model is tested this way (SmallCap, Ramos et al.): if the neighbours of another brain
serve as well, they say nothing about what was seen. Nothing here sees the truth.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int, Int64

from brainram_lib.retrieval.index import Excluded, Neighbours


def of_other_brains(found: Neighbours, order: Int[np.ndarray, " n"]) -> Neighbours:
    """Stimulus i gets the neighbours of stimulus order[i]: ids and similarities (n, S, K).

    Raises:
        ValueError: `order` is not a permutation of the stimuli, or leaves one with its own neighbours.
    """
    places = np.arange(len(found.ids))
    if sorted(order.tolist()) != places.tolist() or (order == places).any():
        raise ValueError(
            f"'order' must move each of {len(places)} stimuli to another place. {order.tolist()[:5]} ... was "
            "provided. Use a derangement."
        )
    return Neighbours(found.ids[order], found.similarity[order])


def random_neighbours(
    items: int, stimuli: int, samples: int, k: int, seed: int, exclude: Excluded = None
) -> Neighbours:
    """K different random items for every sample of every stimulus, (n, S, K); all similarities are 0.

    The draw of a sample depends on the seed and its own place alone, so that excluding an item changes no other draw.

    Args:
        items: in the corpus. stimuli, samples, k: n, S, K.
        exclude: items that may not be drawn, one array for all stimuli or one for each.

    Raises:
        ValueError: fewer items are left than K.
    """
    ids = np.empty((stimuli, samples, k), np.int64)
    for row in range(stimuli):
        banned = exclude if exclude is None or isinstance(exclude, np.ndarray) else exclude[row]
        for sample in range(samples):
            ids[row, sample] = _drawn(items, k, banned, [seed, row, sample])
    return Neighbours(ids, np.zeros(ids.shape, np.float32))


def subset(items: int, kept: int, seed: int) -> Int64[np.ndarray, " left_out"]:
    """The items that a corpus of `kept` items lacks, sorted. With one seed, a smaller corpus lies within a larger one.

    Raises:
        ValueError: more are kept than there are, or none.
    """
    if not 1 <= kept <= items:
        raise ValueError(f"'kept' must lie between 1 and the corpus's {items} items. {kept} was provided.")
    return np.sort(np.random.default_rng(seed).permutation(items)[kept:]).astype(np.int64)


def sizes(items: int, least: int, factor: int = 4) -> tuple[int, ...]:
    """Sizes of smaller corpora for a curve: items / 4, / 16, ..., the smallest first, none below `least`."""
    found = []
    while (items := items // factor) >= least:
        found.append(items)
    return tuple(reversed(found))


def _drawn(items: int, k: int, banned: np.ndarray | None, seed: list[int]) -> Int64[np.ndarray, " k"]:
    banned = np.empty(0, np.int64) if banned is None else np.unique(banned)
    if k > items - len(banned):
        raise ValueError(
            f"{k} random neighbours were asked for, and of the corpus's {items} items {items - len(banned)} may be "
            "drawn. Ask for fewer, or use a larger corpus."
        )
    # the first k + |banned| of one order hold k that are not banned
    order = np.random.default_rng(seed).choice(items, min(items, k + len(banned)), replace=False)
    return order[~np.isin(order, banned)][:k].astype(np.int64)
