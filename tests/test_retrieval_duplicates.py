"""Near-duplicates of stimuli among a corpus's pictures: what is compared, and what is flagged."""

import numpy as np
import pytest
from test_retrieval_corpus import FakeEncoder

from brainram_lib.retrieval.corpus import Corpus
from brainram_lib.retrieval.duplicates import (
    Looks,
    difference_hash,
    hamming,
    miniatures,
    near_duplicates,
    near_duplicates_reference,
)
from brainram_lib.retrieval.images import decode, encoded
from brainram_lib.retrieval.writing import CorpusItem, write_corpus
from brainram_lib.world.corpus import near_duplicate
from brainram_lib.world.scenes import render, scene_of

SIZE = 64
STIMULI = np.stack([render(scene_of("shared", index)) for index in range(3)])


def embedded(images):
    raw = FakeEncoder().pooled_images(images).numpy()
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


@pytest.fixture
def corpus(tmp_path):
    pictures = [render(scene_of("corpus", index)) for index in range(7)]
    pictures[2], pictures[5] = near_duplicate("shared", 1), near_duplicate("shared", 2)
    write_corpus(tmp_path, [CorpusItem(encoded(p), "c", "u") for p in pictures], FakeEncoder(), SIZE, 4)
    return Corpus(tmp_path, SIZE)


def test_hash_of_a_picture():
    ramp = np.broadcast_to(np.arange(90, 0, -1, dtype=np.uint8)[None, :, None], (80, 90, 3))
    hashes = difference_hash(np.stack([ramp, ramp[:, ::-1]]))
    assert hashes.tolist() == [2**64 - 1, 0]
    assert hamming(hashes[:1], hashes).tolist() == [0, 64]


def test_recompression_and_light_barely_move_hash_and_miniature():
    again = np.stack([decode(encoded((image * 0.8).astype(np.uint8), 60), SIZE) for image in STIMULI])
    assert (hamming(difference_hash(STIMULI), difference_hash(again)) <= 6).all()
    assert ((miniatures(STIMULI) * miniatures(again)).sum(1) > 0.99).all()


def test_miniatures_multiply_to_correlations_and_a_plain_picture_is_zero():
    small = miniatures(STIMULI, 1 / 64)
    assert (small @ small.T)[0, 1] == pytest.approx(np.corrcoef(small[0], small[1])[0, 1], abs=1e-5)
    np.testing.assert_allclose(np.linalg.norm(small, axis=1), 1, atol=1e-5)
    assert not miniatures(np.full((1, SIZE, SIZE, 3), 7, np.uint8)).any()


def test_pairs_are_those_of_the_plain_loop(corpus):
    for layout_at in (0.3, 0.97):
        found = near_duplicates(corpus, Looks.of(STIMULI), embedded(STIMULI), layout_at=layout_at)
        pairs = list(zip(found.item.tolist(), found.stimulus.tolist(), strict=True))
        assert pairs == near_duplicates_reference(corpus, STIMULI, embedded(STIMULI), layout_at=layout_at)
    assert pairs == [(2, 1), (5, 2)]
    own = difference_hash(corpus.images(np.array([2, 5])))
    np.testing.assert_array_equal(found.distance, hamming(own, difference_hash(STIMULI)[1:]))


def test_what_cannot_be_opened_is_counted_and_wrong_embeddings_are_named(corpus):
    tar = corpus.layout.tar(1)
    tar.rename(tar.with_suffix(".away"))
    found = near_duplicates(corpus, Looks.of(STIMULI), embedded(STIMULI))
    assert found.item.tolist() == [2] and set(found.unread) <= {4, 5, 6} and 5 in found.unread
    with pytest.raises(ValueError, match="3 stimuli need as many embeddings; 2 were provided"):
        near_duplicates(corpus, Looks.of(STIMULI), embedded(STIMULI)[:2])
    with pytest.raises(ValueError, match="the stimuli's embeddings are 5 wide and those of the corpus .* 6"):
        near_duplicates(corpus, Looks.of(STIMULI), embedded(STIMULI)[:, :5])
