"""Versatile Diffusion with a profile's settings: tokens in, images out."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor
from tqdm.auto import tqdm

from brainram_lib.core.rows import as_tensor
from brainram_lib.generation.sampling import Seeds, generate
from brainram_lib.generation.settings import GenerationSettings
from brainram_lib.generation.versatile_diffusion import VersatileDiffusion

ROUND_TRIP_CHUNK = 100


class Generator:
    """The network, how it is guided, and the encoder's tokens of a blank image and of an empty caption."""

    def __init__(
        self, settings: GenerationSettings, model: VersatileDiffusion, null_image: Tensor, null_text: Tensor
    ) -> None:
        self.settings, self.model = settings, model
        self.null_image, self.null_text = null_image, null_text

    def round_trip(self, images: UInt8[np.ndarray, "n height width 3"]) -> UInt8[np.ndarray, "n height width 3"]:
        """Images through the autoencoder and back: the best that any latent can give."""
        starts = tqdm(range(0, len(images), ROUND_TRIP_CHUNK), desc="autoencoder", unit="chunk")
        parts = (images[start : start + ROUND_TRIP_CHUNK] for start in starts)
        return np.concatenate([self.model.decode(self.model.encode(part)) for part in parts])

    def generate(
        self,
        image_tokens: Float[np.ndarray, "n image_tokens features"],
        text_tokens: Float[np.ndarray, "n text_tokens features"],
        label: str = "generate",
        text_mix: float | None = None,
        neighbours: Float[np.ndarray, "n image_tokens features"] | None = None,
        seed: Seeds = 0,
        start_images: UInt8[np.ndarray, "n height width 3"] | None = None,
        strength: float = 1.0,
        bar: tqdm | None = None,
    ) -> UInt8[np.ndarray, "n height width 3"]:
        """One image for each pair of token sets.

        Args:
            image_tokens, text_tokens: the estimates.
            label: of the progress bar.
            text_mix: the text's share of the guidance, where it is not the settings'.
            neighbours: image tokens of the guiding neighbours, with the settings' share.
            seed: of the noise; see `sampling.generate`.
            start_images, strength: images to start from instead of noise, and the share of the steps that they go
                through; see `sampling.generate`.
            bar: a caller's own progress bar, which counts pictures.
        """
        settings = self.settings
        return generate(
            self.model,
            as_tensor(image_tokens),
            as_tensor(text_tokens),
            null_image_tokens=self.null_image,
            null_text_tokens=self.null_text,
            second_image_tokens=None if neighbours is None else as_tensor(neighbours),
            second_share=settings.neighbour_share,
            text_mix=settings.text_mix if text_mix is None else text_mix,
            guidance_scale=settings.guidance_scale,
            steps=settings.steps,
            scheduler=settings.scheduler,
            batch_size=settings.batch,
            seed=seed,
            start_images=start_images,
            strength=strength,
            label=label,
            bar=bar,
        )
