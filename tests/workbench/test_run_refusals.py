"""What a workbench is asked for and does not have is named."""

from __future__ import annotations

import pytest
from test_retrieval_corpus import SIZE, FakeEncoder, items
from tiny_run import TINY, WORLD

from brainram_lib.pipeline.run import run_of
from brainram_lib.profiles import MINI, changed
from brainram_lib.retrieval.writing import write_corpus
from brainram_lib.workbench import Workbench


@pytest.mark.parametrize(
    ("alone", "needed"),
    [("text_weight", "word_weight.*needs a 'retrieval.text"), ("candidates", "token_weight.*needs")],
)
def test_settings_that_would_have_no_effect_are_named(alone, needed):
    with pytest.raises(ValueError, match=needed):
        changed(TINY, **{f"retrieval__{alone}": None})


def test_more_neighbours_than_candidates_are_named():
    with pytest.raises(ValueError, match="'retrieval.candidates' must be 17 or more.* 16 was provided"):
        changed(MINI, retrieval__neighbours=17)


PLAIN_SEARCH = {"retrieval__candidates": None, "retrieval__token_weight": 0.0}


@pytest.mark.parametrize(
    ("changes", "asked"),
    [({**PLAIN_SEARCH, "retrieval__neighbours": 41}, "neighbours"), ({"retrieval__candidates": 41}, "candidates")],
)
def test_more_neighbours_than_the_corpus_has_are_named_before_anything_is_made(tmp_path, changes, asked):
    workbench = Workbench(changed(TINY, **changes), subject=1, runs=tmp_path, world=WORLD)
    with pytest.raises(ValueError, match=f"'retrieval.{asked}' must be 40 or less, .* has 40 items. 41 was provided"):
        workbench.refined("image")
    assert workbench.store.made == [] and list(tmp_path.rglob("*")) == []


def test_neighbours_of_training_images_without_samples_are_refused_before_anything_is_made(tmp_path):
    workbench = Workbench(changed(TINY, sampling__training=False), subject=1, runs=tmp_path, world=WORLD)
    for asked in (workbench.refined, lambda modality: workbench.neighbours(modality, "test")):
        with pytest.raises(ValueError, match="'sampling.training' must be true where neighbours are searched for"):
            asked("image")
    assert workbench.store.made == [] and list(tmp_path.rglob("*")) == []


def test_a_corpus_of_ones_own_that_is_too_small_is_named_where_it_is_searched(tmp_path):
    write_corpus(tmp_path / "corpus", items(7), FakeEncoder(), SIZE)
    small = {**PLAIN_SEARCH, "retrieval__neighbours": 7, "stage1__free_share": 0.0}
    made = [run_of(changed(TINY, **small), 1, 0, None, tmp_path / "corpus", WORLD)]
    made.append(run_of(changed(TINY, **{**small, "retrieval__neighbours": 8}), 1, 0, None, tmp_path / "corpus", WORLD))
    assert made[0].neighbours("image").key and made[1].estimates("image").key == made[0].estimates("image").key
    with pytest.raises(ValueError, match="'retrieval.neighbours' must be 7 or less"):
        _ = made[1].refined("image").key


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile": "maxi"}, "'profile' must be one of"),
        ({"subject": 3}, r"'subject' must be one of \[1, 2, 5, 7\].*'3' was provided"),
        ({"profile": "paper"}, "give nsd_root"),
        ({"seed": -1}, "'seed' must be a whole number, 0 or more. -1 was"),
    ],
)
def test_what_cannot_be_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Workbench(**arguments)


def test_a_profile_without_a_corpus_asks_for_one(tmp_path):
    with pytest.raises(ValueError, match="needs a corpus of your own: give corpus_root"):
        _ = Workbench("paper", nsd_root=tmp_path).corpus


def test_an_unknown_system_or_modality_is_named(workbench):
    for asked in (workbench.reconstructions, workbench.samples, workbench.tokens_of_system):
        with pytest.raises(ValueError, match="'system' must be one of brainram, .*'dream' was provided"):
            asked("dream")
    with pytest.raises(ValueError, match="'modality' must be one of"):
        workbench.targets("sound", "test")
    with pytest.raises(ValueError, match="'nearest-train' shows images that exist and has no tokens"):
        workbench.tokens_of_system("nearest-train")
