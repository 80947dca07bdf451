"""The synthetic subject of the benchmark, small: laid out as NSD's files, both kinds equal."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from brainram_lib.nsd import betas, rois
from brainram_lib.world.full_size import FullSize, affine_of, masks_of, write_full_size

SIZE = FullSize(shape=(11, 14, 9), roi_voxels=37, trials=6)


def test_both_kinds_hold_the_same_betas_laid_out_as_nsd(tmp_path):
    layout = write_full_size(tmp_path, sessions=2, size=SIZE)
    mask = rois.read_mask(layout, 1, "nsdgeneral")
    assert mask.shape == SIZE.shape and mask.sum() == SIZE.roi_voxels
    path = layout.betas_session(1, 2)
    with h5py.File(path) as file:
        stored = file["betas"]
        assert stored.shape == (6, 9, 14, 11) and stored.chunks == (6, 1, 1, 1) and stored.dtype == np.int16
        assert stored.id.get_num_chunks() == 11 * 14 * 9, "every chunk is written"
        outside = ~masks_of(SIZE)[0]
        assert (stored[:].transpose(0, 3, 2, 1)[:, outside] == 0).all()
    read = betas.read_hdf5(path, mask)
    np.testing.assert_array_equal(read, betas.read_nifti(layout.betas_session(1, 2, ext="nii.gz"), mask))
    assert (read.std(axis=0) > 0).all()
    assert not np.array_equal(read, betas.read_hdf5(layout.betas_session(1, 1), mask))


def test_sizes():
    assert masks_of(FullSize())[1].sum() == 15724
    np.testing.assert_allclose(affine_of(FullSize()) @ [40, 51.5, 41, 1], [0, 0, 0, 1], atol=1e-9)
    with pytest.raises(ValueError, match="900 were asked for"):
        masks_of(FullSize(shape=(5, 6, 7), roi_voxels=900))
