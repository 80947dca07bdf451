"""Training of one RAM (paper, section 3.3 and 4.2, eq. 12). Stage I is frozen: its samples come in as numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from tqdm.auto import tqdm

from brainram_lib.core.checkpoints import Row, epoch_randomness, epochs_left
from brainram_lib.core.devices import accelerator, seeded
from brainram_lib.core.rows import Rows
from brainram_lib.stage1.losses import flat_unit, info_nce
from brainram_lib.stage2.ram import Ram
from brainram_lib.stage2.settings import Stage2Settings

CHECKPOINT = "checkpoint.safetensors"
# Stimuli that are refined at a time, so that their neighbours' tokens fit on a device.
CHUNK = 128


@dataclass(frozen=True)
class RamExamples:
    """Prior samples, their neighbours (rows of the corpus) and the tokens to reach, in whitened units.

    Samples and targets are tensors, or rows that are read and whitened when a batch wants them.
    """

    p: Float[Tensor, "n samples tokens width"] | Rows
    neighbours: Int64[Tensor, "n samples k"]
    targets: Float[Tensor, "n tokens width"] | Rows

    def __len__(self) -> int:
        return len(self.p)


# Rows of the corpus -> their tokens, whitened, with the shape of the rows in front; on any device.
TokensOf = Callable[[Tensor], Tensor]


def ram_loss(
    ram: Ram, settings: Stage2Settings, p: Tensor, c: Tensor, targets: Tensor
) -> tuple[Float[Tensor, ""], Row]:
    """Eq. 12: gamma InfoNCE + (1 - gamma) MSE of the refined estimate p + q against the target."""
    q, _ = ram(p, c)
    refined = p + q
    contrast = info_nce(flat_unit(refined), flat_unit(targets), settings.temperature)
    error = (refined - targets).square().mean()
    loss = settings.gamma * contrast + (1 - settings.gamma) * error
    return loss, {"loss": loss.item(), "info_nce": contrast.item(), "mse": error.item()}


def refined_blocks(
    ram: Ram,
    p: Float[Tensor, "n samples tokens width"] | Rows,
    neighbours: Int64[Tensor, "n samples k"],
    tokens_of: TokensOf,
) -> Iterator[tuple[Float[Tensor, "rows samples tokens width"], Float[Tensor, "rows samples sources tokens"]]]:
    """p + q and the weights of every sample, for CHUNK stimuli after the other, where the RAM is."""
    for start in range(0, len(neighbours), CHUNK):
        rows = slice(start, start + CHUNK)
        with torch.no_grad():
            yield _refined(ram, p[rows].to(ram.device), neighbours[rows], tokens_of)


def _refined(ram: Ram, p: Tensor, neighbours: Tensor, tokens_of: TokensOf) -> tuple[Tensor, Tensor]:
    """One sample index at a time to bound memory."""
    refined, weights = [], []
    for sample in range(p.shape[1]):
        q, weight = ram(p[:, sample], tokens_of(neighbours[:, sample]).to(ram.device))
        refined.append(p[:, sample] + q)
        weights.append(weight)
    return torch.stack(refined, 1), torch.stack(weights, 1)


def refine(
    ram: Ram,
    p: Float[Tensor, "n samples tokens width"] | Rows,
    neighbours: Int64[Tensor, "n samples k"],
    tokens_of: TokensOf,
) -> tuple[Float[Tensor, "n samples tokens width"], Float[Tensor, "n samples sources tokens"]]:
    """p + q and the weights of every sample, where the RAM is."""
    refined, weights = zip(*refined_blocks(ram, p, neighbours, tokens_of), strict=True)
    return torch.cat(refined), torch.cat(weights)


@torch.no_grad()
def validation_row(ram: Ram, examples: RamExamples, tokens_of: TokensOf) -> Row:
    """Mean squared error before and after the RAM on validation images, and top-1 retrieval after it."""
    ram.eval()
    refined, _ = refine(ram, examples.p, examples.neighbours, tokens_of)
    ram.train()
    p, targets = (part[:].to(ram.device) for part in (examples.p, examples.targets))
    similarity = flat_unit(refined[:, 0]) @ flat_unit(targets).T
    own = torch.arange(len(similarity), device=similarity.device)
    return {
        "val_mse_p": (p - targets[:, None]).square().mean().item(),
        "val_mse": (refined - targets[:, None]).square().mean().item(),
        "val_top1": (similarity.argmax(1) == own).float().mean().item(),
    }


def train_ram(
    settings: Stage2Settings,
    training: RamExamples,
    validation: RamExamples,
    tokens_of: TokensOf,
    folder: Path,
    seed: int,
    label: str,
) -> tuple[Ram, list[Row]]:
    """Train one RAM, on a GPU where there is one; every epoch shows each stimulus once, through one of its S prior
    samples drawn anew.

    Returns:
        The RAM in evaluation mode, where it was trained, and the history: one row of losses an epoch.
    """
    with seeded(seed):
        ram = Ram(settings, training.neighbours.shape[-1], *training.targets.shape[1:])
    ram.to(accelerator())
    optimizer = torch.optim.AdamW(ram.parameters(), lr=settings.rate, weight_decay=settings.weight_decay)
    progress, epochs, close = epochs_left(folder / CHECKPOINT, ram, optimizer, settings.epochs)
    with tqdm(total=settings.epochs, initial=progress.epoch, desc=label, unit="epoch") as bar:
        for epoch in epochs:
            with epoch_randomness(seed, epoch) as random:
                row = _epoch(ram, optimizer, settings, training, tokens_of, random)
            close(row | validation_row(ram, validation, tokens_of))
            bar.update()
            last = progress.history[-1]
            bar.set_postfix_str(f"validation mse {last['val_mse_p']:.3f} -> {last['val_mse']:.3f}")
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return ram.eval(), progress.history


def _epoch(
    ram: Ram,
    optimizer: torch.optim.Optimizer,
    settings: Stage2Settings,
    training: RamExamples,
    tokens_of: TokensOf,
    random: torch.Generator,
) -> Row:
    """One pass over the training images; returns the mean losses."""
    order = torch.randperm(len(training), generator=random)
    sample = torch.randint(training.p.shape[1], (len(training),), generator=random)
    batches = order.split(settings.batch)
    totals: Row = {}
    ram.train()
    for rows in batches:
        which = sample[rows]
        parts = training.p[rows, which], tokens_of(training.neighbours[rows, which]), training.targets[rows]
        loss, values = ram_loss(ram, settings, *(part.to(ram.device) for part in parts))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals = {name: totals.get(name, 0.0) + value / len(batches) for name, value in values.items()}
    return totals
