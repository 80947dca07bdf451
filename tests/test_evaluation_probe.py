import numpy as np
import pytest

from brainram_lib.evaluation.probe import Probe, fit_probe, label_matrix, named_by_chance

CATEGORIES = ("cat", "dog", "kite", "train")


def simulated(n=300, features=11, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.random((n, len(CATEGORIES))) < 0.35
    labels[np.arange(n), rng.integers(len(CATEGORIES), size=n)] = True
    directions = np.random.default_rng(9).normal(size=(len(CATEGORIES), features))
    return (labels @ directions + rng.normal(size=(n, features)) * 0.4 + 5).astype(np.float32), labels


def test_names_a_category_that_is_present():
    probe = fit_probe(*simulated(), CATEGORIES)
    features, labels = simulated(seed=1)
    named = probe.named(features, labels)
    assert named.shape == (300,) and named.mean() > 0.9 and probe.held_out > 0.8
    shuffled = probe.named(features, labels[np.roll(np.arange(300), 1)]).mean()
    assert abs(shuffled - named_by_chance(probe, features, labels)) < 0.1


def test_weights_solve_the_ridge_equation():
    features, labels = simulated(n=60)
    probe = fit_probe(features, labels, CATEGORIES, alphas=(7.0,), held_out=0.1)
    kept = np.random.default_rng(0).permutation(60)[6:]
    design = (features[kept] - probe.mean) / probe.scale
    target = labels[kept] - labels[kept].mean(0)
    expected = np.linalg.solve(design.T @ design + 7 * np.eye(11), design.T @ target)
    np.testing.assert_allclose(probe.weights, expected, atol=1e-4)


def test_a_scene_and_its_autoencoder_output_stay_together():
    features, labels = simulated(n=40)
    doubled = np.concatenate([features, features]), np.concatenate([labels, labels])
    groups = np.tile(np.arange(40), 2)
    probe = fit_probe(*doubled, CATEGORIES, groups=groups, held_out=0.25)
    np.testing.assert_allclose(probe.mean, fit_probe(features, labels, CATEGORIES, held_out=0.25).mean, atol=1e-4)


def test_a_dead_feature_does_no_harm():
    features, labels = simulated()
    features[:, 3] = 2
    assert np.isfinite(fit_probe(features, labels, CATEGORIES).weights).all()


def test_labels_follow_names():
    labels = label_matrix([["dog"], ["train", "cat"], []], CATEGORIES)
    assert labels.tolist() == [[False, True, False, False], [True, False, False, True], [False] * 4]
    with pytest.raises(ValueError, match="'zebra' of scene 1 must be one of the 4 categories"):
        label_matrix([["dog"], ["zebra"]], CATEGORIES)


def test_saves_and_loads(tmp_path):
    probe = fit_probe(*simulated(), CATEGORIES)
    probe.save(tmp_path / "probe.safetensors")
    again = Probe.load(tmp_path / "probe.safetensors")
    assert again.categories == CATEGORIES and again.alpha == probe.alpha and again.held_out == probe.held_out
    features, labels = simulated(seed=1)
    np.testing.assert_array_equal(again.named(features, labels), probe.named(features, labels))


def test_errors(tmp_path):
    features, labels = simulated()
    with pytest.raises(ValueError, match="rows and columns must agree"):
        fit_probe(features, labels[1:], CATEGORIES)
    with pytest.raises(ValueError, match="label_matrix"):
        fit_probe(features, labels, CATEGORIES).named(features, labels[:, 1:])
    with pytest.raises(FileNotFoundError, match="No probe is at"):
        Probe.load(tmp_path / "none.safetensors")
