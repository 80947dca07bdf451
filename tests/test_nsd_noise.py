"""ncsnr, noise ceilings and reliability against plain loops and against a model whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from brainram_lib.nsd.errors import NsdError
from brainram_lib.nsd.noise import ncsnr, ncsnr_from_noise, noise_ceiling, repetition_reliability


def test_ncsnr_equals_a_plain_loop_and_ignores_images_shown_less_often():
    rng = np.random.default_rng(0)
    ids = rng.permutation(np.r_[np.repeat(np.arange(7), 3), 7, 8, 8])
    betas = rng.normal(size=(len(ids), 5))
    for voxel in range(5):
        variances = [np.var(betas[ids == image, voxel], ddof=1) for image in range(7)]
        v = np.sqrt(np.mean(variances))
        assert ncsnr(betas, ids)[voxel] == pytest.approx(np.sqrt(max(0, 1 - v**2)) / v)
    with pytest.raises(NsdError, match="images with 3 trials; among 2 images there is none"):
        ncsnr(betas[:3], np.array([1, 1, 2]))


def test_ncsnr_finds_the_signal_that_was_put_in():
    rng = np.random.default_rng(1)
    truth = np.array([0.0, 0.5, 1.0, 2.0])
    signal = rng.normal(size=(4000, 1, 4)) * truth
    betas = (signal + rng.normal(size=(4000, 3, 4))).reshape(-1, 4)
    betas = (betas - betas.mean(0)) / betas.std(0, ddof=1)
    found = ncsnr(betas, np.repeat(np.arange(4000), 3))
    np.testing.assert_allclose(found[1:], truth[1:], rtol=0.05)
    assert found[0] < 0.2


def test_no_noise_and_no_data_give_nan():
    values = ncsnr_from_noise(np.array([0.0, np.nan, 2.0]))
    assert np.isnan(values[:2]).all() and values[2] == 0


def test_noise_ceilings():
    values = np.array([0.0, 0.5, 1.0])
    np.testing.assert_allclose(noise_ceiling(values, 1), [0, 0.2, 0.5])
    np.testing.assert_allclose(noise_ceiling(values, 3), [0, 0.25 / (0.25 + 1 / 3), 0.75])
    # NSD's formula for A, B and C images with 3, 2 and 1 trials: (A/3 + B/2 + C) / (A + B + C) stands for 1/n.
    counts = np.array([3, 3, 3, 2, 1])
    np.testing.assert_allclose(noise_ceiling(values, counts), values**2 / (values**2 + (3 / 3 + 1 / 2 + 1) / 5))
    with pytest.raises(NsdError, match="repetitions must be at least 1. 0 was provided"):
        noise_ceiling(values, 0)


def test_reliability_is_the_mean_correlation_of_pairs():
    rng = np.random.default_rng(2)
    betas = rng.normal(size=(11, 3, 4)) + rng.normal(size=(11, 1, 4))
    betas[:, :, 3] = 1
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = [np.mean([np.corrcoef(betas[:, a, v], betas[:, b, v])[0, 1] for a, b in pairs]) for v in range(3)]
    found = repetition_reliability(betas)
    np.testing.assert_allclose(found[:3], expected)
    assert np.isnan(found[3])
    same = np.repeat(betas[:, :1, :3], 3, axis=1)
    np.testing.assert_allclose(repetition_reliability(same), 1)
    with pytest.raises(NsdError, match="there are 11 and 1"):
        repetition_reliability(betas[:, :1])
