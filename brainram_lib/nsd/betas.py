"""Betas of one session, only the voxels of a mask, as percent signal change.

On disk func1pt8mm betas are percent signal change x 300 as int16; the value is raw / 300. Voxels come in C order of the
(X, Y, Z) volume, `np.flatnonzero(mask)`, whatever the file's own order is: HDF5 is (trials, Z, Y, X), NIfTI
(X, Y, Z, trials). fsaverage betas (.mgh) are float32 percent signal change already; vertices are the left hemisphere's,
then the right's.
"""

from __future__ import annotations

import contextlib
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import h5py
import nibabel as nib
import numpy as np
from jaxtyping import Bool, Float32, Int

from brainram_lib.nsd.errors import DamagedFileError, MissingSessionError, NsdError, ShapeError, is_there, reading
from brainram_lib.nsd.layout import DEFAULT_SPACE, DEFAULT_VERSION, HEMISPHERES, NsdLayout
from brainram_lib.nsd.volumes import require_orientation

SCALE = np.float32(300)
"""Stored integer per percent signal change (NSD data manual)."""
SOURCES = ("auto", "hdf5", "nifti")
_EXTENSIONS = {"hdf5": "hdf5", "nifti": "nii.gz"}
_BLOCK_BYTES = 1 << 28
_NIFTI_HEADER = 348


def session_files(
    layout: NsdLayout,
    subject: int,
    session: int,
    version: str = DEFAULT_VERSION,
    space: str = DEFAULT_SPACE,
    source: str = "auto",
) -> tuple[Path, ...]:
    """The files that hold one session: one volume file ('auto' prefers HDF5), or one .mgh a hemisphere.

    Raises:
        NsdError: `source` is not one of SOURCES, or the space has no reader.
        MissingSessionError: they are not there.
    """
    if source not in SOURCES:
        raise NsdError(f"source must be one of {list(SOURCES)}. {source!r} was provided.")
    if space == "nativesurface":
        raise NsdError("betas are read in func1pt8mm or fsaverage. 'nativesurface' was provided.")
    candidates = _candidates(layout, subject, session, version, space, source)
    for files in candidates:
        if all(is_there(file) for file in files):
            return files
    names = " or ".join(" and ".join(f"'{file}'" for file in files) for files in candidates)
    raise MissingSessionError(f"session {session} of subject {subject} is missing: {names}. Fetch it, or choose fewer.")


def names(layout: NsdLayout, subject: int, session: int, version: str, space: str, source: str) -> str:
    """The names, without folders, of the files that `session_files` prefers."""
    files = _candidates(layout, subject, session, version, space, source)[0]
    return " and ".join(file.name for file in files)


def _candidates(
    layout: NsdLayout, subject: int, session: int, version: str, space: str, source: str
) -> list[tuple[Path, ...]]:
    if space == "fsaverage":
        return [tuple(layout.betas_session(subject, session, version, space, "mgh", hemi) for hemi in HEMISPHERES)]
    wanted = _EXTENSIONS.values() if source == "auto" else [_EXTENSIONS[source]]
    return [(layout.betas_session(subject, session, version, space, ext),) for ext in wanted]


def read_files(files: tuple[Path, ...], mask: Bool[np.ndarray, " ..."]) -> Float32[np.ndarray, "trials voxels"]:
    """The masked betas of one session from the files that `session_files` names."""
    if files[0].suffix == ".mgh":
        return read_mgh(files, mask)
    return read_hdf5(files[0], mask) if files[0].suffix == ".hdf5" else read_nifti(files[0], mask)


def volume_of(path: Path) -> tuple[int, ...]:
    """(X, Y, Z), or (vertices, 1, 1) on a surface, from the header of a file of betas, which must have NSD's data type.

    Raises:
        DamagedFileError, LockedFileError, UnreadableFileError, ShapeError: as the reader of its kind.
    """
    if path.suffix == ".mgh":
        return tuple(map(int, _surface_image(path).shape[:3]))
    if path.suffix == ".hdf5":
        with _betas_of(path) as betas:
            return betas.shape[:0:-1]
    with _GzipReader(path) as stream:
        return tuple(map(int, _nifti_header(path, stream).get_data_shape()[:3]))


def require_volume(files: tuple[Path, ...], mask: tuple[int, ...]) -> None:
    """Check that the files' headers are NSD's and that their volume is the mask's.

    Raises:
        ShapeError: mask and betas are of different subjects or spaces; otherwise as `volume_of`.
    """
    volumes = [volume_of(path) for path in files]
    if len(mask) == 3:
        _require_shape(files[0], volumes[0], mask)


def read_hdf5(path: Path, mask: Bool[np.ndarray, "x y z"]) -> Float32[np.ndarray, "trials voxels"]:
    """Percent signal change of the masked voxels of a session in HDF5.

    NSD stores one uncompressed chunk per voxel, so a voxel's time course is read straight from its chunk, in the order
    of the file. Any other chunking, compression or contiguous storage is read block by block. Chunks that were never
    written hold the fill value.

    Raises:
        DamagedFileError: the file is cut short or has no int16 dataset `/betas`.
        LockedFileError, UnreadableFileError: the file is not to blame.
        ShapeError: the volume is not the mask's.
    """
    with _betas_of(path) as betas:
        _require_shape(path, betas.shape[:0:-1], mask.shape)
        x, y, z = np.unravel_index(np.flatnonzero(mask), mask.shape)
        raw = _by_chunk(betas, x, y, z) if _one_plain_chunk_a_voxel(betas) else _by_block(betas, x, y, z)
    return _percent(raw.T)


