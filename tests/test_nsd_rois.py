"""Regions: signs, labels above 127, names, hemispheres, intersections."""

from __future__ import annotations

import numpy as np
import pytest
from nsd_files import AFFINE, SHAPE, write_tree, write_volume

from brainram_lib.nsd import rois
from brainram_lib.nsd.errors import DamagedFileError, LayoutError, MissingFileError, RoiError
from brainram_lib.nsd.layout import NsdLayout


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path)


def test_minus_one_is_outside(tree):
    """The usual mistake, != 0, takes the voxels at -1 as well."""
    mask = rois.read_mask(tree.layout, 1, "nsdgeneral")
    np.testing.assert_array_equal(mask, tree.labels > 0)
    assert (tree.labels == -1).any() and not mask[tree.labels == -1].any()


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.uint8])
def test_labels_above_127_do_not_wrap(tmp_path, dtype):
    """Read as int8, 200 becomes -56 and leaves the mask."""
    layout, labels = NsdLayout(tmp_path), np.zeros(SHAPE, dtype)
    labels[1, 2, 3], labels[4, 6, 5] = 200, 127
    write_volume(layout.roi(1, "streams"), labels)
    assert rois.read_labels(layout.roi(1, "streams"))[0].max() == 200
    assert rois.read_mask(layout, 1, "streams").sum() == 2


def test_a_minus_one_saved_without_a_sign_is_named(tmp_path):
    labels = np.array([-1, 0, 1], np.int8).astype(np.uint8).reshape(1, 1, 3)
    write_volume(NsdLayout(tmp_path).roi(1, "streams"), labels)
    with pytest.raises(RoiError, match="unsigned and holds 255: a -1 was saved without a sign"):
        rois.read_mask(NsdLayout(tmp_path), 1, "streams")


def test_fractions_are_not_labels(tmp_path):
    write_volume(NsdLayout(tmp_path).roi(1, "streams"), np.full(SHAPE, 0.5, np.float32))
    with pytest.raises(RoiError, match="whole numbers"):
        rois.read_mask(NsdLayout(tmp_path), 1, "streams")


def test_labels_groups_hemispheres_and_intersections(tree):
    left = np.arange(SHAPE[0])[:, None, None] < 2
    expected = {
        "V1v": tree.labels == 1,
        "V1": np.isin(tree.labels, (1, 2)),
        "hV4": tree.labels == 7,
        "lh.V1": np.isin(tree.labels, (1, 2)) & left,
        "rh.hV4": (tree.labels == 7) & ~left,
        "nsdgeneral & rh.V1": np.isin(tree.labels, (1, 2)) & ~left,
        "V1v & hV4": np.zeros(SHAPE, bool),
    }
    for name, mask in expected.items():
        np.testing.assert_array_equal(rois.read_mask(tree.layout, 1, name), mask, err_msg=name)
    np.testing.assert_allclose(rois.read_affine(tree.layout, 1, "lh.V1"), AFFINE, rtol=1e-6)


def test_every_region_of_the_manual_has_a_name(tree):
    names = rois.known_names(tree.layout, 1)
    assert {"V1", "V3d", "OFA", "PPA", "EBA", "mfs-words", "midparietal", "FFA", "floc-faces"} <= set(names)
    assert len(names) == len(set(names))
    assert rois.find(tree.layout, 1, "PPA") == ("floc-places", (2,))
    assert rois.find(tree.layout, 1, "FFA") == ("floc-faces", (2, 3))


def test_the_subject_s_own_ctab_goes_first(tree):
    path = tree.layout.ctab(1, "prf-visualrois")
    path.parent.mkdir(parents=True)
    path.write_text("0 Unknown\n7 V1v\n1 second one\n")
    np.testing.assert_array_equal(rois.read_mask(tree.layout, 1, "V1v"), tree.labels == 7)
    assert rois.label_names(tree.layout, 1, "prf-visualrois") == {7: "V1v", 1: "second one"}


def test_unknown_regions_and_files(tree):
    with pytest.raises(RoiError, match="region must be one of .*'V1'.*'V9' was provided"):
        rois.read_mask(tree.layout, 1, "nsdgeneral & V9")
    with pytest.raises(RoiError, match="region file must be one of"):
        rois.label_names(tree.layout, 1, "mine")
    with pytest.raises(MissingFileError, match="streams.nii.gz' is not there. Fetch it"):
        rois.read_mask(tree.layout, 1, "early")
    with pytest.raises(LayoutError, match="subject must be one of .* 9 was provided"):
        rois.read_mask(tree.layout, 9, "nsdgeneral")


def test_regions_of_two_shapes_are_not_intersected(tree):
    write_volume(tree.layout.roi(1, "streams"), np.ones((5, 7, 8), np.int16))
    with pytest.raises(RoiError, match="must be one subject's"):
        rois.read_mask(tree.layout, 1, "nsdgeneral & streams")


def test_a_cut_region_file_is_named(tree):
    path = tree.layout.roi(1, "nsdgeneral")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DamagedFileError, match="nsdgeneral.nii.gz' cannot be read to its end"):
        rois.read_mask(tree.layout, 1, "nsdgeneral")


def test_regions_within_chosen_voxels(tree):
    index = np.flatnonzero(tree.labels > 0)
    masks = rois.masks_within(tree.layout, 1, index, SHAPE)
    values = tree.labels.reshape(-1)[index]
    np.testing.assert_array_equal(masks["V1"], np.isin(values, (1, 2)))
    assert masks["nsdgeneral"].all() and (masks["lh"] ^ masks["rh"]).all()
    np.testing.assert_array_equal(masks["lh"], np.unravel_index(index, SHAPE)[0] < 2)
    with pytest.raises(RoiError, match="it is another subject's"):
        rois.masks_within(tree.layout, 1, index, (5, 7, 9))
