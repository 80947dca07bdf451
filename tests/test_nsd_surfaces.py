"""Volume to surface against a plain loop, on transform files written by hand."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest

from brainram_lib.nsd import surfaces
from brainram_lib.nsd.errors import DamagedFileError, MissingFileError, ShapeError
from brainram_lib.nsd.layout import LAYERS, NsdLayout

SHAPE, NATIVE, FSAVERAGE = (5, 7, 6), 23, 10251


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.MGHImage(values.reshape(len(values), 1, 1, *values.shape[1:]), np.eye(4)), path)


@pytest.fixture
def tree(tmp_path):
    """(layout, {(hemi, layer): 1-based coordinates}, {hemi: 1-based native vertex})."""
    rng, layout, points, target = np.random.default_rng(0), NsdLayout(tmp_path), {}, {}
    for hemi in ("lh", "rh"):
        for layer in LAYERS:
            points[hemi, layer] = rng.uniform(0.6, np.array(SHAPE) + 0.4, (NATIVE, 3)).astype(np.float32)
            points[hemi, layer][4] = 9999
            save(layout.volume_to_layer(1, hemi, layer), points[hemi, layer])
        target[hemi] = rng.integers(1, NATIVE + 1, FSAVERAGE).astype(np.int32)
        save(layout.white_to_fsaverage(1, hemi), target[hemi])
    return layout, points, target


def trilinear(volume, point):
    """One point, eight corners, NaN corners left out."""
    base, total, weights = np.floor(point).astype(int), 0.0, 0.0
    for corner in itertools.product((0, 1), repeat=3):
        place = base + corner
        weight = np.prod([1 - abs(p - q) for p, q in zip(point, place, strict=True)])
        if all(0 <= p < n for p, n in zip(place, volume.shape, strict=True)) and np.isfinite(volume[tuple(place)]):
            total, weights = total + weight * volume[tuple(place)], weights + weight
    return total / weights if weights >= 0.25 else np.nan


def loop(volume, points, hemi):
    values = []
    for vertex in range(NATIVE):
        depths = [points[hemi, layer][vertex] for layer in LAYERS]
        samples = [np.nan if (p == 9999).any() else trilinear(volume, p.astype(float) - 1) for p in depths]
        finite = [sample for sample in samples if np.isfinite(sample)]
        values.append(np.mean(finite) if finite else np.nan)
    return np.array(values)


def test_data_are_those_of_a_plain_loop(tree):
    layout, points, target = tree
    volume = np.random.default_rng(1).normal(size=SHAPE)
    volume[:2, :, 3:] = np.nan
    maps = surfaces.to_fsaverage5(layout, 1, volume)
    for hemi, values in zip(("lh", "rh"), maps, strict=True):
        expected = loop(volume, points, hemi)[target[hemi][:10242] - 1]
        assert values.shape == (10242,) and np.allclose(values, expected, atol=1e-5, equal_nan=True)


def test_labels_are_taken_from_the_nearest_voxel_and_never_mixed(tree):
    layout, points, _ = tree
    volume = np.random.default_rng(2).integers(0, 4, SHAPE) * 50
    found = surfaces.to_native(layout, 1, "rh", volume, "nearest")
    for vertex in range(NATIVE):
        if vertex == 4:
            assert np.isnan(found[vertex])
            continue
        outer, middle, inner = (volume[tuple(np.rint(points["rh", layer][vertex] - 1).astype(int))] for layer in LAYERS)
        assert found[vertex] == (outer if outer in (middle, inner) else middle)


def test_coordinates_count_from_one(tree):
    layout, points, _ = tree
    volume = np.arange(np.prod(SHAPE), dtype=float).reshape(SHAPE)
    exact = surfaces.sample_volume(volume, np.array([[0.0, 0, 0], [4, 6, 5], [2, 3, 1]]))
    assert exact.tolist() == [volume[0, 0, 0], volume[4, 6, 5], volume[2, 3, 1]]
    assert np.allclose(
        surfaces.layer_coordinates(layout, 1, "lh", "layerB2")[0], points["lh", "layerB2"][0] - 1, atol=1e-5
    )


def test_outside_the_volume_is_nan():
    outside = np.array([[-0.6, 0, 0], [0, 6.6, 0], [0, 0, 5.7], [np.nan, 0, 0]])
    for method in surfaces.METHODS:
        assert np.isnan(surfaces.sample_volume(np.ones(SHAPE), outside, method)).all()


def test_a_regions_rim_is_not_pulled_towards_zero():
    volume = np.full(SHAPE, np.nan)
    volume[2] = 3.0
    assert surfaces.sample_volume(volume, np.array([[2.4, 3.0, 3.0], [2.9, 3.0, 3.0]]))[0] == pytest.approx(3.0)
    assert np.isnan(surfaces.sample_volume(volume, np.array([[2.9, 3.0, 3.0]]))[0])


def test_voxels_go_into_the_volume_in_c_order():
    mask = np.random.default_rng(4).random(SHAPE) > 0.7
    values = np.arange(mask.sum(), dtype=float)
    volume = surfaces.to_volume(values, np.flatnonzero(mask), SHAPE)
    assert np.array_equal(volume[mask], values) and np.isnan(volume[~mask]).all()
    with pytest.raises(ShapeError, match="one value for each of"):
        surfaces.to_volume(values[:-1], np.flatnonzero(mask), SHAPE)


def test_missing_and_damaged_files_are_named(tree):
    layout, _, _ = tree
    with pytest.raises(MissingFileError, match=r"lh\.func1pt8-to-layerB1\.mgz.* is not there"):
        surfaces.to_fsaverage5(layout, 2, np.ones(SHAPE))
    path = layout.volume_to_layer(1, "lh", "layerB1")
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DamagedFileError, match="cannot be read to its end"):
        surfaces.to_fsaverage5(layout, 1, np.ones(SHAPE))
    save(path, np.ones((NATIVE, 2), np.float32))
    with pytest.raises(ShapeError, match=r"must hold \(vertices, 3\)"):
        surfaces.to_fsaverage5(layout, 1, np.ones(SHAPE))


def test_unknown_methods_are_refused():
    with pytest.raises(ValueError, match=r"method must be one of \['linear', 'nearest'\]. 'cubic' was provided"):
        surfaces.sample_volume(np.ones(SHAPE), np.zeros((1, 3)), "cubic")
