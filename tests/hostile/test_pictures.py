"""Pictures of every mode and depth become what a viewer shows, or are refused in a sentence."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from brainram_lib.encoders import ClipTokens, fit_square
from brainram_lib.nsd.errors import ShapeError
from brainram_lib.nsd.webdataset import _picture
from brainram_lib.retrieval.images import ImageRefused, as_shown, decode

SIDE = 16
RAMP = np.tile(np.linspace(0, 1, SIDE), (SIDE, 1))
GREY = (RAMP * 255).astype(np.uint8)
ORIENTATION = 0x0112


def file_of(picture, kind="PNG", **settings):
    stream = io.BytesIO()
    picture.save(stream, kind, **settings)
    return stream.getvalue()


def grey_of(data, side=SIDE):
    shown = decode(data, side)
    assert shown.dtype == np.uint8 and (np.ptp(shown.astype(int), axis=2) <= 2).all()
    return shown[..., 0].astype(int)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ((RAMP * 65535).astype(np.uint16), RAMP * 255),
        ((RAMP * 1023).astype(np.uint16), RAMP * 1023 / 257),
        (np.full((SIDE, SIDE), 65535, np.uint16), np.full((SIDE, SIDE), 255)),
        (np.full((SIDE, SIDE), 300, np.uint16), np.full((SIDE, SIDE), 1)),
        (GREY, RAMP * 255),
        (RAMP > 0.5, (RAMP > 0.5) * 255),
    ],
    ids=["16 bits", "10 of 16 bits", "white of 16", "dark of 16", "8 bits", "1 bit"],
)
def test_grey_of_every_depth_keeps_its_brightness(pixels, expected):
    assert np.abs(grey_of(file_of(Image.fromarray(pixels))) - expected).max() <= 1


def deep_png(pixels, colour_type):
    """A PNG of 16 bits a channel: RGB (2), grey with alpha (4) or RGBA (6), which Pillow cannot write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("colour_type", [2, 4, 6])
def test_colours_of_sixteen_bits_keep_their_brightness(colour_type):
    grey = (RAMP * 65535).astype(np.uint16)
    channels = {2: [grey] * 3, 4: [grey, np.full_like(grey, 65535)], 6: [*[grey] * 3, np.full_like(grey, 65535)]}
    assert np.abs(grey_of(deep_png(np.stack(channels[colour_type], -1), colour_type)) - RAMP * 255).max() <= 1


def layered(mode):
    """Left half clear, right half black."""
    clear = np.zeros((SIDE, SIDE), bool)
    clear[:, : SIDE // 2] = True
    alpha = Image.fromarray(np.where(clear, 0, 255).astype(np.uint8))
    if mode == "P":
        picture = Image.fromarray(clear.astype(np.uint8), "P")
        picture.putpalette([0, 0, 0, 9, 9, 9])
        return file_of(picture, transparency=1)
    if mode in ("L", "1"):
        grey = np.where(clear, 255 if mode == "1" else 7, 0).astype(np.uint8)
        return file_of(Image.fromarray(grey).convert(mode), transparency=255 if mode == "1" else 7)
    if mode == "RGB":
        colours = np.zeros((SIDE, SIDE, 3), np.uint8)
        colours[clear] = (7, 8, 9)
        return file_of(Image.fromarray(colours), transparency=(7, 8, 9))
    if mode == "I;16":
        return file_of(Image.fromarray(np.where(clear, 700, 0).astype(np.uint16)), transparency=700)
    picture = Image.new(mode, (SIDE, SIDE))
    picture.putalpha(alpha)
    return file_of(picture)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "L", "RGB", "I;16"])
