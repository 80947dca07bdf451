"""Sizes and training of the compared systems' networks. No network is imported: settings alone name a result.

Defaults fit the embedded world's training images and two cores; the profile `paper` has the published sizes, which the
comments name. 'code' is a system's released code.
"""

from __future__ import annotations

from dataclasses import dataclass

from brainram_lib.core.settings import Settings, number


@dataclass(frozen=True)
class MindEyeSettings(Settings):
    """MindEye's high-level pipeline (Scotti et al. 2023, section 2.1)."""

    hidden: int = number(256, low=1)  # published 4,096 (2.1)
    blocks: int = number(4, low=0)  # residual blocks, published 4 (2.1)
    first_dropout: float = number(0.5, low=0, high=0.95)  # code
    dropout: float = number(0.15, low=0, high=0.95)  # code
    projector_hidden: int = number(128, low=1)  # published 2,048 (code)
    prior_depth: int = number(2, low=1)  # published 6 (code)
    prior_heads: int = number(4, low=1)  # published 12, of width 64 (code)
    times: int = number(100, low=2)  # of the diffusion (code)
    condition_dropout: float = number(0.2, low=0, high=1)  # code
    prior_weight: float = number(30.0, low=0)  # of the prior's loss (code)
    mixed_share: float = number(1 / 3, low=0, high=1)  # of the epochs, with BiMixCo (2.1; code: .33)
    mix_alpha: float = number(0.15, above=0)  # Beta(alpha, alpha) (code)
    mixed_rows: float = number(0.5, low=0, high=1)  # of a batch (code)
    temperature: float = number(0.006, above=0)  # BiMixCo's (code)
    soft_from: float = number(0.004, above=0)  # SoftCLIP's temperature, first (code)
    soft_to: float = number(0.0075, above=0)  # and last (code)
    epochs: int = number(60, low=1)  # published 240 (code)
    batch: int = number(32, low=2)  # code
    rate: float = number(3e-4, above=0)  # one-cycle's peak (code)
    weight_decay: float = number(1e-2, low=0)  # code
    precision: str = number("float32", one_of=("float32", "bf16"))


@dataclass(frozen=True)
class LowLevelSettings(Settings):
    """MindEye's low-level pipeline (section 2.2): a residual MLP, then convolutions that double the size."""

    hidden: int = number(256, low=1)  # published 4,096 (code)
    blocks: int = number(4, low=0)  # published 4 (code)
    first_dropout: float = number(0.5, low=0, high=0.95)  # code
    dropout: float = number(0.25, low=0, high=0.95)  # code
    channels: int = number(32, low=1)  # of the smallest map, published 64 (code)
    side: int = number(4, low=1)  # of the smallest map; published 16 for latents of 64
    epochs: int = number(20, low=1)  # published 120 (code)
    batch: int = number(32, low=2)  # code
    rate: float = number(5e-4, above=0)  # one-cycle's peak (code)
    weight_decay: float = number(1e-2, low=0)  # code
    precision: str = number("float32", one_of=("float32", "bf16"))


@dataclass(frozen=True)
class MindReaderSettings(Settings):
    """Mind Reader's mapping from betas to one global embedding (Lin et al. 2022).

    The weights of its losses were not at hand; those below are this project's.
    """

    channels: int = number(16, low=1)  # of the first convolution
    stages: int = number(3, low=1)  # each halves the length and doubles the channels
    kernel: int = number(7, low=3)  # odd, in voxels
    places: int = number(32, low=1)  # pieces of the sequence that the last layer sees
    dropout: float = number(0.3, low=0, high=0.95)
    error_weight: float = number(1.0, low=0)  # of the mean squared error
    cosine_weight: float = number(1.0, low=0)
    contrast_weight: float = number(0.1, low=0)
    temperature: float = number(0.1, above=0)
    epochs: int = number(40, low=1)  # as published
    batch: int = number(64, low=2)
    rate: float = number(2e-4, above=0)  # published, Adam
    weight_decay: float = number(0.0, low=0)  # 0: AdamW is Adam
    precision: str = number("float32", one_of=("float32", "bf16"))


@dataclass(frozen=True)
class MeshSettings(Settings):
    """The mesh network of Gu et al. (2023) from the cortical surface to one global embedding."""

    channels: int = number(8, low=1)  # of the first level, doubled at each; not at hand
    levels: int = number(2, low=1, high=3)  # how often the mesh is made coarser; not at hand
    dropout: float = number(0.3, low=0, high=0.95)  # not at hand
    epochs: int = number(40, low=1)  # published 100
    batch: int = number(32, low=2)  # not at hand
    rate: float = number(1e-3, above=0)  # published, AdamW
    weight_decay: float = number(1e-2, low=0)  # AdamW's default
    precision: str = number("float32", one_of=("float32", "bf16"))


@dataclass(frozen=True)
class PeerSettings(Settings):
    """The networks of all compared systems."""

    mindeye: MindEyeSettings = MindEyeSettings()
    low_level: LowLevelSettings = LowLevelSettings()
    mind_reader: MindReaderSettings = MindReaderSettings()
    mesh: MeshSettings = MeshSettings()
