"""Intervals over images, seeds and subjects: do they hold what they say, and what is left with one run?"""

from __future__ import annotations

import numpy as np
import pytest

from brainram_lib.evaluation.intervals import bootstrap_interval, bootstrap_means, drawn_counts
from brainram_lib.evaluation.joint import contributions, joint_intervals, run_weights
from brainram_lib.evaluation.permutation import sign_flip_p
from brainram_lib.evaluation.records import Difference
from brainram_lib.evaluation.variances import of_seeds, of_subjects

SUBJECTS, SEEDS, IMAGES, TABLES = 4, 2, 60, 400
ONE = np.array([1])
WHOSE = np.repeat(np.arange(SUBJECTS), SEEDS)


def simulated(subject=0.0, image=0.0, both=0.0, seed=0.0, rest=1.0, mean=0.0):
    """TABLES tables' scores (k, runs, images), and the mean of the four subjects in each, without luck."""
    rng = np.random.default_rng(3)
    of_subject = subject * rng.normal(size=(TABLES, SUBJECTS, 1, 1))
    parts = [
        image * rng.normal(size=(TABLES, 1, 1, IMAGES)),
        both * rng.normal(size=(TABLES, SUBJECTS, 1, IMAGES)),
        seed * rng.normal(size=(TABLES, SUBJECTS, SEEDS, 1)),
        rest * rng.normal(size=(TABLES, SUBJECTS, SEEDS, IMAGES)),
    ]
    scores = sum(parts, mean + of_subject)
    return scores.reshape(TABLES, SUBJECTS * SEEDS, IMAGES), mean + of_subject[:, :, 0, 0].mean(1)


