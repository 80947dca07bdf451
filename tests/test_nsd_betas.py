"""Betas: axis order, scale, storage kinds, fast routes against plain ones, damaged files."""

from __future__ import annotations

import gzip

import h5py
import nibabel as nib
import numpy as np
import pytest
from nsd_files import SHAPE, TRIALS, write_hdf5, write_nifti, write_volume

from brainram_lib.nsd import betas
from brainram_lib.nsd.errors import DamagedFileError, MissingSessionError, NsdError, ShapeError
from brainram_lib.nsd.layout import NsdLayout

RNG = np.random.default_rng(0)
RAW = RNG.integers(-32768, 32768, (TRIALS, *SHAPE)).astype(np.int16)
MASK = RNG.random(SHAPE) < 0.2
EXPECTED = np.stack([trial[MASK] for trial in RAW]).astype(np.float32) / np.float32(300)
STORAGES = {
    "as NSD": {},
    "contiguous": {"chunks": None},
    "trial chunks": {"chunks": (5, 2, 3, 4)},
    "depth chunks": {"chunks": (TRIALS, 2, 7, 5)},
    "compressed": {"compression": "gzip"},
    "compressed trials": {"chunks": (1, *SHAPE[::-1]), "compression": "gzip", "shuffle": True},
}


@pytest.mark.parametrize("storage", STORAGES.values(), ids=STORAGES)
def test_every_storage_of_hdf5_gives_the_same_betas(tmp_path, storage):
    path = tmp_path / "betas.hdf5"
    write_hdf5(path, RAW, **storage)
    fast = betas.read_hdf5(path, MASK)
    assert fast.dtype == np.float32 and fast.shape == (TRIALS, MASK.sum()) and fast.flags.c_contiguous
    np.testing.assert_array_equal(fast, EXPECTED)
    np.testing.assert_array_equal(fast, betas.read_hdf5_reference(path, MASK))


def test_small_blocks_give_the_same(tmp_path, monkeypatch):
    write_hdf5(tmp_path / "betas.hdf5", RAW, chunks=None)
    monkeypatch.setattr(betas, "_BLOCK_BYTES", 1)
    np.testing.assert_array_equal(betas.read_hdf5(tmp_path / "betas.hdf5", MASK), EXPECTED)


def test_nifti_gives_the_same_as_hdf5_and_as_nibabel(tmp_path):
    path = tmp_path / "betas.nii.gz"
    write_nifti(path, RAW)
    fast = betas.read_nifti(path, MASK)
    assert fast.dtype == np.float32
    np.testing.assert_array_equal(fast, EXPECTED)
    np.testing.assert_array_equal(fast, betas.read_nifti_reference(path, MASK))


def test_every_integer_is_divided_alike_by_both_routes(tmp_path):
    """float32(raw) / 300 rounds as float64 raw / 300 rounded to float32 does, for all 65,536 integers."""
    every = np.arange(-32768, 32768)
    np.testing.assert_array_equal(every.astype(np.float32) / betas.SCALE, (every / 300).astype(np.float32))


def test_axes_are_not_swapped(tmp_path):
    """One voxel at (x, y, z) = (4, 1, 2) differs; reading the file's axes as (X, Y, Z) would miss it or fail."""
    raw = np.zeros((TRIALS, *SHAPE), np.int16)
    raw[:, 4, 1, 2] = 300 * np.arange(1, TRIALS + 1)
    write_hdf5(tmp_path / "betas.hdf5", raw)
    write_nifti(tmp_path / "betas.nii.gz", raw)
    mask = np.zeros(SHAPE, bool)
    mask[4, 1, 2] = mask[0, 0, 0] = True
    for values in (betas.read_hdf5(tmp_path / "betas.hdf5", mask), betas.read_nifti(tmp_path / "betas.nii.gz", mask)):
        np.testing.assert_array_equal(values, np.c_[np.zeros(TRIALS), np.arange(1, TRIALS + 1)])


