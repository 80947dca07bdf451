"""The stimuli's pictures: files in a folder, or one array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from tqdm.auto import tqdm

from brainram_lib.retrieval.images import MAX_BYTES, PICTURES, ImageRefused, decode
from brainram_lib.study.betas import load_array, load_npz
from brainram_lib.study.errors import StudyError
from brainram_lib.study.names import name_of
from brainram_lib.study.tables import STIMULUS

IMAGES = "images"
# fewer pictures than this need no progress bar
MANY = 500


@dataclass(frozen=True)
class Pictures:
    """Pictures by name.

    Attributes:
        source: folder or file. size: side in pixels to which files are resized.
        files: name -> file, for a folder. rows: name -> row of `array`, for an array.
    """

    source: Path
    size: int
    files: Mapping[str, Path]
    rows: Mapping[str, int]
    array: np.ndarray | None = None

    @property
    def names(self) -> frozenset[str]:
        """Names of all pictures."""
        return frozenset(self.files) | frozenset(self.rows)

    def read(self, names: Sequence[str]) -> UInt8[np.ndarray, "n side side 3"]:
        """Some pictures, in the order asked for.

        Raises:
            StudyError: one cannot be decoded.
        """
        if self.array is not None:
            return np.array(self.array[[self.rows[name] for name in names]])
        bar = tqdm(names, desc="pictures", unit="picture", leave=False, disable=len(names) < MANY)
        found = np.empty((len(names), self.size, self.size, 3), np.uint8)
        for row, name in enumerate(bar):
            found[row] = self.one(name)
        return found

    def one(self, name: str) -> UInt8[np.ndarray, "side side 3"]:
        """One picture: the shorter side resized to `size`, cropped to the middle square, as CLIP does.

        Raises:
            StudyError: it cannot be decoded.
        """
        if self.array is not None:
            return np.array(self.array[self.rows[name]])
        path = self.files[name]
        try:
            if path.stat().st_size > MAX_BYTES:
                raise ImageRefused(f"the file has more than the {MAX_BYTES} bytes allowed")
            return decode(path.read_bytes(), self.size)
        except (OSError, ImageRefused) as problem:
            raise StudyError(
                f"the picture '{path}' cannot be used: {problem}. Save it again as PNG or JPEG."
            ) from problem


def open_pictures(source: Path, size: int) -> Pictures:
    """A folder of JPEG, PNG and WebP files named after the stimuli, subfolders included; or an array.

    An array is uint8 (n, side, side, 3): in a .npy its rows are the stimuli 0 to n - 1, in a .npz it is called
    'images', and an array 'stimulus' beside it holds their names.

    Raises:
        StudyError: nothing is there, two files are of one stimulus, or the array is of another kind.
    """
    if source.is_dir():
        return Pictures(source, size, _files(source), {})
    if source.suffix.lower() not in (".npy", ".npz"):
        raise StudyError(f"'pictures' must be a folder, a .npy or a .npz. '{source}' is none of these.")
    if source.suffix.lower() == ".npy":
        array, names = load_array(source), None
    else:
        held = load_npz(source)
        if missing := {IMAGES, STIMULUS} - set(held):
            raise StudyError(f"'{source}' must hold '{IMAGES}' and '{STIMULUS}'. It lacks '{min(missing)}'.")
        array, names = held[IMAGES], _names(source, held[STIMULUS])
    if array.ndim != 4 or array.shape[-1] != 3 or array.shape[1] != array.shape[2] or array.dtype != np.uint8:
        raise StudyError(
            f"'{source}' must hold uint8 pictures (n, side, side, 3). It holds {array.dtype} {array.shape}. A folder "
            "may hold pictures of any shape."
        )
    names = [str(row) for row in range(len(array))] if names is None else names
    if len(names) != len(array) or len(set(names)) != len(names):
        raise StudyError(f"'{source}' has {len(array)} pictures and {len(set(names))} different names for them.")
    return Pictures(source, array.shape[1], {}, {name: row for row, name in enumerate(names)}, array)


def _names(source: Path, stimulus: np.ndarray) -> list[str]:
    if stimulus.ndim != 1:
        raise StudyError(
            f"'{STIMULUS}' in '{source}' must be a list of names, one for each of '{IMAGES}'. It has the shape "
            f"{stimulus.shape}."
        )
    return [name_of(one) for one in stimulus]


def _files(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in PICTURES or path.name.startswith(".") or not path.is_file():
            continue
        name = name_of(path.relative_to(folder).as_posix())
        if name in found:
            raise StudyError(f"the stimulus '{name}' has two pictures, '{found[name]}' and '{path}'. Keep one.")
        found[name] = path
    if not found:
        raise StudyError(f"the folder '{folder}' holds no picture ({', '.join(PICTURES)}).")
    return found
