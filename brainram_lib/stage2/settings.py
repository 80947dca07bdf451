"""What sizes and trains Stage II (section 3.3, 4.2)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage2Settings:
    """The RAM and its training (section 3.3, 4.2)."""

    heads: int
    fusion_hidden: int
    epochs: int
    batch: int
    gamma: float = 0.2  # 4.2
    temperature: float = 0.006
    rate: float = 2.5e-4  # 4.2, constant
    weight_decay: float = 1e-2
    dropout: float = 0.0  # not given
