"""The layout of `shi-labs/versatile-diffusion` on disk: image_unet/, text_unet/, vae/, scheduler/.

The checkpoint's text_unet is a `UNetFlatConditionModel`, which diffusers can no longer load; only its cross-attention
transformers matter here, and they bear the names of the image U-Net's sites (`down_blocks.i.attentions.j`). What this
library saves has the same layout, holds only these transformers of the text U-Net, and adds `dual_guided.json` and,
where tokens are whitened, token_maps/.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from brainram_lib.core.files import write_json, write_whole
from brainram_lib.generation.dual_unet import DualGuidedUNet, TokenShape, dual_transformers, settings_of

WEIGHTS = "diffusion_pytorch_model"
EXTRAS = "dual_guided.json"
TOKEN_MAPS = "token_maps"

# The published checkpoint's two configurations (shi-labs/versatile-diffusion, image_unet and vae); what they leave
# out has diffusers' defaults. In `attention_head_dim` diffusers reads the number of heads.
IMAGE_UNET: dict[str, Any] = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "attention_head_dim": 8,
    "cross_attention_dim": 768,
}
AUTOENCODER: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
}
SCHEDULER: dict[str, Any] = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


class CheckpointError(ValueError):
    """A checkpoint lacks something or does not fit; the message names the file and what to do."""


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """A component's configuration.

    Raises:
        FileNotFoundError: there is none.
    """
    path = folder / name
    if not path.exists():
        raise FileNotFoundError(
            f"'{path}' is missing. A generator is a folder in the layout of shi-labs/versatile-diffusion, with "
            "image_unet/, text_unet/, vae/ and scheduler/."
        )
    return json.loads(path.read_text())


def read_weights(folder: Path) -> dict[str, Tensor]:
    """A component's weights: safetensors where present, else torch's file through its weights-only loader.

    Raises:
        FileNotFoundError: neither is there.
    """
    for name in (f"{WEIGHTS}.safetensors", f"{WEIGHTS}.fp16.safetensors"):
        if (folder / name).exists():
            return load_file(folder / name)
    for name in (f"{WEIGHTS}.bin", f"{WEIGHTS}.fp16.bin"):
        if (folder / name).exists():
            return torch.load(folder / name, map_location="cpu", weights_only=True, mmap=True)
    raise FileNotFoundError(
        f"no weights in '{folder}': expected {WEIGHTS}.safetensors or {WEIGHTS}.bin. Fetch it again."
    )


def load_dual_unet(
    folder: Path,
    dtype: torch.dtype = torch.float32,
    *,
    image_tokens: TokenShape | None = None,
    text_tokens: TokenShape | None = None,
) -> DualGuidedUNet:
    """The dual-guided network from a folder in the hub's layout.

    Args:
        folder: holds image_unet/ and text_unet/.
        dtype: of the weights in memory.
        image_tokens: (count, width); where left out they are read from dual_guided.json or image_encoder/config.json.
        text_tokens: the same for text, text_encoder/config.json.

    Raises:
        CheckpointError: the two U-Nets do not fit each other, weights are missing, or token shapes are unknown.
        FileNotFoundError: a file is missing.
    """
    config = read_config(folder, "image_unet/config.json")
    extras = json.loads((folder / EXTRAS).read_text()) if (folder / EXTRAS).exists() else {}
    extras["image_tokens"] = tuple(image_tokens or extras.get("image_tokens") or _image_shape(folder))
    extras["text_tokens"] = tuple(text_tokens or extras.get("text_tokens") or _text_shape(folder))
    # what lies on disk counts the channels of folded latents
    config["in_channels"] = config["out_channels"] // extras.get("fold", 1) ** 2
    with torch.device("meta"):
        network = DualGuidedUNet(settings_of(config), **extras)
    weights = _joined(network, read_weights(folder / "image_unet"), read_weights(folder / "text_unet"), folder)
    state = {f"unet.{name}": weight.to(dtype) for name, weight in weights.items()}
    if network.config.whitened_tokens:
        maps = read_weights(folder / TOKEN_MAPS)
        state |= {f"whitening.{name}": value.to(dtype) for name, value in maps.items()}
    network.load_state_dict(state, assign=True)
    return network.requires_grad_(False).eval()


def _image_shape(folder: Path) -> TokenShape:
    config = _encoder_config(folder, "image_encoder")
    return 1 + (config["image_size"] // config["patch_size"]) ** 2, config["projection_dim"]


def _text_shape(folder: Path) -> TokenShape:
    config = _encoder_config(folder, "text_encoder")
    return config["max_position_embeddings"], config["projection_dim"]


def _encoder_config(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name / "config.json"
    if not path.exists():
        raise CheckpointError(
            f"'{folder}' does not say how many tokens guide it: neither {EXTRAS} nor {name}/config.json is there. Hand "
            "in image_tokens=(count, width) and text_tokens=(count, width)."
        )
    return json.loads(path.read_text())


def _joined(
    network: DualGuidedUNet, image: dict[str, Tensor], text: dict[str, Tensor], folder: Path
) -> dict[str, Tensor]:
    """Both U-Nets' weights under the dual network's names."""
    sites = tuple(f"{site}." for site in dual_transformers(network))
    routed: dict[str, Tensor] = {}
    for name, weight in image.items():
        routed[_with_route(name, sites, "image")] = weight
    for name, weight in text.items():
        if name.startswith(sites):
            routed[_with_route(name, sites, "text")] = weight
    expected = network.unet.state_dict()
    for name, weight in expected.items():
        if name not in routed or routed[name].shape != weight.shape:
            found = tuple(routed[name].shape) if name in routed else "nothing"
            part = "text_unet" if ".text." in name else "image_unet"
            raise CheckpointError(
                f"'{folder / part}': weight '{name}' must be {tuple(weight.shape)}, found {found}. The files do not "
                "belong to one checkpoint; fetch image_unet and text_unet of the same revision."
            )
    return {name: routed[name] for name in expected}


def _with_route(name: str, sites: tuple[str, ...], route: str) -> str:
    for site in sites:
        if name.startswith(site):
            return f"{site}{route}.{name.removeprefix(site)}"
    return name


def save_dual_unet(network: DualGuidedUNet, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write image_unet/, text_unet/ (its transformers alone) and dual_guided.json."""
    parts: dict[str, dict[str, Tensor]] = {"image_unet": {}, "text_unet": {}}
    sites = tuple(f"{site}." for site in dual_transformers(network))
    for name, weight in network.unet.state_dict().items():
        route = "text" if name.startswith(sites) and ".text." in name else "image"
        parts[f"{route}_unet"][name.replace(f".{route}.", ".") if name.startswith(sites) else name] = weight
    config = settings_of(network.unet.config)
    write_json(folder / "image_unet/config.json", {"_class_name": "UNet2DConditionModel", **config})
    write_json(folder / "text_unet/config.json", _flat_config(config, network.config.text_tokens[1]))
    write_json(folder / EXTRAS, asdict(network.config))
    for part, weights in parts.items():
        write_weights(folder / part, weights, dtype)
    if network.config.whitened_tokens:
        write_weights(folder / TOKEN_MAPS, network.whitening.state_dict(), torch.float32)


