"""Rows of the corpus with simulated conditions, and what is said of a prior whose posterior is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from brainram_lib.stage1.calibration import errors_by_level, sample_report
from brainram_lib.stage1.free import PENALTY, FreeRows, residual_square
from brainram_lib.stage1.prior import Prior
from brainram_lib.stage1.settings import NetworkSettings, ProjectorSettings, Stage1Settings
from brainram_lib.stage1.training import Examples, begin_with, prepare, train_prior
from brainram_lib.view.denoising import denoising_figure, denoising_said, samples_said

N, VOXELS, TOKENS, WIDTH = 60, 7, 3, 4
SETTINGS = Stage1Settings(
    projector=ProjectorSettings(hidden=5, width=6, blocks=1, dropout=0.0, voxel_dropout=0.0, linear_path=True),
    network=NetworkSettings(width=8, depth=1, heads=2, kind="transformer"),
    epochs=2,
    batch=8,
    units="whitened",
    process="residual",
    contrast="head",
    free_share=0.5,
)


def data(n=N, seed=0):
    """Targets, and linear estimates that shrink them and miss."""
    random = torch.Generator().manual_seed(seed)
    targets = torch.randn(n, TOKENS, WIDTH, generator=random)
    linear = 0.4 * targets + 0.3 * torch.randn(n, TOKENS, WIDTH, generator=random)
    return targets, linear


def inside(tokens):
    return 2 * tokens.float()


def apart(one, other):
    """Distances of every pair, from differences: by products, equal ones come out up to 0.01 apart."""
    return torch.cdist(one.flatten(1), other.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")


def test_a_free_rows_condition_is_its_own_map_and_anothers_error():
    targets, linear = data()
    items = torch.randn(5, TOKENS, WIDTH, generator=torch.Generator().manual_seed(2)).half()
    free = FreeRows(items, linear, targets, inside)
    for token in range(TOKENS):
        x, y = (inside(one)[:, token].double() for one in (targets, linear))
        expected = torch.linalg.solve(x.T @ x + PENALTY * torch.eye(WIDTH), x.T @ y)
        torch.testing.assert_close(free.map[token], expected.float())
    x0, condition = free.draw(400, torch.Generator().manual_seed(1))
    misses = inside(linear) - torch.einsum("ntd,tde->nte", inside(targets), free.map)
    left = condition - torch.einsum("ntd,tde->nte", x0, free.map)
    distance = apart(left, misses).min(1)
    assert distance.values.max() < 5e-3 and len(distance.indices.unique()) > 40
    assert apart(x0, inside(items)).min(1).values.max() < 5e-3


def test_the_residuals_square_is_measured_feature_by_feature():
    targets, linear = data(300)
    expected = (inside(targets) - inside(linear)).square().mean(0)
    torch.testing.assert_close(residual_square(linear, targets, inside), expected)


def known_prior():
    """A prior that knows nothing but the spread of what its condition misses: exact for Gaussian residuals."""
    prior = Prior(replace(SETTINGS, contrast="nothing"), VOXELS, TOKENS, WIDTH).eval()
    prior.process.fit(torch.full((TOKENS, WIDTH), 0.25))
    return prior


def test_a_gaussian_posterior_is_found_calibrated():
    prior, random = known_prior(), torch.Generator().manual_seed(2)
    condition = torch.randn(500, TOKENS, WIDTH, generator=random)
    x0 = condition + 0.5 * torch.randn(condition.shape, generator=random)
    report = sample_report(prior, condition, x0, samples=6, steps=24)
    assert report.mean == pytest.approx(0.25, rel=0.05) and report.between == pytest.approx(0.25, rel=0.15)
    assert report.one == pytest.approx(0.5, rel=0.1) and report.of_mean == pytest.approx(0.25 * 7 / 6, rel=0.1)
    assert report.energy < report.energy_of_mean
    assert "times the error of the mean of all" in samples_said("image", report)


def test_errors_fall_between_what_x_and_the_condition_allow():
    prior, random = known_prior(), torch.Generator().manual_seed(2)
    condition = torch.randn(300, TOKENS, WIDTH, generator=random)
    x0 = condition + 0.5 * torch.randn(condition.shape, generator=random)
    rows = errors_by_level(prior, condition, x0)
    for row in rows:
        assert row.prior == pytest.approx(0.25 * row.noise**2 / (0.25 + row.noise**2), rel=0.1)
        assert row.prior <= 1.05 * min(row.scaled, row.condition)
    assert np.all(np.diff([row.prior for row in rows]) > 0)
    assert len(denoising_figure({"image": rows, "text": rows}, "title").axes) == 2
    assert "times that of the condition alone" in denoising_said("image", rows)


def test_a_prior_trains_on_free_rows_and_goes_on_from_a_start(tmp_path):
    targets, linear = data()
    rows = Examples(torch.randn(N, VOXELS), linear, targets)
    items = data(20, 5)[0].half()
    prior, history = train_prior(SETTINGS, rows, rows, tmp_path / "first", 0, "first", items)
    assert len(history) == 2
    prior.save(tmp_path / "start.safetensors")
    again = Prior(SETTINGS, VOXELS, TOKENS, WIDTH)
    prepare(again, rows, tmp_path / "start.safetensors")
    assert torch.equal(again.whitening.matrix, prior.whitening.matrix)
    assert torch.equal(again.network.enter.weight, prior.network.enter.weight)
    other = Prior(
        replace(SETTINGS, network=NetworkSettings(width=16, depth=1, heads=2, kind="transformer")), VOXELS, 3, 4
    )
    with pytest.raises(ValueError, match=r"(?s)does not fit this prior.*Change 'stage1.network'"):
        begin_with(other, tmp_path / "start.safetensors")


def test_the_residual_process_needs_linear_estimates():
    settings = replace(SETTINGS, projector=replace(SETTINGS.projector, linear_path=False))
    prior = Prior(settings, VOXELS, TOKENS, WIDTH)
    with pytest.raises(ValueError, match="needs 'stage1.projector.linear_path' = true"):
        prepare(prior, Examples(torch.randn(N, VOXELS), None, data()[0]), None)
