"""Pictures on their way to a metric: uint8 to [0, 1], then the resizing that the evaluation prescribes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import resize

from brainram_lib.core.measure import let_go

CHUNK = 32
# Images at a time where pixels are compared: few enough to stay in the CPU's cache.
PIXEL_CHUNK = 2


@dataclass(frozen=True)
class Resizing:
    """How pictures are resized before they are compared.

    Attributes:
        first: side that every picture is brought to first, None to skip that step.
        pixels: side at which pixels are compared (PixCorr, SSIM).
        network: side for all networks, None for each network's own.
        antialias: whether shrinking smooths first. torchvision changed the default of its tensor Resize from False to
            True with release 0.17, so published numbers use either. PIL's resizing always smooths.
        crop: whether a picture that is not square is cropped to its central square instead of squashed.
        pixel_interpolation: 'bilinear' or 'bicubic', where pixels are compared.
    """

    first: int | None = 256
    pixels: int = 425
    network: int | None = None
    antialias: bool = True
    crop: bool = False
    pixel_interpolation: str = "bilinear"

    def said(self) -> str:
        """In words, for the footnote of a table."""
        first = "" if self.first is None else f"all images to {self.first} first, then "
        network = "each network's own side" if self.network is None else f"{self.network} for every network"
        smooth = "with antialiasing" if self.antialias else "without antialiasing"
        pixels = f"pixels at {self.pixels} ({self.pixel_interpolation})"
        return f"{first}{pixels}, {network}, {smooth}" + (", cropped to the middle square" if self.crop else "")


# Sizes as MindEye's code has them; that code smooths nothing (`presets`).
STANDARD = Resizing()


def to_unit(images: UInt8[np.ndarray, "n height width 3"]) -> Float[Tensor, "n 3 height width"]:
    """uint8 (n, H, W, 3) -> float32 in [0, 1], (n, 3, H, W)."""
    planes = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)
    # one colour plane after the other in memory: antialiased shrinking then takes half the time
    return planes.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def to_side(
    images: Float[Tensor, "n 3 height width"], side: int, antialias: bool, interpolation: str = "bilinear"
) -> Float[Tensor, "n 3 side side"]:
    """Resize to side x side, kept in [0, 1]: bicubic interpolation may overshoot."""
    if images.shape[-2:] == (side, side):
        return images
    # enlarging has nothing to smooth, and the plain routine takes a third of the time; bicubic's uses another kernel
    antialias = antialias and (interpolation == "bicubic" or max(images.shape[-2:]) > side)
    resized = resize(images, [side, side], InterpolationMode(interpolation), antialias=antialias)
    return resized if interpolation == "bilinear" else resized.clamp(0, 1)


def middle_square(images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n 3 side side"]:
    """The largest square in the middle."""
    height, width = images.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[..., top : top + side, left : left + side]


def chunks(
    images: UInt8[np.ndarray, "n height width 3"],
    side: int,
    resizing: Resizing = STANDARD,
    interpolation: str = "bilinear",
    size: int = CHUNK,
) -> Iterator[Float[Tensor, "chunk 3 side side"]]:
    """The pictures at `side`, a chunk of `size` at a time, having passed through `resizing.first`."""
    for start in range(0, len(images), size):
        pictures = to_unit(images[start : start + size])
        let_go(images)
        if resizing.crop:
            pictures = middle_square(pictures)
        if resizing.first is not None:
            pictures = to_side(pictures, resizing.first, resizing.antialias)
        yield to_side(pictures, side, resizing.antialias, interpolation)


def for_pixels(
    images: UInt8[np.ndarray, "n height width 3"], resizing: Resizing = STANDARD
) -> Iterator[Float[Tensor, "chunk 3 side side"]]:
    """The images, resized for the pixel metrics."""
    return chunks(images, resizing.pixels, resizing, resizing.pixel_interpolation, PIXEL_CHUNK)


def blended(
    images: UInt8[np.ndarray, "n height width 3"],
    blurry: UInt8[np.ndarray, "_n height_blurry width_blurry 3"],
    share: float,
    resizing: Resizing,
) -> UInt8[np.ndarray, "n side side 3"]:
    """share * image + (1 - share) * blurry image, both at `resizing.first`, of the same stimuli in the same order."""
    pairs = zip(*(chunks(one, resizing.first, resizing) for one in (images, blurry)), strict=True)
    mixed = torch.cat([share * sharp + (1 - share) * soft for sharp, soft in pairs])
    return (mixed.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()


def check_pairs(truth: np.ndarray, reconstructions: np.ndarray) -> None:
    """Both must be uint8 pictures of the same images in the same order.

    Raises:
        ValueError: wrong types, different counts, or fewer than two images.
    """
    for name, images in (("truth", truth), ("reconstructions", reconstructions)):
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(
                f"'{name}' must be uint8 pictures (n, height, width, 3). {images.dtype} of shape {images.shape} was "
                "provided; scale floats in [0, 1] by 255 and round."
            )
    if len(truth) != len(reconstructions) or len(truth) < 2:
        raise ValueError(
            f"'truth' holds {len(truth)} pictures and 'reconstructions' {len(reconstructions)}: both must hold the "
            "same images in the same order, and at least two."
        )
