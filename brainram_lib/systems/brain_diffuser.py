"""Brain-Diffuser: ridge to a start latent, to image tokens and to text tokens, then dual-guided image to image.

Ozcelik & VanRullen, Natural scene reconstruction from fMRI signals using generative latent diffusion (Scientific
Reports 2023, arXiv 2303.05334), Methods and released code. Four systems:

- `brain-diffuser`: the released code's alphas, 5e4 for latents, 6e4 for image and 1e5 for text tokens.
- `brain-diffuser-chosen-alphas`: for each token the alpha with the best r2 on this project's validation images. The
  published ones suit 8,859 images and some 15,000 voxels.
- `brain-diffuser-test-statistics`: as the released code, which rescales the estimates of the test images from their own
  mean and standard deviation to the training targets'. That uses statistics of the test set: an estimate then
  depends on which other images are tested. It is here to measure what this is worth, and does not compete in Table 1.
- `brain-diffuser-best`: alphas by validation and as many images as BrainRAM generates, of which the one that agrees
  best with its own image estimate is shown. The published system generates one; this measures the choice.

Voxels are z-scored with training statistics (released code, `scripts/*_regression.py`). One image per stimulus,
strength .75, .4 text and .6 image (Methods, second stage).

Deviations of this project:
- The generator's autoencoder replaces the first 31 layers of a VDVAE (91,168 numbers): its latent is less abstract.
- Betas are this project's (z-scored in each session, averaged), then z-scored; validation images are not fitted on.
- Steps, scheduler and guidance scale are the profile's, the same for all systems (published: 50 steps of DDIM, scale
  7.5). On `mini` .75 of 5 steps are 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from brainram_lib.core.modalities import MODALITIES
from brainram_lib.core.store import Stage
from brainram_lib.pipeline.peers.latents import StartImages
from brainram_lib.pipeline.peers.linear import RegionRidge, Restandardised
from brainram_lib.pipeline.peers.pictures import PeerImages
from brainram_lib.pipeline.run import Run
from brainram_lib.systems.system import DECODER, System, Tokens, register

LATENTS = "latents"
# What is predicted -> the alphas to choose from; None: many.
Alphas = Mapping[str, tuple[float, ...] | None]
PUBLISHED: Alphas = {LATENTS: (5e4,), "image": (6e4,), "text": (1e5,)}
CHOSEN: Alphas = dict.fromkeys(PUBLISHED)
STRENGTH, TEXT_MIX = 0.75, 0.4

# What a system makes of a ridge.
Changed = Callable[[RegionRidge], Stage]


def ridge(run: Run, what: str, alphas: tuple[float, ...] | None) -> RegionRidge:
    """From all voxels to the latents or to one modality's tokens."""
    targets = run.latents() if what == LATENTS else run.targets(what)
    return RegionRidge(targets, run.images, run.profile.split.validation, what, alphas=alphas)


def tokens(run: Run, alphas: Alphas, then: Changed) -> Tokens:
    """The estimates of both modalities."""
    return {modality: then(ridge(run, modality, alphas[modality])) for modality in MODALITIES}


def images(run: Run, alphas: Alphas, then: Changed, name: str, draws: int = 1) -> Stage:
    """Guided by both, started from the image of the latents; of several draws the estimate chooses one."""
    guiding = tokens(run, alphas, then)
    start = StartImages(then(ridge(run, LATENTS, alphas[LATENTS])), run.generator)
    settings = replace(run.profile.generation, text_mix=TEXT_MIX, neighbour_share=0.0)
    chooser = guiding["image"] if draws > 1 else None
    how = run.generator, run.encoder, settings, draws, run.seed, f"generate, {name}"
    return PeerImages(guiding["image"], guiding["text"], start, STRENGTH, chooser, *how)


def _as_it_is(ridge: RegionRidge) -> Stage:
    return ridge


BEST = "brain-diffuser-best"


def shown(run: Run, alphas: Alphas, then: Changed, name: str) -> Stage:
    """One image, or those that this project's decoders choose from."""
    return images(run, alphas, then, name, run.profile.sampling.samples if name == BEST else 1)


for order, name, title, alphas, then in (
    (81, "brain-diffuser", "Brain-Diffuser", PUBLISHED, _as_it_is),
    (82, "brain-diffuser-chosen-alphas", "Brain-Diffuser, alphas by validation", CHOSEN, _as_it_is),
    (83, "brain-diffuser-test-statistics", "Brain-Diffuser, with test statistics", PUBLISHED, Restandardised),
    (84, BEST, "Brain-Diffuser, alphas by validation, best of its draws", CHOSEN, _as_it_is),
):
    register(
        System(
            name,
            title,
            "Ozcelik & VanRullen, Scientific Reports 2023",
            DECODER,
            order,
            lambda run, alphas=alphas, then=then: tokens(run, alphas, then),
            lambda run, alphas=alphas, then=then, name=name: shown(run, alphas, then, name),
            listed=False,
        )
    )
