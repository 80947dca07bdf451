"""What sizes and trains Stage II (section 3.3, 4.2). Imports no network: settings alone determine keys."""

from __future__ import annotations

from dataclasses import dataclass

from brainram_lib.core.settings import Settings, number

# The ways to merge p with its neighbours (Table 4); their classes are in `fusions`, which imports networks.
FUSION_NAMES = (
    *("ram", "average", "conv1x1", "cross-attention", "bare-cross-attention"),
    *("difference-ram", "choosing-ram"),
)
# Those that need the evidence for a neighbour, from both modalities' estimates.
EVIDENCE_FUSIONS = ("choosing-ram",)


@dataclass(frozen=True)
class Stage2Settings(Settings):
    """The fusion of p with its neighbours, and its training (section 3.3, 4.2).

    Attributes:
        width: inner width of a fusion with layers of its own.
        random_share: the share of training neighbours that are random ones. 0 as printed.
        closeness: weight of the loss that compares the weights with how close each neighbour of a *training* image is
            to its target. 0 as printed.
    """

    heads: int = number(low=1)
    fusion_hidden: int = number(low=1)
    epochs: int = number(low=1)
    batch: int = number(low=2)
    fusion: str = number("ram", one_of=FUSION_NAMES)  # Table 4
    pooled: bool = False  # the S samples of a stimulus share their S * K neighbours
    gamma: float = number(0.2, low=0, high=1)  # 4.2
    temperature: float = number(0.006, above=0)
    rate: float = number(2.5e-4, above=0)  # 4.2, constant
    schedule: str = number("constant", one_of=("constant", "one-cycle"))  # 4.2
    weight_decay: float = number(1e-2, low=0)
    dropout: float = number(0.0, low=0, high=0.95)  # not given
    width: int = number(64, low=1)
    random_share: float = number(0.0, low=0, high=1)
    closeness: float = number(0.0, low=0)
    accumulate: int = number(1, low=1)
    precision: str = number("float32", one_of=("float32", "bf16"))
