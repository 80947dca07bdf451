"""Indices that other tools left, read-only folders, cells to visit, and corpora whose pictures are not there."""

import faiss
import numpy as np
import pytest
from faiss.contrib.ondisk import merge_ondisk
from hostile_corpora import IMAGE_WIDTH, SIDE, contents, units, write

from brainram_lib.retrieval import readable
from brainram_lib.retrieval.corpus import Corpus, CorpusError
from brainram_lib.retrieval.index import VectorIndex, search_reference
from brainram_lib.retrieval.neighbours import find_neighbours
from brainram_lib.retrieval.readable import NothingReadable, find_readable

ITEMS, QUERIES = 60, 7


@pytest.fixture
def folder(tmp_path):
    for shard in ("00", "01", "02"):
        write(tmp_path / "corpus", ITEMS // 3, shard=shard)
    return tmp_path / "corpus"


def vectors_of(folder):
    return np.concatenate([np.asarray(block, np.float32) for block in Corpus(folder, SIDE).image_embeddings()])


def made(vectors, factory="Flat", metric=faiss.METRIC_INNER_PRODUCT):
    index = faiss.index_factory(vectors.shape[1], factory, metric)
    index.train(vectors)
    index.add(np.ascontiguousarray(vectors))
    return index


def stored(folder, index, inside=None):
    path = folder / "image.index"
    if inside:
        path.mkdir()
    faiss.write_index(index, str(path / inside if inside else path))
    return path


def queries():
    vectors = units(QUERIES, IMAGE_WIDTH, 99).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def is_exact(found, folder):
    expected = search_reference(vectors_of(folder), queries(), 4)
    np.testing.assert_array_equal(found.search(queries(), 4).ids, expected.ids)


@pytest.mark.parametrize("results", [None, "results"])
def test_nothing_is_written_into_a_corpus_folder(folder, tmp_path, results):
    before = contents(folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    corpus = Corpus(folder, SIDE)
    for modality in ("image", "text"):
        assert len(VectorIndex.of(corpus, modality, folder=results and tmp_path / results)) == ITEMS
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    assert contents(folder) == before


@pytest.mark.parametrize("factory", ["Flat", "HNSW16", "IVF2,Flat", "RR6,IVF2,Flat", "SQ8", "IVF2,PQ3x4"])
def test_a_foreign_index_that_fits_is_used_and_left_as_it_is(folder, factory):
    path = stored(folder, made(vectors_of(folder), factory))
    before = path.read_bytes()
    found = VectorIndex.of(Corpus(folder, SIDE), "image", factory)
    assert found.name == f"'{path}'" and path.read_bytes() == before
    assert found.search(queries(), 4).ids.shape == (QUERIES, 4)


def test_an_approximate_foreign_index_is_said_where_an_exact_one_is_asked_for(folder):
    stored(folder, made(vectors_of(folder), "HNSW16"))
    with pytest.warns(UserWarning, match=r"image.index' \(IndexHNSWFlat\) is used, an approximate index"):
        VectorIndex.of(Corpus(folder, SIDE), "image")


def test_a_foreign_index_with_its_cells_in_a_file_beside_it_is_used_wherever_it_lies(folder):
    vectors = vectors_of(folder)
    empty = faiss.index_factory(IMAGE_WIDTH, "IVF4,Flat", faiss.METRIC_INNER_PRODUCT)
    empty.train(vectors)
    part = faiss.clone_index(empty)
    part.add(vectors)
    faiss.write_index(part, str(folder / "part"))
    (folder / "image.index").mkdir()
    merge_ondisk(empty, [str(folder / "part")], str(folder / "image.index/merged_index.ivfdata"))
    faiss.write_index(empty, str(folder / "image.index/populated.index"))
    moved = folder.rename(folder.with_name("moved"))
    before = contents(moved / "image.index")
    is_exact(VectorIndex.of(Corpus(moved, SIDE), "image", "IVF4,Flat", nprobe=4), moved)
    assert contents(moved / "image.index") == before


def one_changed(vectors):
    return np.where(np.arange(len(vectors))[:, None] == 33, -vectors, vectors)


def lexicographic(vectors):
    """As a tool reads img_emb_0, img_emb_10, ..., img_emb_2."""
    return np.concatenate([vectors[:20], vectors[40:], vectors[20:40]])


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        (lambda vectors: made(vectors, metric=faiss.METRIC_L2), "its metric is L2"),
        (lambda vectors: made(vectors[::-1].copy()), "stand in another order"),
        (lambda vectors: made(lexicographic(vectors)), "stand in another order"),
        (lambda vectors: made(lexicographic(vectors), "HNSW16"), "stand in another order"),
        (lambda vectors: made(lexicographic(vectors), "SQ8"), "stand in another order"),
        (lambda vectors: made(vectors[:-1].copy()), "holds 59 vectors, but the corpus .* has 60"),
        (lambda vectors: made(units(ITEMS, 9).astype(np.float32)), "its vectors are 9 wide"),
        (lambda vectors: made(3 * vectors), "60 of its 60 vectors differ from the image embeddings"),
        (lambda vectors: made(3 * vectors, "IVF2,Flat"), "with the similarity 1"),
        (lambda vectors: made(one_changed(vectors)), "1 of its 60 vectors differ"),
        (lambda vectors: made(vectors, "PCA6,Flat"), "with the similarity 1"),
        (lambda vectors: made(units(ITEMS, IMAGE_WIDTH, 55).astype(np.float32)), "items are not the corpus's"),
        (lambda vectors: faiss.index_factory(IMAGE_WIDTH, "IVF2,Flat", faiss.METRIC_INNER_PRODUCT), "holds 0 vectors"),
    ],
    ids=[
        "L2",
        "reversed",
        "shards",
        "shards-hnsw",
        "shards-sq",
        "count",
        "width",
        "length",
        "length-ivf",
        "one-row",
        "centred",
        "others",
        "untrained",
    ],
)
@pytest.mark.parametrize("inside", [None, "populated.index"])
def test_a_foreign_index_that_does_not_fit_is_named_and_replaced_by_an_own(folder, index, reason, inside):
    path = stored(folder, index(vectors_of(folder)), inside)
    before = contents(folder)
    with pytest.warns(UserWarning, match=f"'{path}' is not used: .*({reason}).* left as it is, and 'Flat' is built"):
        found = VectorIndex.of(Corpus(folder, SIDE), "image")
    is_exact(found, folder)
    assert contents(folder) == before


