"""The autoencoder's latents of the stimuli, and start images from estimates of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from brainram_lib.core.files import write_blocks
from brainram_lib.core.store import Stage, Store
from brainram_lib.pipeline.data import Images, finite
from brainram_lib.pipeline.pictures import CHOSEN
from brainram_lib.pipeline.weights import GeneratorWeights

CHUNK = 100


@dataclass(frozen=True)
class Latents(Stage):
    """The generator's scaled latents of the training images, (n, C, h, w). Those of the test images are not made.

    Attributes:
        images: which. mark: of the stimuli (`Source.mark`).
        weights: of the generator whose autoencoder encodes.
    """

    images: Images
    mark: str
    weights: GeneratorWeights

    def make(self, folder: Path, store: Store) -> None:
        """Resize each image to the generator's size and encode it, a chunk at a time."""
        from brainram_lib.encoders import fit_square

        model, stimuli = self.weights.load(), self.images.stimuli(store, "train")
        size = model.latent_shape[-1] * 2 ** (len(model.vae.config.block_out_channels) - 1)

        def blocks() -> Iterator[np.ndarray]:
            for start in range(0, len(stimuli), CHUNK):
                fitted = np.stack([fit_square(one, size) for one in stimuli[start : start + CHUNK]])
                yield finite(model.encode(fitted).cpu().numpy(), self.name, start)

        write_blocks(folder / "train.npy", len(stimuli), blocks())


@dataclass(frozen=True)
class StartImages(Stage):
    """The images that the autoencoder decodes from a brain's latents of the test stimuli.

    Attributes:
        latents: the stage whose `test.npy` holds them, (n, C, h, w).
        weights: of the generator whose autoencoder decodes.
    """

    latents: Stage
    weights: GeneratorWeights

    @property
    def name(self) -> str:
        return f"start-{self.latents.name}"

    def make(self, folder: Path, store: Store) -> None:
        """One image per stimulus, a chunk at a time."""
        import torch

        model, latents = self.weights.load(), store.result(self.latents).array("test")

        def blocks() -> Iterator[UInt8[np.ndarray, "some height width 3"]]:
            for start in range(0, len(latents), CHUNK):
                part = finite(np.array(latents[start : start + CHUNK], np.float32), self.name, start)
                yield model.decode(torch.from_numpy(part))

        write_blocks(folder / f"{CHOSEN}.npy", len(latents), blocks())
