"""What is read and written block by block holds what it would hold if everything lay in memory at once."""

import numpy as np
import pytest
import torch
from small_stages import CORPUS, PROFILE, SAMPLES, TOKENS, VALIDATION, VOXELS, WIDTH, K, N, small_data

from brainram_lib import stages
from brainram_lib.core.ridge import fit_ridge
from brainram_lib.core.rows import Rows
from brainram_lib.core.whitening import TokenWhitening
from brainram_lib.stage1.linear import cross_fitted
from brainram_lib.stage1.prior import Prior
from brainram_lib.stage1.training import Examples, train_prior
from brainram_lib.stage2 import training as stage2_training
from brainram_lib.stage2.ram import Ram
from brainram_lib.stage2.training import RamExamples, train_ram


@pytest.fixture(scope="module")
def data():
    return small_data()


@pytest.fixture
def prior(data):
    torch.manual_seed(0)
    made = Prior(PROFILE.stage1, VOXELS, TOKENS, WIDTH).eval()
    made.whitening.fit(torch.from_numpy(data[2]["train"]))
    torch.nn.init.normal_(made.network.leave.weight)
    return made


def on_disk(folder, array):
    np.save(folder / "array.npy", array)
    return np.load(folder / "array.npy", mmap_mode="r")


def test_rows_are_read_as_a_tensor_would_be(tmp_path):
    array = np.random.default_rng(0).standard_normal((9, 2, 3)).astype(np.float16)
    chosen = np.array([7, 1, 4, 2])
    rows, whole = Rows(on_disk(tmp_path, array), chosen), torch.from_numpy(array[chosen]).float()
    first, second = torch.tensor([3, 0, 0]), torch.tensor([1, 0, 1])
    assert rows.shape == tuple(whole.shape) and len(rows) == 4
    for index in (first, (first, second), slice(1, 3), slice(None)):
        assert torch.equal(rows[index], whole[index])
    doubled = Rows(array, mapped=lambda read: read.double() * 2)
    assert torch.equal(doubled[first], torch.from_numpy(array)[first].double() * 2)


def test_whitening_is_fitted_on_rows_as_on_a_tensor(tmp_path, data):
    targets = data[2]["train"]
    whole, read = (
        TokenWhitening(TOKENS, WIDTH).fit(tokens)
        for tokens in (torch.from_numpy(targets), Rows(on_disk(tmp_path, targets)))
    )
    assert torch.equal(whole.mean, read.mean) and torch.equal(whole.matrix, read.matrix)


def test_a_prior_trained_on_rows_is_the_one_trained_in_memory(tmp_path, data):
    betas, linear, targets, *_ = data
    stages.make_prior(
        tmp_path, PROFILE, betas["train"], linear["train"], on_disk(tmp_path, targets["train"]), 1, "rows"
    )
    read = stages.load_prior(tmp_path, PROFILE, VOXELS, TOKENS, WIDTH).state_dict()
    fit, held = (
        Examples(*(torch.from_numpy(part["train"][chosen]) for part in (betas, linear, targets)))
        for chosen in stages.validation_rows(len(targets["train"]), VALIDATION)
    )
    whole, _ = train_prior(PROFILE.stage1, fit, held, tmp_path / "whole", 1, "whole")
    for name, weight in whole.state_dict().items():
        assert torch.equal(read[name], weight), name


def test_estimates_are_the_samples_of_every_seed(tmp_path, monkeypatch, data, prior):
    betas, linear, *_ = data
    monkeypatch.setattr(stages, "SAMPLE_CHUNK", 4)
    stages.make_estimates(tmp_path, PROFILE, prior, betas, linear, 2)
    for split, rows in betas.items():
        inputs = torch.from_numpy(rows).split(4), torch.from_numpy(linear[split]).split(4)
        samples = [
            torch.cat([prior.sample(*part, 2000 + seed + 4 * i) for i, part in enumerate(zip(*inputs, strict=True))])
            for seed in range(SAMPLES)
        ]
        found = np.load(tmp_path / f"{split}.npy")
        assert found.dtype == np.float16
        np.testing.assert_array_equal(found, torch.stack(samples, 1).half().numpy())


def test_refined_estimates_are_those_of_all_stimuli_at_once(tmp_path, monkeypatch, data, prior):
    _, _, targets, ids, corpus = data
    torch.manual_seed(0)
    ram = Ram(PROFILE.stage2, K, TOKENS, WIDTH).eval()
    torch.nn.init.normal_(ram.divide.last.weight, std=0.1)
    estimates = np.stack([targets["test"], targets["test"] + 0.2], 1).astype(np.float16)
    monkeypatch.setattr(stage2_training, "CHUNK", 4)
    tokens_of = stages.CorpusTokens(np.arange(CORPUS), corpus, prior.whitening)
    stages.make_refined(tmp_path, ram, prior.whitening, estimates, ids["test"], tokens_of)

    p = prior.whitening(torch.from_numpy(estimates).float())
    neighbours = prior.whitening(corpus.float())[torch.from_numpy(ids["test"])]
    with torch.no_grad():
        q, weights = ram(p.flatten(0, 1), neighbours.flatten(0, 1))
    refined = prior.whitening.restored(p + q.unflatten(0, p.shape[:2]))
    np.testing.assert_allclose(np.load(tmp_path / "test.npy"), refined.numpy(), atol=2e-3, rtol=2e-3)
    np.testing.assert_allclose(np.load(tmp_path / "weights.npy"), weights.unflatten(0, p.shape[:2]).numpy(), atol=1e-5)


def test_a_ram_trained_on_rows_is_the_one_trained_in_memory(tmp_path, data, prior):
    _, _, targets, ids, corpus = data
    goal, neighbours = targets["train"], ids["train"]
    estimates = np.stack([goal + 0.3, goal - 0.2], 1).astype(np.float16)
    tokens_of = stages.CorpusTokens(np.arange(CORPUS), corpus, prior.whitening)
    given = on_disk(tmp_path, estimates), neighbours, goal, tokens_of
    stages.make_ram(tmp_path, PROFILE, prior.whitening, *given, 3, "rows")
    read = stages.load_ram(tmp_path, PROFILE, K, TOKENS, WIDTH).state_dict()

    p, target = (prior.whitening(torch.from_numpy(part).float()) for part in (estimates, goal))
    known = prior.whitening(corpus.float())
    parts = [
        RamExamples(p[chosen], torch.from_numpy(neighbours)[chosen], target[chosen])
        for chosen in map(torch.from_numpy, stages.validation_rows(len(goal), VALIDATION))
    ]
    whole, _ = train_ram(PROFILE.stage2, *parts, lambda rows: known[rows], tmp_path / "whole", 3, "whole")
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(read[name], weight, atol=1e-5, rtol=1e-4, msg=name)


def test_the_ridges_estimates_keep_the_order_of_the_images(tmp_path, data):
    betas, _, targets, *_ = data
    stages.make_ridge(tmp_path, betas, targets["train"], VALIDATION)
    fit, held = stages.validation_rows(N, VALIDATION)
    parts = [part["train"][chosen] for chosen in (fit, held) for part in (betas, targets)]
    expected = np.empty((N, TOKENS, WIDTH), np.float32)
    expected[fit], expected[held] = cross_fitted(*parts), fit_ridge(*parts).predict(parts[2])
    np.testing.assert_array_equal(np.load(tmp_path / "train.npy"), expected)
