"""BrainRAM: both stages, and the same without Stage II (Table 3)."""

from __future__ import annotations

from brainram_lib.core.modalities import MODALITIES
from brainram_lib.core.store import Stage
from brainram_lib.pipeline.run import Run
from brainram_lib.systems.system import DECODER, System, Tokens, register


def refined(run: Run) -> Tokens:
    """p + q of both modalities."""
    return {modality: run.refined(modality) for modality in MODALITIES}


def estimates(run: Run) -> Tokens:
    """p of both modalities."""
    return {modality: run.estimates(modality) for modality in MODALITIES}


def images(run: Run) -> Stage:
    """Guided by p + q and, where the profile says so, by a neighbour."""
    return run.generated(refined(run), guided=True, label="generate, brainram")


register(System("brainram", "BrainRAM", "section 3", DECODER, 10, refined, images))
register(
    System(
        "brainram-no-ram",
        "BrainRAM without RAM",
        "section 4.5, Table 3",
        DECODER,
        20,
        estimates,
        lambda run: run.generated(estimates(run), label="generate, brainram-no-ram"),
    )
)
