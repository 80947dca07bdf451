"""Versatile Diffusion as one object: the dual-guided network, the autoencoder, the noise schedule."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from brainram_lib.core.devices import accelerator
from brainram_lib.core.files import write_json
from brainram_lib.generation.checkpoint import (
    AUTOENCODER,
    IMAGE_UNET,
    SCHEDULER,
    fill_randomly,
    load_dual_unet,
    read_config,
    save_dual_unet,
    write_weights,
)
from brainram_lib.generation.dual_unet import DualGuidedUNet, TokenShape, settings_of


class NotFiniteError(ValueError):
    """An image has NaN or infinite pixels; as uint8 it would be black, and nobody would notice.

    Attributes:
        row: which image of those that were asked for.
    """

    def __init__(self, row: int) -> None:
        self.row = row
        super().__init__(
            f"image {row} is not finite: the decoder overflowed, or its tokens hold NaN. Check the estimates, lower "
            "generation.guidance_scale, or run the generator in float32."
        )


def require_finite(pixels: Float[Tensor, "n 3 height width"]) -> None:
    """Refuse images that hold NaN or infinity.

    Raises:
        NotFiniteError: names the first.
    """
    bad = ~torch.isfinite(pixels).flatten(1).all(1)
    if bad.any():
        raise NotFiniteError(int(bad.nonzero()[0]))


class VersatileDiffusion(nn.Module):
    """A generator of pictures from image tokens and text tokens.

    Args:
        unet: the denoiser, in the latents of `vae`.
        vae: diffusers' AutoencoderKL; latents are multiplied by its scaling factor.
        scheduler_config: a diffusers scheduler's configuration: the schedule of noise and what the network predicts.
    """

    def __init__(self, unet: DualGuidedUNet, vae: AutoencoderKL, scheduler_config: Mapping[str, Any]) -> None:
        super().__init__()
        if vae.config.latent_channels != unet.latent_channels:
            raise ValueError(
                f"the denoiser works on {unet.latent_channels} latent channels, the autoencoder has "
                f"{vae.config.latent_channels}; they must come from one checkpoint."
            )
        self.unet, self.vae, self.scheduler_config = unet, vae, dict(scheduler_config)

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the latents that the network was made for."""
        size = self.unet.unet.config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        fold = self.unet.config.fold
        return self.unet.latent_channels, fold * height, fold * width

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that change with the schedule and the weights (4,096 or more of each tensor)."""
        digest = hashlib.sha256(repr(sorted(self.scheduler_config.items())).encode())
        for name, weight in sorted(self.state_dict().items()):
            digest.update(f"{name} {tuple(weight.shape)}".encode())
            thinned = weight.detach().flatten()[:: max(1, weight.numel() // 4096)]
            digest.update(thinned.float().cpu().numpy().tobytes())
        return digest.hexdigest()[:12]

    @torch.no_grad()
    def encode(self, images: UInt8[np.ndarray, "n height width 3"]) -> Float[Tensor, "n channels h w"]:
        """Scaled latents of pictures: the posterior's mode times the scaling factor, float32."""
        # a copy, because pictures may be mapped read-only
        pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
        latents = self.vae.encode(pixels.to(self.device, self.vae.dtype)).latent_dist.mode()
        return latents.float() * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "n channels h w"]) -> UInt8[np.ndarray, "n height width 3"]:
        """Pictures of scaled latents."""
        unscaled = (latents / self.vae.config.scaling_factor).to(self.device, self.vae.dtype)
        pixels = self.vae.decode(unscaled, return_dict=False)[0].float()
        require_finite(pixels)
        levels = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write the folder in the hub's layout, weights as safetensors of `dtype`."""
        save_dual_unet(self.unet, folder, dtype)
        write_weights(folder / "vae", self.vae.state_dict(), dtype)
        write_json(folder / "vae/config.json", {"_class_name": "AutoencoderKL", **settings_of(self.vae.config)})
        write_json(folder / "scheduler/scheduler_config.json", self.scheduler_config)

    @classmethod
    def load(
        cls,
        folder: Path,
        dtype: torch.dtype = torch.float32,
        *,
        image_tokens: TokenShape | None = None,
        text_tokens: TokenShape | None = None,
    ) -> VersatileDiffusion:
        """Read a folder in the hub's layout: what `save` wrote, or `shi-labs/versatile-diffusion` itself.

        Args:
            folder: holds image_unet/, text_unet/, vae/ and scheduler/.
            dtype: of the weights in memory; half precision needs a GPU.
            image_tokens: (count, width), where the folder does not say.
            text_tokens: (count, width), where the folder does not say.

        Raises:
            CheckpointError: parts do not fit each other, or token shapes are unknown.
            FileNotFoundError: a file is missing; the message names it.
        """
        folder = Path(folder)
        schedule = read_config(folder, "scheduler/scheduler_config.json")
        unet = load_dual_unet(folder, dtype, image_tokens=image_tokens, text_tokens=text_tokens)
        read_config(folder, "vae/config.json")
        # diffusers renames the attention weights of checkpoints as old as the published one
        vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=dtype, local_files_only=True)
        return cls(unet, vae.requires_grad_(False).eval(), schedule).eval()

    @classmethod
    def random(
        cls,
        image_tokens: TokenShape,
        text_tokens: TokenShape,
        *,
        unet_config: Mapping[str, Any] = IMAGE_UNET,
        vae_config: Mapping[str, Any] = AUTOENCODER,
        seed: int = 0,
    ) -> VersatileDiffusion:
        """Random weights; by default at the published checkpoint's full size (1,127 M in the denoiser)."""
        # built without memory first: diffusers' own initialisation of the full size takes a minute
        with torch.device("meta"):
            unet = DualGuidedUNet(unet_config, image_tokens=image_tokens, text_tokens=text_tokens)
            vae = AutoencoderKL(**vae_config)
        for network in (unet, vae):
            fill_randomly(network.to_empty(device="cpu"), seed)
        return cls(unet, vae, SCHEDULER).requires_grad_(False).eval()


def load_generator(checkpoint: str | Path, dtype: torch.dtype | None = None) -> VersatileDiffusion:
    """The generator in the folder `checkpoint`, on a GPU in half precision where there is one.

    Args:
        checkpoint: a folder in the hub's layout.
        dtype: of the weights; where left out, float16 on a GPU and float32 on a CPU.
    """
    device = accelerator()
    chosen = dtype or (torch.float16 if device.type == "cuda" else torch.float32)
    return VersatileDiffusion.load(Path(checkpoint), chosen).to(device)
