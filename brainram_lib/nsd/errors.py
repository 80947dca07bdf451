"""What can be wrong with NSD's files, by name. Every message says what was expected, what came and what to do."""

from __future__ import annotations


class NsdError(ValueError):
    """Something about the NSD files, or about what was asked of them, is wrong."""


class LayoutError(NsdError):
    """A name that NSD's layout does not have was asked for."""


class MissingFileError(NsdError, FileNotFoundError):
    """A file of NSD's layout is not there."""


class MissingSessionError(MissingFileError):
    """Sessions that were asked for have no betas on disk, or the design does not have them."""


class DamagedFileError(NsdError):
    """A file is cut short, or is not what its name says."""


class ShapeError(NsdError):
    """A file has another shape than the files it goes with: another subject's, swapped axes, or another version."""


class MixedRootsError(NsdError):
    """Files of one root disagree about the same trial or image, so they come from different data sets."""


class DesignError(NsdError):
    """The design file contradicts itself, or does not hold what was asked for."""


class RoiError(NsdError):
    """A region is not known, or its file does not hold labels."""


class CaptionError(NsdError):
    """An image has no row in the stimulus table, or no caption in COCO's files."""
