"""MindEye's webdataset mirror of NSD as a second source of the same arrays, in the same order (ascending nsdId).

`webdataset_avg_split/{train/train_subj0X_*.tar, val/val_subj0X_*.tar, test/test_subj0X_*.tar}`; each sample is `jpg`,
`nsdgeneral.npy` (3 x N betas, as MindEye normalised them), `trial.npy`, `coco73k.npy` (the
0-based nsdId) and `num_uniques.npy`. MindEye's validation images are training images of NSD, and are returned as such.
An image shown fewer than three times has a presentation repeated; repeats are not averaged twice.
"""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int, UInt8
from PIL import Image
from tqdm.auto import tqdm

from brainram_lib.nsd.errors import DamagedFileError, MissingFileError, ShapeError, reading
from brainram_lib.nsd.layout import subject_folder
from brainram_lib.nsd.normalise import require_normalisation
from brainram_lib.nsd.prepared import PreparedSubject, Rows, write_prepared

_FOLDERS = {"train": ("train", "val"), "test": ("test",)}
ORIENTATION = 0x0112  # EXIF's
_KEYS = ("nsdgeneral.npy", "coco73k.npy", "jpg")


@dataclass(frozen=True)
class WebdatasetSplit:
    """One split of MindEye's mirror.

    Attributes:
        nsd_ids: 0-based, ascending.
        betas: every image's presentations; the third (or second) may repeat an earlier one.
        shards: the file that each image came from, in the order of `nsd_ids`.
    """

    nsd_ids: Int[np.ndarray, " images"]
    betas: Float32[np.ndarray, "images repetitions voxels"]
    shards: tuple[Path, ...]

    @property
    def finite(self) -> Bool[np.ndarray, " voxels"]:
        """Voxels that are finite in every presentation."""
        return np.isfinite(self.betas).all(axis=(0, 1))

    @property
    def constant(self) -> Bool[np.ndarray, " voxels"]:
        """Voxels that are the same in every presentation."""
        return (self.betas == self.betas[0, 0]).all(axis=(0, 1))

    def rows(self) -> Rows:
        """Sums and counts over the distinct presentations of each image."""
        rows = Rows.empty(self.nsd_ids, self.betas.shape[2])
        for image, presentations in enumerate(self.betas):
            distinct = [
                trial
                for place, trial in enumerate(presentations)
                # a dead voxel may be NaN
                if not any(np.array_equal(trial, earlier, equal_nan=True) for earlier in presentations[:place])
            ]
            rows.add(np.full(len(distinct), image), np.stack(distinct))
        return rows


def shards_of(folder: Path, subject: int, split: str) -> list[Path]:
    """The tars of 'train' (with MindEye's 'val') or 'test'.

    Raises:
        MissingFileError: there is none.
    """
    name = subject_folder(subject)
    found = [path for part in _FOLDERS[split] for path in sorted((folder / part).glob(f"{part}_{name}_*.tar"))]
    if not found:
        raise MissingFileError(
            f"'{folder}' has no {split} tars of {name}; '{split}/{split}_{name}_0.tar' was expected."
        )
    return found


def read_webdataset(folder: Path, subject: int, split: str) -> WebdatasetSplit:
    """Read all tars of one split.

    Raises:
        MissingFileError: there are none.
        DamagedFileError: a tar is cut short, or a sample lacks a part.
        ShapeError: two samples have different numbers of voxels, or one image occurs twice.
    """
    ids: list[int] = []
    betas: list[np.ndarray] = []
    origin: list[Path] = []
    for path in tqdm(shards_of(folder, subject, split), desc=f"{split} tars"):
        for sample in _samples(path):
            ids.append(_nsd_id(path, sample))
            with reading(path, damaged="holds betas that are no array of numbers"):
                betas.append(np.atleast_2d(_array(sample["nsdgeneral.npy"])).astype(np.float32))
            origin.append(path)
    shapes = {trial.shape for trial in betas}
    if len(shapes) != 1 or len(set(ids)) != len(ids):
        raise ShapeError(
            f"'{folder}', {split}: betas of shapes {sorted(shapes)}, {len(ids) - len(set(ids))} images twice."
        )
    order = np.argsort(ids)
    return WebdatasetSplit(np.array(ids)[order], np.stack([betas[i] for i in order]), tuple(origin[i] for i in order))


def read_webdataset_images(folder: Path, subject: int, split: str) -> UInt8[np.ndarray, "images height width 3"]:
    """The images of one split, in the order of `read_webdataset`.

    Raises:
        ShapeError: an image cannot be decoded, is not 8-bit RGB or grey, or has a different size from the others.
    """
    found: dict[int, np.ndarray] = {}
    for path in tqdm(shards_of(folder, subject, split), desc=f"{split} images"):
        for sample in _samples(path):
            nsd_id = _nsd_id(path, sample)
            with reading(path, damaged=f"holds no readable picture of nsdId {nsd_id}"):
                found[nsd_id] = _picture(sample["jpg"], path, nsd_id)
    if len(shapes := {picture.shape for picture in found.values()}) != 1:
        raise ShapeError(f"'{folder}', {split}: images of several sizes, {sorted(shapes)}; NSD's are all of one.")
    return np.stack([found[nsd_id] for nsd_id in sorted(found)])


