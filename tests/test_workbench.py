"""One small end-to-end run: from simulated NSD files to a scored table, through every stage."""

import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from brainram_lib.scoring import COMPARED, score_tables

from brainram_lib.core.modalities import MODALITIES
from brainram_lib.evaluation.tables import EMBEDDED
from brainram_lib.generation.selection import agreement
from brainram_lib.profiles import MINI, changed
from brainram_lib.retrieval.corpus import Corpus
from brainram_lib.retrieval.tokens import TokenCache
from brainram_lib.workbench import Workbench, all_systems
from brainram_lib.world.world import WorldSettings

TINY = changed(
    MINI,
    data__sessions=3,
    data__validation_images=6,
    stage1__epochs=1,
    stage1__batch=8,
    stage1__samples=2,
    stage1__sample_steps=2,
    stage2__epochs=1,
    stage2__batch=8,
    retrieval__neighbours=3,
    generation__steps=2,
    corpus_pairs=40,
)
WORLD = WorldSettings(
    name="tiny", subjects=(1, 2), voxels=(60, 50), sessions=3, trials_per_session=40, images=40, shared=10
)


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def workbench(runs):
    return Workbench(TINY, subject=1, runs=runs, world=WORLD)


def test_the_splits_are_nsds(workbench):
    assert workbench.betas()["train"].shape[0] == 30 and workbench.betas()["test"].shape[0] == 10
    assert workbench.nsd_ids("test").tolist() == list(range(10))
    assert len(workbench.stimuli("test")) == len(workbench.captions("test")) == 10


def test_every_stage_has_the_shapes_of_the_method(workbench):
    for modality in MODALITIES:
        tokens, width = workbench.targets(modality, "test").shape[1:]
        assert workbench.ridge(modality).shape == (10, tokens, width)
        assert workbench.estimates(modality, "train").shape == (30, 2, tokens, width)
        assert workbench.neighbours(modality, "test").ids.shape == (10, 2, 3)
        assert workbench.refined(modality).shape == (10, 2, tokens, width)
        weights = workbench.ram_weights(modality)
        assert weights.shape == (10, 2, 4, tokens)
        np.testing.assert_allclose(weights.sum(2), 1, atol=1e-3)


def test_scores_hold_every_system_and_metric(workbench):
    scores = workbench.scores()
    assert {row["system"] for row in scores} >= {*all_systems(), "chance"}
    needed = {"pixcorr", "ssim", "lite0_early", "lite0_middle", "lite0_late", "clip", "probe_category"}
    assert {row["metric"] for row in scores if row["system"] == "brainram"} >= needed | {
        *("image_mse", "image_cosine", "text_mse", "text_cosine"),
        *("image_retrieval", "brain_retrieval", "global_two_way"),
    }
    for row in scores:
        assert row["low"] <= row["value"] + 1e-9 and row["value"] <= row["high"] + 1e-9, row
        assert set(row) == {"system", "metric", "value", "low", "high", "n", "subject", "seed"}


def test_leads_are_differences_of_the_scores(workbench):
    means = {(row["system"], row["metric"]): row["value"] for row in workbench.scores()}
    leads = {(one.system, one.metric): one for one in workbench.leads()}
    assert {system for system, _ in leads} == {f"brainram over {other}" for other in COMPARED}
    for (system, metric), lead in leads.items():
        first, other = system.split(" over ")
        assert lead.value == pytest.approx(means[first, metric] - means[other, metric])


def test_the_tables_say_what_they_cannot_be_compared_with_and_keep_small_errors_apart(workbench):
    pictures, lead, estimates = score_tables(workbench)
    assert all(EMBEDDED in table.title for table in (pictures, lead, estimates))
    assert "| Ridge |" in pictures.markdown() and "| MindEye |" in score_tables(workbench, reported=True)[0].markdown()
    assert "MindEye" not in pictures.markdown() and "| BrainRAM over Ridge |" in lead.markdown()
    errors = estimates.sections[0].cells["Image tokens MSE ↓"]
    assert len(errors["Ridge"].split()[0]) == len(".00221") and errors["True tokens (ceiling)"] == ".00000"


def test_the_ceilings_estimates_are_perfect(workbench):
    rows = {(row["system"], row["metric"]): row["value"] for row in workbench.scores()}
    assert rows["ceiling", "image_mse"] == 0 and rows["ceiling", "text_cosine"] == pytest.approx(1)
    assert rows["ceiling", "image_retrieval"] == 1


def test_a_second_workbench_makes_nothing_again(workbench, runs, monkeypatch):
    workbench.scores()
    for name in ("make_ridge", "make_prior", "make_estimates", "make_ram", "make_reconstructions"):
        monkeypatch.setattr(f"brainram_lib.stages.{name}", lambda *_, **__: pytest.fail("made again"))
    assert Workbench(TINY, subject=1, runs=runs, world=WORLD).scores() == workbench.scores()


