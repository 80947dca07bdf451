"""Mind Reader's mapping, its losses, and the map from an embedding to tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from brainram_lib.core.devices import seeded
from brainram_lib.peers.losses import clip_loss, unit
from brainram_lib.peers.mind_reader import MindReader, mind_reader_loss, train_mind_reader
from brainram_lib.peers.pairs import Pairs
from brainram_lib.peers.settings import MindReaderSettings

SETTINGS = MindReaderSettings(channels=4, stages=2, kernel=3, places=5, dropout=0.0, epochs=4, batch=6, rate=3e-3)
IMAGES, VOXELS, WIDTH = 19, 37, 8


def test_the_loss_is_its_three_parts():
    estimates, targets = torch.randn(7, WIDTH), unit(torch.randn(7, WIDTH))
    settings = replace(SETTINGS, error_weight=0.5, cosine_weight=2.0, contrast_weight=0.25)
    loss, parts = mind_reader_loss(estimates, targets, settings)
    error = functional.mse_loss(estimates, targets) * WIDTH
    cosine = 1 - (unit(estimates) * targets).sum(1).mean()
    contrast = clip_loss(unit(estimates), targets, settings.temperature)
    torch.testing.assert_close(loss, 0.5 * error + 2 * cosine + 0.25 * contrast)
    assert parts["cosine"] == pytest.approx(float(cosine), abs=1e-5)


def test_perfect_estimates_leave_the_contrast_alone():
    targets = unit(torch.randn(7, WIDTH))
    _, parts = mind_reader_loss(targets, targets, SETTINGS)
    assert parts["error"] == 0 and parts["cosine"] == pytest.approx(0, abs=1e-6) and parts["contrast"] > 0


def test_the_mapping_knows_where_a_voxel_is():
    with seeded(0):
        model = MindReader(SETTINGS, VOXELS, WIDTH).eval()
    betas = torch.randn(3, VOXELS)
    assert model(betas).shape == (3, WIDTH)
    assert not torch.isclose(model(betas), model(betas.flip(1))).all(1).any()
    torch.testing.assert_close(model.predict(betas).norm(dim=1), torch.ones(3))


def test_an_even_kernel_is_named():
    with pytest.raises(ValueError, match="'kernel' of MindReaderSettings must be odd. 4 was provided"):
        MindReader(replace(SETTINGS, kernel=4), VOXELS, WIDTH)


def test_training_brings_embeddings_nearer(tmp_path):
    random = torch.Generator().manual_seed(0)
    betas = torch.randn(IMAGES, VOXELS, generator=random)
    targets = unit(betas[:, :WIDTH])
    pairs = Pairs(betas, targets)
    _, history = train_mind_reader(SETTINGS, pairs, pairs, tmp_path, 0, "test")
    assert len(history) == 4 and history[-1]["val_cosine"] > history[0]["val_cosine"]
