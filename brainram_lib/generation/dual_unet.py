"""Versatile Diffusion's dual-guided denoiser: an image U-Net with the text U-Net's transformers beside its own.

Built on diffusers' maintained parts, because diffusers' own dual-guided pipeline fails at its first step (diffusers
issue 13651). In Versatile Diffusion (Xu et al. 2023) the two U-Nets share everything but their cross-attention
transformers, so the text U-Net contributes only those.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import Transformer2DModel, UNet2DConditionModel
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from brainram_lib.core.whitening import TokenWhitening

TokenShape = tuple[int, int]
# Cosines in the code of a place on one axis: as many as the mini generator has places, 8.
FREQUENCIES = 8


@dataclass(frozen=True)
class DualGuidedConfig:
    """What the network is told beyond diffusers' own U-Net configuration.

    image_tokens and text_tokens are (count, width). The others are off in Versatile Diffusion; small models need them.
    Standard cross-attention alone learns colours but not places in a small training budget: latents and image tokens
    that carry the same codes of their places let a query find its own patch by a linear map. Folded latents meet the
    tokens at the tokens' own resolution.
    """

    image_tokens: TokenShape
    text_tokens: TokenShape
    position_channels: bool = False
    position_codes: bool = False
    whitened_tokens: bool = False
    fold: int = 1


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """A diffusers configuration without its private entries: its list of defaults would undo what a caller changes."""
    return {name: value for name, value in config.items() if not name.startswith("_")}


class DualTransformer(nn.Module):
    """One cross-attention site of both U-Nets: x + m (text(x) - x) + (1 - m) (image(x) - x), m the text's share."""

    def __init__(self, image: Transformer2DModel, text_width: int) -> None:
        super().__init__()
        self.image = image
        self.text = Transformer2DModel.from_config({**settings_of(image.config), "cross_attention_dim": text_width})

    def forward(
        self,
        hidden_states: Float[Tensor, "batch channels height width"],
        encoder_hidden_states: Float[Tensor, "batch image_tokens image_width"],
        cross_attention_kwargs: dict[str, Any],
        **_unused: Any,
    ) -> tuple[Float[Tensor, "batch channels height width"]]:
        """`cross_attention_kwargs` carries `text_tokens` and `text_mix` (a number, or a tensor (batch,))."""
        mix, text_tokens = cross_attention_kwargs["text_mix"], cross_attention_kwargs["text_tokens"]
        if not isinstance(mix, Tensor):
            # A pure route costs one transformer, not two, and equals that U-Net alone to the last bit.
            if mix == 0:
                return self.image(hidden_states, encoder_hidden_states, return_dict=False)
            if mix == 1:
                return self.text(hidden_states, text_tokens, return_dict=False)
        share = mix.view(-1, 1, 1, 1).to(hidden_states.dtype) if isinstance(mix, Tensor) else mix
        by_image = self.image(hidden_states, encoder_hidden_states, return_dict=False)[0] - hidden_states
        by_text = self.text(hidden_states, text_tokens, return_dict=False)[0] - hidden_states
        return (share * by_text + (1 - share) * by_image + hidden_states,)


