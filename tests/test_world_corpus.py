"""The embedded corpus: deterministic, resumable, without stimuli unless planted."""

import numpy as np
import pytest
from test_retrieval_corpus import FakeEncoder

from brainram_lib.retrieval.corpus import Corpus
from brainram_lib.retrieval.duplicates import difference_hash, hamming
from brainram_lib.world.corpus import make_mini_corpus, near_duplicate, planted_places
from brainram_lib.world.scenes import render, scene_of

COUNT, SHARD = 11, 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("corpus")
    make_mini_corpus(made, FakeEncoder(), COUNT, shard_size=SHARD)
    return made


def test_items_are_scenes_of_the_corpus_set(folder):
    corpus = Corpus(folder, 64)
    assert len(corpus) == COUNT
    picture = corpus.image(8).astype(float)
    assert np.abs(picture - render(scene_of("corpus", 8))).mean() < 3
    assert corpus.caption(8) and corpus.url(8) == "https://corpus.example/8.jpg"


def test_two_corpora_are_alike(folder, tmp_path):
    make_mini_corpus(tmp_path, FakeEncoder(), COUNT, shard_size=SHARD)
    assert Corpus(tmp_path, 64).fingerprint == Corpus(folder, 64).fingerprint
    assert Corpus(tmp_path, 64).layout.tar(0).read_bytes() == Corpus(folder, 64).layout.tar(0).read_bytes()


def test_planted_copies_are_near_their_stimuli(tmp_path):
    planted = [("shared", 3), ("shared", 8)]
    places = make_mini_corpus(tmp_path, FakeEncoder(), COUNT, planted, SHARD)
    assert sorted(places.values()) == planted and places == planted_places(COUNT, planted)
    corpus = Corpus(tmp_path, 64)
    for item, (scene_set, index) in places.items():
        pair = np.stack([corpus.image(item), near_duplicate(scene_set, index)])
        assert hamming(*difference_hash(pair)[:, None])[0] <= 10


def test_a_run_goes_on_with_the_missing_shard(folder, tmp_path):
    make_mini_corpus(tmp_path, FakeEncoder(), COUNT, shard_size=SHARD)
    corpus = Corpus(tmp_path, 64)
    corpus.layout.metadata(1).unlink()
    encoder = FakeEncoder()
    make_mini_corpus(tmp_path, encoder, COUNT, shard_size=SHARD)
    assert encoder.seen == COUNT - SHARD and Corpus(tmp_path, 64).fingerprint == corpus.fingerprint


def test_other_settings_are_refused(folder):
    with pytest.raises(ValueError, match=r"made with other settings \(count\)"):
        make_mini_corpus(folder, FakeEncoder(), COUNT + 1, shard_size=SHARD)
    other = FakeEncoder()
    other.fingerprint = "other"
    with pytest.raises(ValueError, match=r"made with other settings \(encoder\)"):
        make_mini_corpus(folder, other, COUNT, shard_size=SHARD)
    with pytest.raises(ValueError, match="2 stimuli cannot be planted in a corpus of 1"):
        make_mini_corpus(folder, FakeEncoder(), 1, [("shared", 0), ("shared", 1)])