def read_hdf5_reference(path: Path, mask: Bool[np.ndarray, "x y z"]) -> Float32[np.ndarray, "trials voxels"]:
    """`read_hdf5` done the usual way: the whole session in memory, then the mask, then float32."""
    with h5py.File(path) as file:
        whole = file["betas"][:]
    return whole.transpose(0, 3, 2, 1)[:, mask].astype(np.float32) / SCALE


def read_nifti(path: Path, mask: Bool[np.ndarray, "x y z"]) -> Float32[np.ndarray, "trials voxels"]:
    """Percent signal change of the masked voxels of a session in .nii.gz.

    The stream is decompressed one trial's volume at a time and only the mask's integers are kept, so memory holds the
    result and one volume. The checksum at the end of the stream is verified.

    Raises:
        DamagedFileError: the file is cut short, is not gzip, or does not hold plain int16.
        LockedFileError, UnreadableFileError: the file is not to blame.
        ShapeError: the volume is not the mask's, or its voxels are in another order.
    """
    with _GzipReader(path) as stream:
        header = _nifti_header(path, stream)
        shape = header.get_data_shape()
        _require_shape(path, shape[:3], mask.shape)
        x, y, z = np.unravel_index(np.flatnonzero(mask), mask.shape)
        in_file = np.ravel_multi_index((z, y, x), mask.shape[::-1])
        result = np.empty((shape[3], len(in_file)), np.float32)
        for trial in result:
            volume = np.frombuffer(stream.read(mask.size * 2), header.get_data_dtype())
            np.divide(volume[in_file], SCALE, out=trial)
        stream.finish()
    return result


def read_nifti_reference(path: Path, mask: Bool[np.ndarray, "x y z"]) -> Float32[np.ndarray, "trials voxels"]:
    """`read_nifti` the usual way: nibabel's get_fdata (float64, whole), then the mask."""
    return (nib.load(path).get_fdata()[mask].T / 300).astype(np.float32)


def read_mgh(files: tuple[Path, ...], mask: Bool[np.ndarray, " vertices"]) -> Float32[np.ndarray, "trials voxels"]:
    """Percent signal change of the masked vertices of a session on a surface, one .mgh a hemisphere; no division.

    NaN vertices stay NaN.

    Raises:
        DamagedFileError: a file is cut short, or does not hold float32.
        LockedFileError, UnreadableFileError: the file is not to blame.
        ShapeError: the hemispheres together do not have the mask's number of vertices.
    """
    images = [_surface_image(file) for file in files]
    sizes = [int(image.shape[0]) for image in images]
    if mask.shape != (sum(sizes),):
        raise ShapeError(f"{[file.name for file in files]} have {sizes} vertices, the mask has shape {mask.shape}.")
    parts = []
    for file, image, part in zip(files, images, np.split(mask, np.cumsum(sizes)[:-1]), strict=True):
        with reading(file):
            parts.append(np.asarray(image.dataobj).reshape(image.shape[0], -1)[part].T.astype(np.float32))
    if len({len(part) for part in parts}) > 1:
        raise ShapeError(
            f"{[file.name for file in files]} have {[len(part) for part in parts]} trials: they are of different "
            "sessions. Take both hemispheres of one."
        )
    return np.concatenate(parts, axis=1)


def _surface_image(path: Path) -> nib.freesurfer.MGHImage:
    with reading(path):
        image = nib.load(path)
        stored = image.get_data_dtype()
    if stored.kind != "f":
        raise DamagedFileError(
            f"'{path}' must hold float32 percent signal change, as NSD's files do. It holds {stored}. Fetch NSD's own "
            "file."
        )
    return image


def read_mgh_reference(files: tuple[Path, ...], mask: Bool[np.ndarray, " vertices"]) -> Float32[np.ndarray, "trials v"]:
    """`read_mgh` the usual way: nibabel's get_fdata of both hemispheres, then the mask."""
    whole = np.concatenate([nib.load(file).get_fdata()[:, 0, 0] for file in files])
    return whole[mask].T.astype(np.float32)


def _percent(raw: Int[np.ndarray, "trials voxels"]) -> Float32[np.ndarray, "trials voxels"]:
    return np.divide(raw, SCALE, dtype=np.float32, order="C")


def _require_shape(path: Path, volume: tuple[int, ...], mask: tuple[int, ...]) -> None:
    if tuple(volume) == mask:
        return
    swapped = " Its axes are swapped." if tuple(volume) == mask[::-1] and len(mask) == 3 else ""
    raise ShapeError(
        f"'{path}' holds volumes (X, Y, Z) = {tuple(volume)}, the mask is {mask}.{swapped} Take mask and betas of one "
        "subject and one space."
    )


