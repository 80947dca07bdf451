"""The mini generator's denoiser: Versatile Diffusion's dual-guided U-Net at a small size, trained on scenes.

Remade by `python -m brainram_lib world train-generator`, after the mini CLIP and the autoencoder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm.auto import tqdm

from brainram_lib.world.degrade import Faults, Spectrum, spoilt
from brainram_lib.world.material import captions_of_set, render_set
from brainram_lib.world.mini_autoencoder import LATENT_CHANNELS, to_signed
from brainram_lib.world.mini_clip import MATERIAL_SET
from brainram_lib.world.training import Budget, run

ASSETS = Path(__file__).parent / "assets" / "mini_generator"
HELD_OUT = 300
CHUNK = 500
SCHEDULER = {"num_train_timesteps": 1000, "beta_schedule": "scaled_linear", "prediction_type": "v_prediction"}
SCHEDULER |= {"beta_start": 0.00085, "beta_end": 0.012, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
# 16 x 16 latents folded to 8 x 8 positions: those of the 8 x 8 image tokens, one to one.
FOLD = 2
UNET = {
    "sample_size": 16 // FOLD,
    "in_channels": LATENT_CHANNELS,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "block_out_channels": (96, 160),
    "layers_per_block": 1,
    "norm_num_groups": 16,
    # diffusers reads this as the number of heads
    "attention_head_dim": 4,
}
# Shares of the training steps by route. Versatile Diffusion trains one route at a time, but reconstructions use both.
# Image tokens alone are soon learned, words alone are the hardest: they do not say where.
IMAGE_ALONE, TEXT_ALONE, BOTH = 0.12, 0.3, 0.58
# Share of the samples whose tokens are replaced by the null tokens, for classifier-free guidance.
NULLED = 0.08
# Share of samples with clean tokens: all at first, this many from a third of the training on; first learn to paint.
CLEAN, CLEAN_FALL = 0.35, 2.0
# Examples for the whitening of the tokens.
WHITENED = 12_000


@dataclass(frozen=True)
class Material:
    """What the denoiser trains on: scaled latents and both kinds of tokens of the same scenes."""

    latents: Float[np.ndarray, "n channels height width"]
    image_tokens: Float[np.ndarray, "n image_tokens width"]
    text_tokens: Float[np.ndarray, "n text_tokens width"]


Encode = Callable[[object], Tensor]


def encoded(path: Path, items: list | np.ndarray, encode: Encode, describe: str) -> Float[np.ndarray, "n ..."]:
    """`encode` applied to all items in chunks, kept in `path` as float16; computed once."""
    if path.exists():
        return np.load(path, mmap_mode="r")
    parts = [
        encode(items[start : start + CHUNK]).half().numpy()
        for start in tqdm(range(0, len(items), CHUNK), desc=describe, unit="chunk")
    ]
    partial = path.with_suffix(".partial.npy")
    np.save(partial, np.concatenate(parts))
    partial.replace(path)
    return np.load(path, mmap_mode="r")


def prepare_tokens(work: Path, scenes: int, images: Encode, texts: Encode) -> tuple[np.ndarray, np.ndarray]:
    """Image and text tokens of the models' scenes, from the encoder's two functions."""
    pictures = render_set(MATERIAL_SET, scenes, work / "models_scenes.npy")
    image_tokens = encoded(work / "image_tokens.npy", pictures, images, "image tokens")
    text_tokens = encoded(work / "text_tokens.npy", captions_of_set(MATERIAL_SET, scenes), texts, "text tokens")
    return image_tokens, text_tokens


@torch.no_grad()
def latents_of(vae: AutoencoderKL, images: UInt8[np.ndarray, "n height width 3"]) -> Float[Tensor, "n c h w"]:
    """Scaled latents of pictures."""
    parts = [vae.encode(part).latent_dist.mode() for part in to_signed(images).split(100)]
    return torch.cat(parts) * vae.config.scaling_factor


def route(random: torch.Generator) -> float:
    """The text's share of one training step's guidance: 0 image alone, 1 text alone, or a mix of both."""
    draw, mix = torch.rand(2, generator=random).tolist()
    return 0.0 if draw < IMAGE_ALONE else 1.0 if draw < IMAGE_ALONE + TEXT_ALONE else 0.2 + 0.6 * mix


def noise_times(batch: int, random: torch.Generator, count: int = 1000) -> Int64[Tensor, " batch"]:
    """Diffusion times of one training step, t = count (1 - u^2) with u uniform: more of the noisy ones.

    There the tokens decide what is painted; little noise is removed without them, and sampling spends few steps on it.
    """
    return (count * (1 - torch.rand(batch, generator=random).square())).long().clamp(max=count - 1)


def train_denoiser(
    work: Path,
    unet: nn.Module,
    material: Material,
    null_image: Tensor,
    null_text: Tensor,
    budget: Budget,
    batch: int = 32,
) -> nn.Module:
    """Train the denoiser on v-prediction: v = sqrt(a_t) eps - sqrt(1 - a_t) x_0, squared error over the batch."""
    unet.to(memory_format=torch.channels_last)
    schedule = DDPMScheduler(**SCHEDULER)
    random = torch.Generator().manual_seed(0)
    fitted = unet.whitening["image"], unet.whitening["text"]
    image_spectrum, text_spectrum = (Spectrum.of(whitening.mean, whitening.matrix) for whitening in fitted)
    optimizer = torch.optim.AdamW(unet.parameters(), betas=(0.9, 0.99), weight_decay=1e-2, fused=True)
    count = len(material.latents) - HELD_OUT
    average = None
    for step, bar in run(budget, unet, optimizer, work / "denoiser.safetensors", "mini generator"):
        rows = torch.randint(count, (batch,), generator=random).numpy()
        latents, image, text = (
            torch.from_numpy(np.asarray(part[rows], dtype=np.float32))
            for part in (material.latents, material.image_tokens, material.text_tokens)
        )
        faults = Faults(clean=max(CLEAN, 1 - CLEAN_FALL * bar.n / bar.total))
        image, text = spoilt(image, image_spectrum, random, faults), spoilt(text, text_spectrum, random, faults)
        nulled = torch.rand(batch, 1, 1, generator=random) < NULLED
        image, text = torch.where(nulled, null_image, image), torch.where(nulled, null_text, text)
        t = noise_times(batch, random)
        noise = torch.randn(latents.shape, generator=random)
        noisy, velocity = schedule.add_noise(latents, noise, t), schedule.get_velocity(latents, noise, t)
        # plain attention: for so few positions the backward pass of the fused kernel takes a third of a step on a CPU
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            predicted = unet(noisy, t, image, text, route(random))
        loss = (predicted.float() - velocity).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        average = loss.item() if average is None else 0.99 * average + 0.01 * loss.item()
        if step % 50 == 0:
            bar.set_postfix_str(f"step {step}, loss {average:.4f}")
    return unet.eval()


def train(work: Path, *, scenes: int, budget: Budget, seed: int = 0) -> None:
    """Train the denoiser on the first `scenes` of the models' set and write the generator to `assets`.

    The mini CLIP and the autoencoder must be there.
    """
    # world/ stands below the rooms that use its models; the recipe alone reaches up for the classes it trains
    from brainram_lib.encoders import ClipTokens
    from brainram_lib.generation.dual_unet import DualGuidedUNet
    from brainram_lib.generation.versatile_diffusion import VersatileDiffusion

    torch.manual_seed(seed)
    encoder = ClipTokens.mini()
    vae = AutoencoderKL.from_pretrained(ASSETS / "vae", local_files_only=True).eval()
    images, texts = prepare_tokens(work, scenes, encoder.image_tokens, encoder.text_tokens)
    pictures = render_set(MATERIAL_SET, scenes, work / "models_scenes.npy")
    latents = encoded(work / "latents.npy", pictures, lambda part: latents_of(vae, part), "latents")
    unet = DualGuidedUNet(
        UNET,
        image_tokens=images.shape[1:],
        text_tokens=texts.shape[1:],
        position_channels=True,
        position_codes=True,
        whitened_tokens=True,
        fold=FOLD,
    )
    for kind, tokens in (("image", images), ("text", texts)):
        unet.whitening[kind].fit(torch.from_numpy(np.asarray(tokens[:WHITENED], dtype=np.float32)))
    material = Material(latents, images, texts)
    train_denoiser(work, unet, material, encoder.blank_image_tokens(), encoder.empty_text_tokens(), budget)
    VersatileDiffusion(unet, vae, SCHEDULER).save(ASSETS, torch.float16)