class DualGuidedUNet(nn.Module):
    """Versatile Diffusion's denoiser, guided by image tokens and text tokens at once.

    Args:
        image_config: the configuration of diffusers' UNet2DConditionModel; `in_channels` counts the latents' channels.
            Its `cross_attention_dim` is set to the image tokens' width.
        image_tokens: (count, width) of the image tokens.
        text_tokens: (count, width) of the text tokens.
        position_channels: concatenate the codes of every position's row and column to the latents.
        position_codes: add fixed codes to the tokens; the image tokens after token 0 get the same row and column codes.
        whitened_tokens: the transformers see whitened tokens; the maps are fitted once (`whiten`) and saved with it.
        fold: squares of fold x fold latents become one position with fold^2 times the channels (the patches of Peebles
            and Xie 2023, section 3.2): a quarter of the work for fold 2. `sample_size` counts positions, not latents.
    """

    def __init__(
        self,
        image_config: Mapping[str, Any],
        *,
        image_tokens: TokenShape,
        text_tokens: TokenShape,
        position_channels: bool = False,
        position_codes: bool = False,
        whitened_tokens: bool = False,
        fold: int = 1,
    ) -> None:
        super().__init__()
        flags = (position_channels, position_codes, whitened_tokens)
        self.config = DualGuidedConfig(image_tokens, text_tokens, *flags, fold)
        self.latent_channels = int(image_config["in_channels"])
        self.unet = UNet2DConditionModel.from_config(
            {
                **settings_of(image_config),
                "in_channels": fold**2 * self.latent_channels + 2 * FREQUENCIES * position_channels,
                "out_channels": fold**2 * self.latent_channels,
                "cross_attention_dim": image_tokens[1],
            }
        )
        _place_text_transformers(self.unet, text_tokens[1])
        if whitened_tokens:
            self.whitening = nn.ModuleDict(
                {"image": TokenWhitening(*image_tokens), "text": TokenWhitening(*text_tokens)}
            )
        if position_codes:
            self.register_buffer("image_codes", image_position_codes(*image_tokens), persistent=False)
            self.register_buffer("text_codes", sequence_position_codes(*text_tokens), persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.conv_in.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.unet.conv_in.weight.device

    def forward(
        self,
        latents: Float[Tensor, "batch channels height width"],
        timesteps: Int[Tensor, "*_"],
        image_tokens: Float[Tensor, "_ image_tokens image_width"],
        text_tokens: Float[Tensor, "_ text_tokens text_width"],
        text_mix: float | Float[Tensor, " _"],
    ) -> Float[Tensor, "batch channels height width"]:
        """The network's prediction (noise or velocity, as its scheduler says) for noisy latents.

        Args:
            latents: noisy latents.
            timesteps: one for all, or one each.
            image_tokens: the image guidance.
            text_tokens: the text guidance.
            text_mix: the text's share in [0, 1]: 0 is the image U-Net alone, 1 the text U-Net; a tensor holds one for
                every sample.

        Raises:
            ValueError: a count, width, batch or mix that is not what the network was built for.
        """
        self._check(latents, image_tokens, text_tokens, text_mix)
        latents = pixel_unshuffle(latents, self.config.fold)
        if self.config.position_channels:
            latents = torch.cat([latents, position_channels_like(latents)], dim=1)
        routes = {"text_tokens": self._prepared(text_tokens, "text"), "text_mix": text_mix}
        image_tokens = self._prepared(image_tokens, "image")
        predicted = self.unet(latents, timesteps, image_tokens, cross_attention_kwargs=routes, return_dict=False)[0]
        return pixel_shuffle(predicted, self.config.fold)

    def use_attention_slicing(self, slice_size: int | None = 1) -> None:
        """Compute attention in slices of so many heads: less memory, slower, equal results. None turns it off."""
        for site in dual_transformers(self).values():
            for route in (site.image, site.text):
                for module in route.modules():
                    if hasattr(module, "set_attention_slice"):
                        module.set_attention_slice(slice_size)

    def use_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass instead of keeping them."""
        self.unet.enable_gradient_checkpointing()

    def _prepared(self, tokens: Tensor, kind: str) -> Tensor:
        if self.config.whitened_tokens:
            # in full precision: whitening enlarges the small differences that half precision would round away
            with torch.autocast(tokens.device.type, enabled=False):
                tokens = self.whitening[kind](tokens)
        return tokens + getattr(self, f"{kind}_codes").to(tokens.dtype) if self.config.position_codes else tokens

    def _check(self, latents: Tensor, image_tokens: Tensor, text_tokens: Tensor, text_mix: float | Tensor) -> None:
        if latents.ndim != 4 or latents.shape[1] != self.latent_channels:
            raise ValueError(
                f"latents must be (batch, {self.latent_channels}, height, width), got {tuple(latents.shape)}."
            )
        if latents.shape[2] % self.config.fold or latents.shape[3] % self.config.fold:
            raise ValueError(
                f"height and width of latents must be multiples of {self.config.fold}, got {tuple(latents.shape)}."
            )
        batch = len(latents)
        for name, tokens in (("image", image_tokens), ("text", text_tokens)):
            expected = (batch, *getattr(self.config, f"{name}_tokens"))
            if tuple(tokens.shape) != expected:
                raise ValueError(
                    f"{name} tokens must be (batch, tokens, width) = {expected}, got {tuple(tokens.shape)}; hand in "
                    f"the {name} tokens of the encoder that this network was trained with."
                )
        if isinstance(text_mix, Tensor):
            if tuple(text_mix.shape) != (batch,):
                raise ValueError(f"text_mix must be a number or ({batch},), one a sample, got {tuple(text_mix.shape)}.")
        elif not 0 <= text_mix <= 1:
            raise ValueError(f"text_mix must lie in [0, 1] (0 image alone, 1 text alone), got {text_mix}.")


def dual_transformers(network: nn.Module) -> dict[str, DualTransformer]:
    """The cross-attention sites by their name in the image U-Net, e.g. `down_blocks.0.attentions.1`."""
    root = network.unet if isinstance(network, DualGuidedUNet) else network
    return {name: module for name, module in root.named_modules() if isinstance(module, DualTransformer)}


def _place_text_transformers(unet: UNet2DConditionModel, text_width: int) -> None:
    sites = [name for name, module in unet.named_modules() if isinstance(module, Transformer2DModel)]
    for site in sites:
        parent, index = site.rsplit(".", 1)
        attentions = unet.get_submodule(parent)
        attentions[int(index)] = DualTransformer(attentions[int(index)], text_width)


def place_codes(count: int) -> Float[Tensor, "count frequencies"]:
    """sqrt(2) cos(pi k (x + 1/2) / count) for k = 1 to 8: places x on a line as a cosine transform sees them.

    At count = 8 the codes of two places are almost orthogonal: one dot product tells a place from every other.
    """
    # on the CPU even where a checkpoint's loader builds the network without memory: codes are in no checkpoint
    places = (torch.arange(count, device="cpu") + 0.5) / count
    return math.sqrt(2) * torch.cos(math.pi * places[:, None] * torch.arange(1, FREQUENCIES + 1, device="cpu"))


def position_channels_like(latents: Float[Tensor, "batch c height width"]) -> Float[Tensor, "batch codes height width"]:
    """The codes of every position's row, then of its column, as 16 channels."""
    batch, _, height, width = latents.shape
    rows = place_codes(height).T[:, :, None].expand(-1, height, width)
    columns = place_codes(width).T[:, None, :].expand(-1, height, width)
    return torch.cat([rows, columns]).to(latents).expand(batch, -1, -1, -1)


def sequence_position_codes(count: int, width: int) -> Float[Tensor, "count width"]:
    """sin and cos of position / 10000^(2i / width), side by side (Vaswani et al. 2017, section 3.5)."""
    frequencies = torch.exp(-math.log(10000.0) * torch.arange(0, width, 2, device="cpu") / width)
    angles = torch.arange(count, device="cpu")[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width]


def image_position_codes(count: int, width: int) -> Float[Tensor, "count width"]:
    """Zero for token 0, then the codes of the row and of the column in the square grid of patches, over the width.

    Raises:
        ValueError: the tokens after token 0 are no square grid.
    """
    side = math.isqrt(count - 1)
    if side * side != count - 1:
        raise ValueError(
            f"position codes need a square grid of image tokens after token 0, got {count} tokens in all. Hand in "
            "1 + side^2 tokens, or build the network with position_codes=False."
        )
    line = place_codes(side)[:, : width // 2]
    codes = torch.cat([line.repeat_interleave(side, 0), line.repeat(side, 1)], dim=1)
    # repeated over the width, at half the power of whitened tokens
    tiled = codes.repeat(1, math.ceil(width / codes.shape[1]))[:, :width] / math.sqrt(2)
    return torch.cat([torch.zeros(1, width, device="cpu"), tiled])