def test_a_cube_keeps_its_voxel_order(tmp_path):
    """Equal sides hide a swapped axis from every shape check; voxels must still come in C order of (X, Y, Z)."""
    raw = np.broadcast_to(np.arange(27, dtype=np.int16).reshape(3, 3, 3) * 300, (4, 3, 3, 3))
    write_hdf5(tmp_path / "betas.hdf5", raw)
    write_nifti(tmp_path / "betas.nii.gz", raw)
    everywhere = np.ones((3, 3, 3), bool)
    assert betas.read_hdf5(tmp_path / "betas.hdf5", everywhere)[1].tolist() == list(range(27))
    assert betas.read_nifti(tmp_path / "betas.nii.gz", everywhere)[1].tolist() == list(range(27))


def test_the_scale_is_applied_once_and_after_the_cast(tmp_path):
    raw = np.full((TRIALS, *SHAPE), 450, np.int16)
    write_hdf5(tmp_path / "betas.hdf5", raw)
    assert (betas.read_hdf5(tmp_path / "betas.hdf5", MASK) == 1.5).all(), "integer division would give 1"


def test_chunks_that_were_never_written_hold_zero(tmp_path):
    path = tmp_path / "betas.hdf5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("betas", (TRIALS, *SHAPE[::-1]), "<i2", chunks=(TRIALS, 1, 1, 1))
        for x, y, z in np.argwhere(MASK)[::2]:
            data[:, z, y, x] = RAW[:, x, y, z]
    expected = EXPECTED.copy()
    expected[:, 1::2] = 0
    np.testing.assert_array_equal(betas.read_hdf5(path, MASK), expected)


def test_big_endian_files_are_read(tmp_path):
    write_hdf5(tmp_path / "betas.hdf5", RAW.astype(">i2"))
    np.testing.assert_array_equal(betas.read_hdf5(tmp_path / "betas.hdf5", MASK), EXPECTED)


def surface_files(folder, left=6, right=9):
    values = RNG.normal(size=(left + right, TRIALS)).astype(np.float32)
    values[3] = np.nan
    for name, part in (("lh", values[:left]), ("rh", values[left:])):
        nib.save(nib.MGHImage(part[:, None, None], np.eye(4)), folder / f"{name}.betas_session01.mgh")
    return (folder / "lh.betas_session01.mgh", folder / "rh.betas_session01.mgh"), values


def test_surface_betas_are_not_divided_and_keep_nan(tmp_path):
    files, values = surface_files(tmp_path)
    mask = np.arange(15) % 3 == 0
    read = betas.read_mgh(files, mask)
    np.testing.assert_array_equal(read, values[mask].T)
    np.testing.assert_array_equal(read, betas.read_mgh_reference(files, mask))
    assert np.isnan(read[:, 1]).all()
    with pytest.raises(ShapeError, match=r"have \[6, 9\] vertices, the mask has shape \(14,\)"):
        betas.read_mgh(files, np.ones(14, bool))


def test_a_cut_surface_file_is_named(tmp_path):
    files, _ = surface_files(tmp_path)
    files[1].write_bytes(files[1].read_bytes()[:-40])
    with pytest.raises(DamagedFileError, match="rh.betas_session01.mgh' cannot be read to its end"):
        betas.read_mgh(files, np.ones(15, bool))


def test_another_subject_s_mask_and_swapped_axes_are_named(tmp_path):
    write_hdf5(tmp_path / "betas.hdf5", RAW)
    write_nifti(tmp_path / "betas.nii.gz", RAW)
    for read, name in ((betas.read_hdf5, "betas.hdf5"), (betas.read_nifti, "betas.nii.gz")):
        with pytest.raises(ShapeError, match=r"\(5, 7, 6\), the mask is \(5, 8, 6\). Take mask and betas"):
            read(tmp_path / name, np.ones((5, 8, 6), bool))
        with pytest.raises(ShapeError, match="Its axes are swapped"):
            read(tmp_path / name, np.ones(SHAPE[::-1], bool))


