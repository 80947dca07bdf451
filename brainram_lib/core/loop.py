"""The one training loop, for Stage I, Stage II and every other decoder that is trained.

An interrupted training resumes to bit-identical weights on a CPU: each epoch draws its randomness from (seed, epoch),
and a checkpoint holds weights, optimizer and history. Several processes train as one (`core.parallel`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm.auto import tqdm

from brainram_lib.core import parallel
from brainram_lib.core.checkpoints import Progress, Row, epoch_randomness, load_checkpoint, save_checkpoint

CHECKPOINT = "checkpoint.safetensors"
# A checkpoint of the `paper` profile takes 4 GB: one is written when at least this many seconds would be lost.
CHECKPOINT_SECONDS = 60.0
CONSTANT, ONE_CYCLE = "constant", "one-cycle"


@runtime_checkable
class Task(Protocol):
    """What is trained, and on what. The loop itself knows neither networks nor data."""

    @property
    def model(self) -> nn.Module:
        """The module that is trained, on the device where it runs."""

    def batches(self, random: torch.Generator) -> Sequence[Any]:
        """The batches of one epoch, in a new order."""

    def loss(self, batch: Any, random: torch.Generator) -> tuple[Float[Tensor, ""], Row]:
        """The loss of one batch, and its parts for the history."""

    def validate(self, epoch: int, last: bool) -> Row:
        """Measurements after an epoch on validation images, under names that start with 'val'.

        `epoch` counts from 0, also in a resumed training; `last`: whether it is the training's last.
        """

    def said(self, row: Row) -> str:
        """The history's newest row in a few words, for the progress bar."""


@dataclass(frozen=True)
class Plan:
    """How a task is trained.

    Attributes:
        epochs: passes over the training images.
        steps: batches in an epoch.
        rate: learning rate, the peak where the schedule has one.
        weight_decay: AdamW's.
        schedule: 'constant', or 'one-cycle' (4.2).
        clip: gradients are scaled down to this norm; None: never.
        accumulate: batches before each step; each counts 1 / accumulate, also in an epoch's last step, which may have
            fewer. A contrastive loss still compares within one batch only.
        precision: 'float32', or 'bf16' for the loss on a GPU.
    """

    epochs: int
    steps: int
    rate: float
    weight_decay: float
    schedule: str = CONSTANT
    clip: float | None = None
    accumulate: int = 1
    precision: str = "float32"

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted over all epochs."""
        return one_cycle(step, self.epochs * self.steps, self.rate) if self.schedule == ONE_CYCLE else self.rate


def one_cycle(step: int, steps: int, peak: float) -> float:
    """The one-cycle rate (4.2): up over the first 30 % from peak / 25, down to nearly zero, both half cosines."""
    rise = 0.3 * steps
    if step < rise:
        low = peak / 25
        return low + (peak - low) * (1 - math.cos(math.pi * step / rise)) / 2
    return peak * (1 + math.cos(math.pi * (step - rise) / (steps - rise))) / 2


def train(task: Task, plan: Plan, folder: Path, seed: int, label: str) -> list[Row]:
    """Train `task.model` in place; `folder` keeps a checkpoint, from which an interrupted training resumes.

    The checkpoint stays: the caller removes it (`finished`) once the weights are written.

    Returns:
        The history, one row of losses for each epoch.

    Raises:
        ValueError: a loss that is not finite; says in which epoch and at which rate.
    """
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=plan.rate, weight_decay=plan.weight_decay)
    path = folder / CHECKPOINT
    progress = load_checkpoint(path, task.model, optimizer)
    saved = time.monotonic()
    total = plan.epochs * plan.steps
    start = progress.epoch * plan.steps
    with tqdm(total=total, initial=start, desc=label, unit="step", disable=not parallel.first()) as bar:
        for epoch in range(progress.epoch, plan.epochs):
            with epoch_randomness(seed, epoch) as random:
                row = _epoch(task, plan, optimizer, epoch, random, bar.update)
            task.model.eval()
            row |= task.validate(epoch, epoch == plan.epochs - 1)
            progress = Progress(epoch + 1, [*progress.history, row])
            bar.set_postfix_str(task.said(row))
            if parallel.first() and time.monotonic() - saved >= CHECKPOINT_SECONDS:
                save_checkpoint(path, task.model, optimizer, progress)
                saved = time.monotonic()
    parallel.wait()
    return progress.history


def finished(folder: Path) -> None:
    """Remove the checkpoint of a training whose weights are saved."""
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _epoch(
    task: Task,
    plan: Plan,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    random: torch.Generator,
    update: Callable[[], Any],
) -> Row:
    """One pass over the training images; returns the mean losses."""
    batches = task.batches(random)
    task.model.train()
    totals: Row = {}
    optimizer.zero_grad()
    for number, batch in enumerate(batches, 1):
        _set_rate(optimizer, plan.rate_at(epoch * plan.steps + number - 1))
        with _precision(plan, task.model):
            loss, parts = task.loss(batch, random)
        _require_finite(parts, epoch, optimizer)
        (loss / plan.accumulate if plan.accumulate > 1 else loss).backward()
        if number % plan.accumulate == 0 or number == len(batches):
            parallel.average_gradients(task.model)
            if plan.clip is not None:
                nn.utils.clip_grad_norm_(task.model.parameters(), plan.clip)
            optimizer.step()
            optimizer.zero_grad()
        totals = {name: totals.get(name, 0.0) + value / len(batches) for name, value in parts.items()}
        update()
    return totals


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _precision(plan: Plan, model: nn.Module) -> Any:
    device = next(model.parameters()).device.type
    return torch.autocast("cuda", torch.bfloat16) if plan.precision == "bf16" and device == "cuda" else nullcontext()


def _require_finite(parts: Row, epoch: int, optimizer: torch.optim.Optimizer) -> None:
    wrong = [name for name, value in parts.items() if not math.isfinite(value)]
    if wrong:
        rate = optimizer.param_groups[0]["lr"]
        raise ValueError(
            f"the loss of epoch {epoch} is not finite ({', '.join(wrong)}): inputs or targets hold NaN, or the rate "
            f"{rate:.2g} is too high. Check the prepared subject, or lower the rate."
        )
