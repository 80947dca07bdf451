"""Odd captions, what a fingerprint sees, and what writing leaves alone."""

import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile_corpora import RED, SIDE, contents, png, tar_of, write
from test_retrieval_corpus import FakeEncoder, items

from brainram_lib.retrieval.corpus import Corpus, CorpusError
from brainram_lib.retrieval.writing import write_corpus


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([None, None, None], ""),
        ([1, 2, 3], "2"),
        ([np.nan, np.nan, 1.5], ""),
        (pa.array(["a", "b", "c"], pa.large_string()), "b"),
        (pa.Array.from_buffers(pa.string(), 3, pa.array([b"a", b"b\xf0\x9f", b"c"]).buffers()), "b\ufffd"),
    ],
    ids=["null", "numbers", "nan", "large", "half-an-emoji"],
)
def test_captions_are_text_whatever_the_cell(tmp_path, cells, expected):
    assert Corpus(write(tmp_path, caption=cells), SIDE).caption(1) == expected


@pytest.mark.parametrize("cells", [[["a", "b"], ["c"], []], [{"en": "a"}] * 3], ids=["lists", "records"])
def test_captions_that_are_lists_are_named_and_not_shown_as_python(tmp_path, cells):
    corpus = Corpus(write(tmp_path, caption=cells), SIDE)
    with pytest.raises(CorpusError, match="the column 'caption' of '.*metadata_0.parquet' must hold one text a row"):
        corpus.caption(1)


def test_a_table_without_captions_is_named_when_one_is_needed(tmp_path):
    tar_of(write(tmp_path, caption=None))
    corpus = Corpus(tmp_path, SIDE)
    assert corpus.image(1)[0, 0].tolist() == RED
    with pytest.raises(CorpusError, match="has no column 'caption'"):
        corpus.caption(1)


@pytest.fixture
def marked_corpus(tmp_path):
    folder = write(tmp_path / "corpus", 5)
    tar_of(folder, 5)
    (folder / "images/extra").mkdir()
    (folder / "images/extra/one.png").write_bytes(png())
    return folder


def middle_row(folder):
    path = folder / "img_emb/img_emb_0.npy"
    rows = np.load(path)
    rows[2] = -rows[2]
    np.save(path, rows)


def middle_caption(folder):
    path = folder / "metadata/metadata_0.parquet"
    table = pq.read_table(path).to_pydict()
    table["caption"][2] = "another"
    pq.write_table(pa.table(table), path)


@pytest.mark.parametrize(
    "change",
    [
        middle_row,
        middle_caption,
        lambda folder: tar_of(folder, 5, colour="blue"),
        lambda folder: (folder / "images/extra/one.png").write_bytes(png("blue")),
        lambda folder: tar_of(folder, 5, shard=1),
        lambda folder: (folder / "images/extra/one.png").unlink(),
    ],
    ids=["embedding", "caption", "picture in a tar", "picture file", "tar that arrives", "picture that goes"],
)
def test_the_fingerprint_changes_with_what_the_corpus_holds(marked_corpus, change):
    before = Corpus(marked_corpus, SIDE).fingerprint
    change(marked_corpus)
    assert Corpus(marked_corpus, SIDE).fingerprint != before


def test_the_fingerprint_does_not_depend_on_the_place(marked_corpus, tmp_path, monkeypatch):
    expected = Corpus(marked_corpus, SIDE).fingerprint
    (tmp_path / "link").symlink_to(marked_corpus)
    shutil.copytree(marked_corpus, tmp_path / "copy")
    shutil.copytree(marked_corpus / "images", tmp_path / "pictures")
    monkeypatch.chdir(tmp_path)
    for spelled in ("corpus", "./corpus", tmp_path / "link", "copy", f"{os.curdir}/copy/../corpus"):
        assert Corpus(spelled, SIDE).fingerprint == expected
    assert Corpus("corpus", SIDE, "pictures").fingerprint == expected


def test_a_loop_of_links_among_the_pictures_ends(marked_corpus):
    expected = Corpus(marked_corpus, SIDE).fingerprint
    (marked_corpus / "images/extra/again").symlink_to(marked_corpus / "images")
    assert Corpus(marked_corpus, SIDE).fingerprint == expected


def test_writing_keeps_shards_that_another_tool_numbered(tmp_path):
    write(tmp_path, shard="00")
    before = contents(tmp_path)
    write_corpus(tmp_path, items(3), FakeEncoder(), SIDE, 3)
    assert contents(tmp_path) == before