@contextlib.contextmanager
def _betas_of(path: Path) -> Iterator[h5py.Dataset]:
    with reading(path, damaged="cannot be read as HDF5 to its end"), h5py.File(path) as file:
        betas = file.get("betas")
        if not isinstance(betas, h5py.Dataset) or betas.ndim != 4 or betas.dtype.newbyteorder("=") != np.int16:
            raise DamagedFileError(
                f"'{path}' has no int16 dataset 'betas' of 4 axes; NSD's do. It holds {_described(file)}. Fetch NSD's "
                "own file."
            )
        yield betas


def _described(file: h5py.File) -> str:
    kinds = [
        f"{name} ({item.dtype}, {item.shape})" if isinstance(item, h5py.Dataset) else name
        for name, item in list(file.items())[:4]
    ]
    return ", ".join(kinds) or "nothing"


def _one_plain_chunk_a_voxel(betas: h5py.Dataset) -> bool:
    return betas.chunks == (betas.shape[0], 1, 1, 1) and betas.id.get_create_plist().get_nfilters() == 0


def _by_chunk(betas: h5py.Dataset, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> Int[np.ndarray, "voxels trials"]:
    raw = np.empty((len(x), betas.shape[0]), np.int16)
    read = betas.id.read_direct_chunk
    for voxel in np.lexsort((x, y, z)).tolist():
        place = (0, int(z[voxel]), int(y[voxel]), int(x[voxel]))
        try:
            raw[voxel] = np.frombuffer(read(place)[1], betas.dtype)
        except (OSError, RuntimeError, ValueError):
            # A chunk that was never written has no bytes; the plain call gives its fill value, or the real error.
            raw[voxel] = betas[:, place[1], place[2], place[3]]
    return raw


def _by_block(betas: h5py.Dataset, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> Int[np.ndarray, "voxels trials"]:
    """Read the mask's bounding box in blocks along the axis that the storage splits (Z if chunks span all trials)."""
    raw = np.empty((len(x), betas.shape[0]), np.int16)
    if not len(x):
        return raw
    box = [slice(int(axis.min()), int(axis.max()) + 1) for axis in (z, y, x)]
    if betas.chunks is not None and betas.chunks[0] == betas.shape[0]:
        for start in range(0, betas.shape[1], betas.chunks[1]):
            here = np.flatnonzero((z >= start) & (z < start + betas.chunks[1]))
            if len(here):
                block = betas[:, start : start + betas.chunks[1], box[1], box[2]]
                raw[here] = block[:, z[here] - start, y[here] - box[1].start, x[here] - box[2].start].T
        return raw
    step = _trials_a_block(betas, box)
    for start in range(0, betas.shape[0], step):
        block = betas[start : start + step, box[0], box[1], box[2]]
        raw[:, start : start + step] = block[:, z - box[0].start, y - box[1].start, x - box[2].start].T
    return raw


def _trials_a_block(betas: h5py.Dataset, box: list[slice]) -> int:
    chunk = betas.chunks[0] if betas.chunks else 1
    trial_bytes = 2 * int(np.prod([side.stop - side.start for side in box]))
    return max(1, _BLOCK_BYTES // (trial_bytes * chunk)) * chunk


def _nifti_header(path: Path, stream: _GzipReader) -> nib.Nifti1Header:
    start = stream.read(_NIFTI_HEADER)
    with reading(path, damaged="has no NIfTI-1 header"):
        header = nib.Nifti1Header.from_fileobj(io.BytesIO(start))
        dtype, slope, shape = header.get_data_dtype(), header.get_slope_inter(), header.get_data_shape()
        gap = int(header["vox_offset"]) - _NIFTI_HEADER
    plain = slope[0] in (None, 1) and slope[1] in (None, 0)
    if dtype.newbyteorder("=") != np.int16 or len(shape) != 4 or not plain:
        raise DamagedFileError(
            f"'{path}' must hold unscaled int16 (X, Y, Z, trials), as NSD's files do. It holds {dtype} "
            f"{shape} with scaling {slope}. Fetch NSD's own file."
        )
    require_orientation(path, header)
    if gap < 0:
        raise DamagedFileError(f"'{path}' has its voxels inside its header. Fetch it again.")
    stream.read(gap)
    return header


class _GzipReader:
    """A gzip stream that is read forward in exact amounts, with the file's name in every error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path):
            self._file: BinaryIO = path.open("rb")
        self._stream = gzip.GzipFile(fileobj=self._file)

    def __enter__(self) -> _GzipReader:
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stream.close()
        self._file.close()

    def read(self, count: int) -> bytes:
        """The next `count` bytes.

        Raises:
            DamagedFileError: the stream ends before, or its bytes are damaged.
        """
        with reading(self.path, damaged="is damaged or cut short"):
            data = self._stream.read(count)
        if len(data) != count:
            raise DamagedFileError(f"'{self.path}' ends {count - len(data)} bytes too early. Fetch it again.")
        return data

    def finish(self) -> None:
        """Read to the end, which verifies the checksum."""
        with reading(self.path, damaged="is damaged or cut short"):
            self._stream.read(1)
