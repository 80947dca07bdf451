"""Held-out clusters, identification within a cluster, and what needs no brain."""

from __future__ import annotations

import numpy as np
import pytest
from given_stages import given_images, given_targets

from brainram_lib.audits.clusters import clusters_of, held_out, named_by_chance, two_way_by_cluster
from brainram_lib.audits.span import in_span, in_span_reference
from brainram_lib.core.store import Store
from brainram_lib.pipeline.clusters import (
    FOLDS,
    HeldOut,
    InSpan,
    MeanTarget,
    NearestTarget,
    StimulusClusters,
    SubsetTargets,
)
from brainram_lib.systems.audits.held_out import Fold, inside, outside

WIDTH, TOKENS, VOXELS, K = 6, 3, 4, 5
SIZES = (19, 15, 11, 8, 6)


@pytest.fixture
def groups():
    """Embeddings around five directions, and the group of each; 59 training and 13 test stimuli."""
    rng = np.random.default_rng(0)
    train = np.repeat(np.arange(K), SIZES)[rng.permutation(sum(SIZES))]
    test = np.arange(13) % K

    def around(labels):
        rows = np.eye(WIDTH)[labels] * 5 + rng.normal(size=(len(labels), WIDTH)) * 0.2
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    return {"train": around(train), "test": around(test)}, {"train": train, "test": test}


def test_clusters_are_the_groups_largest_first_whatever_the_test_stimuli_are(groups):
    embeddings, labels = groups
    found = clusters_of(embeddings["train"], embeddings["test"], K, seed=0)
    np.testing.assert_array_equal(found.train, labels["train"])
    np.testing.assert_array_equal(found.test, labels["test"])
    np.testing.assert_allclose(np.linalg.norm(found.centres, axis=1), 1, atol=1e-5)
    other = clusters_of(embeddings["train"], embeddings["test"][:2] * -1, K, seed=0)
    np.testing.assert_array_equal(found.centres, other.centres)
    with pytest.raises(ValueError, match="'k' must lie between 2 and the 59 training stimuli. 60 was provided"):
        clusters_of(embeddings["train"], embeddings["test"], 60, seed=0)


def test_every_cluster_is_held_out_once():
    labels = np.arange(40)
    masks = np.stack([held_out(labels, fold, FOLDS) for fold in range(FOLDS)])
    assert (masks.sum(0) == 1).all() and (masks.sum(1) == 8).all()
    with pytest.raises(ValueError, match="'fold' must lie between 0 and 4. 5 was provided"):
        held_out(labels, 5, FOLDS)


def test_chance_of_naming_a_cluster():
    assert named_by_chance(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]), 3) == pytest.approx(0.5)
    assert named_by_chance(np.array([2]), np.array([0, 1]), 3) == 0


def test_two_way_within_and_between_clusters_is_the_plain_count():
    rng = np.random.default_rng(1)
    real, labels = rng.normal(size=(11, WIDTH)), np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3])
    made = real + rng.normal(size=real.shape)
    within, between = two_way_by_cluster(real, made, labels)
    for j in range(11):
        own = np.corrcoef(real[j], made[j])[0, 1]
        won = np.array([np.corrcoef(real[i], made[j])[0, 1] < own for i in range(11)])
        same = (labels == labels[j]) & (np.arange(11) != j)
        assert between[j] == pytest.approx(won[labels != labels[j]].mean())
        assert np.isnan(within[j]) if not same.any() else within[j] == pytest.approx(won[same].mean())
    with pytest.raises(ValueError, match="must be of the same images and encoder"):
        two_way_by_cluster(real, made[:-1], labels)


def test_naming_the_cluster_alone_wins_between_and_not_within():
    labels = np.repeat(np.arange(4), 6)
    rng = np.random.default_rng(2)
    kinds = rng.normal(size=(4, 40))
    real = kinds[labels] + 0.5 * rng.normal(size=(24, 40))
    within, between = two_way_by_cluster(real, kinds[labels] + 1e-3 * rng.normal(size=(24, 40)), labels)
    assert between.mean() > 0.99 and abs(within.mean() - 0.5) < 0.1


