"""Corpus folders as clip-retrieval and img2dataset write them; odd cells and paths; what a fingerprint sees."""

import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile_corpora import IMAGE_WIDTH, RED, SIDE, contents, keys_of, png, tar, tar_of, units, write
from test_retrieval_corpus import FakeEncoder, items

from brainram_lib.retrieval import metadata as metadata_module
from brainram_lib.retrieval.corpus import Corpus, CorpusError
from brainram_lib.retrieval.images import ImageRefused
from brainram_lib.retrieval.writing import write_corpus


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


@pytest.mark.parametrize(
    "keys",
    [[0, 1, 2], [0.0, 1.0, 2.0], [b"000000000", b"000000001", b"000000002"], pa.array(keys_of(3)).dictionary_encode()],
    ids=["int", "float", "bytes", "categories"],
)
def test_keys_of_any_type_find_their_pictures(tmp_path, keys):
    write(tmp_path, key=keys)
    tar(tmp_path / "images/00000.tar", [(f"{key}.png", png((int(key), 0, 0))) for key in keys_of(3)])
    corpus = Corpus(tmp_path, SIDE)
    assert [corpus.image(item)[0, 0].tolist() for item in range(3)] == [[item, 0, 0] for item in range(3)]


@pytest.mark.parametrize(
    "names",
    [["a.b.0", "a.b.1", "a.b.2"], ["./000000000", "./000000001", "./000000002"], ["part/x0", "part/x1", "part/x2"]],
    ids=["dots", "dot-slash", "folders"],
)
def test_members_of_unusual_names_are_found(tmp_path, names):
    write(tmp_path, key=[name.split("/")[-1] for name in names])
    tar(tmp_path / "images/shard-x.tar", [(f"{name}.PNG", png()) for name in names])
    assert Corpus(tmp_path, SIDE).image(2)[0, 0].tolist() == RED


def test_equal_keys_are_refused_where_tars_are_used(tmp_path):
    for shard in "01":
        write(tmp_path, shard=shard, key=keys_of(3))
    tar_of(tmp_path)
    with pytest.raises(CorpusError, match="rows 0 and 3 of the metadata have the same key '000000000'"):
        Corpus(tmp_path, SIDE).image(4)


def test_rows_without_key_and_path_are_no_equal_keys(tmp_path):
    tar_of(write(tmp_path, image_path=[None] * 3, key=["000000000", None, None]))
    corpus = Corpus(tmp_path, SIDE)
    assert corpus.image(0)[0, 0].tolist() == RED
    with pytest.raises(ImageRefused, match="item 2 of the corpus .* neither a key nor an image_path"):
        corpus.image(2)


@pytest.mark.parametrize("second", ["x.tar", "000.tar"])
def test_a_key_that_two_tars_hold_is_refused(tmp_path, second):
    write(tmp_path)
    for name in ("00000.tar", "y.tar", second)[second == "x.tar" :]:
        tar(tmp_path / "images" / name, [(f"{key}.png", png()) for key in keys_of(3)])
    with pytest.raises(CorpusError, match="two pictures have the key '000000001'"):
        Corpus(tmp_path, SIDE).image(1)


@pytest.mark.parametrize("damage", [b"", b"no tar at all" * 99, None])
def test_a_damaged_tar_is_named(tmp_path, damage):
    tar_of(write(tmp_path))
    path = tmp_path / "images/00000.tar"
    path.write_bytes(path.read_bytes()[:700] if damage is None else damage)
    with pytest.raises(CorpusError, match="00000.tar' cannot be read .* write this shard again"):
        Corpus(tmp_path, SIDE).image(1)


def test_a_tar_that_arrives_is_found_by_the_same_corpus(tmp_path):
    corpus = Corpus(write(tmp_path), SIDE)
    with pytest.raises(ImageRefused, match="item 1 of the corpus .*: no picture '000000001'"):
        corpus.image(1)
    tar_of(tmp_path)
    assert corpus.image(1)[0, 0].tolist() == RED


@pytest.fixture
def elsewhere(tmp_path):
    """Pictures in two folders beside the corpus, of the same names."""
    for folder, colour in (("a", "red"), ("b", "blue")):
        (tmp_path / "my pictures ü" / folder).mkdir(parents=True)
        (tmp_path / "my pictures ü" / folder / "0.png").write_bytes(png(colour))
    return tmp_path / "my pictures ü"


