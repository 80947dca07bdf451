"""Reconstructions that others made: a folder of images named by nsdId, or an array with its ids."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image, UnidentifiedImageError
from tqdm.auto import tqdm

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
IMAGES, IDS = "images.npy", "nsd_ids.npy"
SHOWN = 5
# More pixels than any reconstruction of this field has.
MAX_PIXELS = 4096 * 4096


class SubmissionError(ValueError):
    """A folder of reconstructions that cannot be scored; the message names the file and what to do."""


@dataclass(frozen=True)
class Submission:
    """Images in the order of `ids`, all of one size.

    Attributes:
        ids: nsdIds, ascending. images: uint8.
        left_out: {nsdId: why} of images that hold nothing to score: constant, or not finite.
    """

    ids: Int[np.ndarray, " n"]
    images: UInt8[np.ndarray, "n height width 3"]
    left_out: dict[int, str]


def files_of(folder: Path) -> list[Path]:
    """What is read of a folder.

    Raises:
        SubmissionError: there is no folder, or nothing in it.
    """
    if not folder.is_dir():
        raise SubmissionError(f"there is no folder '{folder}'. Name one that holds images, or {IMAGES} and {IDS}.")
    if (folder / IMAGES).is_file():
        return [folder / IMAGES, folder / IDS]
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    if not files:
        raise SubmissionError(f"'{folder}' holds no image ({', '.join(ENDINGS)}) and no {IMAGES}.")
    return files


def read_submission(folder: Path) -> Submission:
    """Read a folder.

    Images are named by their nsdId: the last number in a file's name, `nsd02951.png` or `2951.png`. An array
    `images.npy` (n, H, W, 3), uint8 or floats in [0, 1], has its ids in `nsd_ids.npy`.

    Raises:
        SubmissionError: a name without a number, two images of one id, sizes that differ, values out of range.
    """
    files = files_of(folder)
    ids, images = _from_array(*files) if files[0].name == IMAGES else _from_files(files)
    twice, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise SubmissionError(f"'{folder}' holds {int(counts.max())} images of nsdId {int(twice[counts.argmax()])}.")
    order = np.argsort(ids)
    return _without_empty(ids[order], images[order])


def _from_files(files: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    ids = [_id_of(path) for path in files]
    images = [_opened(path) for path in tqdm(files, desc="read images", unit="image")]
    sizes = {image.shape[:2] for image in images}
    if len(sizes) > 1:
        raise SubmissionError(
            f"'{files[0].parent}' holds images of several sizes, {sorted(sizes)[:SHOWN]}. Make them equal."
        )
    return np.array(ids, np.int64), np.stack(images)


def _id_of(path: Path) -> int:
    numbers = re.findall(r"\d+", path.stem)
    if not numbers:
        raise SubmissionError(f"'{path.name}' has no nsdId in its name. Call it by its number, e.g. nsd02951.png.")
    return int(numbers[-1])


def _opened(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise SubmissionError(
                    f"'{path.name}' has {image.width} x {image.height} pixels; more than {MAX_PIXELS}."
                )
            if image.mode not in ("RGB", "L", "P", "RGBA"):
                raise SubmissionError(f"'{path.name}' is of mode {image.mode}. Save it as RGB with 8 bits.")
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, ValueError) as problem:
        if isinstance(problem, SubmissionError):
            raise
        raise SubmissionError(f"'{path}' cannot be read as an image ({str(problem)[:200]}).") from problem


def _from_array(images: Path, ids: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        made, known = (np.load(path, mmap_mode="r", allow_pickle=False) for path in (images, ids))
    except (OSError, ValueError) as problem:
        raise SubmissionError(f"'{images.parent}': {str(problem)[:200]}. {IMAGES} needs {IDS} beside it.") from problem
    if made.ndim != 4 or made.shape[-1] != 3 or known.shape != made.shape[:1] or known.dtype.kind not in "iu":
        raise SubmissionError(
            f"{IMAGES} must be (n, height, width, 3) and {IDS} (n,) whole numbers. {made.shape} and {known.dtype} "
            f"{known.shape} were provided."
        )
    return np.array(known, np.int64), _as_uint8(np.asarray(made))


def _as_uint8(made: np.ndarray) -> np.ndarray:
    """uint8 as it is; floats in [0, 1] scaled. Images that are not finite become constant, and are left out as such."""
    if made.dtype == np.uint8:
        return made
    if made.dtype.kind != "f":
        raise SubmissionError(f"{IMAGES} must be uint8 or floats in [0, 1]. {made.dtype} was provided.")
    finite = np.isfinite(made)
    low, high = (float(end) for end in (made[finite].min(initial=0), made[finite].max(initial=0)))
    if low < 0 or high > 1:
        raise SubmissionError(f"{IMAGES} must be uint8 or floats in [0, 1]. Values from {low:.3g} to {high:.3g} came.")
    whole = finite.reshape(len(made), -1).all(1)
    return (np.where(whole[:, None, None, None], made, 0) * 255).round().astype(np.uint8)


def _without_empty(ids: np.ndarray, images: np.ndarray) -> Submission:
    flat = images.reshape(len(images), -1)
    empty = (flat == flat[:, :1]).all(1)
    left_out = {int(one): "constant, or not finite" for one in ids[empty]}
    return Submission(ids[~empty], images[~empty], left_out)
