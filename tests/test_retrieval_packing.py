"""A corpus from a folder of pictures and a table: packed, taken up again, and bad input counted and named."""

from __future__ import annotations

import csv
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from test_retrieval_corpus import SIZE, FakeEncoder, pictures

from brainram_lib.__main__ import main
from brainram_lib.pipeline.weights import EncoderWeights
from brainram_lib.retrieval.corpus import Corpus, CorpusError
from brainram_lib.retrieval.images import decode, encoded
from brainram_lib.retrieval.metadata import as_text
from brainram_lib.retrieval.packing import pack, read_listing

COUNT, SHARD = 7, 3


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pictures/below").mkdir(parents=True)
    rows = []
    for k, pixels in enumerate(pictures(COUNT)):
        name = f"below/{k}.jpg" if k % 2 else f"{k}.jpg"
        (tmp_path / "pictures" / name).write_bytes(encoded(pixels))
        rows.append([name, f"caption, with a comma, {k}"])
    write(tmp_path / "captions.csv", rows)
    return tmp_path


def write(path, rows, header=("file", "caption")):
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])


def packed(folder, encoder=None, out="corpus", table="captions.csv"):
    listing = read_listing(folder / table)
    return pack(folder / "pictures", listing, folder / out, encoder or FakeEncoder(), SIZE, SHARD)


def test_a_packed_corpus_reads_back_in_the_order_of_the_table(folder):
    assert packed(folder).pairs == COUNT
    corpus = Corpus(folder / "corpus", SIZE)
    assert [corpus.caption(k) for k in range(COUNT)] == [f"caption, with a comma, {k}" for k in range(COUNT)]
    np.testing.assert_array_equal(corpus.image(5), decode((folder / "pictures/below/5.jpg").read_bytes(), SIZE))
    assert corpus.embedding_rows("text", np.arange(COUNT)).shape == (COUNT, 6)


class Interrupted(FakeEncoder):
    def pooled_images(self, images):
        if self.seen >= SHARD:
            raise KeyboardInterrupt
        return super().pooled_images(images)


def test_an_interrupted_packing_goes_on_where_it_stopped(folder):
    with pytest.raises(KeyboardInterrupt):
        packed(folder, Interrupted())
    encoder = FakeEncoder()
    assert packed(folder, encoder).pairs == COUNT and encoder.seen == COUNT - SHARD
    packed(folder, out="whole")
    assert Corpus(folder / "corpus", SIZE).fingerprint == Corpus(folder / "whole", SIZE).fingerprint


def test_a_table_in_parquet_with_addresses_is_read(folder):
    table = pd.read_csv(folder / "captions.csv")
    table.assign(url=[f"https://a.example/{k}" for k in range(COUNT)]).to_parquet(folder / "captions.parquet")
    packed(folder, table="captions.parquet")
    assert Corpus(folder / "corpus", SIZE).url(4) == "https://a.example/4"


@pytest.mark.parametrize("kind", ["object", "string", "convert"])
def test_null_captions_of_a_parquet_are_no_captions(folder, kind):
    """pandas gives None, NA or NaT, by the type that the writer's tool gave the column."""
    table = pd.DataFrame({"file": [f"{k}.jpg" for k in (0, 2, 4, 6)], "caption": ["a", None, "c", None]})
    table = {"object": table, "string": table.astype("string"), "convert": table.convert_dtypes()}[kind]
    table.to_parquet(folder / "captions.parquet")
    listing = read_listing(folder / "captions.parquet")
    assert [row.caption for row in listing.rows] == ["a", "c"] and listing.without_caption == 2


@pytest.mark.parametrize("absent", [None, np.nan, np.float32("nan"), pd.NA, pd.NaT, Decimal("nan")], ids=repr)
def test_whatever_stands_for_nothing_is_no_text(absent):
    assert as_text(absent) is None
    assert [as_text(one) for one in (7, 7.0, 7.5, b"a", "<NA>")] == ["7", "7", "7.5", "a", "<NA>"]