@pytest.mark.parametrize("keep", [0.2, 0.6, 0.95])
def test_cut_files_are_named(tmp_path, keep):
    write_hdf5(tmp_path / "betas.hdf5", RAW)
    write_nifti(tmp_path / "betas.nii.gz", RAW)
    for read, name in ((betas.read_hdf5, "betas.hdf5"), (betas.read_nifti, "betas.nii.gz")):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: int(len(whole) * keep)])
        with pytest.raises(DamagedFileError, match=f"{name}' .*Fetch it again"):
            read(tmp_path / name, MASK)


def test_a_nifti_cut_within_its_checksum_or_with_a_wrong_one_is_named(tmp_path):
    write_nifti(tmp_path / "betas.nii.gz", RAW)
    whole = (tmp_path / "betas.nii.gz").read_bytes()
    for damaged in (whole[:-3], whole[:-8] + b"\0\0\0\0" + whole[-4:]):
        (tmp_path / "betas.nii.gz").write_bytes(damaged)
        with pytest.raises(DamagedFileError, match="damaged or cut short"):
            betas.read_nifti(tmp_path / "betas.nii.gz", MASK)


def test_a_nifti_of_several_gzip_members_is_read(tmp_path):
    content = nib.Nifti1Image(np.moveaxis(RAW, 0, 3), np.eye(4)).to_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(content[:1000]) + gzip.compress(content[1000:]))
    np.testing.assert_array_equal(betas.read_nifti(tmp_path / "b.nii.gz", MASK), EXPECTED)


def test_other_types_are_refused(tmp_path):
    write_hdf5(tmp_path / "betas.hdf5", RAW.astype(np.float32))
    with pytest.raises(DamagedFileError, match="no int16 dataset 'betas'"):
        betas.read_hdf5(tmp_path / "betas.hdf5", MASK)
    write_volume(tmp_path / "betas.nii.gz", np.moveaxis(RAW, 0, 3).astype(np.float32))
    with pytest.raises(DamagedFileError, match=r"unscaled int16 .*float32"):
        betas.read_nifti(tmp_path / "betas.nii.gz", MASK)
    scaled = nib.Nifti1Image(np.moveaxis(RAW, 0, 3), np.eye(4))
    scaled.header.set_slope_inter(2, 1)
    (tmp_path / "betas.nii.gz").write_bytes(gzip.compress(scaled.to_bytes()))
    with pytest.raises(DamagedFileError, match="with scaling"):
        betas.read_nifti(tmp_path / "betas.nii.gz", MASK)
    (tmp_path / "betas.nii.gz").write_bytes(gzip.compress(bytes(4000)))
    with pytest.raises(DamagedFileError, match="betas.nii.gz"):
        betas.read_nifti(tmp_path / "betas.nii.gz", MASK)


def test_session_files_prefer_hdf5_and_name_what_is_missing(tmp_path):
    layout = NsdLayout(tmp_path)
    with pytest.raises(MissingSessionError, match="session 2 of subject 1 is missing: .*hdf5' or .*nii.gz'. Fetch it"):
        betas.session_files(layout, 1, 2)
    write_nifti(layout.betas_session(1, 2, ext="nii.gz"), RAW)
    assert betas.session_files(layout, 1, 2)[0].name == "betas_session02.nii.gz"
    write_hdf5(layout.betas_session(1, 2), RAW)
    assert betas.session_files(layout, 1, 2)[0].name == "betas_session02.hdf5"
    assert betas.session_files(layout, 1, 2, source="nifti")[0].name == "betas_session02.nii.gz"
    with pytest.raises(MissingSessionError, match="lh.betas_session02.mgh' and .*rh.betas_session02.mgh'"):
        betas.session_files(layout, 1, 2, space="fsaverage")
    with pytest.raises(NsdError, match="source must be one of"):
        betas.session_files(layout, 1, 2, source="zarr")
    with pytest.raises(NsdError, match="'nativesurface' was provided"):
        betas.session_files(layout, 1, 2, space="nativesurface")
