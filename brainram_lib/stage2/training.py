"""Training of one fusion (paper, section 3.3 and 4.2, eq. 12). Stage I is frozen: its samples come in as numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from brainram_lib.core.checkpoints import Row
from brainram_lib.core.devices import accelerator, seeded
from brainram_lib.core.loop import Plan, train
from brainram_lib.core.parallel import sharded
from brainram_lib.core.rows import Rows
from brainram_lib.stage1.losses import flat_unit, info_nce
from brainram_lib.stage2.fusions import build
from brainram_lib.stage2.interface import Fusion
from brainram_lib.stage2.settings import Stage2Settings

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


def fusion_loss(
    fusion: Fusion, settings: Stage2Settings, p: Tensor, c: Tensor, targets: Tensor
) -> tuple[Float[Tensor, ""], Row]:
    """Eq. 12: gamma InfoNCE + (1 - gamma) MSE of the refined estimate p + q against the target."""
    q = sharded(lambda *rows: fusion(*rows)[0], p, c)
    refined = p + q
    contrast = info_nce(flat_unit(refined), flat_unit(targets), settings.temperature)
    error = (refined - targets).square().mean()
    loss = settings.gamma * contrast + (1 - settings.gamma) * error
    return loss, {"loss": loss.item(), "info_nce": contrast.item(), "mse": error.item()}


def refined_blocks(
    fusion: Fusion,
    p: Float[Tensor, "n samples tokens width"] | Rows,
    neighbours: Int64[Tensor, "n samples k"],
    tokens_of: TokensOf,
) -> Iterator[tuple[Float[Tensor, "rows samples tokens width"], Float[Tensor, "rows samples sources tokens"] | None]]:
    """p + q and the weights of every sample, CHUNK stimuli at a time, where the fusion is."""
    for start in range(0, len(neighbours), CHUNK):
        rows = slice(start, start + CHUNK)
        with torch.no_grad():
            yield _refined(fusion, p[rows].to(fusion.device), neighbours[rows], tokens_of)


def _refined(fusion: Fusion, p: Tensor, neighbours: Tensor, tokens_of: TokensOf) -> tuple[Tensor, Tensor | None]:
    """One sample index at a time to bound memory."""
    refined, weights = [], []
    for sample in range(p.shape[1]):
        q, weight = fusion(p[:, sample], tokens_of(neighbours[:, sample]).to(fusion.device))
        refined.append(p[:, sample] + q)
        weights.append(weight)
    return torch.stack(refined, 1), None if weights[0] is None else torch.stack(weights, 1)


def refine(
    fusion: Fusion,
    p: Float[Tensor, "n samples tokens width"] | Rows,
    neighbours: Int64[Tensor, "n samples k"],
    tokens_of: TokensOf,
) -> tuple[Float[Tensor, "n samples tokens width"], Float[Tensor, "n samples sources tokens"] | None]:
    """p + q and the weights of every sample, where the fusion is."""
    refined, weights = zip(*refined_blocks(fusion, p, neighbours, tokens_of), strict=True)
    return torch.cat(refined), None if weights[0] is None else torch.cat(weights)


@torch.no_grad()
def validation_row(fusion: Fusion, examples: RamExamples, tokens_of: TokensOf) -> Row:
    """Mean squared error before and after the fusion on validation images, and top-1 retrieval after it."""
    refined, _ = refine(fusion, examples.p, examples.neighbours, tokens_of)
    p, targets = (part[:].to(fusion.device) for part in (examples.p, examples.targets))
    similarity = flat_unit(refined[:, 0]) @ flat_unit(targets).T
    own = torch.arange(len(similarity), device=similarity.device)
    return {
        "val_mse_p": (p - targets[:, None]).square().mean().item(),
        "val_mse": (refined - targets[:, None]).square().mean().item(),
        "val_top1": (similarity.argmax(1) == own).float().mean().item(),
    }


class FusionTask:
    """The training of one fusion, for `core.loop.train`: every epoch shows each stimulus once, through one of its S
    prior samples drawn anew."""

    def __init__(
        self,
        fusion: Fusion,
        settings: Stage2Settings,
        training: RamExamples,
        validation: RamExamples,
        tokens_of: TokensOf,
    ) -> None:
        self.model, self.settings, self.tokens_of = fusion, settings, tokens_of
        self.training, self.validation = training, validation
        self.steps = -(-len(training) // settings.batch)

    def batches(self, random: torch.Generator) -> list[tuple[Tensor, Tensor]]:
        """(rows, which of their samples)."""
        order = torch.randperm(len(self.training), generator=random)
        sample = torch.randint(self.training.p.shape[1], (len(self.training),), generator=random)
        return [(rows, sample[rows]) for rows in order.split(self.settings.batch)]

    def loss(self, batch: tuple[Tensor, Tensor], random: torch.Generator) -> tuple[Float[Tensor, ""], Row]:
        """Eq. 12."""
        rows, which = batch
        examples = self.training
        parts = examples.p[rows, which], self.tokens_of(examples.neighbours[rows, which]), examples.targets[rows]
        return fusion_loss(self.model, self.settings, *(part.to(self.model.device) for part in parts))

    def validate(self, epoch: int, last: bool) -> Row:
        """Before and after the fusion."""
        return validation_row(self.model, self.validation, self.tokens_of)

    def said(self, row: Row) -> str:
        """Validation error before and after."""
        return f"validation mse {row['val_mse_p']:.3f} -> {row['val_mse']:.3f}"


def train_fusion(
    settings: Stage2Settings,
    training: RamExamples,
    validation: RamExamples,
    tokens_of: TokensOf,
    folder: Path,
    seed: int,
    label: str,
) -> tuple[Fusion, list[Row]]:
    """Train one fusion, on a GPU where there is one; one without weights is measured on the validation images.

    Returns:
        The module in evaluation mode, where it was trained, and the history: one row of losses an epoch.
    """
    with seeded(seed):
        fusion = build(settings, training.neighbours.shape[-1], *training.targets.shape[1:])
    fusion.to(accelerator())
    if not fusion.trained:
        return fusion.eval(), [validation_row(fusion.eval(), validation, tokens_of)]
    task = FusionTask(fusion, settings, training, validation, tokens_of)
    plan = Plan(
        settings.epochs,
        task.steps,
        settings.rate,
        settings.weight_decay,
        accumulate=settings.accumulate,
        precision=settings.precision,
    )
    history = train(task, plan, folder, seed, label)
    return fusion.eval(), history
