"""The losses, the projector, the diffusion prior and its training."""

from dataclasses import replace

import pytest
import torch

from brainram_lib.core.loop import one_cycle
from brainram_lib.stage1.losses import flat_unit, info_nce, mixco
from brainram_lib.stage1.network import TokenUNet
from brainram_lib.stage1.prior import Prior
from brainram_lib.stage1.process import Cosine
from brainram_lib.stage1.projector import Projector
from brainram_lib.stage1.settings import NetworkSettings, ProjectorSettings, Stage1Settings
from brainram_lib.stage1.training import Examples, stage1_loss, train_prior

N, VOXELS, TOKENS, WIDTH = 22, 13, 5, 6
PROJECTOR = ProjectorSettings(hidden=9, width=7, blocks=1, dropout=0.1, voxel_dropout=0.1)
SETTINGS = Stage1Settings(
    projector=PROJECTOR,
    network=NetworkSettings(width=8, depth=1, heads=2),
    epochs=3,
    batch=8,
    temperature=0.1,
    diffusion_steps=10,
    validation_steps=4,
)
LINEAR = replace(SETTINGS, projector=replace(PROJECTOR, linear_path=True))
PLUS = replace(
    LINEAR,
    network=NetworkSettings(width=8, depth=1, heads=2, kind="transformer"),
    units="whitened",
    process="residual",
    contrast="head",
)


def examples(linear=False, n=N):
    torch.manual_seed(1)
    betas = torch.randn(n, VOXELS)
    targets = (betas @ torch.randn(VOXELS, TOKENS * WIDTH) / 4 + 2).unflatten(1, (TOKENS, WIDTH))
    return Examples(betas, targets + 0.1 if linear else None, targets)


def test_info_nce_is_the_printed_equation():
    p, c = flat_unit(torch.randn(4, 2, 3)), flat_unit(torch.randn(4, 2, 3))
    total = 0.0
    for i in range(4):
        scores = torch.stack([p[i] @ c[j] / 0.2 for j in range(4)])
        total -= torch.log(scores[i].exp() / scores.exp().sum()) / 4
    torch.testing.assert_close(info_nce(p, c, 0.2), total)


def test_mixco_of_unmixed_betas_is_info_nce():
    p, c = flat_unit(torch.randn(4, 2, 3)), flat_unit(torch.randn(4, 2, 3))
    partner = torch.tensor([1, 2, 3, 0])
    torch.testing.assert_close(mixco(p, c, partner, torch.ones(4), 0.2), info_nce(p, c, 0.2))
    swapped = mixco(p, c, partner, torch.zeros(4), 0.2)
    torch.testing.assert_close(swapped, info_nce(p[torch.tensor([3, 0, 1, 2])], c, 0.2))


def test_the_rate_rises_and_falls_once():
    rates = [one_cycle(step, 100, 1.0) for step in range(101)]
    assert rates[0] == pytest.approx(1 / 25) and max(rates) == rates[30] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0.0, abs=1e-9)
    assert all(later > earlier for earlier, later in zip(rates[:30], rates[1:31], strict=True))


def test_a_linear_path_is_the_condition_at_the_start():
    projector = Projector(LINEAR.projector, VOXELS, TOKENS, WIDTH).eval()
    betas, linear = torch.randn(3, VOXELS), torch.randn(3, TOKENS, WIDTH)
    torch.testing.assert_close(projector(betas, linear), linear)


@pytest.mark.parametrize(("path", "linear"), [(True, None), (False, torch.zeros(3, TOKENS, WIDTH))])
def test_a_missing_or_spare_linear_estimate_is_refused(path, linear):
    projector = Projector(replace(PROJECTOR, linear_path=path), VOXELS, TOKENS, WIDTH)
    with pytest.raises(ValueError, match="linear_path"):
        projector(torch.zeros(3, VOXELS), linear)


def test_an_unknown_backbone_is_named():
    with pytest.raises(ValueError, match="'backbone' of ProjectorSettings must be text, one of mamba, mlp. 'lstm' was"):
        Projector(replace(PROJECTOR, backbone="lstm"), VOXELS, TOKENS, WIDTH)


def test_the_forward_process_is_equation_one():
    process = Cosine(10)
    x0, noise, t = torch.randn(2, TOKENS, WIDTH), torch.randn(2, TOKENS, WIDTH), torch.tensor([0, 7])
    a = process.schedule.alphas_cumprod[t][:, None, None]
    expected = a.sqrt() * x0 + (1 - a).sqrt() * noise
    torch.testing.assert_close(process.noised(x0, t.float(), noise, torch.zeros_like(x0)), expected)


