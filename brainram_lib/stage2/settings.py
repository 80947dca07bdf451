"""What sizes and trains Stage II (section 3.3, 4.2)."""

from __future__ import annotations

from dataclasses import dataclass

# The ways to merge p with its neighbours (Table 4); their classes stand in `fusions`, which imports networks.
FUSION_NAMES = ("ram", "average", "conv1x1", "cross-attention")


@dataclass(frozen=True)
class Stage2Settings:
    """A fusion and its training (section 3.3, 4.2).

    Raises:
        ValueError: `fusion` is not one of `FUSION_NAMES`.
    """

    heads: int
    fusion_hidden: int
    epochs: int
    batch: int
    gamma: float = 0.2  # 4.2
    temperature: float = 0.006
    rate: float = 2.5e-4  # 4.2, constant
    weight_decay: float = 1e-2
    dropout: float = 0.0  # not given
    fusion: str = "ram"  # Table 4
    # The S samples of a stimulus share their S * K neighbours: K = 16 of METHOD.md. False: each sample has its own K.
    pooled: bool = False

    def __post_init__(self) -> None:
        if self.fusion not in FUSION_NAMES:
            raise ValueError(f"'fusion' must be one of {sorted(FUSION_NAMES)}. '{self.fusion}' was provided.")
