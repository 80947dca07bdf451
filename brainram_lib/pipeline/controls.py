"""Variants of the retrieved neighbours, which every later stage takes in place of those that were found.

They show what retrieval contributed: another brain's neighbours, random ones, those that the truth would find (an
upper bound), those of a smaller corpus, and training images in the place of the corpus. A fusion that was trained on
the neighbours as found is handed them at test time (`Handed`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from brainram_lib.core.locks import held
from brainram_lib.core.marks import fingerprint
from brainram_lib.core.store import Store
from brainram_lib.pipeline.corpus import CORPORA, corpus_tokens
from brainram_lib.pipeline.data import Images
from brainram_lib.pipeline.nearest import derangement
from brainram_lib.pipeline.prior import Estimates
from brainram_lib.pipeline.ram import FusionTraining, Retrieved
from brainram_lib.pipeline.weights import EncoderWeights

if TYPE_CHECKING:
    from brainram_lib.retrieval.corpus import Corpus
    from brainram_lib.retrieval.index import Excluded, Neighbours
    from brainram_lib.retrieval.writing import CorpusItem

TEST = ("test",)
# How many items the true embeddings find; the best of them by all tokens are kept.
ORACLE_CANDIDATES = 64
# Tokens alone decide among them: a similarity is a sum of z-scores and never reaches this.
TOKENS_DECIDE = 1e4


@dataclass(frozen=True)
class Variant(Retrieved):
    """Neighbours as another rule gives them; of the test stimuli unless `splits` says otherwise."""

    splits: tuple[str, ...] = TEST

    @classmethod
    def of(cls, found: Retrieved, **settings: Any) -> Any:
        """The variant of these neighbours."""
        return cls(**{one.name: getattr(found, one.name) for one in fields(Retrieved)}, **settings)

    @property
    def name(self) -> str:
        words = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in type(self).__name__)
        return f"neighbours{words}-{self.modality}"

    @property
    def as_found(self) -> Retrieved:
        """What the search finds."""
        return Retrieved(*(getattr(self, one.name) for one in fields(Retrieved)))

    @property
    def estimates(self) -> Estimates:
        """The estimates that query, of one modality."""
        return self.text if self.image is None else self.image

    def make(self, folder: Path, store: Store) -> None:
        """The neighbours of each split."""
        from brainram_lib.pipeline.search import write_neighbours

        for split in self.splits:
            write_neighbours(folder, split, self.neighbours(store, split))

    def neighbours(self, store: Store, split: str) -> Neighbours:
        """By this variant's rule, (n, S, K)."""
        raise NotImplementedError


@dataclass(frozen=True)
class OtherBrain(Variant):
    """What was found for another stimulus of the same split."""

    seed: int = 0

    def neighbours(self, store: Store, split: str) -> Neighbours:
        """See `Variant`."""
        from brainram_lib.audits.controls import of_other_brains

        found = self.as_found.found(store, split)
        return of_other_brains(found, derangement(len(found.ids), self.seed))


@dataclass(frozen=True)
class Random(Variant):
    """Random items of the corpus, of those that can be opened."""

    seed: int = 0

    def neighbours(self, store: Store, split: str) -> Neighbours:
        """See `Variant`."""
        from brainram_lib.audits.controls import random_neighbours
        from brainram_lib.pipeline.search import both_excluded
        from brainram_lib.retrieval.readable import find_readable

        cache = corpus_tokens(self.corpus, self.readouts.encoder, store)
        stimuli, samples = store.result(self.estimates).array(split).shape[:2]
        banned, k = self.excluded(store, split), self.settings.neighbours
        how = len(cache.corpus), stimuli, samples, k, self.seed
        return find_readable(
            lambda refused: random_neighbours(*how, both_excluded(refused, banned, stimuli)),
            lambda ids: cache.prepare(ids, "text" if self.modality == "text" else "image"),
        )


