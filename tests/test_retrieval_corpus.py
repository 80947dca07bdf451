"""Corpora: written and read back, untrusted pictures refused and recorded, broken files named."""

import io
import json
import struct
import tarfile
import zlib

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from brainram_lib.retrieval.corpus import Corpus, CorpusError
from brainram_lib.retrieval.images import ImageRefused, decode, encoded
from brainram_lib.retrieval.layout import CorpusLayout
from brainram_lib.retrieval.writing import CorpusItem, write_corpus

COUNT, SHARD, SIZE, WIDTH = 11, 4, 16, 6


class FakeEncoder:
    """Embeds a picture by its mean colours and a caption by its letters; counts what it is asked."""

    fingerprint = "fake"

    def __init__(self):
        self.seen = 0

    def pooled_images(self, images):
        self.seen += len(images)
        flat = torch.from_numpy(images.reshape(len(images), -1, 3)).double()
        return torch.cat([flat.mean(1), flat.std(1) + 1], dim=1)

    def pooled_texts(self, texts):
        return torch.tensor([[float(text.count(letter)) + 1 for letter in "abcdef"] for text in texts])


def pictures(count=COUNT, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def items(count=COUNT):
    return [
        CorpusItem(encoded(p), f"caption {i} {'abc'[i % 3]}", f"https://a.example/{i}")
        for i, p in enumerate(pictures(count))
    ]


@pytest.fixture
def corpus(tmp_path):
    write_corpus(tmp_path / "corpus", items(), FakeEncoder(), SIZE, SHARD)
    return Corpus(tmp_path / "corpus", SIZE)


def test_written_corpus_reads_back(corpus):
    assert len(corpus) == COUNT
    assert [block.shape for block in corpus.image_embeddings()] == [(4, WIDTH), (4, WIDTH), (3, WIDTH)]
    assert all(isinstance(block, np.memmap) and block.dtype == np.float16 for block in corpus.text_embeddings())
    assert corpus.caption(9) == "caption 9 a" and corpus.url(9) == "https://a.example/9"
    shown = corpus.images(np.array([10, 0, 5]))
    assert shown.shape == (3, SIZE, SIZE, 3) and shown.dtype == np.uint8
    expected = decode(items()[10].image, SIZE)
    np.testing.assert_array_equal(shown[0], expected)


def test_embeddings_are_normalised_and_belong_to_their_items(corpus):
    rows = corpus.embedding_rows("image", np.array([7, 2]))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=2e-3)
    raw = FakeEncoder().pooled_images(corpus.images(np.array([7, 2]))).numpy()
    np.testing.assert_allclose(rows, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-3)


def test_tars_are_img2datasets(corpus):
    with tarfile.open(corpus.layout.tar(1)) as archive:
        names = archive.getnames()
        record = json.load(archive.extractfile("000010002.json"))
    assert names[:3] == ["000010000.jpg", "000010000.txt", "000010000.json"]
    assert record["status"] == "success" and record["width"] == SIZE and record["key"] == "000010002"


def test_a_failure_is_recorded_and_never_becomes_a_picture(tmp_path):
    broken = [*items(3), CorpusItem(b"not a picture", "x", "https://a.example/x")]
    write_corpus(tmp_path, broken, FakeEncoder(), SIZE, SHARD)
    assert len(Corpus(tmp_path, SIZE)) == 3
    table = pq.read_table(CorpusLayout(tmp_path).download_record(0)).to_pylist()
    assert [row["status"] for row in table] == ["success"] * 3 + ["failed_to_decode"]
    assert "not a readable JPEG" in table[3]["error_message"]


def test_a_shard_without_any_picture_is_refused(tmp_path):
    with pytest.raises(ValueError, match="none of the 2 pictures of shard 0"):
        write_corpus(tmp_path, [CorpusItem(b"", "x", "u")] * 2, FakeEncoder(), SIZE, SHARD)


