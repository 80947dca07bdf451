"""Mind Reader's mapping: a one-dimensional convolutional ResNet from betas to one global embedding of CLIP.

Lin, Sprague & Singh, Mind Reader: reconstructing complex images from brain activities (NeurIPS 2022, arXiv 2210.01769).
Written from what the paper describes; its code has no licence and was not read. Sizes are this project's.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from brainram_lib.core.checkpoints import Row
from brainram_lib.core.devices import accelerator, seeded
from brainram_lib.core.loop import CONSTANT, Plan, train
from brainram_lib.core.parallel import sharded
from brainram_lib.peers.losses import clip_loss, unit
from brainram_lib.peers.mindeye import CHUNK
from brainram_lib.peers.pairs import Pairs
from brainram_lib.peers.settings import MindReaderSettings


class ConvBlock(nn.Module):
    """x + conv(dropout(gelu(norm(conv(x))))), the length unchanged."""

    def __init__(self, channels: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(channels, channels, kernel, padding=kernel // 2),
            nn.GroupNorm(1, channels),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Conv1d(channels, channels, kernel, padding=kernel // 2),
        )

    def forward(self, x: Float[Tensor, "batch channels length"]) -> Float[Tensor, "batch channels length"]:
        """One refinement."""
        return x + self.layers(x)


class MindReader(nn.Module):
    """betas, in the order of their voxels -> an embedding.

    A convolution that halves the length, then stages of a residual block and a convolution that halves the length and
    doubles the channels; means over `places` pieces of what is left keep where a voxel was; a linear map.

    Raises:
        ValueError: an even kernel, which would change lengths.
    """

    def __init__(self, settings: MindReaderSettings, voxels: int, width: int) -> None:
        super().__init__()
        if settings.kernel % 2 == 0:
            raise ValueError(f"'kernel' of MindReaderSettings must be odd. {settings.kernel} was provided.")
        self.settings = settings
        channels, kernel = settings.channels, settings.kernel
        layers: list[nn.Module] = [_halved(1, channels, kernel)]
        for _ in range(settings.stages):
            layers += [ConvBlock(channels, kernel, settings.dropout), _halved(channels, 2 * channels, kernel)]
            channels *= 2
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool1d(settings.places), nn.Flatten())
        self.leave = nn.Sequential(nn.Dropout(settings.dropout), nn.Linear(channels * settings.places, width))

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.leave[1].weight.device

    def forward(self, betas: Float[Tensor, "batch voxels"]) -> Float[Tensor, "batch width"]:
        """The embedding, not normalised."""
        return self.leave(self.layers(betas[:, None]))

    @torch.no_grad()
    def predict(self, betas: Float[Tensor, "n voxels"]) -> Float[Tensor, "n width"]:
        """Embeddings of norm 1, on the CPU."""
        return torch.cat([unit(self(part.to(self.device))).cpu() for part in betas.split(CHUNK)])

    def load(self, path: Path) -> MindReader:
        """Read weights; returns self in evaluation mode."""
        self.load_state_dict(load_file(path))
        return self.eval()


def _halved(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    convolution = nn.Conv1d(inputs, outputs, kernel, stride=2, padding=kernel // 2)
    return nn.Sequential(convolution, nn.GroupNorm(1, outputs), nn.GELU())


def mind_reader_loss(
    estimates: Float[Tensor, "batch width"], targets: Float[Tensor, "batch width"], settings: MindReaderSettings
) -> tuple[Float[Tensor, ""], Row]:
    """Squared distance to the target, 1 - cosine, and InfoNCE both ways, each with its weight.

    Targets have norm 1, so the mean squared error is taken D times: of features of about 1.
    """
    parts = {
        "error": (estimates - targets).square().sum(-1).mean(),
        "cosine": 1 - functional.cosine_similarity(estimates, targets).mean(),
        "contrast": clip_loss(unit(estimates), targets, settings.temperature),
    }
    weights = settings.error_weight, settings.cosine_weight, settings.contrast_weight
    loss = sum(weight * part for weight, part in zip(weights, parts.values(), strict=True))
    return loss, {"loss": loss.item()} | {name: part.item() for name, part in parts.items()}


class MindReaderTask:
    """The training of one mapping, for `core.loop.train`."""

    def __init__(self, model: MindReader, training: Pairs, validation: Pairs) -> None:
        self.model, self.training, self.validation = model, training, validation
        self.steps = len(training.batches(model.settings.batch, torch.Generator()))

    def batches(self, random: torch.Generator) -> list[Tensor]:
        """Whole batches of images."""
        return self.training.batches(self.model.settings.batch, random)

    def loss(self, batch: Tensor, random: torch.Generator) -> tuple[Float[Tensor, ""], Row]:
        """See `mind_reader_loss`."""
        betas, targets = self.training.of(batch, self.model.device, random)
        return mind_reader_loss(sharded(self.model, betas), targets, self.model.settings)

    @torch.no_grad()
    def validate(self, epoch: int, last: bool) -> Row:
        """Cosine of the validation images' embeddings, and how often one finds its own among them."""
        betas, targets = self.validation.every(self.model.device)
        similarity = self.model.predict(betas).to(targets.device) @ targets.T
        own = torch.arange(len(similarity), device=similarity.device)
        top1 = (similarity.argmax(1) == own).float().mean().item()
        return {"val_cosine": similarity.diagonal().mean().item(), "val_top1": top1}

    def said(self, row: Row) -> str:
        """Loss and what validation says."""
        return f"loss {row['loss']:.3f}, validation cosine {row['val_cosine']:.3f}, top-1 {row['val_top1']:.2f}"


def train_mind_reader(
    settings: MindReaderSettings, training: Pairs, validation: Pairs, folder: Path, seed: int, label: str
) -> tuple[MindReader, list[Row]]:
    """Train on a GPU where there is one; the model in evaluation mode, and one row of losses an epoch."""
    with seeded(seed):
        model = MindReader(settings, training.betas.shape[1], training.targets.shape[1])
    task = MindReaderTask(model.to(accelerator()), training, validation)
    plan = Plan(
        *(settings.epochs, task.steps, settings.rate, settings.weight_decay),
        schedule=CONSTANT,
        precision=settings.precision,
    )
    return model, train(task, plan, folder, seed, label)
