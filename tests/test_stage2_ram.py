"""The Retrieval-Augmented Module and its training."""

from dataclasses import replace

import pytest
import torch

from brainram_lib.stage2.choosing import ChoosingRam
from brainram_lib.stage2.evidence import Evidence
from brainram_lib.stage2.linear import Products, plain_maps
from brainram_lib.stage2.ram import DifferenceRam, Fuse, Ram
from brainram_lib.stage2.settings import Stage2Settings
from brainram_lib.stage2.training import (
    CLOSENESS,
    FusionTask,
    RamExamples,
    closeness_loss,
    plain_parts,
    refine,
    train_fusion,
)

N, S, K, TOKENS, WIDTH, CORPUS = 19, 2, 3, 5, 8, 11
SETTINGS = Stage2Settings(heads=2, fusion_hidden=6, epochs=4, batch=7, temperature=0.1, rate=3e-3)


def data(n=N):
    torch.manual_seed(0)
    corpus = torch.randn(CORPUS, TOKENS, WIDTH)
    neighbours = torch.randint(CORPUS, (n, S, K))
    targets = corpus[neighbours[:, 0, 0]] + 0.1 * torch.randn(n, TOKENS, WIDTH)
    p = 0.3 * targets[:, None] + torch.randn(n, S, TOKENS, WIDTH)
    return RamExamples(p, neighbours, targets), lambda rows: corpus[rows]


def test_q_is_zero_before_training():
    ram = Ram(SETTINGS, K, TOKENS, WIDTH)
    q, weights = ram(torch.randn(4, TOKENS, WIDTH), torch.randn(4, K, TOKENS, WIDTH))
    assert torch.equal(q, torch.zeros(4, TOKENS, WIDTH))
    assert weights.shape == (4, K + 1, TOKENS)


def test_the_weights_sum_to_one_over_the_sources():
    _, weights = Fuse(K + 1, WIDTH, 6)(torch.randn(4, K + 1, TOKENS, WIDTH))
    torch.testing.assert_close(weights.sum(1), torch.ones(4, TOKENS))


def test_fuse_is_equation_eleven():
    fuse, u = Fuse(K + 1, WIDTH, 6), torch.randn(2, K + 1, TOKENS, WIDTH)
    q, weights = fuse(u)
    for b in range(2):
        for t in range(TOKENS):
            torch.testing.assert_close(q[b, t], sum(weights[b, k, t] * u[b, k, t] for k in range(K + 1)))


def test_another_number_of_neighbours_is_refused():
    with pytest.raises(ValueError, match=r"must have shape \(batch, 3, 5, 8\)"):
        Ram(SETTINGS, K, TOKENS, WIDTH)(torch.zeros(2, TOKENS, WIDTH), torch.zeros(2, K + 1, TOKENS, WIDTH))


