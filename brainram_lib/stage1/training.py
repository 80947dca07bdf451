"""Training of one prior (paper, section 3.2 and 4.2): projector and network together, eq. 6."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from brainram_lib.core.checkpoints import Row
from brainram_lib.core.devices import accelerator, seeded
from brainram_lib.core.loop import ONE_CYCLE, Plan, train
from brainram_lib.core.parallel import sharded
from brainram_lib.core.rows import Rows
from brainram_lib.stage1.losses import flat_unit, info_nce, mixco
from brainram_lib.stage1.prior import Prior
from brainram_lib.stage1.settings import Stage1Settings


@dataclass(frozen=True)
class Examples:
    """Betas with their ridge estimates (None without a linear path) and the tokens to predict, row by row.

    Each is a tensor, or rows that are read when a batch wants them.
    """

    betas: Float[Tensor, "n voxels"] | Rows
    linear: Float[Tensor, "n tokens width"] | Rows | None
    targets: Float[Tensor, "n tokens width"] | Rows

    def __len__(self) -> int:
        return len(self.betas)

    def on(self, device: torch.device, rows: Tensor | slice = slice(None)) -> Examples:
        """Some of the examples as tensors on a device."""
        parts = (self.betas, self.linear, self.targets)
        return Examples(*(None if part is None else part[rows].to(device) for part in parts))


def stage1_loss(prior: Prior, batch: Examples, random: torch.Generator) -> tuple[Float[Tensor, ""], Row]:
    """Eq. 6: gamma InfoNCE + (1 - gamma) MSE + beta MixCo. Returns the loss and its parts.

    The squared error is taken at every diffusion time. The contrastive terms are taken of estimates from pure noise,
    where the betas alone speak: at other times x_t shows the target, and a contrastive term would only push the
    prediction beyond it, which sampling then adds up. Half of those estimates are of betas as they are (eq. 3), half
    of mixed betas (eq. 5).

    The batch lies where the prior is; `random` is the CPU's.
    """
    settings = prior.settings
    x0 = prior.whitening(batch.targets)
    plain = len(x0) // 2
    t, noise, partner, share, blind_noise = (drawn.to(x0.device) for drawn in _draws(settings, x0.shape, plain, random))
    mixed = _mixed(Examples(batch.betas, batch.linear, x0), partner, share)
    last = torch.full_like(t, settings.diffusion_steps - 1)
    seen = ((one.betas, one.linear) for one in (batch, mixed))
    condition = torch.cat([sharded(prior.condition, *inputs) for inputs in seen])
    noisy = torch.cat([prior.noised(x0, t, noise), blind_noise])
    estimates = sharded(prior.network, noisy, torch.cat([t, last]), condition)
    goal, blind, target = torch.cat([x0, mixed.targets]), flat_unit(estimates[len(x0) :]), flat_unit(x0)
    parts = {
        "info_nce": info_nce(blind[:plain], target, settings.temperature),
        "mse": weighted_mse(estimates, goal, settings.global_token_weight),
        "mixco": mixco(blind, target, partner, share, settings.temperature, slice(plain, None)),
    }
    loss = settings.gamma * parts["info_nce"] + (1 - settings.gamma) * parts["mse"] + settings.beta * parts["mixco"]
    return loss, {"loss": loss.item()} | {name: part.item() for name, part in parts.items()}


def weighted_mse(
    estimate: Float[Tensor, "batch tokens width"], target: Float[Tensor, "batch tokens width"], global_weight: float
) -> Float[Tensor, ""]:
    """Mean squared error in which token 0, the global embedding, counts `global_weight` times."""
    per_token = (estimate - target).square().mean((0, 2))
    weight = torch.ones_like(per_token)
    weight[0] = global_weight
    return (per_token * weight).sum() / weight.sum()


def _draws(settings: Stage1Settings, shape: torch.Size, plain: int, random: torch.Generator) -> tuple[Tensor, ...]:
    """All that is random in one step: times, noise, MixCo's partners and shares, and the noise of blind estimates.

    The first `plain` rows are not mixed.
    """
    count = shape[0]
    t = torch.randint(settings.diffusion_steps, (count,), generator=random)
    noise = torch.randn(shape, generator=random)
    partner = torch.randperm(count, generator=random)
    share = _beta_draws(settings.mixco_alpha, count, random)
    share[:plain] = 1
    return t, noise, partner, share, torch.randn(shape, generator=random)


def _beta_draws(alpha: float, count: int, random: torch.Generator) -> Float[Tensor, " count"]:
    with seeded(int(torch.randint(2**31, (1,), generator=random))):
        return torch.distributions.Beta(alpha, alpha).sample((count,))


def _mixed(batch: Examples, partner: Tensor, share: Tensor) -> Examples:
    """Eq. 4 for betas; the ridge estimate is linear in the betas and mixes with them, and so do the targets."""

    def mix(rows: Tensor) -> Tensor:
        weight = share.view(-1, *[1] * (rows.ndim - 1))
        return weight * rows + (1 - weight) * rows[partner]

    return Examples(mix(batch.betas), None if batch.linear is None else mix(batch.linear), mix(batch.targets))


@torch.no_grad()
def validation_row(prior: Prior, examples: Examples, sampled: bool) -> Row:
    """How the posterior mean and, with `sampled`, one sample do on validation images: mse (whitened) and top-1."""
    every = examples.on(prior.device)
    target = prior.whitening(every.targets)
    mean = prior.whitening(prior.predict(every.betas, every.linear))
    row = {"val_mse": (mean - target).square().mean().item(), "val_top1": _top1(mean, target)}
    if sampled:
        drawn = prior.sample(every.betas, every.linear, seed=0, steps=prior.settings.validation_steps)
        sample = prior.whitening(drawn)
        row |= {"val_sample_mse": (sample - target).square().mean().item(), "val_sample_top1": _top1(sample, target)}
    return row


def _top1(estimates: Tensor, targets: Tensor) -> float:
    similarity = flat_unit(estimates) @ flat_unit(targets).T
    own = torch.arange(len(similarity), device=similarity.device)
    return (similarity.argmax(1) == own).float().mean().item()


class PriorTask:
    """The training of one prior, for `core.loop.train`: batches of training images, eq. 6, what the history says."""

    def __init__(self, prior: Prior, training: Examples, validation: Examples) -> None:
        self.model, self.training, self.validation = prior, training, validation
        settings = prior.settings
        self.steps = len(training) // settings.batch
        # sampling 300 images is as long as many steps: some ten times in a training are enough
        self._every = max(1, settings.epochs // 10)
        if not self.steps:
            raise ValueError(
                f"'stage1.batch' must be at most the {len(training)} training images. {settings.batch} was provided."
            )

    def batches(self, random: torch.Generator) -> list[Tensor]:
        """Whole batches of rows in a new order; the rest of an epoch is left out."""
        order = torch.randperm(len(self.training), generator=random)
        return list(order.split(self.model.settings.batch))[: self.steps]

    def loss(self, batch: Tensor, random: torch.Generator) -> tuple[Float[Tensor, ""], Row]:
        """Eq. 6."""
        return stage1_loss(self.model, self.training.on(self.model.device, batch), random)

    def validate(self, epoch: int, last: bool) -> Row:
        """Of the posterior mean after every epoch, of a sample after some and the last."""
        return validation_row(self.model, self.validation, last or (epoch + 1) % self._every == 0)

    def said(self, row: Row) -> str:
        """Loss and top-1."""
        return f"loss {row['loss']:.3f}, validation top-1 {row['val_top1']:.2f}"


def train_prior(
    settings: Stage1Settings, training: Examples, validation: Examples, folder: Path, seed: int, label: str
) -> tuple[Prior, list[Row]]:
    """Train one prior, on a GPU where there is one.

    Returns:
        The prior in evaluation mode, where it was trained, and the history: one row of losses an epoch.
    """
    with seeded(seed):
        prior = Prior(settings, training.betas.shape[1], *training.targets.shape[1:])
    prior.to(accelerator())
    prior.whitening.fit(training.targets, settings.whitening_floor)
    task = PriorTask(prior, training, validation)
    plan = Plan(
        settings.epochs,
        task.steps,
        settings.peak_rate,
        settings.weight_decay,
        schedule=ONE_CYCLE,
        clip=1.0,
        accumulate=settings.accumulate,
        precision=settings.precision,
    )
    history = train(task, plan, folder, seed, label)
    return prior.eval(), history
