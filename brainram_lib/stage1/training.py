"""Training of one prior (paper, section 3.2 and 4.2): projector and network together, eq. 6."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from brainram_lib.core.checkpoints import Row
from brainram_lib.core.devices import accelerator, seeded
from brainram_lib.core.loop import ONE_CYCLE, Plan, train
from brainram_lib.core.parallel import sharded
from brainram_lib.core.ranks import found_own
from brainram_lib.core.rows import Rows
from brainram_lib.core.whitening import whitened_by
from brainram_lib.stage1.free import FreeRows, residual_square
from brainram_lib.stage1.losses import flat_unit, info_nce, mixco
from brainram_lib.stage1.prior import Prior
from brainram_lib.stage1.process import Residual
from brainram_lib.stage1.settings import NOTHING, WHITENED, Stage1Settings


@dataclass(frozen=True)
class Examples:
    """Betas with their ridge estimates (None without a linear path) and the tokens to predict, row by row.

    Each is a tensor, or rows that are read when a batch needs them.
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


def stage1_loss(
    prior: Prior, batch: Examples, random: torch.Generator, free: FreeRows | None = None
) -> tuple[Float[Tensor, ""], Row]:
    """Eq. 6: gamma InfoNCE + (1 - gamma) MSE + beta MixCo. Returns the loss and its parts.

    p is the prior's x_0 at the drawn level of noise; p* (eq. 5) that of mixed betas, from the mixed target's noise.
    With a head, p and p* are the head's output for the condition, and only the squared error uses the estimates; both
    gradients meet in the projector. With `free` rows, the squared error includes them too.

    The batch is on the prior's device; `random` is a CPU generator.
    """
    settings = prior.settings
    x0 = prior.whitening(batch.targets)
    condition = sharded(prior.condition, batch.betas, batch.linear)
    estimates, errors = _denoised(prior, x0, condition, random)
    parts = {}
    if free is not None:
        count = settings.rows - settings.batch
        errors = torch.cat([errors, _denoised(prior, *free.draw(count, random), random)[1]])
    parts["mse"] = errors.mean()
    loss = (1 - settings.gamma) * parts["mse"]
    if settings.contrast != NOTHING:
        compared = estimates if prior.head is None else prior.head(condition)
        parts |= _contrast(prior, batch, x0, compared, random)
        loss = loss + settings.gamma * parts["info_nce"] + settings.beta * parts["mixco"]
    return loss, {"loss": loss.item()} | {name: part.item() for name, part in parts.items()}


