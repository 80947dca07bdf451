"""What the recipes of the mini models share: a schedule bounded by steps and minutes, and checkpoints that resume."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from tqdm.auto import tqdm

from brainram_lib.core.checkpoints import Progress, load_checkpoint, save_checkpoint

WARM_UP_STEPS = 100


@dataclass
class Budget:
    """A training ends at `steps` or after `minutes`, whichever comes first; its rate falls to zero by then.

    Attributes:
        until: when to pause (`time.time()`), however much is left; the same call goes on from the checkpoint.
    """

    steps: int
    minutes: float
    peak_rate: float
    until: float = math.inf

    def part(self, share: float, rate: float) -> Budget:
        """A share of it, with another peak rate relative to its own."""
        return Budget(max(1, round(self.steps * share)), self.minutes * share, self.peak_rate * rate, self.until)


class Paused(Exception):
    """A training has reached `Budget.until`: its checkpoint is saved, and the same call goes on from there."""


def scheduled_rate(budget: Budget, step: int, progress: float) -> float:
    """Linear warm-up, then half a cosine: peak * min(1, step / 100) * (1 + cos(pi * progress)) / 2."""
    return budget.peak_rate * min(1.0, (step + 1) / WARM_UP_STEPS) * 0.5 * (1 + math.cos(math.pi * progress))


def run(
    budget: Budget, model: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: Path, describe: str
) -> Iterator[tuple[int, tqdm]]:
    """Yield (step, progress bar) until the budget is spent, setting the rate and saving a checkpoint every minute.

    A checkpoint holds weights, optimizer and the progress made, so that an interrupted training goes on.

    Raises:
        Paused: `budget.until` has come.
    """
    made = load_checkpoint(checkpoint, model, optimizer)
    step, spent = made.epoch, made.history[-1]["spent"] if made.history else 0.0
    started, saved = time.time() - spent, time.time()
    with tqdm(total=100, desc=describe, unit="%", bar_format="{l_bar}{bar}| {elapsed}<{remaining} {postfix}") as bar:
        while (progress := max(step / budget.steps, (time.time() - started) / (60 * budget.minutes))) < 1:
            for group in optimizer.param_groups:
                group["lr"] = scheduled_rate(budget, step, progress)
            bar.n = round(100 * progress, 1)
            yield step, bar
            step += 1
            if time.time() > budget.until:
                save_checkpoint(checkpoint, model, optimizer, Progress(step, [{"spent": time.time() - started}]))
                raise Paused(f"{describe}: step {step}, {progress:.0%} of its budget")
            if time.time() - saved > 60:
                save_checkpoint(checkpoint, model, optimizer, Progress(step, [{"spent": time.time() - started}]))
                saved = time.time()
    save_checkpoint(checkpoint, model, optimizer, Progress(step, [{"spent": time.time() - started}]))
