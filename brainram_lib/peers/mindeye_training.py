"""Training of MindEye's high-level pipeline, end to end (section 2.1): contrast on the projector, and the prior's loss.

The first third of the epochs compares mixed betas (BiMixCo), the rest soft targets (SoftCLIP). The prior learns from
the backbone's tokens of the same betas, mixed ones too, with the unmixed target, as in the released code. Each epoch
shows every image once, through one of its single trials where there are any.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from brainram_lib.core.checkpoints import Row
from brainram_lib.core.devices import accelerator, seeded
from brainram_lib.core.loop import ONE_CYCLE, Plan, train
from brainram_lib.core.parallel import sharded
from brainram_lib.peers.losses import bimixco, soft_clip, unit
from brainram_lib.peers.mindeye import CHUNK, MindEye
from brainram_lib.peers.pairs import Pairs
from brainram_lib.peers.settings import MindEyeSettings


def mixed_epochs(settings: MindEyeSettings) -> int:
    """How many epochs have BiMixCo."""
    return int(settings.mixed_share * settings.epochs)


def soft_temperature(settings: MindEyeSettings, epoch: int) -> float:
    """SoftCLIP's temperature: from `soft_from` to `soft_to` along half a cosine over the epochs that have it."""
    first = mixed_epochs(settings)
    done = (epoch - first) / max(settings.epochs - first - 1, 1)
    return settings.soft_to + (settings.soft_from - settings.soft_to) * (1 + math.cos(math.pi * done)) / 2


def mixed_betas(
    betas: Float[Tensor, "batch voxels"], settings: MindEyeSettings, random: torch.Generator
) -> tuple[Float[Tensor, "batch voxels"], Int64[Tensor, " batch"], Float[Tensor, " batch"]]:
    """lambda_i S_i + (1 - lambda_i) S_k, k and lambda. Rows that are not mixed have lambda = 1."""
    partner = torch.randperm(len(betas), generator=random)
    with seeded(int(torch.randint(2**31, (1,), generator=random))):
        share = torch.distributions.Beta(settings.mix_alpha, settings.mix_alpha).sample((len(betas),))
    plain = torch.rand(len(betas), generator=random) >= settings.mixed_rows
    share = torch.where(plain, torch.ones_like(share), share).to(betas.device)
    partner = partner.to(betas.device)
    return share[:, None] * betas + (1 - share)[:, None] * betas[partner], partner, share


def mindeye_loss(
    model: MindEye, betas: Tensor, targets: Float[Tensor, "batch tokens width"], random: torch.Generator
) -> tuple[Float[Tensor, ""], Row]:
    """Contrast + 30 times the prior's squared error, at the epoch that the model is in."""
    settings, epoch = model.settings, int(model.epoch)
    mixing = epoch < mixed_epochs(settings)
    if mixing:
        betas, partner, share = mixed_betas(betas, settings, random)
    condition = sharded(model.condition, betas)
    found, wanted = unit(model.projector(condition)), unit(targets)
    if mixing:
        contrast = bimixco(found, wanted, partner, share, settings.temperature)
    else:
        contrast = soft_clip(found, wanted, soft_temperature(settings, epoch))
    error = prior_error(model, condition, targets, random)
    loss = contrast + settings.prior_weight * error
    return loss, {"loss": loss.item(), "contrast": contrast.item(), "prior": error.item()}


def prior_error(
    model: MindEye,
    condition: Float[Tensor, "batch tokens width"],
    targets: Float[Tensor, "batch tokens width"],
    random: torch.Generator,
) -> Float[Tensor, ""]:
    """Mean squared error of x_0 at drawn times; the condition is dropped for a share of the rows."""
    x0, count = targets * model.scale, len(targets)
    time = torch.randint(model.settings.times, (count,), generator=random)
    noise = torch.randn(x0.shape, generator=random)
    dropped = torch.rand(count, generator=random) < model.settings.condition_dropout
    time, noise, dropped = (one.to(x0.device) for one in (time, noise, dropped))
    estimate = sharded(model.prior, model.noised(x0, time, noise), time, condition, dropped)
    return (estimate - x0).square().mean()


class MindEyeTask:
    """The training of MindEye, for `core.loop.train`."""

    def __init__(self, model: MindEye, training: Pairs, validation: Pairs) -> None:
        self.model, self.training, self.validation = model, training, validation
        self.steps = len(training.batches(model.settings.batch, torch.Generator()))

    def batches(self, random: torch.Generator) -> list[Tensor]:
        """Full batches of images."""
        return self.training.batches(self.model.settings.batch, random)

    def loss(self, batch: Tensor, random: torch.Generator) -> tuple[Float[Tensor, ""], Row]:
        """See `mindeye_loss`."""
        return mindeye_loss(self.model, *self.training.of(batch, self.model.device, random), random)

    @torch.no_grad()
    def validate(self, epoch: int, last: bool) -> Row:
        """How often the projected tokens find their image among the validation images; and the prior's error."""
        self.model.epoch.fill_(epoch + 1)
        betas, targets = self.validation.every(self.model.device)
        condition = self.model.condition(betas)
        similarity = unit(self.model.projector(condition)) @ unit(targets).T
        own = torch.arange(len(similarity), device=similarity.device)
        random = torch.Generator().manual_seed(0)
        parts = zip(condition.split(CHUNK), targets.split(CHUNK), strict=True)
        error = sum(len(one) * prior_error(self.model, one, goal, random).item() for one, goal in parts) / len(own)
        return {"val_top1": (similarity.argmax(1) == own).float().mean().item(), "val_prior": error}

    def said(self, row: Row) -> str:
        """Losses and top-1."""
        return f"contrast {row['contrast']:.2f}, prior {row['prior']:.3f}, validation top-1 {row['val_top1']:.2f}"


def train_mindeye(
    settings: MindEyeSettings, training: Pairs, validation: Pairs, folder: Path, seed: int
) -> tuple[MindEye, list[Row]]:
    """Train on a GPU where there is one; the model in evaluation mode, and one row of losses per epoch."""
    with seeded(seed):
        model = MindEye(settings, training.betas.shape[1], *training.targets.shape[1:])
    task = MindEyeTask(model.to(accelerator()), training, validation)
    plan = Plan(
        *(settings.epochs, task.steps, settings.rate, settings.weight_decay),
        schedule=ONE_CYCLE,
        precision=settings.precision,
    )
    return model, train(task, plan, folder, seed, "MindEye")
