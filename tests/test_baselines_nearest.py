import numpy as np
import pytest

from brainram_lib.pipeline.nearest import (
    derangement,
    nearest_by_tokens,
    nearest_by_tokens_reference,
    nearest_neighbour,
    nearest_of_each,
)


def test_nearest_agrees_with_the_plain_loop_across_chunks():
    rng = np.random.default_rng(0)
    estimates, candidates = rng.normal(size=(11, 3, 5)), rng.normal(size=(17, 3, 5))
    for chunk in (4, 256):
        indices, cosines = nearest_by_tokens(estimates, candidates, chunk)
        np.testing.assert_array_equal(indices, nearest_by_tokens_reference(estimates, candidates))
        assert (cosines <= 1).all()


def test_a_scaled_candidate_is_its_own_nearest():
    candidates = np.random.default_rng(0).normal(size=(7, 3, 5))
    indices, cosines = nearest_by_tokens(candidates[[4, 1]] * 3, candidates)
    assert indices.tolist() == [4, 1]
    np.testing.assert_allclose(cosines, 1, atol=1e-6)


def test_nearest_refuses_other_encoders_and_no_candidates():
    tokens = np.ones((7, 3, 5))
    with pytest.raises(ValueError, match="same encoder"):
        nearest_by_tokens(tokens, np.ones((2, 5, 3)))
    with pytest.raises(ValueError, match="at least one candidate"):
        nearest_by_tokens(tokens, tokens[:0])


def test_nearest_neighbour_over_all_samples():
    indices = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    similarities = np.zeros((2, 3, 4))
    similarities[0, 2, 1] = similarities[1, 0, 3] = 1
    assert nearest_neighbour(indices, similarities).tolist() == [9, 15]


@pytest.mark.parametrize("n", [2, 3, 50])
def test_derangement_moves_every_row_and_repeats(n):
    order = derangement(n, seed=3)
    assert sorted(order) == list(range(n))
    assert (order != np.arange(n)).all()
    np.testing.assert_array_equal(order, derangement(n, seed=3))
    with pytest.raises(ValueError, match="at least 2"):
        derangement(1, seed=0)


def test_each_estimate_chooses_among_its_own_candidates():
    rng = np.random.default_rng(0)
    estimates, candidates = rng.normal(size=(11, 3, 5)), rng.normal(size=(11, 7, 3, 5))
    loop = [int(nearest_by_tokens_reference(one[None], own)[0]) for one, own in zip(estimates, candidates, strict=True)]
    assert nearest_of_each(estimates, candidates).tolist() == loop
    assert nearest_of_each(estimates * 9, candidates * rng.uniform(0.1, 5, (11, 7, 1, 1))).tolist() == loop
    with pytest.raises(ValueError, match="must be \\(n, k, tokens, width\\) of the same stimuli"):
        nearest_of_each(estimates, candidates[:10])
    candidates[6, 2, 0, 0] = np.nan
    with pytest.raises(ValueError, match="stimulus 6: its estimate or one of its candidates"):
        nearest_of_each(estimates, candidates)
