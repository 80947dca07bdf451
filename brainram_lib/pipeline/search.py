"""From estimates to neighbours: what is read out of text estimates, and the search itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from brainram_lib.core.files import write_array, write_json
from brainram_lib.core.rows import Rows
from brainram_lib.core.whitening import TokenWhitening, whitened_by
from brainram_lib.encoders import ClipTokens
from brainram_lib.retrieval.corpus import Corpus
from brainram_lib.retrieval.index import Excluded, Neighbours, VectorIndex
from brainram_lib.retrieval.neighbours import CombinedIndex, find_by_parts, find_neighbours, image_query, text_query
from brainram_lib.retrieval.readable import FindExcept, find_readable
from brainram_lib.retrieval.readouts import PooledTextReadout, TokenReadout
from brainram_lib.retrieval.reranking import reranked
from brainram_lib.retrieval.settings import RetrievalSettings
from brainram_lib.retrieval.tokens import TokenCache
from brainram_lib.retrieval.words import Vocabulary

Estimates = Mapping[str, Float[np.ndarray, "n samples tokens width"]]


def fit_readouts(folder: Path, corpus: Corpus, encoder: ClipTokens, words: bool, count: int) -> None:
    """What a search reads out of text tokens: the pooled embedding and, with `words`, which words they hold.

    Fitted on single captions of the corpus, the first `count`. The targets average an image's captions, and
    the readouts suit them too: they are linear up to the length of their output, so that averaged tokens give the
    average readout.
    """
    captions = [corpus.caption(item) for item in range(min(count, len(corpus)))]
    tokens = encoder.text_tokens([[caption] for caption in captions])
    PooledTextReadout.fit(tokens, encoder.pooled_texts(captions)).save(folder / "readout.safetensors")
    if words:
        WordReadout.fit(corpus, captions, tokens).save(folder)


@dataclass(frozen=True)
class WordReadout:
    """Which words a text estimate holds: the corpus's vocabulary, and a linear map from tokens to their presence."""

    vocabulary: Vocabulary
    readout: TokenReadout

    @classmethod
    def fit(
        cls, corpus: Corpus, captions: Sequence[str], tokens: Float[Tensor, "captions tokens width"]
    ) -> WordReadout:
        """The vocabulary of all captions of the corpus; the map from these captions' tokens to their words."""
        vocabulary = Vocabulary.of([corpus.caption(item) for item in range(len(corpus))])
        return cls(vocabulary, TokenReadout.fit(tokens, torch.from_numpy(vocabulary.presence(captions)).float()))

    def __call__(self, tokens: Float32[np.ndarray, "n tokens width"]) -> Float32[np.ndarray, "n words"]:
        """The query: the vector of word presence that these tokens hold."""
        return self.vocabulary.vectors(self.readout(tokens).numpy())

    def of_captions(self, corpus: Corpus) -> Float32[np.ndarray, "items words"]:
        """The vectors of all captions of a corpus."""
        return self.vocabulary.vectors(self.vocabulary.presence([corpus.caption(item) for item in range(len(corpus))]))

    def save(self, folder: Path) -> None:
        """Write the words and the map."""
        self.readout.save(folder / "words.safetensors")
        write_json(folder / "words.json", {"words": self.vocabulary.words, "share": self.vocabulary.share.tolist()})

    @classmethod
    def load(cls, folder: Path) -> WordReadout:
        """Read what `save` wrote."""
        stored = json.loads((folder / "words.json").read_text())
        vocabulary = Vocabulary(tuple(stored["words"]), np.array(stored["share"], np.float32))
        return cls(vocabulary, TokenReadout.load(folder / "words.safetensors"))


def write_neighbours(folder: Path, split: str, found: Neighbours) -> None:
    """The neighbours of a split, as stages keep them."""
    write_array(folder / f"{split}_ids.npy", found.ids)
    write_array(folder / f"{split}_similarity.npy", found.similarity)


