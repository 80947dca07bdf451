"""Neighbours that were not found for this brain: which they are."""

from __future__ import annotations

import numpy as np
import pytest

from brainram_lib.audits.controls import of_other_brains, random_neighbours, sizes, subset
from brainram_lib.retrieval.index import Neighbours
from brainram_lib.systems.audits.duplicates import retrieved_own

N, S, K, ITEMS = 7, 2, 3, 29


def test_each_stimulus_gets_the_neighbours_of_another():
    found = Neighbours(np.arange(N * S * K).reshape(N, S, K), np.random.default_rng(0).random((N, S, K), np.float32))
    order = np.roll(np.arange(N), 2)
    other = of_other_brains(found, order)
    np.testing.assert_array_equal(other.ids[3], found.ids[1])
    np.testing.assert_array_equal(other.similarity[0], found.similarity[5])
    for wrong in (np.arange(N), np.zeros(N, int), order[:-1]):
        with pytest.raises(ValueError, match="must move each of 7 stimuli to another place"):
            of_other_brains(found, wrong)


def test_random_neighbours_are_different_items_and_repeat():
    ids = random_neighbours(ITEMS, N, S, K, seed=4).ids
    assert ids.shape == (N, S, K) and ids.min() >= 0 and ids.max() < ITEMS
    assert all(len(set(row)) == K for row in ids.reshape(-1, K).tolist())
    np.testing.assert_array_equal(ids, random_neighbours(ITEMS, N, S, K, seed=4).ids)
    assert (ids != random_neighbours(ITEMS, N, S, K, seed=5).ids).any()


def test_what_is_excluded_is_not_drawn_and_changes_no_other_draw():
    plain = random_neighbours(ITEMS, N, S, K, seed=4).ids
    banned = [np.empty(0, np.int64)] * N
    banned[2] = np.unique(plain[2])
    other = random_neighbours(ITEMS, N, S, K, 4, banned).ids
    assert not np.isin(other[2], banned[2]).any()
    kept = [row for row in range(N) if row != 2]
    np.testing.assert_array_equal(other[kept], plain[kept])
    assert not np.isin(random_neighbours(ITEMS, N, S, K, 4, np.arange(9)).ids, np.arange(9)).any()
    with pytest.raises(ValueError, match="3 random neighbours were asked for, .* 29 items 2 may be drawn"):
        random_neighbours(ITEMS, N, S, K, 4, np.arange(27))


def test_smaller_corpora_lie_within_larger_ones():
    large, small = (set(range(ITEMS)) - set(subset(ITEMS, kept, 3).tolist()) for kept in (20, 6))
    assert len(large) == 20 and len(small) == 6 and small < large
    assert subset(ITEMS, ITEMS, 3).size == 0
    with pytest.raises(ValueError, match="'kept' must lie between 1 and the corpus's 29 items. 30 was provided"):
        subset(ITEMS, 30, 3)
    assert sizes(24_000, 64) == (93, 375, 1500, 6000) and sizes(100, 64) == ()


def test_only_ones_own_duplicate_counts_as_retrieved():
    found = np.array([[[4, 5]], [[5, 6]], [[7, 8]]])
    assert retrieved_own(np.array([5, 6, 4]), np.array([0, 1, 2]), [found]).tolist() == [1, 1, 0]