@pytest.mark.parametrize("damage", ["cut", "text", "empty folder", "link"])
def test_a_foreign_index_that_cannot_be_read_is_named_and_replaced(folder, damage):
    path = stored(folder, made(vectors_of(folder)))
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:90])
    elif damage == "text":
        path.write_text("index")
    else:
        path.unlink()
        path.mkdir() if damage == "empty folder" else path.symlink_to("gone")
    with pytest.warns(UserWarning, match="image.index' (cannot be read|is not used)"):
        is_exact(VectorIndex.of(Corpus(folder, SIDE), "image"), folder)


def test_equal_pictures_do_not_make_an_index_suspect(tmp_path):
    folder = write(tmp_path, 40)
    np.save(folder / "img_emb/img_emb_0.npy", np.repeat(units(2, IMAGE_WIDTH), 20, axis=0))
    path = stored(folder, made(vectors_of(folder)))
    assert VectorIndex.of(Corpus(folder, SIDE), "image").name == f"'{path}'"


def test_an_index_serves_a_modality_without_embeddings_and_this_is_said(tmp_path):
    folder = write(tmp_path, ITEMS, without=("image",))
    with pytest.raises(CorpusError, match="has no image embeddings"):
        VectorIndex.of(Corpus(folder, SIDE), "image")
    stored(folder, made(units(ITEMS, IMAGE_WIDTH, 1).astype(np.float32)))
    corpus = Corpus(folder, SIDE)
    with pytest.warns(UserWarning, match="order cannot be checked"):
        assert len(VectorIndex.of(corpus, "image")) == ITEMS
    assert len(VectorIndex.of(corpus, "text")) == ITEMS
    (folder / "image.index").unlink()
    stored(folder, made(units(9, IMAGE_WIDTH).astype(np.float32)))
    with pytest.raises(CorpusError, match="holds 9 vectors.* no image embeddings to build another from"):
        VectorIndex.of(corpus, "image")


def test_the_mark_of_a_foreign_index_changes_with_it(folder):
    corpus = Corpus(folder, SIDE)
    assert corpus.index_mark("image") is None
    stored(folder, made(vectors_of(folder)))
    first = corpus.index_mark("image")
    (folder / "image.index").unlink()
    stored(folder, made(vectors_of(folder), "HNSW16"), "populated.index")
    assert first and corpus.index_mark("image") not in (None, first)


