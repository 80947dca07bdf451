"""Takagi & Nishimoto: ridge to the latent of the image and to the tokens of its captions, then image to image.

Takagi & Nishimoto, High-resolution image reconstruction with latent diffusion models from human brain activity (CVPR
2023), section 3.3, and released code. Early visual cortex gives the latent z, whose decoded image is the start; ventral
visual cortex gives the caption tokens c, averaged over an image's captions, which alone guide. Ridge is fitted on
single trials, and tested on averages (section 3.1).

- Strength .8, five samples, and the regions 'early' (V1 to V3) and 'ventral' of NSD's streams: released code
  (`diffusion_sd1/diffusion_decoding.py`).

Deviations of this project:
- The first of the five samples is shown. The paper shows the one most like the stimulus, which no decoder can know.
- Alpha is chosen on this project's validation images, for each token, and not by cross-validation for each feature.
- Versatile Diffusion with its text route alone replaces Stable Diffusion 1.4, so captions are tokens of its CLIP, and
  the latent has the generator's size and not 4 x 40 x 40. Steps, scheduler and guidance scale are the profile's, the
  same for all systems (published: 50 steps of DDIM, scale 5). On `mini` .8 of 5 steps are 4.
"""

from __future__ import annotations

from dataclasses import replace

from brainram_lib.core.store import Stage
from brainram_lib.pipeline.peers.latents import StartImages
from brainram_lib.pipeline.peers.linear import RegionRidge
from brainram_lib.pipeline.peers.pictures import PeerImages
from brainram_lib.pipeline.run import Run
from brainram_lib.systems.system import DECODER, System, register

EARLY, LATE = ("early",), ("ventral",)
STRENGTH, SAMPLES = 0.8, 5


def latent(run: Run) -> RegionRidge:
    """z of early visual cortex."""
    validation = run.profile.split.validation
    return RegionRidge(run.latents(), run.images, validation, "early-latents", EARLY, run.trials())


def captions(run: Run) -> RegionRidge:
    """c of ventral visual cortex."""
    validation = run.profile.split.validation
    return RegionRidge(run.targets("text"), run.images, validation, "ventral-text", LATE, run.trials())


def images(run: Run) -> Stage:
    """Guided by c alone, started from the image of z."""
    start = StartImages(latent(run), run.generator)
    settings = replace(run.profile.generation, text_mix=1.0, neighbour_share=0.0)
    how = run.generator, run.encoder, settings, SAMPLES, run.seed, "generate, takagi"
    return PeerImages(None, captions(run), start, STRENGTH, None, *how)


register(
    System(
        "takagi",
        "Takagi & Nishimoto",
        "Takagi & Nishimoto, CVPR 2023",
        DECODER,
        80,
        images=images,
        listed=False,
    )
)
