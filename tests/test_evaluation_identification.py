import numpy as np
import pytest

from brainram_lib.evaluation.identification import (
    BRAINS,
    IMAGES,
    drawn_images,
    found_first,
    ranks,
    retrieval,
    retrieval_from_similarity,
)

# Brain 0 resembles every image most; every brain's own image is its best, but images 1 and 2 prefer brain 0.
ASYMMETRIC = np.array([[0.9, 0.8, 0.7], [0.1, 0.5, 0.2], [0.1, 0.2, 0.5]])


def test_the_axes_are_not_swapped():
    assert found_first(ASYMMETRIC, IMAGES).tolist() == [True, True, True]
    assert found_first(ASYMMETRIC, BRAINS).tolist() == [True, False, False]
    found = retrieval_from_similarity(ASYMMETRIC, pool=3, repeats=2)
    assert found["image_retrieval"].mean == 1
    assert found["brain_retrieval"].mean == pytest.approx(1 / 3)
    assert ranks(ASYMMETRIC, BRAINS).tolist() == [1, 2, 2]
    assert ranks(ASYMMETRIC, IMAGES).tolist() == [1, 1, 1]


def test_the_axes_are_right_from_tokens_too():
    # images are orthogonal; brain 0 is a mixture near all of them, yet nearest to its own
    targets = np.eye(3).reshape(3, 1, 3)
    estimates = np.array([[1.2, 1, 1], [0.9, 1, 0.9], [0.9, 0.9, 1.0]]).reshape(3, 1, 3)
    estimates[0] = [3, 0, 0]
    found = retrieval(estimates, targets, pool=3, repeats=1)
    assert found["image_retrieval"].mean == 1 and found["brain_retrieval"].mean == 1
    estimates[0] = [1.4, 1.3, 1.3]
    estimates[1:] = [[[1, 1.01, 1]], [[-3, 1, 1.1]]]
    found = retrieval(estimates, targets, pool=3, repeats=1)
    assert found["image_retrieval"].mean == 1
    assert found["brain_retrieval"].mean < 1


def test_tokens_are_normalised_so_scale_does_not_matter():
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(11, 3, 5))
    estimates = (targets + rng.normal(size=targets.shape)) * rng.uniform(0.1, 9, (11, 1, 1))
    scaled = retrieval(estimates * 7, targets * 2, pool=7, repeats=5)
    for name, result in retrieval(estimates, targets, pool=7, repeats=5).items():
        np.testing.assert_array_equal(result.repeats, scaled[name].repeats)


def test_repeats_draw_without_replacement_and_give_intervals():
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(40, 3, 5))
    estimates = targets + 2.5 * rng.normal(size=targets.shape)
    found = retrieval(estimates, targets, pool=13, repeats=30)["image_retrieval"]
    low, high = found.interval
    assert found.repeats.shape == (30,) and found.pool == 13 and found.chance == pytest.approx(1 / 13)
    assert low < found.mean < high
    assert ((found.per_image >= 0) & (found.per_image <= 1)).all() and len(found.per_image) == 40


def test_the_images_that_were_drawn_are_known():
    similarity = np.eye(50) + 0.01 * np.random.default_rng(0).normal(size=(50, 50))
    similarity[7, 7] = -9
    per_image = retrieval_from_similarity(similarity, pool=9, repeats=4, seed=3)["image_retrieval"].per_image
    drawn = drawn_images(50, pool=9, repeats=4, seed=3)
    assert len(drawn) == len(per_image) < 50 and drawn_images(5).tolist() == [0, 1, 2, 3, 4]
    assert drawn[per_image < 1].tolist() == [7]


def test_the_whole_test_set_as_pool_leaves_one_draw():
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(13, 3, 5))
    found = retrieval(targets + rng.normal(size=targets.shape), targets, pool=13, repeats=4)["brain_retrieval"]
    assert len(set(found.repeats)) == 1
    assert set(found.per_image) <= {0.0, 1.0} and found.per_image.mean() == pytest.approx(found.mean)


def test_ties_are_failures_and_perfect_estimates_perfect():
    targets = np.random.default_rng(0).normal(size=(11, 3, 5))
    assert all(result.mean == 1 for result in retrieval(targets, targets, pool=11, repeats=2).values())
    same = retrieval_from_similarity(np.ones((5, 5)), pool=5, repeats=2)
    assert all(result.mean == 0 for result in same.values())


def test_a_permutation_of_brains_permutes_the_results():
    similarity = np.random.default_rng(0).normal(size=(9, 9))
    order = np.random.default_rng(1).permutation(9)
    permuted = similarity[np.ix_(order, order)]
    np.testing.assert_array_equal(found_first(permuted, IMAGES), found_first(similarity, IMAGES)[order])
    np.testing.assert_array_equal(ranks(permuted, BRAINS), ranks(similarity, BRAINS)[order])


def test_errors():
    tokens = np.ones((7, 3, 5))
    with pytest.raises(ValueError, match="'pool' must be at most the 7 test images. 300 was provided"):
        retrieval(tokens, tokens)
    with pytest.raises(ValueError, match="same images in the same order"):
        retrieval(tokens, tokens[:6], pool=3)


def by_double_loop(estimates, targets, pool, repeats, seed):
    """Top-1 of each draw in both directions, one cosine at a time: [image retrieval, brain retrieval]."""

    def cosine(brain, image):
        one, other = estimates[brain].ravel(), targets[image].ravel()
        return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))

    random, found = np.random.default_rng(seed), []
    for _ in range(repeats):
        drawn = np.sort(random.choice(len(estimates), pool, replace=False))
        images = [all(cosine(i, i) > cosine(i, j) for j in drawn if j != i) for i in drawn]
        brains = [all(cosine(j, j) > cosine(i, j) for i in drawn if i != j) for j in drawn]
        found.append((np.mean(images), np.mean(brains)))
    return np.transpose(found)


def test_retrieval_agrees_with_a_double_loop_over_brains_and_images():
    rng = np.random.default_rng(3)
    targets = rng.normal(size=(17, 3, 5))
    estimates = targets + 1.5 * rng.normal(size=targets.shape) * rng.uniform(0.5, 3, (17, 1, 1))
    found = retrieval(estimates, targets, pool=11, repeats=4, seed=2)
    images, brains = by_double_loop(estimates, targets, 11, 4, 2)
    np.testing.assert_allclose(found["image_retrieval"].repeats, images)
    np.testing.assert_allclose(found["brain_retrieval"].repeats, brains)
    assert not np.allclose(images, brains), "else a swap of the axes would pass"


def test_shuffled_brains_are_found_as_often_as_by_chance():
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(400, 1, 6))
    order = rng.permutation(400)
    estimates = (targets + 0.3 * rng.normal(size=targets.shape))[order]
    for found in retrieval(estimates, targets, pool=20, repeats=30).values():
        # 600 tries at 1 / 20: within four standard deviations
        assert abs(found.mean - found.chance) < 4 * np.sqrt(0.05 * 0.95 / 600)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_tokens_that_are_not_finite_are_named(value):
    targets = np.random.default_rng(0).normal(size=(9, 3, 5))
    estimates = targets.copy()
    estimates[4, 1, 2] = value
    with pytest.raises(ValueError, match="9 of 81 are NaN or infinite, the first of brain 4 and image 0"):
        retrieval(estimates, targets, pool=9, repeats=1)
