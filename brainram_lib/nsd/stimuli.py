"""NSD's images by nsdId: rows of a file of about 40 GB, which is never read whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Int, UInt8
from tqdm.auto import tqdm

from brainram_lib.nsd.errors import DamagedFileError, NsdError, reading
from brainram_lib.nsd.layout import NsdLayout


def read_stimuli(
    layout: NsdLayout, nsd_ids: Sequence[int] | Int[np.ndarray, " n"]
) -> UInt8[np.ndarray, "n height width 3"]:
    """The images `nsd_ids` (0-based), in the order asked for; each distinct row is read once, in the file's order.

    Raises:
        MissingFileError: the stimulus file is not there.
        DamagedFileError: it is cut short or has no uint8 `imgBrick`.
        LockedFileError, UnreadableFileError: the file is not to blame.
        NsdError: an id is outside the file.
    """
    wanted, place = np.unique(np.asarray(nsd_ids, np.int64), return_inverse=True)
    with bricks(layout.stimuli) as images:
        if len(wanted) and (wanted[0] < 0 or wanted[-1] >= len(images)):
            raise NsdError(f"nsdIds must be 0 to {len(images) - 1}. {wanted[0]} to {wanted[-1]} were asked for.")
        rows = np.empty((len(wanted), *images.shape[1:]), np.uint8)
        for start, stop in tqdm(_runs(wanted), desc="stimuli", leave=False, disable=len(wanted) < 2000):
            rows[start:stop] = images[wanted[start] : wanted[stop - 1] + 1]
    return rows if len(wanted) == len(place) and np.array_equal(place, np.arange(len(place))) else rows[place]


def count_stimuli(layout: NsdLayout) -> int:
    """How many images the stimulus file holds (73,000 in NSD).

    Raises:
        MissingFileError, DamagedFileError, LockedFileError, UnreadableFileError: as `read_stimuli`.
    """
    with bricks(layout.stimuli) as images:
        return len(images)


@contextlib.contextmanager
def bricks(path: Path) -> Iterator[h5py.Dataset]:
    """'imgBrick' of a stimulus file, (n, height, width, 3) uint8, open while it is needed; errors as `read_stimuli`."""
    absent = f"the stimulus file '{path}' is not there. Fetch it."
    with reading(path, absent, "cannot be read as HDF5 to its end"), h5py.File(path) as file:
        images = file.get("imgBrick")
        if not isinstance(images, h5py.Dataset) or images.ndim != 4 or images.dtype != np.uint8 or images.shape[3] != 3:
            raise DamagedFileError(f"'{path}' must hold uint8 'imgBrick' (n, height, width, 3). Fetch NSD's own file.")
        yield images


def _runs(ids: Int[np.ndarray, " n"]) -> list[tuple[int, int]]:
    """Half-open ranges of positions with consecutive ids, so that adjacent rows take one read."""
    if not len(ids):
        return []
    edges = np.flatnonzero(np.diff(ids) != 1) + 1
    return list(zip(np.r_[0, edges].tolist(), np.r_[edges, len(ids)].tolist(), strict=True))
