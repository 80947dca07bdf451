"""What sizes and trains Stage I (section 3.2, 4.2). No network is imported: settings alone name a saved result."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ProjectorSettings:
    """Phi_proj (section 3.2). The paper gives no sizes."""

    hidden: int
    width: int
    blocks: int
    dropout: float
    voxel_dropout: float
    backbone: str = "mamba"
    linear_path: bool = False


@dataclass(frozen=True)
class NetworkSettings:
    """f of eq. 2. The paper gives no sizes."""

    width: int
    depth: int
    heads: int


@dataclass(frozen=True)
class Stage1Settings:
    """Training and sampling of one prior (section 3.2, 4.2)."""

    projector: ProjectorSettings
    network: NetworkSettings
    epochs: int
    batch: int
    gamma: float = 0.8  # 4.2
    beta: float = 0.3  # 4.2
    temperature: float = 0.006  # not given; MindEye's
    mixco_alpha: float = 0.15  # Beta(alpha, alpha), not given; MindEye's
    peak_rate: float = 2.5e-4  # 4.2
    weight_decay: float = 1e-2  # AdamW's default (4.2)
    diffusion_steps: int = 100  # not given; the authors' code
    sample_steps: int = 100
    samples: int = 4  # S, 4.2
    global_token_weight: float = 1.0  # weight of token 0 in the squared error, as one of T
