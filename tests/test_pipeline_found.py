"""What estimates find in a corpus, and which of it is shown: against plain loops, and from bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from given_stages import MINI, Given, given_images, given_targets

from brainram_lib.core.store import Store
from brainram_lib.pipeline.corpus import EmbeddedCorpus, corpus_tokens
from brainram_lib.pipeline.duplicates import NearDuplicates
from brainram_lib.pipeline.found import Found, FoundImage, closeness
from brainram_lib.world.corpus import planted_places
from brainram_lib.world.scenes import render, scene_of

PAIRS, COUNT, SAMPLES = 60, 5, 3
STIMULI = [("shared", index) for index in range(7)]
CORPUS = EmbeddedCorpus(PAIRS, MINI, planted=tuple(STIMULI))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def tokens():
    return MINI.load().image_tokens(np.stack([render(scene_of(*one)) for one in STIMULI])).numpy()


@pytest.fixture(scope="module")
def outputs(tokens):
    """Samples around the truth, so noisy that they find different images."""
    noise = np.random.default_rng(0).normal(size=(len(tokens), SAMPLES, *tokens.shape[1:]))
    return (tokens[:, None] + 2 * tokens.std() * noise).astype(np.float16)


def asked_by(label, tokens, **settings):
    return Found(Given(label, {"test": tokens}), CORPUS, MINI, "Flat", None, **{"count": COUNT, **settings})


def items_of(store, stage):
    return np.array(store.result(stage).array("items"))


def cosine(one, other):
    return float(np.vdot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))


def test_the_most_similar_items_to_any_output_are_found_each_once(store, outputs):
    embeddings = np.concatenate(list(CORPUS.open(store.root).image_embeddings())).astype(np.float32)
    found = items_of(store, asked_by("samples", outputs))
    for stimulus, samples in enumerate(outputs.astype(np.float32)):
        scores = [max(cosine(sample[0], item) for sample in samples) for item in embeddings]
        assert found[stimulus].tolist() == np.argsort(-np.array(scores), kind="stable")[:COUNT].tolist()


def test_one_output_finds_its_nearest_images_however_often_it_asks(store, outputs):
    one = items_of(store, asked_by("one", outputs[:, 0]))
    again = items_of(store, asked_by("again", np.repeat(outputs[:, :1], SAMPLES, 1)))
    np.testing.assert_array_equal(one, again)
    assert all(len(set(row)) == COUNT for row in one.tolist())


def test_the_image_shown_has_the_tokens_that_the_estimate_is_most_like(store, outputs):
    found = asked_by("samples", outputs)
    shown = store.result(FoundImage(found, found.outputs))
    cache, best = corpus_tokens(CORPUS, MINI, store), []
    for items, samples in zip(items_of(store, found), outputs.astype(np.float32), strict=True):
        known = cache.tokens_of(items, "image").numpy()
        best.append(items[np.argmax([cosine(samples.mean(0), one) for one in known])])
    assert shown.array("items").tolist() == best
    np.testing.assert_array_equal(shown.array("chosen"), CORPUS.open(store.root).images(np.array(best)))
    other = Given("others", {"test": np.roll(outputs, 1, axis=0)})
    assert items_of(store, FoundImage(found, other)).tolist() != best, "what chooses has a say"


def test_true_tokens_find_and_show_the_copy_of_their_stimulus(store, tokens):
    places = {stimulus: item for item, stimulus in planted_places(PAIRS, CORPUS.planted).items()}
    copies = [places[one] for one in STIMULI]
    found = asked_by("true", tokens)
    assert items_of(store, found)[:, 0].tolist() == copies
    assert items_of(store, FoundImage(found, found.outputs)).tolist() == copies


def test_duplicates_of_stimuli_are_left_out_where_that_is_asked(store, tokens):
    images = given_images({split: np.zeros((7, 4), np.float32) for split in ("train", "test")})
    shown = {split: np.stack([render(scene_of(*one)) for one in STIMULI]) for split in ("train", "test")}
    targets = given_targets(replace(images, shown=shown), {"train": tokens, "test": tokens})
    without = asked_by("true", tokens, duplicates=NearDuplicates(targets, CORPUS))
    assert not np.isin(items_of(store, without), without.duplicates.items(store)).any()
    assert without.key != asked_by("true", tokens).key


def test_closeness_is_the_cosine_of_embeddings_with_one_s_own_stimulus(store, tokens):
    images = given_images({split: np.zeros((7, 4), np.float32) for split in ("train", "test")})
    targets, found = given_targets(images, {"test": tokens}), asked_by("true", tokens)
    items, corpus = items_of(store, found), CORPUS.open(store.root)
    close = closeness(store, found, items, targets)
    known = MINI.load().image_tokens(corpus.images(items[2])).numpy()
    np.testing.assert_allclose(close[2], [cosine(one[0], tokens[2, 0]) for one in known], atol=2e-3)
    assert close.shape == (7, COUNT) and (close[:, 0] > close[:, -1]).all()


def test_bad_input_is_named(store, outputs):
    broken = outputs.copy()
    broken[4, 1, 0, 3] = np.nan
    with pytest.raises(ValueError, match="token 0 of the image estimates: vector 13 is zero, NaN or infinite"):
        store.result(asked_by("broken", broken))
    found, broken = asked_by("samples", outputs), outputs.copy()
    broken[4, 1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="'given' gave 1 values that are NaN or infinite for stimulus 4, sample 1"):
        store.result(FoundImage(found, Given("broken too", {"test": broken})))
    with pytest.raises(ValueError, match="'k' must lie between 1 and 60"):
        store.result(asked_by("samples", outputs, count=PAIRS + 1))
