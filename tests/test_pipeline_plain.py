"""Plain alternatives to Stage II: what they compute, and that only validation images choose."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from given_stages import SmallRun
from small_stages import VALIDATION

from brainram_lib.core.store import Store
from brainram_lib.pipeline.data import validation_rows
from brainram_lib.pipeline.plain import SHARES, Mixed, RidgeOnNeighbours
from brainram_lib.pipeline.ram import Retrieved


@pytest.fixture
def small(monkeypatch):
    run = SmallRun()
    # the small run's corpus is given to its fusion; the alternatives ask the neighbours for it
    monkeypatch.setattr(Retrieved, "tokens", lambda self, store, prior: run.fusion.tokens(store))
    return run


def known(run, store, split):
    """p (n, S, T, D), the mean neighbour of each, and the targets, all whitened, at once."""
    whitening, tokens = run.prior.load(store).whitening, run.fusion.tokens(store)
    p = whitening(torch.from_numpy(np.array(store.result(run.estimates).array(split), np.float32)))
    ids = torch.from_numpy(run.fusion.neighbours(store, split).ids)
    target = whitening(torch.from_numpy(np.array(store.result(run.targets).array(split), np.float32)))
    return p, tokens(ids).mean(2), target


def test_the_mix_takes_the_share_that_is_best_on_validation_images(small, tmp_path):
    store = Store(tmp_path)
    stage = Mixed(small.estimates, small.found, False, VALIDATION)
    share = store.result(stage).json("share")["share"]
    p, c, target = known(small, store, "train")
    _, held = validation_rows(len(p), VALIDATION)
    errors = [float(((1 - w) * p[held] + w * c[held] - target[held][:, None]).square().sum()) for w in SHARES]
    assert share == SHARES[int(np.argmin(errors))]
    p, c, _ = known(small, store, "test")
    mixed = small.prior.load(store).whitening.restored((1 - share) * p + share * c)
    np.testing.assert_allclose(store.result(stage).array("test"), mixed.numpy(), atol=2e-2, rtol=2e-3)


def test_the_ridge_on_neighbours_is_fitted_token_by_token_on_means_over_samples(small, tmp_path):
    from brainram_lib.core.ridge import fit_ridge

    store = Store(tmp_path)
    found = store.result(RidgeOnNeighbours(small.estimates, small.found, False, VALIDATION)).array("test")
    (p, c, target), (asked_p, asked_c, _) = known(small, store, "train"), known(small, store, "test")
    rows, asked = (torch.cat([a.mean(1), b.mean(1)], -1).numpy() for a, b in ((p, c), (asked_p, asked_c)))
    fit, held = validation_rows(len(rows), VALIDATION)
    token = 1
    goal = target.numpy()[:, token : token + 1]
    ridge = fit_ridge(rows[fit, token], goal[fit], rows[held, token], goal[held])
    expected = np.zeros((len(asked), *target.shape[1:]), np.float32)
    expected[:, token] = ridge.predict(asked[:, token])[:, 0]
    restored = small.prior.load(store).whitening.restored(torch.from_numpy(expected)).numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found[:, token], restored[:, token], atol=2e-2, rtol=2e-3)