def test_what_is_clear_becomes_white(mode):
    shown = decode(layered(mode), SIDE)
    assert (shown[:, : SIDE // 2] == 255).all() and (shown[:, SIDE // 2 :] <= 9).all()


def test_half_clear_is_half_white():
    picture = Image.new("RGBA", (SIDE, SIDE), (255, 0, 0, 128))
    for data in (file_of(picture), file_of(picture, "WEBP", lossless=True)):
        assert np.abs(decode(data, SIDE)[0, 0].astype(int) - [255, 127, 127]).max() <= 1


def test_cmyk_keeps_its_colours():
    ink = np.zeros((SIDE, SIDE, 4), np.uint8)
    ink[..., 0] = 255
    data = file_of(Image.fromarray(ink, "CMYK"), "JPEG", quality=95)
    shown = decode(data, SIDE)[SIDE // 2, SIDE // 2].astype(int)
    assert shown[0] < 40 and shown[1] > 130 and shown[2] > 200


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_their_exif_says(kind, orientation):
    """The stored pixels of an upright picture whose top left quarter is white, as a camera would have kept them."""
    upright = np.zeros((SIDE, SIDE, 3), np.uint8)
    upright[: SIDE // 2, : SIDE // 2] = 255
    upright[: SIDE // 2, SIDE // 2 :] = (255, 0, 0)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = file_of(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, quality=95)
    shown = decode(data, SIDE).astype(int)
    for row, column in ((2, 2), (2, 13), (13, 2), (13, 13)):
        assert np.abs(shown[row, column] - upright[row, column]).max() < 40


@pytest.mark.parametrize("exif", [b"Exif\0\0broken", b"Exif\0\0II*\0\xff\xff\xff\xff", b"", b"Exif\0\0" + b"\xff" * 40])
def test_broken_exif_leaves_a_picture_upright(exif):
    np.testing.assert_allclose(grey_of(file_of(Image.fromarray(GREY), "JPEG", exif=exif, quality=95)), GREY, atol=6)


@pytest.mark.parametrize("value", [0, 9, 77])
def test_an_orientation_that_is_none_leaves_a_picture_upright(value):
    exif = Image.Exif()
    exif[ORIENTATION] = value
    np.testing.assert_array_equal(grey_of(file_of(Image.fromarray(GREY), exif=exif)), GREY)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_a_moving_picture_the_first_is_taken(kind):
    frames = [Image.new("RGB", (SIDE, SIDE), colour) for colour in ("red", "blue")]
    data = file_of(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
    assert np.abs(decode(data, 9)[4, 4].astype(int) - [255, 0, 0]).max() <= 1


@pytest.mark.parametrize("mode", ["F", "I"])
def test_numbers_without_a_white_are_refused(mode):
    with pytest.raises(ImageRefused, match=f"its pixels are of the kind '{mode}', of which black and white are not"):
        as_shown(Image.new(mode, (SIDE, SIDE)))


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV"]
)
def test_every_mode_becomes_rgb(mode):
    shown = as_shown(Image.new(mode, (SIDE, 9)))
    assert shown.mode == "RGB" and shown.size == (SIDE, 9)


@pytest.mark.parametrize(
    "data",
    [b"<html>404</html>" * 50, file_of(Image.new("RGB", (4, 4)), "GIF"), file_of(Image.new("RGB", (4, 4)), "TIFF")],
)
def test_other_files_are_refused(data):
    with pytest.raises(ImageRefused, match="not a readable JPEG, PNG or WebP"):
        decode(data, SIDE)


@pytest.mark.parametrize("size", [(1, 900), (900, 1), (3, 2)])
def test_narrow_pictures_become_squares(size):
    assert (decode(file_of(Image.new("RGB", size, "red")), SIDE) == [255, 0, 0]).all()


@pytest.mark.parametrize("shape", [(9, 700, 3), (700, 9, 3), (25, 1201, 3)])
def test_a_long_strip_is_the_centre_of_the_whole_strip(shape):
    small = np.random.default_rng(0).integers(40, 216, (max(2, shape[0] // 9), max(2, shape[1] // 9), 3), np.uint8)
    strip = np.asarray(Image.fromarray(small).resize(shape[1::-1], Image.Resampling.BILINEAR))
    long, wide = int(12 * max(shape[:2]) / min(shape[:2])), shape[1] > shape[0]
    assert long > 16 * 12
    whole = np.asarray(Image.fromarray(strip).resize((long, 12) if wide else (12, long), Image.Resampling.BICUBIC))
    start = (long - 12) // 2
    expected = whole[:, start : start + 12] if wide else whole[start : start + 12]
    assert np.abs(fit_square(strip, 12).astype(int) - expected).max() <= 1


def test_a_strip_of_a_million_pixels_needs_no_gigabytes():
    assert fit_square(np.full((1, 10**6, 3), 7, np.uint8), 64).shape == (64, 64, 3)


@pytest.fixture(scope="module")
def mini():
    return ClipTokens.mini()


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((0, 9, 3), np.uint8), r"must have pixels, got \(0, 9, 3\) at 1"),
        (np.zeros((9, 8), np.uint8), r"got uint8 \(9, 8\) at 1"),
        (np.zeros((9, 8, 4), np.uint8), r"got uint8 \(9, 8, 4\) at 1"),
        (np.zeros((9, 8, 3), np.uint16), r"got uint16 .* divide by 257"),
        (np.zeros((9, 8, 3)), "got float64"),
        (Image.new("RGB", (9, 8)), "got Image"),
    ],
)
def test_pictures_for_the_encoder_are_named_where_they_do_not_fit(mini, picture, message):
    # the types in the signature are checked in tests only, and before the sentence
    encode = ClipTokens.to_pixels.__wrapped__
    with pytest.raises(ValueError, match=message):
        encode(mini, [np.zeros((9, 8, 3), np.uint8), picture])


def turned():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return file_of(Image.fromarray(GREY), "JPEG", exif=exif)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (file_of(Image.fromarray((RAMP * 65535).astype(np.uint16))), "of the kind 'I;16'"),
        (file_of(Image.new("CMYK", (4, 4)), "JPEG"), "of the kind 'CMYK'"),
        (layered("RGBA"), "of the kind 'RGBA'"),
        (turned(), "of the kind 'L' and turned"),
        (b"", "cannot be decoded"),
        (file_of(Image.fromarray(GREY), "JPEG")[:300], "cannot be decoded"),
    ],
)
def test_an_image_of_the_mirror_that_is_no_plain_one_is_named(tmp_path, data, message):
    with pytest.raises(ShapeError, match=f"the image of nsdId 7 .*{message}"):
        _picture(data, tmp_path / "train_subj01_0.tar", 7)
