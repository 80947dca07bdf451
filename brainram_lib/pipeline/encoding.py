"""An encoding model of a subject's voxels, and how well its betas for reconstructions match the measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float32

from brainram_lib.core.files import write_array, write_json
from brainram_lib.core.store import Stage, Store
from brainram_lib.nsd.prepared import PreparedSubject
from brainram_lib.pipeline.data import ENCODE_CHUNK, SPLITS, Targets
from brainram_lib.pipeline.nearest import derangement
from brainram_lib.pipeline.pictures import CHOSEN

if TYPE_CHECKING:
    from brainram_lib.audits.encoding import Encoding

ALL = "all"
REGIONS = ("V1", "V2", "V3", "hV4", "early", "ventral", "lateral", "parietal")
# Fewer voxels than this make no pattern.
LEAST_VOXELS = 10


def regions_of(prepared: PreparedSubject) -> dict[str, Bool[np.ndarray, " voxels"]]:
    """All voxels, and the regions in which a subject has enough voxels."""
    masks = {name: prepared.roi(name) for name in REGIONS if name in prepared.roi_names}
    everything = np.ones(len(prepared.voxel_index), bool)
    return {ALL: everything} | {name: mask for name, mask in masks.items() if mask.sum() >= LEAST_VOXELS}


@dataclass(frozen=True)
class EncodingModel(Stage):
    """Ridge from pictures to betas, fitted on the training images; no test image has a say.

    `r.npy`: every voxel's r over the test images; `own.json`: its mean by region, with an interval over images.

    Attributes:
        targets: image tokens, of which the features are made.
        cells: parts per side of the image; tokens are averaged within each part.
    """

    targets: Targets
    cells: int = 4

    def make(self, folder: Path, store: Store) -> None:
        """Fit, and predict the test images' betas from the stimuli."""
        from brainram_lib.audits.encoding import Encoding, own_correlation, voxel_correlation

        betas = self.targets.images.betas(store)
        train, test = (self.features(store.result(self.targets).array(split)) for split in SPLITS)
        fitted = Encoding.fit(train, betas["train"])
        for name, values in vars(fitted).items():
            write_array(folder / f"{name}.npy", values)
        predicted = fitted.predict(test)
        write_array(folder / "centre.npy", betas["train"].mean(0))
        write_array(folder / "r.npy", voxel_correlation(predicted, betas["test"]))
        write_json(folder / "own.json", own_correlation(predicted, betas["test"], self.regions(store)))

    def features(self, tokens: np.ndarray) -> Float32[np.ndarray, "n features"]:
        """Of image tokens, a chunk at a time: all of them do not fit into memory."""
        from brainram_lib.audits.encoding import picture_features

        starts = range(0, len(tokens), ENCODE_CHUNK)
        return np.concatenate(
            [picture_features(np.asarray(tokens[at : at + ENCODE_CHUNK]), self.cells) for at in starts]
        )

    def regions(self, store: Store) -> Mapping[str, Bool[np.ndarray, " voxels"]]:
        """The subject's regions."""
        return regions_of(self.targets.images.subject.prepared(store))

    def load(self, store: Store) -> Encoding:
        """The fitted model."""
        from brainram_lib.audits.encoding import Encoding

        result = store.result(self)
        names = ("mean", "scale", "weights", "intercept", "alphas")
        return Encoding(**{name: np.array(result.array(name)) for name in names})


@dataclass(frozen=True)
class BrainAgreement(Stage):
    """Correlation of measured betas with those that the model predicts for a system's images: `values.json`, by region.

    Attributes:
        model: the encoding model.
        made: the stage of the images; None: the stimuli themselves.
        shuffled: a seed, to compare every image with another brain; None: with its own.
    """

    model: EncodingModel
    made: Stage | None
    shuffled: int | None = None

    def make(self, folder: Path, store: Store) -> None:
        """One r per image and region, over the region's voxels."""
        from brainram_lib.audits.encoding import pattern_correlation

        model, targets = self.model.load(store), self.model.targets
        if self.made is None:
            tokens = store.result(targets).array("test")
        else:
            shown = np.array(store.result(self.made).array(CHOSEN))
            tokens = targets.encoder.load().image_tokens(shown).numpy()
        predicted = model.predict(self.model.features(tokens))
        if self.shuffled is not None:
            predicted = predicted[derangement(len(predicted), self.shuffled)]
        measured = targets.images.betas(store)["test"]
        centre = np.array(store.result(self.model).array("centre"))
        values = pattern_correlation(predicted, measured, centre, self.model.regions(store))
        write_json(folder / "values.json", {name: one.tolist() for name, one in values.items()})