def test_writing_goes_on_where_it_stopped(tmp_path):
    write_corpus(tmp_path, items(), FakeEncoder(), SIZE, SHARD)
    CorpusLayout(tmp_path).metadata(1).unlink()
    encoder = FakeEncoder()
    write_corpus(tmp_path, items(), encoder, SIZE, SHARD)
    assert encoder.seen == SHARD and len(Corpus(tmp_path, SIZE)) == COUNT


def png(width, height):
    """A PNG header that claims a size, with next to no data."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def gif():
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "GIF")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (png(40_000, 40_000), "1600000000|not a readable|pixels"),
        (png(9_000, 9_000), "9000 x 9000 pixels, more than"),
        (png(8, 8), "cannot be decoded"),
        (encoded(pictures(1)[0])[:200], "cannot be decoded|not a readable"),
        (gif(), "not a readable JPEG, PNG or WebP"),
        (b"", "not a readable"),
    ],
)
def test_bad_pictures_are_refused(data, message):
    with pytest.raises(ImageRefused, match=message):
        decode(data, SIZE)


def test_too_many_bytes_are_refused():
    with pytest.raises(ImageRefused, match="more than the 100 allowed"):
        decode(encoded(pictures(1)[0]), SIZE, max_bytes=100)


def test_decode_crops_the_centre_and_puts_transparency_on_white():
    wide = np.zeros((8, 24, 4), np.uint8)
    wide[:, 8:16] = (255, 0, 0, 255)
    stream = io.BytesIO()
    Image.fromarray(wide).save(stream, "PNG")
    np.testing.assert_array_equal(decode(stream.getvalue(), 8), np.broadcast_to([255, 0, 0], (8, 8, 3)))
    stream = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 4), np.uint8)).save(stream, "PNG")
    assert (decode(stream.getvalue(), 8) == 255).all()


def plain_files(corpus, names):
    """The same corpus with picture files in place of tars, named by image_path."""
    for shard in corpus.shards:
        table = pq.read_table(corpus.layout.metadata(shard)).to_pydict()
        table["image_path"] = [names(i) for i in range(len(table["key"]))]
        corpus.layout.tar(shard).unlink()
        pq.write_table(
            pq.read_table(corpus.layout.metadata(shard))
            .drop_columns("image_path")
            .append_column("image_path", [table["image_path"]]),
            corpus.layout.metadata(shard),
        )
    return Corpus(corpus.folder, SIZE)


def test_pictures_as_files(corpus):
    (corpus.layout.images / "deep").mkdir()
    (corpus.layout.images / "deep" / "one.jpg").write_bytes(items()[6].image)
    read = plain_files(corpus, lambda row: "deep/one.jpg")
    np.testing.assert_array_equal(read.image(3), decode(items()[6].image, SIZE))


def test_paths_out_of_the_folder_are_refused(corpus):
    (corpus.folder / "secret.jpg").write_bytes(items()[0].image)
    read = plain_files(corpus, lambda row: "../secret.jpg")
    with pytest.raises(ImageRefused, match="leads out of"):
        read.image(0)


def test_missing_corpus_says_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no corpus at .* expected 'metadata/metadata_0.parquet'"):
        Corpus(tmp_path, SIZE)


def test_truncated_embeddings_are_named(corpus):
    path = corpus.layout.embeddings("text", 1)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CorpusError, match=r"text_emb_1.npy' cannot be read"):
        Corpus(corpus.folder, SIZE)


def test_embeddings_of_another_run_are_named(corpus):
    np.save(corpus.layout.embeddings("image", 2), np.ones((5, WIDTH), np.float16))
    with pytest.raises(CorpusError, match=r"img_emb_2.npy' has 5 rows, but .*metadata_2.parquet' has 3"):
        Corpus(corpus.folder, SIZE)


def test_unknown_items_and_modalities_are_refused(corpus):
    with pytest.raises(IndexError, match="item 11 is not in the corpus"):
        corpus.caption(COUNT)
    with pytest.raises(ValueError, match="'modality' must be one of"):
        corpus.embeddings("sound")