def both_excluded(one: Excluded, other: Excluded, stimuli: int) -> Excluded:
    """What either excludes."""
    if one is None or other is None:
        return other if one is None else one
    parts = [[ids] * stimuli if isinstance(ids, np.ndarray) and ids.ndim == 1 else ids for ids in (one, other)]
    return [np.union1d(first, second) for first, second in zip(*parts, strict=True)]


@dataclass(frozen=True)
class Search:
    """A corpus and how a profile searches it.

    Without `settings.text_weight` this is the paper's search, by cosine in the modality's own index. Otherwise both
    estimates ask together for both modalities: image embedding, text embedding and words, each part's similarities
    z-scored over the corpus. `words` is needed where `settings.word_weight` is above zero.
    `indices`: where an index that this library builds is kept.
    """

    settings: RetrievalSettings
    corpus: Corpus
    readout: PooledTextReadout
    words: WordReadout | None
    tokens: TokenCache
    indices: Path | None = None

    def write(
        self,
        folder: Path,
        split: str,
        modality: str,
        estimates: Estimates,
        whitening: TokenWhitening | None,
        excluded: Excluded = None,
    ) -> None:
        """K neighbours of every sample for one modality, as `<split>_ids.npy` and `<split>_similarity.npy`.

        `whitening`: of image tokens, for the choice among candidates; None where no such choice is made.
        `excluded`: items that may not be found, one array for all stimuli or one for each.
        """
        write_neighbours(folder, split, self.find(modality, estimates, whitening, excluded))

    def find(
        self, modality: str, estimates: Estimates, whitening: TokenWhitening | None, excluded: Excluded = None
    ) -> Neighbours:
        """What `write` writes."""
        alone = self.settings.text_weight is None
        search = self._alone(modality, estimates) if alone else self._by_all(estimates)
        encoded = "text" if modality == "text" else "image"
        stimuli = len(next(iter(estimates.values())))
        found = find_readable(
            lambda refused: search(both_excluded(refused, excluded, stimuli)),
            lambda ids: self.tokens.prepare(ids, encoded),
        )
        if self.settings.candidates is not None:
            found = self._chosen(found, estimates["image"], whitened_by(whitening))
        return found

    @property
    def _count(self) -> int:
        return self.settings.candidates or self.settings.neighbours

    def _alone(self, modality: str, estimates: Estimates) -> FindExcept:
        index = VectorIndex.of(self.corpus, modality, self.settings.index, self.indices, self.settings.nprobe)
        image = modality == "image"
        queries = image_query(estimates["image"]) if image else text_query(estimates["text"], self.readout)
        return lambda excluded: find_neighbours(index, queries, self._count, excluded)

    def combined(self) -> CombinedIndex:
        """What both estimates ask together: image embeddings, text embeddings and, with `words`, those of captions."""
        return CombinedIndex.of(self.corpus, None if self.words is None else self.words.of_captions(self.corpus))

    @property
    def weights(self) -> list[float]:
        """Of the parts of `combined`."""
        of_words = [] if self.words is None else [self.settings.word_weight]
        return [1 - self.settings.text_weight, self.settings.text_weight, *of_words]

    def _by_all(self, estimates: Estimates) -> FindExcept:
        index, weights = self.combined(), self.weights
        queries = [image_query(estimates["image"]), text_query(estimates["text"], self.readout)]
        if self.settings.query_whitening:
            floor = self.settings.query_whitening
            queries = [index.whitened(part, asked, floor) for part, asked in enumerate(queries)]
        if self.words is not None:
            queries.append(text_query(estimates["text"], self.words))
        return lambda excluded: find_by_parts(index, queries, weights, self._count, excluded, z_scored=True)

    def _chosen(self, found: Neighbours, estimates: np.ndarray, whitened: Callable[[Tensor], Tensor]) -> Neighbours:
        return reranked(
            found,
            Rows(estimates, mapped=whitened),
            lambda items: whitened(self.tokens.tokens_of(items, "image", torch.float16)),
            self.settings.token_weight,
            self.settings.neighbours,
        )
