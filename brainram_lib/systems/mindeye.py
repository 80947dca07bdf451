"""MindEye: a residual MLP to all image tokens, a diffusion prior, and a low-level pipeline for the start image.

Scotti et al., Reconstructing the Mind's Eye (NeurIPS 2023, arXiv 2305.18274). Sizes and training are in
`peers/settings.py`, each beside its source. Two systems: `mindeye` shows, of 16 images, the one whose CLIP tokens are
most like the projector's; `mindeye-one` shows one, like systems that do not choose.

- Image tokens alone guide; start image from the low-level pipeline, strength .85 (released code). One sample of the
  prior, through all 100 times; the 16 images differ in the generator's noise (released code).
- Trained on single trials, each image once per epoch; estimates from averages (released code).
- Image and brain retrieval compare the projector's tokens with the test images' (released code). The corpus is queried
  by samples of the prior, which lie in CLIP's space, and the projector's tokens choose among what they find.

Deviations of this project:
- The low-level pipeline has plain convolutions and no contrastive head on ConvNeXt features.
- The one-cycle rate rises over 30 % of the steps (published: two epochs); biases decay as weights do; images are not
  augmented; only the condition of the prior is dropped in training, not its noisy tokens; no rotary positions.
- The last epoch's weights are used; validation images are watched and choose nothing.
- On `mini` the networks are small and the epochs few, guidance scale and steps are the profile's, and .85 of 5 steps
  are 4. `paper` has the published sizes, 20 steps and scale 3.5.
"""

from __future__ import annotations

from dataclasses import replace

from brainram_lib.core.store import Stage
from brainram_lib.pipeline.found import OUTPUTS
from brainram_lib.pipeline.peers.latents import StartImages
from brainram_lib.pipeline.peers.mindeye import (
    LowLevelEstimates,
    LowLevelTraining,
    MindEyeEstimates,
    MindEyeProjected,
    MindEyeSamples,
    MindEyeTraining,
)
from brainram_lib.pipeline.peers.pictures import PeerImages
from brainram_lib.pipeline.run import Run
from brainram_lib.systems.system import DECODER, Finds, System, register

STRENGTH, DRAWS = 0.85, 16


def training(run: Run) -> MindEyeTraining:
    """The high-level pipeline."""
    profile = run.profile
    how = profile.peers.mindeye, profile.split.validation, run.seed
    return MindEyeTraining(run.targets("image"), run.trials(), *how)


def start(run: Run) -> StartImages:
    """Of the low-level pipeline."""
    profile = run.profile
    how = profile.peers.low_level, profile.split.validation, run.seed
    return StartImages(LowLevelEstimates(LowLevelTraining(run.latents(), run.trials(), *how)), run.generator)


def finds(run: Run) -> Finds:
    """Both estimates, each where it is used."""
    trained = training(run)
    projected = MindEyeProjected(trained)
    return Finds(MindEyeSamples(trained, run.seed, OUTPUTS), choosing=projected, compared=projected)


def images(run: Run, draws: int, name: str) -> Stage:
    """Guided by the prior's tokens alone; of several, the one that the projector's tokens agree with best."""
    trained = training(run)
    chooser = MindEyeProjected(trained) if draws > 1 else None
    settings = replace(run.profile.generation, text_mix=0.0, neighbour_share=0.0)
    how = run.generator, run.encoder, settings, draws, run.seed, f"generate, {name}"
    return PeerImages(MindEyeEstimates(trained, run.seed), None, start(run), STRENGTH, chooser, *how)


for order, name, title, draws in (
    (84, "mindeye", "MindEye, best of 16", DRAWS),
    (85, "mindeye-one", "MindEye, one sample", 1),
):
    register(
        System(
            name,
            title,
            "Scotti et al., NeurIPS 2023",
            DECODER,
            order,
            images=lambda run, draws=draws, name=name: images(run, draws, name),
            listed=False,
            finds=finds,
        )
    )
