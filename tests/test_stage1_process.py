"""The residual process: against its equations, its limits, and data whose answer is known."""

import pytest
import torch

from brainram_lib.stage1.process import Cosine, Residual

N, TOKENS, WIDTH = 11, 5, 3
SPREAD = torch.linspace(0.2, 1.5, TOKENS * WIDTH).view(TOKENS, WIDTH)


@pytest.fixture
def process():
    made = Residual(TOKENS, WIDTH)
    made.fit(SPREAD.square())
    return made


def silent(x, t, condition):
    return torch.zeros_like(x)


def tokens(seed):
    return torch.randn(N, TOKENS, WIDTH, generator=torch.Generator().manual_seed(seed))


def test_a_silent_network_gives_the_best_linear_estimate(process):
    condition, noise, sigma = tokens(0), tokens(1), 0.7
    x0 = condition + SPREAD * tokens(2)
    level = torch.full((N,), sigma)
    x = process.noised(x0, level, noise, condition)
    torch.testing.assert_close(x, x0 + sigma * noise)
    weight = SPREAD**2 / (SPREAD**2 + sigma**2)
    torch.testing.assert_close(process.denoised(silent, x, level, condition), condition + weight * (x - condition))


def test_small_noise_leaves_x_and_the_largest_leaves_the_condition(process):
    condition, x0 = tokens(0), tokens(1)
    small, largest = torch.full((N,), 1e-4), torch.full((N,), process.blind)
    torch.testing.assert_close(process.denoised(silent, x0, small, condition), x0, atol=1e-3, rtol=0)
    assert torch.equal(process.denoised(silent, x0, largest, condition), condition)


def test_at_the_largest_noise_nothing_of_x0_is_seen(process):
    condition, level = tokens(0), torch.full((N,), process.blind)
    seen = []

    def network(x, t, condition):
        seen.append(x)
        return x

    for x0 in (tokens(1), tokens(2)):
        process.denoised(network, process.noised(x0, level, tokens(3), condition), level, condition)
    assert torch.equal(seen[0], seen[1])


def test_errors_are_one_where_the_linear_estimate_is_best(process):
    random = torch.Generator().manual_seed(0)
    condition = torch.zeros(4000, TOKENS, WIDTH)
    x0, noise = (torch.randn(condition.shape, generator=random) for _ in range(2))
    x0, level = SPREAD * x0, torch.full((4000,), 0.6)
    x = process.noised(x0, level, noise, condition)
    errors = process.errors(process.denoised(silent, x, level, condition), x0, level)
    torch.testing.assert_close(errors.mean(0), torch.ones(TOKENS, WIDTH), atol=0.1, rtol=0)


def test_a_feature_that_never_varies_weighs_nothing_and_stays():
    made = Residual(TOKENS, WIDTH)
    made.fit(torch.zeros(TOKENS, WIDTH))
    condition, level = tokens(0), torch.full((N,), 0.5)
    x = made.noised(condition, level, tokens(1), condition)
    loud = made.denoised(lambda x, t, c: torch.ones_like(x), x, level, condition)
    assert torch.equal(loud, condition)
    assert not made.errors(loud + 1, condition, level).any()


def test_samples_of_gaussian_residuals_have_their_mean_and_spread(process):
    # for independent Gaussian residuals the silent network is the exact denoiser
    condition = torch.zeros(6000, TOKENS, WIDTH)
    random = torch.Generator().manual_seed(0)

    def denoise(x, level, condition):
        return process.denoised(silent, x, level, condition)

    drawn = process.sample(denoise, condition, lambda: torch.randn(condition.shape, generator=random), 24)
    torch.testing.assert_close(drawn.std(0), SPREAD, atol=0.06, rtol=0.06)
    torch.testing.assert_close(drawn.mean(0), torch.zeros(TOKENS, WIDTH), atol=0.09, rtol=0)


@pytest.mark.parametrize(("size", "spread"), [(1.0, 1.0), (0.1, 0.87)])
def test_samples_of_gaussian_tokens_have_their_mean_and_spread_whatever_their_size(size, spread):
    # x_0 of unit variance: the exact denoiser is linear in x_t. A hundred times step over some variance of small tokens
    process = Cosine(100, size)
    random = torch.Generator().manual_seed(0)

    def denoise(x, level, condition):
        a = process.schedule.alphas_cumprod[level.long()][:, None, None] if level[0] < process.blind else torch.zeros(1)
        return a.sqrt() * size / (a * size**2 + 1 - a) * x

    drawn = process.sample(denoise, torch.zeros(4000, 1, 2), lambda: torch.randn(4000, 1, 2, generator=random), 100)
    assert drawn.std().item() == pytest.approx(spread, abs=0.06)
    assert drawn.mean().item() == pytest.approx(0, abs=0.06)


def test_smaller_tokens_are_drowned_at_earlier_times():
    plain, small = Cosine(10), Cosine(10, 0.1)
    x0, noise, level = tokens(0), tokens(1), torch.full((N,), 6.0)
    a = plain.schedule.alphas_cumprod[6]
    expected = a.sqrt() * 0.1 * x0 + (1 - a).sqrt() * noise
    torch.testing.assert_close(small.noised(x0, level, noise, x0), expected)
    assert small.noise_ratio(6) == pytest.approx(10 * plain.noise_ratio(6))
    assert torch.equal(small.noised(x0, torch.full((N,), 9.0), noise, x0), noise)


@pytest.mark.parametrize("process", [Residual(TOKENS, WIDTH), Cosine(10), Cosine(10, 0.1)])
def test_one_step_of_sampling_is_the_mean(process):
    condition, noise = tokens(0), tokens(1)

    def denoise(x, level, condition):
        assert (level == process.blind).all()
        return condition + 1

    torch.testing.assert_close(process.sample(denoise, condition, lambda: noise, 1), condition + 1, atol=1e-4, rtol=0)
