"""A prepared subject on disk: .npy files that training reads memory-mapped, and prepared.json, which is written last.

Rows are in ascending order of nsdId, columns in C order of the (X, Y, Z) volume (on a surface: left vertices, then
right). Files: betas_{train,test}.npy float32 (rows, voxels); nsd_ids_{train,test}.npy, the 0-based image of each row;
n_averaged_{train,test}.npy, how many presentations each row is the mean of; voxel_index.npy, flat indices into the
volume; ncsnr.npy (NaN where the source has none); rois.npy bool (regions, voxels), names in prepared.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from tqdm.auto import tqdm

from brainram_lib.core.files import write_array, write_json, write_whole
from brainram_lib.nsd.errors import DamagedFileError, NsdError, RoiError, reading
from brainram_lib.nsd.normalise import RowNormalisation, blocks

RECORD = "prepared.json"
SPLITS = ("train", "test")
KEYS = ("subject", "sessions", "version", "space", "volume_shape", "affine", "rois", "average", "excluded")
PREPARE = "Prepare the subject again."


@dataclass(frozen=True)
class PreparedSubject:
    """One subject's betas, image ids and voxels.

    Attributes:
        folder: where the files are.
        record: prepared.json: subject, sessions, normalisation, sources, exclusions, ...
    """

    folder: Path
    record: dict[str, Any]

    @classmethod
    def load(cls, folder: Path) -> PreparedSubject:
        """Open a prepared subject; arrays are memory-mapped when they are asked for.

        Raises:
            MissingFileError: the folder has no prepared.json (nothing, or an unfinished preparation).
            DamagedFileError: a file is damaged, or the arrays do not fit each other.
            LockedFileError, UnreadableFileError: a file may not be read.
        """
        path = Path(folder) / RECORD
        absent = f"'{path}' is not there: the subject was not prepared to the end. Prepare it again."
        with reading(path, absent, "is no record of a prepared subject", PREPARE):
            record = json.loads(path.read_text(encoding="utf-8"))
        lacking = [key for key in KEYS if key not in record] if isinstance(record, dict) else list(KEYS)
        if lacking:
            raise DamagedFileError(f"'{path}' lacks {lacking}; `prepare` writes them. {PREPARE}")
        prepared = cls(Path(folder), record)
        for split in SPLITS:
            shape, expected = prepared.betas(split).shape, (len(prepared.ids(split)), len(prepared.voxel_index))
            if shape != expected:
                raise DamagedFileError(
                    f"betas_{split}.npy in '{folder}' is {shape}, expected {expected}. Prepare it again."
                )
        return prepared

    def betas(self, split: str) -> Float32[np.ndarray, "rows voxels"]:
        """The betas of 'train' or 'test', read-only and memory-mapped."""
        return self._array(f"betas_{_split(split)}")

    def ids(self, split: str) -> Int[np.ndarray, " rows"]:
        """The 0-based nsdId of each row, ascending; an id occurs once per trial if repetitions were kept."""
        return np.asarray(self._array(f"nsd_ids_{_split(split)}"))

    @property
    def train_ids(self) -> Int[np.ndarray, " rows"]:
        """The nsdId of each training row."""
        return self.ids("train")

    @property
    def test_ids(self) -> Int[np.ndarray, " rows"]:
        """The nsdId of each test row."""
        return self.ids("test")

    def n_averaged(self, split: str) -> Int[np.ndarray, " rows"]:
        """How many presentations each row is the mean of."""
        return np.asarray(self._array(f"n_averaged_{_split(split)}"))

    @property
    def voxel_index(self) -> Int[np.ndarray, " voxels"]:
        """Each voxel's flat index in the volume (C order): `volume.reshape(-1)[voxel_index] = values`."""
        return np.asarray(self._array("voxel_index"))

    @property
    def volume_shape(self) -> tuple[int, ...]:
        """(X, Y, Z), or (vertices,) on a surface."""
        return tuple(self.record["volume_shape"])

    @property
    def affine(self) -> Float[np.ndarray, "4 4"] | None:
        """Voxel to millimetre; None on a surface."""
        affine = self.record["affine"]
        return None if affine is None else np.array(affine, np.float64)

    @property
    def ncsnr(self) -> Float32[np.ndarray, " voxels"]:
        """NSD's noise-ceiling signal-to-noise ratio; NaN where the source had no ncsnr file."""
        return np.asarray(self._array("ncsnr"))

    @property
    def excluded(self) -> dict[str, Int[np.ndarray, " excluded"]]:
        """Reason -> flat indices of the voxels excluded for it."""
        return {reason: np.array(places, np.int64) for reason, places in self.record["excluded"].items()}

    @property
    def roi_names(self) -> list[str]:
        """The region names that `roi` accepts."""
        return list(self.record["rois"])

    def roi(self, name: str) -> Bool[np.ndarray, " voxels"]:
        """The voxels of a region, of a hemisphere ('lh.V1', 'lh') or of an intersection ('V1 & rh').

        Raises:
            RoiError: the source had no such region.
        """
        terms = [term.strip() for term in name.split("&")]
        unknown = [term for term in terms if term not in self.roi_names]
        if unknown:
            raise RoiError(f"region must be one of {self.roi_names}. {unknown[0]!r} was provided.")
        return np.logical_and.reduce([self._array("rois")[self.roi_names.index(term)] for term in terms])

    def by_repetition(
        self, split: str, repetitions: int = 3
    ) -> tuple[np.ndarray, Float32[np.ndarray, "n reps voxels"]]:
        """The images with exactly `repetitions` trials: their ids and their single trials, for reliability.

        Raises:
            NsdError: repetitions were averaged when the subject was prepared.
        """
        if self.record["average"]:
            raise NsdError(
                f"'{self.folder}' holds averages. Prepare the subject with average=False to see repetitions."
            )
        ids, first, counts = np.unique(self.ids(split), return_index=True, return_counts=True)
        rows = first[counts == repetitions][:, None] + np.arange(repetitions)
        return ids[counts == repetitions], np.asarray(self.betas(split)[rows])

    def _array(self, name: str) -> np.ndarray:
        path = self.folder / f"{name}.npy"
        with reading(path, f"'{path}' is not there. {PREPARE}", "cannot be read as an array", PREPARE):
            return np.load(path, mmap_mode="r", allow_pickle=False)


