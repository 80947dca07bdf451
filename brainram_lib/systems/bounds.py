"""What every decoder is compared with: existing images, shown as they are; betas of other stimuli; the true tokens.

The ceiling draws one image: choosing by the true tokens would be choosing by the truth.
"""

from __future__ import annotations

from brainram_lib.core.modalities import MODALITIES
from brainram_lib.pipeline.run import Run
from brainram_lib.systems.brainram import finds, images, refined
from brainram_lib.systems.system import BOUND, SHOWN, System, Tokens, register


def truth(run: Run) -> Tokens:
    """CLIP's tokens of the stimuli and captions themselves."""
    return {modality: run.targets(modality) for modality in MODALITIES}


register(
    System(
        "nearest-neighbour",
        "Nearest neighbour (its image)",
        "this workbench's baseline",
        SHOWN,
        40,
        images=lambda run: run.nearest_neighbour(),
    )
)
register(
    System(
        "nearest-train",
        "Nearest training image",
        "Shirakawa et al., arXiv 2405.10078",
        SHOWN,
        50,
        images=lambda run: run.nearest_training(),
    )
)
register(
    System(
        "shuffled",
        "Shuffled betas",
        "the profile's own method, its estimates and images of other brains",
        BOUND,
        60,
        refined,
        lambda run: run.shuffled(images(run)),
        shuffled=True,
        finds=finds,
    )
)
register(
    System(
        "ceiling",
        "True tokens (ceiling)",
        "the generator's ceiling",
        BOUND,
        70,
        truth,
        lambda run: run.generated(truth(run), draws=1, label="generate, ceiling"),
    )
)