@pytest.mark.parametrize("features", [9, 41])
def test_the_span_is_least_squares_and_holds_the_training_targets(features, monkeypatch):
    monkeypatch.setattr("brainram_lib.audits.span.COLUMNS", 7)
    rng = np.random.default_rng(3)
    train, asked = (rng.normal(size=(n, features)).astype(np.float32) for n in (13, 5))
    found = in_span(train, asked)
    np.testing.assert_allclose(found.projected, in_span_reference(train, asked), atol=1e-4)
    assert (found.rank, found.of) == (min(12, features), features)
    np.testing.assert_allclose(in_span(train, train[2:4]).projected, train[2:4], atol=1e-4)
    error = ((asked - found.projected) ** 2).sum(1)
    assert (error <= ((asked - train.mean(0)) ** 2).sum(1) + 1e-4).all()
    with pytest.raises(ValueError, match="must have the same features"):
        in_span(train, asked[:, 1:])


@pytest.fixture
def stages(groups):
    embeddings, labels = groups
    rng = np.random.default_rng(4)
    tokens = {
        split: np.concatenate([rows[:, None], rng.normal(size=(len(rows), TOKENS - 1, WIDTH))], 1).astype(np.float32)
        for split, rows in embeddings.items()
    }
    betas = {split: rng.normal(size=(len(rows), VOXELS)).astype(np.float32) for split, rows in tokens.items()}
    whole = given_targets(given_images(betas), tokens)
    images = HeldOut(whole.images.subject, None, StimulusClusters(whole, K), 1)
    return images, SubsetTargets(images, "given", whole.encoder, "image", whole), betas, tokens, labels


def test_training_leaves_the_held_out_cluster_out_and_the_test_images_stay(stages, tmp_path):
    images, targets, betas, tokens, labels = stages
    store, kept = Store(tmp_path), np.flatnonzero(labels["train"] != 1)
    np.testing.assert_array_equal(images.nsd_ids(store, "train"), kept)
    np.testing.assert_array_equal(images.nsd_ids(store, "test"), np.arange(13))
    np.testing.assert_array_equal(images.betas(store)["train"], betas["train"][kept])
    np.testing.assert_array_equal(images.betas(store)["test"], betas["test"])
    np.testing.assert_array_equal(store.result(targets).array("train"), tokens["train"][kept])
    np.testing.assert_array_equal(store.result(targets).array("test"), tokens["test"])
    np.testing.assert_array_equal(images.outside(store), labels["test"] == 1)


def test_estimates_without_a_brain(stages, tmp_path):
    _, targets, _, tokens, labels = stages
    store, train = Store(tmp_path), tokens["train"][labels["train"] != 1]
    np.testing.assert_allclose(store.result(MeanTarget(targets)).array("test")[7], train.mean(0), atol=1e-6)
    near = store.result(NearestTarget(targets, targets, targets))
    rows = near.array("rows")
    flat = [rows_.reshape(len(rows_), -1) for rows_ in (tokens["test"], train)]
    cosines = flat[0] @ flat[1].T / np.linalg.norm(flat[0], axis=1)[:, None] / np.linalg.norm(flat[1], axis=1)
    np.testing.assert_array_equal(rows, cosines.argmax(1))
    np.testing.assert_array_equal(near.array("test"), train[rows])
    assert store.result(InSpan(targets)).json("span") == {"rank": TOKENS * WIDTH, "of": TOKENS * WIDTH}


def test_outside_scores_come_from_the_training_that_left_the_image_out():
    masks = np.array([[1, 0, 0], [0, 1, 0]], bool)
    folds = [Fold({"one": np.array([1.0, 2, 3])}, masks[0]), Fold({"one": np.array([10.0, 20, 30])}, masks[1])]
    assert outside(folds)["one"].tolist() == [1, 20]
    assert inside(folds)["one"].tolist() == [10, 2, 16.5]
