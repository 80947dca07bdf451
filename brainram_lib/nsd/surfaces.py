"""From the functional volume to the cortical surface, with NSD's own transform files.

Recipe (nsdcode): put a vector of voxels into the volume, sample it at three depths of the grey matter, average the
depths, map the native vertices to fsaverage. fsaverage5, which nilearn ships, is fsaverage's first 10,242 vertices of
each hemisphere.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.ndimage import map_coordinates

from brainram_lib.nsd.errors import ShapeError
from brainram_lib.nsd.layout import HEMISPHERES, LAYERS, NsdLayout
from brainram_lib.nsd.volumes import read_image

FSAVERAGE5_VERTICES = 10242
INVALID = 9999
METHODS = ("linear", "nearest")


def to_volume(
    values: Shaped[np.ndarray, " values"], voxel_index: Int[np.ndarray, " voxels"], shape: tuple[int, ...]
) -> Float[np.ndarray, "x y z"]:
    """Voxels as a volume (X, Y, Z), NaN elsewhere; `voxel_index` is flat in C order, as `np.flatnonzero(mask)`.

    Raises:
        ShapeError: there is not one value per voxel, or an index lies outside the volume.
    """
    if values.shape != voxel_index.shape or (len(voxel_index) and voxel_index.max() >= np.prod(shape)):
        raise ShapeError(f"one value for each of {voxel_index.shape} voxels inside {shape} is needed: {values.shape}.")
    volume = np.full(int(np.prod(shape)), np.nan)
    volume[voxel_index] = values
    return volume.reshape(shape)


def layer_coordinates(layout: NsdLayout, subject: int, hemi: str, layer: str) -> Float[np.ndarray, "vertices 3"]:
    """0-based voxel coordinates of every native vertex at one depth; NaN where NSD says 9999 (invalid).

    Raises:
        MissingFileError, DamagedFileError: the transform file is not there, or cannot be read to its end.
        ShapeError: it does not hold three coordinates per vertex.
    """
    path = layout.volume_to_layer(subject, hemi, layer)
    values = _read(path).astype(np.float64).squeeze()
    if values.ndim != 2 or values.shape[1] != 3:
        raise ShapeError(f"'{path}' must hold (vertices, 3) coordinates. It holds {values.shape}. Fetch it again.")
    return np.where((values == INVALID).any(1, keepdims=True), np.nan, values - 1)


def native_to_fsaverage(layout: NsdLayout, subject: int, hemi: str) -> Int[np.ndarray, " vertices"]:
    """For every fsaverage vertex the 0-based native vertex that it takes its value from.

    Raises:
        MissingFileError, DamagedFileError: as `layer_coordinates`.
        ShapeError: it does not hold whole numbers from 1.
    """
    path = layout.white_to_fsaverage(subject, hemi)
    values = _read(path).ravel()
    if not len(values) or not (np.isfinite(values) & (values >= 1) & (values == np.rint(values))).all():
        raise ShapeError(f"'{path}' must hold the numbers of vertices, counted from 1. Fetch it again.")
    return values.astype(np.int64) - 1


def sample_volume(
    volume: Shaped[np.ndarray, "x y z"], points: Float[np.ndarray, "n 3"], method: str = "linear"
) -> Float[np.ndarray, " n"]:
    """A volume's values at voxel coordinates counted from 0; NaN outside it and where it is NaN.

    'linear' weights the (up to eight) voxels around a point, leaving out NaN ones and dividing by the weights that
    remain, so that a region's rim is not pulled towards zero. A point whose remaining weights sum to less than a
    quarter is NaN. 'nearest' takes the one voxel whose centre is nearest (for labels).

    Raises:
        ValueError: `method` is neither.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {list(METHODS)}. {method!r} was provided.")
    inside = (np.nan_to_num(points, nan=-9.0) > -0.5).all(1) & (points < np.array(volume.shape) - 0.5).all(1)
    result = np.full(len(points), np.nan)
    if method == "nearest":
        result[inside] = volume[tuple(np.rint(points[inside]).astype(int).T)]
        return result
    known = np.isfinite(volume)
    where = points[inside].T
    weight = map_coordinates(known.astype(np.float64), where, order=1, mode="grid-constant")
    total = map_coordinates(np.where(known, volume, 0).astype(np.float64), where, order=1, mode="grid-constant")
    result[inside] = np.where(weight >= 0.25, total / np.maximum(weight, 0.25), np.nan)
    return result


def to_native(
    layout: NsdLayout, subject: int, hemi: str, volume: Shaped[np.ndarray, "x y z"], method: str = "linear"
) -> Float[np.ndarray, " vertices"]:
    """A volume on the subject's own surface: the mean of the depths that have a value, or the commonest label.

    For labels ('nearest') the middle depth decides when all three differ.

    Raises:
        ShapeError: the depths have different numbers of vertices; otherwise as `layer_coordinates`.
    """
    depths = [layer_coordinates(layout, subject, hemi, layer) for layer in LAYERS]
    if len({len(points) for points in depths}) > 1:
        raise ShapeError(
            f"the depths of {hemi} in '{layout.transforms(subject)}' have {[len(points) for points in depths]} "
            "vertices: they are of different subjects. Fetch the folder again."
        )
    samples = np.stack([sample_volume(volume, points, method) for points in depths])
    if method == "nearest":
        outer, middle, inner = samples
        return np.where(outer == inner, outer, middle)
    counts = np.isfinite(samples).sum(0)
    return np.where(counts > 0, np.nansum(samples, 0) / np.maximum(counts, 1), np.nan)


def to_fsaverage5(
    layout: NsdLayout, subject: int, volume: Shaped[np.ndarray, "x y z"], method: str = "linear"
) -> tuple[Float[np.ndarray, " vertices"], Float[np.ndarray, " vertices"]]:
    """A volume on fsaverage5: the left and the right hemisphere's 10,242 values, NaN where there are none.

    Raises:
        MissingFileError, DamagedFileError, UnreadableFileError: a transform file is not there, or cannot be read.
        ShapeError: the transform files are of different subjects.
        ValueError: `method` is neither 'linear' (data) nor 'nearest' (labels).
    """
    sides = []
    for hemi in HEMISPHERES:
        native = to_native(layout, subject, hemi, volume, method)
        vertices = native_to_fsaverage(layout, subject, hemi)[:FSAVERAGE5_VERTICES]
        if vertices.max() >= len(native):
            raise ShapeError(
                f"'{layout.white_to_fsaverage(subject, hemi)}' names vertex {vertices.max() + 1}, the depths have "
                f"{len(native)}: they are of different subjects. Fetch the subject's 'transforms' folder again."
            )
        sides.append(native[vertices])
    return sides[0], sides[1]


def voxels_to_fsaverage5(
    layout: NsdLayout,
    subject: int,
    values: Shaped[np.ndarray, " voxels"],
    voxel_index: Int[np.ndarray, " voxels"],
    shape: tuple[int, ...],
    method: str = "linear",
) -> tuple[Float[np.ndarray, " vertices"], Float[np.ndarray, " vertices"]]:
    """A vector of voxels on fsaverage5: `to_volume`, then `to_fsaverage5`."""
    return to_fsaverage5(layout, subject, to_volume(values, voxel_index, shape), method)


def _read(path: Path) -> np.ndarray:
    return read_image(path, f"the transform file '{path}' is not there. Fetch the subject's 'transforms' folder.")[0]
