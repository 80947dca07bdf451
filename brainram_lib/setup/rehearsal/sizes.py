"""How large a rehearsal is: `full`, the true sizes, and `small`, the same in a minute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from brainram_lib.generation.checkpoint import AUTOENCODER, IMAGE_UNET
from brainram_lib.world.full_size import FullSize
from brainram_lib.world.world import WorldSettings

TITLE = "rehearsal with random betas, pictures and weights: no score means anything"


@dataclass(frozen=True)
class Sizes:
    """What is written, and what the paper's profile is shortened to.

    Attributes:
        name: 'full' or 'small'.
        volume: of the functional volume, its mask and its trials.
        experiment: of the design; NSD's own numbers give NSD's 73,000 stimuli and 30,000 trials.
        sessions: how many sessions have betas.
        picture: side of the stimuli, pixels.
        vertices: of a native hemisphere, and of fsaverage.
        encoder: the CLIP whose weights are written, or 'mini', which ships its own.
        unet: of the generator's denoiser. vae: of its autoencoder.
        corpus: image-text pairs. shard: of them in a shard.
        shortened: settings of the paper's profile that are made smaller (`profiles.changed`).
        disk: needed, GiB. memory: needed, GiB.
    """

    name: str
    volume: FullSize
    experiment: WorldSettings
    sessions: int
    picture: int
    vertices: tuple[int, int]
    encoder: str
    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    corpus: int
    shard: int
    disk: float
    memory: float
    shortened: Mapping[str, Any] = field(default_factory=dict)

    def profile(self) -> dict[str, Any]:
        """The profile file of a rehearsal: the paper's, with what is shortened."""
        return {
            "base": "paper",
            "name": "rehearsal",
            "title": TITLE,
            "encoder": self.encoder,
            "data__sessions": self.sessions,
            **self.shortened,
        }


# Voxels of nsdgeneral as MindEye and others list them; only subject 1 is written.
_VOXELS = (15724, 14278, 15226, 13153, 13039, 17907, 12682, 14386)
# Batch 32 holds 26 GB of states in the plain Mamba path; 4 runs anywhere.
_FEW = {
    "split__images": [16, 2],
    "split__validation": 4,
    "stage1__epochs": 2,
    "stage1__batch": 4,
    "stage1__validation_steps": 2,
    "sampling__steps": 2,
    "stage2__epochs": 2,
    "stage2__batch": 4,
    "generation__steps": 2,
}

FULL = Sizes(
    name="full",
    volume=FullSize(),
    experiment=WorldSettings(
        name="nsd", subjects=tuple(range(1, 9)), voxels=_VOXELS, sessions=40, images=10_000, shared=1_000
    ),
    sessions=3,
    picture=425,
    vertices=(227_021, 163_842),
    encoder="ViT-L-14-quickgelu",
    unet=IMAGE_UNET,
    vae=AUTOENCODER,
    corpus=100,
    shard=50,
    disk=20.0,
    memory=16.0,
    shortened=_FEW,
)

SMALL = Sizes(
    name="small",
    volume=FullSize(shape=(21, 26, 23), roi_voxels=230, trials=60),
    experiment=WorldSettings(
        name="small", subjects=(1, 2), voxels=(230, 210), sessions=5, trials_per_session=60, images=100, shared=30
    ),
    sessions=5,
    picture=64,
    vertices=(10_700, 10_242),
    encoder="mini",
    unet={
        "sample_size": 16,
        "in_channels": 4,
        "out_channels": 4,
        "down_block_types": ("CrossAttnDownBlock2D",) * 2,
        "up_block_types": ("CrossAttnUpBlock2D",) * 2,
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "attention_head_dim": 2,
        "norm_num_groups": 8,
        "cross_attention_dim": 128,
    },
    vae={
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "block_out_channels": (8, 16, 16),
        "layers_per_block": 1,
        "latent_channels": 4,
        "norm_num_groups": 4,
        "sample_size": 64,
    },
    corpus=30,
    shard=15,
    disk=1.0,
    memory=2.0,
    shortened={
        **_FEW,
        "stage1__projector__hidden": 24,
        "stage1__projector__width": 16,
        "stage1__projector__blocks": 1,
        "stage1__network__width": 16,
        "stage1__network__depth": 1,
        "stage1__network__heads": 2,
        "stage2__heads": 2,
        "stage2__fusion_hidden": 8,
        "metrics": "mini",
    },
)
SIZES = {sizes.name: sizes for sizes in (SMALL, FULL)}


def sizes_of(name: str) -> Sizes:
    """The sizes called `name`.

    Raises:
        ValueError: there are none of that name.
    """
    if name not in SIZES:
        raise ValueError(f"'sizes' must be one of {sorted(SIZES)}. '{name}' was provided.")
    return SIZES[name]
