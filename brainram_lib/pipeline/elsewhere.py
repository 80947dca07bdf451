"""A trained decoder on betas of other stimuli: every stage after the betas runs again, nothing is trained again.

`on(stage, shown)` gives the stage that does for `shown` what `stage` does for the test images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brainram_lib.core.files import write_array
from brainram_lib.core.store import Stage, Store
from brainram_lib.pipeline.controls import Handed, Variant, searched
from brainram_lib.pipeline.data import finite
from brainram_lib.pipeline.pictures import Generated
from brainram_lib.pipeline.prior import Estimates, RidgeFit
from brainram_lib.pipeline.ram import FusionTraining, GuidingNeighbours, Refined, Retrieved
from brainram_lib.pipeline.shown import Shown
from brainram_lib.pipeline.trials import decoded

if TYPE_CHECKING:
    from brainram_lib.retrieval.index import Neighbours


class NotElsewhere(ValueError):
    """A decoder has kept no fitted model for use on other betas; the message names it."""


@dataclass(frozen=True)
class RidgeOn(RidgeFit):
    """A fitted ridge's estimates of what was shown, `test.npy` (n, T, D).

    Attributes:
        fitted: the ridge. shown: whose betas.
    """

    fitted: RidgeFit
    shown: Shown

    @property
    def name(self) -> str:
        return f"ridge-on-{self.targets.modality}"

    def make(self, folder: Path, store: Store) -> None:
        """Predict; nothing is fitted."""
        betas = store.result(self.shown).array("test")
        write_array(folder / "test.npy", finite(decoded(self.fitted, store, betas)[:, 0], self.name))


@dataclass(frozen=True)
class EstimatesOn(Estimates):
    """A prior's samples for what was shown, `test.npy` (n, S, T, D), kept as float16."""

    shown: Shown

    @property
    def name(self) -> str:
        return f"estimates-on-{self.prior.targets.modality}"

    def make(self, folder: Path, store: Store) -> None:
        """Sample as for the test images."""
        found = decoded(self, store, store.result(self.shown).array("test"))
        write_array(folder / "test.npy", finite(found.astype(np.float16), self.name))


@dataclass(frozen=True)
class Elsewhere(Variant):
    """The neighbours that such samples find; their settings are those of the search."""

    def neighbours(self, store: Store, split: str) -> Neighbours:
        """See `Variant`."""
        return searched(self, store, split)


def on(stage: Stage, shown: Shown) -> Stage:
    """The stage for these stimuli in the place of the test images.

    Raises:
        NotElsewhere: it is, or needs, a stage that cannot be handed other betas.
    """

    def again(one: Stage | None) -> Stage | None:
        return None if one is None else on(one, shown)

    if type(stage) is RidgeFit:
        return RidgeOn(stage.targets, stage.validation, stage, shown)
    if type(stage) is Estimates:
        return EstimatesOn(stage.prior, stage.sampling, stage.seed, shown)
    if type(stage) is Retrieved:
        return Elsewhere.of(replace(stage, image=again(stage.image), text=again(stage.text)))
    if type(stage) is FusionTraining:
        moved = {name: again(getattr(stage, name)) for name in ("estimates", "beside", "found")}
        return replace(Handed.to(stage, moved["found"]), **moved)
    if type(stage) is Refined:
        return replace(stage, fusion=again(stage.fusion))
    if type(stage) is GuidingNeighbours:
        return replace(stage, estimate=again(stage.estimate), found=again(stage.found))
    if type(stage) is Generated:
        return replace(stage, image=again(stage.image), text=again(stage.text), guide=again(stage.guide))
    raise NotElsewhere(
        f"'{stage.name}' cannot be handed the betas of other stimuli: what it fitted is not kept. Choose a system made "
        "of ridge, Stage I and a fusion."
    )


def tokens_on(tokens: Mapping[str, Stage], shown: Shown) -> dict[str, Stage]:
    """A system's tokens for these stimuli.

    Raises:
        NotElsewhere: it cannot be handed other betas.
    """
    return {modality: on(stage, shown) for modality, stage in tokens.items()}
