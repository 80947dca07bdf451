"""Shards as clip-retrieval and img2dataset write them: their order, tables, embeddings and damage."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile_corpora import IMAGE_WIDTH, RED, SIDE, tar_of, units, write

from brainram_lib.retrieval import metadata as metadata_module
from brainram_lib.retrieval.corpus import Corpus, CorpusError


@pytest.mark.parametrize("digits", [1, 2, 4])
def test_shards_are_read_in_the_order_of_their_numbers(tmp_path, digits):
    for number in (10, 2, 11, 0):
        write(tmp_path, 2 + number % 3, shard=f"{number:0{digits}d}")
    corpus = Corpus(tmp_path, SIDE)
    assert corpus.shards == [0, 2, 10, 11] and len(corpus) == 2 + 4 + 3 + 4
    assert [corpus.caption(item)[:10] for item in (0, 2, 6, 9)] == [
        "caption 0 ",
        "caption 2 ",
        "caption 10",
        "caption 11",
    ]
    np.testing.assert_array_equal(corpus.embedding_rows("image", np.array([7])), units(3, IMAGE_WIDTH, 11)[[1]])


def test_two_files_of_one_number_are_refused_by_name(tmp_path):
    for shard in ("1", "01"):
        write(tmp_path, shard=shard)
    with pytest.raises(CorpusError, match=r"shard 1 stands twice .* 'metadata_01.parquet' and 'metadata_1.parquet'"):
        Corpus(tmp_path, SIDE)


@pytest.mark.parametrize(
    "name", ["._metadata_0.parquet", "metadata_0.parquet.partial", "metadata_x.parquet", "metadata_²"]
)
def test_other_files_beside_the_shards_are_left_alone(tmp_path, name):
    write(tmp_path)
    (tmp_path / "metadata" / name).write_bytes(b"anything")
    assert len(Corpus(tmp_path, SIDE)) == 3


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["metadata_{}.arrow", "{}.arrow"])
def test_arrow_tables_are_read(tmp_path, name, stream):
    for shard in range(2):
        path = write(tmp_path, 3 + shard, shard=str(shard)) / f"metadata/metadata_{shard}.parquet"
        arrow(path.with_name(name.format(shard)), [pq.read_table(path)], stream)
        path.unlink()
    assert [Corpus(tmp_path, SIDE).caption(item) for item in (2, 3, 6)] == ["caption 0 2", "caption 1 0", "caption 1 3"]


def arrow(path, tables, stream=False):
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(str(path), tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)


def test_one_arrow_table_of_many_shards_is_read(tmp_path):
    """clip-retrieval's parquet_to_arrow joins them."""
    tables = []
    for shard in ("00", "01", "02"):
        path = write(tmp_path, 4, shard=shard) / f"metadata/metadata_{shard}.parquet"
        tables.append(pq.read_table(path))
        path.unlink()
    arrow(tmp_path / "metadata/0.arrow", tables)
    corpus = Corpus(tmp_path, SIDE)
    assert len(corpus) == 12 and corpus.caption(9) == "caption 2 1"
    np.testing.assert_array_equal(corpus.embedding_rows("image", np.array([9])), units(4, IMAGE_WIDTH, 3)[[1]])
    (tmp_path / "text_emb/text_emb_02.npy").unlink()
    with pytest.raises(CorpusError, match="text embeddings of .* have 8 rows, but its tables have 12"):
        Corpus(tmp_path, SIDE)


def test_cells_are_read_by_row_group_and_little_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(metadata_module, "KEPT_BYTES", 100)
    path = write(tmp_path, 9) / "metadata/metadata_0.parquet"
    pq.write_table(pq.read_table(path), path, row_group_size=2)
    read, original = [], metadata_module._read
    monkeypatch.setattr(metadata_module, "_read", lambda *place: read.append(place[1:]) or original(*place))
    corpus = Corpus(tmp_path, SIDE)
    assert not read, "no cell is read before it is asked for"
    assert [corpus.caption(item) for item in (5, 8, 4)] == ["caption 0 5", "caption 0 8", "caption 0 4"]
    assert read[:2] == [(2, "caption"), (4, "caption")] and len(corpus.metadata._kept) <= 3


@pytest.mark.parametrize("embedded", ["image", "text"])
def test_a_corpus_of_one_modality_serves_what_needs_no_other(tmp_path, embedded):
    other = "text" if embedded == "image" else "image"
    tar_of(write(tmp_path, without=(other,)))
    corpus = Corpus(tmp_path, SIDE)
    assert corpus.modalities == (embedded,) and corpus.embeddings(embedded)[0].shape[0] == 3
    assert corpus.caption(1) == "caption 0 1" and corpus.image(1)[0, 0].tolist() == RED and corpus.fingerprint
    with pytest.raises(CorpusError, match=f"has no {other} embeddings"):
        corpus.embeddings(other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "img_emb/img_emb_1.npy").unlink(), "no 'img_emb_1.npy' beside it"),
        (lambda folder: (folder / "img_emb/img_emb_1.npy").write_bytes(b""), "img_emb_1.npy' cannot be read"),
        (
            lambda folder: np.save(folder / "img_emb/img_emb_1.npy", np.ones((3, 7))),
            "img_emb_1.npy' is of another width",
        ),
        (lambda folder: np.save(folder / "img_emb/img_emb_1.npy", np.ones(3)), r"shape \(rows, width\)"),
        (
            lambda folder: np.save(folder / "img_emb/img_emb_1.npy", np.array([None] * 3)),
            "img_emb_1.npy' cannot be read",
        ),
        (
            lambda folder: (folder / "metadata/metadata_1.parquet").write_bytes(b"x" * 99),
            "metadata_1.parquet' cannot be",
        ),
        (
            lambda folder: linked_nowhere(folder / "metadata/metadata_1.parquet"),
            "is a link to 'gone', where nothing is",
        ),
    ],
)
def test_a_damaged_shard_is_named_with_its_cause(tmp_path, change, message):
    for shard in "01":
        write(tmp_path, shard=shard)
    change(tmp_path)
    with pytest.raises(CorpusError, match=message) as said:
        Corpus(tmp_path, SIDE)
    assert len(str(said.value)) < 500


def linked_nowhere(path):
    path.unlink()
    path.symlink_to("gone")


def test_an_unfinished_shard_is_left_out_and_said(tmp_path):
    for shard in "012":
        write(tmp_path, shard=shard)
    (tmp_path / "metadata/metadata_1.parquet").unlink()
    with pytest.warns(UserWarning, match="img_emb_1.npy' has no table"):
        corpus = Corpus(tmp_path, SIDE)
    assert len(corpus) == 6 and corpus.caption(4) == "caption 2 1"


@pytest.mark.parametrize("place", ["0", "1"])
def test_an_empty_shard_is_a_shard_without_items(tmp_path, place):
    write(tmp_path, 0, shard=place)
    write(tmp_path, 3, shard="1" if place == "0" else "0")
    corpus = Corpus(tmp_path, SIDE)
    assert len(corpus) == 3 and corpus.fingerprint and corpus.caption(2).endswith("2")
    assert corpus.embedding_rows("text", np.array([2])).shape == (1, 5)


def test_a_corpus_of_empty_shards_only_is_refused(tmp_path):
    write(tmp_path, 0)
    with pytest.raises(CorpusError, match="has no items"):
        Corpus(tmp_path, SIDE)