def write_weights(folder: Path, weights: dict[str, Tensor], dtype: torch.dtype) -> None:
    """A component's safetensors file, whole."""
    folder.mkdir(parents=True, exist_ok=True)
    with write_whole(folder / f"{WEIGHTS}.safetensors") as partial:
        save_file({name: weight.to(dtype).contiguous() for name, weight in weights.items()}, partial)


def _flat_config(config: dict[str, Any], width: int) -> dict[str, Any]:
    """The text U-Net's configuration: the image U-Net's with 'flat' blocks."""
    flat = {
        key: [block.replace("2D", "Flat") for block in config[key]] for key in ("down_block_types", "up_block_types")
    }
    flat["mid_block_type"] = "UNetMidBlockFlatCrossAttn"
    return {**config, **flat, "_class_name": "UNetFlatConditionModel", "cross_attention_dim": width}


@torch.no_grad()
def fill_randomly(network: torch.nn.Module, seed: int = 0) -> None:
    """Random weights of usual size: matrices N(0, 1 / inputs), gains 1, offsets 0. For rehearsals."""
    generator = torch.Generator().manual_seed(seed)
    for weight in network.parameters():
        if weight.ndim > 1:
            weight.normal_(0, 1 / math.sqrt(weight[0].numel()), generator=generator)
    for module in network.modules():
        if isinstance(module, (torch.nn.GroupNorm, torch.nn.LayerNorm)) and module.weight is not None:
            module.weight.fill_(1)
        if getattr(module, "bias", None) is not None:
            module.bias.fill_(0)
