"""The mini generator's autoencoder: diffusers' AutoencoderKL at a small size, trained on scenes.

64 x 64 x 3 pictures <-> 16 x 16 x 6 latents. Remade by `python -m brainram_lib world train-autoencoder`, then
`train-decoder`: only the decoder is trained further, so that latents and their generator stay as they are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from brainram_lib import world
from brainram_lib.recipes.clip import MATERIAL_SET
from brainram_lib.recipes.material import covers_of_set, render_set
from brainram_lib.recipes.training import Budget, run

ASSETS = Path(world.__file__).parent / "assets" / "mini_generator" / "vae"
BLOCKS = (32, 64, 64)
LATENT_CHANNELS = 6
HELD_OUT = 300
# Rows: luma, blue and red difference (ITU-R BT.601). Hues were what a plain pixel loss lost first.
YCBCR = ((0.299, 0.587, 0.114), (-0.169, -0.331, 0.5), (0.5, -0.419, -0.081))
CHROMA_WEIGHT, KL_WEIGHT = 2.0, 1e-6
# Where the decoder is trained further: how much more a pixel of an object counts (objects are what people look for, but
# fill a fifth of an image), and the deviation of noise on latents of unit variance (generated ones are never exact).
OBJECT_WEIGHT, LATENT_NOISE = 3.0, 0.05


def build() -> AutoencoderKL:
    """An untrained mini autoencoder."""
    levels = len(BLOCKS)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=BLOCKS,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=64,
        mid_block_add_attention=False,
    ).to(memory_format=torch.channels_last)


def to_signed(images: UInt8[np.ndarray, "n height width 3"]) -> Float[Tensor, "n 3 height width"]:
    """uint8 pictures -> float in [-1, 1], the range of diffusers' autoencoders."""
    # a copy, because rendered sets are mapped read-only
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return pixels.contiguous(memory_format=torch.channels_last)


def reconstruction_loss(
    decoded: Float[Tensor, "n 3 height width"],
    pixels: Float[Tensor, "n 3 height width"],
    weight: Float[Tensor, "n 1 height width"] | float = 1.0,
) -> Float[Tensor, ""]:
    """Mean squared error in luma and, weighted, in the two colour differences, plus a little absolute error.

    `weight` says how much every pixel counts; its mean should be 1.
    """
    matrix = torch.tensor(YCBCR)
    difference = torch.einsum("cr,brhw->bchw", matrix, decoded - pixels)
    squared = (weight * difference.square()).mean((0, 2, 3))
    return squared[0] + CHROMA_WEIGHT * squared[1:].sum() + 0.05 * (weight * (decoded - pixels).abs()).mean()


@torch.no_grad()
def psnr(model: AutoencoderKL, images: UInt8[np.ndarray, "n height width 3"]) -> float:
    """Mean peak signal-to-noise ratio over pictures, dB: 10 log10(1 / mse) for pixels in [0, 1]."""
    pixels = to_signed(images)
    decoded = torch.cat([model.decode(model.encode(part).latent_dist.mode()).sample for part in pixels.split(50)])
    error = ((decoded.clamp(-1, 1) - pixels) / 2).square().mean((1, 2, 3))
    return (-10 * error.log10()).mean().item()


