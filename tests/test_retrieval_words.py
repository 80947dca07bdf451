"""Captions as sets of words: which words count, how much, and what is refused."""

import numpy as np
import pytest

from brainram_lib.retrieval.words import Vocabulary, words_of

CAPTIONS = ["A dog on the grass.", "a DOG, a cat", "a cat by the sea", "a boat on the sea", "a boat"]


def test_words_are_letters_in_lower_case():
    assert words_of("Two DOGS, 3 cats_and a caf\u00e9!") == {"two", "dogs", "cats", "and", "a", "caf\u00e9"}
    assert words_of("") == set()


def test_a_vocabulary_holds_words_of_several_captions_but_not_of_all():
    vocabulary = Vocabulary.of(CAPTIONS, least=2)
    assert set(vocabulary.words) == {"dog", "cat", "boat", "sea", "on", "the"}, "'a' tells nothing, 'grass' stands once"
    assert vocabulary.words[0] == "the" and vocabulary.share[0] == pytest.approx(3 / 5)
    assert len(Vocabulary.of(CAPTIONS, least=2, most=3).words) == 3


def test_presence_is_what_a_caption_holds():
    vocabulary = Vocabulary.of(CAPTIONS, least=2)
    found = vocabulary.presence(["a dog on a boat", "zebra"])
    assert {word for word, there in zip(vocabulary.words, found[0], strict=True) if there} == {"dog", "on", "boat"}
    assert not found[1].any()


def test_vectors_are_the_equation():
    vocabulary = Vocabulary.of(CAPTIONS, least=2)
    presence, share = vocabulary.presence(CAPTIONS).astype(float), vocabulary.share.astype(float)
    vectors = vocabulary.vectors(vocabulary.presence(CAPTIONS))
    for row, caption in enumerate(presence):
        plain = np.array([(x - m) / np.sqrt(m * (1 - m)) for x, m in zip(caption, share, strict=True)])
        np.testing.assert_allclose(vectors[row], plain / np.linalg.norm(plain), atol=1e-6)


def test_an_estimate_that_expects_a_rare_word_finds_its_caption():
    captions = ["a dog on the sea"] * 30 + ["a zebra on the sea"] * 5 + ["a dog on the grass"] * 30
    vocabulary = Vocabulary.of(captions, least=5)
    expected = vocabulary.share[None] + 0.2 * (vocabulary.presence(["zebra"]) - vocabulary.share)
    scores = vocabulary.vectors(expected) @ vocabulary.vectors(vocabulary.presence(captions)).T
    assert captions[scores.argmax()] == "a zebra on the sea"


def test_what_cannot_be_is_named():
    with pytest.raises(ValueError, match="none of the words of 5 captions stands in 5 of them or more"):
        Vocabulary.of(CAPTIONS, least=5)
    vocabulary = Vocabulary.of(CAPTIONS, least=2)
    with pytest.raises(ValueError, match=r"presence of 6 words is needed, got an array of \(1, 2\)"):
        vocabulary.vectors(np.zeros((1, 2), np.float32))
    for nothing in (vocabulary.share[None], np.full((1, 6), np.nan, np.float32)):
        with pytest.raises(ValueError, match="must be finite and differ from the words' shares"):
            vocabulary.vectors(nothing)
