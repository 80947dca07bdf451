"""Reconstructions that others made: matched by nsdId, never by order; what cannot be scored is named."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from brainram_lib.__main__ import main
from brainram_lib.evaluation.submitted import SubmissionError, files_of, read_submission

SHAPE = (9, 7, 3)


def image(seed):
    return np.random.default_rng(seed).integers(0, 255, SHAPE, np.uint8)


def folder_of(path, **images):
    path.mkdir(exist_ok=True)
    for name, pixels in images.items():
        Image.fromarray(pixels).save(path / f"{name}.png")
    return path


def arrays(path, made, ids):
    path.mkdir()
    np.save(path / "images.npy", made)
    np.save(path / "nsd_ids.npy", ids)
    return path


@pytest.mark.parametrize("name", ["{}", "nsd{:05d}", "subj01_run3_{:06d}", "recon-{}"])
def test_images_are_known_by_the_last_number_of_their_name(tmp_path, name):
    folder = folder_of(tmp_path / "x", **{name.format(number): image(number) for number in (12, 3, 100)})
    found = read_submission(folder)
    assert found.ids.tolist() == [3, 12, 100] and found.left_out == {}
    np.testing.assert_array_equal(found.images, [image(3), image(12), image(100)])


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_arrays_are_sorted_by_their_ids(tmp_path, kind):
    made = np.stack([image(5), image(2)])
    made = made if kind is np.uint8 else made.astype(kind) / 255
    found = read_submission(arrays(tmp_path / "x", made, np.array([5, 2])))
    assert found.ids.tolist() == [2, 5]
    np.testing.assert_array_equal(found.images, [image(2), image(5)])


@pytest.mark.parametrize(
    ("value", "why"), [(np.nan, "not finite"), (np.inf, "not finite"), (-np.inf, "not finite"), (0.25, "constant")]
)
def test_images_that_hold_nothing_are_left_out_and_counted(tmp_path, value, why):
    made = np.stack([image(5), image(2)]).astype(np.float32) / 255
    made[0] = value
    found = read_submission(arrays(tmp_path / "x", made, np.array([5, 2])))
    assert found.ids.tolist() == [2] and found.left_out == {5: why}
    made[0], made[0, 3, 2, 1] = image(5) / 255, value
    one = read_submission(arrays(tmp_path / "y", made, np.array([5, 2])))
    assert one.left_out == ({5: why} if why == "not finite" else {})


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 0, 255), (10, 10, 10)])
def test_an_image_of_one_colour_is_constant(tmp_path, colour):
    flat = np.full(SHAPE, colour, np.uint8)
    found = read_submission(folder_of(tmp_path / "x", **{"3": flat, "7": image(1)}))
    assert found.ids.tolist() == [7] and found.left_out == {3: "constant"}


@pytest.mark.parametrize("scale", [lambda one: one / 127.5 - 1, lambda one: one * 1.0], ids=["-1 to 1", "0 to 255"])
def test_a_single_image_of_another_range_is_left_out_and_counted(tmp_path, scale):
    made = np.stack([image(seed) for seed in range(120)]) / 255
    made[4] = scale(image(4))
    found = read_submission(arrays(tmp_path / "x", made, np.arange(120)))
    assert found.left_out == {4: "of another range than [0, 1]"} and len(found.ids) == 119 and found.clipped == ()


def test_a_few_values_outside_are_clipped_and_counted(tmp_path):
    made = np.stack([image(5), image(2), image(9)]).astype(np.float32) / 255
    made[1, 0, 0] = [1.0002, -0.001, 0.5]
    found = read_submission(arrays(tmp_path / "x", made, np.array([5, 2, 9])))
    assert found.clipped == (2,) and found.ids.tolist() == [2, 5, 9]
    assert found.images[0, 0, 0].tolist() == [255, 0, 128]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path / "gone", "there is no folder"),
        (lambda path: folder_of(path / "x"), "holds no image"),
        (lambda path: folder_of(path / "x", cat=image(1)), "'cat.png' has no nsdId in its name"),
        (
            lambda path: folder_of(path / "x", **{"7": image(1), "nsd007": image(2)}),
            "nsdId 7 has 2 images, 7.png, nsd007.png; one is",
        ),
        (lambda path: folder_of(path / "x", **{"7": image(1), "8": image(2)[:5]}), "images of several sizes"),
        (lambda path: folder_of(path / "x", **{"7": image(1)[..., 0].astype(np.uint16)}), "is of mode I;16"),
        (lambda path: arrays(path / "x", np.zeros((2, *SHAPE)) - 0.5, np.arange(2)), "Values from -0.5 to"),
        (lambda path: arrays(path / "x", np.full((2, *SHAPE), 200.0), np.arange(2)), "floats in .0, 1.. Values from"),
        (
            lambda path: arrays(path / "x", np.stack([image(1), image(2)]) / 127.5 - 1, np.arange(2)),
            r"Values from -1 to .* of them outside; at most 1% are clipped. Bring them to \[0, 1\], e.g.",
        ),
        (
            lambda path: arrays(path / "x", np.stack([image(1), image(2), image(3)]), np.array([4, 8, 4])),
            r"nsdId 4 has 2 images, images.npy\[0\], images.npy\[2\]; one is scored",
        ),
        (lambda path: arrays(path / "x", np.zeros((2, *SHAPE), np.int32), np.arange(2)), "int32 was provided"),
        (lambda path: arrays(path / "x", np.zeros((2, *SHAPE)), np.arange(3)), "must be .n, height, width, 3. and"),
        (lambda path: arrays(path / "x", np.zeros((2, 9, 7)), np.arange(2)), "must be .n, height, width, 3. and"),
        (lambda path: arrays(path / "x", np.zeros((2, *SHAPE)), np.array([0.0, 1.0])), "whole numbers"),
    ],
)
def test_what_cannot_be_scored_is_named(tmp_path, make, message):
    with pytest.raises(SubmissionError, match=message):
        read_submission(make(tmp_path))


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_an_array_of_no_images_is_read_as_none(tmp_path, kind):
    np.save(tmp_path / "images.npy", np.empty((0, 4, 4, 3), kind))
    np.save(tmp_path / "nsd_ids.npy", np.empty(0, np.int64))
    read = read_submission(tmp_path)
    assert len(read.ids) == 0 and not read.left_out


def test_a_broken_image_is_named(tmp_path):
    folder = folder_of(tmp_path / "x", **{"7": image(1)})
    (folder / "8.png").write_bytes(b"no image")
    with pytest.raises(SubmissionError, match="8.png' cannot be read as an image"):
        read_submission(folder)


def damaged(path, **content):
    """An array of one image with its id, and files of other bytes in their place."""
    arrays(path, image(1)[None], np.array([7]))
    for name, data in content.items():
        (path / f"{name}.npy").write_bytes(data)
    return path


def zipped(path):
    np.savez(path / "a.npz", images=image(1)[None])
    return (path / "a.npz").read_bytes()


@pytest.mark.parametrize("name", ["images", "nsd_ids"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda path: b"", "cannot be read as an array .No data left in file"),
        (lambda path: zipped(path)[:60], "cannot be read as an array .* Save it with numpy.save"),
        (zipped, "is a .npz under another name. Save one array with numpy.save"),
        (lambda path: b"no array", "cannot be read as an array"),
    ],
    ids=["empty", "half a zip", "npz", "text"],
)
def test_a_file_that_is_no_array_is_named(tmp_path, name, content, message):
    folder = damaged(tmp_path / "x", **{name: content(tmp_path)})
    with pytest.raises(SubmissionError, match=f"{name}.npy' {message}"):
        read_submission(folder)


def test_an_id_beyond_the_whole_numbers_is_named_and_does_not_wrap(tmp_path):
    with pytest.raises(SubmissionError, match="nsd_ids.npy holds 9223372036854775808, which is no nsdId"):
        read_submission(arrays(tmp_path / "x", np.stack([image(1), image(2)]), np.array([7, 2**63], np.uint64)))
    small = read_submission(arrays(tmp_path / "y", np.stack([image(1), image(2)]), np.array([7, 3], np.uint64)))
    assert small.ids.tolist() == [3, 7]
    with pytest.raises(SubmissionError, match=r"last number of 'nsd9{25}.png' has 25 digits and is no nsdId. Call it"):
        read_submission(folder_of(tmp_path / "z", **{f"nsd{'9' * 25}": image(1)}))


def test_hidden_files_are_no_images(tmp_path):
    """macOS leaves one beside each image on disks of other systems, and archives carry it on."""
    folder = folder_of(tmp_path / "x", **{"5": image(1)})
    (folder / "._5.png").write_bytes(b"\0\5\26\7Mac OS X")
    assert read_submission(folder).ids.tolist() == [5] and [path.name for path in files_of(folder)] == ["5.png"]
    (folder / "5.png").unlink()
    with pytest.raises(SubmissionError, match="holds no image"):
        read_submission(folder)


def test_an_image_that_pillow_takes_for_a_bomb_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(SubmissionError, match="7.png' cannot be read as an image .*decompression bomb"):
        read_submission(folder_of(tmp_path / "x", **{"7": image(1)}))


def test_ids_without_an_array_of_images_are_named(tmp_path):
    (tmp_path / "x").mkdir()
    np.save(tmp_path / "x" / "images.npy", np.zeros((2, *SHAPE)))
    with pytest.raises(SubmissionError, match="images.npy needs nsd_ids.npy beside it"):
        read_submission(tmp_path / "x")


def test_the_command_names_a_folder_that_is_not_there(tmp_path, capsys):
    assert main(["score", str(tmp_path / "gone"), "--runs", str(tmp_path)]) == 1
    assert "there is no folder" in capsys.readouterr().err
