"""Tokens that whoever embedded the corpus hands over."""

import numpy as np
import pytest
import torch
from test_retrieval_corpus import COUNT, SIZE, items
from test_retrieval_tokens import FakeTokens

from brainram_lib.core.store import Store
from brainram_lib.pipeline.corpus import EmbeddedCorpus, corpus_tokens
from brainram_lib.pipeline.weights import EncoderWeights
from brainram_lib.retrieval.corpus import Corpus
from brainram_lib.retrieval.remembered import RememberedTokens
from brainram_lib.retrieval.tokens import TokenCache
from brainram_lib.retrieval.writing import write_corpus


class Encoder(FakeTokens):
    """Token 0 is the embedding."""

    fingerprint, image_size = "e", SIZE

    def image_tokens(self, images):
        return super().image_tokens(images) + 0.1

    def pooled_images(self, images):
        return self.image_tokens(images)[:, 0]

    def pooled_texts(self, texts):
        return torch.ones(len(texts), 4)


@pytest.fixture
def written(tmp_path):
    encoder = RememberedTokens(Encoder())
    write_corpus(tmp_path / "corpus", items(), encoder, SIZE, 4)
    return Corpus(tmp_path / "corpus", SIZE), encoder


def test_what_is_handed_over_is_what_would_be_encoded(written, tmp_path):
    corpus, encoder = written
    assert encoder.count == COUNT
    cache = TokenCache(corpus, encoder.encoder, tmp_path / "tokens")
    encoder.hand_over(cache)
    assert encoder.count == 0
    seen = len(encoder.encoder.encoded)
    every = np.arange(COUNT)
    given = cache.tokens_of(every, "image")
    assert len(encoder.encoder.encoded) == seen
    torch.testing.assert_close(given, TokenCache(corpus, Encoder(), tmp_path / "again").tokens_of(every, "image"))


def test_a_cache_that_has_some_of_them_keeps_its_own(written, tmp_path):
    corpus, encoder = written
    cache = TokenCache(corpus, Encoder(), tmp_path / "tokens")
    own = cache.tokens_of(np.array([1]), "image")
    cache.keep_images(0, np.zeros((4, *own.shape[1:]), np.float16))
    torch.testing.assert_close(cache.tokens_of(np.array([1]), "image"), own)


def test_a_picture_that_changes_afterwards_is_encoded_again(written, tmp_path):
    corpus, encoder = written
    encoder.hand_over(TokenCache(corpus, Encoder(), tmp_path / "tokens"))
    marks = np.load(tmp_path / "tokens/image/000000.files.npy")
    np.save(tmp_path / "tokens/image/000000.files.npy", marks + 1)
    owner = tmp_path / "tokens/corpus.json"
    owner.write_text(owner.read_text().replace('"pictures": "', '"pictures": "0'))
    cache = TokenCache(corpus, Encoder(), tmp_path / "tokens")
    assert (cache._places["image"][: len(marks)] == -1).all()
    cache.tokens_of(np.array([0]), "image")


def test_items_beyond_the_corpus_are_refused(written, tmp_path):
    corpus, _ = written
    cache = TokenCache(corpus, Encoder(), tmp_path / "tokens")
    with pytest.raises(IndexError, match=f"between 0 and {COUNT - 1}"):
        cache.keep_images(COUNT - 1, np.zeros((2, 5, 4), np.float16))


def test_the_embedded_corpus_comes_with_its_tokens(tmp_path, monkeypatch):
    source, store = EmbeddedCorpus(7, EncoderWeights("mini")), Store(tmp_path)
    cache = corpus_tokens(source, source.encoder, store)
    monkeypatch.setattr(cache, "_encode", lambda *_: pytest.fail("encoded again"))
    found = cache.tokens_of(np.arange(7), "image")
    pictures = source.open(tmp_path).images(np.arange(7))
    torch.testing.assert_close(found, source.encoder.load().image_tokens(pictures), atol=1e-2, rtol=1e-2)
