"""Linear decoders of the compared systems: single trials, voxels of some regions, ridge with its alphas."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from brainram_lib.core.files import write_array, write_json
from brainram_lib.core.store import Stage, Store
from brainram_lib.nsd.prepared import PreparedSubject
from brainram_lib.pipeline.data import Images, Subject, finite, validation_rows


@dataclass(frozen=True)
class SingleTrials(Stage):
    """A subject's betas trial by trial: the same sessions, voxels and normalisation, not averaged over repetitions.

    Attributes:
        subject: whose averages the other systems are fitted on.
    """

    subject: Subject

    @property
    def name(self) -> str:
        return "single-trials"

    def make(self, folder: Path, store: Store) -> None:
        """See `Source.prepare`."""
        subject = self.subject
        subject.source.prepare(store.root, subject.subject, subject.data, folder, average=False)

    def of(
        self, store: Store, nsd_ids: Int[np.ndarray, " n"]
    ) -> tuple[Float[np.ndarray, "trials voxels"], Int[np.ndarray, " trials"]]:
        """The training trials of some images, and which of these images each shows.

        Args:
            nsd_ids: of the images, ascending.
        """
        prepared = PreparedSubject.load(store.result(self).folder)
        shown = np.flatnonzero(np.isin(prepared.train_ids, nsd_ids))
        return np.asarray(prepared.betas("train")[shown]), np.searchsorted(nsd_ids, prepared.train_ids[shown])


@dataclass(frozen=True)
class RegionRidge(Stage):
    """Ridge from the voxels of some regions to a target of the training images; its estimates of the test images.

    Voxels are z-scored with the mean and standard deviation of the rows fitted on. Each token has an alpha of its
    own, the one with the best r2 on the validation images, whose betas are averages like the test images'. A target
    without tokens (a latent) has one.

    Attributes:
        targets: the stage whose `train.npy` it is fitted on, (n, T, D) or a latent (n, C, h, w).
        images: whose betas.
        validation: training images that choose alpha and are not fitted on.
        what: is being predicted, for the stage's name.
        regions: whose voxels are used, together; if empty, all voxels.
        trials: single trials to fit on; None: averages over repetitions.
        alphas: to choose from; a single one is fixed; None: the candidates of `core.ridge`.
    """

    targets: Stage
    images: Images
    validation: int
    what: str
    regions: tuple[str, ...] = ()
    trials: SingleTrials | None = None
    alphas: tuple[float, ...] | None = None

    @property
    def name(self) -> str:
        return f"region-ridge-{self.what}"

    def make(self, folder: Path, store: Store) -> None:
        """Fit, and estimate the test images: `test.npy`, in the target's shape."""
        from brainram_lib.core.ridge import ALPHAS, fit_ridge

        goals = np.asarray(store.result(self.targets).array("train"), np.float32)
        shape, goals = goals.shape[1:], goals.reshape(len(goals), goals.shape[1] if goals.ndim == 3 else 1, -1)
        fit, held = validation_rows(len(goals), self.validation)
        known, row = self._fitting(store, fit)
        voxels, betas = self._voxels(store), self.images.betas(store)
        mean, spread = _statistics(known[:, voxels])
        scaled = {split: (rows[:, voxels] - mean) / spread for split, rows in betas.items()}
        fitted = (known[:, voxels] - mean) / spread
        ridge = fit_ridge(fitted, goals[row], scaled["train"][held], goals[held], self.alphas or ALPHAS)
        estimates = finite(ridge.predict(scaled["test"]), self.name)
        write_array(folder / "test.npy", estimates.reshape(len(estimates), *shape))
        said = {"alphas": ridge.alphas.tolist(), "validation_r2": ridge.r2.tolist()}
        write_json(folder / "fit.json", {**said, "rows": len(fitted), "voxels": int(voxels.sum())})

    def _fitting(
        self, store: Store, fit: Int[np.ndarray, " fit"]
    ) -> tuple[Float[np.ndarray, "rows voxels"], Int[np.ndarray, " rows"]]:
        """Betas to fit on, and the training image of each row."""
        if self.trials is None:
            return self.images.betas(store)["train"][fit], fit
        betas, shown = self.trials.of(store, self.images.nsd_ids(store, "train")[fit])
        return betas, fit[shown]

    def _voxels(self, store: Store) -> Bool[np.ndarray, " voxels"]:
        """The voxels of the regions.

        Raises:
            ValueError: the prepared betas have none of them.
        """
        prepared = self.images.subject.prepared(store)
        if not self.regions:
            return np.ones(prepared.betas("test").shape[1], bool)
        known = [prepared.roi(region) for region in self.regions if region in prepared.roi_names]
        chosen = np.logical_or.reduce(known) if known else np.zeros(1, bool)
        if not chosen.any():
            raise ValueError(
                f"'regions' of '{self.name}' must have voxels among the prepared betas. {', '.join(self.regions)} "
                "have none. Prepare a larger 'data.roi'; data of your own need masks of these names."
            )
        return chosen


def _statistics(
    rows: Float[np.ndarray, "n voxels"],
) -> tuple[Float[np.ndarray, " voxels"], Float[np.ndarray, " voxels"]]:
    """Mean and standard deviation of each voxel; one that never changes is divided by 1."""
    mean, spread = rows.mean(0), rows.std(0, ddof=1)
    return mean, np.where(spread > 0, spread, 1).astype(rows.dtype)


@dataclass(frozen=True)
class Restandardised(Stage):
    """Estimates rescaled, feature by feature, from the test set's mean and standard deviation to the training targets'.

    An estimate then depends on which other stimuli are tested. This exists to measure what the step is worth, in
    systems whose names say so.

    Attributes:
        ridge: whose estimates.
    """

    ridge: RegionRidge

    @property
    def name(self) -> str:
        return f"test-statistics-{self.ridge.what}"

    def make(self, folder: Path, store: Store) -> None:
        """(p - mean p) / sd p * sd y + mean y; a feature that is estimated alike for all keeps the mean."""
        estimates = np.asarray(store.result(self.ridge).array("test"), np.float32)
        goals = np.asarray(store.result(self.ridge.targets).array("train"), np.float32)
        fit, _ = validation_rows(len(goals), self.ridge.validation)
        spread = estimates.std(0)
        scaled = (estimates - estimates.mean(0)) / np.where(spread > 0, spread, 1)
        write_array(folder / "test.npy", finite(scaled * goals[fit].std(0) + goals[fit].mean(0), self.name))