@pytest.mark.parametrize("column", ["file", "caption", "url"])
def test_a_column_of_lists_is_named(folder, column):
    """All captions of an image in one cell, as tables of COCO have them."""
    table = pd.DataFrame({name: ["0.jpg", "2.jpg"] for name in ("file", "caption", "url")})
    table[column] = [["one", "two"], ["three"]]
    table.to_parquet(folder / "captions.parquet")
    with pytest.raises(
        CorpusError, match=rf"column '{column}' of .* Row 0 .* holds \['one', 'two'\]. Keep one of each"
    ):
        read_listing(folder / "captions.parquet")


def test_the_command_names_a_table_that_is_wrong_before_anything_is_written(folder, capsys):
    (folder / "captions.csv").write_text("file,caption\n0.jpg,a dog, lying\n")
    arguments = [str(folder / "pictures"), "--captions", str(folder / "captions.csv"), "--out", str(folder / "corpus")]
    assert main(["corpus", "pack", *arguments]) == 1
    assert "line 2 of" in capsys.readouterr().err and not (folder / "corpus").exists()


def test_what_cannot_be_used_is_left_out_and_counted(folder):
    (folder / "secret.jpg").write_bytes(encoded(pictures(1)[0]))
    (folder / "pictures/0.jpg").write_bytes(b"no picture")
    (folder / "pictures/2.jpg").unlink()
    good = [[f"below/{k}.jpg", "good"] for k in (1, 3, 5)]
    bad = [["0.jpg", "a"], ["2.jpg", "b"], ["../secret.jpg", "c"], [str(folder / "secret.jpg"), "d"]]
    write(folder / "captions.csv", [*good, *bad, ["4.jpg", " "], ["below/../below/1.jpg", "again"], ["6.jpg", "good"]])
    listing, found = read_listing(folder / "captions.csv"), packed(folder)
    assert (found.pairs, found.refused, listing.without_caption, listing.repeated) == (4, 4, 1, 1)
    corpus = Corpus(folder / "corpus", SIZE)
    assert {corpus.caption(k) for k in range(len(corpus))} == {"good"}, "a shard without pictures is no item"


def test_images_that_arrive_later_are_packed_by_the_same_command(folder):
    """One was missing, one broken; shards without failures stay as they are."""
    good = {k: folder / "pictures" / f"{k}.jpg" for k in (0, 2)}
    content = {k: path.read_bytes() for k, path in good.items()}
    good[0].unlink()
    good[2].write_bytes(b"broken")
    assert packed(folder).refused == 2
    encoder = FakeEncoder()
    assert packed(folder, encoder).refused == 2 and encoder.seen == 0, "nothing has changed"
    for k, path in good.items():
        path.write_bytes(content[k])
    assert packed(folder, encoder).pairs == COUNT and encoder.seen == SHARD
    packed(folder, out="whole")
    assert Corpus(folder / "corpus", SIZE).fingerprint == Corpus(folder / "whole", SIZE).fingerprint


def test_a_shard_whose_packed_images_have_gone_is_not_written_again(folder):
    arrives, goes = folder / "pictures/0.jpg", folder / "pictures/below/1.jpg"
    content = arrives.read_bytes()
    arrives.unlink()
    assert packed(folder).pairs == COUNT - 1
    arrives.write_bytes(content)
    goes.unlink()
    assert packed(folder).pairs == COUNT - 1
    assert "caption, with a comma, 1" in {Corpus(folder / "corpus", SIZE).caption(k) for k in range(COUNT - 1)}


def test_a_shard_that_is_interrupted_while_it_is_written_again_is_unfinished_and_goes_on(folder):
    path = folder / "pictures/0.jpg"
    content = path.read_bytes()
    path.unlink()
    packed(folder)
    path.write_bytes(content)
    stopped = Interrupted()
    stopped.seen = SHARD
    with pytest.raises(KeyboardInterrupt):
        packed(folder, stopped)
    assert packed(folder).pairs == COUNT and len(Corpus(folder / "corpus", SIZE)) == COUNT


