"""Near-duplicates: a planted corpus is found in full, excluded where that is asked, and counted under tables."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from given_stages import MINI, given_images, given_targets
from test_retrieval_corpus import FakeEncoder

from brainram_lib.core.store import Store
from brainram_lib.pipeline.corpus import CorpusFolder, EmbeddedCorpus, Readouts
from brainram_lib.pipeline.duplicates import NearDuplicates
from brainram_lib.pipeline.ram import Retrieved
from brainram_lib.pipeline.run import run_of
from brainram_lib.pipeline.search import both_excluded
from brainram_lib.profiles import MINI as PROFILE
from brainram_lib.profiles import changed
from brainram_lib.retrieval.images import encoded
from brainram_lib.retrieval.settings import RetrievalSettings
from brainram_lib.retrieval.writing import CorpusItem, write_corpus
from brainram_lib.world.corpus import planted_places
from brainram_lib.world.scenes import render, scene_of

PLANTED = 20
PAIRS = 90
TEST = [("shared", index) for index in range(PLANTED + 3)]
TRAIN = [("subject1", index) for index in range(PLANTED + 7)]
COPIES = (*TEST[:PLANTED], *TRAIN[:PLANTED])


@dataclass(frozen=True)
class Asked(Retrieved):
    """The stimuli's own tokens ask."""

    tokens_that_ask: dict = field(default_factory=dict, compare=False, metadata={"keyed": False})

    def asked(self, store, split):
        return {"image": self.tokens_that_ask[split][:, None]}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def tokens():
    shown = {"test": TEST, "train": TRAIN}
    pixels = {split: np.stack([render(scene_of(*one)) for one in names]) for split, names in shown.items()}
    return pixels, {split: MINI.load().image_tokens(images).numpy() for split, images in pixels.items()}


@pytest.fixture(scope="module")
def duplicates(tokens):
    betas = {split: np.zeros((len(images), 5), np.float32) for split, images in tokens[0].items()}
    targets = given_targets(given_images(betas, tokens[0]), tokens[1])
    return NearDuplicates(targets, EmbeddedCorpus(PAIRS, MINI, planted=COPIES))


def test_every_planted_copy_of_both_splits_is_found_and_nothing_else(duplicates, store):
    places = planted_places(PAIRS, COPIES)
    result = store.result(duplicates)
    for split, names in (("test", TEST), ("train", TRAIN)):
        pairs = {
            (int(i), names[s])
            for i, s in zip(*(result.array(f"{split}_{n}") for n in ("item", "stimulus")), strict=True)
        }
        assert pairs == {(item, stimulus) for item, stimulus in places.items() if stimulus in names}
        assert len(pairs) == PLANTED
    assert duplicates.items(store).tolist() == sorted(places)
    said = duplicates.said(store, excluded=False)
    assert "20 items of 20 of the 23 test stimuli, 20 items of 20 of the 27 training stimuli" in said
    assert "could be retrieved" in said and "were excluded" in duplicates.said(store, excluded=True)


def test_excluded_duplicates_are_not_retrieved_and_change_the_key(duplicates, tokens, store):
    readouts = Readouts(duplicates.corpus, MINI, False, captions=20)
    how = (None, None, readouts, RetrievalSettings(neighbours=3), "image")
    as_found = Asked(*how, tokens_that_ask=tokens[1])
    without = Asked(*how, duplicates, tokens_that_ask=tokens[1])
    copies = duplicates.items(store)
    first = as_found.found(store, "test").ids[:PLANTED, 0, 0]
    assert np.isin(first, copies).mean() > 0.8, "a copy is what the stimulus itself finds first"
    for split in ("train", "test"):
        assert not np.isin(without.found(store, split).ids, copies).any()
    assert as_found.key != without.key


def test_a_corpus_without_image_embeddings_is_not_audited_and_says_so(tokens, duplicates, tmp_path):
    root = tmp_path / "corpus"
    write_corpus(root, [CorpusItem(encoded(tokens[0]["test"][0]), "c", "u")], FakeEncoder(), 64, 4)
    shutil.rmtree(root / "img_emb")
    stage, store = replace(duplicates, corpus=CorpusFolder(root, MINI)), Store(tmp_path / "runs")
    assert stage.items(store).size == 0
    assert "not looked for, it has no image embeddings" in stage.said(store, excluded=False)


def test_keys_of_searches_as_found_are_what_they_were_before_there_was_the_setting():
    run = run_of(PROFILE, 1, 0)
    plain = run.neighbours("image")
    assert "duplicates" not in plain.keyed_fields and "duplicates" not in plain.inputs
    assert "exclude_duplicates" not in plain.keyed_fields["settings"]
    other = run_of(changed(PROFILE, retrieval__exclude_duplicates=True), 1, 0).neighbours("image")
    assert other.duplicates == run.duplicates and other.key != plain.key
    assert replace(run.corpus, planted=(("shared", 1),)).key != run.corpus.key
    assert len(run_of(changed(PROFILE, corpus__planted_test=2, corpus__planted_train=3), 1, 0).corpus.planted) == 5


def test_what_either_excludes():
    one, other = np.array([3, 1]), [np.array([2]), np.array([], np.int64)]
    assert both_excluded(None, None, 2) is None
    np.testing.assert_array_equal(both_excluded(None, one, 2), one)
    assert [ids.tolist() for ids in both_excluded(other, one, 2)] == [[1, 2, 3], [1, 3]]
