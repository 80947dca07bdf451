import numpy as np
import pytest

from brainram_lib.evaluation.estimates import cosine, mean_squared_error
from brainram_lib.evaluation.intervals import (
    bootstrap_interval,
    bootstrap_means,
    bootstrap_means_reference,
    paired_difference,
)


def test_means_agree_with_the_plain_loop():
    values = np.random.default_rng(0).normal(size=11)
    np.testing.assert_allclose(bootstrap_means(values, 7, 3), bootstrap_means_reference(values, 7, 3))


def test_interval_is_about_two_standard_errors_and_repeats():
    values = np.random.default_rng(0).normal(3, 2, size=400)
    value, low, high = bootstrap_interval(values)
    assert value == pytest.approx(values.mean()) and low < value < high
    assert (high - low) / 2 == pytest.approx(1.96 * 2 / 20, rel=0.15)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values)


def test_equal_values_have_no_width():
    assert bootstrap_interval(np.full(7, 2.5)) == (2.5, 2.5, 2.5)


def test_paired_differences_are_sharper_than_two_intervals():
    rng = np.random.default_rng(0)
    base = rng.normal(size=100)
    better = base + 0.2 + 0.1 * rng.normal(size=100)
    value, low, high = paired_difference(better, base)
    assert value == pytest.approx(0.2, abs=0.05) and low > 0 and high < 0.3
    assert bootstrap_interval(better).low < bootstrap_interval(base).high


def test_errors():
    with pytest.raises(ValueError, match="3 values with 1 not finite"):
        bootstrap_interval(np.array([1.0, np.nan, 2.0]))
    with pytest.raises(ValueError, match="'level' must lie between 0 and 1. 95 was provided"):
        bootstrap_interval(np.ones(3), level=95)
    with pytest.raises(ValueError, match="needs the same images"):
        paired_difference(np.ones(3), np.ones(4))


def test_errors_of_estimates_per_image():
    rng = np.random.default_rng(0)
    estimates, targets = rng.normal(size=(2, 7, 3, 5))
    errors, angles = mean_squared_error(estimates, targets), cosine(estimates, targets)
    for image in range(7):
        difference = estimates[image] - targets[image]
        assert errors[image] == pytest.approx((difference**2).sum() / 15)
        norms = np.linalg.norm(estimates[image]) * np.linalg.norm(targets[image])
        assert angles[image] == pytest.approx((estimates[image] * targets[image]).sum() / norms)
    np.testing.assert_array_equal(mean_squared_error(targets, targets), 0)
    np.testing.assert_allclose(cosine(targets * 3, targets), 1)
    np.testing.assert_array_equal(cosine(targets * 0, targets), 0)
    with pytest.raises(ValueError, match="Average or choose among prior samples"):
        mean_squared_error(estimates, targets[:, :2])