def whole_paths(folder, root):
    return write(folder, 2, key=[None, None], image_path=[f"{root}/a/0.png", f"{root}/b/0.png"])


@pytest.mark.parametrize("linked", ["link", "given", "copied", "moved"])
def test_whole_paths_are_accepted_where_they_lead_into_the_folder(tmp_path, elsewhere, linked):
    folder, given = whole_paths(tmp_path / "corpus", elsewhere), None
    (folder / "images").rmdir()
    if linked == "link":
        (folder / "images").symlink_to(elsewhere)
    elif linked == "copied":
        shutil.copytree(elsewhere, folder / "images")
    elif linked == "moved":
        elsewhere.rename(folder / "images")
    else:
        given = elsewhere
    corpus = Corpus(folder, SIDE, given)
    assert corpus.image(0)[0, 0].tolist() == RED and corpus.image(1)[0, 0].tolist() == [0, 0, 255]


def test_whole_paths_of_one_name_are_never_taken_for_each_other(tmp_path, elsewhere):
    folder = whole_paths(tmp_path / "corpus", elsewhere)
    (folder / "images/0.png").write_bytes(png())
    with pytest.raises(ImageRefused, match="leads out of .* give the folder of the pictures as 'images'"):
        Corpus(folder, SIDE).image(1)


@pytest.mark.parametrize(
    "path",
    ["../secret.png", "/etc/secret.png", "x/../../secret.png", "//secret.png", "a\0.png", "x" * 5000, "~/secret.png"],
)
def test_a_path_of_the_web_reads_no_file_outside(tmp_path, path):
    write(tmp_path, 1, key=[None], image_path=[path])
    (tmp_path / "secret.png").write_bytes(png())
    with pytest.raises(ImageRefused, match="leads out of|zero byte|no picture") as said:
        Corpus(tmp_path, SIDE).image(0)
    assert len(str(said.value)) < 600


@pytest.mark.parametrize("kind", ["file", "folder", "tar"])
def test_links_that_the_user_made_are_followed(tmp_path, kind):
    folder = write(tmp_path / "corpus", image_path=[f"deep/{key}.png" for key in keys_of(3)])
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for key in keys_of(3):
        (blobs / f"{key}.png").write_bytes(png())
    tar(blobs / "t", [(f"{key}.png", png()) for key in keys_of(3)])
    if kind == "tar":
        (folder / "images/00000.tar").symlink_to("../../blobs/t")
    elif kind == "folder":
        (folder / "images/deep").symlink_to(blobs)
    else:
        (folder / "images/deep").mkdir()
        for key in keys_of(3):
            (folder / f"images/deep/{key}.png").symlink_to(f"../../../blobs/{key}.png")
    assert Corpus(folder, SIDE).image(2)[0, 0].tolist() == RED


@pytest.mark.parametrize("name", ["00000/000000001.jpg", "00000/000000001.PNG", "000000001.webp", "000000001"])
def test_img2datasets_files_are_found_by_their_keys(tmp_path, name):
    path = write(tmp_path) / "images" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(png())
    assert Corpus(tmp_path, SIDE).image(1)[0, 0].tolist() == RED


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image_path": pa.nulls(3, pa.string()), "key": pa.nulls(3, pa.string())}, "neither a key nor an image_path"),
        ({"image_path": None, "key": None}, "neither a key nor an image_path"),
        ({"image_path": [np.nan] * 3, "key": [np.nan] * 3}, "neither a key nor an image_path"),
        ({"image_path": pa.nulls(3, pa.string())}, "no picture '000000001'"),
        ({"image_path": [7, 8, 9], "key": None}, "no picture '8'"),
        ({"image_path": [""] * 3}, "no picture"),
    ],
)
def test_a_row_without_a_picture_is_refused_in_a_sentence(tmp_path, columns, message):
    with pytest.raises(ImageRefused, match=f"item 1 of the corpus .*{message}"):
        Corpus(write(tmp_path, **columns), SIDE).image(1)


def test_a_folder_of_images_that_is_not_there_is_named(tmp_path):
    (write(tmp_path) / "images").rmdir()
    with pytest.raises(ImageRefused, match="there is no folder .*images'"):
        Corpus(tmp_path, SIDE).image(1)


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
