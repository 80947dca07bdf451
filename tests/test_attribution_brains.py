"""What is known of the simulated brains comes back as attributions: text from high areas, a place from its own voxels.

Voxels of V1 to V3 see pixels around their receptive field, the high areas see what things are (world/brains.py). Betas
here have little noise, so that a ridge of a few hundred images finds it.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainram_lib.attribution.decoders import RidgeDecoder
from brainram_lib.attribution.gradients import integrated_gradients
from brainram_lib.attribution.scores import TokenAgreement
from brainram_lib.core.ridge import fit_ridge
from brainram_lib.encoders import ClipTokens
from brainram_lib.world.brains import area_names, brain_of
from brainram_lib.world.captions import captions_of
from brainram_lib.world.cortex import voxel_sheet
from brainram_lib.world.scenes import render, scene_of

FIT, HELD, SEEN = 400, 50, 110
VOXELS = 420
EARLY, HIGH = ("V1", "V2", "V3"), ("ventral", "lateral", "parietal", "patch")


@pytest.fixture(scope="module")
def sheet():
    return voxel_sheet(1, VOXELS)


@pytest.fixture(scope="module")
def areas(sheet):
    names = np.array(area_names(sheet))
    return {"early": np.isin(names, EARLY), "high": np.isin(names, HIGH)}


@pytest.fixture(scope="module")
def scenes():
    return [scene_of("attribution", index) for index in range(FIT + HELD + SEEN)]


@pytest.fixture(scope="module")
def pictures(scenes):
    return np.stack([render(scene) for scene in scenes])


@pytest.fixture(scope="module")
def betas(sheet, scenes, pictures):
    signal = brain_of(sheet, 1, 0, 3)[0].signal(pictures, scenes)
    return (signal + 0.7 * np.random.default_rng(0).standard_normal(signal.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def tokens(scenes, pictures):
    clip = ClipTokens.mini()
    captions = [captions_of(scene, "attribution", index, 2) for index, scene in enumerate(scenes)]
    return {"image": clip.image_tokens(pictures).numpy(), "text": clip.text_tokens(captions).numpy()}


@pytest.fixture(scope="module")
def ridges(betas, tokens):
    fit, held = slice(FIT), slice(FIT, FIT + HELD)
    return {name: fit_ridge(betas[fit], one[fit], betas[held], one[held]) for name, one in tokens.items()}


def contribution(betas, tokens, ridge, token=None):
    """What each voxel adds to a ridge's agreement with pictures that it was not fitted on; 1 is the average voxel."""
    targets, centre = torch.from_numpy(tokens[FIT + HELD :]), torch.from_numpy(tokens[:FIT].mean(0))
    seen, mean = torch.from_numpy(betas[FIT + HELD :]), torch.from_numpy(betas[:FIT].mean(0))
    score = TokenAgreement.of(targets, centre, token)
    found = integrated_gradients(RidgeDecoder(ridge), score, seen, mean, steps=2, batch=SEEN).contribution
    return found / found.mean()


def test_text_tokens_come_from_high_areas_and_image_tokens_from_early_ones_too(betas, tokens, ridges, areas):
    early_over_high = {}
    for modality in ("image", "text"):
        found = contribution(betas, tokens[modality], ridges[modality])
        early_over_high[modality] = found[areas["early"]].mean() / found[areas["high"]].mean()
    assert early_over_high["text"] < 0.8, early_over_high
    assert early_over_high["text"] < 0.75 * early_over_high["image"], early_over_high


# Patches of the mini CLIP (8 x 8, row by row, after the global token) in the middle of a quadrant, (right, up).
QUADRANTS = {1 + 8 * 2 + 2: (-1, 1), 1 + 8 * 2 + 5: (1, 1), 1 + 8 * 5 + 2: (-1, -1), 1 + 8 * 5 + 5: (1, -1)}


def test_a_patch_is_read_from_early_voxels_that_look_there(betas, tokens, ridges, areas, sheet):
    sees = np.sign(sheet.prf[:, :2])
    own, opposite = [], []
    for token, quadrant in QUADRANTS.items():
        found = contribution(betas, tokens["image"], ridges["image"], token)
        there = areas["early"] & (sees == quadrant).all(1)
        across = areas["early"] & (sees == np.negative(quadrant)).all(1)
        assert min(there.sum(), across.sum()) > 10
        own.append(found[there].mean())
        opposite.append(found[across].mean())
    assert (np.array(own) > opposite).all(), (own, opposite)
    assert np.mean(own) > 1.3 * np.mean(opposite)
