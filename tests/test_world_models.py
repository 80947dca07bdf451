"""The shipped mini models do what they are for, and their recipes run and resume."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from brainram_lib.core.whitening import TokenWhitening
from brainram_lib.encoders import ClipTokens
from brainram_lib.evaluation.identification import BRAINS, IMAGES, found_first
from brainram_lib.recipes import autoencoder, clip
from brainram_lib.recipes.curriculum import PHASES, Material, drawn_batch, route
from brainram_lib.recipes.degrade import Faults, Spectrum, corrupted
from brainram_lib.recipes.generator import encoded, noise_times
from brainram_lib.recipes.material import CaptionsOfSet, captions_of_set, object_counts
from brainram_lib.recipes.recall import Recall
from brainram_lib.recipes.report import REPORT_SET
from brainram_lib.recipes.training import Budget, Paused, run, scheduled_rate
from brainram_lib.world import mini_clip
from brainram_lib.world.captions import captions_of
from brainram_lib.world.scenes import render, scene_of

PAIRS = 300


@pytest.fixture(scope="module")
def pictures():
    return np.stack([render(scene_of(REPORT_SET, index)) for index in range(PAIRS)])


def test_the_shipped_clip_finds_captions_and_pictures(pictures):
    captions = [captions_of(scene_of(REPORT_SET, index), REPORT_SET, index)[0] for index in range(PAIRS)]
    encoder = ClipTokens.mini()
    similarity = (encoder.pooled_images(pictures) @ encoder.pooled_texts(captions).T).numpy()
    assert found_first(similarity, IMAGES).mean() > 0.55
    assert found_first(similarity, BRAINS).mean() > 0.55


def test_the_shipped_autoencoder_keeps_pictures(pictures):
    from diffusers import AutoencoderKL

    folder = autoencoder.ASSETS
    model = AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32, local_files_only=True).eval()
    assert autoencoder.psnr(model, pictures[:60]) > 23.5


def test_only_the_decoder_is_trained_on(tmp_path, monkeypatch):
    from diffusers import AutoencoderKL

    shutil.copytree(autoencoder.ASSETS, tmp_path / "vae")
    monkeypatch.setattr(autoencoder, "ASSETS", tmp_path / "vae")
    monkeypatch.setattr(autoencoder, "HELD_OUT", 6)
    config = json.loads((tmp_path / "vae/config.json").read_text())
    before = AutoencoderKL.from_pretrained(tmp_path / "vae", local_files_only=True).state_dict()
    autoencoder.train_decoder(tmp_path, scenes=autoencoder.HELD_OUT + 4, budget=Budget(2, 60, 1e-2), batch=2)
    after = AutoencoderKL.from_pretrained(tmp_path / "vae", local_files_only=True).state_dict()
    changed = {name.split(".")[0] for name, weight in after.items() if not torch.equal(weight, before[name])}
    assert changed == {"decoder", "post_quant_conv"}
    # no folder of the machine that trained it, and the generator's latents keep their scale
    written = json.loads((tmp_path / "vae/config.json").read_text())
    assert {name: value for name, value in written.items() if name != "_diffusers_version"} == config


def test_the_tokeniser_keeps_what_is_in_use_and_pads_with_the_end():
    tokenizer = mini_clip.CompactTokenizer(clip.pieces_in_use([["a red car"]]), context_length=7)
    ids = tokenizer(["a red car", "a red zeppelin", "a " * 20])
    start, end = tokenizer.vocab_size - 2, tokenizer.vocab_size - 1
    assert ids[0].tolist()[0] == start and ids[0].tolist()[-3:] == [end] * 3
    assert 0 in ids[1].tolist(), "an unknown piece is 0"
    assert ids.shape == (3, 7) and (ids[:, -1] == end).all()


def spectrum_and_tokens(count):
    """Tokens whose features have variances 9, 1, 0.09 and 0.01, and their spectrum."""
    tokens = torch.randn(count, 5, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 1, 0.3, 0.1]) + 7
    whitening = TokenWhitening(5, 4).fit(tokens, floor=1e-5)
    return Spectrum.of(whitening.mean, whitening.matrix), tokens


def test_a_spectrum_is_read_from_a_whitening():
    spectrum, _ = spectrum_and_tokens(4000)
    order = spectrum.directions.abs().argmax(0)
    torch.testing.assert_close(
        spectrum.variances[order.argsort()], torch.tensor([9, 1, 0.09, 0.01]) / 9, rtol=0.1, atol=0
    )
    assert spectrum.mean.allclose(torch.tensor(7.0), atol=0.2)


def test_spoilt_tokens_are_an_expectation_that_knows_less_of_small_directions():
    spectrum, tokens = spectrum_and_tokens(1500)
    only = Faults(clean=0, reliability=(0.5, 0.5), falloff=(0.25, 0.25), error=(1.0, 1.0))
    bad, true = (
        ((x - spectrum.mean) @ spectrum.directions).flatten(0, 1)
        for x in (corrupted(tokens, spectrum, torch.Generator().manual_seed(1), only), tokens)
    )
    wanted = 0.5 * spectrum.variances**0.25
    gain = (bad * true).mean(0) / true.square().mean(0)
    torch.testing.assert_close(gain, wanted, atol=0.05, rtol=0)
    error = (bad - gain * true).square().mean(0) / true.square().mean(0)
    torch.testing.assert_close(error, wanted * (1 - wanted), atol=0.03, rtol=0)


def test_a_share_of_tokens_stays_clean():
    spectrum, tokens = spectrum_and_tokens(400)
    same = (corrupted(tokens, spectrum, torch.Generator().manual_seed(0), Faults(clean=0.3)) == tokens).all(dim=(1, 2))
    assert 0.2 < same.float().mean() < 0.4


def test_the_noisy_times_are_trained_most():
    times = noise_times(4000, torch.Generator().manual_seed(0))
    assert times.min() >= 0 and times.max() == 999
    assert 0.65 < (times > 500).float().mean() < 0.77


def test_every_route_is_trained():
    random = torch.Generator().manual_seed(0)
    for phase in PHASES:
        drawn = [route(phase, random) for _ in range(500)]
        assert 0.0 in drawn and 1.0 in drawn and all(0 <= mix <= 1 for mix in drawn)
        assert any(0 < mix < 1 for mix in drawn)


def drawn(phase, step, progress=1.0, batch=400, text_share=0.5, device=None):
    """A batch of a step from 500 scenes whose tokens hold nothing but their number; the first ten show one object."""
    rows = np.arange(500, dtype=np.float32)
    tokens = np.broadcast_to(rows[:, None, None], (500, 5, 4)) + 1000
    spectrum, _ = spectrum_and_tokens(10)
    nulls = torch.zeros(5, 4), torch.zeros(5, 4)
    covers = np.broadcast_to((rows % 2)[:, None, None], (500, 4, 4))
    latents = np.broadcast_to(rows[:, None, None, None], (500, 2, 4, 4))
    recall = Recall.of(tokens, tokens, (spectrum, spectrum))
    material = Material(latents, covers, tokens, tokens, nulls, (spectrum, spectrum), recall, torch.arange(10))
    if device is not None:
        material = material.to(device)
    random = torch.Generator().manual_seed(step)
    return drawn_batch(material, replace(phase, batch=batch), progress, text_share, random)


def test_a_step_draws_scenes_that_are_not_held_out_and_the_same_again():
    batch, again, other = drawn(PHASES[0], 3), drawn(PHASES[0], 3), drawn(PHASES[0], 4)
    assert batch.latents.max() < 200
    assert torch.equal(batch.latents, again.latents) and torch.equal(batch.image, again.image)
    assert not torch.equal(batch.latents, other.latents)


def test_material_held_as_tensors_gives_the_batches_of_material_in_files():
    for phase in PHASES:
        batch, held = drawn(phase, 3, text_share=1.0), drawn(phase, 3, text_share=1.0, device=torch.device("cpu"))
        for name in ("latents", "image", "text", "weight"):
            torch.testing.assert_close(getattr(held, name), getattr(batch, name))


def test_the_first_phase_begins_with_clean_tokens_of_both_kinds_nulled_together():
    batch = drawn(PHASES[0], 0, progress=0.0)
    nulled = (batch.image == 0).all(dim=(1, 2))
    torch.testing.assert_close(nulled, (batch.text == 0).all(dim=(1, 2)))
    assert 0.03 < nulled.float().mean() < 0.15
    torch.testing.assert_close(batch.image[~nulled][:, 0, 0], batch.latents[~nulled][:, 0, 0, 0] + 1000)


def test_the_second_phase_spoils_image_tokens_more_often_than_words_and_counts_objects_more():
    batch = drawn(PHASES[1], 0)
    shown = (batch.image != 0).any(dim=(1, 2))
    clean = [
        (tokens[shown][:, 0, 0] == batch.latents[shown][:, 0, 0, 0] + 1000).float().mean()
        for tokens in (batch.image, batch.text)
    ]
    assert clean[0] < clean[1]
    odd = batch.latents[:, 0] % 2 == 1
    assert (batch.weight[odd] == PHASES[1].object_weight).all() and (batch.weight[~odd] == 1).all()


def test_the_last_phase_mostly_paints_from_words_alone():
    random = torch.Generator().manual_seed(0)
    alone = [np.mean([route(phase, random) == 1.0 for _ in range(1000)]) for phase in PHASES]
    assert alone[2] > 0.6 > max(alone[:2]) and sum(phase.share for phase in PHASES) == pytest.approx(1)


def test_half_of_a_step_from_words_alone_shows_one_object_in_the_last_phase():
    shares = [(drawn(phase, 2, text_share=1.0).latents[:, 0, 0, 0] < 10).float().mean().item() for phase in PHASES]
    assert shares[2] > 0.4 and max(shares[:2]) < 0.15
    assert (drawn(PHASES[2], 2, text_share=0.5).latents[:, 0, 0, 0] < 10).float().mean() < 0.15


def test_an_interrupted_recipe_goes_on_where_it_stopped(tmp_path):
    def training(steps, stop=None):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        optimizer = torch.optim.AdamW(model.parameters())
        done = []
        for step, _ in run(Budget(steps, 60, 1e-2), model, optimizer, tmp_path / "x.safetensors", "test"):
            done.append(step)
            optimizer.zero_grad()
            model(torch.ones(1, 3)).square().sum().backward()
            optimizer.step()
            if stop is not None and step == stop:
                break
        return done

    assert training(4) == [0, 1, 2, 3]
    assert training(7) == [4, 5, 6]


def test_a_recipe_pauses_at_its_time_and_goes_on(tmp_path):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    whole = Budget(6, 60, 1e-2, until=0.0)
    assert whole.part(0.5, 0.1).until == 0.0 and whole.part(0.5, 0.1).steps == 3
    for expected in range(6):
        steps = run(whole, model, optimizer, tmp_path / "x.safetensors", "test")
        assert next(steps)[0] == expected
        with pytest.raises(Paused, match=f"test: step {expected + 1}, "):
            next(steps)
    assert list(run(whole, model, optimizer, tmp_path / "x.safetensors", "test")) == []


def test_captions_are_written_when_they_are_asked_for(tmp_path):
    late = CaptionsOfSet("models", 5)
    assert len(late) == 5 and late[1:3] == captions_of_set("models", 5)[1:3]
    counts = object_counts("models", 5, tmp_path / "counts.npy")
    assert counts.tolist() == [len(scene_of("models", index).objects) for index in range(5)]


def test_the_rate_warms_up_and_falls_to_zero():
    budget = Budget(1000, 60, 0.5)
    assert scheduled_rate(budget, 0, 0.0) < scheduled_rate(budget, 99, 0.0) == 0.5
    assert scheduled_rate(budget, 999, 1.0) == pytest.approx(0)


def test_a_clip_with_finer_patches_starts_from_the_coarse_one():
    torch.manual_seed(0)
    coarse, fine = mini_clip.build(20, 16).eval(), mini_clip.build(20, 8)
    fine.load_state_dict(clip.with_finer_patches(coarse.state_dict(), 2))
    colours = torch.rand(2, 3, 1, 1).expand(-1, -1, 64, 64)
    of_patch = [model.visual.conv1(colours) for model in (coarse, fine)]
    assert of_patch[1].shape[2:] == (8, 8)
    torch.testing.assert_close(of_patch[1][..., :4, :4], of_patch[0])
    places = fine.visual.positional_embedding[1:].unflatten(0, (8, 8))
    inner = coarse.visual.positional_embedding[1:].unflatten(0, (4, 4))
    torch.testing.assert_close(
        places[1, 1],
        0.25 * (0.75 * 3 * inner[0, 0] + 0.25 * 3 * inner[0, 1]) + 0.25 * (0.75 * inner[1, 0] + 0.25 * inner[1, 1]),
    )


def test_the_phases_of_the_clip_end_at_the_shipped_size(tmp_path, monkeypatch):
    monkeypatch.setattr(clip, "ASSETS", tmp_path / "assets")
    monkeypatch.setattr(clip, "HELD_OUT", 20)
    monkeypatch.setattr(clip, "BATCH", 8)
    clip.train(tmp_path, scenes=60, budget=Budget(steps=4, minutes=10, peak_rate=1e-3))
    model, _ = mini_clip.load(tmp_path / "assets")
    assert model.visual.grid_size == (8, 8)
    assert sum(phase.share for phase in clip.PHASES) == pytest.approx(1)


def test_what_was_encoded_for_fewer_items_is_encoded_again(tmp_path):
    asked = []

    def encode(items):
        asked.append(len(items))
        return torch.tensor(items, dtype=torch.float32)

    for items in ([1, 2], [1, 2], [1, 2, 3]):
        np.testing.assert_array_equal(encoded(tmp_path / "tokens.npy", items, encode, "numbers"), items)
    assert asked == [2, 3]
