"""One reader for the small NIfTI and FreeSurfer files: regions, ncsnr, mean betas, surface transforms.

NSD's functional volumes run from left to right, back to front, bottom to top (nibabel's RAS+, a positive diagonal
affine). Betas in HDF5 carry no affine, so a volume that another program saved in another voxel order would be
misaligned with them without any error: it is refused.
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from jaxtyping import Float, Shaped

from brainram_lib.nsd.errors import ShapeError, reading

ORIENTATION = ("R", "A", "S")


def read_image(
    path: Path, missing: str = ""
) -> tuple[Shaped[np.ndarray, " *volume"], Float[np.ndarray, "4 4"], np.dtype]:
    """A file's values, scaled as its header says; its affine; and the data type in which it stores them.

    Trailing axes of length 1 after the third, as in (X, Y, Z, 1), are dropped.

    Args:
        path: .nii.gz or .mgz.
        missing: the whole sentence for a file that is not there.

    Raises:
        MissingFileError, LockedFileError, UnreadableFileError, DamagedFileError: as `errors.reading` tells them apart.
        ShapeError: a NIfTI volume says that its voxels are in another order than NSD's.
    """
    with reading(path, missing):
        image = nib.load(path)
        values, affine = np.asarray(image.dataobj), np.asarray(image.affine)
        stored, header = np.dtype(image.get_data_dtype()), image.header
    if isinstance(header, nib.Nifti1Header):
        require_orientation(path, header)
        if values.ndim > 3 and set(values.shape[3:]) == {1}:
            values = values.reshape(values.shape[:3])
    return values, affine, stored


def require_orientation(path: Path, header: nib.Nifti1Header) -> None:
    """Check that the voxels are in NSD's order; a header that states no order passes.

    Raises:
        ShapeError: they run another way.
    """
    if not (header["sform_code"] or header["qform_code"]):
        return
    found = nib.aff2axcodes(header.get_best_affine())
    if found != ORIENTATION:
        raise ShapeError(
            f"'{path}' has its voxels in the order {''.join(map(str, found))}, NSD's volumes in "
            f"{''.join(ORIENTATION)}: another program turned it, and betas would go to wrong places. Fetch NSD's own "
            "file."
        )
