"""Integrated gradients: against the definition, completeness, decoders of known reach, the ridge path, bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from brainram_lib.attribution.decoders import PriorDecoder, RidgeDecoder
from brainram_lib.attribution.gradients import integrated_gradients, integrated_gradients_reference
from brainram_lib.attribution.scores import NeighbourSimilarity, TokenAgreement, global_token
from brainram_lib.core.ridge import Ridge
from brainram_lib.stage1.prior import Prior
from brainram_lib.stage1.settings import NetworkSettings, ProjectorSettings, Stage1Settings

N, VOXELS, TOKENS, WIDTH = 7, 13, 5, 6
SETTINGS = Stage1Settings(
    projector=ProjectorSettings(hidden=9, width=7, blocks=1, dropout=0.4, voxel_dropout=0.4, linear_path=True),
    network=NetworkSettings(width=8, depth=1, heads=2, kind="transformer"),
    epochs=1,
    batch=8,
    process="residual",
)
PLAIN = replace(
    SETTINGS, process="cosine", diffusion_steps=10, projector=replace(SETTINGS.projector, linear_path=False)
)


@pytest.fixture(scope="module")
def betas():
    return torch.randn(N, VOXELS, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def baseline(betas):
    return betas.mean(0)


def ridge(reads=slice(None)):
    """A ridge that reads some voxels only."""
    rng = np.random.default_rng(1)
    maps = np.zeros((TOKENS, VOXELS, WIDTH), np.float32)
    maps[:, reads] = rng.standard_normal(maps[:, reads].shape)
    means = rng.standard_normal(VOXELS), rng.standard_normal((TOKENS, WIDTH))
    return Ridge(np.eye(VOXELS, dtype=np.float32), maps, *means, np.ones(TOKENS), np.ones(TOKENS))


def prior(settings=SETTINGS, trained=True):
    """A prior; 'trained' gives every weight a value, since untrained gates and last layers are zero."""
    torch.manual_seed(2)
    made = Prior(settings, VOXELS, TOKENS, WIDTH)
    made.whitening.fit(torch.randn(11, TOKENS, WIDTH))
    for weight in made.parameters() if trained else ():
        torch.nn.init.normal_(weight, std=0.3)
    return made


def agreement(token=None):
    random = torch.Generator().manual_seed(3)
    return TokenAgreement.of(torch.randn(N, TOKENS, WIDTH, generator=random), torch.zeros(TOKENS, WIDTH), token)


def similarity():
    return NeighbourSimilarity(torch.randn(N, WIDTH, generator=torch.Generator().manual_seed(4)), global_token)


@pytest.mark.parametrize("score", [agreement(), agreement(2), similarity()], ids=["all", "token", "neighbour"])
def test_a_prior_against_the_definition(betas, baseline, score):
    decoder, few = PriorDecoder(prior(), ridge()), 2
    found = integrated_gradients(decoder, score, betas, baseline, steps=24, batch=3)
    first = replace(score, **{name: rows[:few] for name, rows in vars(score).items() if isinstance(rows, torch.Tensor)})
    plain = integrated_gradients_reference(decoder, first, betas[:few], baseline, steps=100)
    assert found.values.shape == (N, VOXELS) and np.abs(plain.values).max() > 0.05
    np.testing.assert_allclose(found.values[:few], plain.values, atol=0.02 * np.abs(plain.values).max())
    np.testing.assert_allclose(found.gained[:few], plain.gained, atol=1e-5)


def test_the_credit_adds_up_to_what_was_gained(betas, baseline):
    found = integrated_gradients(PriorDecoder(prior(), ridge()), agreement(), betas, baseline, steps=24)
    np.testing.assert_allclose(found.values.sum(1), found.gained, atol=0.02 * np.abs(found.gained).max())
    assert found.shortfall < 0.02
    with pytest.raises(ValueError, match=r"miss what the score gained by .* more than 2 'steps'"):
        integrated_gradients(PriorDecoder(prior(), ridge()), similarity(), betas, baseline, steps=2, tolerance=1e-6)


def test_a_linear_decoder_gets_its_weights_times_the_betas(betas, baseline):
    made, score = ridge(), agreement(3)
    found = integrated_gradients(RidgeDecoder(made), score, betas, baseline, steps=2)
    weights = np.einsum("vd,nd->nv", made.weights[3], score.directions[:, 3].numpy())
    np.testing.assert_allclose(found.values, (betas - baseline).numpy() * weights, atol=1e-5)
    np.testing.assert_allclose(found.strength, np.abs(found.values).mean(0))
    np.testing.assert_allclose(found.contribution.sum(), found.gained.mean(), atol=1e-5)


def test_the_ridge_decoder_is_the_ridge(betas):
    np.testing.assert_allclose(RidgeDecoder(ridge())(betas).numpy(), ridge().predict(betas.numpy()), atol=1e-5)


def test_the_prior_decoder_is_the_mean_of_the_samples(betas):
    made, line = prior(), torch.from_numpy(ridge().predict(betas.numpy()))
    torch.testing.assert_close(PriorDecoder(made, ridge())(betas), made.predict(betas, line))


def test_a_voxel_that_no_other_path_reads_counts_through_the_ridge(betas, baseline):
    untrained = integrated_gradients(PriorDecoder(prior(trained=False), ridge()), agreement(), betas, baseline)
    line = integrated_gradients(RidgeDecoder(ridge()), agreement(), betas, baseline)
    np.testing.assert_allclose(untrained.values, line.values, atol=1e-4)
    deaf = prior()
    deaf.projector.compress[1].weight.data[:, 4:] = 0
    heard = integrated_gradients(PriorDecoder(deaf, ridge(slice(8))), agreement(), betas, baseline, steps=24).strength
    assert (heard[:8] > 1e-3).all() and (heard[8:] == 0).all()


def test_a_decoder_of_one_region_has_no_credit_for_another(betas, baseline):
    found = integrated_gradients(RidgeDecoder(ridge([2, 5, 11])), agreement(), betas, baseline)
    assert np.flatnonzero(found.strength).tolist() == [2, 5, 11]


def test_all_tokens_are_the_mean_of_each(betas, baseline):
    decoder = PriorDecoder(prior(PLAIN), None)
    each = [integrated_gradients(decoder, agreement(token), betas, baseline, steps=24) for token in range(TOKENS)]
    whole = integrated_gradients(decoder, agreement(), betas, baseline, steps=24)
    np.testing.assert_allclose(whole.values, np.mean([one.values for one in each], 0), atol=1e-5)


def test_a_neighbour_is_found_through_token_0(betas, baseline):
    made = ridge()
    made.maps[0, 6:] = 0
    made.maps[1:, :6] = 0
    found = integrated_gradients(RidgeDecoder(made), similarity(), betas, baseline)
    assert (found.strength[:6] > 0).all() and (found.strength[6:] == 0).all()


def test_the_order_of_images_and_the_batch_do_not_matter(betas, baseline):
    decoder, score = PriorDecoder(prior(), ridge()), agreement()
    found = integrated_gradients(decoder, score, betas, baseline, steps=24, batch=2)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(9))
    other = integrated_gradients(
        decoder, TokenAgreement(score.directions[order]), betas[order], baseline, steps=24, batch=N
    )
    np.testing.assert_allclose(other.values, found.values[order], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baseline": torch.zeros(VOXELS + 1)}, "'baseline' must be one pattern of 13 voxels"),
        ({"betas": torch.zeros(N - 1, VOXELS)}, "'score' is of 7 images and 'betas' of 6"),
        ({"betas": torch.full((N, VOXELS), torch.nan)}, "'betas' holds NaN"),
        ({"baseline": torch.full((VOXELS,), torch.inf)}, "'baseline' holds NaN or infinite"),
        ({"steps": 1}, "'steps' must be 2 or more. 1 was provided"),
        ({"batch": 0}, "'batch' must be 1 or more. 0 was provided"),
        ({"decoder": lambda betas: betas[:, :, None].sum(1)}, r"must give tokens \(7, tokens, width\)"),
        ({"decoder": lambda betas: betas[:, :TOKENS, None].expand(-1, -1, WIDTH) / 0}, "one finite number an image"),
        ({"decoder": lambda betas: betas[:, :TOKENS, None].expand(-1, -1, WIDTH).detach()}, "has no gradient"),
    ],
)
def test_what_cannot_be_is_named(betas, baseline, change, message):
    given = {"decoder": RidgeDecoder(ridge()), "score": agreement(), "betas": betas, "baseline": baseline}
    with pytest.raises(ValueError, match=message):
        integrated_gradients(**(given | change))


def test_decoders_and_scores_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="linear_path=True, and a ridge is missing"):
        PriorDecoder(prior(), None)
    with pytest.raises(ValueError, match="linear_path=False, and a ridge was handed in"):
        PriorDecoder(prior(PLAIN), ridge())
    with pytest.raises(ValueError, match="'token' must be 0 to 4, or None for all. 5 was provided"):
        agreement(5)
