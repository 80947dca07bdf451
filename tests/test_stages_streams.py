"""What is read and written block by block holds what it would hold if everything lay in memory at once."""

import numpy as np
import pytest
import torch
from given_stages import SmallRun, given_images, given_targets, weights_of
from small_stages import PROFILE, SAMPLES, TOKENS, VALIDATION, WIDTH, N, small_data

from brainram_lib.core.modalities import MODALITIES
from brainram_lib.core.ridge import fit_ridge
from brainram_lib.core.rows import Rows
from brainram_lib.core.store import Store
from brainram_lib.core.whitening import TokenWhitening
from brainram_lib.pipeline import prior as prior_stages
from brainram_lib.pipeline.data import validation_rows
from brainram_lib.pipeline.prior import CrossFitted, RidgeFit
from brainram_lib.stage1.linear import cross_fitted
from brainram_lib.stage1.training import Examples, train_prior
from brainram_lib.stage2 import training as stage2_training
from brainram_lib.stage2.evidence import Evidence
from brainram_lib.stage2.fusions import FUSIONS
from brainram_lib.stage2.settings import EVIDENCE_FUSIONS
from brainram_lib.stage2.training import RamExamples, train_fusion


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def run():
    return SmallRun()


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


def test_whitening_is_fitted_on_rows_as_on_a_tensor(tmp_path):
    targets = small_data()[2]["train"]
    whole, read = (
        TokenWhitening(TOKENS, WIDTH).fit(tokens)
        for tokens in (torch.from_numpy(targets), Rows(on_disk(tmp_path, targets)))
    )
    assert torch.equal(whole.mean, read.mean) and torch.equal(whole.matrix, read.matrix)


def test_a_prior_trained_on_rows_is_the_one_trained_in_memory(tmp_path, store, run):
    read = weights_of(store, run.prior, "prior")
    fit, held = (
        Examples(*(torch.from_numpy(part["train"][chosen]) for part in (run.betas, run.linear, run.tokens)))
        for chosen in validation_rows(N, VALIDATION)
    )
    whole, history = train_prior(PROFILE.stage1, fit, held, tmp_path, 1, "whole")
    assert store.result(run.prior).json("history") == history
    for name, weight in whole.state_dict().items():
        assert torch.equal(read[name], weight), name


def test_estimates_are_the_samples_of_every_seed(monkeypatch, store):
    run = SmallRun(seed=2)
    monkeypatch.setattr(prior_stages, "SAMPLE_CHUNK", 4)
    prior = run.prior.load(store)
    for split, rows in run.betas.items():
        inputs = torch.from_numpy(rows).split(4), torch.from_numpy(run.linear[split]).split(4)
        samples = [
            torch.cat([prior.sample(*part, 2000 + seed + 4 * i, 3) for i, part in enumerate(zip(*inputs, strict=True))])
            for seed in range(SAMPLES)
        ]
        found = store.result(run.estimates).array(split)
        assert found.dtype == np.float16
        np.testing.assert_array_equal(found, torch.stack(samples, 1).half().numpy())


def evidence_by_hand(p, c):
    """The small run's two modalities are one."""
    whole = torch.nn.functional.cosine_similarity(p.flatten(1)[:, None], c.flatten(2), dim=-1)
    first = torch.nn.functional.cosine_similarity(p[:, None, 0], c[:, :, 0], dim=-1)
    return torch.stack([whole, whole, first], -1)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_refined_estimates_are_those_of_all_stimuli_at_once(monkeypatch, store, fusion):
    run = SmallRun(fusion=fusion)
    monkeypatch.setattr(stage2_training, "CHUNK", 4)
    result, whitening = store.result(run.refined), run.prior.load(store).whitening
    p = whitening(torch.from_numpy(np.array(store.result(run.estimates).array("test"))).float())
    neighbours = whitening(run.corpus.float())[torch.from_numpy(run.ids["test"])]
    with torch.no_grad():
        evidence = evidence_by_hand(p.flatten(0, 1), neighbours.flatten(0, 1))
        q, weights = run.fusion.load(store)(p.flatten(0, 1), neighbours.flatten(0, 1), evidence)
    refined = whitening.restored(p + q.unflatten(0, p.shape[:2]))
    np.testing.assert_allclose(result.array("test"), refined.numpy(), atol=2e-3, rtol=2e-3)
    assert (result.folder / "weights.npy").exists() == (weights is not None)
    if weights is not None:
        np.testing.assert_allclose(result.array("weights"), weights.unflatten(0, p.shape[:2]).numpy(), atol=1e-5)


@pytest.mark.parametrize("fusion", [name for name, kind in FUSIONS.items() if kind.trained])
def test_a_fusion_trained_on_rows_is_the_one_trained_in_memory(tmp_path, store, fusion):
    run = SmallRun(fusion=fusion)
    read = weights_of(store, run.fusion, "fusion")
    whitening = run.prior.load(store).whitening
    estimates = np.array(store.result(run.estimates).array("train"))
    p, target = (whitening(torch.from_numpy(part).float()) for part in (estimates, run.tokens["train"]))
    known = whitening(run.corpus.float())
    ids, evidence = torch.from_numpy(run.ids["train"]), None
    parts = []
    for chosen in map(torch.from_numpy, validation_rows(N, VALIDATION)):
        if fusion in EVIDENCE_FUSIONS:
            evidence = Evidence(*(dict.fromkeys(MODALITIES, one) for one in (p[chosen], known.__getitem__)))
        parts.append(RamExamples(p[chosen], ids[chosen], target[chosen], evidence))
    whole, _ = train_fusion(run.fusion.settings, *parts, lambda rows: known[rows], tmp_path, 1, "whole")
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(read[name], weight, atol=1e-5, rtol=1e-4, msg=name)


def test_neighbours_pooled_over_samples_reach_the_fusion(store):
    run = SmallRun(pooled=True)
    pooled = run.fusion.neighbours(store, "test").ids
    assert pooled.shape == (len(run.ids["test"]), SAMPLES, SAMPLES * run.ids["test"].shape[-1])
    assert store.result(run.refined).array("weights").shape[2] == pooled.shape[-1] + 1


def test_cross_fitted_ridges_keep_the_order_of_the_images(store):
    betas, _, tokens, *_ = small_data()
    ridge = RidgeFit(given_targets(given_images(betas), tokens), VALIDATION)
    fit, held = validation_rows(N, VALIDATION)
    parts = [part["train"][chosen] for chosen in (fit, held) for part in (betas, tokens)]
    expected, plain = np.empty((N, TOKENS, WIDTH), np.float32), fit_ridge(*parts)
    expected[fit], expected[held] = cross_fitted(*parts), plain.predict(parts[2])
    np.testing.assert_array_equal(store.result(CrossFitted(ridge)).array("train"), expected)
    np.testing.assert_array_equal(store.result(ridge).array("test"), plain.predict(betas["test"]))
