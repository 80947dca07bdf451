"""Where the pictures of a corpus lie: keys and tars, paths and links, none outside the folder."""

import shutil

import numpy as np
import pyarrow as pa
import pytest
from hostile_corpora import RED, SIDE, keys_of, png, tar, tar_of, write

from brainram_lib.retrieval.corpus import Corpus, CorpusError
from brainram_lib.retrieval.images import ImageRefused


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


def test_hidden_tars_are_no_tars_of_the_corpus(tmp_path):
    """'._x.tar', which macOS leaves beside x.tar, and the whole file of a writer that was killed before it named it."""
    write(tmp_path)
    tar(tmp_path / "images/x.tar", [(f"{key}.png", png()) for key in keys_of(3)])
    (tmp_path / "images/._x.tar").write_bytes(b"\0\5\x16\7" + bytes(4000))
    shutil.copy(tmp_path / "images/x.tar", tmp_path / "images/.x.12-ab.partial.tar")
    assert Corpus(tmp_path, SIDE).image(1)[0, 0].tolist() == RED


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
