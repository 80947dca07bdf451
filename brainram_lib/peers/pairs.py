"""What the compared systems' networks are trained on: images with their betas, one of their trials or the average."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from brainram_lib.core.rows import Rows


@dataclass(frozen=True)
class Trialwise:
    """Which rows of the betas are trials of each image, one image after the other.

    Attributes:
        first: the image's first row. count: how many rows the image has.
    """

    first: Int64[Tensor, " images"]
    count: Int64[Tensor, " images"]

    @classmethod
    def of(cls, shown: Int[np.ndarray, " rows"], images: int) -> Trialwise:
        """From the image of every row, ascending.

        Raises:
            ValueError: an image without a row, or rows that are not in order.
        """
        count = np.bincount(shown, minlength=images)
        if (np.diff(shown) < 0).any() or len(count) != images or not count.all():
            raise ValueError(
                f"'shown' must name each of {images} images once or more, in ascending order, got {len(shown)} rows of "
                f"{np.count_nonzero(count)} images. Prepare the subject's single trials again."
            )
        return cls(torch.from_numpy(np.cumsum(count) - count), torch.from_numpy(count))

    def drawn(self, images: Int64[Tensor, " some"], random: torch.Generator) -> Int64[Tensor, " some"]:
        """A row of each image, each of its trials equally likely."""
        count = self.count[images]
        place = (torch.rand(len(images), generator=random) * count).long()
        return self.first[images] + place.minimum(count - 1)


@dataclass(frozen=True)
class Pairs:
    """Images with betas and targets: tensors, or rows that are read when a batch needs them.

    Attributes:
        betas: one row per image, or with `trials` one per trial.
        targets: of each image: tokens, latents or an embedding.
        trials: which rows are of which image.
    """

    betas: Float[Tensor, "n voxels"] | Rows
    targets: Float[Tensor, "images ..."] | Rows
    trials: Trialwise | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def of(
        self, images: Int64[Tensor, " some"], device: torch.device, random: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "some voxels"], Float[Tensor, "some ..."]]:
        """Betas and targets of some images, on a device; with trials, one of each image, drawn by `random`."""
        rows = images if self.trials is None else self.trials.drawn(images, random)
        return self.betas[rows].to(device), self.targets[images].to(device)

    def every(self, device: torch.device) -> tuple[Float[Tensor, "n voxels"], Float[Tensor, "n ..."]]:
        """All betas and targets, where there are no trials."""
        return self.of(torch.arange(len(self)), device)

    def batches(self, size: int, random: torch.Generator) -> list[Int64[Tensor, " size"]]:
        """Full batches of images in a new order; an incomplete last batch is dropped.

        Raises:
            ValueError: a batch larger than all images.
        """
        if size > len(self):
            raise ValueError(f"'batch' must be at most the {len(self)} training images. {size} was provided.")
        return list(torch.randperm(len(self), generator=random).split(size))[: len(self) // size]
