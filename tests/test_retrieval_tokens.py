"""Neighbours re-encoded to tokens: once, resumably, failures recorded."""

import numpy as np
import pytest
import torch
from test_retrieval_corpus import COUNT, SIZE, FakeEncoder, items

from brainram_lib.retrieval import tokens as tokens_module
from brainram_lib.retrieval.corpus import Corpus, CorpusError
from brainram_lib.retrieval.images import ImageRefused
from brainram_lib.retrieval.tokens import TokenCache
from brainram_lib.retrieval.writing import write_corpus

TOKENS, WIDTH = {"image": 5, "text": 3}, 4


class FakeTokens:
    """Tokens that tell which picture or caption they come from."""

    def __init__(self):
        self.encoded = []

    def image_tokens(self, images):
        self.encoded.append(len(images))
        means = torch.from_numpy(images.reshape(len(images), -1).mean(1)) / 255
        return means[:, None, None] * torch.arange(1, 1 + TOKENS["image"])[None, :, None] * torch.ones(WIDTH)

    def text_tokens(self, captions):
        self.encoded.append(len(captions))
        numbers = torch.tensor([float(group[0].split()[1]) for group in captions])
        return numbers[:, None, None] * torch.ones(TOKENS["text"], WIDTH)


@pytest.fixture
def corpus(tmp_path):
    write_corpus(tmp_path / "corpus", items(), FakeEncoder(), SIZE, 4)
    return Corpus(tmp_path / "corpus", SIZE)


@pytest.mark.parametrize("modality", ["image", "text"])
def test_tokens_are_those_of_the_items(corpus, tmp_path, modality, monkeypatch):
    monkeypatch.setattr(tokens_module, "BLOCK", 2)
    ids = np.array([[9, 3, 9], [0, 5, 3]])
    cache = TokenCache(corpus, FakeTokens(), tmp_path / "tokens")
    tokens = cache.tokens_of(ids, modality)
    assert tokens.shape == (2, 3, TOKENS[modality], WIDTH) and tokens.dtype == torch.float32
    for place in np.ndindex(ids.shape):
        item = int(ids[place])
        expected = (
            FakeTokens().image_tokens(corpus.images(np.array([item])))
            if modality == "image"
            else FakeTokens().text_tokens([[corpus.caption(item)]])
        )
        torch.testing.assert_close(tokens[place], expected[0].float(), atol=2e-3, rtol=1e-3)


def test_every_item_is_encoded_once_also_by_a_later_process(corpus, tmp_path):
    cache = TokenCache(corpus, FakeTokens(), tmp_path / "tokens")
    cache.prepare(np.array([1, 2, 2, 3]), "text")
    cache.tokens_of(np.array([3, 1]), "text")
    assert cache.encoder.encoded == [3]
    later = TokenCache(corpus, FakeTokens(), tmp_path / "tokens")
    later.tokens_of(np.array([[3, 4], [1, 2]]), "text")
    assert later.encoder.encoded == [1]


def test_an_interrupted_run_goes_on(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(tokens_module, "BLOCK", 4)

    class Stops(FakeTokens):
        def text_tokens(self, captions):
            if len(self.encoded) == 2:
                raise KeyboardInterrupt
            return super().text_tokens(captions)

    with pytest.raises(KeyboardInterrupt):
        TokenCache(corpus, Stops(), tmp_path / "tokens").prepare(np.arange(COUNT), "text")
    cache = TokenCache(corpus, FakeTokens(), tmp_path / "tokens")
    tokens = cache.tokens_of(np.arange(COUNT), "text")
    assert cache.encoder.encoded == [3]
    np.testing.assert_array_equal(tokens[:, 0, 0], np.arange(COUNT))


def test_a_picture_that_is_gone_is_a_recorded_failure(corpus, tmp_path):
    tar = corpus.layout.tar(1)
    tar.rename(tar.with_suffix(".away"))
    cache = TokenCache(corpus, FakeTokens(), tmp_path / "tokens")
    failed = cache.prepare(np.array([2, 5]), "image")
    assert list(failed) == [5] and "no picture" in failed[5]
    assert list(cache.failures("image")) == [5]
    assert not TokenCache(corpus, FakeTokens(), tmp_path / "tokens").failures("image"), "a later process tries again"
    with pytest.raises(ImageRefused, match="item 5: .* Search again with 'exclude'"):
        cache.tokens_of(np.array([2, 5]), "image")
    assert cache.tokens_of(np.array([2]), "image").shape == (1, 5, WIDTH)


def test_the_folder_of_another_corpus_is_refused(corpus, tmp_path):
    TokenCache(corpus, FakeTokens(), tmp_path / "tokens")
    write_corpus(tmp_path / "other", items(5), FakeEncoder(), SIZE, 4)
    with pytest.raises(CorpusError, match="holds tokens of another corpus"):
        TokenCache(Corpus(tmp_path / "other", SIZE), FakeTokens(), tmp_path / "tokens")


def test_unusable_requests_are_refused(corpus, tmp_path):
    cache = TokenCache(corpus, FakeTokens(), tmp_path / "tokens")
    with pytest.raises(IndexError, match="ids must lie between 0 and 10"):
        cache.prepare(np.array([11]), "text")
    with pytest.raises(ValueError, match="'modality' must be one of"):
        cache.prepare(np.array([1]), "sound")
    with pytest.raises(ValueError, match="no ids were given"):
        cache.tokens_of(np.array([], int), "text")
