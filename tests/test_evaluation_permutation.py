"""The sign-flip test against scipy and by its properties; Holm's correction by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import permutation_test, rankdata, ttest_1samp, wilcoxon

from brainram_lib.evaluation.differences import p_text
from brainram_lib.evaluation.permutation import DRAWS, draws_for, holm, sign_flip_p, sign_flip_p_reference

RNG = np.random.default_rng(0)


def scipys(differences, draws=9999):
    """The same test by scipy, two-sided by the absolute mean."""
    found = permutation_test(
        (differences, np.zeros_like(differences)),
        lambda one, other, axis: np.abs((one - other).mean(axis)),
        permutation_type="samples",
        alternative="greater",
        n_resamples=draws,
        vectorized=True,
        rng=1,
    )
    return found.pvalue


def test_few_images_are_flipped_in_every_way_as_scipy_does():
    differences = RNG.normal(0.4, 1, size=(5, 11))
    np.testing.assert_allclose(sign_flip_p(differences), [scipys(one) for one in differences])
    assert set((sign_flip_p(differences) * 2**11).tolist()) <= set(range(2**11 + 1))


def test_many_images_agree_with_scipys_draws_and_with_the_t_test():
    differences = RNG.normal(0.1, 1, size=(2, 80))
    p = sign_flip_p(differences)
    np.testing.assert_allclose(p, [scipys(one) for one in differences], atol=0.015)
    np.testing.assert_allclose(p, ttest_1samp(differences, 0, axis=1).pvalue, atol=0.02)


def test_of_signed_ranks_it_is_wilcoxons_test():
    differences = RNG.normal(0.5, 1, size=12)
    ranks = np.sign(differences) * rankdata(np.abs(differences))
    assert sign_flip_p(ranks[None])[0] == pytest.approx(wilcoxon(differences, method="exact").pvalue)


@pytest.mark.parametrize("images", [7, 17])
def test_it_agrees_with_the_plain_loop(images):
    differences = RNG.integers(-2, 3, size=(3, images)).astype(float)
    expected = [sign_flip_p_reference(one, draws=300, seed=4) for one in differences]
    np.testing.assert_allclose(sign_flip_p(differences, draws=300, seed=4), expected)


def test_ties_and_zeros_count_for_no_difference():
    # flips of (1, 1, 1): means 3, 1, -1, -3 thirds; two of eight are as far from 0 as the observed one
    assert sign_flip_p(np.ones((1, 3)))[0] == 0.25
    assert sign_flip_p(np.array([[1.0, 1, 1, 0, 0]]))[0] == 0.25
    # the observed mean is 0, and nothing is nearer
    assert sign_flip_p(np.array([[1.0, -1, 0.5, -0.5]]))[0] == 1
    # thirds in single precision are no exact thirds, and their ties are ties
    thirds = np.array([[1 / 3, 1 / 3, 2 / 3, -1 / 3]], np.float32)
    assert sign_flip_p(thirds)[0] == sign_flip_p(np.array([[1.0, 1, 2, -1]]))[0]


@pytest.mark.parametrize("images", [9, 50])
def test_systems_that_are_the_same_get_one_and_labels_do_not_matter(images):
    assert sign_flip_p(np.zeros((2, images))).tolist() == [1, 1]
    differences = RNG.normal(0.2, 1, size=(1, images))
    assert sign_flip_p(differences) == sign_flip_p(-differences), "which system is called the first"
    assert sign_flip_p(3 * differences) == sign_flip_p(differences), "the unit of a score"
    swapped = sign_flip_p(differences[:, ::-1])
    assert swapped == (sign_flip_p(differences) if images == 9 else pytest.approx(sign_flip_p(differences), abs=0.02))


def test_p_is_never_zero_and_comparisons_do_not_depend_on_what_stands_beside_them():
    far = np.full((1, 60), 5.0)
    assert sign_flip_p(far)[0] == 1 / (1 + DRAWS)
    both = np.concatenate([far, RNG.normal(size=(1, 60))])
    assert sign_flip_p(both)[1] == sign_flip_p(both[1:])[0]
    # Holm's correction of a family of 600 can still leave something below .05
    assert 600 / (1 + draws_for(600)) < 0.05 and draws_for(3) == DRAWS


def test_no_p_is_printed_as_zero():
    """With more than 200 comparisons there are more than 20,000 draws."""
    smallest = [sign_flip_p(np.ones((1, 70)), draws_for(comparisons))[0] for comparisons in (100, 201)]
    assert [p_text(p) for p in smallest] == [".0001", "<.0001"]


def test_false_alarms_are_as_rare_as_they_should_be():
    """2,000 pairs of systems that do not differ, of skewed scores: every twentieth is called different."""
    shared, one, other = RNG.exponential(size=(3, 2000, 40))
    found = sign_flip_p((shared + one) - (shared + other), draws=1000) < 0.05
    assert found.mean() == pytest.approx(0.05, abs=0.02)


def test_with_holms_correction_a_whole_table_is():
    """400 tables of 12 comparisons without a difference: one in twenty tables has a mark, not one in two."""
    p = sign_flip_p(RNG.normal(size=(4800, 40)), draws=4000).reshape(400, 12)
    assert ((p < 0.05).any(1)).mean() > 0.3
    assert (np.array([holm(one) for one in p]).min(1) < 0.05).mean() == pytest.approx(0.05, abs=0.035)


def test_holms_correction_by_hand():
    # sorted .01 .02 .03 .04 times 4 3 2 1 = .04 .06 .06 .04, and none below the one before it
    np.testing.assert_allclose(holm(np.array([0.03, 0.01, 0.04, 0.02])), [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(holm(np.array([0.5, 0.001, 0.6])), [1, 0.003, 1])
    assert holm(np.array([0.2])).tolist() == [0.2] and len(holm(np.array([]))) == 0


@pytest.mark.parametrize("values", [np.ones((2, 0)), np.array([[1.0, np.nan, np.inf]])])
def test_what_cannot_be_tested_is_named(values):
    with pytest.raises(ValueError, match="'differences' must hold one finite number per image"):
        sign_flip_p(values)