def test_another_seed_is_another_result_beside_the_first(workbench, runs):
    first = workbench.estimates("image", "test")
    other = Workbench(TINY, subject=1, seed=1, runs=runs, world=WORLD).estimates("image", "test")
    assert not np.allclose(first, other)
    assert np.array_equal(first, workbench.estimates("image", "test"))


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
    search = replace(workbench.search, tokens=TokenCache(corpus, workbench.encoder, tmp_path / "tokens"))
    estimates = {modality: workbench.estimates(modality, "test") for modality in MODALITIES}
    with pytest.warns(UserWarning, match=f"Item {broken}: "):
        search.write(tmp_path, "test", "both", estimates, workbench.prior("image").whitening)
    ids = np.load(tmp_path / "test_ids.npy")
    assert ids.shape == workbench.neighbours("image", "test").ids.shape and broken not in ids


def test_only_brainram_is_guided_by_a_neighbour_for_each_sample(workbench, runs, monkeypatch):
    found, items = workbench.neighbours("image", "test"), workbench.guiding_neighbours("brainram")
    assert (items[:, 0] != items[:, 1]).all()
    assert all(set(own) <= set(ids.ravel()) for own, ids in zip(items, found.ids, strict=True))
    for other in ("brainram-no-ram", "ridge", "ceiling"):
        assert workbench.guiding_neighbours(other) is None
    alone = Workbench(changed(TINY, generation__neighbour_share=0.0), subject=1, runs=runs, world=WORLD)
    assert alone.guiding_neighbours("brainram") is None
    assert not np.array_equal(alone.samples("brainram"), workbench.samples("brainram"))
    workbench.samples("ridge")
    monkeypatch.setattr("brainram_lib.stages.make_reconstructions", lambda *_, **__: pytest.fail("made again"))
    np.testing.assert_array_equal(alone.samples("ridge"), workbench.samples("ridge"))


def test_ridge_chooses_among_as_many_pictures_and_the_ceiling_never(workbench):
    ridge = workbench.samples("ridge")
    assert ridge.shape == workbench.samples("brainram").shape and not np.array_equal(ridge[:, 0], ridge[:, 1])
    made = workbench.encoder.image_tokens(ridge.reshape(-1, *ridge.shape[2:])).unflatten(0, ridge.shape[:2])
    agreed = agreement(made, torch.from_numpy(np.array(workbench.ridge("image"))))
    np.testing.assert_array_equal(workbench.reconstructions("ridge"), ridge[np.arange(len(ridge)), agreed.argmax(1)])
    assert workbench.samples("ceiling").shape[1] == 1


def test_the_papers_search_asks_with_each_modality_alone(runs):
    plain = {"text_weight": None, "word_weight": 0.0, "candidates": None, "token_weight": 0.0, "query_whitening": 0.0}
    profile = changed(TINY, **{f"retrieval__{name}": value for name, value in plain.items()})
    workbench = Workbench(profile, subject=1, runs=runs, world=WORLD)
    image, text = (workbench.neighbours(modality, "test") for modality in MODALITIES)
    assert image.ids.shape == text.ids.shape == (10, 2, 3) and not np.array_equal(image.ids, text.ids)
    assert (image.similarity <= 1 + 1e-3).all(), "cosines"


@pytest.mark.parametrize(
    ("alone", "needed"),
    [("text_weight", "word_weight.*needs a 'retrieval.text"), ("candidates", "token_weight.*needs")],
)
def test_settings_that_would_have_no_effect_are_named(runs, alone, needed):
    profile = changed(TINY, **{f"retrieval__{alone}": None})
    with pytest.raises(ValueError, match=needed):
        _ = Workbench(profile, subject=1, runs=runs, world=WORLD).search


def test_the_browser_shows_what_the_stages_made(workbench):
    data = workbench.browser_data()
    assert data.modalities == MODALITIES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile": "maxi"}, "'profile' must be one of"),
        ({"subject": 3}, r"'subject' must be one of \[1, 2, 5, 7\].*'3' was provided"),
        ({"profile": "paper"}, "give nsd_root"),
    ],
)
def test_what_cannot_be_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Workbench(**arguments)


def test_attributions_of_tokens_and_neighbours_add_up_to_what_was_gained(workbench):
    voxels = workbench.betas()["test"].shape[1]
    for asked in ({}, {"token": 2}, {"neighbour": 1}):
        found = workbench.attribution("text", **asked)
        assert found.values.shape == (10, voxels) and found.shortfall < 0.05
    with pytest.raises(ValueError, match="give 'token' or 'neighbour', not both"):
        workbench.attribution("text", token=0, neighbour=0)


def test_an_unknown_system_or_modality_is_named(workbench):
    with pytest.raises(ValueError, match="'system' must be one of"):
        workbench.reconstructions("dream")
    with pytest.raises(ValueError, match="'modality' must be one of"):
        workbench.targets("sound", "test")
