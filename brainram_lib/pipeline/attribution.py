"""Which voxels drive an estimate, and which caused a neighbour to be found: integrated gradients through the priors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Int

from brainram_lib.core.files import write_array
from brainram_lib.core.modalities import MODALITIES
from brainram_lib.core.store import Stage, Store
from brainram_lib.pipeline.data import Images, finite
from brainram_lib.pipeline.prior import Estimates, PriorTraining, RidgeFit
from brainram_lib.pipeline.ram import Retrieved

if TYPE_CHECKING:
    from brainram_lib.attribution.decoders import Decoder, PriorDecoder
    from brainram_lib.attribution.queries import Read
    from brainram_lib.attribution.scores import Score, SearchSimilarity, Term
    from brainram_lib.core.whitening import TokenWhitening
    from brainram_lib.pipeline.search import Search

# Only the first test images are attributed, for a map of means: all would take five to fifteen times as long.
IMAGES = 64


@dataclass(frozen=True)
class Attributions(Stage):
    """Which voxels drive a prior's estimates of the test images towards their targets (integrated gradients).

    Attributes:
        prior: whose estimates.
        ridge: of the linear path, where the projector has one.
        token: one token alone; None for all.
    """

    prior: PriorTraining
    ridge: RidgeFit | None
    token: int | None = None
    VERSION: ClassVar[int] = 3

    @property
    def name(self) -> str:
        return f"attribution-{self.prior.targets.modality}"

    def make(self, folder: Path, store: Store) -> None:
        """Attributions towards the targets."""
        from brainram_lib.attribution.scores import TokenAgreement
        from brainram_lib.core.rows import as_tensor

        targets = store.result(self.prior.targets)
        mean = as_tensor(targets.array("train")).mean(0)
        score = TokenAgreement.of(as_tensor(targets.array("test")[:IMAGES]), mean, self.token)
        _write(folder, store, _decoder(self.prior, store), score, self.prior)


@dataclass(frozen=True)
class NeighbourAttributions(Stage):
    """Which voxels caused the neighbour of one rank to be found: F is the similarity that the search gave it.

    Where both estimates query together, F is their weighted sum, and a voxel counts through both priors: the result is
    the same for both modalities. The queries are the priors' means instead of drawn samples.

    Attributes:
        found: the neighbours, of the first sample; its estimates are those that asked.
        rank: 0 for the first.
    """

    found: Retrieved
    rank: int
    VERSION: ClassVar[int] = 4

    @property
    def name(self) -> str:
        return f"neighbour-attribution-{self.found.modality}"

    @property
    def asking(self) -> dict[str, Estimates]:
        """The estimates that the search was asked with."""
        stages = zip(MODALITIES, (self.found.image, self.found.text), strict=True)
        return {modality: stage for modality, stage in stages if stage is not None}

    def make(self, folder: Path, store: Store) -> None:
        """Attributions towards what the search compares."""
        from brainram_lib.attribution.decoders import JointDecoder

        items = self.found.found(store, "test").ids[:IMAGES, 0, self.rank]
        priors = {modality: stage.prior for modality, stage in self.asking.items()}
        decoder = JointDecoder({modality: _decoder(prior, store) for modality, prior in priors.items()})
        whitening = None if self.found.image is None else self.found.image.prior.load(store).whitening
        score = score_of_search(self.found.search(store), self.found.modality, items, whitening)
        _write(folder, store, decoder, score, *priors.values())


def score_of_search(
    search: Search, modality: str, items: Int[np.ndarray, " n"], whitening: TokenWhitening | None
) -> SearchSimilarity:
    """The similarity that a search gives one item for each stimulus, as a function of the estimates that ask.

    Without candidates it equals the search's own number; the choice among candidates keeps its tokens in half
    precision, so that the two agree to a few thousandths.

    Args:
        search: a corpus and how it is searched.
        modality: whose index is asked, where one asks alone.
        items: one for each stimulus.
        whitening: of image tokens, for the choice among candidates.
    """
    from brainram_lib.attribution.scores import SearchSimilarity, Term, TokenCosine
    from brainram_lib.core.whitening import whitened_by

    settings = search.settings
    terms = [_alone(search, modality, items)] if settings.text_weight is None else _together(search, items)
    if settings.candidates is not None and settings.token_weight:
        whitened = whitened_by(whitening)
        tokens = whitened(search.tokens.tokens_of(items, "image")).flatten(1).cpu()
        cosine = TokenCosine(tokens / tokens.norm(dim=1, keepdim=True), whitened)
        terms.append(Term("image", settings.token_weight, cosine))
    return SearchSimilarity(tuple(terms))


def _alone(search: Search, modality: str, items: np.ndarray) -> Term:
    """The paper's search: a cosine in the modality's own index."""
    from brainram_lib.attribution.scores import NeighbourSimilarity, Term, global_token
    from brainram_lib.core.rows import as_tensor

    query: Read = global_token if modality == "image" else search.readout
    return Term(modality, 1.0, NeighbourSimilarity(as_tensor(search.corpus.embedding_rows(modality, items)), query))


def _together(search: Search, items: np.ndarray) -> list[Term]:
    """Image embedding, text embedding and words, each z-scored over the corpus."""
    import torch

    from brainram_lib.attribution.queries import EmbeddingQuery, WhitenedQuery, WordQuery
    from brainram_lib.attribution.scores import PartSimilarity, Term, global_token

    index, floor = search.combined(), search.settings.query_whitening
    moments = [tuple(map(torch.from_numpy, pair)) for pair in zip(index.means, index.covariances, strict=True)]
    reads: list[Read] = [global_token, search.readout]
    queries = [
        WhitenedQuery.of(read, *moments[part], floor) if floor else EmbeddingQuery(read)
        for part, read in enumerate(reads)
    ]
    if search.words is not None:
        share = torch.from_numpy(search.words.vocabulary.share).double()
        queries.append(WordQuery(search.words.readout, share))
    parts = zip(("image", "text", "text"), search.weights, queries, index.embeddings(items), moments, strict=False)
    return [
        Term(modality, weight, PartSimilarity(torch.from_numpy(rows).double(), query, *pair))
        for modality, weight, query, rows, pair in parts
    ]


def _decoder(prior: PriorTraining, store: Store) -> PriorDecoder:
    from brainram_lib.attribution.decoders import PriorDecoder

    return PriorDecoder(prior.load(store), None if prior.linear is None else prior.linear.ridge.load(store))


def _write(folder: Path, store: Store, decoder: Decoder, score: Score, *priors: PriorTraining) -> None:
    """Integrated gradients of a score of the test images' estimates, from the mean training pattern."""
    from brainram_lib.attribution.gradients import complete_gradients
    from brainram_lib.core.rows import as_tensor

    images: Images = priors[0].targets.images
    betas = images.betas(store)
    baseline = as_tensor(betas["train"]).mean(0)
    batch = min(prior.settings.rows for prior in priors)
    found = complete_gradients(decoder, score, as_tensor(betas["test"][:IMAGES]), baseline, batch)
    write_array(folder / "values.npy", finite(found.values, "attribution"))
    write_array(folder / "gained.npy", found.gained)
