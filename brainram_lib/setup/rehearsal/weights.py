"""Random weights as files, where and as the published ones lie: CLIP, Versatile Diffusion, the metrics' networks.

CLIP's and the generator's are of half precision, to halve the disk; on a CPU they are read to float32. The text U-Net
holds the transformers that guidance needs, not the flat blocks that nothing here reads.
"""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm.auto import tqdm

from brainram_lib.core.files import write_json, write_whole
from brainram_lib.core.published import PUBLISHED, VERSATILE_DIFFUSION
from brainram_lib.evaluation import catalogue
from brainram_lib.evaluation.backbones import NETWORKS, random_network
from brainram_lib.generation.checkpoint import EXTRAS
from brainram_lib.generation.versatile_diffusion import VersatileDiffusion
from brainram_lib.setup.rehearsal.sizes import Sizes
from brainram_lib.world import mini_clip


def clip_shapes(encoder: str) -> tuple[dict[str, int], dict[str, int]]:
    """The configurations of an encoder in the generator's folder: image_encoder and text_encoder."""
    if encoder == "mini":
        vision, context, width = mini_clip.VISION, mini_clip.TEXT["context_length"], mini_clip.TEXT["width"]
    else:
        config = open_clip.get_model_config(encoder)
        vision, context, width = config["vision_cfg"], config["text_cfg"]["context_length"], config["embed_dim"]
    image = {"image_size": vision["image_size"], "patch_size": vision["patch_size"], "projection_dim": width}
    return image, {"max_position_embeddings": context, "projection_dim": width}


def write_clip(hub: Path, encoder: str) -> None:
    """Random weights of CLIP in the hub's cache `hub`, at the place of the pinned ones."""
    if encoder == "mini":
        return
    published = PUBLISHED[encoder]
    path = published.snapshot(hub) / published.files[0]
    if not path.exists():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            weights = open_clip.create_model(encoder, pretrained=None).state_dict()
        with write_whole(path) as partial:
            save_file({name: _halved(weight) for name, weight in weights.items()}, partial)


def _halved(weight: Tensor) -> Tensor:
    return (weight.half() if weight.is_floating_point() else weight).contiguous()


def write_generator(hub: Path, sizes: Sizes) -> None:
    """Random weights of Versatile Diffusion in the hub's cache `hub`; its index, written last, marks it whole."""
    folder = VERSATILE_DIFFUSION.snapshot(hub)
    index = folder / "model_index.json"
    if index.exists():
        return
    image, text = clip_shapes(sizes.encoder)
    shapes = (
        (1 + (image["image_size"] // image["patch_size"]) ** 2, image["projection_dim"]),
        (text["max_position_embeddings"], text["projection_dim"]),
    )
    model = VersatileDiffusion.random(*shapes, unet_config=sizes.unet, vae_config=sizes.vae)
    model.save(folder, torch.float16)
    # the published folder tells the tokens' shapes by its encoders' configurations
    (folder / EXTRAS).unlink()
    write_json(folder / "image_encoder/config.json", image)
    write_json(folder / "text_encoder/config.json", text)
    write_json(index, {"_class_name": "VersatileDiffusionPipeline"})


def write_metric_networks(folder: Path, metrics: str) -> None:
    """Random weights of a metric set's networks in torch's hub cache, under their published names and keys."""
    needed = dict.fromkeys(metric.backbone for metric in catalogue.metric_set(metrics))
    networks = [NETWORKS[name] for name in needed if name in NETWORKS and not Path(NETWORKS[name].source).is_absolute()]
    for network in tqdm(networks, desc="metric networks"):
        path = folder / Path(network.source).name
        if not path.exists():
            built = random_network(network.name).module.state_dict()
            weights = {network.prefix + name: weight.contiguous() for name, weight in built.items()}
            with write_whole(path) as partial:
                torch.save(weights, partial)


def write_profile(path: Path, sizes: Sizes) -> None:
    """The profile file that the notebooks are given."""
    wanted = json.loads(json.dumps(sizes.profile()))
    if not path.exists() or json.loads(path.read_text()) != wanted:
        write_json(path, wanted)