def test_the_printed_network_hears_the_condition_through_cross_attention_alone():
    network = TokenUNet(SETTINGS.network, TOKENS, WIDTH)
    x, t = torch.randn(2, TOKENS, WIDTH), torch.tensor([3.0, 8.0])
    for block in (*network.down, network.middle, *network.up):
        torch.nn.init.zeros_(block.cross_attention.out.weight)
    first, second = (network(x, t, torch.randn(2, TOKENS, WIDTH)) for _ in range(2))
    torch.testing.assert_close(first, second)


def test_the_printed_losses_compare_whole_batches():
    prior, rows = Prior(SETTINGS, VOXELS, TOKENS, WIDTH), examples(n=8)
    seen = {}

    def counted(estimates, targets, *rest):
        seen[len(rest)] = (len(estimates), len(targets))
        return estimates.sum() * 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("brainram_lib.stage1.training.info_nce", counted)
        patch.setattr("brainram_lib.stage1.training.mixco", counted)
        stage1_loss(prior, rows, torch.Generator().manual_seed(0))
    assert seen == {1: (8, 8), 3: (8, 8)}


def test_samples_differ_between_seeds_and_repeat_with_the_same():
    prior, rows = Prior(SETTINGS, VOXELS, TOKENS, WIDTH).eval(), examples()
    torch.nn.init.normal_(prior.network.leave.weight)
    first, again, other = (prior.sample(rows.betas, None, seed, 4) for seed in (3, 3, 4))
    torch.testing.assert_close(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("settings", [SETTINGS, LINEAR, PLUS])
def test_every_weight_learns(settings):
    prior = Prior(settings, VOXELS, TOKENS, WIDTH)
    rows = examples(settings.projector.linear_path)
    optimizer = torch.optim.SGD(prior.parameters(), lr=0.1)
    for step in range(4):  # the zero-initialised layers pass gradients on from their second step
        optimizer.zero_grad()
        stage1_loss(prior, rows, torch.Generator().manual_seed(step))[0].backward()
        optimizer.step()
    still = [name for name, weight in prior.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not still


def test_training_lowers_the_loss_and_an_interrupted_one_ends_bit_identical(tmp_path, monkeypatch):
    rows, held = examples(), examples(n=7)
    settings = replace(SETTINGS, epochs=20, peak_rate=3e-3, validation_steps=1)
    whole, history = train_prior(settings, rows, held, tmp_path / "whole", 5, "whole")
    assert len(history) == 20 and history[-1]["mse"] < 0.9 * history[0]["mse"]

    from brainram_lib.core import loop
    from brainram_lib.stage1 import training

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)

    real, calls = training.validation_row, []

    def stops(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(training, "validation_row", stops)
    with pytest.raises(KeyboardInterrupt):
        train_prior(settings, rows, held, tmp_path / "cut", 5, "cut")
    monkeypatch.setattr(training, "validation_row", real)
    resumed, again = train_prior(settings, rows, held, tmp_path / "cut", 5, "cut")
    assert again == history
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


def test_nan_betas_stop_the_training_with_a_sentence(tmp_path):
    rows = examples()
    rows.betas[2, 3] = float("nan")
    with pytest.raises(ValueError, match="inputs or targets hold NaN"):
        train_prior(SETTINGS, rows, examples(n=7), tmp_path, 0, "nan")


def test_a_resumed_training_samples_after_the_same_epochs(tmp_path, monkeypatch):
    from brainram_lib.core import loop

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    settings, rows, held = replace(SETTINGS, epochs=21, validation_steps=1), examples(), examples(n=7)
    _, history = train_prior(settings, rows, held, tmp_path / "whole", 5, "whole")
    real = loop.save_checkpoint

    def stops(path, model, optimizer, progress):
        real(path, model, optimizer, progress)
        if progress.epoch == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_checkpoint", stops)
    with pytest.raises(KeyboardInterrupt):
        train_prior(settings, rows, held, tmp_path / "cut", 5, "cut")
    assert train_prior(settings, rows, held, tmp_path / "cut", 5, "cut")[1] == history
    assert [epoch for epoch, row in enumerate(history) if "val_sample_mse" in row] == [*range(1, 20, 2), 20]
