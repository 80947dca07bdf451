"""NSD's files saved anew by another program: the same values are the same, others are refused."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from hostile_nsd import MASK, VERTICES, changed_volume, surface_betas, write_surface
from nsd_files import AFFINE

from brainram_lib.nsd import rois
from brainram_lib.nsd.betas import read_hdf5, read_mgh, read_nifti
from brainram_lib.nsd.check import DAMAGED, check
from brainram_lib.nsd.errors import DamagedFileError, NsdError, RoiError, ShapeError

pytestmark = pytest.mark.filterwarnings("ignore:ncsnr:UserWarning")


def scaled(path: Path, factor: float) -> None:
    """The same values, stored as bytes with a slope."""
    image = nib.load(path)
    header = image.header.copy()
    header.set_data_dtype(np.uint8)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) * factor, AFFINE, header), path)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int32, np.int8])
def test_labels_saved_in_another_type_are_the_same(layout, dtype):
    before = rois.read_mask(layout, 1, "nsdgeneral & V1")
    for name in ("nsdgeneral", "prf-visualrois"):
        changed_volume(layout.roi(1, name), lambda values: values.astype(dtype))
    np.testing.assert_array_equal(rois.read_mask(layout, 1, "nsdgeneral & V1"), before)


def test_labels_with_an_axis_of_one_more_are_the_same(layout):
    before = rois.read_mask(layout, 1, "nsdgeneral")
    changed_volume(layout.roi(1, "nsdgeneral"), lambda values: values[..., None])
    np.testing.assert_array_equal(rois.read_mask(layout, 1, "nsdgeneral"), before)


@pytest.mark.parametrize(
    ("change", "affine", "error", "words"),
    [
        (lambda v: np.where(v < 0, np.nan, v).astype(np.float32), AFFINE, RoiError, "NaN"),
        (lambda v: v.astype(np.uint8), AFFINE, RoiError, "holds 255: a -1 was saved without a sign"),
        (lambda v: v.astype(np.uint16), AFFINE, RoiError, "holds 65535: a -1 was saved without a sign"),
        (lambda v: v.astype(np.uint16).astype(np.float32), AFFINE, RoiError, "holds 65535"),
        (lambda v: v + 0.25, AFFINE, RoiError, "whole numbers"),
        (lambda v: v * 1e12, AFFINE, RoiError, "whole numbers"),
        (lambda v: v[::-1], AFFINE @ np.diag([-1.0, 1, 1, 1]), ShapeError, "in the order LAS"),
        (lambda v: v.transpose(2, 1, 0), AFFINE[[2, 1, 0, 3]], ShapeError, "in the order SAR"),
    ],
    ids=["NaN outside", "uint8", "uint16", "uint16 as float", "fractions", "huge", "flipped", "transposed"],
)
def test_labels_that_lost_their_meaning_are_refused(layout, change, affine, error, words):
    changed_volume(layout.roi(1, "nsdgeneral"), change, affine)
    with pytest.raises(error, match=words):
        rois.read_mask(layout, 1, "nsdgeneral")


def test_labels_with_a_scaling_that_rounds_are_refused(layout):
    scaled(layout.roi(1, "prf-visualrois"), 1 / 3)
    with pytest.raises(RoiError, match="uint8 with a scaling"):
        rois.read_mask(layout, 1, "V1")


def test_a_header_that_states_no_orientation_passes(layout):
    path = layout.roi(1, "nsdgeneral")
    image = nib.load(path)
    image.header["sform_code"], image.header["qform_code"] = 0, 0
    path.write_bytes(gzip.compress(nib.Nifti1Image(np.asarray(image.dataobj), None, image.header).to_bytes()))
    assert rois.read_mask(layout, 1, "nsdgeneral").any()


def resave_nifti(path: Path, change: Callable[[np.ndarray], np.ndarray], affine: np.ndarray = AFFINE, end: str = "<"):
    values = change(np.asarray(nib.load(path).dataobj))
    image = nib.Nifti1Image(values, affine, nib.Nifti1Header(endianness=end))
    image.header.set_data_dtype(values.dtype if values.dtype != np.float64 else np.int16)
    nib.save(image, path)


def test_betas_of_the_other_byte_order_or_of_several_members_are_the_same(layout):
    path = layout.betas_session(1, 1, ext="nii.gz")
    before = read_nifti(path, MASK)
    resave_nifti(path, lambda v: v, end=">")
    np.testing.assert_array_equal(read_nifti(path, MASK), before)
    raw = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(raw[:2000]) + gzip.compress(raw[2000:]))
    np.testing.assert_array_equal(read_nifti(path, MASK), before)


@pytest.mark.parametrize(
    ("change", "affine", "words"),
    [
        (lambda v: v / 300.0, AFFINE, "unscaled int16"),
        (lambda v: (v / 300).astype(np.float32), AFFINE, "unscaled int16"),
        (lambda v: v.astype(np.int32), AFFINE, "unscaled int16"),
        (lambda v: v[..., 0], AFFINE, "unscaled int16"),
        (lambda v: v[:, ::-1], AFFINE @ np.diag([1.0, -1, 1, 1]), "in the order RPS"),
    ],
    ids=["scaled", "percent", "int32", "one volume", "flipped"],
)
def test_betas_saved_anew_are_refused(layout, change, affine, words):
    path = layout.betas_session(1, 1, ext="nii.gz")
    resave_nifti(path, change, affine)
    with pytest.raises(NsdError, match=words):
        read_nifti(path, MASK)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"betas": np.ones((12, 6, 7, 5), np.float32)}, r"holds betas \(float32"),
        ({"other": np.ones((12, 6, 7, 5), np.int16)}, r"holds other \(int16"),
        ({"betas": np.ones((12, 42, 5), np.int16)}, "of 4 axes"),
        ({"betas/inner": np.ones(3)}, "holds betas"),
        ({}, "holds nothing"),
    ],
    ids=["float", "another name", "3 axes", "group", "nothing"],
)
def test_betas_in_hdf5_of_another_kind_are_refused(layout, content, words):
    path = layout.betas_session(1, 1)
    with h5py.File(path, "w") as file:
        for name, values in content.items():
            file[name] = values
    with pytest.raises(DamagedFileError, match=words):
        read_hdf5(path, MASK)
    assert next(one for one in check(layout, 1, sessions=1) if one.thing.startswith("betas, ses")).status == DAMAGED


def test_surface_betas_in_whole_numbers_are_refused(layout):
    write_surface(surface_betas(layout)[0], np.ones((VERTICES, 1, 1, 12), np.int16))
    with pytest.raises(DamagedFileError, match="float32 percent signal change"):
        read_mgh(surface_betas(layout), np.ones(2 * VERTICES, bool))


def test_hemispheres_of_two_sessions_are_refused(layout):
    write_surface(surface_betas(layout)[0], np.ones((VERTICES, 1, 1, 11), np.float32))
    with pytest.raises(ShapeError, match="of different sessions"):
        read_mgh(surface_betas(layout), np.ones(2 * VERTICES, bool))
