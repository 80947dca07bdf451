"""Linear parts of the compared systems: which voxels and trials are fitted on, alphas, statistics of the test set."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from given_stages import Given, GivenImages, GivenSubject, GivenTargets
from sklearn.linear_model import Ridge
from small_stages import TEST, TOKENS, VALIDATION, VOXELS, WIDTH, N

from brainram_lib.core.store import Store
from brainram_lib.nsd.settings import DataSettings
from brainram_lib.pipeline.data import validation_rows
from brainram_lib.pipeline.peers.linear import RegionRidge, Restandardised, SingleTrials
from brainram_lib.pipeline.source import EmbeddedWorld
from brainram_lib.pipeline.weights import EncoderWeights

REGIONS = {"early": np.arange(VOXELS) < 4, "ventral": np.arange(VOXELS) >= 7, "gone": np.zeros(VOXELS, bool)}


@dataclass(frozen=True)
class RegionSubject(GivenSubject):
    """A given subject with regions."""

    def prepared(self, store: Store) -> Any:
        known = {"roi": REGIONS.__getitem__, "roi_names": list(REGIONS)}
        return SimpleNamespace(betas=lambda split: self.arrays[split], **known)


@dataclass(frozen=True)
class GivenTrials(SingleTrials):
    """Two trials an image, each the average plus noise of its own."""

    rows: Any = field(default=None, compare=False, metadata={"keyed": False})

    def make(self, folder, store):
        pass

    def of(self, store, nsd_ids):
        chosen = self.rows[nsd_ids]
        return chosen.reshape(-1, VOXELS), np.repeat(np.arange(len(nsd_ids)), 2)


@pytest.fixture
def known():
    random = np.random.default_rng(3)
    betas = {split: 5 + random.standard_normal((n, VOXELS), np.float32) for split, n in (("train", N), ("test", TEST))}
    images = GivenImages(RegionSubject(EmbeddedWorld(), "given", 1, DataSettings(sessions=1), betas), None)
    tokens = {"train": random.standard_normal((N, TOKENS, WIDTH), np.float32)}
    targets = GivenTargets(images, "given", EncoderWeights("mini"), "text", tokens)
    trials = betas["train"][:, None] + random.standard_normal((N, 2, VOXELS), np.float32)
    return SimpleNamespace(betas=betas, images=images, targets=targets, tokens=tokens["train"], trials=trials)


def by_hand(rows, goals, asked, alpha):
    """scikit-learn's ridge on z-scored voxels."""
    mean, spread = rows.mean(0), rows.std(0, ddof=1)
    model = Ridge(alpha=alpha).fit((rows - mean) / spread, goals.reshape(len(goals), -1))
    return model.predict((asked - mean) / spread).reshape(len(asked), *goals.shape[1:])


def test_a_region_ridge_sees_its_regions_voxels_and_the_fitting_images_alone(known, tmp_path):
    stage = RegionRidge(known.targets, known.images, VALIDATION, "x", ("early", "ventral"), None, (3.0,))
    found = Store(tmp_path).result(stage)
    fit, _ = validation_rows(N, VALIDATION)
    voxels = REGIONS["early"] | REGIONS["ventral"]
    expected = by_hand(known.betas["train"][fit][:, voxels], known.tokens[fit], known.betas["test"][:, voxels], 3.0)
    np.testing.assert_allclose(found.array("test"), expected, atol=1e-4)
    assert found.json("fit")["voxels"] == 8 and found.json("fit")["alphas"] == [3.0] * TOKENS


def test_single_trials_are_fitted_with_the_target_of_their_image(known, tmp_path):
    trials = GivenTrials(known.images.subject, known.trials)
    stage = RegionRidge(known.targets, known.images, VALIDATION, "x", (), trials, (3.0,))
    found = Store(tmp_path).result(stage)
    fit, _ = validation_rows(N, VALIDATION)
    rows = known.trials[fit].reshape(-1, VOXELS)
    expected = by_hand(rows, np.repeat(known.tokens[fit], 2, 0), known.betas["test"], 3.0)
    np.testing.assert_allclose(found.array("test"), expected, atol=1e-4)
    assert found.json("fit")["rows"] == 2 * len(fit)


def test_a_latent_is_one_token_and_comes_back_in_its_shape(known, tmp_path):
    latents = Given("latents", {"train": known.tokens.reshape(N, 2, 3, 4)})
    stage = RegionRidge(latents, known.images, VALIDATION, "latents", alphas=(1.0, 100.0))
    found = Store(tmp_path).result(stage)
    assert found.array("test").shape == (TEST, 2, 3, 4) and len(found.json("fit")["alphas"]) == 1


def test_regions_without_voxels_are_named(known, tmp_path):
    stage = RegionRidge(known.targets, known.images, VALIDATION, "x", ("gone",))
    with pytest.raises(ValueError, match="'regions' of 'region-ridge-x' must have voxels .* gone have none"):
        Store(tmp_path).result(stage)


def test_test_statistics_are_the_training_targets(known, tmp_path):
    store = Store(tmp_path)
    stage = Restandardised(RegionRidge(known.targets, known.images, VALIDATION, "x", alphas=(9.0,)))
    found = store.result(stage).array("test")
    fit, _ = validation_rows(N, VALIDATION)
    np.testing.assert_allclose(found.mean(0), known.tokens[fit].mean(0), atol=1e-4)
    np.testing.assert_allclose(found.std(0), known.tokens[fit].std(0), atol=1e-4)
    plain = store.result(stage.ridge).array("test")
    np.testing.assert_array_equal(plain.argsort(0), found.argsort(0))
