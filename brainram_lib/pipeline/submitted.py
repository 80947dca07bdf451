"""Scores of reconstructions that others made, against the test stimuli of a run, as a preset scores.

Features are stages of their own: those of a folder are computed once, and those of the stimuli once for all folders.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, UInt8

from brainram_lib.core.files import write_array, write_json
from brainram_lib.core.measure import hand_back_memory
from brainram_lib.core.store import Stage, Store
from brainram_lib.evaluation import catalogue
from brainram_lib.evaluation.catalogue import Metric
from brainram_lib.evaluation.images import Resizing
from brainram_lib.evaluation.presets import OWN, Preset, preset_of
from brainram_lib.evaluation.submitted import SHOWN, Submission, SubmissionError, read_submission
from brainram_lib.pipeline.data import Images
from brainram_lib.pipeline.weights import EncoderWeights

if TYPE_CHECKING:
    from brainram_lib.evaluation.metrics import Backbone

# With fewer images than the field's retrieval pool a table says so.
POOL = 300


@dataclass(frozen=True)
class Made:
    """A folder of reconstructions and, where a preset blends, one of their blurry twins. Marks are of the files."""

    folder: Path = field(metadata={"keyed": False})
    content: str
    blurry: Path | None = field(default=None, metadata={"keyed": False})
    blurry_content: str | None = None

    def read(self, preset: Preset) -> Submission:
        """The images, blended as the preset says.

        Raises:
            SubmissionError: blurry images of other ids, or a preset that blends none.
        """
        sharp = read_submission(self.folder)
        if self.blurry is None:
            return sharp
        if preset.blend is None:
            raise SubmissionError(f"the preset '{preset.name}' blends nothing: leave '{self.blurry}' out.")
        blurry = read_submission(self.blurry)
        if lacking := sorted(set(sharp.ids.tolist()) - set(blurry.ids.tolist())):
            raise SubmissionError(
                f"'{self.blurry}' lacks {len(lacking)} of the {len(sharp.ids)} images of '{self.folder}', the first "
                f"nsdId {lacking[0]}. Every reconstruction needs its blurry twin."
            )
        from brainram_lib.evaluation.images import blended

        twins = blurry.images[np.searchsorted(blurry.ids, sharp.ids)]
        mixed = blended(sharp.images, twins, preset.blend, preset.resizing)
        return Submission(sharp.ids, mixed, sharp.left_out, sharp.clipped)


@lru_cache(maxsize=1)
def read_once(made: Made, preset: str) -> Submission:
    """The folder, read once for all networks; read again if its files, whose marks are in the key, have changed."""
    return made.read(preset_of(preset))


@dataclass(frozen=True)
class Features(Stage):
    """One network's features of images, `<layer>.npy`, in the order of their nsdIds.

    Attributes:
        images: the stimuli's. mark: of their file.
        made: the folder of the images; None: the test stimuli themselves.
        backbone: the network. layers: which of its layers.
        preset: keyed by what it does to images.
        encoder: of the network 'clip'.
    """

    images: Images
    mark: str
    made: Made | None
    backbone: str
    layers: tuple[str, ...]
    resizing: Resizing
    clip: str
    preset: str = field(metadata={"keyed": False})
    encoder: EncoderWeights = field(metadata={"keyed": False})

    @property
    def keyed_fields(self) -> dict[str, object]:
        """Only what changes these features: CLIP's settings for CLIP alone, a blend only for what is blended."""
        blend = None if self.made is None or self.made.blurry is None else preset_of(self.preset).blend
        changed = {"blend": blend, "clip": self.clip, "encoder": self.encoder.key}
        if self.backbone != "clip":
            changed |= {"clip": None, "encoder": None}
        elif self.clip == OWN and blend is None:
            changed["resizing"] = None
        return super().keyed_fields | changed

    @property
    def name(self) -> str:
        return f"features-{self.backbone}"

    def make(self, folder: Path, store: Store) -> None:
        """Compute the features of all of them."""
        pictures = self.images.stimuli(store, "test") if self.made is None else self._made()
        features = dict(self._network()(pictures))
        # the next network needs the memory
        for layer in list(features):
            write_array(folder / f"{layer}.npy", features.pop(layer))
        hand_back_memory()

    def _made(self) -> UInt8[np.ndarray, "n height width 3"]:
        return read_once(self.made, self.preset).images

    def _network(self) -> Backbone:
        from brainram_lib.evaluation.backbones import load_network, one_layer, resized_clip

        if self.backbone != "clip":
            return load_network(self.backbone, resizing=self.resizing, layers=self.layers)
        encoder = self.encoder.load(images_alone=True)
        if self.clip == OWN:
            return one_layer(lambda seen: encoder.pooled_images(seen).numpy())
        return resized_clip(encoder, self.resizing)