def _denoised(prior: Prior, x0: Tensor, condition: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Estimates of x_0 at drawn levels of noise, and their squared errors as weighted by the process."""
    level = prior.process.levels(len(x0), random).to(x0.device)
    noise = torch.randn(x0.shape, generator=random).to(x0.device)
    estimates = sharded(prior.denoised, prior.process.noised(x0, level, noise, condition), level, condition)
    return estimates, prior.process.errors(estimates, x0, level)


def _contrast(
    prior: Prior, batch: Examples, x0: Tensor, compared: Tensor, random: torch.Generator
) -> dict[str, Tensor]:
    """Eq. 3 over the whole batch, and eq. 4 and 5 over the whole batch of mixed betas."""
    settings = prior.settings
    partner = torch.randperm(len(x0), generator=random)
    share = _beta_draws(settings.mixco_alpha, len(x0), random).to(x0.device)
    mixed = _mixed(Examples(batch.betas, batch.linear, x0), partner.to(x0.device), share)
    condition = sharded(prior.condition, mixed.betas, mixed.linear)
    of_mixed = _denoised(prior, mixed.targets, condition, random)[0] if prior.head is None else prior.head(condition)
    target = flat_unit(x0)
    return {
        "info_nce": info_nce(flat_unit(compared), target, settings.temperature),
        "mixco": mixco(flat_unit(of_mixed), target, partner.to(x0.device), share, settings.temperature),
    }


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
    return found_own(flat_unit(estimates) @ flat_unit(targets).T)


class PriorTask:
    """The training of one prior, for `core.loop.train`: batches of training images, eq. 6, what the history says."""

    def __init__(self, prior: Prior, training: Examples, validation: Examples, free: FreeRows | None = None) -> None:
        self.model, self.training, self.validation, self.free = prior, training, validation, free
        settings = prior.settings
        self.steps = len(training) // settings.batch
        # sampling 300 images takes as long as many steps: about ten times in a training are enough
        self._every = max(1, settings.epochs // 10)
        if not self.steps:
            raise ValueError(
                f"'stage1.batch' must be at most the {len(training)} training images. {settings.batch} was provided."
            )

    def batches(self, random: torch.Generator) -> list[Tensor]:
        """Whole batches of rows in a new order; an incomplete last batch is left out."""
        order = torch.randperm(len(self.training), generator=random)
        return list(order.split(self.model.settings.batch))[: self.steps]

    def loss(self, batch: Tensor, random: torch.Generator) -> tuple[Float[Tensor, ""], Row]:
        """Eq. 6."""
        return stage1_loss(self.model, self.training.on(self.model.device, batch), random, self.free)

    def validate(self, epoch: int, last: bool) -> Row:
        """Scores of the posterior mean after every epoch, and of a sample after some epochs and the last."""
        return validation_row(self.model, self.validation, last or (epoch + 1) % self._every == 0)

    def said(self, row: Row) -> str:
        """Loss and top-1."""
        return f"loss {row['loss']:.3f}, validation top-1 {row['val_top1']:.2f}"


def train_prior(
    settings: Stage1Settings,
    training: Examples,
    validation: Examples,
    folder: Path,
    seed: int,
    label: str,
    items: Tensor | Rows | None = None,
    start: Path | None = None,
) -> tuple[Prior, list[Row]]:
    """Train one prior, on a GPU where there is one.

    Args:
        items: tokens of the corpus, if the batches include rows without betas.
        start: a file with a network and whitening that were pretrained on the corpus.

    Returns:
        The prior in evaluation mode, where it was trained, and the history: one row of losses an epoch.
    """
    with seeded(seed):
        prior = Prior(settings, training.betas.shape[1], *training.targets.shape[1:])
    prior.to(accelerator())
    prepare(prior, training, start)
    free = None if items is None else FreeRows(items, training.linear, training.targets, whitened_by(prior.whitening))
    task = PriorTask(prior, training, validation, free)
    plan = Plan(
        settings.epochs,
        task.steps,
        settings.peak_rate,
        settings.weight_decay,
        schedule=ONE_CYCLE,
        clip=settings.clip,
        accumulate=settings.accumulate,
        precision=settings.precision,
    )
    history = train(task, plan, folder, seed, label)
    return prior.eval(), history


def prepare(prior: Prior, training: Examples, start: Path | None) -> None:
    """Measure, on training images alone, what the prior needs before its first step: units, and the residuals' spread.

    Raises:
        ValueError: the residual process without linear estimates, or a start that does not fit this network.
    """
    settings = prior.settings
    if start is not None:
        begin_with(prior, start)
    elif settings.units == WHITENED:
        prior.whitening.fit(training.targets, settings.whitening_floor)
    else:
        prior.whitening.scale(training.targets)
    if isinstance(prior.process, Residual):
        if training.linear is None:
            raise ValueError(
                "'stage1.process' = 'residual' needs 'stage1.projector.linear_path' = true: it diffuses what a linear "
                "estimate misses."
            )
        inside = whitened_by(prior.whitening)
        prior.process.fit(residual_square(training.linear, training.targets, inside))


def begin_with(prior: Prior, path: Path) -> None:
    """Load network and whitening from a file.

    Raises:
        ValueError: it does not fit; says which setting to look at.
    """
    weights = {name: weight.float() for name, weight in load_file(path).items()}
    try:
        missing, spare = prior.load_state_dict(weights, strict=False)
    except RuntimeError as problem:
        missing, spare = [], [" ".join(str(problem).split())[:300]]
    absent = [name for name in missing if name.startswith(("network.", "whitening."))]
    if absent or spare:
        raise ValueError(
            f"the start '{path}' does not fit this prior ({', '.join([*absent, *spare])[:300]}). Change "
            "'stage1.network' to the sizes that it was trained with, or leave 'stage1.start' empty."
        )
