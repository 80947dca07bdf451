"""Choosing a sample by the brain's estimate."""

import numpy as np
import pytest
import torch

from brainram_lib.generation.selection import agreement, choose


def encode(pictures: np.ndarray) -> torch.Tensor:
    """Stand-in for CLIP: the mean colour, as two tokens."""
    mean = torch.from_numpy(pictures.reshape(len(pictures), -1, 3).mean(1)).float() - 100
    return torch.stack([mean, mean.roll(1, -1)], dim=1)


def test_the_sample_that_agrees_with_the_estimate_is_chosen():
    samples = np.random.default_rng(0).integers(0, 256, (4, 3, 5, 6, 3), np.uint8)
    wanted = [2, 0, 1, 1]
    estimate = torch.stack([encode(samples[row, pick : pick + 1])[0] for row, pick in enumerate(wanted)])
    found = choose(samples, estimate[:, None].expand(-1, 2, -1, -1), encode)
    assert found.index.tolist() == wanted
    assert np.array_equal(found.images, samples[np.arange(4), wanted])
    np.testing.assert_allclose(found.agreement[np.arange(4), wanted], 1, atol=1e-5)


def test_agreement_is_the_cosine():
    made, estimate = torch.randn(4, 3, 5, 7), torch.randn(4, 5, 7)
    by_hand = (made[2, 1] * estimate[2]).sum() / made[2, 1].norm() / estimate[2].norm()
    torch.testing.assert_close(agreement(made, estimate)[2, 1], by_hand)
    torch.testing.assert_close(agreement(3 * made, estimate), agreement(made, estimate))


def test_stimuli_must_match():
    with pytest.raises(ValueError, match="of the same stimuli, got 4 and 3"):
        choose(np.zeros((4, 2, 5, 6, 3), np.uint8), torch.zeros(3, 2, 2, 3), encode)
