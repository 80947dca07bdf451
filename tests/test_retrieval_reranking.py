"""The last choice among candidates against the plain loop."""

import numpy as np
import pytest
import torch

from brainram_lib.retrieval import reranking
from brainram_lib.retrieval.index import Neighbours
from brainram_lib.retrieval.reranking import best_by_tokens, reranked, reranked_reference

STIMULI, SAMPLES, CANDIDATES, ITEMS = 5, 2, 6, 20
TOKENS = torch.randn(ITEMS, 3, 4, generator=torch.Generator().manual_seed(0))
ESTIMATES = torch.randn(STIMULI, SAMPLES, 3, 4, generator=torch.Generator().manual_seed(1))


def tokens_of(items):
    return TOKENS[torch.from_numpy(items)]


@pytest.fixture
def found():
    random = np.random.default_rng(2)
    ids = np.stack([random.permutation(ITEMS)[:CANDIDATES] for _ in range(STIMULI * SAMPLES)])
    similarity = -np.sort(-random.normal(size=ids.shape), axis=1).astype(np.float32)
    return Neighbours(ids, similarity).reshape(STIMULI, SAMPLES)


@pytest.mark.parametrize("chunk", [2, 64])
@pytest.mark.parametrize("weight", [0.0, 1.0, 100.0])
def test_it_is_the_plain_choice(found, monkeypatch, weight, chunk):
    monkeypatch.setattr(reranking, "CHUNK", chunk)
    chosen = reranked(found, ESTIMATES, tokens_of, weight, 3)
    expected = reranked_reference(found, ESTIMATES, tokens_of, weight, 3)
    np.testing.assert_array_equal(chosen.ids, expected.ids)
    # tokens of candidates are kept in half precision
    np.testing.assert_allclose(chosen.similarity, expected.similarity, atol=2e-3 * max(weight, 1e-3))


def test_weight_0_keeps_the_search_and_a_large_one_puts_the_same_tokens_first(found):
    same = reranked(found, ESTIMATES, tokens_of, 0.0, 3)
    np.testing.assert_array_equal(same.ids, found.ids[..., :3])
    last = torch.stack([tokens_of(found.ids[:, sample, -1]) for sample in range(SAMPLES)], 1)
    assert (reranked(found, last, tokens_of, 1e4, 1).ids[..., 0] == found.ids[..., -1]).all()


def test_the_best_by_tokens_are_ranked_over_all_samples_and_stand_once(found):
    estimates = ESTIMATES[:, 0]
    best = best_by_tokens(found, estimates, tokens_of, 4)
    assert best.shape == (STIMULI, 4)
    for ids, estimate, chosen in zip(found.ids, estimates, best, strict=True):
        distinct = np.unique(ids)
        agreement = torch.cosine_similarity(tokens_of(distinct).flatten(1), estimate.flatten()[None])
        np.testing.assert_array_equal(chosen, distinct[agreement.argsort(descending=True)[:4].numpy()])


def test_what_cannot_be_is_named(found):
    with pytest.raises(ValueError, match="7 neighbours cannot be chosen among 6 candidates"):
        reranked(found, ESTIMATES, tokens_of, 1.0, 7)
    with pytest.raises(ValueError, match="must be of the same stimuli and samples"):
        reranked(found, ESTIMATES[:3], tokens_of, 1.0, 2)
