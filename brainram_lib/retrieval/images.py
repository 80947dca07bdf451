"""Pictures of a web corpus are untrusted: decode them within limits, and keep a failure as a failure."""

from __future__ import annotations

import io
import warnings

import numpy as np
from jaxtyping import UInt8
from PIL import Image

# A photograph of a web corpus is well below both; beyond them a file is refused before any pixel is unpacked.
MAX_BYTES = 20 * 2**20
MAX_PIXELS = 50 * 10**6
EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
# file name endings of such pictures in tars and folders
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
# EXIF's orientation -> how a viewer turns the stored pixels
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}


class ImageRefused(ValueError):
    """A picture cannot be used; the message says why. It is recorded, never replaced by a made-up picture."""


def opened(data: bytes, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture in `data`, its header read and its size checked, not yet decoded.

    Raises:
        ImageRefused: more bytes or pixels than allowed, or not a JPEG, PNG or WebP file.
    """
    if len(data) > max_bytes:
        raise ImageRefused(f"the file has {len(data)} bytes, more than the {max_bytes} allowed")
    try:
        with warnings.catch_warnings():
            # a broken EXIF, a size that is checked below
            warnings.simplefilter("ignore")
            picture = Image.open(io.BytesIO(data), formats=tuple(EXTENSIONS))
    # Decoders of untrusted bytes fail in many ways (struct.error, SyntaxError, DecompressionBombError, ...).
    except Exception as problem:
        raise ImageRefused(f"not a readable JPEG, PNG or WebP file ({type(problem).__name__})") from problem
    width, height = picture.size
    if width * height > max_pixels:
        raise ImageRefused(f"the picture has {width} x {height} pixels, more than the {max_pixels} allowed")
    return picture


def decode(
    data: bytes, image_size: int, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS
) -> UInt8[np.ndarray, "image_size image_size 3"]:
    """Bytes of a picture file -> RGB pixels: shorter side resized to `image_size` (bicubic), centre crop, as CLIP does.

    Raises:
        ImageRefused: over the limits, not a picture, of a kind without a known scale, or cut short.
    """
    picture = opened(data, max_bytes, max_pixels)
    try:
        picture.load()
        shown = as_shown(picture)
    except ImageRefused:
        raise
    except Exception as problem:
        raise ImageRefused(f"the picture cannot be decoded ({type(problem).__name__}: {problem})") from problem
    return np.asarray(_square(shown, image_size))


def as_shown(picture: Image.Image) -> Image.Image:
    """A picture of any mode as 8-bit RGB, as a viewer shows it: scaled, turned as its EXIF says, transparency on white.

    16 bits of grey become 8 by v / 257 (Pillow's own conversion clips everything above 255 to white). A palette, CMYK
    and 1 bit are converted by Pillow. Embedded colour profiles are not applied, as in CLIP's training.

    Raises:
        ImageRefused: a mode whose values have no fixed range, so that black and white are undefined.
    """
    shown = _on_white(picture)
    turn = _TURNS.get(_orientation(picture))
    return shown if turn is None else shown.transpose(turn)


def _on_white(picture: Image.Image) -> Image.Image:
    """RGB; transparent parts white, as img2dataset writes them."""
    if picture.mode.startswith(("I", "F")):
        return _from_deep_grey(picture)
    if picture.mode in _PREMULTIPLIED:
        picture = picture.convert(_PREMULTIPLIED[picture.mode])
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture.convert("RGB")
    layered = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")


def _from_deep_grey(picture: Image.Image) -> Image.Image:
    # 32 bits and floats have no white; only a PNG of 16 bits may come as 'I'
    if not (picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PNG")):
        raise ImageRefused(
            f"its pixels are of the kind '{picture.mode}', of which black and white are not known: save it with 8 bits"
        )
    values = np.asarray(picture).astype(np.uint32)
    grey = (values + 128) // 257
    if isinstance(clear := picture.info.get("transparency"), int):
        grey[values == clear] = 255
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")


def _orientation(picture: Image.Image) -> int:
    """EXIF's orientation number; 1, upright, if there is none or it is broken, as in viewers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return int(picture.getexif().get(_ORIENTATION, 1))
        except Exception:
            return 1


def _square(picture: Image.Image, size: int) -> Image.Image:
    width, height = picture.size
    if (width, height) == (size, size):
        return picture
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return picture.resize((size, size), Image.Resampling.BICUBIC, (left, top, left + side, top + side))


def encoded(pixels: UInt8[np.ndarray, "height width 3"], quality: int = 95) -> bytes:
    """Pixels encoded as a JPEG file without chroma subsampling."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality, subsampling=0)
    return stream.getvalue()
