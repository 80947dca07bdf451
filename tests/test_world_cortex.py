"""Where the simulated areas lie and what their voxels see."""

from __future__ import annotations

import numpy as np
import pytest

from brainram_lib.nsd.rois import REGION_FILES
from brainram_lib.world.cortex import ROI_LABELS, cortex_voxels, grid, hemisphere, to_voxels, voxel_sheet


def test_region_names_are_those_of_the_reader():
    assert ROI_LABELS == REGION_FILES


@pytest.mark.parametrize("name, side", [("lh", 1), ("rh", -1)])
def test_early_areas_see_the_other_half_of_the_field(name, side):
    half = hemisphere(name)
    early = half.labels["prf-visualrois"] > 0
    assert (side * half.prf[early, 0] > -1e-9).all()


@pytest.mark.parametrize("name", ["lh", "rh"])
def test_ventral_areas_see_the_upper_field_and_dorsal_ones_the_lower(name):
    half = hemisphere(name)
    labels = half.labels["prf-visualrois"]
    for ventral in (1, 3, 5):
        assert (half.prf[labels == ventral, 1] >= 0).all() and (half.prf[labels == ventral + 1, 1] <= 0).all()
        low, high = (np.median(half.at_depth(0.5)[labels == k, 2]) for k in (ventral, ventral + 1))
        assert low < high


def test_receptive_fields_vary_smoothly_within_an_area():
    half = hemisphere("lh")
    member = np.flatnonzero(half.labels["prf-visualrois"] == 1)
    points = half.at_depth(0.5)[member]
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1) + 1e9 * np.eye(len(points))
    jump = np.linalg.norm(half.prf[member] - half.prf[member[distance.argmin(1)]], axis=1)
    assert np.median(jump) < 0.4 * half.prf[member, :2].std(0).sum()


def test_every_area_has_voxels_in_every_subject():
    for subject, count in ((1, 1500), (7, 1200)):
        sheet = voxel_sheet(subject, count)
        assert len(sheet.index) == count and set(sheet.hemi) == {0, 1}
        assert set(range(1, 8)) <= set(sheet.labels["prf-visualrois"])
        assert set(range(1, 8)) == set(sheet.labels["streams"])
        assert {1, 2, 3} <= set(sheet.labels["floc-places"]) and {1, 2, 3} <= set(sheet.labels["floc-faces"])


def test_voxels_are_distinct_in_mask_order_and_near_their_vertex():
    sheet = voxel_sheet(2, 53)
    mask = sheet.volume(np.ones(53, bool))
    assert mask.sum() == 53 and np.array_equal(np.argwhere(mask), sheet.index)
    distance = np.abs(to_voxels(sheet.affine, sheet.position) - sheet.index).max(1)
    assert (distance < 1.2).all()
    brain = {tuple(voxel) for name in ("lh", "rh") for voxel in cortex_voxels(name, sheet)}
    assert {tuple(voxel) for voxel in sheet.index} <= brain


def test_subjects_have_different_volumes_that_hold_the_cortex():
    shapes = set()
    for subject in (1, 2, 5, 7):
        shape, affine = grid(subject)
        shapes.add(shape)
        for name in ("lh", "rh"):
            points = to_voxels(affine, hemisphere(name).pial)
            assert (points > 0).all() and (points < np.array(shape) - 1).all()
    assert all(len({shape[axis] for shape in shapes}) == 4 for axis in range(3))
    assert all(len(set(shape)) == 3 for shape in shapes)


def test_too_many_voxels_are_refused():
    with pytest.raises(ValueError, match="n_voxels must be at most"):
        voxel_sheet(1, 100_000)
