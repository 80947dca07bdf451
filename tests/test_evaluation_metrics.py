import numpy as np
import pytest
from scipy.stats import pearsonr

from brainram_lib.evaluation.catalogue import MINI, PAPER, metric, metric_set
from brainram_lib.evaluation.images import Resizing, chunks
from brainram_lib.evaluation.metrics import (
    Evaluator,
    correlation_distance,
    pixcorr,
    ssim,
    ssim_reference,
    two_way_identification,
    two_way_identification_reference,
)
from brainram_lib.evaluation.presets import PRESETS

SMALL = Resizing(first=24, pixels=41)


def pictures(n=5, height=17, width=13, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), np.uint8)


def test_identical_images_are_perfect():
    images = pictures()
    np.testing.assert_allclose(pixcorr(images, images, SMALL), 1, atol=1e-6)
    np.testing.assert_allclose(ssim(images, images, SMALL), 1, atol=1e-6)


def test_ssim_agrees_with_scikit_image_in_two_dimensions():
    truth, other = pictures(), pictures(height=19, width=23, seed=1)
    truth[2] = 128
    for made in (other, truth // 2 + 20):
        np.testing.assert_allclose(ssim(truth, made, SMALL), ssim_reference(truth, made, SMALL), atol=1e-5)


def test_pixcorr_is_pearson_and_ignores_contrast():
    truth, made = pictures(height=41, width=41), pictures(height=41, width=41, seed=1)
    expected = [pearsonr(a.ravel(), b.ravel()).statistic for a, b in zip(truth, made, strict=True)]
    same_size = Resizing(first=None, pixels=41)
    np.testing.assert_allclose(pixcorr(truth, made, same_size), expected, atol=1e-5)
    np.testing.assert_allclose(pixcorr(truth, truth // 2 + 50, same_size), 1, atol=1e-3)
    np.testing.assert_array_equal(pixcorr(truth, np.full_like(truth, 9), same_size), 0)


def test_resizing_passes_through_the_first_side_and_keeps_flat_colours():
    flat = np.full((35, 13, 17, 3), 51, np.uint8)
    got = list(chunks(flat, 29, Resizing(first=24)))
    assert [tuple(part.shape) for part in got] == [(32, 3, 29, 29), (3, 3, 29, 29)]
    np.testing.assert_allclose(got[1].numpy(), 0.2, atol=1e-6)
    detailed = pictures()
    direct, smoothed = (next(chunks(detailed, 29, r)) for r in (PRESETS["brain-diffuser"].resizing, Resizing(first=8)))
    assert not np.allclose(direct.numpy(), smoothed.numpy(), atol=0.05)


def test_two_way_agrees_with_the_plain_loop():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(11, 7)).astype(np.float32)
    made = real + rng.normal(size=(11, 7)).astype(np.float32)
    values = two_way_identification(real, made)
    np.testing.assert_allclose(values, two_way_identification_reference(real, made), atol=1e-6)
    assert 0.5 < values.mean() < 1


def test_two_way_compares_over_the_reals_unless_told_otherwise():
    # reconstruction 0 resembles every real; the others resemble only their own
    real = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], np.float32)
    made = np.array([[1.0, 2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], np.float32)
    over_reals = two_way_identification(real, made)
    over_made = two_way_identification(real, made, among="reconstructions")
    np.testing.assert_allclose(over_reals, [0.5, 1, 1])
    np.testing.assert_allclose(over_made, [1, 1, 1])
    np.testing.assert_allclose(over_reals, two_way_identification_reference(real, made))


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_two_way_refuses_features_that_are_not_finite(side, value):
    features = np.random.default_rng(0).normal(size=(2, 5, 7)).astype(np.float32)
    features[side, 3, 2] = value
    with pytest.raises(ValueError, match="features must be finite. 5 of 25 correlations"):
        two_way_identification(*features)


def test_two_way_ties_fail_and_unrelated_features_are_at_chance():
    same = np.tile(np.arange(6, dtype=np.float32), (5, 1))
    np.testing.assert_array_equal(two_way_identification(same, same), 0)
    rng = np.random.default_rng(0)
    real, made = rng.normal(size=(2, 120, 31)).astype(np.float32)
    assert abs(two_way_identification(real, made).mean() - 0.5) < 0.06


def test_correlation_distance():
    rng = np.random.default_rng(0)
    real, made = rng.normal(size=(2, 9, 31)).astype(np.float32)
    expected = [1 - pearsonr(a, b).statistic for a, b in zip(real, made, strict=True)]
    np.testing.assert_allclose(correlation_distance(real, made), expected, atol=1e-5)
    np.testing.assert_allclose(correlation_distance(real, real), 0, atol=1e-6)


def mean_colours(images):
    return {"early": images[:, ::3, ::3].reshape(len(images), -1).astype(np.float32), "image": coarse(images)}


def coarse(images):
    return images.astype(np.float32).mean(2).reshape(len(images), -1)


def test_judge_scores_every_metric_per_image():
    truth = pictures(n=7)
    chosen = tuple(m for m in MINI if m.layer in (None, "early", "image"))
    evaluator = Evaluator(truth, chosen, {"lite0": mean_colours, "clip": mean_colours}, SMALL)
    perfect = evaluator.score(truth)
    assert list(perfect) == [m.name for m in chosen]
    for name, values in perfect.items():
        np.testing.assert_allclose(values, 1, atol=1e-5, err_msg=name)
    order = np.roll(np.arange(7), 1)
    wrong = evaluator.score(truth[order])
    assert wrong["clip"].mean() < 0.6 and wrong["pixcorr"].mean() < 0.2


def test_judge_names_what_is_missing_or_wrong():
    truth = pictures()
    with pytest.raises(ValueError, match="'backbones' must hold 'lite0'"):
        Evaluator(truth, MINI, {"clip": mean_colours})
    with pytest.raises(ValueError, match="'truth' holds 5 pictures and 'reconstructions' 4"):
        pixcorr(truth, truth[:4], SMALL)
    with pytest.raises(ValueError, match="same images and layer"):
        two_way_identification(np.ones((3, 4)), np.ones((3, 5)))


def test_metric_sets_are_the_papers_and_the_stand_ins():
    assert [m.title for m in PAPER] == ["PixCorr", "SSIM", "Alex(2)", "Alex(5)", "Incep", "CLIP", "Eff", "SwAV"]
    assert [m.name for m in PAPER if m.direction == "down"] == ["eff", "swav"]
    assert [m.name for m in MINI] == ["pixcorr", "ssim", "lite0_early", "lite0_middle", "lite0_late", "clip"]
    assert metric_set("paper") is PAPER and metric("eff").heading == "Eff ↓"
    with pytest.raises(ValueError, match="'metric set' must be one of mini, paper. 'full' was provided"):
        metric_set("full")
    with pytest.raises(ValueError, match="'metric' must be one of .* 'psnr' was provided"):
        metric("psnr")
