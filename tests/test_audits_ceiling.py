"""Scores as shares of their ceilings, and choices of repetitions."""

from __future__ import annotations

import numpy as np
import pytest

from brainram_lib.audits.ceilings import averages, mean_over_choices, share_of_ceiling

N = 31


def test_the_floor_is_nothing_the_ceiling_all_and_half_way_a_half():
    rng = np.random.default_rng(0)
    floor = rng.normal(size=N)
    top = floor + 2 + rng.normal(size=N) * 0.3
    for way in (1, -1):
        assert share_of_ceiling(way * floor, way * floor, way * top)[:3] == (0, 0, 0)
        assert share_of_ceiling(way * top, way * floor, way * top)[:3] == pytest.approx((1, 1, 1))
        half = share_of_ceiling(way * (floor + top) / 2, way * floor, way * top)
        assert half == pytest.approx((0.5, 0.5, 0.5)), "images are drawn together"


def test_an_interval_is_of_the_share_of_the_means():
    rng = np.random.default_rng(1)
    floor, top, own = np.zeros(N), np.full(N, 4.0), rng.normal(size=N) + 1
    share = share_of_ceiling(own, floor, top)
    assert share.value == pytest.approx(own.mean() / 4) and share.low < share.value < share.high


def test_no_share_where_the_ceiling_is_not_above_the_floor():
    rng = np.random.default_rng(2)
    floor = rng.normal(size=N)
    assert share_of_ceiling(floor, floor, floor) is None
    assert share_of_ceiling(floor, floor, np.roll(floor, 1)) is None
    with pytest.raises(ValueError, match="31, 30 and 31 images: a share needs the same images"):
        share_of_ceiling(floor, floor[1:], floor)


def test_every_choice_of_repetitions_counts_once():
    trials = np.random.default_rng(3).normal(size=(5, 3, 7))
    assert [len(averages(trials, count)) for count in (1, 2, 3)] == [3, 3, 1]
    np.testing.assert_allclose(averages(trials, 2)[1], (trials[:, 0] + trials[:, 2]) / 2)
    np.testing.assert_allclose(averages(trials, 3)[0], trials.mean(1))
    with pytest.raises(ValueError, match="'count' must lie between 1 and the 3 repetitions. 4 was provided"):
        averages(trials, 4)
    found = mean_over_choices([{"one": np.array([1.0, 2])}, {"one": np.array([3.0, 6])}])
    assert found["one"].tolist() == [2, 4]
