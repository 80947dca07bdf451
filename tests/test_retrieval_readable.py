"""What cannot be encoded is replaced by the next neighbours, and said."""

import warnings

import numpy as np
import pytest

from brainram_lib.retrieval.index import VectorIndex
from brainram_lib.retrieval.neighbours import find_neighbours
from brainram_lib.retrieval.readable import find_readable

ITEMS, STIMULI, SAMPLES, K = 30, 5, 2, 3


def units(*shape):
    vectors = np.random.default_rng(len(shape)).normal(size=(*shape, 6)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.fixture
def find():
    index, queries = VectorIndex.build([units(ITEMS)]), units(STIMULI, SAMPLES)
    return lambda excluded: find_neighbours(index, queries, K, excluded)


def refusing(broken):
    return lambda ids: {int(item): "truncated" for item in np.intersect1d(ids, broken)}


def test_neighbours_are_those_of_a_corpus_without_what_is_broken(find):
    first = find(None).ids
    # all of one stimulus's, so that its next ones are needed, and some of those too
    broken = np.union1d(first[2], np.arange(0, ITEMS, 3))
    with pytest.warns(UserWarning, match="cannot be used, and the next ones stand in their place. Item .*: truncated"):
        found = find_readable(find, refusing(broken))
    assert not np.isin(found.ids, broken).any()
    expected = find(broken)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_allclose(found.similarity, expected.similarity)


def test_a_sound_corpus_is_searched_once_and_silently(find):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = find_readable(find, refusing(np.array([], int)))
    np.testing.assert_array_equal(found.ids, find(None).ids)


def test_too_few_that_can_be_used_are_an_error_not_a_loop(find):
    with pytest.raises(ValueError, match="are excluded"):
        find_readable(find, refusing(np.arange(ITEMS - 2)))
