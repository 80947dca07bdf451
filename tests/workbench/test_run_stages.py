"""Every stage of a run from simulated NSD files: its shapes, its neighbours, its attributions."""

from __future__ import annotations

import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_run import again

from brainram_lib.core.modalities import MODALITIES
from brainram_lib.retrieval.corpus import Corpus
from brainram_lib.retrieval.tokens import TokenCache


def test_the_splits_are_nsds(workbench):
    assert workbench.betas()["train"].shape[0] == 30 and workbench.betas()["test"].shape[0] == 10
    assert workbench.nsd_ids("test").tolist() == list(range(10))
    assert len(workbench.stimuli("test")) == len(workbench.captions("test")) == 10


def test_every_stage_has_the_shapes_of_the_method(workbench):
    for modality in MODALITIES:
        tokens, width = workbench.targets(modality, "test").shape[1:]
        assert workbench.ridge(modality).shape == (10, tokens, width)
        assert workbench.ridge_r2(modality).shape == (tokens,)
        assert workbench.estimates(modality, "train").shape == (30, 2, tokens, width)
        assert workbench.neighbours(modality, "test").ids.shape == (10, 2, 3)
        assert workbench.refined(modality).shape == (10, 2, tokens, width)
        weights = workbench.fusion_weights(modality)
        assert weights.shape == (10, 2, 4, tokens)
        np.testing.assert_allclose(weights.sum(2), 1, atol=1e-3)
        assert len(workbench.prior_history(modality)) == len(workbench.fusion_history(modality)) == 1


def test_both_modalities_share_the_neighbours_that_both_estimates_found(workbench):
    image, text = (workbench.neighbours(modality, "test") for modality in MODALITIES)
    np.testing.assert_array_equal(image.ids, text.ids)
    assert (np.diff(image.similarity, axis=-1) <= 0).all()


def test_a_broken_picture_of_the_corpus_does_not_stop_the_search(workbench, tmp_path):
    broken = int(workbench.neighbours("image", "test").ids[0, 0, 0])
    corpus = Corpus(shutil.copytree(workbench.corpus.folder, tmp_path / "corpus"), workbench.encoder.image_size)
    tar = corpus.layout.tar(0)
    with tarfile.open(tar) as archive:
        member = next(one for one in archive if Path(one.name).suffix == ".jpg" and int(Path(one.name).stem) == broken)
    with open(tar, "r+b") as stored:
        stored.seek(member.offset_data)
        stored.write(bytes(member.size))
    search = workbench.run.neighbours("image").search(workbench.store)
    search = replace(search, tokens=TokenCache(corpus, workbench.encoder, tmp_path / "tokens"))
    estimates = {modality: workbench.estimates(modality, "test") for modality in MODALITIES}
    with pytest.warns(UserWarning, match=f"Item {broken}: "):
        search.write(tmp_path, "test", "both", estimates, workbench.prior("image").whitening)
    ids = np.load(tmp_path / "test_ids.npy")
    assert ids.shape == workbench.neighbours("image", "test").ids.shape and broken not in ids


def test_the_papers_search_asks_with_each_modality_alone(runs):
    plain = {"text_weight": None, "word_weight": 0.0, "candidates": None, "token_weight": 0.0, "query_whitening": 0.0}
    workbench = again(runs, **{f"retrieval__{name}": value for name, value in plain.items()})
    image, text = (workbench.neighbours(modality, "test") for modality in MODALITIES)
    assert image.ids.shape == text.ids.shape == (10, 2, 3) and not np.array_equal(image.ids, text.ids)
    assert (image.similarity <= 1 + 1e-3).all(), "cosines"
    run = workbench.run
    assert list(run.neighbours("text").inputs) == ["text", "readouts"]


def test_the_browser_shows_what_the_stages_made(workbench):
    assert workbench.browser_data().modalities == MODALITIES


def test_attributions_of_tokens_and_neighbours_add_up_to_what_was_gained(workbench):
    voxels = workbench.betas()["test"].shape[1]
    for asked in ({}, {"token": 2}, {"neighbour": 1}):
        found = workbench.attribution("text", **asked)
        assert found.values.shape == (10, voxels) and found.shortfall < 0.05
    # both estimates ask together here, so that a neighbour has one reason for both
    np.testing.assert_array_equal(workbench.attribution("image", neighbour=1).values, found.values)
    with pytest.raises(ValueError, match="give 'token' or 'neighbour', not both"):
        workbench.attribution("text", token=0, neighbour=0)