@dataclass(frozen=True)
class Oracle(Variant):
    """An upper bound, which looks at the truth: what the true tokens find, the best of it by all true tokens.

    The true tokens query in place of the estimates; of the first `ORACLE_CANDIDATES` items, the K whose whitened tokens
    have the highest cosine with the true ones are kept. All samples of a stimulus have the same neighbours.
    """

    def asked(self, store: Store, split: str) -> dict[str, np.ndarray]:
        """The truth."""
        asking = [one for one in (self.image, self.text) if one is not None]
        goals = [one.prior.targets for one in asking]
        return {goal.modality: np.asarray(store.result(goal).array(split))[:, None] for goal in goals}

    def neighbours(self, store: Store, split: str) -> Neighbours:
        """See `Variant`."""
        from brainram_lib.core.rows import Rows
        from brainram_lib.core.whitening import whitened_by
        from brainram_lib.retrieval.index import Neighbours
        from brainram_lib.retrieval.reranking import reranked

        k, cache = self.settings.neighbours, corpus_tokens(self.corpus, self.readouts.encoder, store)
        wide = replace(
            self.settings, neighbours=max(k, min(ORACLE_CANDIDATES, len(cache.corpus) // 4)), candidates=None,
            token_weight=0.0,
        )  # fmt: skip
        truth = self.asked(store, split)
        search = replace(self, settings=wide).search(store)
        found = search.find(self.modality, truth, None, self.excluded(store, split))
        decides = self.estimates.prior
        whitened, of = whitened_by(decides.load(store).whitening), decides.targets.modality
        asked = Rows(truth[of], mapped=whitened)
        best = reranked(found, asked, lambda ids: whitened(cache.tokens_of(ids, of)), TOKENS_DECIDE, k)
        samples = store.result(self.estimates).array(split).shape[1]
        return Neighbours(*(np.repeat(one, samples, axis=1) for one in (best.ids, best.similarity)))


@dataclass(frozen=True)
class Fewer(Variant):
    """What is found in a random part of the corpus; z-scores of similarities stay those of the whole."""

    kept: int = 1
    seed: int = 0

    def excluded(self, store: Store, split: str) -> Excluded:
        """All items outside the part, and what may not be found anyway."""
        from brainram_lib.audits.controls import subset
        from brainram_lib.pipeline.search import both_excluded

        left_out, stimuli = subset(len(self.corpus.open(store.root)), self.kept, self.seed), 1
        banned = both_excluded(super().excluded(store, split), left_out, stimuli)
        return banned if isinstance(banned, np.ndarray) else banned[0]

    def neighbours(self, store: Store, split: str) -> Neighbours:
        """See `Variant`."""
        return searched(self, store, split)


@dataclass(frozen=True)
class FromTraining(Variant):
    """What is found among the training images and their captions; none finds itself."""

    @classmethod
    def of_run(cls, found: Retrieved, corpus: TrainingCorpus, **settings: Any) -> FromTraining:
        """In the place of the corpus in which these neighbours were found, by exact search."""
        exact = replace(found.settings, index="Flat", nprobe=None)
        moved = replace(found, readouts=replace(found.readouts, corpus=corpus), settings=exact, duplicates=None)
        return cls.of(moved, **settings)

    def excluded(self, store: Store, split: str) -> Excluded:
        """A training image's own entry, lest a fusion that is trained on these neighbours learn to copy."""
        if split != "train":
            return None
        return [np.array([row]) for row in range(len(self.corpus.open(store.root)))]

    def neighbours(self, store: Store, split: str) -> Neighbours:
        """See `Variant`."""
        return searched(self, store, split)


def searched(variant: Variant, store: Store, split: str) -> Neighbours:
    """What a variant's own search finds for its own estimates."""
    whitening = None if variant.image is None else variant.image.prior.load(store).whitening
    asked = variant.asked(store, split), whitening, variant.excluded(store, split)
    return variant.search(store).find(variant.modality, *asked)


@dataclass(frozen=True)
class TrainingCorpus:
    """A subject's training images, each with its first caption, as a corpus: row i is training image i.

    Attributes:
        images: whose. marks: of stimuli and captions (`Source.mark`).
        encoder: what embeds them.
    """

    images: Images
    marks: tuple[str, str]
    encoder: EncoderWeights
    recipe: ClassVar[int] = 1

    @property
    def key(self) -> str:
        """Of what it is made from."""
        return fingerprint([self.images.key, list(self.marks), self.encoder.key, self.recipe])

    @property
    def rows_key(self) -> str:
        """The same."""
        return self.key

    @property
    def size(self) -> None:
        """See `CorpusSource`."""
        return None

    def open(self, runs: Path) -> Corpus:
        """See `CorpusSource`. It is written on first use."""
        from brainram_lib.retrieval.writing import write_corpus

        root, encoder = runs.absolute() / CORPORA / f"training-{self.key}", self.encoder.load()
        if not root.exists():
            _opened.cache_clear()
            with held(root.with_name(f".{root.name}.lock"), "the corpus of training images"):
                if not root.exists():
                    partial = root.with_name(f".{root.name}.partial")
                    write_corpus(partial, self._items(Store(runs)), encoder, encoder.image_size)
                    partial.replace(root)
        return _opened(root, encoder.image_size)

    def _items(self, store: Store) -> Iterator[CorpusItem]:
        from brainram_lib.retrieval.images import encoded
        from brainram_lib.retrieval.writing import CorpusItem

        ids = self.images.nsd_ids(store, "train")
        captions = self.images.captions(store, "train")
        for nsd_id, pixels, said in zip(ids.tolist(), self.images.stimuli(store, "train"), captions, strict=True):
            yield CorpusItem(encoded(pixels), said[0], f"nsd:{nsd_id}")


@cache
def _opened(root: Path, image_size: int) -> Corpus:
    from brainram_lib.retrieval.corpus import Corpus

    return Corpus(root, image_size)


@dataclass(frozen=True)
class Handed(FusionTraining):
    """A fusion that was trained on the samples and neighbours as found, and is handed others at test time."""

    trained: FusionTraining
    together: ClassVar[bool] = False

    @classmethod
    def to(cls, trained: FusionTraining, found: Retrieved, **asking: Estimates | None) -> Handed:
        """The same fusion with other neighbours and, if `estimates` and `beside` are given, other samples."""
        same = {one.name: getattr(trained, one.name) for one in fields(FusionTraining)}
        return cls(**{**same, "found": found, **asking}, trained=trained)

    @property
    def name(self) -> str:
        return f"handed-fusion-{self.modality}"

    def make(self, folder: Path, store: Store) -> None:
        """The weights as they are."""
        shutil.copy(store.result(self.trained).folder / "fusion.safetensors", folder / "fusion.safetensors")
