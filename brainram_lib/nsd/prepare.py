"""From NSD's files to a prepared subject: the masked betas of each session, normalised, averaged over repetitions.

Sessions are read one at a time; memory holds the result and one session. Nothing is repaired: a voxel that cannot
be normalised is left out, counted, and listed with its reason in prepared.json.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int

from brainram_lib.nsd import betas, rois
from brainram_lib.nsd.averaging import exclusions, read_rows, usable
from brainram_lib.nsd.behaviour import check_against_design
from brainram_lib.nsd.design import Design, Trials
from brainram_lib.nsd.errors import MissingFileError, MissingSessionError, MixedRootsError, NsdError, shortened
from brainram_lib.nsd.layout import DEFAULT_SPACE, DEFAULT_VERSION, NsdLayout
from brainram_lib.nsd.ncsnr_files import read_ncsnr
from brainram_lib.nsd.normalise import DEFAULT_NORMALISATION, require_normalisation
from brainram_lib.nsd.prepared import PreparedSubject, write_prepared


@dataclass(frozen=True)
class _Voxels:
    """Which voxels, and in which space."""

    mask: Bool[np.ndarray, " *volume"]
    affine: list[list[float]] | None

    @property
    def index(self) -> Int[np.ndarray, " voxels"]:
        return np.flatnonzero(self.mask)


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
        roi: any name that `rois.read_mask` takes, or on fsaverage `rois.read_surface_mask`.
        normalisation: one of `normalise.NORMALISATIONS`, described there.
        average: one row per image (the mean of its presentations in these sessions), or one row per trial.
        source: 'hdf5', 'nifti', or 'auto' (HDF5 where it is there).

    Raises:
        MissingSessionError: betas of a session are not on disk; the message lists all of them.
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
    # quick checks come first, so that a fault in the last session is not found only after all others were read
    for paths in files.values():
        betas.require_volume(paths, voxels.mask.shape)
    snr = _ncsnr(layout, subject, version, space, voxels.mask)
    splits, reasons = read_rows(trials, _readers(files, trials, voxels), int(voxels.mask.sum()), normalisation, average)
    keep = usable(reasons, roi)
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
        **exclusions(voxels.index, reasons),
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


def _readers(
    files: dict[int, tuple[Path, ...]], trials: Trials, voxels: _Voxels
) -> dict[int, Callable[[], Float32[np.ndarray, "trials voxels"]]]:
    """A reader for each session, which checks that it has as many trials as the design says."""

    def read(session: int, paths: tuple[Path, ...]) -> Float32[np.ndarray, "trials voxels"]:
        values, expected = betas.read_files(paths, voxels.mask), int((trials.session == session).sum())
        if len(values) != expected:
            raise MixedRootsError(
                f"'{paths[0]}' has {len(values)} trials, the design {expected} in session {session}. Take both from "
                "one data set."
            )
        return values

    return {session: partial(read, session, paths) for session, paths in files.items()}


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
