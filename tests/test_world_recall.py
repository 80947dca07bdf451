"""The simulated retrieval of the generator's training: the right neighbours, never oneself, and a share of the way."""

import numpy as np
import pytest
import torch

from brainram_lib.core.whitening import TokenWhitening
from brainram_lib.recipes.degrade import Spectrum
from brainram_lib.recipes.recall import MOVED, NEIGHBOURS, Recall


@pytest.fixture(scope="module")
def recall():
    """Sixty scenes of six kinds: tokens of a kind are alike, in both modalities."""
    random = np.random.default_rng(0)
    kinds = np.arange(60) % 6
    image, text = (
        (random.normal(size=(6, tokens, 8))[kinds] + 0.1 * random.normal(size=(60, tokens, 8))).astype(np.float32)
        for tokens in (5, 3)
    )
    whitenings = [TokenWhitening(*part.shape[1:]).fit(torch.from_numpy(part)) for part in (image, text)]
    return Recall.of(image, text, tuple(Spectrum.of(fitted.mean, fitted.matrix) for fitted in whitenings))


def tokens_of(recall, rows):
    return torch.from_numpy(recall.image_tokens[rows]), torch.from_numpy(recall.text_tokens[rows])


def test_neighbours_are_scenes_of_the_same_kind_and_never_the_scene_itself(recall):
    rows = torch.arange(60)
    found = recall.neighbours(*tokens_of(recall, rows), rows)
    assert found.shape == (60, NEIGHBOURS)
    assert (found % 6 == rows[:, None] % 6).float().mean() > 0.95
    assert not (found == rows[:, None]).any()


def test_moved_tokens_lie_on_the_way_to_the_mean_of_their_neighbours(recall):
    rows = torch.arange(12)
    given = tokens_of(recall, rows)
    moved = recall.moved(*given, rows, torch.Generator().manual_seed(0), share=1.0)
    found = recall.neighbours(*given, rows).numpy()
    for before, after, corpus in zip(given, moved, (recall.image_tokens, recall.text_tokens), strict=True):
        way = (torch.from_numpy(corpus[found]).mean(1) - before).flatten(1)
        made = (after - before).flatten(1)
        shares = (made * way).sum(1) / way.square().sum(1)
        torch.testing.assert_close(made, shares[:, None] * way, atol=1e-5, rtol=1e-4)
        assert (shares >= MOVED[0] - 1e-5).all() and (shares <= MOVED[1] + 1e-5).all() and shares.std() > 0.05


def test_a_share_of_the_samples_stays(recall):
    rows = torch.arange(60)
    given = tokens_of(recall, rows)
    moved = recall.moved(*given, rows, torch.Generator().manual_seed(0), share=0.5)
    stayed = [(before == after).all(dim=(1, 2)) for before, after in zip(given, moved, strict=True)]
    assert torch.equal(*stayed) and 0.3 < stayed[0].float().mean() < 0.7
    assert all(map(torch.equal, recall.moved(*given, rows, torch.Generator(), share=0.0), given))
