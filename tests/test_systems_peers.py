"""The compared systems from simulated NSD files to images, at tiny sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge as ScikitRidge

from brainram_lib.core.ridge import ALPHAS
from brainram_lib.core.store import Store
from brainram_lib.nsd.prepared import PreparedSubject
from brainram_lib.pipeline.corpus import corpus_tokens
from brainram_lib.pipeline.peers.mind_reader import MAP_ALPHAS
from brainram_lib.pipeline.peers.pictures import PeerImages, noise_seeds
from brainram_lib.pipeline.run import run_of
from brainram_lib.profiles import MINI, changed
from brainram_lib.systems import brain_diffuser, mindeye, system_of, takagi
from brainram_lib.systems.finding import finding
from brainram_lib.systems.scores import stages_of
from brainram_lib.world.world import WorldSettings

WORLD = WorldSettings(name="tiny", subjects=(1,), voxels=(60,), sessions=3, trials_per_session=40, images=40, shared=10)
SMALL = {"data__sessions": 3, "split__validation": 6, "generation__steps": 2, "corpus__pairs": 40}
MINDEYE = {"hidden": 8, "blocks": 1, "projector_hidden": 8, "prior_depth": 1, "times": 4, "epochs": 3, "batch": 8}
MIND_READER = {"channels": 2, "stages": 1, "places": 4, "epochs": 1, "batch": 8}
MESH = {"channels": 2, "epochs": 1, "batch": 8}
LOW_LEVEL = {"hidden": 8, "blocks": 1, "channels": 4, "side": 8, "epochs": 1, "batch": 8}
SMALL |= {f"peers__mindeye__{name}": size for name, size in MINDEYE.items()}
SMALL |= {f"peers__mind_reader__{name}": size for name, size in MIND_READER.items()}
SMALL |= {f"peers__mesh__{name}": size for name, size in MESH.items()}
SMALL |= {f"peers__low_level__{name}": size for name, size in LOW_LEVEL.items()}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def run():
    return run_of(changed(MINI, **SMALL), 1, 0, world=WORLD)


def test_single_trials_average_to_the_prepared_betas(run, store):
    ids = run.images.nsd_ids(store, "train")
    rows, shown = run.trials().of(store, ids)
    assert len(rows) > len(ids)
    means = np.stack([rows[shown == image].mean(0) for image in range(len(ids))])
    np.testing.assert_allclose(means, run.images.betas(store)["train"], atol=1e-5)
    assert not PreparedSubject.load(store.result(run.trials()).folder).record["average"]


def test_latents_decode_to_the_stimuli(run, store):
    import torch

    latents = np.array(store.result(run.latents()).array("train"))
    again = run.generator.load().decode(torch.from_numpy(latents[:5])).astype(float)
    stimuli = run.images.stimuli(store, "train")[:5].astype(float)
    assert np.abs(again - stimuli).mean() < np.abs(stimuli - stimuli.mean((1, 2), keepdims=True)).mean() / 2


def test_takagi_shows_the_first_of_five_images(run, store):
    result = store.result(system_of("takagi").images(run))
    samples = result.array("samples")
    assert samples.shape[:2] == (10, takagi.SAMPLES)
    np.testing.assert_array_equal(result.array("chosen"), samples[:, 0])
    assert (samples[:, 0] != samples[:, 1]).any()


def test_takagi_s_images_depend_on_the_start_and_on_the_captions(run):
    stage = takagi.images(run)
    assert stage.image is None and stage.text.regions == takagi.LATE
    assert stage.start.latents.regions == takagi.EARLY and stage.settings.text_mix == 1


def test_brain_diffuser_estimates_both_modalities_and_makes_one_image(run, store):
    system = system_of("brain-diffuser")
    for modality, stage in system.tokens(run).items():
        assert stage.alphas == brain_diffuser.PUBLISHED[modality] and stage.regions == () and stage.trials is None
        assert (
            store.result(stage).array("test").shape[1:] == store.result(run.targets(modality)).array("test").shape[1:]
        )
    made = system.images(run)
    assert made.start.latents.alphas == (5e4,) and (made.strength, made.settings.text_mix) == (0.75, 0.4)
    assert store.result(made).array("samples").shape[:2] == (10, 1)


def test_brain_diffuser_s_alphas_are_chosen_for_each_token(run, store):
    stage = system_of("brain-diffuser-chosen-alphas").tokens(run)["image"]
    alphas = store.result(stage).json("fit")["alphas"]
    assert len(alphas) == store.result(run.targets("image")).array("test").shape[1]
    assert set(alphas) <= set(ALPHAS)


def test_the_best_of_brain_diffuser_s_draws_is_what_its_own_estimate_agrees_with(run):
    one, best = (system_of(f"brain-diffuser{end}").images(run) for end in ("-chosen-alphas", "-best"))
    assert (one.draws, one.chooser) == (1, None)
    assert best.key == replace(one, draws=run.profile.sampling.samples, chooser=best.image).key != one.key


def test_test_statistics_are_taken_where_the_system_s_name_says_so(run):
    plain, other = (system_of(f"brain-diffuser{end}") for end in ("", "-test-statistics"))
    ridges = {modality: stage.ridge for modality, stage in other.tokens(run).items()}
    assert ridges == plain.tokens(run)
    assert other.images(run).start.latents.ridge == plain.images(run).start.latents


def test_mindeye_shows_the_image_that_its_projector_agrees_with(run, store):
    made = mindeye.images(run, 3, "mindeye")
    result = store.result(made)
    assert result.array("samples").shape[:2] == (10, 3) == result.array("agreement").shape
    best = result.array("agreement").argmax(1)
    np.testing.assert_array_equal(result.array("chosen"), result.array("samples")[np.arange(10), best])
    projected = np.array(store.result(made.chooser).array("test"), np.float32).reshape(10, -1)
    seen = run.encoder.load().image_tokens(np.array(result.array("samples")[4])).flatten(1).numpy()
    cosine = seen @ projected[4] / np.linalg.norm(seen, axis=1) / np.linalg.norm(projected[4])
    np.testing.assert_allclose(result.array("agreement")[4], cosine, atol=1e-4)


def test_one_sample_of_mindeye_shares_its_trainings_and_first_image(run, store):
    one, best = system_of("mindeye-one").images(run), system_of("mindeye").images(run)
    assert (one.image, one.start) == (best.image, best.start) and (one.draws, best.draws) == (1, 16)
    assert one.chooser is None and one.settings.text_mix == 0
    three = mindeye.images(run, 3, "x")
    # one level: sums of another batch are added in another order
    first, same = (
        np.array(images, np.int16)
        for images in (store.result(one).array("chosen"), store.result(three).array("samples")[:, 0])
    )
    assert np.abs(first - same).max() <= 1 and (first == same).mean() > 0.99


def test_mindeye_s_samples_differ_and_find_images_of_the_corpus(run, store):
    three = mindeye.MindEyeSamples(mindeye.training(run), 0, 3)
    drawn = np.array(store.result(three).array("test"), np.float32)
    goals = store.result(run.targets("image")).array("test")
    assert drawn.shape == (10, 3, *goals.shape[1:]) and not np.allclose(drawn[:, 0], drawn[:, 1])
    again = mindeye.MindEyeSamples(mindeye.training(run), 0, 2)
    np.testing.assert_array_equal(store.result(again).array("test"), store.result(three).array("test")[:, :2])


@pytest.mark.parametrize("name", ["mindeye", "gu"])
def test_systems_of_image_tokens_alone_are_scored_by_what_they_find(run, store, name):
    images, tokens = stages_of(run, finding(system_of(name)))
    assert {"clip", "lite0_late"} <= set(store.result(images).json("values"))
    values = store.result(tokens).json("values")
    assert {"image_retrieval", "brain_retrieval"} <= set(values) and not any(one.startswith("text") for one in values)
    assert store.result(tokens).json("chance")["image_retrieval"] == 1 / 10


def test_mind_reader_makes_tokens_of_embeddings(run, store):
    for modality, stage in system_of("mind-reader").tokens(run).items():
        result, goals = store.result(stage), store.result(run.targets(modality))
        assert result.array("test").shape == goals.array("test").shape
        np.testing.assert_allclose(np.linalg.norm(result.array("embeddings"), axis=1), 1, atol=1e-5)
    assert store.result(system_of("mind-reader").images(run)).array("samples").shape[:2] == (10, 1)


def test_the_map_from_embeddings_to_tokens_keeps_the_embedding_of_an_image(run, store):
    token_map = system_of("mind-reader").tokens(run)["image"].tokens
    ridge, mean, spread = token_map.load(store)
    goals = np.array(store.result(run.targets("image")).array("test"))
    made = ridge.predict((goals[:, 0] - mean) / spread)
    # 40 pairs cannot fix 128 numbers, yet token 0, which is the embedding, is found best
    errors = np.square(made - goals).mean((0, 2)) / goals.var(0).mean(-1)
    assert errors[0] < np.median(errors)


def test_the_map_s_alphas_are_chosen_on_estimates_of_validation_images(run, store):
    stage = system_of("mind-reader").tokens(run)["image"].tokens
    ridge, mean, spread = stage.load(store)
    estimated, real = stage._validation(store)
    assert len(real) == SMALL["split__validation"]
    cache, items = corpus_tokens(stage.corpus, stage.encoder, store), np.arange(40)
    tokens = cache.tokens_of(items, "image").numpy()
    seen = [(tokens[:, 0] - mean) / spread, (estimated - mean) / spread]
    fits = [ScikitRidge(alpha).fit(seen[0], tokens.reshape(40, -1)).predict(seen[1]) for alpha in MAP_ALPHAS]
    errors = [np.square(fit.reshape(real.shape) - real).mean((0, 2)) for fit in fits]
    np.testing.assert_allclose(ridge.alphas, np.array(MAP_ALPHAS)[np.argmin(errors, 0)])


def test_caption_embeddings_are_means_over_an_image_s_captions(run, store):
    stage = system_of("mind-reader").tokens(run)["text"].training.embeddings
    found = store.result(stage).array("train")
    captions = run.images.captions(store, "train")[3]
    mean = run.encoder.load().pooled_texts(captions).numpy().mean(0)
    np.testing.assert_allclose(found[3], mean / np.linalg.norm(mean), atol=1e-5)


def test_gu_sees_the_voxels_that_vertices_have(run, store):
    made = system_of("gu").images(run)
    voxel, levels = made.image.training.surface.surface(store, 2)
    prepared = run.betas.prepared(store)
    assert len(voxel) == len(levels[0].rings) and set(voxel) <= set(range(len(prepared.voxel_index)))
    assert len(set(voxel)) > len(prepared.voxel_index) / 2
    result = store.result(made)
    assert result.array("samples").shape[:2] == (10, run.profile.sampling.samples)
    assert made.chooser == made.image and made.settings.text_mix == 0


def test_every_image_s_noise_is_its_own_whatever_is_made_with_it():
    every = noise_seeds(2, np.arange(7), 3)
    assert len(set(every)) == 21 and noise_seeds(2, np.arange(4, 6), 3) == every[12:18]
    assert not set(every) & set(noise_seeds(1, np.arange(7), 3))


def test_a_modality_that_is_not_there_has_no_share(run):
    how = run.generator, run.encoder, run.profile.generation, 1, 0, "x"
    with pytest.raises(ValueError, match="'text_mix' of 'x' must be 1.0 where there are no image tokens"):
        PeerImages(None, run.targets("text"), None, 1.0, None, *how)
    with pytest.raises(ValueError, match="neither image nor text tokens"):
        PeerImages(None, None, None, 1.0, None, *how)
