"""The faiss index against the naive full matrix; what it refuses; what it stores."""

import numpy as np
import pytest
from test_retrieval_corpus import SIZE, FakeEncoder, items

from brainram_lib.retrieval import index as index_module
from brainram_lib.retrieval.corpus import Corpus, CorpusError
from brainram_lib.retrieval.index import Neighbours, VectorIndex, search_reference
from brainram_lib.retrieval.neighbours import (
    CombinedIndex,
    best_items,
    combined_search_reference,
    find_by_parts,
    find_neighbours,
    image_query,
    pooled_over_samples,
    text_query,
)
from brainram_lib.retrieval.writing import write_corpus

ITEMS, QUERIES, WIDTH = 11, 7, 5


def units(count, width=WIDTH, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def blocks(vectors):
    return [vectors[:4], vectors[4:9], vectors[9:]]


def same(found, expected):
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_allclose(found.similarity, expected.similarity, atol=1e-5)


@pytest.mark.parametrize("k", [1, 4, ITEMS])
@pytest.mark.parametrize("chunk", [3, 1024])
def test_search_is_the_naive_search(monkeypatch, k, chunk):
    monkeypatch.setattr(index_module, "QUERY_CHUNK", chunk)
    vectors, queries = units(ITEMS), units(QUERIES, seed=1)
    same(VectorIndex.build(blocks(vectors)).search(queries, k), search_reference(vectors, queries, k))


def test_an_item_finds_itself_first():
    vectors = units(ITEMS)
    found = VectorIndex.build(blocks(vectors)).search(vectors, 3)
    np.testing.assert_array_equal(found.ids[:, 0], np.arange(ITEMS))
    np.testing.assert_allclose(found.similarity[:, 0], 1, atol=1e-5)
    assert (np.diff(found.similarity, axis=1) <= 0).all()


@pytest.mark.parametrize("exclude", [np.array([0, 3]), [np.array([row, row + 1]) for row in range(QUERIES)]])
def test_excluded_items_are_never_found(exclude):
    vectors, queries = units(ITEMS), units(QUERIES, seed=1)
    found = VectorIndex.build([vectors]).search(queries, 5, exclude)
    same(found, search_reference(vectors, queries, 5, exclude))
    for row in range(QUERIES):
        assert not np.isin(found.ids[row], exclude if isinstance(exclude, np.ndarray) else exclude[row]).any()


def test_bad_queries_are_refused():
    index = VectorIndex.build([units(ITEMS)])
    bad = units(QUERIES, seed=1)
    bad[2, 1] = np.nan
    with pytest.raises(ValueError, match="queries: row 2 is NaN or infinite"):
        index.search(bad, 3)
    with pytest.raises(ValueError, match="row .* has norm 2.000, expected 1"):
        index.search(2 * units(QUERIES), 3)
    with pytest.raises(ValueError, match=r"must have shape \(n, 5\). \(7, 6\) was provided"):
        index.search(units(QUERIES, 6), 3)
    with pytest.raises(ValueError, match="'exclude' must be one array, or one for each of the 7"):
        index.search(units(QUERIES), 3, [np.array([1])])


@pytest.mark.parametrize("k", [0, ITEMS + 1])
def test_k_must_fit_the_corpus(k):
    with pytest.raises(ValueError, match=f"'k' must lie between 1 and 11.*{k} was provided"):
        VectorIndex.build([units(ITEMS)]).search(units(QUERIES), k)


def test_k_must_fit_what_is_not_excluded():
    with pytest.raises(ValueError, match="'k' must lie between 1 and 9: .* up to 2 are excluded"):
        VectorIndex.build([units(ITEMS)]).search(units(QUERIES), 10, np.array([1, 2]))


def test_unusable_embeddings_and_factories_are_refused():
    with pytest.raises(ValueError, match="embeddings of shard 0 .*norm"):
        VectorIndex.build([3 * units(ITEMS)])
    with pytest.raises(ValueError, match="faiss cannot make 'Nonsense'"):
        VectorIndex.build([units(ITEMS)], "Nonsense")
    with pytest.raises(ValueError, match="not an IVF index"):
        VectorIndex.build([units(ITEMS)], nprobe=3)


def test_an_ivf_index_that_visits_every_cell_is_exact():
    vectors, queries = units(300, seed=2), units(QUERIES, seed=1)
    index = VectorIndex.build([vectors], "IVF4,Flat", nprobe=4)
    same(index.search(queries, 6), search_reference(vectors, queries, 6))


def test_an_ivf_index_that_finds_too_few_says_so():
    index = VectorIndex.build([units(300, seed=2)], "IVF64,Flat", nprobe=1)
    with pytest.raises(ValueError, match="found only .* Raise 'nprobe'"):
        index.search(units(QUERIES, seed=1), 60)


@pytest.fixture
def corpus(tmp_path):
    write_corpus(tmp_path, items(), FakeEncoder(), SIZE, 4)
    return Corpus(tmp_path, SIZE)


def test_the_stored_index_is_reused_and_remade_for_other_embeddings(corpus, tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    VectorIndex.of(corpus, "image", folder=results)
    (path,) = results.glob("image-*.index")
    first = path.stat().st_mtime_ns
    found = VectorIndex.of(corpus, "image", folder=results).search(units(QUERIES, 6), 3)
    assert path.stat().st_mtime_ns == first
    same(found, search_reference(np.concatenate(corpus.image_embeddings()), units(QUERIES, 6), 3))
    np.save(corpus.layout.embeddings("image", 0), units(4, 6, seed=3).astype(np.float16))
    changed = Corpus(corpus.folder, SIZE)
    remade = VectorIndex.of(changed, "image", folder=results).search(units(QUERIES, 6), 3)
    same(remade, search_reference(np.concatenate(changed.image_embeddings()), units(QUERIES, 6), 3))


def test_a_truncated_index_is_named(corpus, tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    VectorIndex.of(corpus, "text", folder=results)
    (path,) = results.glob("text-*.index")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(CorpusError, match="text-.*.index' cannot be read"):
        VectorIndex.of(corpus, "text", folder=results)


def test_queries_and_samples():
    rng = np.random.default_rng(0)
    estimates = rng.normal(size=(3, 2, 4, WIDTH)).astype(np.float32)
    queries = image_query(estimates)
    assert queries.shape == (3, 2, WIDTH)
    np.testing.assert_allclose(queries[2, 1] * np.linalg.norm(estimates[2, 1, 0]), estimates[2, 1, 0], atol=1e-6)
    read = text_query(estimates, lambda tokens: tokens.sum(axis=1)[:, :3])
    assert read.shape == (3, 2, 3)
    np.testing.assert_allclose(np.linalg.norm(read, axis=-1), 1, atol=1e-6)
    index = VectorIndex.build([units(ITEMS)])
    found = find_neighbours(index, queries, 4)
    assert found.ids.shape == found.similarity.shape == (3, 2, 4)
    np.testing.assert_array_equal(found.ids[1, 0], index.search(queries[1, :1], 4).ids[0])


def test_exclusion_for_each_stimulus():
    queries = image_query(np.random.default_rng(0).normal(size=(3, 2, 4, WIDTH)))
    exclude = [np.array([row]) for row in range(3)]
    found = find_neighbours(VectorIndex.build([units(ITEMS)]), queries, 4, exclude)
    assert all(row not in found.ids[row] for row in range(3))


def test_pooling_gives_every_sample_all_neighbours():
    found = find_neighbours(VectorIndex.build([units(ITEMS)]), units(6).reshape(3, 2, WIDTH), 4)
    pooled = pooled_over_samples(found)
    assert pooled.ids.shape == (3, 2, 8)
    np.testing.assert_array_equal(pooled.ids[:, 0], pooled.ids[:, 1])
    assert sorted(pooled.ids[1, 0]) == sorted(found.ids[1].ravel())
    assert (np.diff(pooled.similarity, axis=-1) <= 0).all()


def test_the_best_items_of_a_stimulus_over_its_samples():
    ids = np.array([[[7, 3], [3, 5]], [[2, 4], [2, 4]]])
    similarity = np.array([[[0.6, 0.2], [0.9, 0.3]], [[0.8, 0.1], [0.7, 0.5]]], np.float32)
    found = Neighbours(ids, similarity)
    np.testing.assert_array_equal(best_items(found, 2), [[3, 7], [2, 4]])
    np.testing.assert_array_equal(best_items(found, 3), [[3, 7, 5], [2, 4, 2]])


def test_queries_without_direction_are_refused():
    estimates = np.ones((3, 2, 4, WIDTH))
    estimates[1, 0, 0] = 0
    with pytest.raises(ValueError, match="token 0 of the image estimates: vector 2 is zero"):
        image_query(estimates)
    with pytest.raises(ValueError, match=r"the readout must give \(6, width\)"):
        text_query(estimates, lambda tokens: tokens[:2, 0])


@pytest.mark.parametrize("z_scored", [False, True])
@pytest.mark.parametrize("weights", [(1.0, 0.0, 0.0), (0.7, 0.3, 0.0), (0.2, 0.3, 0.5)])
def test_a_search_by_parts_is_the_naive_one(weights, z_scored):
    parts = [units(ITEMS, width, seed=width) for width in (5, 3, 8)]
    queries = [units(QUERIES, width, seed=width + 1) for width in (5, 3, 8)]
    index = CombinedIndex.build([blocks(part) for part in parts])
    found = index.search(queries, weights, 4, z_scored=z_scored)
    expected = combined_search_reference(parts, queries, weights, 4, z_scored)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_allclose(found.similarity, expected.similarity, atol=1e-4)


def test_whitened_queries_score_items_by_whitened_inner_products():
    image, text = units(ITEMS, 5), units(ITEMS, 3, seed=1)
    index, queries = CombinedIndex.build([blocks(image), blocks(text)]), units(QUERIES, 5, seed=2)
    asked = index.whitened(0, queries, 0.05)
    covariance = np.cov(image.T, bias=True)
    scaled = covariance / np.linalg.eigvalsh(covariance).mean() + 0.05 * np.eye(5)
    expected = (queries - image.mean(0)) @ np.linalg.inv(scaled)
    np.testing.assert_allclose(asked, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-4)
    np.testing.assert_array_equal(index.whitened(0, queries.reshape(1, QUERIES, 5), 0.05)[0], asked)
    with pytest.raises(ValueError, match="'floor' must be above zero"):
        index.whitened(0, queries, 0.0)


def test_weights_0_and_1_are_the_single_modalities(corpus):
    image, text, words = units(6, 6, seed=2), units(6, 6, seed=3), units(6, 4, seed=4)
    index = CombinedIndex.of(corpus)
    same(index.search([image, text], [1, 0], 3), VectorIndex.of(corpus, "image").search(image, 3))
    same(index.search([image, text], [0, 1], 3), VectorIndex.of(corpus, "text").search(text, 3))
    captions = units(len(corpus), 4, seed=5)
    worded = CombinedIndex.of(corpus, captions)
    same(worded.search([image, text, words], [0, 0, 1], 3), search_reference(captions, words, 3))


def test_samples_ask_part_by_part(corpus):
    image, text = units(6, 6, seed=2), units(6, 6, seed=3)
    index = CombinedIndex.of(corpus)
    both = find_by_parts(index, [image.reshape(3, 2, 6), text.reshape(3, 2, 6)], [0.5, 0.5], 3, z_scored=True)
    assert both.ids.shape == (3, 2, 3)
    same(both.reshape(6), index.search([image, text], [0.5, 0.5], 3, z_scored=True))
    with pytest.raises(ValueError, match="must be of the same stimuli and samples"):
        find_by_parts(index, [image.reshape(3, 2, 6), text.reshape(2, 3, 6)], [0.5, 0.5], 3)


def test_wrong_weights_are_refused():
    index = CombinedIndex.build([[units(ITEMS, 5)], [units(ITEMS, 3)]])
    with pytest.raises(ValueError, match="'weights' must be zero or more"):
        index.search([units(2, 5), units(2, 3)], [0, 0], 2)
    with pytest.raises(ValueError, match="2 parts need as many queries"):
        index.search([units(2, 5)], [1, 0], 2)
    with pytest.raises(ValueError, match="the same items"):
        CombinedIndex.build([[units(4)], [units(5)]])
