"""Pictures on their way to a metric: uint8 to [0, 1], then the resizing that the evaluation prescribes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchvision.transforms.v2.functional import resize

CHUNK = 32


@dataclass(frozen=True)
class Resizing:
    """How pictures are resized before they are compared.

    Attributes:
        first: side that every picture is brought to first, None to skip that step.
        pixels: side at which pixels are compared (PixCorr, SSIM).
        network: side for all networks, None for each network's own.
        antialias: whether shrinking smooths first. torchvision changed the default of its tensor Resize from False to
            True, so published numbers are of both kinds.
    """

    first: int | None = 256
    pixels: int = 425
    network: int | None = None
    antialias: bool = True


MINDEYE = Resizing()
# Every network at 224, and straight from the picture's own size; PIL's resizing always smooths.
BRAIN_DIFFUSER = Resizing(first=None, network=224)


def to_unit(images: UInt8[np.ndarray, "n height width 3"]) -> Float[Tensor, "n 3 height width"]:
    """uint8 (n, H, W, 3) -> float32 in [0, 1], (n, 3, H, W)."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255


def to_side(images: Float[Tensor, "n 3 height width"], side: int, antialias: bool) -> Float[Tensor, "n 3 side side"]:
    """Bilinear resizing to side x side."""
    return images if images.shape[-2:] == (side, side) else resize(images, [side, side], antialias=antialias)


def chunks(
    images: UInt8[np.ndarray, "n height width 3"], side: int, resizing: Resizing = MINDEYE
) -> Iterator[Float[Tensor, "chunk 3 side side"]]:
    """The pictures at `side`, a chunk at a time, having passed through `resizing.first`."""
    for start in range(0, len(images), CHUNK):
        pictures = to_unit(images[start : start + CHUNK])
        if resizing.first is not None:
            pictures = to_side(pictures, resizing.first, resizing.antialias)
        yield to_side(pictures, side, resizing.antialias)


def check_pairs(truth: np.ndarray, reconstructions: np.ndarray) -> None:
    """Both must be uint8 pictures of the same images in the same order.

    Raises:
        ValueError: other types, other counts, or fewer than two pictures.
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
