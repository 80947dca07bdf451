"""The embedded corpus: deterministic, resumable, without stimuli unless planted."""

import json
import re

import numpy as np
import pytest
from test_retrieval_corpus import FakeEncoder

from brainram_lib.retrieval.corpus import Corpus
from brainram_lib.retrieval.duplicates import difference_hash, hamming
from brainram_lib.world import captions, vocabulary
from brainram_lib.world.captions import web_caption
from brainram_lib.world.corpus import SETTINGS, foreign_items, make_mini_corpus, near_duplicate, planted_places
from brainram_lib.world.foreign import GERMAN, german
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


def captions_in(corpus):
    return [corpus.caption(item) for item in range(len(corpus))]


def english(count=COUNT):
    return [web_caption(scene_of("corpus", item), "corpus", item) for item in range(count)]


def test_the_default_corpus_speaks_english(folder):
    assert captions_in(Corpus(folder, 64)) == english()
    assert english(1)[0].startswith("a little horse on the left, a little butterfly in the middle and a sports ball")


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.25, 3), (0.5, 6), (1.0, 11)])
def test_the_share_of_foreign_captions_is_exact(share, expected):
    assert len(foreign_items(COUNT, share)) == expected  # 2.75 -> 3, 5.5 -> 6
    assert foreign_items(COUNT, share) <= foreign_items(COUNT, 1.0) == set(range(COUNT))


def test_foreign_captions_are_always_alike_and_the_pictures_stay(folder, tmp_path):
    for name in ("one", "two"):
        make_mini_corpus(tmp_path / name, FakeEncoder(), COUNT, shard_size=SHARD, foreign_share=0.5)
    plain, one, two = (Corpus(where, 64) for where in (folder, tmp_path / "one", tmp_path / "two"))
    chosen = foreign_items(COUNT, 0.5)
    expected = [german(caption) if item in chosen else caption for item, caption in enumerate(english())]
    assert captions_in(one) == expected != english() and len(chosen) == 6
    for shard in (0, 1):
        assert one.layout.tar(shard).read_bytes() == two.layout.tar(shard).read_bytes()
    assert all(np.array_equal(plain.image(item), one.image(item)) for item in range(COUNT))


def test_a_planted_copy_can_have_a_foreign_caption(tmp_path):
    places = make_mini_corpus(tmp_path, FakeEncoder(), 3, [("shared", 3)], SHARD, foreign_share=1.0)
    [(item, (scene_set, index))] = places.items()
    assert Corpus(tmp_path, 64).caption(item) == german(web_caption(scene_of(scene_set, index), "corpus", item))


def test_the_share_is_recorded_and_another_one_is_refused(folder):
    settings = json.loads((folder / SETTINGS).read_text())
    assert settings["foreign_share"] == 0.0
    with pytest.raises(ValueError, match=r"made with other settings \(foreign_share\)"):
        make_mini_corpus(folder, FakeEncoder(), COUNT, shard_size=SHARD, foreign_share=0.5)
    with pytest.raises(ValueError, match=r"'foreign_share' must lie between 0 and 1. 50 was provided"):
        make_mini_corpus(folder, FakeEncoder(), COUNT, shard_size=SHARD, foreign_share=50)


def test_a_corpus_from_before_there_was_a_share_is_the_default_one(tmp_path):
    make_mini_corpus(tmp_path, FakeEncoder(), 3, shard_size=SHARD)
    settings = json.loads((tmp_path / SETTINGS).read_text())
    del settings["foreign_share"]
    (tmp_path / SETTINGS).write_text(json.dumps(settings))
    make_mini_corpus(tmp_path, FakeEncoder(), 3, shard_size=SHARD)
    with pytest.raises(ValueError, match=r"made with other settings \(foreign_share\)"):
        make_mini_corpus(tmp_path, FakeEncoder(), 3, shard_size=SHARD, foreign_share=0.5)


def test_the_lexicon_has_every_word_of_the_vocabulary():
    kinds = vocabulary.COCO_CATEGORIES + vocabulary.CORPUS_CATEGORIES + vocabulary.PLACES + vocabulary.CORPUS_PLACES
    phrases = [phrase for kind in kinds for phrase in kind.words] + list(vocabulary.COLOURS)
    phrases += [phrase for words, _, _ in vocabulary.LIGHTS.values() for phrase in words]
    phrases += [*captions._OPENERS, *(side for sides in captions._SIDES for side in sides)]
    assert not {word for phrase in phrases for word in phrase.split()} - GERMAN.keys()


def test_the_lexicon_has_every_word_of_captions():
    words = {word for caption in english(1500) for word in re.findall(r"[^ ,]+", caption)}
    assert not words - GERMAN.keys()
    assert {"large", "little", "sale", "stock"} <= words  # those that stand in no table


def test_translation_is_word_by_word():
    assert german("a big red car on the left, a dog") == "ein großer roter Wagen auf der links, ein Hund"
    assert german("a unicorn, there is") == "ein unicorn, da ist" and german("") == ""
