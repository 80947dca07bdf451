"""A subject's betas, and CLIP's tokens of what was seen: the targets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int, UInt8
from tqdm.auto import tqdm

from brainram_lib.core.files import write_blocks
from brainram_lib.core.modalities import MODALITIES
from brainram_lib.core.store import Stage, Store
from brainram_lib.nsd.layout import NsdLayout
from brainram_lib.nsd.prepared import PreparedSubject
from brainram_lib.nsd.settings import DataSettings
from brainram_lib.pipeline.source import Source
from brainram_lib.pipeline.weights import EncoderWeights

SPLITS = ("train", "test")
ENCODE_CHUNK = 250


@dataclass(frozen=True)
class Subject(Stage):
    """One subject's betas: normalised, averaged over repetitions, split, rows in the order of nsdId.

    Attributes:
        source: of the files. mark: of what is read of them (`Source.mark`).
        subject: NSD's number.
        data: which betas.
    """

    source: Source = field(metadata={"keyed": False})
    mark: str
    subject: int
    data: DataSettings

    @property
    def scope(self) -> str:
        """The data source and the subject."""
        return f"{self.source.name}/subj{self.subject:02d}"

    def layout(self, store: Store) -> NsdLayout:
        """The source's files, where they are in NSD's layout."""
        return self.source.layout(store.root, self.subject)

    def make(self, folder: Path, store: Store) -> None:
        """See `Source.prepare`."""
        self.source.prepare(store.root, self.subject, self.data, folder)

    def prepared(self, store: Store) -> PreparedSubject:
        """The saved betas with their masks."""
        return PreparedSubject.load(store.result(self).folder)


@dataclass(frozen=True)
class Images(Stage):
    """Which images of a subject are used: all of both splits, or the first by nsdId."""

    subject: Subject
    first: tuple[int, int] | None

    def make(self, folder: Path, store: Store) -> None:
        """The nsdIds of both splits."""
        prepared = self.subject.prepared(store)
        for split, ids in zip(SPLITS, (prepared.train_ids, prepared.test_ids), strict=True):
            write_blocks(folder / f"{split}.npy", len(ids[self._used(split)]), [np.asarray(ids)[self._used(split)]])

    def _used(self, split: str) -> slice:
        return slice(None if self.first is None else self.first[SPLITS.index(split)])

    def nsd_ids(self, store: Store, split: str) -> Int[np.ndarray, " n"]:
        """The nsdIds of a split, the order of every array."""
        return np.array(store.result(self).array(split))

    def betas(self, store: Store) -> dict[str, Float32[np.ndarray, "_n voxels"]]:
        """{'train': (n, voxels), 'test': (n, voxels)}."""
        prepared = self.subject.prepared(store)
        return {split: np.asarray(prepared.betas(split)[self._used(split)], np.float32) for split in SPLITS}

    def stimuli(self, store: Store, split: str) -> UInt8[np.ndarray, "n height width 3"]:
        """The images that the subject saw."""
        subject = self.subject
        return subject.source.stimuli(store.root, subject.subject, self.nsd_ids(store, split).tolist())

    def captions(self, store: Store, split: str) -> list[list[str]]:
        """Their captions."""
        subject = self.subject
        return subject.source.captions(store.root, subject.subject, self.nsd_ids(store, split).tolist())


@dataclass(frozen=True)
class Targets(Stage):
    """CLIP's tokens of the stimuli, or of their captions (averaged over captions), (n, T, D) for each split.

    Attributes:
        images: which. mark: of the stimuli or captions that are read (`Source.mark`).
        encoder: CLIP.
        modality: 'image' or 'text'.
    """

    images: Images
    mark: str
    encoder: EncoderWeights
    modality: str

    def __post_init__(self) -> None:
        check_modality(self.modality)

    def make(self, folder: Path, store: Store) -> None:
        """Encode both splits, a chunk at a time."""
        encoder = self.encoder.load()
        image = self.modality == "image"
        read, encode = (
            (self.images.stimuli, encoder.image_tokens) if image else (self.images.captions, encoder.text_tokens)
        )
        for split in SPLITS:
            items = read(store, split)
            starts = tqdm(range(0, len(items), ENCODE_CHUNK), desc=f"{self.modality} targets, {split}", unit="chunk")
            blocks = (finite(encode(items[at : at + ENCODE_CHUNK]).numpy(), self.name, at) for at in starts)
            write_blocks(folder / f"{split}.npy", len(items), blocks)


def check_modality(modality: str) -> None:
    """Refuse anything but 'image' and 'text'."""
    if modality not in MODALITIES:
        raise ValueError(f"'modality' must be one of {MODALITIES}. '{modality}' was provided.")


def validation_rows(count: int, validation: int) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " validation"]]:
    """The fixed split of the training images into fitting images and a validation slice that is spread over the nsdIds.

    Raises:
        ValueError: as many validation images as training images, or more.
    """
    if validation >= count:
        raise ValueError(
            f"'validation' must be fewer than the {count} training images, some of which must fit. {validation} was "
            "provided."
        )
    chosen = np.linspace(0, count - 1, validation).round().astype(int)
    return np.setdiff1d(np.arange(count), chosen), chosen


def finite(values: np.ndarray, stage: str, first: int = 0) -> np.ndarray:
    """The values, if they are finite: nothing else passes from one stage to the next.

    Args:
        values: rows first, samples second where there are any.
        stage: what made them, for the message.
        first: the number of the first row.

    Raises:
        ValueError: names stage, stimulus and sample, and how many values of it are not finite.
    """
    good = np.isfinite(values)
    if good.all():
        return values
    row = int(np.flatnonzero(~good.reshape(len(values), -1).all(1))[0])
    sample = ""
    if values.ndim > 3:
        sample = f", sample {int(np.flatnonzero(~good[row].reshape(len(good[row]), -1).all(1))[0])}"
    raise ValueError(
        f"'{stage}' gave {int((~good[row]).sum())} values that are NaN or infinite for stimulus {first + row}{sample} "
        f"(stored as {values.dtype}). Nothing was saved. Check its inputs, or lower the learning rate."
    )