def _picture(data: bytes, path: Path, nsd_id: int) -> UInt8[np.ndarray, "height width 3"]:
    """An image of a tar: 8 bits, grey or RGB, upright, as the tars' makers wrote NSD's. Nothing else is converted.

    Raises:
        ShapeError: it cannot be decoded, or is of another kind.
    """
    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
        turned = picture.getexif().get(ORIENTATION, 1) != 1
    # decoders fail in many ways
    except Exception as problem:
        raise ShapeError(
            f"'{path}': the image of nsdId {nsd_id} cannot be decoded ({type(problem).__name__}). Fetch the tar again."
        ) from problem
    if picture.mode not in ("RGB", "L") or turned:
        raise ShapeError(
            f"'{path}': the image of nsdId {nsd_id} is of the kind '{picture.mode}'{' and turned' if turned else ''}; "
            "expected 8-bit RGB or grey, upright. Fetch the tar again."
        )
    return np.asarray(picture.convert("RGB"))


def prepare_webdataset(folder: Path, subject: int, out: Path, *, normalisation: str = "none") -> PreparedSubject:
    """A prepared subject from MindEye's tars: averages over distinct presentations, ascending nsdId.

    The tars do not say where the voxels are: `voxel_index` counts them, `volume_shape` is (voxels,), there are no
    regions and no ncsnr. 'session-z' cannot be done here, because sessions are not known.

    Raises:
        NsdError: the tars cannot be read, or the normalisation needs sessions.
    """
    require_normalisation(normalisation)
    if normalisation == "session-z":
        raise ShapeError("'session-z' needs sessions, which the tars do not name. Use another normalisation.")
    found = read_webdataset(folder, subject, "train")
    # of single presentations: the sums of a constant voxel differ where images have different numbers of them
    keep, splits, voxels = found.finite & ~found.constant, {"train": found.rows()}, found.betas.shape[2]
    found = read_webdataset(folder, subject, "test")
    if found.betas.shape[2] != voxels:
        raise ShapeError(f"training betas have {voxels} voxels, test betas {found.betas.shape[2]}.")
    keep, splits["test"] = keep & found.finite, found.rows()
    places = np.flatnonzero(~keep).tolist()
    arrays = {
        "voxel_index": np.flatnonzero(keep),
        "ncsnr": np.full(keep.sum(), np.nan, np.float32),
        "rois": np.empty((0, int(keep.sum())), bool),
    }
    record = {
        **{"subject": subject, "sessions": [], "version": "webdataset", "space": "nsdgeneral", "roi": "nsdgeneral"},
        **{"average": True, "volume_shape": [voxels], "affine": None, "rois": [], "ncsnr": "absent"},
        "files": [str(path.relative_to(folder)) for split in _FOLDERS for path in shards_of(folder, subject, split)],
        "excluded": {"constant or not finite": places} if places else {},
        "n_excluded": {"constant or not finite": len(places)} if places else {},
    }
    return write_prepared(Path(out), splits, keep, normalisation, arrays, record)


def _samples(path: Path) -> Iterator[dict[str, bytes]]:
    """The samples of a tar, in its order: parts of one sample are consecutive and share the name before the dot."""
    _require_end(path)
    name, sample = "", {}
    for key, part, data in _members(path):
        if key != name and sample:
            yield _whole(path, name, sample)
            sample = {}
        name = key
        sample[part] = data
    if sample:
        yield _whole(path, name, sample)


def _members(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """Name before the dot, name after it, and contents of every file in a tar."""
    # an explicit loop, because what the caller does between two members is not part of the reading
    with contextlib.ExitStack() as stack:
        with reading(path):
            archive = stack.enter_context(tarfile.open(path))
        while True:
            with reading(path):
                member = archive.next()
                stream = None if member is None else archive.extractfile(member)
                data = None if stream is None else stream.read()
            if member is None:
                return
            if data is not None:
                key, _, part = Path(member.name).name.partition(".")
                yield key, part, data


def _require_end(path: Path) -> None:
    """A tar ends with 1,024 zero bytes; one that was cut between two members reads without an error."""
    with reading(path), path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 1024))
        end = stream.read()
    if end != bytes(1024):
        raise DamagedFileError(f"'{path}' does not end as a tar does: it was cut short. Fetch it again.")


def _nsd_id(path: Path, sample: dict[str, bytes]) -> int:
    with reading(path, damaged="holds no nsdId in a coco73k.npy"):
        return int(_array(sample["coco73k.npy"]).reshape(-1)[0])


def _whole(path: Path, name: str, sample: dict[str, bytes]) -> dict[str, bytes]:
    missing = [key for key in _KEYS if key not in sample]
    if missing:
        raise DamagedFileError(f"'{path}': sample '{name}' lacks {missing}. Fetch the tar again.")
    return sample


def _array(data: bytes) -> np.ndarray:
    return np.load(io.BytesIO(data), allow_pickle=False)
