import numpy as np
import pytest

from brainram_lib.core.ridge import Ridge, fit_ridge, fit_ridge_reference

ALPHAS = (0.5, 5.0, 50.0, 500.0)


def simulated(n=40, n_val=13, voxels=11, tokens=3, width=5, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(voxels, tokens * width)) * np.repeat([1.0, 0.3, 0.05], width)
    betas = rng.normal(size=(n + n_val, voxels)) + 2
    targets = betas @ maps + rng.normal(size=(n + n_val, tokens * width)) * noise + 1
    targets = targets.reshape(-1, tokens, width)
    return betas[:n], targets[:n], betas[n:], targets[n:]


@pytest.mark.parametrize("voxels", [11, 61])
def test_agrees_with_scikit_learn_in_both_shapes_of_design(voxels):
    data = simulated(voxels=voxels)
    fast, plain = fit_ridge(*data, ALPHAS), fit_ridge_reference(*data, ALPHAS)
    np.testing.assert_array_equal(fast.alphas, plain.alphas)
    np.testing.assert_allclose(fast.weights, plain.weights, atol=1e-4)
    np.testing.assert_allclose(fast.r2, plain.r2, atol=1e-4)
    np.testing.assert_allclose(fast.predict(data[2]), plain.predict(data[2]), atol=1e-3)


def test_alpha_is_per_token_and_may_be_shared():
    data = simulated(n=200, noise=3.0)
    assert len(set(fit_ridge(*data, ALPHAS).alphas)) > 1
    assert len(set(fit_ridge(*data, ALPHAS, per_token=False).alphas)) == 1


def test_permuted_brains_permute_the_estimates():
    betas, tokens, betas_val, tokens_val = simulated()
    model, order = fit_ridge(betas, tokens, betas_val, tokens_val, ALPHAS), np.random.default_rng(1).permutation(13)
    np.testing.assert_allclose(model.predict(betas_val[order]), model.predict(betas_val)[order], atol=1e-6)


def test_constant_voxel_and_constant_token_do_no_harm():
    betas, tokens, betas_val, tokens_val = simulated()
    betas[:, 4] = betas_val[:, 4] = 0
    tokens[:, 1] = tokens_val[:, 1] = 7
    model = fit_ridge(betas, tokens, betas_val, tokens_val, ALPHAS)
    assert np.isfinite(model.weights).all()
    np.testing.assert_allclose(model.predict(betas_val)[:, 1], 7, atol=1e-4)


def test_saves_and_loads(tmp_path):
    data = simulated()
    model = fit_ridge(*data, ALPHAS)
    model.save(tmp_path / "ridge.safetensors")
    again = Ridge.load(tmp_path / "ridge.safetensors")
    np.testing.assert_array_equal(again.predict(data[2]), model.predict(data[2]))


def test_errors_name_the_thing(tmp_path):
    betas, tokens, betas_val, tokens_val = simulated()
    with pytest.raises(ValueError, match="'betas_train' has 39 rows and 'tokens_train' 40"):
        fit_ridge(betas[1:], tokens, betas_val, tokens_val, ALPHAS)
    with pytest.raises(ValueError, match="'betas_val' holds NaN"):
        fit_ridge(betas, tokens, np.where(betas_val > 3, np.nan, betas_val), tokens_val, ALPHAS)
    with pytest.raises(ValueError, match="'alphas' must be one or more positive"):
        fit_ridge(betas, tokens, betas_val, tokens_val, (0.0,))
    with pytest.raises(ValueError, match="same subject and encoder"):
        fit_ridge(betas, tokens, betas_val[:, 1:], tokens_val, ALPHAS)
    with pytest.raises(ValueError, match="has 10 voxels, but this ridge was fitted on 11"):
        fit_ridge(betas, tokens, betas_val, tokens_val, ALPHAS).predict(betas[:, 1:])
    with pytest.raises(FileNotFoundError, match="No ridge is at"):
        Ridge.load(tmp_path / "none.safetensors")
