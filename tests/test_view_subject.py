"""Figures of a subject and their sentences, against plain counts."""

from __future__ import annotations

import numpy as np
import pytest

from brainram_lib.nsd.design import Trials
from brainram_lib.nsd.prepared import PreparedSubject
from brainram_lib.view.subject import by_area, design_plot, roi_table
from brainram_lib.view.subject_said import (
    areas_said,
    design_said,
    pictures_said,
    regions_said,
    side_said,
    trials_said,
)

VOXELS = 11


@pytest.fixture
def trials():
    ids = np.array([7, 3, 7, 5, 3, 9, 7, 9])
    counts = np.array([(ids[:k] == ids[k]).sum() for k in range(len(ids))])
    return Trials(ids, np.array([1, 1, 1, 1, 2, 2, 2, 2]), np.arange(len(ids)), counts, np.isin(ids, [7, 3]))


@pytest.fixture
def subject(tmp_path):
    rois = np.zeros((4, VOXELS), bool)
    rois[0, :4], rois[1, 3:9], rois[2, :4] = True, True, True
    np.save(tmp_path / "rois.npy", rois)
    np.save(tmp_path / "voxel_index.npy", np.arange(VOXELS))
    np.save(tmp_path / "ncsnr.npy", np.linspace(0, 1, VOXELS, dtype=np.float32))
    return PreparedSubject(tmp_path, {"rois": ["V1", "ventral", "early", "floc-faces"], "subject": 1})


def test_the_design_says_how_far_apart_presentations_are(trials):
    said = design_said(trials)
    # image 7 at 0, 2 and 6, image 3 at 1 and 4; one of three returns within session 1
    assert "2 test images were shown 5 times" in said and "are 3 trials (median; range 2 to 4)" in said
    assert "33% of the repeats fall within one session" in said
    once = Trials(*(getattr(trials, name)[3:4] for name in ("nsd_id", "session", "index", "repetition", "is_test")))
    assert design_said(once).startswith("None of the 0 test images")


def test_the_design_s_figure_says_how_many_images_it_shows(trials):
    axes = design_plot(trials).axes
    assert axes[0].get_ylabel() == "test image (the first 2 of 2)"
    assert [text.get_text() for text in axes[0].get_legend().get_texts()][0] == "first presentation"
    assert [len(dots.get_offsets()) for dots in axes[0].collections[:3]] == [2, 2, 1]


def test_pictures_say_how_alike_two_of_them_are():
    pictures = np.zeros((3, 40, 40, 3), np.uint8)
    pictures[:2, :, :20], pictures[2, :, 20:] = 200, 200
    said = pictures_said(pictures, 2)
    # one pair is the same, two pairs are opposite
    assert said.startswith("Shown: the first 2 of 3, unselected.")
    assert "images: -0.33 on average, 1.00 for the most alike" in said


def test_regions_say_which_is_largest_and_what_overlaps(subject):
    said = regions_said(subject, ["V1", "ventral", "OFA", "floc-faces"])
    assert "ventral holds the most (6) and V1 the fewest (4)" in said
    assert "18% lie in none of these regions and 9% in more than one" in said
    assert said.endswith("with no voxel: OFA, floc-faces.")


def test_a_table_of_some_regions_has_no_others(subject):
    assert list(roi_table(subject, ["ventral", "V1", "absent"]).index.get_level_values(1)) == ["V1", "ventral"]
    assert len(roi_table(subject)) == 3


def test_areas_say_their_medians_and_what_chance_is_not_exceeded(subject):
    values = np.array([0.0, 1, 2, 3, -1, 5, 6, 7, 8, 9, 10])
    said = areas_said(by_area(subject, values), "Beta", " %", chance=0)
    assert "1.50 % in early areas, 5.50 % in high areas" in said and "highest in high areas" in said
    assert said.endswith("20% of the voxels do not exceed 0.")
    values[1] = np.nan
    assert areas_said({"early": values}, "x").endswith("9% have no value.")
    assert areas_said({"early": np.array([np.nan])}, "x") == "x: no voxel has a finite value."


def test_a_mean_of_noise_looks_paler_and_of_signal_does_not():
    rng = np.random.default_rng(0)
    signal, noise = rng.normal(size=4000), rng.normal(size=(1, 3, 4000))
    noise /= noise.std(2, keepdims=True)
    assert "0.58 times that of one trial, where noise alone would leave 0.58" in trials_said(noise, 0)
    assert "paler" in trials_said(noise + signal, 0)
    alike = trials_said(np.broadcast_to(signal, (1, 3, 4000)), 0)
    assert "1.00 between the first and the mean of the others" in alike and "1.00 times that of one trial" in alike


def test_one_side_says_where_it_is_known():
    left = np.array([np.nan, 1.0, 3.0])
    said = side_said((left, left), "ncsnr")
    assert said == "ncsnr is known on 2 of the left hemisphere's 3 vertices: median 2.00, maximum 3.00."
    assert side_said((left, left * np.nan), "x", "right") == "x: no vertex of the right hemisphere has a value."
