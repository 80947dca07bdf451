"""A neighbour's attribution explains the search that was made: its score is the similarity that the search gave."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from brainram_lib.attribution.decoders import JointDecoder, RidgeDecoder
from brainram_lib.attribution.gradients import complete_gradients, integrated_gradients, integrated_gradients_reference
from brainram_lib.attribution.queries import EmbeddingQuery
from brainram_lib.attribution.scores import NeighbourSimilarity, PartSimilarity, SearchSimilarity, Term, global_token
from brainram_lib.core.ridge import Ridge
from brainram_lib.core.whitening import TokenWhitening
from brainram_lib.pipeline.attribution import score_of_search
from brainram_lib.pipeline.search import Search, WordReadout
from brainram_lib.retrieval.corpus import Corpus
from brainram_lib.retrieval.neighbours import CombinedIndex
from brainram_lib.retrieval.readouts import PooledTextReadout, TokenReadout
from brainram_lib.retrieval.settings import RetrievalSettings
from brainram_lib.retrieval.tokens import TokenCache
from brainram_lib.retrieval.words import Vocabulary

N, ITEMS, VOXELS, SAMPLES = 6, 40, 9, 2
IMAGE, TEXT, POOLED = (5, 7), (3, 8), 4
WORDS = ("dog", "cat", "boat", "sea", "road")
PLAIN = RetrievalSettings(neighbours=3)
JOINT = replace(PLAIN, text_weight=0.65, query_whitening=0.03)
WORDED = replace(JOINT, word_weight=0.8)


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def units(count, width, seed):
    vectors = drawn(count, width, seed=seed) + 0.5
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class SmallCorpus(Corpus):
    """Embeddings and captions without files."""

    def __init__(self):
        self.layout = SimpleNamespace(folder=Path("nowhere"), index=lambda modality: Path("nowhere") / modality)
        self.parts = {"image": units(ITEMS, IMAGE[1], 1), "text": units(ITEMS, POOLED, 2)}
        held = np.random.default_rng(3).random((ITEMS, len(WORDS))) < 0.4
        self.captions = [" ".join(word for word, there in zip(WORDS, row, strict=True) if there) for row in held]

    def __len__(self):
        return ITEMS

    def embeddings(self, modality):
        return [self.parts[modality]]

    def image_embeddings(self):
        return self.embeddings("image")

    def text_embeddings(self):
        return self.embeddings("text")

    def embedding_rows(self, modality, ids):
        return self.parts[modality][ids]

    def caption(self, item):
        return self.captions[item]


class SmallTokens(TokenCache):
    """Tokens of every item, none refused."""

    def __init__(self):
        self.image = torch.from_numpy(drawn(ITEMS, *IMAGE, seed=4))

    def prepare(self, ids, modality):
        return {}

    def tokens_of(self, ids, modality, dtype=torch.float32):
        return self.image[torch.from_numpy(np.asarray(ids))].to(dtype)


def search_of(settings):
    corpus, inputs = SmallCorpus(), TEXT[0] * TEXT[1]
    readout = PooledTextReadout(*(torch.from_numpy(drawn(*shape, seed=5)) for shape in ((inputs, POOLED), (POOLED,))))
    words = None
    if settings.word_weight:
        to_words = torch.from_numpy(drawn(inputs, len(WORDS), seed=6)), torch.full((len(WORDS),), 0.4)
        words = WordReadout(Vocabulary.of(corpus.captions, least=2), TokenReadout(*to_words))
    return Search(settings, corpus, readout, words, SmallTokens())


@pytest.fixture(scope="module")
def estimates():
    return {"image": drawn(N, SAMPLES, *IMAGE, seed=7), "text": drawn(N, SAMPLES, *TEXT, seed=8)}


@pytest.fixture(scope="module")
def whitening():
    return TokenWhitening(*IMAGE).fit(torch.from_numpy(drawn(ITEMS, *IMAGE, seed=9)))


@pytest.mark.parametrize(
    ("settings", "modality", "asked", "atol"),
    [
        (PLAIN, "image", ("image",), 1e-4),
        (PLAIN, "text", ("text",), 1e-4),
        (replace(PLAIN, text_weight=0.3), "both", ("image", "text"), 1e-4),
        (JOINT, "both", ("image", "text"), 1e-4),
        (WORDED, "both", ("image", "text"), 1e-4),
        # candidates' tokens are compared in half precision
        (replace(WORDED, candidates=9, token_weight=6.0), "both", ("image", "text"), 2e-2),
        (replace(PLAIN, candidates=9, token_weight=6.0), "text", ("text", "image"), 2e-2),
    ],
    ids=["image", "text", "joint", "whitened", "words", "candidates", "text-candidates"],
)
@pytest.mark.parametrize("rank", [0, 2])
def test_the_score_is_the_searchs_similarity(tmp_path, estimates, whitening, settings, modality, asked, atol, rank):
    search = search_of(settings)
    search.write(tmp_path, "test", modality, estimates, whitening)
    found, similarity = (np.load(tmp_path / f"test_{name}.npy")[:, 0, rank] for name in ("ids", "similarity"))
    score = score_of_search(search, modality, found, whitening)
    tokens = {name: torch.from_numpy(rows[:, 0]).requires_grad_() for name, rows in estimates.items()}
    values = score(tokens, torch.arange(N))
    np.testing.assert_allclose(values.detach().numpy(), similarity, atol=atol)
    assert len(score) == N and set(score.modalities) == set(asked)
    values.sum().backward()
    assert {name for name, one in tokens.items() if one.grad is not None and one.grad.any()} == set(asked)
    other = score({name: rows.roll(1, 0) for name, rows in tokens.items()}, torch.arange(N))
    assert not torch.isclose(other, values).any(), "another brain's estimates ask for something else"


def test_an_index_gives_back_its_parts():
    parts = [units(ITEMS, 5, 1), units(ITEMS, 3, 2)]
    items = np.array([7, 0, 7, 31])
    index = CombinedIndex.build([[part[:9], part[9:]] for part in parts])
    for got, part in zip(index.embeddings(items), parts, strict=True):
        np.testing.assert_array_equal(got, part[items])


def ridge(shape, seed):
    tokens, width = shape
    maps, means = drawn(tokens, VOXELS, width, seed=seed), (drawn(VOXELS), 2 * drawn(tokens, width, seed=seed + 1))
    return Ridge(np.eye(VOXELS, dtype=np.float32), maps, *means, np.ones(tokens), np.ones(tokens))


@pytest.fixture(scope="module")
def decoder():
    return JointDecoder({"image": RidgeDecoder(ridge(IMAGE, 11)), "text": RidgeDecoder(ridge(TEXT, 13))})


def test_voxels_are_credited_through_both_decoders(decoder, whitening):
    betas = torch.from_numpy(drawn(N, VOXELS, seed=15))
    baseline = betas.mean(0)
    score = score_of_search(search_of(WORDED), "both", np.arange(N), whitening)
    found = complete_gradients(decoder, score, betas, baseline, batch=4)
    assert found.values.shape == (N, VOXELS) and found.shortfall < 0.05
    few, parts = 2, score_of_search(search_of(WORDED), "both", np.arange(2), whitening)
    exact = integrated_gradients_reference(decoder, parts, betas[:few], baseline, steps=400)
    np.testing.assert_allclose(found.values[:few], exact.values, atol=0.1 * np.abs(exact.values).max())
    np.testing.assert_allclose(found.gained[:few], exact.gained, atol=1e-5)


def test_credit_of_a_sum_is_the_sum_of_the_credits(decoder):
    betas = torch.from_numpy(drawn(N, VOXELS, seed=15))
    parts = [
        Term("image", 0.3, NeighbourSimilarity(torch.from_numpy(units(N, IMAGE[1], 16)), global_token)),
        Term("text", 0.7, NeighbourSimilarity(torch.from_numpy(units(N, TEXT[1], 17)), global_token)),
    ]

    def credit(*terms):
        score = SearchSimilarity(terms)
        return integrated_gradients(decoder, score, betas, betas.mean(0), steps=24, tolerance=1.0).values

    np.testing.assert_allclose(credit(*parts), credit(parts[0]) + credit(parts[1]), atol=1e-5)


def test_a_part_without_spread_does_not_divide_by_zero():
    nothing = torch.zeros(4, 4, dtype=torch.float64)
    rows = torch.from_numpy(units(N, 4, 1)).double()
    part = PartSimilarity(rows, EmbeddingQuery(global_token), rows.mean(0), nothing)
    assert torch.isfinite(part(torch.from_numpy(drawn(N, 2, 4)), torch.arange(N))).all()


def test_terms_of_other_images_and_tokens_of_another_shape_are_refused(decoder):
    terms = [Term("image", 1.0, NeighbourSimilarity(torch.from_numpy(units(n, 7, 1)), global_token)) for n in (N, 4)]
    with pytest.raises(ValueError, match=r"must know the same images; they know \[4, 6\]"):
        SearchSimilarity(tuple(terms))
    betas = torch.from_numpy(drawn(N, VOXELS))
    with pytest.raises(ValueError, match=r"must give tokens \(6, tokens, width\)"):
        integrated_gradients(lambda x: {"image": x}, SearchSimilarity(tuple(terms[:1])), betas, betas.mean(0))