def test_an_own_index_never_takes_the_name_of_a_foreign_file(folder):
    """Even where the results folder is the corpus's."""
    path = stored(folder, made(vectors_of(folder)[::-1].copy()))
    before = path.read_bytes()
    with pytest.warns(UserWarning, match="another order"):
        VectorIndex.of(Corpus(folder, SIDE), "image", folder=folder)
    assert path.read_bytes() == before


@pytest.mark.parametrize("factory", ["IVF16,Flat", "RR6,IVF16,Flat", "RR6,IVF16,SQ8"])
@pytest.mark.parametrize("keep", [False, True])
def test_nprobe_reaches_the_cells(folder, tmp_path, factory, keep):
    corpus, results = Corpus(folder, SIDE), tmp_path / "results" if keep else None
    with pytest.raises(ValueError, match=r"nprobe = 1 of 16\). Raise 'nprobe'"):
        VectorIndex.of(corpus, "image", factory, results).search(queries(), 40)
    for _ in ("built", "read back"):
        found = VectorIndex.of(corpus, "image", factory, results, nprobe=16)
        assert found.search(queries(), 40).ids.shape == (QUERIES, 40)
        assert faiss.extract_index_ivf(found.faiss).nprobe == 16


@pytest.mark.parametrize("nprobe", [0, -3, True])
def test_nprobe_must_be_a_number_of_cells(folder, nprobe):
    with pytest.raises(ValueError, match="'nprobe' must be a whole number of cells, 1 or more"):
        VectorIndex.of(Corpus(folder, SIDE), "image", "IVF4,Flat", nprobe=nprobe)


def test_more_cells_than_vectors_are_named(folder):
    with pytest.raises(ValueError, match="faiss cannot make 'IVF4096,Flat' from 60 vectors"):
        VectorIndex.of(Corpus(folder, SIDE), "image", "IVF4096,Flat")


def searched(index, rounds, stimuli=90, k=3):
    asked = units(stimuli, IMAGE_WIDTH, 5).astype(np.float32)[:, None]
    asked /= np.linalg.norm(asked, axis=-1, keepdims=True)

    def find(excluded):
        rounds.append(excluded)
        return find_neighbours(index, asked, k, excluded)

    return find


@pytest.mark.parametrize("count", [600, 4000])
def test_a_corpus_without_pictures_is_given_up_after_a_few_hundred_items(tmp_path, count):
    corpus = Corpus(write(tmp_path, count, key=None, image_path=[f"{row}.png" for row in range(count)]), SIDE)
    tried, rounds = [], []

    def prepare(ids):
        tried.extend(ids.ravel().tolist())
        return {int(item): reason_of(corpus, int(item)) for item in np.unique(ids)}

    with pytest.raises(NothingReadable) as said:
        find_readable(searched(VectorIndex.of(corpus, "image"), rounds), prepare)
    text = str(said.value)
    assert len(set(tried)) < 700 and len(rounds) <= 3 and len(text) < 900
    assert "items found cannot be used" in text and "no picture" in text and "its folder 'images'" in text


def reason_of(corpus, item):
    try:
        corpus.image(item)
    except ValueError as problem:
        return str(problem)


def test_a_small_corpus_without_pictures_is_given_up_with_the_cause(tmp_path):
    index = VectorIndex.of(Corpus(write(tmp_path, 20), SIDE), "image")
    with pytest.raises(NothingReadable, match="of the .* items found cannot be used. No others are left .* gone"):
        find_readable(searched(index, []), lambda ids: dict.fromkeys(np.unique(ids).tolist(), "gone"))


def test_the_number_of_searches_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(readable, "ROUNDS", 4)
    index, rounds = VectorIndex.of(Corpus(write(tmp_path, 900), SIDE), "image"), []

    def refuse(ids):
        return {int(item): "gone" for item in np.unique(ids) if item % 10}

    with pytest.raises(NothingReadable, match="After 4 searches some stimuli still lack neighbours"):
        find_readable(searched(index, rounds), refuse)
    assert len(rounds) <= 5


def test_a_corpus_of_which_half_is_gone_is_still_searched(tmp_path):
    index = VectorIndex.of(Corpus(write(tmp_path, 900), SIDE), "image")
    with pytest.warns(UserWarning, match="cannot be used, and the next ones stand in their place"):
        found = find_readable(
            searched(index, []), lambda ids: {int(item): "gone" for item in np.unique(ids) if item % 2}
        )
    assert (found.ids % 2 == 0).all()
