"""Weights that choose are told from weights that follow rank."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from brainram_lib.evaluation.choosing import choosing

N, S, K, T = 11, 3, 4, 7


@pytest.fixture
def errors():
    return np.random.default_rng(0).random((N, S, K))


def weights_of(shares):
    """(n, S, K) shares of the neighbours as weights with p first, the same for every token."""
    sources = np.concatenate([np.full((N, S, 1), 0.1), shares], axis=2)
    return np.repeat((sources / sources.sum(2, keepdims=True))[..., None], T, axis=-1)


def test_weights_that_know_the_truth_choose_perfectly(errors):
    found = choosing(weights_of(2 - errors), errors)
    assert found.closest == 1 and found.correlation == pytest.approx(1) and found.over_tokens == pytest.approx(0)


def test_weights_of_the_rank_say_what_rank_alone_gives(errors):
    shares = np.broadcast_to(np.array([4.0, 3, 2, 1]), (N, S, K))
    found = choosing(weights_of(shares), errors)
    assert found.first == 1 and found.correlation == pytest.approx(found.by_rank)
    assert found.over_images == pytest.approx(0) and "neighbour 1 in 100%" in found.said()


def test_the_correlation_is_spearmans_of_each_query(errors):
    random = np.random.default_rng(1)
    weights = random.dirichlet(np.ones(K + 1), (N, S, T)).transpose(0, 1, 3, 2)
    given = weights[:, :, 1:].mean(-1).reshape(-1, K)
    one_by_one = [spearmanr(a, -b).statistic for a, b in zip(given, errors.reshape(-1, K), strict=True)]
    assert choosing(weights, errors).correlation == pytest.approx(np.mean(one_by_one))


def test_even_weights_have_no_order(errors):
    found = choosing(np.full((N, S, K + 1, T), 1 / (K + 1)), errors)
    assert found.correlation == 0 and found.first == found.closest == pytest.approx(1 / K)


def test_an_item_that_was_found_twice_is_the_closest_in_both_places(errors):
    errors[..., 3] = errors[..., 1] = 0
    shares = np.broadcast_to(np.array([1.0, 2, 3, 4]), (N, S, K))
    assert choosing(weights_of(shares), errors).closest == 1


def test_other_counts_are_named(errors):
    with pytest.raises(ValueError, match="a row for p and one for each neighbour"):
        choosing(np.ones((N, S, K, T)), errors)
