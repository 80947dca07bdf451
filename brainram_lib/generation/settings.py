"""How Versatile Diffusion generates (section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GenerationSettings:
    """Versatile Diffusion, guided by image and text (section 3.1). The paper gives none of these numbers."""

    steps: int
    guidance_scale: float
    text_mix: float
    batch: int
    scheduler: str = "unipc"
    # of each sample's predictions, the share that a neighbour's image tokens guide instead of p + q; 0: as in the paper
    neighbour_share: float = 0.0
    checkpoint: str = "versatile-diffusion"  # the user's folder, fetched from shi-labs/versatile-diffusion
