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
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from tqdm.auto import tqdm

from brainram_lib.world.degrade import spoilt
from brainram_lib.world.material import captions_of_set, render_set
from brainram_lib.world.mini_autoencoder import to_signed
from brainram_lib.world.mini_clip import MATERIAL_SET
from brainram_lib.world.training import Budget, run

ASSETS = Path(__file__).parent / "assets" / "mini_generator"
HELD_OUT = 300
CHUNK = 500
SCHEDULER = {"num_train_timesteps": 1000, "beta_schedule": "scaled_linear", "prediction_type": "v_prediction"}
SCHEDULER |= {"beta_start": 0.00085, "beta_end": 0.012, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
UNET = {
    "sample_size": 16,
    "in_channels": 6,
    "out_channels": 6,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "block_out_channels": (64, 128),
    "layers_per_block": 1,
    "norm_num_groups": 16,
    "attention_head_dim": 4,
}
# Shares of the training batch by route: image alone, text alone, neither; the rest mixes both.
IMAGE_ALONE, TEXT_ALONE, NEITHER = 0.15, 0.28, 0.07


@dataclass(frozen=True)
class Material:
    """What the denoiser trains on: scaled latents and both kinds of tokens of the same scenes, and the null tokens."""

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


def routes(batch: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """For every sample the text's share of the guidance (0 image alone, 1 text alone) and whether both are nulled."""
    draw = torch.rand(batch, generator=random)
    mix = 0.15 + 0.7 * torch.rand(batch, generator=random)
    mix = torch.where(draw < IMAGE_ALONE, torch.zeros(()), mix)
    mix = torch.where(draw > 1 - TEXT_ALONE, torch.ones(()), mix)
    return mix, (draw >= IMAGE_ALONE) & (draw < IMAGE_ALONE + NEITHER)


class TokenStatistics:
    """Mean and scale of one modality's tokens, and the faults drawn from them."""

    def __init__(self, tokens: np.ndarray) -> None:
        sample = torch.from_numpy(np.asarray(tokens[:4000], dtype=np.float32))
        self.mean, self.scale = sample.mean(0), sample.std(0)

    def spoilt(self, tokens: Tensor, random: torch.Generator) -> Tensor:
        """Brain-like tokens."""
        return spoilt(tokens, self.mean, self.scale, random)


def train(
    work: Path, unet: nn.Module, material: Material, null_image: Tensor, null_text: Tensor, budget: Budget, batch: int = 64
) -> nn.Module:
    """Train the denoiser on v-prediction: v = sqrt(a_t) eps - sqrt(1 - a_t) x_0, squared error over the batch."""
    schedule = DDPMScheduler(**SCHEDULER)
    random = torch.Generator().manual_seed(0)
    image_statistics, text_statistics = TokenStatistics(material.image_tokens), TokenStatistics(material.text_tokens)
    optimizer = torch.optim.AdamW(unet.parameters(), betas=(0.9, 0.99), weight_decay=1e-2)
    count = len(material.latents) - HELD_OUT
    average = 0.0
    for step, bar in run(budget, unet, optimizer, work / "unet.pt", "mini generator"):
        rows = torch.randint(count, (batch,), generator=random).numpy()
        latents, image, text = (
            torch.from_numpy(np.asarray(part[rows], dtype=np.float32))
            for part in (material.latents, material.image_tokens, material.text_tokens)
        )
        image, text = image_statistics.spoilt(image, random), text_statistics.spoilt(text, random)
        mix, nulled = routes(batch, random)
        image = torch.where(nulled[:, None, None], null_image, image)
        text = torch.where(nulled[:, None, None], null_text, text)
        t = torch.randint(schedule.config.num_train_timesteps, (batch,), generator=random)
        noise = torch.randn(latents.shape, generator=random)
        noisy, velocity = schedule.add_noise(latents, noise, t), schedule.get_velocity(latents, noise, t)
        with torch.autocast("cpu", torch.bfloat16):
            predicted = unet(noisy.contiguous(memory_format=torch.channels_last), t, image, text, mix)
        loss = (predicted.float() - velocity).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        average = 0.99 * average + 0.01 * loss.item() if step else loss.item()
        if step % 50 == 0:
            bar.set_postfix_str(f"step {step}, loss {average:.4f}")
    return unet.eval()
