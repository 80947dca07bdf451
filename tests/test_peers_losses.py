"""Losses of the compared systems against plain compositions, and at their limits."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from brainram_lib.peers.losses import bimixco, clip_loss, soft_clip, unit

ROWS, FEATURES, TEMPERATURE = 7, 5, 0.3


@pytest.fixture
def rows():
    random = torch.Generator().manual_seed(2)
    return [unit(torch.randn(ROWS, FEATURES, generator=random)) for _ in range(2)]


def info_nce_both_ways(estimates, targets, temperature):
    logits = estimates @ targets.T / temperature
    own = torch.arange(len(logits))
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


def test_unit_flattens_and_normalises():
    made = unit(torch.randn(3, 2, 4))
    assert made.shape == (3, 8)
    torch.testing.assert_close(made.norm(dim=1), torch.ones(3))


def test_bimixco_is_the_sum_over_both_parents_row_by_row(rows):
    estimates, targets = rows
    partner, share = torch.tensor([3, 1, 0, 6, 2, 4, 5]), torch.linspace(0.1, 0.9, ROWS)
    total = 0.0
    for i in range(ROWS):
        k, lam = int(partner[i]), float(share[i])
        forth = [math.exp(float(estimates[i] @ targets[j]) / TEMPERATURE) for j in range(ROWS)]
        total -= lam * math.log(forth[i] / sum(forth)) + (1 - lam) * math.log(forth[k] / sum(forth))
        for parent, weight in ((i, lam), (k, 1 - lam)):
            back = [math.exp(float(targets[parent] @ estimates[j]) / TEMPERATURE) for j in range(ROWS)]
            total -= weight * math.log(back[i] / sum(back))
    found = bimixco(estimates, targets, partner, share, TEMPERATURE)
    assert float(found) == pytest.approx(total / (2 * ROWS), rel=1e-5)


def test_bimixco_without_mixing_is_info_nce_both_ways(rows):
    found = bimixco(*rows, torch.randperm(ROWS), torch.ones(ROWS), TEMPERATURE)
    torch.testing.assert_close(found, info_nce_both_ways(*rows, TEMPERATURE))


def test_a_row_mixed_with_itself_is_a_plain_row(rows):
    found = bimixco(*rows, torch.arange(ROWS), torch.full((ROWS,), 0.4), TEMPERATURE)
    torch.testing.assert_close(found, info_nce_both_ways(*rows, TEMPERATURE))


def test_bimixco_with_no_share_of_its_own_is_of_the_partner(rows):
    estimates, targets = rows
    partner = torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))
    found = bimixco(estimates, targets, partner, torch.zeros(ROWS), TEMPERATURE)
    torch.testing.assert_close(found, info_nce_both_ways(estimates, targets[partner], TEMPERATURE))


def test_soft_clip_of_orthogonal_targets_is_info_nce_both_ways():
    targets = torch.eye(FEATURES)
    estimates = unit(torch.randn(FEATURES, FEATURES, generator=torch.Generator().manual_seed(4)))
    torch.testing.assert_close(soft_clip(estimates, targets, 0.01), info_nce_both_ways(estimates, targets, 0.01))


def test_soft_clip_of_equal_targets_wants_all_alike():
    targets = unit(torch.ones(ROWS, FEATURES))
    found = soft_clip(targets, targets, TEMPERATURE)
    assert float(found) == pytest.approx(math.log(ROWS), rel=1e-5)


def test_soft_clip_is_least_where_estimates_are_the_targets(rows):
    estimates, targets = rows
    wanted = (targets @ targets.T / TEMPERATURE).softmax(-1)
    entropy = -(wanted * wanted.log()).sum(-1).mean()
    torch.testing.assert_close(soft_clip(targets, targets, TEMPERATURE), entropy)
    assert soft_clip(estimates, targets, TEMPERATURE) > entropy


def test_clip_loss_is_info_nce_both_ways(rows):
    torch.testing.assert_close(clip_loss(*rows, TEMPERATURE), info_nce_both_ways(*rows, TEMPERATURE))
