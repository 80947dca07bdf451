"""Whitened tokens: their covariance, the way back, and what cannot be whitened."""

import pytest
import torch

from brainram_lib.core import whitening
from brainram_lib.core.whitening import TokenWhitening

N, TOKENS, WIDTH = 400, 3, 6


def tokens() -> torch.Tensor:
    torch.manual_seed(0)
    spread = torch.diag(torch.tensor([3.0, 1.0, 0.5, 0.2, 0.1, 0.0]))
    turned = spread @ torch.linalg.qr(torch.randn(WIDTH, WIDTH)).Q
    return torch.randn(N, TOKENS, WIDTH) @ turned + torch.arange(TOKENS).view(TOKENS, 1)


def test_directions_far_above_the_floor_have_variance_one_and_those_without_variance_stay_small():
    given = tokens()
    white = TokenWhitening(TOKENS, WIDTH).fit(given, floor=1e-3)(given)
    torch.testing.assert_close(white.mean(0), torch.zeros(TOKENS, WIDTH), atol=1e-4, rtol=0)
    spectrum = torch.linalg.eigvalsh(white.flatten(0, 1).T.cov())
    torch.testing.assert_close(spectrum[2:], torch.ones(4), atol=0.05, rtol=0)
    assert spectrum[0] < 1e-3


def test_tokens_come_back():
    given = tokens()
    map_of = TokenWhitening(TOKENS, WIDTH).fit(given)
    torch.testing.assert_close(map_of.restored(map_of(given[:7])), given[:7], atol=1e-4, rtol=0)


def test_chunks_do_not_change_the_fit(monkeypatch):
    whole = TokenWhitening(TOKENS, WIDTH).fit(tokens())
    monkeypatch.setattr(whitening, "CHUNK", 17)
    parts = TokenWhitening(TOKENS, WIDTH).fit(tokens())
    torch.testing.assert_close(parts.matrix, whole.matrix)
    torch.testing.assert_close(parts.mean, whole.mean)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.randn(1, TOKENS, WIDTH), "n >= 2"),
        (torch.randn(9, TOKENS, WIDTH + 1), "finite tokens"),
        (torch.full((9, TOKENS, WIDTH), float("nan")), "finite tokens"),
        (torch.ones(9, TOKENS, WIDTH), "nothing to whiten"),
    ],
)
def test_what_cannot_be_whitened_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        TokenWhitening(TOKENS, WIDTH).fit(given)
