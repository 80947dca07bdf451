"""NSD-synthetic's images as a viewer sees them: the square in the middle, with the usual gamma.

The files hold what was sent to a screen of linear luminance, (n, height, width, 3) with a grey border left and right:
(220, 714, 1360, 3) and (64, 714, 1360, 3). The authors show 255 sqrt(v / 255) of the middle square, and so does this
reader (github.com/gifale95/NSD-synthetic, 01_extract_nsdsynthetic_image_features.py).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int, UInt8

from brainram_lib.nsd.errors import NsdError, ShapeError
from brainram_lib.nsd.stimuli import bricks
from brainram_lib.nsd.synthetic.layout import SyntheticLayout

VIEWED = (np.sqrt(np.arange(256) / 255) * 255).astype(np.uint8)
"""Stored value -> shown value."""


def count_synthetic_stimuli(layout: SyntheticLayout, subject: int) -> tuple[int, int]:
    """How many images all subjects saw, and how many were made for this one: 220 and 64.

    Raises:
        MissingFileError, DamagedFileError, LockedFileError, UnreadableFileError: as `read_synthetic_stimuli`.
    """
    counts = []
    for path in (layout.stimuli, layout.colour_stimuli(subject)):
        with bricks(path) as images:
            counts.append(len(images))
    return counts[0], counts[1]


def read_synthetic_stimuli(
    layout: SyntheticLayout, subject: int, images: Int[np.ndarray, " n"]
) -> UInt8[np.ndarray, "n side side 3"]:
    """The images of these 0-based numbers, in the order asked for; those behind the shared ones are the subject's own.

    Raises:
        MissingFileError: a stimulus file is not there.
        DamagedFileError: it is cut short or has no uint8 `imgBrick` of 4 axes, colours last.
        LockedFileError, UnreadableFileError: the file is not to blame.
        ShapeError: the two files hold pictures of different sizes.
        NsdError: a number is outside the files.
    """
    images = np.asarray(images, np.int64)
    with bricks(layout.stimuli) as shared, bricks(layout.colour_stimuli(subject)) as own:
        if shared.shape[1:] != own.shape[1:]:
            raise ShapeError(
                f"'{layout.stimuli}' holds pictures of {shared.shape[1:]}, those of subject {subject} are of "
                f"{own.shape[1:]}. Take both files from one data set."
            )
        count = len(shared) + len(own)
        if len(images) and (images.min() < 0 or images.max() >= count):
            raise NsdError(f"images must be 0 to {count - 1}. {images.min()} to {images.max()} were asked for.")
        side = min(shared.shape[1:3])
        shown = np.empty((len(images), side, side, 3), np.uint8)
        for row, image in enumerate(images.tolist()):
            source, place = (shared, image) if image < len(shared) else (own, image - len(shared))
            shown[row] = VIEWED[middle(source[place])]
    return shown


def middle(picture: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "side side 3"]:
    """The square in the middle."""
    side = min(picture.shape[:2])
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    return picture[top : top + side, left : left + side]


def blank(pictures: UInt8[np.ndarray, "n side side 3"]) -> Bool[np.ndarray, " n"]:
    """Which pictures are of one colour.

    Words at the two outer positions of NSD-synthetic lie outside the middle square, so that 16 of its images are.
    """
    return (pictures == pictures[:, :1, :1]).all((1, 2, 3))
