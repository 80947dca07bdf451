"""Small data and settings for both stages: enough that every path is taken."""

from dataclasses import replace

import numpy as np
import torch

from brainram_lib.profiles import MINI, changed
from brainram_lib.stage1.settings import NetworkSettings, ProjectorSettings, Stage1Settings
from brainram_lib.stage2.settings import Stage2Settings

N, TEST, VALIDATION, VOXELS, TOKENS, WIDTH, CORPUS, SAMPLES, K = 25, 6, 5, 11, 3, 8, 9, 2, 2
PROFILE = replace(
    changed(
        MINI,
        split__validation=VALIDATION,
        retrieval__neighbours=K,
        retrieval__candidates=CORPUS,
        sampling__samples=SAMPLES,
        sampling__steps=3,
        sampling__kind="draw",
    ),
    stage1=Stage1Settings(
        projector=ProjectorSettings(hidden=9, width=8, blocks=1, dropout=0.1, voxel_dropout=0.1, linear_path=True),
        network=NetworkSettings(width=8, depth=1, heads=2),
        epochs=2,
        batch=8,
        temperature=0.1,
        diffusion_steps=10,
        validation_steps=3,
    ),
    stage2=Stage2Settings(heads=2, fusion_hidden=6, epochs=2, batch=7, temperature=0.1, rate=3e-3, dropout=0.1),
)


def small_data():
    """Betas, ridge estimates, targets and neighbours of both splits, and the corpus's tokens in half precision."""
    random = np.random.default_rng(0)
    betas = {split: random.standard_normal((n, VOXELS), np.float32) for split, n in (("train", N), ("test", TEST))}
    line = random.standard_normal((VOXELS, TOKENS * WIDTH), np.float32)
    targets = {split: (rows @ line + 2).reshape(-1, TOKENS, WIDTH) for split, rows in betas.items()}
    linear = {split: rows + 0.1 * random.standard_normal(rows.shape, np.float32) for split, rows in targets.items()}
    ids = {split: random.integers(CORPUS, size=(len(rows), SAMPLES, K)) for split, rows in betas.items()}
    corpus = torch.from_numpy(random.standard_normal((CORPUS, TOKENS, WIDTH), np.float32)).half()
    return betas, linear, targets, ids, corpus
