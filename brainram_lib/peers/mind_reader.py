"""Mind Reader's mapping: a one-dimensional convolutional ResNet from betas to one global embedding of CLIP.

Lin, Sprague & Singh, Mind Reader: reconstructing complex images from brain activities (NeurIPS 2022, arXiv 2210.01769).
Written from what the paper describes; its code has no licence and was not read. Sizes are this project's.
"""

from __future__ import annotations

from pathlib import Path

from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from brainram_lib.core.checkpoints import Row
from brainram_lib.core.devices import accelerator, seeded
from brainram_lib.core.loop import CONSTANT, Plan, train
from brainram_lib.peers.embedding import EmbeddingModel, EmbeddingTask
from brainram_lib.peers.losses import clip_loss, unit
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


class MindReader(EmbeddingModel):
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

    def forward(self, betas: Float[Tensor, "batch voxels"]) -> Float[Tensor, "batch width"]:
        """The embedding, not normalised."""
        return self.leave(self.layers(betas[:, None]))

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

    Targets have norm 1, so the mean squared error is multiplied by D, as if features were about 1.
    """
    parts = {
        "error": (estimates - targets).square().sum(-1).mean(),
        "cosine": 1 - functional.cosine_similarity(estimates, targets).mean(),
        "contrast": clip_loss(unit(estimates), targets, settings.temperature),
    }
    weights = settings.error_weight, settings.cosine_weight, settings.contrast_weight
    loss = sum(weight * part for weight, part in zip(weights, parts.values(), strict=True))
    return loss, {"loss": loss.item()} | {name: part.item() for name, part in parts.items()}


def train_mind_reader(
    settings: MindReaderSettings, training: Pairs, validation: Pairs, folder: Path, seed: int, label: str
) -> tuple[MindReader, list[Row]]:
    """Train on a GPU where there is one; the model in evaluation mode, and one row of losses per epoch."""
    with seeded(seed):
        model = MindReader(settings, training.betas.shape[1], training.targets.shape[1])
    model.to(accelerator())
    task = EmbeddingTask(model, training, validation, lambda found, goal: mind_reader_loss(found, goal, settings))
    plan = Plan(
        *(settings.epochs, task.steps, settings.rate, settings.weight_decay),
        schedule=CONSTANT,
        precision=settings.precision,
    )
    return model, train(task, plan, folder, seed, label)
