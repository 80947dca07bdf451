"""Scores of new kinds of stimuli, kind by kind, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from brainram_lib.audits.new_stimuli import above_chance, first, found_again, kept, rows_of, scores_by_kind

KINDS = ["a", "a", "b", "b", "b", "alone", "a", "c", "c"]
RNG = np.random.default_rng(5)
REAL = RNG.standard_normal((len(KINDS), 5, 7)).astype(np.float32)
MADE = (REAL[:, None] + 0.8 * RNG.standard_normal((len(KINDS), 2, 5, 7))).astype(np.float32)


def cosine(one, other):
    return float(one.ravel() @ other.ravel() / np.linalg.norm(one) / np.linalg.norm(other))


def test_kinds_are_in_the_order_in_which_they_come():
    rows = rows_of(KINDS)
    assert list(rows) == ["a", "b", "alone", "c"] and rows["a"].tolist() == [0, 1, 6]


def test_scores_of_a_kind_are_those_of_a_plain_loop():
    found = scores_by_kind(MADE, REAL, KINDS)
    assert list(found) == ["a", "b", "c"], "nothing is like a picture that is alone"
    mean = MADE.mean(1)
    for kind, rows in ((kind, rows_of(KINDS)[kind]) for kind in found):
        own = found[kind]
        for place, row in enumerate(rows):
            samples = MADE[row].astype(float)
            assert own["image_mse"][place] == pytest.approx(np.mean((samples - REAL[row]) ** 2), rel=1e-5)
            assert own["image_cosine"][place] == pytest.approx(np.mean([cosine(s, REAL[row]) for s in samples]))
            other = MADE[rows[place - 1]]
            assert own["cosine_of_other"][place] == pytest.approx(np.mean([cosine(s, REAL[row]) for s in other]))
            won = [cosine(mean[row], REAL[row]) > cosine(mean[row], REAL[k]) for k in rows if k != row]
            assert own["first_of_kind"][place] == all(won)
            everything = [cosine(mean[row], REAL[row]) > cosine(mean[row], REAL[k]) for k in range(9) if k != row]
            assert own["first_of_all"][place] == all(everything)
            r = [np.corrcoef(REAL[k, 0], mean[row, 0])[0, 1] for k in range(9)]
            rivals = [r[k] < r[row] for k in rows if k != row]
            assert own["two_way_within"][place] == pytest.approx(np.mean(rivals))
            strangers = [r[k] < r[row] for k in range(9) if k not in rows]
            assert own["two_way_between"][place] == pytest.approx(np.mean(strangers))


def test_true_tokens_are_perfect_and_one_kind_alone_has_no_others():
    found = scores_by_kind(REAL[:, None], REAL, ["x"] * len(REAL))["x"]
    assert "two_way_between" not in found and (found["image_mse"] == 0).all()
    assert found["first_of_kind"].mean() == found["two_way_within"].mean() == 1


def test_a_smaller_pool_is_easier():
    made = REAL + 3 * np.random.default_rng(0).standard_normal(REAL.shape).astype(np.float32)
    assert first(made, REAL, 2).mean() > first(made, REAL).mean()
    np.testing.assert_array_equal(first(made, REAL, 99), first(made, REAL))


def test_betas_with_a_signal_find_their_other_half_and_noise_does_not():
    signal, noise = np.random.default_rng(8).standard_normal((2, 40, 1, 30))
    both = 5 + signal + 0.5 * np.random.default_rng(9).standard_normal((40, 2, 30))
    assert found_again(both).mean() > 0.9
    assert found_again(5 + noise + 20 * np.random.default_rng(7).standard_normal((40, 2, 30))).mean() < 0.2


def test_a_share_is_one_on_the_same_scores_and_nothing_over_chance_is_no_share():
    usual = np.random.default_rng(1).uniform(0.2, 0.6, 40)
    share = kept(usual, usual)
    assert share.value == 1 and share.low < 1 < share.high
    assert kept(usual / 2, usual).value == pytest.approx(0.5)
    assert kept(-usual, usual).high < 0
    assert kept(usual, np.random.default_rng(2).standard_normal(40) * 0.1) is None
    above = above_chance(scores_by_kind(MADE, REAL, KINDS)["b"], 3)
    assert set(above) == {"image_cosine", "two_way_within", "first_of_kind"}
    assert {round(float(one), 6) for one in above["first_of_kind"]} <= {-0.333333, 0.666667}


def test_numbers_that_differ_are_refused():
    with pytest.raises(ValueError, match="'made' holds 9 stimuli, 'real' 9 and 'kinds' 8"):
        scores_by_kind(MADE, REAL, KINDS[:-1])
