"""Betas of stimuli outside the test split, with their kinds and true tokens: inputs of a decoder in `elsewhere`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from tqdm.auto import tqdm

from brainram_lib.audits.new_stimuli import rows_of
from brainram_lib.core.files import write_array, write_blocks, write_json
from brainram_lib.core.store import Stage, Store
from brainram_lib.nsd.normalise import DEFAULT_NORMALISATION
from brainram_lib.nsd.synthetic.layout import SyntheticLayout
from brainram_lib.nsd.synthetic.prepare import SESSION, prepare_synthetic
from brainram_lib.nsd.synthetic.stimuli import blank, read_synthetic_stimuli
from brainram_lib.pipeline.data import Subject, finite
from brainram_lib.pipeline.trials import NoTrials, Repetitions
from brainram_lib.pipeline.weights import EncoderWeights

# Pictures that are read and encoded at a time: NSD-synthetic's have 714 x 714 pixels.
CHUNK = 50
ARRAYS = ("test", "halves", "ids", "presentations")
USUAL = "Ordinary test images"


@dataclass(frozen=True)
class Shown(Stage):
    """Stimuli that were shown: `test.npy` (n, voxels), `ids.npy`, `presentations.npy` and `kinds.json`.

    `halves.npy` (n, 2, voxels) holds the means over every other presentation, NaN where there is none.
    """

    def pictures(self, store: Store, rows: slice) -> UInt8[np.ndarray, "n height width 3"]:
        """What was shown."""
        raise NotImplementedError

    def kinds(self, store: Store) -> list[str]:
        """The kind of each stimulus."""
        return store.result(self).json("kinds")

    def _write(self, folder: Path, kinds: list[str], **arrays: np.ndarray) -> None:
        for name in ARRAYS:
            write_array(folder / f"{name}.npy", arrays[name])
        write_json(folder / "kinds.json", kinds)


@dataclass(frozen=True)
class SyntheticSession(Shown):
    """NSD-synthetic's images, betas averaged over presentations; pictures of one colour are left out.

    Attributes:
        subject: whose voxels. mark: of the files (`Source.mark`).
        statistics: of the z-score, 'session' or 'core' (`nsd.synthetic.prepare`).
    """

    subject: Subject
    mark: str
    statistics: str = SESSION

    def make(self, folder: Path, store: Store) -> None:
        """See `nsd.synthetic.prepare`; `said.json` says how many voxels are silent and how many pictures are blank.

        Raises:
            NoTrials: the decoders' betas are normalised in another way.
            NsdError: files are missing or damaged, or contradict each other.
        """
        normalisation = self.subject.data.normalisation
        if normalisation != DEFAULT_NORMALISATION:
            raise NoTrials(
                f"NSD-synthetic is z-scored by session, and this profile's betas are '{normalisation}': they do not "
                f"compare. Set data.normalisation to '{DEFAULT_NORMALISATION}' for this audit."
            )
        layout = self.subject.source.synthetic(store.root, self.subject.subject)
        found = prepare_synthetic(layout, self.subject.prepared(store), self.statistics)
        synthetic, number = SyntheticLayout(layout), self.subject.subject
        parts = [
            blank(read_synthetic_stimuli(synthetic, number, found.images[at : at + CHUNK]))
            for at in range(0, len(found.images), CHUNK)
        ]
        seen = ~np.concatenate(parts)
        kinds = [kind for kind, one in zip(found.kinds, seen, strict=True) if one]
        whole = {"test": found.betas, "halves": found.halves, "ids": found.images}
        whole["presentations"] = found.presentations
        self._write(folder, kinds, **{name: array[seen] for name, array in whole.items()})
        write_json(folder / "said.json", {"silent_voxels": int(found.silent.sum()), "blank": int((~seen).sum())})

    def pictures(self, store: Store, rows: slice) -> UInt8[np.ndarray, "n height width 3"]:
        """See `Shown`."""
        layout = self.subject.source.synthetic(store.root, self.subject.subject)
        ids = np.array(store.result(self).array("ids"))[rows]
        return read_synthetic_stimuli(SyntheticLayout(layout), self.subject.subject, ids)


@dataclass(frozen=True)
class UsualImages(Shown):
    """The test images that have three presentations, with the mean betas of the first `count` of these."""

    trials: Repetitions
    count: int

    def make(self, folder: Path, store: Store) -> None:
        """Means over the first presentations."""
        result = store.result(self.trials)
        trials, ids = np.array(result.array("test"))[:, : self.count], np.array(result.array("ids"))
        parts = [trials[:, start::2] for start in (0, 1)]
        halves = [one.mean(1) if one.shape[1] else np.full_like(trials[:, 0], np.nan) for one in parts]
        arrays = {"test": trials.mean(1), "halves": np.stack(halves, 1), "ids": ids}
        self._write(folder, [USUAL] * len(ids), **arrays, presentations=np.full(len(ids), self.count))

    def pictures(self, store: Store, rows: slice) -> UInt8[np.ndarray, "n height width 3"]:
        """See `Shown`."""
        subject, ids = self.trials.images.subject, np.array(store.result(self).array("ids"))[rows]
        return subject.source.stimuli(store.root, subject.subject, ids.tolist())


@dataclass(frozen=True)
class FirstOfEach(Shown):
    """The first `count` of every kind, for galleries: unselected."""

    shown: Shown
    count: int

    def rows(self, store: Store) -> np.ndarray:
        """Which they are of those shown."""
        return np.concatenate([rows[: self.count] for rows in rows_of(self.shown.kinds(store)).values()])

    def make(self, folder: Path, store: Store) -> None:
        """Their betas."""
        rows, result = self.rows(store), store.result(self.shown)
        kinds = self.shown.kinds(store)
        arrays = {name: np.array(result.array(name))[rows] for name in ARRAYS}
        self._write(folder, [kinds[row] for row in rows], **arrays)

    def pictures(self, store: Store, rows: slice) -> UInt8[np.ndarray, "n height width 3"]:
        """See `Shown`."""
        chosen = self.rows(store)[rows]
        return np.concatenate([self.shown.pictures(store, slice(row, row + 1)) for row in chosen.tolist()])


@dataclass(frozen=True)
class ShownTargets(Stage):
    """CLIP's image tokens of what was shown, `test.npy` (n, T, D). It has no captions."""

    shown: Shown
    encoder: EncoderWeights

    def make(self, folder: Path, store: Store) -> None:
        """Encode a chunk at a time."""
        encoder, count = self.encoder.load(), len(self.shown.kinds(store))
        starts = tqdm(range(0, count, CHUNK), desc="image tokens of new stimuli", unit="chunk", delay=2)
        parts = (self.shown.pictures(store, slice(at, at + CHUNK)) for at in starts)
        write_blocks(
            folder / "test.npy", count, (finite(encoder.image_tokens(one).numpy(), self.name) for one in parts)
        )

    def tokens(self, store: Store) -> Float32[np.ndarray, "n tokens width"]:
        """The tokens."""
        return np.asarray(store.result(self).array("test"), np.float32)