def covered(intervals, truth):
    ends = np.array([(one.low, one.high) for one in intervals])
    return ((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean()


def width(intervals):
    return np.mean([one.high - one.low for one in intervals])


@pytest.mark.parametrize(
    "sizes",
    [
        {"image": 1.0, "both": 0.5},
        {"image": 0.5, "both": 0.5, "seed": 0.1},
        {"image": 0.5, "seed": 0.5},
        {"subject": 2.0, "rest": 0.1, "seed": 0.5},
        {"rest": 1.0},
    ],
)
def test_the_interval_holds_these_subjects_mean_in_95_of_100_tables(sizes):
    scores, truth = simulated(**sizes)
    assert 0.925 <= covered(joint_intervals(scores, WHOSE), truth) <= 0.995


def test_images_alone_would_hold_it_far_too_rarely_where_seeds_differ():
    scores, truth = simulated(image=0.5, seed=0.5)
    alone = joint_intervals(contributions(scores, WHOSE)[:, None], ONE)
    assert covered(alone, truth) < 0.6


def test_what_remains_is_not_the_luck_of_a_training():
    """Two methods that do not differ, each trained eight times: the images tell the networks apart, not the methods."""
    scores, _ = simulated(image=0.5, seed=0.5)
    tests = sign_flip_p(contributions(scores, WHOSE), draws=2000)
    found = [
        Difference("one over other", "ssim", *interval, IMAGES, 0, 0, p)
        for interval, p in zip(joint_intervals(scores, WHOSE), tests.tolist(), strict=True)
    ]
    assert (tests < 0.05).mean() > 0.4
    assert np.mean([one.remains(one.p) for one in found]) <= 0.075


def test_an_interval_for_other_subjects_holds_theirs_and_is_wider():
    scores, _ = simulated(subject=1.0, image=0.5, seed=0.2)
    fixed, other = joint_intervals(scores, WHOSE), joint_intervals(scores, WHOSE, population=True)
    assert covered(other, 0.0) == pytest.approx(0.95, abs=0.025) and covered(fixed, 0.0) < 0.5
    assert width(other) > 3 * width(fixed)


def test_with_one_run_nothing_but_the_bootstrap_over_images_is_left():
    values = np.random.default_rng(0).normal(size=(3, 1, 37))
    for one, run in zip(joint_intervals(values, ONE), values[:, 0], strict=True):
        assert one == pytest.approx(bootstrap_interval(run))
    counts = drawn_counts(37, 11, 4)
    np.testing.assert_allclose(counts @ values[0, 0] / 37, bootstrap_means(values[0, 0], 11, 4))


def test_more_seeds_tell_more_and_one_seed_tells_nothing_of_seeds():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(1, 8, 50)) * 0.1 + rng.normal(size=(1, 8, 1))
    of_two, of_four = (joint_intervals(values[:, :n], np.repeat(ONE, n))[0] for n in (2, 4))
    assert of_two.high - of_two.low > 2 * (of_four.high - of_four.low)
    assert of_seeds(values, np.arange(8)) is None
    alone = joint_intervals(values, np.arange(8))[0]
    assert alone.high - alone.low < 0.1, "of eight subjects with a seed each, over images alone"


def test_what_images_leave_in_a_mean_is_not_counted_twice():
    scores, _ = simulated(image=2.0, rest=1.0)
    seeds, subjects = of_seeds(scores, WHOSE), of_subjects(scores, WHOSE)
    assert (seeds.freedom, subjects.freedom) == (4, 3) and seeds.scale == pytest.approx(1 / 8)
    assert seeds.variance.mean() == pytest.approx(1 / IMAGES, rel=0.15)
    assert seeds.noise.mean() == pytest.approx(1 / IMAGES, rel=0.05)
    assert subjects.noise.mean() == pytest.approx(1 / IMAGES / SEEDS, rel=0.05)
    without, _ = simulated()
    alone, both = (joint_intervals(*of) for of in ((contributions(without, WHOSE)[:, None], ONE), (without, WHOSE)))
    # four degrees of freedom cannot say that seeds do nothing: 1.4 times as wide, and 1.65 if images counted twice
    assert width(both) == pytest.approx(1.41 * width(alone), rel=0.1)
    with_seeds, _ = simulated(image=2.0, rest=1.0, seed=0.5)
    found = of_seeds(with_seeds, WHOSE)
    assert (found.variance - found.noise).mean() == pytest.approx(0.25, rel=0.15)


def test_subjects_weigh_the_same_whatever_their_seeds_and_images():
    np.testing.assert_allclose(run_weights(np.array([1, 1, 2])), [0.25, 0.25, 0.5])
    values = np.random.default_rng(2).normal(size=(2, 3, 9))
    values[:, 2, :4] = np.nan
    expected = (values[:, 0].mean(-1) + values[:, 1].mean(-1)) / 4 + np.nanmean(values[:, 2], -1) / 2
    np.testing.assert_allclose(contributions(values, np.array([1, 1, 2])).mean(-1), expected)
    assert [one.value for one in joint_intervals(values, np.array([1, 1, 2]))] == pytest.approx(expected.tolist())


def test_subjects_of_other_images_are_drawn_as_two_samples():
    rng = np.random.default_rng(4)
    values = np.full((1, 2, 120), np.nan)
    values[0, 0, :60], values[0, 1, 60:] = rng.normal(3, 1, 60), rng.normal(7, 1, 60)
    found = joint_intervals(values, np.array([1, 2]))[0]
    # each mean has variance 1 / 60, and their mean half of one: what lies between 3 and 7 is no luck
    assert found.value == pytest.approx(5, abs=0.3) and (found.high - found.low) / 2 == pytest.approx(0.179, rel=0.2)


def test_order_of_runs_and_images_does_not_matter_to_the_mean_and_little_to_the_ends():
    scores, _ = simulated(image=0.5, seed=0.5)
    order = np.random.default_rng(5).permutation(SUBJECTS * SEEDS)
    one, other = joint_intervals(scores[:1], WHOSE)[0], joint_intervals(scores[:1, order], WHOSE[order])[0]
    assert one == pytest.approx(other)
    moved = joint_intervals(scores[:1, :, ::-1], WHOSE)[0]
    assert moved.value == pytest.approx(one.value) and moved.low == pytest.approx(one.low, abs=0.1)


@pytest.mark.parametrize(
    ("values", "subjects", "population", "message"),
    [
        (np.ones((1, 2, 3)), [1], False, "one for each of the 2 runs. 1 came"),
        (np.full((1, 2, 3), np.nan), [1, 2], False, "'values' must hold finite numbers"),
        (np.full((1, 2, 3), np.inf), [1, 2], False, "'values' must hold finite numbers"),
        (np.ones((1, 2, 3)), [1, 1], True, "needs two subjects or more"),
    ],
)
def test_what_has_no_interval_is_named(values, subjects, population, message):
    with pytest.raises(ValueError, match=message):
        joint_intervals(values, np.array(subjects), population)
