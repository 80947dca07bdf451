"""Training of a network from betas to one global embedding: what Mind Reader and Gu et al. have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brainram_lib.core.checkpoints import Row
from brainram_lib.core.parallel import sharded
from brainram_lib.peers.losses import unit
from brainram_lib.peers.pairs import Pairs

# Rows that go through a network at a time outside training.
CHUNK = 64
Measure = Callable[[Tensor, Tensor], tuple[Tensor, Row]]


class EmbeddingModel(nn.Module):
    """Base of networks that give an embedding, not normalised; `predict` normalises it.

    Attributes:
        settings: its sizes and training.
    """

    settings: Any

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.parameters()).device

    @torch.no_grad()
    def predict(self, betas: Float[Tensor, "n voxels"]) -> Float[Tensor, "n width"]:
        """Embeddings of norm 1, on the CPU."""
        return torch.cat([unit(self(part.to(self.device))).cpu() for part in betas.split(CHUNK)])


class EmbeddingTask:
    """The training of one such network, for `core.loop.train`.

    Args:
        measure: estimates and targets -> the loss and its parts.
    """

    def __init__(self, model: EmbeddingModel, training: Pairs, validation: Pairs, measure: Measure) -> None:
        self.model, self.training, self.validation, self.measure = model, training, validation, measure
        self.steps = len(training.batches(model.settings.batch, torch.Generator()))

    def batches(self, random: torch.Generator) -> list[Tensor]:
        """Full batches of images."""
        return self.training.batches(self.model.settings.batch, random)

    def loss(self, batch: Tensor, random: torch.Generator) -> tuple[Float[Tensor, ""], Row]:
        """As `measure` says."""
        betas, targets = self.training.of(batch, self.model.device, random)
        return self.measure(sharded(self.model, betas), targets)

    @torch.no_grad()
    def validate(self, epoch: int, last: bool) -> Row:
        """Cosine of the validation images' embeddings, and how often one finds its own among them."""
        betas, targets = self.validation.every(self.model.device)
        similarity = self.model.predict(betas).to(targets.device) @ targets.T
        own = torch.arange(len(similarity), device=similarity.device)
        top1 = (similarity.argmax(1) == own).float().mean().item()
        return {"val_cosine": similarity.diagonal().mean().item(), "val_top1": top1}

    def said(self, row: Row) -> str:
        """Loss and validation scores."""
        return f"loss {row['loss']:.3f}, validation cosine {row['val_cosine']:.3f}, top-1 {row['val_top1']:.2f}"