def test_a_damaged_table_of_statuses_is_named(folder):
    packed(folder)
    (folder / "corpus/images/00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorpusError, match=r"00001.parquet' cannot be read .* Delete '.*metadata_1.parquet', and the"):
        packed(folder)


def test_the_command_says_that_images_are_looked_at_again(folder, capsys, monkeypatch):
    monkeypatch.setattr(EncoderWeights, "load", lambda self: ClipLike())
    arguments = [str(folder / "pictures"), "--captions", str(folder / "captions.csv"), "--out", str(folder / "corpus")]
    away = (folder / "pictures/0.jpg").rename(folder / "0.jpg")
    assert main(["corpus", "pack", *arguments]) == 0
    said = capsys.readouterr().out
    assert "1 images that cannot be read" in said and "The same command looks again at those" in said
    away.rename(folder / "pictures/0.jpg")
    assert main(["corpus", "pack", *arguments]) == 0
    said = capsys.readouterr().out
    assert "holds 7 pairs" in said and "looks again" not in said


class ClipLike(FakeEncoder):
    image_size = SIZE


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("gone.csv", None, "there is no table '.*gone.csv'"),
        ("a.csv", b"file;caption\na.jpg;b\n", "must have the columns 'file' and 'caption'.*separated by commas"),
        ("a.csv", b"file,caption\na.jpg,\n", "has no row with a file and a caption"),
        (
            "a.csv",
            b"file,caption\na.jpg,a dog, lying\nb.jpg,a cat, lying\n",
            "line 2 of '.*a.csv' has 3 cells, and its",
        ),
        ("a.csv", b"file,caption\na.jpg,a dog\nb.jpg,a cat,\n", "line 3 of '.*a.csv' has 3 cells.* in double quotes"),
        ("a.csv", b"file,caption,url\na.jpg,a dog\n", "line 2 of '.*a.csv' has 2 cells, and its header has 3"),
        ("a.csv", b"file,caption\n\xff\xfe\n", "cannot be read as a table .* Save it as CSV in UTF-8"),
        ("a.csv", b"", "cannot be read as a table"),
        ("a.parquet", b"PAR1", "cannot be read as a table"),
    ],
)
def test_a_wrong_table_is_named(tmp_path, name, content, sentence):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=sentence):
        read_listing(tmp_path / name)


def test_another_table_encoder_or_a_corpus_of_another_tool_is_not_mixed_in(folder):
    packed(folder)
    other = FakeEncoder()
    other.fingerprint = "other"
    with pytest.raises(CorpusError, match="was packed with another encoder. Choose another folder"):
        packed(folder, other)
    write(folder / "captions.csv", [["0.jpg", "new"]])
    with pytest.raises(CorpusError, match="was packed with another table"):
        packed(folder)
    (folder / "corpus/packed.json").unlink()
    with pytest.raises(CorpusError, match="holds a corpus that another tool wrote"):
        packed(folder)


@pytest.mark.parametrize("size", [0, 10_001])
def test_shards_that_keys_cannot_count_are_refused(folder, size):
    with pytest.raises(CorpusError, match=f"'shard_size' must lie between 1 and 10000. {size} was provided"):
        pack(folder / "pictures", read_listing(folder / "captions.csv"), folder / "corpus", FakeEncoder(), SIZE, size)


def test_no_folder_and_no_usable_picture_are_named(folder):
    write(folder / "captions.csv", [["gone.jpg", "a"]])
    with pytest.raises(CorpusError, match=r"none of the 1 pictures .* 'gone.jpg' cannot be read \(No such file"):
        packed(folder)
    (folder / "pictures").rename(folder / "elsewhere")
    with pytest.raises(CorpusError, match="there is no folder '.*pictures' of pictures"):
        packed(folder)
