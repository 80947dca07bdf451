"""Ordinary scenes in styles that no stimulus has: upside down, as a line drawing, in two tones, at low contrast."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageFilter

GREY = 128
CONTRASTS = (1.0, 0.5, 0.1, 0.06, 0.04)
"""The levels of NSD-synthetic."""
HALF = 0.1
"""The contrast at which the late areas' categories answer half as strongly as they can."""
_BLUR = 1.2

Picture = UInt8[np.ndarray, "size size 3"]


def upside_down(picture: Picture) -> Picture:
    """Turned by 180 degrees about the horizontal axis."""
    return np.ascontiguousarray(picture[::-1])


def line_drawing(picture: Picture) -> Picture:
    """Dark lines on white where the blurred luminance changes most: the steepest tenth of the pixels."""
    smooth = _blurred(picture, _BLUR / 2)
    steepness = np.hypot(*np.gradient(smooth))
    lines = steepness > max(np.quantile(steepness, 0.9), 1.0)
    return np.repeat(np.where(lines, 20, 245).astype(np.uint8)[..., None], 3, 2)


def mooney(picture: Picture) -> Picture:
    """Blurred luminance in two tones, split at its median."""
    smooth = _blurred(picture, _BLUR)
    return np.repeat(np.where(smooth > np.median(smooth), 235, 20).astype(np.uint8)[..., None], 3, 2)


MANIPULATIONS = {"upside-down": upside_down, "line drawing": line_drawing, "mooney": mooney}


def at_contrast(picture: Picture, contrast: float) -> Picture:
    """GREY + contrast (picture - GREY)."""
    return np.rint(GREY + contrast * (picture.astype(np.float64) - GREY)).astype(np.uint8)


def answered(contrast: float) -> float:
    """A category's drive at a contrast, as a share of that at contrast 1: c / (c + HALF), scaled to 1 at c = 1."""
    return contrast / (contrast + HALF) * (1 + HALF)


def _blurred(picture: Picture, radius: float) -> Float[np.ndarray, "size size"]:
    grey = Image.fromarray(picture).convert("L").filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(grey, np.float64)
