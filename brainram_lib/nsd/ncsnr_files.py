"""NSD's ncsnr of a subject's voxels, checked before anything is drawn or divided by it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

from brainram_lib.nsd.errors import NcsnrError, ShapeError
from brainram_lib.nsd.layout import HEMISPHERES, NsdLayout
from brainram_lib.nsd.volumes import read_image


def ncsnr_paths(layout: NsdLayout, subject: int, version: str, space: str) -> tuple[Path, ...]:
    """The file of a volume, or one per hemisphere."""
    hemispheres = HEMISPHERES if space == "fsaverage" else (None,)
    return tuple(layout.ncsnr(subject, version, space, hemi=hemi) for hemi in hemispheres)


def read_ncsnr(
    layout: NsdLayout, subject: int, version: str, space: str, mask: Bool[np.ndarray, " *volume"]
) -> Float32[np.ndarray, " voxels"]:
    """ncsnr of the mask's voxels; NaN where NSD has none.

    Raises:
        MissingFileError, LockedFileError, UnreadableFileError, DamagedFileError: as `errors.reading`.
        ShapeError: the file is another subject's, or its axes are turned.
        NcsnrError: its values cannot be ratios of standard deviations: none finite, one negative, or all zero.
    """
    paths = ncsnr_paths(layout, subject, version, space)
    parts = [read_image(path, _absent(path))[0].astype(np.float32) for path in paths]
    values = np.concatenate([part.ravel() for part in parts]) if space == "fsaverage" else parts[0]
    if values.shape != mask.shape:
        raise ShapeError(
            f"'{paths[0]}' has shape {values.shape}, the mask {mask.shape}: they are of different subjects. Take both "
            "of one."
        )
    chosen = values[mask]
    finite = chosen[np.isfinite(chosen)]
    if fault := _fault(finite):
        raise NcsnrError(
            f"'{paths[0]}' has {fault} among the {len(chosen)} voxels of the mask; NSD's are ratios of 0 and above. "
            "Fetch it again, or take it away to go on without noise ceilings."
        )
    return chosen


def _fault(finite: Float32[np.ndarray, " finite"]) -> str:
    if not len(finite):
        return "no finite value"
    if finite.min() < 0:
        return f"negative values, down to {finite.min():g},"
    return "" if finite.max() > 0 else "nothing but zero"


def _absent(path: Path) -> str:
    return f"ncsnr, '{path}', is not there. Fetch it and prepare the subject again."
