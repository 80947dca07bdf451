"""Stages of Mind Reader: global embeddings of image and captions, their estimates, and tokens made from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float, Int

from brainram_lib.core.files import write_array, write_blocks, write_json
from brainram_lib.core.store import Stage, Store
from brainram_lib.peers.settings import MindReaderSettings
from brainram_lib.pipeline.corpus import CorpusSource, corpus_tokens
from brainram_lib.pipeline.data import Targets, check_modality, finite, validation_rows
from brainram_lib.pipeline.duplicates import NearDuplicates
from brainram_lib.pipeline.peers.mindeye import pairs_of, write_trained
from brainram_lib.pipeline.weights import EncoderWeights

if TYPE_CHECKING:
    from brainram_lib.core.ridge import Ridge
    from brainram_lib.peers.mind_reader import MindReader
    from brainram_lib.retrieval.corpus import Corpus

# For z-scored embeddings: from what suits true embeddings to what suits poor estimates.
MAP_ALPHAS = tuple(float(alpha) for alpha in np.logspace(-1, 6, 15))
CHUNK = 64


@dataclass(frozen=True)
class Embeddings(Stage):
    """Global embeddings of the training images, (n, D), of norm 1. Those of the test images are not made.

    Attributes:
        targets: the tokens of the same images. Of images, token 0 is the embedding; of captions, it is the mean of
            each caption's, normalised.
    """

    targets: Targets

    @property
    def name(self) -> str:
        return f"embeddings-{self.targets.modality}"

    def make(self, folder: Path, store: Store) -> None:
        """See `Embeddings`."""
        if self.targets.modality == "image":
            found = np.array(store.result(self.targets).array("train")[:, 0], np.float32)
        else:
            captions = self.targets.images.captions(store, "train")
            flat = self.targets.encoder.load().pooled_texts([text for texts in captions for text in texts]).numpy()
            ends = np.cumsum([len(texts) for texts in captions])
            found = np.stack([part.mean(0) for part in np.split(flat, ends[:-1])])
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        write_array(folder / "train.npy", finite(found, self.name))


@dataclass(frozen=True)
class MindReaderTraining(Stage):
    """The mapping from betas to one modality's embedding.

    Attributes:
        embeddings: to reach.
        settings: sizes and training.
        validation: training images that are monitored, not trained on.
        seed: of weights and batches.
    """

    embeddings: Embeddings
    settings: MindReaderSettings
    validation: int
    seed: int
    together: ClassVar[bool] = True

    @property
    def modality(self) -> str:
        """Of the embedding."""
        return self.embeddings.targets.modality

    @property
    def name(self) -> str:
        return f"mind-reader-{self.modality}"

    def make(self, folder: Path, store: Store) -> None:
        """Train on the fitting images, monitor the validation images."""
        from brainram_lib.peers.mind_reader import train_mind_reader

        images = self.embeddings.targets.images
        pairs = pairs_of(store, images, self.embeddings, None, self.validation)
        label = f"Mind Reader, {self.modality}"
        write_trained(folder, lambda: train_mind_reader(self.settings, *pairs, folder, self.seed, label))

    def load(self, store: Store) -> MindReader:
        """The trained mapping, on a GPU where there is one."""
        from brainram_lib.core.devices import accelerator
        from brainram_lib.peers.mind_reader import MindReader

        width = store.result(self.embeddings).array("train").shape[1]
        voxels = self.embeddings.targets.images.betas(store)["test"].shape[1]
        weights = store.result(self).folder / "weights.safetensors"
        return MindReader(self.settings, voxels, width).load(weights).to(accelerator())


@dataclass(frozen=True)
class TokenMap(Stage):
    """A linear map from a global embedding to all tokens of its image or caption, fitted on corpus pairs.

    Embeddings are z-scored with the corpus's statistics. Because estimated embeddings differ from true ones, each
    token's alpha is chosen on estimates, those of the validation images.

    Attributes:
        training: whose estimates are mapped: a stage with `embeddings`, `validation` and `load`.
        corpus: whose first `items` are read. encoder: of embeddings and tokens.
        modality: 'image' or 'text'.
        items: how many; those whose image cannot be read are left out.
        copies: near-duplicates of stimuli, where they are left out too.
    """

    training: Stage
    corpus: CorpusSource
    encoder: EncoderWeights
    modality: str
    items: int = 4_000
    # in the key where there are any
    copies: NearDuplicates | None = field(default=None, metadata={"keyed": False})

    def __post_init__(self) -> None:
        check_modality(self.modality)

    @property
    def name(self) -> str:
        return f"token-map-{self.training.name}"

    def make(self, folder: Path, store: Store) -> None:
        """Fit, and write map and statistics."""
        from brainram_lib.core.ridge import fit_ridge

        cache, corpus = corpus_tokens(self.corpus, self.encoder, store), self.corpus.open(store.root)
        copies = () if self.copies is None else self.copies.items(store)
        wanted = np.setdiff1d(np.arange(min(self.items, len(corpus))), np.array(sorted(copies), np.int64))
        failed = cache.prepare(wanted, self.modality)
        known = np.setdiff1d(wanted, np.array(sorted(failed), wanted.dtype))
        tokens = cache.tokens_of(known, self.modality).numpy()
        embeddings = self._embeddings(corpus, known, tokens)
        mean, spread = embeddings.mean(0), np.maximum(embeddings.std(0), 1e-6)
        estimated, real = self._validation(store)
        ridge = fit_ridge((embeddings - mean) / spread, tokens, (estimated - mean) / spread, real, MAP_ALPHAS)
        ridge.save(folder / "map.safetensors")
        write_array(folder / "mean.npy", mean)
        write_array(folder / "spread.npy", spread)
        write_json(folder / "fit.json", {"alphas": ridge.alphas.tolist(), "r2_validation": ridge.r2.tolist()})

    def _validation(self, store: Store) -> tuple[np.ndarray, np.ndarray]:
        """Estimated embeddings and true tokens of the validation images."""
        from brainram_lib.core.rows import as_tensor

        targets = self.training.embeddings.targets
        betas, tokens = targets.images.betas(store)["train"], store.result(targets).array("train")
        rows = validation_rows(len(tokens), self.training.validation)[1]
        estimated = self.training.load(store).predict(as_tensor(betas[rows])).numpy()
        return finite(estimated, self.name), np.array(tokens[rows], np.float32)

    def _embeddings(
        self, corpus: Corpus, items: Int[np.ndarray, " n"], tokens: Float[np.ndarray, "n tokens width"]
    ) -> Float[np.ndarray, "n width"]:
        """By this encoder, whatever the corpus was embedded with."""
        if self.modality == "image":
            return tokens[:, 0]
        return self.encoder.load().pooled_texts([corpus.caption(item) for item in items]).numpy()

    def load(self, store: Store) -> tuple[Ridge, np.ndarray, np.ndarray]:
        """The map, and the embeddings' mean and spread."""
        from brainram_lib.core.ridge import Ridge

        result = store.result(self)
        return Ridge.load(result.folder / "map.safetensors"), result.array("mean"), result.array("spread")


@dataclass(frozen=True)
class EmbeddingTokens(Stage):
    """Tokens of every test stimulus, (n, T, D), from the estimated embedding, which is written beside them.

    Attributes:
        tokens: the map from it, and whose embedding it is.
    """

    tokens: TokenMap

    @property
    def training(self) -> Stage:
        """Whose embedding."""
        return self.tokens.training

    @property
    def name(self) -> str:
        return f"{self.training.name}-tokens"

    def make(self, folder: Path, store: Store) -> None:
        """The embedding of each stimulus, then its tokens, a chunk at a time."""
        from brainram_lib.core.rows import as_tensor

        betas = as_tensor(self.training.embeddings.targets.images.betas(store)["test"])
        embeddings = finite(self.training.load(store).predict(betas).numpy(), self.name)
        ridge, mean, spread = self.tokens.load(store)

        def blocks() -> Iterator[np.ndarray]:
            for start in range(0, len(embeddings), CHUNK):
                part = (embeddings[start : start + CHUNK] - mean) / spread
                yield finite(ridge.predict(part), self.name, start)

        write_array(folder / "embeddings.npy", embeddings)
        write_blocks(folder / "test.npy", len(embeddings), blocks())
