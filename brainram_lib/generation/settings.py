"""How Versatile Diffusion generates (section 3.1). No network is imported: settings alone name a saved result."""

from __future__ import annotations

from dataclasses import dataclass

from brainram_lib.core.settings import Settings, number


@dataclass(frozen=True)
class GenerationSettings(Settings):
    """Versatile Diffusion, guided by image and text (section 3.1). The paper gives none of these numbers."""

    steps: int = number(low=1)
    guidance_scale: float = number(low=0)
    text_mix: float = number(low=0, high=1)
    batch: int = number(low=1, keyed=False)  # images at a time: their noise is their own
    scheduler: str = number("unipc", one_of=("ddim", "dpm++", "unipc"))
    # of each sample's predictions, the share that the guiding neighbour guides instead of p + q; 0: as in the paper
    neighbour_share: float = number(0.0, low=0, high=1)
    checkpoint: str = number("versatile-diffusion", keyed=False)  # its weights' own mark is in the key
