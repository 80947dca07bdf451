"""The sampling loop against the plain one, and what it must not depend on."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from brainram_lib.generation import sampling
from brainram_lib.generation.dual_unet import DualGuidedUNet
from brainram_lib.generation.sampling import SCHEDULERS, denoise, denoise_reference, generate, generate_reference
from brainram_lib.generation.versatile_diffusion import VersatileDiffusion

IMAGE_TOKENS, TEXT_TOKENS = (5, 12), (7, 20)
UNET = {
    "in_channels": 3,
    "out_channels": 3,
    "sample_size": (8, 6),
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}
VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "block_out_channels": (8, 8),
    "layers_per_block": 1,
    "latent_channels": 3,
    "norm_num_groups": 4,
}


@pytest.fixture(scope="module")
def model() -> VersatileDiffusion:
    return VersatileDiffusion.random(IMAGE_TOKENS, TEXT_TOKENS, unet_config=UNET, vae_config=VAE)


def tokens(count: int = 3) -> dict:
    generator = torch.Generator().manual_seed(1)
    shapes = {
        "image_tokens": (count, *IMAGE_TOKENS),
        "text_tokens": (count, *TEXT_TOKENS),
        "null_image_tokens": (1, *IMAGE_TOKENS),
        "null_text_tokens": (1, *TEXT_TOKENS),
    }
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def in_latents(model, given, name, scale, second=None, share=0.0):
    """Latents by the fast path, one batch."""
    settings = sampling.Guidance(given["null_image_tokens"], given["null_text_tokens"], 0.3, scale, 4, name, 1.0, share)
    noise = sampling.noise_for(model, 5, range(len(given["image_tokens"])))
    return denoise(model, sampling.Stimuli(given["image_tokens"], given["text_tokens"], noise, None, second), settings)


def one_by_one(model, given, name, scale, second=None, share=0.0):
    """Latents by the plain loop, one stimulus at a time."""
    rows = [slice(row, row + 1) for row in range(len(given["image_tokens"]))]
    latents = [
        denoise_reference(
            model,
            (given["image_tokens"][row], given["text_tokens"][row]),
            (given["null_image_tokens"], given["null_text_tokens"]),
            sampling.noise_for(model, 5, range(row.start, row.stop)),
            (0.3, scale, 4, name),
            None if second is None else (second[row], share),
        )
        for row in rows
    ]
    return torch.cat(latents)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_one_pass_of_a_batch_equals_two_passes_of_one_stimulus(model, name):
    given = tokens()
    fast, plain = in_latents(model, given, name, 2.5), one_by_one(model, given, name, 2.5)
    torch.testing.assert_close(fast, plain, atol=1e-3, rtol=1e-3)


@pytest.fixture
def second():
    return torch.randn(3, *IMAGE_TOKENS, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_two_images_guide_by_a_prediction_each(model, second, scale):
    given = tokens()
    fast = in_latents(model, given, "unipc", scale, second, 0.3)
    torch.testing.assert_close(fast, one_by_one(model, given, "unipc", scale, second, 0.3), atol=1e-3, rtol=1e-3)
    assert not torch.allclose(fast, in_latents(model, given, "unipc", scale), atol=1e-2)


def test_the_second_images_share_runs_from_none_to_all(model, second):
    given = tokens()
    alone = in_latents(model, given, "ddim", 2.0)
    assert torch.equal(in_latents(model, given, "ddim", 2.0, second, 0.0), alone)
    other = in_latents(model, {**given, "image_tokens": second}, "ddim", 2.0)
    torch.testing.assert_close(in_latents(model, given, "ddim", 2.0, second, 1.0), other, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="second_share must lie in"):
        generate(model, **given, second_image_tokens=second, second_share=1.2)
    with pytest.raises(ValueError, match="one of the second image tokens for each of 3"):
        generate(model, **given, second_image_tokens=second[:2])


def test_pictures_equal_the_reference_and_ignore_the_batch(model):
    given = tokens()
    settings = {"text_mix": 0.4, "guidance_scale": 3.0, "steps": 3, "seed": 7}
    pictures = [generate(model, **given, **settings, batch_size=size) for size in (1, 2, 8)]
    pictures.append(generate_reference(model, **given, **settings))
    assert pictures[0].shape == (3, 16, 12, 3) and pictures[0].dtype == np.uint8
    for other in pictures[1:]:
        assert np.abs(pictures[0].astype(int) - other).max() <= 1


def test_guidance_one_is_the_conditional_prediction(model):
    given = tokens()
    other_null = {**given, "null_image_tokens": torch.zeros(1, *IMAGE_TOKENS)}
    assert torch.equal(in_latents(model, given, "ddim", 1.0), in_latents(model, other_null, "ddim", 1.0))
    assert not torch.equal(in_latents(model, given, "ddim", 2.0), in_latents(model, other_null, "ddim", 2.0))


def test_seeds_belong_to_rows(model):
    given = tokens(2)
    twice = {name: value[:1].expand(2, -1, -1) for name, value in given.items() if "null" not in name}
    given |= twice
    same = generate(model, **given, steps=2, seed=[3, 3])
    assert np.array_equal(same[0], same[1])
    different = generate(model, **given, steps=2, seed=3)
    assert not np.array_equal(different[0], different[1])


@pytest.mark.parametrize("name", SCHEDULERS)
def test_strength_runs_from_the_start_image_to_the_tokens(model, name):
    given = tokens()
    start = np.random.default_rng(0).integers(0, 256, (3, 16, 12, 3), np.uint8)
    kept = generate(model, **given, start_images=start, strength=0.0, steps=4, scheduler=name)
    assert np.array_equal(kept, model.decode(model.encode(start)))
    far = [
        np.abs(kept.astype(float) - generate(model, **given, start_images=start, strength=s, steps=8, scheduler=name))
        for s in (0.25, 1.0)
    ]
    assert 0 < far[0].mean() < far[1].mean()


class Oracle(torch.nn.Module):
    """A denoiser that knows the one picture there is, so every right sampler must end at it. It predicts velocity."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, replaced: DualGuidedUNet, schedule: dict, truth: torch.Tensor) -> None:
        super().__init__()
        self.unet, self.config, self.latent_channels = replaced.unet, replaced.config, replaced.latent_channels
        self.truth = truth
        self.signal = DDIMScheduler(**schedule).alphas_cumprod

    def forward(self, latents, time, *_):
        share, truth = self.signal[int(time)], torch.cat([self.truth] * 2)
        noise = (latents - share.sqrt() * truth) / (1 - share).sqrt()
        return share.sqrt() * noise - (1 - share).sqrt() * truth


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_an_oracle_is_followed_to_the_truth(name, strength):
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    schedule |= {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    model = VersatileDiffusion.random(IMAGE_TOKENS, TEXT_TOKENS, unet_config=UNET, vae_config=VAE)
    truth = 2 * torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(3))
    model.unet, model.scheduler_config = Oracle(model.unet, schedule, truth), schedule
    given, noise = tokens(2), sampling.noise_for(model, 5, range(2))
    start = None if strength == 1 else torch.zeros_like(truth)
    stimuli = sampling.Stimuli(given["image_tokens"], given["text_tokens"], noise, start)
    settings = sampling.Guidance(given["null_image_tokens"], given["null_text_tokens"], 0.3, 2.0, 5, name, strength)
    torch.testing.assert_close(denoise(model, stimuli, settings), truth, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scheduler": "euler"}, "'scheduler' must be one of ddim, dpm.., unipc. 'euler' was provided"),
        ({"strength": 1.5}, r"strength must lie in \[0, 1\], got 1.5"),
        ({"strength": 0.5}, "strength 0.5 needs start images"),
        ({"seed": [1, 2]}, "one of the seeds for each of 3 pictures is needed, got 2"),
        ({"steps": 0}, "steps and batch_size must be at least 1, got 0"),
        ({"text_tokens": torch.zeros(2, *TEXT_TOKENS)}, "a row for each picture, got 3 and 2"),
        ({"text_mix": -0.1}, r"text_mix must lie in \[0, 1\]"),
    ],
)
def test_bad_settings_are_named(model, change, message):
    with pytest.raises(ValueError, match=message):
        generate(model, **{**tokens(), **change})
