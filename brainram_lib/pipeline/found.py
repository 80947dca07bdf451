"""Images of the corpus that image estimates find, and the one of them that is shown (section 5.2, Table 2).

Every system queries in the same way, whatever search of its own it has: token 0 of each of its outputs, by cosine, in
the corpus's index of images. The paper does not say which retrieved image is scored; here the brain's own tokens
choose, as in MindEye, and the stimulus is never looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from brainram_lib.core.files import write_array
from brainram_lib.core.store import Stage, Store
from brainram_lib.pipeline.controls import TEST
from brainram_lib.pipeline.corpus import CORPORA, CorpusSource, corpus_tokens
from brainram_lib.pipeline.data import Targets, finite
from brainram_lib.pipeline.duplicates import NearDuplicates
from brainram_lib.pipeline.nearest import nearest_of_each
from brainram_lib.pipeline.pictures import CHOSEN
from brainram_lib.pipeline.prior import Estimates
from brainram_lib.pipeline.ram import Retrieved
from brainram_lib.pipeline.weights import EncoderWeights

# Outputs of each stimulus where a system draws samples, and images that are retrieved (5.2).
OUTPUTS, IMAGES = 16, 16
# Stimuli whose candidates' tokens are held at a time: 16 images of 257 x 768 tokens each fit into memory.
CHUNK = 16


@dataclass(frozen=True)
class Outputs(Estimates):
    """Samples p of the test stimuli alone: nothing is trained on them."""

    splits: ClassVar[tuple[str, ...]] = TEST

    @property
    def name(self) -> str:
        return f"outputs-{self.prior.targets.modality}"


@dataclass(frozen=True)
class OutputNeighbours(Retrieved):
    """The neighbours of each output by the method's own search: what its RAM is handed."""

    splits: ClassVar[tuple[str, ...]] = TEST

    @classmethod
    def of(cls, found: Retrieved, image: Estimates | None, text: Estimates | None) -> OutputNeighbours:
        """Like `found`, of other samples; a modality that does not query there does not query here."""
        same = {one.name: getattr(found, one.name) for one in fields(Retrieved)}
        asking = {"image": image, "text": text}
        return cls(**{**same, **{name: one for name, one in asking.items() if same[name] is not None}})

    @property
    def name(self) -> str:
        return f"neighbours-of-outputs-{self.modality}"


@dataclass(frozen=True)
class Found(Stage):
    """The corpus images that image estimates find, `items.npy` (n, count), the most similar first.

    Item j of the corpus, of image embedding e_j, scores

        s_j = max_s cos(o_s, e_j),    o_s token 0 of output s of the stimulus;

    the `count` different items with the largest scores are kept. With one output these are its `count` nearest images.

    Attributes:
        outputs: the stage of the image tokens, whose `test.npy` is (n, [S,] T, D).
        corpus: what is searched. encoder: of the tokens; an item that cannot be encoded is not found.
        index, nprobe: see `retrieval.settings`.
        duplicates: of the stimuli, which may not be found; None where all items may. In the key only if given.
        count: images of each stimulus.
    """

    outputs: Stage
    corpus: CorpusSource
    encoder: EncoderWeights
    index: str
    nprobe: int | None
    duplicates: NearDuplicates | None = field(default=None, metadata={"keyed": False})
    count: int = IMAGES

    def make(self, folder: Path, store: Store) -> None:
        """Search, then take the next items for those that cannot be encoded."""
        from brainram_lib.pipeline.search import both_excluded
        from brainram_lib.retrieval.index import Neighbours, VectorIndex
        from brainram_lib.retrieval.neighbours import best_items, find_neighbours, image_query
        from brainram_lib.retrieval.readable import find_readable

        corpus = self.corpus.open(store.root)
        indices = store.root.absolute() / CORPORA / f"indices-{self.corpus.rows_key}"
        index = VectorIndex.of(corpus, "image", self.index, indices, self.nprobe)
        queries = image_query(_samples(store, self.outputs))
        banned = None if self.duplicates is None else self.duplicates.items(store)

        def search(refused: list[np.ndarray] | None) -> Neighbours:
            excluded = both_excluded(refused, banned, len(queries))
            items = best_items(find_neighbours(index, queries, self.count, excluded), self.count)[:, None]
            return Neighbours(items, np.zeros(items.shape, np.float32))

        cache = corpus_tokens(self.corpus, self.encoder, store)
        found = find_readable(search, lambda ids: cache.prepare(ids, "image"))
        write_array(folder / "items.npy", found.ids[:, 0])


@dataclass(frozen=True)
class FoundImage(Stage):
    """The one of the images found that is shown: its tokens are the most similar to the brain's own.

        argmax_j cos(b, c_j),    c_j all image tokens of item j, flattened

    b is the mean of the samples of `choosing`. Nothing here sees the stimulus.

    Attributes:
        found: to choose among. choosing: the stage of b, whose `test.npy` is (n, [S,] T, D).
    """

    found: Found
    choosing: Stage

    def make(self, folder: Path, store: Store) -> None:
        """`items.npy` and `chosen.npy`, one for each stimulus."""
        found, items = self.found, np.array(store.result(self.found).array("items"))
        cache = corpus_tokens(found.corpus, found.encoder, store)
        chosen = []
        for start, estimates in _means(_samples(store, self.choosing), self.choosing.name):
            rows = items[start : start + CHUNK]
            best = nearest_of_each(estimates, cache.tokens_of(rows, "image").numpy())
            chosen.append(rows[np.arange(len(rows)), best])
        shown: Int[np.ndarray, " n"] = np.concatenate(chosen)
        write_array(folder / "items.npy", shown)
        write_array(folder / f"{CHOSEN}.npy", found.corpus.open(store.root).images(shown))


def closeness(store: Store, found: Found, items: Int[np.ndarray, "n k"], targets: Targets) -> Float[np.ndarray, "n k"]:
    """Cosine of items' global image embeddings with their stimuli's: uses the truth, so for reports alone.

    Args:
        found: whose corpus and encoder. items: of each test stimulus. targets: image tokens of the stimuli.
    """
    from brainram_lib.retrieval.neighbours import image_query

    cache, goals = corpus_tokens(found.corpus, found.encoder, store), image_query(store.result(targets).array("test"))
    cosines = []
    for start in range(0, len(items), CHUNK):
        rows = slice(start, start + CHUNK)
        known = image_query(cache.tokens_of(items[rows], "image").numpy())
        cosines.append(np.einsum("nkd,nd->nk", known, goals[rows]))
    return np.concatenate(cosines)


def _samples(store: Store, stage: Stage) -> Float[np.ndarray, "n samples tokens width"]:
    """Memory-mapped; a stage without samples has one."""
    tokens = store.result(stage).array("test")
    return tokens if tokens.ndim == 4 else tokens[:, None]


def _means(
    samples: Float[np.ndarray, "n samples tokens width"], name: str
) -> Iterator[tuple[int, Float[np.ndarray, "rows tokens width"]]]:
    """The mean of each stimulus's samples, CHUNK stimuli at a time, each with the number of the first."""
    for start in range(0, len(samples), CHUNK):
        part = np.asarray(samples[start : start + CHUNK], np.float32)
        yield start, finite(part, name, start).mean(1)
