"""What sizes, trains and samples Stage I (section 3.2, 4.2). No network is imported: settings alone name a result."""

from __future__ import annotations

from dataclasses import dataclass

from brainram_lib.core.settings import Settings, number


@dataclass(frozen=True)
class ProjectorSettings(Settings):
    """Phi_proj (section 3.2). The paper gives no sizes."""

    hidden: int = number(low=1)
    width: int = number(low=1)
    blocks: int = number(low=0)
    dropout: float = number(low=0, high=0.95)
    voxel_dropout: float = number(low=0, high=0.95)
    backbone: str = number("mamba", one_of=("mamba", "mlp"))
    linear_path: bool = False


@dataclass(frozen=True)
class NetworkSettings(Settings):
    """f of eq. 2. The paper gives no sizes."""

    width: int = number(low=1)
    depth: int = number(low=0)
    heads: int = number(low=1)


@dataclass(frozen=True)
class Stage1Settings(Settings):
    """Networks and training of one prior (section 3.2, 4.2)."""

    projector: ProjectorSettings
    network: NetworkSettings
    epochs: int = number(low=1)
    batch: int = number(low=2)
    gamma: float = number(0.8, low=0, high=1)  # 4.2
    beta: float = number(0.3, low=0)  # 4.2
    temperature: float = number(0.006, above=0)  # not given; MindEye's
    mixco_alpha: float = number(0.15, above=0)  # Beta(alpha, alpha), not given; MindEye's
    peak_rate: float = number(2.5e-4, above=0)  # 4.2
    weight_decay: float = number(1e-2, low=0)  # AdamW's default (4.2)
    diffusion_steps: int = number(100, low=1)  # not given; the authors' code
    global_token_weight: float = number(1.0, low=0)  # weight of token 0 in the squared error, as one of T
    whitening_floor: float = number(0.01, above=0)  # of C + floor * identity, in shares of the mean variance
    validation_steps: int = number(10, low=1)  # diffusion times of the sample that the history reports
    accumulate: int = number(1, low=1)
    precision: str = number("float32", one_of=("float32", "bf16"))


@dataclass(frozen=True)
class SamplingSettings(Settings):
    """How a trained prior is sampled."""

    samples: int = number(4, low=1)  # S, 4.2
    steps: int = number(100, low=1)  # not given: all diffusion times
