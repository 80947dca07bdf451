"""Simulated voxels answer what they are said to answer, and are measured as they are said to be measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainram_lib.world.brains import (
    PARTS,
    Scanner,
    area_names,
    brain_of,
    make_tuning,
    receptive_fields,
    semantic_drive,
    semantic_names,
    semantic_space,
    smoothing,
)
from brainram_lib.world.cortex import FIELD_RADIUS, voxel_sheet
from brainram_lib.world.scenes import render, scene_of
from brainram_lib.world.visual import EARLY_MAPS, early_maps, network_maps

_PAIRS = [("cat", "dog"), ("pizza", "cake"), ("bus", "car"), ("tv", "laptop")]
_PAIRS += [("cat", "pizza"), ("bus", "cake"), ("tv", "dog"), ("laptop", "car")]


@pytest.fixture(scope="module")
def sheet():
    return voxel_sheet(1, 211)


@pytest.fixture(scope="module")
def brain(sheet):
    return brain_of(sheet, 1, 0, 3)


def test_early_maps_find_the_orientation_and_the_place_of_a_grating():
    picture = np.full((64, 64, 3), 128, np.uint8)
    picture[8:24, 40:56] = (128 + 80 * np.sin(np.arange(16) * 2 * np.pi / 4))[None, :, None]
    maps = early_maps(torch.from_numpy(picture).permute(2, 0, 1)[None])[0]
    assert maps.shape == (EARLY_MAPS, 32, 32)
    vertical, horizontal = maps[4], maps[6]
    assert vertical[8, 24] > 3 * horizontal[8, 24] and vertical[8, 24] > 10 * vertical[24, 8]


def test_a_flat_picture_has_no_energy():
    maps = early_maps(torch.full((1, 3, 64, 64), 90, dtype=torch.uint8))
    assert maps[:, 3:].abs().max() < 1e-3 and maps[:, 1:3].abs().max() < 1e-6


def test_the_networks_sides_are_left_and_right():
    pictures = torch.from_numpy(np.stack([render(scene_of("brain-test", k)) for k in range(6)])).permute(0, 3, 1, 2)
    changed = pictures.clone()
    changed[..., 32:] = pictures.roll(1, 0)[..., 32:]
    difference = (network_maps(pictures)[1] - network_maps(changed)[1]).abs().mean((0, 1))
    assert difference[1] > 1.1 * difference[0]


def test_receptive_fields_sum_to_one_and_lie_where_they_should():
    prf = np.array([[2.1, 2.1, 0.4], [-2.1, 0.0, 0.4], [30.0, 0.0, 0.1]])
    weights = receptive_fields(prf, 32).reshape(3, 32, 32)
    assert torch.allclose(weights.sum((1, 2)), torch.ones(3), atol=1e-5)
    rows, columns = (np.arange(32) + 0.5 for _ in range(2))
    centre = [(float((w.sum(0).numpy() * columns).sum()), float((w.sum(1).numpy() * rows).sum())) for w in weights]
    per_degree = 16 / FIELD_RADIUS
    assert np.allclose(centre[0], (16 + 2.1 * per_degree, 16 - 2.1 * per_degree), atol=0.3)
    assert np.allclose(centre[1], (16 - 2.1 * per_degree, 16), atol=0.3)


def test_smoothing_keeps_the_variance_of_white_noise():
    kernel = smoothing(np.random.default_rng(0).normal(0, 8, (23, 3)))
    assert np.allclose((kernel**2).sum(1), 1, atol=1e-5)


def test_semantic_drive_names_what_the_scene_shows():
    scenes = [scene_of("brain-test", index) for index in range(11)]
    drive = semantic_drive(scenes)
    for row, scene in zip(drive, scenes, strict=True):
        shown = {name for name, value in zip(semantic_names(), row, strict=True) if value > 0}
        assert shown == {*scene.categories, f"place:{scene.place.name}", f"light:{scene.light}"}


def test_categories_of_one_kind_lie_close_in_the_semantic_space():
    space, names = semantic_space(), semantic_names()
    cosine = {pair: float(space[:, names.index(pair[0])] @ space[:, names.index(pair[1])]) for pair in _PAIRS}
    kin, strangers = list(cosine.values())[:4], list(cosine.values())[4:]
    assert np.allclose((space**2).sum(0), 1, atol=1e-5) and space.shape[0] < len(names) / 3
    assert np.mean(kin) > np.mean(strangers) + 0.1


def test_shares_and_reliability_follow_the_area(sheet):
    tuning = make_tuning(sheet, np.random.default_rng(3))
    areas = np.array(area_names(sheet))
    assert np.allclose((tuning.shares**2).sum(1), 1, atol=1e-5)
    assert (tuning.shares[areas == "V1", 1:] == 0).all()
    patches = tuning.shares[areas == "patch"].mean(0)
    assert patches.argmax() == PARTS.index("categories")
    assert 0.05 <= tuning.ncsnr.min() and tuning.ncsnr.max() <= 0.95


def test_the_signal_is_standard_and_a_function_of_subject_and_seed(sheet, brain):
    scenes = [scene_of("brain-test", index) for index in range(13)]
    pictures = np.stack([render(scene) for scene in scenes])
    signal = brain[0].signal(pictures, scenes)
    assert signal.shape == (13, 211) and np.isfinite(signal).all()
    assert np.allclose(signal.mean(0), 0, atol=1e-4) and np.allclose(signal.std(0, ddof=1), 1, atol=1e-2)
    again = brain_of(sheet, 1, 0, 3)[0].signal(pictures, scenes)
    other = brain_of(sheet, 1, 1, 3)[0].signal(pictures, scenes)
    assert np.allclose(signal, again, atol=1e-4) and not np.allclose(signal, other, atol=0.1)


def test_early_voxels_answer_pixels_and_face_patches_answer_people(sheet, brain):
    scenes = [scene_of("brain-test", index) for index in range(64)]
    parts = brain[0].parts(np.stack([render(scene) for scene in scenes[:2]]), semantic_drive(scenes[:2]))
    v1 = np.array(area_names(sheet)) == "V1"
    assert parts[0][:, v1].abs().sum() > 0 and parts[1][:, v1].abs().sum() == 0
    faces = sheet.labels["floc-faces"] > 0
    person = semantic_names().index("person")
    tuned = brain[0].tuning.categories
    assert tuned[faces, person].mean() > tuned[v1, person].mean() + 2


def scanner(voxels: int, ncsnr: float) -> Scanner:
    return Scanner(
        mean=np.ones(voxels),
        scale=np.full(voxels, 2.0),
        ncsnr=np.full(voxels, ncsnr),
        kernel=np.eye(voxels, dtype=np.float32),
        dead=np.array([0]),
        constant=np.array([1]),
        silent=np.array([[2, 2]]),
        seed=(5, 1),
    )


def test_measured_betas_have_the_ncsnr_that_was_asked_for():
    signal = np.random.default_rng(1).standard_normal((4000, 7)).astype(np.float32)
    betas = scanner(7, 0.5).measure(signal, 1)
    assert betas.dtype == np.int16
    correlation = np.corrcoef(betas[:, 5], signal[:, 5])[0, 1]
    assert correlation == pytest.approx(0.5 / np.sqrt(1.25), abs=0.03)
    assert betas[:, 3:].std() / 300 == pytest.approx(2, rel=0.2)


def test_broken_voxels_are_broken_and_sessions_differ():
    signal = np.zeros((11, 7), np.float32)
    first, second = (scanner(7, 0.5).measure(signal, session) for session in (1, 2))
    assert (first[:, 0] == 0).all() and (first[:, 1] == 300).all()
    assert (first[:, 2] != 0).any() and (second[:, 2] == 0).all()
    assert not np.array_equal(first, second)
    assert np.array_equal(first, scanner(7, 0.5).measure(signal, 1))
