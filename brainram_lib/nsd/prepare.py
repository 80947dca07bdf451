"""From NSD's files to a prepared subject: the masked betas of each session, normalised, averaged over repetitions.

Sessions are read one at a time; memory is the result's size and one session's. Nothing is repaired: a voxel that cannot
be normalised is left out, counted, and listed with its reason in prepared.json.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int
from tqdm.auto import tqdm

from brainram_lib.nsd import betas, rois
from brainram_lib.nsd.behaviour import check_against_design
from brainram_lib.nsd.design import Design, Trials
from brainram_lib.nsd.errors import MissingFileError, MissingSessionError, MixedRootsError, NsdError, shortened
from brainram_lib.nsd.layout import DEFAULT_SPACE, DEFAULT_VERSION, NsdLayout
from brainram_lib.nsd.ncsnr_files import read_ncsnr
from brainram_lib.nsd.normalise import DEFAULT_NORMALISATION, require_normalisation, session_z
from brainram_lib.nsd.prepared import PreparedSubject, Rows, write_prepared

NOT_FINITE = "not finite in some trial"
ZERO = "zero in every trial"
CONSTANT = "constant over the training trials of some session"


@dataclass(frozen=True)
class _Voxels:
    """Which voxels of which space."""

    mask: Bool[np.ndarray, " *volume"]
    affine: list[list[float]] | None

    @property
    def index(self) -> Int[np.ndarray, " voxels"]:
        return np.flatnonzero(self.mask)


class _Health:
    """Which voxels cannot be used, found session by session."""

    def __init__(self, voxels: int) -> None:
        self.not_finite = np.zeros(voxels, bool)
        self.zero = np.ones(voxels, bool)
        self.constant = np.zeros(voxels, bool)

    def look(self, values: Float32[np.ndarray, "trials voxels"], is_test: Bool[np.ndarray, " trials"]) -> None:
        training = values[~is_test]
        self.not_finite |= ~np.isfinite(values).all(axis=0)
        self.zero &= (values == 0).all(axis=0)
        self.constant |= (training == training[:1]).all(axis=0)

    def reasons(self) -> dict[str, Bool[np.ndarray, " voxels"]]:
        zero = self.zero & ~self.not_finite
        return {NOT_FINITE: self.not_finite, ZERO: zero, CONSTANT: self.constant & ~self.not_finite & ~zero}


def prepare_subject(
    layout: NsdLayout,
    subject: int,
    out: Path,
    *,
    sessions: int | Sequence[int],
    version: str = DEFAULT_VERSION,
    space: str = DEFAULT_SPACE,
    roi: str = "nsdgeneral",
    normalisation: str = DEFAULT_NORMALISATION,
    average: bool = True,
    source: str = "auto",
) -> PreparedSubject:
    """Read, normalise and save one subject.

    Args:
        sessions: the first `sessions` sessions (37 for the split of most papers, 40 for all), or their numbers.
        roi: any name that `rois.read_mask` takes; on fsaverage, that `rois.read_surface_mask` takes.
        normalisation: one of `normalise.NORMALISATIONS`, described there.
        average: one row per image (the mean of its presentations in these sessions), or one row per trial.
        source: 'hdf5', 'nifti', or 'auto' (HDF5 where it is there).

    Raises:
        MissingSessionError: betas of a session are not on disk; the message numbers all of them.
        MixedRootsError: design, behaviour table and betas disagree about the trials.
        ShapeError: mask, betas or ncsnr are of different subjects or spaces.
        NcsnrError: the ncsnr file holds no ratios. A missing one is a warning.
        NsdError: another file is missing, damaged or contradictory (see `errors`).
    """
    require_normalisation(normalisation)
    design = Design.read(layout)
    trials = design.trials(subject, sessions)
    check_against_design(layout, subject, trials)
    files = _files(layout, subject, design.sessions(sessions), version, space, source)
    voxels = _voxels(layout, subject, roi, space)
    # what takes no time comes first, so that a fault of the last session is not named after all others were read
    for paths in files.values():
        betas.require_volume(paths, voxels.mask.shape)
    snr = _ncsnr(layout, subject, version, space, voxels.mask)
    splits, health = _read(trials, files, voxels, normalisation, average)
    reasons = health.reasons()
    keep = _usable(reasons, roi)
    regions = _regions(layout, subject, voxels.index[keep], voxels.mask.shape, space)
    arrays = {
        "voxel_index": voxels.index[keep],
        "ncsnr": np.full(keep.sum(), np.nan, np.float32) if snr is None else snr[keep],
        "rois": np.array(list(regions.values()), bool).reshape(len(regions), -1),
    }
    record = {
        **{"subject": subject, "sessions": sorted(files), "version": version, "space": space, "roi": roi},
        **{"average": average, "volume_shape": voxels.mask.shape, "affine": voxels.affine, "rois": list(regions)},
        "ncsnr": "absent" if snr is None else "file",
        "files": [str(path.relative_to(layout.root)) for paths in files.values() for path in paths],
        **_exclusions(voxels.index, reasons),
    }
    return write_prepared(Path(out), splits, keep, normalisation, arrays, record)


def _files(
    layout: NsdLayout, subject: int, sessions: list[int], version: str, space: str, source: str
) -> dict[int, tuple[Path, ...]]:
    found: dict[int, tuple[Path, ...]] = {}
    problems: dict[int, MissingSessionError] = {}
    for session in sessions:
        try:
            found[session] = betas.session_files(layout, subject, session, version, space, source)
        except MissingSessionError as problem:
            problems[session] = problem
    if problems:
        first, *others = problems
        numbers = ", ".join(map(str, problems))
        last = betas.names(layout, subject, max(problems), version, space, source)
        also = f" In all, {len(problems)} are missing, up to {last}: {numbers}." if others else ""
        raise MissingSessionError(shortened(problems[first], 480 - len(also)) + also)
    return found


def _voxels(layout: NsdLayout, subject: int, roi: str, space: str) -> _Voxels:
    if space == "fsaverage":
        voxels = _Voxels(rois.read_surface_mask(layout, roi), None)
    else:
        voxels = _Voxels(rois.read_mask(layout, subject, roi), rois.read_affine(layout, subject, roi).tolist())
    if not voxels.mask.any():
        raise NsdError(f"the region '{roi}' of subject {subject} has no voxel in '{space}'.")
    return voxels


def _read(
    trials: Trials, files: dict[int, tuple[Path, ...]], voxels: _Voxels, normalisation: str, average: bool
) -> tuple[dict[str, Rows], _Health]:
    """Read each session once, add its trials to the rows they belong to, and note unusable voxels."""
    count = int(voxels.mask.sum())
    rows = _row_of_trial(trials, average)
    splits = {split: Rows.empty(_row_ids(trials, split, average), count) for split in ("train", "test")}
    health = _Health(count)
    for session, paths in tqdm(files.items(), desc="sessions"):
        here = trials.session == session
        values, is_test = betas.read_files(paths, voxels.mask), trials.is_test[here]
        if len(values) != here.sum():
            raise MixedRootsError(
                f"'{paths[0]}' has {len(values)} trials, the design {here.sum()} in session {session}. Take both from "
                "one data set."
            )
        health.look(values, is_test)
        if normalisation == "session-z":
            values = session_z(values, is_test)
        splits["train"].add(rows[here][~is_test], values[~is_test])
        splits["test"].add(rows[here][is_test], values[is_test])
    return splits, health


def _usable(reasons: dict[str, Bool[np.ndarray, " voxels"]], roi: str) -> Bool[np.ndarray, " voxels"]:
    """A few dead voxels are listed and left out; if most are dead, the mask cannot belong to these betas."""
    keep = ~np.logical_or.reduce(list(reasons.values()))
    if keep.mean() < 0.5:
        counts = {reason: int(bad.sum()) for reason, bad in reasons.items()}
        raise NsdError(
            f"only {keep.sum()} of {len(keep)} voxels of '{roi}' have usable betas ({counts}): the mask is probably "
            "another subject's. Take mask and betas of one subject."
        )
    return keep


def _row_ids(trials: Trials, split: str, average: bool) -> Int[np.ndarray, " rows"]:
    return trials.ids(split) if average else np.sort(trials.nsd_id[trials.is_test == (split == "test")])


def _row_of_trial(trials: Trials, average: bool) -> Int[np.ndarray, " trials"]:
    """Each trial's row in its own split: by nsdId, and by time within an image if repetitions are kept."""
    rows = np.empty(len(trials), np.int64)
    for split in ("train", "test"):
        chosen = np.flatnonzero(trials.is_test == (split == "test"))
        if average:
            rows[chosen] = np.searchsorted(trials.ids(split), trials.nsd_id[chosen])
        else:
            rows[chosen[np.lexsort((trials.index[chosen], trials.nsd_id[chosen]))]] = np.arange(len(chosen))
    return rows


def _regions(
    layout: NsdLayout, subject: int, index: Int[np.ndarray, " voxels"], shape: tuple[int, ...], space: str
) -> dict[str, np.ndarray]:
    if space == "fsaverage":
        return rois.surface_masks_within(layout, index, (shape[0] // 2, shape[0] // 2))
    return rois.masks_within(layout, subject, index, shape)


def _ncsnr(
    layout: NsdLayout, subject: int, version: str, space: str, mask: Bool[np.ndarray, " *volume"]
) -> Float32[np.ndarray, " voxels"] | None:
    """The mask's ncsnr; None, and a warning, where the files are not there: training does not need them."""
    try:
        return read_ncsnr(layout, subject, version, space, mask)
    except MissingFileError as problem:
        warnings.warn(
            f"{problem} Until then the maps of ncsnr and of noise ceilings have no values.",
            stacklevel=3,  # the caller of `prepare_subject`
        )
        return None


def _exclusions(index: Int[np.ndarray, " voxels"], reasons: dict[str, np.ndarray]) -> dict[str, Any]:
    listed = {reason: index[bad].tolist() for reason, bad in reasons.items() if bad.any()}
    return {"excluded": listed, "n_excluded": {reason: len(places) for reason, places in listed.items()}}
