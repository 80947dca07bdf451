"""Reconstructions that others made: a folder of images named by nsdId, or an array with its ids."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image
from tqdm.auto import tqdm

from brainram_lib.core.files import read_array

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
IMAGES, IDS = "images.npy", "nsd_ids.npy"
SHOWN = 5
# The share of a float array's values that may lie outside [0, 1] and is clipped, as MindEye's code does; with more, the
# images have another range, e.g. [-1, 1].
CLIPPED = 0.01
# The same for a single image: with more, it has another range and is left out.
CLIPPED_OF_ONE = 0.25
CONSTANT, NOT_FINITE, OTHER_RANGE = "constant", "not finite", "of another range than [0, 1]"
# More pixels than any reconstruction of this field has.
MAX_PIXELS = 4096 * 4096
MAX_ID = np.iinfo(np.int64).max


class SubmissionError(ValueError):
    """A folder of reconstructions that cannot be scored; the message names the file and what to do."""


@dataclass(frozen=True)
class Submission:
    """Images in the order of `ids`, all of one size.

    Attributes:
        ids: nsdIds, ascending. images: uint8.
        left_out: {nsdId: why} of images that hold nothing to score: constant, not finite, or of another range.
        clipped: nsdIds of images with a few values outside [0, 1], which were clipped.
    """

    ids: Int[np.ndarray, " n"]
    images: UInt8[np.ndarray, "n height width 3"]
    left_out: dict[int, str]
    clipped: tuple[int, ...] = ()


def files_of(folder: Path) -> list[Path]:
    """What is read of a folder. Hidden files are not: macOS leaves a '._5.png' beside each 5.png.

    Raises:
        SubmissionError: there is no folder, or nothing in it.
    """
    if not folder.is_dir():
        raise SubmissionError(f"there is no folder '{folder}'. Name one that holds images, or {IMAGES} and {IDS}.")
    if (folder / IMAGES).is_file():
        return [folder / IMAGES, folder / IDS]
    shown = (path for path in folder.iterdir() if not path.name.startswith("."))
    files = sorted(path for path in shown if path.suffix.lower() in ENDINGS)
    if not files:
        raise SubmissionError(f"'{folder}' holds no image ({', '.join(ENDINGS)}) and no {IMAGES}.")
    return files


def read_submission(folder: Path) -> Submission:
    """Read a folder.

    Images are named by their nsdId: the last number in a file's name, `nsd02951.png` or `2951.png`. An array
    `images.npy` (n, H, W, 3), uint8 or floats in [0, 1], has its ids in `nsd_ids.npy`.

    Raises:
        SubmissionError: a name without a number, an invalid id, two images of one id, sizes that differ, more than
            a few values out of range, a file that cannot be read.
    """
    files = files_of(folder)
    read = _from_array(*files) if files[0].name == IMAGES else _from_files(files)
    _check_once(read)
    order = np.argsort(read.ids)
    if not np.array_equal(order, np.arange(len(order))):
        read = _Read(*(None if part is None else part[order] for part in read))
    return _without_empty(read)


class _Read(NamedTuple):
    """What was read, in the order of the files: `wrong` says why an image cannot be scored, '' if it can.

    `clipped` says which images had values clipped; None for either: no image.
    """

    ids: np.ndarray
    images: np.ndarray
    names: np.ndarray
    wrong: np.ndarray | None = None
    clipped: np.ndarray | None = None


def _check_once(read: _Read) -> None:
    """Refuse an id that has several images."""
    ids, counts = np.unique(read.ids, return_counts=True)
    if (counts > 1).any():
        one = ids[counts.argmax()]
        names = ", ".join(read.names[read.ids == one][:SHOWN])
        raise SubmissionError(
            f"nsdId {int(one)} has {int(counts.max())} images, {names}; one is scored. Keep the one that your "
            "method chose without the stimulus."
        )


def _from_files(files: list[Path]) -> _Read:
    ids = [_id_of(path) for path in files]
    first = _opened(files[0])
    images = np.empty((len(files), *first.shape), np.uint8)

    def read(row: int) -> None:
        image = _opened(files[row])
        if image.shape != first.shape:
            sizes = sorted({first.shape[:2], image.shape[:2]})
            raise SubmissionError(f"'{files[row].parent}' holds images of several sizes, {sizes}. Make them equal.")
        images[row] = image

    # decoding releases the GIL
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in tqdm(pool.map(read, range(len(files))), total=len(files), desc="read images", unit="image"):
            pass
    return _Read(np.array(ids, np.int64), images, np.array([path.name for path in files]))


def _id_of(path: Path) -> int:
    numbers = re.findall(r"\d+", path.stem)
    if not numbers:
        raise SubmissionError(f"'{path.name}' has no nsdId in its name. Call it by its number, e.g. nsd02951.png.")
    if int(numbers[-1]) > MAX_ID:
        raise SubmissionError(
            f"the last number of '{path.name}' has {len(numbers[-1])} digits and is no nsdId. Call it by its number, "
            "e.g. nsd02951.png."
        )
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
    except SubmissionError:
        raise
    except Exception as problem:  # decoders raise many kinds at damaged bytes
        raise SubmissionError(f"'{path}' cannot be read as an image ({str(problem)[:200]}).") from problem


def _from_array(images: Path, ids: Path) -> _Read:
    made, known = (read_array(path, SubmissionError, f": {IMAGES} needs {IDS} beside it.") for path in (images, ids))
    if made.ndim != 4 or made.shape[-1] != 3 or known.shape != made.shape[:1] or known.dtype.kind not in "iu":
        raise SubmissionError(
            f"{IMAGES} must be (n, height, width, 3) and {IDS} (n,) whole numbers. {made.shape} and {known.dtype} "
            f"{known.shape} were provided."
        )
    if known.size and int(known.max()) > MAX_ID:
        raise SubmissionError(f"{IDS} holds {int(known.max())}, which is no nsdId. Save them as numpy.int64.")
    names = np.array([f"{IMAGES}[{row}]" for row in range(len(known))])
    return _Read(np.array(known, np.int64), *_as_uint8(np.asarray(made), names))


def _as_uint8(made: np.ndarray, names: np.ndarray) -> tuple[np.ndarray | None, ...]:
    """(images, names, wrong, clipped): uint8 as it is; floats clipped to [0, 1] and scaled.

    Images that are not finite or of another range become black.
    """
    if made.dtype == np.uint8:
        return made, names, None, None
    if made.dtype.kind != "f":
        raise SubmissionError(f"{IMAGES} must be uint8 or floats in [0, 1]. {made.dtype} was provided.")
    wrong, outside = np.full(len(made), "", object), np.empty(len(made), bool)
    scaled, low, high, count = np.empty(made.shape, np.uint8), np.inf, -np.inf, 0
    # image by image: 982 images take 3 GB as floats
    for row, image in enumerate(made):
        finite = np.isfinite(image)
        beyond = finite & ((image < 0) | (image > 1))
        outside[row], count = beyond.any(), count + int(beyond.sum())
        if finite.any():
            low, high = min(low, float(image[finite].min())), max(high, float(image[finite].max()))
        if not finite.all():
            wrong[row] = NOT_FINITE
        elif beyond.mean() > CLIPPED_OF_ONE:
            wrong[row] = OTHER_RANGE
        scaled[row] = 0 if wrong[row] else (image.clip(0, 1) * 255).round()
    if count > CLIPPED * made.size:
        raise SubmissionError(
            f"{IMAGES} must be uint8 or floats in [0, 1]. Values from {low:.3g} to {high:.3g} came, "
            f"{count / made.size:.0%} of them outside; at most {CLIPPED:.0%} are clipped. Bring them to [0, 1], e.g. "
            "(x + 1) / 2 for [-1, 1]."
        )
    return scaled, names, wrong, outside & (wrong == "")


def _without_empty(read: _Read) -> Submission:
    wrong = np.full(len(read.ids), "", object) if read.wrong is None else read.wrong
    # of a single colour, whatever it is
    constant = np.array([(one == one[:1, :1]).all() for one in read.images], bool)
    wrong = np.where((wrong == "") & constant, CONSTANT, wrong)
    empty = wrong != ""
    left_out = dict(zip(read.ids[empty].tolist(), wrong[empty].tolist(), strict=True))
    clipped = () if read.clipped is None else tuple(read.ids[read.clipped & ~empty].tolist())
    if not empty.any():
        return Submission(read.ids, read.images, {}, clipped)
    return Submission(read.ids[~empty], read.images[~empty], left_out, clipped)
