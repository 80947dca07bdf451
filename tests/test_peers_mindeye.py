"""MindEye's networks and trainings at tiny sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from brainram_lib.core import loop
from brainram_lib.core.devices import seeded
from brainram_lib.core.rows import Rows
from brainram_lib.peers.low_level import LowLevel, train_low_level
from brainram_lib.peers.mindeye import MindEye, PriorNetwork, posterior, schedule
from brainram_lib.peers.mindeye_training import (
    mindeye_loss,
    mixed_betas,
    mixed_epochs,
    prior_error,
    soft_temperature,
    train_mindeye,
)
from brainram_lib.peers.pairs import Pairs, Trialwise
from brainram_lib.peers.settings import LowLevelSettings, MindEyeSettings

SETTINGS = MindEyeSettings(
    hidden=9, blocks=1, projector_hidden=6, prior_depth=1, prior_heads=2, times=10, epochs=3, batch=5
)
IMAGES, VOXELS, TOKENS, WIDTH = 17, 11, 3, 8


@pytest.fixture
def pairs():
    random = np.random.default_rng(0)
    betas, tokens = random.standard_normal((IMAGES, VOXELS)), random.standard_normal((IMAGES, TOKENS, WIDTH))
    rows = Rows(betas.astype(np.float32)), Rows(tokens.astype(np.float32))
    return Pairs(*rows), Pairs(*(one[:4] for one in rows))


@pytest.fixture
def model():
    with seeded(0):
        return MindEye(SETTINGS, VOXELS, TOKENS, WIDTH)


def test_a_dropped_condition_has_no_say_and_a_kept_one_has():
    network = PriorNetwork(SETTINGS, TOKENS, WIDTH).eval()
    noisy, time = torch.randn(4, TOKENS, WIDTH), torch.tensor([1, 5, 9, 9])
    condition, other = torch.randn(4, TOKENS, WIDTH), torch.randn(4, TOKENS, WIDTH)
    dropped = torch.tensor([True, False, True, False])
    first, second = (network(noisy, time, one, dropped) for one in (condition, other))
    torch.testing.assert_close(first[dropped], second[dropped])
    assert not torch.isclose(first[~dropped], second[~dropped]).all(-1).any()
    nothing = network(noisy, time, network.nothing.expand(4, -1, -1))
    torch.testing.assert_close(first[dropped], nothing[dropped])
    torch.testing.assert_close(network(noisy, time, condition)[~dropped], first[~dropped])


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_the_condition_is_dropped_for_a_share_of_the_rows(share, monkeypatch):
    settings, count = replace(SETTINGS, condition_dropout=share), 4000
    model = MindEye(settings, VOXELS, TOKENS, WIDTH)
    seen = []
    monkeypatch.setattr(PriorNetwork, "forward", lambda self, x, time, condition, dropped: seen.append(dropped) or x)
    tokens = torch.zeros(count, TOKENS, WIDTH)
    prior_error(model, tokens, tokens, torch.Generator().manual_seed(1))
    assert float(seen[0].float().mean()) == pytest.approx(share, abs=0.02)


def test_the_prior_needs_heads_that_divide_the_width():
    with pytest.raises(ValueError, match="'prior_heads' must divide the tokens' width 8. 3 was provided"):
        PriorNetwork(replace(SETTINGS, prior_heads=3), TOKENS, WIDTH)


@pytest.mark.parametrize("time", [1, 6, 9])
def test_a_step_back_is_diffusers_own(time):
    steps = DDPMScheduler(10, beta_schedule="squaredcos_cap_v2", prediction_type="sample", clip_sample=False)
    x, x0 = torch.randn(2, TOKENS, WIDTH), torch.randn(2, TOKENS, WIDTH)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    steps.set_timesteps(10)
    expected = steps.step(x0, time, x, generator=torch.Generator().manual_seed(3)).prev_sample
    torch.testing.assert_close(posterior(schedule(10).alphas_cumprod, x, x0, time, noise), expected)


def test_a_prior_that_knows_x_0_samples_it(model, monkeypatch):
    known = torch.randn(5, TOKENS, WIDTH)
    monkeypatch.setattr(PriorNetwork, "forward", lambda self, x, time, condition: known * model.scale)
    torch.testing.assert_close(model.sample(torch.randn(5, VOXELS), 0), known)


def test_mixed_betas_lie_between_their_parents():
    betas = torch.randn(600, VOXELS)
    mixed, partner, share = mixed_betas(betas, SETTINGS, torch.Generator().manual_seed(0))
    torch.testing.assert_close(mixed, share[:, None] * betas + (1 - share)[:, None] * betas[partner])
    assert float((share == 1).float().mean()) == pytest.approx(0.5, abs=0.08)
    alone, _, share = mixed_betas(betas, replace(SETTINGS, mixed_rows=0.0), torch.Generator())
    torch.testing.assert_close(alone, betas)


def test_the_first_third_of_the_epochs_is_mixed_and_the_temperature_rises_after_it():
    settings = replace(SETTINGS, epochs=12)
    assert mixed_epochs(settings) == 4
    rising = [soft_temperature(settings, epoch) for epoch in range(4, 12)]
    assert rising == sorted(rising) and rising[0] == settings.soft_from and rising[-1] == pytest.approx(0.0075)


def test_the_loss_is_contrast_and_thirty_times_the_prior_s_error(model):
    random = torch.Generator().manual_seed(0)
    betas, tokens = torch.randn(6, VOXELS), torch.randn(6, TOKENS, WIDTH)
    loss, parts = mindeye_loss(model, betas, tokens, random)
    assert loss.item() == pytest.approx(parts["contrast"] + 30 * parts["prior"], rel=1e-5)
    loss.backward()
    assert all(weight.grad is not None for weight in model.parameters())


def test_training_resumes_to_the_same_weights_and_knows_its_epoch(pairs, tmp_path, monkeypatch):
    whole, history = train_mindeye(SETTINGS, *pairs, tmp_path / "whole", 3)
    assert len(history) == SETTINGS.epochs and int(whole.epoch) == SETTINGS.epochs
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    save, count = loop.save_checkpoint, [0]

    def stopped(*arguments):
        save(*arguments)
        count[0] += 1
        if count[0] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_checkpoint", stopped)
    (tmp_path / "parts").mkdir()
    with pytest.raises(KeyboardInterrupt):
        train_mindeye(SETTINGS, *pairs, tmp_path / "parts", 3)
    again, _ = train_mindeye(SETTINGS, *pairs, tmp_path / "parts", 3)
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def test_a_batch_larger_than_the_images_is_named(pairs, tmp_path):
    with pytest.raises(ValueError, match="'batch' must be at most the 17 training images. 18 was provided"):
        train_mindeye(replace(SETTINGS, batch=18), *pairs, tmp_path, 0)


def test_each_image_is_shown_through_one_of_its_own_trials():
    shown = np.array([0, 0, 0, 1, 2, 2])
    trials = Trialwise.of(shown, 3)
    random, images = torch.Generator().manual_seed(0), torch.arange(3).repeat(200)
    rows = trials.drawn(images, random)
    assert torch.equal(torch.from_numpy(shown)[rows], images) and len(rows.unique()) == len(shown)
    with pytest.raises(ValueError, match="'shown' must name each of 4 images once or more"):
        Trialwise.of(shown, 4)


def test_the_low_level_pipeline_learns_latents_of_its_shape(tmp_path):
    settings = LowLevelSettings(hidden=9, blocks=1, channels=4, side=2, epochs=2, batch=5)
    random = torch.Generator().manual_seed(0)
    latents = torch.randn(IMAGES, 3, 8, 8, generator=random)
    pairs = Pairs(torch.randn(IMAGES, VOXELS, generator=random), latents)
    model, history = train_low_level(settings, pairs, pairs, tmp_path, 0)
    assert model.predict(pairs.betas).shape == latents.shape
    assert history[-1]["val_loss"] < history[0]["val_loss"]


@pytest.mark.parametrize(("shape", "side"), [((3, 8, 8), 3), ((3, 8, 6), 2), ((3, 4, 4), 8)])
def test_sizes_that_do_not_double_up_to_the_latent_are_named(shape, side):
    with pytest.raises(ValueError, match="'side' of LowLevelSettings times 2, 4, 8"):
        LowLevel(LowLevelSettings(side=side), VOXELS, shape)
