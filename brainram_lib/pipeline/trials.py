"""Decoders on fewer repetitions: the same estimates from one, two or three presentations of a test image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Float32, Int

from brainram_lib.core.files import write_array, write_json
from brainram_lib.core.store import Stage, Store
from brainram_lib.nsd.noise import REPETITIONS
from brainram_lib.nsd.normalise import DEFAULT_NORMALISATION
from brainram_lib.pipeline.data import Images, Targets
from brainram_lib.pipeline.prior import Estimates, RidgeFit, sampled
from brainram_lib.pipeline.scores import POOL, token_scores
from brainram_lib.stage1.settings import DRAW


class NoTrials(ValueError):
    """Single trials would not compare with the betas that were prepared; the message says why."""


@dataclass(frozen=True)
class Repetitions(Stage):
    """The three presentations of every test image that has three: `test.npy` (n, 3, voxels), `rows.npy`, `ids.npy`.

    Rows are those of the images among the test images.
    """

    images: Images

    def make(self, folder: Path, store: Store) -> None:
        """Read the sessions again, z-scored as the prepared betas are.

        Raises:
            NoTrials: the prepared betas are normalised in another way.
        """
        subject = self.images.subject
        if subject.data.normalisation != DEFAULT_NORMALISATION:
            raise NoTrials(
                f"single trials are z-scored by session, and this profile's betas are '{subject.data.normalisation}': "
                f"they do not compare. Set data.normalisation to '{DEFAULT_NORMALISATION}' for this audit."
            )
        ids, betas = subject.source.repetitions(store.root, subject.subject, subject.prepared(store))
        used = self.images.nsd_ids(store, "test")
        kept = np.isin(ids, used)
        write_array(folder / "test.npy", betas[kept])
        write_array(folder / "ids.npy", ids[kept])
        write_array(folder / "rows.npy", np.searchsorted(used, ids[kept]))

    def rows(self, store: Store) -> Int[np.ndarray, " n"]:
        """Places among the test images."""
        return np.array(store.result(self).array("rows"))


@dataclass(frozen=True)
class TrialScores(Stage):
    """Per-image scores of a decoder's tokens from 1, 2 and 3 repetitions: `values.json`, {count: {metric: values}}.

    For fewer than three a score is the mean over every choice of repetitions.

    Attributes:
        image, text: the decoders, ridges or priors; they are not trained again.
        trials: of the test images.
    """

    VERSION: ClassVar[int] = 2  # caption retrieval added

    image: RidgeFit | Estimates
    text: RidgeFit | Estimates
    trials: Repetitions

    def make(self, folder: Path, store: Store) -> None:
        """Decode each choice, and score it."""
        from brainram_lib.audits.ceilings import averages, mean_over_choices

        trials = np.array(store.result(self.trials).array("test"))
        decoders = {targets_of(stage).modality: stage for stage in (self.image, self.text)}
        found = {}
        for count in range(1, REPETITIONS + 1):
            choices = [self._scores(store, decoders, betas) for betas in averages(trials, count)]
            means = mean_over_choices(choices)
            found[str(count)] = {name: np.asarray(one, np.float64).tolist() for name, one in means.items()}
        write_json(folder / "values.json", found)

    def _scores(
        self, store: Store, decoders: Mapping[str, Stage], betas: Float32[np.ndarray, "n voxels"]
    ) -> dict[str, np.ndarray]:
        rows, values = self.trials.rows(store), {}
        for modality, stage in decoders.items():
            target = np.asarray(store.result(targets_of(stage)).array("test")[rows], np.float32)
            values |= token_scores(modality, decoded(stage, store, betas), target, min(POOL, len(rows)))
        return values


def targets_of(stage: RidgeFit | Estimates) -> Targets:
    """What a decoder estimates."""
    return stage.targets if isinstance(stage, RidgeFit) else stage.prior.targets


def decoded(
    stage: RidgeFit | Estimates, store: Store, betas: Float[np.ndarray, "n voxels"]
) -> Float32[np.ndarray, "n samples tokens width"]:
    """A decoder's estimates from any betas, as it makes them of the test images."""
    from brainram_lib.core.rows import Rows

    betas = np.asarray(betas, np.float32)
    if isinstance(stage, RidgeFit):
        return stage.load(store).predict(betas)[:, None]
    prior, linear = stage.prior.load(store), stage.prior.linear
    known = None if linear is None else Rows(linear.ridge.load(store).predict(betas))
    draws = stage.sampling.kind == DRAW
    seeds = range(stage.seed * 1000, stage.seed * 1000 + stage.sampling.samples) if draws else None
    blocks = sampled(prior, Rows(betas), known, seeds, stage.sampling.steps, f"{stage.name}, other betas")
    return np.concatenate(list(blocks)).astype(np.float32)
