"""The image-text corpus as a value, its tokens, and what is read out of text tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from brainram_lib.core.locks import NotWritableError, held
from brainram_lib.core.marks import fingerprint
from brainram_lib.core.modalities import MODALITIES
from brainram_lib.core.store import Stage, Store
from brainram_lib.pipeline.weights import EncoderWeights

if TYPE_CHECKING:
    from brainram_lib.pipeline.search import WordReadout
    from brainram_lib.retrieval.corpus import Corpus
    from brainram_lib.retrieval.readouts import PooledTextReadout
    from brainram_lib.retrieval.tokens import TokenCache

CORPORA = "corpora"


@runtime_checkable
class CorpusSource(Protocol):
    """Where image-text pairs come from. Its keys name the corpus by its content."""

    @property
    def key(self) -> str:
        """Changes with everything that a search depends on: embeddings, tables, pictures, an index of another tool."""

    @property
    def rows_key(self) -> str:
        """Changes with embeddings and tables; names the folder of the corpus's tokens."""

    @property
    def size(self) -> int | None:
        """How many items it has, if its key determines that; None where it is known only once the corpus is made."""

    def open(self, runs: Path) -> Corpus:
        """The corpus; a generated one is written first if it is missing."""


@dataclass(frozen=True)
class CorpusFolder:
    """A corpus of the user's, in clip-retrieval's format. It is opened once for each object of this class.

    Attributes:
        root: its folder. encoder: what the RAM's tokens are made with; its images' size is the corpus's.
    """

    root: Path
    encoder: EncoderWeights
    _opened: list[Corpus] = field(default_factory=list, compare=False, repr=False)

    @property
    def key(self) -> str:
        """See `CorpusSource`."""
        corpus = self.open(Path())
        return fingerprint([corpus.fingerprint, *map(corpus.index_mark, MODALITIES)])

    @property
    def rows_key(self) -> str:
        """See `CorpusSource`."""
        return self.open(Path()).rows_mark

    @property
    def size(self) -> int:
        """See `CorpusSource`: it is opened for its key."""
        return len(self.open(Path()))

    def open(self, runs: Path) -> Corpus:
        """See `CorpusSource`."""
        from brainram_lib.retrieval.corpus import Corpus

        if not self._opened:
            self._opened.append(Corpus(self.root.absolute(), self.encoder.load().image_size))
        return self._opened[0]


@dataclass(frozen=True)
class EmbeddedCorpus:
    """The embedded world's corpus, written on first use.

    Attributes:
        pairs: how many.
        encoder: what embeds them.
        foreign_share: of the captions, how many are in another language.
        planted: stimuli (scene set, index) with a near-duplicate each in the corpus, for the audit to find.
    """

    pairs: int
    encoder: EncoderWeights
    foreign_share: float = 0.0
    planted: tuple[tuple[str, int], ...] = ()
    recipe: ClassVar[int] = 1

    @property
    def key(self) -> str:
        """Of its settings, which determine its content."""
        planted = [list(self.planted)] if self.planted else []
        return fingerprint([self.pairs, self.encoder.key, self.foreign_share, self.recipe, *planted])

    @property
    def rows_key(self) -> str:
        """The same."""
        return self.key

    @property
    def size(self) -> int:
        """See `CorpusSource`."""
        return self.pairs

    def open(self, runs: Path) -> Corpus:
        """See `CorpusSource`."""
        root = runs.absolute() / CORPORA / f"embedded-{self.key}"
        if not root.exists():
            _written.cache_clear()
        return _written(root, self, _tokens_folder(runs, self, self.encoder))


@cache
def _written(root: Path, source: EmbeddedCorpus, tokens: Path) -> Corpus:
    from brainram_lib.retrieval.corpus import Corpus
    from brainram_lib.retrieval.remembered import RememberedTokens
    from brainram_lib.retrieval.tokens import TokenCache
    from brainram_lib.world.corpus import make_mini_corpus

    encoder = RememberedTokens(source.encoder.load())
    try:
        with held(root.with_name(f".{root.name}.lock"), "the embedded corpus"):
            make_mini_corpus(root, encoder, source.pairs, source.planted, foreign_share=source.foreign_share)
    except NotWritableError:
        # another user's results can be read, if not written
        if not root.exists():
            raise
    corpus = Corpus(root, encoder.image_size)
    if encoder.count == len(corpus):
        encoder.hand_over(TokenCache(corpus, encoder.encoder, tokens))
    return corpus


def _tokens_folder(runs: Path, source: CorpusSource, encoder: EncoderWeights) -> Path:
    return runs.absolute() / CORPORA / f"tokens-{source.rows_key}-{encoder.key}"


def corpus_tokens(source: CorpusSource, encoder: EncoderWeights, store: Store) -> TokenCache:
    """The corpus's pictures and captions as tokens, encoded once for all that share the store."""
    return _tokens(source.open(store.root), encoder, _tokens_folder(store.root, source, encoder))


@cache
def _tokens(corpus: Corpus, encoder: EncoderWeights, folder: Path) -> TokenCache:
    from brainram_lib.retrieval.tokens import TokenCache

    return TokenCache(corpus, encoder.load(), folder)


@dataclass(frozen=True)
class Readouts(Stage):
    """What a search reads out of text tokens: the pooled embedding and, with `words`, which words they hold.

    Fitted on the first `captions` captions of the corpus.
    """

    corpus: CorpusSource
    encoder: EncoderWeights
    words: bool
    captions: int = 8_000

    @property
    def scope(self) -> str:
        return CORPORA

    def make(self, folder: Path, store: Store) -> None:
        """See `pipeline.search.fit_readouts`."""
        from brainram_lib.pipeline.search import fit_readouts

        fit_readouts(folder, self.corpus.open(store.root), self.encoder.load(), self.words, self.captions)

    def pooled(self, store: Store) -> PooledTextReadout:
        """Text tokens -> pooled text embedding."""
        from brainram_lib.retrieval.readouts import PooledTextReadout

        return PooledTextReadout.load(store.result(self).folder / "readout.safetensors")

    def of_words(self, store: Store) -> WordReadout | None:
        """Text tokens -> presence of words, where the search asks for words."""
        from brainram_lib.pipeline.search import WordReadout

        return WordReadout.load(store.result(self).folder) if self.words else None