def test_training_brings_p_closer_to_the_target_and_resumes_bit_identical(tmp_path, monkeypatch):
    rows, tokens_of = data()
    ram, history = train_fusion(SETTINGS, rows, rows, tokens_of, tmp_path / "whole", 3, "ram")
    assert history[-1]["val_mse"] < history[-1]["val_mse_p"]

    from brainram_lib.core import loop
    from brainram_lib.stage2 import training

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)

    real, calls = training.validation_row, []

    def stops(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(training, "validation_row", stops)
    with pytest.raises(KeyboardInterrupt):
        train_fusion(SETTINGS, rows, rows, tokens_of, tmp_path / "cut", 3, "ram")
    monkeypatch.setattr(training, "validation_row", real)
    resumed, _ = train_fusion(SETTINGS, rows, rows, tokens_of, tmp_path / "cut", 3, "ram")
    for name, weight in ram.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


def test_a_permutation_of_stimuli_permutes_the_refined_estimates():
    rows, tokens_of = data()
    ram = Ram(SETTINGS, K, TOKENS, WIDTH).eval()
    torch.nn.init.normal_(ram.divide.attention.out.weight)
    refined, weights = refine(ram, rows, tokens_of)
    order = torch.randperm(N)
    mixed = RamExamples(rows.p[order], rows.neighbours[order], rows.targets[order])
    again, weights_again = refine(ram, mixed, tokens_of)
    torch.testing.assert_close(refined[order], again)
    torch.testing.assert_close(weights[order], weights_again)


def test_a_share_of_the_way_to_the_neighbours_is_one_linear_map():
    ram = DifferenceRam(SETTINGS, K, TOKENS, WIDTH).eval()
    with torch.no_grad():
        ram.divide.last.weight[:, -WIDTH:] = 0.4 * torch.eye(WIDTH)
        ram.fuse.outer.zero_()
    p, c = torch.randn(4, TOKENS, WIDTH), torch.randn(4, K, TOKENS, WIDTH)
    # p stands among the K + 1 sources, with difference zero
    torch.testing.assert_close(ram(p, c)[0], 0.4 * (c.sum(1) - K * p) / (K + 1))


# --- a RAM that chooses


def evidence_of(rows, tokens_of):
    return Evidence({"image": rows.p, "text": rows.p}, {"image": tokens_of, "text": tokens_of})


def test_evidence_is_the_cosine_of_each_neighbour_alone():
    rows, tokens_of = data()
    some, sample = torch.tensor([3, 0]), torch.tensor([1, 0])
    ids = rows.neighbours[some, sample]
    found = evidence_of(rows, tokens_of)(some, sample, ids)
    for i, (row, s) in enumerate(zip(some, sample, strict=True)):
        for k in range(K):
            p, c = rows.p[row, s], tokens_of(ids[i, k])
            whole, first = ((a @ b) / a.norm() / b.norm() for a, b in ((p.flatten(), c.flatten()), (p[0], c[0])))
            torch.testing.assert_close(found[i, k], torch.stack([whole, whole, first]))


def test_a_ram_that_chooses_learns_which_neighbour_is_the_right_one(tmp_path):
    torch.manual_seed(0)
    corpus, n = torch.randn(60, TOKENS, WIDTH), 300
    right = torch.randint(60, (n,))
    neighbours = torch.randint(60, (n, 1, K))
    place = torch.randint(K, (n,))
    neighbours[torch.arange(n), 0, place] = right
    rows = RamExamples(corpus[right][:, None] + torch.randn(n, 1, TOKENS, WIDTH), neighbours, corpus[right])
    tokens_of = lambda ids: corpus[ids]  # noqa: E731
    rows = replace(rows, evidence=evidence_of(rows, tokens_of))
    settings = replace(SETTINGS, fusion="choosing-ram", epochs=12, batch=50, width=16, gamma=0.0)
    ram, history = train_fusion(settings, rows, rows, tokens_of, tmp_path, 0, "choosing")
    plain = least_squares_error(rows, tokens_of)
    assert history[-1]["val_mse"] < 0.7 * plain
    _, weights = refine(ram, rows, tokens_of)
    assert (weights[:, 0, 1:].mean(-1).argmax(1) == place).float().mean() > 0.8


def least_squares_error(rows, tokens_of):
    """Of the plain estimate from p and the mean neighbour, by numpy, token by token."""
    total = 0.0
    for token in range(TOKENS):
        x = torch.cat([rows.p[:, 0, token], tokens_of(rows.neighbours[:, 0])[:, :, token].mean(1)], -1).double()
        y = rows.targets[:, token].double()
        total += float((x @ torch.linalg.lstsq(x, y).solution - y).square().mean()) / TOKENS
    return total


def test_plain_maps_are_a_ridge_at_the_best_of_its_penalties():
    rows, tokens_of = data(40)
    maps = plain_maps(plain_parts(rows, tokens_of), plain_parts(rows, tokens_of))
    x = torch.cat([rows.p[:, 0, 2], tokens_of(rows.neighbours[:, 0])[:, :, 2].mean(1)], -1).double()
    expected = torch.linalg.solve(x.T @ x + 10 * torch.eye(2 * WIDTH), x.T @ rows.targets[:, 2].double())
    torch.testing.assert_close(maps[2], expected.float())
    products = Products(plain_parts(rows, tokens_of))
    errors = [
        (torch.cat([p, m], -1)[:, t] @ maps[t] - y[:, t]).square().mean()
        for p, m, y in plain_parts(rows, tokens_of)
        for t in range(TOKENS)
    ]
    assert products.error(maps.double()) == pytest.approx(torch.stack(errors).mean().item(), rel=1e-4)


def test_random_neighbours_take_the_place_of_some():
    rows, tokens_of = data(200)
    settings = replace(SETTINGS, random_share=0.25)
    task = FusionTask(Ram(settings, K, TOKENS, WIDTH), settings, rows, rows, tokens_of)
    ids = torch.full((4000, K), 99)
    changed = task._some_random(ids, torch.Generator().manual_seed(0)) != 99
    assert changed.float().mean().item() == pytest.approx(1 - 0.75 * 0.9, abs=0.02)
    assert changed.all(1).float().mean().item() == pytest.approx(0.1 + 0.9 * 0.25**K, abs=0.02)


def test_a_ram_that_chooses_needs_evidence():
    ram = ChoosingRam(SETTINGS, K, TOKENS, WIDTH)
    with pytest.raises(ValueError, match="weighs its neighbours by evidence, and none was handed in"):
        ram(torch.zeros(2, TOKENS, WIDTH), torch.zeros(2, K, TOKENS, WIDTH))


def test_weights_that_follow_closeness_cost_nothing_more_than_equal_ones():
    torch.manual_seed(0)
    targets, c = torch.randn(6, TOKENS, WIDTH), torch.randn(6, K, TOKENS, WIDTH)
    errors = (c - targets[:, None]).square().mean((2, 3))
    right = (-errors / CLOSENESS).softmax(1)[..., None].expand(-1, -1, TOKENS)
    own = torch.full((6, 1, TOKENS), 0.3)
    followed = closeness_loss(torch.cat([own, 0.7 * right.clamp(min=1e-12)], 1), c, targets)
    equal = closeness_loss(torch.full((6, K + 1, TOKENS), 1 / (K + 1)), c, targets)
    assert abs(followed.item()) < 1e-4 < equal.item()
