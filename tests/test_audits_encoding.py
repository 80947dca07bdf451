"""The encoding model recovers what drives voxels, and its correlations are numpy's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from brainram_lib.audits.encoding import (
    Encoding,
    own_correlation,
    pattern_correlation,
    picture_features,
    voxel_correlation,
)

N, TEST, FEATURES, VOXELS, WIDTH = 61, 17, 7, 5, 3


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    features = {split: rng.normal(2, 3, size=(n, FEATURES)) for split, n in (("train", N), ("test", TEST))}
    weights = rng.normal(size=(FEATURES, VOXELS))
    betas = {
        split: rows @ weights + 4 + 0.01 * rng.normal(size=(len(rows), VOXELS)) for split, rows in features.items()
    }
    return features, betas


def test_a_linear_brain_is_recovered(data):
    features, betas = data
    found = Encoding.fit(features["train"], betas["train"], alphas=(1e-4, 1e2))
    np.testing.assert_allclose(found.predict(features["test"]), betas["test"], atol=0.1)
    assert (found.alphas == np.float32(1e-4)).all()


def test_it_is_scikit_learns_ridge_on_standardised_features(data):
    features, betas = data
    found = Encoding.fit(features["train"], betas["train"], alphas=(10.0,))
    standard = (features["train"] - features["train"].mean(0)) / features["train"].std(0)
    plain = Ridge(10.0).fit(standard, betas["train"])
    np.testing.assert_allclose(found.weights, plain.coef_.T, atol=1e-4)
    np.testing.assert_allclose(found.intercept, plain.intercept_, atol=1e-4)


def test_a_feature_that_never_varies_says_nothing_and_one_voxel_suffices(data):
    features, betas = data
    flat = {split: np.concatenate([rows, np.full((len(rows), 1), 3.0)], 1) for split, rows in features.items()}
    one = Encoding.fit(flat["train"], betas["train"][:, :1])
    assert one.weights.shape == (FEATURES + 1, 1) and one.weights[-1] == 0
    other = np.concatenate([features["test"], np.full((TEST, 1), 99.0)], 1)
    np.testing.assert_allclose(one.predict(other), one.predict(flat["test"]))


def test_other_images_and_other_features_are_refused(data):
    features, betas = data
    with pytest.raises(ValueError, match="'features' has 61 images and 'betas' 60"):
        Encoding.fit(features["train"], betas["train"][:-1])
    with pytest.raises(ValueError, match="'features' has 6 features, the encoding model 7"):
        Encoding.fit(features["train"], betas["train"]).predict(features["test"][:, 1:])


def test_features_are_the_global_token_and_means_over_parts():
    tokens = np.random.default_rng(1).normal(size=(4, 1 + 25, WIDTH)).astype(np.float32)
    found = picture_features(tokens, 2)
    assert found.shape == (4, WIDTH * 5)
    np.testing.assert_allclose(found[:, :WIDTH], tokens[:, 0])
    grid = tokens[:, 1:].reshape(4, 5, 5, WIDTH)
    # 5 patches a side part at 2.5, which rounds to 2
    np.testing.assert_allclose(found[:, 2 * WIDTH : 3 * WIDTH], grid[:, :2, 2:].mean((1, 2)), atol=1e-6)
    for count, cells in ((26, 6), (25, 2)):
        with pytest.raises(ValueError, match=f"{count} image tokens are not a global token and a square"):
            picture_features(tokens[:, :count], cells)


def test_correlations_are_those_of_numpy():
    rng = np.random.default_rng(2)
    predicted, measured = rng.normal(size=(TEST, VOXELS)), rng.normal(size=(TEST, VOXELS))
    predicted[:, 3] = 1.0
    found = voxel_correlation(predicted, measured)
    assert found[3] == 0
    assert found[1] == pytest.approx(np.corrcoef(predicted[:, 1], measured[:, 1])[0, 1])
    centre, mask = rng.normal(size=VOXELS), np.array([1, 1, 0, 1, 0], bool)
    patterns = pattern_correlation(predicted, measured, centre, {"part": mask})["part"]
    pair = [(rows[6] - centre)[mask] for rows in (predicted, measured)]
    assert patterns.shape == (TEST,) and patterns[6] == pytest.approx(np.corrcoef(*pair)[0, 1])
    value, low, high = own_correlation(predicted, measured, {"part": mask})["part"]
    assert value == pytest.approx(found[mask].mean()) and low < high


def test_what_is_the_same_for_every_image_does_not_count():
    rng = np.random.default_rng(3)
    centre = rng.normal(size=VOXELS) * 100
    predicted, measured = (centre + rng.normal(size=(TEST, VOXELS)) for _ in range(2))
    everything = {"all": np.ones(VOXELS, bool)}
    assert pattern_correlation(predicted, measured, np.zeros(VOXELS), everything)["all"].mean() > 0.99
    assert abs(pattern_correlation(predicted, measured, centre, everything)["all"].mean()) < 0.5
