"""Ridge: one linear map per token, alpha by r2 on validation images, into the same generator.

As many images are drawn as for the others, and its own estimate chooses: otherwise a choice of four would flatter
systems that have samples.
"""

from __future__ import annotations

from brainram_lib.core.modalities import MODALITIES
from brainram_lib.pipeline.run import Run
from brainram_lib.systems.system import DECODER, System, Tokens, register


def tokens(run: Run) -> Tokens:
    """The ridge's estimates of both modalities."""
    return {modality: run.ridge(modality) for modality in MODALITIES}


register(
    System(
        "ridge",
        "Ridge",
        "this workbench's baseline",
        DECODER,
        30,
        tokens,
        lambda run: run.generated(tokens(run), label="generate, ridge"),
    )
)
