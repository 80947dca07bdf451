"""Images of the compared systems: guided by tokens of one modality or both, from noise or from a start image."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, UInt8

from brainram_lib.core.files import write_array
from brainram_lib.core.store import Stage, Store
from brainram_lib.generation.settings import GenerationSettings
from brainram_lib.pipeline.data import finite
from brainram_lib.pipeline.peers.latents import StartImages
from brainram_lib.pipeline.pictures import CHOSEN, CHUNK, generator_of, keep_pictures
from brainram_lib.pipeline.weights import EncoderWeights, GeneratorWeights

if TYPE_CHECKING:
    from torch import Tensor
    from tqdm.auto import tqdm

    from brainram_lib.generation.generator import Generator
    from brainram_lib.generation.selection import Chosen


@dataclass(frozen=True)
class PeerImages(Stage):
    """`draws` images of each test stimulus, and the first or the one that agrees best with an estimate from the brain.

    Sample s of the estimates guides the images s, s + S, ... Nothing here sees the stimulus.

    Attributes:
        image, text: the stages whose tokens guide; None where that modality guides nothing.
        start: images to start from; None: from noise.
        strength: share of the steps that a start image goes through.
        chooser: image tokens that the images are compared with to choose one; None: the first is shown.
        weights: of the generator. encoder: of the choice and of 'no image' and 'no text'.
        settings: of the generator; without image `text_mix` is 1, without text 0.
        draws: images of each stimulus.
        seed: of the noise.
        label: of the progress bar.

    Raises:
        ValueError: nothing guides, or `text_mix` gives a share to a modality that is not there.
    """

    image: Stage | None
    text: Stage | None
    start: StartImages | None
    strength: float
    chooser: Stage | None
    weights: GeneratorWeights
    encoder: EncoderWeights
    settings: GenerationSettings
    draws: int
    seed: int
    label: str = field(default="generate", metadata={"keyed": False})

    def __post_init__(self) -> None:
        if self.image is None and self.text is None:
            raise ValueError(f"'{self.label}' has neither image nor text tokens: nothing guides. Give one of them.")
        alone = 1.0 if self.image is None else 0.0 if self.text is None else None
        if alone is not None and self.settings.text_mix != alone:
            missing = "image" if self.image is None else "text"
            raise ValueError(
                f"'text_mix' of '{self.label}' must be {alone} where there are no {missing} tokens. "
                f"{self.settings.text_mix} was provided."
            )

    def make(self, folder: Path, store: Store) -> None:
        """`samples.npy`, `chosen.npy`, `index.npy`, and `agreement.npy` where one is chosen."""
        generator = generator_of(self.settings, self.weights, self.encoder)
        tokens = self._tokens(store, generator)
        starts = None if self.start is None else store.result(self.start).array(CHOSEN)

        def made(rows: Int[np.ndarray, " rows"], bar: tqdm) -> UInt8[np.ndarray, "pictures height width 3"]:
            return self._made(generator, tokens, starts, rows, bar)

        samples = keep_pictures(folder / "samples.npy", len(tokens[0]), self.draws, self.label, made)
        chunks = np.split(np.arange(len(samples)), range(CHUNK, len(samples), CHUNK))
        found = [self._chosen(store, samples[rows], rows) for rows in chunks]
        write_array(folder / f"{CHOSEN}.npy", np.concatenate([one.images for one in found]))
        write_array(folder / "index.npy", np.concatenate([one.index for one in found]))
        if self.chooser is not None:
            agreement = np.concatenate([one.agreement for one in found])
            write_array(folder / "agreement.npy", finite(agreement, self.label))

    def _tokens(self, store: Store, generator: Generator) -> tuple[Tensor, Tensor]:
        """Samples of both modalities, (n, S, T, D); those of 'no image' or 'no text' where none guide."""
        from brainram_lib.pipeline.tokens import samples_of

        known = [None if stage is None else samples_of(store, stage) for stage in (self.image, self.text)]
        count = next(len(one) for one in known if one is not None)
        nothing = [null[None].expand(count, -1, -1, -1) for null in (generator.null_image, generator.null_text)]
        image, text = (null if one is None else one for one, null in zip(known, nothing, strict=True))
        return image, text

    def _made(
        self,
        generator: Generator,
        tokens: tuple[Tensor, Tensor],
        starts: np.ndarray | None,
        rows: Int[np.ndarray, " rows"],
        bar: tqdm,
    ) -> UInt8[np.ndarray, "pictures height width 3"]:
        """All draws of some stimuli; each draw has its own noise, whatever else is in the batch."""
        turns = np.arange(self.draws)
        guiding = [
            finite(one[rows][:, turns % one.shape[1]].numpy(), self.label, int(rows[0])).reshape(-1, *one.shape[2:])
            for one in tokens
        ]
        begun = None if starts is None else np.repeat(np.array(starts[rows]), self.draws, 0)
        seeds = noise_seeds(self.seed, rows, self.draws)
        strength = 1.0 if starts is None else self.strength
        return generator.generate(*guiding, self.label, seed=seeds, start_images=begun, strength=strength, bar=bar)

    def _chosen(self, store: Store, made: np.ndarray, rows: Int[np.ndarray, " rows"]) -> Chosen:
        from brainram_lib.generation.selection import Chosen, choose
        from brainram_lib.pipeline.tokens import samples_of

        if self.chooser is None:
            return Chosen(made[:, 0], np.zeros(len(made), int), np.zeros(made.shape[:2]))
        return choose(made, samples_of(store, self.chooser)[rows], self.encoder.load().image_tokens)


def noise_seeds(seed: int, rows: Int[np.ndarray, " rows"], draws: int) -> list[int]:
    """One number for each image, from the run's seed, the stimulus and the draw, never from the chunk."""
    return [(seed * 1_000 + draw) * 100_000 + int(row) for row in rows for draw in range(draws)]
