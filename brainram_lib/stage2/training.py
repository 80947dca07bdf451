"""Training of one fusion (paper, section 3.3 and 4.2, eq. 12). Stage I is frozen: its samples are given as arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from brainram_lib.core.checkpoints import Row
from brainram_lib.core.devices import accelerator, seeded
from brainram_lib.core.loop import Plan, train
from brainram_lib.core.parallel import sharded
from brainram_lib.core.ranks import found_own
from brainram_lib.core.rows import Rows
from brainram_lib.stage1.losses import flat_unit, info_nce
from brainram_lib.stage2.choosing import ChoosingRam
from brainram_lib.stage2.evidence import Evidence
from brainram_lib.stage2.fusions import build
from brainram_lib.stage2.interface import Fusion
from brainram_lib.stage2.linear import Part, plain_maps
from brainram_lib.stage2.settings import Stage2Settings

# Stimuli refined at a time, so that their neighbours' tokens fit on a device.
CHUNK = 128
# Increase in mean squared error at which a neighbour's share falls to 1 / e, in whitened units.
CLOSENESS = 0.05
# The share of a batch's stimuli whose neighbours are all random, if any are.
ALL_RANDOM = 0.1


@dataclass(frozen=True)
class RamExamples:
    """Prior samples, their neighbours (rows of the corpus) and the tokens to reach, in whitened units.

    Samples and targets are tensors, or rows that are read and whitened when a batch needs them. `evidence`: gives the
    evidence for any neighbours of these samples, if a fusion needs it.
    """

    p: Float[Tensor, "n samples tokens width"] | Rows
    neighbours: Int64[Tensor, "n samples k"]
    targets: Float[Tensor, "n tokens width"] | Rows
    evidence: Evidence | None = None

    def __len__(self) -> int:
        return len(self.p)

    def evidence_for(self, rows: Tensor, sample: Tensor, neighbours: Tensor) -> Tensor | None:
        """The evidence for one sample of some stimuli; None if no fusion needs it."""
        return None if self.evidence is None else self.evidence(rows, sample, neighbours)


# Rows of the corpus -> their tokens, whitened, with the shape of the rows in front; on any device.
TokensOf = Callable[[Tensor], Tensor]


def fusion_loss(
    fusion: Fusion, settings: Stage2Settings, p: Tensor, c: Tensor, evidence: Tensor | None, targets: Tensor
) -> tuple[Float[Tensor, ""], Row]:
    """Eq. 12: gamma InfoNCE + (1 - gamma) MSE of the refined estimate p + q against the target.

    Plus, if the settings say so, `closeness` times `closeness_loss`, which teaches the weights which training
    neighbours are close.
    """
    q, weights = _of_all(fusion, p, c, evidence)
    refined = p + q
    contrast = info_nce(flat_unit(refined), flat_unit(targets), settings.temperature)
    error = (refined - targets).square().mean()
    loss = settings.gamma * contrast + (1 - settings.gamma) * error
    parts = {"info_nce": contrast.item(), "mse": error.item()}
    if settings.closeness and weights is not None:
        wrong = closeness_loss(weights, c, targets)
        loss, parts["closeness"] = loss + settings.closeness * wrong, wrong.item()
    return loss, {"loss": loss.item()} | parts


def closeness_loss(
    weights: Float[Tensor, "batch sources tokens"],
    c: Float[Tensor, "batch neighbours tokens width"],
    targets: Float[Tensor, "batch tokens width"],
) -> Float[Tensor, ""]:
    """KL(goal || shares): a neighbour's share of the weights against softmax(-error / CLOSENESS) of its true error.

    Shares are the softmax over neighbours of the mean log weight over tokens; errors are mean squares, whitened.
    """
    errors = (c - targets[:, None]).square().mean((2, 3))
    shares = weights[:, 1:].log().mean(2).log_softmax(1)
    return functional.kl_div(shares, (-errors / CLOSENESS).softmax(1), reduction="batchmean")


def _of_all(
    fusion: Fusion, p: Tensor, c: Tensor, evidence: Tensor | None
) -> tuple[Float[Tensor, "batch tokens width"], Float[Tensor, "batch sources tokens"] | None]:
    """q and the weights of a batch whose rows are shared out among processes."""
    weighs = fusion.weighs

    def both(*rows: Tensor | None) -> Tensor:
        q, weights = fusion(*rows)
        return torch.cat([q.flatten(1), weights.flatten(1)], 1) if weighs else q.flatten(1)

    made = sharded(both, p, c, evidence)
    q, weights = made[:, : p[0].numel()], made[:, p[0].numel() :]
    return q.view(p.shape), weights.view(len(p), -1, p.shape[1]) if weighs else None


def refined_blocks(
    fusion: Fusion, examples: RamExamples, tokens_of: TokensOf
) -> Iterator[tuple[Float[Tensor, "rows samples tokens width"], Float[Tensor, "rows samples sources tokens"] | None]]:
    """p + q and the weights of every sample, CHUNK stimuli at a time, on the fusion's device."""
    for rows in torch.arange(len(examples)).split(CHUNK):
        with torch.no_grad():
            yield _refined(fusion, examples, rows, tokens_of)


