"""The near-duplicate audit finds copies and lets other pictures be."""

import numpy as np
import pytest
from test_retrieval_corpus import FakeEncoder

from brainram_lib.retrieval.corpus import Corpus
from brainram_lib.retrieval.duplicates import NOT_HASHED, audit, difference_hash, hamming
from brainram_lib.retrieval.images import decode, encoded
from brainram_lib.retrieval.index import Neighbours
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
    pictures = [render(scene_of("corpus", index)) for index in range(6)]
    pictures[4] = near_duplicate("shared", 1)
    write_corpus(tmp_path, [CorpusItem(encoded(p), "c", "u") for p in pictures], FakeEncoder(), SIZE, 4)
    return Corpus(tmp_path, SIZE)


def test_hash_of_a_picture():
    ramp = np.broadcast_to(np.arange(90, 0, -1, dtype=np.uint8)[None, :, None], (80, 90, 3))
    hashes = difference_hash(np.stack([ramp, ramp[:, ::-1]]))
    assert hashes.tolist() == [2**64 - 1, 0]
    assert hamming(hashes[:1], hashes).tolist() == [0, 64]


def test_recompression_and_light_barely_move_the_hash():
    again = np.stack([decode(encoded((image * 0.8).astype(np.uint8), 60), SIZE) for image in STIMULI])
    assert (hamming(difference_hash(STIMULI), difference_hash(again)) <= 6).all()


def test_the_planted_copy_is_flagged(corpus):
    found = audit(np.arange(6), corpus, STIMULI, embedded(STIMULI), distance_at=14)
    assert found.duplicates().tolist() == [4]
    assert [(pair["item"], pair["stimulus"]) for pair in found.records()] == [(4, 1)]
    neighbours = Neighbours(np.array([[[0, 4], [5, 1]]]), np.zeros((1, 2, 2), np.float32))
    np.testing.assert_array_equal(found.flags(neighbours), [[[False, True], [False, False]]])


def test_neighbours_that_were_not_audited_are_refused(corpus):
    found = audit(np.array([0, 1]), corpus, STIMULI, embedded(STIMULI))
    with pytest.raises(ValueError, match="1 neighbours were not audited, e.g. item 4"):
        found.flags(Neighbours(np.array([[4, 0]]), np.zeros((1, 2), np.float32)))
    with pytest.raises(ValueError, match="3 stimuli need as many embeddings"):
        audit(np.array([0]), corpus, STIMULI, embedded(STIMULI)[:2])


def test_a_picture_that_cannot_be_read_is_judged_by_cosine_and_recorded(corpus):
    tar = corpus.layout.tar(1)
    tar.rename(tar.with_suffix(".away"))
    found = audit(np.array([4]), corpus, STIMULI, embedded(STIMULI))
    assert list(found.unread) == [4] and (found.distance == NOT_HASHED).all()
    assert found.duplicates().tolist() == [4]