@dataclass
class Rows:
    """The rows of one split while sessions are being added: sums over presentations, later means.

    Attributes:
        ids: the nsdId of each row, ascending.
        total: the sum of the presentations that were added.
        count: how many were.
    """

    ids: Int[np.ndarray, " rows"]
    total: Float32[np.ndarray, "rows voxels"]
    count: Int[np.ndarray, " rows"]

    @classmethod
    def empty(cls, ids: Int[np.ndarray, " rows"], voxels: int) -> Rows:
        """No presentations yet."""
        return cls(ids, np.zeros((len(ids), voxels), np.float32), np.zeros(len(ids), np.int64))

    def add(self, rows: Int[np.ndarray, " trials"], betas: Float32[np.ndarray, "trials voxels"]) -> None:
        """Add each trial to its row; an image shown twice in a session has the same row twice."""
        for row, trial in zip(rows.tolist(), betas, strict=True):
            self.total[row] += trial
            self.count[row] += 1

    def average(self) -> None:
        """Turn sums into means, in place."""
        for block in blocks(len(self.ids)):
            self.total[block] /= self.count[block, None]


def write_prepared(
    folder: Path,
    splits: Mapping[str, Rows],
    keep: Bool[np.ndarray, " voxels"],
    normalisation: str,
    arrays: Mapping[str, np.ndarray],
    record: Mapping[str, Any],
) -> PreparedSubject:
    """Average, normalise and write both splits without the voxels that are not kept; prepared.json comes last.

    Raises:
        NsdError: no voxel, or no training image, is left.
    """
    if not keep.any() or not len(splits["train"].ids):
        raise NsdError(f"{int(keep.sum())} voxels and {len(splits['train'].ids)} training images are left: {record}.")
    (folder / RECORD).unlink(missing_ok=True)
    for rows in splits.values():
        rows.average()
    normalise = RowNormalisation.of(normalisation, splits["train"].total)
    if normalise.mean is not None and normalise.sd is not None:
        normalise = RowNormalisation(normalise.mean[keep], normalise.sd[keep])
    for split, rows in splits.items():
        _write_rows(folder / f"betas_{split}.npy", rows.total, keep, normalise)
        write_array(folder / f"nsd_ids_{split}.npy", rows.ids)
        write_array(folder / f"n_averaged_{split}.npy", rows.count)
    for name, array in arrays.items():
        write_array(folder / f"{name}.npy", array)
    write_json(folder / RECORD, {**record, "normalisation": normalisation})
    return PreparedSubject.load(folder)


def _write_rows(
    path: Path,
    rows: Float32[np.ndarray, "rows voxels"],
    keep: Bool[np.ndarray, " voxels"],
    normalise: Callable[[np.ndarray], np.ndarray],
) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (len(rows), int(keep.sum()))}
    with write_whole(path) as partial, partial.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for block in tqdm(list(blocks(len(rows))), desc=path.name, leave=False, disable=rows.nbytes < 1 << 28):
            stream.write(np.ascontiguousarray(normalise(rows[block][:, keep]), "<f4").tobytes())


def _split(split: str) -> str:
    if split not in SPLITS:
        raise NsdError(f"split must be one of {list(SPLITS)}. {split!r} was provided.")
    return split