def train(work: Path, *, scenes: int, budget: Budget, batch: int = 32, seed: int = 0) -> AutoencoderKL:
    """Train on the first `scenes` pictures of the models' set and write `assets`; the last 300 are held out."""
    torch.manual_seed(seed)
    images = render_set(MATERIAL_SET, scenes, work / "models_scenes.npy")
    model = build()
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=1e-3)
    for step, bar in run(budget, model, optimizer, work / "autoencoder.safetensors", "mini autoencoder"):
        # a step's draws depend on its number alone: a resumed training sees new ones, not its first again
        rng = np.random.default_rng((seed, step))
        pixels = to_signed(images[rng.integers(0, scenes - HELD_OUT, batch)])
        with torch.autocast("cpu", torch.bfloat16):
            posterior = model.encode(pixels).latent_dist
            decoded = model.decode(posterior.sample()).sample
        loss = reconstruction_loss(decoded.float(), pixels) + KL_WEIGHT * posterior.kl().float().mean()
        _descend(loss, optimizer)
        if step % 200 == 0:
            bar.set_postfix_str(f"step {step}, loss {loss.item():.4f}, PSNR {psnr(model, images[-100:]):.2f} dB")
    model.register_to_config(scaling_factor=_scaling_factor(model, images[:2000]))
    return _shipped(model, images)


def train_decoder(work: Path, *, scenes: int, budget: Budget, batch: int = 32, seed: int = 0) -> AutoencoderKL:
    """Train only the decoder in `assets` further: the error counts objects more, and latents get a little noise.

    Raises:
        OSError: no autoencoder is in `assets`.
    """
    torch.manual_seed(seed)
    images = render_set(MATERIAL_SET, scenes, work / "models_scenes.npy")
    before, model = AutoencoderKL.from_pretrained(ASSETS, local_files_only=True), build()
    model.load_state_dict(before.state_dict())
    model.register_to_config(scaling_factor=before.config.scaling_factor)
    sides = images.shape[1] // 2 ** (len(BLOCKS) - 1)
    covers = covers_of_set(MATERIAL_SET, scenes, sides, work / "covers.npy")
    model.requires_grad_(False)
    # the checkpoint holds these alone: one that an earlier encoder left cannot bring that encoder back
    trained = nn.ModuleDict({"post_quant_conv": model.post_quant_conv, "decoder": model.decoder}).requires_grad_(True)
    optimizer = torch.optim.AdamW(trained.parameters(), betas=(0.9, 0.99), weight_decay=1e-3)
    for step, bar in run(budget, trained, optimizer, work / "decoder.safetensors", "mini decoder"):
        rng = np.random.default_rng((seed, 1, step))
        rows = rng.integers(0, scenes - HELD_OUT, batch)
        pixels, cover = to_signed(images[rows]), torch.from_numpy(np.asarray(covers[rows], np.float32))[:, None]
        cover = torch.nn.functional.interpolate(cover, size=pixels.shape[-2:], mode="bilinear")
        weight = 1 + (OBJECT_WEIGHT - 1) * cover
        with torch.autocast("cpu", torch.bfloat16):
            latents = model.encode(pixels).latent_dist.mode()
            noise = torch.from_numpy(rng.normal(size=latents.shape).astype(np.float32))
            decoded = model.decode(latents + LATENT_NOISE / model.config.scaling_factor * noise).sample
        loss = reconstruction_loss(decoded.float(), pixels, weight / weight.mean())
        _descend(loss, optimizer)
        if step % 200 == 0:
            bar.set_postfix_str(f"step {step}, loss {loss.item():.4f}, PSNR {psnr(model, images[-100:]):.2f} dB")
    return _shipped(model, images)


def _descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
    optimizer.step()


def _shipped(model: AutoencoderKL, images: UInt8[np.ndarray, "n height width 3"]) -> AutoencoderKL:
    """Write a trained autoencoder to `assets` and say how well it reconstructs held-out images."""
    model.eval().half().save_pretrained(ASSETS)
    model.float()
    print(f"mini autoencoder: {psnr(model, images[-HELD_OUT:]):.2f} dB on {HELD_OUT} held-out scenes")
    return model


@torch.no_grad()
def _scaling_factor(model: AutoencoderKL, images: UInt8[np.ndarray, "n height width 3"]) -> float:
    """1 / standard deviation of the latents, so that the diffusion works at unit variance."""
    latents = torch.cat([model.encode(part).latent_dist.mode() for part in to_signed(images).split(100)])
    return 1 / latents.std().item()
