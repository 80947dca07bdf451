"""Splits that hold whole clusters of stimuli out of training, and estimates that need no brain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int

from brainram_lib.audits.clusters import held_out
from brainram_lib.core.files import write_array, write_blocks, write_json
from brainram_lib.core.store import Stage, Store
from brainram_lib.pipeline.data import ENCODE_CHUNK, SPLITS, Images, Targets
from brainram_lib.pipeline.nearest import nearest_by_tokens
from brainram_lib.pipeline.pictures import CHOSEN

# How many parts the clusters are divided into; each is held out in turn.
FOLDS = 5


@dataclass(frozen=True)
class StimulusClusters(Stage):
    """k-means of the stimuli's global image embeddings: `train.npy` and `test.npy` hold labels, `centres.npy` vectors.

    Attributes:
        targets: image tokens of all images. clusters: k.
        seed: of the k-means; the same for every seed of a run, because it defines a split.
    """

    targets: Targets
    clusters: int
    seed: int = 0

    def make(self, folder: Path, store: Store) -> None:
        """Centres from the training stimuli; the test stimuli go to the nearest."""
        from brainram_lib.audits.clusters import clusters_of

        result = store.result(self.targets)
        train, test = (np.asarray(result.array(split)[:, 0], np.float32) for split in SPLITS)
        found = clusters_of(train, test, self.clusters, self.seed)
        for name, values in vars(found).items():
            write_array(folder / f"{name}.npy", values)

    def labels(self, store: Store, split: str) -> Int[np.ndarray, " n"]:
        """The cluster of every stimulus of a split."""
        return np.array(store.result(self).array(split))


@dataclass(frozen=True)
class HeldOut(Images):
    """A subject's images without the training images of some clusters. All test images stay.

    Attributes:
        clusters: of all images.
        fold: which fifth of the clusters is held out.
    """

    clusters: StimulusClusters
    fold: int

    @property
    def whole(self) -> Images:
        """With all training images."""
        return self.clusters.targets.images

    def make(self, folder: Path, store: Store) -> None:
        """The nsdIds of both splits."""
        ids = {split: self.whole.nsd_ids(store, split) for split in SPLITS}
        kept = {"train": ids["train"][self.trained_on(store)], "test": ids["test"]}
        if not len(kept["train"]):
            raise ValueError(
                f"no training image is outside the clusters of fold {self.fold}: with {self.clusters.clusters} "
                "clusters all are in one. Ask for more clusters."
            )
        for split, values in kept.items():
            write_array(folder / f"{split}.npy", values)

    def betas(self, store: Store) -> dict[str, Float32[np.ndarray, "_n voxels"]]:
        """See `Images`."""
        found = self.whole.betas(store)
        return {"train": found["train"][self.trained_on(store)], "test": found["test"]}

    def trained_on(self, store: Store) -> Bool[np.ndarray, " n"]:
        """Which of all training images are left."""
        return ~held_out(self.clusters.labels(store, "train"), self.fold, FOLDS)

    def outside(self, store: Store) -> Bool[np.ndarray, " m"]:
        """Which test images are of the held-out clusters, of which no training image is left."""
        return held_out(self.clusters.labels(store, "test"), self.fold, FOLDS)


@dataclass(frozen=True)
class SubsetTargets(Targets):
    """The targets of some images, taken from those of all."""

    whole: Targets

    def make(self, folder: Path, store: Store) -> None:
        """The rows of the images that are left; nothing is encoded again."""
        for split in SPLITS:
            ids, known = (one.images.nsd_ids(store, split) for one in (self, self.whole))
            rows, array = np.searchsorted(known, ids), store.result(self.whole).array(split)
            starts = range(0, len(rows), ENCODE_CHUNK)
            write_blocks(folder / f"{split}.npy", len(rows), (array[rows[at : at + ENCODE_CHUNK]] for at in starts))


@dataclass(frozen=True)
class MeanTarget(Stage):
    """The mean training target, for every test stimulus."""

    targets: Targets

    def make(self, folder: Path, store: Store) -> None:
        """(n, T, D)."""
        result = store.result(self.targets)
        mean = result.array("train").mean(0, dtype=np.float64).astype(np.float32)
        write_array(folder / "test.npy", np.repeat(mean[None], len(result.array("test")), axis=0))


@dataclass(frozen=True)
class InSpan(Stage):
    """An upper bound without a brain: the point in the span of the training targets nearest to the true target."""

    targets: Targets

    def make(self, folder: Path, store: Store) -> None:
        """(n, T, D), and how many dimensions are spanned."""
        from brainram_lib.audits.span import in_span

        result = store.result(self.targets)
        train, test = (result.array(split) for split in SPLITS)
        found = in_span(train.reshape(len(train), -1), test.reshape(len(test), -1))
        write_array(folder / "test.npy", found.projected.reshape(test.shape))
        write_json(folder / "span.json", {"rank": found.rank, "of": found.of})


@dataclass(frozen=True)
class NearestTarget(Stage):
    """The tokens of the training stimulus whose image tokens are nearest to the test stimulus's tokens from `by`.

    Attributes:
        targets: whose training tokens are returned. image_targets: whose are compared.
        by: the stage whose `test.npy` is compared: an estimate, or the targets themselves for an upper bound.
    """

    targets: Targets
    image_targets: Targets
    by: Stage

    def make(self, folder: Path, store: Store) -> None:
        """(n, T, D), and the rows among the training stimuli."""
        asked = np.asarray(store.result(self.by).array("test"), np.float32)
        asked = asked.mean(1) if asked.ndim == 4 else asked
        known = np.asarray(store.result(self.image_targets).array("train"), np.float32)
        rows, _ = nearest_by_tokens(asked, known)
        write_array(folder / "rows.npy", rows)
        write_array(folder / "test.npy", np.asarray(store.result(self.targets).array("train")[rows], np.float32))


@dataclass(frozen=True)
class TrainingPicture(Stage):
    """The training image that a `NearestTarget` chose, as it is."""

    nearest: NearestTarget

    def make(self, folder: Path, store: Store) -> None:
        """One for each test stimulus."""
        rows = np.array(store.result(self.nearest).array("rows"))
        shown = self.nearest.image_targets.images.stimuli(store, "train")
        write_array(folder / f"{CHOSEN}.npy", shown[rows])
