"""Plain alternatives to Stage II, given the same samples and neighbours: what a trained fusion must beat."""

from __future__ import annotations

from brainram_lib.core.modalities import MODALITIES
from brainram_lib.pipeline.plain import Mixed, RidgeOnNeighbours
from brainram_lib.pipeline.prior import Estimates
from brainram_lib.pipeline.ram import Retrieved
from brainram_lib.pipeline.run import Run
from brainram_lib.systems.system import DECODER, System, Tokens, register


def mixed(run: Run) -> Tokens:
    """(1 - w) p + w times the mean of its neighbours."""
    return {modality: Mixed(*_given(run, modality)) for modality in MODALITIES}


def ridge_on_neighbours(run: Run) -> Tokens:
    """Ridge per token from p and the mean neighbour."""
    return {modality: RidgeOnNeighbours(*_given(run, modality)) for modality in MODALITIES}


def _given(run: Run, modality: str) -> tuple[Estimates, Retrieved, bool, int]:
    """What the fusion of this run is given."""
    profile = run.profile
    return run.estimates(modality), run.neighbours(modality), profile.stage2.pooled, profile.split.validation


for order, name, title, tokens in (
    (24, "convex-mix", "Convex mix of p and its neighbours", mixed),
    (25, "ridge-on-neighbours", "Ridge on p and its neighbours", ridge_on_neighbours),
):
    register(
        System(
            name,
            title,
            "this workbench's alternative to Stage II",
            DECODER,
            order,
            tokens,
            lambda run, tokens=tokens, name=name: run.generated(tokens(run), label=f"generate, {name}"),
            listed=False,
        )
    )