def _refined(fusion: Fusion, examples: RamExamples, rows: Tensor, tokens_of: TokensOf) -> tuple[Tensor, Tensor | None]:
    """One sample index at a time to bound memory."""
    refined, weights = [], []
    for sample in range(examples.p.shape[1]):
        which = torch.full_like(rows, sample)
        q, weight, p = _fused(fusion, examples, rows, which, examples.neighbours[rows, which], tokens_of)
        refined.append(p + q)
        weights.append(weight)
    return torch.stack(refined, 1), None if weights[0] is None else torch.stack(weights, 1)


def _fused(
    fusion: Fusion, examples: RamExamples, rows: Tensor, which: Tensor, ids: Tensor, tokens_of: TokensOf
) -> tuple[Tensor, Tensor | None, Tensor]:
    p = examples.p[rows, which].to(fusion.device)
    evidence = examples.evidence_for(rows, which, ids)
    return *fusion(p, tokens_of(ids).to(fusion.device), None if evidence is None else evidence.to(fusion.device)), p


def refine(
    fusion: Fusion, examples: RamExamples, tokens_of: TokensOf
) -> tuple[Float[Tensor, "n samples tokens width"], Float[Tensor, "n samples sources tokens"] | None]:
    """p + q and the weights of every sample, on the fusion's device."""
    refined, weights = zip(*refined_blocks(fusion, examples, tokens_of), strict=True)
    return torch.cat(refined), None if weights[0] is None else torch.cat(weights)


@torch.no_grad()
def validation_row(fusion: Fusion, examples: RamExamples, tokens_of: TokensOf) -> Row:
    """Mean squared error before and after the fusion on validation images, and top-1 retrieval after it."""
    refined, _ = refine(fusion, examples, tokens_of)
    p, targets = (part[:].to(fusion.device) for part in (examples.p, examples.targets))
    return {
        "val_mse_p": (p - targets[:, None]).square().mean().item(),
        "val_mse": (refined - targets[:, None]).square().mean().item(),
        "val_top1": found_own(flat_unit(refined[:, 0]) @ flat_unit(targets).T),
    }


class FusionTask:
    """The training of one fusion, for `core.loop.train`: every epoch shows each stimulus once, through one of its S
    prior samples drawn anew, some of its neighbours replaced by random ones where the settings say so."""

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
        # random neighbours are of any training stimulus, now and then of the same one
        self._pool = torch.unique(training.neighbours)

    def batches(self, random: torch.Generator) -> list[tuple[Tensor, Tensor]]:
        """Batches of (rows, which of their samples)."""
        order = torch.randperm(len(self.training), generator=random)
        sample = torch.randint(self.training.p.shape[1], (len(self.training),), generator=random)
        return [(rows, sample[rows]) for rows in order.split(self.settings.batch)]

    def loss(self, batch: tuple[Tensor, Tensor], random: torch.Generator) -> tuple[Float[Tensor, ""], Row]:
        """Eq. 12."""
        rows, which = batch
        examples = self.training
        ids = examples.neighbours[rows, which]
        if self.settings.random_share:
            ids = self._some_random(ids, random)
        evidence = examples.evidence_for(rows, which, ids)
        parts = examples.p[rows, which], self.tokens_of(ids), evidence, examples.targets[rows]
        given = (None if part is None else part.to(self.model.device) for part in parts)
        return fusion_loss(self.model, self.settings, *given)

    def _some_random(self, ids: Tensor, random: torch.Generator) -> Tensor:
        """Each neighbour at random with the share; a tenth of the stimuli have none of their own."""
        others = self._pool[torch.randint(len(self._pool), ids.shape, generator=random)]
        swapped = torch.rand(ids.shape, generator=random) < self.settings.random_share
        swapped |= torch.rand(len(ids), 1, generator=random) < ALL_RANDOM
        return torch.where(swapped, others, ids)

    def validate(self, epoch: int, last: bool) -> Row:
        """Scores before and after the fusion."""
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
    """Train one fusion, on a GPU where there is one; one without weights is only evaluated on the validation images.

    Returns:
        The module in evaluation mode, where it was trained, and the history: one row of losses an epoch.
    """
    with seeded(seed):
        fusion = build(settings, training.neighbours.shape[-1], *training.targets.shape[1:])
    fusion.to(accelerator())
    if not fusion.trained:
        return fusion.eval(), [validation_row(fusion.eval(), validation, tokens_of)]
    if isinstance(fusion, ChoosingRam):
        fusion.begin(plain_maps(plain_parts(training, tokens_of), plain_parts(validation, tokens_of)))
    task = FusionTask(fusion, settings, training, validation, tokens_of)
    plan = Plan(
        settings.epochs,
        task.steps,
        settings.rate,
        settings.weight_decay,
        schedule=settings.schedule,
        accumulate=settings.accumulate,
        precision=settings.precision,
    )
    history = train(task, plan, folder, seed, label)
    return fusion.eval(), history


def plain_parts(examples: RamExamples, tokens_of: TokensOf) -> Iterator[Part]:
    """(p, mean neighbour, target) of the first sample, CHUNK stimuli at a time."""
    for rows in torch.arange(len(examples)).split(CHUNK):
        first = torch.zeros_like(rows)
        yield (
            examples.p[rows, first],
            tokens_of(examples.neighbours[rows, first]).mean(1),
            examples.targets[rows],
        )