@dataclass(frozen=True)
class SubmittedScores(Stage):
    """Per-image scores of a folder of reconstructions: `values.json`, and `said.json`, what was not scored.

    Attributes:
        made: the folder.
        images: the stimuli. mark: of their file.
        metrics: a set of `evaluation.catalogue`.
        preset: a name of `evaluation.presets`.
        encoder: of the metric 'clip'.
    """

    made: Made
    images: Images
    mark: str
    metrics: str
    preset: str
    encoder: EncoderWeights

    @property
    def columns(self) -> tuple[Metric, ...]:
        """The metrics that the preset measures."""
        return preset_of(self.preset).metrics(catalogue.metric_set(self.metrics))

    def features(self, made: Made | None) -> dict[str, Features]:
        """Of the folder, or with None of the stimuli, by network."""
        preset, layers = preset_of(self.preset), {}
        for one in self.columns:
            if one.backbone is not None:
                layers.setdefault(one.backbone, {})[one.layer] = None
        how = preset.resizing, preset.clip, preset.name, self.encoder
        return {name: Features(self.images, self.mark, made, name, tuple(of), *how) for name, of in layers.items()}

    @property
    def inputs(self) -> dict[str, Stage]:
        """The features of both sides."""
        made, real = self.features(self.made), self.features(None)
        sides = {f"made_{name}": stage for name, stage in made.items()}
        return super().inputs | sides | {f"real_{name}": stage for name, stage in real.items()}

    def check(self, store: Store) -> tuple[Submission, Int[np.ndarray, " n"]]:
        """The folder's images, and the test image that each is of; checked before any network runs.

        Raises:
            SubmissionError: an image that is of no test image, or fewer than two to score.
        """
        submission, known = read_once(self.made, self.preset), self.images.nsd_ids(store, "test")
        strangers = np.setdiff1d([*submission.ids, *submission.left_out], known)
        if len(strangers):
            raise SubmissionError(
                f"'{self.made.folder}' holds {len(strangers)} images that are of no test image of this subject, the "
                f"first nsdId {_first(strangers)}. Ids are counted from 0.{_as_positions(submission, known)}"
            )
        if len(submission.ids) < 2:
            raise SubmissionError(f"'{self.made.folder}' holds {len(submission.ids)} images to score; two are needed.")
        place = {int(one): row for row, one in enumerate(known)}
        return submission, np.array([place[int(one)] for one in submission.ids])

    def make(self, folder: Path, store: Store) -> None:
        """Compare the images whose stimuli are test images of the subject."""
        preset, (submission, rows) = preset_of(self.preset), self.check(store)
        notes = _notes(submission, self.images.nsd_ids(store, "test"), preset, self.made.blurry is not None)
        # the pixel metrics need the memory of CLIP, and the features need that of the images
        self.encoder.release()
        values = self._of_pixels(store, submission, rows)
        del submission
        read_once.cache_clear()
        values |= self._of_features(store, rows)
        write_json(folder / "values.json", {name: np.asarray(one, np.float64).tolist() for name, one in values.items()})
        write_json(folder / "chance.json", {one.name: one.chance for one in self.columns if one.chance is not None})
        write_json(folder / "said.json", notes)

    def _of_pixels(self, store: Store, submission: Submission, rows: Int[np.ndarray, " n"]) -> dict[str, np.ndarray]:
        from brainram_lib.evaluation.metrics import of_pixels

        truth = _chosen(self.images.stimuli(store, "test"), rows)
        return of_pixels(self.columns, truth, submission.images, preset_of(self.preset).resizing)

    def _of_features(self, store: Store, rows: Int[np.ndarray, " n"]) -> dict[str, np.ndarray]:
        from brainram_lib.evaluation.metrics import of_features

        made, real, among = self.features(self.made), self.features(None), preset_of(self.preset).among
        values = {}
        for one in self.columns:
            if one.backbone is not None:
                here, there = (store.result(side[one.backbone]).array(one.layer) for side in (made, real))
                values[one.name] = of_features(one, _chosen(there, rows), here, among)
        return values


def _chosen(array: np.ndarray, rows: Int[np.ndarray, " n"]) -> np.ndarray:
    """Some rows as a copy; all of them stay on the disk."""
    return array if np.array_equal(rows, np.arange(len(array))) else array[rows]


def _notes(submission: Submission, known: np.ndarray, preset: Preset, blended: bool) -> list[str]:
    """How it was scored, what was not, and what the numbers do not compare with: the table's footnotes."""
    count, left_out = len(submission.ids), submission.left_out
    missing = np.setdiff1d(known, [*submission.ids, *left_out])
    notes = [f"{count} of {len(known)} test images are scored; two-way identification is among these."]
    if count < POOL:
        notes.append(f"The pool of {count} is smaller than the {POOL} of this field's retrieval: intervals are wide.")
    if count != preset.images:
        notes.append(f"{preset.source} scores {preset.images} images.")
    for why in dict.fromkeys(left_out.values()):
        those = [one for one, reason in left_out.items() if reason == why]
        notes.append(f"{len(those)} images are {why} and left out: nsdId {_first(those)}.")
    if submission.clipped:
        clipped = submission.clipped
        notes.append(f"{len(clipped)} images had a few values outside [0, 1], clipped: nsdId {_first(clipped)}.")
    if len(missing):
        notes.append(f"{len(missing)} test images are missing: nsdId {_first(missing)}.")
    if preset.blend is not None:
        share = f"{preset.blend:.0%} reconstruction and {1 - preset.blend:.0%} blurry image"
        notes.append(
            f"Scored as {share}, blended before all metrics."
            if blended
            else f"{preset.name} scores {share}; no blurry images were given (--blurry), so nothing is blended."
        )
    return notes + preset.said()


def _as_positions(submission: Submission, known: np.ndarray) -> str:
    """A hint for the commonest mistake: images numbered by their place in the test set."""
    ids = np.sort([*submission.ids, *submission.left_out])
    if len(ids) > 1 and np.array_equal(ids, np.arange(len(ids))) and not np.array_equal(known[: len(ids)], ids):
        return (
            f" 0 to {len(ids) - 1} look like places in the test set: call each image by its nsdId, or write the nsdIds "
            "to nsd_ids.npy beside images.npy."
        )
    return ""


def _first(ids: object) -> str:
    listed = [str(int(one)) for one in ids]
    return ", ".join(listed[:SHOWN]) + (", ..." if len(listed) > SHOWN else "")
