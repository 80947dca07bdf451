"""Images of the test stimuli: generated from a system's tokens, or images that exist, shown as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, UInt8

from brainram_lib.core.blocks import keep_blocks
from brainram_lib.core.files import write_array
from brainram_lib.core.store import Stage, Store
from brainram_lib.generation.settings import GenerationSettings
from brainram_lib.pipeline.corpus import corpus_tokens
from brainram_lib.pipeline.data import Targets, finite
from brainram_lib.pipeline.nearest import derangement, nearest_by_tokens, nearest_neighbour
from brainram_lib.pipeline.prior import Estimates
from brainram_lib.pipeline.ram import GuidingNeighbours, Retrieved
from brainram_lib.pipeline.weights import EncoderWeights, GeneratorWeights

if TYPE_CHECKING:
    from tqdm.auto import tqdm

    from brainram_lib.generation.generator import Generator

# Stimuli at a time: few enough for the tokens of all their draws to fit into memory.
CHUNK = 64
# Every stage of images writes the one that is shown for each stimulus under this name.
CHOSEN = "chosen"


@dataclass(frozen=True)
class Generated(Stage):
    """`draws` images of each test stimulus, and the one that agrees best with the brain's own estimate.

    Sample s of the estimates guides the images s, s + S, ...: with an estimate without samples, as many images
    are drawn, each from its own noise. Nothing here sees the stimulus.

    Attributes:
        image, text: the stages whose tokens guide.
        guide: the guiding neighbours beside them, if any.
        weights: of the generator. encoder: of the choice.
        settings: of the generator; the guiding neighbour's share counts only where there is one.
        draws: images of each stimulus.
        seed: of the noise.
        label: of the progress bar.
    """

    image: Stage
    text: Stage
    guide: GuidingNeighbours | None
    weights: GeneratorWeights
    encoder: EncoderWeights
    settings: GenerationSettings
    draws: int
    seed: int
    label: str = field(default="generate", metadata={"keyed": False})

    def make(self, folder: Path, store: Store) -> None:
        """`samples.npy`, their `agreement.npy`, and `chosen.npy`."""
        from brainram_lib.generation.selection import choose
        from brainram_lib.pipeline.tokens import samples_of

        image, text = (samples_of(store, stage) for stage in (self.image, self.text))
        for tokens in (image, text):
            finite(tokens.numpy(), self.label)
        generator, guiding = generator_of(self.settings, self.weights, self.encoder), self._guiding(store)

        def made(rows: Int[np.ndarray, " rows"], bar: tqdm) -> UInt8[np.ndarray, "pictures height width 3"]:
            turns = np.arange(self.draws) % image.shape[1]
            tokens = [one[rows][:, turns].flatten(0, 1).numpy() for one in (image, text)]
            neighbours = None if guiding is None else guiding[rows].reshape(-1, *guiding.shape[2:])
            seeds = [(self.seed, int(row) * self.draws + draw) for row in rows for draw in range(self.draws)]
            return generator.generate(*tokens, self.label, neighbours=neighbours, seed=seeds, bar=bar)

        samples = keep_pictures(folder / "samples.npy", len(image), self.draws, self.label, made)
        chosen = choose(samples, image, self.encoder.load().image_tokens)
        write_array(folder / "agreement.npy", finite(chosen.agreement, self.label))
        write_array(folder / "index.npy", chosen.index)
        write_array(folder / f"{CHOSEN}.npy", chosen.images)

    def _guiding(self, store: Store) -> Float[np.ndarray, "n draws tokens width"] | None:
        if self.guide is None:
            return None
        cache = corpus_tokens(self.guide.found.corpus, self.encoder, store)
        return cache.tokens_of(np.array(store.result(self.guide).array("items")), "image").numpy()


def keep_pictures(path: Path, count: int, draws: int, label: str, made: Callable[..., np.ndarray]) -> np.ndarray:
    """Write `draws` images of each of `count` stimuli; after an interruption it resumes from the last chunk of stimuli.

    Args:
        path: of the array, (count, draws, height, width, 3).
        label: of the progress bar, and of what is said where a picture is not finite.
        made: (rows of stimuli, progress bar) -> their images, draw after draw, (rows * draws, height, width, 3).

    Returns:
        The array as it lies on the disk.
    """
    from tqdm.auto import tqdm

    from brainram_lib.generation.versatile_diffusion import NotFiniteError

    def blocks(first: int) -> Iterator[np.ndarray]:
        with tqdm(total=count * draws, initial=first * draws, desc=label, unit="picture") as bar:
            for start in range(first, count, CHUNK):
                rows = np.arange(start, min(start + CHUNK, count))
                try:
                    pictures = made(rows, bar)
                except NotFiniteError as problem:
                    stimulus, draw = divmod(start * draws + problem.row, draws)
                    raise ValueError(f"'{label}', stimulus {stimulus}, sample {draw}: {problem}") from problem
                yield pictures.reshape(len(rows), draws, *pictures.shape[1:])

    keep_blocks(path, count, blocks)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def generator_of(settings: GenerationSettings, weights: GeneratorWeights, encoder: EncoderWeights) -> Generator:
    """The generator, with the encoder's tokens of a blank image and of an empty caption."""
    from brainram_lib.generation.generator import Generator

    clip = encoder.load()
    return Generator(settings, weights.load(), clip.blank_image_tokens(), clip.empty_text_tokens())


@dataclass(frozen=True)
class NearestNeighbour(Stage):
    """The image of the nearest neighbour, the most similar one, as it is: a baseline that generates nothing."""

    found: Retrieved

    def make(self, folder: Path, store: Store) -> None:
        """Over all samples of a stimulus."""
        found = self.found.found(store, "test")
        items = nearest_neighbour(found.ids, found.similarity)
        write_array(folder / "items.npy", items)
        write_array(folder / f"{CHOSEN}.npy", self.found.corpus.open(store.root).images(items))


@dataclass(frozen=True)
class GuidingPicture(Stage):
    """The image of the guiding neighbour of the chosen image, as it is: what a guided system must beat."""

    made: Generated

    def make(self, folder: Path, store: Store) -> None:
        """Sample s of a stimulus was guided by its s-th item."""
        result, guide = store.result(self.made), self.made.guide
        items = np.array(store.result(guide).array("items"))
        chosen = items[np.arange(len(items)), np.array(result.array("index"))]
        write_array(folder / "items.npy", chosen)
        write_array(folder / f"{CHOSEN}.npy", guide.found.corpus.open(store.root).images(chosen))


@dataclass(frozen=True)
class NearestTraining(Stage):
    """The training image whose tokens are nearest to the brain's estimate, as it is."""

    estimates: Estimates
    targets: Targets

    def make(self, folder: Path, store: Store) -> None:
        """By the mean of the samples."""
        p = np.asarray(store.result(self.estimates).array("test"), np.float32).mean(1)
        rows, _ = nearest_by_tokens(p, np.asarray(store.result(self.targets).array("train"), np.float32))
        write_array(folder / "rows.npy", rows)
        write_array(folder / f"{CHOSEN}.npy", self.targets.images.stimuli(store, "train")[rows])


@dataclass(frozen=True)
class Shuffled(Stage):
    """A system's images handed to the wrong brains."""

    images: Stage
    seed: int

    def make(self, folder: Path, store: Store) -> None:
        """In an order in which no stimulus keeps its own."""
        chosen = store.result(self.images).array(CHOSEN)
        write_array(folder / f"{CHOSEN}.npy", chosen[derangement(len(chosen), self.seed)])
