"""Pictures of a web corpus are untrusted: decode them within limits, and keep a failure as a failure."""

from __future__ import annotations

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image

# A photograph of a web corpus is well below both; beyond them a file is refused before any pixel is unpacked.
MAX_BYTES = 20 * 2**20
MAX_PIXELS = 50 * 10**6
EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}


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
        ImageRefused: over the limits, not a picture, or cut short.
    """
    picture = opened(data, max_bytes, max_pixels)
    try:
        picture.load()
        rgb = _on_white(picture)
    except Exception as problem:
        raise ImageRefused(f"the picture cannot be decoded ({type(problem).__name__}: {problem})") from problem
    return np.asarray(_square(rgb, image_size))


def _on_white(picture: Image.Image) -> Image.Image:
    """RGB; transparent parts white, as img2dataset writes them."""
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture.convert("RGB")
    layered = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")


def _square(picture: Image.Image, size: int) -> Image.Image:
    width, height = picture.size
    if (width, height) == (size, size):
        return picture
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return picture.resize((size, size), Image.Resampling.BICUBIC, (left, top, left + side, top + side))


def encoded(pixels: UInt8[np.ndarray, "height width 3"], quality: int = 95) -> bytes:
    """Pixels as a JPEG file without chroma subsampling."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality, subsampling=0)
    return stream.getvalue()
