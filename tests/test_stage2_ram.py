"""The Retrieval-Augmented Module and its training."""

import pytest
import torch

from brainram_lib.stage2.ram import Fuse, Ram
from brainram_lib.stage2.settings import Stage2Settings
from brainram_lib.stage2.training import RamExamples, refine, train_fusion

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
    torch.nn.init.normal_(ram.divide.last.weight)
    refined, weights = refine(ram, rows.p, rows.neighbours, tokens_of)
    order = torch.randperm(N)
    again, weights_again = refine(ram, rows.p[order], rows.neighbours[order], tokens_of)
    torch.testing.assert_close(refined[order], again)
    torch.testing.assert_close(weights[order], weights_again)


def test_a_share_of_the_way_to_the_neighbours_is_one_linear_map():
    ram = Ram(SETTINGS, K, TOKENS, WIDTH).eval()
    with torch.no_grad():
        ram.divide.last.weight[:, -WIDTH:] = 0.4 * torch.eye(WIDTH)
        ram.fuse.outer.zero_()
    p, c = torch.randn(4, TOKENS, WIDTH), torch.randn(4, K, TOKENS, WIDTH)
    # p stands among the K + 1 sources, with difference zero
    torch.testing.assert_close(ram(p, c)[0], 0.4 * (c.sum(1) - K * p) / (K + 1))
