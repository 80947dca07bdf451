"""A synthetic subject at NSD's real size, to benchmark readers: no brain, only files of the real size and layout.

Sizes are those of NSD's subject 1 in func1pt8mm: (X, Y, Z) = (81, 104, 83), 15,724 voxels in nsdgeneral, 750 trials a
session. The values are noise with each voxel's own mean; what counts is the layout on disk: HDF5 (750, Z, Y, X), int16,
chunks (750, 1, 1, 1), every chunk written, and NIfTI (X, Y, Z, 750), int16, gzip.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
from jaxtyping import Bool, Float, Int16
from tqdm.auto import tqdm

from brainram_lib.core.files import write_whole
from brainram_lib.nsd.layout import NsdLayout

_POOL = 1 << 20
# A prime step through the pool gives adjacent voxels unrelated values without drawing 500 million numbers.
_STEP = 7919


@dataclass(frozen=True)
class FullSize:
    """The sizes of a synthetic subject; the defaults are NSD's subject 1 (NSD data manual)."""

    shape: tuple[int, int, int] = (81, 104, 83)
    roi_voxels: int = 15724
    trials: int = 750
    voxel_size: float = 1.8
    seed: int = 0


def affine_of(size: FullSize) -> Float[np.ndarray, "4 4"]:
    """diag(voxel size) with the origin at the slab's centre, in millimetres."""
    affine = np.diag([size.voxel_size] * 3 + [1.0])
    affine[:3, 3] = -size.voxel_size * (np.array(size.shape) - 1) / 2
    return affine


def masks_of(size: FullSize) -> tuple[Bool[np.ndarray, "x y z"], Bool[np.ndarray, "x y z"]]:
    """The brain (an ellipsoid) and a folded ribbon at its back with exactly `roi_voxels` voxels.

    Raises:
        ValueError: the volume's ribbon is too small for `roi_voxels`.
    """
    x, y, z = (np.linspace(-1, 1, n) for n in size.shape)
    radius = np.sqrt((x / 0.9)[:, None, None] ** 2 + (y / 0.9)[None, :, None] ** 2 + (z / 0.9)[None, None, :] ** 2)
    brain = radius < 1
    folds = 0.06 * (np.sin(14 * x)[:, None, None] + np.sin(11 * z)[None, None, :] + np.sin(9 * y)[None, :, None])
    ribbon = np.flatnonzero(brain & (radius + folds > 0.8))
    if len(ribbon) < size.roi_voxels:
        raise ValueError(f"a {size.shape} volume's ribbon has {len(ribbon)} voxels, {size.roi_voxels} were asked for.")
    posterior = np.argsort(np.unravel_index(ribbon, size.shape)[1], kind="stable")[: size.roi_voxels]
    roi = np.zeros(size.shape, bool)
    roi.reshape(-1)[ribbon[posterior]] = True
    return brain, roi


def slabs_of(size: FullSize, session: int) -> Iterator[Int16[np.ndarray, "y x trials"]]:
    """The betas x 300 of one session, one z at a time, zero outside the brain."""
    rng = np.random.default_rng([size.seed, session])
    pool = np.round(rng.normal(0, 450, _POOL + size.trials)).astype(np.int16)
    windows = np.lib.stride_tricks.sliding_window_view(pool, size.trials)
    means = np.round(rng.normal(0, 300, size.shape)).astype(np.int16)
    brain, _ = masks_of(size)
    flat = np.arange(np.prod(size.shape)).reshape(size.shape)
    for z in range(size.shape[2]):
        values = windows[flat[:, :, z].T * _STEP % _POOL] + means[:, :, z].T[..., None]
        yield np.where(brain[:, :, z].T[..., None], values, np.int16(0))


def write_hdf5(path: Path, size: FullSize, session: int) -> None:
    """One session as NSD writes it: `/betas`, int16 (trials, Z, Y, X), one uncompressed chunk a voxel, all written."""
    x, y, z = size.shape
    with write_whole(path) as partial, h5py.File(partial, "w") as file:
        betas = file.create_dataset("betas", (size.trials, z, y, x), "<i2", chunks=(size.trials, 1, 1, 1))
        for index, slab in enumerate(tqdm(slabs_of(size, session), desc=path.name, total=z)):
            betas[:, index] = slab.transpose(2, 0, 1)


def write_nifti(path: Path, size: FullSize, session: int) -> None:
    """One session as NSD writes it: int16 (X, Y, Z, trials), gzip, no scaling."""
    volume = np.empty((size.trials, size.shape[2], size.shape[1], size.shape[0]), np.int16)
    for index, slab in enumerate(slabs_of(size, session)):
        volume[:, index] = slab.transpose(2, 0, 1)
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((*size.shape, size.trials))
    header.set_zooms((size.voxel_size,) * 3 + (4 / 3,))
    header.set_sform(affine_of(size), code=1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    with write_whole(path) as partial, gzip.open(partial, "wb", compresslevel=1) as stream:
        stream.write(header.binaryblock + bytes(4))
        for trial in tqdm(volume, desc=path.name):
            stream.write(trial.tobytes())


def write_masks(layout: NsdLayout, subject: int, size: FullSize) -> None:
    """brainmask and nsdgeneral of the synthetic subject."""
    brain, roi = masks_of(size)
    for path, mask in ((layout.brainmask(subject), brain), (layout.roi(subject, "nsdgeneral"), roi)):
        image = nib.Nifti1Image(mask.astype(np.int16), affine_of(size))
        with write_whole(path) as partial:
            partial.write_bytes(gzip.compress(image.to_bytes(), mtime=0))


def write_full_size(root: Path, sessions: int = 4, subject: int = 1, size: FullSize | None = None) -> NsdLayout:
    """Write a synthetic subject: masks and `sessions` sessions, each as HDF5 (1 GB) and as NIfTI (about 0.3 GB).

    Files that are already there are kept, so that an interrupted writing goes on.
    """
    layout, size = NsdLayout(root), size or FullSize()
    write_masks(layout, subject, size)
    for session in range(1, sessions + 1):
        for ext, write in (("hdf5", write_hdf5), ("nii.gz", write_nifti)):
            path = layout.betas_session(subject, session, ext=ext)
            if not path.exists():
                write(path, size, session)
    return layout
