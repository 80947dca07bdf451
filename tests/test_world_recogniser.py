"""The recogniser of latents and the loss that uses it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from brainram_lib.recipes.curriculum import PHASES, Batch
from brainram_lib.recipes.generator import SCHEDULER, Diffused, phase_loss
from brainram_lib.recipes.material import categories_of_set
from brainram_lib.recipes.recogniser import Recogniser, moved_and_noised, train_recogniser
from brainram_lib.recipes.training import Budget
from brainram_lib.world.scenes import scene_of
from brainram_lib.world.vocabulary import category_names

CHANNELS = 3


def shapes(count, seed=0):
    """Noise with a bright bar somewhere: a lying one, a standing one, or both."""
    rng = np.random.default_rng(seed)
    latents = 0.1 * rng.normal(size=(count, CHANNELS, 8, 8)).astype(np.float32)
    labels = rng.random((count, 2)) < 0.5
    for picture, (lying, standing) in zip(latents, labels, strict=True):
        row, column = rng.integers(1, 7, 2)
        picture[:, row] += 2 * lying
        picture[:, :, column] += 2 * standing
    return latents, labels


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory):
    torch.manual_seed(0)
    return train_recogniser(tmp_path_factory.mktemp("work") / "made.safetensors", *shapes(400), Budget(60, 5.0, 2e-3))


def test_it_recognises_what_it_was_shown_wherever_it_stands(recogniser):
    latents, labels = shapes(100, seed=1)
    with torch.no_grad():
        found = recogniser(torch.from_numpy(latents)).numpy() > 0
    assert (found == labels).mean() > 0.9


def test_it_is_frozen(recogniser):
    assert not recogniser.training and not any(weight.requires_grad for weight in recogniser.parameters())


def test_a_bar_that_lies_is_further_from_one_that_stands_than_the_same_under_noise(recogniser):
    flat = torch.zeros(2, 1, CHANNELS, 8, 8)
    flat[0, :, :, 4], flat[1, :, :, :, 4] = 2.0, 2.0
    noisy = flat[0] + 0.1 * torch.randn(flat[0].shape, generator=torch.Generator().manual_seed(0))
    assert recogniser.distance(flat[0], flat[0]) == 0
    assert recogniser.distance(noisy, flat[0]) < 0.5 * recogniser.distance(flat[1], flat[0])


def test_the_gradient_reaches_what_was_made_alone(recogniser):
    made, true = (torch.from_numpy(shapes(4, seed)[0]).requires_grad_() for seed in (0, 1))
    recogniser.distance(made, true).backward()
    assert made.grad.abs().sum() > 0 and true.grad is None


def test_shifts_and_noise_are_small_and_drawn_again_from_their_seed():
    latents = torch.ones(50, CHANNELS, 8, 8)
    seen = [moved_and_noised(latents, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*seen)
    assert 0 < (seen[0] - latents).std() < 0.5


def test_latents_without_labels_are_refused(tmp_path):
    latents, labels = shapes(10)
    with pytest.raises(ValueError, match="the same scenes, got 10 and 9"):
        train_recogniser(tmp_path / "x.safetensors", latents, labels[:9])


def test_the_labels_are_the_scenes_categories(tmp_path):
    labels = categories_of_set("models", 20, tmp_path / "categories.npy")
    for index, row in enumerate(labels):
        assert {name for name, shown in zip(category_names(), row, strict=True) if shown} == set(
            scene_of("models", index).categories
        )


def diffused_batch():
    random = torch.Generator().manual_seed(0)
    latents = torch.from_numpy(shapes(6)[0])
    diffused = Diffused.of(latents, DDPMScheduler(**SCHEDULER), random)
    weight = 1 + torch.rand(6, 8, 8, generator=random)
    return Batch(latents, torch.zeros(6, 1, 1), torch.zeros(6, 1, 1), weight), diffused


def test_the_true_velocity_gives_back_the_clean_latents_and_no_loss(recogniser):
    batch, diffused = diffused_batch()
    torch.testing.assert_close(diffused.clean(diffused.velocity), batch.latents, atol=1e-4, rtol=0)
    loss, error = phase_loss(PHASES[-1], batch, diffused, diffused.velocity, recogniser)
    assert error == 0 and loss < 1e-3


def test_the_last_phase_adds_what_the_recogniser_misses(recogniser):
    batch, diffused = diffused_batch()
    wrong = diffused.velocity + 0.3
    weighted = (batch.weight[:, None] * (wrong - diffused.velocity) ** 2).mean() / batch.weight.mean()
    for phase in PHASES[:-1]:
        loss, error = phase_loss(phase, batch, diffused, wrong, recogniser)
        assert loss == error
        torch.testing.assert_close(error, weighted)
    once, _ = phase_loss(PHASES[-1], batch, diffused, wrong, recogniser)
    twice, _ = phase_loss(replace(PHASES[-1], recognised=2.0), batch, diffused, wrong, recogniser)
    assert once > weighted
    torch.testing.assert_close(twice - once, once - weighted)


def test_an_untrained_recogniser_has_features_of_every_scale():
    sizes = [tuple(part.shape[1:]) for part in Recogniser(6, 69).features(torch.zeros(1, 6, 16, 16))]
    assert sizes == [(64, 16, 16), (128, 8, 8), (128, 8, 8), (192, 4, 4), (192, 4, 4)]
